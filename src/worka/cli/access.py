"""`worka access` and `worka decision`: who may do what and why, and what was decided."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.people import someone
from worka.cli.shell import client, show

access = typer.Typer(no_args_is_help=True, help="Who may do what, and why.")
decision = typer.Typer(no_args_is_help=True, help="Recorded decisions.")
EXIT = {"allow": 0, "deny": 5, "ask": 6}
Fact = Annotated[
    list[str] | None, typer.Option("--fact", help="NAME=VALUE, what is not known of the thing itself; may be repeated")
]
Behind = Annotated[str | None, typer.Option("--for", help="the person on whose behalf it would be done")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="lines of one page")]
Cursor = Annotated[str | None, typer.Option(help="go on after the page before")]
All = Annotated[bool, typer.Option("--all", help="every page, to the end")]


@access.command("why")
def access_why(
    principal: Annotated[str, typer.Argument(help="an id, a name or an e-mail of the workspace; `me`")],
    action: Annotated[str, typer.Argument(help="such as task.create")],
    resource: Annotated[str, typer.Argument(help="an id or a name; `*`: a new one, or any")] = "*",
    behind: Behind = None,
    fact: Fact = None,
) -> None:
    """Why somebody may or may not do something (0 may, 5 may not, 6 needs an approval)."""
    api = client()
    who = someone(api, principal)
    on_behalf_of = someone(api, behind) if behind else None
    value = api.get(
        api.ws("/access/why"), principal=who, action=action, resource=resource, on_behalf_of=on_behalf_of, fact=fact
    )
    told(value)


@access.command("can-i")
def access_can_i(
    action: Annotated[str | None, typer.Argument(help="such as pack.attach; without one: the six permissions")] = None,
    resource: Annotated[str, typer.Argument(help="an id or a name; `*`: a new one, or any")] = "*",
    fact: Fact = None,
) -> None:
    """Whether I may do something here (0 yes, 5 no, 6 after an approval), and whom to ask; or my six permissions."""
    api = client()
    if action is None:
        six(api.get(api.ws("/access")))
        return
    told(api.get(api.ws("/access/can"), action=action, resource=resource, fact=fact))


def six(value: Any) -> None:
    """The six permissions of the caller, and who holds those that are lacking."""
    if show({key: value[key] for key in ("principal", "role", "approver", "permissions", "also")}):
        return
    mark = " and named approver" if value["approver"] else ""
    output.text(f"{value['principal']['name']}: {value['role'] or 'no member'}{mark}")
    for row in value["matrix"]["permissions"]:
        if row["core"]:
            yes = value["permissions"][row["name"]]
            ask = "" if yes else f"  (ask {' or '.join(row['roles']) or 'nobody'})"
            words = f"{row['name'].replace('_', ' ')}: {row['words']}{ask}"
            output.out.print(f"  {'[green]✓[/]' if yes else '[red]✗[/]'} {output.escape(words)}")
            # An action is under the permission that it needs, which its own name does not tell.
            output.out.print(f"      [dim]{output.escape(', '.join(row['actions']))}[/]")


@access.command("list")
def access_list(
    action: Annotated[str | None, typer.Option(help="who can do this; with --principal: on what")] = None,
    principal: Annotated[
        str | None, typer.Option(help="what this one can do: an id, a name or an e-mail; `me`")
    ] = None,
    resource: Annotated[str | None, typer.Option(help="on this thing: an id or a name")] = None,
    behind: Behind = None,
    fact: Fact = None,
    verdict: Annotated[str | None, typer.Option(help="allow, ask or deny; default: allow and ask")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    everything: All = False,
) -> None:
    """Who can do an action, what somebody can do, or on what: complete, page by page."""
    api = client()
    query: dict[str, Any] = {"fact": fact, "verdict": verdict}
    if principal is None:
        if action is None or behind is not None:
            raise typer.BadParameter("name an action (who can do it), or a principal (what can they do), or both")
        path, columns = "/access/principals", ["kind", "id", "name", "verdict", "permitted_by", "reasons"]
        query |= {"action": action, "resource": resource or "*"}
        empty = f"Nobody in this workspace can do {action}."
    else:
        query |= {"principal": someone(api, principal), "on_behalf_of": someone(api, behind) if behind else None}
        if action is not None and resource is None:
            path, columns = "/access/resources", ["type", "id", "name", "verdict", "permitted_by", "reasons"]
            query["action"] = action
            empty = f"There is nothing here on which {principal} can do {action}."
        elif action is not None:
            raise typer.BadParameter("of one principal, action and resource there is one answer: worka access why")
        else:
            path, columns = "/access/actions", ["action", "resource_type", "verdict", "permitted_by", "reasons"]
            query["resource"] = resource
            empty = f"{principal} can do nothing here."
    listed(api, api.ws(path), columns, empty, limit, cursor, everything, **query)


@access.command("matrix")
def access_matrix() -> None:
    """What each role holds, and what I hold here."""
    api = client()
    value = api.get(api.ws("/access"))
    if show(value):
        return
    mine = value["permissions"] | dict.fromkeys(value["also"], True)
    rows = [
        {
            "permission": row["name"].replace("_", " "),
            "held by": ", ".join(row["roles"]) or "nobody",
            "you": "yes" if mine.get(row["name"]) else "no",
            "what it is": row["words"],
        }
        for row in value["matrix"]["permissions"]
    ]
    output.table(rows, ["permission", "held by", "you", "what it is"], "")


@access.command("unused")
def access_unused(days: Annotated[int, typer.Option(min=1, max=90, help="how far back")] = 30) -> None:
    """Who holds a role that is wider than what they did, with the change that narrows it."""
    api = client()
    value = api.get(api.ws("/access/unused"), days=days)
    if show(value):
        return
    output.text(value["sentence"])
    for item in value["items"]:
        output.text(f"  {item['words']}")
        output.text(f"    would go: {', '.join(name.replace('_', ' ') for name in item['unused'])}")
        if item["looks"]:
            output.text(f"    leaves no record, so ask them: {'; '.join(item['looks'])}")
        output.text(f"    → {item['command']}")


@decision.command("show")
def decision_show(decision_id: str) -> None:
    """A recorded decision, with the rules of that day."""
    value = client().get(f"/v1/decisions/{decision_id}")
    if not show(value):
        output.record(value)


@decision.command("list")
def decision_list(
    verdict: Annotated[str | None, typer.Option(help="allow, deny or ask")] = None,
    action: Annotated[str | None, typer.Option(help="such as tool.invoke")] = None,
    principal: Annotated[
        str | None, typer.Option(help="who acted or was behind it: an id, a name or an e-mail")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    everything: All = False,
) -> None:
    """Recorded decisions, newest first: all of the workspace for who reads evidence, else those about oneself."""
    api = client()
    query = {"verdict": verdict, "action": action, "principal": someone(api, principal) if principal else None}
    columns = ["id", "at", "verdict", "action", "principal_id", "resource_type", "resource_id", "reasons"]
    listed(api, api.ws("/decisions"), columns, "No such decision was recorded.", limit, cursor, everything, **query)


@decision.command("replay")
def decision_replay(decision_id: str) -> None:
    """Evaluate a recorded decision again with the policy of its day (1: it differs, or cannot be reconstructed)."""
    value = client().get(f"/v1/decisions/{decision_id}/replay")
    if not show(value):
        then = value["recorded"]
        output.text(f"{value['id']}  {value['action']}, decided {then['at']}")
        output.text(f"  then  {then['verdict']} by {', '.join(then['rules'])}")
        if value["could_not_reconstruct"]:
            output.text(f"  now   could not reconstruct: {value['could_not_reconstruct']}")
        else:
            output.text(f"  now   {value['verdict']} by {', '.join(value['rules'])}")
            output.text("  the same verdict, rules and reasons" if value["same"] else "  NOT the same")
    raise typer.Exit(0 if value["same"] else 1)


def told(value: Any) -> None:
    """Prints an answer for its kind of reader and ends with its exit code."""
    if not show(value):
        mark = {"allow": "[green]✓[/]", "ask": "[yellow]?[/]", "deny": "[red]✗[/]"}[value["verdict"]]
        output.out.print(f"{mark} [bold]{output.escape(value['headline'])}[/]")
        output.text(f"  {value['verdict']} · {value['reason']} · {value['layer']} · needs {value['permission']}")
        for step in value.get("trail") or []:
            output.text(f"  {step['step']}: {step['verdict']}")
            for said in step["says"]:
                output.text(f"    {said}")
            for rule in step["rules"]:
                output.text(f"    {rule['rule']} ({rule['source']})")
                for line in (rule["text"] or "").splitlines():
                    output.text(f"      │ {line}")
        for actor in (value.get("inputs") or {}).get("actors", []):
            roles = ", ".join(actor["roles"]) or "none"
            able = "" if actor["enabled"] else ", disabled"
            output.text(f"  asked for {actor['kind']} {actor['id']}: roles {roles}{able}")
        if value["ignored_facts"]:
            output.text(f"  not counted: {', '.join(value['ignored_facts'])} (known of the thing itself)")
        if value["remedy"]:
            output.out.print(f"  [bold]remedy[/] {output.escape(value['remedy'])}")
        if value["decision_id"]:
            output.text(f"  decision {value['decision_id']}")
    raise typer.Exit(EXIT[value["verdict"]])


def listed(
    api: Client,
    path: str,
    columns: list[str],
    empty: str,
    limit: int,
    cursor: str | None,
    everything: bool,
    **query: Any,
) -> None:
    """One page, or all of them; a page that is not the last says so."""
    items: list[Any] = []
    while True:
        page = api.get(path, limit=200 if everything else limit, cursor=cursor, **query)
        items += page["items"]
        cursor = page["next"]
        if not (everything and cursor):
            break
    if not show({"items": items, "next": cursor}):
        rows = [
            {**item, **{k: ", ".join(map(str, v)) for k, v in item.items() if isinstance(v, list)}} for item in items
        ]
        output.table(rows, columns, empty)
        if cursor:
            output.talk.print(f"[dim]more: --cursor {cursor}, or --all[/]")
