"""Why one call of a tool is as it is: its road, with the failing leg open."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.kernel import reasons
from worka.kernel.clock import ago, clock, now
from worka.kernel.context import Context
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.packs import queue, store
from worka.packs.road import decision_words, egress_words, road, scope, shown_state, timing
from worka.packs.service import hosting, reading
from worka.workspaces.explain import changed_just_before

Row = dict[str, Any]
ALIVE_SECONDS = 10.0


async def explain_invocation(ctx: Context, invocation_id: str) -> Explanation:
    """The road of one call, with the failing leg open."""
    row = await reading.invocation(ctx, invocation_id)
    async with ctx.transaction() as conn:
        egress = await store.egress_of(conn, invocation_id)
        used = sorted(
            {item["connection_id"] for item in egress if item["connection_id"] and item["verdict"] == "allowed"}
        )
        accounts = await store.accounts_of(conn, used) if used else []
        decision = await store.decision(conn, row["decision_id"])
        release = await store.release(conn, row["release_id"])
        carrier = (await store.carriers(conn, [invocation_id])).get(invocation_id)
        living = await store.living_workers(conn, ALIVE_SECONDS, carrier["holder"] or "") if carrier else 0
        changes = await changed_just_before(conn, row["workspace_id"], row["started_at"], invocation_id)
        here, elsewhere = (
            (0, 0)
            if row["state"] in ("succeeded", "running")
            else await store.same_failures(conn, row["workspace_id"], row["tool"], row["reason"], invocation_id)
        )
    at = now()
    patience = _patience(ctx, release)
    state, reason = shown_state(row, carrier, patience, at)
    place = await hosting.waiting(ctx, invocation_id) if row["state"] == "running" else None
    if place is not None:
        state, reason = "queued", queue.REASON
    layer = row["layer"] or layer_of(reason, "pack")
    known = reasons.get(reason)
    said = (row["message"] or "").partition("\n")[0].rstrip(".") or meaning_of(reason)
    if said.startswith("/"):  # the place in an answer that does not fit is told after what is wrong with it
        said = f"{meaning_of(reason)}: {said}"
    if reason == "undeclared_destination":
        said = f"{said}; {_declared(row, release)}"
    headline = {
        "queued": queue.headline(row, place) if place else "",
        "running": f"{row['tool']} is running",
        "stalled": _standing(row, reason, carrier, living, patience, at) if state == "stalled" else "",
        "succeeded": f"{row['tool']} answered",
        "unknown": f"Nobody knows whether {row['tool']} had its effect: {said}",
    }.get(state, f"{row['tool']} failed at the {layer}: {said}")
    following: list[NextAction] = []
    if state in ("failed", "unknown") and known is not None and known.remedy:
        following.append(
            NextAction(
                label=known.remedy.replace("`", ""),
                command=_commands(row).get(layer, f"worka invocation show {invocation_id}"),
            )
        )
    waiting = []
    due = row["started_at"] + timedelta(seconds=patience)
    if place is not None:
        waiting.append(queue.waiting_on(row, place, due))
    elif state == "running":
        waiting.append(
            WaitingOn(
                kind="external_event",
                ref=invocation_id,
                name=f"the answer of {row['tool']}",
                since=row["started_at"],
                deadline=due,
                who=["the pack"],
                because="It answers, or the call is ended at its deadline.",
            )
        )
    elif state == "stalled":
        waiting.append(_stall(row, reason, carrier or {}, living, due, ctx.principal.operator))
        following.append(NextAction(label="See which part of Worka is down, and why", command="worka doctor"))
        if row["task_id"]:
            command = f"worka task why {row['task_id']}"
            following.append(NextAction(label="See how the task stands", command=command, permission="view"))
    elif state == "unknown":
        waiting.append(
            WaitingOn(
                kind="external_event",
                ref=row["idempotency_key"],
                name="someone who looks at the outside system by the idempotency key",
                since=row["since"],
                who=["a person with access to the outside system"],
                because="Worka cannot know it: nobody recorded the answer.",
            )
        )
    return Explanation(
        subject=invocation_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer,
        timing="before_start" if place is not None else timing(row, egress),
        scope=scope(row, elsewhere),
        waiting_on=waiting,
        last_error=None
        if state in ("queued", "running", "stalled", "succeeded")
        else LastError(
            code=reason,
            message=row["message"] or meaning_of(reason),
            attempt=row["attempt"],
            output_ref=f"{invocation_id}#stderr" if row["stderr_tail"] else None,
        ),
        changed_just_before=changes,
        evidence=[
            Evidence(kind="decision", ref=row["decision_id"], label=decision_words(decision)),
            *([Evidence(kind="approval", ref=row["approval_id"])] if row["approval_id"] else []),
            Evidence(kind="release", ref=row["release_id"], label=f"digest {row['release_digest']}"),
            Evidence(kind="attachment", ref=row["attachment_id"]),
            *(
                [Evidence(kind="process", ref=carrier["holder"], label="the worker that waits for the answer")]
                if carrier and carrier["holder"]
                else []
            ),
            *(Evidence(kind="egress", ref=item["id"], label=egress_words(item)) for item in egress),
            *(Evidence(kind="connection", ref=item["id"], label=account_words(item)) for item in accounts),
            *(
                [Evidence(kind="output_tail", ref=f"{invocation_id}#stderr", label=row["stderr_tail"][-400:])]
                if row["stderr_tail"]
                else []
            ),
            *(
                [Evidence(kind="stray_stdout", ref=f"{invocation_id}#stdout", label=row["stray_stdout"][:200])]
                if row["stray_stdout"]
                else []
            ),
            Evidence(kind="trace", ref=row["trace_id"]),
            *(
                [Evidence(kind="same_failure", ref=row["tool"], label=_repeats(here, elsewhere))]
                if here or elsewhere
                else []
            ),
        ],
        next=following,
        road=road(row, decision, egress),
        certainty="unknown" if state in ("unknown", "stalled") else "observed",
        observed_at=max([row["since"], *(item["last_at"] for item in egress)]),
    )


def _commands(row: Row) -> dict[str, str]:
    return {
        "broker": "worka pack register PATH",
        "connection": f"GET /v1/workspaces/{row['workspace_id']}/connections",
        "upstream": f"GET /v1/workspaces/{row['workspace_id']}/egress?invocation_id={row['id']}",
        "sandbox": "worka doctor",
        "platform": "worka doctor",
    }


def _repeats(here: int, elsewhere: int) -> str:
    told = f"{here} more in this workspace within a day"
    return f"{told}, {elsewhere} in other workspaces of this tenant" if elsewhere else told


def _patience(ctx: Context, release: Row | None) -> float:
    limits = (release["manifest"]["runtime"].get("limits") or {}) if release else {}
    return float(limits.get("timeout") or ctx.settings.packs.call_timeout_seconds)


def _declared(row: Row, release: Row | None) -> str:
    """Which destinations the release does declare: what is wrong is then a typing error, or another version."""
    if release is None:
        return "its manifest is gone"
    found = [
        domain
        if isinstance(domain, str)
        else f"{domain['host']}:{domain['port']}"
        if domain.get("port")
        else domain["host"]
        for domain in release["manifest"].get("outbound_domains") or []
    ]
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return f"{row['pack']} {release['version']} declares {shown or 'no destination at all'}"


def _standing(row: Row, reason: str, carrier: Row | None, living: int, patience: float, at: datetime) -> str:
    if reason == "call_overdue" or carrier is None:
        lasting = ago((at - row["started_at"]).total_seconds())
        return (
            f"Nobody knows how {row['tool']} ended: no answer for {lasting}, and its time was {ago(patience)};"
            " whatever waited for it is gone or hangs"
        )
    then = "another worker takes its task over" if living else "no worker is alive to take its task over"
    return (
        f"Nobody knows whether {row['tool']} still runs: the worker that waits for its answer is down since"
        f" {clock(carrier['seen_at'] or carrier['lease_until'], at)}, and {then}"
    )


def _stall(row: Row, reason: str, carrier: Row, living: int, due: datetime, operator: bool) -> WaitingOn:
    """What happens next to a call that nobody waits for, and who makes it happen."""
    you = f"{'you, the operator' if operator else 'the operator'} of this deployment, on its machine"
    if reason == "caller_silent":
        return WaitingOn(
            kind="slot",
            ref=carrier["holder"] or "worker",
            name="a living worker, which takes its task over and ends this call as unknown",
            since=carrier["seen_at"] or carrier["lease_until"],
            deadline=due,
            who=["a living worker, by itself" if living else you],
            because="Workers take tasks over by themselves"
            + (", within seconds." if living else ", once one is alive."),
        )
    return WaitingOn(
        kind="external_event",
        ref=row["id"],
        name="a repeat under the same key, which ends this call as unknown",
        since=due,
        deadline=due,
        who=["whoever made the call", you],
        because="A call that its caller has left is ended when the same call is asked for again.",
    )


def meaning_of(reason: str) -> str:
    """What a reason means, without its full stop."""
    known = reasons.get(reason)
    return known.meaning.rstrip(".") if known else reason


def layer_of(reason: str, otherwise: str) -> str:
    """The layer of a reason; `otherwise` for one that nobody registered."""
    known = reasons.get(reason)
    return known.layer if known else otherwise


def account_words(row: dict[str, Any]) -> str:
    """Whose account a call acted with outside."""
    whose = f"{row['person'] or row['person_id']}'s own account" if row["person_id"] else "the workspace's account"
    name = row["account"].get("name")
    return f"acted at {row['provider']} with {whose}{f', {name}' if name else ''} ({row['name']})"
