"""npm packages that want more than to be unpacked: scripts, archives that leave their folder, locks that lead elsewhere,
registries that lie. The registry is a real one of ours, npm is the machine's.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.test_archives import size, strangers
from worka.packs.errors import LockInvalid
from worka.packs.runtime import npm
from worka.packs.runtime.budget import Budget
from worka.packs.runtime.build import Builder
from worka.packs.runtime.errors import BuildFailed, EntryPointMissing, RecordMismatch

pytestmark = pytest.mark.timeout(300)
NAME = "worka-test-tool"
PACKAGE = {"ecosystem": "npm", "name": NAME, "version": "1.0.0"}
SERVER = b"#!/usr/bin/env node\nconsole.log('here')\n"
Extra = list[tuple[str, bytes, bytes]]


def archive(
    document: dict[str, Any] | None = None, files: dict[str, bytes] | None = None, extra: Extra | None = None
) -> bytes:
    """A package as npm packs it; `extra`: (name, type of entry, content or target)."""
    stated = {"name": NAME, "version": "1.0.0", "bin": "server.js"} | (document or {})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for name, content in {
            "package.json": json.dumps(stated).encode(),
            "server.js": SERVER,
            **(files or {}),
        }.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
        for name, kind, content in extra or []:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o6777
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
            else:
                entry.linkname = content.decode()
            opened.addfile(entry, io.BytesIO(content if kind == tarfile.REGTYPE else b""))
    return made.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def lock(content: bytes, **changes: Any) -> str:
    """A lock of that archive; `changes` are of its one entry."""
    entry = {"version": "1.0.0", "integrity": integrity(content), "license": "MIT"} | changes
    packages = {"": {"dependencies": {NAME: "1.0.0"}}, f"node_modules/{NAME}": entry}
    return json.dumps({"name": "x", "lockfileVersion": 3, "requires": True, "packages": packages})


@dataclass
class Registry:
    """Gives `content` for the one package that there is; counts what was asked."""

    content: bytes = b""
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry on a port of its own."""
    found = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            body = found.content
            if not self.path.endswith(".tgz"):
                dist = {"tarball": f"{found.url}/{NAME}/-/{NAME}-1.0.0.tgz", "integrity": integrity(body)}
                version = {"name": NAME, "version": "1.0.0", "dist": dist, "hasInstallScript": True}
                body = json.dumps(
                    {"name": NAME, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
                ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def builder(root: Path, registry: Registry, **bounds: int) -> Builder:
    """Builds below root/home, from this registry alone."""
    (root / "home" / "envs").mkdir(parents=True, exist_ok=True)
    return Builder(root / "home", {"npm_config_registry": registry.url}, Budget(**bounds))


async def test_no_script_of_a_package_runs_when_it_is_installed(open_path: Path, registry: Registry) -> None:
    ran = open_path / "ran"
    hooks = dict.fromkeys(("preinstall", "install", "postinstall", "prepare"), f"touch {ran}")
    registry.content = archive({"scripts": hooks})
    built = await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
    assert built["entry"][1].endswith(f"node_modules/{NAME}/server.js")
    assert subprocess.run(built["entry"], capture_output=True, text=True, check=True).stdout == "here\n"
    assert strangers(open_path) == []
    # The control: the same package, installed as everybody does.
    place = open_path / "home" / "control"
    place.mkdir()
    (place / "package.json").write_text(json.dumps({"name": "x", "version": "1.0.0", "dependencies": {NAME: "1.0.0"}}))
    command = [
        "npm",
        "install",
        f"--registry={registry.url}",
        "--no-audit",
        f"--cache={place / 'cache'}",
        "--ignore-scripts=false",
        "--userconfig=/dev/null",
    ]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    assert ran.exists()


LOCKS: dict[str, dict[str, Any]] = {
    "an address": {"version": "https://evil.test/x.tgz"},
    "a git repository": {"version": "git+ssh://git@evil.test/x.git"},
    "a link": {"link": True},
    "a bundle": {"inBundle": True},
    "no integrity": {"integrity": None},
    "a weak integrity": {"integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
    "two integrities": {"integrity": f"{integrity(b'a')} {integrity(b'b')}"},
    "a dependency at an address": {"dependencies": {"other": "https://evil.test/x.tgz"}},
    "a dependency in a repository": {"dependencies": {"other": "evil/repository"}},
    "a dependency on a folder": {"optionalDependencies": {"other": "file:../../../etc"}},
    "another name": {"name": "another"},
    "an option as a name": {"name": "--registry=http://evil.test"},
    "another version": {"version": "1.0.1"},
}


@pytest.mark.capability("RUN-5", part="npm locks")
def test_a_lock_that_leads_elsewhere_or_pins_nothing_is_refused_before_anything_is_fetched() -> None:
    content = archive()
    assert npm.read_lock(lock(content), NAME, "1.0.0").packages[f"node_modules/{NAME}"].integrity == integrity(content)
    for what, change in LOCKS.items():
        with pytest.raises(LockInvalid):
            assert npm.read_lock(lock(content, **change), NAME, "1.0.0") is None, what
    document = json.loads(lock(content))
    (entry,) = [value for key, value in document["packages"].items() if key]
    for place in ("../../x", "node_modules/../../x", "/etc/x", "node_modules/a//b", "packages/x", "node_modules/.bin"):
        document["packages"] = {f"node_modules/{NAME}": entry, place: entry}
        with pytest.raises(LockInvalid):
            npm.read_lock(json.dumps(document), NAME, "1.0.0")
    twice = lock(content).replace('"version": "1.0.0"', '"version": "1.0.0", "version": "1.0.0"', 1)
    for text in (twice, "", "[]", json.dumps({"lockfileVersion": 1, "packages": {}})):
        with pytest.raises(LockInvalid):
            npm.read_lock(text, NAME, "1.0.0")


async def test_an_address_in_a_lock_is_not_asked_and_the_registry_is(open_path: Path, registry: Registry) -> None:
    registry.content = archive()
    elsewhere = lock(registry.content, resolved="http://127.0.0.1:9/evil.tgz", hasInstallScript=True)
    built = await builder(open_path, registry).build(package=PACKAGE, lock_text=elsewhere)
    assert built["installed"] == [{"name": NAME, "version": "1.0.0"}]
    assert any(path.endswith(".tgz") for path in registry.asked), "the control: this one was"


@pytest.mark.capability("RUN-5", part="npm archives")
async def test_a_registry_that_gives_another_archive_than_the_locked_one_is_refused(
    open_path: Path, registry: Registry
) -> None:
    promised = archive()
    registry.content = archive(files={"server.js": b"console.log('another')"})
    with pytest.raises(BuildFailed, match=r"EINTEGRITY|integrity"):
        await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(promised))
    assert list((open_path / "home" / "envs").iterdir()) == []
    registry.content = promised
    await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(promised))


ENTRIES: dict[str, Extra] = {
    "parent folders": [("package/../../../../stray", tarfile.REGTYPE, b"x")],
    "an absolute path": [("/ROOT/stray", tarfile.REGTYPE, b"x")],
    "a link": [("package/link", tarfile.SYMTYPE, b"/etc/passwd")],
    "a link and a file through it": [
        ("package/d", tarfile.SYMTYPE, b"/ROOT"),
        ("package/d/stray", tarfile.REGTYPE, b"x"),
    ],
    "a hard link": [("package/hard", tarfile.LNKTYPE, b"/etc/passwd")],
    "a device": [("package/zero", tarfile.CHRTYPE, b"")],
    "a pipe": [("package/pipe", tarfile.FIFOTYPE, b"")],
    "set-user-id": [("package/root.sh", tarfile.REGTYPE, b"#!/bin/sh\n")],
}


async def test_an_archive_reaches_nothing_outside_its_environment(open_path: Path, registry: Registry) -> None:
    registry.content = archive()
    good = await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
    assert Path(good["env_path"]).is_dir(), "the control: without these entries it is built"
    built = 0
    for extra in ENTRIES.values():
        named = [
            (name.replace("/ROOT", str(open_path)), kind, content.replace(b"/ROOT", bytes(open_path)))
            for name, kind, content in extra
        ]
        registry.content = archive(extra=named)
        try:
            answer = await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
        except (BuildFailed, RecordMismatch):
            continue
        finally:
            assert strangers(open_path) == []
        built += 1
        for path in Path(answer["env_path"]).rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()
            assert not path.lstat().st_mode & 0o6222
    assert built >= 1, "the control: what can be left out is left out"


@pytest.mark.capability("RUN-5", part="npm: what is installed is what was locked")
async def test_what_is_installed_and_not_in_the_locked_archive_is_refused(
    open_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.content = archive(files={"lib/a.js": b"1", ".gitignore": b"x"})
    text = lock(registry.content)
    verify, folder = npm.verify, Path("node_modules") / NAME

    def changed(path: str, content: bytes | None) -> Any:
        def before(env: Path, *rest: Any, **more: Any) -> Any:
            target = env / path
            target.unlink(missing_ok=True)
            if content is not None:
                target.write_bytes(content)
            return verify(env, *rest, **more)

        return before

    for path, content in (
        (str(folder / "lib" / "a.js"), b"2"), (str(folder / "new.js"), b"x"), (str(folder / "lib" / "a.js"), None),
        ("node_modules/stray.js", b"x"), ("preload.cjs", b"x"), (str(folder / "package.json"), b'{"name": "other", "version": "1.0.0"}'),
    ):  # fmt: skip
        monkeypatch.setattr(npm, "verify", changed(path, content))
        with pytest.raises(RecordMismatch):
            await builder(open_path, registry).build(package=PACKAGE, lock_text=text)
        assert list((open_path / "home" / "envs").iterdir()) == []
    monkeypatch.setattr(npm, "verify", verify)
    built = await builder(open_path, registry).build(package=PACKAGE, lock_text=text)
    left = sorted(
        str(path.relative_to(built["env_path"])) for path in Path(built["env_path"]).rglob("*") if path.is_file()
    )
    assert left == sorted(str(folder / name) for name in (".npmignore", "lib/a.js", "package.json", "server.js"))


async def test_a_package_that_calls_itself_another_or_names_no_command_of_its_own_is_refused(
    open_path: Path, registry: Registry
) -> None:
    for document in ({"name": "another"}, {"version": "9.9.9"}):
        registry.content = archive(document)
        with pytest.raises(RecordMismatch, match="calls itself"):
            await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
    for commands in ({"a": "server.js", "b": "server.js"}, {}, "../../../../bin/sh", "/bin/sh", "absent.js", 7):
        registry.content = archive({"bin": commands})
        with pytest.raises(EntryPointMissing):
            await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
    registry.content = archive({"bin": {"other": "./server.js"}})
    assert (await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content)))["entry"]


async def test_an_npm_bomb_ends_at_the_budget_and_leaves_the_disk_as_it_was(
    open_path: Path, registry: Registry
) -> None:
    # npm itself refuses what shrinks a thousandfold; this shrinks a hundredfold.
    for files in ({"bomb": os.urandom(20_000) * 3_300}, {f"f{n}": b"0" for n in range(800)}):
        registry.content = archive(files=files)
        assert len(registry.content) < 2 << 20, "the archive itself is small"
        with pytest.raises(BuildFailed, match=r"more than|larger than"):
            await builder(open_path, registry, most_bytes=24 << 20, most_files=400).build(
                package=PACKAGE, lock_text=lock(registry.content)
            )
        assert size(open_path / "home") < 1 << 20
    registry.content = archive(files={f"f{n}": b"0" for n in range(800)})
    await builder(open_path, registry).build(package=PACKAGE, lock_text=lock(registry.content))
