"""Credentials are renewed ahead of their end, by one process at a time, and never at the price of the only good token."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.connections.town import Town
from worka.connections import explain, renewing, rules, service, tokens
from worka.connections.oauth import Tokens
from worka.kernel.clock import now
from worka.kernel.db import Database
from worka.kernel.errors import Unavailable
from worka.treasury import errors as treasury_errors
from worka.treasury import operating

pytestmark = pytest.mark.timeout(120)


async def renewals(town: Town) -> int:
    """How many the provider has seen."""
    return int((await asyncio.to_thread(town.outside.counts))["grants"].get("refresh_token", 0))


def says(status: int, body: bytes) -> Any:
    """A provider that answers with this, whatever it is asked."""

    async def post(_args: dict[str, Any]) -> dict[str, Any]:
        return {
            "reason": "allowed",
            "detail": "",
            "status": status,
            "cut": False,
            "answer": base64.b64encode(body).decode(),
        }

    return post


async def away(_args: dict[str, Any]) -> dict[str, Any]:
    """A provider that nobody reaches."""
    return {"reason": "upstream_unreachable", "detail": "OSError", "status": None, "cut": False, "answer": ""}


@pytest.mark.capability("TRE-15")
async def test_a_credential_is_renewed_before_its_end_and_its_grants_stay(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    inv = await town.called(att, "owner")
    old = await town.lease(found["secret_id"], att, inv)
    before = await town.row(found["id"])
    assert before["expires_at"] - before["refresh_at"] == timedelta(seconds=rules.AHEAD_SECONDS)
    assert await renewing.renew(town.platform(), found["id"], town.post) == "early"
    seen = await renewals(town)
    await town.sooner(found["id"])
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["secret_id"]) == ("active", "connection_in_service", found["secret_id"])
    assert row["expires_at"] > before["expires_at"] - timedelta(seconds=60)
    assert await renewals(town) == seen + 1
    new = await town.lease(found["secret_id"], att, await town.called(att, "owner"))
    assert (new != old, town.reads(new)) == (True, 200)
    kinds = [
        event["type"]
        for event in await town.world.rows(
            "event", "type in ('connection.renewal.begun', 'connection.renewed') order by id"
        )
    ]
    assert kinds[-2:] == ["connection.renewal.begun", "connection.renewed"], "the intent stands before the effect"


@pytest.mark.capability("TRE-15", part="one renewal at a time over all processes")
async def test_two_processes_that_renew_at_once_ask_the_provider_once(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    seen = await renewals(town)
    other = Database(town.world.db.dsn, "worka-other", size=2)
    await other.open()
    held = asyncio.Event()

    async def slow(args: dict[str, Any]) -> dict[str, Any]:
        held.set()
        await asyncio.sleep(0.3)
        return await town.post(args)

    try:
        first = asyncio.create_task(renewing.renew(town.platform(), found["id"], slow))
        await held.wait()
        second = await renewing.renew(replace(town.platform(), db=other), found["id"], town.post, by_hand=True)
        assert (await first, second) == ("renewed", "held")
    finally:
        await other.close()
    assert await renewals(town) == seen + 1


@pytest.mark.capability("TRE-15", part="a late answer is not kept")
async def test_what_comes_after_the_claim_moved_is_dropped(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])

    async def overtaken(args: dict[str, Any]) -> dict[str, Any]:
        answer = await town.post(args)
        async with town.world.db.transaction(town.world.tenant_id) as conn:
            await conn.execute(
                "update worka.connection set refresh_claim = 'claim_another' where id = %s", (found["id"],)
            )
        return answer

    before = (await town.world.rows("secret", "id = %s", found["secret_id"]))[0]["version"]
    assert await renewing.renew(town.platform(), found["id"], overtaken) == "fenced"
    assert (await town.world.rows("secret", "id = %s", found["secret_id"]))[0]["version"] == before


@pytest.mark.capability("TRE-15")
async def test_a_renewal_whose_answer_was_lost_is_told_as_it_is_where_the_provider_had_rotated(town: Town) -> None:
    """The provider did its work, and its answer never came: the old token is good for nothing, and nobody has the new one."""
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    town.outside.drop()
    assert await renewing.renew(town.platform(), found["id"], town.post) == "provider_away"
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["refresh_open"]) == ("active", "refresh_failing", True)
    assert row["refreshed_at"] == (await town.row(found["id"]))["refreshed_at"], "it is not told as renewed"
    await town.sooner(found["id"])
    assert await renewing.renew(town.platform(), found["id"], town.post) == "provider_refused"
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["refresh_at"]) == ("broken", "refresh_lost", None)
    told = await explain.explain(town.ctx("owner"), found["id"])
    assert "must be connected again" in told.headline
    assert told.next[0].command == f"worka connection authorize {found['id']}"
    assert told.next[0].allowed


@pytest.mark.capability("TRE-15")
async def test_a_provider_that_refuses_breaks_the_connection_and_connecting_again_mends_it(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    refusing = says(400, b'{"error":"invalid_grant"}')
    assert await renewing.renew(town.platform(), found["id"], refusing) == "provider_refused"
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["problem"]["error"]) == ("broken", "refresh_refused", "invalid_grant")
    assert await renewing.renew(town.platform(), found["id"], town.post, by_hand=True) == "over"
    from tests.connections.test_consent import back_from

    again = await town.finish(await back_from(town, found["id"]))
    assert (again["state"], again["secret_id"]) == ("active", found["secret_id"])
    assert town.reads(await town.lease(again["secret_id"], att, await town.called(att, "owner"))) == 200


@pytest.mark.capability("TRE-15")
async def test_a_provider_that_is_away_is_asked_again_and_people_are_warned_before_the_end(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    assert await renewing.renew(town.platform(), found["id"], away) == "provider_away"
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["warned"], row["refresh_tries"]) == (
        "active",
        "refresh_failing",
        "soon",
        1,
    )
    assert row["refresh_at"] > now()
    (message,) = await town.world.rows("outbox", "topic = 'connection.expiring'")
    assert (message["payload"]["connection_id"], message["payload"]["level"]) == (found["id"], "soon")
    # Its credential is good until its end, and not a second longer.
    inv = await town.called(att, "owner")
    assert town.reads(await town.lease(found["secret_id"], att, inv)) == 200
    await town.sooner(found["id"], 0.01)
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret set expires_at = clock_timestamp() where id = %s", (found["secret_id"],)
        )
    await asyncio.sleep(0.05)
    await renewing.sweep(town.world.nobody(), away)
    row = await town.row(found["id"])
    assert (row["state"], row["reason"]) == ("expired", "credential_expired")
    with pytest.raises(treasury_errors.SecretExpired):
        await town.lease(found["secret_id"], att, await town.called(att, "owner"))
    await town.sooner(found["id"])
    await renewing.sweep(town.world.nobody(), town.post)
    assert (await town.row(found["id"]))["state"] == "active"
    assert town.reads(await town.lease(found["secret_id"], att, await town.called(att, "owner"))) == 200


@pytest.mark.capability("CON-4", part="an answer that is none is not taken for a credential")
@pytest.mark.capability("TRE-15", part="an answer that is none is not taken for a credential")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"access_token":"abcdefgh"}', "provider_lied"),
        (b'{"access_token":"a\\r\\nX: y-and-more","token_type":"bearer"}', "provider_lied"),
        (b'{"access_token":"abcdefgh","token_type":"mac"}', "provider_lied"),
        (b'{"access_token":"abcdefgh","token_type":"bearer","expires_in":-5}', "provider_lied"),
        (b'{"access_token":"abcdefgh","token_type":"bearer","scope":"openid admin"}', "scope_widened"),
        (b"<html>signed in</html>", "provider_lied"),
        (b"[]", "provider_lied"),
    ],
)
async def test_a_token_endpoint_that_lies_changes_nothing(town: Town, body: bytes, code: str) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    before = await town.world.rows("secret", "true order by id")
    assert await renewing.renew(town.platform(), found["id"], says(200, body)) == code
    assert await town.world.rows("secret", "true order by id") == before
    row = await town.row(found["id"])
    assert (row["state"], row["reason"], row["problem"]["code"]) == ("active", "refresh_failing", code)


@pytest.mark.capability("TRE-15", part="the only good token is kept")
async def test_an_answer_that_cannot_be_kept_at_once_is_tried_to_be_kept_until_it_is(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    real, failures = tokens.keep, [2]

    async def keep(*given: Any, **named: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise Unavailable("the database is away for a moment")
        return await real(*given, **named)

    monkeypatch.setattr(tokens, "keep", keep)
    assert await renewing.renew(town.platform(), found["id"], town.post) == "renewed"
    assert failures == [0]
    assert town.reads(await town.lease(found["secret_id"], att, await town.called(att, "owner"))) == 200


async def test_a_refresh_token_that_the_provider_does_not_give_anew_stays(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    before = await town.row(found["id"])
    await town.sooner(found["id"])
    plain = says(200, b'{"access_token":"another-access-token","token_type":"Bearer","expires_in":3600}')
    assert await renewing.renew(town.platform(), found["id"], plain) == "renewed"
    after = await town.row(found["id"])
    assert after["refresh_secret_id"] == before["refresh_secret_id"]
    (secret,) = await town.world.rows("secret", "id = %s", before["refresh_secret_id"])
    assert secret["version"] == 1


async def test_a_sealed_treasury_renews_nothing_and_says_so(town: Town) -> None:
    await town.register()
    await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    await town.world.person("operator", operator=True)
    await operating.seal(town.world.ctx("operator"), True, "looking into something")
    try:
        seen = await renewals(town)
        await renewing.sweep(town.world.nobody(), town.post)
        row = await town.row(found["id"])
        assert (row["problem"]["code"], await renewals(town)) == ("treasury_sealed", seen)
        assert row["refresh_at"] > now()
    finally:
        await operating.seal(town.world.ctx("operator"), False, "it is over")
    await town.sooner(found["id"])
    await renewing.sweep(town.world.nobody(), town.post)
    assert (await town.row(found["id"]))["problem"] is None


@pytest.mark.capability("TRE-15", part="what nothing renews is warned of")
async def test_a_credential_that_nothing_renews_is_warned_of_once(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked()
    async with town.platform().transaction():
        pass
    ctx = town.platform()
    async with ctx.transaction():
        row = await service.held(ctx, made["id"])
        assert row is not None
        await tokens.keep(ctx, row, Tokens("a-token-of-two-hours", None, 7200, None), {}, {"kind": "test", "id": "x"})
    for _ in range(2):
        await renewing.sweep(town.world.nobody(), town.post)
    (message,) = await town.world.rows("outbox", "topic = 'connection.expiring'")
    assert message["payload"]["level"] == "soon"
    assert (await town.row(made["id"]))["warned"] == "soon"
