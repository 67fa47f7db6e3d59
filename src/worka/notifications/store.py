"""Every query of notifications. The tenant is the transaction's (row-level security)."""

# ruff: noqa: S608 - what is put together below are constant texts
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.notifications.rules import DELIVERY, WEBHOOK

Row = dict[str, Any]


# webhooks -------------------------------------------------------------------------------------------------------------
async def lock_webhooks(conn: Connection, workspace_id: str) -> None:
    """One writer of a workspace's webhooks at a time: counting them and adding one belong together."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 11))", (workspace_id,))


async def add_webhook(conn: Connection, row: Row) -> Row:
    """Inserts an active webhook."""
    WEBHOOK.holds("active", row["reason"])
    cursor = await conn.execute(
        "insert into worka.webhook (tenant_id, id, workspace_id, url, types, description, state, reason, created_by,"
        " kept_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(url)s, %(types)s, %(description)s, 'active',"
        " %(reason)s, %(created_by)s, %(created_by)s) returning *",
        {**row, "types": Jsonb(row["types"])},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def webhook(conn: Connection, webhook_id: str, *, lock: bool = False) -> Row | None:
    """One webhook."""
    cursor = await conn.execute(
        f"select * from worka.webhook where id = %s{' for update' if lock else ''}", (webhook_id,)
    )
    return await cursor.fetchone()


async def webhooks(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """A workspace's webhooks without the removed ones, newest first."""
    cursor = await conn.execute(
        "select * from worka.webhook where workspace_id = %s and state <> 'removed' and (%s::text is null or id < %s)"
        " order by id desc limit %s",
        (workspace_id, after, after, limit),
    )
    return await cursor.fetchall()


async def change_webhook(conn: Connection, webhook_id: str, types: list[str], description: str) -> Row | None:
    """What it is told of, and what it is for."""
    cursor = await conn.execute(
        "update worka.webhook set types = %s, description = %s where id = %s and state <> 'removed' returning *",
        (Jsonb(types), description, webhook_id),
    )
    return await cursor.fetchone()


async def webhooks_kept(conn: Connection, workspace_id: str, principal_id: str) -> list[Row]:
    """The active webhooks there for which somebody answers; locks them."""
    cursor = await conn.execute(
        "select * from worka.webhook where workspace_id = %s and kept_by = %s and state = 'active' order by id for update",
        (workspace_id, principal_id),
    )
    return await cursor.fetchall()


async def move_webhook(
    conn: Connection, webhook_id: str, before: str, state: str, reason: str, kept_by: str | None = None
) -> Row | None:
    """Another state; a webhook that is taken up again has not failed yet, and `kept_by` answers for it from now on. None:
    it changed meanwhile."""
    WEBHOOK.check(before, state)
    WEBHOOK.holds(state, reason)
    cursor = await conn.execute(
        "update worka.webhook set state = %s, reason = %s, since = now(), kept_by = coalesce(%s, kept_by),"
        " failing_since = case when %s = 'active' then null else failing_since end"
        " where id = %s and state = %s returning *",
        (state, reason, kept_by, state, webhook_id, before),
    )
    return await cursor.fetchone()


async def set_failing(conn: Connection, webhook_id: str, failing: bool) -> None:
    """Since when every try failed; a success ends that."""
    await conn.execute(
        "update worka.webhook set failing_since = case when %(f)s then coalesce(failing_since, now()) end"
        " where id = %(id)s and (failing_since is null) = %(f)s",
        {"f": failing, "id": webhook_id},
    )


async def add_secret(conn: Connection, row: Row) -> None:
    """Inserts the newest secret, sealed (tenant_id, id, webhook_id, sealed)."""
    await conn.execute(
        "insert into worka.webhook_secret (tenant_id, id, webhook_id, sealed)"
        " values (%(tenant_id)s, %(id)s, %(webhook_id)s, %(sealed)s)",
        row,
    )


async def expire_secrets(conn: Connection, webhook_id: str, hours: int) -> None:
    """The newest one signs only so long from now; those whose time is over go."""
    await conn.execute("delete from worka.webhook_secret where webhook_id = %s and expires_at <= now()", (webhook_id,))
    await conn.execute(
        "update worka.webhook_secret set expires_at = least(expires_at, now() + make_interval(hours => %s))"
        " where webhook_id = %s",
        (hours, webhook_id),
    )


async def secrets(conn: Connection, webhook_id: str) -> list[Row]:
    """The secrets that sign now, the newest first."""
    cursor = await conn.execute(
        "select id, sealed, created_at, expires_at from worka.webhook_secret where webhook_id = %s"
        " and (expires_at is null or expires_at > now()) order by id desc",
        (webhook_id,),
    )
    return await cursor.fetchall()


async def drop_secrets(conn: Connection, webhook_id: str) -> None:
    """Those of a removed webhook."""
    await conn.execute("delete from worka.webhook_secret where webhook_id = %s", (webhook_id,))


# the outbox -----------------------------------------------------------------------------------------------------------
async def outbox_due(conn: Connection, most: int) -> list[Row]:
    """Messages that wait, over all tenants, one of each in turn: tenant_id and outbox_id."""
    cursor = await conn.execute("select * from worka.outbox_due(%s)", (most,))
    return await cursor.fetchall()


async def take_message(conn: Connection, outbox_id: str) -> Row | None:
    """Locks a message that is to be turned into deliveries; None: another process has it, or had it."""
    cursor = await conn.execute(
        "select * from worka.outbox where id = %s and done_at is null and next_at <= now() for update skip locked",
        (outbox_id,),
    )
    return await cursor.fetchone()


async def message_done(conn: Connection, outbox_id: str, error: str | None = None) -> None:
    """Its deliveries are written; with an `error`: it is given up."""
    await conn.execute(
        "update worka.outbox set done_at = now(), last_error = coalesce(%s, last_error) where id = %s",
        (error, outbox_id),
    )


async def message_later(conn: Connection, outbox_id: str, error: str, after: timedelta) -> None:
    """It could not be turned into deliveries now."""
    await conn.execute(
        "update worka.outbox set attempts = attempts + 1, last_error = %s, next_at = now() + %s where id = %s",
        (error, after, outbox_id),
    )


# deliveries -----------------------------------------------------------------------------------------------------------
async def waiting(conn: Connection, target: str, most: int) -> int:
    """How many wait for a receiver; counted no further than `most`."""
    cursor = await conn.execute(
        "select count(*) as n from (select 1 from worka.delivery where target = %s and state = 'queued' limit %s) q",
        (target, most),
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["n"])


async def add_delivery(conn: Connection, row: Row) -> Row | None:
    """Inserts a delivery; None: its cause has one for this receiver already."""
    DELIVERY.holds(row["state"], row["reason"])
    cursor = await conn.execute(
        "insert into worka.delivery (tenant_id, id, workspace_id, channel, target, message_id, type, payload, cause,"
        " state, reason, next_at, replay_of, created_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(channel)s,"
        " %(target)s, %(message_id)s, %(type)s, %(payload)s, %(cause)s, %(state)s, %(reason)s,"
        " case when %(state)s = 'queued' then now() end, %(replay_of)s, %(created_by)s)"
        " on conflict (tenant_id, cause, channel, target) do nothing returning *",
        {**row, "payload": Jsonb(row["payload"])},
    )
    return await cursor.fetchone()


async def deliveries_due(conn: Connection, webhooks: int, mails: int, of_one: int, of_tenant: int) -> list[Row]:
    """What is to be sent, over all tenants, who take turns: tenant_id, delivery_id and channel."""
    cursor = await conn.execute(
        "select * from worka.deliveries_due(%s, %s, %s, %s)", (webhooks, mails, of_one, of_tenant)
    )
    return await cursor.fetchall()


async def claim(conn: Connection, delivery_id: str, seconds: float) -> Row | None:
    """Takes a delivery for one try; None: another worker has it, or it is not due."""
    cursor = await conn.execute(
        "update worka.delivery set claimed_until = now() + make_interval(secs => %s), attempts = attempts + 1"
        " where id = %s and state = 'queued' and next_at <= now()"
        " and (claimed_until is null or claimed_until <= now()) returning *",
        (seconds, delivery_id),
    )
    return await cursor.fetchone()


async def add_attempt(conn: Connection, row: Row) -> None:
    """What came of a try."""
    await conn.execute(
        "insert into worka.delivery_attempt (tenant_id, delivery_id, number, reason, detail, status, duration_ms, answer,"
        " egress_id) values (%(tenant_id)s, %(delivery_id)s, %(number)s, %(reason)s, %(detail)s, %(status)s,"
        " %(duration_ms)s, %(answer)s, %(egress_id)s) on conflict do nothing",
        row,
    )


async def settle(
    conn: Connection,
    delivery_id: str,
    attempt: int,
    state: str,
    reason: str,
    status: int | None,
    again: datetime | None,
) -> Row | None:
    """The state after a try. None: a later try has taken it meanwhile, whose word counts."""
    DELIVERY.holds(state, reason)
    cursor = await conn.execute(
        "update worka.delivery set state = %s, reason = %s, status = coalesce(%s, status), next_at = %s,"
        " claimed_until = null, since = now() where id = %s and attempts = %s and state = 'queued' returning *",
        (state, reason, status, again, delivery_id, attempt),
    )
    return await cursor.fetchone()


async def give_back(conn: Connection, delivery_id: str, attempt: int, seconds: float) -> None:
    """A try that could not begin, by no fault of the receiver's, is none."""
    await conn.execute(
        "update worka.delivery set attempts = attempts - 1, claimed_until = null,"
        " next_at = now() + make_interval(secs => %s) where id = %s and attempts = %s and state = 'queued'",
        (seconds, delivery_id, attempt),
    )


async def set_aside(conn: Connection, delivery_id: str, seconds: float) -> None:
    """It could not even be tried: looked at again after a while."""
    await conn.execute(
        "update worka.delivery set claimed_until = null, next_at = now() + make_interval(secs => %s)"
        " where id = %s and state = 'queued'",
        (seconds, delivery_id),
    )


async def skip_waiting(conn: Connection, target: str, reason: str) -> int:
    """What waits for a receiver that is told nothing any more; how many."""
    DELIVERY.holds("skipped", reason)
    cursor = await conn.execute(
        "update worka.delivery set state = 'skipped', reason = %s, next_at = null, claimed_until = null, since = now()"
        " where target = %s and state = 'queued'",
        (reason, target),
    )
    return cursor.rowcount


async def delivery(conn: Connection, delivery_id: str) -> Row | None:
    """One delivery."""
    cursor = await conn.execute("select * from worka.delivery where id = %s", (delivery_id,))
    return await cursor.fetchone()


async def attempts(conn: Connection, delivery_id: str) -> list[Row]:
    """Its tries, in order."""
    cursor = await conn.execute(
        "select * from worka.delivery_attempt where delivery_id = %s order by number", (delivery_id,)
    )
    return await cursor.fetchall()


async def deliveries(
    conn: Connection, target: str, after: str | None, limit: int, state: str | None = None
) -> list[Row]:
    """A receiver's deliveries, newest first."""
    cursor = await conn.execute(
        "select * from worka.delivery where target = %s and (%s::text is null or id < %s)"
        " and (%s::text is null or state = %s) order by id desc limit %s",
        (target, after, after, state, state, limit),
    )
    return await cursor.fetchall()


async def deliveries_between(conn: Connection, target: str, since: datetime, until: datetime, most: int) -> list[Row]:
    """What was written for a receiver in a span of time and did not reach it, oldest first. Of a message and its replays
    only the last one counts."""
    cursor = await conn.execute(
        "select * from (select distinct on (message_id) * from worka.delivery where target = %s and created_at >= %s"
        " and created_at < %s order by message_id, id desc) d where d.state not in ('sent', 'queued') order by d.id"
        " limit %s",
        (target, since, until, most),
    )
    return await cursor.fetchall()


async def told_of(conn: Connection, subject_id: str) -> list[Row]:
    """Every delivery about one thing, oldest first: who was told of it, and how that went."""
    cursor = await conn.execute(
        "select * from worka.delivery where payload->'data'->>'approval_id' = %s order by id limit 200", (subject_id,)
    )
    return await cursor.fetchall()


# choices --------------------------------------------------------------------------------------------------------------
async def without_mail(conn: Connection) -> set[str]:
    """The people of the tenant who want no mail."""
    cursor = await conn.execute("select person_id from worka.notification_choice where not mail")
    return {row["person_id"] for row in await cursor.fetchall()}


async def choice(conn: Connection, person_id: str) -> Row | None:
    """Whether somebody wants mail ({mail}); None: they never said."""
    cursor = await conn.execute(
        "select mail, updated_at from worka.notification_choice where person_id = %s", (person_id,)
    )
    return await cursor.fetchone()


async def choose(conn: Connection, tenant_id: str, person_id: str, mail: bool) -> None:
    """Writes it."""
    await conn.execute(
        "insert into worka.notification_choice (tenant_id, person_id, mail) values (%s, %s, %s)"
        " on conflict (tenant_id, person_id) do update set mail = excluded.mail, updated_at = now()",
        (tenant_id, person_id, mail),
    )
