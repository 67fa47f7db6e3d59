"""The Cedar engine: one schema from the action registry, policy sets pre-parsed and keyed by our own ids.

Cedar *skips* a forbid that errors, so any diagnostics error, and NoDecision, is a failure here and a deny for callers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cedarpy

from worka.authorization.vocabulary import VOCABULARY
from worka.kernel import actions
from worka.kernel.actions import OTHER, PERMISSIONS

KINDS = ("person", "team_member", "service_account", "device", "attachment", "platform")


def entity_type(name: str) -> str:
    """`network_exception` -> `NetworkException`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def schema_text() -> str:
    """The schema of every registered action: actions stand in the group of their permission (`permission.view`)."""
    return _schema(tuple((a.name, a.permission, a.resource_type) for a in actions.all_actions()))[0]


def schema() -> cedarpy.Schema:
    """The parsed schema of every action registered so far (registration happens at import, so it settles at start)."""
    return _parsed_schema(actions.count())


@lru_cache(maxsize=16)
def _parsed_schema(_registered: int) -> cedarpy.Schema:
    # The registry only grows, so its size says which it is.
    return _schema(tuple((a.name, a.permission, a.resource_type) for a in actions.all_actions()))[1]


@lru_cache(maxsize=16)
def _schema(registered: tuple[tuple[str, str, str], ...]) -> tuple[str, cedarpy.Schema]:
    optional = ", ".join(f"{name}?: {kind}" for name, kind in VOCABULARY.items())
    held = "enabled: Bool, roles: Set<String>, may_use: Set<String>"
    lines = ["namespace Worka {", " entity Tenant = { " + optional + " };"]
    lines.append(" entity Workspace in [Tenant] = { " + optional + " };")
    for kind in KINDS:
        lines.append(f" entity {entity_type(kind)} in [Workspace, Tenant] = {{ {held}, {optional} }};")
    for resource in sorted({entry[2] for entry in registered} - {*KINDS, "tenant", "workspace"}):
        lines.append(f" entity {entity_type(resource)} in [Workspace, Tenant] = {{ {optional} }};")
    lines += [f' action "permission.{permission}";' for permission in PERMISSIONS + OTHER]
    principals = ", ".join(entity_type(kind) for kind in KINDS)
    for name, permission, resource in registered:
        lines.append(
            f' action "{name}" in [Action::"permission.{permission}"] appliesTo'
            f" {{ principal: [{principals}], resource: [{entity_type(resource)}], context: {{ {optional} }} }};"
        )
    text = "\n".join([*lines, "}"])
    return text, cedarpy.Schema.from_str(text)


@dataclass(frozen=True)
class Policies:
    """A parsed set, its policies as Cedar's JSON, and their annotations: both by our own policy ids."""

    parsed: cedarpy.PolicySet
    static: dict[str, Any]
    annotations: dict[str, dict[str, str]]


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
    document = {"templates": {}, "staticPolicies": static, "templateLinks": []}
    notes = {key: {k: v or "" for k, v in (p.get("annotations") or {}).items()} for key, p in static.items()}
    return Policies(cedarpy.PolicySet.from_json_str(json.dumps(document)), static, notes)


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
            if self.resource_type in KINDS:  # the same entity type as a principal's, with nothing to act by
                attrs = {"enabled": True, "roles": [], "may_use": [], **attrs}
            # A workspace lies in its tenant, also when the question is asked in another workspace.
            outside = {"workspace": [found[0]["uid"]], "tenant": []}
            found.append({"uid": uid, "attrs": attrs, "parents": outside.get(self.resource_type, [place])})
        return [*found, actor]

    @cached_property
    def parsed(self) -> cedarpy.Entities:
        """The same, parsed and checked against the schema once for every set that is asked. Raises ValueError."""
        return _parsed_entities(json.dumps(self.entities()), actions.count())


@lru_cache(maxsize=256)
def _parsed_entities(document: str, _registered: int) -> cedarpy.Entities:
    # The whole document is the key, so what is kept is never another principal's, nor of rights that were taken away:
    # those make another document. What differs from call to call (arguments' digest and size) is context, not here.
    return cedarpy.Entities.from_json_str(document, schema())


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": f"Worka::{entity_type(kind)}", "id": name}


@dataclass(frozen=True)
class Outcome:
    """`allowed`, the ids of the policies that decided, and errors: with any of those, nothing was decided."""

    allowed: bool
    matched: tuple[str, ...]
    errors: tuple[str, ...]


def evaluate(request: Request, policies: Policies) -> Outcome:
    """Asks Cedar once. Never raises for what policy or request hold: an error is an outcome that allows nothing."""
    question = {
        "principal": _uid(request.kind, request.id),
        "action": {"type": "Worka::Action", "id": request.action},
        "resource": _uid(request.resource_type, request.resource_id),
        "context": request.context,
    }
    try:
        answer = cedarpy.is_authorized(question, policies.parsed, request.parsed, schema())
    except ValueError as error:
        return Outcome(False, (), (str(error),))
    errors = tuple(str(error) for error in answer.diagnostics.errors)
    if not errors and answer.decision == cedarpy.Decision.NoDecision:
        errors = ("the policy engine gave no decision",)
    allowed = answer.decision == cedarpy.Decision.Allow and not errors
    return Outcome(allowed, tuple(sorted(answer.diagnostics.reasons)), errors)
