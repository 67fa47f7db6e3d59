"""Why a delivery is as it is: what was tried, what was answered, who acts next."""

from __future__ import annotations

from typing import Any

from worka import authorization
from worka.kernel import reasons
from worka.kernel.clock import clock, now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.notifications import actions, rules, service, store

Row = dict[str, Any]
_NOT_YOU = "An owner or admin of the workspace may."
_WORDS = {
    "queued": "waits to be sent", "sent": "was accepted by the receiver", "refused": "was refused by the receiver",
    "failed": "was given up", "skipped": "was not sent",
}  # fmt: skip


async def explain(ctx: Context, some_id: str) -> Explanation:
    """The explanation of a delivery or a webhook for this reader. Raises DeliveryNotFound, WebhookNotFound."""
    if some_id.startswith("whk_"):
        return await _of_webhook(ctx, some_id)
    async with ctx.transaction() as conn:
        row = await service.delivery_visible(ctx, some_id)
        tries = await service.tries_of(conn, row)
        webhook = await store.webhook(conn, row["target"]) if row["channel"] == "webhook" else None
        may = await _may(ctx, row["workspace_id"])
    return build(row, tries, webhook, may)


async def _may(ctx: Context, workspace_id: str) -> bool:
    resource = Resource("webhook", "*", workspace_id)
    who = ctx.principal
    return await authorization.may(ctx.conn, ctx, who.kind, who.id, actions.WEBHOOK_CHANGE, resource)


async def _of_webhook(ctx: Context, webhook_id: str) -> Explanation:
    async with ctx.transaction() as conn:
        row = await service.visible(ctx, webhook_id)
        last = await store.deliveries(conn, webhook_id, None, 5)
        may = await _may(ctx, row["workspace_id"])
    known = reasons.get(row["reason"])
    assert known is not None, row["reason"]
    failing = row["state"] == "active" and row["failing_since"] is not None
    said = [f"The webhook to {rules.address(row['url'])[0]} is {row['state']}: {known.meaning}"]
    if failing:
        said.append(f"Every try since {clock(row['failing_since'], now())} failed; after 72 hours it is disabled.")
    named = [
        Evidence(
            kind="delivery", ref=item["id"], label=f"{item['type']}: {item['state']} after {item['attempts']} tries"
        )
        for item in last
    ]
    return Explanation(
        subject=webhook_id,
        headline=" ".join(said),
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer=known.layer,
        evidence=named,
        observed_at=max([row["since"], *(item["since"] for item in last)]),
        next=_for_webhook(row, may),
    )


def _for_webhook(row: Row, may: bool) -> list[NextAction]:
    if row["state"] == "removed":
        return []
    verb, label = ("test", "try the receiver") if row["state"] == "active" else ("resume", "take it up again")
    found = [_step(label, f"worka webhook {verb} {row['id']}", may)]
    if row["state"] != "active":
        found.append(_step("then send what was missed", f"worka webhook replay {row['id']} --since 72h", may))
    return found


def _step(label: str, command: str, may: bool) -> NextAction:
    return NextAction(
        label=label, command=command, permission="administer", allowed=may, because="" if may else _NOT_YOU
    )


def build(row: Row, tries: list[Row], webhook: Row | None, may: bool) -> Explanation:
    """Pure."""
    known = reasons.get(row["reason"])
    assert known is not None, row["reason"]
    last = tries[-1] if tries else None
    said = [f"The {row['channel']} of {row['type']} {_WORDS[row['state']]}: {known.meaning}"]
    if last is not None and row["state"] != "sent":
        answered = f"the receiver answered {last['status']}" if last["status"] else _meaning(last["reason"])
        said.append(f"Try {last['number']}: {answered}{': ' + last['detail'] if last['detail'] else ''}.")
    if row["state"] == "queued" and row["next_at"] is not None and row["attempts"]:
        said.append(f"It is tried again at {clock(row['next_at'], now())}.")
    if webhook is not None and webhook["state"] != "active":
        off = reasons.get(webhook["reason"])
        said.append(f"The webhook is {webhook['state']}: {off.meaning if off else ''}")
    return Explanation(
        subject=row["id"],
        headline=" ".join(said),
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer=known.layer,
        last_error=_error(row, last),
        evidence=_evidence(row, tries),
        waiting_on=_waits(row),
        observed_at=max([row["since"], *(item["at"] for item in tries)]),
        next=_next(row, webhook, may),
    )


def _waits(row: Row) -> list[WaitingOn]:
    if row["state"] != "queued":
        return []
    tried = row["attempts"] > 0
    return [
        WaitingOn(
            kind="receiver" if tried else "worker",
            ref=row["target"],
            name="the receiver" if tried else "a worker that sends it",
            since=row["since"],
            deadline=row["next_at"],
            who=["whoever runs the receiver"] if tried else ["a worker, by itself"],
            because="It is tried again by itself; only who runs the receiver can make it answer."
            if tried
            else "It is sent as soon as a worker is free.",
        )
    ]


def _meaning(code: str) -> str:
    known = reasons.get(code)
    return known.meaning.rstrip(".") if known else code


def _error(row: Row, last: Row | None) -> LastError | None:
    if last is None or row["state"] == "sent":
        return None
    told = last["detail"] or (f"the receiver answered {last['status']}" if last["status"] else _meaning(last["reason"]))
    return LastError(code=last["reason"], message=told, attempt=last["number"], next_try=row["next_at"])


def _evidence(row: Row, tries: list[Row]) -> list[Evidence]:
    found = [Evidence(kind=row["channel"], ref=row["target"]), Evidence(kind="message", ref=row["message_id"])]
    found += [
        Evidence(
            kind="egress", ref=item["egress_id"],
            label=f"try {item['number']}: {item['status'] or item['reason']}, {item['duration_ms'] or 0:.0f} ms",
        )
        for item in tries
        if item["egress_id"]
    ]  # fmt: skip
    if row["replay_of"]:
        found.append(Evidence(kind="delivery", ref=row["replay_of"], label="sent again"))
    return found


def _next(row: Row, webhook: Row | None, may: bool) -> list[NextAction]:
    if webhook is None or row["state"] == "sent" or webhook["state"] == "removed":
        return []
    found = _for_webhook(webhook, may)[:1]
    if row["state"] != "queued":
        again = f"worka webhook replay {webhook['id']} --delivery {row['id']}"
        found.append(_step("send it again", again, may))
    return found
