"""Connecting by OAuth, against a real provider: a person's consent, another device, the platform's own credential. What is
mixed up, replayed, stolen or lied about is not taken."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from tests.connections.outside import CALLBACK, LOGIN
from tests.connections.test_renewing import away, says
from tests.connections.town import Town
from worka.connections import consent, explain, renewing, service, uses
from worka.connections.errors import (
    ClientMissing,
    FlowForeign,
    FlowOver,
    FlowUnknown,
    ProviderUnusable,
    ScopeNotNeeded,
)
from worka.kernel.errors import Conflict, Denied

pytestmark = pytest.mark.timeout(120)


async def back_from(town: Town, connection_id: str, who: str = "owner", account: str = "alice") -> dict[str, str]:
    """What the provider sends the browser back with."""
    begun = await consent.begin(town.ctx(who), connection_id, CALLBACK)
    return await asyncio.to_thread(town.browser(account).consents, begun["url"])


@pytest.mark.capability("CON-4", "CON-6", "TRE-1", "TRE-3")
async def test_a_person_consents_and_the_token_is_the_packs_to_use_and_nobodys_to_see(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await town.register()
    att = await town.attached()
    made = await town.asked()
    assert (made["state"], made["reason"], made["scopes"]) == (
        "awaiting_consent", "waiting_for_consent", ["issues:read", "openid"],
    )  # fmt: skip
    (approval,) = await town.world.rows("approval")
    assert approval["card"]["scopes_in_words"]["issues:read"] == "read issues"
    told = await explain.explain(town.ctx("owner"), made["id"])
    assert [(item.kind, item.you_can) for item in told.waiting_on] == [("consent", True)]

    begun = await consent.begin(town.ctx("owner"), made["id"], CALLBACK)
    assert "code_challenge_method=S256" in begun["url"]
    assert begun["url"].startswith(f"https://{LOGIN}/auth?")
    back = await asyncio.to_thread(town.browser().consents, begun["url"])
    found = await town.finish(back)

    assert (found["outcome"], found["state"], found["reason"]) == ("connected", "active", "connection_in_service")
    assert (found["account"], sorted(found["granted"])) == (
        {"id": "alice", "name": "alice@outside"}, ["issues:read", "openid"],
    )  # fmt: skip
    inv = await town.called(att, "owner")
    token = await town.lease(found["secret_id"], att, inv)
    assert town.reads(token) == 200
    assert town.reads("another-token-altogether") == 401
    row = await town.row(made["id"])
    secrets = await town.world.rows("secret", "true order by kind")
    assert [secret["kind"] for secret in secrets] == ["oauth_access", "oauth_client", "oauth_refresh"]
    assert row["refresh_secret_id"] == secrets[2]["id"]
    assert await town.world.rows("secret_grant", "secret_id = %s", secrets[2]["id"]) == [], (
        "a refresh token goes to no pack"
    )
    # Whoever reads every row, every log line and every answer finds none of it.
    rows = await town.everything()
    state = back["state"].rpartition(".")[2]
    for secret in (token, back["code"], state):
        assert secret not in rows
        assert secret not in caplog.text
        assert secret not in json.dumps(found, default=str)
    egress = await town.world.rows("egress", "attachment_id = 'platform' order by id")
    assert {(item["host"], item["verdict"], item["path"]) for item in egress} == {(LOGIN, "allowed", None)}


@pytest.mark.capability("CON-3", "CON-5")
async def test_what_is_asked_for_is_what_a_pack_here_declares_and_no_more(town: Town) -> None:
    with pytest.raises(ClientMissing):
        await town.asked()
    await town.register()
    await town.attached(scopes=("issues:read",))
    with pytest.raises(ScopeNotNeeded):
        await town.asked(scopes=["issues:write"])
    with pytest.raises(ProviderUnusable):
        await town.asked(host="elsewhere.worka.test")
    made = await town.asked()
    assert made["scopes"] == ["issues:read", "openid"]
    assert made["asked_by"][0]["name"] == "acme.notes"
    assert made["why"] == "the notes list open issues"


@pytest.mark.capability("CON-4", part="state, session, person, provider and code of a consent")
async def test_an_answer_counts_once_for_who_began_it_in_their_session_and_from_the_provider_that_was_asked(
    town: Town,
) -> None:
    await town.register()
    await town.attached()
    made = await town.asked()
    back = await back_from(town, made["id"])
    place, flow, secret = back["state"].split(".")
    with pytest.raises(FlowUnknown):
        await town.finish({**back, "state": f"{place}.{flow}.{'A' * len(secret)}"})
    with pytest.raises(FlowUnknown):
        await town.finish({**back, "state": f"ws_{'0' * 26}.{flow}.{secret}"})
    with pytest.raises(FlowUnknown):
        await town.finish({**back, "state": "anything"})
    with pytest.raises(FlowForeign):
        await town.finish(back, "admin")
    with pytest.raises(FlowForeign):
        await town.finish(back, session="ses_another")
    assert (await town.row(made["id"]))["state"] == "awaiting_consent"
    assert town.outside.counts()["grants"].get("authorization_code refused") is None, "its code was sent to nobody"
    assert (await town.finish(back))["outcome"] == "connected"
    with pytest.raises(FlowOver):
        await town.finish(back)


@pytest.mark.capability("CON-4", part="state, session, person, provider and code of a consent")
@pytest.mark.parametrize("iss", ["https://evil.worka.test", None])
async def test_an_answer_of_another_provider_is_not_taken_and_its_code_is_sent_nowhere(
    town: Town, iss: str | None
) -> None:
    await town.register()
    await town.attached()
    made = await town.asked()
    back = await back_from(town, made["id"])
    before = len(town.posted)
    with pytest.raises(FlowOver) as refused:
        await town.finish(back, iss=iss)
    assert refused.value.problem_code == "wrong_issuer"
    assert len(town.posted) == before
    with pytest.raises(FlowOver):
        await town.finish(back)  # it is used up: nobody tries issuers one after another
    (event,) = await town.world.events("connection.consent.refused")
    assert event["data"]["reason"] == "wrong_issuer"
    assert (await town.finish(await back_from(town, made["id"])))["outcome"] == "connected"


@pytest.mark.capability("CON-4", part="state, session, person, provider and code of a consent")
async def test_another_persons_code_connects_nothing(town: Town) -> None:
    await town.register()
    await town.attached()
    made, theirs = await town.asked(), await town.asked("admin", name="Theirs")
    stolen = await back_from(town, theirs["id"], "admin", "mallory")
    back = await back_from(town, made["id"])
    found = await town.finish(back, code=stolen["code"])
    assert (found["outcome"], found["state"], found["reason"]) == (
        "provider_refused", "awaiting_consent", "consent_failed",
    )  # fmt: skip
    assert found["problem"]["error"] == "invalid_grant"
    assert [row["kind"] for row in await town.world.rows("secret")] == ["oauth_client"]
    assert (await town.finish(await back_from(town, made["id"])))["account"]["id"] == "alice"


async def test_who_refuses_at_the_provider_leaves_the_connection_waiting_and_it_says_why(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked()
    begun = await consent.begin(town.ctx("owner"), made["id"], CALLBACK)
    back = await asyncio.to_thread(lambda: town.browser().consents(begun["url"], refuses=True))
    found = await town.finish(back)
    assert (found["state"], found["reason"], found["problem"]["error"]) == (
        "awaiting_consent", "consent_failed", "access_denied",
    )  # fmt: skip
    told = await explain.explain(town.ctx("viewer"), made["id"])
    assert "access_denied" in told.headline


@pytest.mark.capability("CON-4", "CON-6")
async def test_only_who_manages_connections_begins_a_consent_and_it_lapses(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked()
    for who in ("member", "viewer"):
        with pytest.raises(Denied):
            await consent.begin(town.ctx(who), made["id"], CALLBACK)
    back = await back_from(town, made["id"])
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute("update worka.connection_flow set expires_at = now() - interval '2 minutes'")
    with pytest.raises(FlowOver):
        await town.finish(back)
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(made["id"])
    assert (row["reason"], row["problem"]["code"]) == ("consent_failed", "consent_lapsed")


@pytest.mark.capability("CON-4", part="another device")
async def test_a_person_consents_on_another_device(town: Town) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked(kind="oauth_device")
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    assert begun["verification_uri"] == f"https://{LOGIN}/device"
    (flow,) = await town.world.rows("connection_flow")
    platform = town.platform()
    assert await consent.poll(platform, flow["id"], town.post) == "authorization_pending"
    await asyncio.to_thread(town.browser("bob").types_in, begun["verification_uri"], begun["user_code"])
    assert await consent.poll(town.platform(), flow["id"], town.post) == "connected"
    row = await town.row(made["id"])
    assert (row["state"], row["account"]["id"]) == ("active", "bob")
    inv = await town.called(att, "owner")
    assert town.reads(await town.lease(row["secret_id"], att, inv)) == 200
    assert await consent.poll(town.platform(), flow["id"], town.post) == "over"


@pytest.mark.capability("CON-4", part="another device, while the provider cannot be reached")
async def test_a_device_whose_provider_cannot_be_reached_says_so_and_is_asked_for_until_its_code_ends(
    town: Town,
) -> None:
    await town.register()
    await town.attached()
    made = await town.asked(kind="oauth_device")
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    await asyncio.to_thread(town.browser("bob").types_in, begun["verification_uri"], begun["user_code"])
    assert await consent.poll(town.platform(), begun["flow_id"], away) == "upstream_unreachable"
    row = await town.row(made["id"])
    assert (row["state"], row["reason"], row["problem"]["code"]) == (
        "awaiting_consent", "waiting_for_consent", "provider_away",
    )  # fmt: skip
    told = await explain.explain(town.ctx("owner"), made["id"])
    assert "upstream_unreachable" in told.headline
    assert "asked again until the code ends" in told.headline
    (flow,) = await town.world.rows("connection_flow")
    assert told.waiting_on[0].deadline == flow["expires_at"]
    # It can be reached again, and nothing was lost.
    assert await consent.poll(town.platform(), begun["flow_id"], town.post) == "connected"
    assert (await town.row(made["id"]))["problem"] is None


@pytest.mark.capability("CON-4", part="another device, while the provider cannot be reached")
async def test_a_device_whose_answer_was_cut_off_is_told_as_that_and_not_as_refused(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked(kind="oauth_device")
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    await asyncio.to_thread(town.browser("bob").types_in, begun["verification_uri"], begun["user_code"])
    town.outside.drop()
    assert await consent.poll(town.platform(), begun["flow_id"], town.post) != "connected"
    assert (await town.row(made["id"]))["problem"]["code"] == "provider_away"
    assert await consent.poll(town.platform(), begun["flow_id"], town.post) == "consent_interrupted"
    row = await town.row(made["id"])
    assert (row["reason"], row["problem"]["error"]) == ("consent_failed", "invalid_grant")
    told = await explain.explain(town.ctx("owner"), made["id"])
    assert "cut off" in told.headline
    # The control: where every answer came, a code that the provider does not take was refused.
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    assert await consent.poll(town.platform(), begun["flow_id"], town.post) == "authorization_pending"
    refusing = says(400, b'{"error":"invalid_grant"}')
    assert await consent.poll(town.platform(), begun["flow_id"], refusing) == "provider_refused"


@pytest.mark.capability("CON-4", part="another device")
async def test_a_consent_on_another_device_ends_with_the_right_of_who_began_it(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked(kind="oauth_device")
    begun = await consent.begin_device(town.ctx("admin"), made["id"], town.post)
    (flow,) = await town.world.rows("connection_flow")
    assert await consent.poll(town.platform(), flow["id"], town.post) == "authorization_pending", "the control"
    await asyncio.to_thread(town.browser("bob").types_in, begun["verification_uri"], begun["user_code"])
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute(
            "update worka.membership set role = 'member' where principal_id = %s", (town.world.ids["admin"],)
        )
    asked = len(town.posted)
    assert await consent.poll(town.platform(), flow["id"], town.post) == "consent_refused"
    row = await town.row(made["id"])
    assert (row["state"], row["reason"], row["account"]) == ("awaiting_consent", "consent_failed", {})
    assert "may not connect it any more" in row["problem"]["detail"]
    assert len(town.posted) == asked, "and the provider was not asked for the token"


@pytest.mark.capability("CON-4", part="another device")
async def test_who_is_told_to_slow_down_does(town: Town) -> None:
    await town.register()
    await town.attached()
    made = await town.asked(kind="oauth_device")
    await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    (flow,) = await town.world.rows("connection_flow")

    async def slow(_args: dict[str, object]) -> dict[str, object]:
        from base64 import b64encode

        return {"reason": "allowed", "detail": "", "status": 400, "cut": False,
                "answer": b64encode(b'{"error":"slow_down"}').decode()}  # fmt: skip

    assert await consent.poll(town.platform(), flow["id"], slow) == "slow_down"
    (after,) = await town.world.rows("connection_flow")
    assert after["interval_seconds"] == flow["interval_seconds"] + 5


@pytest.mark.capability("CON-4", part="the platform's own credential")
async def test_the_platforms_own_credential_is_fetched_by_itself_once_it_is_allowed(town: Town) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked(kind="oauth_client")
    assert (made["state"], made["reason"]) == ("awaiting_consent", "waiting_for_token")
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(made["id"])
    assert (row["state"], row["refresh_secret_id"]) == ("active", None)
    assert row["refresh_at"] is not None
    inv = await town.called(att, "member")
    assert town.reads(await town.lease(row["secret_id"], att, inv)) == 200


@pytest.mark.capability("CON-4", part="the same account again")
async def test_connecting_again_keeps_the_grants_and_takes_no_other_account(town: Town) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    first = await town.world.rows("secret_grant", "revoked_at is null")
    refused = await town.finish(await back_from(town, found["id"], account="mallory"))
    assert refused["outcome"] == "another_account"
    assert refused["account"]["id"] == "alice"
    again = await town.finish(await back_from(town, found["id"]))
    assert (again["outcome"], again["secret_id"]) == ("connected", found["secret_id"])
    assert await town.world.rows("secret_grant", "revoked_at is null") == first
    inv = await town.called(att, "owner")
    assert town.reads(await town.lease(again["secret_id"], att, inv)) == 200


async def test_the_scopes_of_a_connection_are_shown_as_asked_granted_and_used(town: Town) -> None:
    await town.register()
    await town.attached(scopes=("issues:read", "issues:write"))
    found = await town.connected()
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.egress (tenant_id, id, workspace_id, attachment_id, session_id, host, port, kind, method, path,"
            " verdict, reason, count, opaque, connection_id, trace_id) values (%s, 'egr_1', %s, 'att', 's', 'h', 443, 'http',"
            " 'GET', '/api/issues', 'allowed', 'allowed', 3, false, %s, 't')",
            (town.world.tenant_id, town.world.workspace_id, found["id"]),
        )
    told = await uses.of(town.ctx("viewer"), found["id"])
    shown = {item["scope"]: (item["asked"], item["granted"], item["used"]) for item in told["scopes"]}
    assert shown == {
        "issues:read": (True, True, True), "issues:write": (True, True, False), "openid": (True, True, None),
    }  # fmt: skip
    assert told["requests"] == 3


async def test_a_service_account_or_a_token_connection_has_no_consent(town: Town) -> None:
    made = await service.create(
        town.ctx("owner"), town.world.workspace_id, provider="outside", name="By token", host="api.worka.test",
        access="read", metadata={}, why="",
    )  # fmt: skip
    with pytest.raises(ProviderUnusable):
        await consent.begin(town.ctx("owner"), made["id"], CALLBACK)
    await town.register()
    await town.attached()
    waiting = await service.create(
        town.ctx("owner"), town.world.workspace_id, provider="outside", name="Waits", kind="oauth_code", access="read",
        metadata={}, why="",
    )  # fmt: skip
    with pytest.raises(Conflict):
        await consent.begin(town.ctx("owner"), waiting["id"], CALLBACK)  # not allowed yet
