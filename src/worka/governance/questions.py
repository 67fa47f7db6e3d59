"""Who may do what, asked: by the very façade that decides attempts, access and governance, with the very facts of the thing.

Two readers. Who asks about themselves is told the action, the kind of target, why not, whom to ask, and a decision id to
quote. Who reads evidence may ask about anybody, and sees the rules with their text, the inputs and what matched. What is
unknown, in another workspace or in another tenant is one and the same 404.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

from worka import authorization
from worka.authorization import matrix
from worka.authorization.vocabulary import VOCABULARY, UnknownFact
from worka.authorization.vocabulary import facts as typed
from worka.governance import actions as names
from worka.governance import facade, kills, service
from worka.governance.errors import FactUnknown, PrincipalNotFound, ResourceNotFound, UnknownAction
from worka.kernel import actions, kinds
from worka.kernel.actions import Action
from worka.kernel.context import Context, Principal, Resource

Row = dict[str, Any]
ANY = "*"
"""Asks about a new thing of the type, or about any: nothing is known of it, and what is not known counts as the worst."""


@dataclass(frozen=True)
class Question:
    """`who` (on behalf of `behind`) may do `action` on `resource`, with `context` facts?"""

    who: Principal
    behind: str | None
    action: str
    resource: Resource
    context: Row


# what is asked about ------------------------------------------------------------------------------------------------
def known_action(name: str) -> Action:
    """The registered action. Raises UnknownAction, which names the nearest one."""
    found = actions.get(name)
    if found is None:
        near = difflib.get_close_matches(name, [action.name for action in actions.all_actions()], n=1)
        raise UnknownAction(f"{name[:80]!r} is no action." + (f" Did you mean {near[0]}?" if near else ""))
    return found


async def principal(ctx: Context, workspace_id: str, principal_id: str) -> Principal:
    """Somebody who may act in the workspace. Raises PrincipalNotFound."""
    rows = await authorization.store.principals(ctx.conn, workspace_id, None, 1, principal_id)
    if not rows:
        raise PrincipalNotFound(f"{principal_id[:80]} does not act in this workspace.")
    return acting(ctx, rows[0])


def acting(ctx: Context, row: Row) -> Principal:
    """A row of `authorization.store.principals` as a principal."""
    return Principal(row["kind"], row["id"], row["name"], ctx.tenant_id, row["operator"], row["owner_person_id"])


async def resource(ctx: Context, workspace_id: str, kind: str, resource_id: str) -> Resource:
    """A thing of the workspace with the facts that its use cases ask with. Raises ResourceNotFound."""
    missing = ResourceNotFound(f"There is no {kind.replace('_', ' ')} {resource_id[:80]} in this workspace.")
    known = kinds.resource_type(kind)
    wide = kind in authorization.service.TENANT_WIDE
    if resource_id == ANY and kind == "workspace":
        resource_id = workspace_id  # a place has no other of its type in it
    if resource_id == ANY:
        return Resource(kind, ANY, None if wide else workspace_id)
    if known is None or known.find is None:
        raise missing
    found = await known.find(ctx.conn, workspace_id, resource_id)
    if found is None or (not wide and found.workspace_id != workspace_id):
        raise missing
    return found


def given(facts: Row, thing: Resource) -> tuple[Row, list[str]]:
    """(the facts that count, the names of those that do not). What Worka knows of the thing itself is never overridden,
    and a word that no policy can see changes nothing. Raises FactUnknown for a known word with a value of another type."""
    ignored = sorted(name for name in facts if name not in VOCABULARY or name in thing.attrs)
    try:
        return typed({name: value for name, value in facts.items() if name not in ignored}), ignored
    except UnknownFact as error:
        raise FactUnknown(str(error)) from error


def read_facts(pairs: list[str]) -> Row:
    """`name=value` texts as facts, each in the type of its word. Raises FactUnknown."""
    found: Row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        kind = VOCABULARY.get(name)
        if not equals or kind is None:
            near = difflib.get_close_matches(name, list(VOCABULARY), n=1)
            raise FactUnknown(
                f"{pair[:80]!r} is no fact that policy can see." + (f" Did you mean {near[0]}=…?" if near else "")
            )
        if kind == "Bool" and text in ("true", "false"):
            found[name] = text == "true"
        elif kind == "Long" and text.lstrip("-").isdigit() and len(text) < 17:
            found[name] = int(text)
        elif kind == "Set<String>":
            found[name] = [part for part in text.split(",") if part]
        elif kind == "String":
            found[name] = text
        else:
            raise FactUnknown(
                f"{name} is {'true or false' if kind == 'Bool' else 'a whole number'}, not {text[:40]!r}."
            )
    return found


# asking -------------------------------------------------------------------------------------------------------------
async def may_ask(ctx: Context, workspace_id: str, about: str | None) -> bool:
    """Whether the caller reads evidence here. Everybody may ask about themselves; about others (None: about everybody)
    only who may read evidence. Raises Denied, and does not look whether there is such a one."""
    place = Resource("workspace", workspace_id, workspace_id)
    await ctx.require("access.view", place)
    if about != ctx.principal.id:
        await ctx.require(names.ACCESS_EXPLAIN, place)
        return True
    return await authorization.may(ctx.conn, ctx, ctx.principal.kind, ctx.principal.id, names.ACCESS_EXPLAIN, place)


async def answered(ctx: Context, question: Question, *, keep: bool) -> facade.Answered:
    """The façade's answer, in the open transaction of the caller's Context."""
    authorizer = ctx.authorizer
    assert isinstance(authorizer, facade.Authorizer)
    who = question.who
    behind = question.behind or (who.id if who.kind == "person" else None)
    asked = replace(
        ctx, principal=who, originating_person=behind, workspace_id=question.resource.workspace_id or ctx.workspace_id,
        # The caller's credential says nothing about what another holds.
        bound_to=ctx.bound_to if who.id == ctx.principal.id else None,
    )  # fmt: skip
    return await authorizer.ask(
        asked, question.action, question.resource, question.context, asked_by=ctx.principal.id, keep=keep
    )


async def why(
    ctx: Context,
    workspace_id: str,
    principal_id: str,
    action: str,
    resource_id: str,
    *,
    behind: str | None = None,
    facts: list[str],
) -> Row:
    """Why somebody may or may not do something, for the caller's kind of reader. Raises UnknownAction, FactUnknown, Denied,
    PrincipalNotFound, ResourceNotFound."""
    known = known_action(action)
    passed = read_facts(facts)
    async with ctx.transaction():
        evidence = await may_ask(ctx, workspace_id, principal_id)
        if behind is not None and behind != ctx.principal.id and not evidence:
            await may_ask(ctx, workspace_id, behind)
        who = await principal(ctx, workspace_id, principal_id)
        if behind is not None:
            await principal(ctx, workspace_id, behind)
        thing = await resource(ctx, workspace_id, known.resource_type, resource_id)
        context, ignored = given(passed, thing)
        found = await answered(ctx, Question(who, behind, action, thing, context), keep=True)
        shown = _shown(found, who, behind, known, thing, ignored)
        shown["reader"] = "evidence" if evidence else "concerned"
        return {**shown, **await _evidence(ctx, found, thing)} if evidence else shown


async def can(ctx: Context, workspace_id: str, action: str, resource_id: str, facts: list[str]) -> Row:
    """The same, asked by the caller about itself."""
    behind = ctx.originating_person if ctx.originating_person != ctx.principal.id else None
    known, passed = known_action(action), read_facts(facts)
    async with ctx.transaction():
        await may_ask(ctx, workspace_id, ctx.principal.id)
        thing = await resource(ctx, workspace_id, known.resource_type, resource_id)
        context, ignored = given(passed, thing)
        question = Question(ctx.principal, behind, action, thing, context)
        found = await answered(ctx, question, keep=True)
        return {**_shown(found, ctx.principal, behind, known, thing, ignored), "reader": "concerned"}


_VERBS = {"allow": "may", "deny": "may not", "ask": "may, once it is approved,"}


def _shown(
    found: facade.Answered, who: Principal, behind: str | None, action: Action, thing: Resource, ignored: list[str]
) -> Row:
    decision = found.decision
    kind = thing.type.replace("_", " ")
    target = "" if thing.id in (ANY, thing.workspace_id) else f" ({kind} {thing.id})"
    because = f": {'; '.join(decision.reasons)}" if decision.reasons else ""
    return {
        "decision_id": decision.id if found.recorded else None,
        "verdict": decision.verdict,
        "headline": f"{who.name or who.id} {_VERBS[decision.verdict]} {action.words}{target}{because}",
        "reason": reason_of(decision.verdict, decision.layer, decision.rules),
        "layer": decision.layer,
        "principal": {"kind": who.kind, "id": who.id, "name": who.name},
        "on_behalf_of": behind,
        "action": action.name,
        "permission": action.permission,
        "resource_type": thing.type,
        "resource_id": thing.id,
        "reasons": list(decision.reasons),
        "approval_rules": list(decision.approval_rules),
        "remedy": decision.remedy,
        "held_by": matrix.holders(action.permission),
        "ignored_facts": ignored,
    }


def reason_of(verdict: str, layer: str, rules: tuple[str, ...] = ()) -> str:
    """The reason code of an answer."""
    if any(rule.startswith(kills.PREFIX) for rule in rules):
        return kills.REASON
    return {"allow": "allowed", "ask": "approval_asked"}.get(
        verdict, "denied_by_access" if layer == "authorization" else "denied_by_governance"
    )


async def _evidence(ctx: Context, found: facade.Answered, thing: Resource) -> Row:
    """The rules with their text, the inputs, and how the answer came about, step by step."""
    decision = found.decision
    versions = {"access_version": found.access_version, "governance_version": found.governance_version}
    place = {"tenant_id": ctx.tenant_id, "workspace_id": thing.workspace_id}
    rules = list(dict.fromkeys([*found.permitted, *decision.rules]))
    texts = await service.rule_texts(ctx.conn, {**versions, **place, "rules": rules})
    by_rule = {text["rule"]: text for text in texts}
    stopped = decision.verdict == "deny" and decision.layer == "authorization"
    access = list(decision.rules) if stopped else list(found.permitted)
    trail = [
        {
            "step": "access",
            "verdict": "deny" if stopped else "allow",
            "rules": [by_rule[rule] for rule in access],
            "says": list(decision.reasons) if stopped else [f"{rule} permits it" for rule in access],
        }
    ]
    if not stopped:
        governs = list(decision.rules) if decision.layer == "governance" else []
        trail.append(
            {
                "step": "governance",
                "verdict": decision.verdict,
                "rules": [by_rule[rule] for rule in governs],
                "says": list(decision.reasons) or ["no rule objects"],
            }
        )
    return {**versions, "rules": list(decision.rules), "trail": trail, "inputs": facade.inputs(found.asked)}
