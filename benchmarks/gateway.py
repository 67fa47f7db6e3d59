"""What the gateways among the peers share: a database of their own in our PostgreSQL, commands, and their HTTP API."""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks import peers
from benchmarks.targets import Target


class Gateway(Target):
    """A gateway before the direct peer's server. Everything that fails while it is set up is PeerMissing with its cause."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.token = ""

    def run(self, command: list[str], environ: dict[str, str], place: Path) -> str:
        """What a command printed."""
        done = subprocess.run(command, env=environ, cwd=place, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise peers.PeerMissing(f"{' '.join(command[1:3])}: {done.stderr[-400:]}")
        return done.stdout

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST of a body, with the token when there is one."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise peers.PeerMissing(f"{path}: {error.code} {error.read()[:300]!r}") from error


def password() -> str:
    """One that every rule of theirs accepts."""
    return "Bench-" + secrets.token_urlsafe(18) + "!7"


def database(administrator: str, name: str, *extensions: str) -> str:
    """A role and a database of its own in that cluster; the URL as SQLAlchemy writes it."""
    word = secrets.token_urlsafe(18)
    with psycopg.connect(administrator, autocommit=True) as conn:
        conn.execute(f"create role {name} login password '{word}'")
        conn.execute(f"create database {name} owner {name}")
    with psycopg.connect(administrator, dbname=name, autocommit=True) as conn:
        for extension in extensions:
            conn.execute(f"create extension {extension}")
    known = conninfo_to_dict(administrator)
    return f"postgresql+psycopg://{name}:{word}@/{name}?host={known['host']}&port={known['port']}"
