"""`worka egress policy`: what the tenant or the workspace says of destinations; replayed over the record before it is set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import client, read_json, show

policy = typer.Typer(no_args_is_help=True, help="Policy on destinations: what is refused of that which packs declare.")
Scope = Annotated[str, typer.Option(help="tenant or workspace")]
Note = Annotated[str, typer.Option(help="why: it stands with the version")]
DryRun = Annotated[bool, typer.Option(help="replay it over the last day, do all of it and undo it")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Item = Annotated[
    str, typer.Argument(help='a host, *.host, *, or JSON such as \'{"host": "a.example", "methods": ["POST"]}\'')
]


def read_policy(text: str) -> dict[str, Any]:
    """A policy from the command line or from @file."""
    value: dict[str, Any] = read_json(text)
    return value


def _item(text: str) -> Any:
    return read_json(text) if text.startswith("{") else text


def _settings(api: Client, scope: str) -> tuple[dict[str, Any], int]:
    if scope not in ("tenant", "workspace"):
        raise typer.BadParameter(f"--scope {scope} is neither tenant nor workspace")
    found = [row for row in api.get(api.ws("/egress-policy"))["layers"] if row["scope"] == scope]
    return (dict(found[0]["settings"]), found[0]["version"]) if found else ({}, 0)


@policy.command("show")
def policy_show() -> None:
    """What policy says of destinations here, the tenant's first, and the changes of it that wait."""
    api = client()
    value = api.get(api.ws("/egress-policy"))
    if show(value):
        return
    if not value["layers"]:
        output.text("There is no policy on destinations here: what a release declares is what its pack may reach.")
    for row in value["layers"]:
        output.out.print(f"[bold]{row['scope']}[/] version {row['version']}, by {row['created_by']}")
        for line in row["words"]:
            output.text(f"  {line}")
        if row["note"]:
            output.text(f"  note: {row['note']}")
    for row in value["changes"]:
        output.text(f"waits: {row['id']} of the {row['scope']}, for the approval {row['approval_id']}")


@policy.command("versions")
def policy_versions(scope: Scope = "workspace", limit: Annotated[int, typer.Option(min=1, max=200)] = 20) -> None:
    """The versions of a place's policy on destinations."""
    api = client()
    value = api.get(api.ws("/egress-policy/versions"), scope=scope, limit=limit)
    if not show(value):
        output.table(value["items"], ["version", "words", "note", "created_by", "approved_by", "created_at"],
                     "There is none yet.")  # fmt: skip


@policy.command("set")
def policy_set(
    settings: Annotated[str, typer.Argument(help="JSON {refuse, except, only}, or @file; {} for nothing")],
    scope: Scope = "workspace",
    note: Note = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Set a place's policy whole: replays it over the last day, asks, and saves it."""
    api = client()
    _, over = _settings(api, scope)
    _save(api, read_policy(settings), scope, note, over, yes, dry_run)


@policy.command("refuse")
def policy_refuse(
    item: Item, scope: Scope = "workspace", note: Note = "", yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Refuse a destination, for every pack or for those that the item names. It holds from the next call on."""
    _add("refuse", item, scope, note, yes, dry_run)


@policy.command("except")
def policy_except(
    item: Item, scope: Scope = "workspace", note: Note = "", yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Let a destination through of what the place refuses. It waits for another owner, where there is one."""
    _add("except", item, scope, note, yes, dry_run)


@policy.command("unrefuse")
def policy_unrefuse(
    item: Item, scope: Scope = "workspace", note: Note = "", yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Take a destination out of what the place refuses. It waits for another owner, where there is one."""
    api = client()
    settings, over = _settings(api, scope)
    given = _item(item)
    if given not in (settings.get("refuse") or []):
        raise typer.BadParameter(f"{item} is not what the {scope} refuses: see `worka egress policy show`")
    settings["refuse"] = [other for other in settings["refuse"] if other != given]
    _save(api, settings, scope, note, over, yes, dry_run)


def _add(part: str, item: str, scope: str, note: str, yes: bool, dry_run: bool) -> None:
    api = client()
    settings, over = _settings(api, scope)
    settings[part] = [*(settings.get(part) or []), _item(item)]
    _save(api, settings, scope, note, over, yes, dry_run)


def _save(
    api: Client, settings: dict[str, Any], scope: str, note: str, over: int, yes: bool, dry_run: bool
) -> None:  # fmt: skip
    body = {"scope": scope, "settings": settings, "note": note, "over": over}
    seen = None
    if dry_run or not yes:
        seen = api.post(api.ws("/egress/replays"), {"policy": settings, "scope": scope})
        if not dry_run:
            say_replay(seen, err=True)
            typer.confirm(f"Save this as the policy on destinations of the {scope}?", abort=True, err=True)
    value = api.change("POST", api.ws("/egress-policy"), body, dry_run=dry_run)
    if show({"would": value, "replay": seen} if dry_run else value):
        return
    if dry_run and seen is not None:
        say_replay(seen)
    if value["state"] == "in_force":
        said = f"version {value['version']} of the {scope}'s policy on destinations holds from the next call on"
    else:
        said = f"{value['id']} waits for another owner: the approval {value['approval_id']}"
    output.text(f"dry run: {said}; nothing was saved" if dry_run else said)
    if value["state"] != "in_force" and not dry_run:
        raise typer.Exit(6)


def say_replay(value: dict[str, Any], err: bool = False) -> None:
    """A replay: the sentence, and each row that would be decided otherwise."""
    place = output.talk if err else output.out
    place.print(output.escape(value["sentence"]))
    for row in value["items"]:
        what = f"{row['method'] or row['kind']} {row['host']}:{row['port']}{row['path'] or ''}"
        times = f" {row['count']}×" if row["count"] > 1 else ""
        if row["missing"]:
            place.print(output.escape(f"  ?  {row['egress_id']} {row['pack'] or ''} {what}{times}: {row['missing']}"))
            continue
        sign = "[green]+[/]" if row["to"] == "allowed" else "[red]-[/]"
        note = " (an earlier change did that)" if row["earlier"] else "" if row["certain"] else " (by its last path)"
        said = f"{row['pack']} {what}{times}: {row['today']} → {row['to']}"
        why = output.escape(str(row["to_rule"] or row["to_reason"]))
        place.print(f"  {sign}  {row['egress_id']} {output.escape(said)} [dim]{why}{note}[/]")
    if value["next"]:
        place.print("[dim]  more rows follow: --output json has `next`[/]")
