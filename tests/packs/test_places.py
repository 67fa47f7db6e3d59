"""Places for calls: bounded, in turn between tenants, told to whoever waits, and gone with what they belong to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.packs import running
from tests.packs.conftest import Packs
from tests.packs.running import SERVER, Instance
from tests.packs.test_registration import small
from worka.packs import explain, service
from worka.packs.runtime.client import HostClient
from worka.packs.runtime.outcome import CallFailed, Ending
from worka.packs.runtime.places import Places
from worka.packs.runtime.pool import Pool
from worka.packs.runtime.sessions import Session

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


class Line:
    """Calls through places; `served` is the order in which they got one."""

    def __init__(self, **bounds: int) -> None:
        self.places = Places(**{"per_attachment": 2, "per_tenant": 3, "total": 4, **bounds})
        self.served: list[str] = []
        self.most = 0

    async def call(self, tenant: str, owner: str, name: str, timeout: float = 20) -> None:
        async with self.places.place(tenant, owner, name, timeout):
            self.served.append(name)
            self.most = max(self.most, len(self.places.inside))
            for _ in range(3):
                await asyncio.sleep(0)

    def begin(self, tenant: str, owner: str, count: int, timeout: float = 20) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.call(tenant, owner, f"{owner}-{n}", timeout)) for n in range(count)]


@pytest.mark.capability("RUN-7", "DEP-11")
async def test_a_tenant_with_one_call_waits_for_a_turn_and_not_for_a_thousand_calls_of_another() -> None:
    line = Line(total=2)
    flood = line.begin("loud", "x", 500) + line.begin("loud", "y", 500)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before = len(line.served)
    await asyncio.gather(*line.begin("quiet", "z", 3))
    after = [name for name in line.served[before:] if name.startswith("z")]
    assert after == ["z-0", "z-1", "z-2"]
    assert line.served.index("z-2") - before < 20, "it stood behind the flood"
    await asyncio.gather(*flood)
    assert (len(line.served), line.most) == (1003, 2), "the control: the flood was served too, within the bound"
    assert [name for name in line.served if name.startswith("x")] == [f"x-{n}" for n in range(500)], (
        "each line in order"
    )
    assert (line.places.lines, line.places.inside) == ({}, set())


@pytest.mark.capability("RUN-7")
async def test_whoever_waits_for_its_own_attachment_stands_in_nobodys_way() -> None:
    line = Line(per_attachment=1, per_tenant=3, total=3)
    async with line.places.place("t", "slow", "first", 5):
        waiting = line.begin("t", "slow", 5)
        others = line.begin("t", "other", 4)
        await asyncio.wait(others, timeout=5)
        assert all(task.done() for task in others), "they stand behind the call that waits for its own attachment"
        assert not any(task.done() for task in waiting), "the control: that attachment is full"
        place = line.places.of("t", "slow-3")
        assert place is not None
        assert (place["limit"], place["most"], place["ahead"], place["holders"]) == ("attachment", 1, 3, ["first"])
        assert line.places.of("another", "slow-3") is None, "another tenant is told nothing"
    await asyncio.gather(*waiting)
    assert line.places.of("t", "slow-3") is None


@pytest.mark.capability("RUN-7")
async def test_a_call_whose_time_or_attachment_ends_leaves_the_line_and_takes_no_place() -> None:
    line = Line(per_attachment=1)
    async with line.places.place("t", "a", "first", 5):
        late = line.begin("t", "a", 1, timeout=0.05)
        with pytest.raises(CallFailed) as failure:
            await late[0]
        assert (failure.value.ending.reason, "All 1 sessions of the attachment" in str(failure.value)) == (
            "no_free_session",
            True,
        )
        dropped, left = line.begin("t", "a", 2), line.begin("t", "b", 1)
        given_up = line.begin("t", "a", 1)
        await asyncio.sleep(0)
        given_up[0].cancel()
        await asyncio.sleep(0)
        assert line.places.turn_away("a", Ending("session_dropped", "gone")) == ["a-0", "a-1"]
        for task in dropped:
            with pytest.raises(CallFailed, match="gone"):
                await task
        await left[0]
    assert line.served == ["b-0"]
    await asyncio.gather(*line.begin("t", "a", 2))
    assert (line.places.lines, line.places.inside) == ({}, set()), "nothing is counted twice"


@pytest.mark.capability("RUN-7")
async def test_a_call_that_is_turned_away_as_its_time_runs_out_does_not_go_on_without_a_place() -> None:
    line = Line(per_attachment=1)

    async def meanwhile(name: str, act: Callable[[], object]) -> asyncio.Task[None]:
        """`act` in the very turn of the loop in which the call's time runs out, just before it does."""
        task = asyncio.create_task(line.call("t", "a", name, timeout=0.01))
        await asyncio.sleep(0)
        time.sleep(0.02)  # blocks: nothing else may come in between
        await asyncio.sleep(0)
        act()
        await asyncio.wait({task})
        return task

    async with line.places.place("t", "a", "first", 5):
        away = await meanwhile("away", lambda: line.places.turn_away("a", Ending("session_dropped", "gone")))
        with pytest.raises(CallFailed, match="gone"):
            await away
        assert (line.served, len(line.places.inside)) == ([], 1)
    # The control: who is served in that moment goes on.
    first = line.places.place("t", "a", "first", 5)
    await first.__aenter__()

    def leave() -> None:
        line.places._leave(next(iter(line.places.inside)))
        line.places._serve()

    served = await meanwhile("served", leave)
    await served
    await first.__aexit__(None, None, None)
    assert (line.served, line.places.inside, line.places.lines) == (["served"], set(), {})


@pytest.mark.capability("GOV-11")
async def test_dropping_an_attachment_waits_for_its_own_sessions_alone() -> None:
    pool = Pool(per_attachment=2, per_tenant=3, idle_seconds=60)
    released = {"mine": asyncio.Event(), "another": asyncio.Event()}

    class Closing:
        """As much of a session as closing takes."""

        def __init__(self, attachment_id: str) -> None:
            self.spec = SimpleNamespace(attachment_id=attachment_id, key=attachment_id)
            self.calls = 0
            self.serving = ""

        async def close(self, _ending: Ending | None = None) -> None:
            await released[self.spec.attachment_id].wait()

    pool.discard(cast("Session", Closing("another")))
    pool.sessions.add(cast("Session", Closing("mine")))
    dropping = asyncio.create_task(pool.drop("mine"))
    done, _ = await asyncio.wait({dropping}, timeout=0.05)
    assert not done, "the control: it is gone when this returns, and it is not gone"
    released["mine"].set()
    assert (await asyncio.wait_for(dropping, 5)).dropped == 1, "it waits for a session of somebody else"
    released["another"].set()
    await pool.close()


@pytest.fixture(scope="module")
def narrow() -> Iterator[Instance]:
    """A machine with two sessions for everybody, and little patience with idle ones."""
    settings = {"SESSIONS": "2", "SESSIONS_PER_ATTACHMENT": "2", "IDLE_SECONDS": "1"}
    with running.instance(environment={f"WORKA_PACKS__{name}": value for name, value in settings.items()}) as here:
        yield here


@pytest.mark.capability("RUN-7", "DEP-11")
async def test_one_tenants_flood_does_not_starve_anothers_calls(narrow: Instance) -> None:
    loud = await narrow.session(tenant_id="ten_loud")
    quiet = await narrow.session(tenant_id="ten_quiet")
    ended: list[str] = []
    begun = asyncio.Event()

    async def call(session: Row, name: str) -> Row:
        outcome = await narrow.run(session, "import time; time.sleep(0.05); value = 1", timeout=60)
        ended.append(name)
        if len(ended) >= 2:
            begun.set()
        return outcome

    flood = [asyncio.create_task(call(loud, "loud")) for _ in range(60)]
    await begun.wait()
    before = len(ended)
    outcomes = await asyncio.gather(*(call(quiet, "quiet") for _ in range(4)))
    assert {outcome["status"] for outcome in outcomes} == {"ok"}
    between = ended[before:].count("loud")
    assert between < 15, f"{between} calls of the flood came first"
    assert {outcome["status"] for outcome in await asyncio.gather(*flood)} == {"ok"}, (
        "the control: the flood is served too"
    )


@pytest.mark.capability("RUN-3", part="idle")
async def test_a_warm_session_is_let_go_when_idle_and_when_another_tenant_needs_the_room(narrow: Instance) -> None:
    mine = [await narrow.session(tenant_id="ten_mine") for _ in range(2)]
    for session in mine:
        assert (await narrow.run(session, "value = 1"))["session"] == "cold"
    assert (await narrow.run(mine[1], "value = 1"))["session"] == "warm", "the control: a moment later it is warm"
    other = await narrow.session(tenant_id="ten_other")
    assert (await narrow.run(other, "value = 1"))["status"] == "ok"
    assert await narrow.gone(mine[0]), "the longest idle one of who keeps most made room"
    assert await narrow.gone(mine[1], 10)
    assert (await narrow.run(mine[1], "value = 1"))["session"] == "cold"


async def attached(place: Packs) -> Row:
    """A pack without reach whose tool runs what it is told."""
    document = small(
        name="slow",
        tools=[{"name": name, "side_effect": "read_only", "idempotent": True} for name in ("run", "change", "steady")],
    )
    document["runtime"] = {
        "package": {"ecosystem": "path", "name": "slow", "version": "1.0.0"},
        "command": ["python", "server.py"],
    }
    release = await place.register(document, "", {"server.py": SERVER.encode()})
    assert release["state"] == "released", release["error"]
    row = await service.attach(place.ctx(), release["id"])
    assert row["state"] == "attached"
    return row


async def full(place: Packs, count: int, seconds: float) -> list[asyncio.Task[Any]]:
    """So many calls at once, each of which takes a while."""
    code = f"import time; time.sleep({seconds}); value = 1"
    ctxs = [place.ctx() for _ in range(count)]
    return [asyncio.create_task(service.call(ctx, "acme.slow.run", {"code": code}, None)) for ctx in ctxs]


async def in_line(place: Packs, count: int) -> list[Row]:
    """The running invocations, once there are so many and one of them waits."""
    host = HostClient(place.world.settings.home / "run")
    while True:
        rows = await place.world.rows("invocation", "state = 'running' order by started_at")
        waiting = [
            row for row in rows if await host.waiting(tenant_id=row["tenant_id"], invocation_id=row["id"]) is not None
        ]
        if len(rows) == count and waiting:
            return waiting
        await asyncio.sleep(0.05)


@pytest.mark.capability("RUN-7")
async def test_a_call_in_line_says_which_limit_who_holds_it_and_its_place(place: Packs) -> None:
    await attached(place)
    calls = await full(place, 6, 4)
    waiting = await asyncio.wait_for(in_line(place, 6), 30)
    told = [await explain.explain_invocation(place.ctx(), row["id"]) for row in waiting]
    assert len(told) == 2, "the control: four of six have a session"
    for number, one in enumerate(sorted(told, key=lambda one: one.waiting_on[0].name)):
        assert (one.state, one.reason, one.layer, one.timing) == (
            "queued",
            "waiting_for_session",
            "capacity",
            "before_start",
        )
        (wait,) = one.waiting_on
        assert wait.kind == "slot"
        assert f"place {number + 1} in line for a session of this attachment, of 4" in wait.name
        assert wait.ref.startswith("inv_")
        assert wait.ref not in {row["id"] for row in waiting}, "those who run are named"
        assert wait.deadline is not None
    answers = [answer for _, answer in await asyncio.gather(*calls)]
    assert {answer["status"] for answer in answers} == {"succeeded"}
    after = await explain.explain_invocation(place.ctx(), waiting[0]["id"])
    assert (after.state, after.waiting_on) == ("succeeded", [])


@pytest.mark.capability("RUN-3", "GOV-11", part="calls that wait for a session")
async def test_a_quarantine_ends_warm_sessions_and_whoever_waits_for_one(place: Packs) -> None:
    row = await attached(place)
    host = HostClient(place.world.settings.home / "run")

    async def sessions() -> int:
        return sum(one["attachment_id"] == row["id"] for one in (await host.status())["sessions"])

    _, first = await service.call(place.ctx(), "acme.slow.run", {"code": "value = 1"}, None)
    assert (first["status"], await sessions()) == ("succeeded", 1), "the control: it is kept warm"
    calls = await full(place, 6, 30)
    waiting = {one["id"] for one in await asyncio.wait_for(in_line(place, 6), 30)}
    await service.quarantine(place.ctx(), row["release_id"], "it misbehaves")
    answers = [answer for _, answer in await asyncio.wait_for(asyncio.gather(*calls), 20)]
    assert await sessions() == 0
    assert {answer["reason"] for answer in answers} == {"release_quarantined"}, "each says why, and by whom"
    begun = {answer["invocation_id"]: answer["session"] for answer in answers}
    assert {begun[one] for one in waiting} == {None}, "none of those was begun"
    assert {session for one, session in begun.items() if one not in waiting} <= {"cold", "warm"}, "the control"
