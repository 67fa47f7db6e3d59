"""The second factor: set up, asked for at sign-in, given once, guessed in vain, renewed, ended, and reset."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from tests.identity.phone import (
    PASSWORD,
    Phone,
    address_of,
    again,
    calm,
    enrolled,
    secret_of,
    session,
    set_up,
    token_of,
)
from tests.support.database import may_idle
from tests.workspaces.world import World, make, somebody_waits
from worka import identity
from worka.identity import factors, passwords, rules, service, store, totp
from worka.identity.errors import (
    BadCredential,
    CodeRefused,
    NoSecondFactor,
    NotYours,
    PasswordRefused,
    SecondFactorRequired,
    StepUpFirst,
    TooManyCodes,
    UsedOrUnknownToken,
)
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Denied
from worka.workspaces import service as members
from worka.workspaces.errors import SignsInElsewhere


async def signed_in(world: World, phone: Phone, code: str, place: str = "here") -> bool:
    """Whether password and this code open a session."""
    try:
        await identity.sign_in(world.nobody(), phone.address, PASSWORD, place, code)
    except SecondFactorRequired:
        return False
    return True


async def everything(world: World) -> str:
    """All that the database holds as text, of every tenant: what must not have a secret in it."""
    found = []
    async with world.db.transaction(world.tenant_id) as conn:
        for table in ("event", "audit_entry", "decision"):
            cursor = await conn.execute(f"select t::text as row from worka.{table} t")  # type: ignore[arg-type]
            found += [row["row"] for row in await cursor.fetchall()]
    return "\n".join(found)


# set up -------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("IDN-18", part="a TOTP second factor is set up, and asked for at sign-in")
async def test_it_is_in_force_with_its_first_right_code_and_sign_in_asks_for_it_from_then_on(world: World) -> None:
    await world.person("ada", password_hash=await passwords.hash_password(PASSWORD))
    address = await address_of(world, "ada")
    ada = await session(world, "ada")
    begun = await factors.begin(ada, PASSWORD, "")
    phone = Phone(secret_of(begun["secret"]), address=address)
    assert begun["otpauth_uri"] == totp.otpauth_uri(phone.secret, address)
    assert (await factors.show(ada))["state"] == "off"
    assert await signed_in(world, phone, ""), "what waits for its first code is asked for by nobody"
    with pytest.raises(CodeRefused):
        await factors.confirm(ada, phone.wrong())
    assert (await factors.show(ada))["state"] == "off"
    await calm()
    done = await factors.confirm(ada, phone.code())
    assert len(set(done["recovery_codes"])) == 10
    told = await factors.show(ada)
    assert (told["state"], told["recovery_left"], told["pending_until"]) == ("on", 10, None)
    assert not await signed_in(world, phone, "")
    assert not await signed_in(world, phone, phone.wrong())
    assert await signed_in(world, phone, phone.code(1))


@pytest.mark.capability("IDN-18", part="the secret and the codes are in no row, event, log or error")
async def test_secret_and_codes_are_in_no_row_no_event_no_log_and_no_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await world.person("ada", password_hash=await passwords.hash_password(PASSWORD))
    phone = await set_up(world, "ada")
    said = []
    for code in ("", phone.wrong(), phone.recovery[1]):
        try:
            await identity.sign_in(world.nobody(), phone.address, PASSWORD, "x", code)
        except SecondFactorRequired as problem:
            said.append(json.dumps(problem.body()))
    assert len(said) == 2
    async with world.db.transaction(None) as conn:
        row = await store.second_factor(conn, world.ids["ada"])
    assert row is not None
    kept = bytes(row["secret_sealed"])
    text = totp.secret_text(phone.secret)
    assert phone.secret not in kept
    assert text.encode() not in kept
    assert world.sealer.open_own(f"second_factor/{world.ids['ada']}", kept) == phone.secret, "it is this secret, sealed"
    seen = "\n".join([*said, await everything(world), caplog.text])
    assert len(await world.events("identity.second_factor.set")) == 1, "the events that were searched are these"
    assert not [word for word in (text, *phone.recovery) if word in seen or word.replace("-", "") in seen]


async def test_a_sealed_secret_opens_for_its_own_person_only(world: World) -> None:
    sealed = world.sealer.seal_own("second_factor/per_a", b"secret")
    assert world.sealer.open_own("second_factor/per_a", sealed) == b"secret"
    tampered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for purpose, text in (("second_factor/per_b", sealed), ("second_factor/per_a", tampered), ("x", b"")):
        with pytest.raises(Exception, match="sealed bytes"):
            world.sealer.open_own(purpose, text)


@pytest.mark.capability("IDN-18", part="a session alone puts no second factor in place")
async def test_who_took_a_session_puts_no_second_factor_in_place_without_the_password(world: World) -> None:
    await world.person("ada", password_hash=await passwords.hash_password(PASSWORD))
    ada = await session(world, "ada")
    with pytest.raises(PasswordRefused):
        await factors.begin(ada, "not the password", "")
    async with world.db.transaction(None) as conn:
        assert await store.second_factor(conn, world.ids["ada"]) is None
    assert (await factors.begin(ada, PASSWORD, ""))["secret"]


async def test_an_api_token_and_an_ai_team_member_change_nothing_about_a_sign_in(world: World) -> None:
    phone = await enrolled(world, "ada", "member")
    token = replace(await session(world, "ada"), credential_id="tok_x")
    for use in (
        factors.begin(token, PASSWORD, phone.code()),
        factors.end(token, phone.code()),
        factors.show(world.ctx("robot")),
    ):
        with pytest.raises(NotYours):
            await use
    assert (await factors.end(await session(world, "ada"), phone.code()))["state"] == "off"


# given at sign-in ---------------------------------------------------------------------------------------------------
@pytest.mark.capability("IDN-18", part="a code is used once")
async def test_a_code_opens_one_session_and_its_replay_none(world: World) -> None:
    phone = await enrolled(world, "ada")
    await calm()
    code = phone.code()
    assert await signed_in(world, phone, code)
    assert not await signed_in(world, phone, code)
    assert not await signed_in(world, phone, phone.code(-1)), "nor does one of before it"
    assert await signed_in(world, phone, phone.code(1))


@pytest.mark.capability("IDN-18", part="a code is used once, also by two at the same moment")
async def test_of_many_who_come_with_one_code_at_the_same_moment_one_gets_in(world: World) -> None:
    phone = await enrolled(world, "ada")
    await calm()
    code = phone.code()
    async with world.db.transaction(None) as conn:
        await may_idle(conn)
        # Everybody has read which step was used last; nobody can write, until this ends.
        await store.begin_second_factor(conn, world.ids["ada"], b"x", now())
        came = [asyncio.create_task(signed_in(world, phone, code, f"place {number}")) for number in range(3)]
        await somebody_waits(world, many=3)
    assert sorted(await asyncio.gather(*came)) == [False, False, True]


@pytest.mark.capability("IDN-18", part="recovery codes are used once")
async def test_a_recovery_code_opens_one_session_in_any_spelling_and_new_ones_void_the_old(world: World) -> None:
    phone = await enrolled(world, "ada")
    first, second, third = phone.recovery[:3]
    assert await signed_in(world, phone, first.lower().replace("-", " "))
    assert not await signed_in(world, phone, first)
    came = await asyncio.gather(*(signed_in(world, phone, second, f"place {number}") for number in range(4)))
    assert sorted(came) == [False] * 3 + [True]
    ada = await session(world, "ada")
    assert (await factors.show(ada))["recovery_left"] == 8
    fresh = (await factors.renew_recovery_codes(ada, phone.code()))["recovery_codes"]
    assert not await signed_in(world, phone, third)
    assert await signed_in(world, phone, fresh[0])


@pytest.mark.capability("IDN-18", part="guesses are limited, over all places")
async def test_guesses_are_limited_over_all_places_and_a_right_code_does_not_count(world: World) -> None:
    phone = await enrolled(world, "ada")
    other = await enrolled(world, "ben")
    ada = await session(world, "ada")
    async with ada.transaction() as conn:  # the place is known: what limits is the second factor's own limit
        await store.went_well(conn, b"x", b"y", [])
    for number in range(rules.FACTOR.tries - 1):
        assert not await signed_in(world, phone, phone.wrong(), f"place {number}")
    assert await signed_in(world, phone, phone.recovery[0], "home")
    assert not await signed_in(world, phone, phone.wrong(), "place 8")
    with pytest.raises(TooManyCodes) as refused:
        await signed_in(world, phone, phone.code(1), "place 9")
    assert 0 < refused.value.extra["retry_after"] <= rules.FACTOR.seconds + 1
    with pytest.raises(TooManyCodes):
        await factors.step_up(ada, phone.code(1))
    assert await signed_in(world, other, other.code()), "somebody else is not held up"


@pytest.mark.capability("IDN-18", part="the code of another account opens nothing")
async def test_anothers_code_and_anothers_recovery_code_open_nothing(world: World) -> None:
    ada, ben = await enrolled(world, "ada"), await enrolled(world, "ben")
    await calm()
    assert not await signed_in(world, ada, ben.code())
    assert not await signed_in(world, ada, ben.recovery[0])
    assert await signed_in(world, ben, ben.recovery[0])


@pytest.mark.capability("IDN-18", part="the second step of signing in")
async def test_the_second_step_takes_a_code_without_the_password_once_and_nothing_else(world: World) -> None:
    phone = await enrolled(world, "ada")
    with pytest.raises(SecondFactorRequired) as needed:
        await identity.sign_in(world.nobody(), phone.address, PASSWORD)
    onward = needed.value.continuation
    assert onward not in json.dumps(needed.value.body())
    with pytest.raises(BadCredential):
        await identity.authenticate(world.db, world.sealer, onward)
    with pytest.raises(SecondFactorRequired):
        await service.finish_sign_in(world.nobody(), onward, "")
    with pytest.raises(SecondFactorRequired):
        await service.finish_sign_in(world.nobody(), onward, phone.wrong())
    await calm()
    opened = await service.finish_sign_in(world.nobody(), onward, phone.code())
    assert opened["person_id"] == world.ids["ada"]
    with pytest.raises(UsedOrUnknownToken):
        await service.finish_sign_in(world.nobody(), onward, phone.code(1))


@pytest.mark.capability("IDN-18", part="an invitation is no way around the second factor")
async def test_an_invitation_is_no_way_around_the_second_factor(world: World) -> None:
    phone = await enrolled(world, "ada")
    invited = await members.invite(world.ctx("owner"), world.workspace_id, phone.address, "member", False)
    token = invited["invitation_token"]
    for code in ("", phone.wrong()):
        with pytest.raises(SecondFactorRequired):
            await members.accept(world.nobody(), token, PASSWORD, "", code)
    await calm()
    joined = await members.accept(world.nobody(), token, PASSWORD, "", phone.code())
    assert joined["person_id"] == world.ids["ada"]


# renewed and ended --------------------------------------------------------------------------------------------------
async def test_another_app_is_put_in_place_with_a_code_of_the_old_one_and_voids_it(world: World) -> None:
    old = await enrolled(world, "ada")
    ada = await session(world, "ada")
    for code in ("", old.wrong()):
        with pytest.raises(CodeRefused):
            await factors.begin(ada, PASSWORD, code)
    await calm()
    begun = await factors.begin(ada, PASSWORD, old.code())
    new = Phone(secret_of(begun["secret"]), address=old.address)
    assert await signed_in(world, old, old.code(1)), "the old one holds until the new one has shown its first code"
    await factors.confirm(ada, new.code())
    assert not await signed_in(world, old, old.recovery[0])
    assert await signed_in(world, new, new.code(1))


@pytest.mark.capability("IDN-18", part="it is ended with a code of it only")
async def test_it_is_ended_with_a_code_or_a_recovery_code_of_it_and_with_nothing_less(world: World) -> None:
    phone, other = await enrolled(world, "ada"), await enrolled(world, "ben")
    ada = await session(world, "ada")
    for code in ("", phone.wrong(), other.recovery[0]):
        with pytest.raises(CodeRefused):
            await factors.end(ada, code)
    assert (await factors.end(ada, phone.recovery[0]))["state"] == "off"
    assert await signed_in(world, phone, "")
    with pytest.raises(NoSecondFactor):
        await factors.end(ada, phone.recovery[1])


# step-up ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("IDN-20", part="a session is stepped up by a code of its own person, and by nothing else")
async def test_a_code_steps_its_own_session_up_and_no_other(world: World) -> None:
    phone, other = await enrolled(world, "ada", "member"), await enrolled(world, "ben", "member")
    token, beside, foreign = [await token_of(world, who) for who in ("ada", "ada", "ben")]
    ada = await again(world, token)
    for code in (phone.wrong(), other.code(), other.recovery[0], ""):
        with pytest.raises(CodeRefused):
            await factors.step_up(ada, code)
    assert not factors.is_stepped_up(await again(world, token))
    await calm()
    code = phone.code()
    done = await factors.step_up(ada, code)
    assert (factors.is_stepped_up(done), done.stepped_up_by) == (True, "totp")
    with pytest.raises(CodeRefused):
        await factors.step_up(await again(world, beside), code)
    assert [factors.is_stepped_up(await again(world, each)) for each in (token, beside, foreign)] == [
        True,
        False,
        False,
    ]
    assert [event["data"] for event in await world.events("identity.session.stepped_up")] == [{"how": "totp"}]
    assert len(await world.events("identity.second_factor.refused")) == 5


@pytest.mark.capability("IDN-20", part="a step-up ends with the factor that gave it")
async def test_a_step_up_is_gone_with_the_second_factor_that_gave_it(world: World) -> None:
    phone = await enrolled(world, "ada", "member")
    token = await token_of(world, "ada")
    await factors.step_up(await again(world, token), phone.recovery[0])
    assert (await again(world, token)).stepped_up_by == "recovery_code"
    await factors.end(await again(world, token), phone.recovery[1])
    assert not factors.is_stepped_up(await again(world, token))


async def test_who_has_no_second_factor_is_told_where_to_set_one_up(world: World) -> None:
    with pytest.raises(NoSecondFactor) as told:
        await factors.step_up(await session(world, "member"), "123456")
    assert "set-up" in told.value.remedy


# reset --------------------------------------------------------------------------------------------------------------
async def stepped(world: World, who: str, phone: Phone) -> Context:
    return await factors.step_up(await session(world, who), phone.recovery.pop())


@pytest.mark.capability("IDN-18", part="who lost it is helped by an owner or an operator, and by nobody else")
async def test_an_owner_resets_it_for_who_lost_it_and_their_sessions_end(world: World) -> None:
    phone = await enrolled(world, "ada", "member")
    token = await token_of(world, "ada")
    for who in ("admin", "member", "approver"):
        with pytest.raises(Denied):
            await members.reset_second_factor(await session(world, who), world.workspace_id, world.ids["ada"], "lost")
    by_token = replace(await session(world, "owner"), credential_id="tok_x")
    with pytest.raises(NotYours):
        await members.reset_second_factor(by_token, world.workspace_id, world.ids["ada"], "lost")
    assert not await signed_in(world, phone, "")
    done = await members.reset_second_factor(
        await session(world, "owner"), world.workspace_id, world.ids["ada"], "lost"
    )
    assert done["sessions_ended"] >= 1
    with pytest.raises(BadCredential):
        await again(world, token)
    assert await signed_in(world, phone, "")
    (event,) = await world.events("identity.second_factor.reset")
    assert (event["actor_id"], event["subject"], event["data"]["why"]) == (world.ids["owner"], world.ids["ada"], "lost")


@pytest.mark.capability("IDN-18", part="a reset ends the sign-ins that were begun")
@pytest.mark.parametrize("how", ["reset", "set up anew"])
async def test_links_and_second_steps_made_before_a_reset_or_another_app_open_nothing_after_it(
    world: World, how: str
) -> None:
    phone = await enrolled(world, "ada", "member")
    ada = await session(world, "ada")
    before, control = [(await service.sign_in_link(ada))["token"] for _ in range(2)]
    assert (await service.sign_in_by_link(world.nobody(), control))["person_id"] == world.ids["ada"], "the control"
    with pytest.raises(SecondFactorRequired) as needed:
        await identity.sign_in(world.nobody(), phone.address, PASSWORD)
    if how == "reset":
        owner = await session(world, "owner")
        theirs = (await service.sign_in_link(owner))["token"]
        await members.reset_second_factor(owner, world.workspace_id, world.ids["ada"], "lost")
        assert await service.sign_in_by_link(world.nobody(), theirs), "somebody else's link holds"
    else:
        begun = await factors.begin(ada, PASSWORD, phone.recovery[0])
        await calm()
        await factors.confirm(ada, Phone(secret_of(begun["secret"])).code())
    with pytest.raises(UsedOrUnknownToken):
        await service.sign_in_by_link(world.nobody(), before)
    with pytest.raises(UsedOrUnknownToken):
        await service.finish_sign_in(world.nobody(), needed.value.continuation, phone.code())
    fresh = (await service.sign_in_link(await session(world, "ada")))["token"]
    assert (await service.sign_in_by_link(world.nobody(), fresh))["person_id"] == world.ids["ada"]


@pytest.mark.capability(
    "IDN-18", part="a reset can be tried: it says how many sessions would end, and takes nothing away"
)
async def test_a_reset_that_is_only_tried_is_refused_alike_and_leaves_factor_and_sessions(world: World) -> None:
    phone = await enrolled(world, "ada", "member")
    token = await token_of(world, "ada")
    await world.person("oswin", operator=True, password_hash=await passwords.hash_password(PASSWORD))
    mine = await set_up(world, "oswin")
    unstepped = replace(await session(world, "oswin"), undone=True)
    for ctx, whom, refusal in (
        (replace(await session(world, "owner"), undone=True), "ada", Denied),
        (unstepped, "ada", StepUpFirst),
        (replace(unstepped, credential_id="tok_x"), "ada", NotYours),
    ):
        with pytest.raises(refusal):
            await service.reset_second_factor(ctx, world.ids[whom], "lost")
    stepped_up = await stepped(world, "oswin", mine)
    would = await service.reset_second_factor(replace(stepped_up, undone=True), world.ids["ada"], "lost")
    assert would["sessions_ended"] >= 1
    await again(world, token)
    assert not await signed_in(world, phone, ""), "it is asked for as before"
    done = await service.reset_second_factor(stepped_up, world.ids["ada"], "lost")
    assert done == would
    with pytest.raises(BadCredential):
        await again(world, token)


@pytest.mark.capability("IDN-18", part="nobody resets their own, and who has a second factor gives it first")
async def test_nobody_resets_their_own_and_an_owner_with_one_gives_it_first(world: World) -> None:
    mine = await enrolled(world, "olga", "owner")
    lost = await enrolled(world, "ada", "member")
    for ctx, whom in ((await stepped(world, "olga", mine), "olga"), (await session(world, "olga"), "ada")):
        with pytest.raises((NotYours, StepUpFirst)):
            await members.reset_second_factor(ctx, world.workspace_id, world.ids[whom], "lost")
    assert [await signed_in(world, phone, "") for phone in (mine, lost)] == [False, False]
    await members.reset_second_factor(await stepped(world, "olga", mine), world.workspace_id, world.ids["ada"], "lost")
    assert await signed_in(world, lost, "")


@pytest.mark.capability("IDN-18", part="an owner does not weaken a sign-in that opens what is not theirs")
async def test_an_owner_does_not_reset_who_is_a_member_elsewhere_or_an_operator(world: World) -> None:
    phone = await enrolled(world, "ada", "member")
    elsewhere = await make(world.db, world.settings.home)
    elsewhere.ids["ada"] = world.ids["ada"]
    await elsewhere.join("ada", "viewer")
    await world.join("operator", "member")
    for who in ("ada", "operator"):
        with pytest.raises(SignsInElsewhere):
            await members.reset_second_factor(await session(world, "owner"), world.workspace_id, world.ids[who], "lost")
    with pytest.raises(Denied):
        await service.reset_second_factor(await session(world, "owner"), world.ids["ada"], "lost")
    assert not await signed_in(world, phone, "")
    done = await service.reset_second_factor(await session(world, "operator"), world.ids["ada"], "passport shown")
    assert done["person_id"] == world.ids["ada"]
    assert await signed_in(world, phone, "")
