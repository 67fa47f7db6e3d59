"""A lease on facts that were decided on before is one statement, and whatever is different has it decided anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from tests.treasury.support import HERE, VALUE, attachment, invocation, lease, secret
from tests.treasury.test_policy import rule
from tests.workspaces.world import World
from worka.audit import ledger
from worka.governance import service as policies
from worka.governance.errors import Killed, UseRefused
from worka.kernel.ids import new_id
from worka.treasury import errors, operating, rotation, service, store

Given = list[bool]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What each lease in one statement answered."""
    answers: Given = []
    real = store.lease_again

    async def watched(*args: Any, **kwargs: Any) -> bool:
        answers.append(await real(*args, **kwargs))
        return answers[-1]

    monkeypatch.setattr(store, "lease_again", watched)
    return answers


async def granted(world: World) -> tuple[str, str]:
    made, att = await secret(world), await attachment(world)
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    return made["id"], att


async def had(world: World, secret_id: str, att: str) -> str:
    """The value, for a call of its own."""
    return (await lease(world, secret_id, att, await invocation(world, att))).value


@pytest.mark.capability("TRE-13")
async def test_a_lease_on_the_same_facts_is_one_statement_with_its_row_its_event_and_its_ledger_row(
    world: World, given: Given
) -> None:
    one = await granted(world)
    assert [await had(world, *one) for _ in range(4)] == [VALUE] * 4
    assert given == [True] * 3, "the first was decided"
    leases = await world.rows("lease", "true order by id")
    assert len({row["invocation_id"] for row in leases}) == 4
    whole, *short = leases
    own = {"id", "invocation_id", "trace_id", "issued_at", "expires_at"}
    for row in short:
        assert {k: v for k, v in row.items() if k not in own} == {k: v for k, v in whole.items() if k not in own}
        assert 290 < (row["expires_at"] - row["issued_at"]).total_seconds() <= 301
    told = await world.events("treasury.secret.leased")
    assert {row["subject"] for row in told} == {row["id"] for row in leases}
    first, *others = told
    for event in others:
        for column in ("workspace_id", "lane", "subject_name", "actor_kind", "actor_id", "actor_name", "data"):
            assert event[column] == first[column], column
        assert (event["before"], event["after"], set(event["cause"])) == (None, None, set(first["cause"]))
    assert (await ledger.check_tenant(world.ctx("owner"), world.tenant_id, None)).problems == []


async def revoked(world: World, secret_id: str, att: str) -> None:
    await service.revoke(world.ctx("owner"), secret_id, "leaked")


async def ungranted(world: World, secret_id: str, att: str) -> None:
    (grant,) = await world.rows("secret_grant")
    await service.revoke_grant(world.ctx("owner"), grant["id"])


async def forbidden(world: World, secret_id: str, att: str) -> None:
    await policies.save_policy(world.ctx("owner"), world.workspace_id, "governance", rule("true"), "")


async def killed(world: World, secret_id: str, att: str) -> None:
    await policies.kill(world.ctx("owner"), world.workspace_id, "secret", secret_id, "leaked", False)


async def ended(world: World, secret_id: str, att: str) -> None:
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret set expires_at = clock_timestamp() where id = %s", (secret_id,))


async def flipped(world: World, secret_id: str, att: str) -> None:
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret_version set ciphertext = set_byte(ciphertext, 3, get_byte(ciphertext, 3) # 1)"
        )


async def replayed(world: World, secret_id: str, att: str) -> None:
    (old,) = await world.rows("secret_version")
    await service.rotate(world.ctx("owner"), secret_id, "another-value-1")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret_version set nonce = %s, ciphertext = %s, ended_at = null where version = 1",
            (old["nonce"], old["ciphertext"]),
        )
        await conn.execute("update worka.secret set version = 1")


Change = Callable[[World, str, str], Awaitable[None]]


@pytest.mark.capability("TRE-6")
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (revoked, errors.NoGrant),
        (ungranted, errors.NoGrant),
        (forbidden, UseRefused),
        (killed, Killed),
        (ended, errors.SecretExpired),
        (flipped, errors.SecretUnreadable),
        (replayed, errors.SecretReplayed),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_whatever_changed_since_holds_for_the_very_next_lease(
    world: World, given: Given, change: Change, refusal: type[Exception]
) -> None:
    one = await granted(world)
    assert [await had(world, *one) for _ in range(2)] == [VALUE] * 2
    assert given == [True], "the control: it was given in one statement just now"
    running, before = await invocation(world, one[1]), len(await world.rows("lease"))
    await change(world, *one)
    with pytest.raises(refusal):
        await lease(world, *one, running)
    assert given[1] is False
    assert len(await world.rows("lease")) == before, "and nothing was written"
    with pytest.raises(refusal):
        await lease(world, *one, running)
    assert len(given) == 2, "it is not even asked again"


@pytest.mark.capability("TRE-3")
async def test_a_seal_a_call_that_is_over_and_another_attachment_are_looked_at_each_time(
    world: World, given: Given
) -> None:
    secret_id, att = await granted(world)
    assert [await had(world, secret_id, att) for _ in range(2)] == [VALUE] * 2
    for other in (
        await invocation(world, att, "succeeded"),
        await invocation(world, await attachment(world)),
        new_id("inv"),
    ):
        with pytest.raises(errors.InvocationNotRunning):
            await lease(world, secret_id, att, other)
        await had(world, secret_id, att)
        assert (await had(world, secret_id, att), given[-1]) == (VALUE, True), "the control"
    await operating.seal(world.ctx("operator"), True, "a laptop was lost")
    try:
        with pytest.raises(errors.TreasurySealed):
            await had(world, secret_id, att)
    finally:
        await operating.seal(world.ctx("operator"), False, "found again")


@pytest.mark.capability("TRE-3", part="beside a call that is over")
async def test_a_lease_is_given_beside_one_that_is_found_to_be_of_a_call_that_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_id, att = await granted(world)
    await had(world, secret_id, att)
    running, over = await invocation(world, att), await invocation(world, att, "succeeded")
    real, given, answered = store.lease_again, asyncio.Event(), asyncio.Event()

    async def beside(*args: Any, **kwargs: Any) -> bool:
        good = await real(*args, **kwargs)
        if good:
            # It is written; before its caller goes on, the other one is answered.
            given.set()
            await asyncio.wait_for(answered.wait(), 10)
        return good

    monkeypatch.setattr(store, "lease_again", beside)
    good = asyncio.create_task(lease(world, secret_id, att, running))
    await asyncio.wait_for(given.wait(), 10)
    with pytest.raises(errors.InvocationNotRunning):
        await lease(world, secret_id, att, over)
    answered.set()
    (found,) = await asyncio.gather(good, return_exceptions=True)
    assert getattr(found, "value", found) == VALUE


async def test_a_call_of_somebody_else_is_decided_for_them(world: World, given: Given) -> None:
    secret_id, att = await granted(world)
    assert [await had(world, secret_id, att) for _ in range(2)] == [VALUE] * 2
    await policies.kill(world.ctx("owner"), world.workspace_id, "member", world.ids["viewer"], "gone", False)
    await had(world, secret_id, att)
    assert (await had(world, secret_id, att), given[-1]) == (VALUE, True), "the control: the kill switch is on another"
    theirs = await invocation(world, att)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.invocation set initiator_id = %s where id = %s", (world.ids["viewer"], theirs))
    with pytest.raises(Killed):
        await lease(world, secret_id, att, theirs)


async def test_the_account_of_one_person_is_given_again_to_calls_for_them_and_to_no_others(
    world: World, given: Given
) -> None:
    secret_id, att = await granted(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret set person_id = %s where id = %s", (world.ids["member"], secret_id))

    async def called_for(who: str) -> str:
        found = await invocation(world, att)
        async with world.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.invocation set originating_person = %s where id = %s", (world.ids[who], found)
            )
        return found

    assert [(await lease(world, secret_id, att, await called_for("member"))).value for _ in range(2)] == [VALUE] * 2
    assert given == [True]
    with pytest.raises(errors.AnotherPersons):
        await lease(world, secret_id, att, await called_for("viewer"))


@pytest.mark.capability("TRE-8")
async def test_the_next_lease_has_the_new_value_and_in_an_overlap_each_call_its_own(world: World, given: Given) -> None:
    secret_id, att = await granted(world)
    old = await invocation(world, att)
    assert [(await lease(world, secret_id, att, old)).value for _ in range(2)] == [VALUE] * 2
    await rotation.rotate(world.ctx("owner"), secret_id, "another-value-1", grants="keep", overlap_minutes=60)
    assert (await lease(world, secret_id, att, old)).value == VALUE
    assert [await had(world, secret_id, att) for _ in range(2)] == ["another-value-1"] * 2
    assert given == [True, False], "while two values are valid, each lease is decided"
    await rotation.finish(world.ctx("owner"), secret_id)
    assert [await had(world, secret_id, att) for _ in range(2)] == ["another-value-1"] * 2
    assert given == [True, False, True]


async def test_a_lease_waits_for_a_revocation_that_is_under_way_and_then_is_refused(world: World, given: Given) -> None:
    secret_id, att = await granted(world)
    assert [await had(world, secret_id, att) for _ in range(2)] == [VALUE] * 2
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret_grant set revoked_at = clock_timestamp(), revoked_by = 'me'")
        asked = asyncio.create_task(had(world, secret_id, att))
        await asyncio.sleep(0.2)
        assert not asked.done(), "the control: it waits"
    with pytest.raises(errors.NoGrant):
        await asked


@pytest.mark.capability("DEP-10", part="the lease that is one statement")
async def test_the_statement_serves_no_tenant_but_the_one_it_is_asked_under(world: World, given: Given) -> None:
    secret_id, att = await granted(world)
    assert [await had(world, secret_id, att) for _ in range(2)] == [VALUE] * 2
    nothing = "select worka.lease_again(%s, '', '', '', '', '', '{}', '', '', '', '', 1, '{}', 0, '', '') as given"
    async with world.db.transaction(world.tenant_id) as conn:
        (row,) = await (await conn.execute(nothing, (world.tenant_id,))).fetchall()
        assert row["given"] is False, "the control: of its own tenant it only finds nothing"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with world.db.transaction(new_id("ten")) as conn:
            await conn.execute(nothing, (world.tenant_id,))
