"""AuthZEN's questions, asked of our façade. Decisions are closed: what goes wrong with a question is a `false`."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError

from worka.governance import listings, questions
from worka.governance.authzen import schema
from worka.governance.errors import (
    BadPageToken,
    FactUnknown,
    IncompleteEvaluation,
    PrincipalNotFound,
    WorkspaceRequired,
)
from worka.governance.questions import ANY, Question
from worka.kernel import actions, kinds
from worka.kernel.actions import Action
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.errors import Denied, NotFound, Problem
from worka.workspaces import store as workspaces

Row = dict[str, Any]
MOST = 200
"""The most results of one page, and how many there are when nobody says."""
_WHERE = "workspace_id"
NOT_FOUND: Row = {
    "decision": False,
    "context": {
        "code": "not_found",
        "reason": "There is no such subject, action or resource for you, or they do not belong together.",
    },
}


class _Unknown(Exception):
    """Something that is asked about is not there for the caller."""


async def evaluate(ctx: Context, asked: schema.Evaluation) -> Row:
    """{decision, context}. Raises Denied when the caller may not ask, IncompleteEvaluation, WorkspaceRequired."""
    _tenant(ctx)
    async with ctx.transaction():
        return await _one(ctx, asked)


async def evaluate_all(ctx: Context, asked: schema.Evaluations) -> Row:
    """{evaluations: […]} in the order of the questions, cut where the semantic stops; a question that cannot be answered is
    a `false` with its error. Raises IncompleteEvaluation for a single question that is not whole, and Denied when the caller
    may ask none of them."""
    _tenant(ctx)
    top = {
        name: value.model_dump()
        for name in ("subject", "action", "resource")
        if (value := getattr(asked, name)) is not None
    } | {"context": asked.context}
    if not asked.evaluations:
        single = _whole(top)
        async with ctx.transaction():
            return await _one(ctx, single)
    answers: list[Row] = []
    refused: list[Denied] = []
    stop = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(asked.options.evaluations_semantic)
    async with ctx.transaction():
        for item in asked.evaluations:
            try:
                answer = await _one(ctx, _whole({**top, **item}))
            except Problem as problem:
                refused += [problem] if isinstance(problem, Denied) else []
                error = {"status": problem.status, "code": problem.problem_code, "message": problem.detail}
                answer = {"decision": False, "context": {"error": error}}
            answers.append(answer)
            if answer["decision"] is stop:
                break
    if len(refused) == len(answers):
        raise refused[0]  # it concerns the caller, so the whole request
    return {"evaluations": answers}


def _whole(parts: Row) -> schema.Evaluation:
    try:
        return schema.Evaluation.model_validate(parts)
    except ValidationError as error:
        faults = error.errors()
        said = "; ".join(f"/{'/'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])
        raise IncompleteEvaluation(said) from error


async def search_subjects(ctx: Context, asked: schema.SubjectSearch) -> Row:
    """Subjects of a type that may do it. Raises Denied, IncompleteEvaluation, WorkspaceRequired, BadPageToken."""

    async def found(after: str | None, limit: int) -> list[Row]:
        action = _action(asked.action.name, asked.resource.type)
        workspace, thing = await _thing(ctx, asked.resource, asked.context)
        await questions.may_ask(ctx, workspace, None)
        context, _ = _given(_facts(asked.resource, asked.action, asked.context), thing)
        return await listings.who_may(
            ctx, workspace, action.name, thing,
            context=context, kind=asked.subject.type, verdict="allow", after=after, limit=limit,
        )  # fmt: skip

    return await _search(ctx, asked, found, lambda row: {"type": row["kind"], "id": row["id"]})


async def search_resources(ctx: Context, asked: schema.ResourceSearch) -> Row:
    """Resources of a type on which it may be done. Raises Denied, IncompleteEvaluation, WorkspaceRequired, BadPageToken."""

    async def found(after: str | None, limit: int) -> list[Row]:
        action = _action(asked.action.name, asked.resource.type)
        type_known = kinds.resource_type(asked.resource.type)
        if type_known is None or type_known.page is None:
            raise _Unknown
        workspace = await _place(ctx, asked.resource.properties, asked.context)
        who, behind = await _who(ctx, workspace, asked.subject)
        facts = _facts(asked.resource, asked.action, asked.context)
        return await listings.on_what(
            ctx, workspace, who, action, behind=behind, context=facts, verdict="allow", after=after, limit=limit
        )

    return await _search(ctx, asked, found, lambda row: {"type": row["type"], "id": row["id"]})


async def search_actions(ctx: Context, asked: schema.ActionSearch) -> Row:
    """Actions that may be done. Raises Denied, IncompleteEvaluation, WorkspaceRequired, BadPageToken."""

    async def found(after: str | None, limit: int) -> list[Row]:
        workspace, thing = await _thing(ctx, asked.resource, asked.context)
        who, behind = await _who(ctx, workspace, asked.subject)
        facts = _facts(asked.resource, None, asked.context)
        return await listings.what_may(
            ctx, workspace, who, thing, behind=behind, context=facts, verdict="allow", after=after, limit=limit
        )

    return await _search(ctx, asked, found, lambda row: {"name": row["action"]})


# one question -------------------------------------------------------------------------------------------------------
async def _one(ctx: Context, asked: schema.Evaluation) -> Row:
    try:
        action = _action(asked.action.name, asked.resource.type)
        workspace, thing = await _thing(ctx, asked.resource, asked.context)
        who, behind = await _who(ctx, workspace, asked.subject)
    except _Unknown:
        return NOT_FOUND
    context, ignored = _given(_facts(asked.resource, asked.action, asked.context), thing)
    found = await questions.answered(ctx, Question(who, behind, action.name, thing, context), keep=True)
    said = found.decision
    shown: Row = {"verdict": said.verdict, "layer": said.layer, "policy_version": said.policy_version}
    if found.recorded:
        shown["decision_id"] = said.id
    if said.verdict != "allow":
        shown |= {
            "code": questions.reason_of(said.verdict, said.layer, said.rules),
            "reason": "; ".join(said.reasons),
            "remedy": said.remedy,
            "rules": list(said.rules),
        }
    if said.approval_rules:
        shown["approval_rules"] = list(said.approval_rules)
    if ignored:
        shown["ignored"] = ignored
    return {"decision": said.verdict == "allow", "context": shown}


def _tenant(ctx: Context) -> None:
    if ctx.tenant_id is None:
        raise NotFound("You are a member of no workspace, so there is nothing that you could ask about.")


def _action(name: str, resource_type: str) -> Action:
    found = actions.get(name)
    if found is None or found.resource_type != resource_type:
        raise _Unknown
    return found


async def _who(ctx: Context, workspace: str, subject: schema.Subject) -> tuple[Principal, str | None]:
    """The subject, and the person behind it. Whether the caller may ask is decided before anybody looks."""
    behind = subject.properties.get("on_behalf_of")
    if behind is not None and not isinstance(behind, str):
        raise IncompleteEvaluation("subject.properties.on_behalf_of is a person's id.")
    evidence = await questions.may_ask(ctx, workspace, subject.id)
    if behind not in (None, ctx.principal.id) and not evidence:
        await questions.may_ask(ctx, workspace, behind)
    try:
        who = await questions.principal(ctx, workspace, subject.id)
        if behind is not None:
            await questions.principal(ctx, workspace, behind)
    except PrincipalNotFound as missing:
        raise _Unknown from missing
    if who.kind != subject.type:
        raise _Unknown
    return who, behind


async def _thing(ctx: Context, asked: schema.Thing, context: Row) -> tuple[str, Resource]:
    """(workspace, resource) of a resource that lies where the caller is a member."""
    known = kinds.resource_type(asked.type)
    if known is None or known.find is None:
        raise _Unknown
    named = _named(asked.properties, context)
    if asked.id == ANY:
        place = await _place(ctx, asked.properties, context)
        return place, await questions.resource(ctx, place, asked.type, ANY)
    guess = named or ctx.workspace_id or next(iter(await _mine(ctx)), "")
    found = await known.find(ctx.conn, guess, asked.id)
    if found is None:
        if named is None and len(await _mine(ctx)) > 1 and asked.type in BY_NAME:
            raise WorkspaceRequired("Say where this name is looked for.")
        raise _Unknown
    place = found.workspace_id or guess
    if (named and place != named) or place not in await _mine(ctx):
        raise _Unknown
    return place, found


BY_NAME = frozenset({"host_service", "pack", "policy", "tenant", "tool", "workflow"})
"""What is found by a name in a workspace, not by an id of its own."""


async def _place(ctx: Context, properties: Row, context: Row) -> str:
    """The workspace that is meant: named, the token's, or the only one of the caller."""
    named = _named(properties, context) or ctx.workspace_id
    mine = await _mine(ctx)
    if named is None and len(mine) != 1:
        raise WorkspaceRequired(f"You are a member of {len(mine)} workspaces of this tenant.")
    if named is not None and named not in mine:
        raise _Unknown
    return named or mine[0]


def _named(properties: Row, context: Row) -> str | None:
    named = properties.get(_WHERE, context.get(_WHERE))
    if named is not None and not isinstance(named, str):
        raise IncompleteEvaluation(f"{_WHERE} is the id of a workspace.")
    return named


async def _mine(ctx: Context) -> list[str]:
    rows = await workspaces.memberships_of(ctx.conn, ctx.principal.kind, ctx.principal.id)
    return [row["workspace_id"] for row in rows if row["tenant_id"] == ctx.tenant_id]


def _facts(thing: schema.Thing | schema.SomeThing, action: schema.Action | None, context: Row) -> Row:
    """What is passed along, as facts: of the resource, then of the action, then of the request; the later one counts."""
    words = {**thing.properties, **(action.properties if action else {}), **context}
    return {name: value for name, value in words.items() if name != _WHERE}


def _given(facts: Row, thing: Resource) -> tuple[Row, list[str]]:
    """As `questions.given`; a known word with a value of another type is a bad request here."""
    try:
        return questions.given(facts, thing)
    except FactUnknown as error:
        raise IncompleteEvaluation(error.detail) from error


# searching ----------------------------------------------------------------------------------------------------------
async def _search(
    ctx: Context, asked: Any, found: Callable[[str | None, int], Awaitable[list[Row]]], shown: Callable[[Row], Row]
) -> Row:
    _tenant(ctx)
    whose = [type(asked).__name__, ctx.tenant_id, ctx.principal.id]
    what = json.dumps([*whose, asked.model_dump(exclude={"page"})], sort_keys=True).encode()
    after, limit = _continued(ctx, asked.page, what)
    async with ctx.transaction():
        try:
            rows = await found(after, limit)
        except _Unknown:
            rows = []
        except FactUnknown as error:
            raise IncompleteEvaluation(error.detail) from error
    shown_rows, more = rows[:limit], len(rows) > limit
    place = str(shown_rows[-1]["cursor"]).removeprefix("after.") if shown_rows else after or ""
    token = _token(ctx, what, place, limit) if more else ""
    return {
        "page": {"next_token": token, "count": len(shown_rows)},
        "results": [shown(row) for row in shown_rows],
    }


def _continued(ctx: Context, page: schema.Paging | None, what: bytes) -> tuple[str | None, int]:
    """(after, limit). A token goes on with the very request that it was given for. Raises BadPageToken."""
    limit = min(page.limit, MOST) if page is not None and page.limit is not None else None
    if page is None or not page.token:
        return None, MOST if limit is None else limit
    body, _, seal = page.token.partition(".")
    if not hmac.compare_digest(seal.encode(), _seal(ctx, what, body).encode()):
        raise BadPageToken("It was given for another request, or by nobody.")
    # Only what we have sealed is read: a stranger's text need not be JSON, or may be nested deeper than any reader goes.
    after, kept = json.loads(base64.urlsafe_b64decode(body.encode() + b"=="))
    if limit is not None and limit != kept:
        raise BadPageToken("The limit is another than that of the page before.")
    return after or None, kept


def _token(ctx: Context, what: bytes, after: str, limit: int) -> str:
    body = base64.urlsafe_b64encode(json.dumps([after, limit]).encode()).decode().rstrip("=")
    return f"{body}.{_seal(ctx, what, body)}"


def _seal(ctx: Context, what: bytes, body: str) -> str:
    return ctx.sealer.hmac("authzen.page", what + b"\n" + body.encode()).hex()[:32]
