"""One approval of one call, and everything that it is bound to: whatever of it is different, the call does not run under it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.plain import tree
from tests.packs.registry_support import ask, released
from tests.packs.test_registration import SERVER, small
from worka.approvals import service as approvals
from worka.governance import service as policies
from worka.kernel.clock import now
from worka.packs import service

pytestmark = pytest.mark.timeout(180)
Row = dict[str, Any]
SAYS = [{"name": "say", "description": "Says what it is given.", "side_effect": "external_side_effect"}]
TOOL, TEXT = "acme.small.say", {"text": "x"}


async def attached(place: Packs) -> Row:
    """An attachment of a pack whose call asks a person each time."""
    release = await place.register(small(tools=SAYS), "", tree())
    row = await service.attach(place.ctx(), release["id"])
    await place.approve(row["approval_id"])
    return row


async def called(place: Packs, arguments: Row = TEXT, key: str = "k") -> Row:
    return (await service.call(place.ctx(), TOOL, arguments, key))[1]


async def other_arguments(place: Packs, row: Row, approval: str) -> Row:
    return await called(place, {"text": "another"})


async def another_release(place: Packs, row: Row, approval: str) -> Row:
    later = await place.register(small("1.0.1", tools=SAYS), "", tree(f"{SERVER}# another\n"))
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.attachment set release_id = %s, digest = %s where id = %s",
            (later["id"], later["digest"], row["id"]),
        )
    return await called(place)


async def another_policy(place: Packs, row: Row, approval: str) -> Row:
    text = '@id("two") @verdict("ask") @rule("approve:2") forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    await policies.save_policy(place.ctx(), place.world.workspace_id, "governance", text, "")
    return await called(place)


async def past_its_end(place: Packs, row: Row, approval: str) -> Row:
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute("update worka.approval set expires_at = clock_timestamp() where id = %s", (approval,))
    return await called(place)


async def a_second_time(place: Packs, row: Row, approval: str) -> Row:
    assert (await called(place))["status"] == "succeeded"
    return await called(place, key="another key")


Change = Callable[[Packs, Row, str], Awaitable[Row]]


@pytest.mark.capability("APR-10")
@pytest.mark.parametrize(
    "change", [other_arguments, another_release, another_policy, past_its_end, a_second_time], ids=lambda c: c.__name__
)
async def test_one_approval_is_of_one_call_with_all_that_it_was_given_for(place: Packs, change: Change) -> None:
    row = await attached(place)
    asked = await called(place)
    assert asked["status"] == "waiting_for_approval"
    card = await approvals.show(place.ctx("approver"), asked["approval_id"])
    (release,) = await place.world.rows("release", "id = %s", row["release_id"])
    assert (card["card"]["release"], card["card"]["release_digest"]) == (release["id"], release["digest"])
    assert card["arguments"] == TEXT
    assert card["policy_version"]
    assert card["expires_at"] > now()
    await place.approve(asked["approval_id"])
    answer = await change(place, row, asked["approval_id"])
    assert (answer["status"], answer["approval_id"] != asked["approval_id"]) == ("waiting_for_approval", True)
    ran = await place.world.rows("invocation", "state = 'succeeded'")
    assert len(ran) == (1 if change is a_second_time else 0), "nothing runs that nobody agreed to"


@pytest.mark.capability("APR-10")
async def test_the_call_that_was_approved_runs_once_under_it(place: Packs) -> None:
    await attached(place)
    asked = await called(place)
    await place.approve(asked["approval_id"])
    done = await called(place)
    assert (done["status"], done["approval_id"]) == ("succeeded", asked["approval_id"])
    again = await called(place)
    assert (again["replayed"], again["invocation_id"]) == (True, done["invocation_id"])
    assert len(await place.world.rows("invocation", "tool = %s", TOOL)) == 1


@pytest.mark.capability("APR-6")
async def test_what_waits_is_listed_over_every_kind_of_subject_with_what_it_blocks(place: Packs) -> None:
    await attached(place)
    call = await called(place)
    quiet = await released(place, name="quiet")
    publication = await ask(place, quiet)
    loud = await place.register(small(name="loud", tools=SAYS), "", tree())
    attachment = await service.attach(place.ctx(), loud["id"])
    listed = await approvals.listing(place.ctx("approver"), place.world.workspace_id, "open", None, 50)
    found = {item["id"]: item for item in listed}
    wanted = {
        call["approval_id"]: ("tool.invoke", ""),
        publication["approval_id"]: ("release.publish", publication["id"]),
        attachment["approval_id"]: ("pack.attach", attachment["id"]),
    }
    assert set(found) == set(wanted)
    for approval, (action, blocked) in wanted.items():
        item = found[approval]
        assert item["action"] == action
        assert item["blocks"], item
        assert all(thing["name"] for thing in item["blocks"])
        assert not blocked or blocked in [thing["id"] for thing in item["blocks"]]
        assert item["effect"]
        assert item["eligibility"]["eligible"] is True
    await place.approve(publication["approval_id"])
    left = await approvals.listing(place.ctx("approver"), place.world.workspace_id, "open", None, 50)
    assert {item["id"] for item in left} == set(wanted) - {publication["approval_id"]}
