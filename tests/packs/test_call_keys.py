"""A call's idempotency key at the door, and what is kept of a release between calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.identity.test_http import token_of
from tests.packs.conftest import Packs
from tests.packs.plain import tree
from tests.packs.test_registration import small
from tests.support.database import Cluster
from worka.api.app import create
from worka.kernel.settings import Settings
from worka.packs import service
from worka.packs.errors import AttachmentNotUsable
from worka.workers.wiring import Runtime

TOOL = "acme.small.say"
SECRET = {"name": "tracker", "purpose": "for tests", "kind": "api_token", "value": "trk-0123456789"}


@pytest.fixture
async def door(place: Packs, cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """The real application with the small pack attached, the owner at the door."""
    release = await place.register(small(), "", tree())
    await service.attach(place.ctx(), release["id"])
    settings = Settings(home=place.world.settings.home, database={"url": cluster.urls.app})  # type: ignore[arg-type]
    runtime = Runtime(settings, "serve")
    await runtime.db.open()
    transport = httpx.ASGITransport(app=create(runtime), raise_app_exceptions=False)
    headers = await token_of(place.world, "owner")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
    await runtime.db.close()


async def post(door: httpx.AsyncClient, place: Packs, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return await door.post(
        f"/v1/workspaces/{place.world.workspace_id}{path}", json=body, headers={"Idempotency-Key": key}
    )


async def call(door: httpx.AsyncClient, place: Packs, text: str, key: str) -> httpx.Response:
    return await post(door, place, f"/tools/{TOOL}/call", {"arguments": {"text": text}}, key)


async def test_a_repeated_call_is_answered_from_the_first_and_another_one_is_refused(
    door: httpx.AsyncClient, place: Packs
) -> None:
    first = await call(door, place, "x", "k")
    assert (first.status_code, first.json()["status"]) == (200, "succeeded"), first.text
    assert "Idempotency-Replayed" not in first.headers
    again = await call(door, place, "x", "k")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert {**again.json(), "replayed": False} == first.json()
    other = await call(door, place, "y", "k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await place.world.rows("invocation")) == 1


async def test_of_several_calls_at_once_under_one_key_one_is_made(door: httpx.AsyncClient, place: Packs) -> None:
    answers = await asyncio.gather(*(call(door, place, "x", "same") for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {200, 409}, [answer.text for answer in answers]
    ids = {answer.json()["invocation_id"] for answer in answers if answer.status_code == 200}
    (row,) = await place.world.rows("invocation")
    assert ids == {row["id"]}
    assert row["attempt"] == 1


async def test_a_key_of_something_else_calls_no_tool_and_a_calls_key_does_nothing_else(
    door: httpx.AsyncClient, place: Packs
) -> None:
    assert (await post(door, place, "/secrets", SECRET, "first")).status_code == 201
    refused = await call(door, place, "x", "first")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert await place.world.rows("invocation") == []
    assert (await call(door, place, "x", "second")).status_code == 200
    refused = await post(door, place, "/secrets", SECRET | {"name": "other"}, "second")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await place.world.rows("secret")) == 1


async def test_a_call_that_was_refused_keeps_no_key(door: httpx.AsyncClient, place: Packs) -> None:
    wrong = await post(door, place, f"/tools/{TOOL}/call", {"arguments": {"text": 5}}, "k")
    assert wrong.status_code == 422
    assert (await call(door, place, "x", "k")).status_code == 200


async def test_what_another_process_did_to_a_release_holds_for_the_very_next_call(place: Packs) -> None:
    release = await place.register(small(), "", tree())
    await service.attach(place.ctx(), release["id"])
    for _ in range(2):  # the second one has the release at hand
        assert (await service.call(place.ctx(), TOOL, {"text": "x"}, None))[1]["status"] == "succeeded"
    async with place.ctx().transaction() as conn:
        await conn.execute("update worka.release set state = 'quarantined' where id = %s", (release["id"],))
    with pytest.raises(AttachmentNotUsable):
        await service.call(place.ctx(), TOOL, {"text": "x"}, None)
