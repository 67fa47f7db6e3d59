"""TLS that the broker does not read: held to one name, counted, and told as opaque."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker.others import Ca, node_outside
from tests.broker.test_doors import Gate
from tests.broker.test_doors import gate as gate
from tests.broker.test_doors import person as person
from tests.broker.test_hello import client_hello, with_extension
from tests.broker.test_kills import lift, stop
from tests.broker.world import HOST, INJECT, Box, Outside, World, code, make_world
from worka.broker.records import replaying
from worka.kernel.context import Context
from worka.kernel.db import Database
from worka.kernel.settings import BrokerSettings, Settings

pytestmark = pytest.mark.asyncio
OPAQUE = {"host": HOST, "opaque": True}
CURL = ["curl", "-sS", "-w", "\n%{http_version} %{http_code}", f"https://{HOST}/v1"]


@pytest.fixture
async def ca(world: World, tmp_path: Path) -> AsyncIterator[str]:
    """The path of the CA that a pack pins, of an outside behind its name."""
    found = Ca("outside")
    pinned = tmp_path / "pinned.pem"
    pinned.write_text(found.pem)
    async with node_outside(tmp_path, found.pair(HOST)) as port:
        await world.declare(OPAQUE)
        await world.exempt(HOST, 443, port, ca_pem="")
        yield str(pinned)


def pinning(ca: str, *further: str) -> list[str]:
    return [*CURL, "--cacert", ca, *further]


@pytest.mark.capability("BRK-1")
async def test_a_client_that_pins_its_certificate_reaches_the_one_name_that_its_rule_says(
    world: World, ca: str
) -> None:
    box = await world.box()
    async with box.invoking() as call:
        done = await box.do("run", argv=pinning(ca))
    text, _, told = done["out"].rpartition("\n")
    assert told == "2 200", done["err"]
    assert json.loads(text)["headers"][":authority"] == HOST
    (row,) = await world.egress(call.id)
    assert (row["kind"], row["opaque"], row["protocol"], row["verdict"]) == ("tunnel", True, "tls", "allowed")
    assert (row["reason"], row["method"], row["path"], row["status"]) == ("allowed", None, None, None)
    assert row["bytes_out"] > 500
    assert row["bytes_in"] > 1000
    assert [(item["kind"], item["count"]) for item in call.ended["egress"]] == [("tunnel", 1)]


@pytest.mark.capability("BRK-1", "BRK-13")
async def test_without_opaque_the_same_client_is_not_let_through(world: World, ca: str) -> None:
    await world.declare(HOST)
    box = await world.box()
    async with box.invoking() as call:
        done = await box.do("run", argv=pinning(ca))
    assert done["code"] == 60, "the broker's certificate is not the pinned one"
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["reason"]) == ("denied", "tls_handshake_failed")


@pytest.mark.capability("BRK-15", part="tunnels by name")
async def test_another_name_none_or_a_hidden_one_does_not_pass(world: World, ca: str) -> None:
    box = await world.box()
    async with box.invoking() as call:
        said = [
            await box.raw(
                HOST, 443, f"GET /v1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), tls=True, blind=True, sni=sni
            )
            for sni in ("evil.example", None)
        ]
        await box.raw(HOST, 443, with_extension(client_hello(HOST), 0xFE0D, b"\0" * 40))
        plain = await box.raw(HOST, 443, b"GET /v1 HTTP/1.1\r\n\r\n")
        through = await box.do("run", argv=pinning(ca))
    assert ["host_mismatch" in text for text in said] == [True, True], "and it is said inside TLS"
    assert "HTTP/" not in plain
    assert through["code"] == 0
    reasons = {row["reason"]: row["count"] for row in await world.egress(call.id)}
    assert reasons == {"host_mismatch": 2, "hidden_server_name": 1, "tls_handshake_failed": 1, "allowed": 1}


async def test_a_credential_is_never_left_out_for_the_sake_of_a_tunnel(world: World, ca: str) -> None:
    await world.declare(OPAQUE, connections=INJECT)
    await world.connect()
    box = await world.box()
    async with box.invoking() as call:
        found = await box.fetch(f"https://{HOST}/v1")
    assert code(found) == "undeclared_destination"
    assert [row["kind"] for row in await world.egress(call.id)] == ["http"]


@pytest.mark.capability("BRK-1")
async def test_the_deployment_can_forbid_what_is_not_read(db: Database, outside: Outside, tmp_path: Path) -> None:
    async with make_world(db, outside, tmp_path, opaque=False) as world:
        await world.declare(OPAQUE)
        await world.exempt(HOST, 443, outside.tracker)
        box: Box = await world.box()
        async with box.invoking() as call:
            found = await box.fetch(f"https://{HOST}/v1")
        assert code(found) == "opaque_not_allowed"
        assert outside.requests == []
        (row,) = await world.egress(call.id)
        assert (row["verdict"], row["rule"]) == ("denied", "outbound_domains[0]")


@pytest.mark.capability("BRK-14", part="replay of rules")
async def test_a_replay_knows_whether_the_deployment_lets_anything_through_unread(
    world: World, ca: str, person: Context, gate: Gate
) -> None:
    gate.may.add("egress_policy.view")
    box = await world.box()
    async with box.invoking():
        assert (await box.do("run", argv=pinning(ca)))["code"] == 0

    async def replayed(opaque: bool, rule: object) -> list[tuple[str, str, str, bool]]:
        settings = Settings(home=world.paths.home, broker=BrokerSettings(opaque=opaque))
        found = await replaying.run(
            replace(person, settings=settings), outbound_domains=[rule], attachment_id=world.attachment_id
        )
        return [(item["today"], item["to"], item["to_reason"], item["earlier"]) for item in found["items"]]

    assert await replayed(True, OPAQUE) == []
    assert await replayed(False, OPAQUE) == [("denied", "denied", "opaque_not_allowed", True)]
    assert await replayed(False, HOST) == [("denied", "allowed", "allowed", False)]


async def test_a_tunnel_ends_at_its_deadline_and_with_its_bytes(world: World, ca: str) -> None:
    box = await world.box()
    await world.declare(OPAQUE, limits={"exchange_seconds": 0.7})
    async with box.invoking() as call:
        assert (await box.do("run", argv=[*pinning(ca)[:-1], ca, "-N", "--max-time", "5", f"https://{HOST}/drip"]))[
            "code"
        ]
    await world.declare(OPAQUE, limits={"call_mb": 1})
    async with box.invoking() as second:
        big = await box.do("run", argv=["curl", "-sS", "--cacert", ca, "-o", "/dev/null", f"https://{HOST}/big"])
    assert big["code"] != 0
    reasons = [row["reason"] for one in (call, second) for row in await world.egress(one.id)]
    assert reasons == ["exchange_too_long", "limit_exceeded"]


@pytest.mark.capability("GOV-15", part="at the broker, for what stands open")
async def test_a_tunnel_that_stands_ends_within_a_second_of_a_kill_switch(world: World, ca: str) -> None:
    box = await world.box()
    async with box.invoking() as call:
        argv = [*pinning(ca)[:-1], ca, "-N", "--max-time", "8", f"https://{HOST}/drip"]
        dripping = asyncio.create_task(box.do("run", argv=argv))
        await asyncio.sleep(1.5)
        assert not dripping.done(), "the control: it stands"
        kill_id = await stop(world, "destination", HOST)
        began = time.monotonic()
        done = await asyncio.wait_for(dripping, 10)
        assert time.monotonic() - began < 1.6
        assert done["code"] not in (0, 28), "cut, and not by its own deadline"
        await lift(world, kill_id)
    (row,) = await world.egress(call.id)
    assert (row["kind"], row["verdict"], row["reason"]) == ("tunnel", "allowed", "killed")
