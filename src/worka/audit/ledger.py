"""Verification on the platform: every MAC, every link, every head, and the last seal. Finds the first bad row by
name."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from worka.audit import checkpoints, rules, sign, store
from worka.audit.checkpoints import Checkpoint
from worka.audit.store import Entry
from worka.audit.verify import Key
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths

_BLOCK = 64
_AT_ONCE = 200
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


@dataclass
class Chains:
    """The walk over one tenant's rows. `want` are the places whose hash is asked for: heads and sealed heads."""

    tenant: str
    key: bytes = field(repr=False)
    want: set[tuple[int, int]]
    sealed: dict[int, int]
    ends: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    seen: dict[tuple[int, int], str] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    rows: int = 0
    unsealed: int = 0
    oldest_unsealed: float | None = None

    def __post_init__(self) -> None:
        # HMAC-SHA256 (RFC 2104) with the two keyed blocks hashed once: half the time of hmac.digest for a row.
        key = self.key if len(self.key) <= _BLOCK else hashlib.sha256(self.key).digest()
        block = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def mac(self, body: bytes) -> bytes:
        """The MAC that our recorder gave this body."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        return outer.digest()

    def bad(self, lane: int | None, seq: int | None, what: str) -> None:
        """Notes the first bad row of a lane; what follows it there is not judged."""
        if lane is None or lane not in self.broken:
            self.problems.append({"tenant": self.tenant, "lane": lane, "seq": seq, "what": what})
        if lane is not None:
            self.broken.add(lane)

    def page(self, rows: list[Entry]) -> None:
        """Checks rows in order of (lane, seq)."""
        self.rows += len(rows)
        for lane, seq, body, mac, prev, value, age in rows:
            last, before = self.ends.get(lane, (0, b""))
            if lane not in self.broken:
                if seq != last + 1:
                    self.bad(lane, last + 1, "missing or out of order")
                elif prev != before:
                    self.bad(lane, seq, "not linked to the row before it")
                elif hashlib.sha256(prev + mac + body).digest() != value:
                    self.bad(lane, seq, "its hash is not that of its content")
                elif not hmac.compare_digest(self.mac(body), mac):
                    self.bad(lane, seq, "its MAC is not ours: it was not written by Worka")
            self.ends[lane] = (seq, value)
            if (lane, seq) in self.want:
                self.seen[lane, seq] = value.hex()
            if seq > self.sealed.get(lane, 0):
                self.unsealed += 1
                self.oldest_unsealed = max(self.oldest_unsealed or 0.0, age)


async def check_tenant(ctx: Context, tenant: str, seal: Checkpoint | None) -> Chains:
    """Walks all chains of a tenant. The seal was read before the rows, so that they can only be more than it commits
    to."""
    committed = seal.vector.get(tenant, {}) if seal else {}
    async with ctx.db.transaction(tenant) as conn:
        heads = await store.own_heads(conn)
        try:
            key = await ctx.sealer.audit_key(conn, tenant) if heads else b""
        except Problem as problem:
            # Without its key no MAC can be checked: that is a finding about this tenant, the others go on.
            chains = Chains(tenant, b"", set(), {})
            chains.bad(None, None, f"no MAC can be checked: {problem.detail}")
            return chains
        want = {(lane, seq) for lane, (seq, _) in [*heads.items(), *committed.items()]}
        chains = Chains(tenant, key, want, {lane: seq for lane, (seq, _) in committed.items()})
        async for page in store.pages(conn):
            for start in range(0, len(page), _AT_ONCE):
                # In small bites: the next page comes in meanwhile, and nobody else waits for long.
                await asyncio.sleep(0)
                chains.page(page[start : start + _AT_ONCE])
        later = await store.own_heads(conn)
    if not heads:
        chains.bad(None, None, "no chain has a head: the tenant's ledger is gone")
    for lane in sorted(set(heads) | set(committed) | set(chains.ends)):
        end = chains.ends.get(lane, (0, b""))[0]
        sealed = committed.get(lane, (0, ""))
        if lane not in later:
            chains.bad(lane, 1, "the head of this lane is gone")
        elif end < sealed[0]:
            chains.bad(
                lane, end + 1, f"the tail is cut: checkpoint {_n(seal)} seals seq {sealed[0]}, the rows end at {end}"
            )
        elif sealed[0] and chains.seen.get((lane, sealed[0])) != sealed[1]:
            chains.bad(lane, sealed[0], f"it is not the row that checkpoint {_n(seal)} seals")
        elif end < heads.get(lane, (0, ""))[0]:
            chains.bad(lane, end + 1, f"the tail is cut: the head says seq {heads[lane][0]}, the rows end at {end}")
        elif end > later[lane][0]:
            chains.bad(lane, later[lane][0] + 1, "the row lies beyond the head of its lane")
        elif lane in heads and heads[lane][0] and chains.seen.get((lane, heads[lane][0])) != heads[lane][1]:
            chains.bad(lane, heads[lane][0], "it is not the row that the head of its lane names")
    return chains


def _n(seal: Checkpoint | None) -> int:
    return seal.number if seal else 0


async def verify(ctx: Context, tenants: list[str] | None = None) -> dict[str, Any]:
    """Verifies these tenants' chains against the last seal, or, with None, everyone's (a head for every tenant).

    {ok, rows, sealed, unsealed, window_seconds, window, claim, checkpoint, first_bad, problems, tenants (how many)}.
    """
    paths = Paths(ctx.settings.home)
    seal = await asyncio.to_thread(checkpoints.Store(paths.checkpoints).latest)
    chosen = tenants
    if chosen is None:
        async with ctx.db.transaction(None) as conn:
            chosen = sorted({*await store.tenants(conn), *(await store.heads(conn)), *(seal.vector if seal else ())})
    found = [await check_tenant(ctx, tenant, seal) for tenant in chosen]
    problems = [problem for chains in found for problem in chains.problems] + _seal_problems(seal, paths)
    rows, unsealed = sum(c.rows for c in found), sum(c.unsealed for c in found)
    window = max((c.oldest_unsealed for c in found if c.oldest_unsealed is not None), default=None)
    if window is not None and window > rules.STALE_SECONDS:
        what = f"rows have waited {window:.0f} s for a seal: no sealer runs"
        problems.append({"tenant": "", "lane": None, "seq": None, "what": what})
    return {
        "ok": not problems,
        "rows": rows,
        "sealed": rows - unsealed,
        "unsealed": unsealed,
        "window_seconds": round(window, 3) if window is not None else 0.0,
        "window": rules.unsealed_sentence(unsealed, window),
        "claim": rules.CLAIM,
        "checkpoint": {
            "number": seal.number,
            "time": seal.time,
            "age_seconds": round((now() - seal.at).total_seconds(), 3),
        }
        if seal
        else None,
        "public_key": sign.ensure_key(paths.keys).public,
        "first_bad": rules.first(problems),
        "problems": [sentence(problem) for problem in problems],
        "tenants": len(chosen),
    }


def _seal_problems(seal: Checkpoint | None, paths: Paths) -> list[dict[str, Any]]:
    """The signature of the last checkpoint, that it commits to the vector beside it, and that it follows the one
    before."""
    if seal is None:
        return []
    found: list[str] = []
    try:
        lines = Key(sign.ensure_key(paths.keys).public).opened(seal.note)
        again = checkpoints.make(sign.ensure_key(paths.keys), None, seal.vector, [], seal.at).note.splitlines()
        if lines[1:3] != again[1:3] or lines[3] != f"number {seal.number}":
            found.append("it does not commit to the heads beside it")
        before = checkpoints.Store(paths.checkpoints).read(seal.number - 1)
        if before is not None and lines[5] != f"previous {before.digest}":
            found.append(f"it does not follow checkpoint {before.number}")
    except (ValueError, IndexError) as error:
        found.append(f"its signature does not hold ({error})")
    return [{"tenant": "", "lane": None, "seq": None, "what": f"checkpoint {seal.number}: {what}"} for what in found]


def sentence(problem: dict[str, Any]) -> str:
    """`ten_… lane 3 seq 17: …`."""
    place = " ".join(
        part
        for part in (
            problem["tenant"],
            f"lane {problem['lane']}" if problem["lane"] is not None else "",
            f"seq {problem['seq']}" if problem["seq"] is not None else "",
        )
        if part
    )
    return f"{place}: {problem['what']}" if place else str(problem["what"])
