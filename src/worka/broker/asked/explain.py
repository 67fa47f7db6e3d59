"""Why a network exception or upstream trust for a name that a credential goes to is recorded, or is not."""

from __future__ import annotations

from typing import Final

from worka.approvals.explain import decided, waiting_on
from worka.authorization.explain import offer
from worka.broker import actions
from worka.broker.asked import service
from worka.connections import store as connections
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.kernel.explanation import Evidence, Explanation, NextAction
from worka.kernel.reasons import Reason, register
from worka.workspaces.explain import changed_just_before

_CHECK = "`worka why wch_…`: what it would lead where, which credentials go to the name, and the approval."


def _reason(code: str, meaning: str, causes: str, remedy: str) -> Reason:
    return Reason(code, "broker", "approval", meaning, causes, _CHECK, remedy)


register(
    _reason("way_recorded", "Where the name leads, or who vouches for it, was recorded with somebody else's consent.",
            "A credential goes to the name, and an approver agreed to exactly this.",
            "Nothing: calls that begin after this go by it. Take it back when it is not needed any more."),
    _reason("way_rejected", "Somebody who may decide refused that the name leads there, or is vouched for so.",
            "A credential goes to the name, and the approver saw a reason against sending it there.",
            "Read the approval's comment; ask again if it changed."),
    _reason("way_not_decided", "Nobody decided in time, or the request was taken back. Nothing was recorded.",
            "A credential goes to the name, so somebody else has to agree; the approval expired or was withdrawn.",
            "Record it again, and tell an approver."),
    _reason("way_superseded", "What was agreed to is no longer what would be recorded, so nothing was.",
            "Policy, the rights of who asked, what stands for the name or which credentials go to it changed after it was asked.",
            "Record it again: whether somebody has to agree is decided anew."),
)  # fmt: skip

_SENTENCES: Final = {
    "way_recorded": "is recorded, with somebody else's consent",
    "way_rejected": "was not recorded: somebody who may decide refused it",
    "way_not_decided": "was not recorded: nobody decided in time, or the request was taken back",
    "way_superseded": "was not recorded: what would be recorded, or may be, had changed before it was agreed to",
}


async def explain(ctx: Context, change_id: str) -> Explanation:
    """The Explanation of a change for this reader. Raises WayChangeUnknown."""
    async with ctx.transaction() as conn:
        row = await service.get(ctx, change_id)
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "open" else None
        changes = await changed_just_before(conn, row["workspace_id"], row["since"], change_id, row["approval_id"])
        who = (await connections.names(conn, [row["proposed_by"]])).get(row["proposed_by"], "")
        said = await _said(ctx, row["approval_id"]) if row["state"] != "open" else ""
        following = await _next(ctx, row, wait.you_can if wait else False, wait.because if wait else "")
    noun = service.KINDS[row["kind"]].noun
    name = f"{noun[:1].upper()}{noun[1:]} for {row['name']}:{row['port']}"
    goes = (
        "a credential goes to that name, and would go where this leads" if row["credentials"] else "policy asks for it"
    )
    if row["state"] == "open":
        able = " or ".join(wait.who) if wait and wait.who else "nobody who is here"
        headline = f"{name} waits for an approval by {able}: {goes}."
    else:
        headline = f"{name} {_SENTENCES[row['reason']]}.{f' {said}' if said else ''}"
    evidence = [Evidence(kind="credential", ref=change_id, label=words) for words in row["credentials"]]
    evidence.append(Evidence(kind="approval", ref=row["approval_id"], label="the decision on it"))
    evidence.append(
        Evidence(kind="person", ref=row["proposed_by"], label=f"asked for by {who}" if who else "asked for it")
    )
    if row["made_id"]:
        evidence.append(Evidence(kind=row["kind"], ref=row["made_id"], label="what it became"))
    return Explanation(
        subject=change_id,
        headline=f"{headline} {row['words']}"[:1000],
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval",
        timing="before_start" if row["state"] == "open" else "after_completion",
        waiting_on=[wait] if wait is not None else [],
        changed_just_before=changes,
        evidence=evidence,
        next=following,
        observed_at=row["since"],
    )


async def _said(ctx: Context, approval_id: str) -> str:
    """How it was decided and with which words, as far as this reader may see the approval."""
    try:
        return await decided(ctx, approval_id)
    except Problem:
        return ""


async def _next(ctx: Context, row: service.Row, can: bool, because: str) -> list[NextAction]:
    if row["state"] == "open":
        command = f"worka approvals approve {row['approval_id']}"
        return [NextAction(label="Decide it", command=command, permission="approve", allowed=can, because=because)]
    exception = row["kind"] == "network_exception"
    place = Resource(row["kind"], "new", row["workspace_id"])
    if row["state"] == "recorded":
        remove = actions.NETWORK_EXCEPTION_REMOVE if exception else actions.UPSTREAM_TRUST_REMOVE
        command = f"worka egress {'exception' if exception else 'trust'} remove {row['made_id']}"
        return [await offer(ctx, "Take it back", command, remove, place)]
    what = (
        f"exception set {row['name']} --port {row['port']} --address ADDRESS"
        if exception
        else f"trust set {row['name']}"
    )
    again = f"worka egress {what} --reason WHY --ca FILE"
    return [await offer(ctx, "Ask for it again", again, service.KINDS[row["kind"]].action, place)]
