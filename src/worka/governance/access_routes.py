"""HTTP for questions about access, and for recorded decisions; no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query

from worka.governance import decisions, listings, questions, unused_roles
from worka.governance.schema import (
    AllowedAction,
    AllowedPrincipal,
    AllowedResource,
    DecisionRow,
    Replay,
    UnusedRoles,
    Verdict,
    WhyAccess,
)
from worka.kernel.context import Context
from worka.kernel.http import ID, Items, NamePage, Page, context, gives, routes

router = routes(prefix="/v1", tags=["governance"])
Who = Annotated[str, Query(min_length=1, max_length=60, description="a principal of the workspace, by its id")]
Act = Annotated[str, Query(min_length=1, max_length=80, description="an action, such as `task.create`")]
Thing = Annotated[
    str,
    Query(min_length=1, max_length=200, description="a thing by its id or name; `*` is a new one, or any of the type"),
]
Behind = Annotated[str | None, Query(max_length=60, description="the person on whose behalf it would be done")]
Facts = Annotated[
    list[str],
    Query(
        max_length=40, description="name=value: a fact of the request, with a word that policy knows; may be repeated"
    ),
]
Wanted = Annotated[Verdict | None, Query(description="only these; without it all that is allowed or needs an approval")]


@router.get("/workspaces/{workspace_id}/access/why", **gives(WhyAccess))
async def why(
    workspace_id: str,
    principal: Who,
    action: Act,
    resource: Thing = questions.ANY,
    on_behalf_of: Behind = None,
    fact: Facts = [],  # noqa: B006 - FastAPI makes a new one
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Why a principal may or may not do something here: the rules, their text and the inputs for readers of evidence."""
    return await questions.why(ctx, workspace_id, principal, action, resource, behind=on_behalf_of, facts=fact)


@router.get("/workspaces/{workspace_id}/access/can", **gives(WhyAccess))
async def can(
    workspace_id: str,
    action: Act,
    resource: Thing = questions.ANY,
    fact: Facts = [],  # noqa: B006
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Whether the caller may do something here, why not, and whom to ask."""
    return await questions.can(ctx, workspace_id, action, resource, fact)


@router.get("/workspaces/{workspace_id}/access/principals", **gives(Items[AllowedPrincipal]))
async def principals(
    workspace_id: str,
    action: Act,
    resource: Thing = questions.ANY,
    fact: Facts = [],  # noqa: B006
    verdict: Wanted = None,
    page: NamePage = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Who can do this: every principal of the workspace that may, or may once it is approved. Complete, page by page."""
    rows = await listings.principals(
        ctx, workspace_id, action, resource, facts=fact, verdict=verdict, after=page.after, limit=page.limit
    )
    return page.answer(rows)


@router.get("/workspaces/{workspace_id}/access/resources", **gives(Items[AllowedResource]))
async def resources(
    workspace_id: str,
    principal: Who,
    action: Act,
    on_behalf_of: Behind = None,
    fact: Facts = [],  # noqa: B006
    verdict: Wanted = None,
    page: NamePage = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """On what this one can do this: every thing of the action's type in the workspace. Complete, page by page."""
    rows = await listings.resources(
        ctx, workspace_id, principal, action, behind=on_behalf_of, facts=fact, verdict=verdict, after=page.after,
        limit=page.limit,
    )  # fmt: skip
    return page.answer(rows)


@router.get("/workspaces/{workspace_id}/access/actions", **gives(Items[AllowedAction]))
async def actions(
    workspace_id: str,
    principal: Who,
    resource: Annotated[str | None, Query(max_length=200, description="a thing by its id or name")] = None,
    resource_type: Annotated[str | None, Query(max_length=60, description="the type of the thing")] = None,
    on_behalf_of: Behind = None,
    fact: Facts = [],  # noqa: B006
    verdict: Wanted = None,
    page: NamePage = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """What this one can do: on one thing, or on any thing of each type. Complete, page by page."""
    rows = await listings.allowed_actions(
        ctx, workspace_id, principal, resource, resource_type, behind=on_behalf_of, facts=fact, verdict=verdict,
        after=page.after, limit=page.limit,
    )  # fmt: skip
    return page.answer(rows)


@router.get("/workspaces/{workspace_id}/access/unused", **gives(UnusedRoles))
async def unused(
    workspace_id: str,
    days: Annotated[int, Query(ge=1, le=90, description="how far back what was done is looked at")] = unused_roles.DAYS,
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Who holds a role that is wider than what they did, with the narrower one that would have done. For readers of evidence."""
    return await unused_roles.report(ctx, workspace_id, days)


@router.get("/workspaces/{workspace_id}/decisions", **gives(Items[DecisionRow]))
async def list_decisions(
    workspace_id: str,
    verdict: Verdict | None = None,
    action: Annotated[str | None, Query(min_length=1, max_length=80)] = None,
    principal: Annotated[str | None, Query(pattern=ID, description="who acted, or was behind it")] = None,
    page: Page = Depends(),
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Recorded decisions, newest first: all of them for readers of evidence, else those that concern the caller."""
    rows = await decisions.listing(
        ctx, workspace_id, verdict=verdict, action=action, principal=principal, after=page.id, limit=page.limit
    )
    return page.answer(rows, "id")


@router.get("/decisions/{decision_id}/replay", **gives(Replay))
async def replay(decision_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The decision evaluated again, with the policy of its day; or the fact that is missing for that, by name."""
    return await decisions.replayed(ctx, decision_id)
