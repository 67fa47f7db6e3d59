"""A pack that declares host services, while there are none: it is told and asked about, and nothing answers it."""

from __future__ import annotations

import json

import pytest

from tests.packs.conftest import Packs
from tests.packs.test_registration import small, tree
from worka.approvals import service as approvals
from worka.packs import service

pytestmark = pytest.mark.timeout(300)
SERVICES = ["worka.db", "worka.runtime", "worka.ui"]
# Asks its host for what is asked for over its own pipe, as the contract has it, and looks for any other way.
ASKS = """
import json, os, stat, sys

TOOL = {"name": "say", "description": "Says what it is given.", "inputSchema": {
    "type": "object", "properties": {"text": {"type": "string"}}}}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\\n")
    sys.stdout.flush()


def ask(op, invocation):
    send({"id": op, "method": op, "params": {"invocation_id": invocation, "cap": op.rpartition(".")[0], "op": op, "args": {}}})
    while (answer := json.loads(sys.stdin.readline())).get("id") != op:
        pass
    return "result" if "result" in answer else "error"


def sockets():
    found = []
    for folder, below, files in os.walk("/"):
        if folder == "/":
            below[:] = [name for name in below if name not in ("proc", "sys")]
        for name in files:
            try:
                if stat.S_ISSOCK(os.lstat(os.path.join(folder, name)).st_mode):
                    found.append(os.path.join(folder, name))
            except OSError:
                pass
    return found


while line := sys.stdin.readline():
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        send({"id": number, "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1.0.0"}}})
    elif method == "tools/list":
        send({"id": number, "result": {"tools": [TOOL]}})
    elif method == "tools/call":
        invocation = message["params"].get("_meta", {}).get("invocation_id")
        said = {"answers": {op: ask(op, invocation) for op in json.loads(message["params"]["arguments"]["text"])},
            "sockets": sockets(), "named": sorted(name for name in os.environ if name.startswith("WORKA_"))}
        send({"id": number, "result": {"content": [{"type": "text", "text": json.dumps(said)}]}})
    elif number is not None:
        send({"id": number, "error": {"code": -32601, "message": "no such method"}})
"""
OPS = [
    "worka.db.query", "worka.db.execute", "worka.runtime.invoke_member", "worka.runtime.complete_task",
    "worka.ui.create_view", "worka.mcp.invoke_tool", "integration.credentials",
]  # fmt: skip


@pytest.mark.capability("BRK-4", part="a pack that declares them is told and asked about, and nothing answers it")
async def test_a_pack_that_declares_host_services_is_told_and_asked_about_and_nothing_answers_it(place: Packs) -> None:
    plain = await place.register(small(), "", tree(ASKS))
    assert [item["pointer"] for item in plain["source"]["warnings"]] == [], "the control: nothing to tell"
    release = await place.register(small("1.1.0", name="asking", host_services=SERVICES), "", tree(ASKS))
    assert release["state"] == "released", release["error"]
    told = {item["pointer"]: item["message"] for item in release["source"]["warnings"]}
    assert list(told) == ["/host_services"]
    assert "every call of it is denied" in told["/host_services"]

    assert (await service.attach(place.ctx(), plain["id"]))["state"] == "attached", "the control: policy asks nobody"
    waits = await service.attach(place.ctx(), release["id"])
    assert waits["state"] == "awaiting_approval"
    card = await approvals.show(place.ctx("approver"), waits["approval_id"])
    assert card["effect"] == "acme.asking 1.1.0 may use host services"
    await place.approve(waits["approval_id"])

    # What its host answers at all (`ping`) goes by the same pipe: that is the control of the others.
    _, answer = await service.call(place.ctx(), "acme.asking.say", {"text": json.dumps(["ping", *OPS])}, None)
    assert answer["status"] == "succeeded", answer
    said = json.loads(answer["text"])
    assert said["answers"] == {"ping": "result"} | dict.fromkeys(OPS, "error")
    assert said["sockets"] == []
    assert said["named"] == ["WORKA_PACK_NAME", "WORKA_PACK_SESSION_ID", "WORKA_PACK_TENANT"]
    assert await place.world.rows("egress") == []
