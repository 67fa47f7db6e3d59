"""`worka up`: starts PostgreSQL, migrates, then runs serve, worker, host, broker and launcher, and restarts what dies.

As root, everything but the launcher runs as the system user `worka`, and PostgreSQL as `worka-db`. As an ordinary user
everything runs under that user (weaker isolation between packs; each invocation records it).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pwd
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from worka.kernel import failpoints, memory
from worka.kernel.disk import Disk, Reserve
from worka.kernel.errors import Conflict, Unavailable
from worka.kernel.paths import Paths
from worka.kernel.postgres import EmbeddedPostgres, Urls
from worka.kernel.settings import Settings
from worka.packs.sandbox.cgroups import step_aside
from worka.workers.wiring import build_id, publish_urls

log = logging.getLogger("worka.supervisor")
USER = "worka"
ROLES = ("launcher", "broker", "host", "worker", "serve")
MODULES = {
    "launcher": "worka.packs.sandbox.launcher",
    "broker": "worka.workers.broker",
    "host": "worka.packs.runtime.host",
    "worker": "worka.workers.worker",
    "serve": "worka.web.serve",
}
LOADER = "worka.workers.role"
# What takes long to load is kept loaded beside the one that runs: a killed one is replaced in a fraction of a second.
HOLD_KEYS = frozenset({"broker", "serve", "worker"})
STANDS_BY = frozenset({"worker", "serve"})
SETTLED_SECONDS = 5.0
"""A role that lived this long did not fail at its start."""


class AlreadyRunning(Conflict):
    """Another supervisor holds this home."""

    code = "already_running"
    title = "Worka already runs on this WORKA_HOME"
    default_remedy = "Use the running one (`worka doctor`), stop it, or set another WORKA_HOME."


class RoleFailed(Unavailable):
    """A role did not become ready."""

    code = "role_failed"
    title = "A process of Worka did not become ready"


@dataclass
class Role:
    """One supervised process."""

    name: str
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    started_at: float = 0.0
    last_exit: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    standby: asyncio.subprocess.Process | None = field(default=None, repr=False)
    """Has loaded the role's code, and waits."""


class Supervisor:
    """Owns the processes of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.paths = Paths(settings.home)
        self.roles = {name: Role(name) for name in ROLES}
        self.user = pwd.getpwnam(USER) if os.geteuid() == 0 else None
        self.stopping = asyncio.Event()
        self.port = settings.http.port
        self.postgres: EmbeddedPostgres | None = None
        self.urls: Urls | None = None
        self._lock: IO[str] | None = None
        disk = Disk(settings.home, settings.disk.floor_mb)
        self.reserve = Reserve(self.paths.admin / "reserve", settings.disk.reserve_mb, disk)
        self._watches: list[asyncio.Task[None]] = []

    async def run(self, ready: Any = None) -> None:
        """Runs until SIGTERM or SIGINT. `ready(url)` is called once the door answers."""
        failpoints.check_environment()
        step_aside()
        self._prepare_home()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        try:
            await self._database()
            self.port = free_port(self.settings.http.host, self.settings.http.port)
            for role in self.roles.values():
                role.task = asyncio.create_task(self._keep(role))
            self._watches = [
                asyncio.create_task(self._keep_database()),
                asyncio.create_task(self._keep_room()),
            ]
            await self._ready()
            self._write_instance()
            if ready is not None:
                ready(self.url)
            await self.stopping.wait()
        finally:
            await self._shutdown()

    @property
    def url(self) -> str:
        """The console's address."""
        return f"http://{self.settings.http.host}:{self.port}"

    def _prepare_home(self) -> None:
        home = self.paths.home
        home.mkdir(parents=True, exist_ok=True)
        # Packs' users pass through home to their environments; what is secret has its own closed folder.
        os.chmod(home, 0o755)
        modes = {
            "run": 0o711,
            "envs": 0o755,
            "clones": 0o711,
            "sessions": 0o711,
            "cache": 0o700,
            "objects": 0o700,
            "keys": 0o700,
            "log": 0o750,
        }
        for name, mode in modes.items():
            folder = home / name
            folder.mkdir(exist_ok=True)
            os.chmod(folder, mode)
            if self.user:
                os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.paths.checkpoints.mkdir(exist_ok=True)
        if self.user:
            os.chown(self.paths.checkpoints, self.user.pw_uid, self.user.pw_gid)
        # What root itself reads and writes stays out of folders that the roles' user owns.
        admin = self.paths.admin
        admin.mkdir(exist_ok=True, mode=0o700)
        self._lock = (admin / "supervisor.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"A supervisor holds {home}.") from error

    async def _database(self) -> None:
        configured = self.settings.database
        if configured.url is not None:
            if configured.engine_url is None or configured.migrator_url is None:
                raise Unavailable(
                    "WORKA_DATABASE__URL is set, but not ENGINE_URL and MIGRATOR_URL.",
                    remedy="Set all three, or none to use the embedded PostgreSQL.",
                    code="database_settings",
                )
            app, engine, migrator = (
                value.get_secret_value() for value in (configured.url, configured.engine_url, configured.migrator_url)
            )
        else:
            self.postgres = EmbeddedPostgres(self.settings.home)
            urls = await asyncio.to_thread(self.postgres.start)
            self.urls, app, engine, migrator = urls, urls.app, urls.engine, urls.migrator
            publish_urls(self.settings, {"url": app, "engine_url": engine}, self.user.pw_uid if self.user else None)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            LOADER,
            "worka.workers.migrate",
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
            **self._as_user("migrate"),
        )
        _, errors = await process.communicate(f"{migrator}\n{app}\n{engine}\n".encode())
        if process.returncode != 0:
            tail = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise RoleFailed(f"The migration ended with {process.returncode}: {' '.join(tail)}")

    async def _keep(self, role: Role) -> None:
        """Starts a role and starts it again when it ends, with a growing pause when it ends at once."""
        pause = 0.2
        while not self.stopping.is_set():
            role.process = await self._replace(role)
            role.starts += 1
            role.started_at = time.monotonic()
            with contextlib.suppress(OSError):  # on a full disk: the process counts, not the note of it
                self._write_processes()
            standing = asyncio.create_task(self._stand_by(role))
            try:
                code = await role.process.wait()
            finally:
                standing.cancel()
                await asyncio.gather(standing, return_exceptions=True)
            if self.stopping.is_set():
                return
            role.last_exit = f"signal {-code}" if code < 0 else f"exit {code}"
            log.warning("%s ended (%s); starting it again", role.name, role.last_exit)
            pause = 0.2 if time.monotonic() - role.started_at > SETTLED_SECONDS else min(pause * 2, 10)
            await asyncio.sleep(pause if role.standby is None else 0)

    async def _replace(self, role: Role) -> asyncio.subprocess.Process:
        """The one that stood by, or a new process."""
        standby, role.standby = role.standby, None
        if standby is not None and standby.returncode is None and standby.stdin is not None:
            standby.stdin.write(b"\n")
            standby.stdin.close()
            return standby
        # The launcher is small on purpose, and keeps its own house.
        by = [] if role.name == "launcher" else [LOADER]
        return await self._spawn(role.name, *by, MODULES[role.name])

    async def _stand_by(self, role: Role) -> None:
        """Keeps one loaded, once the role is up."""
        while role.name in STANDS_BY:
            await asyncio.sleep(SETTLED_SECONDS)
            if role.standby is None or role.standby.returncode is not None:
                role.standby = await self._spawn(
                    role.name, "worka.workers.standby", MODULES[role.name], stdin=asyncio.subprocess.PIPE
                )

    async def _spawn(
        self, role: str, module: str, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        with open_own(self.paths.log / f"{role}.log", os.O_APPEND) as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                *(["--uid", str(self.user.pw_uid)] if role == "launcher" and self.user else []),
                stdin=stdin,
                stdout=output,
                stderr=output,
                env=self._environment(role),
                **self._as_user(role),
            )
        if role in HOLD_KEYS:
            # Before it comes to that: it loads its code first.
            memory.let_lock(process.pid)
        return process

    async def _keep_database(self) -> None:
        """Brings the embedded PostgreSQL back when it died. The roles find it again by themselves, at the same address; if it
        is at another (on loopback, where somebody may have taken its port), they are started anew."""
        while self.postgres is not None and not self.stopping.is_set():
            await asyncio.sleep(0.3)
            if self.postgres.running_pid() is not None:
                continue
            log.warning("postgresql ended; starting it again")
            try:
                urls = await asyncio.to_thread(self.postgres.start)
                publish_urls(
                    self.settings,
                    {"url": urls.app, "engine_url": urls.engine},
                    self.user.pw_uid if self.user else None,
                )
                if urls != self.urls:
                    log.warning("postgresql is at another address; the roles are started anew")
                    self.urls = urls
                    for role in self.roles.values():
                        if role.process is not None and role.process.returncode is None:
                            role.process.terminate()
            except (Unavailable, OSError) as error:
                log.error("postgresql does not start: %s", error)
                await asyncio.sleep(1)

    async def _keep_room(self) -> None:
        """Gives the reserve back the moment the disk is full: before the database meets the end of it, if it can."""
        while not self.stopping.is_set():
            try:
                done = await asyncio.to_thread(self.reserve.tend)
                if done == "given_back":
                    log.error("the disk is full: the reserve was given back; nothing new is begun until there is room")
                elif done:
                    log.info("there is room again: the reserve is taken")
            except OSError as error:
                log.error("the reserve cannot be kept: %s", error)
            await asyncio.sleep(0.1)

    async def _ready(self) -> None:
        deadline = time.monotonic() + 60
        sockets = [self.paths.launcher_socket, self.paths.broker_socket, self.paths.host_socket]
        while time.monotonic() < deadline and not self.stopping.is_set():
            if all(path.exists() for path in sockets) and await answers(self.settings.http.host, self.port):
                return
            for role in self.roles.values():
                if role.starts >= 4:
                    raise RoleFailed(
                        f"The {role.name} process ends right after its start ({role.last_exit}).",
                        remedy=f"Read {self.paths.log / (role.name + '.log')}: "
                        + last_line(self.paths.log / f"{role.name}.log"),
                    )
            await asyncio.sleep(0.05)
        if not self.stopping.is_set():
            raise RoleFailed(
                "Not every process became ready within 60 s.", remedy=f"Read the logs under {self.paths.log}."
            )

    async def _shutdown(self) -> None:
        self.stopping.set()
        for name in reversed(ROLES):
            process = self.roles[name].process
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        for role in self.roles.values():
            if role.process is not None:
                try:
                    await asyncio.wait_for(role.process.wait(), 8)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError):
                        role.process.kill()
                    await role.process.wait()
            if role.task is not None:
                role.task.cancel()
                await asyncio.gather(role.task, return_exceptions=True)
            if role.standby is not None and role.standby.returncode is None:
                role.standby.kill()
                await role.standby.wait()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop)
        with contextlib.suppress(OSError):
            (self.paths.run / "instance.json").unlink()
        if self._lock is not None:
            self._lock.close()

    def _environment(self, role: str = "") -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if _passes(key)}
        if role in ("host", "launcher"):
            # They have no database and no treasury: not even by their environment.
            kept = {key: value for key, value in kept.items() if not key.startswith(_NOT_FOR_PACKS)}
        kept |= {
            "WORKA_HOME": str(self.settings.home),
            "WORKA_HTTP__PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.paths.run),
        }
        # Only the short migration process is told how to change the schema, and by its stdin.
        kept.pop("WORKA_DATABASE__MIGRATOR_URL", None)
        return kept

    def _as_user(self, role: str) -> dict[str, Any]:
        if self.user is None or role == "launcher":
            return {"cwd": "/"}
        return {"cwd": "/", "user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _write_processes(self) -> None:
        state = {
            name: {
                "pid": role.process.pid if role.process else None,
                "starts": role.starts,
                "last_exit": role.last_exit,
            }
            for name, role in self.roles.items()
        }
        write_json(self.paths.run / "processes.json", state)

    def _write_instance(self) -> None:
        instance = {"url": self.url, "build": build_id(), "home": str(self.settings.home), "pid": os.getpid()}
        write_json(self.paths.run / "instance.json", instance)


_NOT_FOR_PACKS = ("WORKA_DATABASE__", "WORKA_TREASURY__", "WORKA_MAIL__")


def _passes(key: str) -> bool:
    return key.startswith(("WORKA_", "UV_", "PIP_", "PYTHON", "LC_", "npm_config_", "FAKETIME")) or key in {
        "PATH",
        "LANG",
        "TZ",
        "LD_PRELOAD",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
    }


def write_json(path: Path, value: Any) -> None:
    """Writes a small JSON file in one step, readable by everyone on the machine (it holds no secret)."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with open_own(temporary, os.O_EXCL) as file:
        file.write(json.dumps(value).encode())
        os.fchmod(file.fileno(), 0o644)
    temporary.replace(path)


def open_own(path: Path, flags: int) -> IO[bytes]:
    """Opens a file for writing in a folder that a less trusted user owns: a link planted there is refused, not followed."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o640), "ab")


def last_line(path: Path) -> str:
    """The last line of a log that is not empty, for an error message."""
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next free one."""
    for port in range(wanted, wanted + 200) if wanted else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable(f"No free port from {wanted} on.", code="no_free_port", remedy="Set WORKA_HTTP__PORT.")


async def answers(host: str, port: int) -> bool:
    """Whether the door answers `/readyz` with 200."""
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await writer.drain()
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
    except (OSError, TimeoutError):
        return False
