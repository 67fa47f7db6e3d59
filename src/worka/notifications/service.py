"""Use cases of webhooks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worka.broker import store as broker_rows
from worka.kernel import redact
from worka.kernel.clock import moment, now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.notifications import actions, events, rules, signing, store
from worka.notifications.errors import (
    DeliveryNotFound,
    ReplayInvalid,
    TooManyWaiting,
    TooManyWebhooks,
    WebhookInvalid,
    WebhookNotActive,
    WebhookNotFound,
)

Row = dict[str, Any]
PURPOSE = "webhook.secret"
RULE = "webhook"
MOST_REPLAYED = 500
_SHOWN = (
    "id", "workspace_id", "url", "types", "description", "state", "reason", "since", "failing_since", "created_by",
    "created_at",
)  # fmt: skip
_DELIVERY = (
    "id", "workspace_id", "channel", "target", "message_id", "type", "state", "reason", "attempts", "next_at", "status",
    "replay_of", "created_by", "created_at", "since",
)  # fmt: skip
_TRY = ("number", "at", "reason", "detail", "status", "duration_ms", "answer", "egress_id")


def resource(row: Row) -> Resource:
    """A webhook, as what is asked about."""
    host, port, _ = rules.address(row["url"])
    return Resource("webhook", row["id"], row["workspace_id"], {"host": host, "port": port, "state": row["state"]})


async def create(
    ctx: Context, workspace_id: str, *, url: str, types: list[str], description: str, dry_run: bool = False
) -> Row:
    """Adds a webhook, and the rule that lets the platform reach exactly its address. The answer is the only one with the
    secret. Raises Denied, WebhookInvalid, TooManyWebhooks."""
    host, port, path = rules.address(url)
    wanted = rules.filters(types)
    assert ctx.tenant_id is not None
    base = {"tenant_id": ctx.tenant_id, "workspace_id": workspace_id, "created_by": ctx.principal.id}
    row: Row = {
        **base, "id": new_id("whk"), "url": url, "types": wanted, "description": description,
        "state": "active", "reason": "webhook_in_service",
    }  # fmt: skip
    async with ctx.transaction() as conn:
        # Before the question: who is taken out of the workspace meanwhile is seen here, or their webhook there.
        await store.lock_webhooks(conn, workspace_id)
        await _allowed(ctx, actions.WEBHOOK_CREATE, row)
        there = await store.webhooks(conn, workspace_id, None, rules.MOST_WEBHOOKS)
        if len(there) >= rules.MOST_WEBHOOKS:
            raise TooManyWebhooks(f"There are {len(there)}.")
        if dry_run:
            return {**shown({**row, "failing_since": None, "since": now(), "created_at": now()}, 1),
                    "secret": None, "dry_run": True}  # fmt: skip
        made = await store.add_webhook(conn, row)
        await broker_rows.add_platform_rule(
            conn, {**base, "id": new_id("rule"), "purpose": RULE, "subject_id": row["id"], "host": host, "port": port,
                   "method": "POST", "path": path},
        )  # fmt: skip
        secret = await _new_secret(ctx, row["id"])
        ctx.record(events.created(made, host))
        ctx.failpoint("webhook.changed.before_commit")
    return {**shown(made, 1), "secret": secret, "dry_run": False}


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's webhooks, newest first (up to limit + 1)."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.WEBHOOK_VIEW, Resource("webhook", "*", workspace_id))
        return [
            shown(row, len(await store.secrets(conn, row["id"])))
            for row in await store.webhooks(conn, workspace_id, after, limit + 1)
        ]


async def get(ctx: Context, webhook_id: str) -> Row:
    """One webhook. Raises WebhookNotFound."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, webhook_id)
        return shown(row, len(await store.secrets(conn, webhook_id)))


async def change(
    ctx: Context, webhook_id: str, *, types: list[str] | None, description: str | None, state: str | None,
    dry_run: bool = False,
) -> Row:  # fmt: skip
    """Changes what it is told of, pauses it or takes it up again. Raises WebhookNotFound, Denied, WebhookInvalid, and
    Conflict for a removed one."""
    wanted = rules.filters(types) if types is not None else None
    async with ctx.transaction() as conn:
        await store.lock_webhooks(conn, (await visible(ctx, webhook_id))["workspace_id"])
        row = await visible(ctx, webhook_id, lock=True)
        await _allowed(ctx, actions.WEBHOOK_CHANGE, row)
        if row["state"] == "removed":
            raise WebhookNotActive("It was removed.", state="removed", remedy="Add it again.")
        after = {**row, "types": row["types"] if wanted is None else wanted}
        after["description"] = row["description"] if description is None else description
        moves = state is not None and state != row["state"]
        if state is not None and moves:
            rules.WEBHOOK.check(row["state"], state)
            after |= {"state": state, "reason": _REASON[state]}
        if not dry_run and after != row:
            changed = await store.change_webhook(conn, webhook_id, after["types"], after["description"])
            if state is not None and moves:
                keeper = ctx.principal.id if state == "active" else None
                changed = await store.move_webhook(conn, webhook_id, row["state"], state, _REASON[state], keeper)
                if state == "paused":
                    await store.skip_waiting(conn, webhook_id, "delivery_webhook_off")
            assert changed is not None, "the row is locked"
            after = changed
            ctx.record(events.changed(after, row, _host(row)))
            ctx.failpoint("webhook.changed.before_commit")
        return shown(after, len(await store.secrets(conn, webhook_id)))


_REASON = {"active": "webhook_in_service", "paused": "webhook_paused"}


async def remove(ctx: Context, webhook_id: str) -> Row:
    """Takes it away with its rule and its secrets, for the very next delivery. Raises WebhookNotFound, Denied."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, webhook_id, lock=True)
        await _allowed(ctx, actions.WEBHOOK_REMOVE, row)
        gone = await store.move_webhook(conn, webhook_id, row["state"], "removed", "webhook_removed")
        assert gone is not None, "the row is locked"
        await broker_rows.end_platform_rules(conn, RULE, webhook_id)
        await store.drop_secrets(conn, webhook_id)
        undelivered = await store.skip_waiting(conn, webhook_id, "delivery_webhook_off")
        ctx.record(events.removed(gone, _host(row), undelivered))
        ctx.failpoint("webhook.changed.before_commit")
        return {**shown(gone, 0), "undelivered": undelivered}


async def rotate(ctx: Context, webhook_id: str, overlap_hours: int, *, dry_run: bool = False) -> Row:
    """A new secret; both sign for a while, so that the receiver can change over without missing anything."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, webhook_id, lock=True)
        await _allowed(ctx, actions.WEBHOOK_ROTATE, row)
        if row["state"] == "removed":
            raise WebhookNotActive("It was removed.", state="removed", remedy="Add it again.")
        if dry_run:
            return {**shown(row, len(await store.secrets(conn, webhook_id))), "secret": None, "dry_run": True}
        await store.expire_secrets(conn, webhook_id, overlap_hours)
        secret = await _new_secret(ctx, webhook_id)
        ctx.record(events.rotated(row, _host(row), overlap_hours))
        ctx.failpoint("webhook.changed.before_commit")
        return {**shown(row, len(await store.secrets(conn, webhook_id))), "secret": secret, "dry_run": False}


async def test(ctx: Context, webhook_id: str) -> Row:
    """Sends it a message that says it is a test. Raises WebhookNotFound, Denied, WebhookNotActive, TooManyWaiting."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, webhook_id, lock=True)
        await _allowed(ctx, actions.WEBHOOK_TEST, row)
        if row["state"] == "removed":
            raise WebhookNotActive("It was removed.", state="removed", remedy="Add it again.")
        await _room(ctx, webhook_id)
        delivery_id = new_id("dlv")
        made = await store.add_delivery(
            conn,
            {
                "tenant_id": row["tenant_id"], "id": delivery_id, "workspace_id": row["workspace_id"],
                "channel": "webhook", "target": webhook_id, "message_id": new_id("msg"), "type": rules.TEST,
                "payload": {"type": rules.TEST, "timestamp": now().isoformat(),
                            "data": {"webhook_id": webhook_id, "asked_by": ctx.principal.name}},
                "cause": delivery_id, "state": "queued", "reason": "delivery_waiting", "replay_of": None,
                "created_by": ctx.principal.id,
            },
        )  # fmt: skip
        assert made is not None
        ctx.record(events.tested(row, _host(row), delivery_id))
        ctx.failpoint("delivery.queued.before_commit")
        return delivery_shown(made)


# deliveries -----------------------------------------------------------------------------------------------------------
async def list_deliveries(ctx: Context, webhook_id: str, after: str | None, limit: int, state: str | None) -> list[Row]:
    """What was sent to it or is to be, newest first (up to limit + 1). Raises WebhookNotFound."""
    async with ctx.transaction() as conn:
        await visible(ctx, webhook_id)
        return [delivery_shown(row) for row in await store.deliveries(conn, webhook_id, after, limit + 1, state)]


async def show_delivery(ctx: Context, delivery_id: str) -> Row:
    """One delivery with what was sent and every try. Raises DeliveryNotFound."""
    async with ctx.transaction() as conn:
        row = await delivery_visible(ctx, delivery_id)
        tries = await tries_of(conn, row)
    return {
        **delivery_shown(row),
        "payload": row["payload"],
        "tries": [{key: item[key] for key in _TRY} for item in tries],
    }


async def tries_of(conn: Connection, row: Row) -> list[Row]:
    """The tries that the row, read before them, tells of: one may have come to its end in between."""
    known = row["attempts"] - (row["claimed_until"] is not None)
    return [item for item in await store.attempts(conn, row["id"]) if item["number"] <= known]


async def delivery_visible(ctx: Context, delivery_id: str) -> Row:
    """The row, for who may see webhooks there; a mail is shown as well to whom it is for, while they are let into that
    workspace. Raises DeliveryNotFound."""
    row = await store.delivery(ctx.conn, delivery_id)
    own = row is not None and row["channel"] == "mail" and row["target"] == ctx.principal.id
    if row is not None and own and await _let_in(ctx, row["workspace_id"]):
        return row
    if row is None or not await _sees(ctx, row["workspace_id"]):
        raise DeliveryNotFound(f"There is no delivery {delivery_id}.")
    return row


async def replay(
    ctx: Context, webhook_id: str, *, delivery_id: str | None, since: str | None, until: str | None,
    dry_run: bool = False,
) -> Row:  # fmt: skip
    """Sends one delivery again, or those of a span of time that did not arrive, under the same message ids. Raises
    WebhookNotFound, DeliveryNotFound, Denied, WebhookNotActive, ReplayInvalid, TooManyWaiting."""
    async with ctx.transaction() as conn:
        row = await visible(ctx, webhook_id, lock=True)
        await _allowed(ctx, actions.WEBHOOK_REPLAY, row)
        if row["state"] != "active":
            raise WebhookNotActive(f"It is {row['state']}.", state=row["state"])
        if (delivery_id is None) == (since is None) or (delivery_id is not None and until is not None):
            raise ReplayInvalid("Name delivery_id, or since (and until if you like).", field="/delivery_id")
        most = min(MOST_REPLAYED, await _room(ctx, webhook_id))
        if delivery_id is not None:
            found = await store.delivery(conn, delivery_id)
            if found is None or found["target"] != webhook_id:
                raise DeliveryNotFound(f"This webhook has no delivery {delivery_id}.")
            again = [found]
        else:
            begin, end = _span(str(since), until)
            again = await store.deliveries_between(conn, webhook_id, begin, end, most + 1)
        more, again = len(again) > most, again[:most]
        if dry_run:
            return {"deliveries": [item["id"] for item in again], "more": more, "dry_run": True}
        made = []
        for item in again:
            fresh = new_id("dlv")
            await store.add_delivery(
                conn,
                {**item, "id": fresh, "cause": fresh, "state": "queued", "reason": "delivery_waiting",
                 "replay_of": item["id"], "created_by": ctx.principal.id},
            )  # fmt: skip
            made.append(fresh)
        if made:
            ctx.record(events.replayed(row, _host(row), len(made)))
        ctx.failpoint("delivery.queued.before_commit")
        return {"deliveries": made, "more": more, "dry_run": False}


async def _room(ctx: Context, webhook_id: str) -> int:
    """How many more may wait for it. Raises TooManyWaiting."""
    waiting = await store.waiting(ctx.conn, webhook_id, rules.MOST_WAITING)
    if waiting >= rules.MOST_WAITING:
        raise TooManyWaiting(f"{waiting} wait.", retry_after=60)
    return rules.MOST_WAITING - waiting


def _span(since: str, until: str | None) -> tuple[datetime, datetime]:
    at = now()
    try:
        begin = moment(since, at)
        end = moment(until, at) if until is not None else at + timedelta(seconds=1)
    except ValueError as error:
        raise ReplayInvalid(f"since, until: {error}", field="/since") from error
    if begin >= end:
        raise ReplayInvalid("The span ends before it begins.", field="/until")
    return begin, end


# surroundings ---------------------------------------------------------------------------------------------------------
def shown(row: Row, secrets: int) -> Row:
    """A webhook as the API shows it; there is no field that could hold a secret."""
    return {**{key: row[key] for key in _SHOWN}, "secrets": secrets}


def delivery_shown(row: Row) -> Row:
    """A delivery as lists show it."""
    return {key: row[key] for key in _DELIVERY}


def _host(row: Row) -> str:
    return rules.address(row["url"])[0]


async def _new_secret(ctx: Context, webhook_id: str) -> str:
    secret = signing.new_secret()
    redact.remember(secret)
    sealed = await ctx.sealer.seal(ctx, PURPOSE, secret.encode())
    await store.add_secret(
        ctx.conn,
        {"tenant_id": ctx.tenant_id, "id": new_id("whs"), "webhook_id": webhook_id, "sealed": sealed},
    )
    return secret


async def _let_in(ctx: Context, workspace_id: str) -> bool:
    try:
        await ctx.require("access.view", Resource("workspace", workspace_id, workspace_id))
    except Denied:
        return False
    return True


async def _sees(ctx: Context, workspace_id: str) -> bool:
    try:
        await ctx.require(actions.WEBHOOK_VIEW, Resource("webhook", "*", workspace_id))
    except Denied:
        return False
    return True


async def visible(ctx: Context, webhook_id: str, *, lock: bool = False) -> Row:
    """404 before 403: who may not see the workspace's webhooks does not learn that there is one."""
    row = await store.webhook(ctx.conn, webhook_id, lock=lock)
    if row is None or not await _sees(ctx, row["workspace_id"]):
        raise WebhookNotFound(f"There is no webhook {webhook_id}.")
    return row


async def _allowed(ctx: Context, action: str, row: Row) -> None:
    await ctx.require(action, resource(row))


__all__ = ["WebhookInvalid", "change", "create", "get", "listing", "remove", "replay", "rotate", "test"]
