"""What lies in the store of artifacts and trees and no row names goes after a day; what a row names, or is about to, stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import released
from worka.kernel.paths import Paths
from worka.packs import service, store, trees
from worka.packs.registry import oci
from worka.packs.service import unnamed

LONG_AGO = 2 * unnamed.AGE_SECONDS


def aged(*paths: Path) -> None:
    """They have lain there for two days."""
    for path in paths:
        os.utime(path, (time.time() - LONG_AGO, time.time() - LONG_AGO))


def stored(objects: Path, artifact: oci.Artifact) -> list[Path]:
    """Where its parts lie."""
    names = [artifact.digest, *artifact.blobs]
    return [oci.root(objects) / "blobs" / "sha256" / name.removeprefix("sha256:") for name in names]


@pytest.mark.timeout(180)
@pytest.mark.capability("LIF-5", part="what no release names is cleared away")
async def test_what_no_row_names_is_cleared_away_after_a_day_and_what_one_names_serves_on(place: Packs) -> None:
    objects = Paths(place.world.settings.home).objects
    release = await released(place)
    (row,) = await place.world.rows("artifact", "release_id = %s", release["id"])
    used = stored(objects, oci.load(objects, row["digest"]))
    tree = trees.place(objects, release["source"]["contents"])
    lost = oci.build({"publisher": "acme", "name": "lost", "version": "1.0.0"}, "", {"a": os.urandom(8)})
    young = oci.build({"publisher": "acme", "name": "young", "version": "1.0.0"}, "", {"a": os.urandom(8)})
    for artifact in (lost, young):
        oci.keep(objects, artifact)
    trees.keep(objects, "f" * 64, {"server.py": b"x"})
    torn = tree.parent / ".torn.1"
    torn.mkdir()
    shared = {*used, *stored(objects, young)}
    own = [path for path in stored(objects, lost) if path not in shared]
    aged(*used, *own, tree, trees.place(objects, "f" * 64), torn)

    async with place.world.db.transaction(None) as conn:
        named = await store.objects_named(conn)
    told = {item.path: item.size for item in unnamed.lying(objects, named)}
    assert {*own, trees.place(objects, "f" * 64), torn} <= set(told), "told first, by the doctor"
    assert told[trees.place(objects, "f" * 64)] == 1
    assert not {*used, tree} & set(told)
    assert all(path.exists() for path in told), "and nothing is touched"

    assert await unnamed.sweep(place.platform()) >= 3
    assert not any(path.exists() for path in (*own, torn, trees.place(objects, "f" * 64)))
    assert all(path.exists() for path in (*used, tree, *stored(objects, young))), (
        "what is named, and what came just now"
    )
    assert oci.load(objects, row["digest"]).digest == row["digest"]
    assert (await service.attach(place.ctx(), release["id"]))["state"] == "attached"


@pytest.mark.capability("LIF-5", part="what no release names is cleared away")
async def test_what_is_put_there_again_is_young_again(place: Packs) -> None:
    objects = Paths(place.world.settings.home).objects
    artifact = oci.build({"publisher": "acme", "name": "twice", "version": "1.0.0"}, "", {"a": os.urandom(8)})
    oci.keep(objects, artifact)
    trees.keep(objects, "e" * 64, {"server.py": b"x"})
    places = [*stored(objects, artifact), trees.place(objects, "e" * 64)]
    aged(*places)
    # A registration of the same is under way, and has no row yet.
    oci.keep(objects, artifact)
    trees.keep(objects, "e" * 64, {"server.py": b"x"})
    await unnamed.sweep(place.platform())
    assert all(path.exists() for path in places)
    aged(*places)
    await unnamed.sweep(place.platform())
    empty = oci.root(objects) / "blobs" / "sha256" / oci.digest_of(oci.EMPTY).removeprefix("sha256:")
    assert not any(path.exists() for path in places if path != empty), "the control: nothing came of it"
