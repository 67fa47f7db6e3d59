"""Who is to be told of an approval, and when: messages of the outbox, written with the change that they tell of.

`payload`: {approval_id, workspace_id, title, expires_at, people: [{id, name, on_behalf_of}], …}. The people are those whose
yes would fill a seat at that moment, by the one function that card, inbox and decision ask; who delivers asks it again.
"""

from __future__ import annotations

from typing import Any

from worka.approvals import store
from worka.approvals.people import Audience
from worka.approvals.rules import Ask
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.ids import new_id

Row = dict[str, Any]
REQUESTED, REMINDER, ESCALATION = "approval.requested", "approval.reminder", "approval.escalation"
DECIDED, EXPIRED = "approval.decided", "approval.expired"
_ENDED = {"approved": DECIDED, "rejected": DECIDED, "superseded": DECIDED, "expired": EXPIRED}


def waited_for(ask: Ask, people: Audience) -> list[Row]:
    """Who is told: those whose yes is needed now."""
    return [
        {"id": who, "name": people.names[who], "on_behalf_of": way.behalf}
        for who, way in people.waited_for(ask, now()).items()
    ]


async def send(ctx: Context, topic: str, row: Row, further: Row) -> None:
    """Writes the message, in the open transaction."""
    payload = {
        "approval_id": row["id"],
        "workspace_id": row["workspace_id"],
        "title": row["title"],
        "expires_at": row["expires_at"].isoformat(),
        **further,
    }
    await store.send_later(
        ctx.conn, {"tenant_id": row["tenant_id"], "id": new_id("out"), "topic": topic, "payload": payload}
    )


async def ended(ctx: Context, row: Row) -> None:
    """Whoever is behind it is told how it ended; not of what they took back themselves."""
    topic = _ENDED.get(row["state"])
    if topic is None or (row["state"] == "superseded" and not row["moved"]):
        return
    who = ctx.principal
    by = {"decided_by": {"id": who.id, "name": who.name}} if topic == DECIDED and who.kind == "person" else {}
    because = {"because": row["moved"]["because"]} if row.get("moved") else {}
    await send(ctx, topic, row, {"people": [], **by, **because})
