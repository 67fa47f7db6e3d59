"""Row 1: a governed tool call, end to end, against a direct FastMCP call and against gateways.

Ours is one POST at the door with an idempotency key: authentication, membership, authorization, governance, the intent
with its decision and audit row made durable, the sandboxed pack, the outcome with its audit row made durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks import peers
from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from benchmarks.targets import Caller, FastMcp, Target, Worka, Wrong
from worka.packs.runtime.client import HostClient

WORKA, DIRECT, PROXY, FORGE = "worka", "direct FastMCP", "FastMCP proxy", "ContextForge"
FORGE_AUDIT, PRELOOP = "ContextForge, audit on", "Preloop"
GATEWAYS = (PROXY, FORGE, FORGE_AUDIT, PRELOOP)
ALLOWED, DENIED, PRELOOP_DENIED = "allowed", "denied", "Preloop denies"
TEXT = "x" * 256
FULL = "all layers"
PRICES = {
    "no idempotency key": "the same without the Idempotency-Key header",
    "policy off": "an authorizer that allows everything and records no decision",
    "audit off": "a recorder that writes nothing",
    "policy and audit off": "both",
}
# What holds instead of the clauses against calls that nobody governs (ADR 0097): ours / its, of processor time.
MOST_OF = {DIRECT: 5.0, PROXY: 0.25}
_WITHOUT = {"policy off": "policy", "audit off": "audit", "policy and audit off": "policy,audit"}


class Call:
    """The row."""

    name, number, title = "call", 1, "governed tool call (256 B echo)"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.worka = Worka()
        self.targets: dict[str, Target] = {WORKA: self.worka}
        self.issued = 0
        self.peers = {
            WORKA: "`worka up` as it ships, all safety on; one POST with an idempotency key to an echo pack in its sandbox",
            ALLOWED: "the same call", DENIED: "the same call by a viewer, who may not call tools",
            FULL: "the same application started by the benchmark with nothing taken out", **PRICES,
        }  # fmt: skip

    def scenarios(self) -> list[Scenario]:
        """Alone, sixteen at once, a denied call, and what each layer costs."""
        contestants = tuple(self.targets)
        denied = (DENIED, ALLOWED, *([PRELOOP_DENIED] if PRELOOP in self.targets else []))
        priced = (FULL, *self._priced())
        return [
            Scenario("one", "one caller", contestants, 2000, slow=dict.fromkeys(GATEWAYS, 100)),
            Scenario("sixteen", "sixteen callers", contestants, 2000, slow=dict.fromkeys(GATEWAYS, 160)),
            Scenario("denied", "a denied call, one caller", denied, 300, slow={PRELOOP_DENIED: 60}),
            Scenario("price", "what a layer costs, one caller", priced, 200),
            Scenario("price16", "what a layer costs, sixteen callers", priced, 400),
        ]

    def _priced(self) -> list[str]:
        """All of them; in a smoke one that needs a door of its own, and one that does not."""
        return ["no idempotency key", "policy and audit off"] if self.smoke else list(PRICES)

    async def open(self) -> None:
        """Ours, then the peers; a peer that cannot be had is named and left out."""
        await asyncio.to_thread(self.worka.start)
        if self.smoke:
            return
        folder = self.worka.instance.home / "peers"
        folder.mkdir()
        from benchmarks.forge import ContextForge
        from benchmarks.preloop import Preloop

        starting: dict[str, Callable[[], Target]] = {
            DIRECT: lambda: FastMcp(folder),
            PROXY: lambda: FastMcp(folder, self.targets[DIRECT].url),
            FORGE: lambda: ContextForge(folder, self.administrator(), self.targets[DIRECT].url),
            FORGE_AUDIT: lambda: ContextForge(folder, self.administrator(), self.targets[DIRECT].url, audit=True),
            PRELOOP: lambda: Preloop(folder, self.administrator(), self.targets[DIRECT].url),
        }
        for name, start in starting.items():
            try:
                self.targets[name] = await asyncio.to_thread(start)
                self.peers[name] = self.targets[name].words
            except (peers.PeerMissing, KeyError) as missing:
                self.peers[name] = f"did not run: {missing}"
        if PRELOOP in self.targets:
            self.peers[PRELOOP_DENIED] = "the same with an argument that one of its two rules denies"

    async def close(self) -> None:
        """Ends all of them, ours last: the peers use its PostgreSQL."""
        for target in reversed(self.targets.values()):
            await asyncio.to_thread(target.stop)

    def administrator(self) -> str:
        """For the floors, and for counting what the ledger holds."""
        return administrator(self.worka.instance.home)

    async def _caller(self, who: str) -> Caller:
        if who in self.targets:
            return await self.targets[who].caller()
        if who == PRELOOP_DENIED:
            preloop: Any = self.targets[PRELOOP]
            return await preloop.refused()  # type: ignore[no-any-return]
        if who == DENIED:
            return await self.worka.as_(self.worka.viewer, expect=403)
        if who == ALLOWED:
            return await self.worka.caller()
        port = await asyncio.to_thread(self.worka.variant, _WITHOUT.get(who, ""))
        self.worka.only(port)
        return await self.worka.as_(self.worka.token, port=port, keyed=who != "no idempotency key")

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """The calls, spread over the callers; each caller waits for its answer before it calls again."""
        at_once = 16 if scenario.name in ("sixteen", "price16") else 1
        callers = [await self._caller(who) for _ in range(at_once)]
        target = self.targets[PRELOOP] if who == PRELOOP_DENIED else self.targets.get(who, self.worka)
        times: list[float] = []
        errors, first, left = 0, "", calls

        async def calling(caller: Caller) -> None:
            nonlocal errors, first, left
            while left > 0:
                left -= 1
                began = time.perf_counter()
                try:
                    await caller.call(TEXT)
                    times.append((time.perf_counter() - began) * 1000)
                except Exception as error:
                    errors, first = errors + 1, first or repr(error)[:300]
                    if not isinstance(error, Wrong):
                        caller.close()  # the connection is in an unknown state: the rest of this caller's calls count
                        return

        pids = target.pids()
        before = await self._seen() if target is self.worka else {}
        used, client, began = cpu_seconds(pids), time.process_time(), time.perf_counter()
        await asyncio.gather(*(calling(caller) for caller in callers))
        seconds = time.perf_counter() - began
        used, client = cpu_seconds(pids) - used, time.process_time() - client
        for caller in callers:
            caller.close()
        self.worka.only(None)
        note: dict[str, Any] = {}
        if target is self.worka and not scenario.name.startswith("price"):
            after = await self._seen()
            note = {"issued": calls, **{key: after[key] - before[key] for key in after}}
        return Round(scenario.name, who, number, times, seconds, errors, first, 0, used + client, client, note)

    async def _seen(self) -> dict[str, int]:
        """Calls so far: in the ledger and in the database as its administrator counts them, and at the pack as the host
        counts what it sent there."""
        status = await HostClient(self.worka.instance.home / "run").status()
        return {**await asyncio.to_thread(self._ledger), "at_pack": status["calls"]}

    def _ledger(self) -> dict[str, int]:
        kinds = ("pack.invocation.started", "pack.invocation.finished", "access.denied")
        rows = self.worka.instance.rows(
            "select convert_from(body, 'UTF8')::jsonb->>'type' as kind, count(*) as n from worka.audit_entry"
            " where tenant_id = %s group by 1",
            self.worka.tenant,
        )
        found = {row["kind"]: row["n"] for row in rows}
        begun = self.worka.instance.rows(
            "select count(*) as n from worka.invocation where tenant_id = %s", self.worka.tenant
        )
        return {**{kind: found.get(kind, 0) for kind in kinds}, "invocations": begun[0]["n"]}

    async def once(self) -> dict[str, Any]:
        """Nothing beside the rounds."""
        return {}

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        bars = []
        commit = found.floor["durable_commit"]
        alone, p50, p99 = found.p50("one", WORKA), found.p50("sixteen", WORKA), found.p99("sixteen", WORKA)
        floor = f"p50 alone is {alone:.2f} ms: {alone / commit:.1f} x one durable commit"
        if DIRECT in self.targets:
            ratio = found.ratio("sixteen", DIRECT)
            bars.append(
                Bar("16 callers, p50 / direct", "<= 1.5", ratio, ratio <= 1.5 and found.clean("sixteen", DIRECT))
            )
            limit = found.p50("one", DIRECT) + 2 * commit + 0.5
            bars.append(
                Bar(
                    "alone, p50 ms",
                    f"<= direct + 2 durable commits + 0.5 = {limit:.2f}",
                    alone,
                    alone <= limit and found.clean("one", DIRECT),
                    floor,
                )
            )
        for peer in GATEWAYS:
            bars += self._beside(found, peer)
        for peer, most in MOST_OF.items():
            if peer in self.targets:
                ratio = found.cpu("sixteen", WORKA) / found.cpu("sixteen", peer)
                words = f"16 callers, processor time a call / {peer} (ADR 0097)"
                bars.append(Bar(words, f"<= {most:g}", ratio, ratio <= most and found.clean("sixteen", peer)))
        bars.append(Bar("16 callers, p99 / own p50", "<= 5", p99 / p50, p99 <= 5 * p50))
        notes = [r.note for s in ("one", "sixteen") for r in found.of(s, WORKA)]
        issued = sum(note["issued"] for note in notes)
        kinds = ("pack.invocation.started", "pack.invocation.finished", "invocations", "at_pack")
        counted = [sum(note[kind] for note in notes) for kind in kinds]
        bars.append(
            Bar("calls issued = intents and outcomes in the ledger = calls at the pack", "equal",
                f"{issued} = " + " = ".join(map(str, counted)), all(n == issued for n in counted))
        )  # fmt: skip
        ratio = found.ratio("denied", ALLOWED)
        bars.append(Bar("denied / allowed", "<= 0.5", ratio, ratio <= 0.5 and found.clean("denied", ALLOWED)))
        notes = [r.note for r in found.of("denied", DENIED)]
        reached = sum(note["at_pack"] + note["invocations"] for note in notes)
        recorded, issued = sum(note["access.denied"] for note in notes), sum(note["issued"] for note in notes)
        bars.append(
            Bar("denied calls: in the ledger, at the pack", "all, none", f"{recorded} of {issued}, {reached}",
                recorded == issued and reached == 0)
        )  # fmt: skip
        for scenario, words in (("price", "alone"), ("price16", "16 callers")):
            for who in self._priced():
                saved = found.p50(scenario, FULL) - found.p50(scenario, who)
                bars.append(Bar(f"price, ms, {words}: {who}", "printed", saved, None, note=PRICES[who]))
        return bars

    def _beside(self, found: Found, peer: str) -> list[Bar]:
        """The bars beside a gateway; the rate is asked of those that govern."""
        if peer not in self.targets:
            why = self.peers.get(peer, "left out of a smoke")
            return [Bar(f"p50 / {peer}", "<= 0.1", "did not run", None, note=why)]
        bars = []
        for scenario, words in (("one", "alone"), ("sixteen", "16 callers")):
            ratio = found.ratio(scenario, peer)
            bars.append(Bar(f"{words}, p50 / {peer}", "<= 0.1", ratio, ratio <= 0.1 and found.clean(scenario, peer)))
        if peer != PROXY:
            ratio = found.ratio("sixteen", peer, "rate")
            met = ratio >= 10 and found.clean("sixteen", peer)
            bars.append(Bar(f"16 callers, calls a second / {peer}", ">= 10", ratio, met))
        return bars


def make(*, smoke: bool) -> Call:
    """The row."""
    return Call(smoke=smoke)
