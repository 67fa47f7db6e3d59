"""Archives that are small and unpack to more than a machine has: refused before they are read, in every reader of one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from worka.audit import verify
from worka.cli import demo_evidence
from worka.kernel import canonical, tars
from worka.packs import archive
from worka.packs.errors import ArchiveRefused
from worka.packs.registry import oci
from worka.packs.runtime import npm
from worka.packs.runtime.errors import RecordMismatch

DOCUMENT = json.dumps({"name": "small", "version": "1.0.0"}).encode()
MEBI = 1024 * 1024


def entry(kind: bytes, content: bytes = b"", name: str = "x", size: int | None = None) -> bytes:
    """One entry as it stands in a tar, whatever tarfile thinks of it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


def record(name: str, value: str) -> bytes:
    text = f" {name}={value}\n"
    length = next(length for length in range(len(text), len(text) + 9) if len(str(length)) + len(text) == length)
    return f"{length}{text}".encode()


PLAIN = entry(tarfile.REGTYPE, DOCUMENT, "package/package.json")
HOLES = [
    record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"),
    record("GNU.sparse.map", "0,1"),
    record("GNU.sparse.size", "9"),
]
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a long record": lambda: entry(tarfile.XHDTYPE, record("a", "0" * 4 * MEBI)) + PLAIN,
    "a record for all": lambda: entry(tarfile.XGLTYPE, record("a", "0" * 4 * MEBI)) + PLAIN,
    "a long name": lambda: entry(tarfile.GNUTYPE_LONGNAME, b"0" * 4 * MEBI) + PLAIN,
    "a long link": lambda: entry(tarfile.GNUTYPE_LONGLINK, b"0" * 4 * MEBI) + PLAIN,
    # Each record is two bytes long and names all that follows: a half of the square of it.
    "names within names": lambda: entry(tarfile.XHDTYPE, b"2 " * 20_000 + b"=") + PLAIN,
    "records in a row": lambda: entry(tarfile.XHDTYPE, record("a", "0" * 6000)) * 3 + PLAIN,
    "records for all that add up": lambda: (entry(tarfile.XGLTYPE, record("a", "0" * 6000)) + PLAIN) * 3,
    "empty records in a row": lambda: entry(tarfile.XHDTYPE) * 200 + PLAIN,
    "many records": lambda: (entry(tarfile.XHDTYPE, record("a", "0" * 15_000)) + entry(tarfile.REGTYPE)) * 280,
    "holes": lambda: entry(tarfile.GNUTYPE_SPARSE),
    **{f"holes of a newer kind {n}": lambda n=n: entry(tarfile.XHDTYPE, HOLES[n]) + PLAIN for n in range(3)},  # type: ignore[misc]
}


def by_npm(tmp_path: Path, tar: bytes, **bounds: int) -> list[str]:
    """The names of what `npm.verify` finds installed, of a package of this archive."""
    content = gzip.compress(tar)
    hashed = hashlib.sha512(content)
    cache = tmp_path / npm.CACHE / "_cacache" / "content-v2" / "sha512"
    kept = cache / hashed.hexdigest()[:2] / hashed.hexdigest()[2:4] / hashed.hexdigest()[4:]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    place = tmp_path / "node_modules" / "small"
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_bytes(DOCUMENT)
    integrity = "sha512-" + base64.b64encode(hashed.digest()).decode()
    lock = npm.Lock("", {"node_modules/small": npm.Locked("small", "1.0.0", integrity, optional=False)})
    found = npm.verify(tmp_path, lock, **{"most_bytes": MEBI, "most_files": 50, **bounds})
    return [one.name for one in found]


def by_oci(tar: bytes) -> int:
    """How many files a release's tree has, of this layer."""
    layers = [(oci.AIP_TYPE, b"{}"), (oci.TREE_TYPE, tar)]
    part = [{"mediaType": kind, "digest": oci.digest_of(data), "size": len(data)} for kind, data in layers]
    empty = {"mediaType": oci.EMPTY_TYPE, "digest": oci.digest_of(oci.EMPTY), "size": len(oci.EMPTY)}
    manifest = canonical.dumps(
        {"mediaType": oci.MANIFEST_TYPE, "artifactType": oci.ARTIFACT_TYPE, "config": empty, "layers": part}
    )
    blobs = {oci.digest_of(data): data for data in (b"{}", tar)}
    return len(oci.contents(oci.Artifact(manifest, blobs)).files)


@pytest.mark.capability("RUN-5", part="archives")
@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_headers_that_would_fill_the_memory_are_refused_before_they_are_read(what: str, tmp_path: Path) -> None:
    named = entry(tarfile.XHDTYPE, record("path", "package/package.json")) + PLAIN + b"\0" * 1024
    assert (by_npm(tmp_path / "good", named), by_oci(PLAIN + b"\0" * 1024), len(archive.unpack(named))) == (
        ["small"],
        1,
        1,
    ), "the control: a header as everybody writes it"
    tar = HOSTILE[what]() + b"\0" * 1024
    tracemalloc.start()
    try:
        with pytest.raises(RecordMismatch, match="cannot be read"):
            by_npm(tmp_path / "bad", tar, most_bytes=64 * MEBI, most_files=1000)
        with pytest.raises(ArchiveRefused):
            archive.unpack(tar)
        with pytest.raises(oci.ArtifactProblem):
            by_oci(tar)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * MEBI + 4 * len(tar), f"{most} bytes were taken"


@pytest.mark.capability("RUN-5", part="npm archives")
def test_an_archive_whose_nothing_is_longer_than_an_environment_is_not_read_to_its_end(tmp_path: Path) -> None:
    # Of a kind that npm leaves out, so that no file of it is counted.
    def tar(size: int) -> bytes:
        return PLAIN + entry(b"Z", b"\0" * size) + b"\0" * 1024

    assert by_npm(tmp_path / "good", tar(MEBI // 2)) == ["small"], "the control"
    with pytest.raises(RecordMismatch, match="unpacks to more"):
        by_npm(tmp_path / "long", tar(3 * MEBI))
    for size in ("-9999999", "9999999"):
        lies = entry(tarfile.XHDTYPE, record("size", size)) + entry(tarfile.REGTYPE, name="package/x")
        with pytest.raises(RecordMismatch, match="too large"):
            by_npm(tmp_path / size, lies + PLAIN)
    with pytest.raises(RecordMismatch, match="too large"):
        by_npm(tmp_path / "name", entry(tarfile.XHDTYPE, record("path", "package/" + "a/" * 600 + "x")) + PLAIN)
    many = PLAIN + entry(tarfile.SYMTYPE) * 60 + b"\0" * 1024
    assert by_npm(tmp_path / "few", many, most_files=61) == ["small"], "the control"
    with pytest.raises(RecordMismatch, match="more than 50 entries"):
        by_npm(tmp_path / "many", many)


def test_a_class_of_entries_counts_for_one_archive() -> None:
    names = [f"{'long' * 40}/{n}" for n in range(400)]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    for _ in range(2):
        made.seek(0)
        with tarfile.open(fileobj=made, mode="r:", tarinfo=tars.careful()) as tar:
            assert tar.getnames() == names


def exported(members: bytes) -> bytes:
    """An export of a ledger with these entries before its key."""
    return members + entry(tarfile.REGTYPE, b"key", "public-key.txt") + b"\0" * 1024


@pytest.mark.capability("AUD-7", part="an export that is hostile is refused before it is read")
@pytest.mark.parametrize("what", sorted({*HOSTILE} - {"records in a row", "many records", "empty records in a row"}))
def test_a_hostile_export_is_refused_by_its_verifier_before_it_is_read(what: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    good.write_bytes(exported(entry(tarfile.XHDTYPE, record("mtime", "1.5")) + PLAIN))
    assert set(verify.read(str(good))) == {"package/package.json", "public-key.txt"}, "the control"
    assert set(demo_evidence.files_of(good)) == {"package/package.json", "public-key.txt"}, "the control"
    tar = exported(HOSTILE[what]())
    bad.write_bytes(tar)
    tracemalloc.start()
    try:
        with pytest.raises(verify.Unreadable):
            verify.read(str(bad))
        with pytest.raises(demo_evidence.EvidenceFailed):
            demo_evidence.files_of(bad)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * MEBI + 2 * len(tar), f"{most} bytes were taken"


@pytest.mark.capability("AUD-7", part="an export that is hostile is refused before it is read")
def test_nothing_of_a_hostile_export_is_written_followed_or_read_beyond_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    before = sorted(tmp_path.rglob("*"))

    def read(members: bytes) -> dict[str, bytes]:
        path = tmp_path / "export.tar"
        path.write_bytes(exported(members))
        try:
            found = verify.read(str(path))
            assert set(demo_evidence.files_of(path)) == set(found)
            return found
        finally:
            path.unlink()

    def link(kind: bytes, to: str) -> bytes:
        info = tarfile.TarInfo("entries/lane-0.jsonl")
        info.type, info.linkname = kind, to
        return info.tobuf(tarfile.GNU_FORMAT)

    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        for to in (str(secret), "../secret", "public-key.txt"):
            assert set(read(link(kind, to))) == {"public-key.txt"}, "a link is no file"
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        assert set(read(entry(kind))) == {"public-key.txt"}, "neither is a device, a pipe or a folder"
    for name in ("../secret", "/etc/passwd", "a/../../secret", "./../secret"):
        with pytest.raises(verify.Unreadable, match="unsafe path"):
            read(entry(tarfile.REGTYPE, b"x", name))
    monkeypatch.setattr(verify, "_MOST", 1000)
    with pytest.raises(verify.Unreadable, match="too much"):
        read(entry(tarfile.REGTYPE, b"x" * 2000, "a"))
    with pytest.raises(verify.Unreadable):
        read(entry(tarfile.CHRTYPE, size=-(10**9)) + entry(tarfile.REGTYPE, b"x" * 2000, "a"))
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "public-key.txt").write_bytes(b"key")
    (folder / "secret").symlink_to(secret)
    assert set(verify.read(str(folder))) == {"public-key.txt"}
    (folder / "holes").touch()
    with (folder / "holes").open("ab") as file:
        file.truncate(10**12)
    with pytest.raises(verify.Unreadable, match="too much"):
        verify.read(str(folder))
