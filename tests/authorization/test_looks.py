"""What a set looks at of a thing is read off its statements: about things that are alike in that it answers alike, so that one
answer may stand for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

import worka.packs.actions
import worka.workflows.actions  # noqa: F401 - registers the actions that the shipped policies speak of
from worka.approvals.actions import APPROVAL_DECIDE
from worka.authorization import cedar, floor, rules
from worka.authorization.layers import InForce
from worka.governance import facade
from worka.governance import rules as governance
from worka.kernel.context import Principal, Resource

DECIDE = f'forbid(principal, action == Worka::Action::"{APPROVAL_DECIDE}", resource)'
WHO = Principal("person", "per_a", "Ada")
THINGS = [
    Resource("approval", f"apr_{number}", "ws_1", {"boundary": boundary, "name": name})
    for number, (boundary, name) in enumerate([("a", "one"), ("a", "two"), ("b", "one")])
]


def judge(text: str) -> facade.Judge:
    """The floors with this text as the tenant's governance."""
    joined = cedar.join(governance.floor(), cedar.load(text, "governance/tenant.1"))
    return facade.Judge("ten_1", "ws_1", floor.policies(), joined, InForce())


@pytest.mark.capability("APR-11", part="one answer stands for approvals that policy cannot tell apart")
@pytest.mark.parametrize(
    ("when", "told_apart"),
    [
        ('principal == Worka::Person::"per_a"', 1),
        ('context has boundary && context.boundary == "a"', 2),
        ('resource has boundary && resource.boundary == "a"', 2),
        ('context has name && context.name like "o*"', 2),
        ('context has name && context has boundary && context.boundary == "a" && context.name == "one"', 3),
        ('resource == Worka::Approval::"apr_1"', 3),
        ('[Worka::Approval::"apr_1"].contains(resource)', 3),
        ('resource in Worka::Workspace::"ws_1"', 3),
    ],
)  # fmt: skip
def test_things_are_asked_about_once_where_policy_cannot_tell_them_apart(when: str, told_apart: int) -> None:
    asked = judge(f'@id("x") @verdict("deny") {DECIDE} when {{ {when} }};')
    alike = [asked.alike("person", APPROVAL_DECIDE, thing) for thing in THINGS]
    assert len({repr(thing) for thing in alike}) == told_apart
    for thing, like in zip(THINGS, alike, strict=True):
        whole = asked.could(WHO, ("owner",), APPROVAL_DECIDE, thing)
        assert asked.could(WHO, ("owner",), APPROVAL_DECIDE, like).verdict == whole.verdict


@pytest.mark.capability("APR-11", part="one answer stands for approvals that policy cannot tell apart")
@pytest.mark.parametrize(
    ("scope", "whole"),
    [
        ("resource", False),
        ("resource is Worka::Approval", False),
        ('resource in Worka::Workspace::"ws_1"', False),
        ('resource == Worka::Approval::"apr_1"', True),
        ('resource in Worka::Approval::"apr_1"', True),
        ('resource is Worka::Approval in Worka::Workspace::"ws_1"', False),
        ('resource is Worka::Approval in Worka::Approval::"apr_1"', True),
    ],
    ids=["any", "a type", "a place", "one", "in one", "a type in a place", "a type in one"],
)
def test_a_scope_that_names_one_thing_counts_as_looking_at_all_of_it(scope: str, whole: bool) -> None:
    text = f'@id("x") @verdict("deny") {DECIDE.replace("resource)", scope + ")")};'
    assert (cedar.WHOLE in cedar.load(text, "x").looks_at("approve", "person")) == whole


def test_the_floors_look_at_no_fact_of_what_people_decide_about_and_a_pack_is_another_matter() -> None:
    decided = floor.policies().looks_at("approve", "person") | governance.floor().looks_at("approve", "person")
    assert decided.isdisjoint({"boundary", "name", cedar.WHOLE})
    assert "name" in floor.policies().looks_at("approve", "attachment"), "the control: it looks at names for packs"
    elsewhere = cedar.load(
        'forbid(principal, action in Worka::Action::"permission.view", resource) when { context has name };', "x"
    )
    assert elsewhere.looks_at("approve", "person") == frozenset(), "the control: of another permission"
    assert elsewhere.looks_at("view", "person") == {"name"}


@pytest.mark.capability("APR-11", part="one answer stands for approvals that policy cannot tell apart")
def test_what_the_judge_says_is_what_access_and_governance_say_by_themselves() -> None:
    asked = judge(
        f'@id("x") @verdict("deny") @reason("Not so.") {DECIDE} when {{ context has name && context.name == "one" }};'
    )
    said = {thing.id: asked.could(WHO, ("owner",), APPROVAL_DECIDE, thing) for thing in THINGS}
    assert [found.verdict for found in said.values()] == ["deny", "allow", "deny"]
    assert (said["apr_0"].layer, said["apr_0"].reasons) == ("governance", ("Not so.",))
    without = asked.could(replace(WHO, name="Bob"), ("viewer",), APPROVAL_DECIDE, THINGS[1])
    assert (without.verdict, without.rules) == ("deny", (rules.NO_PERMIT,))
    assert not asked.stopped("per_a")
