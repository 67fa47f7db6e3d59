"""Who vouches for a release: the publisher's key in the treasury, the operator's trust root, and what may not be attached
without; then the reports by which publications are reviewed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import ask, policy, public_key, published, released, trust
from tests.packs.test_registration import SERVER, lock, small, tree
from tests.packs.test_registry_rules import envelope, key, root
from worka.governance import service as governance
from worka.kernel.context import Context
from worka.kernel.errors import Denied, Problem
from worka.packs import service
from worka.packs.errors import ReleaseNotFound
from worka.packs.moving import service as moving
from worka.packs.registry import dsse, store
from worka.packs.registry.errors import (
    EnvelopeInvalid,
    KeyThere,
    PublisherKeyNotFound,
    RootInvalid,
    SignatureNotTrusted,
)
from worka.packs.registry.service import publishing, reports, vouching
from worka.treasury import service as treasury
from worka.treasury.errors import SecretRevoked

Row = dict[str, Any]


async def operator(place: Packs) -> Context:
    """The deployment's operator."""
    if "operator" not in place.world.ids:
        await place.world.person("operator", operator=True)
    ctx = place.world.ctx("operator")
    ctx.tenant_id = ctx.workspace_id = None
    return ctx


@pytest.mark.capability("LIF-7")
async def test_an_untrusted_release_cannot_be_attached_where_policy_forbids_it_and_a_trusted_one_can(
    place: Packs,
) -> None:
    release = await released(place)
    await policy(place, require_signature=True)

    async def refused(reason: str) -> None:
        with pytest.raises(SignatureNotTrusted) as told:
            await service.attach(place.ctx(), release["id"])
        assert told.value.extra["reason"] == reason
        assert await place.world.rows("attachment", "state <> 'detached'") == []

    await refused("signature_missing")
    with pytest.raises(PublisherKeyNotFound):
        await vouching.sign(place.ctx(), release["id"])
    ours = await public_key(place)
    with pytest.raises(KeyThere):
        await public_key(place)
    for who in ("member", "viewer"):
        with pytest.raises(Denied):
            await vouching.sign(place.ctx(who), release["id"])
    await trust(place, await operator(place), rival=([ours], 1))
    signed = await vouching.sign(place.ctx(), release["id"])
    assert signed["trust"]["reason"] == "publisher_not_trusted"
    await refused("publisher_not_trusted")

    await trust(place, await operator(place), acme=([ours, key()], 2))
    await refused("signature_below_threshold")
    await trust(place, await operator(place), acme=([ours], 1))
    assert (await vouching.of_release(place.ctx("viewer"), release["id"]))["trust"]["state"] == "trusted"
    attached = await service.attach(place.ctx(), release["id"])
    assert attached["state"] == "attached"

    # Rotated away: the key vouches for nothing any more, from the very next attachment on.
    await service.detach(place.ctx(), attached["id"], "test")
    await trust(place, await operator(place), acme=([key()], 1))
    await refused("signature_invalid")
    await policy(place, require_signature=False)
    assert (await service.attach(place.ctx(), release["id"]))["state"] == "attached"


@pytest.mark.capability(
    "LIF-7", part="a release is signed with the publisher's key, and policy can demand that it is trusted"
)
async def test_an_attachment_that_waits_for_approval_is_checked_again_when_it_is_given(place: Packs) -> None:
    release = await released(place, outbound_domains=["api.example.org"])
    ours = await public_key(place)
    await vouching.sign(place.ctx(), release["id"])
    await policy(place, require_signature=True)
    await trust(place, await operator(place), acme=([ours], 1))
    one = await service.attach(place.ctx(), release["id"])
    assert one["state"] == "awaiting_approval"
    await place.approve(one["approval_id"])
    (row,) = await place.world.rows("attachment", "id = %s", one["id"])
    assert row["state"] == "attached"
    await service.detach(place.ctx(), one["id"], "test")
    two = await service.attach(place.ctx(), release["id"])
    await trust(place, await operator(place), acme=([key()], 1))
    await place.approve(two["approval_id"])
    (row,) = await place.world.rows("attachment", "id = %s", two["id"])
    assert (row["state"], row["reason"]) == ("detached", "attachment_superseded")


@pytest.mark.capability(
    "LIF-7", part="a release is signed with the publisher's key, and policy can demand that it is trusted"
)
async def test_an_attachment_that_waits_for_a_pack_is_checked_again_when_that_pack_serves(place: Packs) -> None:
    found = [{"name": "find", "description": "Says what it is given.", "side_effect": "read_only"}]
    needed = await place.register(
        small(publisher="umbra", name="maps", tools=found), lock(), tree(SERVER.replace("def say", "def find"))
    )
    assert needed["state"] == "released", needed["error"]
    release = await released(place, dependencies=[{"pack": "umbra.maps", "tools": ["find"]}])
    ours, theirs = await public_key(place), await public_key(place, "umbra")
    for one in (needed, release):
        await vouching.sign(place.ctx(), one["id"])
    await policy(place, require_signature=True)
    await trust(place, await operator(place), acme=([ours], 1), umbra=([theirs], 1))
    waiting = await service.attach(place.ctx(), release["id"])
    assert waiting["state"] == "awaiting_dependency"

    await trust(place, await operator(place), acme=([key()], 1), umbra=([theirs], 1))
    there = await service.attach(place.ctx(), needed["id"])
    assert there["state"] == "attached"
    (row,) = await place.world.rows("attachment", "id = %s", waiting["id"])
    assert row["state"] == "awaiting_dependency", "its key is trusted no more"

    await service.detach(place.ctx(), there["id"], "test")
    await trust(place, await operator(place), acme=([ours], 1), umbra=([theirs], 1))
    assert (await service.attach(place.ctx(), needed["id"]))["state"] == "attached"
    (row,) = await place.world.rows("attachment", "id = %s", waiting["id"])
    assert row["state"] == "attached", "the control: trusted, it goes on by itself"


@pytest.mark.capability("LIF-7", part="an attachment moves to a trusted release alone, where policy demands that")
async def test_an_attachment_does_not_move_to_a_release_that_nobody_vouches_for(place: Packs) -> None:
    first = await released(place)
    ours = await public_key(place)
    await vouching.sign(place.ctx(), first["id"])
    await policy(place, require_signature=True)
    await trust(place, await operator(place), acme=([ours], 1))
    attached = await service.attach(place.ctx(), first["id"])
    newer = await released(place, version="1.0.1")
    with pytest.raises(SignatureNotTrusted) as told:
        await moving.update(place.ctx(), attached["id"], release_id=newer["id"])
    assert told.value.extra["reason"] == "signature_missing"
    (row,) = await place.world.rows("attachment", "id = %s", attached["id"])
    assert (row["state"], row["release_id"]) == ("attached", first["id"])

    await vouching.sign(place.ctx(), newer["id"])
    move = await moving.update(place.ctx(), attached["id"], release_id=newer["id"])
    await trust(place, await operator(place), acme=([key()], 1))
    await moving.run_move(place.platform(), move["id"])
    (row,) = await place.world.rows("attachment", "id = %s", attached["id"])
    assert (row["state"], row["release_id"]) == ("attached", first["id"]), "what was trusted when it was asked for"
    await trust(place, await operator(place), acme=([ours], 1))
    move = await moving.update(place.ctx(), attached["id"], release_id=newer["id"])
    await moving.run_move(place.platform(), move["id"])
    (row,) = await place.world.rows("attachment", "id = %s", attached["id"])
    assert (row["state"], row["release_id"]) == ("attached", newer["id"])


@pytest.mark.capability(
    "LIF-7", part="a release is signed with the publisher's key, and policy can demand that it is trusted"
)
async def test_a_signing_key_never_leaves_the_treasury_and_ends_with_its_secret(place: Packs) -> None:
    release = await released(place)
    ours = await public_key(place)
    signed = await vouching.sign(place.ctx("admin"), release["id"])
    (one,) = signed["signatures"]
    payload, pairs = dsse.read(one["envelope"])
    assert dsse.signers(one["envelope"], {ours[2]: ours[1]}) == {ours[2]}
    said = dsse.said(payload)
    assert (said.digest, said.name) == (signed["digest"], "acme.small@1.0.0")
    assert pairs[0][0] == ours[2] == one["key_id"]
    (made,) = await vouching.list_keys(place.ctx("viewer"), place.world.workspace_id, None, 10)
    secret = await treasury.get(place.ctx(), made["secret_id"])
    assert (secret["kind"], secret["grants"]) == ("publication", [])
    assert len(await place.world.events("treasury.secret.signed")) == 1
    again = await vouching.sign(place.ctx(), release["id"])
    assert len(again["signatures"]) == 1, "one key vouches once"

    other = await released(place, version="1.1.0")
    killed = await governance.kill(place.ctx(), place.world.workspace_id, "secret", secret["id"], "lost", False)
    with pytest.raises(Denied):
        await vouching.sign(place.ctx(), other["id"])
    await governance.lift(place.ctx(), place.world.workspace_id, killed["id"], "all", [], "found", True)
    assert (await vouching.sign(place.ctx(), other["id"]))["signatures"]
    await treasury.revoke(place.ctx(), secret["id"], "rotated")
    third = await released(place, version="1.2.0")
    with pytest.raises((PublisherKeyNotFound, SecretRevoked)):
        await vouching.sign(place.ctx(), third["id"])
    assert (await public_key(place))[2] != ours[2]
    assert (await vouching.sign(place.ctx(), third["id"]))["signatures"]


@pytest.mark.capability("LIF-7", part="what is no signature of this artifact is not taken")
async def test_an_envelope_from_elsewhere_is_taken_only_for_the_artifact_it_is_about(place: Packs) -> None:
    release, other = await released(place), await released(place, version="1.1.0")
    builder = key()
    digest = (await vouching.of_release(place.ctx(), release["id"]))["digest"]
    for wrong in (
        envelope("sha256:" + "0" * 64, builder),
        {**envelope(digest, builder), "payloadType": "text/plain"},
        {**envelope(digest, builder), "signatures": []},
        envelope(digest, builder, payload=b'{"_type": "other"}'),
        {"payload": "!"},
    ):
        with pytest.raises(EnvelopeInvalid):
            await vouching.attest(place.ctx(), release["id"], wrong)
    with pytest.raises(Denied):
        await vouching.attest(place.ctx("member"), release["id"], envelope(digest, builder))
    with pytest.raises(EnvelopeInvalid):
        await vouching.attest(place.ctx(), other["id"], envelope(digest, builder))
    await vouching.attest(place.ctx(), release["id"], envelope(digest, builder))
    await trust(place, await operator(place), acme=([builder], 1))
    found = await vouching.of_release(place.ctx("viewer"), release["id"])
    assert (found["trust"]["state"], found["signatures"][0]["trusted"]) == ("trusted", True)


@pytest.mark.capability("LIF-7", part="a key that an envelope only claims takes no place and has signed nothing")
async def test_an_envelope_that_claims_the_publishers_key_takes_no_place_and_is_no_signature(place: Packs) -> None:
    release, name = await released(place), "registry.release.signed"
    ours = await public_key(place)
    await trust(place, await operator(place), acme=([ours], 1))
    digest = (await vouching.of_release(place.ctx(), release["id"]))["digest"]
    stranger = key()
    for number in range(vouching.MOST_ENVELOPES):
        forged = dsse.envelope(
            dsse.statement(
                name=f"acme.small@{number}", digest=digest, contents="0" * 64, repository="", revision="", builder="x"
            ),
            [(ours[2], envelope(digest, stranger)["signatures"][0]["sig"])],
        )
        found = await vouching.attest(place.ctx(), release["id"], forged)
    assert (found["trust"]["state"], [row["trusted"] for row in found["signatures"]]) == ("untrusted", [False] * 16)
    with pytest.raises(EnvelopeInvalid):
        await vouching.attest(place.ctx(), release["id"], envelope(digest, stranger))
    assert await place.world.events(name) == []
    assert len(await place.world.events("registry.envelope.kept")) == vouching.MOST_ENVELOPES

    signed = await vouching.sign(place.ctx(), release["id"])
    assert (signed["trust"]["state"], [row["trusted"] for row in signed["signatures"]]) == (
        "trusted",
        [True] + [False] * 16,
    )
    assert [event["after"]["key"] for event in await place.world.events(name)] == [ours[2]]
    # And from elsewhere, by a key that the root names.
    builder = key()
    await trust(place, await operator(place), acme=([ours, builder], 2))
    both = await vouching.attest(place.ctx(), release["id"], envelope(digest, builder))
    assert (both["trust"]["state"], sum(row["trusted"] for row in both["signatures"])) == ("trusted", 2)


@pytest.mark.capability("LIF-7", part="trust roots are the operator's")
async def test_only_the_operator_sets_a_root_and_an_old_one_is_never_taken_again(place: Packs) -> None:
    ours = await public_key(place)
    first = await trust(place, await operator(place), acme=([ours], 1))
    second = await trust(place, await operator(place), acme=([ours], 1))
    assert second["version"] == first["version"] + 1
    stranger = key()
    forged = root(stranger, keys=[stranger], version=second["version"] + 1, days=100_000)
    for who in ("owner", "admin"):
        with pytest.raises(Problem) as refused_to:
            await vouching.set_root(place.ctx(who), forged)
        assert refused_to.value.problem_code == "denied"
        with pytest.raises(Denied):
            await vouching.list_roots(place.ctx(who), None, 10)
    for document, reason in (
        (first["document"], "root_replayed"), (second["document"], "root_replayed"), (forged, "root_below_threshold"),
        ({"signed": {}}, "root_malformed"),
    ):  # fmt: skip
        with pytest.raises(RootInvalid) as refused:
            await vouching.set_root(await operator(place), document)
        assert refused.value.extra["reason"] == reason
    shown = await vouching.show_root(place.ctx("viewer"), place.world.workspace_id)
    assert (shown["version"], shown["state"]) == (second["version"], "in_force")
    assert shown["publishers"]["acme"] == {"keyids": [ours[2]], "threshold": 1}
    history = await vouching.list_roots(await operator(place), None, 2)
    assert [row["version"] for row in history[:2]] == [second["version"], first["version"]]


@pytest.mark.capability("REG-9")
async def test_each_report_holds_what_it_is_about_and_loses_it_when_that_is_mended(place: Packs) -> None:
    here = place.world.workspace_id
    release = await released(place, source={"repository": "https://git.example.org/acme/small", "revision": "a" * 40})

    async def found(name: reports.Report, days: int = 0) -> list[str]:
        rows = await reports.report(place.ctx("viewer"), here, name, None, 50, days)
        assert all(row["said"] for row in rows)
        return [row["release_id"] for row in rows]

    assert await found("unreviewed") == [release["id"]]
    with pytest.raises(Denied):
        await vouching.review(place.ctx("member"), release["id"], "fine")
    await vouching.review(place.ctx(), release["id"], "read the source and ran it")
    assert await found("unreviewed") == []

    assert await found("stale_private") == [release["id"]]
    assert await found("stale_private", 30) == []
    attached = await service.attach(place.ctx(), release["id"])
    assert await found("stale_private") == []
    await service.detach(place.ctx(), attached["id"], "test")

    assert await found("public_artifacts") == []
    await policy(place, most="public")
    await published(place, release, visibility="public")
    assert (await found("public_artifacts"), await found("stale_private")) == ([release["id"]], [])
    await publishing.withdraw(place.ctx(), release["id"], "test")
    assert await found("public_artifacts") == []

    row = await ask(place, release)
    await place.approve(row["approval_id"])
    await policy(place, image_destinations=["elsewhere.example:443/x"])
    await publishing.run_publication(place.platform(), row["id"])
    assert await found("publication_failures", 30) == [release["id"]]
    await policy(place)
    again = await publishing.retry(place.ctx(), row["id"])
    await publishing.run_publication(place.platform(), again["id"])
    assert await found("publication_failures", 30) == []

    assert await found("mismatches") == []
    builder = key()
    digest = (await vouching.of_release(place.ctx(), release["id"]))["digest"]
    elsewhere = dsse.statement(
        name="acme.small@1.0.0", digest=digest, contents="0" * 64, repository="https://git.example.org/acme/small",
        revision="b" * 40, builder="test",
    )  # fmt: skip
    await vouching.attest(place.ctx(), release["id"], envelope(digest, builder, payload=elsewhere))
    assert await found("mismatches") == [release["id"]]


@pytest.mark.capability("REG-9", part="another tenant sees none of it")
async def test_reports_and_signatures_are_the_tenants_own(place: Packs, db: Any, home: Any) -> None:
    from tests.packs.test_publishing import neighbour

    other = await neighbour(place, db, home)
    release = await released(place)
    assert len(await reports.report(place.ctx(), place.world.workspace_id, "unreviewed", None, 50, 0)) == 1
    assert await reports.report(other.ctx(), other.world.workspace_id, "unreviewed", None, 50, 0) == []
    with pytest.raises(Denied):
        await reports.report(other.ctx(), place.world.workspace_id, "unreviewed", None, 50, 0)
    for attempt in (
        vouching.of_release(other.ctx(), release["id"]),
        vouching.sign(other.ctx(), release["id"]),
        vouching.review(other.ctx(), release["id"], "x"),
    ):
        with pytest.raises(ReleaseNotFound):
            await attempt
    async with other.ctx().transaction() as conn:
        assert await store.attestations(conn, release["id"]) == []
        assert await store.keys(conn, place.world.workspace_id, None, None, 10) == []
