"""Builds the immutable environment of a release: wheels by hash, checked against their records, read-only, stamped.

No code of a package runs here: no source distributions, no build backends, no executable .pth, bytecode compiled
without importing. The stamp beside the folder is the commit: a folder without one is a build that did not finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
import tomllib
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from packaging.utils import canonicalize_name

from worka.kernel import airgap
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.redact import text as redact_text
from worka.packs.runtime import digest, npm, record
from worka.packs.runtime.adapters import gate
from worka.packs.runtime.budget import Budget, Exceeded, sweep
from worka.packs.runtime.errors import (
    BuildFailed,
    DigestMismatch,
    EcosystemUnsupported,
    EntryPointMissing,
    TreeRefused,
)
from worka.packs.runtime.outcome import CallFailed
from worka.packs.runtime.places import Places

T = TypeVar("T")
_FORMAT = "3"  # raise it when the same inputs would give another folder
_UV_SECONDS = 600
_MOST_BUILDS = 3
_TURN_SECONDS = 1200.0
_MAX_TREE_FILES, _MAX_TREE_BYTES = 20_000, 512 * 1024 * 1024
_SKIPPED = {".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# Where packages come from, and whom to trust there: by name, so that no switch of the installer slips in.
_PASSED = {
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_HTTP_TIMEOUT", "UV_OFFLINE", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER"),
    *("UV_CONCURRENT_DOWNLOADS", "UV_HTTP_RETRIES"),
    *(
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
    ),
}
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}


@dataclass(frozen=True)
class Stamp:
    """What was built. `tree_digest` is the same wherever it is built; `local_digest` covers bytecode, interpreter."""

    tree_digest: str
    local_digest: str
    surface: str
    file_count: int
    entry: list[str]
    installed: list[dict[str, str]]
    package: dict[str, str]
    interpreter: str
    runtime_roots: list[str] = field(default_factory=list)

    def answer(self, env: Path) -> dict[str, Any]:
        """The answer of the op `build`."""
        return {
            "env_path": str(env),
            "entry": self.entry,
            "tree_digest": self.tree_digest,
            "file_count": self.file_count,
            "installed": self.installed,
        }


def stamp_path(env: Path) -> Path:
    """Where the stamp of an environment is: beside it, so that it is not part of what it describes."""
    return env.with_name(env.name + ".stamp")


def read_stamp(env: Path) -> Stamp:
    """Raises DigestMismatch when there is none that we wrote ourselves."""
    path = stamp_path(env)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
            raise DigestMismatch(f"The stamp of {env.name} is not ours.")
        return Stamp(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DigestMismatch(f"The environment {env.name} has no stamp.") from error


def write_stamp(env: Path, stamp: Stamp) -> None:
    """In one step, read-only."""
    fresh = stamp_path(env).with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    with fresh.open("x") as opened:
        json.dump(asdict(stamp), opened)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.chmod(0o444)
    fresh.rename(stamp_path(env))


def verify_full(env: Path, expected: str) -> Stamp:
    """Hashes every file again. Raises DigestMismatch. A folder moved or restored gets a fresh surface in its stamp."""
    stamp = read_stamp(env)
    actual, _ = digest.tree(env, digest.portable)
    local, _ = digest.tree(env, lambda path: not digest.portable(path))
    if actual != expected or actual != stamp.tree_digest:
        raise DigestMismatch(f"The files of {env.name} differ from what was registered.")
    if local != stamp.local_digest:
        raise DigestMismatch(f"The bytecode or interpreter of {env.name} differs from what was built.")
    surface = digest.surface(env)
    if surface != stamp.surface:
        stamp = Stamp(**{**asdict(stamp), "surface": surface})
        write_stamp(env, stamp)
    return stamp


def interpreter() -> Path:
    """A Python that every uid can run: ours if nothing on its path is closed, else the system's.

    Raises BuildFailed with the command that installs one.
    """
    for candidate in (
        Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable))),
        Path("/usr/bin/python3"),
    ):
        real = Path(os.path.realpath(candidate))
        if real.is_file() and _world_reachable(real):
            return real
    raise BuildFailed("No Python is reachable for other users.", remedy="apt-get install -y python3")


def _world_reachable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o005 == 0o005) and all(parent.stat().st_mode & 0o001 for parent in path.parents)


class Builder:
    """Builds into `home/envs`; two builds of the same contents are one."""

    def __init__(
        self, home: Path, env: Mapping[str, str] | None = None, budget: Budget | None = None, gap: AirGap = OPEN
    ) -> None:
        self.home = home
        self.gap = gap
        self.budget = budget or Budget()
        # One at a time: what an installer has put into the cache that all share is then its own, to be weighed and swept.
        self._installing = asyncio.Lock()
        # One build of a tenant at a time, and in turn: whoever asks for a hundred waits behind themselves.
        self._turns = Places(per_attachment=1, per_tenant=1, total=_MOST_BUILDS)
        self.envs = home / "envs"
        self._environ = dict(os.environ if env is None else env)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def build(
        self,
        *,
        package: dict[str, Any],
        lock_text: str,
        tree_path: str | None = None,
        command: list[str] | None = None,
        release_id: str = "",
        tenant_id: str = "",
    ) -> dict[str, Any]:
        """{env_path, entry, tree_digest, file_count, installed}. Raises the problems of `errors.py` and LockInvalid."""
        ecosystem = package.get("ecosystem")
        if ecosystem not in ("pypi", "npm", "path"):
            raise EcosystemUnsupported(f"{ecosystem} packs are not installed by this version of Worka.")
        lock: record.Lock | npm.Lock
        if ecosystem == "npm":
            lock = npm.read_lock(lock_text or "", str(package.get("name")), str(package.get("version")))
        else:
            lock = record.read_lock(lock_text or "")
        source: Path | None = None
        contents = ""
        if ecosystem == "path":
            source = self._source(tree_path)
            contents, _ = await asyncio.to_thread(digest.tree, source, _taken)
        python = await asyncio.to_thread(npm.node if ecosystem == "npm" else interpreter)
        parts = [
            _FORMAT,
            ecosystem,
            package.get("name"),
            package.get("version"),
            lock.text,
            contents,
            json.dumps(command),
        ]
        parts += [python, python.stat().st_size]
        key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:40]
        env = self.envs / key
        async with self._locks.setdefault(key, asyncio.Lock()):
            if stamp_path(env).exists():
                with contextlib.suppress(DigestMismatch):
                    stamp = read_stamp(env)
                    stamp = await asyncio.to_thread(verify_full, env, stamp.tree_digest)
                    return stamp.answer(env)
            try:
                async with self._turns.place(tenant_id, key, release_id, _TURN_SECONDS):
                    return (await self._made(env, package, lock, python, source, command)).answer(env)
            except CallFailed as late:
                words = f"Other builds took all of {_TURN_SECONDS:g} s; nothing was built."
                raise BuildFailed(words, remedy="Register it again.") from late

    async def _made(
        self,
        env: Path,
        package: dict[str, Any],
        lock: record.Lock | npm.Lock,
        python: Path,
        source: Path | None,
        command: list[str] | None,
    ) -> Stamp:
        await asyncio.to_thread(remove, env)
        try:
            if isinstance(lock, npm.Lock):
                return await self._fresh_npm(env, package, lock, python)
            return await self._fresh(env, package, lock, python, source, command)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(remove, env))
            raise

    def _source(self, tree_path: str | None) -> Path:
        if not tree_path:
            raise TreeRefused("A pack of the ecosystem `path` needs its files.")
        source, home = Path(os.path.realpath(tree_path)), Path(os.path.realpath(self.home))
        if home not in source.parents or not source.is_dir():
            raise TreeRefused("The files are not below this instance's home.")
        return source

    async def _fresh(
        self,
        env: Path,
        package: dict[str, Any],
        lock: record.Lock,
        python: Path,
        source: Path | None,
        command: list[str] | None,
    ) -> Stamp:
        version = await self._run([str(python), "-I", "-S", "-c", "import sys; print(*sys.version_info[:3], sep='.')"])
        site = env / "lib" / f"python{version.strip().rpartition('.')[0]}" / "site-packages"
        site.mkdir(parents=True)
        (env / "bin").mkdir()
        (env / "bin" / "python").symlink_to(python)
        # By hand: `venv` tools add files of their own, one of them an executable .pth. `relocatable` keeps this home's
        # path out of the scripts, so that the digest is the same everywhere.
        (env / "pyvenv.cfg").write_text(
            f"home = {python.parent}\nversion = {version.strip()}\n"
            "include-system-site-packages = false\nrelocatable = true\n"
        )
        if lock.text:
            await self._install(env, lock)
        installed = await _to_its_end(record.verify, env, site, lock)
        if source is not None:
            await _to_its_end(_copy_tree, source, env / "app")
            (site / "worka_app.pth").write_text("../../../app\n../../../app/src\n")
            entry = _entry_of_tree(env, str(package.get("name")), command)
        else:
            script = record.console_script(str(package.get("name")), installed)
            wanted = str(package.get("version"))
            if lock.pins[canonicalize_name(str(package.get("name")))] != wanted:
                raise EntryPointMissing(f"The manifest asks for version {wanted}, but the lock pins another.")
            entry = [str(env / "bin" / "python"), str(env / "bin" / script)]
        # Compiled, never imported. Hash-based, so that a restored file time cannot make Python write, or distrust it. What
        # does not compile within its bound is left to be compiled in the sandbox, within the pack's own.
        compiling = [
            str(python),
            "-I",
            "-S",
            "-m",
            "compileall",
            "-q",
            "-j",
            "2",
            "--invalidation-mode",
            "unchecked-hash",
        ]
        compiling += [str(folder) for folder in (site, env / "app") if folder.exists()]
        await self._run(self.budget.compiling(compiling), may_fail=True)
        return await _to_its_end(_seal, env, entry, installed, package, python)

    async def _fresh_npm(self, env: Path, package: dict[str, Any], lock: npm.Lock, node: Path) -> Stamp:
        name, version = str(package.get("name")), str(package.get("version"))
        env.mkdir(parents=True)
        command = self.budget.limited(npm.prepare(env, lock, name, version))
        await self._run(command, watched=env, environment=npm.environment(self._environ, env))
        installed = await _to_its_end(
            npm.verify, env, lock, most_bytes=self.budget.most_bytes, most_files=self.budget.most_files
        )
        return await _to_its_end(_seal, env, npm.entry(env, name), installed, package, node)

    async def _install(self, env: Path, lock: record.Lock) -> None:
        requirements = env / "lock.txt"
        requirements.write_text(lock.text)
        command = self.budget.limited(
            [
                *(uv(), "pip", "install", "--quiet", "--no-progress", "--python", str(env / "bin" / "python")),
                *("--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-compile-bytecode"),
                *("--link-mode", "copy", "--cache-dir", str(self.home / "cache" / "uv"), "-r", str(requirements)),
            ]
        )
        async with self._installing:
            began = time.time() - 1
            try:
                await self._run(command, watched=env)
            except BuildFailed as error:
                beyond = isinstance(error.__cause__, Exceeded)
                await asyncio.to_thread(sweep, self.home / "cache" / "uv", began if beyond else None)
                raise
            finally:
                requirements.unlink()
        (env / ".lock").unlink(missing_ok=True)

    async def _run(
        self,
        command: list[str],
        *,
        may_fail: bool = False,
        watched: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> str:
        told = environment or self.tool_environment()
        # What is watched is an installer: the only thing here that asks the outside for anything.
        async with gate.opened(self.gap if watched is not None else OPEN) as door:
            if door is None:
                return await self._ended(command, told, may_fail=may_fail, watched=watched)
            serving = asyncio.create_task(door.serve())
            try:
                return await self._ended(command, door.environment(told), watched=watched, door=door)
            except BuildFailed as failed:
                if not door.refused:
                    raise
                named = ", ".join(dict.fromkeys(door.refused))
                words = f"This deployment is air-gapped, and the installer asked for {named}: not on its list."
                raise BuildFailed(words, code=airgap.REASON, remedy=airgap.REMEDY) from failed
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    async def _ended(
        self,
        command: list[str],
        environment: dict[str, str],
        *,
        may_fail: bool = False,
        watched: Path | None = None,
        door: gate.Gate | None = None,
    ) -> str:
        process = await asyncio.create_subprocess_exec(
            *(door.prefix if door else ()),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=gate.inherited(door),
        )
        try:
            async with asyncio.timeout(_UV_SECONDS):
                out, err = await self._within(watched, process)
        except BaseException as error:
            # With whatever it has started: a compiler's workers would wait for it for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if isinstance(error, TimeoutError):
                name = Path(command[4] if command[0] == "/bin/sh" else command[0]).name
                raise BuildFailed(f"{name} took longer than {_UV_SECONDS} s.") from error
            if isinstance(error, Exceeded):
                raise BuildFailed(str(error)) from error
            raise
        if process.returncode == -signal.SIGXFSZ:
            raise BuildFailed("A file of a package is larger than an environment may be.")
        if process.returncode != 0 and not may_fail:
            words = redact_text(err.decode(errors="replace").strip() or out.decode(errors="replace").strip())
            raise BuildFailed(words[-2000:])
        return out.decode(errors="replace")

    async def _within(self, watched: Path | None, process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
        """What the process says; with an environment to watch, raises Exceeded when it outgrows its budget."""
        cache, since = self.home / "cache" / "uv", time.time() - 1
        talk = asyncio.create_task(process.communicate())
        tasks: set[asyncio.Task[Any]] = {talk}
        if watched is not None:
            tasks.add(asyncio.create_task(self.budget.watch(watched, cache, since)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {talk}:
                task.result()
            said = talk.result()
            if watched is not None:
                # An installer that was done between two looks is weighed all the same.
                await asyncio.to_thread(self.budget.weigh, watched, cache, since)
            return said
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def tool_environment(self) -> dict[str, str]:
        """The installer's whole environment."""
        return tool_environment(self._environ, self.home / "cache")


def tool_environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """The installer's environment: registry settings by allow-list, pip's names under uv's, and nothing else."""
    kept = {
        key: value
        for key, value in environ.items()
        if key in _PASSED or (key.startswith("UV_INDEX_") and key.endswith(("_USERNAME", "_PASSWORD")))
    }
    for theirs, ours in _FROM_PIP.items():
        value = environ.get(theirs)
        if value and ours not in kept and ("://" in value or os.path.exists(value)):
            kept[ours] = value
    # The machine's own roots too: an operator's registry may stand behind a private CA.
    kept.setdefault("UV_SYSTEM_CERTS", "1")
    return kept | {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


def uv() -> str:
    """The installer that the set-up brought, or the machine's. Raises BuildFailed without one."""
    for candidate in (Path(sys.prefix) / "bin" / "uv", shutil.which("uv")):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    raise BuildFailed("uv is not installed.", remedy="Run `make setup` again: it installs uv.")


async def _to_its_end(work: Callable[..., T], *args: Any, **named: Any) -> T:
    """In a thread, which a cancelled build waits for: it must not go on writing into what is being removed."""
    thread = asyncio.create_task(asyncio.to_thread(work, *args, **named))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait({thread})
        raise


def _taken(path: str) -> bool:
    parts = path.split("/")
    return not _SKIPPED.intersection(parts) and not path.endswith(".pyc")


def _copy_tree(source: Path, target: Path) -> None:
    """Plain files only. Raises TreeRefused."""
    target.mkdir()
    total = 0
    for number, (path, status) in enumerate(digest.walk(source)):
        if not _taken(path):
            continue
        if not stat.S_ISREG(status.st_mode):
            raise TreeRefused(f"{path} is not a plain file.")
        total += status.st_size
        if number > _MAX_TREE_FILES or total > _MAX_TREE_BYTES:
            raise TreeRefused("The files are more or larger than a pack may have.")
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        # The folder was checked a moment ago; a link put there since is not followed.
        with (
            open(os.open(source / path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened,
            (target / path).open("xb") as copy,
        ):
            shutil.copyfileobj(opened, copy)
        (target / path).chmod(0o755 if status.st_mode & 0o100 else 0o644)


def _entry_of_tree(env: Path, name: str, command: list[str] | None) -> list[str]:
    """How the files are started, found without running them: the given command, else the package of that name, else a
    script of `pyproject.toml`, else a `server.py` or `main.py` at the top. Raises EntryPointMissing.
    """
    app, python = env / "app", str(env / "bin" / "python")
    if command:
        return _resolved(env, command)
    module = name.replace("-", "_")
    for root in (app, app / "src"):
        if module.isidentifier() and (root / module / "__main__.py").is_file():
            return [python, "-m", module]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        scripts = tomllib.loads((app / "pyproject.toml").read_text()).get("project", {}).get("scripts", {})
        target = scripts.get(name) or (next(iter(scripts.values())) if len(scripts) == 1 else "")
        where, _, what = str(target).partition(":")
        if all(part.isidentifier() for part in (*where.split("."), *what.split("."))):
            return [python, "-c", f"import sys; from {where} import {what.split('.')[0]}; sys.exit({what}())"]
    for script in ("server.py", "main.py"):
        if (app / script).is_file():
            return [python, str(app / script)]
    raise EntryPointMissing(
        f"The files have no {module}/__main__.py, no script in pyproject.toml, and no server.py.",
        remedy=f"Add {module}/__main__.py that serves MCP over stdio, or give `runtime.command` in the manifest.",
    )


def _resolved(env: Path, command: list[str]) -> list[str]:
    """`python` as the environment's own, console scripts through it, the tree's files by their full path."""
    app, entry = env / "app", []
    for place, part in enumerate(command):
        below = Path(os.path.normpath(app / part))
        if place == 0 and part in ("python", "python3"):
            entry.append(str(env / "bin" / "python"))
        elif place == 0 and "/" not in part and (env / "bin" / part).exists():
            entry += [str(env / "bin" / "python"), str(env / "bin" / part)]
        elif not part.startswith(("/", "-")) and app in below.parents and below.is_file():
            entry.append(str(below))
        else:
            entry.append(part)
    return entry


def _seal(
    env: Path, entry: list[str], installed: list[record.Distribution], package: dict[str, Any], python: Path
) -> Stamp:
    """Takes every right to write away, computes the digests, writes the stamp."""
    for parent, folders, files in os.walk(env):
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)
        for name in folders:
            Path(parent, name).chmod(0o555)
    env.chmod(0o555)
    tree_digest, count = digest.tree(env, digest.portable)
    local_digest, _ = digest.tree(env, lambda path: not digest.portable(path))
    prefix = Path(os.path.realpath(sys.base_prefix))
    outside = prefix in python.parents and prefix != Path("/usr") and len(prefix.parts) > 2
    stamp = Stamp(
        tree_digest=tree_digest,
        local_digest=local_digest,
        surface=digest.surface(env),
        file_count=count,
        entry=entry,
        installed=sorted(
            ({"name": found.name, "version": found.version} for found in installed),
            key=lambda item: item["name"].lower(),
        ),
        package={key: str(package.get(key, "")) for key in ("ecosystem", "name", "version")},
        interpreter=str(python),
        runtime_roots=[str(prefix)] if outside else [],
    )
    write_stamp(env, stamp)
    return stamp


def remove(env: Path) -> None:
    """Deletes an environment, read-only folders included; its stamp first: half of it is never taken for whole."""
    stamp_path(env).unlink(missing_ok=True)
    if env.exists():
        digest.remove(env)
