"""HTTP for packs, no logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Response

from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Json, Page, context, gives, routes, trying
from worka.packs import actions, answers, explain, schema, service, store
from worka.packs.moving import routes as moving
from worka.packs.moving import store as moves
from worka.packs.service import reading

router = routes(prefix="/v1", tags=["packs"])
router.include_router(moving.router)
Caller = Annotated[Context, Depends(context)]
Paged = Annotated[Page, Depends()]


@router.post("/workspaces/{workspace_id}/releases", **gives(answers.Release, 202))
async def register(workspace_id: str, body: schema.RegisterRelease, ctx: Caller) -> dict[str, Any]:
    """Checks the manifest and lock and starts the registration; GET the release to follow it."""
    row = await service.register(ctx, body.manifest, lock_text=body.lock, files=body.files, place=body.place)
    return schema.release(row)


@router.get("/workspaces/{workspace_id}/releases", **gives(Items[answers.ListedRelease]))
async def list_releases(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The tenant's releases, newest first."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        rows = await store.releases(conn, page.id, page.limit + 1)
    return page.answer(rows, "id")


@router.get("/releases/{release_id}", **gives(answers.Release))
async def get_release(release_id: str, ctx: Caller) -> dict[str, Any]:
    """One release with its manifest, its frozen tools and its packages."""
    return schema.release(await reading.release(ctx, release_id))


@router.get("/releases/{release_id}/why")
async def why_release(release_id: str, ctx: Caller) -> Explanation:
    """Why the release is in its state."""
    return await explain.explain_release(ctx, release_id)


@router.post("/releases/{release_id}/retry", **gives(answers.Release, 202))
async def retry_release(release_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes up the stage at which a registration failed; GET the release to follow it."""
    return schema.release(await service.retry(ctx, release_id))


@router.post("/releases/{release_id}/revoke", **gives(answers.Release))
async def revoke_release(release_id: str, body: schema.GivenReason, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """No new attachment of this release; existing ones run."""
    return schema.release(await service.revoke(ctx, release_id, body.reason))


@router.post("/releases/{release_id}/quarantine", **gives(answers.Release))
async def quarantine_release(
    release_id: str, body: schema.GivenReason, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Nothing of this release runs any more."""
    return schema.release(await service.quarantine(ctx, release_id, body.reason))


@router.post("/workspaces/{workspace_id}/attachments", **gives(answers.Attachment, 201, s202=answers.Attachment))
async def attach(
    workspace_id: str, body: schema.AttachRelease, response: Response, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Attaches a release: 201 when it serves, 202 when it waits for an approval, a connection or a pack."""
    row = await service.attach(ctx, body.release_id, mode=body.mode, mounts=body.mounts)
    response.status_code = 201 if row["state"] == "attached" else 202
    return schema.attachment(row)


@router.get("/workspaces/{workspace_id}/attachments", **gives(Items[answers.ListedAttachment]))
async def list_attachments(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The workspace's attachments, newest first."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        rows = await store.attachments(conn, workspace_id, page.id, page.limit + 1)
        under_way = await moves.open_moves(conn, workspace_id)
    for row in rows:
        row["move"] = under_way.get(row["id"])
        row["mounts"] = [{key: value for key, value in mount.items() if key != "clone"} for mount in row["mounts"]]
    return page.answer(rows, "id")


@router.get("/attachments/{attachment_id}", **gives(answers.Attachment))
async def get_attachment(attachment_id: str, ctx: Caller) -> dict[str, Any]:
    """One attachment."""
    return schema.attachment(await reading.attachment(ctx, attachment_id))


@router.get("/attachments/{attachment_id}/why")
async def why_attachment(attachment_id: str, ctx: Caller) -> Explanation:
    """Why the attachment is in its state."""
    return await explain.explain_attachment(ctx, attachment_id)


@router.delete("/attachments/{attachment_id}", **gives(answers.Attachment))
async def detach(
    attachment_id: str, ctx: Context = Depends(trying), body: schema.GivenReason | None = None
) -> dict[str, Any]:
    """Takes the pack from the workspace."""
    await reading.attachment(ctx, attachment_id)
    return schema.attachment(await service.detach(ctx, attachment_id, body.reason if body else ""))


@router.post("/attachments/{attachment_id}/resolve", **gives(answers.Attachment))
async def resolve_attachment(attachment_id: str, body: schema.GivenReason, ctx: Caller) -> dict[str, Any]:
    """Lets the held tools serve again, if the server lists the approved definitions."""
    await reading.attachment(ctx, attachment_id)
    return schema.attachment(await service.resolve_held(ctx, attachment_id, body.reason))


@router.get("/workspaces/{workspace_id}/tools", **gives(Items[answers.Tool]))
async def list_tools(workspace_id: str, ctx: Caller) -> dict[str, Any]:
    """Every tool of the attached packs, complete."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        rows = await store.serving(conn, workspace_id)
    return {"items": schema.tools(rows), "next": None}


@router.post("/workspaces/{workspace_id}/tools/{tool}/call", **gives(answers.Called, s202=answers.WaitingCall))
async def call(
    workspace_id: str,
    tool: str,
    body: schema.ToolCall,
    ctx: Caller,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Calls a tool: 200 with how it ended, or 202 with the approval or the connection that it waits for."""
    status, answer = await service.call(ctx, tool, body.arguments, idempotency_key)
    return Json(answer, status, {"Idempotency-Replayed": "true"} if answer.get("replayed") else None)


@router.get("/workspaces/{workspace_id}/invocations", **gives(Items[answers.ListedInvocation]))
async def list_invocations(
    workspace_id: str,
    ctx: Caller,
    page: Paged,
    state: Literal["running", "succeeded", "failed", "unknown"] | None = None,
    task_id: str | None = None,
) -> dict[str, Any]:
    """The workspace's invocations, newest first. What is asked for as running is shown as stalled where it is."""
    await ctx.require(actions.INVOCATION_VIEW.name, Resource("invocation", "*", workspace_id))
    async with ctx.transaction() as conn:
        rows = await store.invocations(conn, workspace_id, page.id, page.limit + 1, state, task_id)
        rows = await reading.as_shown(ctx, rows)
    return page.answer(rows, "id")


@router.get("/invocations/{invocation_id}", **gives(answers.Invocation))
async def get_invocation(invocation_id: str, ctx: Caller) -> dict[str, Any]:
    """One invocation with its egress rows; the result only for whoever made the call."""
    row = await reading.invocation(ctx, invocation_id)
    async with ctx.transaction() as conn:
        egress = await store.egress_of(conn, invocation_id)
        (row,) = await reading.as_shown(ctx, [row])
        mine = ctx.principal.id in (row["initiator_id"], row["originating_person"])
        result = await service.result_of(ctx, row) if mine else None
    return {**schema.invocation(row), "egress": egress, "result": result}


@router.get("/invocations/{invocation_id}/log", **gives(answers.InvocationLog))
async def get_invocation_log(invocation_id: str, ctx: Caller) -> dict[str, Any]:
    """What the sandbox, the pack and the broker said of the call, as they said it, redacted."""
    return await reading.log(ctx, invocation_id)


@router.get("/invocations/{invocation_id}/why")
async def why_invocation(invocation_id: str, ctx: Caller) -> Explanation:
    """The road of the call, with the failing leg open."""
    return await explain.explain_invocation(ctx, invocation_id)
