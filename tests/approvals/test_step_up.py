"""Deciding what wants a second factor given just now: with one's own code, once, in one's own session, for a while."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.approvals.asking import Row, asked, row_of
from tests.identity.phone import PASSWORD, Phone, again, calm, enrolled, session, token_of
from tests.workspaces.world import World, refusal
from worka import identity
from worka.approvals import batch, explain, service
from worka.approvals.errors import ApprovalNotFound, DigestChanged, StepUpRequired
from worka.governance import service as governance
from worka.identity import factors, rules
from worka.identity.errors import CodeRefused, NoSecondFactor, NotYours, SecondFactorRequired, TooManyCodes
from worka.kernel.context import Context, Principal
from worka.kernel.ids import new_id

pytestmark = pytest.mark.capability("IDN-20", part="by a code of a TOTP second factor, recorded in the approval")
RULE = "approve:1 stepup"


async def wanted(world: World, number: int = 1) -> Row:
    return await asked(world, RULE, behind="owner", number=number)


async def yes(ctx: Context, approval: Row, code: str = "") -> Row:
    return await service.decide(ctx, approval["id"], "approve", approval["digest"], code=code)


async def state(world: World, approval: Row) -> str:
    return str((await row_of(world, approval["id"]))["state"])


async def two(world: World) -> tuple[Phone, Phone]:
    """Two who may approve, each with a second factor."""
    return await enrolled(world, "ada", "admin"), await enrolled(world, "ben", "admin")


async def test_a_code_given_with_the_decision_decides_it_and_the_approval_keeps_when_and_how(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    approval, second = await wanted(world), await wanted(world, 2)
    token = await token_of(world, "ada")
    with pytest.raises(StepUpRequired):
        await yes(await again(world, token), approval)
    await calm()
    done = await yes(await again(world, token), approval, phone.code())
    (vote,) = done["votes"]
    assert (done["state"], vote["stepped_up_by"]) == ("approved", "totp")
    (kept,) = await world.rows("approval_vote", "approval_id = %s", approval["id"])
    assert kept["stepped_up_at"] == vote["stepped_up_at"]
    (event,) = await world.events("approval.vote.recorded")
    assert event["data"]["second_factor"] == "totp"
    # The session is stepped up: the next one is decided without another code, as long as it is fresh.
    assert (await yes(await again(world, token), second))["state"] == "approved"


async def test_a_session_stepped_up_too_long_ago_decides_nothing_until_a_new_code(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    approval = await wanted(world)
    token = await token_of(world, "ada")
    await calm()
    fresh = await factors.step_up(await again(world, token), phone.code())
    assert fresh.stepped_up_at is not None
    minutes = world.settings.approvals.stepup_minutes
    old = replace(await again(world, token), stepped_up_at=fresh.stepped_up_at - timedelta(minutes=minutes, seconds=1))
    with pytest.raises(StepUpRequired):
        await yes(old, approval)
    assert (await yes(old, approval, phone.code(1)))["state"] == "approved"


async def test_anothers_code_a_replayed_one_and_anothers_session_decide_nothing(world: World) -> None:
    ada, ben = await two(world)
    approval = await wanted(world)
    mine, theirs = await token_of(world, "ada"), await token_of(world, "ben")
    await calm()
    code = ben.code()
    with pytest.raises(CodeRefused):
        await yes(await again(world, mine), approval, code)
    await factors.step_up(await again(world, theirs), code)
    with pytest.raises(CodeRefused):
        await yes(await again(world, theirs), approval, code)
    with pytest.raises(StepUpRequired):  # their stepped-up session lends nothing to mine
        await yes(await again(world, mine), approval)
    assert await state(world, approval) == "open"
    assert (await yes(await again(world, mine), approval, ada.code()))["state"] == "approved"


async def test_a_code_refused_leaves_the_approval_as_it_was_and_guesses_end(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    approval = await wanted(world)
    ada = await session(world, "ada")
    for _ in range(rules.FACTOR.tries):
        with pytest.raises(CodeRefused):
            await yes(ada, approval, phone.wrong())
    with pytest.raises(TooManyCodes):
        await yes(ada, approval, phone.code())
    assert await state(world, approval) == "open"
    assert not await world.rows("approval_vote", "approval_id = %s", approval["id"])
    assert len(await world.events("identity.second_factor.refused")) == rules.FACTOR.tries


async def test_of_two_decisions_with_one_code_at_once_one_is_decided(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    first, second = await wanted(world), await wanted(world, 2)
    # Two sessions: the step-up of the one would otherwise rightly hold for both.
    sessions = [await session(world, "ada"), await session(world, "ada")]
    await calm()
    code = phone.code()
    came = await asyncio.gather(
        *(yes(ctx, approval, code) for ctx, approval in zip(sessions, (first, second), strict=True)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in came) == ["CodeRefused", "dict"]
    assert sorted([await state(world, first), await state(world, second)]) == ["approved", "open"]


async def test_an_api_token_decides_with_a_code_of_its_person_and_keeps_no_step_up(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    first, second = await wanted(world), await wanted(world, 2)
    token = replace(await session(world, "ada"), credential_id="tok_00000000000000000000000000")
    with pytest.raises(StepUpRequired):
        await yes(token, first)
    assert (await yes(token, first, phone.recovery[0]))["votes"][0]["stepped_up_by"] == "recovery_code"
    with pytest.raises(StepUpRequired):
        await yes(token, second)
    assert await state(world, second) == "open"


async def test_guesses_with_an_api_token_use_up_that_tokens_tries_and_not_those_of_sign_in(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    approval = await wanted(world)
    token = replace(await session(world, "ada"), credential_id="tok_00000000000000000000000000")
    other = replace(token, credential_id="tok_11111111111111111111111111")
    for _ in range(rules.TOKEN_FACTOR.tries):
        with pytest.raises(CodeRefused):
            await yes(token, approval, phone.wrong())
    with pytest.raises(TooManyCodes) as first:
        await yes(token, approval, phone.recovery[0])
    assert first.value.extra["retry_after"] <= rules.TOKEN_FACTOR.seconds + 1
    for _ in range(rules.TOKEN_FACTOR_DAY.tries):  # whoever goes on all the same waits longer
        with pytest.raises(TooManyCodes) as later:
            await yes(token, approval, phone.wrong())
    assert later.value.extra["retry_after"] > rules.TOKEN_FACTOR.seconds + 1
    assert await state(world, approval) == "open"
    opened = await identity.sign_in(world.nobody(), phone.address, PASSWORD, "home", phone.recovery[0])
    assert opened["person_id"] == world.ids["ada"], "the person signs in as ever"
    assert (await yes(other, approval, phone.recovery[1]))["state"] == "approved", "and another token decides"


async def test_a_token_of_ones_own_gives_no_new_tries_of_anothers_code(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    await world.person("eve")
    # As the door would have it, if somebody signed in as another while sending a token of their own.
    eve = replace(world.nobody(), principal=Principal("person", world.ids["eve"], "eve"))
    for number in range(rules.FACTOR.tries):
        ctx = replace(eve, credential_id=f"tok_{number:026}")
        with pytest.raises(SecondFactorRequired):
            await identity.sign_in(ctx, phone.address, PASSWORD, f"place {number}", phone.wrong())
    last = identity.sign_in(replace(eve, credential_id="tok_z"), phone.address, PASSWORD, "there", phone.wrong())
    assert await refusal(last) == TooManyCodes.code


async def test_a_code_given_with_what_wants_none_is_no_try_and_is_not_used_up(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    ada = await session(world, "ada")
    plain, wanting = await asked(world, "approve:1", behind="owner", number=2), await wanted(world)
    made_up = {**wanting, "id": new_id("apr")}
    stale = {**wanting, "digest": "another"}
    item = {"decision": "approve", "comment": "", "digest": "x"}
    for _ in range(rules.FACTOR.tries):
        assert await refusal(yes(ada, made_up, phone.wrong())) == ApprovalNotFound.code
        assert await refusal(yes(ada, stale, phone.wrong())) == DigestChanged.code
        told = await batch.decide(ada, world.workspace_id, [{**item, "approval_id": made_up["id"]}], phone.wrong())
        assert told["refused"] == 1
    assert (await yes(ada, plain, phone.recovery[0]))["state"] == "approved"
    assert await world.events("identity.second_factor.refused") == []
    # The controls: a wrong code with what wants one is a try, and the code that nobody looked at is still good.
    with pytest.raises(CodeRefused):
        await yes(ada, wanting, phone.wrong())
    assert (await yes(ada, wanting, phone.recovery[0]))["state"] == "approved"


async def test_a_code_that_comes_with_a_dry_run_is_not_looked_at_and_not_used_up(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    ada, approval, code = await session(world, "ada"), await wanted(world), phone.recovery[0]
    item = {"decision": "approve", "comment": "", "digest": approval["digest"], "approval_id": approval["id"]}
    with pytest.raises(StepUpRequired):
        await yes(replace(ada, undone=True), approval, code)
    told = await batch.decide(replace(ada, undone=True), world.workspace_id, [item], code)
    assert told["results"][0]["problem"]["code"] == "step_up_required"
    assert (await state(world, approval), await world.events("identity.session.stepped_up")) == ("open", [])
    assert (await yes(ada, approval, code))["state"] == "approved", "the control: the same code"
    assert len(await world.events("identity.session.stepped_up")) == 1


async def test_who_has_no_second_factor_and_who_is_no_person_give_none(world: World) -> None:
    approval = await wanted(world)
    with pytest.raises(NoSecondFactor):
        await yes(await session(world, "approver"), approval, "123456")
    with pytest.raises(NotYours):
        await yes(world.ctx("robot"), approval, "123456")
    assert await state(world, approval) == "open"


async def test_one_code_is_given_once_for_many_decisions(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    rows = [await wanted(world, number) for number in (1, 2)]
    items = [{"approval_id": row["id"], "decision": "approve", "digest": row["digest"], "comment": ""} for row in rows]
    ada = await session(world, "ada")
    without = await batch.decide(ada, world.workspace_id, items)
    assert [one["problem"]["code"] for one in without["results"]] == ["step_up_required"] * 2
    with pytest.raises(CodeRefused):
        await batch.decide(ada, world.workspace_id, items, phone.wrong())
    done = await batch.decide(ada, world.workspace_id, items, phone.recovery[0])
    assert (done["decided"], done["refused"]) == (2, 0)


async def test_who_has_no_second_factor_is_named_so_before_they_try_and_a_code_is_told_afterwards(world: World) -> None:
    phone = await enrolled(world, "ada", "admin")
    approval, plain = await wanted(world), await asked(world, "approve:1", behind="owner", number=2)
    card = await service.show(world.ctx("approver"), approval["id"])
    assert card["who_could"] == ["ada", *(f"{who} (once a second factor is set up)" for who in ("admin", "approver"))]
    assert (card["eligibility"]["eligible"], card["eligibility"]["lacks_factor"]) == (True, True)
    why = await explain.explain(world.ctx("approver"), approval["id"])
    assert not why.waiting_on[0].you_can
    assert "you have none" in why.waiting_on[0].because
    assert (await service.show(world.ctx("ada"), approval["id"]))["eligibility"]["lacks_factor"] is False
    control = await service.show(world.ctx("approver"), plain["id"])
    assert (control["eligibility"]["lacks_factor"], "once" in " ".join(control["who_could"])) == (False, False)
    await calm()
    await yes(await session(world, "ada"), approval, phone.code())
    after = await explain.explain(world.ctx("owner"), approval["id"])
    assert "ada with a code of the second factor" in after.headline


async def test_a_check_and_a_dry_run_of_a_policy_say_how_many_approvers_have_a_second_factor(world: World) -> None:
    text = '@id("s") @verdict("ask") @rule("{}") forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    await enrolled(world, "ada", "admin")
    owner, here = world.ctx("owner"), world.workspace_id
    checked = await governance.check_policy(owner, here, "governance", text.format(RULE))
    (warning,) = checked["warnings"]
    assert "1 of 4 people who may approve here has one" in warning
    assert "approver" in warning
    assert "ada" not in warning
    tried = await governance.dry_run(
        owner, here, kind="governance", text=text.format(RULE), scope="tenant", role_of=None, role=None, since=None,
        until=None, after=None, limit=50,
    )  # fmt: skip
    assert tried["warnings"] == [warning]
    plain = await governance.check_policy(owner, here, "governance", text.format("approve:1"))
    assert plain["warnings"] == [], "the control: nothing is warned of where no rule wants one"
