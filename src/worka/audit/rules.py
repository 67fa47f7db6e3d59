"""Pure rules of the ledger: what a row says, which rows are sealed at once, and the honest claim. No clock, no
database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from worka.kernel import canonical
from worka.kernel.context import Context
from worka.kernel.events import Event

PLATFORM = "_platform"
"""The chain of what happens outside of every tenant (signing in, making tenants)."""
LANES = 8
"""Chains of one tenant. With 8 writers, 8 lanes reach 89 % of the unchained rate, one lane 35 %
(design/architecture.md)."""
SEAL_SECONDS = 1.0
STALE_SECONDS = 15.0
"""A row that waits longer for its seal means that no sealer runs: verification fails, because the claim would be
untrue."""
VERSION = 1

CLAIM = (
    "Every row up to the last seal is linked, and its seal is signed: a changed, removed, reordered or cut-off row"
    " up to there is found. Rows after it are unsealed: they are linked, but a cut tail among them would not be found."
)

Vector = dict[str, dict[int, tuple[int, str]]]
"""tenant -> lane -> (seq, hash in hex): the heads of all chains at one moment."""


def body(ctx: Context, event: Event, at: datetime) -> bytes:
    """The bytes of one row: canonical JSON (RFC 8785) of who, for whom, where, what, from what to what, why, and when.

    Raises what `canonical.dumps` raises for a value that JSON cannot hold: then the change is not made.
    """
    cause = event.cause or {}
    behind = ctx.originating_person
    return canonical.dumps(
        {
            "v": VERSION,
            "tenant": ctx.tenant_id or PLATFORM,
            "workspace": event.workspace_id or ctx.workspace_id,
            "type": event.type,
            "at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "actor": {"kind": ctx.principal.kind, "id": ctx.principal.id, "name": ctx.principal.name},
            "on_behalf_of": behind if behind != ctx.principal.id else None,
            "credential": ctx.credential_id,
            "subject": {"id": event.subject, "name": event.subject_name},
            "before": event.before,
            "after": event.after,
            "cause": event.cause,
            "decision": event.data.get("decision_id") or (cause.get("id") if cause.get("kind") == "decision" else None),
            "approval": event.data.get("approval_id") or (cause.get("id") if cause.get("kind") == "approval" else None),
            "data": event.data,
            "category": event.lane,
            "trace_id": ctx.trace_id,
        }
    )


def urgent(event: Event) -> bool:
    """Whether this row is sealed at once, not within the second: approvals, and what has an effect outside."""
    if event.type.startswith("approval."):
        return True
    if event.type == "broker.egress.allowed":
        return event.data.get("method") not in ("GET", "HEAD", None)
    if event.type == "pack.invocation.finished":
        known = {**event.data, **(event.after or {})}
        return known.get("side_effect") in ("external_side_effect", "destructive")
    return False


def leaf(tenant: str, heads: Mapping[int, tuple[int, str]]) -> bytes:
    """A tenant's leaf in the checkpoint tree. Others see only its hash, which hides it: the heads are unguessable."""
    rows = [[lane, seq, value] for lane, (seq, value) in sorted(heads.items())]
    return canonical.dumps({"heads": rows, "tenant": tenant})


def next_vector(last: Vector, now: Vector, continuous: Mapping[tuple[str, int], bool]) -> tuple[Vector, list[str]]:
    """The heads to sign, and the chains that went back.

    A chain goes on only if the row that the last checkpoint sealed is still there (`continuous`, asked of the
    database for every chain that moved). A chain that was cut, replaced or removed keeps its last sealed head in
    every later checkpoint: the sealer never signs tampering away, and verification goes on naming it.
    """
    vector: Vector = {tenant: dict(lanes) for tenant, lanes in now.items()}
    lost: list[str] = []
    for tenant, lanes in last.items():
        for lane, sealed in lanes.items():
            current = now.get(tenant, {}).get(lane)
            if current == sealed or (
                current is not None and current[0] > sealed[0] and continuous.get((tenant, lane), False)
            ):
                continue
            lost.append(f"{tenant} lane {lane} seq {sealed[0]}")
            vector.setdefault(tenant, {})[lane] = sealed
    return vector, lost


def moved(last: Vector, now: Vector) -> list[tuple[str, int, int]]:
    """(tenant, lane, last sealed seq) of every chain that has grown since the last checkpoint."""
    return [
        (tenant, lane, sealed[0])
        for tenant, lanes in last.items()
        for lane, sealed in lanes.items()
        if sealed[0] > 0 and now.get(tenant, {}).get(lane, (0, ""))[0] > sealed[0]
    ]


def shown(body_text: Mapping[str, Any], workspace_id: str) -> bool:
    """Whether an export for this workspace shows the row: its own rows, and those of the whole tenant."""
    return body_text.get("workspace") in (None, workspace_id)


def unsealed_sentence(rows: int, seconds: float | None) -> str:
    """The window, as it is printed."""
    if rows == 0:
        return "No row waits for its seal."
    age = "" if seconds is None else f", the oldest for {seconds:.1f} s"
    return f"{rows} row{'s' if rows != 1 else ''} after the last seal {'are' if rows != 1 else 'is'} unsealed{age}."


def first(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first bad place: lowest tenant, lane and sequence number."""
    ordered = sorted(problems, key=lambda p: (str(p["tenant"]), p["lane"] or 0, p["seq"] or 0))
    return dict(ordered[0]) if ordered else None
