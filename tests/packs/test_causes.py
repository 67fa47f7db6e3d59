"""Causes of a failed call that need surroundings of their own: a handshake that is refused, every session taken, an
effect of which nobody knows."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.packs import running
from tests.packs.conftest import Outside, Packs
from tests.packs.test_registration import lock, small
from tests.support.database import nobody_writes
from worka.packs import explain, service

pytestmark = pytest.mark.timeout(300)
RUDE = """
import json, sys

for line in sys.stdin:
    message = json.loads(line)
    if message.get("id") is not None:
        error = {"code": -32600, "message": "this server speaks to nobody"}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}) + "\\n")
        sys.stdout.flush()
"""
SENDS = """
import urllib.request
from mcp.server.mcpserver import MCPServer

server = MCPServer("small", version="1.0.0")


@server.tool(description="Says what it is given.", structured_output=False)
def say(text: str) -> str:
    request = urllib.request.Request("https://tracker.worka.test/api/notes", data=b"{}", method="POST")
    return str(urllib.request.urlopen(request, timeout=10).status)


if __name__ == "__main__":
    server.run("stdio")
"""
DIES_AFTER_SENDING = """
import os, urllib.request
from mcp.server.mcpserver import MCPServer

server = MCPServer("small", version="1.0.0")


@server.tool(description="Says what it is given.", structured_output=False)
def say(text: str) -> str:
    request = urllib.request.Request("https://tracker.worka.test/api/notes", data=b"{}", method="POST")
    try:
        urllib.request.urlopen(request, timeout=10).read()
    except OSError:
        pass
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
"""


async def test_a_server_that_refuses_the_handshake_and_a_line_that_is_full_are_told_apart() -> None:
    with running.instance(environment={"WORKA_PACKS__SESSIONS_PER_ATTACHMENT": "1"}) as here:
        rude = await here.run(await here.session(RUDE), "value = 1")
        assert (rude["reason"], rude["layer"]) == ("handshake_failed", "pack")
        assert "speaks to nobody" in rude["message"]
        session = await here.session()
        busy = asyncio.create_task(here.run(session, "import time; time.sleep(4); value = 1", timeout=20))
        await asyncio.sleep(1.5)
        began = time.monotonic()
        full = await here.run(session, "value = 2", timeout=1)
        assert (full["reason"], full["layer"]) == ("no_free_session", "capacity")
        assert "All 1 sessions of the attachment" in full["message"]
        assert time.monotonic() - began < 3
        # The positive control: the place is free again, and the next call has it.
        assert (await busy)["status"] == "ok"
        assert (await here.run(session, "value = 3"))["status"] == "ok"


async def attached(place: Packs, server: str) -> None:
    """A pack with this server, whose one tool writes to the tracker."""
    document = small(
        tools=[{"name": "say", "description": "Says what it is given.", "side_effect": "write"}],
        outbound_domains=["tracker.worka.test"],
        connections=[
            {
                "provider": "tracker",
                "access": "publish",
                "required": True,
                "inject": {
                    "host": "tracker.worka.test",
                    "header": "Authorization",
                    "template": "Bearer {{connection.access_token}}",
                },
            }
        ],
    )
    release = await place.register(document, lock(), {"server.py": server.encode()})
    assert release["state"] == "released", release["error"]
    attachment = await service.attach(place.ctx(), release["id"])
    await place.approve(attachment["approval_id"])


async def waiting(place: Packs) -> bool:
    """Whether something waits to write an egress row."""
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        found = await conn.execute("select from pg_locks where not granted and relation = 'worka.egress'::regclass")
        return await found.fetchone() is not None


async def test_a_pack_that_dies_after_a_writing_request_left_leaves_an_unknown_effect(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
    await attached(place, DIES_AFTER_SENDING)
    await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None)
    (row,) = await place.world.rows("invocation")
    assert (row["state"], row["reason"]) == ("unknown", "effect_uncertain")
    assert len([request for request in outside.record["requests"] if request.get("method") == "POST"]) == 1
    told = await explain.explain_invocation(place.ctx(), row["id"])
    assert (told.certainty, told.timing) == ("unknown", "during")
    assert "pack_crashed" in told.headline
    assert row["idempotency_key"] in {wait.ref for wait in told.waiting_on}, "what to look for outside"


@pytest.mark.capability("BRK-5", part="a writing call whose request was given up before its row came")
async def test_a_writing_call_whose_request_was_given_up_before_its_row_came_failed_and_is_not_unknown(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
    await attached(place, SENDS)
    async with nobody_writes(place.world.db, place.world.tenant_id, "egress"):
        calling = asyncio.create_task(service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))
        until = time.monotonic() + 30
        while not await waiting(place):
            assert time.monotonic() < until, "its request did not come as far as its row"
            await asyncio.sleep(0.05)
        # The request waits for two seconds, and what writes its row for half a second longer.
        await asyncio.sleep(2.2)
    _, answer = await calling
    assert [request for request in outside.record["requests"] if request.get("method") == "POST"] == []
    (row,) = await place.world.rows("egress")
    assert (row["verdict"], row["reason"]) == ("denied", "egress_not_recorded")
    assert (answer["status"], answer["reason"]) == ("failed", "egress_not_recorded")
    told = await explain.explain_invocation(place.ctx(), answer["invocation_id"])
    assert [leg.name for leg in told.road if leg.state == "failed"] == ["broker"]
    assert "nothing was sent" in told.headline
    # The control: where its row comes in time, the same call leaves.
    await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None)
    assert len([request for request in outside.record["requests"] if request.get("method") == "POST"]) == 1
    assert sorted(row["verdict"] for row in await place.world.rows("egress")) == ["allowed", "denied"]
