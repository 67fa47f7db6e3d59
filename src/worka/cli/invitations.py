"""`worka invitation`: what an invitation that one holds gives, and coming in by it."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed, save_login
from worka.cli.shell import State, asked, asked_for_code, show

invitation = typer.Typer(no_args_is_help=True, help="An invitation that you hold: what it gives, and coming in by it.")


@invitation.command("accept")
def invitation_accept(
    name: Annotated[str, typer.Option(help="how others see you; asked for where you have no account yet")] = "",
    code: Annotated[str, typer.Option(help="a code of your second factor; asked for where it is needed")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say where it leads and what it gives; use nothing")
    ] = False,
) -> None:
    """Come into a workspace by an invitation, and keep the login for this user (0600).

    The token, or the whole link, is asked for, or is the first line of standard input; the password is the second:
    a new one, or that of your account. Neither stands in a command line, which others on the machine can read."""
    token = _token(asked("Invitation (its link or token)"))
    api = Client(State.url)
    found = api.post("/v1/invitations/preview", {"token": token})
    if dry_run:
        if not show({"would": "accept", **found}):
            _lead(found)
            output.text("dry run: nothing was used")
        return
    if State.form == "text":
        _lead(found)
    password = asked("Password (a new one, or that of your account)", hidden=True)
    if not name and sys.stdin.isatty():
        name = typer.prompt("Name (Enter, if you have an account)", default="", show_default=False, err=True)
    name = name or found["email"].partition("@")[0]
    body = {"token": token, "password": password, "display_name": name, "code": code}
    made = _accepted(api, body)
    save_login(State.url, made["session_token"], made["workspace_id"], State.login)
    if not show({key: made[key] for key in ("person_id", "workspace_id", "expires_at")}):
        output.talk.print(f"[green]✓[/] you are in {output.escape(found['workspace'])} ({made['workspace_id']})")


def _accepted(api: Client, body: dict[str, str]) -> dict[str, Any]:
    try:
        return dict(api.post("/v1/invitations/accept", body))
    except Failed as failed:
        if failed.body.get("code") != "second_factor_required" or body["code"] or not sys.stdin.isatty():
            raise
    return dict(api.post("/v1/invitations/accept", {**body, "code": asked_for_code()}))


def _lead(found: dict[str, Any]) -> None:
    role = f"{found['role']}{' and named approver' if found['approver'] else ''}"
    output.text(f"{found['email']} is invited into {found['workspace']} as {role}, by {found['invited_by']}")
    if found["held"]:
        output.text(
            "It opens nothing for now: who sent it is stopped there. An owner or admin can send a link of their own."
        )


def _token(text: str) -> str:
    """The token in what was pasted: itself, or a link with it."""
    match = re.search(r"wki_[A-Za-z0-9_-]+", text)
    return match[0] if match else text.strip()
