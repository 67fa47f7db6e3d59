"""HTTP for the broker's doors; no logic."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Response, status

from worka.broker import service, trusts
from worka.broker.asked.schema import WayChange
from worka.broker.schema import (
    EgressLog,
    NetworkException,
    NetworkExceptions,
    NewNetworkException,
    NewUpstreamTrust,
    UpstreamTrust,
    UpstreamTrusts,
)
from worka.kernel.context import Context
from worka.kernel.http import Json, Page, context, gives, routes, trying

router = routes(tags=["egress"])


@router.get("/v1/workspaces/{workspace_id}/network-exceptions", response_model=NetworkExceptions)
async def network_exceptions(
    workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The workspace's network exceptions, newest first, removed ones too."""
    return page.answer(await service.list_exceptions(ctx, page.id, page.limit + 1), "id")


def _answer(found: dict[str, Any]) -> Response:
    return Json(found, status.HTTP_202_ACCEPTED if found.get("state") == "open" else status.HTTP_201_CREATED)


@router.post(
    "/v1/workspaces/{workspace_id}/network-exceptions",
    **gives(NetworkException, status.HTTP_201_CREATED, s202=WayChange),
)
async def create_network_exception(
    workspace_id: str, body: NewNetworkException, ctx: Context = Depends(trying)
) -> Response:
    """Records a network exception: the name and port that a pack sees, and what is behind them (201). For a name that a
    credential goes to, it waits for a second person first (202)."""
    return _answer(await service.create_exception(ctx, body))


@router.get("/v1/network-exceptions/{exception_id}", response_model=NetworkException)
async def network_exception(exception_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One network exception, with its CA in words."""
    return await service.get_exception(ctx, exception_id)


@router.delete("/v1/network-exceptions/{exception_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_network_exception(exception_id: str, ctx: Context = Depends(trying)) -> None:
    """Ends a network exception."""
    await service.remove_exception(ctx, exception_id)


@router.get("/v1/workspaces/{workspace_id}/upstream-trusts", response_model=UpstreamTrusts)
async def upstream_trusts(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The workspace's records of upstream trust, newest first, removed ones too."""
    return page.answer(await trusts.page(ctx, page.id, page.limit + 1), "id")


@router.post(
    "/v1/workspaces/{workspace_id}/upstream-trusts", **gives(UpstreamTrust, status.HTTP_201_CREATED, s202=WayChange)
)
async def create_upstream_trust(workspace_id: str, body: NewUpstreamTrust, ctx: Context = Depends(trying)) -> Response:
    """Records how the certificate of an outside name is checked, and which certificate of ours it is shown (201). For a name that
    a credential goes to, it waits for a second person first (202)."""
    return _answer(await trusts.create(ctx, body))


@router.get("/v1/upstream-trusts/{trust_id}", response_model=UpstreamTrust)
async def upstream_trust(trust_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One record of upstream trust, with its certificates in words."""
    return await trusts.get(ctx, trust_id)


@router.delete("/v1/upstream-trusts/{trust_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_upstream_trust(trust_id: str, ctx: Context = Depends(trying)) -> None:
    """Ends a record of upstream trust."""
    await trusts.remove(ctx, trust_id)


@router.get("/v1/egress/{egress_id}/log", response_model=EgressLog)
async def egress_log(egress_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The raw failure lines behind an egress row: what the socket, TLS or the parser said, redacted."""
    return await service.egress_log(ctx, egress_id)
