"""Webhooks: which outside systems are told of what, what was sent to them, and what came of it. A change is looked at before it
is made; a secret stands in the one answer that made it, and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.kernel import reasons
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, TooMany
from worka.kernel.http import Page, context
from worka.notifications import actions, rules, service
from worka.web import auth, data, words
from worka.web.people import can
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
Texts = Annotated[list[str], Form()]
ACTIONS: Final = (
    actions.WEBHOOK_CREATE, actions.WEBHOOK_CHANGE, actions.WEBHOOK_ROTATE, actions.WEBHOOK_TEST, actions.WEBHOOK_REPLAY,
    actions.WEBHOOK_REMOVE,
)  # fmt: skip
STATES: Final = ("all", "queued", "sent", "refused", "failed", "skipped")
COUNTED: Final = 200
"""Waiting deliveries that a page counts; of more it says so."""
OFFERED: Final = {
    "*": "everything, also what is added later",
    "approval.*": "everything about approvals",
    **rules.TYPES,
}


# all of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/webhooks")
async def webhooks(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """Which outside systems are told of what happens here."""
    return await _list(request, ctx)


async def _list(request: Request, ctx: Context, problem: Problem | None = None, **values: Any) -> Response:
    here = ctx.workspace_id
    assert here is not None
    rows = await service.listing(ctx, here, None, rules.MOST_WEBHOOKS)
    found = {
        "hooks": [_named(row) for row in rows],
        "may": await _may(ctx, here),
        "most": rules.MOST_WEBHOOKS,
        "offered": OFFERED,
        "asked": {},
        "problem": for_reader(ctx, problem) if problem else None,
        **values,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(request, "webhooks.html", status, here="webhooks", shell=shell, workspace_id=here, **found)


@router.post("/w/{workspace_id}/webhooks", dependencies=[Depends(auth.same_origin)])
async def add(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    do: Annotated[Literal["look", "add"], Form()],
    url: Annotated[str, Form(max_length=2000)] = "",
    description: Annotated[str, Form(max_length=500)] = "",
    types: Texts = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """First what it would be told of and where that goes; then it is added, and its secret is shown once."""
    asked: Row = {"url": url.strip(), "description": description.strip(), "types": _types(types)}
    try:
        found = await service.create(ctx, workspace_id, dry_run=do == "look", **asked)
    except (Conflict, Denied, Invalid) as problem:
        return await _list(request, ctx, problem, asked=asked)
    told = [(name, said) for name, said in rules.TYPES.items() if rules.wants(found["types"], name)]
    if do == "look":
        return await _list(request, ctx, asked=asked, would={**_named(found), "told": told})
    return await _list(request, ctx, made=_named(found))


# one of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/webhooks/{webhook_id}")
async def webhook(
    request: Request,
    workspace_id: str,
    webhook_id: str,
    ctx: Reader,
    show: str = "all",
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> Response:
    """One webhook: as what it is, what it is told of, and what was sent to it."""
    if target := words.elsewhere(webhook_id, workspace_id, "webhooks"):
        return redirect(target)
    return await _one(request, ctx, webhook_id, show=show if show in STATES else "all", cursor=cursor)


async def _one(
    request: Request, ctx: Context, webhook_id: str, problem: Problem | None = None, *,
    show: str = "all", cursor: str | None = None, **values: Any,
) -> Response:  # fmt: skip
    here = ctx.workspace_id
    assert here is not None
    row = await service.get(ctx, webhook_id)
    if row["workspace_id"] != here:
        raise NotFound(f"There is no {webhook_id} in this workspace.")
    at = Page(limit=50, cursor=cursor)
    rows = await service.list_deliveries(ctx, webhook_id, at.id, at.limit, None if show == "all" else show)
    answer = at.answer(rows, "id")
    found = {
        "hook": _named(row),
        "why": await data.why(ctx, webhook_id),
        "log": answer["items"],
        "next": answer["next"],
        "show": show,
        "states": STATES,
        "may": await _may(ctx, here),
        "offered": {**OFFERED, **{name: "" for name in row["types"] if name not in OFFERED}},
        "names": await data.names_of(ctx),
        "asked": {},
        "problem": for_reader(ctx, problem) if problem else None,
        **values,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(request, "webhook.html", status, here="webhooks", shell=shell, workspace_id=here, **found)


@router.post("/w/{workspace_id}/webhooks/{webhook_id}", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    webhook_id: str,
    ctx: Reader,
    do: Annotated[
        Literal[
            "change-look", "change", "state-look", "state", "rotate-look", "rotate", "test", "again", "replay-look", "replay",
            "remove-look", "remove",
        ],
        Form(),
    ],
    description: Annotated[str, Form(max_length=500)] = "",
    types: Texts = [],  # noqa: B006 - FastAPI copies it
    state: Annotated[Literal["active", "paused"], Form()] = "active",
    hours: Annotated[str, Form(max_length=4)] = "",
    since: Annotated[str, Form(max_length=40)] = "",
    subject: Annotated[str, Form(max_length=64)] = "",
) -> Response:  # fmt: skip
    """One step of one change: look at what it would do, then do it. A refusal comes back on the same page."""
    asked = {
        "do": do, "description": description.strip(), "types": _types(types), "state": state, "hours": hours.strip(),
        "since": since.strip(), "subject": subject,
    }  # fmt: skip
    row = await service.get(ctx, webhook_id)
    if row["workspace_id"] != workspace_id:
        raise NotFound(f"There is no {webhook_id} in this workspace.")
    try:
        found, target = await _step(ctx, row, asked)
    except (Conflict, Denied, Invalid, NotFound, TooMany) as problem:
        return await _one(request, ctx, webhook_id, problem, asked=asked)
    return (
        redirect(f"/w/{workspace_id}/{target}")
        if target
        else await _one(request, ctx, webhook_id, asked=asked, **found)
    )


async def _step(ctx: Context, row: Row, asked: Row) -> tuple[Row, str]:
    """What the page shows of it, or the page that comes next."""
    do, webhook_id = asked["do"], row["id"]
    here = f"webhooks/{webhook_id}"
    if do == "test":
        return {}, f"deliveries/{(await service.test(ctx, webhook_id))['id']}"
    if do == "again":
        made = await service.replay(ctx, webhook_id, delivery_id=asked["subject"], since=None, until=None)
        return {}, f"deliveries/{made['deliveries'][0]}"
    look = do.endswith("-look")
    if do.startswith("change"):
        wanted: Row = {"types": asked["types"], "description": asked["description"], "state": None}
        after = await service.change(ctx, webhook_id, dry_run=look, **wanted)
        return ({"changing": _difference(row, after)}, "") if look else ({}, here)
    if do.startswith("state"):
        after = await service.change(
            ctx, webhook_id, types=None, description=None, state=asked["state"], dry_run=look
        )  # fmt: skip
        return ({"moving": after, "waiting": await _waiting(ctx, webhook_id)}, "") if look else ({}, here)
    if do.startswith("rotate"):
        given = await service.rotate(ctx, webhook_id, _hours(asked["hours"]), dry_run=look)
        return {"rotating" if look else "rotated": {**given, "hours": _hours(asked["hours"])}}, ""
    if do.startswith("replay"):
        found = await service.replay(
            ctx, webhook_id, delivery_id=None, since=asked["since"], until=None, dry_run=look
        )  # fmt: skip
        return {"replaying" if look else "replayed": found}, ""
    if look:
        return {"removing": True, "waiting": await _waiting(ctx, webhook_id)}, ""
    await service.remove(ctx, webhook_id)
    return {}, "webhooks"


# deliveries ---------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/deliveries/{delivery_id}")
async def delivery(request: Request, workspace_id: str, delivery_id: str, ctx: Reader) -> Response:
    """One delivery: what was sent, every try, and what was answered."""
    if target := words.elsewhere(delivery_id, workspace_id, "deliveries"):
        return redirect(target)
    row = await service.show_delivery(ctx, delivery_id)
    if row["workspace_id"] != workspace_id:
        raise NotFound(f"There is no {delivery_id} in this workspace.")
    hook = await service.get(ctx, row["target"]) if row["channel"] == "webhook" else None
    return page(
        request, "delivery.html", here="webhooks", shell=await data.shell(ctx), workspace_id=workspace_id,
        delivery={**row, "tries": [{**item, "meaning": _came(item)} for item in row["tries"]]},
        hook=_named(hook) if hook else None, why=await data.why(ctx, delivery_id), names=await data.names_of(ctx),
        may=await _may(ctx, workspace_id),
    )  # fmt: skip


# surroundings -------------------------------------------------------------------------------------------------------
async def _may(ctx: Context, here: str) -> dict[str, Row]:
    return {name: await can(ctx, here, name) for name in ACTIONS}


def _meaning(code: str) -> str:
    return str(getattr(reasons.get(code), "meaning", ""))


def _came(tried: Row) -> str:
    """What came of a try. Of one that was answered, its reason says that it was let out, not what was answered."""
    if tried["status"] is None:
        return _meaning(tried["reason"])
    return _meaning("delivery_accepted" if 200 <= tried["status"] < 300 else "receiver_answered")


def _named(row: Row) -> Row:
    host, port, path = rules.address(row["url"])
    return {**row, "host": host, "port": port, "path": path, "meaning": _meaning(row["reason"])}


def _types(given: list[str]) -> list[str]:
    return [name.strip()[:80] for name in given if name.strip()][:20]


def _hours(text: str) -> int:
    if not text.isdecimal() or int(text) > 168:
        raise Invalid(f"{text[:20]!r} is no number of hours up to 168.", field="hours")
    return int(text)


def _difference(before: Row, after: Row) -> Row:
    """Which types it would be told of from then on, and no more."""

    def told(row: Row) -> list[str]:
        return [name for name in rules.TYPES if rules.wants(row["types"], name)]

    return {
        "gained": [name for name in told(after) if name not in told(before)],
        "lost": [name for name in told(before) if name not in told(after)],
        "types": after["types"],
        "description": after["description"] if after["description"] != before["description"] else None,
    }


async def _waiting(ctx: Context, webhook_id: str) -> str:
    """How many deliveries wait to be sent, as a number to read."""
    rows = await service.list_deliveries(ctx, webhook_id, None, COUNTED, "queued")
    return f"{COUNTED} or more" if len(rows) > COUNTED else str(len(rows))
