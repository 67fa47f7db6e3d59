"""Well-known places under WORKA_HOME."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def default_home() -> Path:
    """WORKA_HOME's default: /var/lib/worka/home as root (packs' users must reach it), else the platform's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/worka/home")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "worka" / "home"


def home() -> Path:
    """The data directory of this machine's instance, for who needs no other setting."""
    return Path(os.environ.get("WORKA_HOME") or default_home())


@dataclass(frozen=True)
class Paths:
    """`home` is the data directory of one instance."""

    home: Path

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def launcher_socket(self) -> Path:
        return self.run / "launcher.sock"

    @property
    def host_socket(self) -> Path:
        return self.run / "host.sock"

    @property
    def broker_socket(self) -> Path:
        return self.run / "broker.sock"

    @property
    def broker_net_socket(self) -> Path:
        return self.run / "broker-net.sock"

    @property
    def broker_out_socket(self) -> Path:
        """Where our own processes get a tunnel to the mail server."""
        return self.run / "broker-out.sock"

    @property
    def envs(self) -> Path:
        return self.home / "envs"

    @property
    def clones(self) -> Path:
        return self.home / "clones"

    @property
    def sessions(self) -> Path:
        return self.home / "sessions"

    @property
    def objects(self) -> Path:
        return self.home / "objects"

    @property
    def checkpoints(self) -> Path:
        return self.objects / "checkpoints"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def pg(self) -> Path:
        return self.home / "pg"

    @property
    def pg_socket(self) -> Path:
        """The folder of the embedded PostgreSQL's socket. Not in `run`, whose owner could put another in its place and
        be told the administrator's password; not in `pg`, which clients cannot enter."""
        return self.home / "pg-socket"

    @property
    def admin(self) -> Path:
        """What only the supervisor's own user reads: the embedded cluster's passwords, the lock."""
        return self.home / "admin"

    @property
    def setup_token(self) -> Path:
        """The one-time token of the first operator."""
        return self.run / "setup-token"
