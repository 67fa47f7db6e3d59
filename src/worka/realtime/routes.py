"""HTTP for realtime."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from worka.kernel.context import Context
from worka.kernel.http import context
from worka.realtime.stream import begin, stream

router = APIRouter(tags=["realtime"])
Ctx = Annotated[Context, Depends(context)]
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events, until the reader leaves or may no longer read (`event: bye`)",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/v1/workspaces/{workspace_id}/events", response_class=StreamingResponse, responses=STREAM)
async def events(
    workspace_id: str,
    ctx: Ctx,
    last_event_id: Annotated[str | None, Header(max_length=60)] = None,
    after: Annotated[str | None, Query(max_length=60, description="like Last-Event-ID, for the first request")] = None,
) -> StreamingResponse:
    """Committed events of the workspace as server-sent events; with Last-Event-ID, from just after that one."""
    start = await begin(ctx, last_event_id or after)
    return StreamingResponse(
        stream(ctx.db, ctx, start),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
