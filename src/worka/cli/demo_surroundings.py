"""What the demo stands on: an instance, the tracker as the judge, a repository that the packs' user can read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from worka.kernel import settings

TRACKER = "tracker.worka.test"


class StageFailed(Exception):
    """A stage did not end as it must."""


class Surroundings:
    """The processes, files and addresses of one run."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.work = Path(tempfile.mkdtemp(prefix="worka-demo-"))
        self.staged: Path | None = None
        self.instance: subprocess.Popen[bytes] | None = None
        self.tracker: subprocess.Popen[str] | None = None
        self.url = ""
        self.home = Path()
        self.facts: dict[str, Any] = {}

    def expect(self, condition: object, sentence: str) -> None:
        """A stage's own check."""
        if not condition:
            raise StageFailed(sentence)

    def repository(self) -> Path:
        """A copy of the run's git repository, in the folder from which mounts may be chosen; it may lie under a closed home."""
        source = Path(os.environ.get("WORKA_DEMO_REPO") or os.getcwd()).resolve()
        if self.staged is None:
            root = settings.mount_roots(settings.load().packs, self.home)[0]
            root.mkdir(mode=0o755, exist_ok=True)
            base = Path(tempfile.mkdtemp(prefix="demo-", dir=root))
            base.chmod(0o755)
            done = subprocess.run(
                [
                    "git",
                    "-c",
                    "safe.directory=*",
                    "clone",
                    "--quiet",
                    "--no-hardlinks",
                    "--",
                    str(source),
                    str(base / source.name),
                ],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
            self.expect(done.returncode == 0, f"{source} cannot be cloned: {done.stderr.strip()[-300:]}")
            self.staged = base / source.name
        return self.staged

    def repository_name(self) -> str:
        """Its name in the notes."""
        return Path(os.environ.get("WORKA_DEMO_REPO") or os.getcwd()).resolve().name

    def record(self) -> Any:
        """The tracker's own record, read as its administrator: the judge that is not us."""
        with httpx.Client(verify=tls_of(self.facts["ca_pem"]), trust_env=False, timeout=5) as http:
            answer = http.get(
                f"https://127.0.0.1:{self.facts['port']}/admin/record",
                headers={"Authorization": f"Bearer {self.facts['admin_token']}", "Host": TRACKER},
                extensions={"sni_hostname": TRACKER},
            )
            return answer.raise_for_status().json()

    def start(self) -> None:
        """Uses the running instance of this build and home, or starts one."""
        from worka.workers.wiring import build_id

        loaded = settings.load()
        self.home = loaded.home
        found = running(self.home)
        if found and found["build"] == build_id():
            self.url = found["url"]
            self.say(f"[green]✓[/] using the running instance at {self.url} (same build, same WORKA_HOME)")
            return
        if found:
            # Someone else's build holds this home: leave it alone and stand beside it.
            self.home = self.home.with_name(f"{self.home.name}-{build_id()[:8]}")
            self.say(f"another build runs on this WORKA_HOME; starting beside it in {self.home}")
            beside = running(self.home)
            if beside and beside["build"] == build_id():
                self.url = beside["url"]
                return
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / "up.log").open("ab")
        self.instance = subprocess.Popen(
            [sys.executable, "-m", "worka", "up"],
            env={**os.environ, "WORKA_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = running(self.home)
            if found and found["pid"] == self.instance.pid:
                self.url = found["url"]
                self.say(
                    f"[green]✓[/] Worka runs at {self.url}: PostgreSQL, serve, worker, host, broker, launcher (data: {self.home})"
                )
                return
            if self.instance.poll() is not None:
                break
            time.sleep(0.1)
        tail = (self.home / "up.log").read_text(errors="replace").strip().splitlines()[-6:]
        raise StageFailed("Worka did not start: " + " / ".join(tail))

    def finish(self, ok: bool) -> None:
        """Ends what must end. The instance stays when the console is to be used."""
        if self.staged is not None:
            shutil.rmtree(self.staged.parent, ignore_errors=True)
        if self.tracker is not None and (not ok or os.environ.get("DEMO_EXIT") == "1"):
            self.tracker.terminate()
            self.tracker.wait(5)
        if os.environ.get("DEMO_EXIT") == "1" and self.instance is not None:
            self.instance.send_signal(signal.SIGTERM)
            try:
                self.instance.wait(30)
            except subprocess.TimeoutExpired:
                self.instance.kill()
        if not ok or os.environ.get("DEMO_EXIT") == "1":
            shutil.rmtree(self.work, ignore_errors=True)


def packs_root() -> Path:
    """The folder with our packs: beside the build, or of the checkout."""
    here = Path(__file__).resolve()
    for parent in here.parents:
        if (parent / "packs" / "git" / "worka" / "aip.json").is_file():
            return parent / "packs"
    raise StageFailed("The folder packs/ is missing from this build.")


def running(home: Path) -> dict[str, Any] | None:
    """The instance that answers for this home, if one does."""
    try:
        found = json.loads((home / "run" / "instance.json").read_text())
        os.kill(found["pid"], 0)
        answer = httpx.get(f"{found['url']}/v1/platform", timeout=3, trust_env=False)
        seen = answer.json()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    own = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    # Another instance may have taken the port since: only the one that says it has this home is meant.
    return {**found, "build": seen.get("build")} if seen.get("home_id") == own else None


def tls_of(ca_pem: str) -> Any:
    return ssl.create_default_context(cafile=ca_pem)
