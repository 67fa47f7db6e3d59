"""The broker's part of a "why": the leg of an invocation's road that leaves the machine, and one row explained."""

from __future__ import annotations

from typing import Any

from worka.broker import actions, store
from worka.broker.asked import explain as asked
from worka.broker.causes import REASONS
from worka.kernel import reasons
from worka.kernel.context import Context, Resource
from worka.kernel.errors import NotFound
from worka.kernel.explanation import Evidence, Explanation, LastError, Leg, NextAction

PLATFORM = "platform"
PROPOSED = frozenset(
    {
        "undeclared_destination", "method_not_allowed", "path_not_allowed", "redirect_out_of_scope", "policy_refuses",
        "policy_does_not_list", "upgrade_refused",
    }
)  # fmt: skip
_OURS_ALONE = frozenset(
    {
        "secret_echoed", "answer_unscannable", "killed", "connection_not_granted", "secret_unavailable", "egress_unwatched",
    }
)  # fmt: skip
"""Why what was let through was not given to the pack, or ended here: no failure of the outside."""
_OURS = {cause.code: cause for cause in REASONS}


async def legs(ctx: Context, invocation_id: str) -> list[Leg]:
    """The legs `broker` and `upstream` of an invocation, from its egress rows. The caller has decided who may read."""
    async with ctx.transaction() as conn:
        rows = await store.egress_of(conn, invocation_id)
    return road(rows)


def road(rows: list[dict[str, Any]]) -> list[Leg]:
    """The two legs out of egress rows, in order of time. Pure."""
    if not rows:
        return [Leg(name="broker", state="not_reached", detail="nothing left the sandbox"),
                Leg(name="upstream", state="not_reached")]  # fmt: skip
    denied = [row for row in rows if row["verdict"] == "denied"]
    allowed = [row for row in rows if row["verdict"] == "allowed"]
    withheld = [row for row in allowed if row["reason"] in _OURS_ALONE]
    broken = [*denied, *withheld]
    if broken:
        broker = Leg(name="broker", state="failed", detail=sentence(broken[-1]), ref=broken[-1]["id"])
    else:
        broker = Leg(name="broker", state="ok", detail=f"{sum(row['count'] for row in allowed)} requests allowed",
                     ref=allowed[-1]["id"])  # fmt: skip
    if not allowed:
        return [broker, Leg(name="upstream", state="not_reached")]
    last = allowed[-1]
    failed = [row for row in allowed if _layer(row["reason"]) == "upstream" or (row["status"] or 0) >= 400]
    if failed:
        return [broker, Leg(name="upstream", state="failed", detail=sentence(failed[-1]), ref=failed[-1]["id"])]
    if not _answered(last):
        return [broker, Leg(name="upstream", state="unknown", detail="no answer was recorded", ref=last["id"])]
    return [broker, Leg(name="upstream", state="ok", detail=sentence(last), ref=last["id"])]


def sentence(row: dict[str, Any]) -> str:
    """One row in words."""
    what = f"{row['method'] or ''} {row['host']}:{row['port']}{row['path'] or ''}".strip()
    times = f" ({row['count']} times)" if row["count"] > 1 else ""
    if row["kind"] == "dns":
        what = f"the name {row['host']}"
    if row["kind"] in {"tunnel", "websocket"}:
        what = f"a {'tunnel' if row['kind'] == 'tunnel' else 'WebSocket'} to {row['host']}:{row['port']}{row['path'] or ''}"
    if row["verdict"] == "denied":
        return f"Refused {what}{times}: {_meaning(row['reason'])}"
    if row["reason"] != "allowed":
        return f"Sent {what}{times}, but: {_meaning(row['reason'])}"
    answered = f"answered {row['status']}" if row["status"] is not None else "no answer was recorded"
    if row["opaque"] and _answered(row):
        answered = f"{row['bytes_out']} bytes out and {row['bytes_in']} in, unread"
    return f"Sent {what}{times}: {answered}"


def _answered(row: dict[str, Any]) -> bool:
    """Whether the outside is known to have said something; of what is not read there is no status."""
    return row["status"] is not None or bool(row["opaque"] and row["bytes_in"])


def _meaning(code: str) -> str:
    known = reasons.get(code)
    return known.meaning if known else code


def _layer(code: str) -> str:
    return _OURS[code].layer if code in _OURS else "broker"


async def explain(ctx: Context, egress_id: str) -> Explanation:
    """Why a request left or did not; or why where a name leads is not recorded. Raises NotFound, Denied."""
    if egress_id.startswith("wch_"):
        return await asked.explain(ctx, egress_id)
    async with ctx.transaction() as conn:
        row = await store.egress(conn, egress_id)
    if row is None:
        raise NotFound("There is no such egress row.")
    await ctx.require(actions.EGRESS_VIEW, Resource("workspace", row["workspace_id"], row["workspace_id"]))
    cause = _OURS.get(row["reason"])
    evidence = [Evidence(kind="egress", ref=row["id"], label=f"rule {row['rule']}" if row["rule"] else "no rule")]
    for kind in ("invocation", "connection", "lease", "exception"):
        if row[f"{kind}_id"]:
            evidence.append(Evidence(kind=kind, ref=row[f"{kind}_id"]))
    evidence.append(Evidence(kind="trace", ref=row["trace_id"]))
    following = []
    if cause is not None:
        command = f"worka invocation why {row['invocation_id']}" if row["invocation_id"] else ""
        following.append(NextAction(label=cause.remedy.replace("`", ""), command=command))
    if row["verdict"] == "denied" and row["reason"] in PROPOSED and row["attachment_id"] != PLATFORM:
        command = f"worka egress propose {row['id']}"
        following.append(
            NextAction(label="Propose that exactly this be let through", command=command, permission="change")
        )
    return Explanation(
        subject=row["id"],
        headline=sentence(row),
        state=row["verdict"],
        reason=row["reason"],
        since=row["at"],
        layer=cause.layer if cause else "broker",
        timing="during",
        last_error=LastError(code=row["reason"], message=cause.meaning, attempt=row["count"]) if cause else None,
        evidence=evidence,
        next=following,
        certainty="observed" if row["verdict"] == "denied" or _answered(row) else "unknown",
        observed_at=row["last_at"],
    )
