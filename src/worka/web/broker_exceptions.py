"""Network exceptions in the console: which inside address stands behind a name that packs use."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.broker import service
from worka.broker.errors import ExceptionInvalid, ExceptionUnknown
from worka.broker.schema import NewNetworkException
from worka.kernel.context import Context
from worka.kernel.http import Page, context
from worka.web import auth
from worka.web.broker_recorded import Do, Kind, changed, listed

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Number = Annotated[str, Form(max_length=5)]
EXCEPTION: Final = Kind(
    "network_exception", "broker/exceptions", "network_exceptions.html", NewNetworkException, ExceptionInvalid,
    ExceptionUnknown, service.list_exceptions, service.get_exception, service.create_exception, service.remove_exception,
)  # fmt: skip


@router.get("/w/{workspace_id}/broker/exceptions")
async def exceptions(request: Request, workspace_id: str, ctx: Reader, at: Annotated[Page, Depends()]) -> Response:
    """Which inside addresses packs reach here and by which names, and where that is changed."""
    return await listed(request, ctx, EXCEPTION, at)


@router.post("/w/{workspace_id}/broker/exceptions", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Do, Form()],
    thing: Annotated[str, Form(max_length=80)] = "",
    name: Annotated[str, Form(max_length=253)] = "",
    port: Number = "443",
    address: Annotated[str, Form(max_length=45)] = "",
    real_port: Number = "",
    ca: Annotated[str, Form(max_length=65_536)] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """First what an exception would do, then it is made; the same for its end."""
    given = {
        "name": name.strip(), "port": port.strip(), "address": address.strip(), "real_port": real_port.strip(),
        "ca": ca.strip(), "reason": reason.strip(),
    }  # fmt: skip
    asked = {
        "name": given["name"], "port": _number(given["port"]), "address": given["address"],
        "real_port": _number(given["real_port"] or given["port"]), "ca_pem": given["ca"], "reason": given["reason"],
    }  # fmt: skip
    return await changed(request, ctx, EXCEPTION, do, thing, given, asked)


def _number(typed: str) -> int | str:
    """As a number, or as it is: what is none is refused with the rest of what is asked for."""
    return int(typed) if typed.isascii() and typed.isdigit() else typed
