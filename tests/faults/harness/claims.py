"""The row of two claims: a worker is stopped past its lease, another goes on with its tasks, then the first wakes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, state_of
from tests.faults.harness.watch import Prober

LEASE = 6.0
POINTS = (
    "task.claimed.after_commit",
    "pack.invocation.after_intent",
    "pack.invocation.after_effect",
    "step.intent.before_commit",
    "step.outcome.before_commit",
    "pack.invocation.outcome.before_commit",
    "task.finished.before_commit",
)


class TwoClaims(Row):
    name = "two-claims"
    promise = "the zombie's commit is refused; nothing is done twice"
    resume = None
    tail = 3.0

    def build(self) -> Stage:
        """A second worker stands beside the supervised one."""
        stage = super().build()
        self.log = (stage.home / "second-worker.log").open("wb")
        env = {**stage.instance.env, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "WORKA_WORKFLOWS__SLOT": "9"}
        env["WORKA_FAILPOINT_DIR"] = str(stage.armed)
        self.second = subprocess.Popen(
            [sys.executable, "-m", "worka.workers.worker"],
            env=env,
            cwd="/",
            stdout=self.log,
            stderr=self.log,
            # As the supervisor starts it: what it writes must be readable for the other roles.
            **({"user": "worka", "group": "worka", "extra_groups": []} if os.geteuid() == 0 else {}),
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if len(stage.instance.rows("select 1 from worka.process where role = 'worker'")) == 2:
                return stage
            time.sleep(0.1)
        self.close(stage)
        raise AssertionError("the second worker did not come up")

    def close(self, stage: Stage) -> None:
        self.second.terminate()
        try:
            self.second.wait(20)
        except subprocess.TimeoutExpired:
            self.second.kill()
        self.log.close()
        super().close(stage)

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        workers = {"worker": stage.roles()["worker"]["pid"], "second worker": self.second.pid}
        hit = Hit(mode="SIGSTOP")
        if rng.random() < 0.3:
            name = rng.choice(sorted(workers))
            hit.mode = "SIGSTOP at any moment"
            os.kill(workers[name], signal.SIGSTOP)
        else:
            hit.failpoint = rng.choice(POINTS)
            stage.arm(hit.failpoint, "STOP")
        deadline = time.monotonic() + 12
        stopped: dict[str, int] = {}
        while not stopped and time.monotonic() < deadline:
            stopped = {name: pid for name, pid in workers.items() if state_of(pid) == "T"}
            time.sleep(0.005)
        hit.at = time.time()
        if not stopped:
            return hit
        ((name, pid),) = stopped.items()
        hit.victim = f"{name} {pid}"
        time.sleep(LEASE + rng.uniform(1.5, 3.5))
        still = state_of(pid) == "T"
        os.kill(pid, signal.SIGCONT)
        hit.until = time.time()
        if still:
            hit.proof.append(
                f"{name} {pid} stood still for {hit.until - hit.at:.1f} s, longer than its lease of {LEASE:g} s"
            )
        hit.facts["pid"] = pid
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        pid = hit.facts.pop("pid", 0)
        verdict.say(pid and state_of(pid) in ("S", "R", "D"), f"the stopped worker did not go on: {state_of(pid)}")
        said = (stage.home / "log" / "worker.log").read_text() + (stage.home / "second-worker.log").read_text()
        verdict.figures["late_outcomes_refused"] = said.count("a late outcome was refused")
        reoffered = stage.instance.rows("select count(*) as n from worka.event where type = 'workflow.task.reoffered'")
        verdict.figures["reoffered_so_far"] = reoffered[0]["n"]
        ready, _ = prober.outage(hit.at)
        verdict.say(ready == 0.0, f"the door was away for {ready} s although only a worker stood still")
