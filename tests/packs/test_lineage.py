"""From a running tool back to its source in one statement; who uses a pack; what hangs on it; which gate blocks a release."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.packs.registered import another_workspace, attachment, called, release
from tests.workspaces.world import World, world
from worka.kernel.errors import Denied, NotFound
from worka.kernel.ids import new_id
from worka.packs import explain
from worka.packs.lifecycle import store
from worka.packs.service import reaching, tracing

__all__ = ["world"]
Row = dict[str, Any]


async def approved(world: World, attachment_id: str, *, state: str = "approved") -> str:
    """The id of an approval of an attachment, which one person gave."""
    made = new_id("apr")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.approval (tenant_id, id, workspace_id, verb, boundary, action, subject_type, subject_id, title,"
            " effect, digest, rules, requester_kind, requester_id, originating_person, decision_id, policy_version, state,"
            " expires_at, trace_id) values (%s, %s, %s, 'approve', 'pack.attach', 'pack.attach', 'attachment', %s,"
            " 'Attach acme.small 1.0.0', 'e', 'd', %s, 'person', %s, %s, 'dec_x', 'v', %s, now() + interval '1 day', 't')",
            (
                world.tenant_id, made, world.workspace_id, attachment_id, Jsonb(["approve:1"]), world.ids["admin"],
                world.ids["admin"], state,
            ),
        )  # fmt: skip
        if state == "approved":
            await conn.execute(
                "insert into worka.approval_vote (tenant_id, approval_id, person_id, decision) values (%s, %s, %s, 'approve')",
                (world.tenant_id, made, world.ids["approver"]),
            )
        await conn.execute("update worka.attachment set approval_id = %s where id = %s", (made, attachment_id))
    return made


@asynccontextmanager
async def counted(conn: Any) -> Any:
    """The statements that a connection is given meanwhile."""
    given: list[str] = []
    plain = conn.execute

    async def execute(query: Any, *more: Any, **named: Any) -> Any:
        given.append(str(query))
        return await plain(query, *more, **named)

    conn.execute = execute
    try:
        yield given
    finally:
        del conn.execute


@pytest.mark.capability("LIF-6", "GOV-13")
async def test_a_tool_an_attachment_and_a_call_lead_back_to_the_source_in_one_statement(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    apr = await approved(world, att)
    inv = await called(world, att)
    other = await attachment(world, await release(world, "acme.other", tools=("say",)))
    for subject in ("acme.small.say", att, inv):
        async with world.db.transaction(world.tenant_id) as conn, counted(conn) as given:
            found = await store.lineage(conn, world.workspace_id, subject)
        assert len(given) == 1
        assert found is not None
        assert found["source"]["declared"] == {"repository": "https://git.test/x", "revision": "abc123"}
        assert (found["release"]["id"], found["release"]["digest"]) == (made, f"digest-of-{made}")
        assert found["release"]["registered_by_name"] == "member"
        assert (found["attachment"]["id"], found["attachment"]["attached_by_name"]) == (att, "admin")
        assert found["approval"]["id"] == apr
        assert [vote["name"] for vote in found["approval"]["votes"]] == ["approver"]
        assert (found["invocation"] or {}).get("id") == (inv if subject == inv else None)
    told = await tracing.lineage(world.ctx("viewer"), world.workspace_id, inv)
    for word in ("acme.small 1.0.0", "revision abc123", "registered by member", "attached to", "approved by approver"):
        assert word in told["sentence"], told["sentence"]
    async with world.db.transaction(world.tenant_id) as conn:
        assert (await store.lineage(conn, world.workspace_id, "acme.other.say") or {})["attachment"]["id"] == other


@pytest.mark.capability("LIF-6", part="the consent that a release came by")
async def test_after_a_move_the_consent_is_the_one_that_this_release_came_by(world: World) -> None:
    first, second = await release(world), await release(world, version="1.1.0")
    att = await attachment(world, first)
    attached_by = await approved(world, att)
    moved_by = await approved(world, att)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.attachment set approval_id = %s where id = %s", (attached_by, att))
        await conn.execute(
            "insert into worka.attachment_move (tenant_id, id, workspace_id, attachment_id, pack, kind, from_release, to_release,"
            " state, reason, difference, widens, redefines, requester_kind, requester_id, approval_id, ended_at)"
            " values (%s, %s, %s, %s, 'acme.small', 'asked', %s, %s, 'moved', 'move_done', '{}', true, false, 'person', %s, %s,"
            " clock_timestamp())",
            (world.tenant_id, new_id("mov"), world.workspace_id, att, first, second, world.ids["admin"], moved_by),
        )
    # The control: while the first release runs, its consent is the one to the attachment.
    before = await tracing.lineage(world.ctx("viewer"), world.workspace_id, att)
    assert before["approval"]["id"] == attached_by
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.attachment set release_id = %s where id = %s", (second, att))
    after = await tracing.lineage(world.ctx("viewer"), world.workspace_id, att)
    assert (after["release"]["id"], after["approval"]["id"]) == (second, moved_by)


@pytest.mark.capability("LIF-6", "GOV-13")
async def test_a_call_keeps_the_release_that_it_went_to_when_its_attachment_moves_on(world: World) -> None:
    before, after = await release(world), await release(world, version="2.0.0")
    att = await attachment(world, before)
    inv = await called(world, att)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.attachment set release_id = %s where id = %s", (after, att))
    assert (await tracing.lineage(world.ctx("owner"), world.workspace_id, inv))["release"]["id"] == before
    assert (await tracing.lineage(world.ctx("owner"), world.workspace_id, att))["release"]["id"] == after


@pytest.mark.capability("LIF-6", "GOV-13")
async def test_nothing_is_traced_for_who_may_not_see_it_or_from_what_is_not_there(world: World) -> None:
    att = await attachment(world, await release(world))
    inv = await called(world, att)
    assert (await tracing.lineage(world.ctx("viewer"), world.workspace_id, inv))["attachment"]["id"] == att
    place = await another_workspace(world)
    for who, where, subject in (
        ("stranger", world.workspace_id, inv),
        ("viewer", place, "acme.small.say"),
        ("viewer", world.workspace_id, "acme.small.sa"),
        ("viewer", world.workspace_id, new_id("inv")),
        ("viewer", world.workspace_id, "acme.small.say' or '1'='1"),
    ):
        ctx = world.ctx(who)
        ctx.workspace_id = where
        with pytest.raises(NotFound):
            await tracing.lineage(ctx, where, subject)


@pytest.mark.capability("GOV-12")
async def test_every_workspace_that_uses_a_pack_is_listed_to_who_sees_packs_there(world: World) -> None:
    made = await release(world)
    newer = await release(world, version="2.0.0")
    mine, seen, hidden = world.workspace_id, await another_workspace(world, "owner"), await another_workspace(world)
    there = [await attachment(world, made), await attachment(world, newer, workspace_id=seen)]
    await attachment(world, made, workspace_id=hidden)
    rows = await tracing.users(world.ctx("owner"), "acme.small", None, 50)
    assert [(row["id"], row["workspace_id"], row["version"]) for row in rows] == [
        (there[0], mine, "1.0.0"),
        (there[1], seen, "2.0.0"),
    ]
    page = await tracing.users(world.ctx("owner"), "acme.small", there[0], 50)
    assert [row["id"] for row in page] == there[1:]
    async with world.db.transaction(world.tenant_id) as conn:
        assert set(await store.places_of(conn, "acme.small")) == {mine, seen, hidden}
    with pytest.raises(NotFound):
        await tracing.users(world.ctx("owner"), "acme.nothing", None, 50)
    with pytest.raises(NotFound):
        await tracing.users(world.ctx("stranger"), "acme.small", None, 50)


@pytest.mark.capability("BEY-3", part="packs, as a list and a picture")
async def test_the_blast_radius_names_what_breaks_and_counts_elsewhere_for_who_could_do_it(world: World) -> None:
    made = await release(world, outbound_domains=["api.test"])
    att = await attachment(world, made)
    needs = await attachment(world, await release(world, "acme.needs", dependencies=[{"pack": "acme.small"}]))
    hidden = await another_workspace(world)
    away = await attachment(world, made, workspace_id=hidden)
    inv = await called(world, att)
    async with world.db.transaction(world.tenant_id) as conn:
        await _workflow(conn, world, "uses-it", "acme.small.say")
        await _workflow(conn, world, "without-it", "acme.smaller.say")
    found = await reaching.of(world.ctx("owner"), "release", made)
    assert [row["id"] for row in found["attachments"]] == [att]
    assert [row["id"] for row in found["calls"]] == [inv]
    assert [row["name"] for row in found["workflows"]] == ["uses-it v1"]
    assert [row["id"] for row in found["dependents"]] == [needs]
    assert [(row["host"], row["declared"]) for row in found["reaches"]] == [("api.test", True)]
    assert found["elsewhere"]["attachments"] == 1
    assert away not in str(found)
    assert hidden not in str(found)
    # Who could not take it away is not told how much lies where they do not look.
    assert (await reaching.of(world.ctx("viewer"), "pack", "acme.small"))["elsewhere"] is None
    assert [row["id"] for row in (await reaching.of(world.ctx("owner"), "attachment", att))["attachments"]] == [att]
    with pytest.raises(NotFound):
        await reaching.of(world.ctx("stranger"), "release", made)


async def _workflow(conn: Any, world: World, name: str, tool: str) -> None:
    await conn.execute(
        "insert into worka.workflow_definition (tenant_id, id, workspace_id, name, version, definition, digest, created_by)"
        " values (%s, %s, %s, %s, 1, %s, 'd', 't')",
        (world.tenant_id, new_id("wf"), world.workspace_id, name, Jsonb({"steps": [{"tool": tool}]})),
    )


@pytest.mark.capability("OBS-5", part="which approval blocks a release, over API and CLI")
async def test_the_gates_name_the_approval_that_blocks_a_release_and_who_can_clear_it(world: World) -> None:
    made = await release(world)
    quiet = await tracing.gates(world.ctx("owner"), made)
    assert [gate["name"] for gate in quiet["gates"]] == list(tracing.GATES)
    assert {gate["state"] for gate in quiet["gates"]} == {"satisfied", "not_needed"}
    assert quiet["blocking"] == []
    att = await attachment(world, made, state="awaiting_connection")
    apr = await approved(world, att, state="open")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.attachment set state = 'awaiting_approval' where id = %s", (att,))
    blocked = await tracing.gates(world.ctx("approver"), made)
    (gate,) = blocked["blocking"]
    assert (gate["name"], gate["state"], gate["ref"], gate["you_can"]) == ("approvals", "waiting", apr, True)
    assert "approver" in gate["who"]
    told = await explain.explain_release(world.ctx("admin"), made)
    assert [(item.kind, item.ref, item.you_can) for item in told.waiting_on] == [("approval", apr, False)]
    assert "Attach acme.small 1.0.0" in told.headline


@pytest.mark.capability("LIF-1", part="source, build, publication, registration and probing fail apart")
@pytest.mark.parametrize(
    ("stage", "gate"),
    [("draft", "build"), ("built", "publication"), ("published", "registration"), ("registered", "probe")],
)
async def test_a_failed_stage_is_the_gate_that_blocks_and_those_after_it_were_not_reached(
    world: World, stage: str, gate: str
) -> None:
    made = await release(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.release set state = 'failed', reason = 'probe_failed', failed_stage = %s, probe = null,"
            ' error = \'{"message": "it says why"}\' where id = %s',
            (stage, made),
        )
    found = await tracing.gates(world.ctx("viewer"), made)
    (blocking,) = found["blocking"]
    assert (blocking["name"], blocking["state"]) == (gate, "failed")
    assert "it says why" in blocking["because"]
    names = [item["name"] for item in found["gates"]]
    after = found["gates"][names.index(gate) + 1 :]
    assert {item["state"] for item in after} == {"missing"}
    assert {item["state"] for item in found["gates"][: names.index(gate)]} == {"satisfied"}


@pytest.mark.capability("OBS-5", part="why packs fail, by reason")
async def test_what_failed_is_grouped_by_its_reason_and_only_for_who_sees_calls_here(world: World) -> None:
    att = await attachment(world, await release(world))
    for _ in range(3):
        newest = await called(world, att, state="failed", reason="tool_error", layer="pack")
    await called(world, att, state="failed", reason="pack_timeout", layer="pack")
    await called(world, att)
    rows = await tracing.failures(world.ctx("viewer"), world.workspace_id, 7, None)
    assert [(row["reason"], row["count"]) for row in rows] == [("tool_error", 3), ("pack_timeout", 1)]
    assert (rows[0]["newest"], rows[0]["names"]) == (newest, ["acme.small.say"])
    assert rows[0]["meaning"].startswith("The tool itself answered")
    assert await tracing.failures(world.ctx("viewer"), world.workspace_id, 7, "acme.other") == []
    with pytest.raises(Denied):
        await tracing.failures(world.ctx("stranger"), world.workspace_id, 7, None)
