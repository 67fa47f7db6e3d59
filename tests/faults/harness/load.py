"""The load: sixteen callers of three tenants, each with a journal of what it sent and what was acknowledged to it.

A caller behaves as a careful client does: it repeats a request that got no answer, with the same idempotency key, and
believes only what was acknowledged. It never looks into the system; the judge compares its journal with the tracker's.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.harness.stage import Stage, Tenant
from worka.cli.client import Client, Failed

CALLERS = 16
PATIENCE = 50.0
"""How long a caller repeats one request before it gives up: then the promise is broken."""
CALL_PATIENCE = 8.0
POLL = 0.25
ENDED = ("succeeded", "failed", "cancelled", "unknown")


@dataclass
class Job:
    """One thing a caller wants done once. `marker` travels to the tracker; nobody else uses it."""

    tenant: str
    kind: str
    marker: str
    acked: bool = False
    task_id: str = ""
    state: str = ""
    reason: str = ""
    effect_id: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    gave_up: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Try:
    """One request and what became of it. `status` is 0 when nothing answered."""

    tenant: str
    op: str
    status: int
    code: str
    sent: float
    done: float
    marker: str = ""


class GaveUp(Exception):
    """A request got no good answer for as long as the caller was patient."""


class Load:
    """Runs the callers until `stop`; every try and every acknowledgement is in `journal` the moment it is known."""

    def __init__(
        self,
        stage: Stage,
        seed: str,
        journal: Path,
        *,
        mix: dict[str, int],
        pause: float = 0.15,
        callers: int = CALLERS,
    ) -> None:
        self.stage, self.seed, self.mix, self.pause = stage, seed, mix, pause
        self.jobs: list[Job] = []
        self.tries: list[Try] = []
        self.over = threading.Event()
        self.limit: int | None = None
        self._taken = 0
        self._lock = threading.Lock()
        self._journal = journal.open("a")
        self._threads = [
            threading.Thread(target=self._caller, args=(number,), name=f"caller-{number}", daemon=True)
            for number in range(callers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 75.0) -> list[str]:
        """Takes no new jobs, waits for those under way; the names of callers that did not come back."""
        self.over.set()
        return self.wait(seconds)

    def wait(self, seconds: float) -> list[str]:
        """Waits for all callers (they end by themselves only with a limit)."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread.name for thread in self._threads if thread.is_alive()]
        if not left:
            self._journal.close()
        return left

    def note(self, **entry: Any) -> None:
        """A line of the journal."""
        with self._lock:
            if not self._journal.closed:
                self._journal.write(json.dumps({"seed": self.seed, **entry}) + "\n")
                self._journal.flush()

    def _next(self) -> bool:
        with self._lock:
            if self.over.is_set() or (self.limit is not None and self._taken >= self.limit):
                return False
            self._taken += 1
            return True

    def _caller(self, number: int) -> None:
        rng = random.Random(f"{self.seed}:{number}")
        tenant = self.stage.tenants[number % len(self.stage.tenants)]
        owner, approver = tenant.client(), tenant.client("approver")
        kinds, weights = zip(*self.mix.items(), strict=True)
        while self._next():
            kind = rng.choices(kinds, weights)[0]
            job = Job(tenant.name, kind, f"f{self.seed}-{number}-{uuid.UUID(int=rng.getrandbits(128)).hex[:12]}")
            with self._lock:
                self.jobs.append(job)
            try:
                self._do(job, tenant, owner, approver, rng)
            except GaveUp as error:
                job.gave_up = str(error)
            except Exception as error:
                job.gave_up = f"{type(error).__name__}: {error}"
            self.note(job=job.marker, kind=kind, task=job.task_id, state=job.state, gave_up=job.gave_up)

    def _do(self, job: Job, tenant: Tenant, owner: Client, approver: Client, rng: random.Random) -> None:
        pause = round(rng.uniform(0, 2 * self.pause), 3)
        if job.kind == "read":
            path = rng.choice(["/tasks", "/changes", "/approvals", "/attention"])
            self.insist(job, "read", lambda: owner.get(owner.ws(path)))
            job.acked, job.state = True, "read"
        elif job.kind == "call":
            self._call(job, owner, pause)
        else:
            self._task(job, tenant, owner, approver, pause)

    def _call(self, job: Job, owner: Client, pause: float) -> None:
        body = {"arguments": {"marker": job.marker, "text": job.marker, "pause": pause}}
        try:
            answer = self.insist(
                job,
                "call",
                lambda: owner.post(owner.ws("/tools/worka.faults.post/call"), body, key=f"call-{job.marker}"),
                patience=CALL_PATIENCE,
            )
        except GaveUp as error:
            # Nothing was acknowledged; the judge still demands that it happened at most once.
            job.state, job.reason = "not_acknowledged", str(error)
            return
        job.acked = answer["status"] == "succeeded"
        job.state, job.reason, job.effect_id = answer["status"], answer["reason"], answer["effect_id"]

    def _task(self, job: Job, tenant: Tenant, owner: Client, approver: Client, pause: float) -> None:
        body = {
            "workflow": job.kind,
            "inputs": {"marker": job.marker, "pause": pause},
            "member_id": tenant.worker_member,
        }
        made = self.insist(job, "create", lambda: owner.post(owner.ws("/tasks"), body, key=f"create-{job.marker}"))
        job.acked, job.task_id = True, made["id"]
        decided: set[str] = set()
        deadline = time.monotonic() + PATIENCE
        while True:
            task = self.insist(job, "get", lambda: owner.get(f"/v1/tasks/{job.task_id}"))
            job.state, job.reason, job.steps = task["state"], task["reason"], task["steps"]
            if task["state"] in ENDED:
                break
            for wait in task["waits"]:
                if wait["kind"] == "approval" and not wait["cleared_at"] and wait["ref"] not in decided:
                    self._approve(job, approver, wait["ref"])
                    decided.add(wait["ref"])
            if time.monotonic() > deadline:
                raise GaveUp(f"the task did not end within {PATIENCE:g} s: {task['state']} {task['reason']}")
            time.sleep(POLL)
        job.effect_id = next((step["effect_id"] for step in task["steps"] if step["name"] == "effect"), None)

    def once(self, job: Job, op: str, call: Callable[[], Any], read: Callable[[list[str]], Any]) -> Any:
        """Like `insist`; where it was done and its answer is gone, what it made is read: `read` gets the subjects' ids."""
        try:
            return self.insist(job, op, call)
        except GaveUp as error:
            said = error.__cause__.body if isinstance(error.__cause__, Failed) else {}
            if said.get("code") != "answer_lost":
                raise
            return read([str(subject) for subject in said.get("subjects", [])])

    def until(self, job: Job, op: str, path: str, client: Client, rests: Callable[[Any], bool]) -> Any:
        """Reads something again and again until it rests. Raises GaveUp."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.insist(job, op, lambda: client.get(path))
            if rests(found):
                return found
            if time.monotonic() > deadline:
                raise GaveUp(f"{op} did not rest within {PATIENCE:g} s: {found.get('state')} {found.get('reason')}")
            time.sleep(POLL)

    def _approve(self, job: Job, approver: Client, approval: str) -> None:
        card = self.insist(job, "card", lambda: approver.get(f"/v1/approvals/{approval}"))
        decision = {"decision": "approve", "digest": card["digest"], "comment": ""}

        def decide() -> Any:
            try:
                return approver.post(f"/v1/approvals/{approval}/decisions", decision, key=f"{job.marker}-{approval}")
            except Failed as failure:
                # The first try was decided and its answer lost: the second is told so.
                if failure.body.get("status") == 409 and failure.body.get("code") != "idempotency_key_in_flight":
                    return approver.get(f"/v1/approvals/{approval}")
                raise

        answer = self.insist(job, "decide", decide)
        if answer["state"] != "approved":
            raise GaveUp(f"the approval is {answer['state']}")

    def ask(self, seconds: float) -> None:
        """For so long, asks again and again for something privileged, and does not insist: each answer is in `tries`."""
        tenant = self.stage.tenants[0]
        owner = tenant.client()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            job = Job(tenant.name, "asked", f"f{self.seed}-asked-{uuid.uuid4().hex[:10]}")
            body = {"workflow": "post", "inputs": {"marker": job.marker}, "member_id": tenant.worker_member}
            with self._lock:
                self.jobs.append(job)
            try:
                self.insist(job, "create", lambda body=body: owner.post(owner.ws("/tasks"), body), patience=0)  # type: ignore[misc]
                job.acked = True
            except GaveUp as refused:
                job.reason = str(refused)
            time.sleep(0.25)

    def insist(self, job: Job, op: str, call: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Repeats the same request while the door or what is behind it is away. Raises GaveUp."""
        deadline = time.monotonic() + patience
        number = 0
        while True:
            number += 1
            sent = time.time()
            try:
                answer = call()
            except Failed as failure:
                status, code = int(failure.body.get("status") or 0), str(failure.body.get("code"))
                self._tried(Try(job.tenant, op, status, code, sent, time.time(), job.marker))
                away = status == 0 or status >= 500 or code in ("idempotency_key_in_flight", "call_in_flight")
                if not away or time.monotonic() > deadline:
                    raise GaveUp(f"{op}: {status} {code}: {str(failure.body.get('detail'))[:200]}") from failure
                time.sleep(min(0.1 * number, 0.5))
                continue
            self._tried(Try(job.tenant, op, 200, "", sent, time.time(), job.marker))
            return answer

    def _tried(self, done: Try) -> None:
        with self._lock:
            self.tries.append(done)
        self.note(**done.__dict__)
