"""A release as an OCI artifact: a manifest and its layers, each under its own digest; and the store on this machine's disk
that holds them, by digest and without an index (ADR 0104). The same release always makes the same bytes. Blocking; nothing of it is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worka.kernel import canonical, strict_json, tars
from worka.kernel.errors import Problem
from worka.packs import trees

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.worka.pack.release.v1"
AIP_TYPE = "application/vnd.worka.pack.manifest.v1+json"
LOCK_TYPE = "application/vnd.worka.pack.lock.v1+text"
TREE_TYPE = "application/vnd.worka.pack.files.v1.tar"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
MOST_MANIFEST = 64 * 1024
MOST_LAYER = 6 * 1024 * 1024
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NOTE = "org.opencontainers.image."
Row = dict[str, Any]


class ArtifactProblem(Exception):
    """Something is not the artifact that its digest promises: `reason` is a code, the text says what."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Artifact:
    """An artifact as bytes: its manifest, and layers by digest (the empty config among them)."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        return len(self.manifest) + sum(map(len, self.blobs.values()))

    @property
    def layers(self) -> list[Row]:
        return list(strict_json.loads(self.manifest)["layers"])


@dataclass(frozen=True)
class Contents:
    """What lies in an artifact: what a registration takes."""

    manifest: Row
    lock: str
    files: Mapping[str, bytes]


def digest_of(data: bytes) -> str:
    """`sha256:` and the hash in hex."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def build(manifest: Mapping[str, Any], lock: str, files: Mapping[str, bytes]) -> Artifact:
    """The artifact of a release, out of nothing but what was handed in."""
    layers: list[tuple[str, bytes]] = [(AIP_TYPE, canonical.dumps(dict(manifest)))]
    if lock:
        layers.append((LOCK_TYPE, lock.encode()))
    if files:
        layers.append((TREE_TYPE, _tar(files)))
    source = manifest.get("source") or {}
    source = source if isinstance(source, Mapping) else {"repository": str(source)}
    notes = {
        _NOTE + "title": f"{manifest['publisher']}.{manifest['name']}",
        _NOTE + "version": str(manifest["version"]),
        _NOTE + "source": str(source.get("repository") or ""),
        _NOTE + "revision": str(source.get("revision") or ""),
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _descriptor(EMPTY_TYPE, EMPTY),
        "layers": [_descriptor(kind, data) for kind, data in layers],
        "annotations": {name: text for name, text in notes.items() if text},
    }
    blobs = {digest_of(data): data for _, data in layers} | {digest_of(EMPTY): EMPTY}
    return Artifact(canonical.dumps(document), blobs)


def _descriptor(kind: str, data: bytes) -> Row:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def document(manifest: bytes) -> Any:
    """What a manifest says, read as every reader reads it: registries take `Layers` for `layers`, so one that has both is
    refused like one that has a name twice. Raises ArtifactProblem `artifact_too_large`, ValueError, strict_json.Unreadable."""
    if len(manifest) > MOST_MANIFEST:
        raise ArtifactProblem("artifact_too_large", f"its manifest has more than {MOST_MANIFEST} bytes")
    found = strict_json.loads(manifest)
    _alike(found)
    return found


def _alike(value: Any) -> None:
    if isinstance(value, dict):
        if len({name.casefold() for name in value}) != len(value):
            raise ValueError("two names in one object that differ in their case alone")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _alike(inner)


def descriptors(manifest: bytes, digest: str) -> list[Row]:
    """[{mediaType, digest, size}] of what a manifest needs beside itself, config first. Raises ArtifactProblem unless these are
    the bytes of `digest`, and a manifest of ours whose parts are of known kinds and bounded."""
    if digest_of(manifest) != digest:
        raise ArtifactProblem("registry_lied", f"what came for {digest} is {digest_of(manifest)}")
    try:
        found = document(manifest)
        if found["artifactType"] != ARTIFACT_TYPE or found["mediaType"] != MANIFEST_TYPE:
            raise ValueError("another kind of artifact")
        parts = [found["config"], *found["layers"]]
        kinds = [part["mediaType"] for part in parts]
        if kinds[0] != EMPTY_TYPE or kinds[1] != AIP_TYPE or len(kinds) != len(set(kinds)):
            raise ValueError("other layers than a release has")
        if set(kinds) - {EMPTY_TYPE, AIP_TYPE, LOCK_TYPE, TREE_TYPE}:
            raise ValueError("a layer of an unknown kind")
        for part in parts:
            if not DIGEST.match(part["digest"]) or type(part["size"]) is not int or part["size"] < 0:
                raise ValueError("a part without digest or size")
            if part["size"] > MOST_LAYER:
                raise ArtifactProblem(
                    "artifact_too_large", f"a layer of {part['size']} bytes; {MOST_LAYER} is the most"
                )
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, Problem) as error:
        raise ArtifactProblem("artifact_malformed", f"it is no release of a pack: {str(error)[:120]}") from error
    return parts


def check(part: Mapping[str, Any], data: bytes) -> bytes:
    """The bytes of a part, if they are what its descriptor promises. Raises ArtifactProblem."""
    if len(data) != part["size"] or digest_of(data) != part["digest"]:
        raise ArtifactProblem(
            "registry_lied", f"what came for {part['digest']} is {digest_of(data)}, {len(data)} bytes"
        )
    return data


def contents(artifact: Artifact) -> Contents:
    """What lies in it, unpacked in memory. Raises ArtifactProblem for an archive that is more than plain small files."""
    parts = descriptors(artifact.manifest, artifact.digest)
    by_kind = {part["mediaType"]: check(part, artifact.blobs[part["digest"]]) for part in parts}
    try:
        manifest = strict_json.loads(by_kind[AIP_TYPE])
        lock = by_kind.get(LOCK_TYPE, b"").decode()
        files = _untar(by_kind[TREE_TYPE]) if TREE_TYPE in by_kind else {}
    except (ValueError, tarfile.TarError, RecursionError, Problem) as error:
        raise ArtifactProblem("artifact_malformed", f"a layer cannot be read: {str(error)[:120]}") from error
    if not isinstance(manifest, dict):
        raise ArtifactProblem("artifact_malformed", "its manifest layer is no object")
    return Contents(manifest, lock, files)


def _untar(data: bytes) -> dict[str, bytes]:
    """The files of a tar that holds nothing but plain ones: none sparse, none renamed or resized by an extended header, for
    those say how large a file is without having its bytes. Together at most what a tree may have, counted before it is read."""
    found: dict[str, bytes] = {}
    total = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", tarinfo=tars.careful()) as tar:
        for entry in tar:
            total += entry.size
            plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse() and not entry.pax_headers
            if not plain or entry.name in found or len(found) >= trees.MOST_FILES or total > trees.MOST_BYTES:
                raise ValueError(f"{entry.name[:80]!r} is no plain file, or there is too much")
            trees.check_name(entry.name)
            file = tar.extractfile(entry)
            assert file is not None
            found[entry.name] = file.read()
    return found


# the store ----------------------------------------------------------------------------------------------------------
def root(objects: Path) -> Path:
    """Where the store of an instance lies."""
    return objects / "oci"


def keep(objects: Path, artifact: Artifact) -> None:
    """Puts an artifact into the store: its blobs, then its manifest. Twice is the same."""
    base = root(objects)
    (base / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    for digest, data in artifact.blobs.items():
        _write(_blob(base, digest), data)
    _write(_blob(base, artifact.digest), artifact.manifest)


def load(objects: Path, digest: str) -> Artifact:
    """The artifact of a digest, every byte of it checked. Raises ArtifactProblem `artifact_damaged` for what is missing or
    changed on the disk."""
    base = root(objects)
    try:
        manifest = _blob(base, digest).read_bytes()
        parts = descriptors(manifest, digest)
        blobs = {part["digest"]: check(part, _blob(base, part["digest"]).read_bytes()) for part in parts}
    except FileNotFoundError as error:
        raise ArtifactProblem("artifact_damaged", f"a part of {digest} is not there any more") from error
    except ArtifactProblem as problem:
        code = "artifact_damaged" if problem.reason == "registry_lied" else problem.reason
        raise ArtifactProblem(code, str(problem)) from problem
    return Artifact(manifest, blobs)


def _blob(base: Path, digest: str) -> Path:
    if not DIGEST.match(digest):
        raise ArtifactProblem("artifact_malformed", f"{digest[:80]!r} is no digest")
    return base / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, and on the disk before its name is. What is there and was damaged is written anew; what is whole
    gets a new time, by which it is not cleared away before it has a row."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
        if path.read_bytes() == data:
            return
    fd, temporary = tempfile.mkstemp(prefix=".new.", dir=path.parent)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
