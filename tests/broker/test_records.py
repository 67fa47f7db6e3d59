"""The ledger as people read it, over rows that a real broker wrote: outcomes apart, filters, pages, counts, files, followed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.broker.test_doors import Gate
from tests.broker.test_doors import gate as gate
from tests.broker.test_doors import person as person
from tests.broker.world import CANARY, HOST, INJECT, World
from worka.broker.errors import EgressUnknown
from worka.broker.records import model, service
from worka.broker.records.model import Filter
from worka.kernel.context import Context
from worka.kernel.errors import Denied, Problem
from worka.realtime import egress as following
from worka.realtime import store as commits

Row = dict[str, Any]


async def busy(world: World) -> Row:
    """A day: answered, refused by the outside, refused here, a lookup, an unreachable host; ids of the calls."""
    await world.declare(HOST, {"host": "dead.worka.test", "port": 443}, connections=INJECT)
    connection = await world.connect()
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.exempt("dead.worka.test", 443, 9)
    box = await world.box()
    async with box.invoking() as first:
        await box.fetch(f"https://{HOST}/issues")
        await box.fetch(f"https://{HOST}/issues")
        await box.fetch(f"https://{CANARY}/loot")
        await box.fetch(f"https://{HOST}/issues", method="POST")
    async with box.invoking() as second:
        await box.fetch("https://dead.worka.test/")
    world.treasury.secrets = {key: "wrong" for key in world.treasury.secrets}
    async with box.invoking() as third:
        await box.fetch(f"https://{HOST}/issues")
    return {"connection": connection, "first": first.id, "second": second.id, "third": third.id}


async def rows(ctx: Context, after: str | None = None, limit: int = 50, **what: Any) -> list[Row]:
    found, _ = await service.page(ctx, Filter(**what), after, limit, False)
    return found


@pytest.mark.capability("BRK-5", part="read")
async def test_how_a_request_ended_keeps_refusals_and_errors_of_the_outside_apart(
    world: World, person: Context
) -> None:
    did = await busy(world)
    ended = {(row["invocation_id"], row["host"], row["method"]): row["outcome"] for row in await rows(person)}
    assert ended[did["first"], HOST, "GET"] == "answered"
    assert ended[did["first"], HOST, "POST"] == "refused"
    assert ended[did["first"], CANARY, None] == "refused"
    assert ended[did["second"], "dead.worka.test", "GET"] == "upstream_failed"
    assert ended[did["third"], HOST, "GET"] == "upstream_error"
    # An error of the outside is none of the refusals, and a refusal none of the errors.
    assert {row["verdict"] for row in await rows(person, outcome="refused")} == {"denied"}
    assert [row["status"] for row in await rows(person, outcome="upstream_error")] == [401]
    by = {item["key"]: item for item in (await service.counted(person, Filter(), "host", False))["items"]}
    tracker = by[f"{HOST}:443"]
    assert (tracker["requests"], tracker["refused"], tracker["upstream"]) == (4, 1, 1)


@pytest.mark.capability("BRK-5", part="read")
async def test_rows_are_found_by_each_thing_that_stands_behind_them(world: World, person: Context) -> None:
    did = await busy(world)
    assert {row["invocation_id"] for row in await rows(person, pack="acme.fetch")} >= {did["first"], did["second"]}
    assert await rows(person, pack="acme.other") == []
    assert {row["host"] for row in await rows(person, host="*.worka.test")} >= {HOST, "dead.worka.test"}
    assert {row["host"] for row in await rows(person, host="dead.worka.test")} == {"dead.worka.test"}
    with_it = await rows(person, credential=did["connection"])
    assert {row["connection_id"] for row in with_it} == {did["connection"]}
    assert {row["provider"] for row in with_it} == {"tracker"}
    assert {row["reason"] for row in await rows(person, reason="method_not_allowed")} == {"method_not_allowed"}
    assert {row["rule"] for row in await rows(person, rule="outbound_domains[0]")} == {"outbound_domains[0]"}
    assert {row["initiator_id"] for row in await rows(person, actor="mem_1")} == {"mem_1"}
    assert await rows(person, actor="per_nobody") == []
    assert len(await rows(person, invocation_id=did["second"])) >= 1
    newest = (await rows(person))[0]
    assert (await service.one(person, newest["id"])) == newest
    assert await rows(person, until=newest["at"], since=newest["last_at"]) == []


@pytest.mark.capability("BRK-5", part="read")
async def test_pages_hold_still_while_rows_are_written(world: World, person: Context) -> None:
    await busy(world)
    whole = [row["id"] for row in await rows(person)]
    first = await rows(person, limit=2)
    await busy_again(world)
    found, after = [row["id"] for row in first], first[-1]["id"]
    while page := await rows(person, after, limit=2):
        found += [row["id"] for row in page]
        after = page[-1]["id"]
    assert found == whole


async def busy_again(world: World) -> None:
    """More rows, above what was read."""
    box = await world.box()
    async with box.invoking():
        await box.fetch(f"https://{CANARY}/more")


@pytest.mark.capability("BRK-5", part="read")
async def test_a_file_has_the_same_rows_and_nothing_in_it_is_a_formula(world: World, person: Context) -> None:
    await busy(world)
    await world.execute("update worka.egress set path = '=HYPERLINK(1)' where host = %s", HOST)
    shown = await rows(person)
    lines = b"".join([part async for part in await service.export(person, Filter(), "ndjson", False)]).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in shown]
    text = b"".join([part async for part in await service.export(person, Filter(), "csv", False)]).decode()
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in table] == [row["id"] for row in shown]
    assert {row["path"] for row in table if row["host"] == HOST} == {"'=HYPERLINK(1)"}
    assert "tok_5ecret" not in text


@pytest.mark.capability("BRK-5", part="read")
@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "\uff1d1+1", "\uff201"]
)
def test_what_a_spreadsheet_could_take_for_a_formula_is_text(text: str) -> None:
    assert service._cell(text) == f"'{text}"
    assert service._cell(f"a{text}") == f"a{text}", "the control"


@pytest.mark.capability("BRK-5", part="read")
@pytest.mark.capability("DEP-10", part="the ledger's readers")
async def test_who_may_not_see_a_workspace_is_told_nothing_of_it(world: World, person: Context, gate: Gate) -> None:
    await busy(world)
    shown = await rows(person)
    gate.may = set()
    for asking in (
        service.page(person, Filter(), None, 5, False),
        service.counted(person, Filter(), "host", False),
        service.export(person, Filter(), "csv", False),
    ):
        with pytest.raises(Denied):
            await asking
    with pytest.raises(EgressUnknown):
        await service.one(person, shown[0]["id"])
    # The control: with the right to it there is such a row; in another tenant there is not.
    gate.may = {"egress.view"}
    assert (await service.one(person, shown[0]["id"]))["id"] == shown[0]["id"]
    with pytest.raises(Problem) as problem:
        await service.one(replace(person, tenant_id="ten_other"), shown[0]["id"])
    assert problem.value.status == 404


@pytest.mark.capability("BRK-5", part="followed")
async def test_the_ledger_is_followed_row_by_row_and_outcome_by_outcome(world: World, person: Context) -> None:
    did = await busy(world)
    async with person.transaction() as conn:
        start = await commits.newest(conn)
    # From the beginning: each row once as it is now, in the order of commits.
    seen: list[Row] = []
    async with asyncio.timeout(10):
        while {row["invocation_id"] for row in seen} < {did["first"], did["second"], did["third"]}:
            async with person.transaction() as conn:
                seen = await following.feed(Filter()).rows(conn, world.workspace_id, ("0", 0))
    assert [row["xid"] for row in seen] == sorted((row["xid"] for row in seen), key=int)
    assert {row["invocation_id"] for row in seen} >= {did["first"], did["second"], did["third"]}
    box = await world.box()
    async with box.invoking() as call:
        await box.fetch(f"https://{CANARY}/late")
        later: list[Row] = []
        async with asyncio.timeout(10):
            # Rows wait for older transactions of the whole database, also of other tests.
            while not later:
                async with person.transaction() as conn:
                    later = await following.feed(Filter(outcome="refused")).rows(conn, world.workspace_id, start)
                await asyncio.sleep(0.02)
    assert {row["invocation_id"] for row in later} == {call.id}
    frame = following.frame(later[0]).decode()
    assert frame.startswith(f"id: {later[0]['xid']}-0\nevent: egress.refused\ndata: ")
    assert json.loads(frame.split("data: ")[1])["id"] == later[0]["id"]


@pytest.mark.capability("BRK-5", part="read")
def test_a_page_of_the_feed_does_not_end_within_a_transaction() -> None:
    rows = [{"xid": "1"}, {"xid": "2"}, {"xid": "2"}]
    assert following.whole(rows, 3) == [{"xid": "1"}]
    assert following.whole(rows, 4) == rows
    assert following.whole([{"xid": "2"}, {"xid": "2"}], 2) == [{"xid": "2"}, {"xid": "2"}]


def test_every_outcome_has_its_words() -> None:
    assert set(model.OUTCOMES) == {
        "answered",
        "upstream_error",
        "upstream_failed",
        "withheld",
        "cut",
        "under_way",
        "refused",
    }
