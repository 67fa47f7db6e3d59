"""`worka team-member` and `worka token`: AI team members, and credentials of API callers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.people import named
from worka.cli.shell import client, show

team = typer.Typer(
    no_args_is_help=True, help="AI team members: who they are, the only tools they may call, pausing one."
)
token = typer.Typer(no_args_is_help=True, help="API tokens: one's own, or an AI team member's.")
DryRun = Annotated[bool, typer.Option("--dry-run", help="do it, undo it, and say what it would come to")]
Which = Annotated[str, typer.Argument(help="an id, or a name")]
Tools = Annotated[list[str] | None, typer.Option("--tool", help="a tool by its whole name; may be repeated")]


@team.command("list")
def team_list() -> None:
    """The AI team members of the workspace."""
    api = client()
    rows = api.pages(api.ws("/team-members"), most=1000)
    if not show({"items": rows, "next": None}):
        shown = [{**row, "tools": ", ".join(row["tools"])} for row in rows]
        output.table(shown, ["id", "name", "role", "enabled", "owner_person_id", "tools"], "There is none yet.")


@team.command("add")
def team_add(
    name: str,
    responsibility: Annotated[str, typer.Option(help="what it answers for")],
    instructions: str = "",
    tool: Tools = None,
    role: Annotated[str, typer.Option(help="member or viewer")] = "member",
    dry_run: DryRun = False,
) -> None:
    """Add one, owned by you, with the only tools that it may call."""
    api = client()
    body = {
        "name": name, "responsibility": responsibility, "instructions": instructions, "tools": tool or [], "role": role,
    }  # fmt: skip
    _told(api.change("POST", api.ws("/team-members"), body, dry_run=dry_run), "add it" if dry_run else "")


@team.command("change")
def team_change(
    which: Which,
    responsibility: str | None = None,
    instructions: str | None = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="its whole list from now on; may be repeated")
    ] = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="take every tool from it")] = False,
    pause: Annotated[bool | None, typer.Option("--pause/--resume", help="whether it acts at all")] = None,
    dry_run: DryRun = False,
) -> None:
    """Change its words, its tools, or whether it acts; holds for its very next call."""
    if tool and no_tools:
        raise typer.BadParameter("--tool and --no-tools say different things")
    body: dict[str, Any] = {
        "responsibility": responsibility, "instructions": instructions, "tools": [] if no_tools else tool,
        "enabled": None if pause is None else not pause,
    }  # fmt: skip
    changes = {key: value for key, value in body.items() if value is not None}
    if not changes:
        raise typer.BadParameter(
            "say what changes: --responsibility, --instructions, --tool, --no-tools, --pause, --resume"
        )
    api = client()
    path = api.ws(f"/team-members/{_found(api, which)['id']}")
    _told(api.change("PATCH", path, changes, dry_run=dry_run), "change it so" if dry_run else "")


def _told(value: dict[str, Any], would: str) -> None:
    if not show({"would": would, "team_member": value} if would else value):
        output.record({**value, "tools": ", ".join(value["tools"])})
        if would:
            output.out.print(f"  dry run: would {would}; nothing was kept")


def _found(api: Client, which: str) -> dict[str, Any]:
    """The AI team member of this id or name. Raises Failed."""
    rows = api.pages(api.ws("/team-members"), most=1000)
    if fitting := named(rows, which):
        return fitting[0]
    raise Failed(
        {
            "code": "team_member_not_found",
            "title": "There is no such AI team member here",
            "detail": f"{which[:80]}; there are {', '.join(row['name'] for row in rows) or 'none'}",
            "remedy": "`worka team-member list` names them.",
        },
        3,
    )


@token.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="what it is for; whoever revokes it reads that")],
    member: Annotated[str, typer.Option("--for", help="an AI team member, by id or name; without it you")] = "",
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="it ends after; default: never")] = None,
    dry_run: DryRun = False,
) -> None:
    """Make an API token, shown once. It opens this workspace alone."""
    api = client()
    body = {"name": name, "principal_id": _found(api, member)["id"] if member else None, "expires_in_days": days}
    value = api.change("POST", api.ws("/tokens"), body, dry_run=dry_run)
    if dry_run:  # its token opens nothing, so it is not shown
        if not show({"would": body, "principal_id": value["principal_id"], "expires_at": value["expires_at"]}):
            output.text(f"dry run: would make a token {name} of {value['principal_id']}; nothing was kept")
        return
    if not show(value):
        output.text(f"{value['token_id']}  {value['token']}")
        output.talk.print("Shown this once.")


@token.command("revoke")
def token_revoke(token_id: str, dry_run: DryRun = False) -> None:
    """Revoke an API token; it opens nothing from the next call on."""
    client().change("DELETE", f"/v1/tokens/{token_id}", dry_run=dry_run)
    if not show({"would": "revoke", "token_id": token_id} if dry_run else {"revoked": token_id}):
        output.text(f"{token_id}: {'would be revoked; nothing was done' if dry_run else 'revoked'}")
