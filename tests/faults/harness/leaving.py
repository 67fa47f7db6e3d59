"""Rows of the way out in which a part of ours fails: the broker dies in the middle of a stream, the database goes during a lease, the
row of what leaves cannot be written, the disk is full, the clock jumps.

Direct calls, each of which goes outside once. What reached a tracker is read from the trackers' own records. That others' calls take
no longer than before is judged where one tenant's outside fails (`outward.py`): here what fails is everybody's.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

from tests.faults.harness.clock import Clock
from tests.faults.harness.database import AuditUnwritable, database_log
from tests.faults.harness.disk import NOTICED_WITHIN, DiskFull
from tests.faults.harness.judge import Verdict
from tests.faults.harness.killing import Kill
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, gone, state_of
from tests.faults.harness.watch import Prober

BACK_WITHIN = 10.0
UNDER_WAY = 1.5
"""Seconds in which what was recorded before the fault still arrives."""
CAUGHT = 2.0
"""Seconds after a jump in which each process has seen it."""
UNRECORDED = ("egress_not_recorded", "database_unavailable", "audit_unwritable", "secret_unavailable")
"""What whoever is caught by it is told: the row of the request, of the call, of the ledger or of the lease could not be written."""
CALLS = {"call": 8, "read": 3}
NO_HANG = 6.0
"""What a refused call may take: two seconds for its row, the pack's own pause, and a cold start on a machine with much to do."""


class BrokerKill(Kill):
    name = "broker-kill"
    promise = "nothing leaves without its row; a call in a stream ends with its cause; calls succeed again within 10 s"
    mix = CALLS
    role = "broker"
    points = ("broker.egress.before_commit", "broker.egress.before_dial", "broker.egress.after_answer")
    random_share = 0.4
    resume = None

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        hit = super().strike(stage, load, prober, rng)
        hit.facts["back_after"] = max(back(load, tenant.name, hit.until) for tenant in stage.tenants)
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN, "the way out's return")
        calls = [job for job in load.jobs if job.kind == "call"]
        verdict.figures["call_reasons"] = dict(Counter(job.reason for job in calls if job.state != "succeeded"))
        accounted(verdict, stage)


class LeaseDatabase(Row):
    name = "lease-database"
    promise = (
        "a lease that cannot be recorded is no lease: nothing is sent, the cause is told, and it comes back by itself"
    )
    mix = CALLS
    outage = 15.0
    resume = None

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        server, broker = stage.postgres, stage.roles()["broker"]["pid"]
        postmaster = server.running_pid()
        assert postmaster is not None
        logged = server.log.stat().st_size
        hit = Hit(failpoint="treasury.lease.before_commit", mode="failpoint", victim=f"postgresql {postmaster}")
        proof = stage.arm(hit.failpoint, "STOP")
        deadline = time.monotonic() + 12
        # The proof is written just before it stops: one that is told to go on too early would stop for good.
        while not (proof.exists() and state_of(broker) == "T") and time.monotonic() < deadline:
            time.sleep(0.005)
        hit.at = time.time()
        os.kill(postmaster, signal.SIGKILL)
        # The lease that was under way goes on into a database that is away.
        os.kill(broker, signal.SIGCONT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not hit.proof:
            now = server.running_pid()
            if (
                gone(postmaster)
                and now not in (None, postmaster)
                and "not properly shut down" in database_log(stage, logged)
            ):
                hit.proof = [f"postmaster {postmaster} was killed in a lease ({proof.exists()}), {now} recovered"]
            time.sleep(0.05)
        if not proof.exists():
            hit.proof.clear()
        hit.until = time.time()
        hit.facts["back_after"] = max(back(load, tenant.name, hit.until) for tenant in stage.tenants)
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN, "coming back")
        ready, _ = prober.outage(hit.at)
        verdict.worst("ready_after", ready, self.outage, "the return of the database")
        accounted(verdict, stage)


class EgressUnwritable(AuditUnwritable):
    """The table of what leaves is locked by somebody else, or refuses every row."""

    name = "egress-unwritable"
    promise = "what leaves cannot be recorded, so nothing leaves: refused with its cause, no hang; comes back by itself"
    mix = CALLS
    table = "worka.egress"
    lock = "exclusive"  # whoever only reads goes on
    lasts = (6.0, 9.0)

    def ask(self, load: Load, seconds: float) -> None:
        pass  # the callers ask enough

    def refused(self, load: Load, hit: Hit) -> list[str]:
        return [job.reason for job in load.jobs if job.reason == "egress_not_recorded"]

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        # A cold start may last for as long as the fault: calls go outside before it begins.
        for tenant in stage.tenants:
            back(load, tenant.name, 0.0)
        hit = super().strike(stage, load, prober, rng)
        hit.facts["back_after"] = max(back(load, tenant.name, hit.until) for tenant in stage.tenants)
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN, "coming back")
        begun = [e for e in load.tries if e.op == "call" and hit.at <= e.sent and e.done <= hit.until]
        verdict.worst("refused_within", max((e.done - e.sent for e in begun), default=0.0), NO_HANG, "a refusal")
        failed = Counter(job.reason for job in load.jobs if job.kind == "call" and job.state != "succeeded")
        verdict.figures["call_reasons"] = dict(failed)
        verdict.say(set(failed) == {"egress_not_recorded"}, f"calls ended for {dict(failed)}")
        away, _ = prober.outage(hit.at)
        verdict.say(away == 0.0, f"the door was away for {away} s although only one table was")
        silent(verdict, stage, hit.at, hit.until)
        accounted(verdict, stage)


class EgressDiskFull(DiskFull):
    name = "egress-disk-full"
    promise = (
        "no call is begun on a full disk, with the cause named; nothing leaves without its row; comes back by itself"
    )
    mix = {"call": 8, "read": 4}  # noqa: RUF012

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        full = hit.facts.get("full_at", hit.at)
        super().judge(verdict, stage, load, prober, hit)
        silent(verdict, stage, full + NOTICED_WITHIN, hit.until)
        accounted(verdict, stage)


class EgressClock(Clock):
    """PostgreSQL counts an idle transaction's time by the clock: one that a jump catches is ended, and what it would have recorded does
    not leave.

    libfaketime shows the real time to a signal handler that interrupts a wait, and PostgreSQL looks at its clock in the handler of its
    alarm. While the clock is set back, each alarm in an open transaction is so one more jump, two hours forth: whoever calls then may be
    caught. Set forth, such an alarm looks two hours back, and ends nobody."""

    name = "egress-clock"
    promise = "nothing leaves without its row; whom a jump does not catch goes on, and who is caught is told the cause"
    mix = CALLS

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        super().judge(verdict, stage, load, prober, hit)
        failed = {job.marker: job.reason for job in load.jobs if job.kind == "call" and job.state != "succeeded"}
        verdict.figures["call_reasons"] = dict(Counter(failed.values()))
        ends = (hit.until,) if hit.facts["offset"] < 0 else (hit.at, hit.until)
        spans = [(begin, end + CAUGHT) for begin, end in zip((hit.at, hit.until), ends, strict=False)]
        caught = {e.marker for e in load.tries if any(e.sent < end and e.done > begin for begin, end in spans)}
        lost = [reason for marker, reason in failed.items() if marker not in caught or reason not in UNRECORDED]
        verdict.say(not lost, f"calls ended for {dict(Counter(lost))}")
        accounted(verdict, stage)


def silent(verdict: Verdict, stage: Stage, since: float, until: float) -> None:
    """Nothing reached a tracker in this time, but for what was on its way."""
    for tenant in stage.tenants:
        late = [entry for entry in tenant.requests() if since + UNDER_WAY < entry["at"] < until]
        verdict.say(not late, f"{len(late)} requests reached the tracker of {tenant.name} in the fault")


def accounted(verdict: Verdict, stage: Stage) -> None:
    """Nothing reached a tracker without its row: by the trackers' own records."""
    for tenant in stage.tenants:
        reached = {entry["idempotency_key"] for entry in tenant.requests() if entry.get("idempotency_key")}
        rows = stage.instance.rows(
            "select i.idempotency_key from worka.egress e join worka.invocation i on i.tenant_id = e.tenant_id and i.id ="
            " e.invocation_id where e.workspace_id = %s and e.verdict = 'allowed'", tenant.ids["workspace"],
        )  # fmt: skip
        unknown = reached - {row["idempotency_key"] for row in rows}
        verdict.say(not unknown, f"{len(unknown)} requests reached the tracker of {tenant.name} without a row")


def back(load: Load, tenant: str, since: float, within: float = BACK_WITHIN) -> float:
    """Seconds until a call of this tenant succeeded that was sent after that."""
    deadline = time.monotonic() + within + BACK_WITHIN
    while time.monotonic() < deadline:
        good = {job.marker for job in list(load.jobs) if job.tenant == tenant and job.state == "succeeded"}
        done = [e for e in list(load.tries) if e.op == "call" and e.marker in good and e.sent > since]
        if done:
            return round(done[0].done - since, 2)
        time.sleep(0.05)
    return float("inf")
