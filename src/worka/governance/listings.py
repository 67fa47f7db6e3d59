"""Lists of who may do something, on what, and what somebody may do: complete and page by page, by the façade that decides.

Every candidate is asked for by itself, so that a list never says anything else than an attempt would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from worka import authorization
from worka.governance import questions
from worka.governance.errors import NotListed, ResourceNotFound
from worka.kernel import actions, kinds
from worka.kernel.actions import Action
from worka.kernel.context import Context, Principal, Resource

Row = dict[str, Any]
_PAGE = 100

Judge = Callable[[Any], Awaitable[tuple[Row, str] | None]]


async def _filled(
    rows: Callable[[str | None, int], Awaitable[list[Any]]], judge: Judge, after: str | None, limit: int
) -> list[Row]:
    """Goes on reading candidates until limit + 1 of them fit or there are no more: a page is never short because many
    did not fit, and never says that it is the last when it is not."""
    found: list[Row] = []
    while len(found) <= limit:
        batch = await rows(after, _PAGE)
        if not batch:
            break
        for candidate in batch:
            kept = await judge(candidate)
            if kept is not None:
                row, after = kept
                found.append({**row, "cursor": f"after.{after}"})
                if len(found) > limit:
                    break
        after = _place(batch[-1])
    return found


def _place(candidate: Any) -> str:
    return str(
        candidate["id"]
        if isinstance(candidate, dict)
        else candidate.id
        if isinstance(candidate, Resource)
        else candidate
    )


def _wanted(verdict: str, wanted: str | None) -> bool:
    return verdict == wanted if wanted else verdict != "deny"


async def who_may(
    ctx: Context,
    workspace_id: str,
    action: str,
    thing: Resource,
    *,
    context: Row,
    kind: str | None = None,
    verdict: str | None = None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Who in the workspace may do it (or needs an approval for it): up to limit + 1, by id. In the open transaction, for
    a caller who may ask about everybody."""

    async def rows(after: str | None, most: int) -> list[Row]:
        return await authorization.store.principals(ctx.conn, workspace_id, after, most, None)

    async def judge(row: Row) -> tuple[Row, str] | None:
        if kind is not None and row["kind"] != kind:
            return None
        found = await questions.answered(
            ctx, questions.Question(questions.acting(ctx, row), None, action, thing, context), keep=False
        )
        said = found.decision
        if not _wanted(said.verdict, verdict):
            return None
        who = {"kind": row["kind"], "id": row["id"], "name": row["name"]}
        return {**who, **_answer(said), "permitted_by": list(found.permitted)}, row["id"]

    return await _filled(rows, judge, after, limit)


async def on_what(
    ctx: Context,
    workspace_id: str,
    who: Principal,
    action: Action,
    *,
    behind: str | None = None,
    context: Row,
    verdict: str | None = None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """On which things of the workspace somebody may do it: up to limit + 1, in the order of the domain's own list. Raises
    NotListed."""
    known = kinds.resource_type(action.resource_type)
    page = known.page if known else None
    if page is None:
        raise NotListed(f"Things of the type {action.resource_type} are not listed; ask about one of them.")

    async def rows(after: str | None, most: int) -> list[Resource]:
        return await page(ctx.conn, workspace_id, after, most)

    async def judge(thing: Resource) -> tuple[Row, str] | None:
        passed, _ = questions.given(context, thing)
        found = await questions.answered(ctx, questions.Question(who, behind, action.name, thing, passed), keep=False)
        if not _wanted(found.decision.verdict, verdict):
            return None
        row = {"type": thing.type, "id": thing.id, "name": thing.attrs.get("name")}
        return {**row, **_answer(found.decision), "permitted_by": list(found.permitted)}, thing.id

    return await _filled(rows, judge, after, limit)


async def what_may(
    ctx: Context,
    workspace_id: str,
    who: Principal,
    thing: Resource | None,
    *,
    behind: str | None = None,
    context: Row,
    verdict: str | None = None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """What somebody may do on a thing; without one, on any thing of each action's type: up to limit + 1, by name."""
    everything = [a for a in actions.all_actions() if thing is None or a.resource_type == thing.type]

    async def rows(after: str | None, most: int) -> list[str]:
        return [action.name for action in everything if after is None or action.name > after][:most]

    async def judge(name: str) -> tuple[Row, str] | None:
        action = questions.known_action(name)
        on = thing or await questions.resource(ctx, workspace_id, action.resource_type, questions.ANY)
        passed, _ = questions.given(context, on)
        found = await questions.answered(ctx, questions.Question(who, behind, name, on, passed), keep=False)
        if not _wanted(found.decision.verdict, verdict):
            return None
        row = {
            "action": name,
            "permission": action.permission,
            "resource_type": action.resource_type,
            "doc": action.doc,
        }
        return {**row, **_answer(found.decision), "permitted_by": list(found.permitted)}, name

    return await _filled(rows, judge, after, limit)


def _answer(said: Any) -> Row:
    return {"verdict": said.verdict, "reasons": list(said.reasons), "approval_rules": list(said.approval_rules)}


# the use cases ------------------------------------------------------------------------------------------------------
async def principals(
    ctx: Context,
    workspace_id: str,
    action: str,
    resource_id: str,
    *,
    facts: list[str],
    verdict: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Who can do this: up to limit + 1. Raises UnknownAction, FactUnknown, Denied, ResourceNotFound."""
    known, passed = questions.known_action(action), questions.read_facts(facts)
    async with ctx.transaction():
        await questions.may_ask(ctx, workspace_id, None)
        thing = await questions.resource(ctx, workspace_id, known.resource_type, resource_id)
        context, _ = questions.given(passed, thing)
        return await who_may(
            ctx, workspace_id, action, thing, context=context, verdict=verdict, after=after, limit=limit
        )


async def resources(
    ctx: Context,
    workspace_id: str,
    principal_id: str,
    action: str,
    *,
    behind: str | None,
    facts: list[str],
    verdict: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """On what this one can do this: up to limit + 1. Raises UnknownAction, FactUnknown, Denied, PrincipalNotFound, NotListed."""
    known, passed = questions.known_action(action), questions.read_facts(facts)
    async with ctx.transaction():
        who = await _someone(ctx, workspace_id, principal_id, behind)
        return await on_what(
            ctx, workspace_id, who, known, behind=behind, context=passed, verdict=verdict, after=after, limit=limit
        )


async def allowed_actions(
    ctx: Context,
    workspace_id: str,
    principal_id: str,
    resource_id: str | None,
    resource_type: str | None,
    *,
    behind: str | None,
    facts: list[str],
    verdict: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """What this one can do, on a thing or on any: up to limit + 1. Raises FactUnknown, Denied, PrincipalNotFound,
    ResourceNotFound."""
    passed = questions.read_facts(facts)
    async with ctx.transaction():
        who = await _someone(ctx, workspace_id, principal_id, behind)
        thing = await _thing(ctx, workspace_id, resource_id, resource_type)
        return await what_may(
            ctx, workspace_id, who, thing, behind=behind, context=passed, verdict=verdict, after=after, limit=limit
        )


async def _someone(ctx: Context, workspace_id: str, principal_id: str, behind: str | None) -> Principal:
    evidence = await questions.may_ask(ctx, workspace_id, principal_id)
    if behind is not None:
        if not evidence:
            await questions.may_ask(ctx, workspace_id, behind)
        await questions.principal(ctx, workspace_id, behind)
    return await questions.principal(ctx, workspace_id, principal_id)


async def _thing(ctx: Context, workspace_id: str, resource_id: str | None, kind: str | None) -> Resource | None:
    """The thing of this id: of the given type, or of the only one that knows it."""
    if kind is not None:
        return await questions.resource(ctx, workspace_id, kind, resource_id or questions.ANY)
    if resource_id is None:
        return None
    for known in kinds.resource_types():
        try:
            return await questions.resource(ctx, workspace_id, known.name, resource_id)
        except ResourceNotFound:
            continue
    raise ResourceNotFound(f"There is nothing called {resource_id[:80]} in this workspace.")
