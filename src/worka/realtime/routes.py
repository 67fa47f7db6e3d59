"""HTTP for realtime."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Query
from fastapi.responses import StreamingResponse

from worka.broker import actions as egress_actions
from worka.broker.records.routes import Asked
from worka.kernel.context import Context
from worka.kernel.http import COMMIT, context, routes
from worka.realtime import egress
from worka.realtime.stream import begin, stream

router = routes(tags=["realtime"])
Ctx = Annotated[Context, Depends(context)]
PLACE: dict[str, Any] = {"pattern": f"^(?:{COMMIT[1:-1]})?$"}
"""Empty says the same as none, as a browser means it."""
EVENT: dict[str, Any] = {
    "type": "object",
    "description": "Each event of the stream.",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": COMMIT},
        "event": {"type": "string", "description": "the type of the change, or `bye`"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events, until the reader leaves or may no longer read (`event: bye`)",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
}


@router.get("/v1/workspaces/{workspace_id}/events", response_class=StreamingResponse, responses=STREAM)
async def events(
    workspace_id: str,
    ctx: Ctx,
    last_event_id: Annotated[str | None, Header(json_schema_extra=PLACE)] = None,
    after: Annotated[
        str | None,
        Query(description="like Last-Event-ID, for the first request", json_schema_extra=PLACE),
    ] = None,
) -> StreamingResponse:
    """Committed events of the workspace as server-sent events; with Last-Event-ID, from just after that one."""
    start = await begin(ctx, last_event_id, after)
    return StreamingResponse(
        stream(ctx.db, ctx, start),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/v1/workspaces/{workspace_id}/egress/stream", response_class=StreamingResponse, responses=STREAM)
async def egress_stream(
    workspace_id: str,
    ctx: Ctx,
    what: Asked,
    last_event_id: Annotated[str | None, Header(json_schema_extra=PLACE)] = None,
    after: Annotated[
        str | None,
        Query(description="like Last-Event-ID, for the first request", json_schema_extra=PLACE),
    ] = None,
) -> StreamingResponse:
    """The egress ledger as it is written, as server-sent events: a row when its request was decided, and again when its outcome
    or its count changed."""
    start = await begin(ctx, last_event_id, after, egress_actions.EGRESS_VIEW)
    return StreamingResponse(
        stream(ctx.db, ctx, start, egress.feed(what)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
