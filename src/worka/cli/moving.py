"""`worka pack diff`, `review`, `attachment` and `held`: what differs, what to look at first, and how an attachment moves."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import ReleaseName, client, named_release, show

attachment = typer.Typer(
    no_args_is_help=True, help="An attachment and the releases of its pack: move it, go back, follow or pin."
)
held = typer.Typer(no_args_is_help=True, help="Definitions that a server changed after they were approved.")
DryRun = Annotated[bool, typer.Option(help="do all of it and undo it: refused and answered as it would be")]
Why = Annotated[str, typer.Option(help="why: it stands in the changes and in the ledger")]
Wait = Annotated[bool, typer.Option(help="wait until the move rests")]
MARKS = {"widening": "[yellow]+[/]", "narrowing": "[green]-[/]", "neutral": "[dim]·[/]"}
RESTS = ("awaiting_approval", "awaiting_connection", "awaiting_dependency", "moved", "failed", "refused", "superseded")


def diff(
    before_id: Annotated[str, typer.Argument(help="a release: its id, or publisher.name@version")],
    after_id: Annotated[str, typer.Argument(help="another release of the same pack")],
    texts: Annotated[bool, typer.Option(help="with the lines of texts and schemas that changed")] = False,
) -> None:
    """What a release may do, offers and says that another does not."""
    api = client()
    before, after = named_release(api, before_id), named_release(api, after_id)
    value = api.get(f"/v1/releases/{after}/difference", since=before)
    if not show(value):
        say_difference(value, texts)


def say_difference(value: dict[str, Any], texts: bool = False) -> None:
    """A difference, the widening changes first."""
    output.out.print(f"[bold]{output.escape(value['pack'])}[/] {output.escape(value['sentence'])}")
    for change in value["changes"]:
        output.out.print(f"  {MARKS[change['class']]} {change['class']:<9} {output.escape(change['words'])}")
        if texts and change["diff"]:
            for line in change["diff"].splitlines():
                output.out.print(f"      [dim]│[/] {output.escape(line)}", soft_wrap=True)
    risk = value["risk"]
    if risk["before"] != risk["after"]:
        output.text(f"  risk: {risk['before']} becomes {risk['after']}")


def review(
    release_id: ReleaseName,
    mode: Annotated[str, typer.Option(help="pinned or tracking")] = "pinned",
) -> None:
    """What to look at before a release is attached here: what it may do, and what it would wait for."""
    if mode not in ("pinned", "tracking"):
        raise typer.BadParameter(f"--mode {mode} is not one of pinned, tracking")
    api = client()
    value = api.get(api.ws(f"/releases/{named_release(api, release_id)}/review"), mode=mode)
    if not show(value):
        say_review(value)


def recorded(
    release_id: ReleaseName,
    days: Annotated[int, typer.Option(min=1, max=90, help="how far back")] = 7,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="the `next` of the page before")] = None,
) -> None:
    """Which calls that were made here a release would have served, and which not, if it had been attached."""
    api = client()
    path = api.ws(f"/releases/{named_release(api, release_id)}/recorded-calls")
    value = api.get(path, days=days, limit=limit, cursor=cursor)
    if show(value):
        return
    output.text(value["sentence"])
    output.table(value["items"], ["at", "tool", "state", "verdict", "because", "id"], "")
    if value["next"]:
        output.text(f"more: worka pack recorded {release_id} --days {days} --cursor {value['next']}")


def say_review(value: dict[str, Any]) -> None:
    """A review, as a person reads it."""
    release, escape = value["release"], output.escape
    output.out.print(
        f"[bold]{escape(release['pack'])} {escape(release['version'])}[/]  {escape(release['display_name'])}"
    )
    output.text(f"  {release['description']}")
    output.text(f"  effect    {value['effect']}")
    output.text(f"  risk      {value['risk']}")
    missing = ", ".join(check["name"] for check in value["grade"]["checks"] if not check["passed"])
    output.text(f"  grade     {value['grade']['grade']}{f'; not {missing}' if missing else ''}")
    output.text(f"  source    {value['source']['words']}, {value['source']['visibility']}")
    for tool in value["tools"]:
        said = (tool["description"] or "").strip().splitlines()[:1]
        output.text(f"  tool      {tool['name']} ({tool['side_effect']})  {''.join(said)}".rstrip())
    for item in value["outbound"]:
        more = " ".join(f"{key} {item[key]}" for key in ("port", "methods", "paths") if item.get(key))
        output.text(f"  reaches   {item['host']} {more}".rstrip())
    for item in value["connections"]:
        output.text(f"  connected {item['provider']} at {item['endpoint']}: {item['state']}")
    for name in value["host_services"]:
        output.text(f"  service   {name}")
    for mount in value["mounts"]:
        output.text(f"  reads     what is bound as {mount['name']} at {mount['target']}")
    for item in value["dependencies"]:
        output.text(f"  needs     {item['pack']} ({'attached' if item['attachment_id'] else 'not attached'})")
    output.text(f"  audience  {value['audience']['people']} people. {value['audience']['words']}")
    output.text(f"  updates   {value['update_policy']['words']}")
    approval = value["approval"]
    seats = f" ({', '.join(approval['seats'])})" if approval["seats"] else ""
    output.text(f"  policy    {approval['verdict']}{seats} {'; '.join(approval['reasons'])}".rstrip())
    for item in value["waits"]:
        output.text(f"  {'stops at' if item['blocks'] else 'waits for'} {item['kind']}: {item['name']}")
    if value["difference"]:
        say_difference(value["difference"])


@attachment.command("show")
def attachment_show(attachment_id: str) -> None:
    """Where it stands: its release, newer ones, the move under way, and its last moves."""
    api = client()
    value = api.get(f"/v1/attachments/{attachment_id}/standing")
    moves = api.get(f"/v1/attachments/{attachment_id}/moves", limit=10)["items"]
    if not show({**value, "moves": moves}):
        row = value["attachment"]
        output.text(f"{row['id']}  {row['pack']} {value['version']}  {row['mode']}  {row['state']} ({row['reason']})")
        for newer in value["newer"][:5]:
            output.text(f"  newer: {newer['version']}  {newer['id']}")
        if value["back"]:
            output.text(f"  before: {value['back']['version']}  {value['back']['id']} ({value['back']['state']})")
        output.table(
            moves, ["id", "kind", "from_version", "to_version", "state", "reason", "since"], "It was never moved."
        )


@attachment.command("update")
def attachment_update(
    attachment_id: str,
    release: Annotated[str, typer.Option(help="which: an id, or publisher.name@version; without it the newest")] = "",
    mount: Annotated[list[str] | None, typer.Option(help="NAME=PATH, what a new mount of the manifest binds")] = None,
    why: Why = "",
    wait: Wait = True,
    dry_run: DryRun = False,
) -> None:
    """Move an attachment to a newer release (6: an approval, a connection or a pack is waited for)."""
    api = client()
    if wrong := [item for item in mount or [] if "=" not in item]:
        raise typer.BadParameter(f"--mount {wrong[0]} is not NAME=PATH")
    body = {
        "release_id": named_release(api, release) if release else None,
        "mounts": dict(item.split("=", 1) for item in mount or []),
        "why": why,
    }
    _moved(api, api.change("POST", f"/v1/attachments/{attachment_id}/moves", body, dry_run=dry_run), wait, dry_run)


@attachment.command("back")
def attachment_back(attachment_id: str, why: Why = "", wait: Wait = True, dry_run: DryRun = False) -> None:
    """Go back to the release before the last move, and stay there: it is pinned."""
    api = client()
    value = api.change("POST", f"/v1/attachments/{attachment_id}/back", {"why": why}, dry_run=dry_run)
    _moved(api, value, wait, dry_run)


def _moved(api: Client, value: dict[str, Any], wait: bool, dry_run: bool) -> None:
    while wait and not dry_run and value["state"] not in RESTS:
        time.sleep(0.3)
        value = api.get(f"/v1/moves/{value['id']}")
    if not show(value):
        said = "would be " if dry_run else ""
        output.text(
            f"{value['id']}  {value['pack']} {value['from_version']} → {value['to_version']}: {said}{value['state']}"
            f" ({value['reason']})"
        )
        if value["error"]:
            output.text(f"  {value['error'].get('message', '')}")
        say_difference(value["difference"])
        if dry_run:
            output.text("dry run: nothing was moved")
        elif value["state"] == "awaiting_approval":
            output.text(f"  → worka approvals show {value['approval_id']}")
    waits = value["state"].startswith("awaiting_") or value["state"] in ("planned", "trying")
    raise typer.Exit(0 if dry_run or value["state"] == "moved" else 6 if waits else 1)


@attachment.command("pin")
def attachment_pin(attachment_id: str, why: Why = "", dry_run: DryRun = False) -> None:
    """Keep it on the release that it has; a move that it made ready by itself ends."""
    _mode(attachment_id, "pinned", why, dry_run)


@attachment.command("follow")
def attachment_follow(attachment_id: str, why: Why = "", dry_run: DryRun = False) -> None:
    """Let it move to newer releases by itself; what widens it is asked for."""
    _mode(attachment_id, "tracking", why, dry_run)


def _mode(attachment_id: str, mode: str, why: str, dry_run: bool) -> None:
    api = client()
    body = {"mode": mode, "why": why}
    value = api.change("PUT", f"/v1/attachments/{attachment_id}/mode", body, dry_run=dry_run)
    if not show(value):
        output.text(f"{value['id']}  {value['pack']}  {value['mode']}  {value['state']}")
        if dry_run:
            output.text("dry run: nothing was changed")


@attachment.command("withdraw")
def attachment_withdraw(move_id: str, why: Why = "", dry_run: DryRun = False) -> None:
    """Take a move back before it is tried."""
    value = client().change("POST", f"/v1/moves/{move_id}/withdraw", {"why": why}, dry_run=dry_run)
    if not show(value):
        output.text(
            f"{value['id']}  {value['state']} ({value['reason']}){'  dry run: nothing was taken back' if dry_run else ''}"
        )


@held.command("show")
def held_show(attachment_id: str) -> None:
    """What the server lists now, against what was approved, tool by tool."""
    value = client().get(f"/v1/attachments/{attachment_id}/definitions")
    if show(value):
        return
    output.text(f"{value['attachment_id']}  {value['pack']}  {value['state']}")
    for item in value["items"]:
        state = "waits for a decision" if item["waits"] else f"{item['decision']} by {item['by']}"
        output.out.print(f"  [bold]{output.escape(item['tool'])}[/]  {state}  [dim]{item['pin'] or 'not listed'}[/]")
        for line in item["diff"].splitlines():
            output.out.print(f"      [dim]│[/] {output.escape(line)}", soft_wrap=True)
        if not item["waits"] and item["approved_pin"]:
            back = f"worka pack held accept {attachment_id} {item['tool']} --pin {item['approved_pin']}"
            output.out.print(f"      [dim]take the decision back: {output.escape(back)}[/]", soft_wrap=True)
    if not value["items"]:
        output.text("  every definition is as it was approved")


@held.command("accept")
def held_accept(attachment_id: str, tool: str, why: Why = "", pin: str = "", dry_run: DryRun = False) -> None:
    """Let the tool serve again with what the server lists now: exactly what was shown, or what --pin names. The pin of the
    release takes back what was decided before."""
    _decide(attachment_id, tool, "accept", pin, why, dry_run)


@held.command("refuse")
def held_refuse(attachment_id: str, tool: str, why: Why = "", pin: str = "", dry_run: DryRun = False) -> None:
    """Keep the tool off until a definition of it is accepted; the others serve."""
    _decide(attachment_id, tool, "refuse", pin, why, dry_run)


def _decide(attachment_id: str, tool: str, decision: str, pin: str, why: str, dry_run: bool) -> None:
    api = client()
    path = f"/v1/attachments/{attachment_id}/definitions"
    if not pin:
        found = next((item for item in api.get(path)["items"] if item["tool"] == tool and item["waits"]), None)
        pin = (found or {}).get("pin") or ""
        if found is not None:
            for line in found["diff"].splitlines():
                output.talk.print(f"  [dim]│[/] {output.escape(line)}", soft_wrap=True)
    value = api.change("POST", path, {"tool": tool, "pin": pin, "decision": decision, "why": why}, dry_run=dry_run)
    if not show(value):
        output.text(
            f"{value['attachment_id']}  {value['pack']}  {value['state']}{'  (dry run: nothing was decided)' if dry_run else ''}"
        )


@held.command("resolve")
def held_resolve(attachment_id: str, reason: Annotated[str, typer.Option(help="why")] = "") -> None:
    """Let all held tools serve again, if the server lists the approved definitions again."""
    value = client().post(f"/v1/attachments/{attachment_id}/resolve", {"reason": reason})
    if not show(value):
        output.text(f"{value['id']}  {value['state']} ({value['reason']})")


def onto(pack: typer.Typer) -> None:
    """Adds these to `worka pack`."""
    pack.command("diff")(diff)
    pack.command("review")(review)
    pack.command("recorded")(recorded)
    pack.add_typer(attachment, name="attachment")
    pack.add_typer(held, name="held")
