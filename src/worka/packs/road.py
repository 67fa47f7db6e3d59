"""The road of one call, leg by leg: authorized → governed → sandbox → handshake → pack → broker → upstream. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from worka.kernel.explanation import Leg, Scope, Timing

Row = dict[str, Any]
_LEGS: Final = ("authorized", "governed", "sandbox", "handshake", "pack", "broker", "upstream")
_LEG_OF_REASON: Final = {
    "handshake_failed": "handshake",
    "tool_definition_changed": "handshake",
    "sandbox_unavailable": "sandbox",
    "digest_mismatch": "sandbox",
    "isolation_too_weak": "sandbox",
    "tool_not_listed": "handshake",
    "host_unavailable": "sandbox",
    "host_refused": "sandbox",
    "no_free_session": "sandbox",
    "session_dropped": "sandbox",
    "ended_by_revocation": "sandbox",
    "release_quarantined": "sandbox",
    "killed": "sandbox",
    "broker_unavailable": "sandbox",
    "outcome_lost": "pack",
    "effect_uncertain": "pack",
}
_LEG_OF_LAYER: Final = {
    "sandbox": "sandbox",
    "pack": "pack",
    "broker": "broker",
    "connection": "broker",
    "upstream": "upstream",
    "platform": "sandbox",
}


# What broke belongs to the platform itself: it fails for everybody, whoever calls.
_PLATFORM: Final = frozenset(
    {
        "host_unavailable",
        "host_refused",
        "sandbox_unavailable",
        "broker_unavailable",
        "broker_lost",
        "egress_not_recorded",
        "outcome_lost",
        "secret_unreadable",
    }
)


SWEPT_WITHIN: Final = timedelta(seconds=2)
"""A holder whose lease has passed is noticed by the next sweep of a living worker; after this long nobody has."""
STARTS_WITHIN: Final = timedelta(seconds=30)
"""What a call may need before its own time begins: a free session, a sandbox, the handshake."""


def shown_state(row: Row, carrier: Row | None, patience: float, at: datetime) -> tuple[str, str]:
    """(state, reason) of a call as people are told it: running is legal only while whoever waits for its answer gives
    signs of life, and inside the call's own time."""
    if row["state"] != "running" or carrier is None:
        return row["state"], row["reason"]
    lease = carrier["lease_until"]
    if carrier["task_state"] == "running" and lease is not None and at > lease + SWEPT_WITHIN:
        return "stalled", "caller_silent"
    if at > row["started_at"] + timedelta(seconds=carrier["patience"] or patience) + STARTS_WITHIN:
        return "stalled", "call_overdue"
    return row["state"], row["reason"]


def failing_leg(row: Row) -> str | None:
    """The leg at which a call failed, or of which nobody knows how it ended; None when it did not fail."""
    if row["state"] not in ("failed", "unknown"):
        return None
    return _LEG_OF_REASON.get(row["reason"]) or _LEG_OF_LAYER.get(row["layer"] or "pack", "pack")


def timing(row: Row, egress: list[Row]) -> Timing:
    """When it happened: before the tool was called, while it ran, or after it was done."""
    if row["state"] == "succeeded":
        return "after_completion"
    # What had let something out was running, whatever broke then.
    return "before_start" if failing_leg(row) in ("sandbox", "handshake") and not egress else "during"


def scope(row: Row, elsewhere: int) -> Scope:
    """Whom it concerns. `elsewhere`: the same failure of this tool in other workspaces of the tenant, within a day."""
    if row["state"] in ("failed", "unknown"):
        if row["reason"] in _PLATFORM:
            return "platform"
        if elsewhere:
            return "tenant"
    return "workspace"


def road(row: Row, decision: Row | None, egress: list[Row]) -> list[Leg]:
    """The legs of a call. Pure. The pack stands before the broker: it is the pack that sets out."""
    failed = failing_leg(row)
    refused = [item for item in egress if item["verdict"] == "denied"]
    sent = [item for item in egress if item["verdict"] == "allowed"]
    details = {
        "authorized": decision_words(decision),
        "governed": f"approved as {row['approval_id']}" if row["approval_id"] else "no approval was needed",
        "sandbox": sandbox_words(row["isolation"] or {}),
        "handshake": "warm session"
        if row["session"] == "warm"
        else (f"{row['handshake_ms']:.0f} ms" if row["handshake_ms"] else ""),
        "pack": f"answered in {row['call_ms']:.0f} ms" if row["call_ms"] and failed is None else "",
        "broker": "; ".join(egress_words(item) for item in (refused or sent)[:5])
        or "nothing asked to leave the sandbox",
        "upstream": "; ".join(f"{item['host']} answered {item['status']}" for item in sent if item["status"])[:500]
        or "nothing was reached",
    }
    if failed is not None:
        details[failed] = f"{row['reason']}: {row['message']}".rstrip(": ")
    legs = []
    passed = True
    for name in _LEGS:
        ref = row["decision_id"] if name == "authorized" else row["approval_id"] if name == "governed" else None
        if name in ("broker", "upstream") and name != failed:
            # What left is a fact, whatever became of the pack afterwards.
            hit = [item for item in sent if name == "broker" or item["status"]]
            state = (
                "ok"
                if hit and not (name == "broker" and refused)
                else "unknown"
                if row["state"] == "running"
                else "not_reached"
            )
            ref = hit[0]["id"] if hit else None
        elif name == failed:
            state = "unknown" if row["state"] == "unknown" else "failed"
            ref = (refused or sent or [{"id": None}])[-1]["id"] if name in ("broker", "upstream") else ref
            passed = False
        elif name == "pack" and failed in ("broker", "upstream"):
            state = "ok"
        else:
            state = (
                "not_reached"
                if not passed
                else "unknown"
                if row["state"] == "running" and name not in ("authorized", "governed")
                else "ok"
            )
        legs.append(Leg.model_validate({"name": name, "state": state, "detail": details[name], "ref": ref}))
    return legs


def decision_words(decision: Row | None) -> str:
    """What decided, in words."""
    if decision is None:
        return "the decision's record is not here"
    by = ", ".join(str(rule) for rule in decision["rules"]) or decision["layer"]
    versions = f"access {decision['access_version']}, governance {decision['governance_version']}"
    return f"{decision['verdict']} by {by}; {versions}"


def egress_words(item: Row) -> str:
    """One request to the outside, in words."""
    what = f"{item['method'] or item['kind']} {item['host']}:{item['port']}{item['path'] or ''}"
    times = f" ({item['count']} times)" if item["count"] > 1 else ""
    if item["verdict"] == "denied":
        return f"{what} refused: {item['reason']}{times}"
    return f"{what} allowed by {item['rule']}, answered {item['status'] or 'nothing'}{times}"


def sandbox_words(isolation: Row) -> str:
    """What isolation was in force."""
    if not isolation:
        return ""
    weak = "" if isolation.get("uid_separated", True) else ", without a uid of its own"
    tier = f", {isolation['tier']}" if isolation.get("tier") else ""
    return f"{isolation.get('driver', 'sandbox')}{tier}{weak}"
