"""What is handed in with a registration, beside its manifest: the lock and the files, read and compared with each other.
Whoever reviews a release reads the files, so a file that says otherwise than what is registered is refused. Pure, and not
quick: callers run it in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from worka.packs import manifest as manifests
from worka.packs import rules, trees
from worka.packs.errors import LockInvalid, ManifestInvalid
from worka.packs.runtime.npm import read_lock as read_npm_lock
from worka.packs.runtime.record import read_lock


@dataclass(frozen=True)
class HandedIn:
    """`tree`: path -> contents, empty unless the files are the pack; `document` is the manifest as it was understood, and
    `contents` the SHA-256 over all of it."""

    tree: dict[str, bytes]
    document: dict[str, Any]
    contents: str


def read(
    manifest: manifests.Manifest,
    lock_text: str,
    *,
    files: Mapping[str, str] | None = None,
    tree: Mapping[str, bytes] | None = None,
) -> HandedIn:
    """`files` are base64 as they were sent, `tree` the same as bytes. Raises LockInvalid, ManifestInvalid."""
    package = manifest.runtime.package
    assert package is not None, "what names no package is not registered"
    _check_lock(package, lock_text)
    kept: dict[str, bytes] = {}
    if package.ecosystem == "path":
        kept = trees.decode(files or {}) if tree is None else trees.check(tree)
        if not kept:
            raise LockInvalid("A `path` package is sent along as `files`.", code="tree_invalid")
        _refuse_contradictions(manifest, package, lock_text, kept)
    document = manifests.understood(manifest)
    return HandedIn(kept, document, rules.contents_digest(document, lock_text, trees.digests(kept)))


def _refuse_contradictions(
    manifest: manifests.Manifest, package: manifests.Package, lock_text: str, tree: dict[str, bytes]
) -> None:
    wrong = manifests.absent_files(manifest, tree) + manifests.two_places(tree)
    for place in (manifests.PLACE, manifests.OLDER_PLACE):
        if place in tree:
            wrong += manifests.other_document(tree[place], manifest, place)
    if wrong:
        raise ManifestInvalid(errors=[notice.body() for notice in wrong])
    if (beside := tree.get(package.lock)) is not None:
        try:
            same = read_lock(beside.decode("utf-8")).text == read_lock(lock_text).text
        except (LockInvalid, UnicodeDecodeError):
            same = False
        if not same:
            raise LockInvalid(
                f"The files hold another {package.lock} than the lock that was sent.",
                remedy="Send the same lock in both places.",
            )


def _check_lock(package: manifests.Package, lock_text: str) -> None:
    if package.ecosystem == "npm":
        read_npm_lock(lock_text, package.name, package.version)
        return
    lock = read_lock(lock_text)
    if package.ecosystem == "pypi":
        pinned = lock.pins.get(canonicalize_name(package.name))
        if pinned is None:
            raise LockInvalid(f"{package.lock} does not pin {package.name} itself.")
        if pinned != package.version:
            raise LockInvalid(f"{package.lock} pins {package.name} {pinned}, the manifest says {package.version}.")
