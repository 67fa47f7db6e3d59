"""`worka setup` and `worka tenant`: from a Worka that nobody is in to a workspace with its owner."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed, save_login
from worka.cli.shell import State, asked, client, running_url, setup_token_file, show

tenant = typer.Typer(
    no_args_is_help=True, help="As the operator: tenants, each with its first workspace and its owner."
)
FROM_A_PERSON = "-"
NEXT = "worka tenant create NAME --owner E-MAIL"


def setup(
    email: Annotated[str, typer.Option(help="yours; asked for without it")] = "",
    display_name: Annotated[str, typer.Option("--name", help="how others see you; asked for without it")] = "",
    token: Annotated[
        str,
        typer.Option(
            help="the one-time token of an instance elsewhere (run/setup-token of its WORKA_HOME); `-`: is asked for"
        ),
    ] = "",
) -> None:
    """Once, on a new Worka: make its first operator, you, and keep the login for this user (0600).

    E-mail, name and password are asked for, or are the lines of standard input, in this order (a token that is asked for comes
    first). The one-time token of the instance that runs on this machine is found by itself."""
    api = Client(State.url)
    api.get("/v1/platform")  # that nothing answers is said before anything is asked
    token = asked("One-time setup token", hidden=True) if token == FROM_A_PERSON else token or local_token()
    if not token:
        _done_before()
        return
    body = {
        "token": token,
        "email": email or asked("E-mail"),
        "display_name": display_name or asked("Name"),
        "password": asked("Password (10 characters or more)", hidden=True, twice=True),
    }
    try:
        made = api.post("/v1/setup", body)
    except Failed as failed:
        if failed.body.get("code") == "already_set_up":
            _done_before()
            return
        if failed.body.get("code") == "one_time_token_unusable":
            raise Failed({**failed.body, "remedy": SPENT}, failed.exit_code) from failed
        raise
    save_login(State.url, made["session_token"], None, State.login)
    if not show({"done": True, **{key: made[key] for key in ("person_id", "expires_at")}}):
        output.talk.print(f"[green]✓[/] you are the operator of {output.escape(State.url)}, and signed in")
        output.talk.print(f"  next: [bold]{NEXT}[/] (yours, to own it yourself)")


SPENT = (
    "If somebody is set up here, sign in with `worka login`. If nobody is: a token lives for a week, and the next `worka up`"
    " writes a new one into run/setup-token of its WORKA_HOME."
)


def _done_before() -> None:
    if not show({"done": False, "set_up": True}):
        output.talk.print("This Worka was set up before: nothing was done. Sign in with [bold]worka login[/].")


def local_token() -> str:
    """The one-time token of the instance on this machine; empty when somebody is set up there. It is never sent to an
    address that is not this instance's. Raises Failed."""
    path, local = setup_token_file(), running_url()
    if local is None or State.url.rstrip("/") != local.rstrip("/"):
        raise Failed(
            {
                "code": "setup_token_needed",
                "title": "The one-time setup token is needed",
                "detail": f"{State.url} is not the instance of this WORKA_HOME ({path.parent.parent}), whose token could be read.",
                "remedy": "Run it on the machine of that instance, or pass `--token -` with what its run/setup-token holds.",
            },
            2,
        )
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except PermissionError as error:
        raise Failed(
            {
                "code": "setup_token_unreadable",
                "title": "The one-time setup token cannot be read",
                "detail": f"{path} is not readable by this user.",
                "remedy": "Run `worka setup` as the user that ran `worka up`.",
            },
            1,
        ) from error


def someone_answers() -> None:
    """Before anybody is asked to sign in: Worka answers there, and there is somebody to be. Raises Failed."""
    Client(State.url).get("/v1/platform")
    local = running_url()
    if local is not None and State.url.rstrip("/") == local.rstrip("/") and setup_token_file().exists():
        raise Failed(
            {
                "code": "nobody_yet",
                "title": "Nobody is set up here yet",
                "detail": f"{State.url} waits for its first operator.",
                "remedy": "Once, on this machine: `worka setup`.",
            },
            4,
        )


@tenant.command("create")
def tenant_create(
    name: str,
    owner_email: Annotated[
        str, typer.Option("--owner", help="the e-mail of who is invited to own it; yours, to own it yourself")
    ],
    slug: Annotated[str, typer.Option(help="its short name; default: made from NAME")] = "",
    workspace_name: Annotated[str, typer.Option("--workspace", help="its first workspace")] = "Main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="do it, undo it, and say what it would come to")] = False,
) -> None:
    """Make a tenant with its first workspace, and an invitation for its owner; prints the one-time link."""
    slug = slug or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-")
    if not slug:
        raise typer.BadParameter(f"no short name can be made from {name!r}: say --slug, in small letters and digits")
    body = {"slug": slug, "name": name, "workspace_name": workspace_name, "owner_email": owner_email}
    api = client()
    value: dict[str, Any] = api.change("POST", "/v1/tenants", body, dry_run=dry_run)
    if dry_run:  # its token opens nothing, so it is not shown
        if not show({"would": body}):
            output.text(
                f"dry run: would make the tenant {name} ({slug}) with a workspace {workspace_name}, owned by {owner_email}"
            )
            output.text("nothing was made, and nobody was invited")
        return
    if show(value):
        return
    output.text(f"{value['tenant_id']}  {name} ({slug})")
    output.text(f"  workspace  {value['workspace_id']}  {workspace_name}")
    output.text(f"  token      {value['invitation_token']}")
    output.text(f"  accept     {api.url}/invitation?token={value['invitation_token']}")
    output.talk.print(
        f"Hand the link to {output.escape(owner_email)}: it works once, for seven days, and is not shown again."
        " On a terminal: [bold]worka invitation accept[/]."
    )


@tenant.command("list")
def tenant_list() -> None:
    """The ids of the tenants; an operator reads nothing of what is in them."""
    value = client().get("/v1/tenants")
    if not show(value):
        output.table(value["items"], ["tenant_id"], f"There is none yet: {NEXT}.")
