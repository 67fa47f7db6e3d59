"""Before a release is attached: which of the calls that were made here it would have served, and why not the others."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.packs.registered import SCHEMA, attachment, one, release
from tests.workspaces.world import World, world
from worka.governance import service as governance
from worka.kernel.errors import Denied, NotFound
from worka.packs import service
from worka.packs.moving import recorded

__all__ = ["world"]
Row = dict[str, Any]
STRICTER = {**SCHEMA, "required": ["text", "volume"]}
NUMBER = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}


async def called(world: World, tool: str, who: str = "member") -> str:
    """The id of a call that was let through, or of the decision that refused it."""
    ctx = world.ctx(who)
    try:
        prepared = await service.prepare(ctx, tool, {"text": "x"})
    except Denied as denied:
        return str(denied.extra["decision_id"])
    async with ctx.transaction():
        return str((await service.open_invocation(ctx, prepared, idempotency_key=tool + who, first=True))["id"])


async def offers(world: World, version: str, pack: str = "acme.small", **tools: Row) -> str:
    """A release whose tools differ so from the harmless one."""
    made = await release(world, pack, version)
    (usual,) = (await one(world, "release", made))["tools"]
    defined = [{**usual, "name": name, **changes} for name, changes in tools.items()]
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.release set tools = %s where id = %s", (Jsonb(defined), made))
    return made


async def told(
    world: World, release_id: str, limit: int = 50, who: str = "owner"
) -> dict[str, tuple[str, str | None, str]]:
    """id -> (verdict, the tool that would have served it, why), over all pages."""
    found: dict[str, tuple[str, str | None, str]] = {}
    after = None
    while True:
        rows = await recorded.page(world.ctx(who), world.workspace_id, release_id, 7, after, limit + 1)
        found |= {row["id"]: (row["verdict"], row["would_be"], row["because"]) for row in rows[:limit]}
        if len(rows) <= limit:
            return found
        after = rows[limit - 1]["cursor"].removeprefix("after.")


@pytest.mark.capability("BEY-2")
async def test_recorded_calls_are_told_as_served_asked_refused_or_of_another_shape(world: World) -> None:
    old = await offers(world, "1.0.0", say={"output_schema": NUMBER}, hush={})
    await attachment(world, old)
    said, hushed = await called(world, "acme.small.say"), await called(world, "acme.small.hush")
    denied = await called(world, "acme.small.say", "viewer")
    assert denied.startswith("dec_"), "the control: who only looks may not call"
    before = [len(await world.rows(table)) for table in ("decision", "invocation", "event")]

    same = await offers(world, "1.1.0", say={"output_schema": NUMBER}, hush={})
    found = await told(world, same)
    assert set(found) == {said, hushed, denied}
    assert found[said] == ("served", "acme.small.say", "")
    assert (found[hushed][0], found[denied][0]) == ("served", "refused")
    assert found[denied][2], "without a word why"

    # Another shape: a tool that is gone, arguments that it wants besides, results that are others.
    shapes = {
        "1.2.0": ({"say": {"output_schema": NUMBER}}, hushed, "has no tool hush"),
        "1.3.0": ({"say": {"output_schema": NUMBER, "input_schema": STRICTER}}, said, "takes other arguments"),
        "1.4.0": ({"say": {"output_schema": SCHEMA}}, said, "gives other results"),
    }
    for version, (tools, call, why) in shapes.items():
        verdict, _, because = (await told(world, await offers(world, version, **tools)))[call]
        assert (verdict, why in because) == ("reshaped", True), (version, verdict, because)
    wider = await offers(world, "1.5.0", say={"output_schema": NUMBER, "input_schema": {"type": "object"}}, hush={})
    assert (await told(world, wider))[said][0] == "served", "the control: what takes more takes these"

    # What policy says of it, as that is now.
    harsh = await offers(
        world, "1.6.0", say={"output_schema": NUMBER, "side_effect": "external_side_effect"},
        hush={"side_effect": "destructive"},
    )  # fmt: skip
    found = await told(world, harsh)
    assert (found[said][0], found[hushed][0]) == ("asked", "refused"), "a member asks to act, and may not destroy"
    await governance.kill(world.ctx("owner"), world.workspace_id, "release", same, "a stolen key", False)
    found = await told(world, same)
    assert (found[said][0], "a stolen key" in found[said][2]) == ("refused", True)

    # Another pack, that was never attached: by the names of its tools.
    other = await offers(world, "1.0.0", "acme.other", say={"output_schema": NUMBER})
    found = await told(world, other)
    assert set(found) == {said, denied}
    assert found[said] == ("served", "acme.other.say", "")
    assert await told(world, await offers(world, "1.0.0", "acme.third", sing={})) == {}

    assert await told(world, harsh, limit=1) == await told(world, harsh), "page by page the same"
    kills = 2  # what setting the switch left, and nothing else did
    now = [len(await world.rows(table)) for table in ("decision", "invocation", "event")]
    assert [now[0] - before[0] <= kills, now[1] - before[1], now[2] - before[2]] == [True, 0, 1]


@pytest.mark.capability("BEY-2")
async def test_who_may_not_see_calls_is_told_nothing_of_them(world: World) -> None:
    made = await offers(world, "1.0.0", say={})
    await attachment(world, made)
    call = await called(world, "acme.small.say")
    with pytest.raises((Denied, NotFound)):
        await told(world, made, who="stranger")
    assert set(await told(world, made, who="viewer")) == {call}, "the control"


def test_the_sentence_counts_what_a_page_holds() -> None:
    items = [{"verdict": verdict} for verdict in ("served", "served", "refused", "reshaped")]
    found = recorded.summed(items, 7)
    assert found["counts"] == {"served": 2, "asked": 0, "refused": 1, "reshaped": 1, "unknown": 0}
    assert found["sentence"] == (
        "Of 4 recorded calls of the last 7 days: 2 would have been served, 1 would have been refused by policy,"
        " 1 have another shape there."
    )
    assert recorded.summed([], 7)["sentence"].startswith("No call of the last 7 days")
