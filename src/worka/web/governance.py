"""The console's page of governance: the layers of policy, changes that wait, kill switches, limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.authorization.explain import reader_may
from worka.governance import actions as names
from worka.governance import hanging
from worka.governance import service as governance
from worka.kernel import trial
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import context
from worka.notifications import told
from worka.web import auth, data
from worka.web.render import for_reader, page, redirect
from worka.workspaces import service as workspaces
from worka.workspaces.actions import LIMIT_SET
from worka.workspaces.limits import service as limits

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Kind = Literal["release", "secret", "destination", "member", "workspace", "tenant"]
Stage = Literal["trial", "all", "none"]
Row = dict[str, Any]
KINDS = ("destination", "release", "secret", "member", "workspace", "tenant")
OFFERED = (names.KILL_SET, LIMIT_SET)
"""What the page offers to do: a form that its reader could not use is not shown, but whom to ask."""


async def _shown(request: Request, ctx: Context, status: int = 200, **values: Any) -> Response:
    assert ctx.workspace_id is not None
    here = ctx.workspace_id
    found: Row = {
        "layers": await governance.policy_layers(ctx, here),
        "versions": await governance.list_policies(ctx, here, None, 20),
        "here_versions": await governance.list_policies(ctx, here, None, 20, "workspace"),
        "proposals": await governance.list_proposals(ctx, here, None, 20),
        "kills": await governance.list_kills(ctx, here, None, 50),
        "webhooks": await told.overview(ctx, here),
        "names": await data.names_of(ctx),
        "problem": None,
        "preview": None,
        "counted": hanging.counted,
        "lifting": None,
        "wanted": {"kind": "destination", "subject": "", "everywhere": False},
        "kill_kinds": KINDS,
        "members": await workspaces.members(ctx, here),
        "limits": await limits.show(ctx, here),
        "whose": "",
        "may": {name: (await reader_may(ctx, name, Resource("workspace", here, here)))[0] for name in OFFERED},
        "limiting": {"name": "", "scope": "workspace", "value": "", "reason": ""},
        "would": None,
        "settle": f"/w/{here}/governance",
        **values,
    }
    shell = await data.shell(ctx)
    return page(request, "governance.html", status, here="governance", shell=shell, workspace_id=here, **found)


@router.get("/w/{workspace_id}/governance")
async def overview(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    look: Annotated[Literal["", "kill", "lift", "limit"], Query()] = "",
    kind: Annotated[Kind, Query()] = "destination",
    subject: Annotated[str, Query(max_length=300)] = "",
    everywhere: Annotated[bool, Query()] = False,
    reason: Annotated[str, Query(max_length=1000)] = "",
    kill: Annotated[str, Query(max_length=64)] = "",
    stage: Annotated[Stage, Query()] = "trial",
    exempt: Annotated[str, Query(max_length=300)] = "",
    name: Annotated[str, Query(max_length=60)] = "",
    scope: Annotated[str, Query(max_length=80)] = "workspace",
    value: Annotated[str, Query(max_length=9)] = "",
    whose: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """What holds here, layer by layer; what waits; what is stopped. With `look`: what a change would do, before it is made:
    asked by an address, so that nothing is sent twice when somebody goes back to it."""
    asked: Row = {}
    try:
        if whose:
            asked |= {"limits": await limits.show(ctx, workspace_id, whose), "whose": whose}
        if look == "kill":
            asked["wanted"] = {"kind": kind, "subject": subject.strip(), "everywhere": everywhere, "reason": reason}
            asked["preview"] = await governance.preview_kill(ctx, workspace_id, kind, subject.strip(), everywhere)
        elif look == "lift":
            asked["lifting"] = await _lifting(ctx, workspace_id, kill, stage, exempt, reason)
        elif look == "limit":
            asked["limiting"] = {"name": name, "scope": scope, "value": value.strip(), "reason": reason.strip()}
            asked["would"] = await limits.preview(ctx, workspace_id, _wish(name, scope, value, reason))
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _shown(request, ctx, problem.status, problem=for_reader(ctx, problem), **asked)
    return await _shown(request, ctx, **asked)


async def _lifting(ctx: Context, workspace_id: str, kill_id: str, stage: str, exempt: str, reason: str) -> Row:
    """What would go on again, and for whom. Raises what the lift would."""
    row = await governance.show_kill(ctx, workspace_id, kill_id)
    await trial.undone(ctx, lambda: governance.lift(ctx, workspace_id, kill_id, stage, exempt.split(), reason, False))
    wide = row["workspace_id"] is None
    again = await governance.preview_kill(ctx, workspace_id, row["kind"], row["subject"], wide)
    whole = stage == "all" or (not wide and exempt.strip() in (workspace_id, row["subject"]))
    return {"kill": row, "stage": stage, "exempt": exempt.strip(), "reason": reason, "again": again, "whole": whole}


@router.get("/w/{workspace_id}/governance/{kind}/{version}")
async def version(
    request: Request,
    workspace_id: str,
    kind: Literal["access", "governance"],
    version: int,
    ctx: Reader,
    scope: Annotated[Literal["tenant", "workspace"], Query()] = "tenant",
) -> Response:
    """One version, and how it differs from the one before."""
    found = await governance.show_policy(ctx, workspace_id, kind, version, scope)
    before = await governance.show_policy(ctx, workspace_id, kind, max(version - 1, 0), scope)
    lines = governance.diff(before["text"], found["text"])
    shell = await data.shell(ctx)
    return page(
        request, "policy.html", here="governance", shell=shell, workspace_id=workspace_id, policy=found, scope=scope,
        difference=lines, names=await data.names_of(ctx),
    )  # fmt: skip


@router.post("/w/{workspace_id}/governance/kill", dependencies=[Depends(auth.same_origin)])
async def stop(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    kind: Annotated[Kind, Form()],
    subject: Annotated[str, Form(max_length=300)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
    everywhere: Annotated[bool, Form()] = False,
) -> Response:
    """Sets a kill switch. What it touches was shown before, by `look`."""
    wanted = {"kind": kind, "subject": subject.strip(), "everywhere": everywhere, "reason": reason}
    try:
        await governance.kill(ctx, workspace_id, kind, subject.strip(), reason.strip(), everywhere)
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _refused(request, ctx, problem, wanted)
    return redirect(f"/w/{workspace_id}/governance")


@router.post("/w/{workspace_id}/governance/lift/{kill_id}", dependencies=[Depends(auth.same_origin)])
async def lift(
    request: Request,
    workspace_id: str,
    kill_id: str,
    ctx: Reader,
    stage: Annotated[Stage, Form()],
    exempt: Annotated[str, Form(max_length=300)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """A stage of a lift."""
    try:
        await governance.lift(ctx, workspace_id, kill_id, stage, exempt.split(), reason.strip(), False)
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _refused(request, ctx, problem, {"kind": "destination", "subject": "", "everywhere": False})
    return redirect(f"/w/{workspace_id}/governance")


@router.post("/w/{workspace_id}/limits", dependencies=[Depends(auth.same_origin)])
async def set_limit(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    name: Annotated[str, Form(max_length=60)],
    scope: Annotated[str, Form(max_length=80)] = "workspace",
    value: Annotated[str, Form(max_length=9)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Sets a limit. Who would be over it was shown before, by `look`. Empty: no limit."""
    limiting = {"name": name, "scope": scope, "value": value.strip(), "reason": reason.strip()}
    try:
        await limits.set_limit(ctx, workspace_id, _wish(name, scope, value, reason))
    except (Conflict, Denied, Invalid, NotFound) as problem:
        return await _shown(request, ctx, problem.status, limiting=limiting, problem=for_reader(ctx, problem))
    return redirect(f"/w/{workspace_id}/governance")


def _wish(name: str, scope: str, value: str, reason: str) -> Row:
    """A limit as it was asked for. `member:ID` counts over this member alone."""
    counted, _, member_id = scope.partition(":")
    if counted not in ("workspace", "member") or (member_id and counted != "member"):
        raise Invalid(f"{scope[:40]!r} is not what a workspace's limit is counted over.", field="scope")
    if value.strip() and not value.strip().isdecimal():
        raise Invalid(f"{value[:20]!r} is no whole number.", field="value")
    return {
        "layer": "workspace", "scope": counted, "member_id": member_id, "name": name, "reason": reason.strip(),
        "value": int(value) if value.strip() else None,
    }  # fmt: skip


async def _refused(request: Request, ctx: Context, problem: Problem, wanted: Row) -> Response:
    return await _shown(request, ctx, problem.status, wanted=wanted, problem=for_reader(ctx, problem))
