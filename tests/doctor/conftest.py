"""An instance of its own, to be broken part by part and mended again by following the remedies."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.forks import typed
from tests.support.instance import Instance, make_instance, worka_command

Row = dict[str, Any]


@dataclass
class Patient:
    """The instance, and what `worka doctor` says of it."""

    instance: Instance
    url: str = ""

    @property
    def home(self) -> Path:
        return self.instance.home

    def start(self) -> None:
        self.instance.start()
        self.url = self.instance.url

    def doctor(
        self, *before: str, url: str = "", worka: list[str] | None = None, **env: str
    ) -> tuple[int, dict[str, Row]]:
        """(exit code, checks by name). `before`: a command that runs the doctor in surroundings of its own."""
        words = ["--output", "json", "--url", url or self.url, "doctor"]
        told = {**self.instance.env, **env}
        if before or worka or "LD_PRELOAD" in told:  # an interpreter of its own
            done = subprocess.run(
                [*before, *(worka or worka_command()), *words],
                env=told, capture_output=True, text=True, timeout=120, check=False, cwd="/",
            )  # fmt: skip
        else:
            done = typed(words, told)
        assert done.stdout.strip(), done.stderr[-2000:]
        checks = {item["name"]: item for item in json.loads(done.stdout)["items"]}
        broken = [name for name, item in checks.items() if item["state"] == "failed"]
        assert done.returncode == (1 if broken else 0), done.stdout
        for item in checks.values():
            assert item["remedy"] if item["state"] != "ok" else item["detail"], item
        return done.returncode, checks

    def script(self, lines: str, **env: str) -> tuple[int, dict[str, Row]]:
        """The doctor at the end of a shell script, in a mount namespace that nobody else is in."""
        return self.doctor("unshare", "--mount", "sh", "-ec", f'{lines}\nexec "$@"', "sh", **env)

    def sql(self, query: str, *parameters: object) -> list[Row]:
        """As the cluster's administrator: the hand that breaks things."""
        known = json.loads((self.home / "admin" / "database.json").read_text())
        with psycopg.connect(
            host=known["host"], port=known["port"], user="postgres", password=known["admin"], dbname="worka",
            row_factory=dict_row, autocommit=True,
        ) as conn:  # fmt: skip
            cursor = conn.execute(query, parameters)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def address(self, role: str) -> str:
        """The database's address as one of its roles."""
        known = json.loads((self.home / "admin" / "database.json").read_text())
        names = {"app": "worka_app", "engine": "worka_engine", "migrator": "worka_migrator", "admin": "postgres"}
        return f"postgresql://{names[role]}:{known[role]}@/worka?host={known['host']}&port={known['port']}"


def well(checks: dict[str, Row], *names: str) -> None:
    """These parts are not broken."""
    assert not [checks[name] for name in names if checks[name]["state"] == "failed"]


def ill(checks: dict[str, Row], name: str, *words: str) -> Row:
    """This part is broken; what is told and its remedy hold these words."""
    found = checks[name]
    assert found["state"] == "failed", found
    told = f"{found['detail']} | {found['remedy']}"
    assert all(word in told for word in words), told
    return found


def follow(remedy: str) -> None:
    """Does what a remedy says, where it is one command."""
    subprocess.run(shlex.split(remedy), check=True)


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    """A running instance."""
    made = Patient(make_instance("test-doctor-"))
    try:
        made.start()
        yield made
    finally:
        made.instance.stop()
        shutil.rmtree(made.home, ignore_errors=True)


def as_worka() -> dict[str, Any]:
    """Arguments of Popen for a process of the roles' user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("worka")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
