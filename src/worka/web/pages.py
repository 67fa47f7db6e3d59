"""The console's pages: read through `data`, hand to a template, nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.kernel import ids
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, TooMany
from worka.kernel.http import context
from worka.notifications import told
from worka.web import (
    accounts,
    approving,
    auth,
    broker,
    broker_exceptions,
    broker_rules,
    broker_trust,
    connections,
    data,
    find,
    governance,
    inviting,
    moving,
    myself,
    people,
    policies,
    registry,
    releases,
    treasury,
    webhooks,
    withdrawing,
    words,
)
from worka.web import approvers as who_approves
from worka.web.render import for_reader, page, redirect

router = APIRouter(include_in_schema=False)
router.include_router(auth.router)
router.include_router(myself.router)
router.include_router(inviting.router)
router.include_router(people.router)
router.include_router(approving.router)
router.include_router(who_approves.router)
router.include_router(governance.router)
router.include_router(connections.router)
router.include_router(treasury.router)
router.include_router(broker.router)
router.include_router(broker_rules.router)
router.include_router(broker_trust.router)
router.include_router(broker_exceptions.router)
router.include_router(webhooks.router)
router.include_router(policies.router)
router.include_router(accounts.router)
router.include_router(releases.router)
router.include_router(registry.router)
router.include_router(moving.router)
router.include_router(withdrawing.router)
Reader = Annotated[Context, Depends(context)]
Cursor = Annotated[str | None, Query(max_length=400)]

TASK_FILTERS = {
    "unfinished": ["queued", "running", "waiting", "retrying", "stalled", "deferred", "paused", "unknown"],
    "waiting": ["waiting"],
    "running": ["running"],
    "failed": ["failed", "unknown"],
    "done": ["succeeded", "cancelled"],
    "all": None,
}
APPROVAL_FILTERS = ("open", "decided", "all")


async def _page(request: Request, ctx: Context, template: str, here: str, status: int = 200, **values: Any) -> Response:
    shell = await data.shell(ctx)
    return page(request, template, status, here=here, shell=shell, workspace_id=ctx.workspace_id, **values)


@router.get("/")
async def front(request: Request, ctx: Reader) -> Response:
    """One workspace: its attention page. Several: the choice, said out loud. None: what to do next."""
    mine = await data.workspaces(ctx)
    if len(mine) == 1:
        return redirect(f"/w/{mine[0]['workspace_id']}/attention")
    shell = await data.shell(ctx)
    return page(request, "workspaces.html", here="", shell=shell, workspace_id=None, workspaces=mine)


@router.get("/w/{workspace_id}")
async def workspace(workspace_id: str, ctx: Reader) -> Response:
    """The home of a workspace is what needs you."""
    return redirect(f"/w/{workspace_id}/attention")


@router.get("/w/{workspace_id}/attention")
async def attention(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """What needs me now."""
    return await _page(request, ctx, "attention.html", "attention", attention=await data.attention(ctx))


@router.get("/w/{workspace_id}/tasks")
async def tasks(
    request: Request, workspace_id: str, ctx: Reader, show: str = "unfinished", cursor: Cursor = None
) -> Response:
    """What is in flight, and why it is not done."""
    show = show if show in TASK_FILTERS else "unfinished"
    found = await data.tasks(ctx, TASK_FILTERS[show], cursor)
    standing = await data.standing(ctx) if show == "running" and not found["entries"] else ""
    return await _page(
        request, ctx, "tasks.html", "tasks", tasks=found, show=show, filters=list(TASK_FILTERS), standing=standing
    )


@router.get("/w/{workspace_id}/tasks/{task_id}")
async def task(request: Request, workspace_id: str, task_id: str, ctx: Reader) -> Response:
    """Why is this still running: verdict, waits, evidence, steps."""
    if target := words.elsewhere(task_id, workspace_id, "tasks"):
        return redirect(target)
    return await _task(request, ctx, task_id)


async def _task(request: Request, ctx: Context, task_id: str, problem: Problem | None = None) -> Response:
    found = _here(await data.task(ctx, task_id), ctx.workspace_id, task_id)
    refused = for_reader(ctx, problem) if problem else None
    why = await data.why(ctx, task_id)
    return await _page(
        request, ctx, "task.html", "tasks", problem.status if problem else 200, task=found, why=why, problem=refused
    )


@router.post("/w/{workspace_id}/tasks/{task_id}", dependencies=[Depends(auth.same_origin)])
async def act(
    request: Request,
    workspace_id: str,
    task_id: str,
    ctx: Reader,
    outcome: Annotated[Literal["cancel", "retry", "failed"], Form()],
) -> Response:
    """Cancels a task, or says what became of an unknown step; a refusal comes back on the same page."""
    _here(await data.task(ctx, task_id), workspace_id, task_id)
    try:
        await data.act(ctx, task_id, outcome)
    except (Conflict, Denied, Invalid) as problem:
        return await _task(request, ctx, task_id, problem)
    return redirect(f"/w/{workspace_id}/tasks/{task_id}")


@router.get("/w/{workspace_id}/approvals")
async def approvals(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    show: str = "open",
    whose: str = "all",
    cursor: Cursor = None,
) -> Response:
    """What waits for whom."""
    show = show if show in APPROVAL_FILTERS else "open"
    whose = whose if whose in ("mine", "groups") and show == "open" else "all"
    found = await data.approvals(ctx, show, cursor, whose)
    warning = await approving.warning(ctx) if show == "open" else ""
    return await _page(
        request, ctx, "approvals.html", "approvals", approvals=found, show=show, whose=whose, warning=warning
    )


@router.get("/w/{workspace_id}/approvals/{approval_id}")
async def approval(request: Request, workspace_id: str, approval_id: str, ctx: Reader) -> Response:
    """The exact thing to decide, and who may."""
    if target := words.elsewhere(approval_id, workspace_id, "approvals"):
        return redirect(target)
    return await _approval(request, ctx, approval_id)


async def _approval(
    request: Request, ctx: Context, approval_id: str, problem: Problem | None = None, comment: str = ""
) -> Response:
    found = _here(await data.approval(ctx, approval_id), ctx.workspace_id, approval_id)
    why = await data.why(ctx, approval_id)
    refused = for_reader(ctx, problem) if problem else None
    status = problem.status if problem else 200
    return await _page(
        request, ctx, "approval.html", "approvals", status, approval=found, why=why, problem=refused, comment=comment,
        told=await told.told_of(ctx, approval_id),
    )  # fmt: skip


@router.post("/w/{workspace_id}/approvals/{approval_id}", dependencies=[Depends(auth.same_origin)])
async def decide(
    request: Request,
    workspace_id: str,
    approval_id: str,
    ctx: Reader,
    decision: Annotated[Literal["approve", "reject"], Form()],
    digest: Annotated[str, Form(max_length=200)],
    comment: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Decides in place, with a code of the second factor where its rule wants one. A refusal comes back on the same card,
    with what was typed (but for the code)."""
    _here(await data.approval(ctx, approval_id), workspace_id, approval_id)
    try:
        await data.decide(ctx, approval_id, decision, digest, comment.strip(), code)
    except (Conflict, Denied, Invalid, TooMany) as problem:
        return await _approval(request, ctx, approval_id, problem, comment)
    return redirect(f"/w/{workspace_id}/approvals/{approval_id}")


@router.get("/w/{workspace_id}/invocations")
async def invocations(
    request: Request, workspace_id: str, ctx: Reader, show: str = "all", cursor: Cursor = None
) -> Response:
    """Calls of pack tools, the failing ones first to find."""
    show = show if show in ("all", "failed") else "all"
    found = await data.invocations(ctx, show == "failed", cursor)
    return await _page(request, ctx, "invocations.html", "invocations", invocations=found, show=show)


@router.get("/w/{workspace_id}/invocations/{invocation_id}")
async def invocation(request: Request, workspace_id: str, invocation_id: str, ctx: Reader) -> Response:
    """Why did this pack fail to invoke: the road, with the failing leg open."""
    if target := words.elsewhere(invocation_id, workspace_id, "invocations"):
        return redirect(target)
    found = _here(await data.invocation(ctx, invocation_id), workspace_id, invocation_id)
    why = await data.why(ctx, invocation_id)
    return await _page(request, ctx, "invocation.html", "invocations", invocation=found, why=why)


@router.get("/w/{workspace_id}/changes")
async def changes(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    lane: str = "",
    actor: Annotated[str, Query(max_length=100)] = "",
    subject: Annotated[str, Query(max_length=100)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    cursor: Cursor = None,
) -> Response:
    """What changed here: who, on whose behalf, what, before and after, and why."""
    chosen = {
        "lane": lane if lane in words.CHANGES else "",
        "actor": actor,
        "subject": subject,
        "since": since if words.moment(since) or since in data.SPANS else "",
    }
    found = await data.changes(ctx, chosen, cursor)
    return await _page(
        request, ctx, "changes.html", "changes", changes=found, chosen=chosen, lanes=words.CHANGES, spans=data.SPANS
    )


@router.get("/w/{workspace_id}/views")
async def views(request: Request, workspace_id: str, ctx: Reader) -> Response:
    """What the work has produced."""
    return await _page(request, ctx, "views.html", "views", views=await data.views(ctx))


@router.get("/w/{workspace_id}/views/{view_id}")
async def view(
    request: Request, workspace_id: str, view_id: str, ctx: Reader, revision: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """One revision of a document."""
    if target := words.elsewhere(view_id, workspace_id, "views"):
        return redirect(target)
    found = _here(await data.view(ctx, view_id, revision), workspace_id, view_id)
    return await _page(request, ctx, "view.html", "views", view=found)


@router.get("/w/{workspace_id}/decisions/{decision_id}")
async def decision(request: Request, workspace_id: str, decision_id: str, ctx: Reader) -> Response:
    """The operator's side of an allow, a deny or an ask: rules, inputs, versions."""
    if target := words.elsewhere(decision_id, workspace_id, "decisions"):
        return redirect(target)
    found = _here(await data.decision(ctx, decision_id), workspace_id, decision_id)
    why = await data.why(ctx, decision_id)
    return await _page(request, ctx, "decision.html", "", decision=found, why=why)


@router.get("/w/{workspace_id}/why/{subject}")
async def why(request: Request, workspace_id: str, subject: str, ctx: Reader) -> Response:
    """The explanation of anything that has one but no page of its own."""
    own = words.href(subject, workspace_id)
    if own and "/why/" not in own:
        return redirect(own)
    found = await data.why(ctx, subject)
    part = await data.part(ctx, subject) if ids.prefix_of(subject) == "proc" else None
    return await _page(request, ctx, "why.html", "", why=found, subject=subject, part=part)


@router.get("/w/{workspace_id}/search")
async def search(
    request: Request, workspace_id: str, ctx: Reader, q: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """An id leads to its page at once; anything else is looked for in names."""
    wanted = q.strip()
    target = await find.target(ctx, wanted) if wanted else ""
    if target:
        return redirect(target)
    shaped = ids.check(wanted.lower())
    found = await find.named(ctx, wanted) if wanted and not shaped else []
    return await _page(request, ctx, "search.html", "search", q=wanted, found=found, shaped=shaped)


def _here(row: dict[str, Any], workspace_id: str | None, subject: str) -> dict[str, Any]:
    """The row, if it belongs to the workspace of the address: the scope in the address is never a lie."""
    if row.get("workspace_id") not in (None, workspace_id):
        raise NotFound(f"There is no {subject} in this workspace.")
    return row
