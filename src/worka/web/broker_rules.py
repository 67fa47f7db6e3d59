"""Rules on what goes outside, in the console: policy on destinations replayed before it is saved, proposals, and a request that
is only tried."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from worka.broker.errors import PolicyInvalid, RequestInvalid
from worka.broker.policy import rules
from worka.broker.policy import service as policies
from worka.broker.records import reachable, replaying, trying
from worka.broker.records.answers import TriedRequest
from worka.kernel import canonical
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.http import Page, context
from worka.packs.proposals import service as proposals
from worka.packs.proposals import unused
from worka.packs.service import reading
from worka.web import auth
from worka.web.broker import REFUSALS, shown
from worka.web.people import can
from worka.web.render import for_reader, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
Scope = Literal["tenant", "workspace"]
Text = Annotated[str, Form(max_length=40_000)]


# policy ---------------------------------------------------------------------------------------------------------------
def as_lines(settings: Row) -> dict[str, str]:
    """A policy as the page edits it: an item a line, a host as it is and everything else as JSON."""
    return {
        part: "\n".join(
            item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in settings[part]
        )
        for part in rules.PARTS
        if settings.get(part) is not None
    }


def of_lines(refuse: str, excepted: str, only: str, listed: bool) -> Row:
    """The other way round. Raises PolicyInvalid naming the line."""
    parts = (("refuse", refuse), ("except", excepted), *((("only", only),) if listed else ()))
    found: Row = {}
    for part, text in parts:
        items = [_item(part, number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if items or part == "only":
            found[part] = items
    return policies.checked(found)


def _item(part: str, number: int, line: str) -> Any:
    if not line.startswith("{"):
        return line
    try:
        return json.loads(line)
    except ValueError as error:
        raise PolicyInvalid(f"{part}, line {number}: {error}.", field=f"/settings/{part}") from error


def seen_of(scope: str, settings: Row, over: int) -> str:
    """What a replay was of: only exactly that is saved."""
    return canonical.sha256_hex({"scope": scope, "settings": settings, "over": over})[:32]


async def _policy(
    request: Request, ctx: Context, scope: Scope, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    there = await policies.show(ctx, here)
    own = next((row for row in there["layers"] if row["scope"] == scope), None)
    settings = own["settings"] if own else {}
    found = {
        "there": there, "scope": scope, "version": own["version"] if own else 0, "lines": as_lines(settings),
        "listed": settings.get("only") is not None, "replay": None, "seen": "", "note": "",
        "versions": await policies.history(ctx, here, scope, None, 10),
        "may": {name: await can(ctx, here, name) for name in ("egress_policy.set", "egress_policy.set_wide")},
        "problem": for_reader(ctx, problem) if problem else None,
        **values,
    }  # fmt: skip
    status = problem.status if problem else 200
    return await shown(request, ctx, "egress_policy.html", "broker/policy", status, **found)


@router.get("/w/{workspace_id}/broker/policy")
async def policy(
    request: Request, workspace_id: str, ctx: Reader, scope: Annotated[Scope, Query()] = "workspace"
) -> Response:
    """What policy says of destinations, and where it is changed."""
    return await _policy(request, ctx, scope)


@router.post("/w/{workspace_id}/broker/policy", dependencies=[Depends(auth.same_origin)])
async def set_policy(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["replay", "save"], Form()],
    scope: Annotated[Scope, Form()] = "workspace",
    refuse: Text = "",
    excepted: Text = "",
    only: Text = "",
    listed: Annotated[bool, Form()] = False,
    note: Annotated[str, Form(max_length=2000)] = "",
    over: Annotated[str, Form(max_length=9)] = "0",
    seen: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Replays it over the last day, and saves it once exactly that was looked at."""
    typed: Row = {"lines": {"refuse": refuse, "except": excepted, "only": only}, "listed": listed, "note": note}
    number = int(over) if over.isdecimal() else 0
    try:
        settings = of_lines(refuse, excepted, only, listed)
        mark = seen_of(scope, settings, number)
        if do == "replay" or seen != mark:
            found = await replaying.run(ctx, settings=settings, scope=scope, limit=50)
            return await _policy(request, ctx, scope, replay=found, seen=mark, **typed)
        await policies.save(ctx, workspace_id, scope=scope, settings=settings, note=note.strip(), over=number)
    except REFUSALS as problem:
        return await _policy(request, ctx, scope, problem, **typed)
    return redirect(f"/w/{workspace_id}/broker/policy?scope={scope}")


# proposals ------------------------------------------------------------------------------------------------------------
async def _proposals(
    request: Request, ctx: Context, at: Page | None = None, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    limit = at.limit if at else 50
    rows = await proposals.listing(ctx, here, None, None, at.id if at else None, limit + 1)
    found = {
        "proposals": rows[:limit],
        "next": rows[limit - 1]["id"] if len(rows) > limit else None,
        "may": {name: await can(ctx, here, name) for name in ("egress_proposal.create", "egress_proposal.decide")},
        "look": None,
        "replay": None,
        "problem": for_reader(ctx, problem) if problem else None,
        **values,
    }
    status = problem.status if problem else 200
    return await shown(request, ctx, "proposals.html", "broker/proposals", status, **found)


@router.get("/w/{workspace_id}/broker/proposals")
async def list_proposals(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    at: Annotated[Page, Depends()],
    look: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """What was proposed; with `look`, what one of them would decide otherwise of the last day."""
    if not look:
        return await _proposals(request, ctx, at)
    row = await proposals.get(ctx, look)
    return await _proposals(request, ctx, at, look=row, replay=await _replayed(ctx, row))


async def _replayed(ctx: Context, row: Row) -> Row:
    found = row["difference"]
    if row["kind"] == "policy":
        there = await policies.show(ctx, row["workspace_id"])
        layer = next((item for item in there["layers"] if item["scope"] == found["scope"]), None)
        settings = dict(layer["settings"]) if layer else {}
        settings[found["part"]] = [*(settings.get(found["part"]) or []), *found["add"]]
        return await replaying.run(ctx, settings=settings, scope=found["scope"], limit=30)
    attached = await reading.attachment(ctx, row["attachment_id"])
    manifest = (await reading.release(ctx, attached["release_id"]))["manifest"]
    kept = [item for item in manifest.get("outbound_domains") or [] if item not in found["remove"]]
    wanted = [*kept, *found["add"]]
    return await replaying.run(ctx, outbound_domains=wanted, attachment_id=row["attachment_id"], limit=30)


@router.post("/w/{workspace_id}/broker/proposals", dependencies=[Depends(auth.same_origin)])
async def propose(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["propose", "narrow", "accept", "reject"], Form()],
    thing: Annotated[str, Form(max_length=64)] = "",
    why: Annotated[str, Form(max_length=1000)] = "",
    method: Annotated[str, Form(max_length=20)] = "",
    path: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Proposes what a row was refused, or to take away what is not used; accepts or rejects a proposal."""
    try:
        if do == "propose":
            await proposals.propose(
                ctx, thing, why=why.strip(), method=method.strip() or None, path=path.strip() or None
            )
        elif do == "narrow":
            found = await unused.report(ctx, thing)
            await proposals.propose_difference(ctx, thing, found["difference"], why=why.strip())
        elif do == "accept":
            await proposals.accept(ctx, thing, why.strip())
        else:
            await proposals.reject(ctx, thing, why.strip())
    except REFUSALS as problem:
        return await _proposals(request, ctx, problem=problem)
    return redirect(f"/w/{workspace_id}/broker/proposals")


# trying ---------------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/broker/try")
async def try_request(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    attachment: Annotated[str, Query(max_length=64)] = "",
    host: Annotated[str, Query(max_length=253)] = "",
    port: Annotated[Literal["80", "443"], Query()] = "443",
    method: Annotated[str, Query(max_length=20)] = "GET",
    path: Annotated[str, Query(max_length=2000)] = "/",
    websocket: Annotated[bool, Query()] = False,
) -> Response:
    """What would become of a request: the address holds the question, so that an answer can be passed on. Nothing is sent."""
    asked = {"attachment": attachment, "host": host.strip(), "port": port, "method": method, "path": path,
             "websocket": websocket}  # fmt: skip
    found, problem = None, None
    if attachment and host.strip():
        try:
            found = await trying.look(ctx, _tried(asked))
        except REFUSALS as refusal:
            problem = refusal
    packs = {row["attachment_id"]: row for row in (await reachable.listing(ctx))["items"]}
    return await shown(
        request, ctx, "egress_try.html", "broker/try", problem.status if problem else 200, asked=asked, tried=found,
        packs=list(packs.values()), problem=for_reader(ctx, problem) if problem else None,
    )  # fmt: skip


def _tried(asked: Row) -> TriedRequest:
    try:
        return TriedRequest(
            attachment_id=asked["attachment"], host=asked["host"], port=int(asked["port"]),  # type: ignore[arg-type]
            method=asked["method"] or "GET", path=asked["path"] or "/", websocket=asked["websocket"],
        )  # fmt: skip
    except ValidationError as error:
        raise RequestInvalid(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.") from error


@router.get("/w/{workspace_id}/broker/unused/{attachment_id}")
async def show_unused(request: Request, workspace_id: str, attachment_id: str, ctx: Reader) -> Response:
    """What a pack declares and did not use, with the difference that takes it away."""
    found = await unused.report(ctx, attachment_id)
    may = {"egress_proposal.create": await can(ctx, workspace_id, "egress_proposal.create")}
    return await shown(request, ctx, "unused.html", "broker/destinations", report=found, may=may)
