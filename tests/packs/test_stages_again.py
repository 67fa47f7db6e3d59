"""A build, a registration and a probe that really fail: each is told with its cause and tried again by itself, without what went
before it; what cannot change by itself rests, with the command that takes it up."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.test_registration import SERVER, lock, small
from tests.support.database import may_idle
from tests.workspaces.world import somebody_waits
from worka.kernel.errors import Conflict, Denied
from worka.kernel.ids import new_id
from worka.packs import explain, jobs, rules, service, store
from worka.packs.service import again

Row = dict[str, Any]


async def asked(place: Packs, server: str = SERVER, **changes: Any) -> Row:
    """A registration that was asked for."""
    files = {"server.py": base64.b64encode(server.encode()).decode()}
    return await service.register(place.ctx(), small(**changes), lock_text=lock(), files=files)


async def worked(place: Packs, row: Row) -> Row:
    """The worker's part, as far as it gets."""
    return await service.run_registration(place.platform(), row["id"])


async def soon(place: Packs, row: Row) -> Row:
    """The pause is over, and the worker looks; the release as it is then."""
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.release set next_try = clock_timestamp() where id = %s and next_try is not null", (row["id"],)
        )
    await jobs.try_stages(place.world.nobody())
    (found,) = await place.world.rows("release", "id = %s", row["id"])
    return found


async def moves(place: Packs, row: Row) -> list[str]:
    """The states that it went through."""
    return [
        event["after"]["state"]
        for event in await place.world.events("pack.release.moved")
        if event["subject"] == row["id"]
    ]


async def waits(place: Packs, failed: Row) -> None:
    """It is shown with its cause, when it is tried again, and how that is done now."""
    told = await explain.explain_release(place.ctx("owner"), failed["id"])
    assert failed["error"]["message"].rstrip(".") in told.headline
    assert told.last_error is not None
    assert told.last_error.next_try == failed["next_try"] is not None
    assert [item.deadline for item in told.waiting_on] == [failed["next_try"]]
    assert f"worka pack retry {failed['id']}" in [step.command for step in told.next if step.allowed]


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-1")
async def test_a_build_that_failed_is_tried_again_by_itself(place: Packs, home: Path) -> None:
    row = await asked(place, SERVER + f"# {new_id('x')}")
    file = home / "objects" / "trees" / row["source"]["contents"] / "server.py"
    kept = file.read_bytes()
    file.write_bytes(b"import os")
    failed = await worked(place, row)
    assert (failed["state"], failed["failed_stage"], failed["reason"], failed["tries"]) == (
        "failed", "draft", "build_failed", 1,
    )  # fmt: skip
    await waits(place, failed)
    await jobs.try_stages(place.world.nobody())
    assert (await place.world.rows("release", "id = %s", row["id"]))[0]["state"] == "failed", "not before its time"
    again = await soon(place, failed)
    assert (again["state"], again["reason"], again["next_try"]) == ("draft", "waiting_for_build", None)
    failed = await worked(place, row)
    assert (failed["state"], failed["tries"]) == ("failed", 2), "each time that it fails is counted"
    file.write_bytes(kept)
    await soon(place, failed)
    done = await worked(place, row)
    assert (done["state"], done["error"], done["tries"], done["failed_stage"]) == ("released", None, 0, None)


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-1")
async def test_a_registration_that_failed_rests_and_goes_on_from_there_when_it_is_taken_up(place: Packs) -> None:
    before = await asked(place)
    row = await asked(place, version="1.0.1")
    # Somebody in another workspace had the publisher first.
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute("update worka.release set workspace_id = 'ws_other' where id = %s", (before["id"],))
    failed = await worked(place, row)
    assert (failed["failed_stage"], failed["reason"], failed["next_try"]) == ("published", "identity_refused", None)
    told = await explain.explain_release(place.ctx("owner"), row["id"])
    assert f"worka pack retry {row['id']}" in [step.command for step in told.next]
    assert (await soon(place, row))["state"] == "failed", "that does not change by itself"
    with pytest.raises(Denied):
        await service.retry(place.ctx("viewer"), row["id"])
    trying = place.ctx()
    trying.undone = True
    assert (await service.retry(trying, row["id"]))["state"] == "published"
    assert (await place.world.rows("release", "id = %s", row["id"]))[0]["state"] == "failed", "it was only tried"
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.release set workspace_id = %s where id = %s", (place.world.workspace_id, before["id"])
        )
    await service.retry(place.ctx(), row["id"])
    with pytest.raises(Conflict):
        await service.retry(place.ctx(), row["id"])
    assert (await worked(place, row))["state"] == "released"
    assert await moves(place, row) == [
        "built", "published", "failed", "published", "registered", "probed", "released",
    ]  # fmt: skip
    with pytest.raises(Conflict):
        await service.retry(place.ctx(), row["id"])


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-1")
async def test_a_probe_that_failed_goes_on_from_there_without_building_again(place: Packs) -> None:
    row = await asked(place, SERVER + f"# {new_id('x')}")
    await service.run_registration(place.platform(), row["id"], stages=3)
    (ready,) = await place.world.rows("release", "id = %s", row["id"])
    assert ready["state"] == "registered"
    (server,) = (file for file in Path(ready["env_path"]).rglob("server.py") if file.read_text().startswith(SERVER))
    server.rename(server.with_suffix(".away"))
    failed = await worked(place, row)
    server.with_suffix(".away").rename(server)
    assert (failed["state"], failed["failed_stage"], failed["reason"]) == ("failed", "registered", "probe_failed")
    assert failed["error"]["code"] == "digest_mismatch"
    assert failed["next_try"] is None, "an environment that is not what was built rests: somebody looks"
    told = await explain.explain_release(place.ctx("owner"), row["id"])
    assert f"worka pack retry {row['id']}" in [step.command for step in told.next if step.allowed]
    await service.retry(place.ctx(), row["id"])
    done = await worked(place, row)
    assert (done["state"], done["digest"], done["env_path"]) == ("released", ready["digest"], ready["env_path"])
    assert await moves(place, row) == [
        "built", "published", "registered", "failed", "registered", "probed", "released",
    ]  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-1")
async def test_a_probe_that_shows_other_tools_rests_and_so_does_what_failed_too_often(place: Packs) -> None:
    row = await asked(place, tools=[{"name": "speak", "side_effect": "read_only"}])
    failed = await worked(place, row)
    assert (failed["reason"], failed["next_try"]) == ("tools_differ", None), "the server will say the same again"
    gone = await asked(place, "import sys; sys.exit(3)", version="1.0.1")
    await waits(place, await worked(place, gone))
    again = await soon(place, gone)
    assert (again["state"], again["reason"]) == ("registered", "waiting_for_probe"), "by itself, from where it stands"
    await worked(place, gone)
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute("update worka.release set tries = %s where id = %s", (rules.MOST_TRIES - 1, gone["id"]))
    await soon(place, gone)
    rested = await worked(place, gone)
    assert (rested["state"], rested["tries"], rested["next_try"]) == ("failed", rules.MOST_TRIES, None)
    taken = await service.retry(place.ctx(), gone["id"])
    assert (taken["state"], taken["tries"]) == ("registered", 0), "somebody begins the count anew"
    pauses = [rules.stage_pause("build_failed", "build_failed", tries) for tries in range(1, rules.MOST_TRIES + 1)]
    assert pauses[:3] == [30.0, 60.0, 120.0]
    assert pauses[-1] is None


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-1", part="an automatic try is decided as whoever asked for the registration")
async def test_a_stage_is_not_tried_again_by_itself_for_who_may_not_register_any_more(place: Packs) -> None:
    files = {"server.py": base64.b64encode(b"import sys; sys.exit(3)").decode()}
    row = await service.register(place.ctx("member"), small(), lock_text=lock(), files=files)
    assert (row["asked_kind"], row["asked_by"]) == ("person", place.world.ids["member"])
    await worked(place, row)
    assert (await soon(place, row))["state"] == "registered", "the control: they may"
    await worked(place, row)
    await _role(place, "member", "viewer")
    rested = await soon(place, row)
    assert (rested["state"], rested["next_try"]) == ("failed", None)
    assert "may not register it any more" in rested["error"]["rests"]
    told = await explain.explain_release(place.ctx("owner"), row["id"])
    assert "is not tried again by itself: Who asked for it may not" in told.headline
    (denied,) = await place.world.rows("decision", "verdict = 'deny' and principal_id = %s", place.world.ids["member"])
    assert denied["action"] == "pack.register"
    # Whoever takes it up stands behind what is tried by itself from then on.
    taken = await service.retry(place.ctx("owner"), row["id"])
    assert taken["asked_by"] == place.world.ids["owner"]
    await worked(place, row)
    assert (await soon(place, row))["state"] == "registered"


async def _role(place: Packs, who: str, role: str) -> None:
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.membership set role = %s where principal_id = %s", (role, place.world.ids[who])
        )


@pytest.mark.timeout(120)
@pytest.mark.capability("LIF-1", part="what stands still ends")
@pytest.mark.parametrize("stage", ["draft", "built", "published", "registered", "probed"])
async def test_a_registration_that_stands_still_for_a_day_ends_and_holds_no_name(place: Packs, stage: str) -> None:
    row, beside = await asked(place), await asked(place, version="1.0.1")
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.release set state = %s, reason = %s, since = clock_timestamp() - %s where id = %s",
            (stage, rules.WAITS_FOR[stage], again.STUCK, row["id"]),
        )
    await jobs.try_stages(place.world.nobody())
    (ended,) = await place.world.rows("release", "id = %s", row["id"])
    assert (ended["state"], ended["failed_stage"], ended["reason"], ended["next_try"]) == (
        "failed", stage, "host_unavailable", None,
    )  # fmt: skip
    assert "24 hours" in (await explain.explain_release(place.ctx("owner"), row["id"])).headline
    assert (await place.world.rows("release", "id = %s", beside["id"]))[0]["state"] == "draft", (
        "the control: it is young"
    )
    await jobs.try_stages(place.world.nobody())
    assert (await moves(place, row)).count("failed") == 1
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await store.move_release(conn, beside["id"], "failed", "build_failed", failed_stage="draft")
        holder = await store.publisher_workspace(conn, "acme")
    assert (holder is None) is (stage in ("draft", "built", "published"))


@pytest.mark.timeout(120)
@pytest.mark.capability("MAN-4", part="the name is taken in the transaction that looks who holds it")
async def test_who_holds_a_publisher_is_looked_at_and_taken_in_one_transaction(place: Packs) -> None:
    row = await asked(place)
    await service.run_registration(place.platform(), row["id"], stages=2)
    world = place.world
    async with world.db.transaction(world.tenant_id) as conn:
        await may_idle(conn)
        # Another registration under this publisher is being decided.
        await store.lock_identity(conn, world.tenant_id, "acme")
        going = asyncio.ensure_future(service.run_registration(place.platform(), row["id"], stages=1))
        with suppress(TimeoutError):  # it waits for this one, or went past it
            await somebody_waits(world, 2.5)
        await conn.execute("update worka.release set workspace_id = 'ws_other' where id = %s", (row["id"],))
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
            " created_by) values (%s, %s, 'ws_third', 'acme', 'other', '1.0.0', '{}', 'registered', 'waiting_for_probe', 't')",
            (world.tenant_id, new_id("rel")),
        )
    await going
    (found,) = await world.rows("release", "id = %s", row["id"])
    assert (found["state"], found["reason"]) == ("failed", "identity_refused"), "what was decided first counts"
