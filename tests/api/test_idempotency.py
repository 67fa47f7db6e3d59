"""Idempotency keys when an answer was lost: what was done is never done again, what was not done is."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.identity.test_http import token_of
from tests.workspaces.world import World
from worka.api import idempotency
from worka.kernel.db import DatabaseUnavailable
from worka.kernel.ids import new_id
from worka.workspaces import service as members

SECRET = {"name": "tracker", "purpose": "for tests", "kind": "api_token", "value": "trk-0123456789"}


async def post(
    door: httpx.AsyncClient, world: World, path: str, body: dict[str, Any], key: str = "k1"
) -> httpx.Response:
    place = f"/v1/workspaces/{world.workspace_id}{path}"
    return await door.post(place, json=body, headers={"Idempotency-Key": key})


async def answer_lost(world: World, state: str, subject: str = "", owner: str = "proc_dead") -> None:
    """The row of the key as a process leaves it that died just before it answered; `proc_dead` gives no sign of life."""
    body = f'{{"subjects": ["{subject}"]}}' if subject else None
    async with world.db.transaction(world.tenant_id) as conn:
        done = await conn.execute(
            "update worka.idempotency set state = %s, body = %s, status = null, owner = %s,"
            " created_at = now() - interval '1 minute' where key = 'k1'",
            (state, body, owner),
        )
        assert done.rowcount == 1


async def test_what_was_refused_was_not_done_even_if_its_answer_was_lost(
    door: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is recorded in a commit of its own. That is no change of what was asked for."""
    made = (await post(door, world, "/secrets", SECRET, "k0")).json()
    rotate, body = f"/v1/secrets/{made['id']}/rotate", {"value": "trk-9876543210"}
    asked = {"json": body, "headers": {**await token_of(world, "member"), "Idempotency-Key": "k1"}}

    async def gone(*_arguments: object) -> None:
        raise DatabaseUnavailable("it was killed")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "_keep", gone)
        assert (await door.post(rotate, **asked)).status_code == 503
    assert len(await world.events("access.denied")) == 1
    await asyncio.sleep(0.1)
    again = await door.post(rotate, **asked)
    assert (again.status_code, again.json().get("code")) == (403, "denied"), again.text
    assert (await door.get(f"/v1/secrets/{made['id']}")).json()["version"] == 1
    # The control: who may, does, and a lost answer is answered from what it made.
    asked = {"json": body, "headers": {"Idempotency-Key": "k1"}}
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "_keep", gone)
        assert (await door.post(rotate, **asked)).status_code == 503
    assert (await door.post(rotate, **asked)).json()["version"] == 2


async def test_a_method_that_a_path_does_not_have_is_answered_alike_with_a_key_and_again(
    door: httpx.AsyncClient, world: World
) -> None:
    place, headers = f"/v1/workspaces/{world.workspace_id}/secrets", {"Idempotency-Key": "k1"}
    for _ in range(2):
        refused = await door.request("PUT", place, json={}, headers=headers)
        assert (refused.status_code, refused.headers.get("Allow")) == (405, "GET, POST")


async def test_a_request_marks_its_key_in_the_commit_of_its_change(door: httpx.AsyncClient, world: World) -> None:
    made = await post(door, world, "/secrets", SECRET)
    assert made.status_code == 201, made.text
    (row,) = await world.rows("idempotency", "key = 'k1'")
    assert row["state"] == "done"
    again = await post(door, world, "/secrets", SECRET)
    assert (again.status_code, again.json()) == (201, made.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await world.rows("secret")) == 1


async def test_what_was_done_is_not_done_again_and_answered_from_what_it_made(
    door: httpx.AsyncClient, world: World
) -> None:
    made = (await post(door, world, "/secrets", SECRET)).json()
    await answer_lost(world, "committed", made["id"])
    again = await post(door, world, "/secrets", SECRET)
    assert (again.status_code, again.json().get("id")) == (201, made["id"]), again.text
    assert len(await world.rows("secret")) == 1


@pytest.mark.capability("TSK-13", part="a request whose answer was lost after its commit")
async def test_a_change_whose_answer_could_not_be_kept_is_not_made_twice(
    door: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the commit of the change and its answer, as it does when it is killed there."""

    async def gone(*_arguments: object) -> None:
        raise DatabaseUnavailable("it was killed")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "_keep", gone)
        first = await post(door, world, "/invitations", {"email": "new@example.org", "role": "member"})
    assert first.status_code == 503, first.text
    (row,) = await world.rows("idempotency", "key = 'k1'")
    assert row["state"] == "committed", "marked in the commit of the change itself"
    again = await post(door, world, "/invitations", {"email": "new@example.org", "role": "member"})
    assert (again.status_code, again.json()["code"]) == (409, "answer_lost"), again.text
    made = await world.events("workspace.member.invited")
    assert len(made) == 1, "it was not done again"


async def test_what_was_not_done_before_its_process_died_is_done_by_the_repeat(
    door: httpx.AsyncClient, world: World
) -> None:
    body = {"email": "new@example.org", "role": "member"}
    first = await post(door, world, "/invitations", body)
    await members.withdraw_invitation(world.ctx("owner"), world.workspace_id, first.json()["invitation_id"])
    await answer_lost(world, "in_flight")
    again = await post(door, world, "/invitations", body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["invitation_token"] != first.json()["invitation_token"]


async def test_an_answer_that_is_shown_once_is_not_made_up_and_the_repeat_says_what_was_done(
    door: httpx.AsyncClient, world: World
) -> None:
    body = {"email": "new@example.org", "role": "member"}
    first = await post(door, world, "/invitations", body)
    assert first.status_code == 201, first.text
    await answer_lost(world, "committed", "ws_x")
    again = await post(door, world, "/invitations", body)
    assert (again.status_code, again.json()["code"]) == (409, "answer_lost")
    assert again.json()["subjects"] == ["ws_x"]
    assert "made anew" in again.json()["remedy"]


async def test_a_key_that_was_used_for_another_request_is_refused(door: httpx.AsyncClient, world: World) -> None:
    """Another body, another route: neither is done, and the first answer is not given for it."""
    made = await post(door, world, "/secrets", SECRET)
    assert made.status_code == 201, made.text
    other = await post(door, world, "/secrets", SECRET | {"name": "another"})
    elsewhere = await post(door, world, "/invitations", {"email": "new@example.org", "role": "member"})
    for refused in (other, elsewhere):
        assert (refused.status_code, refused.json().get("code")) == (422, "idempotency_key_reused")
    assert len(await world.rows("secret")) == 1
    assert await world.events("workspace.member.invited") == []


async def test_of_two_requests_with_one_key_at_once_one_is_done(door: httpx.AsyncClient, world: World) -> None:
    answers = await asyncio.gather(*(post(door, world, "/secrets", SECRET) for _ in range(6)))
    codes = sorted(answer.status_code for answer in answers)
    assert 201 in codes
    assert set(codes) <= {201, 409}
    assert len(await world.rows("secret")) == 1


async def test_a_key_that_a_living_process_answers_is_not_taken_over(door: httpx.AsyncClient, world: World) -> None:
    await post(door, world, "/secrets", SECRET)
    await answer_lost(world, "committed", "sec_x", owner="proc_living")
    async with world.db.transaction(None) as conn:
        await conn.execute(
            "insert into worka.process (id, role, pid, build, beat_at) values ('proc_living', 'serve', 1, 'b', now())"
        )
    again = await post(door, world, "/secrets", SECRET)
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_key_in_flight")


@pytest.mark.capability("TSK-13", part="a request answered 202")
async def test_what_is_answered_with_202_is_done_once_however_often_it_is_sent(
    door: httpx.AsyncClient, world: World
) -> None:
    hook = await post(door, world, "/webhooks", {"url": "https://hears.example.org/in", "types": ["approval.expired"]})
    assert hook.status_code == 201, hook.text

    async def sent(key: str) -> httpx.Response:
        return await door.post(f"/v1/webhooks/{hook.json()['id']}/test", headers={"Idempotency-Key": key})

    asked = [await sent("k2"), await sent("k2")]
    assert [answer.status_code for answer in asked] == [202, 202], asked[1].text
    assert len(await world.rows("delivery")) == 1
    assert asked[0].json() == asked[1].json()
    assert asked[1].headers["Idempotency-Replayed"] == "true"
    # The control: under another key it is another request.
    assert (await sent("k3")).status_code == 202
    assert len(await world.rows("delivery")) == 2


@pytest.mark.parametrize(
    ("path", "subject", "read"),
    [
        ("workspaces/ws_1/publications", "pub", "/v1/publications/{}"),
        ("publications/pub_1/retry", "pub", "/v1/publications/pub_1"),
        ("releases/rel_1/signatures", "atn", "/v1/releases/rel_1/signatures"),
        ("attachments/att_1/moves", "mov", "/v1/moves/{}"),
        ("releases/rel_1/lift", "wdr", "/v1/withdrawals/{}"),
        ("workspaces/ws_1/packs/acme.small/quarantine", "wdr", "/v1/withdrawals/{}"),
    ],
)
def test_the_lost_answer_of_what_packs_are_governed_by_is_read_where_it_lies(
    path: str, subject: str, read: str
) -> None:
    made = new_id(subject)
    assert idempotency._made(f"/v1/{path}", [new_id("apr"), made])[0] == read.format(made)
    assert idempotency._made("/v1/workspaces/ws_1/invitations", [made]) == ("", 0), "the control"
