"""The access half by itself: facts, the schema, the cache of parsed sets, and its speed."""

from __future__ import annotations

import time

import pytest

from tests.workspaces.world import TOOL, World
from worka import authorization
from worka.authorization import cedar, floor, rules, vocabulary
from worka.authorization.rules import Actor
from worka.authorization.vocabulary import UnknownFact, facts
from worka.kernel import actions
from worka.kernel.context import Resource


def ask(actor: Actor, action: str, resource: Resource, **context: object) -> rules.Answer:
    """The floor's answer to one actor."""
    return rules.decide(
        [rules.question(actor, action, resource, context, "ten_1")], actions.get(action), floor.policies()
    )


def test_a_fact_that_policy_cannot_see_is_refused_loudly() -> None:
    assert facts({"host": "a", "port": 443, "network": True, "tools": ("b", "a"), "task": None}) == {
        "host": "a", "port": 443, "network": True, "tools": ["a", "b"],
    }  # fmt: skip
    for wrong in ({"hots": "a"}, {"port": "443"}, {"port": True}, {"network": 1}, {"tools": "a"}, {"host": ["a"]}):
        with pytest.raises(UnknownFact):
            facts(wrong)
    assert list(vocabulary.VOCABULARY) == sorted(vocabulary.VOCABULARY)


def test_facts_of_the_resource_stand_in_the_context_too_and_the_requests_own_win() -> None:
    resource = Resource("connection", "conn_1", "ws_1", {"host": "a", "port": 1})
    request = rules.question(Actor("person", "per_1"), "x.y", resource, {"host": "b"}, "ten_1")
    assert (request.context, request.attrs) == ({"host": "b", "port": 1}, {"host": "a", "port": 1})


@pytest.mark.capability("AUT-5", part="the rule")
def test_a_team_member_uses_listed_tools_only_and_the_list_gives_no_role() -> None:
    robot = Actor("team_member", "tmb_1", roles=("member",), may_use=(TOOL,))
    assert ask(robot, "tool.invoke", Resource("tool", TOOL, "ws_1")).allowed
    other = ask(robot, "tool.invoke", Resource("tool", "acme.notes.other", "ws_1"))
    assert (other.allowed, other.rules) == (False, ("access/floor/team-member-uses-listed-tools-only",))
    listed = Actor("team_member", "tmb_1", roles=(), may_use=(TOOL,))
    assert ask(listed, "tool.invoke", Resource("tool", TOOL, "ws_1")).rules == (rules.NO_PERMIT,)


def test_ids_of_people_and_things_may_hold_any_character() -> None:
    for name in ('a"b', "a\\", "a\nb", "ü", 'Worka::Person::"x"', "", "*"):
        actor = Actor("person", name, roles=("member",))
        assert ask(actor, "task.view", Resource("task", name, "ws_1")).allowed, name
        assert not ask(actor, "member.invite", Resource("workspace", "ws_1", "ws_1"), role=name).allowed, name


def test_someone_who_acts_on_itself_keeps_its_own_rights() -> None:
    robot = Resource("team_member", "tmb_1", "ws_1", {"name": "x"})
    assert ask(Actor("person", "per_1", roles=("admin",)), "team_member.change", robot).allowed
    assert not ask(Actor("team_member", "tmb_1", roles=("admin",)), "team_member.change", robot).allowed


def test_a_right_that_was_taken_away_is_gone_though_what_was_parsed_is_kept() -> None:
    place = Resource("tool", TOOL, "ws_1")
    for roles, enabled, allowed in ((("owner",), True, True), ((), True, False), (("owner",), False, False)):
        for _ in range(2):  # the second time from what is kept
            assert ask(Actor("person", "per_1", "N", enabled, roles), "tool.invoke", place).allowed is allowed
    # Control: what differs from call to call is not in what is kept, so two calls share it.
    one, two = (
        rules.question(Actor("person", "per_1"), "tool.invoke", place, {"digest": digest}, "ten_1") for digest in "ab"
    )
    assert one.parsed is two.parsed
    assert one.context != two.context


def test_what_was_parsed_for_one_action_does_not_answer_for_another() -> None:
    viewer, place = Actor("person", "per_1", "N", roles=("viewer",)), Resource("task", "tsk_1", "ws_1")
    for _ in range(2):  # the second time from what is kept
        assert ask(viewer, "task.view", place).allowed
        assert not ask(viewer, "task.cancel", place).allowed


def test_an_unknown_action_and_a_request_outside_of_the_schema_are_denied() -> None:
    owner = Actor("person", "per_1", roles=("owner",))
    assert ask(owner, "task.view", Resource("task", "t", "ws_1")).allowed
    assert ask(owner, "task.vieww", Resource("task", "t", "ws_1")).rules == (rules.UNKNOWN_ACTION,)
    assert ask(owner, "task.view", Resource("pack", "t", "ws_1")).rules == (rules.ERROR,)


async def test_a_tenants_policy_is_parsed_once_and_a_new_version_is_seen_at_once(world: World) -> None:
    from worka.governance import service

    text = '@reason("closed") forbid(principal, action == Worka::Action::"task.view", resource);'
    view = Resource("task", "t", world.workspace_id)
    async with world.db.transaction(world.tenant_id) as conn:
        assert await authorization.may(conn, world.ctx("member"), "person", world.ids["member"], "task.view", view)
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    async with world.db.transaction(world.tenant_id) as conn:
        assert not await authorization.may(conn, world.ctx("member"), "person", world.ids["member"], "task.view", view)
        first, version = await authorization.service.policies_in_force(conn, world.ctx("member"))
        again, _ = await authorization.service.policies_in_force(conn, world.ctx("owner"))
    assert first is again
    assert version.tenant == 1


def test_a_decision_of_one_set_costs_well_under_a_millisecond() -> None:
    request = rules.question(
        Actor("person", "p", roles=("member",)), "task.view", Resource("task", "t", "ws_1"), {}, "t"
    )
    cedar.evaluate(request, floor.policies())
    started = time.perf_counter()
    for _ in range(200):
        cedar.evaluate(request, floor.policies())
    assert (time.perf_counter() - started) / 200 < 0.005
