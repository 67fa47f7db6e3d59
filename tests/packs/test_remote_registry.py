"""Registries outside: Debian's docker-registry over TLS, and one on a real socket that lies, dawdles and redirects. Every call goes
through the real broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import (
    HOST,
    PLACE,
    ask,
    carried,
    debian_registry,
    liar,
    named,
    policy,
    public_key,
    published,
    released,
    say,
    trust,
)
from tests.packs.test_publishing import CRASHED, neighbour
from tests.packs.test_registration import lock, small, tree
from tests.packs.test_registry_rules import envelope, key
from tests.packs.test_vouching import operator
from tests.support.processes import ran, start
from worka.broker import service as outward
from worka.broker.platform import PlatformLimits
from worka.broker.ports import MemoryResolver, MemoryTreasury
from worka.broker.server import Broker
from worka.kernel import canonical, ipc
from worka.kernel.airgap import AirGap, parse
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.errors import Denied, Problem
from worka.kernel.paths import Paths
from worka.packs import service
from worka.packs.registry import oci, store
from worka.packs.registry.errors import DestinationNotFound, RegistryFailed
from worka.packs.registry.remote import Post, Remote, RemoteProblem
from worka.packs.registry.service import destinations, market, publishing, vouching
from worka.packs.registry.service.publishing import carrying, signatures
from worka.treasury import store as treasury_rows
from worka.treasury.errors import TreasurySealed

Row = dict[str, Any]


@pytest.mark.timeout(180)
@pytest.mark.capability("REG-6", part="an allowed registry outside takes the artifact")
@pytest.mark.capability("LIF-7", part="signatures travel with the artifact")
@pytest.mark.capability("OBS-4", part="registry transport")
async def test_a_release_goes_to_a_real_registry_and_comes_back_by_its_digest(
    place: Packs, db: Database, home: Path, tmp_path: Path
) -> None:
    release = await released(place)
    ours = await public_key(place)
    await trust(place, await operator(place), acme=([ours], 1))
    await vouching.sign(place.ctx(), release["id"])
    await policy(place, image_destinations=["local", f"{HOST}:443/team/*"])
    with debian_registry(tmp_path) as outside:
        await named(place, outside)
        row = await published(place, release, "outside")
        assert (row["state"], row["error"]) == ("published", None)
        assert row["location"] == f"{HOST}/team/packs@{row['digest']}"
        stored = tmp_path / "data/docker/registry/v2/blobs/sha256" / row["digest"][7:9] / row["digest"][7:] / "data"
        artifact = oci.load(Paths(place.world.settings.home).objects, row["digest"])
        assert stored.read_bytes() == artifact.manifest

        # The same once more: nothing that is there is sent again, and it is the same artifact.
        again = await published(place, release, "outside")
        assert (again["state"], again["location"]) == ("published", row["location"])

        # Another tenant fetches it by its digest alone, with what was signed beside it.
        other = await neighbour(place, db, home)
        await named(other, outside)
        drafted = await market.fetch(other.ctx(), other.world.workspace_id, destination="outside", digest=row["digest"])
        there = await service.run_registration(other.platform(), drafted["id"])
        assert there["state"] == "released", there["error"]
        found = await market.answers(other.ctx("viewer"), there["id"])
        assert (found["artifact"]["digest"], found["trust"]["state"]) == (row["digest"], "trusted")
        assert found["source"]["taken_from"] == f"{PLACE}@{row['digest']}"

        # What is not there, is not there.
        with pytest.raises(RegistryFailed) as missing:
            await market.fetch(
                other.ctx(), other.world.workspace_id, destination="outside", digest="sha256:" + "0" * 64
            )
        assert missing.value.extra["reason"] == "registry_refused"
        with pytest.raises(Denied):
            await market.fetch(
                other.ctx("viewer"), other.world.workspace_id, destination="outside", digest=row["digest"]
            )

        # Away: a state of the publication alone, which is tried again by itself.
        outside.stop()
        failed = await published(place, release, "outside")
        assert (failed["state"], failed["reason"]) == ("failed", "registry_unreachable")
        egress = await place.world.rows("egress", "id = %s", failed["error"]["egress_id"])
        assert [(line["host"], line["attachment_id"]) for line in egress] == [(HOST, "platform")]
        # Its transport's own words, for those who may change the workspace.
        log = await outward.egress_log(place.ctx(), failed["error"]["egress_id"])
        assert ["Connection" in line["text"] for line in log["items"]] == [True], log
        with pytest.raises(Denied):
            await outward.egress_log(place.ctx("viewer"), failed["error"]["egress_id"])
        outside.start()
        assert (await carried(place, await publishing.retry(place.ctx(), failed["id"])))["state"] == "published"

    # Taken away: the rule that let the platform reach it ended with it.
    (target,) = await destinations.listing(place.ctx("viewer"), place.world.workspace_id, None, 10)
    await destinations.remove(place.ctx(), target["id"])
    assert await place.world.rows("platform_rule", "subject_id = %s and ended_at is null", target["id"]) == []
    with pytest.raises(DestinationNotFound):
        await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=row["digest"])


@pytest.mark.capability("TRE-8", part="a registry's credential: sealed, named by nothing, sent to its registry alone")
async def test_a_registry_that_wants_a_credential_gets_it_and_nobody_reads_it(place: Packs, tmp_path: Path) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    with liar(tmp_path) as outside:
        outside.holds(made)

        def guarded(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.headers.get("Authorization") == "Basic YWRhOmNhcnJ5LWl0LXRoZXJl":
                return False
            say(handler, 401, b'{"errors": [{"code": "UNAUTHORIZED"}]}')
            return True

        outside.lie = guarded
        shown = await named(place, outside.outside, username="ada", password="carry-it-there")
        assert shown["credential"] is True
        with pytest.raises(Problem) as manifest:
            await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)
        assert manifest.value.problem_code == "manifest_invalid", "it came, and is no pack"
        assert not _kept(place, made.digest), "what is no pack is not kept"
        await destinations.remove(place.ctx(), shown["id"])
        await destinations.create(
            place.ctx(), place.world.workspace_id, name="outside", host=HOST, port=443, repository="team/packs",
            username="ada", password="another",
        )  # fmt: skip
        with pytest.raises(RegistryFailed) as refused:
            await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)
        assert (refused.value.extra["reason"], refused.value.extra["status"]) == ("registry_refused", 401)
    kept = json.dumps(await place.world.rows("event"), default=str) + str(refused.value.body())
    assert "carry-it-there" not in kept
    assert b"carry-it-there" not in b"".join(
        bytes(row["credential"] or b"") for row in await place.world.rows("destination")
    )


@pytest.mark.capability("TRE-3", part="a registry's credential")
async def test_a_sealed_treasury_keeps_a_registrys_credential_and_says_so_by_name(place: Packs, tmp_path: Path) -> None:
    async def sealed(on: bool) -> None:
        async with place.world.db.transaction(None) as conn:
            await treasury_rows.set_seal(conn, on, "a laptop was lost", "per_1", "Ada")

    release = await released(place)
    await policy(place, image_destinations=["local", f"{HOST}:443/team/*"])
    with liar(tmp_path) as outside:
        shown = await named(place, outside.outside, username="ada", password="carry-it-there")
        async with place.world.db.transaction(place.world.tenant_id) as conn:
            row = await store.destination(conn, shown["id"])
        assert row is not None
        ready = await destinations.remote(place.platform(), row)
        try:
            await sealed(True)
            failed = await published(place, release, "outside")
            assert (failed["state"], failed["reason"]) == ("failed", "treasury_sealed")
            assert "Ada: a laptop was lost" in failed["error"]["message"]
            with pytest.raises(TreasurySealed, match="Ada: a laptop was lost"):
                await market.fetch(
                    place.ctx(), place.world.workspace_id, destination="outside", digest="sha256:" + "0" * 64
                )
            with pytest.raises(TreasurySealed):
                await ready.fetch("sha256:" + "0" * 64)
            assert outside.asked == [], "nor was anything sent by what had it in hand"
            bare = await destinations.remote(place.platform(), {**row, "credential": None})
            assert await bare.fetch_signatures("sha256:" + "0" * 64) == [], (
                "the control: it is the credential that is kept"
            )
        finally:
            await sealed(False)
        again = await carried(place, await publishing.retry(place.ctx(), failed["id"]))
        assert (again["state"], again["error"]) == ("published", None)
        assert {seen.get("Authorization") for _, _, seen in outside.asked[1:]} == {"Basic YWRhOmNhcnJ5LWl0LXRoZXJl"}


@contextlib.asynccontextmanager
async def broker_of_its_own(place: Packs, **options: Any) -> AsyncIterator[Post]:
    """Another broker than the deployment's, and the way to it."""
    short = Paths(Path(tempfile.mkdtemp(prefix="reg-")))  # a unix socket's path is short

    def context(principal: Principal, **fields: Any) -> Context:
        return place.world.context(principal, **{key: value for key, value in fields.items() if value is not None})

    broker = Broker(short, make_context=context, treasury=MemoryTreasury(), resolver=MemoryResolver({}), **options)
    await broker.start()

    async def post(args: Row) -> Row:
        return dict(await ipc.call_unix(short.broker_socket, "platform_http", args, timeout=30))

    try:
        yield post
    finally:
        await broker.close()
        shutil.rmtree(short.home, ignore_errors=True)


def _kept(place: Packs, digest: str) -> bool:
    """Whether an artifact lies in the layout."""
    return (Paths(place.world.settings.home).objects / "oci/blobs/sha256" / digest.removeprefix("sha256:")).exists()


@pytest.mark.capability("REG-11", part="what comes is kept once it is a pack that whoever asks may register")
async def test_what_was_fetched_is_kept_once_it_may_be_registered_and_not_when_it_is_only_tried(
    place: Packs, tmp_path: Path
) -> None:
    made = oci.build(small(version="3.1.4", description=secrets.token_hex(8)), lock(), tree())
    with liar(tmp_path) as outside:
        await named(place, outside.outside)
        outside.holds(made)

        async def fetched(ctx: Context) -> Row:
            return await market.fetch(ctx, place.world.workspace_id, destination="outside", digest=made.digest)

        with pytest.raises(Denied):
            await fetched(place.ctx("viewer"))
        assert not _kept(place, made.digest)
        trying = place.ctx()
        trying.undone = True
        tried = await fetched(trying)
        trees = Paths(place.world.settings.home).objects / "trees" / tried["source"]["contents"]
        assert (_kept(place, made.digest), trees.exists()) == (False, False)
        drafted = await fetched(place.ctx())
        assert drafted["state"] == "draft"
        assert (_kept(place, made.digest), trees.exists()) == (True, True)


def _lies(made: oci.Artifact, other: oci.Artifact) -> dict[str, tuple[Any, str]]:
    """What a registry may answer to a fetch, and the reason that must be told."""
    layer = made.layers[-1]["digest"]

    def elsewhere(handler: BaseHTTPRequestHandler, path: str) -> bool:
        say(handler, 307, Location=f"https://169.254.169.254{path}")
        return True

    def nowhere(handler: BaseHTTPRequestHandler, _path: str) -> bool:
        say(handler, 307, Location="https://[::1/v2/")
        return True

    def cut(handler: BaseHTTPRequestHandler, _path: str) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True
        return True

    def endless(handler: BaseHTTPRequestHandler, _path: str) -> bool:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(64):
            handler.wfile.write(b"x" * 1024 * 1024)
        return True

    def swapped(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if "/manifests/" not in path:
            return False
        say(handler, 200, other.manifest)
        return True

    def layer_of(data: bytes) -> Any:
        def lie(handler: BaseHTTPRequestHandler, path: str) -> bool:
            if layer not in path:
                return False
            say(handler, 200, data)
            return True

        return lie

    def headers_lie(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if "/manifests/" not in path:
            return False
        say(handler, 200, other.manifest, **{"Docker-Content-Digest": made.digest})
        return True

    return {
        "another's artifact": (swapped, "registry_lied"),
        "a digest in the header alone": (headers_lie, "registry_lied"),
        "another layer": (layer_of(other.blobs[other.layers[-1]["digest"]]), "registry_lied"),
        "a layer with more behind it": (layer_of(made.blobs[layer] + b"x"), "registry_lied"),
        "an empty layer": (layer_of(b""), "registry_lied"),
        "a redirect inward": (elsewhere, "registry_redirected"),
        "a redirect to no address": (nowhere, "registry_redirected"),
        "an answer that is cut": (cut, "registry_unreachable"),
        "an answer without end": (endless, "artifact_too_large"),
        "an error": (lambda handler, _: say(handler, 500, b"no") or True, "registry_refused"),
    }


@pytest.mark.capability("REG-11", part="what a registry gives is checked byte by byte, whatever it says")
@pytest.mark.timeout(150)
async def test_a_registry_that_lies_is_refused_with_the_reason_and_an_honest_one_is_not(
    place: Packs, tmp_path: Path
) -> None:
    release = await released(place)
    (row,) = await place.world.rows("artifact")
    made = oci.load(Paths(place.world.settings.home).objects, row["digest"])
    other = oci.build({**release["manifest"], "version": "9.9.9"}, "", {"server.py": b"evil"})
    with liar(tmp_path) as outside:
        await named(place, outside.outside)

        async def fetched() -> Row:
            return await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)

        outside.holds(made)
        for what, (lie, reason) in _lies(made, other).items():
            outside.lie = lie
            with pytest.raises(Problem) as refused:
                await fetched()
            assert refused.value.extra.get("reason") == reason, what
            assert len(await place.world.rows("release")) == 1, what
        hosts = {line["host"] for line in await place.world.rows("egress")}
        assert hosts == {HOST}, "nobody followed the redirect"
        outside.lie = lambda _handler, _path: False
        assert (await fetched())["id"] == release["id"], "an honest answer is taken: it is the release that is here"


def _manifests(made: oci.Artifact) -> dict[str, bytes]:
    """Manifests that two readers take for different things, each under its own digest."""
    good = made.manifest
    layers = canonical.dumps(made.layers)
    other = canonical.dumps([{**part, "digest": "sha256:" + "0" * 64} for part in made.layers])
    first = canonical.dumps(made.layers[0])
    return {
        "layers twice": good[:-1] + b',"layers":' + other + b"}",
        "Layers beside layers": good[:-1] + b',"Layers":' + other + b"}",
        "layers, spelled otherwise alone": good.replace(b'"layers"', b'"Layers"'),
        "a digest twice": good.replace(first, first[:-1] + b',"digest":"sha256:' + b"0" * 64 + b'"}'),
        "a Digest beside a digest": good.replace(first, first[:-1] + b',"Digest":"sha256:' + b"0" * 64 + b'"}'),
        "no UTF-8": good[:-1] + b',"note":"\xff\xfe"}',
        "UTF-16": good.decode().encode("utf-16"),
        "half a surrogate": good[:-1] + b',"note":"\\ud800"}',
        "a size beyond every layer": good.replace(b'"size":%d' % made.layers[-1]["size"], b'"size":99999999'),
        "a size that is a half": good.replace(b'"size":%d' % made.layers[-1]["size"], b'"size":0.5'),
        "a size that is true": good.replace(b'"size":%d' % made.layers[-1]["size"], b'"size":true'),
        "a size below nothing": good.replace(b'"size":%d' % made.layers[-1]["size"], b'"size":-1'),
        "a layer too many": good.replace(layers, layers[:-1] + b"," + first + b"]"),
        "nested deep": good[:-1] + b',"note":' + b"[" * 5000 + b"]" * 5000 + b"}",
        "behind it": good + b"{}",
        "longer than one may be": good[:-1] + b',"note":"' + b"x" * oci.MOST_MANIFEST + b'"}',
        "a list": b"[" + good + b"]",
    }


@pytest.mark.capability("REG-11", part="a manifest that can be read in two ways is none")
@pytest.mark.timeout(150)
async def test_a_manifest_that_two_readers_take_for_different_things_is_refused_from_a_real_socket(
    place: Packs, tmp_path: Path
) -> None:
    release = await released(place)
    (row,) = await place.world.rows("artifact")
    made = oci.load(Paths(place.world.settings.home).objects, row["digest"])
    assert made.layers[-1]["size"] != made.layers[0]["size"]
    layer = made.layers[0]
    with liar(tmp_path) as outside:
        await named(place, outside.outside)
        outside.holds(made)

        async def fetched(digest: str) -> Row:
            return await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=digest)

        for what, manifest in _manifests(made).items():
            assert manifest != made.manifest, what
            outside.blobs[oci.digest_of(manifest)] = manifest
            with pytest.raises(Problem) as refused:
                await fetched(oci.digest_of(manifest))
            assert refused.value.extra.get("reason") in ("artifact_malformed", "artifact_too_large", "registry_lied"), (
                what
            )
            assert len(await place.world.rows("release")) == 1, what
        # The same of what lies in it: the pack's own manifest, its lock, and what was signed beside it.
        own = made.blobs[layer["digest"]]
        for what, data in {
            "a name twice": own[:-1] + b',"name":"another"}', "no UTF-8": own[:-1] + b',"note":"\xff"}', "a list": b"[]",
            "nothing": b"", "UTF-16": own.decode().encode("utf-16"),
        }.items():  # fmt: skip
            part = {**layer, "digest": oci.digest_of(data), "size": len(data)}
            manifest = made.manifest.replace(canonical.dumps(layer), canonical.dumps(part))
            outside.blobs |= {part["digest"]: data, oci.digest_of(manifest): manifest}
            with pytest.raises(Problem) as refused:
                await fetched(oci.digest_of(manifest))
            assert refused.value.extra.get("reason") == "artifact_malformed", what
        tag = made.digest.replace(":", "-") + ".sig"
        for what, data in {
            "layers twice": b'{"layers":[],"layers":[]}', "Layers beside layers": b'{"layers":[],"Layers":[]}',
            "no UTF-8": b'{"layers":["\xff"]}', "no layers": b"{}", "a layer without size": b'{"layers":[{"mediaType":'
            b'"application/vnd.dsse.envelope.v1+json","digest":"sha256:' + b"0" * 64 + b'"}]}',
        }.items():  # fmt: skip
            outside.blobs[tag] = data
            with pytest.raises(Problem) as refused:
                await fetched(made.digest)
            assert refused.value.extra.get("reason") == "registry_lied", what
        del outside.blobs[tag]
        assert len(await place.world.rows("release")) == 1

        # An error that is no text is told as one all the same.
        outside.lie = lambda handler, _: say(handler, 500, b"\xff\xfe\x1b[2J no") or True
        with pytest.raises(RegistryFailed) as told:
            await fetched(made.digest)
        assert "500" in str(told.value.detail)
        assert "\x1b" not in str(told.value.detail)
        outside.lie = lambda _handler, _path: False
        assert (await fetched(made.digest))["id"] == release["id"], "the control"


@pytest.mark.capability("REG-10", part="a registry that misbehaves while it is pushed to")
@pytest.mark.timeout(150)
async def test_a_registry_that_misleads_a_push_makes_it_fail_and_nothing_is_listed(
    place: Packs, tmp_path: Path
) -> None:
    release = await released(place)
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    with liar(tmp_path) as outside:
        await named(place, outside.outside)

        async def push(lie: Any) -> Row:
            outside.lie, outside.blobs = lie, {}
            return await published(place, release, "outside")

        def inward(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.command != "POST":
                return False
            say(handler, 202, Location="https://127.0.0.1/v2/team/packs/blobs/uploads/u1")
            return True

        def nowhere(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.command != "POST":
                return False
            say(handler, 202, Location="https://[::1/v2/team/packs/blobs/uploads/u1")
            return True

        def other_repository(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.command != "POST":
                return False
            say(handler, 202, Location="/v2/team/secret/blobs/uploads/u1")
            return True

        def pretends(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.command != "HEAD":
                return False
            say(handler, 200)
            return True

        def full(handler: BaseHTTPRequestHandler, _path: str) -> bool:
            if handler.command != "PUT":
                return False
            say(handler, 507, b"no space left")
            return True

        for lie, reason in (
            (inward, "registry_redirected"), (other_repository, "registry_redirected"), (pretends, "registry_refused"),
            (full, "registry_refused"), (nowhere, "registry_redirected"),
        ):  # fmt: skip
            row = await push(lie)
            assert (row["state"], row["reason"]) == ("failed", reason), lie.__name__
            assert await place.world.rows("listing") == []
        honest = await push(lambda _handler, _path: False)
        assert (honest["state"], honest["error"]) == ("published", None)
        assert len(await place.world.rows("listing")) == 1


def in_no_hurry() -> tuple[threading.Event, Callable[[BaseHTTPRequestHandler, str], bool]]:
    """What a registry does that waits with each answer, until the event."""
    go_on = threading.Event()

    def waits(_handler: BaseHTTPRequestHandler, _path: str) -> bool:
        go_on.wait(1)
        return False

    return go_on, waits


@pytest.mark.capability("REG-10", part="a registry that misbehaves while it is pushed to")
async def test_a_registry_that_takes_its_time_with_every_call_is_given_up_as_a_whole(
    place: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = await released(place)
    await policy(place, image_destinations=["local", PLACE])
    go_on, waits = in_no_hurry()

    with liar(tmp_path) as outside:
        await named(place, outside.outside)
        outside.lie = waits
        with monkeypatch.context() as impatient:
            impatient.setattr(carrying, "SECONDS", 0.3)
            late = await published(place, release, "outside")
        go_on.set()
        assert (late["state"], late["reason"]) == ("failed", "registry_answered_late")
        assert await place.world.rows("listing") == []
        # The control: what is well again takes it.
        assert (await carried(place, await publishing.retry(place.ctx(), late["id"])))["state"] == "published"
    assert timedelta(seconds=carrying.SECONDS) < carrying.LOST, "what counts as lost is in nobody's hands"


@pytest.mark.capability("REG-10", part="a registry that is slow while signatures are brought to it")
async def test_bringing_signatures_has_one_deadline_for_all_of_its_calls(
    place: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = await released(place)
    await policy(place, image_destinations=["local", PLACE])
    go_on, waits = in_no_hurry()

    with liar(tmp_path) as outside:
        await named(place, outside.outside)
        row = await published(place, release, "outside")
        assert row["state"] == "published"
        await vouching.attest(place.ctx(), release["id"], envelope(row["digest"], key()))
        outside.lie = waits
        with monkeypatch.context() as impatient:
            impatient.setattr(signatures, "SECONDS", 0.3)
            assert await signatures.carry(place.platform(), row["id"])
        go_on.set()
        (late,) = await place.world.rows("publication", "id = %s", row["id"])
        assert (late["signatures_error"] or {}).get("code") == "registry_answered_late"
        assert late["signatures_next"] is not None, "it is tried again"
        async with place.world.db.transaction(place.world.tenant_id) as conn:
            await conn.execute("update worka.publication set signatures_next = clock_timestamp()")
        assert await signatures.carry(place.platform(), row["id"])
        (done,) = await place.world.rows("publication", "id = %s", row["id"])
        assert (done["signatures_error"], len(done["signatures_there"])) == (None, 1), "the control: well again"
    assert signatures.SECONDS < signatures.LEASE_SECONDS, "no two workers have it in hand"


@pytest.mark.capability("REG-10", part="a registry that is slow while it is fetched from")
async def test_a_fetch_from_a_registry_that_takes_its_time_with_every_call_ends(
    place: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    go_on, waits = in_no_hurry()

    async def fetched() -> Problem:
        with pytest.raises(Problem) as met:
            await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)
        return met.value

    with liar(tmp_path) as outside:
        outside.holds(made)
        await named(place, outside.outside)
        outside.lie = waits
        with monkeypatch.context() as impatient:
            impatient.setattr(market, "SECONDS", 0.3)
            late = await fetched()
        go_on.set()
        assert (late.problem_code, late.extra.get("reason")) == ("registry_failed", "registry_answered_late")
        assert (await fetched()).problem_code == "manifest_invalid", "the control: it came, and is no pack"


@pytest.mark.capability("REG-10", part="a registry that misbehaves while it is pushed to")
async def test_a_registry_that_drips_is_given_up_in_time(place: Packs, tmp_path: Path) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    with liar(tmp_path) as outside:
        outside.holds(made)
        shown = await named(place, outside.outside)
        (target,) = await place.world.rows("destination", "id = %s", shown["id"])
        # With less patience.
        async with broker_of_its_own(place, platform_limits=PlatformLimits(registry_seconds=2.0)) as post:
            remote = Remote(post, target, None)
            assert (await remote.fetch(made.digest)).digest == made.digest

            def drip(handler: BaseHTTPRequestHandler, _path: str) -> bool:
                handler.send_response(200)
                handler.send_header("Content-Length", "100000")
                handler.end_headers()
                for _ in range(100):
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
                    time.sleep(0.1)
                return True

            outside.lie = drip
            begun = time.monotonic()
            with pytest.raises(RemoteProblem) as late:
                await remote.fetch(made.digest)
            assert late.value.reason == "registry_answered_late"
            assert time.monotonic() - begun < 8


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
@pytest.mark.parametrize("listed", ["127.0.0.1:*", "127.0.0.0/8:*"])
async def test_an_artifact_is_pushed_once_its_registry_is_on_the_air_gaps_list(
    place: Packs, tmp_path: Path, listed: str
) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    with debian_registry(tmp_path) as outside:
        shown = await named(place, outside)
        (target,) = await place.world.rows("destination", "id = %s", shown["id"])
        blobs = tmp_path / "data/docker/registry/v2/blobs/sha256"
        # What stands behind a network exception is listed by its address: its name alone does not do.
        async with broker_of_its_own(place, gap=AirGap(True, parse([f"{HOST}:443"]))) as post:
            with pytest.raises(RemoteProblem) as refused:
                await Remote(post, target, None).push(made)
        assert (refused.value.reason, refused.value.more["cause"]) == ("registry_unreachable", "air_gapped")
        (row,) = await place.world.rows("egress", "id = %s", refused.value.more["egress_id"])
        assert (row["host"], row["verdict"], row["reason"]) == (HOST, "denied", "air_gapped")
        assert not blobs.exists(), "nothing of it lies there"
        async with broker_of_its_own(place, gap=AirGap(True, parse([listed]))) as post:
            assert await Remote(post, target, None).push(made) == f"{HOST}/team/packs@{made.digest}"
        assert (blobs / made.digest[7:9] / made.digest[7:] / "data").read_bytes() == made.manifest


@pytest.mark.faults
@pytest.mark.timeout(150)
@pytest.mark.capability("REG-10", part="a publication whose worker is killed at any moment of the push")
async def test_a_push_that_is_killed_at_any_moment_ends_with_one_artifact_and_one_listing(
    place: Packs, cluster: Any, tmp_path: Path
) -> None:
    release = await released(place)
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    (row,) = await place.world.rows("artifact")
    made = oci.load(Paths(place.world.settings.home).objects, row["digest"])
    with liar(tmp_path) as outside:
        await named(place, outside.outside)

        def slow(_handler: BaseHTTPRequestHandler, _path: str) -> bool:
            time.sleep(0.03)
            return False

        outside.lie = slow
        killed = 0
        for seed in range(5):
            outside.blobs = {}
            asked = await ask(place, release, "outside")
            await place.approve(asked["approval_id"])
            told = {
                "home": str(place.world.settings.home), "url": cluster.urls.app, "tenant": place.world.tenant_id,
                "publication": asked["id"],
            }  # fmt: skip
            child = await start(CRASHED.replace("asyncio.run(main())", "print('go', flush=True)\nasyncio.run(main())"))
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(told).encode())
            child.stdin.close()
            assert await child.stdout.readline() == b"go\n"
            # What it has done by then is the test's luck; the seed is in the message.
            await asyncio.sleep(random.Random(seed).uniform(0.02, 0.9))
            if child.returncode is None:
                child.kill()
            killed += await child.wait() == -signal.SIGKILL
            assert await ran(CRASHED, told) == 0
            ended = await publishing.get(place.ctx(), asked["id"])
            assert (ended["state"], ended["error"]) == ("published", None), f"seed {seed}"
            assert outside.blobs == {made.digest: made.manifest, **made.blobs}, f"seed {seed}"
            assert len(await place.world.rows("listing")) == 1
            moves = [
                event["after"]["state"]
                for event in await place.world.events("registry.publication.moved")
                if event["subject"] == asked["id"]
            ]
            assert moves == ["awaiting_approval", "queued", "pushing", "published"], f"seed {seed}"
        assert killed, "no seed hit anything"
