"""People and access: what each role holds, what the reader may do, and why somebody may or may not do something."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from worka.authorization.rules import QUOTE, to_whom_it_is_about
from worka.governance import actions as governing
from worka.governance import preview, questions, recorded_roles, unused_roles
from worka.governance import service as governance
from worka.kernel import actions
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.http import context
from worka.web import data
from worka.web.render import for_reader, page
from worka.workspaces import accounts
from worka.workspaces import service as workspaces

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]


@router.get("/w/{workspace_id}/people")
async def people(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    principal: Annotated[str, Query(max_length=60)] = "",
    action: Annotated[str, Query(max_length=80)] = "",
    resource: Annotated[str, Query(max_length=200)] = "",
    roles: Annotated[bool, Query()] = False,
    unused: Annotated[bool, Query()] = False,
) -> Response:
    """Roles as they are, and “access why”: the address holds the question, so that an answer can be passed on."""
    answer, refused = (
        await _answer(ctx, workspace_id, principal, action, resource) if principal and action else (None, None)
    )
    asked = {
        "principal": principal or ctx.principal.id,
        "action": action,
        "resource": resource or questions.ANY,
    }
    # Asked of the façade, person by person: only for those who want to see it.
    recorded = await recorded_roles.show(ctx, workspace_id) if roles else None
    unneeded = await unused_roles.report(ctx, workspace_id) if unused else None
    return await show(
        request, ctx, asked=asked, answer=answer, refused=refused, recorded=recorded, unneeded=unneeded
    )  # fmt: skip


async def show(request: Request, ctx: Context, status: int = 200, **values: Any) -> Response:
    """The page with whatever was asked or done on it."""
    here = ctx.workspace_id
    assert here is not None
    may = {
        name: await can(ctx, here, name)
        for name in ("member.invite", "member.change", "member.remove", governing.ACCESS_EXPLAIN)
    }
    given = {
        "access": await governance.access(ctx, here),
        "members": await workspaces.members(ctx, here),
        "invitations": await workspaces.invitations(ctx, here) if may["member.invite"]["can"] else [],
        "accounts": await accounts.listing(ctx, here, None, 200),
        "roles": ["owner", "admin", "member", "viewer", "approver"],
        "actions": [known.name for known in actions.all_actions()],
        "areas": {key: name for key, name, _ in preview.AREAS},
        "asked": {"principal": ctx.principal.id, "action": "", "resource": questions.ANY},
        "chosen": {"do": "", "email": "", "role": "member", "approver": False, "subject": ""},
        "may": may,
        "recorded": None,
        "unneeded": None,
    }
    shell = await data.shell(ctx)
    return page(request, "people.html", status, here="people", shell=shell, workspace_id=here, **{**given, **values})


async def can(ctx: Context, workspace_id: str, action: str) -> dict[str, Any]:
    """Whether the reader may do it and why not, in the words of the very answer that an attempt would get: what a button that
    is off says beside itself (IDN-14)."""
    async with ctx.transaction():
        thing = await questions.resource(ctx, workspace_id, questions.known_action(action).resource_type, questions.ANY)
        asked = questions.Question(ctx.principal, None, action, thing, {})
        found = (await questions.answered(ctx, asked, keep=False)).decision
    # Only asked, not attempted: nothing is recorded, so there is no decision whose id could be quoted.
    remedy = f"{found.remedy.removesuffix(QUOTE)}." if found.remedy.endswith(QUOTE) else found.remedy
    because = "; ".join(map(to_whom_it_is_about, found.reasons))
    return {"can": found.verdict != "deny", "because": because, "remedy": remedy}


async def _answer(
    ctx: Context, workspace_id: str, principal: str, action: str, resource: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The answer, or the problem as it is shown: a question that cannot be answered does not take the page away."""
    try:
        found = await questions.why(ctx, workspace_id, principal, action, resource.strip() or questions.ANY, facts=[])
    except Problem as problem:
        return None, for_reader(ctx, problem)
    return found, None
