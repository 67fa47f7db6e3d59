"""Many decisions in one request: each is bound to its digest, has a transaction and a result of its own, and is decided,
refused or left out by itself. Nothing is all or nothing."""

from __future__ import annotations

from typing import Any

from worka import identity
from worka.approvals import actions, service, store
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem

Row = dict[str, Any]
MOST = 100


async def decide(ctx: Context, workspace_id: str, items: list[Row], code: str = "") -> Row:
    """Decides each item {approval_id, decision: approve, reject or skip, digest, comment, on_behalf_of}, in the order given.
    The answer has a result for every one of them: decided, already (this person had decided so before, as a repeat of the
    request finds it), skipped, or refused with its problem. `code`: the second factor, given once for all of them."""
    async with ctx.transaction():
        await ctx.require(actions.APPROVAL_VIEW, Resource("approval", "*", workspace_id))
    if code and not ctx.undone and await _wants_code(ctx, workspace_id, items):
        ctx = await identity.factors.step_up(ctx, code)
    results = [await _one(ctx, workspace_id, item) for item in items]
    counts = {name: sum(1 for result in results if result["result"] == name) for name in RESULTS}
    return {"results": results, **counts}


RESULTS = ("decided", "already", "skipped", "refused")


async def _wants_code(ctx: Context, workspace_id: str, items: list[Row]) -> bool:
    """Whether a code is needed for any of them: given with anything else it is no try."""
    for item in items:
        if item["decision"] != "skip" and await service.wants_code(
            ctx, item["approval_id"], item["digest"], item.get("on_behalf_of"), workspace_id
        ):
            return True
    return False


async def _one(ctx: Context, workspace_id: str, item: Row) -> Row:
    told: Row = {"approval_id": item["approval_id"], "decision": item["decision"], "state": None, "problem": None}
    if item["decision"] == "skip":
        return {**told, "result": "skipped"}
    try:
        card = await service.decide(
            ctx, item["approval_id"], item["decision"], item["digest"], item["comment"],
            behalf=item.get("on_behalf_of"), in_batch=True, within=workspace_id,
        )  # fmt: skip
    except Problem as problem:
        state = await _decided_so(ctx, item)
        if state is not None:
            return {**told, "result": "already", "state": state}
        if problem.status >= 500:
            raise  # whoever repeats the request with its key is told of what is done as `already`
        body = problem.body(ctx.trace_id)
        return {
            **told,
            "result": "refused",
            "problem": {key: body[key] for key in ("code", "title", "detail", "remedy")},
        }
    return {**told, "result": "decided", "state": card["state"]}


async def _decided_so(ctx: Context, item: Row) -> str | None:
    """The approval's state if this person has decided exactly this, so, before."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, item["approval_id"])
        if row is None or row["digest"] != item["digest"]:
            return None
        votes = await store.votes(conn, item["approval_id"])
        mine = any(vote["person_id"] == ctx.principal.id and vote["decision"] == item["decision"] for vote in votes)
        return str(row["state"]) if mine else None
