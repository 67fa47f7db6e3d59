"""What a stranger lists is read by everybody: it brings little along, and its word is told as its word."""

from __future__ import annotations

import json
import secrets
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registered import another_workspace
from tests.packs.registry_support import liar, named, policy, public_key, published, released, say, trust
from tests.packs.test_publishing import neighbour
from tests.packs.test_registration import lock, small, tree
from tests.packs.test_registry_rules import envelope, key
from tests.packs.test_vouching import operator
from worka.kernel import canonical
from worka.kernel.context import Context
from worka.kernel.db import Database
from worka.kernel.paths import Paths
from worka.packs.errors import VersionTaken
from worka.packs.registry import dsse, oci, store
from worka.packs.registry.remote import ENVELOPE_TYPE
from worka.packs.registry.service import market, vouching

Row = dict[str, Any]


@pytest.mark.capability("REG-8")
async def test_what_a_stranger_lists_brings_little_along(place: Packs, db: Database, home: Path) -> None:
    other = await neighbour(place, db, home)
    release = await released(place, templates={"members": [{"note": "x" * 200_000}], "workflows": [], "hooks": []})
    await policy(place, most="public")
    await published(place, release, visibility="public")
    ours = await public_key(place)
    signed = await vouching.sign(place.ctx(), release["id"])
    for number in range(vouching.MOST_ENVELOPES):
        padded = json.loads(dsse.statement(
            name="x", digest=signed["digest"], contents="0" * 64, repository="", revision="", builder="x"
        )) | {"more": f"{number}" + "x" * 10_000}  # fmt: skip
        given = envelope(signed["digest"], key(), payload=json.dumps(padded).encode())
        await vouching.attest(place.ctx(), release["id"], given)
    async with other.ctx().transaction() as conn:
        (row,) = await store.market(conn, other.world.tenant_id, [release["id"]])
    assert len(row["envelopes"]) == 8
    assert len(json.dumps([row["envelopes"], row["manifest"], row["tools"]])) < 8 * dsse.MOST_BYTES
    await trust(place, await operator(place), acme=([ours], 1))
    seen = await market.listing(other.ctx("viewer"), other.world.workspace_id, release["id"])
    assert (seen["trust"]["state"], seen["display_name"]) == ("trusted", "Small"), (
        "the control: what counts is among them"
    )


@pytest.mark.capability("REG-8")
async def test_that_a_person_has_looked_is_said_of_ones_own_and_of_others_as_their_word(
    place: Packs, db: Database, home: Path
) -> None:
    other = await neighbour(place, db, home)
    release = await released(place)
    await policy(place, most="public")
    await published(place, release, visibility="public")

    async def said(by: Packs) -> tuple[bool, bool]:
        row = await market.listing(by.ctx("viewer"), by.world.workspace_id, release["id"])
        return row["reviewed"], row["reviewed_by_publisher"]

    assert (await said(place), await said(other)) == ((False, False), (False, False))
    await vouching.review(place.ctx(), release["id"], "read it")
    assert (await said(place), await said(other)) == ((True, False), (False, True))


def _on_disk(place: Packs) -> set[str]:
    objects = Paths(place.world.settings.home).objects
    return {str(path) for part in ("oci", "trees") for path in (objects / part).rglob("*")}


@pytest.mark.capability("REG-11", part="what comes is kept once it is a pack that whoever asks may register")
async def test_what_may_not_be_registered_leaves_nothing_on_the_disk_that_all_share(
    place: Packs, tmp_path: Path
) -> None:
    await place.register(small(), lock(), tree())
    before = _on_disk(place)
    other = oci.build(small(description=secrets.token_hex(8)), lock(), {"server.py": secrets.token_bytes(8)})
    next_one = oci.build(small("1.0.1"), lock(), {"server.py": secrets.token_bytes(8)})
    with liar(tmp_path) as outside:
        await named(place, outside.outside)
        outside.holds(other)
        outside.holds(next_one)
        with pytest.raises(VersionTaken):
            await _fetched(place.ctx(), other)
        with pytest.raises(VersionTaken):
            await place.register(small(description="x"), lock(), {"server.py": secrets.token_bytes(8)})
        assert _on_disk(place) == before
        await _fetched(place.ctx(), next_one)
        there = {path.rpartition("/")[2] for path in _on_disk(place) - before}
        assert {next_one.digest.removeprefix("sha256:")} <= there, "the control"


async def _fetched(ctx: Context, artifact: oci.Artifact) -> Row:
    assert ctx.workspace_id is not None
    return await market.fetch(ctx, ctx.workspace_id, destination="outside", digest=artifact.digest)


@pytest.mark.capability("LIF-7", part="what is no signature of this artifact is not taken")
async def test_who_fetches_what_is_registered_already_adds_no_envelope_to_it(place: Packs, tmp_path: Path) -> None:
    made = oci.build(small(description=secrets.token_hex(8)), lock(), tree())

    with liar(tmp_path) as outside:
        outside.holds(made)

        def signs() -> None:
            given = canonical.dumps(envelope(made.digest, key()))
            outside.blobs[oci.digest_of(given)] = given
            layer = {"mediaType": ENVELOPE_TYPE, "digest": oci.digest_of(given), "size": len(given)}
            beside = canonical.dumps({"layers": [layer]})

            def lie(handler: BaseHTTPRequestHandler, path: str) -> bool:
                if "/manifests/sha256-" not in path:
                    return False
                say(handler, 200, beside)
                return True

            outside.lie = lie

        await named(place, outside.outside)
        elsewhere = place.ctx()
        elsewhere.workspace_id = await another_workspace(place.world, "owner")
        signs()
        first = await _fetched(place.ctx(), made)
        kept = await place.world.rows("attestation", "release_id = %s", first["id"])
        assert len(kept) == 1, "the control: what came with it is kept with it"
        signs()
        assert (await _fetched(place.ctx(), made))["id"] == first["id"]
        there = await _take_elsewhere(elsewhere, made)
        assert there["id"] == first["id"], "the release of another workspace"
        assert await place.world.rows("attestation", "release_id = %s", first["id"]) == kept


async def _take_elsewhere(ctx: Context, artifact: oci.Artifact) -> Row:
    """What a workspace that names the same registry does with what came from there."""
    return await market._take(
        ctx, artifact, [envelope(artifact.digest, key())], {"origin": "private", "taken_from": "x"}, None
    )
