"""Runs the vectors on a range of its own and judges each by what the canaries counted.

A vector holds when no canary was hit, nothing but what it is allowed reached the declared place, no name was asked of the
outside's resolver that is not declared, a reason was recorded where one is promised, and in the same call the declared place was
reached (the control). Before the first vector each kind of canary is dialled, so that a dead one cannot pass for silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import worka
from worka.cli.client import Failed
from worka.cli.egress_suite import pack
from worka.cli.egress_suite.internet import TRACKER, TRACKER_ADDRESS
from worka.cli.egress_suite.vectors import CONTROL, DECLARED, INWARD, REBIND, REBIND_ADDRESS, VECTORS, Vector

Row = dict[str, Any]
NAMED = {(TRACKER_ADDRESS, 80), (TRACKER_ADDRESS, 443)}
_LINGERS_SECONDS = 1.2


class RangeFailed(Exception):
    """The range could not be set up, or broke; says why."""


@dataclass(frozen=True)
class Found:
    """What became of one vector; `broken` is empty when it held."""

    vector: Vector
    broken: tuple[str, ...] = ()
    reasons: frozenset[str] = frozenset()
    outcomes: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def holds(self) -> bool:
        """Whether nothing got through, and the control did."""
        return not self.broken


class Range:
    """The process of range.py, and the pack that is attached in it. Use `opened`."""

    def __init__(self, home: Path, process: subprocess.Popen[str]) -> None:
        self.home, self.process = home, process
        self.ca = ""

    def heard(self) -> Row:
        """Its next line. Raises RangeFailed when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            log = self.home / "range.log"
            raise RangeFailed("it ended: " + " / ".join(log.read_text(errors="replace").splitlines()[-4:]))
        found: Row = json.loads(line)
        return found

    def do(self, what: str, **args: Any) -> Any:
        """One command. Raises Failed for a problem of the API, OSError with what it said for the rest."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **args}) + "\n")
        self.process.stdin.flush()
        said = self.heard()
        if "failed" in said:
            raise Failed(said["failed"], 1)
        if "error" in said:
            raise OSError(said["error"])
        return said["value"]

    def api(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A call of the Worka inside; `{ws}` is its workspace."""
        return self.do("api", who=who, method=method, path=path, body=body, query=query)

    def approved(self, value: Row, path: str) -> Row:
        """What waited for an approval, once the approver gave it."""
        if value["state"] != "awaiting_approval":
            return value
        card = self.api("approver", "GET", f"/v1/approvals/{value['approval_id']}")
        body = {"decision": "approve", "digest": card["digest"], "comment": "the range's own pack"}
        self.api("approver", "POST", f"/v1/approvals/{value['approval_id']}/decisions", body)
        found: Row = self.api("owner", "GET", f"{path}/{value['id']}")
        return found

    def attach(self) -> None:
        """Registers and attaches the attacker, with the declared place behind a recorded exception at 443."""
        exception = {
            "name": TRACKER, "port": 443, "address": TRACKER_ADDRESS, "real_port": 443, "ca_pem": self.ca,
            "reason": "the range's own Internet",
        }  # fmt: skip
        self.api("owner", "POST", "{ws}/network-exceptions", exception)
        release = self.api("owner", "POST", "{ws}/releases", pack.body(DECLARED))
        until = time.monotonic() + 60
        while release["state"] not in ("released", "failed") and time.monotonic() < until:
            time.sleep(0.1)
            release = self.api("owner", "GET", f"/v1/releases/{release['id']}")
        if release["state"] != "released":
            raise RangeFailed(f"the pack is {release['state']}: {json.dumps(release.get('error'))[:300]}")
        asked = {"release_id": release["id"], "mode": "pinned", "mounts": {}}
        attachment = self.approved(self.api("owner", "POST", "{ws}/attachments", asked), "/v1/attachments")
        if attachment["state"] != "attached":
            raise RangeFailed(f"the pack is {attachment['state']}: {attachment['reason']}")

    def attempt(self, tries: Sequence[Row]) -> tuple[list[Row], str]:
        """(the outcome of each try, the invocation's id) of one governed call."""
        told = self.api("owner", "POST", f"{{ws}}/tools/{pack.TOOL}/call", {"arguments": {"tries": list(tries)}})
        if told.get("status") != "succeeded":
            raise RangeFailed(f"the call of the pack is {told.get('status')}: {json.dumps(told)[:300]}")
        return told["structured"]["outcomes"], told["invocation_id"]

    def reasons(self, invocation_id: str) -> frozenset[str]:
        """Why something was refused in this call."""
        rows = self.api("owner", "GET", "{ws}/egress", invocation_id=invocation_id, limit=200)["items"]
        return frozenset(row["reason"] for row in rows if row["verdict"] == "denied" or row["reason"] != "allowed")


@contextlib.contextmanager
def opened(command: Sequence[str] = (), **settings: str) -> Iterator[Range]:
    """A range with its Worka, gone afterwards. `command` starts `worka` (this one where none is given); `settings` are those
    of its environment. Raises RangeFailed."""
    base = Path("/var/lib/worka") if os.geteuid() == 0 else Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    # Packs run as another user where there is one: the folder is theirs to enter.
    home = Path(tempfile.mkdtemp(prefix="egress-suite-", dir=base))
    home.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_") or key in _KEPT}
    kept.setdefault("PYTHONPATH", str(Path(worka.__file__ or ".").resolve().parents[1]))
    starts = list(command) or [sys.executable, "-m", "worka"]
    told = {"home": str(home), "command": starts, "environment": {**kept, **settings}}
    with (home / "range.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worka.cli.egress_suite.range", json.dumps(told)], env=kept, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        found = Range(home, process)
        said = found.heard()
        if "error" in said:
            raise RangeFailed(said["error"])
        found.ca = said["ca"]
        found.do("table", names={name: [answers] for name, answers in {**INWARD, REBIND: [REBIND_ADDRESS]}.items()})
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


_KEPT = frozenset({"WORKA_BUILD_ID", "WORKA_PREFIX"})


class Bystander:
    """Canaries where this command stands, outside of the range: every loopback form, and a name of an abstract socket."""

    FORMS = ("127.0.0.1", "127.0.0.53", "::1", "0.0.0.0", "::")  # noqa: S104 - a canary listens where it may be hit

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.port = 0
        self.name = f"@worka-canary-{os.getpid()}"
        self._open: list[socket.socket] = []

    def __enter__(self) -> Bystander:
        for form in self.FORMS:
            family = socket.AF_INET6 if ":" in form else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # a machine without IPv6, or a form that another one covers
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((form, self.port))
                self.port = self.port or sock.getsockname()[1]
                self._listen(sock, form)
        named = socket.socket(socket.AF_UNIX)
        named.bind("\0" + self.name[1:])
        self._listen(named, self.name)
        return self

    def _listen(self, sock: socket.socket, form: str) -> None:
        sock.listen(16)
        self._open.append(sock)
        threading.Thread(target=self._count, args=(sock, form), daemon=True).start()

    def _count(self, sock: socket.socket, form: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = sock.accept()
                self.hits.append(form)
                conn.close()

    def __exit__(self, *_: object) -> None:
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def taken(self) -> list[str]:
        """What was hit since the last question."""
        found, self.hits = self.hits, []
        return found

    def live(self) -> None:
        """The control: whoever may, reaches it. Raises RangeFailed."""
        with socket.create_connection(("127.0.0.1", self.port), 3):
            pass
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect("\0" + self.name[1:])
        until = time.monotonic() + 2
        while len(self.hits) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        if len(self.taken()) != 2:
            raise RangeFailed("the canaries of this machine's loopback do not count")


def run(
    say: Callable[[Found], None] = lambda found: None,
    vectors: Sequence[Vector] = VECTORS,
    command: Sequence[str] = (),
    **settings: str,
) -> list[Found]:
    """Every vector on a fresh range; `say` hears of each as it is found. Raises RangeFailed."""
    with opened(command, **settings) as field, Bystander() as beside:
        try:
            field.attach()
            _controls(field, beside)
            found = []
            for vector in vectors:
                found.append(_one(field, beside, vector))
                say(found[-1])
            return found
        except Failed as failed:
            raise RangeFailed(f"{failed.body.get('title')}: {failed.body.get('detail')}") from failed


def _controls(field: Range, beside: Bystander) -> None:
    beside.live()
    for host in ("1.1.1.1", "127.0.0.1", "169.254.169.254", "::1", "2606:4700::1111"):
        field.do("dial", host=host, port=80)
    field.do("send", host="8.8.8.8", port=443)
    counted = len(field.do("hits"))
    if counted != 6:
        raise RangeFailed(f"the canaries of the range counted {counted} of 6")


def _one(field: Range, beside: Bystander, vector: Vector) -> Found:
    if vector.names:
        field.do("table", names={name: [list(turn) for turn in turns] for name, turns in vector.names.items()})
    field.do("hits"), field.do("asked"), beside.taken()
    tries = json.loads(json.dumps(vector.tries).replace('"{port}"', str(beside.port)).replace("{canary}", beside.name))
    outcomes, invocation = field.attempt([*tries, CONTROL])
    if vector.lingers:
        time.sleep(_LINGERS_SECONDS)
    reasons = field.reasons(invocation)
    broken = [*_hit(field.do("hits"), vector), *(f"this machine's loopback was hit: {form}" for form in beside.taken())]
    broken += [f"the outside's resolver was asked for {name}" for name in field.do("asked") if name not in DECLARED]
    if outcomes[-1].get("status") != 200:
        broken.append(f"the control: the declared place was not reached ({json.dumps(outcomes[-1])[:120]})")
    if not vector.paths:
        broken += [f"a try was answered: {json.dumps(outcome)[:160]}" for outcome in outcomes[:-1] if _open(outcome)]
    if vector.reasons and not vector.reasons & reasons:
        broken.append(
            f"none of {', '.join(sorted(vector.reasons))} was recorded, but {', '.join(sorted(reasons)) or 'nothing'}"
        )
    return Found(vector, tuple(broken), reasons, tuple(outcomes))


def _hit(hits: list[Row], vector: Vector) -> Iterator[str]:
    controls = 0
    for hit in hits:
        place = (hit["to"], hit["port"])
        if place not in NAMED and place not in vector.places:
            yield f"a canary was hit: {hit['proto']} {hit['to']}:{hit['port']}"
            continue
        for head in hit["requests"]:
            target = head.split(" ")[1] if head.count(" ") else head
            if target == "/control":
                controls += 1
            elif target.split("?")[0] not in vector.paths:
                yield f"a request reached {hit['to']}: {head.splitlines()[0][:80]!r}"
    if controls != 1:
        yield f"the control reached the declared place {controls} times, not once"


def _open(outcome: Row) -> bool:
    """Whether a try got an answer that no refusal gives."""
    if "said" in outcome:
        return outcome["said"] in ("answered", "connected", "sent")
    if "status" in outcome:
        return bool(200 <= outcome["status"] < 400)
    return str(outcome.get("data", "")).startswith(("HTTP/1.1 1", "HTTP/1.1 2", "HTTP/1.1 3", "HTTP/1.0 2"))
