"""A pack of the SDK and the real outside: through the broker, with its credential and its key, and no further."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.packs.conftest import TOKEN, TRACKER, Outside, Packs
from worka.packs import folder, service

pytestmark = pytest.mark.timeout(300)

TOOLS = '''
from dataclasses import dataclass

from worka_sdk import Pack, ToolError, current, outside

pack = Pack("desk", version="1.0.0")


@dataclass
class Issues:
    titles: list[str]
    sent: list[str]


@dataclass
class Published:
    effect_id: str
    key: str


@pack.tool(side_effect="read_only", idempotent=True)
def issues() -> Issues:
    """Reads the open issues."""
    answer = outside.request("GET", "https://tracker.worka.test/api/issues")
    if answer.status != 200:
        raise ToolError(f"The tracker answered {answer.status}.")
    return Issues([issue["title"] for issue in answer.json()], sorted(answer.headers))


@pack.tool(side_effect="external_side_effect", idempotent=True)
def publish(title: str) -> Published:
    """Publishes a note."""
    note = {"repository": "acme/web", "title": title, "markdown": title}
    own = {"Idempotency-Key": "a-key-of-its-own"}
    answer = outside.request("POST", "https://tracker.worka.test/api/notes", body=note, headers=own)
    return Published(answer.json()["effect_id"], current().idempotency_key)


@pack.tool(side_effect="read_only")
def stray() -> str:
    """Asks where it may not."""
    return str(outside.request("GET", "https://canary.worka.test/").status)


pack.serve()
'''


def desk() -> dict[str, Any]:
    """The pack's manifest."""
    return {
        "schema_version": "worka.aip.v1",
        "publisher": "acme",
        "name": "desk",
        "version": "1.0.0",
        "display_name": "Desk",
        "description": "Reads issues and publishes notes.",
        "runtime": {
            "package": {"ecosystem": "path", "name": "desk", "version": "1.0.0"},
            "command": ["python", "server.py"],
        },
        "tools": [
            {"name": "issues", "side_effect": "read_only", "idempotent": True},
            {"name": "publish", "side_effect": "external_side_effect", "idempotent": True},
            {"name": "stray", "side_effect": "read_only"},
        ],
        "outbound_domains": [{"host": TRACKER, "port": 443, "paths": ["/api/issues", "/api/notes"]}],
        "connections": [
            {
                "provider": "tracker",
                "access": "read issues and publish",
                "inject": {
                    "host": TRACKER,
                    "header": "Authorization",
                    "template": "Bearer {{connection.access_token}}",
                },
                "idempotency_header": "Idempotency-Key",
            }
        ],
    }


@pytest.mark.capability("BRK-3", part="a pack of the SDK, without a credential in it")
@pytest.mark.capability("MAN-2", part="connections with injection and an idempotency header, as the broker serves them")
async def test_a_pack_of_the_sdk_goes_out_with_the_brokers_credential_and_key_and_not_elsewhere(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
    await place.exception("canary.worka.test", outside.facts["canary_port"], outside.facts)
    row = await place.register(
        desk(), "", folder.vendored({"server.py": TOOLS.encode(), "requirements.lock": b"# none\n"})
    )
    assert row["state"] == "released", row["error"]
    attached = await service.attach(place.ctx(), row["id"])
    await place.approve(attached["approval_id"])
    _, read = await service.call(place.ctx(), "acme.desk.issues", {}, None)
    assert read["status"] == "succeeded", read
    assert any("acme/web: the quick start" in title for title in read["structured"]["titles"])
    assert TOKEN not in json.dumps(read, default=str)
    _, asked = await service.call(place.ctx(), "acme.desk.publish", {"title": "t"}, "k")
    await place.approve(asked["approval_id"])
    _, done = await service.call(place.ctx(), "acme.desk.publish", {"title": "t"}, "k")
    assert done["status"] == "succeeded", done
    (effect,) = outside.record["effects"]
    (invoked,) = await place.world.rows("invocation", "id = %s", done["invocation_id"])
    # The pack's own value was removed; the outside and the pack were told the same key.
    assert effect["key"] == invoked["idempotency_key"] == done["structured"]["key"]
    assert all(request["authorized"] for request in outside.record["requests"])
    _, refused = await service.call(place.ctx(), "acme.desk.stray", {}, None)
    assert (refused["status"], refused["reason"]) == ("failed", "undeclared_destination")
    assert outside.record["canary"] == [], "nothing arrived where the manifest does not lead"
