"""Taking a release, a whole pack or an attachment away in the console, and giving it back: first what it would touch, then the
attempt, which is held to what its reader was shown, then its receipt."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Request
from markupsafe import Markup
from starlette.responses import Response

from worka.api import conditional
from worka.api.errors import PreconditionFailed
from worka.kernel import ids
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import context
from worka.packs import actions
from worka.packs import service as packs
from worka.packs.lifecycle import picture
from worka.packs.lifecycle.errors import ReasonMissing
from worka.packs.service import reaching, reading, tracing, withdrawing
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Act = Literal["revoke", "quarantine", "lift", "detach"]
Row = dict[str, Any]
REFUSALS: Final = (Conflict, Denied, Invalid, NotFound, PreconditionFailed)
ACTIONS: Final = {
    "revoke": actions.REVOKE.name, "quarantine": actions.QUARANTINE.name, "lift": actions.LIFT.name,
    "detach": actions.DETACH.name,
}  # fmt: skip
LONGEST: Final = 500
"""Characters of a reason, as the API takes it."""


@router.get("/w/{workspace_id}/withdraw/{act}/{thing}")
async def look(request: Request, workspace_id: str, act: Act, thing: str, ctx: Reader) -> Response:
    """What it would stop and what hangs on it, who may, and the form to do it. Looking changes nothing."""
    return await _look(request, ctx, act, thing)


@router.post("/w/{workspace_id}/withdraw/{act}/{thing}", dependencies=[Depends(auth.same_origin)])
async def do(
    request: Request,
    workspace_id: str,
    act: Act,
    thing: str,
    ctx: Reader,
    reason: Annotated[str, Form(max_length=LONGEST)] = "",
    version: Annotated[str, Form(max_length=60)] = "",
) -> Response:
    """Does it, if the thing is still what the page showed; then its receipt. A refusal comes back with what was typed."""
    subject = await _subject(ctx, act, thing)
    try:
        if not reason.strip():
            raise ReasonMissing("No reason is given.", field="reason")
        if subject["path"]:
            async with conditional.as_shown(request.app, request.scope, ctx, subject["path"], version):
                receipt = await _do(ctx, act, subject, reason.strip())
        else:
            receipt = await _do(ctx, act, subject, reason.strip())
    except REFUSALS as problem:
        return await _look(request, ctx, act, thing, problem, reason)
    return redirect(f"/w/{workspace_id}/withdrawals/{receipt}")


@router.get("/w/{workspace_id}/withdrawals/{withdrawal_id}")
async def receipt(request: Request, workspace_id: str, withdrawal_id: str, ctx: Reader) -> Response:
    """One withdrawal: who, when, why, what it touched, and the way back where there is one."""
    found = await withdrawing.show(ctx, withdrawal_id)
    return await _page(
        request, ctx, "withdrawal.html", withdrawal=found, at=_place(ctx, found["kind"], found["subject"]),
        back=await _way_back(ctx, found),
    )  # fmt: skip


async def _look(
    request: Request, ctx: Context, act: Act, thing: str, problem: Problem | None = None, reason: str = ""
) -> Response:
    subject = await _subject(ctx, act, thing)
    may = await can(ctx, subject["home"], ACTIONS[act])
    reach = await reaching.of(ctx, subject["kind"], thing)
    would, refused = await _tried(ctx, act, subject) if may["can"] else (None, None)
    version = await conditional.tag_of(request.app, request.scope, ctx, subject["path"]) if subject["path"] else ""
    return await _page(
        request, ctx, "withdraw.html", problem.status if problem else 200, act=act, thing=thing, subject=subject, may=may,
        reach=reach, drawn=Markup(picture.svg(reach)), would=would, version=version, reason=reason,  # noqa: S704
        refused=for_reader(ctx, refused) if refused else None, names=await data.names_of(ctx),
        problem=_said(ctx, problem) if problem else None,
        settle=f"/w/{ctx.workspace_id}/withdraw/{act}/{thing}",
    )  # fmt: skip


def _said(ctx: Context, problem: Problem) -> Row:
    body = for_reader(ctx, problem)
    if isinstance(problem, PreconditionFailed):
        # What helps a program does not help a person.
        body["remedy"] = "Nothing was done. Below it stands as it is now: decide on that."
    return body


async def _page(request: Request, ctx: Context, template: str, status: int = 200, **values: Any) -> Response:
    shell = await data.shell(ctx)
    return page(request, template, status, here="packs", shell=shell, workspace_id=ctx.workspace_id, **values)


async def _subject(ctx: Context, act: Act, thing: str) -> Row:
    """{kind, id, name, pack, state, home, path, at}: what is meant; `home`: where the right is asked for; `path`: where the API
    reads it, empty where it is no one thing; `at`: its page. Raises NotFound."""
    row: Row
    if act == "detach":
        row = await reading.attachment(ctx, thing)
        if row["workspace_id"] != ctx.workspace_id:
            raise NotFound(f"There is no {thing} in this workspace.")
        kind, path, pack = "attachment", f"/v1/attachments/{thing}", row["pack"]
        name = pack
    elif ids.check(thing, "rel"):
        row = await reading.release(ctx, thing)
        kind, path, pack = "release", f"/v1/releases/{thing}", f"{row['publisher']}.{row['name']}"
        name = f"{pack} {row['version']}"
    else:
        async with ctx.transaction():
            row = (await reaching.visible_pack(ctx, thing))[-1]
        kind, path, pack, name = "pack", "", thing, f"all of {thing}"
    return {
        "kind": kind, "id": thing, "name": name, "pack": pack, "state": row["state"] if path else "",
        "home": row["workspace_id"], "path": path, "at": _place(ctx, kind, thing),
    }  # fmt: skip


def _place(ctx: Context, kind: str, subject: str) -> str:
    return f"/w/{ctx.workspace_id}/{kind}s/{subject}"


async def _do(ctx: Context, act: Act, subject: Row, reason: str) -> str:
    """Does it as the API's route does; the id of its receipt (of an undone one: of nothing)."""
    if act == "detach":
        await packs.detach(ctx, subject["id"], reason)
        made = await tracing.taken(ctx, subject["id"], acts=("detach",))
        return str(made["id"]) if made else ""
    of = withdrawing.release if subject["kind"] == "release" else withdrawing.pack
    return str((await of(ctx, act, subject["id"], reason))["id"])


async def _tried(ctx: Context, act: Act, subject: Row) -> tuple[list[Row] | None, Problem | None]:
    """What the attempt itself would move, attachment by attachment, or why it would be refused: done and undone."""
    ctx.undone = True
    try:
        if act == "detach":
            await packs.detach(ctx, subject["id"], "a look")
            return [], None
        of = withdrawing.release if subject["kind"] == "release" else withdrawing.pack
        found = await of(ctx, act, subject["id"], "a look")
    except REFUSALS as problem:
        return None, problem
    finally:
        ctx.undone = False
    part = await withdrawing.told(ctx, found)
    named = {row["id"]: row for row in part["receipt"]["attachments"]}
    return [{**named[row["id"]], **row} for row in part["receipt"]["moved"] if row["id"] in named], None


async def _way_back(ctx: Context, found: Row) -> str:
    """Where what was quarantined is lifted, while it still is; empty where there is no way back, or it was taken."""
    if found["act"] != "quarantine":
        return ""
    last = await tracing.taken(ctx, found["subject"], acts=("quarantine", "lift"))
    still = last is not None and last["id"] == found["id"]
    return f"/w/{ctx.workspace_id}/withdraw/lift/{found['subject']}" if still else ""
