"""Names that squat and tools that shadow, refused where they are registered and attached."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.packs.registered import another_workspace, attachment, release
from tests.packs.test_registration import lock, small, tree
from tests.workspaces.world import World, somebody_waits, world
from worka.kernel.context import Context
from worka.kernel.errors import Conflict
from worka.packs import service
from worka.packs import store as packs
from worka.packs.errors import VersionTaken
from worka.packs.lifecycle.errors import NameTaken, ToolShadowed

__all__ = ["world"]


async def begun(world: World, document: dict[str, Any]) -> dict[str, Any]:
    """A registration of this manifest by a member."""
    files = {name: base64.b64encode(data).decode() for name, data in tree().items()}
    return await service.register(world.ctx("member"), document, lock_text=lock(), files=files)


async def register(world: World, publisher: str) -> str:
    """The code with which a registration under this publisher is refused; empty when it is taken."""
    try:
        await begun(world, small() | {"publisher": publisher})
    except NameTaken as taken:
        return taken.problem_code
    return ""


@pytest.mark.capability("MAN-4")
async def test_a_registration_under_a_squatting_name_is_refused_and_writes_nothing(world: World) -> None:
    place = await another_workspace(world)
    await release(world, "github.tools", workspace_id=place)
    (world.settings.home / "objects").mkdir(mode=0o700, exist_ok=True)
    assert await register(world, "g1thub") == "publisher_confusable"
    assert await register(world, "githup") == "publisher_near"
    assert len(await world.rows("release")) == 1
    assert await register(world, "acme") == "", "the control: a name of its own"
    assert len(await world.rows("release")) == 2


@pytest.mark.capability("MAN-4")
async def test_what_failed_before_it_was_registered_holds_no_name_and_what_was_registered_does(world: World) -> None:
    (world.settings.home / "objects").mkdir(mode=0o700, exist_ok=True)
    place = await another_workspace(world)
    held = await release(world, f"{small()['publisher']}.other", workspace_id=place)

    async def stands(state: str, failed_stage: str | None) -> None:
        async with world.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.release set state = %s, failed_stage = %s where id = %s", (state, failed_stage, held)
            )

    async def said() -> str:
        try:
            row = await begun(world, small())
        except Conflict as taken:
            return taken.problem_code
        return str(row["workspace_id"])

    for state, failed_stage in (("released", None), ("draft", None), ("failed", "registered")):
        await stands(state, failed_stage)
        assert await said() == "publisher_taken", state
    await stands("failed", "draft")
    assert await said() == world.workspace_id
    # Nor does it take the name back when it is tried again; and its version is not handed to anybody else.
    (mine,) = await world.rows("release", "workspace_id = %s", world.workspace_id)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.release set state = 'registered' where id = %s", (mine["id"],))
    await stands("published", None)
    async with world.db.transaction(world.tenant_id) as conn:
        assert await packs.publisher_workspace(conn, small()["publisher"]) == world.workspace_id
    await stands("failed", "draft")
    with pytest.raises(VersionTaken) as another:
        await begun(world, small() | {"name": "other"})
    assert (another.value.problem_code, len(await world.rows("release"))) == ("version_taken", 2)


@pytest.mark.capability("MAN-4")
async def test_of_two_names_that_clash_only_one_is_registered_at_once(world: World) -> None:
    (world.settings.home / "objects").mkdir(mode=0o700, exist_ok=True)
    found = await asyncio.gather(register(world, "acme0"), register(world, "acmeo"))
    assert sorted(found) == ["", "publisher_confusable"]


@pytest.mark.capability("MAN-4")
async def test_a_pack_whose_tool_shadows_an_attached_one_is_not_attached(world: World) -> None:
    await attachment(world, await release(world, "acme.web", tools=("search",)))
    evil, twin = (
        await release(world, "evil.web", tools=("fetch", "search")),
        await release(world, "acme.b", tools=("se-arch",)),
    )
    for made, code, other in ((evil, "tool_shadowed", "acme.web.search"), (twin, "tool_confusable", "acme.web.search")):
        with pytest.raises(ToolShadowed) as refused:
            await service.attach(world.ctx("owner"), made)
        assert refused.value.problem_code == code
        assert refused.value.extra["shadows"][0]["other"] == other
        assert isinstance(refused.value, Conflict)
    assert len(await world.rows("attachment")) == 1
    # The control: where nothing of that name is attached, it may.
    ctx = world.ctx("owner")
    ctx.workspace_id = await another_workspace(world, "owner")
    assert (await service.attach(ctx, evil))["state"] == "attached"


@pytest.mark.capability("MAN-4")
async def test_of_two_packs_that_shadow_each_other_only_one_is_attached_at_once(world: World) -> None:
    first, second = [await release(world, pack, tools=("search",)) for pack in ("acme.web", "evil.web")]
    written, go_on = asyncio.Event(), asyncio.Event()

    async def before_commit(_ctx: Context, payload: dict[str, Any]) -> None:
        if payload["pack"] == "acme.web":
            written.set()
            await go_on.wait()

    world.subscribers.on("attachment.attached", before_commit)
    one = asyncio.ensure_future(service.attach(world.ctx("owner"), first))
    await written.wait()
    two = asyncio.ensure_future(service.attach(world.ctx("owner"), second))
    waiting = asyncio.ensure_future(somebody_waits(world))
    await asyncio.wait({two, waiting}, return_when=asyncio.FIRST_COMPLETED)
    go_on.set()
    assert (await one)["state"] == "attached"
    (said,) = await asyncio.gather(two, return_exceptions=True)
    waiting.cancel()
    assert isinstance(said, ToolShadowed), "the second sees what the first is about to commit"
    assert [row["pack"] for row in await world.rows("attachment")] == ["acme.web"]
