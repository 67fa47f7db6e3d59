"""`worka approvals` and `worka group`: what waits for a person, deciding it, and who may."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.people import someone
from worka.cli.shell import asked_for_code, client, show

approvals = typer.Typer(no_args_is_help=True, help="Approvals: consent by a person before a decided action proceeds.")
bypass = typer.Typer(no_args_is_help=True, help="Bypasses: approvals that are let through, for a while and recorded.")
groups = typer.Typer(no_args_is_help=True, help="Groups of people that approval rules name as group:NAME.")
approvals.add_typer(bypass, name="bypass")

DryRun = Annotated[bool, typer.Option("--dry-run", help="check it, say what would be done, and do nothing")]
Until = Annotated[str, typer.Option(help="time (ISO 8601 with its zone) or a span from now such as 8h or 14d")]
Whose = Annotated[str, typer.Option(help="all; mine: your yes is needed; groups: their rules name a group of yours")]


def moment(text: str) -> str:
    """A time, or a span from now, as the API takes it."""
    span = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if span is None:
        return text
    unit = {"m": "minutes", "h": "hours", "d": "days"}[span[2]]
    return (datetime.now(UTC) + timedelta(**{unit: int(span[1])})).isoformat(timespec="seconds")


def group_id(api: Client, wanted: str) -> str:
    """The id of a group by its id or its name. Raises Failed."""
    if wanted.startswith("grp_"):
        return wanted
    found = api.pages(api.ws("/groups"), most=1000)
    fitting = [str(row["id"]) for row in found if row["name"] == wanted.removeprefix("group:")]
    if fitting:
        return fitting[0]
    raise Failed(
        {
            "code": "group_not_found",
            "title": "There is no such group here",
            "detail": f"{wanted}; there are {', '.join(row['name'] for row in found) or 'none'}",
            "remedy": "Make it with `worka group create`.",
        },
        3,
    )


# the inbox and the card ---------------------------------------------------------------------------------------------
@approvals.command("list")
def approvals_list(state: str = "open", whose: Whose = "all", limit: int = 50) -> None:
    """Approvals and what they block."""
    api = client()
    value = api.get(api.ws("/approvals"), state=state, whose=whose, limit=limit)
    if not show(value):
        rows = [
            {**row, "for": ", ".join(str(item.get("name") or item["id"]) for item in row["blocks"])}
            for row in value["items"]
        ]
        columns = ["id", "title", "for", "verb", "state", "since", "expires_at"]
        output.table(rows, columns, f"No approval is {state}.")


@approvals.command("show")
def approvals_show(approval_id: str) -> None:
    """The card: the exact action, its digest and effect, what it blocks, who may decide."""
    value = client().get(f"/v1/approvals/{approval_id}")
    if not show(value):
        output.card(value)


For = Annotated[str | None, typer.Option("--for", help="decide in the place of this person, who delegated it to you")]


Code = Annotated[str, typer.Option(help="a code of your second factor, where the rule wants one; asked for otherwise")]


@approvals.command("approve")
def approvals_approve(
    approval_id: str,
    comment: str = "",
    digest: str | None = None,
    dry_run: bool = False,
    behalf: For = None,
    code: Code = "",
) -> None:
    """Approve exactly what the card shows."""
    decide(approval_id, "approve", comment, digest, dry_run, behalf, code)


@approvals.command("reject")
def approvals_reject(
    approval_id: str,
    comment: str = "",
    digest: str | None = None,
    dry_run: bool = False,
    behalf: For = None,
    code: Code = "",
) -> None:
    """Reject it; what waited for it ends."""
    decide(approval_id, "reject", comment, digest, dry_run, behalf, code)


def decide(
    approval_id: str,
    decision: str,
    comment: str,
    digest: str | None,
    dry_run: bool,
    behalf: str | None = None,
    code: str = "",
) -> None:
    """Sends one decision, bound to the digest that was read."""
    api = client()
    card = api.get(f"/v1/approvals/{approval_id}")
    body: dict[str, Any] = {"decision": decision, "digest": digest or card["digest"], "comment": comment}
    if behalf:
        body["on_behalf_of"] = someone(api, behalf, people=True)
    wanted = card["eligibility"]["eligible"] and card["eligibility"]["step_up"]
    if dry_run:
        # A dry run takes no code: what only a code opens is shown as it is now.
        after = card if wanted else api.change("POST", f"/v1/approvals/{approval_id}/decisions", body, dry_run=True)
        if not show({"would": body, "card": after, "code_needed": wanted}):
            output.card(after)
            asked = ", once a code of your second factor is given: it is shown as it is now" if wanted else ""
            output.out.print(f"  dry run: would {decision}{asked}; nothing was kept")
        return
    if wanted or code:
        body["code"] = code or asked_for_code()
    value = api.post(f"/v1/approvals/{approval_id}/decisions", body)
    if not show(value):
        output.card(value)


@approvals.command("withdraw")
def approvals_withdraw(approval_id: str, dry_run: DryRun = False) -> None:
    """Take back what you asked for; what waited for it ends."""
    value = client().change("POST", f"/v1/approvals/{approval_id}/withdraw", dry_run=dry_run)
    if not show({"would": "withdraw", "card": value} if dry_run else value):
        output.card(value)
        if dry_run:
            output.out.print("  dry run: would take it back; nothing was kept")


@approvals.command("decide")
def approvals_decide(
    batch: Annotated[
        str,
        typer.Option("--batch", help="ids, with commas; or a file of items {approval_id, decision, digest, comment}"),
    ],
    decision: Annotated[str, typer.Option(help="of what names none: approve, reject or skip")] = "skip",
    veto: Annotated[
        list[str] | None, typer.Option(help="an id that is rejected, whatever is said of the others")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="an id that is left alone")] = None,
    comment: str = "",
    code: Code = "",
    dry_run: DryRun = False,
) -> None:
    """Decide many at once, each by itself: approve, veto or skip. A file may be the output of `worka approvals list -o json`.

    Ends with 0 when each was decided or left alone as asked, 7 when some could not be."""
    api = client()
    items = [_chosen(api, item, decision, set(veto or ()), set(skip or ()), comment) for item in _items(batch)]
    body: dict[str, Any] = {"items": [{key: item[key] for key in item if key != "title"} for item in items]}
    if code and not dry_run:
        body["code"] = code
    value = api.change("POST", api.ws("/approvals/decisions"), body, dry_run=dry_run)
    if not show({"would": items, **value} if dry_run else value):
        titles = {item["approval_id"]: item["title"] for item in items}
        rows = [
            {**row, "title": titles.get(row["approval_id"]), "why": (row["problem"] or {}).get("detail", "")}
            for row in value["results"]
        ]
        output.table(rows, ["approval_id", "title", "decision", "result", "state", "why"], "Nothing was decided.")
        if dry_run:
            output.out.print("  dry run: each as it would be; nothing was kept")
    raise typer.Exit(7 if value["refused"] else 0)


def _items(batch: str) -> list[dict[str, Any]]:
    """The items of a file (JSON, JSON lines or YAML), or of ids on the command line."""
    if re.fullmatch(r"apr_[0-9a-z]{26}(,apr_[0-9a-z]{26})*", batch):
        return [{"approval_id": name} for name in batch.split(",")]
    try:
        text = Path(batch).read_text()
    except OSError as error:
        raise typer.BadParameter(
            f"--batch is neither ids nor a file that can be read: {batch}: {error.strerror}"
        ) from error
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            try:
                found = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise typer.BadParameter(f"{batch} is neither JSON nor YAML") from error
    if isinstance(found, dict):
        found = found.get("items", [found])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise typer.BadParameter(f"{batch} holds no list of items")
    items = [{**item, "approval_id": item.get("approval_id") or item.get("id")} for item in found]
    if not items or not all(isinstance(item["approval_id"], str) for item in items):
        raise typer.BadParameter(f"{batch}: each item names its approval_id")
    return items


def _chosen(
    api: Client, item: dict[str, Any], decision: str, veto: set[str], skip: set[str], comment: str
) -> dict[str, Any]:
    name = item["approval_id"]
    said = "skip" if name in skip else "reject" if name in veto else item.get("decision") or decision
    digest, title = item.get("digest"), item.get("title", "")
    if digest is None:
        # Bound to what is read now, and shown by --dry-run.
        card = api.get(f"/v1/approvals/{name}")
        digest, title = card["digest"], card["title"]
    return {
        "approval_id": name, "decision": said, "digest": digest, "title": title,
        "comment": item.get("comment") or comment,
    }  # fmt: skip


# delegation ---------------------------------------------------------------------------------------------------------
@approvals.command("delegate")
def approvals_delegate(
    to: Annotated[str, typer.Option(help="the person: e-mail address, name or id")],
    until: Until,
    scope: Annotated[str, typer.Option("--for", help="all, or the name of one group whose seat is delegated")] = "all",
    dry_run: DryRun = False,
) -> None:
    """Let somebody decide in your place until a date."""
    api = client()
    body = {
        "to": someone(api, to, people=True), "until": moment(until), "scope": scope.removeprefix("group:"), "dry_run": dry_run,
    }  # fmt: skip
    value = api.post(api.ws("/delegations"), body)
    if not show(value):
        what = "all that you may decide" if value["scope"] == "all" else f"for your seat of group:{value['scope']}"
        done = "would decide" if dry_run else "decides"
        output.text(f"{value['to']['name']} {done} in your place until {value['until']}: {what}")
        output.out.print("  dry run: nothing was kept" if dry_run else f"  [dim]{value['id']}[/]")


@approvals.command("delegations")
def approvals_delegations(
    in_force: Annotated[bool, typer.Option("--in-force/--all", help="those that hold now, or all")] = True,
    limit: int = 50,
) -> None:
    """Who decides in whose place, and until when."""
    api = client()
    value = api.get(api.ws("/delegations"), in_force=in_force, limit=limit)
    if not show(value):
        columns = ["id", "from.name", "to.name", "scope", "until", "state"]
        called = {"from.name": "from", "to.name": "to"}
        output.table(value["items"], columns, "Nothing is delegated.", called)


@approvals.command("undelegate")
def approvals_undelegate(delegation_id: str, dry_run: DryRun = False) -> None:
    """End a delegation before its time."""
    value = client().change("POST", f"/v1/delegations/{delegation_id}/end", dry_run=dry_run)
    if not show({"would": "end", "delegation": value} if dry_run else value):
        output.record(value, skip=("from", "to"))
        if dry_run:
            output.out.print("  dry run: would end it; nothing was kept")


# settings and measures ----------------------------------------------------------------------------------------------
@approvals.command("settings")
def approvals_settings(
    expires_minutes: Annotated[str | None, typer.Option(help="minutes; -: the deployment's")] = None,
    remind_minutes: Annotated[str | None, typer.Option(help="minutes, 0: never; -: the deployment's")] = None,
    remind_times: Annotated[str | None, typer.Option(help="how often; -: the deployment's")] = None,
    escalate_minutes: Annotated[str | None, typer.Option(help="minutes, 0: never; -: the deployment's")] = None,
    escalate_to: Annotated[str | None, typer.Option(help="owners, admins or a group; -: the deployment's")] = None,
    blanket_seconds: Annotated[str | None, typer.Option(help="seconds; -: the deployment's")] = None,
    dry_run: DryRun = False,
) -> None:
    """Show when approvals remind, escalate and expire here; with options, set it."""
    given = {
        "expires_minutes": expires_minutes, "remind_minutes": remind_minutes, "remind_times": remind_times,
        "escalate_minutes": escalate_minutes, "escalate_to": escalate_to, "blanket_seconds": blanket_seconds,
    }  # fmt: skip
    wanted = {name: _setting(name, text) for name, text in given.items() if text is not None}
    api = client()
    value = api.get(api.ws("/approvals/settings"))
    body = {**value["own"], **wanted}
    before = value["own"]
    if wanted:
        value = api.change("PUT", api.ws("/approvals/settings"), body, dry_run=dry_run)
    if not show({"would": body, "now": before, "then": value["holds"]} if dry_run else value):
        rows = [
            {"setting": name, "holds": value["holds"][name], "own": body[name], "would": body[name]} for name in body
        ]
        output.table(rows, ["setting", "holds", "would" if dry_run else "own"], "No settings.")
        if dry_run:
            output.out.print("  dry run: nothing was kept")


def _setting(name: str, text: str) -> str | int | None:
    if text == "-":
        return None
    if name == "escalate_to":
        return text.removeprefix("group:")
    if not text.isdigit():
        raise typer.BadParameter(f"--{name.replace('_', '-')} {text}: a whole number, or -")
    return int(text)


@approvals.command("fatigue")
def approvals_fatigue(days: Annotated[int, typer.Option(min=1, max=365)] = 30) -> None:
    """How everybody decides: how fast, and how often unread."""
    api = client()
    value = api.get(api.ws("/approvals/fatigue"), days=days)
    if not show(value):
        columns = ["votes", "approved", "blanket", "never_opened", "in_batch", "median_seconds", "p90_seconds"]
        rows = [{"who": "all", **value["all"]}, *({"who": row["name"], **row} for row in value["people"])]
        output.table(rows, ["who", *columns, "warning"], "Nobody decided anything.")
        output.table(value["rules"], ["rule", *columns], "No rule was used.")


# bypass -------------------------------------------------------------------------------------------------------------
@bypass.command("open")
def bypass_open(
    why: Annotated[str, typer.Option(help="the reason, kept with each use")],
    until: Until,
    most_uses: Annotated[int, typer.Option(min=1)],
    boundary: Annotated[str | None, typer.Option(help="such as tool.external_side_effect or pack.attach")] = None,
    tool: Annotated[str | None, typer.Option(help="a tool by its whole name")] = None,
    dry_run: DryRun = False,
) -> None:
    """Let approvals of a boundary or tool through, for a while. Another owner has to approve it where there is one."""
    if (boundary is None) == (tool is None):
        raise typer.BadParameter("name one: --boundary or --tool")
    api = client()
    body = {
        "kind": "boundary" if boundary else "tool", "target": boundary or tool, "why": why, "until": moment(until),
        "most_uses": most_uses, "dry_run": dry_run,
    }  # fmt: skip
    value = api.post(api.ws("/bypasses"), body)
    if not show(value):
        output.record(value, skip=("opened_by",))
        if dry_run:
            output.out.print("  dry run: nothing was kept")
        elif value["approval_id"]:
            output.out.print(f"  another owner decides: worka approvals show {value['approval_id']}")
    raise typer.Exit(6 if value["approval_id"] else 0)


@bypass.command("list")
def bypass_list(state: str | None = None, limit: int = 50) -> None:
    """Bypasses, with their uses."""
    api = client()
    value = api.get(api.ws("/bypasses"), state=state, limit=limit)
    if not show(value):
        rows = [{**row, "used": f"{row['uses']} of {row['most_uses']}"} for row in value["items"]]
        output.table(rows, ["id", "target", "state", "used", "until", "opened_by.name", "why"], "There is no bypass.")
        for row in rows:
            if row["held"]:
                output.text(f"{row['id']} lets nothing through now: {row['held']}")


@bypass.command("close")
def bypass_close(bypass_id: str, dry_run: DryRun = False) -> None:
    """End a bypass."""
    value = client().change("POST", f"/v1/bypasses/{bypass_id}/close", dry_run=dry_run)
    if not show({"would": "close", "bypass": value} if dry_run else value):
        output.record(value, skip=("opened_by",))
        if dry_run:
            output.out.print("  dry run: would close it; nothing was kept")


# groups -------------------------------------------------------------------------------------------------------------
People = Annotated[list[str] | None, typer.Option(help="a person: e-mail address, name or id")]


@groups.command("list")
def group_list(limit: int = 50) -> None:
    """The groups of the workspace."""
    api = client()
    value = api.get(api.ws("/groups"), limit=limit)
    if not show(value):
        rows = [{**row, "people": ", ".join(member["name"] for member in row["members"])} for row in value["items"]]
        output.table(rows, ["id", "name", "purpose", "people"], "No groups yet: worka group create.")


@groups.command("show")
def group_show(name: str) -> None:
    """One group, by name or id: who is in it, and whose approval counts."""
    api = client()
    told(api.get(f"/v1/groups/{group_id(api, name)}"))


def told(value: dict[str, Any], would: str = "") -> None:
    """A group, for people or machines; `would`: it is what a dry run would come to."""
    if not show({"would": would, "group": value} if would else value):
        output.record(value, skip=("members",))
        output.table(value["members"], ["id", "name", "counts", "because"], "Nobody is in it.")
        if would:
            output.out.print(f"  dry run: would {would}; nothing was kept")


@groups.command("create")
def group_create(name: str, purpose: str = "", add: People = None, dry_run: DryRun = False) -> None:
    """Make a group. It gives nobody the permission to approve; it says whose approval counts for which seat."""
    api = client()
    body = {"name": name, "purpose": purpose, "members": [someone(api, wanted, people=True) for wanted in add or ()]}
    told(api.change("POST", api.ws("/groups"), body, dry_run=dry_run), "make it" if dry_run else "")


@groups.command("change")
def group_change(
    name: str, purpose: str | None = None, add: People = None, remove: People = None, dry_run: DryRun = False
) -> None:
    """Change who is in a group, or what it is for."""
    api = client()
    body: dict[str, Any] = {
        "add": [someone(api, wanted, people=True) for wanted in add or ()],
        "remove": [someone(api, wanted, people=True) for wanted in remove or ()],
    }
    if purpose is not None:
        body["purpose"] = purpose
    path = f"/v1/groups/{group_id(api, name)}"
    told(api.change("PATCH", path, body, dry_run=dry_run), "change it so" if dry_run else "")


@groups.command("delete")
def group_delete(name: str, dry_run: DryRun = False) -> None:
    """Delete a group that no open approval waits for."""
    api = client()
    path = f"/v1/groups/{group_id(api, name)}"
    value = api.get(path)
    api.change("DELETE", path, dry_run=dry_run)
    if not show({"would": "delete", "group": value} if dry_run else {"deleted": value["id"]}):
        output.text(f"{value['name']}: {'would be deleted; nothing was kept' if dry_run else 'deleted'}")
