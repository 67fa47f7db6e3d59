"""States of a connection (spec/contracts.md 6) and their reasons."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine

CONNECTION = machine(
    StateMachine(
        "connection",
        [
            State("awaiting_approval", reasons=("connection_awaiting_approval",)),
            State("active", reasons=("connection_active",)),
            State("expired", reasons=("connection_expired",)),
            State("broken", reasons=("connection_broken",)),
            State("rejected", terminal=True),
            State("revoked", terminal=True),
        ],
        [
            ("awaiting_approval", "active"),
            ("awaiting_approval", "rejected"),
            ("awaiting_approval", "revoked"),
            ("active", "expired"),
            ("active", "broken"),
            ("active", "revoked"),
            ("expired", "active"),
            ("expired", "revoked"),
            ("broken", "active"),
            ("broken", "revoked"),
        ],
    )
)

register(
    Reason(
        "connection_awaiting_approval",
        "connections",
        "approval",
        "Connecting this outside system asks for consent, and nobody has given it yet.",
        "Policy asks by default for every outside system.",
        "`worka approvals list` names who may decide.",
        "Ask one of them.",
    ),
    Reason("connection_active", "connections", "connection", "The connection can be used by what it is granted to."),
    Reason(
        "connection_expired",
        "connections",
        "connection",
        "The credential behind the connection is past its end.",
        "The outside system ended it, or it had a fixed life.",
        "`GET /v1/connections/{id}/why`",
        "Connect again with a fresh credential.",
    ),
    Reason(
        "connection_broken",
        "connections",
        "connection",
        "The outside system no longer takes the credential.",
        "It was changed or withdrawn there.",
        "`GET /v1/workspaces/{w}/egress` shows its answers.",
        "Rotate the secret, or connect again.",
    ),
    Reason(
        "connection_rejected",
        "connections",
        "approval",
        "Whoever may decide did not consent to this connection.",
        "The approval was rejected, or nobody decided in time.",
        "Open the approval: its comment says why.",
        "Ask again with what was missing.",
    ),
    Reason(
        "connection_revoked",
        "connections",
        "connection",
        "The connection was removed; its grants ended with it.",
        "Someone who manages connections removed it.",
        "`worka changes` names who and when.",
        "Connect again if that is meant.",
    ),
)
