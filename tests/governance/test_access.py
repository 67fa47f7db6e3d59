"""Who may do what, asked: the same façade as an attempt, two readers, complete lists, and no oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import worka.api.app  # noqa: F401 - registers all that can be asked about
from tests.governance.packs import attached
from tests.workspaces.world import TOOL, World, make
from worka.governance import listings, questions, service
from worka.governance.errors import FactUnknown, PrincipalNotFound, ResourceNotFound, UnknownAction
from worka.kernel import actions, kinds
from worka.kernel.context import Principal, Resource
from worka.kernel.errors import Denied

EFFECTS = {"publish_notes": "external_side_effect", "read": "read_only", "save": "write", "wipe": "destructive"}


async def why(world: World, reader: str, about: str, action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    more = {"behind": None, "facts": [], **more}
    return await questions.why(world.ctx(reader), world.workspace_id, world.ids[about], action, resource, **more)


async def pages(found: Any, verdict: str | None = None, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list, two by two."""
    rows: list[dict[str, Any]] = []
    after = None
    for _ in range(500):
        page = await found(**query, verdict=verdict, after=after, limit=2)
        rows += page[:2]
        if len(page) < 3:
            return rows
        after = page[1]["cursor"].removeprefix("after.")
    raise AssertionError("the list does not end")


# why ----------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("AUT-1", part="a question is answered by what decides attempts")
async def test_a_question_has_the_answer_that_the_attempt_then_gets(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS, outbound_domains=["x.test"])
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", FORBID_SAVING, "")
    found = {}
    for tool, effect in EFFECTS.items():
        name = f"acme.notes.{tool}"
        for who in ("member", "viewer", "owner"):
            asked = await why(world, "admin", who, "tool.invoke", name)
            facts = {"side_effect": effect, "tool": name, "pack": "acme.notes", "hosts": ["x.test"], "network": True}
            tried = await world.ctx(who).decide(
                "tool.invoke", Resource("tool", name, world.workspace_id, facts), **facts
            )
            assert (asked["verdict"], asked["layer"], asked["rules"], asked["reasons"]) == (
                tried.verdict, tried.layer, list(tried.rules), list(tried.reasons),
            ), (who, tool)  # fmt: skip
            found[who, tool] = asked["verdict"]
    assert found["member", "read"] == "allow"
    assert found["member", "save"] == "deny"
    assert found["member", "publish_notes"] == "ask"
    assert found["member", "wipe"] == "deny"
    assert found["viewer", "read"] == "deny"


FORBID_SAVING = """@id("no-saving") @reason("Nothing is saved this week.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has tool && context.tool == "acme.notes.save" };"""


@pytest.mark.capability("AUT-11", part="a denial has two readers")
async def test_the_one_concerned_is_told_whom_to_ask_and_the_reader_of_evidence_sees_the_rules(world: World) -> None:
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", FORBID_SAVING, "")
    await attached(world, "acme.notes", EFFECTS)
    mine = await why(world, "member", "member", "tool.invoke", "acme.notes.save")
    assert mine["reader"] == "concerned"
    assert mine["headline"] == (
        "member may not call a tool of an attached pack (tool acme.notes.save): Nothing is saved this week."
    )
    assert (mine["permission"], mine["held_by"]) == ("invoke", ["owner", "admin", "member"])
    assert not {"rules", "trail", "inputs", "access_version"} & set(mine)
    evidence = await why(world, "admin", "member", "tool.invoke", "acme.notes.save")
    assert evidence["reader"] == "evidence"
    assert evidence["rules"] == ["access/tenant.1/no-saving"]
    (step,) = evidence["trail"]
    assert (step["step"], step["verdict"]) == ("access", "deny")
    assert "Nothing is saved this week" in step["rules"][0]["text"]
    assert evidence["inputs"]["actors"][0]["roles"] == ["member"]
    # Either's decision id opens the record, each for its own kind of reader.
    record = await service.decision(world.ctx("member"), mine["decision_id"])
    assert (record["verdict"], record["reader"]) == ("deny", "concerned")
    opened = await service.decision(world.ctx("admin"), mine["decision_id"])
    assert (opened["reader"], opened["rules"], opened["replay"]["same"]) == ("evidence", evidence["rules"], True)


async def test_the_trail_of_what_needs_an_approval_names_what_permits_it_and_what_asks(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    found = await why(world, "owner", "member", "tool.invoke", "acme.notes.publish_notes")
    assert [(step["step"], step["verdict"]) for step in found["trail"]] == [("access", "allow"), ("governance", "ask")]
    assert found["trail"][0]["rules"][0]["rule"] == "access/floor/member.invoke"
    assert found["trail"][1]["rules"][0]["rule"] == "governance/floor/external-side-effect"
    assert all(rule["text"] for step in found["trail"] for rule in step["rules"])
    assert found["approval_rules"] == ["approve:1"]


async def test_a_question_is_no_attempt_and_its_answer_is_marked_as_one(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    asked = await why(world, "admin", "viewer", "tool.invoke", "acme.notes.read")
    (row,) = await world.rows("decision", "id = %s", asked["decision_id"])
    assert (row["principal_id"], row["asked_by"]) == (world.ids["viewer"], world.ids["admin"])
    assert await world.events("access.denied") == []
    with pytest.raises(Denied):
        await world.ctx("viewer").require("tool.invoke", Resource("tool", TOOL, world.workspace_id))
    assert len(await world.events("access.denied")) == 1, "the control: an attempt is told to the ledger"


@pytest.mark.capability("IDN-21", part="asked: an AI team member can do no more than the person behind it")
async def test_asked_on_behalf_of_somebody_the_answer_is_of_both(world: World) -> None:
    await attached(world, "acme.notes", {"publish_notes": "read_only"})
    for behind, verdict in (("member", "allow"), ("viewer", "deny")):
        found = await why(world, "admin", "robot", "tool.invoke", TOOL, behind=world.ids[behind])
        assert found["verdict"] == verdict, behind
    assert [actor["kind"] for actor in found["inputs"]["actors"]] == ["team_member", "person"]
    alone = await why(world, "admin", "robot", "tool.invoke", TOOL)
    assert (alone["verdict"], len(alone["inputs"]["actors"])) == ("allow", 1)


@pytest.mark.capability("AUT-12", part="about others only who reads evidence may ask")
async def test_about_others_only_a_reader_of_evidence_may_ask_whether_they_exist_or_not(world: World) -> None:
    nobody = "per_" + "7" + "z" * 25
    refused = []
    for about in (world.ids["owner"], nobody):
        with pytest.raises(Denied) as denied:
            await questions.why(world.ctx("member"), world.workspace_id, about, "task.view", "*", facts=[])
        refused.append(denied.value.detail)
    assert refused[0] == refused[1], "the refusal says nothing about whether there is such a one"
    with pytest.raises(PrincipalNotFound):
        await questions.why(world.ctx("admin"), world.workspace_id, nobody, "task.view", "*", facts=[])
    assert (await why(world, "admin", "owner", "task.view"))["verdict"] == "allow"
    with pytest.raises(Denied):
        await listings.principals(
            world.ctx("member"), world.workspace_id, "task.view", "*", facts=[], verdict=None, after=None, limit=5
        )


@pytest.mark.capability("DEP-10", part="questions about another tenant's people and things")
async def test_what_is_of_another_tenant_or_unknown_is_the_same_not_found(world: World) -> None:
    other = await make(world.db, world.settings.home)
    theirs = await attached(other, "bolt.secret", {"read": "read_only"})
    ours = await attached(world, "acme.notes", {"read": "read_only"})
    found = await why(world, "owner", "owner", "pack.detach", ours)
    assert found["verdict"] == "allow", "the control"
    unknown = "att_" + "7" + "z" * 25
    for kind, resource in (("pack.detach", theirs), ("pack.detach", unknown), ("tool.invoke", "bolt.secret.read"),
                           ("pack.attach", "bolt.secret"), ("workspace.view", other.workspace_id),
                           ("tenant.create", other.tenant_id)):  # fmt: skip
        with pytest.raises(ResourceNotFound):
            await why(world, "owner", "owner", kind, resource)
    for someone in (other.ids["owner"], other.ids["robot"], theirs):
        with pytest.raises(PrincipalNotFound):
            await questions.why(world.ctx("owner"), world.workspace_id, someone, "task.view", "*", facts=[])


async def test_a_thing_of_another_workspace_of_the_tenant_is_not_found_here(world: World) -> None:
    second = await _second_workspace(world)
    elsewhere = await attached(replace_place(world, second), "acme.notes", {"read": "read_only"})
    with pytest.raises(ResourceNotFound):
        await why(world, "owner", "owner", "pack.detach", elsewhere)
    there = await questions.why(
        replace(world.ctx("owner"), workspace_id=second), second, world.ids["owner"], "pack.detach", elsewhere, facts=[]
    )
    assert there["verdict"] == "allow", "the control"


def replace_place(world: World, workspace_id: str) -> World:
    return replace(world, workspace_id=workspace_id)


async def _second_workspace(world: World) -> str:
    from worka import workspaces
    from worka.kernel.ids import new_id

    second = new_id("ws")
    row = {"tenant_id": world.tenant_id, "created_by": "test", "name": "Two", "id": second, "slug": "two"}
    async with world.db.transaction(world.tenant_id) as conn:
        await workspaces.store.create_workspace(conn, row)
    await replace_place(world, second).join("owner", "owner")
    return second


async def test_facts_fill_in_what_is_not_known_and_never_override_what_is(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    lied = await why(world, "owner", "member", "tool.invoke", "acme.notes.wipe", facts=["side_effect=read_only"])
    assert (lied["verdict"], lied["ignored_facts"]) == ("deny", ["side_effect"])
    harmless = ["network=false", "writes=false", "host_services=false"]
    assert (await why(world, "owner", "member", "pack.attach", "*", facts=harmless))["verdict"] == "allow"
    assert (await why(world, "owner", "member", "pack.attach", "*"))["verdict"] == "ask", (
        "what is not known is the worst"
    )
    for wrong in ("side_efect=x", "network=perhaps", "port=http", "hosts", "=x"):
        with pytest.raises(FactUnknown):
            await why(world, "owner", "member", "pack.attach", "*", facts=[wrong])
    with pytest.raises(UnknownAction, match=r"Did you mean pack\.attach"):
        await why(world, "owner", "member", "pack.atach")


@pytest.mark.capability("IDN-13", "IDN-14", part="one action at a time, with why not and whom to ask")
async def test_anyone_may_ask_what_they_can_do_themselves_and_an_owner_role_is_guarded(world: World) -> None:
    async def can(who: str, action: str, *facts: str) -> dict[str, Any]:
        return await questions.can(world.ctx(who), world.workspace_id, action, "*", list(facts))

    assert (await can("viewer", "task.view"))["verdict"] == "allow"
    no = await can("viewer", "member.invite")
    assert (no["verdict"], no["permission"], no["held_by"]) == ("deny", "administer", ["owner", "admin"])
    assert no["remedy"]
    assert no["decision_id"]
    assert (await can("admin", "member.invite"))["verdict"] == "allow"
    assert (await can("admin", "member.invite", "role=owner"))["verdict"] == "deny"
    assert (await can("owner", "member.invite", "role=owner"))["verdict"] == "allow"


@pytest.mark.capability("AUT-3", part="sharing and publishing to others do not exist yet")
async def test_each_of_the_workspaces_own_actions_is_checked(world: World) -> None:
    everybody, some = {"owner", "admin", "member", "viewer", "approver"}, {"owner", "admin"}
    wanted = {
        "workspace.view": everybody,
        "view.publish": {"owner", "admin", "member"},
        "connection.create": some,
        "team_member.create": some,
        "team_member.change": some,
        "approval.decide": {*some, "approver"},
    }
    for action, able in wanted.items():
        known = actions.get(action)
        assert known is not None
        name = world.workspace_id if known.resource_type == "workspace" else "thing"
        for who in everybody | {"stranger"}:
            decision = await world.ctx(who).decide(action, Resource(known.resource_type, name, world.workspace_id))
            assert (decision.verdict != "deny") == (who in able), (action, who)


# AUT-6, AUT-7: packs -------------------------------------------------------------------------------------------------
@pytest.mark.capability("AUT-2", part="pack to pack and pack to host service, by what the manifest declares")
@pytest.mark.capability("AUT-6", part="the decision; no pack calls another yet")
@pytest.mark.capability("AUT-7", part="people, AI team members and packs in the one check")
async def test_a_pack_may_call_what_its_manifest_declares_and_no_more_than_the_person_behind_it(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    world.ids["caller"] = await attached(
        world, "acme.caller", {"go": "read_only"},
        dependencies=[{"pack": "acme.notes", "tools": ["read"]}], host_services=["worka.db"],
    )  # fmt: skip

    async def tried(action: str, kind: str, name: str, behind: str = "member") -> tuple[str, tuple[str, ...]]:
        pack = Principal("attachment", world.ids["caller"], "acme.caller", world.tenant_id)
        ctx = replace(world.ctx("member"), principal=pack, originating_person=world.ids[behind])
        facts = {"name": name, "side_effect": "read_only"} if kind == "tool" else {"name": name}
        decision = await ctx.decide(action, Resource(kind, name, world.workspace_id, facts))
        return decision.verdict, decision.rules

    assert (await tried("tool.invoke", "tool", "acme.notes.read"))[0] == "allow"
    only = ("access/floor/packs-use-what-they-declare-only",)
    assert await tried("tool.invoke", "tool", "acme.notes.save") == ("deny", only)
    assert (await tried("host_service.use", "host_service", "worka.db"))[0] == "allow"
    assert await tried("host_service.use", "host_service", "worka.ui") == ("deny", only)
    assert await tried("task.view", "task", "x") == ("deny", only)
    assert (await tried("tool.invoke", "tool", "acme.notes.read", behind="viewer"))[0] == "deny"
    # The same tool, asked by its kind of caller: one check.
    person = await world.ctx("member").decide(
        "tool.invoke", Resource("tool", "acme.notes.save", world.workspace_id, {"side_effect": "write"})
    )
    robot = await world.ctx("robot", behind="member").decide(
        "tool.invoke", Resource("tool", "acme.notes.save", world.workspace_id, {"side_effect": "write"})
    )
    assert (person.verdict, robot.verdict) == ("allow", "deny")


@pytest.mark.capability("AUT-6", part="a pack that no longer serves")
async def test_a_pack_that_is_taken_out_may_do_nothing_at_the_very_next_question(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    world.ids["caller"] = await attached(
        world, "acme.caller", {}, dependencies=[{"pack": "acme.notes", "tools": ["read"]}]
    )
    pack = Principal("attachment", world.ids["caller"], "acme.caller", world.tenant_id)
    ctx = replace(world.ctx("member"), principal=pack)
    tool = Resource("tool", "acme.notes.read", world.workspace_id, {"side_effect": "read_only"})
    assert (await ctx.decide("tool.invoke", tool)).verdict == "allow"
    elsewhere = await _second_workspace(world)
    assert (await ctx.decide("tool.invoke", replace(tool, workspace_id=elsewhere))).verdict == "deny"
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.attachment set state = 'detached', reason = 'attachment_removed' where id = %s",
            (world.ids["caller"],),
        )
    assert (await ctx.decide("tool.invoke", tool)).verdict == "deny"


# lists --------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("AUT-12")
async def test_who_can_do_this_names_everybody_who_can_page_by_page(world: World) -> None:
    fit = (0, 1, 2, 4, 7, 119)  # more than a page, and one behind more candidates than are read at once
    for number in range(120):
        await world.person(f"p{number}")
        await world.join(f"p{number}", "member" if number in fit else "viewer")
    query = {"ctx": world.ctx("owner"), "workspace_id": world.workspace_id, "action": "task.create", "resource_id": "*"}
    rows = await pages(listings.principals, **query, facts=[])
    expected = {world.ids[name] for name in ("owner", "admin", "member", "robot")}
    expected |= {world.ids[f"p{number}"] for number in fit}
    assert {row["id"] for row in rows} == expected
    assert len(rows) == len(expected), "nobody twice"
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    denied = await pages(listings.principals, **query, facts=[], verdict="deny")
    assert {row["id"] for row in denied} & expected == set()
    assert len(denied) + len(rows) == 120 + 6


@pytest.mark.capability("AUT-12")
async def test_what_this_one_can_do_is_every_action_that_an_attempt_would_not_be_denied(world: World) -> None:
    for who in ("owner", "viewer", "robot"):
        rows = await pages(
            listings.allowed_actions, ctx=world.ctx("owner"), workspace_id=world.workspace_id,
            principal_id=world.ids[who], resource_id=None, resource_type=None, behind=None, facts=[],
        )  # fmt: skip
        listed = {row["action"]: row["verdict"] for row in rows}
        for action in actions.all_actions():
            name = world.workspace_id if action.resource_type == "workspace" else "*"
            wide = action.resource_type in ("policy", "tenant")
            place = None if wide else world.workspace_id
            ctx = replace(world.ctx(who), originating_person=None) if who == "robot" else world.ctx(who)
            tried = await ctx.decide(action.name, Resource(action.resource_type, name, place))
            assert listed.get(action.name, "deny") == tried.verdict, (who, action.name)


@pytest.mark.capability("AUT-12", part="on what can this one do this: every thing of the type")
async def test_on_what_names_every_thing_of_the_type_that_fits(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    await attached(world, "acme.more", {f"t{number}": "read_only" for number in range(130)})

    async def listed(who: str, action: str, verdict: str | None = None) -> list[str]:
        rows = await pages(
            listings.resources, ctx=world.ctx("owner"), workspace_id=world.workspace_id, principal_id=world.ids[who],
            action=action, behind=None, facts=[], verdict=verdict,
        )  # fmt: skip
        return [row["id"] for row in rows]

    may = await listed("member", "tool.invoke", "allow")
    assert set(may) == {f"acme.more.t{n}" for n in range(130)} | {"acme.notes.read", "acme.notes.save"}
    assert len(may) == 132
    assert await listed("member", "tool.invoke", "ask") == ["acme.notes.publish_notes"]
    assert await listed("robot", "tool.invoke") == [TOOL]
    assert await listed("viewer", "tool.invoke") == []
    assert await listed("viewer", "workspace.view") == [world.workspace_id]
    assert set(await listed("member", "pack.view")) == {"acme.more", "acme.notes"}
    assert await listed("member", "policy.view") == [world.workspace_id]
    assert await listed("owner", "policy.save") == ["access", "governance"]


async def test_every_type_of_thing_that_is_listed_is_found_again_by_its_id(world: World) -> None:
    await attached(world, "acme.notes", EFFECTS)
    seen = []
    async with world.ctx("owner").transaction() as conn:
        for kind in kinds.resource_types():
            if kind.page is None or kind.find is None:
                continue
            for thing in await kind.page(conn, world.workspace_id, None, 5):
                found = await kind.find(conn, world.workspace_id, thing.id)
                assert found is not None, (kind.name, thing.id)
                assert (found.type, found.id, found.attrs) == (kind.name, thing.id, thing.attrs)
                seen.append(kind.name)
    assert {"attachment", "host_service", "pack", "policy", "team_member", "tenant", "tool", "workspace"} <= set(seen)
