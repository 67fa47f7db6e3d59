"""Rows in which PostgreSQL dies, is restarted again and again, or will not take the audit row."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import psycopg

from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, gone
from tests.faults.harness.watch import Prober

AIM_SECONDS = 6.0
REFUSED_WITHIN = 2.0
PRIVILEGED = ("create", "decide")


def admin(stage: Stage, **more: object) -> psycopg.Connection:
    """A connection of the cluster's administrator: the harness's hand and eye inside the database."""
    known = json.loads((stage.home / "admin" / "database.json").read_text())
    return psycopg.connect(
        host=known["host"],
        port=known["port"],
        user="postgres",
        password=known["admin"],
        dbname="worka",
        autocommit=True,
        connect_timeout=5,
        **more,  # type: ignore[arg-type]
    )


def starts(stage: Stage) -> dict[str, int]:
    """How often each of our processes was started: recovery must not need another start."""
    return {name: role["starts"] for name, role in stage.roles().items()}


def database_log(stage: Stage, since: int) -> str:
    """What PostgreSQL logged after this many bytes."""
    return stage.postgres.log.read_bytes()[since:].decode(errors="replace")


class PostgresKill(Row):
    name = "postgres-kill"
    promise = "acknowledged commits survive; exact results; 503 and then recovery without a restart of ours"
    mix = {"post": 6, "publish": 4, "read": 3}  # noqa: RUF012
    outage = 15.0
    resume = None

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        server = stage.postgres
        hit = Hit(mode=rng.choice(["postmaster", "a backend in COMMIT"]), facts={"starts": starts(stage)})
        postmaster = server.running_pid()
        assert postmaster is not None
        logged = server.log.stat().st_size
        committing = 0
        deadline = time.monotonic() + AIM_SECONDS
        with admin(stage) as conn:
            while not committing and time.monotonic() < deadline:
                row = conn.execute(
                    "select pid from pg_stat_activity where state = 'active' and query ilike 'commit%'"
                    " and application_name like 'worka-%' limit 1"
                ).fetchone()
                committing = row[0] if row else 0
            victim = postmaster if hit.mode == "postmaster" else committing
            hit.at = time.time()
            if victim:
                os.kill(victim, signal.SIGKILL)
        hit.victim = f"postgresql {victim}"
        hit.facts["committing_backend"] = committing
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not hit.proof:
            said = database_log(stage, logged)
            now = server.running_pid()
            if hit.mode == "postmaster" and gone(victim) and now not in (None, postmaster):
                if "was interrupted" in said or "not properly shut down" in said:
                    hit.proof = [f"postmaster {victim} is gone, {now} recovered: not properly shut down"]
            elif f"(PID {victim}) was terminated by signal 9" in said and victim:
                hit.proof = [f"the log says: process (PID {victim}) was terminated by signal 9"]
            time.sleep(0.05)
        if hit.proof and committing:
            hit.proof.append(f"backend {committing} was in COMMIT at that moment")
        hit.until = time.time()
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        ready, said = prober.outage(hit.at)
        verdict.worst("ready_after", ready, self.outage, "the return of the database")
        verdict.say(set(said) <= {503}, f"the door said {said} while the database was away, not only 503")
        verdict.say(starts(stage) == hit.facts.pop("starts"), "a process of ours was started again")


class PostgresRestarts(Row):
    """Restarted every 5 to 40 s while two hundred workflows run, each with one effect; `storm`: five thousand."""

    name = "postgres-restarts"
    promise = "acknowledged commits survive; exact results; 503 and then recovery without a restart of ours"
    mix = {"light": 1}  # noqa: RUF012
    pause = 0.01
    outage = 15.0
    resume = None
    tail = 0.0
    workflows = 200
    longest = 240.0

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        load = super().load(stage, seed, journal, rng)
        load.limit = self.workflows
        return load

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        hit = Hit(victim="postgresql", mode="restarts", facts={"starts": starts(stage), "restarts": 0, "worst": 0.0})
        deadline = time.monotonic() + self.longest
        pause = rng.uniform(1, 6)
        while time.monotonic() < deadline and load.wait(pause):
            before = stage.postgres.running_pid()
            struck = time.time()
            hit.at = hit.at or struck
            # Not by `pg_ctl stop`: it waits for a file that the next server, started at once, has written anew.
            assert before is not None
            os.kill(before, rng.choice([signal.SIGINT, signal.SIGQUIT]))
            while (now := stage.postgres.running_pid()) in (None, before) and time.time() < struck + 20:
                time.sleep(0.02)
            if not prober.wait_ready(time.time(), 20):
                break
            if now not in (None, before):
                hit.facts["restarts"] += 1
                hit.facts["worst"] = max(hit.facts["worst"], round(time.time() - struck, 2))
                hit.proof.append(f"{before} was stopped, {now} took its place")
            pause = rng.uniform(5, 40)
        hit.until = time.time()
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.worst("ready_after", hit.facts.pop("worst"), self.outage, "the return of the database")
        verdict.say(starts(stage) == hit.facts.pop("starts"), "a process of ours was started again")
        done = sum(job.state == "succeeded" for job in load.jobs)
        verdict.say(done == self.workflows, f"{done} of {self.workflows} workflows succeeded")
        verdict.say(verdict.figures.get("effects") == self.workflows, "the effects are not as many as the workflows")
        bad = [entry for entry in load.tries if entry.status not in (0, 200, 503)]
        verdict.say(not bad, f"callers met {sorted({entry.status for entry in bad})}")


class PostgresStorm(PostgresRestarts):
    name = "postgres-storm"
    workflows = 5000
    longest = 3000.0


class AuditUnwritable(Row):
    """The ledger's table is locked by somebody else (it blocks), or refuses every row (its disk is full)."""

    name = "audit-unwritable"
    promise = "the ledger row cannot be written: refuse within 2 s, no hang; nothing privileged is done meanwhile"
    mix = {"post": 5, "publish": 5, "read": 3}  # noqa: RUF012
    resume = None
    tail = 3.0
    table = "worka.audit_entry"
    lock = "access exclusive"
    lasts = (4.0, 7.0)

    def ask(self, load: Load, seconds: float) -> None:
        """Asks for what has to be recorded, during the fault."""
        load.ask(seconds)

    def refused(self, load: Load, hit: Hit) -> list[str]:
        """What was refused for it, and why."""
        return [e.code for e in load.tries if e.sent >= hit.at and e.code == "audit_unwritable"]

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        hit = Hit(mode=rng.choice(["blocked", "full"]), victim=self.table)
        seconds = rng.uniform(*self.lasts)
        asking = threading.Thread(target=self.ask, args=(load, seconds - 0.5), daemon=True)
        with admin(stage) as conn:
            if hit.mode == "blocked":
                with conn.transaction():
                    conn.execute(f"lock table {self.table} in {self.lock} mode")
                    hit.at = time.time()
                    asking.start()
                    waiting = self._while(conn, seconds)
                    hit.until = time.time()
                if waiting:
                    hit.proof.append(f"{waiting} sessions waited for its lock")
            else:
                conn.execute(
                    "create or replace function worka.faults_full() returns trigger language plpgsql as $$ begin"
                    " raise disk_full using message = 'could not extend file of the ledger: No space left on device';"
                    " end $$"
                )
                conn.execute("grant execute on function worka.faults_full() to public")
                conn.execute(
                    f"create trigger faults_full before insert on {self.table}"
                    " for each row execute function worka.faults_full()"
                )
                hit.at = time.time()
                asking.start()
                time.sleep(seconds)
                conn.execute(f"drop trigger faults_full on {self.table}")
                hit.until = time.time()
        asking.join(25)
        if refused := self.refused(load, hit):
            hit.proof.append(f"{len(refused)} were refused: {refused[0]}")
        return hit

    def _while(self, conn: psycopg.Connection, seconds: float) -> int:
        waiting = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            row = conn.execute(
                "select count(distinct pid) from pg_locks where not granted and relation = %s::regclass", (self.table,)
            ).fetchone()
            waiting = max(waiting, row[0] if row else 0)
            time.sleep(0.2)
        return waiting

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        inside = [entry for entry in load.tries if hit.at + 0.1 <= entry.sent and entry.done <= hit.until]
        asked = [entry for entry in inside if entry.op in PRIVILEGED]
        verdict.figures["asked_in_fault"] = len(asked)
        verdict.say(asked, "nobody asked for anything privileged during the fault")
        done = [entry for entry in asked if entry.status == 200]
        verdict.say(not done, f"{len(done)} privileged requests were done although the ledger could not be written")
        codes = sorted({entry.code for entry in asked if entry.status != 200})
        verdict.say(set(codes) <= {"audit_unwritable", "idempotency_key_in_flight"}, f"refused with {codes}")
        begun = [entry for entry in load.tries if hit.at <= entry.sent <= hit.until and entry.op in PRIVILEGED]
        if begun:
            slowest = max(entry.done - entry.sent for entry in begun)
            verdict.worst("refused_within", slowest, REFUSED_WITHIN, "a refusal")
        reads = [entry for entry in inside if entry.op in ("read", "get", "card")]
        unread = [entry for entry in reads if entry.status != 200]
        verdict.figures["reads_in_fault"] = len(reads)
        verdict.say(not unread, f"{len(unread)} of {len(reads)} reads failed: {[entry.code for entry in unread][:2]}")
