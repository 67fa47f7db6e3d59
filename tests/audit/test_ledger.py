"""The ledger on a real PostgreSQL: rows commit with their change, chains hold, and what a superuser does is found."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.audit.support import seal, sealer, superuser, write
from tests.support.database import LEDGER_PATIENCE, Cluster
from tests.workspaces.world import World
from worka.audit import checkpoints, ledger, recorder, rules, service, store
from worka.audit.errors import AuditUnwritable
from worka.audit.sealer import AuditSealer
from worka.kernel.context import Principal
from worka.kernel.errors import Denied
from worka.kernel.events import Event
from worka.kernel.paths import Paths


async def verified(world: World) -> dict[str, Any]:
    """Verifies the world's tenant."""
    return await ledger.verify(world.ctx("owner"), [world.tenant_id])


@pytest.mark.capability("AUD-1", part="initiator, workspace, person behind, time, cause, decision and approval")
async def test_a_row_says_who_for_whom_where_what_and_why(world: World) -> None:
    ctx = world.ctx("robot", behind="member")
    async with ctx.transaction():
        ctx.record(
            Event(
                "test.thing.changed",
                "thing_1",
                "Thing",
                before={"a": 1},
                after={"a": 2},
                cause={"kind": "approval", "id": "apr_x"},
                data={"decision_id": "dec_x"},
            )
        )
    (row,) = await world.rows("audit_entry")
    body = json.loads(row["body"])
    assert body["actor"] == {"kind": "team_member", "id": world.ids["robot"], "name": "robot"}
    assert body["on_behalf_of"] == world.ids["member"]
    assert (body["tenant"], body["workspace"]) == (world.tenant_id, world.workspace_id)
    assert (body["before"], body["after"]) == ({"a": 1}, {"a": 2})
    assert (body["decision"], body["approval"]) == ("dec_x", "apr_x")
    assert body["trace_id"] == ctx.trace_id
    assert body["at"].endswith("Z")


@pytest.mark.capability("AUD-6", part="every committed row is linked and authenticated in its own commit")
async def test_rows_of_many_writers_are_linked_and_authenticated(world: World) -> None:
    async def writer(number: int) -> None:
        for round_ in range(10):
            ctx = world.ctx("owner")
            async with ctx.transaction():
                for part in range(1 + (number + round_) % 3):
                    ctx.record(Event("test.thing.changed", f"thing_{number}_{round_}_{part}"))

    await asyncio.gather(*(writer(number) for number in range(6)))
    rows = await world.rows("audit_entry", "true order by lane, seq")
    assert len(rows) == sum(1 + (number + round_) % 3 for number in range(6) for round_ in range(10))
    ends: dict[int, tuple[int, bytes]] = {}
    for row in rows:
        seq, before = ends.get(row["lane"], (0, b""))
        assert row["seq"] == seq + 1
        assert row["prev"] == before
        assert hashlib.sha256(row["prev"] + row["mac"] + row["body"]).digest() == row["hash"]
        ends[row["lane"]] = (row["seq"], row["hash"])
    heads = {row["lane"]: (row["seq"], row["hash"]) for row in await world.rows("audit_head")}
    assert heads == ends
    assert len(ends) > 1, "several connections write on several lanes"
    assert (await verified(world))["ok"]


@pytest.mark.capability("AUD-6", part="a change without its row does not happen")
async def test_a_change_whose_row_cannot_be_written_is_not_made(world: World, cluster: Cluster) -> None:
    async def change() -> None:
        ctx = world.ctx("owner")
        async with ctx.transaction() as conn:
            await conn.execute("update worka.tenant set name = 'Changed'")
            ctx.record(Event("test.thing.changed", "thing_1"))

    superuser(cluster, "revoke insert on worka.audit_entry from worka_app")
    try:
        with pytest.raises(AuditUnwritable, match="permission denied"):
            await change()
        assert (await world.rows("tenant"))[0]["name"] == "Test"
        assert await world.rows("event", "type = 'test.thing.changed'") == []
    finally:
        superuser(cluster, "grant insert on worka.audit_entry to worka_app")
    await change()
    assert (await world.rows("tenant"))[0]["name"] == "Changed"
    assert len(await world.rows("audit_entry")) == 1


async def test_the_application_can_neither_change_nor_remove_a_row(world: World) -> None:
    await write(world, 1)
    for statement in ("update worka.audit_entry set body = ''", "delete from worka.audit_entry"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with world.db.transaction(world.tenant_id) as conn:
                await conn.execute(statement)  # type: ignore[arg-type]


async def test_what_happens_outside_of_tenants_is_in_the_platform_chain(world: World) -> None:
    ctx = world.nobody()
    async with ctx.transaction() as conn:
        ctx.record(Event("test.platform.changed", "x", data={"mark": ctx.trace_id}))
        await conn.execute("select 1")
    async with world.db.transaction(rules.PLATFORM) as conn:
        cursor = await conn.execute(
            "select body from worka.audit_entry where convert_from(body, 'utf8') like %s", (f"%{ctx.trace_id}%",)
        )
        rows = await cursor.fetchall()
    assert [json.loads(row["body"])["tenant"] for row in rows] == [rules.PLATFORM]


async def test_one_transaction_can_write_to_both_chains(world: World) -> None:
    platform = world.nobody()
    async with platform.transaction() as conn:
        inside = platform.acting(Principal("person", world.ids["owner"], "owner"), tenant_id=world.tenant_id)
        await conn.execute("select set_config('worka.tenant', %s, true)", (world.tenant_id,))
        platform.record(Event("test.platform.changed", "x"))
        inside.record(Event("test.thing.changed", "y"))
    assert len(await world.rows("audit_entry")) == 1


@pytest.mark.capability("AUD-6", part="verify prints the window and the claim")
async def test_verify_counts_what_is_sealed_and_prints_the_window(world: World) -> None:
    await write(world, 5)
    await seal(world)
    await write(world, 2)
    found = await verified(world)
    assert found["ok"], found["problems"]
    assert (found["rows"], found["sealed"], found["unsealed"]) == (7, 5, 2)
    assert 0 < found["window_seconds"] < rules.STALE_SECONDS
    assert "unsealed" in found["window"]
    assert "Rows after it are unsealed" in found["claim"]


TAMPERING = {
    "a changed byte": (
        "update worka.audit_entry set body = set_byte(body, 30, 65) where tenant_id = %s and lane = 3 and seq = 17",
        17,
        "hash",
    ),
    "a changed byte with its hash made right": (
        "update worka.audit_entry set body = set_byte(body, 30, 65), hash = sha256(prev || mac || set_byte(body, 30,"
        " 65))"
        " where tenant_id = %s and lane = 3 and seq = 17",
        17,
        "MAC",
    ),
    "a removed row": ("delete from worka.audit_entry where tenant_id = %s and lane = 3 and seq = 17", 17, "missing"),
    "two rows in another order": (
        "update worka.audit_entry e set body = o.body, mac = o.mac, hash = sha256(e.prev || o.mac || o.body)"
        " from worka.audit_entry o where e.tenant_id = %s and o.tenant_id = e.tenant_id and e.lane = 3 and o.lane = 3"
        " and e.seq in (17, 18) and o.seq = 35 - e.seq",
        18,
        "not linked",
    ),
    "a cut tail": (
        "with cut as (delete from worka.audit_entry where tenant_id = %s and lane = 3 and seq > 16 returning 1)"
        " select count(*) from cut",
        17,
        "tail is cut",
    ),
}


@pytest.mark.capability("AUD-6", part="a changed, removed, reordered or cut-off row is found and named")
@pytest.mark.parametrize("how", TAMPERING)
async def test_what_a_superuser_does_is_found_and_named(world: World, cluster: Cluster, how: str) -> None:
    await write(world, 20)
    await seal(world)
    assert (await verified(world))["ok"], "the control: nothing was touched"
    sql, seq, word = TAMPERING[how]
    superuser(cluster, sql, world.tenant_id)
    found = await verified(world)
    assert not found["ok"]
    assert found["first_bad"]["tenant"] == world.tenant_id
    assert (found["first_bad"]["lane"], found["first_bad"]["seq"]) == (3, seq)
    assert word in found["first_bad"]["what"]
    assert f"lane 3 seq {seq}" in found["problems"][0]


@pytest.mark.capability("AUD-7", part="a tail that was cut together with its head is found")
async def test_a_tail_cut_with_its_head_made_right_is_found_by_the_seal_outside(world: World, cluster: Cluster) -> None:
    await write(world, 20)
    made = await seal(world)
    _cut(world, cluster)
    found = await verified(world)
    assert found["first_bad"] == {
        "tenant": world.tenant_id,
        "lane": 3,
        "seq": 17,
        "what": f"the tail is cut: checkpoint {made.number} seals seq 20, the rows end at 16",
    }


def _cut(world: World, cluster: Cluster) -> None:
    tenant = world.tenant_id
    superuser(cluster, "delete from worka.audit_entry where tenant_id = %s and lane = 3 and seq > 16", tenant)
    superuser(
        cluster,
        "update worka.audit_head h set seq = e.seq, hash = e.hash from worka.audit_entry e where e.tenant_id = %s"
        " and h.tenant_id = e.tenant_id and e.lane = 3 and h.lane = 3 and e.seq = 16",
        tenant,
    )


@pytest.mark.capability("AUD-7", part="tampering is never sealed away")
async def test_the_sealer_never_signs_a_cut_tail_away(world: World, cluster: Cluster) -> None:
    await write(world, 20)
    first = await seal(world)
    _cut(world, cluster)
    await write(world, 9)  # the chain is longer than the sealed one again, and right in itself
    second = await seal(world)
    assert second.vector[world.tenant_id][3] == first.vector[world.tenant_id][3]
    assert any(f"{world.tenant_id} lane 3" in lost for lost in second.lost)
    found = await verified(world)
    assert not found["ok"]
    assert (found["first_bad"]["lane"], found["first_bad"]["seq"]) == (3, 20)


async def test_a_tenant_without_any_chain_does_not_verify(world: World, cluster: Cluster) -> None:
    await write(world, 3)
    assert (await verified(world))["ok"]
    for table in ("audit_entry", "audit_head"):
        superuser(cluster, f"delete from worka.{table} where tenant_id = %s", world.tenant_id)
    found = await verified(world)
    assert not found["ok"]
    assert "no chain has a head" in found["problems"][0]


async def test_a_row_beyond_its_head_is_found(world: World, cluster: Cluster) -> None:
    await write(world, 3)
    superuser(
        cluster,
        "insert into worka.audit_entry (tenant_id, lane, seq, body, mac, prev, hash) select tenant_id, lane, seq +"
        " 1, body, mac,"
        " hash, sha256(hash || mac || body) from worka.audit_entry where tenant_id = %s and seq = 3",
        world.tenant_id,
    )
    found = await verified(world)
    assert (found["first_bad"]["seq"], found["first_bad"]["what"]) == (4, "the row lies beyond the head of its lane")


async def test_rows_that_nobody_seals_make_the_claim_untrue(world: World, cluster: Cluster) -> None:
    await write(world, 2)
    superuser(
        cluster, "update worka.audit_entry set at = at - interval '1 minute' where tenant_id = %s", world.tenant_id
    )
    found = await verified(world)
    assert not found["ok"]
    assert "no sealer runs" in found["problems"][0]


async def test_a_checkpoint_whose_heads_were_edited_is_found(world: World) -> None:
    await write(world, 2)
    made = await seal(world)
    assert (await verified(world))["ok"]
    path = checkpoints.Store(Paths(world.settings.home).checkpoints).path(made.number)
    data = json.loads(path.read_text())
    for leaf in data["leaves"]:
        if leaf["tenant"] == world.tenant_id:
            leaf["heads"] = [[3, 1, leaf["heads"][0][2]]]
    path.chmod(0o600)
    path.write_text(json.dumps(data))
    assert any("does not commit to the heads" in problem for problem in (await verified(world))["problems"])


async def test_the_running_sealer_seals_within_the_second_and_an_approval_at_once(world: World) -> None:
    files = checkpoints.Store(Paths(world.settings.home).checkpoints)
    task = asyncio.create_task(AuditSealer(world.db, Paths(world.settings.home), interval=0.9).run())
    loop = asyncio.get_running_loop()

    async def sealed(seq: int) -> float:
        started = loop.time()
        while loop.time() - started < 5:
            last = files.latest()
            if last is not None and last.vector.get(world.tenant_id, {}).get(3, (0, ""))[0] >= seq:
                return loop.time() - started
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was sealed")

    try:
        await write(world, 1)
        await sealed(1)
        await write(world, 1)
        await sealed(2)
        ctx = world.ctx("owner")
        async with ctx.transaction():
            ctx.record(Event("approval.approved", "apr_1"))
        assert await sealed(3) < 0.6, "an approval does not wait for the next round"
        assert files.latest() is not None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_two_sealers_never_write_the_same_number(world: World) -> None:
    await write(world, 1)
    one = sealer(world)
    first = await one.seal()
    assert first is not None
    two = sealer(world)
    assert await two.seal() is None, "nothing has moved"
    await write(world, 1)
    assert await two.seal() is not None
    await write(world, 1)
    with pytest.raises(checkpoints.NumberTaken):
        await one.seal()


@pytest.mark.capability("AUD-3", part="the ledger answers who may ask")
@pytest.mark.parametrize(("who", "may"), [("owner", True), ("admin", True), ("member", False), ("viewer", False)])
async def test_the_ledger_is_for_owners_and_admins(world: World, who: str, may: bool) -> None:
    await write(world, 1)
    if may:
        assert (await service.verify(world.ctx(who), world.workspace_id))["ok"]
        return
    with pytest.raises(Denied):
        await service.verify(world.ctx(who), world.workspace_id)
    with pytest.raises(Denied):
        await service.export_ledger(world.ctx(who), world.workspace_id)


async def test_only_an_operator_verifies_everyone(world: World) -> None:
    with pytest.raises(Denied):
        await service.verify_platform(world.ctx("owner"))
    ctx = world.nobody()
    ctx.principal = Principal("person", world.ids["operator"], "operator", operator=True)
    found = await service.verify_platform(ctx)
    async with world.db.transaction(None) as conn:
        assert found["tenants"] >= len(await store.tenants(conn))


def test_the_page_walk_stops_judging_a_lane_after_its_first_bad_row(tmp_path: Path) -> None:
    chains = ledger.Chains("ten", b"k", set(), {})
    chains.page([(0, 2, b"", b"", b"", b"", 0.0), (0, 5, b"", b"", b"", b"", 0.0), (1, 3, b"", b"", b"", b"", 0.0)])
    assert [(p["lane"], p["seq"]) for p in chains.problems] == [(0, 1), (1, 1)]


@pytest.mark.capability("AUD-6", part="a row that the ledger does not take in time")
async def test_a_ledger_that_blocks_refuses_within_two_seconds_and_takes_rows_again_by_itself(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", LEDGER_PATIENCE)
    took: list[float] = []

    async def change(name: str) -> None:
        began = time.monotonic()
        ctx = world.ctx("owner")
        try:
            async with ctx.transaction() as conn:
                await conn.execute(
                    "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, %s, 'test', '{}')",
                    (world.tenant_id, name),
                )
                ctx.record(Event("test.thing.changed", name))
        finally:
            took.append(time.monotonic() - began)

    await change("before")
    known = json.loads(cluster.server.secrets.read_text())
    with psycopg.connect(
        host=known["host"], port=known["port"], user="postgres", password=known["admin"], dbname="worka"
    ) as blocker:
        blocker.execute("lock table worka.audit_entry in access exclusive mode")
        # More at once than there are connections: nobody may wait behind others who wait.
        answers = await asyncio.gather(*(change(f"during-{number}") for number in range(24)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AuditUnwritable] * 24, answers
    assert max(took) < 2.0
    assert [row["id"] for row in await world.rows("outbox")] == ["before"], "what was not recorded was not done"
    await asyncio.sleep(0.6)
    await change("after")
    assert len(await world.rows("audit_entry")) == 2
    assert (await verified(world))["ok"]


async def test_a_ledger_that_refuses_a_row_says_why(world: World, cluster: Cluster) -> None:
    superuser(cluster, "alter table worka.audit_entry add constraint no_room check (false) not valid")
    try:
        with pytest.raises(AuditUnwritable, match="no_room"):
            await write(world, 1)
    finally:
        superuser(cluster, "alter table worka.audit_entry drop constraint no_room")
    await write(world, 1)
    assert (await verified(world))["ok"]
