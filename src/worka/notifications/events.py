"""What can have happened to webhooks and deliveries. No secret and no address of a person in any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worka.kernel.events import Event

Row = Mapping[str, Any]


def created(row: Row, host: str) -> Event:
    """webhook.created: an outside system is told of what happens here."""
    return _event("webhook.created", row, host, after={"host": host, "types": row["types"], "state": row["state"]})


def changed(row: Row, before: Row, host: str) -> Event:
    """webhook.changed: it is told of something else, paused (by hand, or since who answered for it left), taken up
    again, or disabled since it failed for long."""
    keys = ("types", "description", "state", "reason")
    return _event(
        "webhook.changed", row, host, before={key: before[key] for key in keys}, after={key: row[key] for key in keys}
    )


def removed(row: Row, host: str, undelivered: int) -> Event:
    """webhook.removed: nothing is sent to it any more; what was not delivered is not tried again."""
    return _event("webhook.removed", row, host, before={"host": host}, data={"undelivered": undelivered})


def rotated(row: Row, host: str, overlap_hours: int) -> Event:
    """webhook.secret.rotated: a new secret signs; the old one signs beside it for a while."""
    return _event("webhook.secret.rotated", row, host, data={"overlap_hours": overlap_hours}, lane="secrets")


def tested(row: Row, host: str, delivery_id: str) -> Event:
    """webhook.tested: a message that says it is a test is sent to it."""
    return _event("webhook.tested", row, host, data={"delivery": delivery_id})


def replayed(row: Row, host: str, deliveries: int) -> Event:
    """webhook.replayed: deliveries are sent to it again."""
    return _event("webhook.replayed", row, host, data={"deliveries": deliveries})


def ended(row: Row) -> Event:
    """notification.delivery.ended: a receiver accepted it or refused it, or it is not tried any more."""
    data = {"state": row["state"], "reason": row["reason"], "attempts": row["attempts"], "channel": row["channel"]}
    return Event(
        "notification.delivery.ended", row["id"], row["type"], lane="services", workspace_id=row["workspace_id"],
        data={**data, "target": row["target"]},
    )  # fmt: skip


def _event(kind: str, row: Row, host: str, lane: str = "config", **fields: Any) -> Event:
    return Event(kind, row["id"], host, lane=lane, workspace_id=row["workspace_id"], **fields)
