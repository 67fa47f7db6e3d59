"""What follows when somebody leaves a workspace: what they had told to the outside is told no more until somebody who is
there takes it up."""

from __future__ import annotations

from typing import Any

from worka import workspaces
from worka.kernel.context import Context
from worka.kernel.events import Subscribers
from worka.notifications import events, rules, store


def subscribe(subscribers: Subscribers) -> None:
    """Plugs the handler in, in every process role that changes members."""
    subscribers.on("membership.changed", left)


async def left(ctx: Context, payload: dict[str, Any]) -> None:
    """Pauses the webhooks for which somebody answered who is not there any more, each named in an event."""
    workspace_id, principal_id = payload["workspace_id"], payload["principal_id"]
    await store.lock_webhooks(ctx.conn, workspace_id)
    kept = await store.webhooks_kept(ctx.conn, workspace_id, principal_id)
    if not kept or any(
        row["principal_id"] == principal_id for row in await workspaces.store.members(ctx.conn, workspace_id)
    ):
        return
    for hook in kept:
        moved = await store.move_webhook(ctx.conn, hook["id"], "active", "paused", "webhook_keeper_left")
        assert moved is not None, "the row is locked"
        await store.skip_waiting(ctx.conn, hook["id"], "delivery_webhook_off")
        ctx.record(events.changed(moved, hook, rules.address(hook["url"])[0]))
