"""A request that only reads and repeats one of its call leaves at once, on the last look at the kill switches; all of it is counted."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.broker.test_given_up import locked
from tests.broker.test_kills import lift
from tests.broker.world import HOST, Box, World
from worka.broker import recording
from worka.broker.ledger import Ledger, Stopped
from worka.governance import kills, store
from worka.governance import service as governance
from worka.governance.errors import AlreadyKilled
from worka.kernel.context import Context, Decision, Principal
from worka.kernel.ids import new_id

pytestmark = pytest.mark.asyncio
# A client that keeps its connection and asks again and again, until something is refused or it has asked often enough.
ASKING = """
import http.client, json, sys, time
host, method, times, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
connection, found = http.client.HTTPConnection(host, timeout=20), []
for turn in range(times):
    connection.request(method, f"/{turn}")
    answer = connection.getresponse()
    answer.read()
    found.append(answer.status)
    if answer.status != 200:
        break
    time.sleep(pause)
print(json.dumps(found))
"""
OTHER = "other.worka.test"
REACHED, KILLED, NOT_RECORDED = 200, 403, 503


async def asked(box: Box, times: int, *, method: str = "GET", pause: float = 0.0, host: str = HOST) -> list[int]:
    done = await box.do("run", argv=["python3", "-c", ASKING, host, method, str(times), str(pause)])
    assert done["code"] == 0, done
    found: list[int] = json.loads(done["out"])
    return found


class Place:
    """An outside that answers at once, and counts what reached it."""

    def __init__(self) -> None:
        self.reached = 0


@contextmanager
def counting() -> Iterator[tuple[Place, int]]:
    place = Place()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                place.reached += 1
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield place, server.server_address[1]
        finally:
            server.shutdown()


def a_kill(world: World) -> dict[str, Any]:
    return {
        "tenant_id": world.tenant_id, "id": new_id("kill"), "workspace_id": None, "kind": "destination", "subject": HOST,
        "reason": "a bad day", "receipt": {}, "set_by": "per_x", "set_by_name": "Ada", "by_operator": False, "by_owner": True,
    }  # fmt: skip


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(4000):
        if reached():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came so far")


@pytest.fixture
def counted() -> Iterator[tuple[Place, int]]:
    with counting() as found:
        yield found


async def box_of(world: World, port: int) -> Box:
    await world.declare(
        *({"host": host, "port": 80, "methods": ["GET", "POST"], "paths": ["/*"]} for host in (HOST, OTHER))
    )
    for host in (HOST, OTHER):
        await world.exempt(host, 80, port)
    return await world.box()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each commit counted."""
    found: list[int] = []
    real = recording.Recording._group

    async def watched(self: recording.Recording, group: list[recording.Write]) -> None:
        found.append(sum(write.times for write in group if write.counts))
        await real(self, group)

    monkeypatch.setattr(recording.Recording, "_group", watched)
    return found


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each request was let go."""
    found: list[float] = []
    real = Ledger.allow

    async def watched(self: Ledger, **asked: Any) -> Any:
        entry = await real(self, **asked)
        found.append(time.monotonic())
        return entry

    monkeypatch.setattr(Ledger, "allow", watched)
    return found


@pytest.mark.capability("BRK-5")
async def test_what_only_reads_and_repeats_itself_waits_for_no_commit_and_each_of_it_is_counted(
    world: World, commits: list[int], counted: tuple[Place, int]
) -> None:
    _, port = counted
    box = await box_of(world, port)
    async with box.invoking("write") as call:
        assert await asked(box, 60) == [REACHED] * 60
        await until(lambda: sum(commits) == 60)
        assert max(commits) > 1
        commits.clear()
        assert await asked(box, 5, method="POST") == [REACHED] * 5
        await until(lambda: sum(commits) == 5)
        assert max(commits) == 1, "the control: what writes waits for its own"
    rows = {row["method"]: row for row in await world.egress(call.id)}
    assert (rows["GET"]["count"], rows["GET"]["path"], rows["GET"]["status"]) == (60, "/59", REACHED)
    assert rows["POST"]["count"] == 5
    (use,) = await world.rows("select requests, bytes_in from worka.egress_use")
    assert use["requests"] == 65
    assert {item["method"]: item["count"] for item in call.ended["egress"]} == {"GET": 60, "POST": 5}


@pytest.mark.capability("BRK-5")
async def test_the_first_to_a_place_waits_for_its_row_and_so_does_one_after_a_while(
    world: World, commits: list[int], counted: tuple[Place, int]
) -> None:
    place, port = counted
    box = await box_of(world, port)
    async with box.invoking():
        assert await asked(box, 4, pause=3 * kills.LOOK_SECONDS) == [REACHED] * 4
    assert [times for times in commits if times] == [1] * 4
    async with box.invoking():
        async with locked(world):
            assert await asked(box, 1) == [NOT_RECORDED], "its row is not there"
        reached = place.reached
        assert await asked(box, 1) == [REACHED], "the control"
        assert place.reached == reached + 1


@pytest.mark.capability("BRK-12", part="a database that takes no rows: closed, and counted when it does again")
@pytest.mark.capability("BRK-5")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_while_no_row_can_be_written_what_repeats_itself_is_refused_too_and_what_left_is_counted(
    world: World, method: str, counted: tuple[Place, int]
) -> None:
    place, port = counted
    box = await box_of(world, port)
    async with box.invoking("write") as call:
        asking = asyncio.create_task(asked(box, 5000, method=method, pause=0.001))
        await until(lambda: place.reached >= 20)
        async with locked(world):
            before = place.reached
            said = await asking
            await asyncio.sleep(
                world.broker.limits.record_seconds + 0.5
            )  # the commit gives up later than who waits for it
            late = place.reached - before
        reached = place.reached
        assert said[-1] == NOT_RECORDED
        assert reached == len(said) - 1
        assert late <= (kills.LOOK_SECONDS / 0.001 if method == "GET" else 1)
        # The next commit of the call, whatever it is about, has what is owed.
        assert await asked(box, 1, host=OTHER) == [REACHED]
        assert {row["host"]: row["count"] for row in await world.egress(call.id)} == {HOST: reached, OTHER: 1}
    assert {item["host"]: item["count"] for item in call.ended["egress"]} == {HOST: reached, OTHER: 1}


@pytest.mark.capability("BRK-5")
async def test_what_could_not_be_counted_while_its_call_ran_is_counted_when_the_database_takes_rows_again(
    world: World, counted: tuple[Place, int]
) -> None:
    place, port = counted
    box = await box_of(world, port)
    async with box.invoking() as call:
        asking = asyncio.create_task(asked(box, 5000, pause=0.001))
        await until(lambda: place.reached >= 20)
        lock = locked(world)
        await lock.__aenter__()
        assert (await asking)[-1] == NOT_RECORDED
        await asyncio.sleep(world.broker.limits.record_seconds + 0.5)
    (row,) = call.ended["egress"]
    assert row["count"] == place.reached, "what the end of the call says"
    await lock.__aexit__(None, None, None)

    async def told() -> int:
        return sum(row["count"] for row in await world.egress(call.id))

    for _ in range(400):
        if await told() == place.reached:
            break
        await asyncio.sleep(0.05)
    assert await told() == place.reached


class Anybody:
    """Allows; the rest of the use case is real."""

    async def decide(self, ctx: Context, action: str, resource: Any, context: dict[str, Any]) -> Decision:
        return Decision(new_id("dec"), "allow", "test", (), (), (), "none", "")


@pytest.mark.capability("GOV-15", part="at the broker, for the very next request of a call that runs")
async def test_nothing_that_repeats_itself_leaves_once_a_kill_switch_is_answered_for(
    world: World, counted: tuple[Place, int], let_go: list[float]
) -> None:
    place, port = counted
    box = await box_of(world, port)
    owner = world.broker._make_context(
        Principal("person", new_id("per"), "Ada"), tenant_id=world.tenant_id, workspace_id=world.workspace_id
    )
    owner.authorizer = Anybody()  # type: ignore[assignment]
    # The third time somebody else has set it in the very same moment, and it is found on.
    for kind, subject, by_us in (
        ("destination", HOST, True), ("workspace", world.workspace_id, True), ("destination", HOST, False),
    ):  # fmt: skip
        async with box.invoking() as call:
            begun = place.reached
            asking = asyncio.create_task(asked(box, 20000))
            await until(lambda: place.reached >= begun + 50)  # noqa: B023 - asked in this turn
            assert not asking.done(), "the control: it goes on and on"
            if by_us:
                made = await governance.kill(owner, world.workspace_id, kind, subject, "a bad day", True)
            else:
                async with world.db.transaction(world.tenant_id) as conn:
                    made = await store.add_kill(conn, a_kill(world)) or {}
                was_set = time.monotonic()
                with pytest.raises(AlreadyKilled):
                    await governance.kill(owner, world.workspace_id, kind, subject, "a bad day", True)
                assert time.monotonic() > was_set + kills.SETTLE_SECONDS
            answered = time.monotonic()
            said = await asking
        assert said[-1] == KILLED
        assert let_go[-1] < answered, kind
        (row,) = [row for row in await world.egress(call.id) if row["verdict"] == "allowed"]
        assert row["count"] == place.reached - begun == len(said) - 1, "what had left is counted"
        await lift(world, made["id"])


@pytest.mark.capability("GOV-15", part="at the broker, for the very next request of a call that runs")
async def test_a_kill_switch_that_one_request_of_a_call_met_is_met_by_all_that_follow_it(
    world: World, counted: tuple[Place, int]
) -> None:
    _, port = counted
    box = await box_of(world, port)
    async with box.invoking("write"):
        active = world.broker.sessions[box.session_id].active
        assert active is not None
        to: dict[str, Any] = {"host": HOST, "port": 80, "path": "/", "rule": "r", "address": "127.0.0.1"}
        entry = await active.ledger.allow(method="GET", **to)
        async with world.db.transaction(world.tenant_id) as conn:
            await store.add_kill(conn, a_kill(world))  # and nobody was answered yet
        assert await active.ledger.allow(method="GET", **to) is entry, "the control: the look before holds"
        for method in ("POST", "GET"):
            with pytest.raises(Stopped):
                await active.ledger.allow(method=method, **to)
