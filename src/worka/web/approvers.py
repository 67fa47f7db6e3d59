"""Who approves here: groups, who decides in whose place, what is let through, and when people are reminded. Each change is
looked at first: what it would do, and to which approvals."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from worka.approvals import bypass, delegations, group_preview, groups, service, timing
from worka.approvals.errors import BadBypass, BadDelegation, BadSettings
from worka.approvals.people import EVERYTHING
from worka.approvals.schema import Timing
from worka.approvals.seats import GROUP, OF_ROLES
from worka.kernel import trial
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import context
from worka.web import auth, data, words
from worka.web.people import can
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
LOOKED: Final = 100
"""The newest approvals of the workspace: what a bypass would have let through is counted among them."""
ACTIONS: Final = (
    "approval.group.create", "approval.group.change", "approval.group.delete", "approval.delegation.create",
    "approval.bypass.open", "approval.bypass.close", "approval.settings.change",
)  # fmt: skip
TIMES: Final = (
    ("expires_minutes", "Expire after (minutes)"), ("remind_minutes", "Reminded after (minutes, 0: never)"),
    ("remind_times", "Reminded at most so often"), ("escalate_minutes", "Escalated after (minutes, 0: never)"),
    ("escalate_to", "Escalated to"), ("blanket_seconds", "A vote is hasty within (seconds)"),
)  # fmt: skip
"""What a workspace sets about the times of its approvals, and how the page names it."""


@router.get("/w/{workspace_id}/approvers")
async def approvers(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """Who approves here, in whose place, and what is let through."""
    return await _shown(request, ctx)


async def _shown(request: Request, ctx: Context, problem: Problem | None = None, **values: Any) -> Response:
    here = ctx.workspace_id
    assert here is not None
    people = sorted(await service.people(ctx, here), key=lambda row: str(row["name"]))
    newest = (await service.listing(ctx, here, None, None, LOOKED))[:LOOKED]
    settings = ctx.settings.approvals
    made = await groups.listing(ctx, here, None, 200)
    found = {
        "groups": made,
        "delegations": await delegations.listing(ctx, here, True, None, 200),
        "bypasses": await bypass.listing(ctx, here, None, None, 20),
        "settings": await timing.show(ctx, here),
        "named": TIMES,
        "escalates": [*OF_ROLES, *(row["name"] for row in made)],
        "everybody": people,
        "people": [row for row in people if row["id"] != ctx.principal.id],
        "mine": next((row for row in people if row["id"] == ctx.principal.id), None),
        "may": {name: await can(ctx, here, name) for name in ACTIONS},
        "cap": {"hours": settings.bypass_hours, "uses": settings.bypass_uses},
        "targets": sorted({target for row in newest for target in service.bypassable(row)}),
        "asked": {},
        "problem": for_reader(ctx, problem) if problem else None,
        **values,
    }
    shell = await data.shell(ctx)
    status = problem.status if problem else 200
    return page(request, "approvers.html", status, here="approvals", shell=shell, workspace_id=here, **found)


@router.post("/w/{workspace_id}/approvers", dependencies=[Depends(auth.same_origin)])
async def change(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """One step of one change: look at what it would do, then do it. A refusal comes back on the same page, with what was
    typed."""
    form = await request.form()
    asked = _asked(form)
    step = STEPS.get(asked["do"])
    try:
        if step is None:
            raise Invalid("There is nothing of this name to be done.", field="do")
        found = await step(ctx, workspace_id, asked)
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _shown(request, ctx, problem, asked=asked)
    return await _shown(request, ctx, asked=asked, **found) if found else redirect(f"/w/{workspace_id}/approvers")


def _asked(form: FormData) -> Row:
    """What was sent, each field cut to what it may hold."""

    def one(name: str, most: int) -> str:
        return str(form.get(name) or "").strip()[:most]

    def many(name: str) -> list[str]:
        return [str(value)[:64] for value in form.getlist(name)][:200]

    return {
        "do": one("do", 40), "subject": one("subject", 64),
        "name": one("name", 60), "purpose": one("purpose", 400), "member": many("member"), "was": many("was"),
        "add": many("add"), "remove": many("remove"),
        "to": one("to", 64), "scope": one("scope", 40) or EVERYTHING, "until": one("until", 40),
        "kind": one("kind", 20), "target": one("target", 200), "why": one("why", 1000), "uses": one("uses", 6),
        **{name: one(name, 60) for name, _ in TIMES},
    }  # fmt: skip


# groups -------------------------------------------------------------------------------------------------------------
def _name(asked: Row) -> str:
    name = str(asked["name"])
    if not re.fullmatch(GROUP, name):
        raise Invalid(
            f"{name[:60]!r} is no name of a group.", field="name",
            remedy="A name is of small letters, digits and dashes, begins with a letter, and has up to 40 of them.",
        )  # fmt: skip
    return name


async def _look_at_group(ctx: Context, here: str, asked: Row) -> Row:
    # Against what the page showed: who joined meanwhile is not put out by somebody who never saw them.
    add = [who for who in asked["member"] if who not in asked["was"]]
    remove = [who for who in asked["was"] if who not in asked["member"]]
    if asked["subject"]:
        would = await group_preview.of_change(ctx, asked["subject"], asked["purpose"], add, remove)
    else:
        would = await group_preview.of_new(ctx, here, _name(asked), asked["purpose"], add)
    return {"group": would, "add": add, "remove": remove}


async def _keep_group(ctx: Context, here: str, asked: Row) -> Row:
    if asked["subject"]:
        await groups.change(ctx, asked["subject"], asked["purpose"], asked["add"], asked["remove"])
    else:
        await groups.create(ctx, here, _name(asked), asked["purpose"], asked["add"])
    return {}


async def _look_at_end(ctx: Context, here: str, asked: Row) -> Row:
    return {"group": await group_preview.of_end(ctx, asked["subject"]), "add": [], "remove": []}


async def _end_group(ctx: Context, here: str, asked: Row) -> Row:
    await groups.delete(ctx, asked["subject"])
    return {}


# delegations --------------------------------------------------------------------------------------------------------
async def _delegate(ctx: Context, here: str, asked: Row) -> Row:
    look = asked["do"] == "delegate-look"
    until = words.moment(asked["until"])
    if until is None:
        raise BadDelegation("Say until when.", field="/until")
    made = await delegations.delegate(ctx, here, asked["to"], until, asked["scope"], dry_run=look)
    if not look:
        return {}
    waiting = await service.listing(ctx, here, "open", None, LOOKED, "mine")
    return {"standing_in": made, "waiting": [row for row in waiting if row["eligibility"]["on_behalf_of"] is None]}


async def _end_delegation(ctx: Context, here: str, asked: Row) -> Row:
    await delegations.end(ctx, asked["subject"])
    return {}


# bypasses -----------------------------------------------------------------------------------------------------------
async def _bypass(ctx: Context, here: str, asked: Row) -> Row:
    look = asked["do"] == "bypass-look"
    until = words.moment(asked["until"])
    if until is None:
        raise BadBypass("Say until when.", field="/until")
    if asked["kind"] not in ("boundary", "tool") or not asked["target"]:
        raise BadBypass("Name one boundary or one tool.", field="/target")
    if not asked["uses"].isdecimal():
        raise BadBypass(f"{asked['uses'][:20]!r} is no whole number of uses.", field="/most_uses")
    kind, target = asked["kind"], asked["target"]
    made = await bypass.open_(ctx, here, kind, target, asked["why"], until, int(asked["uses"]), dry_run=look)
    return {"opening": made, "covers": await covered(ctx, here, kind, target)} if look else {}


async def covered(ctx: Context, here: str, kind: str, target: str) -> Row:
    """Which of the newest approvals it would have let through, had it been open: {looked, rows, open}."""
    newest = (await service.listing(ctx, here, None, None, LOOKED))[:LOOKED]
    rows = [row for row in newest if (kind, target) in service.bypassable(row)]
    return {"looked": len(newest), "rows": rows, "open": sum(1 for row in rows if row["state"] == "open")}


async def _close(ctx: Context, here: str, asked: Row) -> Row:
    await bypass.close(ctx, asked["subject"])
    return {}


# times --------------------------------------------------------------------------------------------------------------
def _wanted(asked: Row) -> Row:
    """The settings that were typed; what is empty is the deployment's. Raises BadSettings."""
    typed = {name: asked[name] or None for name, _ in TIMES}
    try:
        return Timing.model_validate({**typed, **_whole(typed)}).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0])
        raise BadSettings(f"{dict(TIMES)[name]}: {first['msg']}.", field=f"/{name}") from error


def _whole(typed: Row) -> Row:
    """The whole numbers of a form as numbers; anything else is left to be refused by its name. Pure."""
    return {name: int(text) for name, text in typed.items() if text and text.isascii() and text.isdecimal()}


async def _times(ctx: Context, here: str, asked: Row) -> Row:
    wanted = _wanted(asked)
    if asked["do"] == "times-keep":
        await timing.put(ctx, here, wanted)
        return {}
    now = (await timing.show(ctx, here))["holds"]
    then = (await trial.undone(ctx, lambda: timing.put(ctx, here, wanted)))["holds"]
    moved = [(label, now[name], then[name]) for name, label in TIMES if now[name] != then[name]]
    return {"times": moved, "waiting": await service.listing(ctx, here, "open", None, LOOKED)}


STEPS: Final = {
    "group-look": _look_at_group, "group-keep": _keep_group, "group-end-look": _look_at_end, "group-end": _end_group,
    "delegate-look": _delegate, "delegate": _delegate, "undelegate": _end_delegation,
    "bypass-look": _bypass, "bypass-open": _bypass, "close": _close, "times-look": _times, "times-keep": _times,
}  # fmt: skip
