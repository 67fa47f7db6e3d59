"""`worka service-account`: programs of the workspace's own, each owned by a person."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.people import named
from worka.cli.shell import client, show

accounts = typer.Typer(
    no_args_is_help=True, help="Service accounts: programs of the workspace's own, acting for the person who owns them."
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]
Days = Annotated[int | None, typer.Option("--days", min=1, max=3650, help="the token ends after; default: never")]
Which = Annotated[str, typer.Argument(help="an id, or a name")]


@accounts.command("list")
def account_list() -> None:
    """The service accounts, ended ones too."""
    api = client()
    rows = api.pages(api.ws("/service-accounts"), most=1000)
    if not show({"items": rows, "next": None}):
        columns = ["id", "name", "role", "owner_person_id", "created_at", "ended_at"]
        output.table(rows, columns, "There is none: worka service-account create NAME --purpose …")


@accounts.command("create")
def account_create(
    name: str,
    purpose: Annotated[str, typer.Option(help="what it is for")],
    role: Annotated[str, typer.Option(help="member or viewer")] = "viewer",
    dry_run: DryRun = False,
) -> None:
    """Make one of your own; it has no token yet."""
    api = client()
    body = {"name": name, "purpose": purpose, "role": role}
    value = api.change("POST", api.ws("/service-accounts"), body, dry_run=dry_run)
    if dry_run:
        if not show({"would": body, "account": {**value, "id": None}}):
            output.text(f"dry run: would make the {role} {name}, owned by you; nothing was kept")
        return
    if not show(value):
        output.text(f"{value['id']}  {value['name']}, {value['role']}")
        output.talk.print(f"then: worka service-account token {value['id']}")


@accounts.command("token")
def account_token(which: Which, days: Days = None, dry_run: DryRun = False) -> None:
    """One more token, shown once; the owner's alone."""
    _token(which, days, "tokens", dry_run)


@accounts.command("rotate")
def account_rotate(which: Which, days: Days = None, dry_run: DryRun = False) -> None:
    """A new token, shown once; all older ones open nothing from the next call on. The owner's alone."""
    _token(which, days, "rotate", dry_run)


@accounts.command("end")
def account_end(which: Which, dry_run: DryRun = False) -> None:
    """End it: its tokens open nothing from the next call on, and it does not come back."""
    api = client()
    row = _found(api, which)
    value = api.change("POST", api.ws(f"/service-accounts/{row['id']}/end"), dry_run=dry_run)
    if dry_run:
        if not show({"would": "end", "account": value}):
            output.text(f"dry run: would end {row['name']} ({row['id']}) and revoke its tokens; nothing was done")
        return
    if not show(value):
        output.talk.print(f"[green]✓[/] {output.escape(value['name'])} has ended")


def _token(which: str, days: int | None, verb: str, dry_run: bool) -> None:
    api = client()
    row = _found(api, which)
    value = api.change(
        "POST", api.ws(f"/service-accounts/{row['id']}/{verb}"), {"expires_in_days": days}, dry_run=dry_run
    )
    if dry_run:  # its token opens nothing, so it is not shown
        gone = value["tokens_revoked"]
        if not show({"would": verb, "account": row, "tokens_revoked": gone}):
            old = f", and void all older ones ({gone})" if verb == "rotate" else ""
            output.text(f"dry run: would make a token of {row['name']} ({row['id']}){old}; nothing was kept")
        return
    if not show(value):
        output.text(f"{value['token_id']}  {value['token']}")
        output.talk.print(f"Shown this once. {value['tokens_revoked']} older ones open nothing any more.")


def _found(api: Client, which: str) -> dict[str, Any]:
    """The account of this id, or the one of this name that has not ended. Raises Failed."""
    rows = api.pages(api.ws("/service-accounts"), most=1000)
    fitting = [row for row in named(rows, which) if row["id"] == which or row["ended_at"] is None]
    if len(fitting) == 1:
        return fitting[0]
    raise Failed(
        {
            "code": "service_account_not_found",
            "title": "There is no such service account here",
            "detail": f"{which[:80]}; there are {', '.join(row['name'] for row in rows) or 'none'}",
            "remedy": "`worka service-account list` names them.",
        },
        3,
    )
