"""Who was told of an approval and what became of it: the answer to "why was nobody told". And each person's own choice."""

from __future__ import annotations

from typing import Any

from worka import authorization
from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.approvals.actions import APPROVAL_VIEW
from worka.approvals.errors import not_found
from worka.approvals.people import audience
from worka.kernel import reasons
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.ids import new_id
from worka.notifications import actions, people, rules, service, store
from worka.notifications.errors import NoMail, TooManyTests
from worka.notifications.mail import TEST

Row = dict[str, Any]
_MOST_TESTS = 3


async def told_of(ctx: Context, approval_id: str) -> Row:
    """Everybody who was told of an approval, or was to be. For whoever may see the approval; raises ApprovalNotFound.
    Addresses are shown to nobody."""
    async with ctx.transaction() as conn:
        approval = await approval_rows.get(conn, approval_id)
        if approval is None:
            raise not_found(approval_id)
        who = await audience(conn, ctx, approval["workspace_id"])
        approvals._visible(ctx, approval, who)
        await ctx.require(APPROVAL_VIEW, approvals._resource(approval))
        hooks = await store.webhooks(conn, approval["workspace_id"], None, rules.MOST_WEBHOOKS)
        rows = await store.told_of(conn, approval_id)
        without = await store.without_mail(conn)
        needed = await people.asked(ctx, approval, who)
    sends = bool(ctx.settings is not None and ctx.settings.mail.host)
    named = {hook["id"]: rules.address(hook["url"])[0] for hook in hooks}
    listening = [
        hook for hook in hooks if hook["state"] == "active" and rules.wants(hook["types"], "approval.requested")
    ]
    silent = sorted(who.names[one] for one in needed if one in without)
    return {
        "approval_id": approval_id,
        "headline": headline(rows, sends=sends, listening=len(listening), needed=len(needed), silent=silent),
        "mail": sends,
        "webhooks": len(listening),
        "without_mail": silent,
        "told": [
            {
                "delivery": service.delivery_shown(row),
                "name": who.names.get(row["target"]) or named.get(row["target"]) or row["target"],
            }
            for row in rows
        ],
    }


def headline(rows: list[Row], *, sends: bool, listening: int, needed: int, silent: list[str]) -> str:
    """One or more sentences. Pure."""
    counted = {
        state: sum(row["state"] == state for row in rows)
        for state in ("sent", "queued", "refused", "failed", "skipped")
    }
    if counted["sent"]:
        said = [f"{counted['sent']} of {len(rows)} messages were accepted by their receivers."]
    elif rows:
        said = ["Nobody was told yet."]
    else:
        said = ["Nobody was told: there is no message about it."]
    words = {
        "queued": "wait to be sent or tried again",
        "refused": "were refused for good",
        "failed": "were given up",
        "skipped": "were not sent",
    }
    said += [f"{counted[state]} {what}." for state, what in words.items() if counted[state]]
    if not sends:
        said.append("This deployment sends no mail.")
    if not listening:
        said.append("No active webhook here is told of approvals.")
    if not needed:
        said.append("Nobody's yes is needed for it now.")
    if silent:
        said.append(f"{', '.join(silent)} chose to get no mail.")
    return " ".join(said)


async def choice(ctx: Context) -> Row:
    """What the caller wants to be told by mail in this tenant."""
    async with ctx.transaction() as conn:
        await ctx.require("access.view", Resource("workspace", str(ctx.workspace_id), ctx.workspace_id))
        wanted = await store.choice(conn, ctx.principal.id)
    return {"mail": wanted is None or wanted["mail"], "sent": bool(ctx.settings.mail.host)}


async def choose(ctx: Context, mail: bool) -> Row:
    """Sets it, for oneself only."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(actions.NOTIFICATION_CHOOSE, Resource("workspace", str(ctx.workspace_id), ctx.workspace_id))
        await store.choose(conn, ctx.tenant_id, ctx.principal.id, mail)
        ctx.failpoint("notification.chosen.before_commit")
    return {"mail": mail, "sent": bool(ctx.settings.mail.host)}


async def test_mail(ctx: Context, workspace_id: str) -> Row:
    """Sends the caller a mail that says it is a test. Raises NoMail, TooManyTests, Denied."""
    if not ctx.settings.mail.host:
        raise NoMail()
    async with ctx.transaction() as conn:
        await ctx.require(actions.MAIL_TEST, Resource("workspace", workspace_id, workspace_id))
        if await store.waiting(conn, ctx.principal.id, _MOST_TESTS) >= _MOST_TESTS:
            raise TooManyTests(f"{_MOST_TESTS} mails to you wait.", retry_after=60)
        delivery_id = new_id("dlv")
        made = await store.add_delivery(
            conn,
            {
                "tenant_id": ctx.tenant_id, "id": delivery_id, "workspace_id": workspace_id, "channel": "mail",
                "target": ctx.principal.id, "message_id": new_id("msg"), "type": TEST,
                "payload": {"type": TEST, "timestamp": now().isoformat(), "data": {}}, "cause": delivery_id,
                "state": "queued", "reason": "delivery_waiting", "replay_of": None, "created_by": ctx.principal.id,
            },
        )  # fmt: skip
        assert made is not None
        ctx.failpoint("delivery.queued.before_commit")
    return service.delivery_shown(made)


async def overview(ctx: Context, workspace_id: str) -> list[Row]:
    """The workspace's webhooks with their last deliveries, for a page; nothing for who may not see them."""
    async with ctx.transaction() as conn:
        who = ctx.principal
        resource = Resource("webhook", "*", workspace_id)
        if not await authorization.may(conn, ctx, who.kind, who.id, actions.WEBHOOK_VIEW, resource):
            return []
        rows = await store.webhooks(conn, workspace_id, None, rules.MOST_WEBHOOKS)
        return [
            {
                **service.shown(row, 0),
                "host": rules.address(row["url"])[0],
                "meaning": getattr(reasons.get(row["reason"]), "meaning", ""),
                "last": [service.delivery_shown(item) for item in await store.deliveries(conn, row["id"], None, 5)],
            }
            for row in rows
        ]
