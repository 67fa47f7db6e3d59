"""Rows of the way out in which the outside fails: it drips, keeps silent, is away, or its name cannot be resolved.

One tenant's outside is behind a relay of ours, which does the harm; the other tenants must not notice. What reached a tracker is read from
the trackers' own records. Rows in which a part of ours fails on the way out are in `leaving.py`.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from tests.faults.harness.judge import Verdict
from tests.faults.harness.leaving import BACK_WITHIN, accounted, back
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage
from tests.faults.harness.watch import Prober
from tests.support.database import reachable_directory
from tests.support.leading import recorded as recorded_by_two
from worka.broker.ports import Limits
from worka.cli.egress_suite import internet

FAULT_SECONDS = 9.0
BEFORE_SECONDS = 5.0
SLOWER = 1.2
PAUSE = Limits().circuit_seconds
NOISE_SECONDS = 0.3
"""A 99th percentile of some dozens of calls on two shared processors moves by this much on its own."""


class Relay:
    """Carries bytes to a tracker and back. `mode`: honest when empty; `drips`: one byte at a time comes back; `silent`: nothing does;
    `away`: nobody listens."""

    def __init__(self, to: int, address: str = "127.0.0.1", port: int = 0) -> None:
        self.to, self.mode, self.met = to, "", Counter[str]()
        self.address, self.port = address, port
        self._listen()

    def _listen(self) -> None:
        self._server = socket.create_server((self.address, self.port), backlog=64)
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
    modes: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    """What the ledger may name as the cause; at least one of them is there."""
    place = ("127.0.0.1", 0)
    """Where the relay listens."""
    relay: Relay | None = None

    def build(self) -> Stage:
        stage = super().build()
        try:
            self.relay = Relay(stage.tenants[0].facts["port"], *self.place)
            self.lead(stage)
        except BaseException:
            self.close(stage)
            raise
        return stage

    def lead(self, stage: Stage) -> None:
        """Leads the first tenant's calls through the relay."""
        recorded = self.without_exception(stage)
        victim = stage.tenants[0]
        kept = {key: recorded[key] for key in ("name", "port", "address", "ca_pem", "reason")}
        assert self.relay is not None
        made = recorded_by_two(victim, "network-exceptions", {**kept, "real_port": self.relay.port})
        victim.ids["exception_tracker"] = made["id"]

    @staticmethod
    def without_exception(stage: Stage) -> dict[str, Any]:
        """Ends the recorded way to the first tenant's tracker; what it was."""
        victim = stage.tenants[0]
        old = victim.ids["exception_tracker"]
        items = victim.owner.get(victim.owner.ws("/network-exceptions"))["items"]
        victim.owner.call("DELETE", f"/v1/network-exceptions/{old}")
        return next(item for item in items if item["id"] == old)

    def close(self, stage: Stage) -> None:
        if self.relay is not None:
            self.relay.close()
        super().close(stage)

    def harm(self) -> Relay | Names:
        """What does the harm."""
        assert self.relay is not None
        return self.relay

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        victim = stage.tenants[0].name
        hit = Hit(victim=f"the outside of {victim}", mode=rng.choice(self.modes), facts={"began": time.time()})
        time.sleep(BEFORE_SECONDS)
        hit.at = time.time()
        harm = self.harm()
        before = harm.met[hit.mode]
        harm.become(hit.mode)
        time.sleep(FAULT_SECONDS + rng.uniform(0, 3))
        harm.become("")
        hit.until = time.time()
        met = harm.met[hit.mode] - before
        ended = {e.marker for e in list(load.tries) if e.tenant == victim and e.op == "call" and e.done >= hit.at}
        failed = [job for job in list(load.jobs) if job.marker in ended and job.state == "failed"]
        if failed and (hit.mode == "away" or met):
            hit.proof.append(f"{len(failed)} calls of {victim} failed, {met} met it")
        hit.facts["back_after"] = back(load, victim, hit.until, BACK_WITHIN + PAUSE)
        return hit

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        victim = stage.tenants[0].name
        workspace = stage.tenants[0].ids["workspace"]
        opened = stage.instance.rows(
            "select 1 from worka.event where workspace_id = %s and type = 'broker.circuit.opened' and"
            " at > to_timestamp(%s)", workspace, hit.at,
        )  # fmt: skip
        verdict.figures["circuits_opened"] = len(opened)
        # A circuit that opened asks again after its pause, which began while the fault was on.
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN + (PAUSE if opened else 0), "coming back")
        away, _ = prober.outage(hit.at)
        verdict.say(away == 0.0, f"the door was away for {away} s although only an outside was")
        others = [entry for entry in load.tries if entry.tenant != victim and entry.op == "call"]
        bad = [entry for entry in others if entry.status != 200]
        lost = [job for job in load.jobs if job.tenant != victim and job.kind == "call" and job.state != "succeeded"]
        verdict.say(
            not bad and not lost, f"others met {[(e.status, e.code) for e in bad[:2]]}, {[j.reason for j in lost[:2]]}"
        )
        # The same load with no fault, before it and after everything was back; a machine with much to do is never even.
        calm = [
            e.done - e.sent for e in others if hit.facts["began"] <= e.sent and (e.done < hit.at or e.sent > hit.until)
        ]
        usual, during = p99(calm), p99([e.done - e.sent for e in others if hit.at <= e.sent <= hit.until])
        hit.facts.pop("began")
        verdict.figures |= {"others_p99_calm": round(usual, 3), "others_p99_during": round(during, 3)}
        verdict.say(
            during <= usual * SLOWER + NOISE_SECONDS,
            f"others' p99 is {during:.2f} s, and {usual:.2f} s without the fault",
        )
        told = Counter(
            row["reason"]
            for row in stage.instance.rows(
                "select e.reason from worka.egress e where e.workspace_id = %s and e.last_at between to_timestamp(%s) and"
                " to_timestamp(%s)", workspace, hit.at, hit.until + BACK_WITHIN,
            )
        )  # fmt: skip
        verdict.figures["reasons"] = dict(told)
        verdict.say(set(self.named) & set(told), f"the ledger names no cause of the outside, but {sorted(told)}")
        accounted(verdict, stage)


class Drips(Upstream):
    name = "upstream-drips"
    promise = "deadline; fails closed with its cause; comes back by itself; others' p99 as it was"
    modes = ("drips", "silent")
    named = ("upstream_timeout", "upstream_tls_failed", "answer_not_taken", "invocation_ended", "circuit_open")


class ProviderDown(Upstream):
    name = "provider-down"
    promise = "refused with its cause at once; comes back by itself once its circuit tries again; others' p99 as it was"
    modes = ("away",)
    named = ("upstream_unreachable",)

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        super().judge(verdict, stage, load, prober, hit)
        verdict.say(verdict.figures["circuits_opened"], "an outside that was away was asked again and again")


class Names:
    """The resolver of the machine, on 127.0.0.1:53. `mode`: honest when empty; `mute`: it takes a question and keeps silent; `fails`: it
    says that it cannot; `away`: nobody listens. It is always silent about names that begin with `silent`."""

    def __init__(self, table: dict[str, str], silent: str = "") -> None:
        self.table, self.silent, self.mode, self.met = table, silent, "", Counter[str]()
        self._listen()

    def _listen(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._answer, args=(self._socket,), daemon=True).start()

    def become(self, mode: str) -> None:
        """From now on so."""
        was, self.mode = self.mode, mode
        if mode == "away":
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        elif was == "away":
            self._listen()

    def _answer(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, asker = sock.recvfrom(4096)
                if not question:
                    return  # it was told to end
                self.met[self.mode] += 1
                query = DNSRecord.parse(question)
                name = str(query.q.qname).rstrip(".").lower()
                if self.mode != "mute" and not (self.silent and name.startswith(self.silent)):
                    sock.sendto(self._reply(query, name), asker)

    def _reply(self, query: DNSRecord, name: str) -> bytes:
        reply, address = query.reply(), self.table.get(name)
        if self.mode == "fails":
            reply.header.rcode = RCODE.SERVFAIL
        elif address is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif query.q.qtype == QTYPE.A:
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address), ttl=0))
        return bytes(reply.pack())


class DnsDown(Upstream):
    """In a network of its own, where a public address is this machine's: the first tenant's outside is a name that is asked of the
    resolver, the others' are recorded exceptions."""

    name = "dns-down"
    promise = "closed, with its cause; what needs no resolver goes on, its p99 as it was; comes back by itself"
    private_mounts = True
    place = (internet.TRACKER_ADDRESS, 443)
    modes = ("mute", "fails", "away")
    named = ("name_not_resolved",)
    names: Names | None = None

    def build(self) -> Stage:
        if self.names is None:
            folder = reachable_directory("test-faults-names-")
            internet.enter(folder / "resolv.conf")
            # The patience that a resolver library has where nobody says otherwise: twice as long as the broker's.
            Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
            shutil.rmtree(folder)
            self.names = Names({internet.TRACKER: internet.TRACKER_ADDRESS})
        return super().build()

    def lead(self, stage: Stage) -> None:
        recorded = self.without_exception(stage)
        trust = {"name": recorded["name"], "ca_pem": recorded["ca_pem"], "reason": recorded["reason"]}
        recorded_by_two(stage.tenants[0], "upstream-trusts", trust)

    def harm(self) -> Relay | Names:
        assert self.names is not None
        return self.names

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        super().judge(verdict, stage, load, prober, hit)
        verdict.say(not verdict.figures["circuits_opened"], "a resolver that is down was taken for the outside")
        # What had asked before may still be on its way.
        late = [
            entry for entry in stage.tenants[0].requests() if hit.at + 2 * self.pause + 1.0 < entry["at"] < hit.until
        ]
        verdict.say(not late, f"{len(late)} requests reached a name that nobody could resolve")


def p99(seconds: list[float]) -> float:
    """The 99th percentile; the longest of few."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0
