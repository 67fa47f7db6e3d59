"""ETags and conditions: whoever has a representation is not sent it again, and nobody writes over what they have not read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.samples import SAMPLES, url
from tests.api.test_idempotency import SECRET
from tests.api.test_tenancy import picture
from tests.api.world import Doors
from tests.support.database import may_idle
from tests.workspaces.world import World, somebody_waits
from worka.identity import service as people
from worka.identity.actions import TEAM_MEMBER_VIEW
from worka.kernel.db import DatabaseUnavailable
from worka.workflows import service as definitions
from worka.workspaces import service as workspaces

pytestmark = pytest.mark.timeout(300)
ETAGS = pytest.mark.capability("DOR-1", part="ETags, and conditions that lose no update")
OTHER = '"00000000000000000000000000000000"'


def said(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem; an answer that is none has no code."""
    return answer.status_code, str(answer.json().get("code", "")) if answer.content else ""


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
        assert said(refused) == (412, "precondition_failed"), refused.text
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
    async with faster.transaction() as conn:
        await may_idle(conn)
        await people.change_team_member(faster, world.workspace_id, robot, {"instructions": "theirs"})
        ours = asyncio.create_task(changed(door, path, tag, {"instructions": "ours"}))
        await somebody_waits(world)  # it has read what was there, and waits for the row
        assert not ours.done()
    refused = await ours
    assert said(refused) == (412, "precondition_failed"), refused.text
    shown = await door.get(path)
    assert shown.json()["instructions"] == "theirs"
    assert (await changed(door, path, shown.headers["ETag"], {"instructions": "ours"})).status_code == 200


def notes(words: str) -> dict[str, Any]:
    page = {"kind": "publish_view", "name": "page", "view": "notes", "title": "Notes", "document": words}
    return {"name": "notes", "title": words, "members": [{"name": "*"}], "steps": [page]}


@ETAGS
async def test_a_version_that_was_saved_between_reading_and_writing_is_not_buried(
    door: httpx.AsyncClient, world: World
) -> None:
    """Each version is a row of its own, and each is a change of the same thing."""
    workflows = f"/v1/workspaces/{world.workspace_id}/workflows"
    assert (await door.post(workflows, json={"definition": notes("first")})).status_code == 201
    tag = (await door.get(f"{workflows}/notes")).headers["ETag"]
    faster = world.ctx("owner")
    async with faster.transaction() as conn:
        await may_idle(conn)
        await definitions.save_definition(faster, notes("theirs"))
        ours = asyncio.create_task(changed(door, workflows, tag, {"definition": notes("ours")}, "POST"))
        await somebody_waits(world)
    refused = await ours
    assert said(refused) == (412, "precondition_failed"), refused.text
    shown = await door.get(f"{workflows}/notes")
    assert (shown.json()["version"], shown.json()["definition"]["title"]) == (2, "theirs")
    again = await changed(door, workflows, shown.headers["ETag"], {"definition": notes("ours")}, "POST")
    assert (again.status_code, again.json()["version"]) == (201, 3)


@ETAGS
@pytest.mark.parametrize(
    ("things", "verb", "body"),
    [
        ("delegations", "POST /end", {"to": "{approver}", "until": "{soon}"}),
        ("bypasses", "POST /close", {"kind": "tool", "target": "a.b.c", "why": "w", "until": "{soon}", "most_uses": 1}),
        ("groups", "PATCH ", {"name": "security", "members": ["{approver}"]}),
        ("groups", "DELETE ", {"name": "release", "members": []}),
    ],
)
async def test_what_a_change_has_locked_is_read_from_outside_all_the_same(
    door: httpx.AsyncClient, world: World, things: str, verb: str, body: dict[str, Any]
) -> None:
    """Otherwise the second look would wait for the change that waits for it."""
    known = {**world.ids, "soon": (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")}
    asked = {
        key: [item.format(**known) for item in value] if isinstance(value, list)
        else value.format(**known) if isinstance(value, str) else value
        for key, value in body.items()
    }  # fmt: skip
    made = await door.post(f"/v1/workspaces/{world.workspace_id}/{things}", json=asked)
    assert made.status_code == 201, made.text
    place = f"/v1/{things}/{made.json()['id']}"
    tag = (await door.get(place)).headers["ETag"]
    method, path = verb.split(" ")
    change = {"purpose": "q"} if method == "PATCH" else None
    stale = await door.request(method, place + path, json=change, headers={"If-Match": OTHER})
    assert said(stale) == (412, "precondition_failed"), stale.text
    async with asyncio.timeout(5):
        done = await door.request(method, place + path, json=change, headers={"If-Match": tag})
    assert done.is_success, done.text


@ETAGS
async def test_of_many_that_change_what_they_all_read_one_does(door: httpx.AsyncClient, world: World) -> None:
    policies = f"/v1/workspaces/{world.workspace_id}/policies"
    for version in (1, 2, 3):
        tag = (await door.get(f"{policies}/governance")).headers["ETag"]
        answers = await asyncio.gather(
            *(
                changed(door, policies, tag, {"kind": "governance", "text": "", "note": str(number)}, "POST")
                for number in range(12)
            )
        )
        told = [answer.status_code for answer in answers]
        assert told.count(201) == 1, told
        assert set(told) == {201, 409, 412} or set(told) == {201, 412}, told
        assert (await door.get(f"{policies}/governance")).json()["version"] == version


@ETAGS
async def test_a_condition_on_the_next_version_of_what_has_none_makes_none(
    door: httpx.AsyncClient, world: World
) -> None:
    workflows = f"/v1/workspaces/{world.workspace_id}/workflows"
    for condition in (OTHER, "*"):
        refused = await changed(door, workflows, condition, {"definition": notes("first")}, "POST")
        assert said(refused) == (412, "precondition_failed"), refused.text
    assert await world.rows("workflow_definition") == []
    assert (await door.post(workflows, json={"definition": notes("first")})).status_code == 201


@ETAGS
async def test_who_may_not_read_a_thing_changes_it_under_no_condition_and_holds_nobody_up(
    door: httpx.AsyncClient, world: World
) -> None:
    """A denial is recorded in a transaction of its own, which is none of the change's."""
    base = f"/v1/workspaces/{world.workspace_id}"
    robot = f"{base}/team-members/{world.ids['robot']}"
    tag = (await door.get(robot)).headers["ETag"]
    shut = f'@reason("Not yours.") forbid(principal, action == Worka::Action::"{TEAM_MEMBER_VIEW}", resource);'
    assert (await door.post(f"{base}/policies", json={"kind": "access", "text": shut, "note": ""})).status_code == 201
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(
        *(changed(door, robot, condition, {"instructions": "blind"}) for condition in (tag, tag, "*"))
    )
    assert [said(answer) for answer in answers] == [(412, "precondition_failed")] * 3
    assert all("cannot be read by you" in answer.json()["detail"] for answer in answers)
    assert asyncio.get_running_loop().time() - began < 3
    denied = await world.events("access.denied")
    assert [event["data"]["action"] for event in denied] == [TEAM_MEMBER_VIEW] * 3
    (row,) = await world.rows("team_member", "id = %s", world.ids["robot"])
    assert row["instructions"] == ""


@ETAGS
async def test_a_thing_that_could_not_be_read_for_a_fault_of_ours_is_not_called_changed(
    door: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/workspaces/{world.workspace_id}/team-members/{world.ids['robot']}"
    tag = (await door.get(path)).headers["ETag"]

    async def away(*_arguments: object) -> None:
        raise DatabaseUnavailable("it was stopped")

    with monkeypatch.context() as patch:
        patch.setattr(workspaces, "team_member", away)
        refused = await door.patch(
            path, json={"instructions": "ours"}, headers={"If-Match": tag, "Idempotency-Key": "k1"}
        )
    assert said(refused) == (503, "database_unavailable"), refused.text
    again = await door.patch(path, json={"instructions": "ours"}, headers={"If-Match": tag, "Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["instructions"]) == (200, "ours"), again.text


@ETAGS
async def test_a_condition_that_cannot_be_held_is_refused_not_ignored(door: httpx.AsyncClient, world: World) -> None:
    secrets = f"/v1/workspaces/{world.workspace_id}/secrets"
    refused = await door.post(secrets, json=SECRET, headers={"If-Match": OTHER})
    assert said(refused) == (412, "no_etag_here")
    assert await world.rows("secret") == []
    robot = f"/v1/workspaces/{world.workspace_id}/team-members/{world.ids['robot']}"
    for header, wrong in (("If-Match", "abc"), ("If-Match", ""), ("If-None-Match", '"a" "b"')):
        method, body = ("GET", None) if header == "If-None-Match" else ("PATCH", {"instructions": "x"})
        bad = await door.request(method, robot, json=body, headers={header: wrong})
        assert said(bad) == (400, "bad_entity_tag"), wrong
    refused = await door.patch(robot, json={"instructions": "x"}, headers={"If-None-Match": "*"})
    assert said(refused) == (412, "no_etag_here"), refused.text
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
        if said(answer) != (412, "precondition_failed"):
            wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
    for client in clients.values():
        client.close()
    assert asked > 15
    assert wrong == []
    assert picture(doors) == before
