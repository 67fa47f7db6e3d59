"""States of a secret (spec/contracts.md 6) and the reasons they may have."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine

SECRET = machine(
    StateMachine(
        "secret",
        [
            State("active", reasons=("secret_active",)),
            State("rotating", reasons=("secret_rotating",)),
            State("revoked", reasons=("secret_revoked",)),
            State("destroyed", terminal=True),
        ],
        [
            ("active", "rotating"),
            ("rotating", "active"),
            ("active", "revoked"),
            ("rotating", "revoked"),
            ("revoked", "destroyed"),
        ],
    )
)

register(
    Reason("secret_active", "treasury", "connection", "The secret can be used by whom it is granted to."),
    Reason(
        "secret_rotating",
        "treasury",
        "connection",
        "Old and new value are both valid for the overlap.",
        "Someone rotates it.",
        "`GET /v1/secrets/{id}`",
        "Finish the rotation at the outside system, then end the overlap.",
    ),
    Reason(
        "secret_revoked",
        "treasury",
        "connection",
        "The secret was revoked; every call that needs it is refused.",
        "Someone revoked it, or its connection was removed.",
        "`worka changes` names who and why.",
        "Put a new secret into the treasury and connect with it.",
    ),
)
