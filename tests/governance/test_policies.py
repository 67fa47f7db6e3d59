"""A tenant's own policy: located errors, only tightening, versions, and who may save one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import cedarpy
import pytest

from tests.workspaces.world import World
from worka import authorization
from worka.approvals.rules import parse_rule
from worka.authorization import cedar, floor, matrix
from worka.governance import rules, service, statements
from worka.governance.errors import BadPolicy, PolicyMoved, PolicyNotFound
from worka.kernel import actions
from worka.kernel.context import Resource
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.workspaces import service as membership
from worka.workspaces import store as workspaces

GOOD = '@verdict("deny") @reason("no; really") forbid(principal, action == Worka::Action::"tool.invoke", resource);'


def test_the_shipped_sets_fit_the_schema_of_all_domains() -> None:
    for name in ("workflows", "packs", "connections", "broker", "treasury", "views", "audit", "observability"):
        if find_spec(f"worka.{name}.actions") is not None:
            import_module(f"worka.{name}.actions")
    empty = "unable to find an applicable action given the policy scope constraints"
    for text in (floor.text(), rules.floor_text(rules.CURRENT_FLOOR)):
        result = cedarpy.validate_policies(text, cedar.schema())
        # A permission that no action needs yet makes its permits idle, which is no fault of theirs.
        assert [str(error) for error in result.errors if empty not in str(error)] == []


def test_statements_are_cut_outside_of_strings_and_comments() -> None:
    text = f'// a; comment\n{GOOD}\n\n// "unclosed; \n  {GOOD} trailing'
    assert [(entry.line, entry.text[:8]) for entry in statements.split(text)] == [
        (2, "@verdict"),
        (5, "@verdict"),
        (5, "trailing"),
    ]
    assert statements.split(" // only a comment") == []
    assert statements.split("") == []
    assert len(statements.split('forbid(principal == X::"a\\";b", action, resource);')) == 1


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"{GOOD}\n\npermit(principal, action, resource);", 3, "only `forbid`"),
        (f'{GOOD}\nforbid(principal, action, resource) when {{ context.hots == "x" }};', 2, "hots"),
        (f'\n\n{GOOD}\n\n\nforbid(principal, action == Worka::Action::"tool.invok", resource);', 6, "tool.invok"),
        ("forbid(principal, action, resource", 1, "unexpected end"),
        ("forbid(principal, action, resource);", 1, "@verdict"),
        ('@verdict("allow") forbid(principal, action, resource);', 1, "@verdict"),
        ('@verdict("ask") forbid(principal, action, resource);', 1, "@rule"),
        ('@verdict("ask") @rule("everyone") forbid(principal, action, resource);', 1, "everyone"),
        ('@verdict("deny") @note("x") forbid(principal, action, resource);', 1, "unknown annotation"),
        ('@verdict("deny") forbid(principal == ?principal, action, resource);', 1, "templates"),
        (f'@id("a"){GOOD}\n@id("a"){GOOD}', 2, "stands in statement 1"),
        (
            '@verdict("deny") forbid(principal, action, resource)'
            " when { context has args_bytes && context.args_bytes + 1 > 5 };",
            1,
            "evaluating it fails: integer overflow",
        ),
        ('@verdict("deny") forbid(principal, action, resource) when { context.host == "x" };', 1, "optional attribute"),
    ],
)
def test_a_fault_is_located_by_statement_and_line(text: str, line: int, message: str) -> None:
    faults = statements.check("governance", text, parse_rule)
    assert faults, "it was accepted"
    assert faults[0].line == line
    assert message in faults[0].message
    assert "policy0" not in faults[0].message
    assert statements.check("governance", GOOD, parse_rule) == []


def test_an_access_policy_only_denies() -> None:
    assert statements.check("access", "forbid(principal, action, resource);", parse_rule) == []
    asking = statements.check(
        "access", '@verdict("ask") @rule("approve") forbid(principal, action, resource);', parse_rule
    )
    assert "governance policy" in asking[0].message


@pytest.mark.capability("APR-1", part="boundaries are policy, and a tenant adds its own")
async def test_a_tenant_makes_an_action_ask_that_its_floor_lets_through(world: World) -> None:
    tool = Resource("tool", "acme.notes.read", world.workspace_id, {"side_effect": "read_only"})
    assert (await world.ctx("owner").require("tool.invoke", tool)).verdict == "allow"
    text = """@id("ask-read") @verdict("ask") @rule("confirm") @reason("Reading is confirmed.")
    forbid(principal, action == Worka::Action::"tool.invoke", resource);"""
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    asked = await world.ctx("owner").require("tool.invoke", tool)
    assert (asked.verdict, asked.approval_rules, asked.reasons) == ("ask", ("confirm",), ("Reading is confirmed.",))


@pytest.mark.capability("GOV-5", part="what cannot wait for a consent is not done without it")
async def test_where_nobody_can_be_asked_a_rule_that_asks_refuses_and_says_so(world: World) -> None:
    """However the rule reaches it: the invitation is not sent, and what could be asked beforehand agrees."""
    ctx = world.ctx("owner")
    await membership.invite(ctx, world.workspace_id, "before@example.org", "viewer", False)
    text = """@id("ask-all") @verdict("ask") @rule("approve:2") @reason("Two agree to what changes who is here.")
    forbid(principal, action, resource is Worka::Workspace) when { context has role };"""
    await service.save_policy(ctx, world.workspace_id, "governance", text, "")
    with pytest.raises(Denied) as refused:
        await membership.invite(ctx, world.workspace_id, "after@example.org", "viewer", False)
    assert refused.value.extra["layer"] == "governance"
    assert "Two agree to what changes who is here." in refused.value.detail
    assert "cannot wait for one" in refused.value.detail
    sent = await membership.invitations(ctx, world.workspace_id)
    assert [row["email"] for row in sent] == ["before@example.org"]


def test_a_rule_may_not_ask_where_nobody_could_answer() -> None:
    asking = '@verdict("ask") @rule("approve:2") forbid(principal, action == Worka::Action::"{}", resource);'
    assert statements.check("governance", asking.format("pack.attach"), parse_rule) == []
    (fault,) = statements.check("governance", asking.format("member.invite"), parse_rule)
    assert fault.message.startswith("member.invite cannot wait for an approval; ask for one of ")
    assert "pack.attach" in fault.message
    several = asking.replace('== Worka::Action::"{}"', 'in [Worka::Action::"pack.attach", Worka::Action::"kill.set"]')
    (fault,) = statements.check("governance", several, parse_rule)
    assert fault.message.startswith("kill.set cannot wait")
    assert statements.check("governance", several.replace('"ask"', '"deny"'), parse_rule) == []


def test_every_action_that_waits_is_one_whose_use_case_asks() -> None:
    """The list is what policy may ask for: whoever adds one shows here that its use case files an approval."""
    assert {action.name for action in actions.all_actions() if action.waits} == {
        "approval.bypass.open", "connection.create", "connection.own", "egress_policy.set", "egress_policy.set_wide",
        "key.destroy", "network_exception.create", "pack.attach", "pack.update", "policy.save", "policy.save_here",
        "release.publish", "secret.read", "tool.invoke", "upstream_trust.create",
    }  # fmt: skip


@pytest.mark.capability("IDN-12", part="a tenant's policy is for owners of all its workspaces")
async def test_only_an_owner_of_every_workspace_saves_the_tenants_policy(world: World) -> None:
    for who in ("admin", "member", "viewer", "stranger", "robot"):
        with pytest.raises(Denied):
            await service.save_policy(world.ctx(who), world.workspace_id, "access", "", "")
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", "", "mine")
    async with world.db.transaction(world.tenant_id) as conn:
        await workspaces.create_workspace(
            conn,
            {
                "tenant_id": world.tenant_id,
                "id": new_id("ws"),
                "slug": "second",
                "name": "Second",
                "created_by": "test",
            },
        )
    with pytest.raises(Denied):
        await service.save_policy(world.ctx("owner"), world.workspace_id, "access", "", "not mine alone")


async def test_versions_are_kept_listed_and_shown_with_the_floor(world: World) -> None:
    ctx = world.ctx("owner")
    for note in ("one", "two"):
        await service.save_policy(ctx, world.workspace_id, "governance", GOOD, note)
    with pytest.raises(BadPolicy) as bad:
        await service.save_policy(ctx, world.workspace_id, "governance", "permit(principal, action, resource);", "")
    assert bad.value.extra["errors"][0]["line"] == 1
    listed = await service.list_policies(ctx, world.workspace_id, None, 1)
    assert [(row["kind"], row["version"]) for row in listed] == [("governance", 2), ("governance", 1)]
    assert [row["version"] for row in await service.list_policies(ctx, world.workspace_id, ("governance", 2), 5)] == [1]
    shown = await service.show_policy(world.ctx("viewer"), world.workspace_id, "governance", 1)
    assert (shown["text"], shown["note"]) == (GOOD, "one")
    assert "external-side-effect" in shown["floor_text"]
    assert "owner.own" in (await service.show_policy(ctx, world.workspace_id, "access", 0))["floor_text"]
    with pytest.raises(PolicyNotFound):
        await service.show_policy(ctx, world.workspace_id, "governance", 3)
    events = await world.events("policy.version.saved")
    assert events[0]["before"] is None
    assert events[1]["before"]["note"] == "one"
    assert events[1]["after"]["note"] == "two"


async def test_of_two_saves_at_once_one_is_told_that_it_moved(world: World) -> None:
    tries = await asyncio.gather(
        *(
            service.save_policy(world.ctx("owner"), world.workspace_id, "access", "", str(number))
            for number in range(6)
        ),
        return_exceptions=True,
    )
    versions = sorted(entry["version"] for entry in tries if isinstance(entry, dict))
    assert versions == list(range(1, len(versions) + 1))
    assert versions
    assert all(isinstance(entry, PolicyMoved) for entry in tries if not isinstance(entry, dict))


@pytest.mark.capability("DEP-10", part="policy of one tenant says nothing in another")
async def test_a_policy_holds_in_its_own_tenant_only(world: World) -> None:
    from tests.workspaces.world import TOOL, make

    other = await make(world.db, world.settings.home)
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", GOOD, "")
    call = Resource("tool", TOOL, None, {"side_effect": "read_only"})
    with pytest.raises(Denied, match="no; really"):
        await world.ctx("member").require("tool.invoke", call)
    assert (await other.ctx("member").require("tool.invoke", call)).verdict == "allow"


async def test_a_forbid_that_errors_denies_instead_of_being_skipped(world: World) -> None:
    ctx = world.ctx("member")
    resource = Resource("tool", "a.b.c", world.workspace_id, {"side_effect": "read_only"})
    async with ctx.transaction() as conn:
        answer, asked, _ = await authorization.decide(conn, ctx, "tool.invoke", resource, {"args_bytes": 5})
    assert answer.allowed
    broken = cedar.join(
        rules.floor(),
        cedar.load(
            '@verdict("deny") forbid(principal, action, resource) when { context has args_bytes &&'
            " context.args_bytes + 9223372036854775807 > 0 };",
            "governance/tenant.1",
        ),
    )
    assert rules.gate(asked[0], broken).verdict == "deny"
    assert rules.gate(asked[0], broken).rules == (rules.ERROR,)
    assert rules.gate(asked[0], rules.floor()).verdict == "allow"
    assert rules.gate(replace(asked[0], context={}, attrs={}), rules.floor()).verdict == "deny", (
        "an undeclared side effect"
    )


def test_the_matrix_gives_what_the_decisions_say() -> None:
    six = {"view", "change", "approve", "manage_connections", "publish_shared_views", "manage_team_members"}
    given = {role: matrix.permissions_of("person", [role]) for role in matrix.ROLES}
    assert given["owner"] >= six
    assert given["admin"] >= six
    assert given["member"] & six == {"view", "change"}
    assert given["viewer"] == {"view"}
    assert "own" in given["owner"]
    assert "own" not in given["admin"]
    assert matrix.permissions_of("person", ["viewer", "approver"]) == {"view", "approve"}
    assert matrix.permissions_of("attachment", ["owner", "operator"]) == set()
    assert "approve" not in matrix.permissions_of("team_member", ["owner", "approver"])


async def test_a_text_that_was_written_over_another_version_overwrites_nothing(world: World) -> None:
    ctx, here = world.ctx("owner"), world.workspace_id
    assert (await service.save_policy(ctx, here, "governance", GOOD, "first", over=0))["version"] == 1, "the control"
    for stale in (0, 2):
        with pytest.raises(PolicyMoved, match=f"over version {stale} .* version 1 is in force"):
            await service.save_policy(world.ctx("owner"), here, "governance", "", "second", over=stale)
    assert (await service.newest_policy(world.ctx("owner"), here, "governance"))["text"] == GOOD
    assert (await service.save_policy(world.ctx("owner"), here, "governance", "", "second", over=1))["version"] == 2
