"""Causes of a failed call that need surroundings of their own: a handshake that is refused, every session taken, an
effect of which nobody knows."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.packs import running
from tests.packs.conftest import Outside, Packs
from tests.packs.test_registration import lock, small
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


async def test_a_pack_that_dies_after_a_writing_request_left_leaves_an_unknown_effect(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
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
    release = await place.register(document, lock(), {"server.py": DIES_AFTER_SENDING.encode()})
    assert release["state"] == "released", release["error"]
    attachment = await service.attach(place.ctx(), release["id"])
    await place.approve(attachment["approval_id"])
    await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None)
    (row,) = await place.world.rows("invocation")
    assert (row["state"], row["reason"]) == ("unknown", "effect_uncertain")
    assert len([request for request in outside.record["requests"] if request.get("method") == "POST"]) == 1
    told = await explain.explain_invocation(place.ctx(), row["id"])
    assert (told.certainty, told.timing) == ("unknown", "during")
    assert "pack_crashed" in told.headline
    assert row["idempotency_key"] in {wait.ref for wait in told.waiting_on}, "what to look for outside"
