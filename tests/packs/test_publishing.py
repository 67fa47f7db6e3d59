"""From a release to a publication: five records, what policy lets be published, approval, failure and retry, and crashes."""

from __future__ import annotations

import json
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import ask, carried, policy, published, released
from tests.packs.test_registration import lock, small, tree
from tests.support.processes import ran
from tests.workspaces.world import make
from worka import packs as pack_domain
from worka.kernel.db import Database
from worka.kernel.errors import Conflict, Denied
from worka.kernel.paths import Paths
from worka.kernel.settings import RegistrySettings, Settings
from worka.observability import service as observability
from worka.packs import service
from worka.packs.errors import ReleaseNotFound, ReleaseNotUsable
from worka.packs.lifecycle.errors import PackWithdrawn
from worka.packs.registry import explain, oci, store
from worka.packs.registry.errors import (
    DestinationNotFound,
    ListingNotFound,
    NotPublishable,
    PolicyInvalid,
    PublicationNotFound,
    RegisteredHere,
)
from worka.packs.registry.service import artifacts, market, policies, publishing
from worka.packs.service import withdrawing

Row = dict[str, Any]


async def neighbour(place: Packs, db: Database, home: Path) -> Packs:
    """Another tenant in the same home."""
    world = await make(db, home)
    world.settings = place.world.settings
    pack_domain.subscribe(world.subscribers)
    return Packs(world, place.repository)


@pytest.mark.capability("REG-1", "REG-2", "REG-3")
async def test_source_artifact_release_listing_and_attachment_are_records_of_their_own(place: Packs) -> None:
    source = {"repository": "https://git.example.org/acme/small", "revision": "a" * 40}
    drafted = await service.register(
        place.ctx(), small(source=source), lock_text=lock(), files={"server.py": _coded(tree()["server.py"])}
    )
    world = place.world
    (origin,) = await world.rows("pack_source", "release_id = %s", drafted["id"])
    assert (origin["origin"], origin["repository"], origin["revision"]) == ("private", *source.values())
    assert await world.rows("artifact", "release_id = %s", drafted["id"]) == []

    built = await service.run_registration(place.platform(), drafted["id"], stages=1)
    assert built["state"] == "built"
    with pytest.raises(ReleaseNotUsable):
        await service.attach(place.ctx(), drafted["id"])
    with pytest.raises(ReleaseNotUsable):
        await ask(place, built)

    release = await service.run_registration(place.platform(), drafted["id"])
    (artifact,) = await world.rows("artifact", "release_id = %s", release["id"])
    assert artifact["source_id"] == origin["id"]
    assert oci.load(Paths(world.settings.home).objects, artifact["digest"]).digest == artifact["digest"]
    assert await world.rows("listing") == []
    assert await world.rows("attachment") == []

    found = await market.answers(place.ctx("viewer"), release["id"])
    assert found["artifact"]["digest"] == artifact["digest"]
    assert (found["version"], found["images"], found["visibility"], found["listing"]) == (
        "1.0.0",
        [],
        "private",
        "unlisted",
    )
    assert (found["source"]["repository"], found["source"]["revision"]) == tuple(source.values())
    assert found["installable"] == {"release_id": release["id"], "version": "1.0.0"}

    row = await published(place, release)
    assert (row["state"], row["reason"]) == ("published", "publication_done")
    assert (row["location"], row["error"]) == (f"oci/{artifact['digest']}", None)
    (listing,) = await world.rows("listing")
    assert (listing["release_id"], listing["digest"], listing["visibility"]) == (
        release["id"],
        artifact["digest"],
        "private",
    )
    attached = await service.attach(place.ctx(), release["id"])
    assert attached["state"] == "attached"
    found = await market.answers(place.ctx("viewer"), release["id"])
    assert [image["location"] for image in found["images"]] == [row["location"]]
    kinds = [event["type"] for event in await world.rows("event", "type like 'registry.%%'")]
    assert {"registry.artifact.kept", "registry.publication.moved", "registry.listing.moved"} <= set(kinds)


def _coded(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


@pytest.mark.capability("REG-5", "REG-6", "REG-7")
async def test_what_policy_does_not_let_be_published_is_refused_and_what_it_lets_goes_on(place: Packs) -> None:
    release = await released(place)
    with pytest.raises(NotPublishable) as wide:
        await ask(place, release, visibility="public")
    assert wide.value.problem_code == "visibility_not_allowed"
    assert await place.world.rows("publication") == []

    from worka.packs.registry.service import destinations

    await destinations.create(
        place.ctx(), place.world.workspace_id, name="outside", host="registry.example.org", port=443,
        repository="team/packs", username="", password="",
    )  # fmt: skip
    with pytest.raises(NotPublishable) as away:
        await ask(place, release, "outside")
    assert away.value.problem_code == "destination_not_allowed"
    with pytest.raises(DestinationNotFound):
        await ask(place, release, "nowhere")

    await policy(place, most="public", image_destinations=["local", "registry.example.org:443/*"], visibility="shared")
    assert (await ask(place, release, visibility="public"))["state"] == "awaiting_approval"
    assert (await ask(place, release, "outside"))["visibility"] == "shared", "policy's default"
    await policy(place, source_destinations=["https://git.example.org/*"])
    with pytest.raises(NotPublishable) as nowhere:
        await ask(place, release)
    assert nowhere.value.problem_code == "source_not_allowed"

    # What the deployment says, no tenant loosens.
    world = place.world
    await policy(place, most="public")
    world.settings = Settings(home=world.settings.home, registry=RegistrySettings(trial_tenants=(world.tenant_id,)))
    with pytest.raises(NotPublishable) as trial:
        await ask(place, release, visibility="public")
    assert trial.value.problem_code == "trial_not_public"
    world.settings = Settings(home=world.settings.home, registry=RegistrySettings(most="private"))
    with pytest.raises(NotPublishable) as floor:
        await ask(place, release, visibility="shared")
    assert floor.value.problem_code == "visibility_not_allowed"
    assert (await ask(place, release, visibility="private"))["state"] == "awaiting_approval"


@pytest.mark.capability("REG-5", part="who may set it, and what is refused as no policy")
async def test_only_an_owner_sets_the_policy_and_each_version_stands(place: Packs) -> None:
    here = place.world.workspace_id
    for who in ("admin", "member", "viewer", "approver"):
        with pytest.raises(Denied):
            await policies.set_policy(place.ctx(who), here, scope="tenant", settings={"most": "public"}, note="")
    for wrong in (
        {"image_destinations": ["*"]},
        {"approvers": ["everybody"]},
        {"source_destinations": ["https://*.x/y"]},
    ):
        with pytest.raises(PolicyInvalid):
            await policies.set_policy(place.ctx(), here, scope="tenant", settings=wrong, note="")
    await policy(place, most="public")
    await policies.set_policy(place.ctx(), here, scope="workspace", settings={"most": "private"}, note="narrower here")
    shown = await policies.show(place.ctx("viewer"), here)
    assert [(layer["place"], layer["version"]) for layer in shown["layers"]] == [
        ("deployment", None), ("tenant", 1), ("workspace", 1),
    ]  # fmt: skip
    assert shown["effective"]["most"] == "private"
    await policies.set_policy(place.ctx(), here, scope="workspace", settings={}, note="says nothing any more")
    assert (await policies.show(place.ctx("viewer"), here))["effective"]["most"] == "public"
    assert len(await place.world.rows("registry_policy")) == 3


@pytest.mark.capability("REG-5", part="the approvers that policy names are asked")
@pytest.mark.capability("APR-1", part="the publication of a release, with the approvers that policy names")
async def test_a_publication_waits_for_its_approvers_and_a_no_ends_it(place: Packs) -> None:
    release = await released(place)
    row = await ask(place, release, who="admin")
    assert row["state"] == "awaiting_approval"
    await publishing.run_publication(place.platform(), row["id"])
    assert (await publishing.get(place.ctx(), row["id"]))["state"] == "awaiting_approval", "nothing goes before the yes"
    with pytest.raises(Conflict, match="waits for its approval"):
        await publishing.retry(place.ctx(), row["id"])
    told = await explain.explain_publication(place.ctx("viewer"), row["id"])
    assert told.waiting_on[0].ref == row["approval_id"]
    with pytest.raises(Denied):
        await ask(place, release, who="member")
    await place.approve(row["approval_id"], "reject")
    ended = await publishing.get(place.ctx(), row["id"])
    assert (ended["state"], ended["reason"]) == ("refused", "publication_rejected")
    with pytest.raises(Conflict):
        await publishing.retry(place.ctx(), row["id"])

    await policy(place, approvers=["approve:2"])
    asked = await ask(place, release)
    (approval,) = await place.world.rows("approval", "id = %s", asked["approval_id"])
    assert "approve:2" in approval["rules"]
    await place.approve(asked["approval_id"])
    assert (await publishing.get(place.ctx(), asked["id"]))["state"] == "awaiting_approval", "one of two"


@pytest.mark.capability("REG-6", part="policy is asked again when it was approved, and when it is carried out")
async def test_a_policy_that_was_tightened_meanwhile_counts(place: Packs) -> None:
    release = await released(place)
    row, other = await ask(place, release, visibility="shared"), await ask(place, release)
    await place.approve(other["approval_id"])
    await policy(place, most="private", image_destinations=["elsewhere.example:443/x"])
    await place.approve(row["approval_id"])
    assert (await publishing.get(place.ctx(), row["id"]))["reason"] == "publication_superseded"
    failed = await carried(place, other)
    assert (failed["state"], failed["reason"]) == ("failed", "publication_not_allowed")
    with pytest.raises(NotPublishable):
        await publishing.retry(place.ctx(), other["id"])
    await policy(place)
    again = await publishing.retry(place.ctx(), other["id"])
    assert (again["state"], again["attempt"]) == ("queued", 2)
    assert (await carried(place, again))["state"] == "published"


@pytest.mark.capability("REG-10")
@pytest.mark.capability(
    "LIF-1", part="source, publication, release and attachment fail and are tried again by themselves"
)
async def test_a_publication_that_failed_touches_neither_release_nor_attachment_and_is_tried_again(
    place: Packs,
) -> None:
    release = await released(place)
    attached = await service.attach(place.ctx(), release["id"])
    row = await ask(place, release)
    await place.approve(row["approval_id"])
    (artifact,) = await place.world.rows("artifact")
    layer = Paths(place.world.settings.home).objects / "oci/blobs/sha256" / artifact["layers"][-1]["digest"][7:]
    kept = layer.read_bytes()
    layer.write_bytes(kept[:-1] + b"!")
    failed = await carried(place, row)
    assert (failed["state"], failed["reason"]) == ("failed", "artifact_damaged")
    told = await explain.explain_publication(place.ctx("viewer"), row["id"])
    assert "is" in told.headline
    assert told.next[0].command == f"worka registry retry {row['id']}"
    waiting = await observability.attention(place.ctx("viewer"))
    assert [item["ref"] for item in waiting["items"] if item["kind"] == "publication"] == [row["id"]]
    (still,) = await place.world.rows("release", "id = %s", release["id"])
    (serving,) = await place.world.rows("attachment", "id = %s", attached["id"])
    assert (still["state"], serving["state"]) == ("released", "attached")
    layer.write_bytes(kept)
    assert (await carried(place, await publishing.retry(place.ctx(), row["id"])))["state"] == "published"
    # And the other way about: an attachment that fails leaves the publication alone.
    await service.detach(place.ctx(), attached["id"], "test")
    assert (await publishing.get(place.ctx(), row["id"]))["state"] == "published"


@pytest.mark.capability("GOV-2", "REG-8")
async def test_who_sees_a_listing_is_what_its_visibility_says(place: Packs, db: Database, home: Path) -> None:
    other, third = await neighbour(place, db, home), await neighbour(place, db, home)
    release = await released(place, dependencies=[{"pack": "acme.base", "tools": ["x"]}])
    await policy(place, most="public")

    async def seen(by: Packs) -> list[str]:
        rows, _ = await market.search(by.ctx("viewer"), by.world.workspace_id, "small", None, 200)
        return [row["visibility"] for row in rows if row["release_id"] == release["id"]]

    assert (await seen(place), await seen(other)) == (["private"], [])
    await published(place, release, visibility="private")
    assert await seen(other) == []
    await published(place, release, visibility="shared", shared_with=[other.world.tenant_id])
    assert (await seen(other), await seen(third)) == (["shared"], [])
    await published(place, release, visibility="public")
    assert (await seen(other), await seen(third)) == (["public"], ["public"])
    shown = await market.listing(third.ctx("viewer"), third.world.workspace_id, release["id"])
    assert (shown["purpose"], shown["publisher"], shown["dependencies"]) == (
        "Says what it is given.",
        "acme",
        ["acme.base"],
    )
    assert (shown["installable"], shown["own"], shown["trust"]["state"]) == (True, False, "unsigned")
    assert [tool["name"] for tool in shown["tools"]] == ["say"]

    with pytest.raises(Denied):
        await publishing.withdraw(place.ctx("member"), release["id"], "no")
    await publishing.withdraw(place.ctx(), release["id"], "a better one is there")
    assert (await seen(place), await seen(other)) == (["public"], [])
    with pytest.raises(ListingNotFound):
        await market.listing(third.ctx("viewer"), third.world.workspace_id, release["id"])
    with pytest.raises(ListingNotFound):
        await market.install(third.ctx(), third.world.workspace_id, release["id"])


@pytest.mark.capability("GOV-1", part="private, and from the marketplace, shared or public")
@pytest.mark.capability("GOV-3", part="what was installed is registered, built and probed like every other release")
async def test_what_is_installed_from_the_marketplace_goes_the_way_of_every_release(
    place: Packs, db: Database, home: Path
) -> None:
    other = await neighbour(place, db, home)
    release = await released(place)
    await policy(place, most="public")
    await published(place, release, visibility="public")
    with pytest.raises(RegisteredHere):
        await market.install(place.ctx(), place.world.workspace_id, release["id"])
    with pytest.raises(Denied):
        await market.install(other.ctx("viewer"), other.world.workspace_id, release["id"])
    drafted = await market.install(other.ctx(), other.world.workspace_id, release["id"])
    assert (drafted["state"], drafted["manifest"]) == ("draft", release["manifest"])
    (source,) = await other.world.rows("pack_source", "release_id = %s", drafted["id"])
    assert (source["origin"], source["taken_from"]) == ("marketplace_public", f"marketplace {release['id']}")
    there = await service.run_registration(other.platform(), drafted["id"])
    assert there["state"] == "released", there["error"]
    assert there["digest"] == release["digest"]
    (mine,) = await place.world.rows("artifact")
    (theirs,) = await other.world.rows("artifact")
    assert mine["digest"] == theirs["digest"]
    moved = [event["after"]["state"] for event in await other.world.events("pack.release.moved")]
    assert moved == ["built", "published", "registered", "probed", "released"]


@pytest.mark.capability("REG-4")
async def test_what_there_is_already_is_looked_up_before_anything_is_built(place: Packs) -> None:
    # What other tests made public is there too: these words are this test's own.
    word = f"quokka{secrets.token_hex(4)}"
    first = await released(place, name=word, display_name="Small", description=f"Counts {word} burrows at dusk.")
    twin = small(name="echo", display_name="Echo", description=f"Counts the burrows of {word} at dusk.")
    drafted = await service.register(
        place.ctx(), twin, lock_text=lock(), files={"server.py": _coded(tree()["server.py"])}
    )
    assert drafted["state"] == "draft"
    found = (await market.answers(place.ctx(), drafted["id"]))["source"]["similar"]
    assert (found[0]["pack"], found[0]["release_id"]) == (f"acme.{word}", first["id"])
    rows, _ = await market.search(place.ctx("viewer"), place.world.workspace_id, f"{word} burrows", None, 1)
    assert [row["release_id"] for row in rows] == [first["id"]]
    assert (await market.search(place.ctx("viewer"), place.world.workspace_id, "glaciers", None, 10))[0] == []
    strange = small(name="weather", display_name="Weather", description="Forecasts of glaciers.", tools="discover")
    other = await service.register(
        place.ctx(), strange, lock_text=lock(), files={"server.py": _coded(tree()["server.py"])}
    )
    assert (await market.answers(place.ctx(), other["id"]))["source"]["similar"] == []


@pytest.mark.capability("REG-1", part="another tenant reaches none of the records")
async def test_another_tenant_reaches_no_record_of_the_registry(place: Packs, db: Database, home: Path) -> None:
    other = await neighbour(place, db, home)
    release = await released(place)
    row = await published(place, release)
    for attempt in (
        market.answers(other.ctx(), release["id"]),
        ask(other, release),
        publishing.withdraw(other.ctx(), release["id"], "x"),
    ):
        with pytest.raises(ReleaseNotFound):
            await attempt
    for by_id in (publishing.get, publishing.retry):
        with pytest.raises(PublicationNotFound):
            await by_id(other.ctx(), row["id"])
    async with other.ctx().transaction() as conn:
        assert await store.publication(conn, row["id"]) is None
        assert await store.artifact_of(conn, release["id"]) is None
        assert await store.listing_of(conn, release["id"]) is None
    with pytest.raises(Exception, match="another tenant"):
        async with other.ctx().transaction() as conn:
            await store.market(conn, place.world.tenant_id, [release["id"]])
    with pytest.raises(Exception, match="another tenant"):
        async with other.ctx().transaction() as conn:
            await store.market_search(conn, place.world.tenant_id, [])
    async with place.ctx().transaction() as conn:
        assert await store.publication(conn, row["id"]) is not None
        mine = [
            row["release_id"]
            for row in await store.market_search(conn, place.world.tenant_id, [])
            if row["tenant_id"] == place.world.tenant_id
        ]
        assert mine == [release["id"]]


CRASHED = """
import asyncio, json, sys
from pathlib import Path
from worka.kernel.settings import Settings
from worka.packs.registry.service import publishing
from worka.workers.wiring import Runtime

told = json.load(sys.stdin)

async def main():
    runtime = Runtime(Settings(home=Path(told["home"]), database={"url": told["url"]}), "worker")
    await runtime.db.open()
    await publishing.run_publication(runtime.platform_context(told["tenant"]), told["publication"])
    await runtime.db.close()

asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    "failpoint", [f"registry.publication.{point}" for point in ("before_commit", "after_commit", "after_push")]
)
@pytest.mark.capability(
    "LIF-1", part="source, publication, release and attachment fail and are tried again by themselves"
)
async def test_a_publication_goes_on_after_its_worker_was_killed_at_any_stage(
    place: Packs, cluster: Any, failpoint: str
) -> None:
    release = await released(place)
    row = await ask(place, release)
    await place.approve(row["approval_id"])
    told = {
        "home": str(place.world.settings.home), "url": cluster.urls.app, "tenant": place.world.tenant_id,
        "publication": row["id"],
    }  # fmt: skip
    assert await ran(CRASHED, told, failpoint) == -signal.SIGKILL
    between = await publishing.get(place.ctx(), row["id"])
    assert between["state"] == ("queued" if failpoint.endswith("before_commit") else "pushing")
    assert await place.world.rows("listing") == []
    assert await ran(CRASHED, told) == 0
    assert (await publishing.get(place.ctx(), row["id"]))["state"] == "published"
    assert len(await place.world.rows("listing")) == 1
    assert await ran(CRASHED, told) == 0, "and once more changes nothing"
    moves = [event["after"]["state"] for event in await place.world.events("registry.publication.moved")]
    assert moves == ["awaiting_approval", "queued", "pushing", "published"]


@pytest.mark.capability("LIF-2", "REG-11")
async def test_a_version_keeps_its_artifact(place: Packs) -> None:
    from worka.packs.errors import VersionTaken

    release = await released(place)
    (before,) = await place.world.rows("artifact")
    with pytest.raises(VersionTaken):
        await place.register(small(description="Another one."), lock(), tree())
    same = await place.register(small(), lock(), tree())
    assert same["id"] == release["id"]
    assert await place.world.rows("artifact") == [before]
    assert (await artifacts.keep(place.ctx(), same))["id"] == before["id"]
    kept = oci.load(Paths(place.world.settings.home).objects, before["digest"])
    assert (before["layers"], before["size"]) == (kept.layers, kept.size)


@pytest.mark.capability("GOV-10", part="the marketplace offers nothing of a pack that is taken away as a whole")
@pytest.mark.parametrize("act", ["revoke", "quarantine"])
async def test_a_later_version_of_a_pack_that_was_taken_away_is_not_called_installable(place: Packs, act: str) -> None:
    first = await released(place)
    other = await released(place, name="beside")

    async def told(release: Row) -> tuple[bool, str]:
        found = await market.listing(place.ctx("viewer"), place.world.workspace_id, release["id"])
        rows, _ = await market.search(place.ctx("viewer"), place.world.workspace_id, "", None, 50)
        (row,) = [row for row in rows if row["release_id"] == release["id"]]
        assert (row["installable"], row["because"]) == (found["installable"], found["because"])
        return found["installable"], found["because"]

    assert (await told(first))[0]
    await withdrawing.pack(place.ctx(), act, "acme.small", "stolen key")
    later = await released(place, version="2.0.0")
    installable, because = await told(later)
    assert installable is False
    assert "All of acme.small is" in because
    with pytest.raises(PackWithdrawn):
        await service.attach(place.ctx(), later["id"])
    assert (await market.answers(place.ctx(), later["id"]))["installable"] is None
    assert (await told(other))[0], "the control: another pack"
    if act == "quarantine":
        await withdrawing.pack(place.ctx(), "lift", "acme.small", "a new key")
        assert (await told(later))[0]
        assert (await market.answers(place.ctx(), later["id"]))["installable"]["release_id"] == later["id"]


@pytest.mark.capability("AUD-1", part="publications and attachments, with who asked, who agreed, and when")
async def test_the_ledger_says_of_a_publication_and_an_attachment_who_asked_who_agreed_and_when(place: Packs) -> None:
    release = await released(place, tools=[{"name": "say", "side_effect": "write"}])
    row = await published(place, release)
    attachment = await service.attach(place.ctx("admin"), release["id"])
    await place.approve(attachment["approval_id"])
    entries = [json.loads(bytes(entry["body"])) for entry in await place.world.rows("audit_entry")]

    def told(subject: str) -> list[Row]:
        return [entry for entry in entries if entry["subject"]["id"] == subject]

    for subject, asker, approval in (
        (row["id"], place.world.ids["owner"], row["approval_id"]),
        (attachment["id"], place.world.ids["admin"], attachment["approval_id"]),
    ):
        found = told(subject)
        assert asker in {entry["actor"]["id"] for entry in found}
        assert {entry["workspace"] for entry in found} == {place.world.workspace_id}
        assert all(entry["at"].endswith("Z") for entry in found)
        agreed = told(approval)
        assert subject in json.dumps(agreed), "what was agreed to"
        assert place.world.ids["approver"] in {entry["actor"]["id"] for entry in agreed}
