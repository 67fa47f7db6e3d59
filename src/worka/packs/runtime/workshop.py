"""A sandbox for packs that are being made: a launcher and environments of its own, without an instance.

The same builder, launcher and sessions as in production, in a folder that is gone afterwards. There is no broker, so
there is no network: what a pack asks of the outside is replayed in its tests (`worka_sdk.testing`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import worka
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.redact import text as redact_text
from worka.kernel.settings import PackSettings
from worka.packs.errors import MountInvalid
from worka.packs.manifest import Manifest
from worka.packs.rules import with_last_words
from worka.packs.runtime import build, clone, launching
from worka.packs.runtime.errors import BuildFailed, SandboxUnavailable
from worka.packs.runtime.outcome import CallFailed
from worka.packs.runtime.pins import Pins
from worka.packs.runtime.sessions import Session
from worka.packs.runtime.spec import SessionSpec
from worka.packs.sandbox.spec import UID_RANGE

START_SECONDS = 15.0
# Whatever ends this process, its launcher ends too (PR_SET_PDEATHSIG), and with that every pack.
_LAUNCHER = (
    "import ctypes, runpy\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "runpy.run_module('worka.packs.sandbox.launcher', run_name='__main__', alter_sys=True)"
)
MOST_OUTPUT = 1024 * 1024


@dataclass(frozen=True)
class Ended:
    """How a command in the sandbox ended: its exit code (None: by a signal or the limit), and what it wrote."""

    code: int | None
    output: str
    timed_out: bool = False


@dataclass(frozen=True)
class Built:
    """An environment that was built here, and its pack."""

    manifest: Manifest
    env_path: str
    entry: list[str]
    tree_digest: str

    @property
    def app(self) -> str:
        """Where the pack's own files are."""
        return f"{self.env_path}/app"


class Workshop:
    """Use it as `async with`; everything in it ends with the block."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="worka-workshop-"))
        # Packs run as another user where there is one: the folder is theirs to enter.
        self.home.chmod(0o755)
        self.paths = Paths(self.home)
        self.launcher: asyncio.subprocess.Process | None = None
        self.uid_base = PackSettings().uid_base
        self.builder = build.Builder(self.home)

    async def __aenter__(self) -> Workshop:
        try:
            for folder in (
                self.paths.run,
                self.paths.envs,
                self.paths.clones,
                self.paths.sessions,
                self.home / "trees",
            ):
                folder.mkdir()
                folder.chmod(0o755)
            await self._launch()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.launcher is not None and self.launcher.returncode is None:
            self.launcher.terminate()
            try:
                await asyncio.wait_for(self.launcher.wait(), 10)
            except TimeoutError:
                self.launcher.kill()
                await self.launcher.wait()
        for stamp in self.paths.envs.glob("*.stamp"):
            await asyncio.to_thread(build.remove, stamp.with_suffix(""))
        await asyncio.to_thread(shutil.rmtree, self.home, True)

    async def _launch(self) -> None:
        log = self.home / "launcher.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_")}
        environment["PYTHONPATH"] = str(Path(worka.__file__ or ".").resolve().parents[1])
        command = [sys.executable, "-c", _LAUNCHER, "--home", str(self.home)]
        with log.open("wb") as written:
            self.launcher = await asyncio.create_subprocess_exec(
                *command,
                *("--uid", str(os.geteuid()), "--uid-base", str(self.uid_base)),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                cwd="/",
                start_new_session=True,
            )
        for _ in range(int(START_SECONDS / 0.02)):
            if self.paths.launcher_socket.exists() or self.launcher.returncode is not None:
                break
            await asyncio.sleep(0.02)
        found = await launching.check(self.paths.launcher_socket)
        if found.get("driver") == "none":
            raise SandboxUnavailable(str(found.get("message") or log.read_text()[-500:]))

    async def build(self, manifest: Manifest, lock: str, files: Mapping[str, bytes]) -> Built:
        """The environment, made as registration makes it. Raises the builder's problems; BuildFailed for no package."""
        package = manifest.runtime.package
        if package is None:
            raise BuildFailed("There is nothing to build.", remedy="Give runtime.package with a hashed lock.")
        tree: Path | None = None
        if package.ecosystem == "path":
            tree = Path(tempfile.mkdtemp(dir=self.home / "trees"))
            for name, contents in files.items():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_bytes(contents)
        made = await self.builder.build(
            package=package.model_dump(),
            lock_text=lock,
            tree_path=str(tree) if tree else None,
            command=manifest.runtime.command,
        )
        return Built(manifest, made["env_path"], made["entry"], made["tree_digest"])

    async def bind(self, manifest: Manifest, mounts: Mapping[str, Path]) -> list[dict[str, str]]:
        """Clones of the repositories that the manifest's mounts are bound to, as an attachment has them.

        Raises MountInvalid, naming the mount.
        """
        targets = {mount.name: mount.target for mount in manifest.runtime.mounts}
        found = []
        for name, source in mounts.items():
            if name not in targets:
                known = ", ".join(targets) or "none"
                raise MountInvalid(f"The manifest has no mount {name}; it has {known}.", remedy="Name one of these.")
            try:
                copy = await asyncio.to_thread(clone.make, source.resolve(), self.paths.clones / name)
            except clone.CloneFailed as error:
                raise MountInvalid(f"The mount {name}: {error}.", remedy="Name a git repository.") from error
            found.append({"name": name, "source": str(copy.path), "target": targets[name], "mode": "ro"})
        return found

    def _spec(self, built: Built, command: list[str], mounts: list[dict[str, str]]) -> SessionSpec:
        runtime, limits = built.manifest.runtime, built.manifest.runtime.limits
        return SessionSpec.read(
            {
                "session_key": "workshop",
                "tenant_id": "workshop",
                "workspace_id": "workshop",
                "digest": built.tree_digest,
                "tree_digest": built.tree_digest,
                "env_path": built.env_path,
                "command": command,
                "env": runtime.env,
                # Above those of attachments and probes.
                "uid": self.uid_base + UID_RANGE - 1,
                "mounts": mounts,
                "limits": {
                    "memory_mb": limits.memory or 512,
                    "cpu_seconds": limits.cpu or 300,
                    "processes": limits.processes or 64,
                    "files": limits.files or 256,
                    "disk_mb": limits.disk or 64,
                    "timeout_seconds": limits.timeout or 60,
                    "output_bytes": (limits.output or 8) * 1024 * 1024,
                },
                "publisher": built.manifest.publisher,
                "pack": built.manifest.name,
            }
        )

    async def serve(self, built: Built, mounts: list[dict[str, str]] | None = None) -> Session:
        """A session of the pack's server, to be closed by the caller. Raises CallFailed."""
        spec = self._spec(built, [*built.entry, *built.manifest.runtime.args], mounts or [])
        session = Session(spec, self.paths, Pins(self.paths.envs / "pins"))
        try:
            await session.start(build.read_stamp(Path(built.env_path)), START_SECONDS)
        except CallFailed as failure:
            ending = failure.ending
            told = with_last_words(ending.message, session.stderr_tail)
            raise CallFailed(replace(ending, message=told)) from failure
        return session

    async def run(self, built: Built, arguments: list[str], seconds: float = 300) -> Ended:
        """Runs the environment's Python with these arguments in the sandbox. Raises SandboxUnavailable."""
        spec = self._spec(built, [f"{built.env_path}/bin/python", *arguments], [])
        stamp = build.read_stamp(Path(built.env_path))
        asked = spec.sandbox_request(new_id("ses"), token="", ca_bundle_path=None, runtime_roots=stamp.runtime_roots)
        try:
            sandbox = await launching.start(self.paths.launcher_socket, asked)
        except launching.Refused as refused:
            raise SandboxUnavailable(refused.message, remedy=refused.remedy or None) from refused
        os.close(sandbox.stdin)
        reading = [asyncio.create_task(asyncio.to_thread(_all_of, pipe)) for pipe in (sandbox.stdout, sandbox.stderr)]
        report: dict[str, Any] = {}
        late = False
        try:
            report = await asyncio.wait_for(asyncio.shield(sandbox.exit), seconds)
        except TimeoutError:
            late = True
        finally:
            sandbox.kill()
            written = [await task for task in reading]
        return Ended(report.get("exited"), redact_text("".join(written)), timed_out=late)


def _all_of(pipe: int) -> str:
    """What is written to a pipe until it is closed; the end of it, where it is more than anybody reads."""
    kept = b""
    with os.fdopen(pipe, "rb", buffering=0) as opened:
        while chunk := opened.read(65_536):
            kept = (kept + chunk)[-MOST_OUTPUT:]
    return kept.decode(errors="replace")
