"""Upstream trust in the console: how the certificate of an outside name is checked, and which of ours it is shown."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.broker import trusts
from worka.broker.errors import TrustInvalid, TrustUnknown
from worka.broker.records import reachable
from worka.broker.schema import NewUpstreamTrust
from worka.kernel.context import Context
from worka.kernel.http import Page, context
from worka.web import auth
from worka.web.broker_recorded import Do, Kind, changed, listed

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Pem = Annotated[str, Form(max_length=65_536)]


async def _packs(ctx: Context) -> dict[str, Any]:
    return {"packs": {row["attachment_id"]: row["pack"] for row in (await reachable.listing(ctx))["items"]}}


TRUST: Final = Kind(
    "upstream_trust", "broker/trust", "upstream_trust.html", NewUpstreamTrust, TrustInvalid, TrustUnknown, trusts.page,
    trusts.get, trusts.create, trusts.remove, _packs,
)  # fmt: skip


@router.get("/w/{workspace_id}/broker/trust")
async def trust(request: Request, workspace_id: str, ctx: Reader, at: Annotated[Page, Depends()]) -> Response:
    """What is recorded of outside certificates here, and where it is changed."""
    return await listed(request, ctx, TRUST, at)


@router.post("/w/{workspace_id}/broker/trust", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Do, Form()],
    thing: Annotated[str, Form(max_length=80)] = "",
    name: Annotated[str, Form(max_length=253)] = "",
    attachment: Annotated[str, Form(max_length=80)] = "",
    ca: Pem = "",
    certificate: Pem = "",
    key: Annotated[str, Form(max_length=80)] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """First what a record would do, then it is made; the same for its end."""
    given = {
        "name": name.strip(), "attachment": attachment, "ca": ca.strip(), "certificate": certificate.strip(),
        "key": key.strip(), "reason": reason.strip(),
    }  # fmt: skip
    asked = {
        "name": given["name"], "attachment_id": attachment, "ca_pem": given["ca"], "reason": given["reason"],
        "client_cert_pem": given["certificate"], "client_key_secret_id": given["key"] or None,
    }  # fmt: skip
    return await changed(request, ctx, TRUST, do, thing, given, asked)
