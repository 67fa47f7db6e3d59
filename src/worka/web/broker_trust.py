"""Upstream trust in the console: how the certificate of an outside name is checked, and which of ours it is shown. A record is
looked at before it is made, and before it is taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Request
from pydantic import ValidationError
from starlette.responses import Response

from worka.broker import actions, trusts
from worka.broker.asked import service as asking
from worka.broker.errors import TrustInvalid, TrustUnknown
from worka.broker.records import reachable
from worka.broker.schema import NewUpstreamTrust
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.http import Page, context
from worka.web import auth
from worka.web.broker import REFUSALS, shown
from worka.web.people import can
from worka.web.render import for_reader, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
Pem = Annotated[str, Form(max_length=65_536)]
ACTIONS: Final = (actions.UPSTREAM_TRUST_CREATE, actions.UPSTREAM_TRUST_REMOVE)


async def _page(
    request: Request, ctx: Context, at: Page | None = None, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    at = at or Page(limit=50, cursor=None)
    answer = at.answer(await trusts.page(ctx, at.id, at.limit + 1), "id")
    packs = {row["attachment_id"]: row["pack"] for row in (await reachable.listing(ctx))["items"]}
    found = {
        "records": answer["items"], "next": answer["next"], "packs": packs, "asked": {}, "would": None, "ending": None,
        "may": {name: await can(ctx, here, name) for name in ACTIONS},
        "waiting": [row for row in await asking.listing(ctx, here, None, 50) if row["state"] == "open"],
        "problem": for_reader(ctx, problem) if problem else None, **values,
    }  # fmt: skip
    return await shown(
        request, ctx, "upstream_trust.html", "broker/trust", problem.status if problem else 200, **found
    )  # fmt: skip


@router.get("/w/{workspace_id}/broker/trust")
async def trust(request: Request, workspace_id: str, ctx: Reader, at: Annotated[Page, Depends()]) -> Response:
    """What is recorded of outside certificates here, and where it is changed."""
    return await _page(request, ctx, at)


@router.post("/w/{workspace_id}/broker/trust", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["look", "record", "remove-look", "remove"], Form()],
    thing: Annotated[str, Form(max_length=80)] = "",
    name: Annotated[str, Form(max_length=253)] = "",
    attachment: Annotated[str, Form(max_length=80)] = "",
    ca: Pem = "",
    certificate: Pem = "",
    key: Annotated[str, Form(max_length=80)] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """First what a record would do, then it is made; the same for its end."""
    asked = {
        "name": name.strip(), "attachment_id": attachment, "ca_pem": ca.strip(), "client_cert_pem": certificate.strip(),
        "client_key_secret_id": key.strip() or None, "reason": reason.strip(),
    }  # fmt: skip
    try:
        if do == "look":
            # All of it is done and undone.
            would = await trusts.create(replace(ctx, undone=True), _new(asked))
            return await _page(request, ctx, asked=asked, would=would)
        if do == "record":
            await trusts.create(ctx, _new(asked))
        else:
            row = await trusts.get(ctx, thing)
            if row["workspace_id"] != workspace_id:
                raise TrustUnknown()
            if do == "remove-look":
                return await _page(request, ctx, ending=row)
            await trusts.remove(ctx, thing)
    except REFUSALS as problem:
        return await _page(request, ctx, problem=problem, asked=asked)
    return redirect(f"/w/{workspace_id}/broker/trust")


def _new(asked: Row) -> NewUpstreamTrust:
    try:
        return NewUpstreamTrust(**asked, replace=True)
    except ValidationError as error:
        found = error.errors()[0]
        raise TrustInvalid(f"{found['loc'][0]}: {found['msg']}.", field=str(found["loc"][0])) from error
