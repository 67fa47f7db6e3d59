"""Rows in which a process of ours is killed, or stopped past its lease."""

from __future__ import annotations

import os
import random
import signal
import time

from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, gone
from tests.faults.harness.watch import Prober

HIT_WITHIN = 12.0
# What only a worker reaches while the load holds no direct calls and no views are read.
OF_WORKER = (
    "task.claimed.after_commit",
    "pack.invocation.intent.before_commit",
    "pack.invocation.after_intent",
    "pack.invocation.after_effect",
    "pack.invocation.outcome.before_commit",
    "step.intent.before_commit",
    "step.outcome.before_commit",
    "approval.requested.before_commit",
    "approval.consumed.before_commit",
    "task.waiting.before_commit",
    "view.published.before_commit",
    "task.finished.before_commit",
    "audit.sealed.before_write",
)
OF_SERVE = (
    "task.created.after_commit",
    "task.created.before_commit",
    "approval.decided.before_commit",
    "approval.decided.after_commit",
    "task.resumed.before_commit",
)


class Kill(Row):
    """SIGKILL to one role: by the seed at a failpoint, or at any moment."""

    role = ""
    points: tuple[str, ...] = ()
    random_share = 0.4

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        before = stage.roles()[self.role]
        hit = Hit(victim=f"{self.role} {before['pid']}")
        if rng.random() < self.random_share:
            hit.mode = "any moment"
            self.aim(stage, rng)
            hit.at = time.time()
            os.kill(before["pid"], signal.SIGKILL)
        else:
            hit.failpoint = rng.choice(self.points)
            hit.mode = "failpoint"
            proof = stage.arm(hit.failpoint)
            deadline = time.monotonic() + HIT_WITHIN
            while not proof.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            hit.at = time.time()
            if proof.exists():
                hit.proof.append(f"{hit.failpoint} was consumed")
        self.proved(stage, before, hit)
        hit.until = time.time()
        return hit

    def aim(self, stage: Stage, rng: random.Random) -> None:
        """Waits for the right moment to kill."""

    def proved(self, stage: Stage, before: dict[str, object], hit: Hit) -> None:
        """The pid is gone, and the supervisor saw it end by signal 9 and started another."""
        pid = int(str(before["pid"]))
        # No promise, only the proof: how soon it is back is judged where that is promised.
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            now = stage.roles()[self.role]
            if gone(pid) and now["pid"] != pid and now["last_exit"] == "signal 9":
                hit.proof.append(f"pid {pid} is gone by signal 9, {now['pid']} took its place")
                return
            time.sleep(0.02)
        hit.proof.clear()


class WorkerKill(Kill):
    name = "worker-kill"
    promise = "finished steps never run again; the one in flight resumes with the same key within 10 s"
    role = "worker"
    points = OF_WORKER

    def aim(self, stage: Stage, rng: random.Random) -> None:
        # Mid-step: some step is between its two commits.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if stage.instance.rows("select 1 from worka.step where state = 'running' limit 1"):
                return
            time.sleep(0.01)

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        ready, _ = prober.outage(hit.at)
        verdict.say(ready == 0.0, f"the door was away for {ready} s although only the worker died")


class ServerKill(Kill):
    name = "server-kill"
    promise = (
        "every acknowledged request is there; others complete once or not at all; readers without a gap; ready in 5 s"
    )
    mix = {"post": 6, "publish": 5, "call": 2, "read": 3}  # noqa: RUF012
    role = "serve"
    points = OF_SERVE
    random_share = 0.5
    # Workers go on; nothing of theirs was interrupted.
    resume = None

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        ready, said = prober.outage(hit.at)
        verdict.worst("ready_after", ready, self.outage, "the server's return")
        verdict.say(said, "the door was never away: the server was not killed")
