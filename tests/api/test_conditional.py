"""ETags and conditions: whoever has a representation is not sent it again, and nobody writes over what they have not read."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.samples import SAMPLES, url
from tests.api.test_idempotency import SECRET
from tests.api.test_tenancy import picture
from tests.api.world import Doors
from tests.workspaces.world import World
from worka.identity import service as people

pytestmark = pytest.mark.timeout(300)
ETAGS = pytest.mark.capability("DOR-1", part="ETags, and conditions that lose no update")
OTHER = '"00000000000000000000000000000000"'


async def changed(door: httpx.AsyncClient, path: str, tag: str, body: dict[str, Any], method: str = "PATCH") -> Any:
    return await door.request(method, path, json=body, headers={"If-Match": tag})


@ETAGS
async def test_who_has_a_representation_is_told_so_until_it_changes(door: httpx.AsyncClient, world: World) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/team-members/{world.ids['robot']}"
    first = await door.get(path)
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f"{OTHER}, {tag}", "*"):
        again = await door.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert (await door.get(path, headers={"If-None-Match": OTHER})).json() == first.json()
    assert (await door.patch(path, json={"instructions": "Be brief."})).status_code == 200
    now = await door.get(path, headers={"If-None-Match": tag})
    assert (now.status_code, now.json()["instructions"]) == (200, "Be brief.")
    assert now.headers["ETag"] != tag


@ETAGS
@pytest.mark.parametrize(
    ("read", "write", "body"),
    [
        ("/team-members/{robot}", "PATCH /team-members/{robot}", {"instructions": "Be kind."}),
        ("/members/{viewer}", "PATCH /members/{viewer}", {"role": "member"}),
        ("/members/{viewer}", "DELETE /members/{viewer}", None),
        ("/policies/governance", "POST /policies", {"kind": "governance", "text": "", "note": "second"}),
    ],
)
async def test_a_change_under_an_etag_happens_only_to_what_was_read(
    door: httpx.AsyncClient,
    world: World,
    read: str,
    write: str,
    body: dict[str, Any] | None,
) -> None:
    base = f"/v1/workspaces/{world.workspace_id}"
    method, path = write.format(**world.ids).split(" ")
    place = base + read.format(**world.ids)
    before = await door.get(place)
    events = len(await world.rows("event"))
    for stale in (OTHER, f"W/{before.headers['ETag']}"):
        refused = await door.request(method, base + path, json=body, headers={"If-Match": stale})
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed"), refused.text
        assert refused.json()["etag"] == before.headers["ETag"]
        assert "Read it again" in refused.json()["remedy"]
    assert (await door.get(place)).json() == before.json()
    assert len(await world.rows("event")) == events
    done = await door.request(method, base + path, json=body, headers={"If-Match": before.headers["ETag"]})
    assert done.is_success, f"the control: {done.text}"
    assert len(await world.rows("event")) > events
    repeated = await door.request(method, base + path, json=body, headers={"If-Match": before.headers["ETag"]})
    assert repeated.status_code == (404 if method == "DELETE" else 412)


@ETAGS
async def test_a_change_that_commits_between_reading_and_writing_is_not_written_over(
    door: httpx.AsyncClient,
    world: World,
) -> None:
    robot = world.ids["robot"]
    path = f"/v1/workspaces/{world.workspace_id}/team-members/{robot}"
    tag = (await door.get(path)).headers["ETag"]
    faster = world.ctx("owner")
    async with faster.transaction():
        await people.change_team_member(faster, world.workspace_id, robot, {"instructions": "theirs"})
        ours = asyncio.create_task(changed(door, path, tag, {"instructions": "ours"}))
        for _ in range(500):  # it has read what was there, and waits for the row
            async with world.db.transaction(None) as conn:
                waiting = await (await conn.execute("select 1 from pg_locks where not granted")).fetchone()
            if waiting:
                break
            await asyncio.sleep(0.02)
        assert not ours.done()
    refused = await ours
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed"), refused.text
    shown = await door.get(path)
    assert shown.json()["instructions"] == "theirs"
    assert (await changed(door, path, shown.headers["ETag"], {"instructions": "ours"})).status_code == 200


@ETAGS
async def test_a_condition_that_cannot_be_held_is_refused_not_ignored(door: httpx.AsyncClient, world: World) -> None:
    secrets = f"/v1/workspaces/{world.workspace_id}/secrets"
    refused = await door.post(secrets, json=SECRET, headers={"If-Match": OTHER})
    assert (refused.status_code, refused.json()["code"]) == (412, "no_etag_here")
    assert await world.rows("secret") == []
    robot = f"/v1/workspaces/{world.workspace_id}/team-members/{world.ids['robot']}"
    for header, wrong in (("If-Match", "abc"), ("If-Match", ""), ("If-None-Match", '"a" "b"')):
        method, body = ("GET", None) if header == "If-None-Match" else ("PATCH", {"instructions": "x"})
        bad = await door.request(method, robot, json=body, headers={header: wrong})
        assert (bad.status_code, bad.json()["code"]) == (400, "bad_entity_tag"), wrong
    assert (await changed(door, robot, "*", {"instructions": "any"})).status_code == 200


@ETAGS
async def test_the_same_key_with_another_condition_is_another_request(door: httpx.AsyncClient, world: World) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/team-members/{world.ids['robot']}"
    tag = (await door.get(path)).headers["ETag"]
    answers = [
        await door.patch(path, json={"instructions": "x"}, headers={"If-Match": given, "Idempotency-Key": "k1"})
        for given in (tag, tag, OTHER)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


@ETAGS
def test_every_thing_that_is_read_by_itself_has_an_etag_that_stays_until_it_changes(doors: Doors) -> None:
    wrong, told = [], 0
    clients = {"owner": doors.http(doors.a.token), "operator": doors.http(doors.demo.operator.token)}
    for method, path, operation in doors.operations:
        if "If-None-Match" not in [p["name"] for p in operation.get("parameters", [])]:
            continue
        told += 1
        sample = SAMPLES[f"{method} {path}"]
        query = sample.query(doors) if sample.query else None
        first = clients[sample.who].get(url(doors, path), params=query)
        tag = first.headers.get("etag", "none")
        again = clients[sample.who].get(url(doors, path), params=query, headers={"If-None-Match": tag})
        if (first.status_code, again.status_code, again.content) != (200, 304, b""):
            wrong.append(f"{path}: {first.status_code} {tag}, then {again.status_code}")
    for client in clients.values():
        client.close()
    assert told > 12
    assert wrong == []


@ETAGS
def test_every_route_that_takes_a_condition_changes_nothing_under_a_stale_one(doors: Doors) -> None:
    wrong, asked = [], 0
    before = picture(doors)
    clients = {"owner": doors.http(doors.a.token), "operator": doors.http(doors.demo.operator.token)}
    for method, path, operation in doors.operations:
        if "If-Match" not in [p["name"] for p in operation.get("parameters", [])]:
            continue
        asked += 1
        sample = SAMPLES[f"{method} {path}"]
        body = sample.body(doors) if sample.body else None
        if path.endswith("/workflows"):  # a right one: what is no definition is refused before anything is looked up
            body = {"definition": doors.a.get(doors.a.ws("/workflows/release-notes"))["definition"]}
        answer = clients[sample.who].request(method, url(doors, path), json=body, headers={"If-Match": OTHER})
        if (answer.status_code, answer.json().get("code")) != (412, "precondition_failed"):
            wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
    for client in clients.values():
        client.close()
    assert asked > 15
    assert wrong == []
    assert picture(doors) == before
