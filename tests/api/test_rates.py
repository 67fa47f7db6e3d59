"""Requests in a minute, at the real door: refused with its headers, shared by doors, fair, and never a way to lock oneself out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psycopg
import pytest
import pytest_asyncio

from tests.support.database import Cluster
from worka.api.app import create
from worka.identity import service as people
from worka.identity import store as identity
from worka.kernel import settings
from worka.kernel.ids import new_id
from worka.workers.wiring import Runtime
from worka.workspaces import store as workspaces
from worka.workspaces.limits import rates, rules
from worka.workspaces.limits.schema import Name

OPS = pytest.mark.capability("OPS-7", part="requests in a minute")
NAME = "requests_per_minute"


class Filling:
    """How many requests a bucket lets through since this was made: what is in it, and what flows in meanwhile."""

    def __init__(self, limit: int) -> None:
        self.limit, self.began = limit, time.monotonic()

    @property
    def most(self) -> int:
        return self.limit + int((time.monotonic() - self.began) * self.limit / 60) + 1


class Place:
    """A tenant with two workspaces, `here` and `there`, an owner and two members of both, and two doors to it."""

    def __init__(self, doors: list[httpx.AsyncClient], runtimes: list[Runtime]) -> None:
        self.doors, self.runtimes = doors, runtimes
        self.tenant, self.here, self.there = new_id("ten"), new_id("ws"), new_id("ws")
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    async def fill(self) -> None:
        db, sealer = self.runtimes[0].db, self.runtimes[0].sealer
        row = {"tenant_id": self.tenant, "created_by": "test", "name": "T"}
        async with db.transaction(self.tenant) as conn:
            assert await workspaces.create_tenant(conn, {**row, "slug": self.tenant[4:].lower()})
            for place in (self.here, self.there):
                await workspaces.create_workspace(conn, {**row, "id": place, "slug": place[3:].lower()})
        for name, role in (("owner", "owner"), ("ann", "member"), ("bob", "member")):
            await self.person(name, role, (self.here, self.there) if name != "bob" else (self.here,))
        assert sealer is not None

    async def person(self, name: str, role: str, places: tuple[str, ...]) -> None:
        db, sealer = self.runtimes[0].db, self.runtimes[0].sealer
        who = new_id("per")
        token, hmac = people.new_token(sealer, "session")
        async with db.transaction(None) as conn:
            await identity.create_person(
                conn,
                {
                    "id": who,
                    "email": f"{who}@x.test",
                    "display_name": name,
                    "password_hash": "!",
                    "operator": name == "op",
                },
            )
            await identity.create_session(conn, new_id("ses"), who, hmac, people.now() + people._LINK)
        async with db.transaction(self.tenant) as conn:
            for place in places:
                member = {
                    "tenant_id": self.tenant, "workspace_id": place, "principal_kind": "person", "principal_id": who,
                    "role": role, "approver": False, "created_by": "test",
                }  # fmt: skip
                await workspaces.add_member(conn, member)
        self.ids[name], self.tokens[name] = who, token

    async def get(self, who: str, path: str = "", door: int = 0, **more: Any) -> httpx.Response:
        url = path or f"/v1/workspaces/{self.here}"
        return await self.doors[door].get(url, headers={"Authorization": f"Bearer {self.tokens[who]}"}, **more)

    async def put(self, value: int | None, who: str = "owner", door: int = 0, **wish: Any) -> httpx.Response:
        body = {"layer": "workspace", "scope": "member", "name": NAME, "reason": "too many", **wish, "value": value}
        return await self.doors[door].post(
            f"/v1/workspaces/{self.here}/limits", json=body, headers={"Authorization": f"Bearer {self.tokens[who]}"}
        )

    async def flood(self, who: str, number: int, path: str = "", door: int = 0) -> list[int]:
        """How that many requests, one after the other, are answered."""
        return [(await self.get(who, path, door)).status_code for _ in range(number)]


@pytest_asyncio.fixture
async def place(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Place]:
    """Two doors of one deployment: each with its own memory, over one database."""
    environment = {"WORKA_HOME": str(tmp_path), "WORKA_DATABASE__URL": cluster.urls.app}
    for name in ("keys", "run", "log", "objects"):
        (tmp_path / name).mkdir(exist_ok=True)
    runtimes = [Runtime(settings.load(environment), "test") for _ in range(2)]
    doors = []
    for runtime in runtimes:
        await runtime.db.open()
        transport = httpx.ASGITransport(app=create(runtime))
        doors.append(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080"))
    found = Place(doors, runtimes)
    await found.fill()
    yield found
    for door in doors:
        await door.aclose()
    for runtime in runtimes:
        await runtime.db.close()


@OPS
async def test_one_request_too_many_is_refused_and_says_which_limit_who_set_it_and_when_to_come_again(
    place: Place,
) -> None:
    assert "ratelimit" not in (await place.get("ann")).headers, "without a limit nothing is said of one"
    assert (await place.put(12)).status_code == 200
    first = await place.get("ann")
    assert first.headers.get("ratelimit-policy") == '"member";q=12;w=60'
    assert first.headers["ratelimit"].startswith('"member";r=11;t=')
    assert await place.flood("ann", 11) == [200] * 11
    for _ in range(20):  # one flows in every five seconds
        if (refused := await place.get("ann")).status_code == 429:
            break
    body = refused.json()
    assert (refused.status_code, body["code"]) == (429, "rate_limit_reached")
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert refused.headers["ratelimit"].startswith('"member";r=0;t=')
    assert (body["name"], body["scope"], body["limit"], body["source"]) == (NAME, "member", 12, "workspace")
    assert body["who_can_raise"] == "an owner of this workspace"
    assert "too many" in body["detail"]


@OPS
async def test_a_flood_by_one_member_does_not_hurt_another(place: Place) -> None:
    await place.put(60, scope="workspace")
    await place.put(20)
    own, whole = Filling(20), Filling(60)
    flood = await place.flood("ann", 60)
    assert 20 <= flood.count(200) <= own.most
    assert await place.flood("bob", 15) == [200] * 15, "what ann was refused took nothing of what is everybody's"
    raised = await place.put(None)
    assert raised.status_code == 200
    again = await place.flood("ann", 60)
    assert flood.count(200) + 15 + again.count(200) <= whole.most, (
        "the workspace's own bound holds for all of them together"
    )


@OPS
async def test_two_doors_together_let_through_what_one_would(place: Place) -> None:
    await place.put(40)
    bucket = Filling(40)
    both = await asyncio.gather(place.flood("ann", 60, door=0), place.flood("ann", 60, door=1))
    let = sum(found.count(200) for found in both)
    assert 38 <= let <= bucket.most, let


@OPS
async def test_who_may_raise_a_limit_can_do_so_however_much_of_it_is_used_up(place: Place) -> None:
    await place.put(10)
    await place.flood("owner", 12)
    assert (await place.get("owner")).status_code == 429
    assert (await place.put(5)).status_code == 422, "no limit so low that nobody could raise it again"
    raised = await place.put(1000)
    assert raised.status_code == 200
    assert (await place.get("owner")).status_code == 200, "it holds for the next request"
    assert (await place.get("owner", door=1)).status_code == 200


@OPS
async def test_setting_limits_has_a_small_bucket_of_its_own_for_each_member(place: Place) -> None:
    await place.put(10)
    bucket = Filling(rates.RAISING.value)
    tried = [await place.put(1000, who="bob", door=number % 2) for number in range(60)]
    refused = [answer for answer in tried if answer.status_code == 429]
    assert {answer.status_code for answer in tried} == {403, 429}
    assert 60 - len(refused) <= bucket.most
    body = refused[0].json()
    assert (body["code"], body["limit"], body["source"]) == ("rate_limit_reached", rates.RAISING.value, "deployment")
    assert 1 <= int(refused[0].headers["retry-after"]) <= 3
    async with place.runtimes[0].db.transaction(place.tenant) as conn:
        denied = "select count(*) as n from worka.decision where principal_id = %s and action = 'limit.set'"
        found = await (await conn.execute(denied, (place.ids["bob"],))).fetchone()
    assert found is not None
    assert found["n"] == 60 - len(refused), "what the bucket refused left no row"
    assert (await place.get("bob")).status_code == 200, "it is no part of the rate of requests"
    await place.flood("owner", 12)
    assert (await place.put(1000)).status_code == 200, "the control: who may raise it still does"


@OPS
async def test_a_member_neither_raises_nor_goes_around_the_limit(place: Place) -> None:
    await place.put(10)
    bucket = Filling(10)
    assert (await place.put(1000, who="bob")).status_code == 403
    assert (await place.put(1000, who="bob", member_id=place.ids["bob"])).status_code == 403
    # By id, where no workspace is named: bob is in one workspace only, and its bound counts.
    let = (await place.flood("bob", 8)).count(200)
    unknown = f"/v1/tasks/task_{'0' * 26}"
    found = await place.flood("bob", 12, unknown)
    assert 429 in found
    assert let + found.count(404) <= bucket.most, found
    # Who is in several is held to the tightest of the own ones there.
    bucket = Filling(10)
    several = await place.flood("ann", 30, unknown)
    assert 429 in several
    assert several.count(404) <= bucket.most


@OPS
async def test_another_workspace_and_another_tenant_are_not_held_to_it(place: Place, cluster: Cluster) -> None:
    await place.put(10)
    assert 429 in await place.flood("ann", 40)
    assert await place.flood("ann", 15, f"/v1/workspaces/{place.there}") == [200] * 15
    stranger = Place(place.doors, place.runtimes)
    await stranger.fill()
    assert await stranger.flood("ann", 15) == [200] * 15
    url = f"/v1/workspaces/{place.here}/limits"
    assert (await stranger.get("owner", url)).status_code == 404
    assert (await place.get("owner", url)).status_code == 200, "the control"


@OPS
async def test_a_clock_that_is_set_back_neither_fills_a_bucket_nor_keeps_it_shut(place: Place) -> None:
    await place.put(60)
    db = place.runtimes[0].db
    await place.flood("ann", 62)
    async with db.transaction(place.tenant) as conn:
        await conn.execute("update worka.rate_bucket set at = now() + interval '1 day', tokens = 0")
    for runtime in place.runtimes:
        runtime.rates = rates.Rates(runtime.db)
    assert (await place.get("ann")).status_code == 429, "nothing was filled by it"
    await asyncio.sleep(1.2)
    assert (await place.get("ann")).status_code == 200, "and it fills again from now on"


@OPS
async def test_a_request_costs_no_statement_of_its_own(place: Place) -> None:
    """Counted where statements are sent: the same request without a limit, and with one once a share was taken."""
    original = psycopg.AsyncConnection.execute
    asking = asyncio.current_task()
    sent: list[str] = []

    async def counting(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        if asyncio.current_task() is asking:  # what pools and announcements send beside it is not the request's
            sent.append(str(query)[:60])
        return await original(self, query, *args, **more)

    async def cost() -> list[str]:
        sent.clear()
        assert (await place.get("ann")).status_code == 200
        return list(sent)

    with patch.object(psycopg.AsyncConnection, "execute", counting):
        await place.get("ann")
        without = await cost()
        await place.put(1000)
        await cost()  # takes a share of fifty
        costs = [await cost() for _ in range(10)]
    assert without
    assert costs == [without] * 10


async def test_every_limit_of_the_document_is_registered_and_the_other_way_round() -> None:
    assert [limit.name for limit in rules.all_limits()] == sorted(Name.__args__)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """None of these sets what the deployment gives everybody."""
    yield
    with psycopg.connect(cluster.urls.app) as conn:
        assert conn.execute("select count(*) from worka.deployment_quota where value is not null").fetchone() == (0,)
