"""A whole Worka of its own: `worka up` on an empty home, as an operator would start it, and runs of the demo on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.database import reachable_directory
from tests.support.forks import typed
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.kernel.postgres import EmbeddedPostgres


def worka_command() -> list[str]:
    """The runnable `worka` under test."""
    named = os.environ.get("WORKA_BUILD_BIN")
    if named:
        return [named]
    import sys

    return [sys.executable, "-m", "worka"]


ALONE = frozenset({"demo", "doctor", "down", "up"})
"""Commands that start, stop or look at processes: as a terminal starts them, for themselves."""


@dataclass
class Instance:
    """A running instance: its home, address and processes."""

    home: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    def start(self, **extra: str) -> None:
        """Starts `worka up` and waits until the door answers."""
        log = (self.home / "up.log").open("ab")
        (self.home / "run" / "instance.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*worka_command(), "up"],
            env={**self.env, **extra},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if (self.home / "run" / "instance.json").exists():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError("worka up did not start:\n" + (self.home / "up.log").read_text()[-3000:])

    def stop(self) -> None:
        """Stops it as an operator would, and waits."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        EmbeddedPostgres(self.home).stop("immediate")

    @property
    def url(self) -> str:
        """The address of the door."""
        return str(json.loads((self.home / "run" / "instance.json").read_text())["url"])

    def pids(self) -> dict[str, int]:
        """Process ids by role."""
        return {
            name: entry["pid"] for name, entry in json.loads((self.home / "run" / "processes.json").read_text()).items()
        }

    def worka(self, *arguments: str, timeout: float = 400, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs a `worka` command against this instance."""
        if not ALONE & set(arguments):
            return typed(arguments, {**self.env, **extra})
        return subprocess.run(
            [*worka_command(), *arguments],
            env={**self.env, **extra},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd="/",
        )

    def demo(self, repository: Path, **extra: str) -> dict[str, Any]:
        """Runs the demo on this instance and returns its report."""
        done = self.worka("demo", "--output", "json", WORKA_DEMO_REPO=str(repository), DEMO_EXIT="0", **extra)
        assert done.stdout.strip(), f"the demo printed nothing: {done.stderr[-3000:]}"
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["ok"], f"{report.get('failed')}\n{done.stderr[-3000:]}"
        self.runs.append(report)
        return report

    def client(self, token: str | None = None, workspace: str | None = None) -> Client:
        """An HTTP client of a principal."""
        return Client(self.url, token, workspace)

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows as the cluster's administrator sees them: the judge from outside, never the road under test."""
        known = json.loads((self.home / "admin" / "database.json").read_text())
        with psycopg.connect(
            host=known["host"],
            port=known["port"],
            user="postgres",
            password=known["admin"],
            dbname="worka",
            row_factory=dict_row,
        ) as conn:
            return conn.execute(query, parameters).fetchall()  # type: ignore[arg-type]


def make_instance(prefix: str = "test-up-") -> Instance:
    """An instance on an empty home, not started."""
    home = reachable_directory(prefix)
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("WORKA_") or key in ("WORKA_BUILD_ID", "WORKA_PREFIX")
    }
    return Instance(home, {**kept, "WORKA_HOME": str(home), "WORKA_TESTING": "1", "WORKA_HTTP__PORT": "0"})


@pytest.fixture(scope="session")
def instance() -> Iterator[Instance]:
    """One running instance for the session."""
    made = make_instance()
    try:
        armed = made.home / "failpoints"
        armed.mkdir()
        armed.chmod(0o777)
        made.start(WORKA_FAILPOINT_DIR=str(armed))
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real git repository with a few commits."""
    return make_repository(
        tmp_path_factory.mktemp("repos") / "harbour",
        ["feat: add the pier", "fix: lamp on the mole", "docs: tide tables"],
    )


def make_repository(folder: Path, subjects: list[str]) -> Path:
    """A git repository with one commit a subject."""
    folder.mkdir(parents=True)
    env = {
        **os.environ,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True, env=env)
    for number, subject in enumerate(subjects):
        (folder / f"file{number}.txt").write_text(subject)
        subprocess.run(["git", "-C", str(folder), "add", "."], check=True, env=env)
        subprocess.run(["git", "-C", str(folder), "commit", "-q", "-m", subject], check=True, env=env)
    return folder


@pytest.fixture(scope="session")
def demo_report(instance: Instance, repository: Path) -> dict[str, Any]:
    """The report of the first demo run."""
    return instance.demo(repository)


@contextlib.contextmanager
def staged(instance: Instance, repository: Path) -> Iterator[Demo]:
    """A workspace with people, packs, a live tracker and a connection, made through public routes; tasks can be run in it."""
    demo = Demo(interactive=False, quiet=True)
    demo.home, demo.url = instance.home, instance.url
    before = os.environ.get("WORKA_DEMO_REPO")
    os.environ["WORKA_DEMO_REPO"] = str(repository)
    try:
        demo.people()
        demo.packs()
        demo.outside()
        demo.approvals()
        demo.save_workflow()
        yield demo
    finally:
        demo.finish(ok=False)
        if before is None:
            os.environ.pop("WORKA_DEMO_REPO", None)
        else:
            os.environ["WORKA_DEMO_REPO"] = before


@pytest.fixture(scope="session")
def stage(instance: Instance, repository: Path) -> Iterator[Demo]:
    """The workspace that the session's tests share: each leaves it as the others expect it."""
    with staged(instance, repository) as demo:
        yield demo
