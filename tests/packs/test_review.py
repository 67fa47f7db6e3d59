"""The review before a release is attached: the same for every source, complete, and a look that leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.moving import attached, release, wider
from worka.packs import service as packs
from worka.packs.moving import service as moving

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


@pytest.mark.capability("GOV-4")
@pytest.mark.capability("GOV-3", part="registered packs of every ecosystem; marketplace and Forge come later")
@pytest.mark.capability("GOV-1", part="where a release was registered from; marketplace and Forge come later")
async def test_the_review_shows_what_it_is_may_reach_needs_and_waits_for(place: Packs) -> None:
    notes, git = await place.shipped("notes"), await place.shipped("git")
    seen = await moving.review(place.ctx("viewer"), place.world.workspace_id, notes["id"], "tracking")
    assert seen["release"]["pack"] == "worka.notes"
    assert {tool["name"]: tool["side_effect"] for tool in seen["tools"]} == {
        tool["name"]: tool["side_effect"] for tool in notes["tools"]
    }
    assert [item["host"] for item in seen["outbound"]] == ["tracker.worka.test"]
    (need,) = seen["connections"]
    assert (need["provider"], need["endpoint"], need["state"]) == ("tracker", "tracker.worka.test:443", "missing")
    assert (seen["risk"], seen["source"]["ecosystem"], seen["source"]["visibility"]) == ("high", "path", "private")
    assert seen["audience"]["people"] == len(await place.world.rows("membership", "principal_kind = 'person'"))
    assert (seen["update_policy"]["mode"], "by itself" in seen["update_policy"]["words"]) == ("tracking", True)
    # A viewer may not attach: that is told, as what stands in the way.
    assert (seen["approval"]["verdict"], seen["waits"][0]["kind"]) == ("deny", "policy")

    mine = await moving.review(place.ctx(), place.world.workspace_id, notes["id"])
    assert (mine["approval"]["verdict"], mine["approval"]["seats"]) == ("ask", ["approve:1"])
    assert [item["kind"] for item in mine["waits"]] == ["approval", "connection"]
    other = await moving.review(place.ctx(), place.world.workspace_id, git["id"])
    assert (other["source"]["ecosystem"], [m["name"] for m in other["mounts"]]) == ("pypi", ["repo"])
    assert set(other) == set(mine), "the same review, whatever the source"

    # What it says is what an attempt is told.
    row = await packs.attach(place.ctx(), notes["id"])
    assert row["state"] == "awaiting_approval"
    await place.approve(row["approval_id"])
    (now,) = await place.world.rows("attachment", "id = %s", row["id"])
    assert now["state"] == "awaiting_connection"
    after = await moving.review(place.ctx(), place.world.workspace_id, notes["id"])
    assert after["attached"]["attachment_id"] == row["id"]
    assert any(item["kind"] == "attachment" and item["blocks"] for item in after["waits"])


@pytest.mark.capability("GOV-4")
async def test_the_review_of_a_newer_release_shows_what_differs_from_the_one_that_is_attached(place: Packs) -> None:
    row = await attached(place)
    new = await wider(place, "1.1.0", dependencies=[{"pack": "acme.other", "tools": ["say"]}])
    seen = await moving.review(place.ctx(), place.world.workspace_id, new["id"])
    assert seen["difference"] is not None
    assert seen["difference"]["widens"]
    assert seen["attached"]["attachment_id"] == row["id"]
    (need,) = seen["dependencies"]
    assert (need["pack"], need["attachment_id"], need["lacking"]) == ("acme.other", None, ["say"])
    assert {"kind": "pack", "name": "acme.other", "blocks": False} in seen["waits"]
    await packs.revoke(place.ctx(), new["id"], "a flaw")
    late = await moving.review(place.ctx(), place.world.workspace_id, new["id"])
    assert late["waits"][0] == {
        "kind": "release", "name": "a release that can be attached: this one is revoked", "blocks": True,
    }  # fmt: skip


@pytest.mark.capability("BEY-2", part="attaching a pack, and moving one")
async def test_a_dry_run_of_attaching_and_of_moving_says_what_would_happen_and_leaves_nothing(place: Packs) -> None:
    git = await place.shipped("git")
    mounts = {"repo": str(place.repository)}
    trying = place.ctx()
    trying.undone = True
    would = await packs.attach(trying, git["id"], mounts=mounts)
    assert would["state"] == "awaiting_approval"
    assert await place.world.rows("attachment") == []
    assert await place.world.rows("approval") == []
    assert not (place.world.settings.home / "clones" / would["id"]).exists(), "nor a clone"
    real = await packs.attach(place.ctx(), git["id"], mounts=mounts)
    assert real["state"] == would["state"]

    row = await attached(place)
    await release(place, "1.0.1")
    trying = replace(place.ctx(), undone=True)
    move = await moving.update(trying, row["id"])
    assert (move["state"], move["difference"]["widens"]) == ("trying", False)
    assert await place.world.rows("attachment_move") == []
    (same,) = await place.world.rows("attachment", "id = %s", row["id"])
    assert (same["state"], same["since"]) == ("attached", row["since"])
    assert (await moving.update(place.ctx(), row["id"]))["state"] == "trying", "the control"
