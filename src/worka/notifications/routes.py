"""HTTP for notifications, no logic."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes, trying
from worka.notifications import explain, service, told
from worka.notifications.schema import (
    ChangedWebhook,
    Choice,
    Delivery,
    DeliveryState,
    DeliveryWithAttempts,
    NewChoice,
    NewReplay,
    NewWebhook,
    RemovedWebhook,
    Rotation,
    SentAgain,
    ToldOf,
    Webhook,
    WebhookWithSecret,
)

router = routes(prefix="/v1", tags=["notifications"])
HOOK = "/webhooks/{webhook_id}"


@router.get("/workspaces/{workspace_id}/webhooks", **gives(Items[Webhook]))
async def list_webhooks(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The workspace's webhooks, newest first, without the removed ones."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/webhooks", **gives(WebhookWithSecret, 201))
async def create_webhook(workspace_id: str, body: NewWebhook, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Adds a webhook. This answer is the only one that holds its secret."""
    return await service.create(ctx, workspace_id, **body.model_dump())


@router.get(HOOK, **gives(Webhook))
async def show_webhook(webhook_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One webhook."""
    return await service.get(ctx, webhook_id)


@router.patch(HOOK, **gives(Webhook))
async def change_webhook(webhook_id: str, body: ChangedWebhook, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Changes what it is told of, pauses it or takes it up again."""
    return await service.change(ctx, webhook_id, **body.model_dump())


@router.delete(HOOK, **gives(RemovedWebhook))
async def remove_webhook(webhook_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes it away; what was not delivered is not tried any more."""
    return await service.remove(ctx, webhook_id)


@router.post(f"{HOOK}/rotate", **gives(WebhookWithSecret))
async def rotate_webhook(webhook_id: str, body: Rotation, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Gives it a new secret; the old one signs beside it for a while."""
    return await service.rotate(ctx, webhook_id, body.overlap_hours, dry_run=body.dry_run)


@router.post(f"{HOOK}/test", **gives(Delivery, 202))
async def send_test(webhook_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sends it a message that says it is a test; the delivery tells what came of it."""
    return await service.test(ctx, webhook_id)


@router.get(f"{HOOK}/deliveries", **gives(Items[Delivery]))
async def list_deliveries(
    webhook_id: str, state: DeliveryState | None = Query(None), page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """What was sent to it, or is to be, newest first."""
    return page.answer(await service.list_deliveries(ctx, webhook_id, page.id, page.limit, state), "id")


@router.post(f"{HOOK}/replays", **gives(SentAgain, 202))
async def replay(webhook_id: str, body: NewReplay, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Sends one delivery again, or those of a span of time that did not arrive, under the same message ids."""
    return await service.replay(ctx, webhook_id, **body.model_dump())


@router.get("/deliveries/{delivery_id}", **gives(DeliveryWithAttempts))
async def show_delivery(delivery_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One delivery with what was sent and every try."""
    return await service.show_delivery(ctx, delivery_id)


@router.get("/deliveries/{delivery_id}/why")
async def why_delivery(delivery_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it is as it is."""
    return await explain.explain(ctx, delivery_id)


# people ---------------------------------------------------------------------------------------------------------------
@router.get("/approvals/{approval_id}/notifications", **gives(ToldOf))
async def told_of(approval_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Who was told of an approval, what became of each message, and why nobody else was told."""
    return await told.told_of(ctx, approval_id)


@router.get("/workspaces/{workspace_id}/my-notifications", **gives(Choice))
async def show_choice(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What you want to be told by mail; it holds in every workspace of this tenant."""
    return await told.choice(ctx)


@router.put("/workspaces/{workspace_id}/my-notifications", **gives(Choice))
async def put_choice(workspace_id: str, body: NewChoice, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sets it."""
    return await told.choose(ctx, body.mail)


@router.post("/workspaces/{workspace_id}/mail-tests", **gives(Delivery, 202))
async def send_test_mail(workspace_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sends you a mail that says it is a test; the delivery tells what came of it."""
    return await told.test_mail(ctx, workspace_id)
