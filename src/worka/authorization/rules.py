"""Pure decisions: the access set asked for the one who acts and for the person behind it. No database, no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from worka.authorization import arguments, cedar, matrix
from worka.authorization.cedar import Policies, Request
from worka.authorization.vocabulary import facts
from worka.kernel.actions import Action
from worka.kernel.context import Resource
from worka.kernel.errors import Denied, Problem
from worka.kernel.reasons import Reason, register

NO_PERMIT = "access/no-permit"
ERROR = "access/error"
UNKNOWN_ACTION = "access/unknown-action"
OTHER_WORKSPACE = "The token that was used is bound to another workspace."
OTHER_WORKSPACE_REMEDY = "Use a token of this workspace, or a session."
ONE_WORKSPACE = "The token that was used is bound to one workspace, and this is of the whole tenant."
ONE_WORKSPACE_REMEDY = "Sign in, and ask with that session."

register(
    Reason(
        "denied_by_access",
        "authorization",
        "authorization",
        "No role of the one who acts, or of the person behind it, permits this action.",
        causes="The role lacks the permission; the tool is not in the team member's list; the principal is disabled.",
        check="worka decision show ID (owner, admin): the rules that matched, and the inputs.",
        remedy="Ask someone who holds the permission to do it, or an owner to give the role.",
    ),
)


@dataclass(frozen=True)
class Actor:
    """A principal with what it holds in the place of the resource: roles of that workspace (and `operator`)."""

    kind: str
    id: str
    name: str = ""
    enabled: bool = True
    roles: tuple[str, ...] = ()
    may_use: tuple[str, ...] = ()
    """The tools of a team member, `publisher.pack.tool`."""
    owner_person_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """Access' answer: allow or deny, the policies that say so, and why in words. `remedy` is empty on allow."""

    allowed: bool
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    remedy: str = ""


def question(actor: Actor, action: str, resource: Resource, context: dict[str, Any], tenant_id: str) -> Request:
    """The Cedar request. For a tool the resource's `name` is its qualified name, and a side effect that nobody declared
    is `destructive`. `arguments` in the context are what the call is given. Raises UnknownFact for facts outside the
    vocabulary."""
    given_arguments = arguments.typed(context["arguments"]) if "arguments" in context else {}
    context = {name: value for name, value in context.items() if name != "arguments"}
    attrs, given = facts(resource.attrs), facts(context)
    if resource.type == "tool":
        attrs.setdefault("name", resource.id)
    if action == "tool.invoke":
        given.setdefault("side_effect", attrs.get("side_effect", "destructive"))
        attrs["side_effect"] = given["side_effect"]
    given = {**attrs, **given}
    return Request(
        kind=actor.kind,
        id=actor.id,
        enabled=actor.enabled,
        roles=tuple(sorted(actor.roles)),
        may_use=tuple(sorted(actor.may_use)),
        action=action,
        resource_type=resource.type,
        resource_id=resource.id,
        workspace_id=resource.workspace_id,
        tenant_id=tenant_id,
        attrs=attrs,
        context=given,
        arguments=given_arguments,
    )


def decide(requests: list[Request], action: Action | None, policies: Policies) -> Answer:
    """The intersection of rights (decisions.md 6): `requests` asks the same for the one who acts and, when there is
    one, for the person behind it; all must be allowed. The first that is not gives the reasons."""
    if action is None:
        return Answer(False, (UNKNOWN_ACTION,), ("There is no such action.",), "Report this to the operator.")
    matched: list[str] = []
    for number, request in enumerate(requests):
        outcome = cedar.evaluate(request, policies)
        whom = "" if number == 0 else "The person this is done for may not do it. "
        if outcome.errors:
            # A forbid that errors is skipped by Cedar: what it would have said is unknown, so the answer is no.
            return Answer(False, (ERROR,), (f"Policy could not be evaluated: {outcome.errors[0]}",), _remedy(action))
        if not outcome.allowed:
            said = [
                policies.annotations[rule].get("reason") or f"Policy {rule} forbids it." for rule in outcome.matched
            ]
            words = tuple(whom + line for line in said) or (whom + lacking(request, action),)
            own = [policies.annotations[rule].get("remedy") for rule in outcome.matched]
            remedy = next((words for words in own if words), None) or _way_out(
                request, action, outcome.matched, policies
            )
            return Answer(False, outcome.matched or (NO_PERMIT,), words, remedy)
        matched += [rule for rule in outcome.matched if rule not in matched]
    return Answer(True, tuple(matched), ())


def _way_out(request: Request, action: Action, matched: tuple[str, ...], policies: Policies) -> str:
    """Who could do it. Whoever holds the permission and was stopped by a rule is not sent to those who hold it: the roles
    that the rule lets through are found by asking it about each."""
    holders = matrix.holders(action.permission)
    if not matched or not set(request.roles) & set(holders):
        return _remedy(action)
    through = [
        role for role in matrix.table()["roles"]
        if cedar.evaluate(replace(request, roles=(role,)), policies).allowed
    ]  # fmt: skip
    if not through:
        return f"The rule stops every role; whoever keeps the policy can say why{QUOTE}"
    return f"Someone with the role of {' or '.join(through)} can do it{QUOTE}"


def lacking(request: Request, action: Action) -> str:
    """Why nothing permits it, in words."""
    if action.permission not in matrix.table()["kinds"].get(request.kind, ()):
        return f"A {request.kind.replace('_', ' ')} can never hold the permission {action.permission}."
    if not request.roles:
        where = "workspace" if request.workspace_id else "tenant" if request.tenant_id else "deployment"
        return f"They have no role in this {where}."
    return f"Their role ({', '.join(request.roles)}) does not hold the permission {action.permission}."


def to_whom_it_is_about(reason: str) -> str:
    """A reason of `lacking` in the words for the very person whom it is about."""
    for theirs, yours in (("They have no role ", "You have no role "), ("Their role ", "Your role ")):
        if reason.startswith(theirs):
            return yours + reason.removeprefix(theirs)
    return reason


def said_to(problem: Problem, reader: str) -> None:
    """What was refused to whoever reads it (their id) is said to them, not of them."""
    about = problem.about if isinstance(problem, Denied) else None
    if about is not None and about[0] == reader:
        problem.detail = f"You may not {about[1]}: " + "; ".join(map(to_whom_it_is_about, about[2]))


QUOTE = "; quote the decision id."
"""The end of a remedy, for whom there is an id to quote."""


def _remedy(action: Action) -> str:
    holders = [name.replace("approver", "named approver") for name in matrix.holders(action.permission)]
    return f"Someone with the permission {action.permission} can do it ({', '.join(holders)}){QUOTE}"


def on_behalf(request: Request, person: Actor) -> Request:
    """The same question for the person behind the one who acts. A person's tools are not listed, so none are passed."""
    return replace(
        request, kind=person.kind, id=person.id, enabled=person.enabled, roles=tuple(sorted(person.roles)), may_use=()
    )
