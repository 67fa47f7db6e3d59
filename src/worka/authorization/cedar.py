"""The Cedar engine: one schema from the registries, policy sets pre-parsed and keyed by our own ids.

Cedar *skips* a forbid that errors, so any diagnostics error, and NoDecision, is a failure here and a deny for callers.

What the schema demands of a request is checked here (`fault`), and a set is asked in the slice that can concern the action:
Cedar's own checks of the whole schema and of statements about other permissions cost half of a decision. A test holds both
ways to the same answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import cedarpy

from worka.authorization import arguments, principals
from worka.authorization.vocabulary import VOCABULARY, fault_of
from worka.kernel import actions, kinds
from worka.kernel.actions import OTHER, PERMISSIONS

REGISTERED = principals  # the kinds of principals are registered where they are imported


# What a call is given, for the one action that gives something: policy may look at it (arguments.py).
_ARGUMENTS = {
    "tool.invoke": "".join(f", {word}?: {arguments.entity_type(word)}" for word in arguments.TYPES)
    + f", {arguments.UNSEEN}?: Set<String>"
}


def entity_type(name: str) -> str:
    """`network_exception` -> `NetworkException`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def schema_text() -> str:
    """The one schema, over every kind of principal, type of resource and action that is registered. Actions stand in the
    group of their permission (`permission.view`)."""
    return _schema(_registered())[0]


def schema() -> cedarpy.Schema:
    """The parsed schema of what is registered so far (registration happens at import, so it settles at start)."""
    return _parsed_schema(actions.count(), kinds.count())


def principal_kinds() -> tuple[str, ...]:
    """The names of the kinds that may act."""
    return _principal_kinds(kinds.count())


@lru_cache(maxsize=16)
def _principal_kinds(_kinds: int) -> tuple[str, ...]:
    return tuple(kind.name for kind in kinds.principal_kinds())


_Registered = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, str], ...]]


def _registered() -> _Registered:
    found = tuple((a.name, a.permission, a.resource_type) for a in actions.all_actions())
    types = {entry[2] for entry in found} | {kind.name for kind in kinds.resource_types()}
    return principal_kinds(), tuple(sorted(types)), found


@lru_cache(maxsize=16)
def _parsed_schema(_actions: int, _kinds: int) -> cedarpy.Schema:
    # The registries only grow, so their sizes say which they are.
    return _schema(_registered())[1]


@lru_cache(maxsize=16)
def _schema(registered: _Registered) -> tuple[str, cedarpy.Schema]:
    who, types, asked = registered
    optional = ", ".join(f"{name}?: {kind}" for name, kind in VOCABULARY.items())
    held = "enabled: Bool, roles: Set<String>, may_use: Set<String>"
    lines = ["namespace Worka {", " entity Tenant = { " + optional + " };"]
    lines.append(" entity Workspace in [Tenant] = { " + optional + " };")
    for kind in who:
        lines.append(f" entity {entity_type(kind)} in [Workspace, Tenant] = {{ {held}, {optional} }};")
    for resource in types:
        if resource not in (*who, "tenant", "workspace"):
            lines.append(f" entity {entity_type(resource)} in [Workspace, Tenant] = {{ {optional} }};")
    lines += [f" entity {arguments.entity_type(word)} tags {kind};" for word, kind in arguments.TYPES.items()]
    lines += [f' action "permission.{permission}";' for permission in PERMISSIONS + OTHER]
    able = ", ".join(entity_type(kind) for kind in who)
    for name, permission, resource in asked:
        lines.append(
            f' action "{name}" in [Action::"permission.{permission}"] appliesTo'
            f" {{ principal: [{able}], resource: [{entity_type(resource)}],"
            f" context: {{ {optional}{_ARGUMENTS.get(name, '')} }} }};"
        )
    text = "\n".join([*lines, "}"])
    return text, cedarpy.Schema.from_str(text)


@dataclass(frozen=True)
class Policies:
    """A parsed set, its policies as Cedar's JSON, and their annotations: both by our own policy ids."""

    parsed: cedarpy.PolicySet
    static: dict[str, Any]
    annotations: dict[str, dict[str, str]]
    arguments: frozenset[str] = frozenset()
    """The arguments of a call that these policies ask for, by name."""
    _slices: dict[str, cedarpy.PolicySet] = field(default_factory=dict, repr=False, compare=False)
    _looks: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def about(self, permission: str) -> cedarpy.PolicySet:
        """The statements that can concern an action of this permission: all but those whose scope is another one."""
        found = self._slices.get(permission)
        if found is None:
            kept = {key: policy for key, policy in self.static.items() if _concerns(policy, permission)}
            found = self._slices[permission] = _set(kept)
        return found

    def looks_at(self, permission: str, kind: str) -> frozenset[str]:
        """The facts that can matter for what a principal of this kind asks by this permission; WHOLE among them where a
        statement speaks of one thing alone. About things that are alike in these the set answers alike."""
        found = self._looks.get((permission, kind))
        if found is None:
            able = entity_type(kind)
            told = [
                policy
                for policy in self.static.values()
                if _concerns(policy, permission) and _of_kind(policy["principal"], able)
            ]
            found = self._looks[permission, kind] = frozenset().union(*map(_looked_at, told))
        return found


def _concerns(policy: dict[str, Any], permission: str) -> bool:
    scope = policy["action"]
    if scope.get("op") != "in":
        return True
    groups = [scope["entity"]] if "entity" in scope else scope["entities"]
    names = [group["id"] for group in groups]
    return f"permission.{permission}" in names or not all(name.startswith("permission.") for name in names)


WHOLE = "*"
"""Stands among the facts that a set looks at, where it looks at the thing itself."""
_PLACES = ("Worka::Workspace", "Worka::Tenant")


def _of_kind(scope: dict[str, Any], able: str) -> bool:
    return scope.get("op") != "is" or scope.get("entity_type") == f"Worka::{able}"


def _looked_at(policy: dict[str, Any]) -> set[str]:
    scope = policy["resource"]
    named = scope.get("entity") or (scope.get("in") or {}).get("entity")
    one = named is not None and (scope["op"] == "==" or named["type"] not in _PLACES)
    # What a text asks beyond a place and the names of facts is not looked into: it counts as all of the thing.
    return _facts_in(policy.get("conditions", [])) | ({WHOLE} if one else set())


def _facts_in(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_facts_in, node))
    if not isinstance(node, dict):
        return set()
    if node.get("Var") in ("resource", "context"):
        return {WHOLE}
    for verb in (".", "has"):
        inner = node.get(verb)
        if isinstance(inner, dict) and isinstance(inner.get("left"), dict) and "Var" in inner["left"]:
            return {str(inner["attr"])}
    return set().union(*map(_facts_in, node.values()))


def load(text: str, prefix: str) -> Policies:
    """Parses a text; a policy's id becomes `<prefix>/<its @id>`, without one `<prefix>/<its number>`.

    Raises ValueError for a text that does not parse, uses an id twice or holds a template."""
    document = json.loads(cedarpy.policies_to_json_str(text))
    if document.get("templates"):
        raise ValueError("templates are not supported: write the principal or the resource out")
    static: dict[str, Any] = {}
    for number, policy in enumerate(in_order(document["staticPolicies"]), 1):
        own = (policy.get("annotations") or {}).get("id") or str(number)
        if (key := f"{prefix}/{own}") in static:
            raise ValueError(f"the id {own!r} stands twice")
        static[key] = policy
    return _parsed(static)


def in_order(policies: dict[str, Any]) -> list[Any]:
    """Cedar's own ids are policy0, policy1, …, policy10: by number, not by letter."""
    return [policies[key] for key in sorted(policies, key=lambda name: (len(name), name))]


def join(*sets: Policies) -> Policies:
    """One set of several; their prefixes keep the ids apart."""
    return _parsed({key: policy for one in sets for key, policy in one.static.items()})


def _parsed(static: dict[str, Any]) -> Policies:
    notes = {key: {k: v or "" for k, v in (p.get("annotations") or {}).items()} for key, p in static.items()}
    names = frozenset().union(*(arguments.names_in(policy)[0] for policy in static.values()))
    return Policies(_set(static), static, notes, names)


def _set(static: dict[str, Any]) -> cedarpy.PolicySet:
    document = {"templates": {}, "staticPolicies": static, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


@dataclass(frozen=True)
class Request:
    """One question. `actor` and `resource` carry what the sets may look at; all of it can be stored and asked again."""

    kind: str
    id: str
    enabled: bool
    roles: tuple[str, ...]
    may_use: tuple[str, ...]
    action: str
    resource_type: str
    resource_id: str
    workspace_id: str | None
    tenant_id: str
    attrs: dict[str, Any]
    context: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the call is given, typed; only what the asked policies look at becomes part of the context."""
    asked_for: frozenset[str] = frozenset()
    """The names of the arguments that were looked at: given or not."""

    def looked_at(self, names: frozenset[str]) -> Request:
        """The same question with the arguments of these names in its context."""
        if not names or not self.arguments:
            return self
        seen = arguments.looked_at(self.arguments, names)
        return replace(self, context={**self.context, **seen}, arguments={}, asked_for=names)

    def entities(self) -> list[dict[str, Any]]:
        """Principal, resource and their parents, for one evaluation."""
        place = _uid("tenant", self.tenant_id)
        found: list[dict[str, Any]] = [{"uid": place, "attrs": {}, "parents": []}]
        if self.workspace_id:
            outer, place = place, _uid("workspace", self.workspace_id)
            is_resource = self.resource_type == "workspace" and self.resource_id == self.workspace_id
            found.append({"uid": place, "attrs": self.attrs if is_resource else {}, "parents": [outer]})
        facts = {"enabled": self.enabled, "roles": list(self.roles), "may_use": list(self.may_use)}
        actor = {"uid": _uid(self.kind, self.id), "attrs": facts, "parents": []}
        uid = _uid(self.resource_type, self.resource_id)
        if uid == actor["uid"]:  # someone acts on itself: one entity, with both
            actor["attrs"] = {**self.attrs, **facts}
            actor["parents"] = [place]
        elif uid == found[0]["uid"]:
            found[0]["attrs"] = self.attrs
        elif uid != place:
            attrs = dict(self.attrs)
            if self.resource_type in principal_kinds():  # the same entity type as a principal's, with nothing to act by
                attrs = {"enabled": True, "roles": [], "may_use": [], **attrs}
            # A workspace lies in its tenant, also when the question is asked in another workspace.
            outside = {"workspace": [found[0]["uid"]], "tenant": []}
            found.append({"uid": uid, "attrs": attrs, "parents": outside.get(self.resource_type, [place])})
        given = [
            {"uid": _argument_uid(word), "attrs": {}, "parents": [], "tags": self.context[word]}
            for word in arguments.TYPES
            if word in self.context
        ]
        return [*found, actor, *given]

    @cached_property
    def parsed(self) -> cedarpy.Entities:
        """The same with the action and its group, parsed once for every set that is asked. Raises ValueError.

        Whether an action is in a group only the schema or the entities can say, and passing the schema costs half of a
        decision. So the action is part of what is kept: another action on the same thing is parsed anew."""
        known = actions.get(self.action)
        groups = [_action(f"permission.{known.permission}")] if known else []
        asked = [{"uid": _action(self.action), "attrs": {}, "parents": groups}]
        document = json.dumps(
            [*self.entities(), *asked, *({"uid": group, "attrs": {}, "parents": []} for group in groups)]
        )
        # What a call is given differs from call to call and may be a secret: it is not kept.
        given = any(word in self.context for word in arguments.TYPES)
        return cedarpy.Entities.from_json_str(document) if given else _parsed_entities(document)

    @cached_property
    def fault(self) -> str:
        """What of it the schema does not allow; empty when it does."""
        known = actions.get(self.action)
        if known is None:
            return f"{self.action!r} is no action"
        if known.resource_type != self.resource_type:
            return f"{self.action} is about a {known.resource_type}, not about a {self.resource_type}"
        if self.kind not in principal_kinds():
            return f"{self.kind!r} is no kind of principal"
        given, facts = arguments.apart(self.context)
        if given and self.action != arguments.ACTION:
            return f"{self.action} is given no arguments"
        return fault_of(self.attrs) or fault_of(facts) or arguments.fault_of(given)


def _argument_uid(word: str) -> dict[str, str]:
    return {"type": f"Worka::{arguments.entity_type(word)}", "id": "call"}


@lru_cache(maxsize=256)
def _parsed_entities(document: str) -> cedarpy.Entities:
    # The whole document is the key, so what is kept is never another principal's, nor of rights that were taken away:
    # those make another document. What differs from call to call (arguments' digest and size) is context, not here.
    return cedarpy.Entities.from_json_str(document)


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": f"Worka::{entity_type(kind)}", "id": name}


def _action(name: str) -> dict[str, str]:
    return {"type": "Worka::Action", "id": name}


@dataclass(frozen=True)
class Outcome:
    """`allowed`, the ids of the policies that decided, and errors: with any of those, nothing was decided."""

    allowed: bool
    matched: tuple[str, ...]
    errors: tuple[str, ...]


def evaluate(request: Request, policies: Policies) -> Outcome:
    """Asks Cedar once. Never raises for what policy or request hold: an error is an outcome that allows nothing."""
    request = request.looked_at(policies.arguments)
    if request.fault:
        return Outcome(False, (), (request.fault,))
    known = actions.get(request.action)
    assert known is not None
    question = {
        "principal": _uid(request.kind, request.id),
        "action": _action(request.action),
        "resource": _uid(request.resource_type, request.resource_id),
        "context": {
            name: {"__entity": _argument_uid(name)} if name in arguments.TYPES else value
            for name, value in request.context.items()
        },
    }
    try:
        answer = cedarpy.is_authorized(question, policies.about(known.permission), request.parsed)
    except ValueError as error:
        return Outcome(False, (), (str(error),))
    errors = tuple(str(error) for error in answer.diagnostics.errors)
    if not errors and answer.decision == cedarpy.Decision.NoDecision:
        errors = ("the policy engine gave no decision",)
    allowed = answer.decision == cedarpy.Decision.Allow and not errors
    return Outcome(allowed, tuple(sorted(answer.diagnostics.reasons)), errors)
