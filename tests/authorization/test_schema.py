"""One schema over every kind of principal and resource, the floors of every version, and what a pack may use."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import cedarpy
import pytest

import worka
from tests.plugins import catalogue
from worka.authorization import cedar, floor, matrix, rules
from worka.authorization.rules import Actor
from worka.governance import rules as governance
from worka.kernel import actions, kinds
from worka.kernel.context import Resource

SHIPPED = {
    1: "597d06932cd4447d8a56f60bc0f696867d05757c55f1ee78f8a714a7f2ef5b6b",
    2: "a726694132e4ec62f9dd84c656feeb5120f16ddffd370f42f19f961856d2c30f",
}
"""The floors that decisions were taken with. A line is added with a new version, and never changed."""


@pytest.fixture(autouse=True, scope="module")
def everything() -> None:
    """Every module, so that all that is registered is."""
    for info in pkgutil.walk_packages(worka.__path__, "worka."):
        if not info.name.endswith("__main__") and not info.name.startswith("worka.kernel.migrations"):
            importlib.import_module(info.name)


def ask(actor: Actor, action: str, resource: Resource) -> rules.Answer:
    asked = [rules.question(actor, action, resource, {}, "ten_1")]
    return rules.decide(asked, actions.get(action), floor.policies())


@pytest.mark.capability(
    "AUT-2", part="one schema over every kind; person, AI team member, pack to pack, pack to host service"
)
def test_one_schema_holds_every_kind_of_principal_and_resource_and_every_action() -> None:
    text = cedar.schema_text()
    named = {kind.name for kind in kinds.principal_kinds()}
    assert named == {
        "person", "team_member", "service_account", "device", "attachment", "platform", "audience", "service",
    }  # fmt: skip
    for kind in named | {kind.name for kind in kinds.resource_types()}:
        assert f" entity {cedar.entity_type(kind)} in " in text or kind == "tenant", kind
    for action in actions.all_actions():
        assert f' action "{action.name}" in ' in text, action.name
        assert kinds.resource_type(action.resource_type) is not None, f"{action.resource_type} is no registered type"


@pytest.mark.capability("AUT-2", part="relations whose subject comes later are in the schema, and denied")
def test_what_comes_later_has_its_kinds_already_and_every_question_about_it_is_denied() -> None:
    later = {kind.name for kind in kinds.principal_kinds() if kind.later}
    assert {"audience", "service", "device"} <= later
    assert {kind.name for kind in kinds.resource_types() if kind.later} == {"public_route", "shared_view"}
    for kind in later - {"service_account"}:
        for action in actions.all_actions():
            thing = Resource(action.resource_type, "x", "ws_1")
            assert not ask(Actor(kind, "x", roles=("owner", "operator")), action.name, thing).allowed, (
                kind,
                action.name,
            )
    assert not ask(Actor("audience", "x"), "shared_view.open", Resource("shared_view", "x", "ws_1")).allowed


def test_a_kind_that_is_registered_twice_with_different_meanings_is_refused() -> None:
    kinds.register(kinds.PrincipalKind("person", "per", **_said("person")))
    with pytest.raises(ValueError, match="twice"):
        kinds.register(kinds.PrincipalKind("person", "pers", "x", "y"))
    with pytest.raises(ValueError, match="twice"):
        kinds.register(kinds.ResourceType("task", "something else"))


def _said(name: str) -> dict[str, str]:
    kind = next(kind for kind in kinds.principal_kinds() if kind.name == name)
    return {"doc": kind.doc, "credential": kind.credential, "later": kind.later}


@pytest.mark.capability("AUT-10", part="the shipped set of every version stays in the build, unchanged")
def test_the_floor_in_force_is_the_matrix_and_no_older_one_was_touched() -> None:
    folder = catalogue.CHECKOUT / "src" / "worka" / "authorization" / "floors"
    assert (folder / f"{floor.current()}.cedar").read_text() == floor.made(), (
        "the matrix, or a fixed statement, says something else than the floor that decisions name: raise `version` in"
        " matrix.toml and write floors/<version>.cedar from floor.made()"
    )
    found = {int(path.stem): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.cedar")}
    assert found == SHIPPED
    for number in SHIPPED:
        assert floor.policies(number).static, number
    with pytest.raises(LookupError, match=r"floor\.99 is not in this build"):
        floor.policies(99)


def test_every_kind_of_principal_stands_in_the_matrix() -> None:
    assert set(matrix.table()["kinds"]) == {kind.name for kind in kinds.principal_kinds()}


@pytest.mark.capability("AUT-6", part="the rule")
@pytest.mark.capability("AUT-7", part="the rule for packs")
def test_a_pack_calls_the_tools_that_it_declares_and_no_other() -> None:
    pack = Actor("attachment", "att_1", may_use=("acme.notes.read", "worka.db"))
    assert ask(pack, "tool.invoke", Resource("tool", "acme.notes.read", "ws_1")).allowed
    other = ask(pack, "tool.invoke", Resource("tool", "acme.notes.write", "ws_1"))
    assert (other.allowed, other.rules) == (False, ("access/floor/packs-use-what-they-declare-only",))
    assert "new release" in other.remedy


@pytest.mark.capability("AUT-2", part="pack to host service: the rule")
def test_a_pack_uses_the_host_services_that_it_declares_and_no_other() -> None:
    pack = Actor("attachment", "att_1", may_use=("acme.notes.read", "worka.db"))

    def use(name: str) -> bool:
        return ask(pack, "host_service.use", Resource("host_service", name, "ws_1", {"name": name})).allowed

    assert use("worka.db")
    assert not use("worka.ui")
    assert not ask(pack, "host_service.use", Resource("host_service", "worka.db", "ws_1")).allowed, "without its name"


@pytest.mark.capability("IDN-17", part="no role makes a pack more than its manifest")
def test_no_role_gives_a_pack_anything_that_it_does_not_declare() -> None:
    owner = Actor("attachment", "att_1", roles=("owner", "admin", "operator", "approver"), may_use=("acme.notes.read",))
    for action in actions.all_actions():
        allowed = ask(owner, action.name, Resource(action.resource_type, "x", "ws_1")).allowed
        assert not allowed, action.name
    assert ask(owner, "tool.invoke", Resource("tool", "acme.notes.read", "ws_1")).allowed


TENANT = """
@id("one") forbid(principal, action == Worka::Action::"task.view", resource);
@id("some") forbid(principal, action in [Worka::Action::"task.create", Worka::Action::"pack.view"], resource);
@id("group") forbid(principal is Worka::Person, action in Worka::Action::"permission.approve", resource);
@id("groups") forbid(principal, action in [Worka::Action::"permission.own", Worka::Action::"permission.audit"], resource)
when { context has port && context.port > 9 };
@id("mixed") forbid(principal, action in [Worka::Action::"permission.operate", Worka::Action::"view.read"], resource);
@id("all") forbid(principal, action, resource) when { context has name && context.name == "shut" };
@id("place") forbid(principal, action, resource in Worka::Workspace::"ws_2");
"""
FACTS: list[dict[str, object]] = [
    {},
    {"name": "shut", "port": 3},
    {"role": "owner", "port": 10, "hosts": ["a", "b"], "network": True, "side_effect": "read_only"},
]


def reference(request: cedar.Request, policies: cedar.Policies) -> tuple[bool, tuple[str, ...], bool]:
    """Cedar's own answer: the whole set, the whole schema, everything validated by it."""
    question = {
        "principal": cedar._uid(request.kind, request.id),
        "action": {"type": "Worka::Action", "id": request.action},
        "resource": cedar._uid(request.resource_type, request.resource_id),
        "context": request.context,
    }
    try:
        entities = cedarpy.Entities.from_json_str(json.dumps(request.entities()), cedar.schema())
        answer = cedarpy.is_authorized(question, policies.parsed, entities, cedar.schema())
    except ValueError:
        return False, (), True
    failed = bool(answer.diagnostics.errors) or answer.decision == cedarpy.Decision.NoDecision
    return answer.decision == cedarpy.Decision.Allow and not failed, tuple(sorted(answer.diagnostics.reasons)), failed


def requests() -> Iterator[cedar.Request]:
    """Every action by every kind with several roles, facts and places; and what the schema does not allow."""
    for action in actions.all_actions():
        for kind in ("person", "team_member", "attachment", "device"):
            for roles in (("viewer",), ("member", "approver"), ("owner", "operator")):
                for number, facts in enumerate(FACTS):
                    name = f"ws_{number % 2 + 1}" if action.resource_type == "workspace" else "thing"
                    place = Resource(action.resource_type, name, f"ws_{number % 2 + 1}", dict(facts))
                    who = Actor(kind, "x", enabled=number != 1, roles=roles, may_use=("thing",))
                    yield rules.question(who, action.name, place, {}, "ten_1")
    good = rules.question(
        Actor("person", "p", roles=("owner",)), "task.view", Resource("task", "t", "ws_1"), {}, "ten_1"
    )
    for wrong in ({"action": "task.vieww"}, {"resource_type": "pack"}, {"kind": "robot"}, {"context": {"hots": "a"}},
                  {"context": {"port": "1"}}, {"context": {"port": 2**63}}, {"context": {"hosts": ["a", 1]}},
                  {"attrs": {"network": "yes"}}, {"attrs": {"name": 1}}, {"attrs": {"hosts": "a"}}):  # fmt: skip
        yield replace(good, **wrong)


def test_the_fast_way_of_asking_gives_the_answers_of_the_whole_set_under_the_whole_schema() -> None:
    sets = {
        "floor": floor.policies(), "first floor": floor.policies(1), "governance": governance.floor(),
        "tenant": cedar.join(floor.policies(), cedar.load(TENANT, "access/tenant.1")),
    }  # fmt: skip
    differ, allowed, refused, failed = [], 0, 0, 0
    for request in requests():
        for name, policies in sets.items():
            expected = reference(request, policies)
            found = cedar.evaluate(request, policies)
            if (found.allowed, found.matched, bool(found.errors)) != (expected[0], expected[1], expected[2]):
                differ.append((name, request.action, request.kind, request.roles, expected, found))
            allowed, refused, failed = allowed + expected[0], refused + (not expected[0]), failed + expected[2]
    assert differ[:5] == []
    assert min(allowed, refused) > 500, "both answers were met often"
    assert failed >= 10 * len(sets), "what the schema does not allow was met"
