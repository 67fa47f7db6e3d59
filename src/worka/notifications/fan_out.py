"""From what happened to who is told: a message of the outbox becomes deliveries, in one transaction with its end."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

from worka.approvals import store as approval_rows
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.ids import new_id
from worka.notifications import people, rules, store

log = logging.getLogger("worka.notifications")
Row = dict[str, Any]
_NOT_OURS = timedelta(hours=1)
_GIVEN_UP = timedelta(days=1)
_AGAIN = timedelta(seconds=30)


async def fan_out(ctx: Context, most: int = 100) -> int:
    """Turns up to `most` messages over all tenants into deliveries, each in a transaction of its own; returns how many.
    `ctx` is the platform's. Two processes may run it at once: a message that one has locked the other leaves alone."""
    async with ctx.db.single() as conn:
        due = await store.outbox_due(conn, most)
    done = 0
    for entry in due:
        inside = replace(ctx, tx=None, tenant_id=entry["tenant_id"])
        try:
            done += await _message(inside, entry["outbox_id"])
        except Exception as error:
            # One message that cannot be told must not hold up the others.
            log.exception("message %s could not be turned into deliveries", entry["outbox_id"])
            async with replace(ctx, tx=None, tenant_id=entry["tenant_id"]).transaction() as conn:
                await store.message_later(conn, entry["outbox_id"], type(error).__name__, _AGAIN)
    return done


async def _message(ctx: Context, outbox_id: str) -> bool:
    async with ctx.transaction() as conn:
        message = await store.take_message(conn, outbox_id)
        if message is None:
            return False
        if message["topic"] not in rules.TYPES:
            if message["created_at"] < now() - _GIVEN_UP:
                await store.message_done(conn, outbox_id, "nobody took this topic")
            else:
                # A newer version of ours may, beside this one.
                await store.message_later(conn, outbox_id, "nobody takes this topic", _NOT_OURS)
            return False
        payload = message["payload"]
        ctx.workspace_id = payload["workspace_id"]
        if "approval_id" not in payload:
            await _to_webhooks(ctx, message, plain(message, _address(ctx)))
            await store.message_done(conn, outbox_id)
            ctx.failpoint("delivery.queued.before_commit")
            return True
        approval = await approval_rows.get(conn, payload["approval_id"])
        if approval is not None:
            what = told(message, approval, _address(ctx))
            await _to_webhooks(ctx, message, what)
            await _to_people(ctx, message, approval, what)
        await store.message_done(conn, outbox_id)
        ctx.failpoint("delivery.queued.before_commit")
        return True


def told(message: Row, approval: Row, address: str) -> Row:
    """What a webhook is told: the card's facts, without any argument. Pure."""
    payload = message["payload"]
    keys = ("title", "effect", "boundary", "action", "verb", "state", "reason", "requester_kind", "requester_id")
    return {
        "type": message["topic"],
        "timestamp": message["created_at"].isoformat(),
        "data": {
            "approval_id": approval["id"],
            "workspace_id": approval["workspace_id"],
            **{key: approval[key] for key in keys},
            "originating_person": approval["originating_person"],
            "rules": approval["rules"],
            "blocks": approval["blocks"],
            "expires_at": approval["expires_at"].isoformat(),
            "url": f"{address}/approvals/{approval['id']}" if address else None,
            "people": [{"id": who["id"], "name": who["name"]} for who in payload.get("people", ())],
            **{key: payload[key] for key in ("number", "escalated_to", "decided_by", "because") if key in payload},
        },
    }


def plain(message: Row, address: str) -> Row:
    """What a webhook is told of a secret or a connection: names and dates. Pure."""
    data = message["payload"]
    where = f"secrets/{data['secret_id']}" if "secret_id" in data else f"connections/{data['connection_id']}"
    link = f"{address}/w/{data['workspace_id']}/{where}" if address else None
    return {"type": message["topic"], "timestamp": message["created_at"].isoformat(), "data": {**data, "url": link}}


async def _to_webhooks(ctx: Context, message: Row, payload: Row) -> None:
    conn, kind = ctx.conn, message["topic"]
    for hook in await store.webhooks(conn, payload["data"]["workspace_id"], None, rules.MOST_WEBHOOKS):
        if not rules.wants(hook["types"], kind):
            continue
        state, reason = "queued", "delivery_waiting"
        if hook["state"] != "active":
            state, reason = "skipped", "delivery_webhook_off"
        elif await store.waiting(conn, hook["id"], rules.MOST_WAITING) >= rules.MOST_WAITING:
            state, reason = "skipped", "delivery_queue_full"
        await store.add_delivery(
            conn,
            {
                "tenant_id": message["tenant_id"], "id": new_id("dlv"), "workspace_id": hook["workspace_id"],
                "channel": "webhook", "target": hook["id"], "message_id": message_id(message["id"]), "type": kind,
                "payload": payload, "cause": message["id"], "state": state, "reason": reason, "replay_of": None,
                "created_by": "platform",
            },
        )  # fmt: skip


async def _to_people(ctx: Context, message: Row, approval: Row, payload: Row) -> None:
    """By mail, where the deployment sends any."""
    if ctx.settings is None or not ctx.settings.mail.host:
        return
    for who in await people.wanted(ctx, message["topic"], approval, message["payload"]):
        await store.add_delivery(
            ctx.conn,
            {
                "tenant_id": message["tenant_id"], "id": new_id("dlv"), "workspace_id": approval["workspace_id"],
                "channel": "mail", "target": who, "message_id": message_id(message["id"]), "type": message["topic"],
                "payload": payload, "cause": message["id"], "state": "queued", "reason": "delivery_waiting",
                "replay_of": None, "created_by": "platform",
            },
        )  # fmt: skip


def message_id(outbox_id: str) -> str:
    """The id under which everybody is told of this message, at every try and replay."""
    return f"msg_{outbox_id.partition('_')[2]}"


def _address(ctx: Context) -> str:
    """Where people reach the console; empty when the deployment does not say."""
    return str(ctx.settings.http.public_url).rstrip("/") if ctx.settings is not None else ""


__all__ = ["fan_out", "message_id", "told"]
