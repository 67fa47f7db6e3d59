"""HTTP for the ledger's readers; no logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from worka.broker.errors import RequestInvalid
from worka.broker.records import answers, reachable, replaying, service, trying
from worka.broker.records.model import Filter, Outcome
from worka.kernel import clock
from worka.kernel.context import Context
from worka.kernel.http import Moment, Page, Rest, context, gives, routes

router = routes(tags=["egress"])
Caller = Annotated[Context, Depends(context)]
WS = "/v1/workspaces/{workspace_id}"
Word = Annotated[str | None, Query(max_length=200)]
Everywhere = Annotated[bool, Query(description="of every workspace of the tenant in which you may read it")]
Days = Annotated[int, Query(ge=1, le=90, description="how far back use is counted")]
By = Literal["host", "pack", "rule", "reason", "outcome", "credential", "actor", "workspace"]
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the rows, newest first, as CSV with a head line or as one JSON document a line",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


def asked(
    pack: Word = None,
    attachment_id: Annotated[str | None, Query(max_length=64)] = None,
    invocation_id: Annotated[str | None, Query(max_length=64)] = None,
    host: Annotated[str | None, Query(max_length=255, description="a host, or *.host for every name below it")] = None,
    port: Annotated[int | None, Query(ge=1, le=65535)] = None,
    outcome: Annotated[Outcome | None, Query(description="how it ended")] = None,
    verdict: Annotated[Literal["allowed", "denied"] | None, Query()] = None,
    reason: Word = None,
    rule: Word = None,
    credential: Annotated[str | None, Query(max_length=64, description="a connection or a secret, by its id")] = None,
    actor: Annotated[str | None, Query(max_length=64, description="who acted, or on whose behalf")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Filter:
    """Dependency: which rows are meant. Raises RequestInvalid for a time that is none."""
    at = clock.now()
    try:
        began, ended = (None if text is None else clock.moment(text, at) for text in (since, until))
    except ValueError as error:
        raise RequestInvalid(str(error), field="/since") from error
    return Filter(
        pack=pack, attachment_id=attachment_id, invocation_id=invocation_id, host=host.lower() if host else None,
        port=port, outcome=outcome, verdict=verdict, reason=reason, rule=rule, credential=credential, actor=actor,
        since=began, until=ended,
    )  # fmt: skip


Asked = Annotated[Filter, Depends(asked)]


@router.get(f"{WS}/egress", **gives(answers.EgressRows))
async def egress(
    workspace_id: str, ctx: Caller, what: Asked, page: Annotated[Page, Depends()], everywhere: Everywhere = False
) -> dict[str, Any]:
    """What packs sent out, or tried to, newest first: whose, by which rule, with whose credential, and how it ended."""
    rows, unseen = await service.page(ctx, what, page.id, page.limit + 1, everywhere)
    return {**page.answer(rows, "id"), "unseen": unseen}


@router.get(f"{WS}/egress/counts", **gives(answers.EgressCounts))
async def egress_counts(
    workspace_id: str, ctx: Caller, what: Asked, by: Annotated[By, Query()] = "host", everywhere: Everywhere = False
) -> dict[str, Any]:
    """The same rows counted by one thing."""
    return await service.counted(ctx, what, by, everywhere)


@router.get(f"{WS}/egress/export", response_class=StreamingResponse, responses=FILE)
async def egress_export(
    workspace_id: str,
    ctx: Caller,
    what: Asked,
    form: Annotated[Literal["csv", "ndjson"], Query(alias="format")] = "csv",
    everywhere: Everywhere = False,
) -> StreamingResponse:
    """The same rows as a file, all of them."""
    written = await service.export(ctx, what, form, everywhere)
    return StreamingResponse(
        written,
        media_type="text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="egress.{form}"', "Cache-Control": "no-store"},
    )


@router.get("/v1/egress/{egress_id}", **gives(answers.EgressRow))
async def egress_row(egress_id: str, ctx: Caller) -> dict[str, Any]:
    """One row. Why it is so: `/v1/why/{id}`."""
    return await service.one(ctx, egress_id)


@router.get(f"{WS}/egress/destinations", **gives(answers.ReachableList))
async def egress_destinations(
    workspace_id: str,
    ctx: Caller,
    attachment_id: Annotated[str | None, Query(max_length=64)] = None,
    pack: Word = None,
    everywhere: Everywhere = False,
    days: Days = 30,
) -> dict[str, Any]:
    """Every destination that attached packs may reach, before any call was made, with the accounts behind each. Complete."""
    return await reachable.listing(ctx, attachment_id=attachment_id, pack=pack, everywhere=everywhere, days=days)


@router.get(f"{WS}/egress/destinations/{{host}}", **gives(answers.EgressDestination))
async def egress_destination(
    workspace_id: str,
    host: str,
    ctx: Caller,
    port: Annotated[Literal["80", "443"], Query()] = "443",
    everywhere: Everywhere = False,
    days: Days = 30,
) -> dict[str, Any]:
    """A destination: which packs may reach it and did, with whose credential, under which rule, since when."""
    return await reachable.destination(ctx, host, int(port), everywhere=everywhere, days=days)


@router.post(f"{WS}/egress/tries", **gives(answers.Tried))
async def egress_try(workspace_id: str, body: answers.TriedRequest, ctx: Caller) -> dict[str, Any]:
    """What would become of a request of a pack, step by step. Nothing is sent, and no row is written."""
    return await trying.look(ctx, body)


@router.post(f"{WS}/egress/replays", **gives(answers.ReplayPage))
async def egress_replay(
    workspace_id: str,
    body: answers.Replayed,
    ctx: Caller,
    page: Annotated[Rest, Depends()],
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Which requests of the last day (or of a window) other rules would decide otherwise, both ways. Complete over all pages;
    pass on `since` and `until` of the first one."""
    return await replaying.run(
        ctx,
        outbound_domains=body.outbound,
        attachment_id=body.attachment_id,
        pack=body.pack,
        settings=body.policy,
        scope=body.scope,
        since=since,
        until=until,
        after=page.id,
        limit=limit,
    )
