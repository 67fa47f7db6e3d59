"""Known vulnerabilities against what releases hold: a hit opens a proposal, and only consent makes it an act."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packs.registered import another_workspace, attachment, one, release
from tests.workspaces.world import World, refusal, world
from worka import packs
from worka.approvals import service as approvals
from worka.kernel.errors import Denied
from worka.packs import service
from worka.packs.lifecycle import advisories
from worka.packs.lifecycle.errors import FeedInvalid
from worka.packs.service import vulnerabilities, withdrawing

__all__ = ["world"]
Row = dict[str, Any]


def osv(name: str = "OSV-2026-7", package: str = "lib", modified: str = "2026-01-01T00:00:00Z", **more: Any) -> Row:
    """An advisory that hits `package` before 2.0."""
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]
    affected = [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]
    return {"id": name, "modified": modified, "summary": "It reads your files.", "affected": affected, **more}


async def take_in(world: World, *documents: Row, who: str = "owner") -> Row:
    """A feed that somebody hands in."""
    return await vulnerabilities.take_in(world.ctx(who), world.workspace_id, list(documents))


async def decide(world: World, approval_id: str, decision: str, who: str = "approver") -> None:
    """Somebody else decides."""
    packs.subscribe(world.subscribers)
    card = await approvals.show(world.ctx(who), approval_id)
    await approvals.decide(world.ctx(who), approval_id, decision, card["digest"])


async def finding(world: World) -> Row:
    """The only one there is."""
    rows = await world.rows("finding")
    assert len(rows) == 1, "one finding"
    return rows[0]


@pytest.mark.capability("GOV-16")
async def test_a_hit_proposes_and_consent_quarantines(world: World) -> None:
    made = await release(world)
    att = await attachment(world, made)
    safe = await release(world, "acme.safe", packages=("lib==2.0",))
    found = await take_in(world, osv())
    assert found == {"read": 1, "taken": 1, "checked": 2, "hits": 1, "proposals": 1}
    row = await finding(world)
    assert (row["release_id"], row["package"], row["version"], row["state"]) == (made, "lib", "1.0", "proposed")
    assert (await one(world, "release", made))["state"] == "released", "a hit is a proposal, not an act"
    card = await approvals.show(world.ctx("approver"), row["approval_id"])
    assert "OSV-2026-7 It reads your files." in str(card["card"])
    assert await refusal(approvals.decide(world.ctx("owner"), row["approval_id"], "approve", card["digest"])), (
        "four eyes"
    )
    await decide(world, row["approval_id"], "approve")
    assert (await one(world, "release", made))["state"] == "quarantined"
    assert (await one(world, "attachment", att))["state"] == "suspended"
    assert (await one(world, "release", safe))["state"] == "released"
    assert (await finding(world))["state"] == "quarantined"
    (receipt,) = await world.rows("withdrawal")
    assert receipt["approval_id"] == row["approval_id"]
    assert "OSV-2026-7" in receipt["why"]


@pytest.mark.capability("GOV-16", part="a hit opens a quarantine proposal, which consent makes an act")
async def test_what_was_rejected_is_not_proposed_again_until_something_new_hits(world: World) -> None:
    made = await release(world)
    await take_in(world, osv())
    await decide(world, (await finding(world))["approval_id"], "reject")
    assert (await finding(world))["state"] == "kept"
    assert (await one(world, "release", made))["state"] == "released"
    again = await vulnerabilities.check_again(world.ctx("owner"), world.workspace_id)
    assert again == {"checked": 1, "hits": 0, "proposals": 0}
    more = await take_in(world, osv("OSV-2026-8"))
    assert (more["hits"], more["proposals"]) == (1, 1)


@pytest.mark.capability("GOV-16", part="a hit opens a quarantine proposal, which consent makes an act")
async def test_a_further_hit_asks_anew_and_the_older_question_is_superseded(world: World) -> None:
    await release(world)
    await take_in(world, osv())
    first = (await finding(world))["approval_id"]
    await take_in(world, osv("OSV-2026-8"))
    rows = await world.rows("finding")
    (second,) = {row["approval_id"] for row in rows}
    assert second != first
    assert (await one(world, "approval", first))["state"] == "superseded"
    assert {row["state"] for row in rows} == {"proposed"}


@pytest.mark.capability("GOV-16", part="a hit opens a quarantine proposal, which consent makes an act")
async def test_consent_is_worth_nothing_once_who_proposed_may_do_it_no_more(world: World) -> None:
    made = await release(world)
    await take_in(world, osv(), who="admin")
    row = await finding(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'viewer' where principal_id = %s", (world.ids["admin"],))
    await decide(world, row["approval_id"], "approve")
    assert (await one(world, "release", made))["state"] == "released"
    assert (await finding(world))["state"] == "open"


@pytest.mark.capability("GOV-16", part="releases are checked again, also when an advisory is taken back or changes")
async def test_an_advisory_that_changes_or_is_withdrawn_changes_what_is_found(world: World) -> None:
    await release(world)
    await take_in(world, osv())
    older = await take_in(world, osv(modified="2025-01-01T00:00:00Z", withdrawn="2025-02-01T00:00:00Z"))
    assert older["taken"] == 0, "what is older than what is known changes nothing"
    assert (await finding(world))["state"] == "proposed"
    await take_in(world, osv(modified="2026-02-01T00:00:00Z", withdrawn="2026-02-01T00:00:00Z"))
    assert (await finding(world))["state"] == "gone"
    back = await take_in(world, osv(modified="2026-03-01T00:00:00Z"))
    assert (back["hits"], back["proposals"]) == (1, 1)


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
async def test_nothing_of_a_feed_is_taken_that_holds_one_bad_document(world: World) -> None:
    await release(world)
    with pytest.raises(FeedInvalid):
        await take_in(world, osv(), {"id": "OSV-9"})
    assert await world.rows("advisory") == []
    assert await world.rows("finding") == []
    assert (await take_in(world, osv()))["hits"] == 1


@pytest.mark.capability("GOV-16", part="who may hand a feed in, and what of it others are told")
async def test_who_may_not_hands_nothing_in_and_other_workspaces_keep_their_releases_to_themselves(
    world: World,
) -> None:
    # What is known is the tenant's, and so are the findings: who administers one of two workspaces hands nothing in.
    place = await another_workspace(world, "owner")
    mine, theirs = await release(world), await release(world, "other.small", workspace_id=place)
    for who in ("admin", "member", "viewer", "approver", "stranger"):
        with pytest.raises(Denied):
            await take_in(world, osv(), who=who)
        with pytest.raises(Denied):
            await vulnerabilities.check_again(world.ctx(who), world.workspace_id)
    assert await world.rows("advisory") == []
    found = await take_in(world, osv())
    assert (found["hits"], found["proposals"]) == (2, 2)
    by_release = {row["release_id"]: row["state"] for row in await world.rows("finding")}
    assert by_release == {mine: "proposed", theirs: "proposed"}
    listed = await vulnerabilities.listed(world.ctx("viewer"), world.workspace_id, None, 50)
    assert [row["release_id"] for row in listed] == [mine]
    with pytest.raises(Denied):
        await vulnerabilities.listed(world.ctx("viewer"), place, None, 50)


@pytest.mark.capability("GOV-16", part="a hit opens a quarantine proposal, which consent makes an act")
async def test_what_is_quarantined_already_is_found_and_not_proposed(world: World) -> None:
    made = await release(world)
    await withdrawing.quarantine(world.ctx("owner"), made, "before anybody knew")
    found = await take_in(world, osv())
    assert (found["hits"], found["proposals"]) == (1, 0)
    assert (await finding(world))["state"] == "open"


@pytest.mark.capability("GOV-16", part="releases are checked again, also when an advisory is taken back or changes")
async def test_a_proposal_ends_when_one_of_its_findings_goes_and_what_is_left_is_asked_anew(world: World) -> None:
    await release(world)
    await take_in(world, osv(), osv("OSV-2026-8"))
    (first,) = {row["approval_id"] for row in await world.rows("finding")}
    await vulnerabilities.check_again(world.ctx("owner"), world.workspace_id)
    assert (await one(world, "approval", first))["state"] == "open", "the control: nothing changed, nothing ends"
    await take_in(world, osv(modified="2026-02-01T00:00:00Z", withdrawn="2026-02-01T00:00:00Z"))
    rows = {row["advisory_id"]: row for row in await world.rows("finding")}
    assert (rows["OSV-2026-7"]["state"], rows["OSV-2026-8"]["state"]) == ("gone", "proposed")
    assert (await one(world, "approval", first))["state"] == "superseded"
    assert rows["OSV-2026-8"]["approval_id"] != first
    card = await approvals.show(world.ctx("approver"), rows["OSV-2026-8"]["approval_id"])
    assert "OSV-2026-7" not in str(card["card"])
    # With the last one the question ends, and no other is asked.
    await take_in(world, osv("OSV-2026-8", modified="2026-02-01T00:00:00Z", withdrawn="2026-02-01T00:00:00Z"))
    assert (await one(world, "approval", rows["OSV-2026-8"]["approval_id"]))["state"] == "superseded"
    assert {row["state"] for row in await world.rows("finding")} == {"gone"}


@pytest.mark.capability("GOV-16", part="releases are checked again, also when an advisory is taken back or changes")
async def test_what_was_kept_is_asked_again_when_its_advisory_says_something_else(world: World) -> None:
    await release(world)
    await take_in(world, osv())
    await decide(world, (await finding(world))["approval_id"], "reject")
    assert (await take_in(world, osv()))["proposals"] == 0, "the control: the same words ask nobody again"
    assert (await finding(world))["state"] == "kept"
    found = await take_in(world, osv(modified="2026-02-01T00:00:00Z", summary="It sends them away, too."))
    assert (found["hits"], found["proposals"]) == (1, 1)
    open_ = (await finding(world))["approval_id"]
    assert "sends them away" in str((await approvals.show(world.ctx("approver"), open_))["card"])
    await take_in(world, osv(modified="2026-03-01T00:00:00Z", summary="And deletes them."))
    assert (await one(world, "approval", open_))["state"] == "superseded", "nobody agrees to words that are not read"
    now = await approvals.show(world.ctx("approver"), (await finding(world))["approval_id"])
    assert "deletes them" in str(now["card"])


@pytest.mark.capability("GOV-16", part="a hit opens a quarantine proposal, which consent makes an act")
async def test_what_is_lifted_has_its_findings_open_again(world: World) -> None:
    made = await release(world)
    await take_in(world, osv())
    await decide(world, (await finding(world))["approval_id"], "approve")
    assert (await finding(world))["state"] == "quarantined"
    await withdrawing.release(world.ctx("owner"), "lift", made, "we need it today")
    assert (await finding(world))["state"] == "open"
    again = await vulnerabilities.check_again(world.ctx("owner"), world.workspace_id)
    assert again["proposals"] == 1


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
@pytest.mark.parametrize("when", ["2199-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_nobody_can_have_changed_an_advisory_at_is_refused(when: str) -> None:
    with pytest.raises(FeedInvalid) as refused:
        advisories.read([osv(), osv("OSV-2026-8", modified=when)])
    assert refused.value.extra["field"] == "documents/1/modified"
    assert [row["id"] for row in advisories.read([osv(), osv("OSV-2026-8")])] == ["OSV-2026-7", "OSV-2026-8"]


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
def test_a_document_that_would_take_for_ever_to_compare_is_refused() -> None:
    def wide(packages: int, ranges: int, events: int, versions: int = 0) -> Row:
        one = {
            "package": {"ecosystem": "PyPI", "name": "lib"}, "versions": ["1.0"] * versions,
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1"}] * events}] * ranges,
        }  # fmt: skip
        return {**osv(), "affected": [one] * packages}

    for document in (wide(1001, 1, 1), wide(1, 51, 100), wide(51, 1, 100), wide(11, 1, 1, 5000)):
        with pytest.raises(FeedInvalid):
            advisories.read([document])
    for document in (wide(1000, 1, 1), wide(1, 50, 100), wide(10, 1, 1, 5000)):
        assert len(advisories.read([document])) == 1


@pytest.mark.capability("GOV-16", part="a release that comes after the feed is held against it")
async def test_a_release_that_goes_into_service_after_the_feed_is_checked_against_it(world: World) -> None:
    packs.subscribe(world.subscribers)
    assert (await take_in(world, osv()))["hits"] == 0
    made = await release(world, outbound_domains=["api.example.org"])
    safe = await release(world, "acme.safe", packages=("lib==2.0",), outbound_domains=["api.example.org"])

    async def carded(release_id: str) -> Row:
        row = await service.attach(world.ctx("admin"), release_id)
        return (await approvals.show(world.ctx("approver"), row["approval_id"]))["card"]  # type: ignore[no-any-return]

    platform = world.nobody()
    platform.tenant_id = world.tenant_id
    for number in (made, safe):
        async with platform.transaction():
            await platform.publish("release.released", {"release_id": number})
    row = await finding(world)
    assert (row["release_id"], row["state"], row["approval_id"]) == (made, "open", None), (
        "nobody asked: nothing is proposed"
    )
    assert "OSV-2026-7" in str((await carded(made))["vulnerabilities"])
    assert "vulnerabilities" not in await carded(safe), "the control"
    assert (await take_in(world, osv(modified="2026-02-01T00:00:00Z")))["proposals"] == 1, "the next feed proposes it"
