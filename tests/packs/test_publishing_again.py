"""What was agreed to, and is carried out later: policy, approvers, the listing and the release count as they are by then."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.packs.conftest import Packs
from tests.packs.registered import release as row_of_release
from tests.packs.registry_support import ask, carried, policy, published, released
from tests.packs.test_publishing import neighbour
from worka.governance import rules as governing
from worka.governance import service as governance
from worka.kernel.db import Database
from worka.kernel.errors import Conflict
from worka.packs import service
from worka.packs.lifecycle.errors import PackWithdrawn
from worka.packs.registry import explain, oci, store
from worka.packs.registry.errors import NotPublishable
from worka.packs.registry.service import market, publishing, vouching
from worka.packs.registry.service.publishing import carrying
from worka.packs.service import withdrawing

Row = dict[str, Any]


@pytest.mark.capability("REG-5", part="approvers that policy names later are asked too, before anything is carried out")
async def test_consent_under_fewer_approvers_than_policy_names_by_now_carries_nothing(place: Packs) -> None:
    release = await released(place)
    waiting, agreed = await ask(place, release, visibility="shared"), await ask(place, release)
    await place.approve(agreed["approval_id"])
    await policy(place, approvers=["approve:2"])
    await place.approve(waiting["approval_id"])
    assert (await publishing.get(place.ctx(), waiting["id"]))["reason"] == "publication_superseded"
    failed = await carried(place, agreed)
    assert (failed["state"], failed["reason"]) == ("failed", "publication_not_allowed")
    with pytest.raises(NotPublishable) as again:
        await publishing.retry(place.ctx(), agreed["id"])
    assert again.value.problem_code == "approval_missing"
    assert await place.world.rows("listing") == []
    # Those who agreed are whom policy asks once more: their consent counts.
    await policy(place)
    assert (await carried(place, await publishing.retry(place.ctx(), agreed["id"])))["state"] == "published"


@pytest.mark.capability("REG-6", part="a publication that needed no approval is decided again as who asked for it")
async def test_a_publication_that_needed_no_approval_is_decided_again_as_who_asked_for_it(
    place: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A deployment whose shipped set does not ask about publications yet.
    shipped = governing.floor
    monkeypatch.setattr(governing, "floor", lambda number=1: shipped(number))
    release = await released(place)
    ending = carrying.__dict__["_end"]

    async def role(of: str) -> None:
        async with place.world.db.transaction(place.world.tenant_id) as conn:
            await conn.execute(
                "update worka.membership set role = %s where principal_id = %s", (of, place.world.ids["admin"])
            )

    async def asked() -> Row:
        row = await ask(place, release, who="admin")
        assert (row["state"], row["approval_id"]) == ("queued", None)
        return row

    async def refused(row: Row, why: str) -> None:
        failed = await publishing.get(place.ctx(), row["id"])
        assert (failed["state"], failed["reason"]) == ("failed", "publication_not_allowed")
        assert why in failed["error"]["message"]
        assert await place.world.rows("listing") == []

    # The role is lost before it is begun, and between its beginning and the commit that lists it.
    row = await asked()
    await role("viewer")
    await carried(place, row)
    await refused(row, "may not publish it any more")
    with pytest.raises(NotPublishable):
        await publishing.retry(place.ctx("owner"), row["id"])
    await role("admin")
    row = await asked()

    async def end(*given: Any) -> None:
        await role("member")
        await ending(*given)

    with patch.object(carrying, "_end", end):
        await carried(place, row)
    await refused(row, "may not publish it any more")
    await role("admin")
    # A kill switch, and policy that asks by now.
    row = await asked()
    switch = await governance.kill(
        place.ctx(), place.world.workspace_id, "workspace", place.world.workspace_id, "incident", False
    )
    await carried(place, row)
    await refused(row, "may not publish it any more")
    await governance.lift(place.ctx(), place.world.workspace_id, switch["id"], "all", [], "over", True)
    row = await asked()
    await policy(place, approvers=["approve:1"])
    await carried(place, row)
    await refused(row, "asks for an approval by now")
    await policy(place)
    row = await asked()
    monkeypatch.setattr(governing, "floor", shipped)
    await carried(place, row)
    await refused(row, "asks for an approval by now")
    # One that is older than the record of who asked, and needed nobody's consent: nobody stands behind it.
    monkeypatch.setattr(governing, "floor", lambda number=1: shipped(number))
    row = await asked()
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute("update worka.publication set created_kind = null where id = %s", (row["id"],))
    await carried(place, row)
    await refused(row, "Nobody knows any more who asked")
    # The control: nothing changed meanwhile.
    assert (await carried(place, await asked()))["state"] == "published"
    assert len(await place.world.rows("listing")) == 1


@pytest.mark.capability("REG-6", part="what was withdrawn is listed again by nothing that was asked for before")
async def test_a_listing_that_was_withdrawn_stays_so_whatever_was_asked_for_before(place: Packs) -> None:
    release = await released(place)
    await published(place, release)
    before = await ask(place, release)
    await place.approve(before["approval_id"])
    await publishing.withdraw(place.ctx(), release["id"], "a flaw")
    failed = await carried(place, before)
    assert (failed["state"], failed["reason"]) == ("failed", "publication_withdrawn")
    with pytest.raises(NotPublishable) as again:
        await publishing.retry(place.ctx(), before["id"])
    assert again.value.problem_code == "publication_withdrawn"
    assert [row["state"] for row in await place.world.rows("listing")] == ["withdrawn"]
    assert (await published(place, release))["state"] == "published", "asked for since then"
    assert [row["state"] for row in await place.world.rows("listing")] == ["listed"]


@pytest.mark.capability("REG-6", part="policy, release and listing are asked again in the commit that lists it")
async def test_what_changed_while_it_was_carried_counts_in_the_commit_that_lists_it(place: Packs) -> None:
    release = await released(place)
    ending = carrying.__dict__["_end"]

    async def meanwhile(change: Callable[[], Awaitable[Any]]) -> Row:
        row = await ask(place, release)
        await place.approve(row["approval_id"])

        async def end(*given: Any) -> None:
            assert (await publishing.get(place.ctx(), row["id"]))["state"] == "pushing"
            await change()
            await ending(*given)

        with patch.object(carrying, "_end", end):
            return await carried(place, row)

    async def nothing() -> None:
        pass

    tightened = await meanwhile(lambda: policy(place, image_destinations=["elsewhere.example:443/x"]))
    assert (tightened["state"], tightened["reason"]) == ("failed", "publication_not_allowed")
    await policy(place)
    assert await place.world.rows("listing") == []
    assert (await meanwhile(nothing))["state"] == "published"
    withdrawn = await meanwhile(lambda: publishing.withdraw(place.ctx(), release["id"], "a flaw"))
    assert (withdrawn["state"], withdrawn["reason"]) == ("failed", "publication_withdrawn")
    revoked = await meanwhile(lambda: service.revoke(place.ctx(), release["id"], "a flaw"))
    assert (revoked["state"], revoked["reason"]) == ("failed", "release_not_publishable")
    assert [row["state"] for row in await place.world.rows("listing")] == ["withdrawn"]


@pytest.mark.capability("REG-10", part="a publication that nobody carries any more can be taken up again")
async def test_a_publication_that_was_lost_on_the_way_is_taken_up_again_and_one_under_way_is_not(place: Packs) -> None:
    release = await released(place)
    row = await ask(place, release)
    await place.approve(row["approval_id"])
    with patch.object(oci, "load", side_effect=OSError("no such disk")):
        failed = await carried(place, row)
    assert (failed["state"], failed["reason"]) == ("failed", "publication_lost")
    await publishing.retry(place.ctx(), row["id"])
    with patch.object(oci, "load", side_effect=KeyboardInterrupt), contextlib.suppress(KeyboardInterrupt):
        await carried(place, row)
    assert (await publishing.get(place.ctx(), row["id"]))["state"] == "pushing"
    with pytest.raises(Conflict):
        await publishing.retry(place.ctx(), row["id"])
    assert (await explain.explain_publication(place.ctx("owner"), row["id"])).next == []
    with patch.object(carrying, "LOST", timedelta(0)):
        told = await explain.explain_publication(place.ctx("owner"), row["id"])
        assert [step.command for step in told.next] == [f"worka registry retry {row['id']}"]
        again = await publishing.retry(place.ctx(), row["id"])
    assert (again["state"], again["attempt"]) == ("queued", 3)
    assert (await carried(place, again))["state"] == "published"


@pytest.mark.capability(
    "REG-8", part="a search reads a bounded part of the market: words, the newest version, its own first"
)
async def test_a_search_reads_what_has_its_words_of_each_pack_the_newest_and_its_own_first(
    place: Packs, db: Database, home: Path
) -> None:
    other, word = await neighbour(place, db, home), f"badger{secrets.token_hex(4)}"
    ours, newer = await released(place, description=word), await released(place, description=word, version="1.1.0")
    theirs = await released(other, description=word)
    await policy(other, most="public")
    await published(other, theirs, visibility="public")
    rows, _ = await market.search(place.ctx("viewer"), place.world.workspace_id, word, None, 10)
    assert {row["release_id"] for row in rows} == {newer["id"], theirs["id"]}
    assert (await market.listing(place.ctx("viewer"), place.world.workspace_id, ours["id"]))["version"] == "1.0.0"
    async with place.ctx().transaction() as conn:
        (first,) = await store.market_search(conn, place.world.tenant_id, [word], 1)
        assert (first["release_id"], set(first["manifest"])) == (newer["id"], {"display_name", "description"})
        assert await store.market_search(conn, place.world.tenant_id, [f"{word}x"]) == []


@pytest.mark.capability("GOV-11", part="what came of a pack after it was taken away is not published or signed")
async def test_a_pack_that_was_taken_away_is_not_published_or_signed_in_a_version_that_came_later(place: Packs) -> None:
    await row_of_release(place.world, "acme.small", "0.9.0")
    await withdrawing.pack(place.ctx(), "quarantine", "acme.small", "a stolen key")
    later = await released(place)
    for refused in (lambda: ask(place, later), lambda: vouching.review(place.ctx(), later["id"], "looks well")):
        with pytest.raises(PackWithdrawn) as said:
            await refused()
        assert "a stolen key" in said.value.detail
    assert await place.world.rows("publication") == await place.world.rows("release_review") == []
    await withdrawing.pack(place.ctx(), "lift", "acme.small", "another key")
    await vouching.review(place.ctx(), later["id"], "looks well")
    assert (await published(place, later))["state"] == "published"


@pytest.mark.capability("REG-8", part="who may have a release is what was asked for last, whatever is taken up again")
async def test_what_is_taken_up_again_does_not_undo_what_was_asked_for_since(place: Packs) -> None:
    release = await released(place)
    wide, same = await ask(place, release, visibility="shared", shared_with=["ten_x"]), await ask(place, release)
    for row in (wide, same):
        await place.approve(row["approval_id"])
    with patch.object(oci, "load", side_effect=OSError("no such disk")):
        assert (await carried(place, wide))["state"] == "failed"
    await published(place, release)
    with pytest.raises(NotPublishable) as undone:
        await publishing.retry(place.ctx(), wide["id"])
    assert undone.value.problem_code == "publication_superseded"
    (listing,) = await place.world.rows("listing")
    assert (listing["visibility"], listing["shared_with"]) == ("private", [])
    # The controls: what says the same, to whatever place, and what is asked for again.
    assert (await carried(place, same))["state"] == "published"
    again = await published(place, release, visibility="shared", shared_with=["ten_x"])
    assert (again["state"], again["error"]) == ("published", None)
    assert [row["visibility"] for row in await place.world.rows("listing")] == ["shared"]
