"""What stands open while a call runs: it ends within a second of a kill switch, and of the end of its credential."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.broker.others import Ca
from tests.broker.others import outside as serving
from tests.broker.others import websocket as speaking
from tests.broker.test_kills import lift, stop
from tests.broker.test_real_parts import Anything
from tests.broker.world import HOST, INJECT, TOKEN, Box, Outside, World, code, make_world
from tests.support.database import Cluster, Line
from worka.audit.recorder import Recorder
from worka.broker import explain
from worka.kernel import settings
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.errors import Unavailable
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.treasury import service as treasury
from worka.treasury import store as treasury_rows
from worka.treasury.sealer import TreasurySealer

RULE: dict[str, Any] = {"host": HOST, "port": 443, "websocket": True}
SECONDS = 1.6
"""A second, and what a busy machine adds."""


async def holding(box: Box, hold: float = 8) -> asyncio.Task[dict[str, Any]]:
    """A WebSocket that stands, and is held for as long as it is let."""
    task = asyncio.create_task(
        box.do("websocket", host=HOST, port=443, path="/live", messages=["hello"], seconds=9, hold=hold)
    )
    session = box.world.broker.sessions[box.session_id]
    for _ in range(250):
        if session.active is not None and any(getattr(item, "status", None) == 101 for item in session.active.open):
            return task
        await asyncio.sleep(0.02)
    raise AssertionError("it never stood")


async def cut_after(task: asyncio.Task[dict[str, Any]], act: Callable[[], Awaitable[Any]], hold: float = 8) -> float:
    """How long after `act` it was over; it was held for `hold` seconds."""
    await act()
    began = time.monotonic()
    found = await asyncio.wait_for(task, hold + 1)
    assert found["back"] == ["hello"], "the control: it stood, and was answered"
    assert found["ended"] != "TimeoutError", "it was still open"
    return time.monotonic() - began


@pytest.mark.capability("GOV-15", part="at the broker, for what stands open")
async def test_a_websocket_that_stands_ends_within_a_second_of_a_kill_switch(world: World, tmp_path: Path) -> None:
    ca = Ca("outside")
    async with serving(tmp_path, speaking, ca.pair(HOST)) as port:
        await world.declare(RULE)
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        box = await world.box()
        for kind, subject in (("destination", HOST), ("workspace", world.workspace_id), ("member", "mem_1")):
            async with box.invoking() as call:
                open_ = await holding(box)
                other = await stop(world, "destination", "elsewhere.worka.test")
                await asyncio.sleep(1.2)
                assert not open_.done(), "the control: another one's kill switch ends nothing"
                await lift(world, other)

                async def killed(kind: str = kind, subject: str = subject) -> None:
                    nonlocal kill_id
                    kill_id = await stop(world, kind, subject)

                kill_id = ""
                assert await cut_after(open_, killed) < SECONDS, kind
                await lift(world, kill_id)
            (row,) = await world.egress(call.id)
            assert (row["verdict"], row["reason"], row["kind"]) == ("allowed", "killed", "websocket"), kind
            ours, _ = explain.road([row])
            assert ours.state == "failed", "and it is told as ended here, not as an answer"


async def answering(world: World) -> None:
    """Until the database answers again."""
    for _ in range(50):
        with contextlib.suppress(Unavailable):
            await world.rows("select 1")
            return
        await asyncio.sleep(0.2)
    raise AssertionError("the database never came back")


@pytest.mark.capability("GOV-15", part="at the broker, for what stands open while the database is away")
@pytest.mark.parametrize("how", ["silent", "gone"])
async def test_what_stands_open_is_cut_when_the_database_is_away_for_longer_than_it_takes_to_start_again(
    cluster: Cluster, outside: Outside, tmp_path: Path, how: str
) -> None:
    ca, patience, hold = Ca("outside"), 4.0, 24
    async with Line(cluster.urls.app) as line:
        db = Database(line.dsn, "test", size=4)
        await db.open()
        try:
            async with (
                serving(tmp_path, speaking, ca.pair(HOST)) as port,
                make_world(db, outside, tmp_path, unwatched_seconds=patience) as world,
            ):
                await world.declare(RULE)
                await world.exempt(HOST, 443, port, ca_pem=ca.pem)
                box = await world.box()
                async with box.invoking() as call:
                    open_ = await holding(box, hold)
                    await line.away(how)
                    await asyncio.sleep(1)
                    await line.back()
                    await answering(world)
                    await asyncio.sleep(1.2)
                    assert not open_.done(), "the control: a database that is back in time ends nothing"
                    try:
                        took = await cut_after(open_, lambda: line.away(how), hold)
                    finally:
                        await line.back()
                    assert patience / 2 < took < patience + SECONDS + 1
                    await answering(world)
                lines = await world.rows("select l.reason from worka.egress_line l join worka.egress e"
                                         " on e.id = l.egress_id where e.invocation_id = %s", call.id)  # fmt: skip
                assert [item["reason"] for item in call.ended["egress"]] == ["egress_unwatched"]
                assert [item["reason"] for item in lines] == ["egress_unwatched"]
        finally:
            await db.close()


@asynccontextmanager
async def credentialed(
    db: Database, outside: Outside, home: Path, port: int, ca_pem: str
) -> AsyncIterator[tuple[World, Context, dict[str, Any], dict[str, Any]]]:
    """(world, an owner, a secret, its grant), with the real treasury."""
    (home / "keys").mkdir()
    sealer, recorder = TreasurySealer(settings.load({"WORKA_HOME": str(home)})), Recorder()
    async with make_world(db, outside, home, recorder=recorder, sealer=sealer, real_treasury=treasury) as world:
        person = Context(
            Principal("person", "per_1", "Ada"), world.tenant_id, db, Anything(), recorder, sealer, Subscribers(),
            world.workspace_id,
        )  # fmt: skip
        await world.declare({**RULE, "port": 443}, connections=INJECT)
        await world.exempt(HOST, 443, port, ca_pem=ca_pem)
        secret = await treasury.create(
            person, world.workspace_id, name="tracker", purpose="issues", kind="api_token", value=TOKEN
        )
        await world.execute(
            "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, access, secret_id, state,"
            " reason, created_by) values (%s,%s,%s,'tracker','tracker',%s,'read',%s,'active','ok','per_1')",
            world.tenant_id, new_id("con"), world.workspace_id, HOST, secret["id"],
        )  # fmt: skip
        grant = await treasury.grant(person, secret["id"], attachment_id=world.attachment_id, endpoint=f"{HOST}:443")
        yield world, person, secret, grant


@pytest.mark.capability("TRE-6", part="while a call runs")
@pytest.mark.parametrize(
    ("how", "refused"),
    [("grant", "connection_not_granted"), ("secret", "connection_not_granted"), ("seal", "secret_unavailable")],
)
async def test_a_credential_that_ends_is_on_no_request_of_a_running_call_a_second_later(
    db: Database, outside: Outside, tmp_path: Path, how: str, refused: str
) -> None:
    ca = outside.authority.pem.decode()
    async with credentialed(db, outside, tmp_path, outside.tracker, ca) as (world, person, secret, grant):
        box = await world.box()
        async with box.invoking():
            assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
            await asyncio.sleep(1)
            assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200, (
                "the control: a second alone ends nothing"
            )
            assert len(await world.rows("select id from worka.lease")) == 1, "and it is the same lease"
            if how == "grant":
                await treasury.revoke_grant(person, grant["id"])
            elif how == "secret":
                await treasury.revoke(person, secret["id"], "it leaked")
            else:
                async with db.transaction(None) as conn:
                    await treasury_rows.set_seal(conn, True, "a look", "per_1", "Ada")
            try:
                await asyncio.sleep(1)
                assert code(await box.fetch(f"https://{HOST}/issues")) == refused
            finally:
                async with db.transaction(None) as conn:
                    await treasury_rows.set_seal(conn, False, "over", "per_1", "Ada")
        assert len(outside.requests) == 2


@pytest.mark.capability("TRE-6", part="while a call runs")
async def test_a_websocket_ends_within_a_second_of_its_grant(db: Database, outside: Outside, tmp_path: Path) -> None:
    ca = Ca("outside")
    async with (
        serving(tmp_path, speaking, ca.pair(HOST)) as port,
        credentialed(db, outside, tmp_path, port, ca.pem) as (world, person, _, grant),
    ):
        box = await world.box()
        async with box.invoking() as call:
            open_ = await holding(box)
            assert await cut_after(open_, lambda: treasury.revoke_grant(person, grant["id"])) < SECONDS
        (row,) = await world.egress(call.id)
        assert (row["verdict"], row["reason"], row["status"]) == ("allowed", "connection_not_granted", 101)


@pytest.mark.capability("TRE-8", part="while a call runs")
async def test_a_running_call_goes_on_with_the_new_value_of_a_secret(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    ca = outside.authority.pem.decode()
    async with credentialed(db, outside, tmp_path, outside.tracker, ca) as (world, person, secret, _):
        box = await world.box()
        async with box.invoking():
            assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
            await treasury.rotate(person, secret["id"], "another-value-1")
            await asyncio.sleep(1)
            assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 401
        assert [seen.headers["authorization"] for seen in outside.requests] == [
            f"Bearer {TOKEN}", "Bearer another-value-1",
        ]  # fmt: skip
