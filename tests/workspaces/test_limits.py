"""Limits as data: who sets them, how layers tighten, what is shown, and what one would do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import worka.workflows.holding  # noqa: F401 - registers the limit on tasks at once
from tests.support.database import Cluster
from tests.workspaces.world import World, make
from worka.kernel.db import Database
from worka.kernel.errors import Denied, Invalid, Problem
from worka.kernel.ids import new_id
from worka.workspaces import service as workspaces
from worka.workspaces.errors import LimitMoved, LimitTooHigh, MemberNotFound, QuotaFull, TenantNotFound
from worka.workspaces.limits import rules, service

NAME = "tasks_at_once"
OPS = pytest.mark.capability("OPS-7", part="as data: layers, revisions, who may, before and after")


@pytest.fixture
def deployment(cluster: Cluster) -> Iterator[None]:
    """For tests that set the deployment's limits, which bind every test's tenant: taken away again afterwards."""
    yield
    known = json.loads((cluster.home / "admin" / "database.json").read_text())
    with psycopg.connect(
        host=known["host"], port=known["port"], user="postgres", password=known["admin"], dbname="worka"
    ) as conn:
        conn.execute("delete from worka.deployment_quota")


async def put(world: World, value: int | None, who: str = "owner", **wish: Any) -> dict[str, Any]:
    wish = {"layer": "workspace", "scope": "workspace", "name": NAME, "reason": "a reason", **wish, "value": value}
    return await service.set_limit(world.ctx(who), world.workspace_id, wish)


async def deploy(world: World, value: int | None, **wish: Any) -> dict[str, Any]:
    wish = {"tenant_id": "", "scope": "workspace", "name": NAME, "reason": "a reason", **wish, "value": value}
    return await service.set_deployment(world.ctx("operator"), wish)


async def held(world: World, scope: str, who: str = "owner", member: str | None = None) -> tuple[int | None, str]:
    found = await service.show(world.ctx(who), world.workspace_id, member)
    item = next(item for item in found["items"] if (item["name"], item["scope"]) == (NAME, scope))
    return item["limit"], (item["source"] or {}).get("layer", "")


@OPS
async def test_the_tightest_layer_holds_and_each_only_tightens_what_is_above_it(world: World, deployment: None) -> None:
    assert await held(world, "workspace") == (None, "")
    await deploy(world, 20)
    assert await held(world, "workspace") == (20, "deployment")
    await deploy(world, 15, tenant_id=world.tenant_id)
    assert await held(world, "workspace") == (15, "operator")
    await put(world, 10, layer="tenant")
    await put(world, 5)
    assert await held(world, "workspace") == (5, "workspace")
    for value, layer in ((16, "tenant"), (11, "workspace")):
        with pytest.raises(LimitTooHigh, match="only tightens"):
            await put(world, value, layer=layer)
    await put(world, 10)  # as high as what is above it
    await put(world, 3, layer="tenant")
    assert await held(world, "workspace") == (3, "tenant"), (
        "what is tightened above holds at once, whatever stands below"
    )
    with pytest.raises(LimitTooHigh):
        await put(world, 11, scope="member")
    await put(world, 2, scope="member")
    await put(world, 1, scope="member", member_id=world.ids["member"])
    assert await held(world, "member", member=world.ids["member"]) == (1, "workspace")
    assert await held(world, "member", member=world.ids["admin"]) == (2, "workspace")
    await put(world, None, layer="tenant")
    await put(world, None)
    assert await held(world, "workspace") == (15, "operator")


@OPS
async def test_the_operator_is_told_which_tenants_would_be_over_a_limit_and_nothing_more_of_them(
    world: World, deployment: None, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = await make(world.db, tmp_path / "other")
    await other.person("twelfth")
    await other.join("twelfth", "viewer")
    here = len(await world.rows("membership"))
    wish = {"tenant_id": "", "scope": "workspace", "name": "members", "value": here}

    async def over(who: str = "operator", most: int = 200, **changed: Any) -> dict[str, Any]:
        found, cursor, looked_at = {}, None, 0
        while True:
            page = await service.preview_deployment(world.ctx(who), {**wish, **changed}, cursor, most)
            found |= {row["tenant_id"]: (row["use"], row["over"]) for row in page["items"]}
            looked_at, cursor = looked_at + page["tenants"], page["next"]
            if cursor is None:
                return found | {"looked at": looked_at}

    everybody = await over()
    assert (world.tenant_id in everybody, everybody[other.tenant_id]) == (False, (here + 1, 1)), "at it is not over it"
    assert (await over(most=7)) == everybody, "page by page"
    assert (await over(value=here - 1))[world.tenant_id] == (here, 1)
    assert await over(tenant_id=other.tenant_id) == {other.tenant_id: (here + 1, 1), "looked at": 1}
    assert len(await over(value=None)) == 1, "no limit, nobody over it"
    assert (await over(scope="tenant", value=0))[world.tenant_id] == (here, 1)
    page = await service.preview_deployment(world.ctx("operator"), wish, None, 200)
    assert {key for row in page["items"] for key in row} == {"tenant_id", "use", "over"}
    for who in ("owner", "viewer"):
        with pytest.raises(Denied):
            await over(who)
    with pytest.raises(TenantNotFound):
        await over(tenant_id="ten_nowhere")
    with pytest.raises(Invalid):
        await over(scope="member")
    assert await service.show_deployment(world.ctx("operator")) == []


@OPS
async def test_only_an_owner_sets_a_limit_and_nobody_raises_their_own(world: World, deployment: None) -> None:
    made = await put(world, 2, scope="member", member_id=world.ids["member"])
    for who in ("member", "admin", "viewer", "approver"):
        for value in (100, None):
            with pytest.raises(Denied):
                await put(world, value, who, scope="member", member_id=world.ids["member"])
    with pytest.raises(Denied):
        await deploy_as(world, "owner", 5)
    assert await held(world, "member", member=world.ids["member"]) == (2, "workspace")
    assert made["revision"] == 1
    again = await put(world, 3, scope="member", member_id=world.ids["member"])
    assert again["revision"] == 2, "the control: an owner does"
    await deploy(world, 1, scope="member", tenant_id=world.tenant_id)
    with pytest.raises(LimitTooHigh):
        await put(world, 3, scope="member", member_id=world.ids["member"])


async def deploy_as(world: World, who: str, value: int) -> None:
    wish = {"tenant_id": "", "scope": "workspace", "name": NAME, "reason": "r", "value": value}
    await service.set_deployment(world.ctx(who), wish)


@OPS
async def test_an_owner_of_one_workspace_does_not_limit_the_whole_tenant(world: World) -> None:
    await put(world, 9, layer="tenant", scope="tenant")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.workspace (tenant_id, id, slug, name, created_by) values (%s, %s, 'b', 'B', 'test')",
            (world.tenant_id, new_id("ws")),
        )
    with pytest.raises(Denied):
        await put(world, 5, layer="tenant", scope="tenant")
    await put(world, 5)


@OPS
async def test_a_limit_says_its_revision_who_set_it_and_why_and_each_change_is_an_event(world: World) -> None:
    first = await put(world, 4, reason="the tracker is slow")
    assert (first["revision"], first["value"], first["reason"]) == (1, 4, "the tracker is slow")
    with pytest.raises(LimitMoved):
        await put(world, 5, revision=0)
    with pytest.raises(LimitMoved):
        await put(world, 5, revision=7)
    second = await put(world, 5, revision=1)
    gone = await put(world, None, revision=2)
    assert (second["revision"], gone["revision"], gone["value"]) == (2, 3, None)
    events = await world.events("limit.set")
    assert [(event["before"], event["after"]["value"]) for event in events] == [
        (None, 4),
        ({"value": 4, "revision": 1}, 5),
        ({"value": 5, "revision": 2}, None),
    ]
    entries = await world.rows("audit_entry", "convert_from(body, 'UTF8') like '%%limit.set%%'")
    assert len(entries) == 3
    for empty in ("", "  "):
        with pytest.raises(Invalid, match="reason"):
            await put(world, 1, reason=empty)


@OPS
async def test_a_preview_says_who_would_be_over_it_and_sets_nothing(world: World) -> None:
    wish = {"layer": "workspace", "scope": "member", "name": NAME, "value": 0}
    for who, number in (("member", 2), ("admin", 1)):
        for _ in range(number):
            await running_task(world, who)
    found = await service.preview(world.ctx("owner"), world.workspace_id, wish)
    assert {(row["id"], row["use"]) for row in found["over"]} == {(world.ids["member"], 2), (world.ids["admin"], 1)}
    assert (found["allowed"], found["use"], found["before"]) == (True, 2, None)
    narrower = await service.preview(world.ctx("owner"), world.workspace_id, {**wish, "value": 1})
    assert [row["id"] for row in narrower["over"]] == [world.ids["member"]]
    assert "2 now where they are most; 1 of 2 members above it" in narrower["sentence"]
    whole_place = {**wish, "scope": "workspace", "value": 1}
    assert (
        "3 now, 2 too many." in (await service.preview(world.ctx("owner"), world.workspace_id, whole_place))["sentence"]
    )
    assert await held(world, "member") == (None, "")
    await put(world, 1)
    refused = await service.preview(world.ctx("owner"), world.workspace_id, {**wish, "value": 5})
    assert not refused["allowed"]
    assert "only tightens" in refused["because"]
    shown = await service.show(world.ctx("viewer"), world.workspace_id)
    whole = next(item for item in shown["items"] if (item["name"], item["scope"]) == (NAME, "workspace"))
    assert (whole["use"], whole["limit"], whole["who_can_raise"]) == (3, 1, "an owner of this workspace")


@OPS
async def test_who_cannot_limit_the_whole_tenant_is_not_shown_who_would_be_over_it(world: World) -> None:
    await running_task(world, "member")
    for scope in ("tenant", "workspace", "member"):
        wish = {"layer": "tenant", "scope": scope, "name": NAME, "value": 0}
        for who in ("viewer", "admin"):
            with pytest.raises(Denied):
                await service.preview(world.ctx(who), world.workspace_id, wish)
        found = await service.preview(world.ctx("owner"), world.workspace_id, wish)
        assert [row["use"] for row in found["over"]] == [1], "the control: who could set it"
    own = {"layer": "workspace", "scope": "workspace", "name": NAME, "value": 0}
    assert (await service.preview(world.ctx("viewer"), world.workspace_id, own))["use"] == 1, "this workspace's"


async def running_task(world: World, who: str) -> None:
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.workflow_definition (tenant_id, id, workspace_id, name, version, definition, digest,"
            " created_by) values (%s, 'wfd_1', %s, 'n', 1, '{}', 'd', 'test') on conflict do nothing",
            (world.tenant_id, world.workspace_id),
        )
        await conn.execute(
            "insert into worka.task (tenant_id, id, workspace_id, definition_id, title, inputs, member_id, state, reason,"
            " lease_until, trace_id, created_by) values (%s, %s, %s, 'wfd_1', 't', '{}', 'm', 'running', 'running_step',"
            " now() + interval '1 hour', 't', %s)",
            (world.tenant_id, new_id("task"), world.workspace_id, world.ids[who]),
        )


@OPS
async def test_a_limit_of_one_tenant_is_neither_seen_nor_counted_nor_set_from_another(db: Database, world: World, tmp_path: Any) -> None:  # fmt: skip
    (tmp_path / "other").mkdir()
    other = await make(db, tmp_path / "other")
    await put(world, 1)
    await running_task(other, "member")
    assert await held(other, "workspace") == (None, "")
    shown = await service.show(world.ctx("owner"), world.workspace_id)
    assert all(item["use"] == 0 for item in shown["items"] if item["name"] == NAME)
    with pytest.raises(MemberNotFound):
        await put(world, 1, scope="member", member_id=other.ids["member"])
    with pytest.raises(MemberNotFound):
        await service.show(world.ctx("owner"), world.workspace_id, other.ids["member"])
    with pytest.raises(Denied):
        await service.set_limit(
            world.ctx("owner"), other.workspace_id,
            {"layer": "workspace", "scope": "workspace", "name": NAME, "value": 0, "reason": "r"},
        )  # fmt: skip
    assert await held(other, "workspace") == (None, "")


@pytest.mark.capability("OPS-7", part="members")
async def test_one_member_too_many_is_refused_with_the_limit_and_two_who_race_do_not_both_come_in(world: World) -> None:
    count = len(await world.rows("membership"))
    await put(world, count + 1, name="members")
    invitations = [
        (await workspaces.invite(world.ctx("owner"), world.workspace_id, f"{new_id('x')}@b.test", "viewer", False))[
            "invitation_token"
        ]
        for _ in range(2)
    ]

    async def come(token: str) -> str:
        try:
            await workspaces.accept(world.nobody(), token, "0123456789ab", "New")
        except Problem as problem:
            return problem.problem_code
        return "in"

    assert sorted(await asyncio.gather(*(come(token) for token in invitations))) == ["in", "quota_full"]
    assert len(await world.rows("membership")) == count + 1
    fields = {"name": "second", "responsibility": "r", "instructions": "", "tools": []}
    for act in (
        workspaces.add_team_member(world.ctx("owner"), world.workspace_id, fields, "member"),
        workspaces.invite(world.ctx("owner"), world.workspace_id, "late@b.test", "viewer", False),
    ):
        with pytest.raises(QuotaFull, match="members in this workspace") as full:
            await act
    assert full.value.extra["use"] == full.value.extra["limit"] == count + 1
    assert full.value.extra["who_can_raise"] == "an owner of this workspace"
    await put(world, count + 2, name="members")
    left = [token for token in invitations if await come(token) == "in"]
    assert len(left) == 1, "the invitation that was refused is still good"


@OPS
async def test_two_owners_who_set_the_same_limit_at_once_do_not_both_win(world: World) -> None:
    await put(world, 9)

    async def one(value: int) -> str:
        try:
            return str((await put(world, value, revision=1))["value"])
        except Problem as problem:
            return problem.problem_code

    outcomes = sorted(await asyncio.gather(one(3), one(4)))
    assert outcomes[1] == "limit_moved"
    assert outcomes[0] in ("3", "4")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"name": "tea_at_once"}, "is no limit"),
        ({"scope": "tenant"}, "limits itself and its members"),
        ({"layer": "tenant", "scope": "member", "member_id": "per_x"}, "limited by the workspace"),
    ],
)
async def test_a_limit_that_counts_nothing_is_refused(world: World, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await put(world, 1, **wish)


def test_of_two_settings_the_tighter_holds_and_of_equals_the_wider_layers() -> None:
    rows = [
        {"layer": layer, "scope": "workspace", "workspace_id": "", "member_id": "", "name": NAME, "value": value}
        for layer, value in (("workspace", 4), ("tenant", 4), ("deployment", 9))
    ]
    assert rules.holding(rows, NAME, "ws", "per")["workspace"].source == "tenant"
