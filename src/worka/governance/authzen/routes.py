"""HTTP for the AuthZEN Authorization API 1.0, no logic."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request, Response

from worka.governance.authzen import service
from worka.governance.authzen.schema import (
    ActionSearch,
    Decided,
    DecidedAll,
    Evaluation,
    Evaluations,
    FoundActions,
    FoundEntities,
    Metadata,
    ResourceSearch,
    SubjectSearch,
)
from worka.kernel.context import Context
from worka.kernel.http import context, gives, routes

router = routes(tags=["authzen"])
_PATHS = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}


@router.get("/.well-known/authzen-configuration", **gives(Metadata))
async def metadata(request: Request, response: Response) -> dict[str, Any]:
    """Where the endpoints of this decision point are, by http.public_url; without it, by the name that was asked."""
    public = request.state.runtime.settings.http.public_url
    base = str(public or f"{request.url.scheme}://{request.headers['host']}").rstrip("/")
    response.headers["Cache-Control"] = "max-age=300"
    return {"policy_decision_point": base, **{name: base + path for name, path in _PATHS.items()}}


@router.post("/access/v1/evaluation", **gives(Decided))
async def evaluation(body: Evaluation, ctx: Context = Depends(context)) -> dict[str, Any]:
    """May this subject do this action on this resource?"""
    return await service.evaluate(ctx, body)


@router.post("/access/v1/evaluations", **gives(DecidedAll))
async def evaluations(body: Evaluations, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Several questions in one request, in order: all of them, or until the first deny or the first permit."""
    return await service.evaluate_all(ctx, body)


@router.post("/access/v1/search/subject", **gives(FoundEntities))
async def search_subject(body: SubjectSearch, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Which subjects of this type may do this on this resource?"""
    return await service.search_subjects(ctx, body)


@router.post("/access/v1/search/resource", **gives(FoundEntities))
async def search_resource(body: ResourceSearch, ctx: Context = Depends(context)) -> dict[str, Any]:
    """On which resources of this type may this subject do this?"""
    return await service.search_resources(ctx, body)


@router.post("/access/v1/search/action", **gives(FoundActions))
async def search_action(body: ActionSearch, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Which actions may this subject do on this resource?"""
    return await service.search_actions(ctx, body)
