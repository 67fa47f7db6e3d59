"""`worka egress propose` and what becomes of it: accepted, a release with a move to it, or a change of policy."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import client, show

DryRun = Annotated[bool, typer.Option(help="do all of it and undo it: refused and answered as it would be")]
Why = Annotated[str, typer.Option(help="why: it stands in the proposal and in the ledger")]
Again = Annotated[bool, typer.Option("--again", help="although the same was rejected before")]
Days = Annotated[int, typer.Option(min=1, max=90, help="how far back use is counted")]


def onto(app: typer.Typer) -> None:
    """Adds these commands to `worka egress`."""
    app.command("propose")(propose)
    app.command("proposals")(proposals)
    app.command("proposal")(proposal)
    app.command("accept")(accept)
    app.command("reject")(reject)
    app.command("unused")(unused)
    app.command("narrow")(narrow)


def propose(
    egress_id: Annotated[str, typer.Argument(help="the refused row: `worka egress list --outcome refused`")],
    why: Why = "",
    method: Annotated[str | None, typer.Option(help="of a refused lookup alone: what would be asked")] = None,
    path: Annotated[str | None, typer.Option(help="of a refused lookup alone: for what")] = None,
    port: Annotated[int | None, typer.Option(help="of a refused lookup alone: 443 or 80")] = None,
    again: Again = False,
    dry_run: DryRun = False,
) -> None:
    """Propose that exactly what was refused be let through: never more."""
    api = client()
    given = {"method": method, "path": path, "port": port}
    body = {"egress_id": egress_id, "why": why, "again": again, **{key: item for key, item in given.items() if item}}
    value = api.change("POST", api.ws("/egress-proposals"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        _say(value, dry_run)


def proposals(
    state: Annotated[str | None, typer.Option(help="open, accepted, rejected or superseded")] = None,
    attachment: Annotated[str | None, typer.Option("--attachment", help="of this attachment")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """What was proposed here of what packs reach."""
    api = client()
    value = api.get(api.ws("/egress-proposals"), state=state, attachment_id=attachment, limit=limit)
    if not show(value):
        output.table(
            value["items"],
            ["id", "pack", "kind", "words", "times", "state", "became", "owner_name"],
            "Nothing was proposed.",
        )


def proposal(proposal_id: str) -> None:
    """One proposal: the difference, who answers for it, and what became of it."""
    value = client().get(f"/v1/egress-proposals/{proposal_id}")
    if not show(value):
        _say(value)


def accept(proposal_id: str, why: Why = "", dry_run: DryRun = False) -> None:
    """Accept it: a release with a move to it, or a change of policy; both ask for what they always ask for."""
    _decide(proposal_id, "accept", why, dry_run)


def reject(proposal_id: str, why: Why = "", dry_run: DryRun = False) -> None:
    """Reject it; the same is not proposed again by itself."""
    _decide(proposal_id, "reject", why, dry_run)


def _decide(proposal_id: str, decision: str, why: str, dry_run: bool) -> None:
    path = f"/v1/egress-proposals/{proposal_id}/decision"
    value = client().change("POST", path, {"decision": decision, "why": why}, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        _say(value, dry_run)


def _say(row: dict[str, Any], dry_run: bool = False) -> None:
    output.text(f"{row['id']}  {row['state']}  {row['pack']}: {row['words']}")
    times = f", {row['times']} times" if row["times"] > 1 else ""
    output.text(f"  proposed by {row['owner_name'] or row['owner_id']}{times}")
    if row["why"]:
        output.text(f"  why       {row['why']}")
    output.text(f"  difference {json.dumps(row['difference'], ensure_ascii=False)}")
    for ref in row["refused"]:
        output.text(f"  answers   {ref}")
    if row["decided_by"]:
        output.text(
            f"  decided by {row['decided_by_name'] or row['decided_by']}: {row['decided_why'] or 'no reason given'}"
        )
    if row["became"]:
        output.text(f"  became    {row['became']}")
    for name in ("made_release", "move_id", "change_id", "approval_id"):
        if row[name]:
            output.text(f"  {name.replace('_', ' ')}  {row[name]}")
    if row["state"] == "open" and not dry_run:
        output.text(f"  → worka egress accept {row['id']}   or: worka egress reject {row['id']} --why WHY")
    if dry_run:
        output.text("dry run: nothing was changed")


def unused(attachment_id: str, days: Days = 30) -> None:
    """What an attachment declares and did not use, with the difference ready to apply."""
    value = client().get(f"/v1/attachments/{attachment_id}/unused", days=days)
    if show(value):
        return
    output.text(value["sentence"])
    for item in value["items"]:
        output.text(f"  {item['what']:>11}  {item['words']}")
    if value["words"]:
        output.text(f"  → worka egress narrow {attachment_id} --days {days}   proposes that {value['words']}")
    for command in value["commands"]:
        output.text(f"  → {command}")
    if value["policy"]:
        output.text("  policy that refuses the tools that nobody called:")
        output.text(value["policy"])


def narrow(attachment_id: str, days: Days = 30, why: Why = "", again: Again = False, dry_run: DryRun = False) -> None:
    """Propose to take away what an attachment declares and did not use."""
    body = {"days": days, "why": why, "again": again}
    value = client().change("POST", f"/v1/attachments/{attachment_id}/narrowings", body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        _say(value, dry_run)


def shown_difference(api: Client, proposal_id: str) -> dict[str, Any]:
    """What to replay for a proposal: the whole policy, or the whole list of destinations, as it would be."""
    row = api.get(f"/v1/egress-proposals/{proposal_id}")
    difference = row["difference"]
    if row["kind"] == "policy":
        layers = [item for item in api.get(api.ws("/egress-policy"))["layers"] if item["scope"] == difference["scope"]]
        settings = dict(layers[0]["settings"]) if layers else {}
        settings[difference["part"]] = [*(settings.get(difference["part"]) or []), *difference["add"]]
        return {"policy": settings, "scope": difference["scope"]}
    attachment = api.get(f"/v1/attachments/{row['attachment_id']}")
    manifest = api.get(f"/v1/releases/{attachment['release_id']}")["manifest"]
    kept = [item for item in manifest.get("outbound_domains") or [] if item not in difference["remove"]]
    return {"outbound": [*kept, *difference["add"]], "attachment_id": row["attachment_id"]}
