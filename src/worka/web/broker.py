"""What goes outside, in the console: the ledger as it is written, denials by rule, destinations from every side, where one pack
goes, and how to stop that with the consequences shown first."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.broker.errors import AttachmentUnknown, DestinationUnknown
from worka.broker.policy import service as policies
from worka.broker.records import reachable, replaying, service
from worka.broker.records.model import OUTCOMES, Filter
from worka.governance import actions as governing
from worka.governance import service as governance
from worka.kernel import clock
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import Page, context
from worka.packs.service import reaching
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
Word = Annotated[str, Query(max_length=255)]
SPANS: Final = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
REFUSALS: Final = (Conflict, Denied, Invalid, NotFound)
TABS: Final = (
    ("broker", "Ledger"),
    ("broker/refused", "Refused, by rule"),
    ("broker/destinations", "Destinations"),
    ("broker/policy", "Policy"),
    ("broker/proposals", "Proposals"),
    ("broker/trust", "Trust"),
    ("broker/exceptions", "Exceptions"),
    ("broker/try", "Try a request"),
)


async def shown(request: Request, ctx: Context, template: str, at: str, status: int = 200, **values: Any) -> Response:
    """A page of this place, with its tabs."""
    shell = await data.shell(ctx)
    return page(
        request, template, status, here="broker", shell=shell, workspace_id=ctx.workspace_id, tabs_of=TABS, at=at,
        names=await data.names_of(ctx), **values,
    )  # fmt: skip


def wanted(given: Row) -> tuple[Filter, Row]:
    """(the filter, what was asked as the form shows it). A span that is none is the last day."""
    asked = {key: value.strip() for key, value in given.items()}
    asked["since"] = asked["since"] if asked["since"] in SPANS else "24h"
    what = Filter(
        **{key: asked[key] or None for key in ("pack", "reason", "rule", "credential", "actor", "attachment_id")},
        host=asked["host"].lower() or None,
        outcome=asked["outcome"] if asked["outcome"] in OUTCOMES else None,
        since=clock.moment(asked["since"], clock.now()),
    )  # fmt: skip
    return what, asked


@router.get("/w/{workspace_id}/broker")
async def ledger(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    at: Annotated[Page, Depends()],
    pack: Word = "",
    host: Word = "",
    outcome: Word = "",
    reason: Word = "",
    rule: Word = "",
    credential: Word = "",
    actor: Word = "",
    attachment_id: Word = "",
    since: Word = "24h",
    everywhere: Annotated[bool, Query()] = False,
) -> Response:
    """The ledger, newest first, as it is written; what the filter counts stands beside it."""
    what, asked = wanted(
        {"pack": pack, "host": host, "outcome": outcome, "reason": reason, "rule": rule, "credential": credential,
         "actor": actor, "attachment_id": attachment_id, "since": since}
    )  # fmt: skip
    rows, unseen = await service.page(ctx, what, at.id, at.limit + 1, everywhere)
    found = at.answer(rows, "id")
    by_outcome = await service.counted(ctx, what, "outcome", everywhere)
    return await shown(
        request, ctx, "broker.html", "broker", rows=found["items"], next=found["next"], unseen=unseen, asked=asked,
        everywhere=everywhere, spans=SPANS, outcomes=OUTCOMES, counts=by_outcome["items"],
        hosts=(await service.counted(ctx, what, "host", everywhere))["items"][:8],
        packs=(await service.counted(ctx, what, "pack", everywhere))["items"][:8],
    )  # fmt: skip


@router.get("/w/{workspace_id}/broker/refused")
async def refused(
    request: Request, workspace_id: str, ctx: Reader, since: Word = "24h", everywhere: Annotated[bool, Query()] = False
) -> Response:
    """What was refused, by the rule and the reason; errors of the outside are none of it."""
    what, asked = wanted(
        dict.fromkeys(("pack", "host", "reason", "rule", "credential", "actor", "attachment_id"), "")
        | {"outcome": "refused", "since": since}
    )
    rows, unseen = await service.page(ctx, what, None, 100, everywhere)
    return await shown(
        request, ctx, "broker_refused.html", "broker/refused", unseen=unseen, asked=asked, spans=SPANS,
        reasons=(await service.counted(ctx, what, "reason", everywhere))["items"],
        rules=(await service.counted(ctx, what, "rule", everywhere))["items"], rows=rows, everywhere=everywhere,
        may={"egress_proposal.create": await can(ctx, workspace_id, "egress_proposal.create")},
    )  # fmt: skip


@router.get("/w/{workspace_id}/broker/destinations")
async def destinations(
    request: Request, workspace_id: str, ctx: Reader, pack: Word = "", everywhere: Annotated[bool, Query()] = False
) -> Response:
    """Everything that attached packs may reach, before any call was made, with the accounts behind it."""
    found = await reachable.listing(ctx, pack=pack.strip() or None, everywhere=everywhere)
    return await shown(
        request, ctx, "destinations.html", "broker/destinations", found=found, pack=pack.strip(), everywhere=everywhere
    )


@router.get("/w/{workspace_id}/broker/attachments/{attachment_id}")
async def going(request: Request, workspace_id: str, attachment_id: str, ctx: Reader) -> Response:
    """Where one pack goes: which hosts it reached, with whose credential, under which rule, since when."""
    found = await reachable.of_attachment(ctx, attachment_id)
    if found["attachment"]["workspace_id"] != workspace_id:
        raise AttachmentUnknown(f"There is no attachment {attachment_id}.")
    return await shown(request, ctx, "going.html", "broker/destinations", **found)


# one destination ------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/broker/destinations/{host}")
async def destination(
    request: Request,
    workspace_id: str,
    host: str,
    ctx: Reader,
    port: Annotated[Literal["80", "443"], Query()] = "443",
    attachment: Annotated[str, Query(max_length=64)] = "",
    revoke: Annotated[bool, Query()] = False,
) -> Response:
    """A destination from every side; with `revoke`, what would become of it, before anything is done."""
    return await _destination(request, ctx, host, int(port), attachment, revoke)


async def _destination(
    request: Request,
    ctx: Context,
    host: str,
    port: int,
    attachment: str,
    revoke: bool,
    problem: Problem | None = None,
    why: str = "",
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    try:
        found = await reachable.destination(ctx, host, port)
    except DestinationUnknown:
        if problem is None:
            raise
        found = {"host": host, "port": port, "allowed": [], "used": [], "people": [], "counts": [], "kills": [],
                 "days": reachable.DAYS, "sentence": "", "unseen": 0}  # fmt: skip
    packs = sorted({row["pack"] for row in found["allowed"] if not attachment or row["attachment_id"] == attachment})
    values: Row = {"found": found, "attachment": attachment, "revoke": revoke, "packs": packs, "why": why, "off": None}
    if revoke:
        values |= {
            "reach": await reaching.of_destination(ctx, found["host"], port),
            "preview": await governance.preview_kill(ctx, here, "destination", f"{found['host']}:{port}", False),
            "narrow": await _refusing(ctx, found["host"], port, packs[0]) if attachment and packs else None,
            "may": {name: await can(ctx, here, name) for name in (governing.KILL_SET, "egress_policy.set")},
        }
    status = problem.status if problem else 200
    return await shown(
        request, ctx, "destination.html", "broker/destinations", status,
        problem=for_reader(ctx, problem) if problem else None, **values,
    )  # fmt: skip


async def _refusing(ctx: Context, host: str, port: int, pack: str) -> Row:
    """What refusing it to one pack would have decided otherwise in the last day."""
    settings, _version = await _with_refusal(ctx, host, port, pack)
    return {"pack": pack, "replay": await replaying.run(ctx, settings=settings, scope="workspace", limit=20)}


async def _with_refusal(ctx: Context, host: str, port: int, pack: str) -> tuple[Row, int]:
    assert ctx.workspace_id is not None
    there = await policies.show(ctx, ctx.workspace_id)
    own = next((row for row in there["layers"] if row["scope"] == "workspace"), None)
    settings = dict(own["settings"]) if own else {}
    item = {"host": host, "port": port, "packs": [pack]}
    settings["refuse"] = [*(settings.get("refuse") or []), item]
    return settings, own["version"] if own else 0


@router.post("/w/{workspace_id}/broker/destinations/{host}", dependencies=[Depends(auth.same_origin)])
async def stop(
    request: Request,
    workspace_id: str,
    host: str,
    ctx: Reader,
    do: Annotated[Literal["kill", "refuse"], Form()],
    port: Annotated[Literal["80", "443"], Form()] = "443",
    attachment: Annotated[str, Form(max_length=64)] = "",
    pack: Annotated[str, Form(max_length=200)] = "",
    why: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Stops it for every pack, by a kill switch, or refuses it to one, by policy; what that touches was shown before."""
    number = int(port)
    try:
        name, number = reachable.place(host, number)
        if do == "kill":
            await governance.kill(ctx, workspace_id, "destination", f"{name}:{number}", why.strip(), False)
        else:
            settings, version = await _with_refusal(ctx, name, number, pack.strip())
            await policies.save(ctx, workspace_id, scope="workspace", settings=settings, note=why.strip(), over=version)
    except REFUSALS as problem:
        return await _destination(request, ctx, host, number, attachment, True, problem, why)
    back = f"&attachment={attachment}" if attachment else ""
    return redirect(f"/w/{workspace_id}/broker/destinations/{name}?port={number}{back}")
