"""WebSockets by rule: the handshake is decided and authenticated, what follows is carried, counted and looked through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.others import Ca, outside, websocket
from tests.broker.world import HOST, INJECT, TOKEN, Box, World, code

pytestmark = pytest.mark.asyncio
RULE: dict[str, Any] = {"host": HOST, "port": 443, "paths": ["/live"], "websocket": True}


@pytest.fixture
async def box(world: World, tmp_path: Path) -> AsyncIterator[Box]:
    """A box whose pack may speak a WebSocket at one path."""
    ca = Ca("outside")
    async with outside(tmp_path, websocket, ca.pair(HOST)) as port:
        await world.declare(RULE, connections=INJECT)
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        await world.connect()
        yield await world.box()


async def say(box: Box, *messages: str, path: str = "/live", **further: Any) -> dict[str, Any]:
    return await box.do("websocket", host=HOST, port=443, path=path, messages=messages, **further)


@pytest.mark.capability("BRK-3")
async def test_a_websocket_that_a_rule_allows_is_carried_and_counted(world: World, box: Box) -> None:
    async with box.invoking() as call:
        found = await say(box, "hello", "x" * 1000, "extensions")
        again = await say(box, "hello")
    assert found == {"status": 101, "back": ["hello", "x" * 1000, "none"], "ended": ""}
    assert again["back"] == ["hello"]
    (row,) = await world.egress(call.id)
    assert (row["kind"], row["protocol"], row["status"], row["count"]) == ("websocket", "websocket", 101, 2)
    assert row["bytes_out"] > 1015
    assert row["bytes_in"] > 1015
    assert row["reason"] == "allowed"
    assert row["secret_id"]


@pytest.mark.capability("TRE-3")
async def test_the_token_stands_in_the_handshake_and_does_not_come_back(world: World, box: Box) -> None:
    async with box.invoking() as call:
        found = await say(box, "hello", "auth", "hello")
    assert found["back"] == ["hello"]
    assert TOKEN not in str(found)
    (row,) = await world.egress(call.id)
    assert row["reason"] == "secret_echoed"
    assert call.ended["denied"]["reason"] == "secret_echoed"
    # The control: without a credential that word is answered.
    await world.declare(RULE)
    async with box.invoking():
        assert (await say(box, "auth"))["back"] == ["none"]


@pytest.mark.capability("BRK-13")
@pytest.mark.capability("BRK-15", part="upgrades")
async def test_without_the_word_in_its_rule_no_websocket_leaves(world: World, box: Box) -> None:
    await world.declare({**RULE, "websocket": False}, connections=INJECT)
    async with box.invoking() as call:
        refused = await say(box, "hello")
    await world.declare(RULE, connections=INJECT)
    async with box.invoking():
        elsewhere = await say(box, "hello", path="/other")
        allowed = await say(box, "hello")
    assert (refused["status"], code(refused)) == (403, "upgrade_refused")
    assert code(elsewhere) == "path_not_allowed"
    assert allowed["back"] == ["hello"]
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["reason"]) == ("denied", "upgrade_refused")


@pytest.mark.capability("BRK-1")
async def test_a_websocket_ends_with_its_invocation_and_at_its_deadline(world: World, box: Box) -> None:
    await world.declare(RULE, connections=INJECT, limits={"exchange_seconds": 0.7})
    async with box.invoking() as call:
        found = await say(box, "hello", hold=5)
    assert found["back"] == ["hello"]
    (row,) = await world.egress(call.id)
    assert row["reason"] == "exchange_too_long"
    assert row["duration_ms"] < 3000


async def test_bytes_of_a_websocket_are_held_to_the_limit_of_a_call(world: World, box: Box) -> None:
    await world.declare(RULE, connections=INJECT, limits={"call_mb": 1})
    async with box.invoking() as call:
        found = await say(box, *["x" * 60_000] * 20)
    assert 5 < len(found["back"]) < 15
    (row,) = await world.egress(call.id)
    assert row["reason"] == "limit_exceeded"
