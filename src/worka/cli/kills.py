"""`worka kill`: stop a release, secret, destination, member, workspace or tenant; see what that touches; lift it in stages."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.people import ID, someone
from worka.cli.shell import client, show

kill = typer.Typer(no_args_is_help=True, help="Kill switches: stop something in every process, from the next call on.")
Tenant = Annotated[str, typer.Option("--tenant", help="as the operator: over this tenant; nobody of it can lift that")]
KINDS = ("release", "secret", "destination", "member", "workspace", "tenant")


@kill.command("on")
def kill_on(
    kind: Annotated[str, typer.Argument(help="release, secret, destination, member, workspace or tenant")],
    subject: Annotated[
        str, typer.Argument(help="its id; a member: also a name or an e-mail; a destination: host, *.host or host:port")
    ],
    reason: Annotated[str, typer.Option(help="why: whoever is stopped reads it")] = "",
    everywhere: Annotated[bool, typer.Option(help="in the whole tenant, not in this workspace alone")] = False,
    tenant: Tenant = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    dry_run: Annotated[bool, typer.Option(help="show what it would touch, and stop nothing")] = False,
) -> None:
    """Show what a kill switch touches, ask, and set it."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind} is not one of {', '.join(KINDS)}")
    if not reason and not dry_run:
        raise typer.BadParameter("--reason is needed: whoever is stopped reads it")
    api = client()
    if kind == "member":
        subject = _member(api, subject, tenant)
    if tenant:
        _on_in_tenant(api, {"tenant_id": tenant, "kind": kind, "subject": subject, "reason": reason}, yes, dry_run)
        return
    target = {"kind": kind, "subject": subject, "everywhere": everywhere}
    touched = api.post(api.ws("/kill-previews"), target)
    if dry_run:
        # A preview is for whoever may look: that stopping it is refused, only the attempt itself says.
        api.change("POST", api.ws("/kills"), {**target, "reason": reason or "a dry run"}, dry_run=True)
        if not show(touched):
            _say_touched(touched)
            output.text("dry run: nothing was stopped")
        return
    if not yes:
        _say_touched(touched, err=True)
        typer.confirm(f"Stop the {kind} {touched['name']}?", abort=True, err=True)
    value = api.post(api.ws("/kills"), {**target, "reason": reason})
    if not show(value):
        _say(value)


def _member(api: Client, who: str, tenant: str) -> str:
    """The id of the member that is meant. Raises Failed, BadParameter."""
    if tenant and not ID.fullmatch(who):
        raise typer.BadParameter(
            "with --tenant a member is named by the id: the operator does not read who is in a tenant"
        )
    return someone(api, who)


def _on_in_tenant(api: Client, body: dict[str, str], yes: bool, dry_run: bool) -> None:
    """The operator's: how much it touches is said by setting it and undoing that; what it is, is the tenant's to see."""
    if dry_run or not yes:
        tried = api.change(
            "POST", "/v1/deployment/kills", {**body, "reason": body["reason"] or "a dry run"}, dry_run=True
        )
        if dry_run:
            if not show({"would": body, "counts": tried["counts"]}):
                _say_counts(tried)
                output.text("dry run: nothing was stopped")
            return
        _say_counts(tried, err=True)
        typer.confirm(f"Stop the {body['kind']} {body['subject']} in {body['tenant_id']}?", abort=True, err=True)
    value = api.post("/v1/deployment/kills", body)
    if not show(value):
        _say(value, numbers=True)


def _say_counts(tried: dict[str, Any], err: bool = False) -> None:
    said = f"{tried['subject']}: this touches {_amounts(tried['counts'])} now"
    (output.talk if err else output.out).print(output.escape(said))


def _amounts(counts: dict[str, Any]) -> str:
    from worka.governance.hanging import in_words

    plain = [f"{counts[name]} {name}" for name in ("workspaces", "attachments", "tasks", "calls")]
    return ", ".join([*plain, *in_words(counts["hangs"])])


def _say_touched(value: dict[str, Any], err: bool = False) -> None:
    place = output.talk if err else output.out
    place.print(f"[bold]{output.escape(value['name'])}[/]: what this touches")
    for name in ("workspaces", "attachments", "tasks", "calls"):
        place.print(f"  {len(value[name]):>4} {name}{' under way' if name in ('tasks', 'calls') else ''}")
    for line in _also(value):
        place.print(f"  {output.escape(line)}")
    for row in value["attachments"]:
        place.print(f"       {row['id']} {output.escape(row['pack'])} in {row['workspace_id']}")
    recorded = value["recorded"]
    place.print(f"  {recorded['total']:>4} calls of the last {recorded['days']} days would have been refused")
    for row in value["tasks"]:
        place.print(f"       {row['id']} {output.escape(row['title'])} ({row['state']})")


def _say_again(api: Client, row: dict[str, Any]) -> None:
    """What the switch stops now, and would run again; in the whole tenant only for whoever is shown that."""
    target = {"kind": row["kind"], "subject": row["subject"], "everywhere": row["workspace_id"] is None}
    try:
        found = api.post(api.ws("/kill-previews"), target)
    except Failed as failed:
        output.text(f"what would run again is not shown to you: {failed}")
        return
    counts = [f"{len(found[name])} {name}" for name in ("attachments", "tasks") if found[name]]
    output.text(f"would run again: {', '.join([*counts, *_counted(found)]) or 'nothing that is here now'}")
    for thing in (*found["attachments"], *found["tasks"], *(found.get("hangs") or [])):
        output.text(f"  {thing['id']} {thing.get('pack') or thing.get('title') or thing.get('name')}")


def _counted(value: dict[str, Any]) -> list[str]:
    from worka.governance.hanging import counted

    return counted(value.get("hangs") or [])


def _also(value: dict[str, Any]) -> list[str]:
    """What else hangs on it, a line each."""
    hangs = value.get("hangs") or []
    lines = [f"{number:>4} {words}" for number, _, words in (text.partition(" ") for text in _counted(value))]
    return [*lines, *(f"     {row['id']} {row['name']}" for row in hangs)]


def _say(value: dict[str, Any], numbers: bool = False) -> None:
    output.text(f"{value['id']}  {value['state']}  {value['sentence']}")
    if value["exempt"]:
        output.text(f"  on trial it is lifted for {', '.join(value['exempt'])}")
    cut = (
        "how much; what it was, is the tenant's to see"
        if numbers
        else "in this workspace; the rest is an owner's to see"
    )
    output.text(
        f"  receipt: {_amounts(value['counts'])} when it was set" + (f" ({cut})" if value["receipt_cut"] else "")
    )
    if value["who_can_lift"]:
        output.text(f"  {value['who_can_lift']}")


@kill.command("list")
def kill_list(limit: Annotated[int, typer.Option(min=1, max=200)] = 50, tenant: Tenant = "") -> None:
    """The kill switches that hold, or held, here; with --tenant those of all of a tenant."""
    api = client()
    path, of = ("/v1/deployment/kills", {"tenant_id": tenant}) if tenant else (api.ws("/kills"), {})
    value = api.get(path, limit=limit, **of)
    if not show(value):
        columns = ["id", "kind", "subject", "state", "reason", "set_by_name", "at"]
        output.table(value["items"], columns, "Nothing was ever stopped here.")


@kill.command("show")
def kill_show(kill_id: str, tenant: Tenant = "") -> None:
    """One of them: who, when, why, its receipt, and who can lift it."""
    api = client()
    value = _in_tenant(api, tenant, kill_id) if tenant else api.get(api.ws(f"/kills/{kill_id}"))
    if not show(value):
        _say(value, numbers=bool(tenant))


def _in_tenant(api: Client, tenant: str, kill_id: str) -> dict[str, Any]:
    """A kill switch over a tenant, as its operator sees it. Raises Failed."""
    for row in api.pages("/v1/deployment/kills", most=1000, tenant_id=tenant):
        if row["id"] == kill_id:
            return row
    raise Failed(
        {
            "code": "kill_not_found",
            "title": "There is no such kill switch",
            "detail": f"{kill_id[:60]} is none of the last that hold or held in all of {tenant[:60]}",
            "remedy": f"worka kill list --tenant {tenant}",
        },
        3,
    )


@kill.command("lift")
def kill_lift(
    kill_id: str,
    reason: Annotated[str, typer.Option(help="why it may go on")],
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            "--for", help="on trial: a workspace's id, or a member by id, name or e-mail; without it: for all"
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="take the trial back: it holds for all again")] = False,
    skip_trial: Annotated[bool, typer.Option(help="for all at once, without a trial; the ledger says so")] = False,
    tenant: Tenant = "",
    dry_run: Annotated[bool, typer.Option(help="say what it would do, and lift nothing")] = False,
) -> None:
    """Lift a kill switch: first on trial (--for), then for all."""
    api = client()
    stage = "none" if back else "trial" if exempt else "all"
    exempt = [who if who.startswith("ws_") else _member(api, who, tenant) for who in exempt or []]
    body = {"stage": stage, "exempt": exempt, "reason": reason, "skip_trial": skip_trial}
    if tenant:
        path, sent = "/v1/deployment/lifts", {**body, "tenant_id": tenant, "kill_id": kill_id}
    else:
        path, sent = api.ws(f"/kills/{kill_id}/lift"), body
    value = api.change("POST", path, sent, dry_run=dry_run)
    if dry_run:
        if not show({"would": body, "kill": value}):
            _say(value, numbers=bool(tenant))
            whom = "nobody any more" if back else ", ".join(exempt) or "all"
            if not back and not tenant:
                _say_again(api, value)
            output.text(f"dry run: would lift it for {whom}; nothing was lifted")
        return
    if not show(value):
        _say(value, numbers=bool(tenant))
