"""`worka egress`: the ledger of what goes outside, one destination, a request that is only tried, rules that are only replayed."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.egress_exception import exception
from worka.cli.egress_policy import policy, read_policy, say_replay
from worka.cli.egress_proposals import onto, shown_difference
from worka.cli.egress_trust import say_waiting, trust
from worka.cli.shell import State, client, read_json, show

egress = typer.Typer(
    no_args_is_help=True, help="What goes outside: the ledger, destinations, policy on them, proposals."
)
egress.add_typer(policy, name="policy")
egress.add_typer(trust, name="trust")
egress.add_typer(exception, name="exception")
onto(egress)
Pack = Annotated[str | None, typer.Option(help="of this pack (publisher.name)")]
Attachment = Annotated[str | None, typer.Option("--attachment", help="of this attachment")]
Host = Annotated[str | None, typer.Option(help="to this host, or *.host for every name below it")]
Outcome = Annotated[
    str | None,
    typer.Option(help="answered, upstream_error, upstream_failed, withheld, cut, under_way or refused"),
]
Reason = Annotated[str | None, typer.Option(help="by this reason code")]
Rule = Annotated[str | None, typer.Option(help="by this rule")]
Credential = Annotated[str | None, typer.Option(help="with this connection or secret, by its id")]
Actor = Annotated[str | None, typer.Option(help="done by, or on behalf of, this person, member or account, by its id")]
Since = Annotated[str | None, typer.Option(help="not before: a time with its zone, or an age such as 2h")]
Until = Annotated[str | None, typer.Option(help="before: a time with its zone, or an age such as 2h")]
Invocation = Annotated[str | None, typer.Option("--invocation", help="of this call")]
Everywhere = Annotated[bool, typer.Option(help="of every workspace of the tenant in which you may read it")]
Port = Annotated[int, typer.Option(help="443 or 80")]
MARKS = {
    "answered": "[green]✓[/]", "refused": "[red]✗[/]", "upstream_error": "[yellow]![/]", "upstream_failed": "[yellow]![/]",
    "withheld": "[red]![/]", "cut": "[yellow]·[/]", "under_way": "[dim]…[/]",
}  # fmt: skip


def _wide(everywhere: bool) -> str | None:
    return "true" if everywhere else None


def _place(given: str, port: int) -> tuple[str, int]:
    """`host` or `host:port`."""
    host, colon, named = given.partition(":")
    if colon and not (named.isascii() and named.isdigit()):
        raise typer.BadParameter(f"{given}: host, or host:port")
    return host, int(named) if colon else port


@egress.command("waiting")
def egress_waiting(
    everything: Annotated[bool, typer.Option("--all", help="those too that were recorded, or ended")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """Network exceptions and upstream trust for a name that a credential goes to: they wait for somebody else to agree."""
    api = client()
    rows = [row for row in api.pages(api.ws("/way-changes"), most=1000) if everything or row["state"] == "open"][:limit]
    if show({"items": rows}):
        return
    if not rows:
        output.text("None waits: where a credential goes is as it is recorded.")
    for row in rows:
        if row["state"] == "open":
            say_waiting(row)
        else:
            output.text(f"{row['id']} {row['state']} ({row['reason']}): {row['words']}")


@egress.command("list")
def egress_list(
    pack: Pack = None,
    attachment: Attachment = None,
    invocation: Invocation = None,
    host: Host = None,
    outcome: Outcome = None,
    reason: Reason = None,
    rule: Rule = None,
    credential: Credential = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    everywhere: Everywhere = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """What packs sent out, or tried to: whose, by which rule, with whose credential, and how it ended. Newest first."""
    api = client()
    rows = api.pages(
        api.ws("/egress"), most=limit, pack=pack, attachment_id=attachment, invocation_id=invocation, host=host,
        outcome=outcome, reason=reason, rule=rule, credential=credential, actor=actor, since=since, until=until,
        everywhere=_wide(everywhere),
    )  # fmt: skip
    if show({"items": rows}):
        return
    if not rows:
        output.talk.print("[dim]Nothing went outside, or tried to, that fits.[/]")
    for row in rows:
        _say_row(row)


def _say_row(row: dict[str, Any]) -> None:
    mark = MARKS.get(row["outcome"], "·")
    what = f"{row['method'] or row['kind']} {row['host']}:{row['port']}{row['path'] or ''}"
    times = f" {row['count']}×" if row["count"] > 1 else ""
    ended = f" {row['status']}" if row["status"] else f" {row['reason']}"
    whose = row["pack"] or "the platform itself"
    by = (
        f" for {row['originating_name'] or row['initiator_name']}"
        if row["originating_name"] or row["initiator_name"]
        else ""
    )
    with_ = (
        f" with {row['secret_name'] or row['connection_name']}" if row["connection_name"] or row["secret_name"] else ""
    )
    rule = f" by {row['rule']}" if row["rule"] else ""
    at = str(row["last_at"])[:19].replace("T", " ")
    output.out.print(f"[dim]{at}[/] {mark} {output.escape(what)}{times}{output.escape(ended)}")
    output.out.print(output.escape(f"    {row['id']} {whose}{by}{with_}{rule}"))


@egress.command("show")
def egress_show(egress_id: str) -> None:
    """One row of the ledger. Why it is so: `worka why ID`."""
    value = client().get(f"/v1/egress/{egress_id}")
    if not show(value):
        output.record(value)


@egress.command("count")
def egress_count(
    by: Annotated[
        str, typer.Argument(help="host, pack, rule, reason, outcome, credential, actor or workspace")
    ] = "host",
    pack: Pack = None,
    attachment: Attachment = None,
    host: Host = None,
    outcome: Outcome = None,
    since: Since = "24h",
    everywhere: Everywhere = False,
) -> None:
    """The ledger counted by one thing: what was refused, and what the outside failed at, are two numbers."""
    api = client()
    value = api.get(
        api.ws("/egress/counts"), by=by, pack=pack, attachment_id=attachment, host=host, outcome=outcome, since=since,
        everywhere=_wide(everywhere),
    )  # fmt: skip
    if not show(value):
        columns = ["name", "requests", "refused", "upstream", "bytes_out", "bytes_in", "last_at"]
        output.table(value["items"], columns, "Nothing went outside that fits.")


@egress.command("export")
def egress_export(
    file: Annotated[str, typer.Argument(help="where to; - for standard output")] = "-",
    form: Annotated[str, typer.Option("--format", help="csv or ndjson")] = "csv",
    pack: Pack = None,
    attachment: Attachment = None,
    host: Host = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    everywhere: Everywhere = False,
) -> None:
    """All rows that fit, as a file."""
    if form not in ("csv", "ndjson"):
        raise typer.BadParameter(f"--format {form} is neither csv nor ndjson")
    api = client()
    answer = api.send(
        "GET", api.ws("/egress/export"), pack=pack, attachment_id=attachment, host=host, outcome=outcome, since=since,
        until=until, everywhere=_wide(everywhere), format=form,
    )  # fmt: skip
    if file == "-":
        sys.stdout.write(answer.text)
        return
    with open(file, "wb") as out:
        out.write(answer.content)
    value = {"file": file, "bytes": len(answer.content)}
    if not show(value):
        output.record(value)


@egress.command("tail")
def egress_tail(
    pack: Pack = None,
    attachment: Attachment = None,
    host: Host = None,
    outcome: Outcome = None,
    most: Annotated[int, typer.Option("--most", min=0, help="end after so many rows; 0: go on until you stop it")] = 0,
) -> None:
    """The ledger as it is written: a row when its request was decided, and again when its outcome changed."""
    api = client()
    asked = {"pack": pack, "attachment_id": attachment, "host": host, "outcome": outcome}
    rows = api.events(api.ws("/egress/stream"), **{name: value for name, value in asked.items() if value})
    for seen, row in enumerate(rows, 1):
        if "reason" in row and "id" not in row:
            raise Failed(
                {"code": "no_longer_allowed", "title": "You may not follow the ledger any more", "detail": row["reason"],
                 "remedy": "Ask an owner of the workspace."},
                5,
            )  # fmt: skip
        if State.form == "text":
            _say_row(row)
        else:
            print(output.visible(json.dumps(row, ensure_ascii=False)), flush=True)
        if most and seen >= most:
            return


@egress.command("destinations")
def egress_destinations(
    pack: Pack = None,
    attachment: Attachment = None,
    everywhere: Everywhere = False,
    days: Annotated[int, typer.Option(min=1, max=90)] = 30,
) -> None:
    """Every destination that attached packs may reach, before any call was made, with the accounts behind each."""
    api = client()
    value = api.get(
        api.ws("/egress/destinations"), pack=pack, attachment_id=attachment, days=days, everywhere=_wide(everywhere)
    )
    if show(value):
        return
    if not value["items"]:
        output.talk.print("[dim]No attached pack may reach anything outside.[/]")
    for row in value["items"]:
        _say_reachable(row)
    if value["unseen"]:
        output.talk.print(f"[dim]{value['unseen']} workspaces are not yours to see.[/]")


def _say_reachable(row: dict[str, Any]) -> None:
    methods = "what nobody reads here" if row["unread"] else ", ".join(row["methods"]) or "what the tool's class sends"
    paths = f" at {', '.join(row['paths'])}" if row["paths"] else ""
    ports = ", ".join(map(str, row["ports"]))
    used = f"{row['requests']} requests, last {str(row['last_at'])[:10]}" if row["requests"] else "never used"
    output.out.print(f"[bold]{output.escape(row['host'])}[/]:{ports}  {output.escape(f'{methods}{paths}')}")
    output.text(
        f"    {row['pack']} {row['version']} ({row['attachment_id']}, {row['attachment_state']}) by {row['rule']}"
    )
    output.text(
        f"    since {str(row['since'])[:10]}, attached by {row['attached_by_name'] or row['attached_by']}; {used}"
    )
    for need in row["connections"]:
        whose = f" of {need['owner_name']}" if need["owner_name"] else ""
        granted = "" if need["granted"] else ", not granted"
        secret = f", {need['secret_name']}" if need["secret_name"] else ""
        output.text(
            f"    {need['provider']}: {need['name'] or 'no connection'}{whose} ({need['state']}{secret}{granted})"
        )
    for line in row["stopped"]:
        output.out.print(f"    [red]stopped[/] {output.escape(line)}")


@egress.command("destination")
def egress_destination(
    host: Annotated[str, typer.Argument(help="host, or host:port")],
    port: Port = 443,
    everywhere: Everywhere = False,
    days: Annotated[int, typer.Option(min=1, max=90)] = 30,
) -> None:
    """One destination: which packs may reach it and did, with whose credential, under which rule, since when."""
    api = client()
    name, number = _place(host, port)
    value = api.get(api.ws(f"/egress/destinations/{name}"), port=number, days=days, everywhere=_wide(everywhere))
    if show(value):
        return
    output.text(value["sentence"])
    for row in value["allowed"]:
        _say_reachable(row)
    for row in value["used"]:
        with_ = row["secret_name"] or row["connection_name"] or "no credential"
        whose = f" of {row['owner_name']}" if row["owner_name"] else ""
        output.text(
            f"  went there: {row['pack']} under {row['rule'] or 'no rule'} with {with_}{whose}: {row['requests']} requests,"
            f" {row['refused']} refused, {str(row['first_at'])[:10]} to {str(row['last_at'])[:10]}"
        )
    for row in value["people"]:
        output.text(f"  on behalf of {row['name'] or row['id']}: {row['requests']} requests")
    for kill in value["kills"]:
        output.text(f"  stopped by {kill['id']}: {kill['reason']}")


@egress.command("blast")
def egress_blast(
    host: Annotated[str, typer.Argument(help="host, or host:port")],
    port: Port = 443,
    svg: Annotated[str, typer.Option(help="write the picture to this file")] = "",
) -> None:
    """What goes to a destination, with which credentials, and what breaks without it."""
    from worka.cli.lifecycle import say_reach

    api = client()
    name, number = _place(host, port)
    path = api.ws(f"/egress/destinations/{name}/reach")
    value = api.get(path, port=number)
    if svg:
        with open(svg, "w", encoding="utf-8") as out:
            out.write(api.send("GET", f"{path}.svg", port=number).text)
    if not show(value):
        say_reach(value)


@egress.command("try")
def egress_try(
    attachment: Annotated[str, typer.Argument(help="the attachment whose pack would ask")],
    host: Annotated[str, typer.Argument(help="host, or host:port")],
    method: Annotated[str, typer.Option(help="GET, POST, …")] = "GET",
    path: Annotated[str, typer.Option(help="the path, with or without a query")] = "/",
    port: Port = 443,
    tool: Annotated[
        str | None, typer.Option(help="the tool that would ask; without it the widest class of the pack's tools")
    ] = None,
    websocket: Annotated[bool, typer.Option("--websocket", help="it asks to become a WebSocket")] = False,
    resolve: Annotated[bool, typer.Option("--resolve/--no-resolve", help="have the broker look the name up")] = True,
) -> None:
    """What would become of a request, step by step. Nothing is sent. Exit code 5 where it would be refused."""
    api = client()
    name, number = _place(host, port)
    body = {
        "attachment_id": attachment,
        "host": name,
        "port": number,
        "method": method,
        "path": path,
        "websocket": websocket,
        "resolve": resolve,
    }
    value = api.post(api.ws("/egress/tries"), {**body, **({"tool": tool} if tool else {})})
    if not show(value):
        output.out.print(f"[bold]{output.escape(value['sentence'])}[/]")
        for step in value["steps"]:
            output.out.print(
                f"  {output.MARKS.get(step['state'], '·')} {step['name']}  [dim]{output.escape(step['detail'])}[/]"
            )
        for item in value["addresses"]:
            output.text(f"    {item['address']}  {item['refused'] or 'public'}")
        if value["rule"]:
            output.text(f"  rule      {value['rule']}")
        if value["credential"]:
            found = value["credential"]
            output.text(f"  credential {found['secret_name'] or '-'} of {found['name']}, {found['placed']}")
        if value["remedy"]:
            output.out.print(f"  [bold]remedy[/] {output.escape(value['remedy'])}")
    if value["verdict"] == "denied":
        raise typer.Exit(5)


@egress.command("replay")
def egress_replay(
    policy_file: Annotated[str, typer.Option("--policy", help="a policy on destinations: JSON, or @file")] = "",
    domains: Annotated[
        str, typer.Option("--outbound-domains", help="a manifest's outbound_domains: a JSON list, or @file")
    ] = "",
    proposal: Annotated[str, typer.Option(help="what a proposal would change")] = "",
    attachment: Attachment = None,
    pack: Pack = None,
    scope: Annotated[str, typer.Option(help="of a policy: tenant or workspace")] = "workspace",
    since: Since = "24h",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """Which requests of the last day (or of a window) other rules would decide otherwise, both ways. Nothing is changed."""
    api = client()
    if sum(map(bool, (policy_file, domains, proposal))) != 1:
        raise typer.BadParameter("one of --policy, --outbound-domains and --proposal")
    body = _replayed(api, policy_file, domains, proposal, attachment, pack, scope)
    value = api.post(api.ws("/egress/replays"), body, since=since, limit=limit)
    if not show(value):
        say_replay(value)


def _replayed(
    api: Client, policy_file: str, domains: str, proposal: str, attachment: str | None, pack: str | None, scope: str
) -> dict[str, Any]:
    if proposal:
        return shown_difference(api, proposal)
    if policy_file:
        return {"policy": read_policy(policy_file), "scope": scope}
    items = read_json(f'{{"items": {domains}}}')["items"] if not domains.startswith("@") else _list_of(domains)
    return {
        "outbound": items,
        **({"attachment_id": attachment} if attachment else {}),
        **({"pack": pack} if pack else {}),
    }


def _list_of(named: str) -> list[Any]:
    try:
        with open(named[1:], encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{named}: {error}") from error
    found = value.get("outbound_domains") if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise typer.BadParameter(f"{named}: a list, or a manifest")
    return found
