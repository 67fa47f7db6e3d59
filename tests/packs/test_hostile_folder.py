"""A pack's folder that a stranger has filled, on the builder's own machine: nothing of it runs, nothing outside is touched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import ROOT
from tests.packs.test_build import FILES, NAME, Shelf
from tests.packs.test_registration import small
from worka.cli import building, packs, starter
from worka.cli.client import Failed
from worka.packs import archive, checking, files, folder, trees
from worka.packs.errors import FolderUnreadable, LockInvalid, ManifestInvalid, TargetRefused
from worka.packs.manifest import PLACE, Package
from worka.packs.runtime import lock as locking
from worka.packs.runtime import npm
from worka.packs.runtime.errors import BuildFailed

MEMORY = ROOT / "packs" / "third-party" / "memory"


def named(pack: Path, **package: Any) -> dict[str, Any]:
    """Writes a manifest that names the package of the shelf, changed."""
    told = {"ecosystem": "pypi", "name": NAME, "version": "1.0", **package}
    document = small(runtime={"package": told})
    (pack / "worka").mkdir(exist_ok=True)
    (pack / PLACE).write_text(json.dumps(document))
    return document


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to lock, its package on a shelf, and whoever locks stands in it."""
    shelf = Shelf(tmp_path / "shelf")
    shelf.wheel(FILES)
    made = tmp_path / "pack"
    made.mkdir()
    named(made)
    monkeypatch.setenv("UV_FIND_LINKS", str(shelf.folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The pack that `worka pack init` writes."""
    made = tmp_path / "started"
    for name, text in starter.files("acme", "small").items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def locked(pack: Path) -> bool:
    try:
        return bool(packs.lock(pack)["written"])
    except BuildFailed:
        return False


def ran(pack: Path, tmp_path: Path) -> Iterator[str]:
    """What a stranger put where a resolver would look for its tools and its settings."""
    script(pack / ".venv" / "bin" / "python", f"touch {tmp_path}/python; exit 1")
    (pack / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (pack / "uv.toml").write_text(f'no-index = true\nfind-links = ["{tmp_path}/nowhere"]\n')
    code = f"open({str(tmp_path / 'backend')!r}, 'w')\n"
    (pack / "x").mkdir()
    (pack / "x" / "setup.py").write_text(code)
    yield from ("python", "backend")


@pytest.mark.capability("MAN-1", part="before any code")
def test_locking_a_hostile_folder_runs_nothing_of_it_and_hands_the_resolver_nothing_but_names(
    pack: Path, tmp_path: Path
) -> None:
    marks = list(ran(pack, tmp_path))
    target = pack / "requirements.lock"
    assert locked(pack), "the control: an honest manifest in the same folder is locked"
    target.unlink()
    assert packs.lock(pack, dry_run=True) == {"lock": str(target), "packages": 1, "written": False}
    assert not target.exists()
    assert packs.lock(pack)["written"]
    assert target.read_text().startswith(f"{NAME}==1.0")
    for name in ("-e ./x\nfoo", "./x", "foo @ file:///x", "foo\n--index-url=https://x.test", "@a/b"):
        named(pack, name=name)
        with pytest.raises((ManifestInvalid, LockInvalid)):
            packs.lock(pack)
    for version in ("1.0\n-e ./x", "1.zip", "1.0 -e x"):
        named(pack, version=version)
        with pytest.raises((ManifestInvalid, LockInvalid)):
            packs.lock(pack)
    named(pack)
    for line in ("-e ./x", "./x", "--find-links /x", "-r /etc/passwd", "foo @ file:///x", "foo", "foo===./x"):
        (pack / "constraints.txt").write_text(f"mcp<2  # an honest one\n{line}\n")
        with pytest.raises(LockInvalid, match=r"Line 2 of constraints.txt"):
            packs.lock(pack)
    (pack / "constraints.txt").write_text(f"{NAME} < 1\n")
    with pytest.raises(BuildFailed):
        packs.lock(pack)
    (pack / "constraints.txt").write_text(f"# narrows nothing\n{NAME} >= 1, < 2\n")
    target.write_text("--index-url https://x.test\n")
    with pytest.raises(LockInvalid):
        packs.lock(pack)
    target.unlink()
    assert packs.lock(pack)["packages"] == 1
    assert [mark for mark in marks if (tmp_path / mark).exists()] == []


def test_a_lock_is_written_below_the_folder_and_through_no_link(pack: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("")
    (tmp_path / "elsewhere").mkdir()
    for name in (str(mine), "../mine", "a/../../mine"):
        named(pack, lock=name)
        with pytest.raises(LockInvalid, match="not a plain relative path"):
            packs.lock(pack)
    (pack / "requirements.lock").symlink_to(mine)
    (pack / "sub").symlink_to(tmp_path / "elsewhere")
    for name in ("requirements.lock", "sub/requirements.lock"):
        named(pack, lock=name)
        with pytest.raises(FolderUnreadable, match="not a plain file"):
            packs.lock(pack)
    # What is no lock is not overwritten by one either.
    (pack / "server.py").write_text("x = 1\n")
    named(pack, lock="server.py")
    with pytest.raises(LockInvalid):
        packs.lock(pack)
    assert (mine.read_text(), (pack / "server.py").read_text()) == ("", "x = 1\n")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (pack / "sub").unlink()
    (pack / "sub").mkdir()
    named(pack, lock="sub/requirements.lock")
    assert packs.lock(pack)["written"], "the control"
    assert (pack / "sub" / "requirements.lock").read_text().startswith(f"{NAME}==1.0")


def test_a_resolver_that_does_not_end_is_ended_with_what_it_has_started(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packs.lock(pack)["written"], "the control"
    monkeypatch.setattr(locking, "uv", lambda: str(script(tmp_path / "slow", "sleep 60 & sleep 60")))
    monkeypatch.setattr(locking, "SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(BuildFailed, match="longer than"):
        packs.lock(pack)
    assert time.monotonic() - began < 20


@pytest.mark.skipif(not Path("/usr/bin/npm").exists(), reason="npm is not installed")
def test_npm_sees_a_lock_that_was_understood_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing answers there: all that is needed stands in the lock.
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    held = (MEMORY / "package-lock.json").read_text()
    package = Package(**json.loads((MEMORY / PLACE).read_text())["runtime"]["package"])
    text, count = locking.resolve_npm(package, held)
    assert count == len(json.loads(held)["packages"]) - 1, "the control: what stands in an honest lock is kept"
    assert npm.read_lock(text, package.name, package.version)
    asked = script(tmp_path / "npm", f"touch {tmp_path}/ran")
    monkeypatch.setattr(npm, "npm", lambda: str(asked))
    hostile = json.loads(held)
    first = next(place for place in hostile["packages"] if place and not place.endswith(package.name))
    for change in ({"resolved": "x", "link": True}, {"version": "file:../x"}, {"integrity": "sha1-x"}):
        wrong = {**hostile, "packages": {**hostile["packages"], first: {**hostile["packages"][first], **change}}}
        with pytest.raises(LockInvalid):
            locking.resolve_npm(package, json.dumps(wrong))
    for version in ("latest", "1", "1.0.0_x"):
        with pytest.raises(LockInvalid):
            locking.resolve_npm(package.model_copy(update={"version": version}), held)
    assert not (tmp_path / "ran").exists()
    older = package.model_copy(update={"version": "1.0.0"})
    with pytest.raises(LockInvalid, match=r"the manifest says 1\.0\.0"):
        locking.resolve_npm(older, held)
    assert (tmp_path / "ran").exists(), "the control: an honest lock of another version is handed over"


def test_an_archive_and_a_manifest_are_written_through_no_link(started: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    name = f"acme.small-0.1.0{archive.SUFFIX}"
    building.build(started)
    made = (started / "dist" / name).read_bytes()
    assert archive.unpack(made), "the control"
    (started / "dist" / name).unlink()
    (started / "dist" / name).symlink_to(mine)
    with pytest.raises(Failed, match="a link"):
        building.build(started)
    (started / "dist" / name).unlink()
    (started / "dist").rmdir()
    (started / "dist").symlink_to(tmp_path / "elsewhere")
    for out in (None, started / "dist" / "x", started / "dist" / "a" / "x"):
        with pytest.raises(Failed, match="a link"):
            building.build(started, out)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # The caller's own way is the caller's: a link outside of the pack that he names is followed up to the file.
    (tmp_path / "way").symlink_to(tmp_path / "elsewhere")
    building.build(started, tmp_path / "way" / "x")
    assert (tmp_path / "elsewhere" / "x").read_bytes() == made
    (started / PLACE).unlink()
    (started / PLACE).symlink_to(mine)
    with pytest.raises(TargetRefused):
        files.write(started, PLACE, b"{}")
    assert mine.read_text() == "mine"
    assert [path.name for path in started.rglob(".worka-*")] == []


@pytest.mark.capability("MAN-1", part="before any code")
def test_what_is_linked_is_never_read_into_a_registration(started: Path, tmp_path: Path) -> None:
    assert packs.pack_body(started)["files"], "the control"
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_secret = x\n")
    document = named(started)
    (started / "requirements.lock").unlink()
    (started / "requirements.lock").write_text(f"{NAME}==1.0 --hash=sha256:{'0' * 64}\n")
    assert packs.pack_body(started)["lock"].startswith(NAME), "the control"
    (started / "requirements.lock").write_text(keys.read_text())
    with pytest.raises(Failed, match="not `name==version"):
        packs.pack_body(started)
    (started / "requirements.lock").unlink()
    (started / "requirements.lock").symlink_to(keys)
    with pytest.raises(Failed, match="not a plain file"):
        packs.pack_body(started)
    (started / "requirements.lock").unlink()
    (started / "requirements.lock").write_text(f"{NAME}==1.0 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "aip.json").write_text(json.dumps(document))
    (started / PLACE).unlink()
    (started / "worka").rmdir()
    (started / "worka").symlink_to(tmp_path / "other")
    with pytest.raises(Failed, match="not a plain file"):
        packs.pack_body(started)


def test_a_file_is_measured_before_it_is_read_and_a_pipe_is_not_waited_for(started: Path) -> None:
    (started / "data").write_bytes(b"0" * 1024)
    assert len(folder.read(started).files["data"]) == 1024, "the control"
    for name in ("data", PLACE, "requirements.lock"):
        kept = (started / name).read_bytes()
        os.truncate(started / name, 1 << 40)
        with pytest.raises(FolderUnreadable, match="larger than a pack may be"):
            folder.read(started)
        (started / name).write_bytes(kept)
    with (started / "data").open("wb") as grown:
        grown.truncate(trees.MOST_BYTES)
    with pytest.raises(FolderUnreadable, match="larger than a pack may be"):
        folder.read(started)
    (started / "data").unlink()
    os.mkfifo(started / "data")
    with pytest.raises(FolderUnreadable, match="not a plain file"):
        folder.read(started)


@pytest.mark.capability("MAN-1", part="before any code")
@pytest.mark.parametrize(
    "deep",
    [b"(" * 300_000, b"-" * 200_000 + b"1", b"[" * 5000 + b"]" * 5000, b"x = " + b"1+(" * 90 + b"1" + b")" * 90],
    ids=("open", "signs", "lists", "sums"),
)
def test_source_that_is_nested_deeper_than_a_compiler_goes_is_told_and_crashes_nothing(
    started: Path, deep: bytes
) -> None:
    assert checking.check(folder.read(started)).warnings == [], "the control"
    (started / "deep.py").write_bytes(b"import worka_sdk\n" + deep)
    source = folder.read(started)
    verdict = checking.check(source)
    assert verdict.ok
    assert all(notice.message.startswith("deep.py is not Python") for notice in verdict.warnings)
    assert folder.vendored({"deep.py": source.files["deep.py"]}).keys() > {"deep.py"}
