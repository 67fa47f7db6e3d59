"""Names that squat and tools that shadow, refused where they are registered and attached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.packs.registered import another_workspace, attachment, release
from tests.packs.test_registration import lock, small, tree
from tests.workspaces.world import World, somebody_waits, world
from worka.kernel.context import Context
from worka.kernel.errors import Conflict
from worka.packs import service
from worka.packs.lifecycle.errors import NameTaken, ToolShadowed

__all__ = ["world"]


async def register(world: World, publisher: str) -> str:
    """The code with which a registration under this publisher is refused; empty when it is taken."""
    import base64

    files = {name: base64.b64encode(data).decode() for name, data in tree().items()}
    document = small() | {"publisher": publisher}
    try:
        await service.register(world.ctx("member"), document, lock_text=lock(), files=files)
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
