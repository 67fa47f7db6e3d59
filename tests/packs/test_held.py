"""A definition that the server changed after its approval: accepted or refused, exactly the one that was looked at."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.moving import the
from tests.packs.running import SERVER
from tests.packs.test_registration import lock, small, tree
from worka.kernel.errors import Denied
from worka.packs import service as packs
from worka.packs.errors import ToolHeld
from worka.packs.moving import held, reading
from worka.packs.moving import service as moving
from worka.packs.moving.errors import DefinitionMoved, DefinitionUnusable, NothingHeld

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


async def probe(place: Packs) -> Row:
    """An attachment of the server that changes its tool `run` when `change` is called."""
    document = small(
        name="probe",
        runtime={
            "package": {"ecosystem": "path", "name": "probe", "version": "1.0.0"},
            "command": ["python", "server.py"],
        },
        tools=[{"name": name, "side_effect": "read_only"} for name in ("run", "change", "steady")],
    )
    release = await place.register(document, lock(), tree(SERVER))
    assert release["state"] == "released", release["error"]
    return await packs.attach(place.ctx(), release["id"])


async def call(place: Packs, name: str) -> Row:
    return (await packs.call(place.ctx(), f"acme.probe.{name}", {"code": "value = 1"}, None))[1]


async def changed(place: Packs) -> Row:
    """The same, after the server changed `run` and that was noticed."""
    row = await probe(place)
    assert (await call(place, "run"))["status"] == "succeeded", "the control"
    assert (await call(place, "change"))["status"] == "succeeded"
    assert (await call(place, "run"))["reason"] == "tool_definition_changed"
    assert (await the(place, row["id"]))["state"] == "held"
    return row


async def the_one(place: Packs, attachment_id: str) -> Row:
    (item,) = await held.waiting(place.ctx("viewer"), attachment_id)
    return item


@pytest.mark.capability(
    "TOL-5", part="accepted or refused by a person, exactly what was shown, in the commit of the decision"
)
async def test_an_accepted_definition_serves_and_another_one_is_held_anew(place: Packs) -> None:
    row = await changed(place)
    item = await the_one(place, row["id"])
    assert item["waits"]
    assert item["definition"]["description"] == "Runs code, and sends your files to me."
    assert "+Runs code, and sends your files to me." in item["diff"]
    with pytest.raises(Denied):
        await moving.accept(place.ctx("member"), row["id"], "run", item["pin"], "fine")
    with pytest.raises(DefinitionMoved):
        await moving.accept(place.ctx("admin"), row["id"], "run", "0" * 64, "fine")
    with pytest.raises(NothingHeld):
        await moving.accept(place.ctx("admin"), row["id"], "steady", item["pin"], "fine")
    assert (await the(place, row["id"]))["state"] == "held", "nothing of that decided anything"

    now = await moving.accept(place.ctx("admin"), row["id"], "run", item["pin"], "looked at it")
    assert (now["state"], now["held"]) == ("attached", None)
    (event,) = await place.world.events("pack.definition.accepted")
    assert (event["data"]["tool"], event["data"]["pin"], event["actor_id"]) == (
        "run",
        item["pin"],
        place.world.ids["admin"],
    )
    prepared = await packs.prepare(place.ctx(), "acme.probe.run", {"code": "value = 1"})
    assert prepared.definition["pin"] == item["pin"]
    assert prepared.definition["side_effect"] == "read_only", "what it may do stays as it was declared"
    (listed,) = [t for t in await _tools(place) if t["name"] == "acme.probe.run"]
    assert (listed["pin"], listed["held"]) == (item["pin"], False)

    # A fresh session lists what was first approved: that is not what was accepted since.
    again = await call(place, "run")
    assert (again["status"], again["reason"]) == ("failed", "tool_definition_changed")
    back = await the_one(place, row["id"])
    assert back["definition"]["description"] == "Runs code."
    await moving.accept(place.ctx("admin"), row["id"], "run", back["pin"], "as it was")
    assert (await call(place, "run"))["status"] == "succeeded"


async def _tools(place: Packs) -> list[Row]:
    from worka.packs import schema, store

    async with place.ctx().transaction() as conn:
        return schema.tools(await store.serving(conn, place.world.workspace_id))


@pytest.mark.capability(
    "TOL-5", part="accepted or refused by a person, exactly what was shown, in the commit of the decision"
)
async def test_a_refused_definition_is_off_while_the_others_serve_and_a_move_forgets_it(place: Packs) -> None:
    row = await changed(place)
    item = await the_one(place, row["id"])
    with pytest.raises(Denied):
        await moving.refuse(place.ctx("member"), row["id"], "run", item["pin"], "no")
    now = await moving.refuse(place.ctx("owner"), row["id"], "run", item["pin"], "it sends files")
    assert now["state"] == "attached"
    with pytest.raises(ToolHeld, match="was refused"):
        await call(place, "run")
    assert (await call(place, "steady"))["structured"] == {"value": "here"}
    assert (await call(place, "change"))["status"] == "succeeded"
    assert (await call(place, "steady"))["status"] == "succeeded"
    assert (await the(place, row["id"]))["state"] == "attached", "what was decided holds nothing again"
    (kept,) = await held.waiting(place.ctx(), row["id"])
    assert (kept["decision"], kept["why"], kept["waits"]) == ("refused", "it sends files", False)
    (listed,) = [t for t in await _tools(place) if t["name"] == "acme.probe.run"]
    assert listed["held"]


@pytest.mark.capability(
    "TOL-5", part="accepted or refused by a person, exactly what was shown, in the commit of the decision"
)
async def test_what_could_not_be_registered_cannot_be_accepted_either(place: Packs) -> None:
    row = await probe(place)
    listed = {
        "foreign": {
            "pin": "a" * 64,
            "definition": {"name": "run", "input_schema": {"$ref": "https://evil.test/s.json"}},
        },
        "gone": None,
        "new": {"pin": "c" * 64, "definition": {"name": "more", "input_schema": {"type": "object"}}},
        "fine": {"pin": "d" * 64, "definition": {"name": "run", "input_schema": {"type": "object"}}},
    }
    for what, tool in (("foreign", "run"), ("gone", "steady"), ("new", "more"), ("fine", "run")):
        ctx = place.ctx()
        async with ctx.transaction():
            await packs_hold(ctx, row["id"], tool, listed[what])
        pin = (listed[what] or {}).get("pin") or ""
        if what == "fine":
            assert (await moving.accept(place.ctx(), row["id"], tool, str(pin), ""))["definitions"]["run"]["decision"]
        else:
            with pytest.raises(DefinitionUnusable):
                await moving.accept(place.ctx(), row["id"], tool, str(pin), "")
            assert (await moving.refuse(place.ctx(), row["id"], tool, str(pin), ""))["state"] == "attached"


async def packs_hold(ctx: Any, attachment_id: str, tool: str, listed: Row | None) -> None:
    from worka.packs.service import attachments

    await attachments.hold(ctx, attachment_id, tool, "it differs", listed)
    found, _release = await reading.own(ctx, attachment_id)
    assert found["state"] == "held"
