"""The raw words behind a failure: there for whoever may read them, redacted, and bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.broker.test_doors import Gate
from tests.broker.test_doors import gate as gate
from tests.broker.test_doors import http as http
from tests.broker.test_doors import person as person
from tests.broker.test_outcomes import answering
from tests.broker.world import CANARY, HOST, INJECT, TOKEN, Outside, World, make_world
from worka.broker.circuit import Circuits
from worka.broker.failures import LONGEST, OF_A_ROW, Lines, said
from worka.broker.ports import MemoryResolver
from worka.kernel.db import Database


async def lines(world: World) -> list[dict[str, Any]]:
    return await world.rows(
        "select l.*, e.host, e.verdict from worka.egress_line l join worka.egress e on e.id = l.egress_id order by l.id"
    )


@pytest.mark.capability("BRK-12")
async def test_what_the_socket_and_tls_said_is_there_with_where_was_dialled(world: World) -> None:
    await world.declare(HOST, CANARY, "gone.worka.test")
    await world.exempt(HOST, 80, 1)
    await world.exempt(HOST, 443, world.outside.plain)
    world.resolver.answers["gone.worka.test"] = [()]
    box = await world.box()
    async with box.invoking():
        await box.fetch(f"http://{HOST}/")
        await box.fetch(f"https://{HOST}/")
        await box.fetch("https://gone.worka.test/")
        await box.fetch("https://undeclared.worka.test/")
    found = {(row["host"], row["reason"]): row["text"] for row in await lines(world)}
    assert "[Errno 111] Connect" in found[HOST, "upstream_unreachable"]
    assert found[HOST, "upstream_unreachable"].endswith("(dialled 127.0.0.1:1)")
    assert "SSLError" in found[HOST, "upstream_tls_failed"] or "wrong" in found[HOST, "upstream_tls_failed"].lower()


class Mute(MemoryResolver):
    """Takes a question and keeps silent."""

    async def resolve(self, host: str, whose: str = "") -> tuple[str, ...]:
        self.asked.append(host)
        await asyncio.Event().wait()
        raise AssertionError("never")


@pytest.mark.capability("BRK-5", part="a request that its pack gave up while its name was looked up")
async def test_a_name_that_the_pack_did_not_wait_for_has_its_row_and_its_cause(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    async with make_world(db, outside, tmp_path, unanswered_seconds=0.5) as world:
        await world.declare(HOST)
        world.broker._outside.resolver = mute = Mute({})
        box = await world.box()
        found = []
        for seconds in (0.1, 1.0):
            async with box.invoking() as call:
                assert "error" in await box.fetch(f"http://{HOST}/", timeout=seconds)
            found.append([(row["verdict"], row["reason"]) for row in await world.egress(call.id)])
        assert found == [[("denied", "invocation_ended")], [("denied", "name_not_resolved")]]
        assert mute.asked == [HOST] * 2, "the control: both were looked up"
        assert outside.requests == []


@pytest.mark.capability("BRK-12")
async def test_a_secret_in_the_words_of_the_outside_is_masked(db: Database, outside: Outside, tmp_path: Path) -> None:
    def echo(connection: Any) -> None:
        connection.sendall(f"YOU SENT Bearer {TOKEN}\r\n\r\n".encode())

    inject = [{**INJECT[0], "inject": {**INJECT[0]["inject"], "host": HOST}}]
    async with answering(db, outside, tmp_path, echo, inject=inject) as (world, box):
        async with box.invoking():
            await box.fetch(f"http://{HOST}/")
        (line,) = await lines(world)
    assert line["reason"] == "upstream_malformed"
    assert TOKEN not in line["text"]
    assert "[redacted]" in line["text"]


@pytest.mark.capability("BRK-12")
async def test_lines_are_for_those_who_may_read_them(world: World, http: httpx.AsyncClient, gate: Gate) -> None:
    await world.declare(HOST)
    await world.exempt(HOST, 80, 1)
    # As if it had not failed for a while: the lines are what is asked about.
    world.broker._circuits = Circuits(1000, 30.0)
    box = await world.box()
    async with box.invoking() as call:
        for _ in range(OF_A_ROW + 5):
            await box.fetch(f"http://{HOST}/")
    (row,) = await world.egress(call.id)
    assert (row["count"], row["reason"]) == (OF_A_ROW + 5, "upstream_unreachable")
    refused = await http.get(f"/v1/egress/{row['id']}/log")
    assert (refused.status_code, refused.json().get("code")) == (403, "denied"), (
        "seeing what left is not reading its lines"
    )
    gate.may |= {"egress.log.view"}
    told = (await http.get(f"/v1/egress/{row['id']}/log")).json()
    assert (told["host"], told["reason"], told["invocation_id"]) == (HOST, "upstream_unreachable", call.id)
    assert len(told["items"]) == OF_A_ROW, "a thousandth failure tells nothing new"
    gate.may -= {"egress.view"}
    assert (await http.get(f"/v1/egress/{row['id']}/log")).status_code == 404
    assert (await http.get("/v1/egress/egr_none/log")).status_code == 404


@pytest.mark.capability("BRK-12")
def test_a_line_is_one_readable_line_with_its_cause() -> None:
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise ValueError("the outside\r\nis\x1b[31m away") from error
    except ValueError as error:
        words = said("not reached", error)
    assert words.startswith("not reached: ValueError: the outside")
    assert "[Errno 111] Connection refused" in words
    assert not {"\r", "\n", "\x1b"} & set(words)
    assert len(said("x" * 5000, None)) == LONGEST
    kept = Lines()
    kept.add({"id": "egr_1"}, "r")
    assert kept._kept == [], "a refusal without words has no line"
