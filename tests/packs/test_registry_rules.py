"""What the registry decides without a database: artifacts by their digest, signatures, trust roots, layers of policy."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from worka.kernel import canonical
from worka.packs.registry import dsse, oci, roots, rules
from worka.treasury import signing

Row = dict[str, Any]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MANIFEST = {
    "publisher": "acme", "name": "notes", "version": "1.0.0", "display_name": "Notes", "description": "Keeps notes.",
    "source": {"repository": "https://git.example.org/acme/notes", "revision": "f" * 40},
}  # fmt: skip
FILES = {"server.py": b"print('x')\n", "lib/one.py": b""}
Key = tuple[str, str, str]


def key() -> Key:
    """(seed, public, key id)."""
    seed, public = signing.new_seed()
    return seed, public, signing.key_id(public)


def root(
    *signed_by: Key,
    keys: list[Key],
    version: int = 1,
    threshold: int = 1,
    publishers: Row | None = None,
    days: int = 30,
) -> Row:
    """A trust root of these keys, signed by some; `publishers`: name -> (keys, threshold)."""
    given = publishers or {}
    everyone = [*keys, *(one for some, _ in given.values() for one in some)]
    signed = {
        "_type": "root", "spec_version": roots.SPEC, "version": version,
        "expires": (NOW + timedelta(days=days)).isoformat(),
        "keys": {one[2]: {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": one[1]}} for one in everyone},
        "roles": {"root": {"keyids": [one[2] for one in keys], "threshold": threshold}},
        "publishers": {
            name: {"keyids": [one[2] for one in some], "threshold": most} for name, (some, most) in given.items()
        },
    }  # fmt: skip
    data = canonical.dumps(signed)
    return {
        "signed": signed,
        "signatures": [{"keyid": one[2], "sig": signing.sign_with(one[0], data)} for one in signed_by],
    }


def envelope(digest: str, *signed_by: Key, payload: bytes | None = None) -> Row:
    """What these keys say of an artifact."""
    said = payload or dsse.statement(
        name="acme.notes@1.0.0", digest=digest, contents="0" * 64, repository="https://git.example.org/acme/notes",
        revision="f" * 40, builder="test",
    )  # fmt: skip
    data = dsse.pae(dsse.PAYLOAD_TYPE, said)
    return dsse.envelope(said, [(one[2], signing.sign_with(one[0], data)) for one in signed_by])


# artifacts ----------------------------------------------------------------------------------------------------------
@pytest.mark.capability(
    "REG-11", part="the digest follows from the contents alone, and every byte is checked against it"
)
def test_the_same_release_is_the_same_artifact_and_any_other_byte_is_another() -> None:
    made = oci.build(MANIFEST, "lock", FILES)
    assert made.digest == oci.build(dict(reversed(MANIFEST.items())), "lock", dict(reversed(FILES.items()))).digest
    assert oci.contents(made) == oci.Contents(MANIFEST, "lock", FILES)
    others = [
        oci.build({**MANIFEST, "version": "1.0.1"}, "lock", FILES),
        oci.build(MANIFEST, "lock2", FILES),
        oci.build(MANIFEST, "lock", {**FILES, "server.py": b"print('y')\n"}),
        oci.build(MANIFEST, "lock", {**FILES, "more.py": b""}),
    ]
    assert len({made.digest, *(other.digest for other in others)}) == 5


@pytest.mark.capability(
    "REG-11", part="the digest follows from the contents alone, and every byte is checked against it"
)
def test_a_layout_gives_back_what_was_kept_and_says_so_when_a_byte_of_it_changed(tmp_path: Path) -> None:
    made = oci.build(MANIFEST, "lock", FILES)
    oci.keep(tmp_path, made)
    oci.keep(tmp_path, made)
    assert oci.load(tmp_path, made.digest) == made
    layer = tmp_path / "oci" / "blobs" / "sha256" / made.layers[-1]["digest"].removeprefix("sha256:")
    layer.write_bytes(layer.read_bytes().replace(b"print('x')", b"print('!')"))
    with pytest.raises(oci.ArtifactProblem) as changed:
        oci.load(tmp_path, made.digest)
    assert changed.value.reason == "artifact_damaged"
    oci.keep(tmp_path, made)
    assert oci.load(tmp_path, made.digest) == made, "what was damaged is written anew"
    layer.unlink()
    with pytest.raises(oci.ArtifactProblem, match="not there any more"):
        oci.load(tmp_path, made.digest)


def tar(*entries: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """An archive of these entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            entry.size = len(data) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """One entry of an archive."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def sparse(name: str, size: int) -> bytes:
    """An archive of one header that promises a file of this size, and has none of its bytes (GNU's sparse type)."""
    made = entry(name, tarfile.GNUTYPE_SPARSE)
    made.size = 0
    block = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + b"\0" * 1024


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "64000000"}


def extended(name: str, data: bytes, **headers: str) -> bytes:
    """An archive of one file with an extended header."""
    made = entry(name)
    made.size, made.pax_headers = len(data), headers
    return made.tobuf(tarfile.PAX_FORMAT) + data.ljust(-len(data) % 512 + len(data), b"\0") + b"\0" * 1024


@pytest.mark.parametrize(
    "archive",
    [
        sparse("bomb", 64 * 1024 * 1024),
        extended("bomb", b"1\n0\n1\n".ljust(512, b"\0") + b"x", **SPARSE),
        extended("less than nothing", b"x", size="-512"),
        extended("other", b"x", path="renamed"),
        tar(entry("one"), entry("two"), entry("three"), data=b"x" * (oci.trees.MOST_BYTES // 3 + 1)),
        tar(entry(".git/config"), data=b"x"),
        tar(entry("a\\b"), data=b"x"),
        tar(entry("../outside"), data=b"x"),
        tar(entry("/etc/passwd"), data=b"x"),
        tar(entry("link", tarfile.SYMTYPE, "/etc/passwd")),
        tar(entry("hard", tarfile.LNKTYPE, "/etc/passwd")),
        tar(entry("device", tarfile.CHRTYPE)),
        tar(entry("twice"), entry("twice"), data=b"x"),
        tar(*(entry(f"f{number}") for number in range(501))),
        b"no archive at all",
    ],
    ids=[
        "sparse",
        "sparse by header",
        "less than nothing",
        "renamed by header",
        "too much together",
        "git's own",
        "backslash",
        "above",
        "absolute",
        "symlink",
        "hardlink",
        "device",
        "twice",
        "too many",
        "garbage",
    ],
)
@pytest.mark.capability(
    "REG-11", part="the digest follows from the contents alone, and every byte is checked against it"
)
def test_an_artifact_whose_archive_is_more_than_plain_small_files_is_refused(archive: bytes) -> None:
    good = oci.build(MANIFEST, "", FILES)
    assert oci.contents(good).files == FILES
    document = json.loads(good.manifest)
    document["layers"][-1] = {"mediaType": oci.TREE_TYPE, "digest": oci.digest_of(archive), "size": len(archive)}
    bad = oci.Artifact(canonical.dumps(document), {**good.blobs, oci.digest_of(archive): archive})
    with pytest.raises(oci.ArtifactProblem) as refused:
        oci.contents(bad)
    assert refused.value.reason == "artifact_malformed"


@pytest.mark.capability(
    "REG-11", part="the digest follows from the contents alone, and every byte is checked against it"
)
def test_a_manifest_that_promises_a_giant_or_an_unknown_layer_is_refused() -> None:
    good = oci.build(MANIFEST, "lock", FILES)
    assert len(oci.descriptors(good.manifest, good.digest)) == 4

    def reason(change: Any) -> str:
        document = json.loads(good.manifest)
        change(document)
        data = canonical.dumps(document)
        with pytest.raises(oci.ArtifactProblem) as refused:
            oci.descriptors(data, oci.digest_of(data))
        return refused.value.reason

    assert reason(lambda it: it["layers"][1].update(size=oci.MOST_LAYER + 1)) == "artifact_too_large"
    assert reason(lambda it: it.update(annotations={"x": "y" * oci.MOST_MANIFEST})) == "artifact_too_large"
    assert reason(lambda it: it["layers"][0].update(mediaType="application/x-sh")) == "artifact_malformed"
    assert reason(lambda it: it["layers"].append(it["layers"][0])) == "artifact_malformed"
    assert reason(lambda it: it["layers"][0].update(digest="sha256:../../x")) == "artifact_malformed"
    assert reason(lambda it: it.update(artifactType="application/other")) == "artifact_malformed"
    with pytest.raises(oci.ArtifactProblem) as lied:
        oci.descriptors(good.manifest, oci.build(MANIFEST, "", FILES).digest)
    assert lied.value.reason == "registry_lied"


# signatures and roots -----------------------------------------------------------------------------------------------
@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_a_signature_counts_for_its_publisher_its_artifact_and_a_root_that_holds() -> None:
    operator, ours, other = key(), key(), key()
    digest, another = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    held = root(operator, keys=[operator], publishers={"acme": ([ours], 1)})

    def said(envelopes: list[Row], *, document: Row | None = held, publisher: str = "acme", at: datetime = NOW) -> str:
        return roots.verdict(document, publisher, digest, envelopes, at).reason

    assert said([envelope(digest, ours)]) == "signature_trusted"
    assert said([]) == "signature_missing"
    assert said([envelope(digest, other)]) == "signature_invalid"
    assert said([envelope(another, ours)]) == "signature_of_another"
    assert said([envelope(digest, ours)], publisher="rival") == "publisher_not_trusted"
    assert said([envelope(digest, ours)], document=None) == "root_missing"
    assert said([envelope(digest, ours)], at=NOW + timedelta(days=31)) == "root_expired"
    swapped = {**envelope(digest, ours), "payload": envelope(another, ours)["payload"]}
    assert said([swapped]) == "signature_invalid", "a signature of another payload"
    renamed = copy.deepcopy(envelope(digest, other))
    renamed["signatures"][0]["keyid"] = ours[2]
    assert said([renamed]) == "signature_invalid", "another key under a trusted name"


@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_two_of_two_keys_are_two_keys_and_not_one_that_signed_twice() -> None:
    operator, one, two = key(), key(), key()
    digest = "sha256:" + "a" * 64
    held = root(operator, keys=[operator], publishers={"acme": ([one, two], 2)})
    both = roots.verdict(held, "acme", digest, [envelope(digest, one), envelope(digest, two)], NOW)
    assert (both.state, set(both.keys)) == ("trusted", {one[2], two[2]})
    twice = roots.verdict(held, "acme", digest, [envelope(digest, one, one), envelope(digest, one)], NOW)
    assert twice.reason == "signature_below_threshold"


@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_a_key_that_vouches_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, one, two = key(), key(), key()
    digest, asked = "sha256:" + "a" * 64, []
    held = root(operator, keys=[operator], publishers={"acme": ([one, two], 2)})
    real = dsse.verifies
    monkeypatch.setattr(dsse, "verifies", lambda *given: asked.append(given[0]) or real(*given))
    found = roots.verdict(held, "acme", digest, [*[envelope(digest, one)] * 16, envelope(digest, one, two)], NOW)
    assert (found.state, sorted(asked)) == ("trusted", sorted((one[1], two[1])))


@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_an_envelope_is_small_and_signed_once_by_each_key() -> None:
    one, two = key(), key()
    digest = "sha256:" + "a" * 64
    assert len(dsse.read(envelope(digest, one, two))[1]) == 2, "the control"
    for wrong in (envelope(digest, one, one), envelope(digest, one, payload=b"x" * dsse.MOST_BYTES)):
        with pytest.raises(dsse.EnvelopeProblem):
            dsse.read(wrong)
    # A payload that just fits leaves no room for its signature.
    with pytest.raises(dsse.EnvelopeProblem, match="more than 16384 bytes"):
        dsse.read(envelope(digest, one, payload=b"x" * (dsse.MOST_BYTES // 4 * 3)))


@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_a_root_follows_the_one_in_force_signed_by_enough_of_both() -> None:
    a, b, c, new = key(), key(), key(), key()
    first = root(a, b, keys=[a, b, c], threshold=2)
    assert roots.follows(None, first, NOW).version == 1

    def reason(document: Row, before: Row | None = first) -> str:
        with pytest.raises(roots.RootProblem) as refused:
            roots.follows(before, document, NOW)
        return refused.value.reason

    rotated = root(a, c, new, keys=[c, new], threshold=2, version=2)
    assert roots.follows(first, rotated, NOW).root.keys == {c[2], new[2]}
    assert reason(root(a, new, keys=[c, new], version=2)) == "root_below_threshold", "one of two that hold"
    assert reason(root(a, b, keys=[new], version=2)) == "root_below_threshold", "none of its own"
    assert reason(root(a, a, a, keys=[a], version=2)) == "root_below_threshold", "one key three times"
    assert reason(first) == "root_replayed"
    assert reason(rotated, rotated) == "root_replayed"
    assert reason(root(a, b, keys=[a, b], threshold=2, version=3)) == "root_skips"
    assert reason(root(a, b, keys=[a, b], version=2, days=-1)) == "root_expired"
    assert reason(root(a, keys=[a, b], threshold=2), None) == "root_below_threshold"
    changed = copy.deepcopy(rotated)
    changed["signed"]["publishers"] = {"acme": {"keyids": [new[2]], "threshold": 1}}
    assert reason(changed) == "root_below_threshold", "changed after it was signed"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"signed": [], "signatures": []},
        {"signed": {"_type": "root", "version": True}, "signatures": []},
        {"signed": {"_type": "targets", "version": 1}, "signatures": []},
    ],
)
@pytest.mark.capability("LIF-7", part="signatures and trust roots: threshold, rotation, expiry, replay")
def test_what_is_no_root_is_told_so_and_no_key_has_two_names(broken: Row) -> None:
    a = key()
    assert roots.read(root(a, keys=[a])).version == 1
    with pytest.raises(roots.RootProblem):
        roots.read(broken)
    twice = root(a, keys=[a])
    twice["signed"]["keys"]["0" * 64] = twice["signed"]["keys"][a[2]]
    twice["signed"]["roles"]["root"] = {"keyids": [a[2], "0" * 64], "threshold": 2}
    with pytest.raises(roots.RootProblem):
        roots.read(twice)


# policy -------------------------------------------------------------------------------------------------------------
def may(policy: rules.Policy, **changes: Any) -> str:
    """The refusal's code; empty when it may."""
    asked = {"destination": "local", "visibility": "private", "repository": "", "on_trial": False, **changes}
    refusal = rules.may_publish(policy, **asked)
    return refusal.code if refusal else ""


@pytest.mark.capability("REG-7")
def test_with_no_policy_nothing_is_public_and_nothing_goes_outside() -> None:
    none = rules.effective([{}])
    assert none.visibility == "private"
    assert may(none) == ""
    assert may(none, visibility="shared") == ""
    assert may(none, visibility="public") == "visibility_not_allowed"
    assert may(none, destination="registry.example:443/packs") == "destination_not_allowed"
    said = rules.effective([{"most": "public", "image_destinations": ["local", "registry.example:443/*"]}])
    assert may(said, visibility="public") == ""
    assert may(said, destination="registry.example:443/packs") == ""


@pytest.mark.capability("REG-5", part="the layers of policy and what each decides")
def test_a_layer_can_tighten_what_is_above_it_and_never_loosen_it() -> None:
    deployment = {
        "most": "shared", "image_destinations": ["local", "one.example:443/*"], "approvers": ["approve:1"],
        "source_destinations": ["https://git.example.org/*"], "require_signature": True, "public_on_trial": False,
    }  # fmt: skip
    loose = {
        "most": "public", "visibility": "public", "image_destinations": ["local", "two.example:443/*"], "approvers": [],
        "source_destinations": ["https://evil.example/*"], "require_signature": False, "public_on_trial": True,
    }  # fmt: skip
    both = rules.effective([deployment, loose])
    assert (both.most, both.visibility, both.require_signature, both.public_on_trial) == (
        "shared",
        "shared",
        True,
        False,
    )
    assert both.approvers == ("approve:1",)
    ours = {"repository": "https://git.example.org/acme/notes"}
    assert may(rules.effective([deployment]), destination="one.example:443/packs", **ours) == ""
    for place in ("one.example:443/packs", "two.example:443/packs"):
        assert may(both, destination=place, **ours) == "destination_not_allowed"
    assert may(rules.effective([deployment]), **ours) == ""
    for repository in ("", "https://evil.example/x", "https://git.example.org.evil.example/x"):
        assert may(rules.effective([deployment]), repository=repository) == "source_not_allowed"
    assert may(both, **ours) == "source_not_allowed"


@pytest.mark.capability("REG-6", part="what counts as an allowed place")
def test_a_destination_is_allowed_whole_or_below_a_pattern_and_not_by_resemblance() -> None:
    allowed = ["local", "registry.example:443/team/*", "other.example:443/packs"]
    for place in (
        "local",
        "registry.example:443/team/packs",
        "registry.example:443/team/a/b",
        "other.example:443/packs",
    ):
        assert rules.matches(allowed, place), place
    for place in (
        "registry.example:443/team", "registry.example:443/teams/x", "registry.example:5000/team/x", "x.local",
        "registry.example:443/team/../secret", "other.example:443/packs/more", "evil.example:443/team/packs",
    ):  # fmt: skip
        assert not rules.matches(allowed, place), place


@pytest.mark.capability("REG-5", part="the layers of policy and what each decides")
def test_a_tenant_on_trial_publishes_publicly_only_where_that_is_said() -> None:
    wide = rules.effective([{"most": "public"}])
    assert may(wide, visibility="public") == ""
    assert may(wide, visibility="public", on_trial=True) == "trial_not_public"
    assert may(wide, visibility="shared", on_trial=True) == ""
    assert may(rules.effective([{"most": "public", "public_on_trial": True}]), visibility="public", on_trial=True) == ""


@pytest.mark.capability("REG-4", part="how well a thing fits")
def test_a_search_finds_what_does_the_same_under_another_name() -> None:
    row = {
        "publisher": "acme", "name": "tickets", "manifest": {"display_name": "Tickets", "description": "Issues of a tracker."},
        "tools": [{"name": "list_issues", "description": "Lists open issues of a repository."}],
    }  # fmt: skip
    assert rules.score(row, rules.words("read the open issues of our tracker")) >= 6
    assert rules.score(row, rules.words("weather forecast")) == 0
    assert rules.words("The THE a of x") == ["of"]
