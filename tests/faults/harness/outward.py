"""Rows of the way out: the broker dies in the middle of a stream, the outside drips or is away, the database goes during a lease.

One tenant's outside is behind a relay of ours, which does the harm; the other tenants must not notice. What reached a tracker is read from
the trackers' own records.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections import Counter

from tests.faults.harness.database import database_log
from tests.faults.harness.judge import Verdict
from tests.faults.harness.killing import Kill
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, gone
from tests.faults.harness.watch import Prober

BACK_WITHIN = 10.0
FAULT_SECONDS = 9.0
BEFORE_SECONDS = 5.0
SLOWER = 1.2
NOISE_SECONDS = 0.3
"""A 99th percentile of some dozens of calls on two shared processors moves by this much on its own."""


class Relay:
    """Carries bytes to a tracker and back. `mode`: honest when empty; `drips`: one byte at a time comes back; `silent`: nothing does;
    `away`: nobody listens."""

    def __init__(self, to: int) -> None:
        self.to, self.mode, self.met = to, "", Counter[str]()
        self.port = 0
        self._listen()

    def _listen(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def become(self, mode: str) -> None:
        """From now on so."""
        was, self.mode = self.mode, mode
        if mode == "away":
            # A listener that another thread waits on goes on listening until it is told.
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        elif was == "away":
            self._listen()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = server.accept()
                self.met[self.mode] += 1
                threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn, socket.create_connection(("127.0.0.1", self.to), 5) as far:
            threading.Thread(target=self._carry, args=(conn, far), daemon=True).start()
            while data := far.recv(65_536):
                if self.mode == "silent":
                    while self.mode == "silent":
                        time.sleep(0.05)
                    return
                if self.mode != "drips":
                    conn.sendall(data)
                    continue
                for byte in data:
                    conn.sendall(bytes([byte]))
                    time.sleep(0.25 if self.mode == "drips" else 0)

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.become("away")


class Upstream(Row):
    """The first tenant's outside does harm for a while."""

    mix = {"call": 8, "read": 3}  # noqa: RUF012
    resume = None
    mode = ""

    def build(self) -> Stage:
        stage = super().build()
        victim = stage.tenants[0]
        self.relay = Relay(victim.facts["port"])
        old = victim.ids["exception_tracker"]
        recorded = {item["id"]: item for item in victim.owner.get(victim.owner.ws("/network-exceptions"))["items"]}[old]
        victim.owner.call("DELETE", f"/v1/network-exceptions/{old}")
        kept = {key: recorded[key] for key in ("name", "port", "address", "ca_pem", "reason")}
        made = victim.owner.post(victim.owner.ws("/network-exceptions"), {**kept, "real_port": self.relay.port})
        victim.ids["exception_tracker"] = made["id"]
        return stage

    def close(self, stage: Stage) -> None:
        self.relay.close()
        super().close(stage)

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        victim = stage.tenants[0].name
        hit = Hit(victim=f"the outside of {victim}", mode=self.mode, facts={"began": time.time()})
        time.sleep(BEFORE_SECONDS)
        hit.at = time.time()
        self.relay.become(self.mode)
        time.sleep(FAULT_SECONDS + rng.uniform(0, 3))
        self.relay.become("")
        hit.until = time.time()
        failed = [job for job in load.jobs if job.tenant == victim and job.kind == "call" and job.state == "failed"]
        if failed and (self.mode == "away" or self.relay.met[self.mode]):
            hit.proof.append(f"{len(failed)} calls of {victim} failed, {self.relay.met[self.mode]} connections met it")
        hit.facts["back_after"] = back(load, victim, hit.until)
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        victim = stage.tenants[0].name
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN, "coming back")
        away, _ = prober.outage(hit.at)
        verdict.say(away == 0.0, f"the door was away for {away} s although only an outside was")
        others = [entry for entry in load.tries if entry.tenant != victim and entry.op == "call"]
        bad = [entry for entry in others if entry.status != 200]
        lost = [job for job in load.jobs if job.tenant != victim and job.kind == "call" and job.state != "succeeded"]
        verdict.say(
            not bad and not lost, f"others met {[(e.status, e.code) for e in bad[:2]]}, {[j.reason for j in lost[:2]]}"
        )
        before = p99([e.done - e.sent for e in others if hit.facts["began"] <= e.sent and e.done < hit.at])
        during = p99([e.done - e.sent for e in others if hit.at <= e.sent <= hit.until])
        hit.facts.pop("began")
        verdict.figures |= {"others_p99_before": round(before, 3), "others_p99_during": round(during, 3)}
        verdict.say(
            during <= before * SLOWER + NOISE_SECONDS, f"others' p99 went from {before:.2f} s to {during:.2f} s"
        )
        told = Counter(
            row["reason"]
            for row in stage.instance.rows(
                "select e.reason from worka.egress e where e.workspace_id = %s and e.last_at between to_timestamp(%s) and"
                " to_timestamp(%s)", stage.tenants[0].ids["workspace"], hit.at, hit.until + 12,
            )
        )  # fmt: skip
        verdict.figures["reasons"] = dict(told)
        named = {"upstream_timeout", "upstream_unreachable", "upstream_tls_failed", "answer_not_taken", "invocation_ended",
                 "circuit_open", "limit_exceeded"}  # fmt: skip
        verdict.say(named & set(told), f"the ledger names no cause of the outside, but {sorted(told)}")


class Drips(Upstream):
    name = "upstream-drips"
    promise = "deadline; fails closed with its cause; comes back by itself; others' p99 as it was"
    mode = "drips"


class ProviderDown(Upstream):
    name = "provider-down"
    promise = "refused with its cause at once; comes back by itself; others' p99 as it was"
    mode = "away"


class BrokerKill(Kill):
    name = "broker-kill"
    promise = "nothing leaves without its row; a call in a stream ends with its cause; calls succeed again within 10 s"
    mix = {"call": 8, "read": 3}  # noqa: RUF012
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
    mix = {"call": 8, "read": 3}  # noqa: RUF012
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
        while not proof.exists() and time.monotonic() < deadline:
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


def back(load: Load, tenant: str, since: float) -> float:
    """Seconds until a call of this tenant succeeded that was sent after that."""
    deadline = time.monotonic() + 2 * BACK_WITHIN
    while time.monotonic() < deadline:
        good = {job.marker for job in list(load.jobs) if job.tenant == tenant and job.state == "succeeded"}
        done = [e for e in list(load.tries) if e.op == "call" and e.marker in good and e.sent > since]
        if done:
            return round(done[0].done - since, 2)
        time.sleep(0.05)
    return float("inf")


def p99(seconds: list[float]) -> float:
    """The 99th percentile; the longest of few."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0
