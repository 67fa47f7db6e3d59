"""Pure rules of connections: states, their reasons, the digest of what is approved. No clock, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worka.connections.errors import MetadataInvalid
from worka.kernel import canonical, redact
from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine

KEY = r"^[a-z][a-z0-9_]{0,39}$"
PLAIN = r"^[^\x00-\x1f]{1,400}$"
MOST_FIELDS = 20
_CHECK = (
    "`worka why conn_…`: its state and since when, the approval, the secret behind it, and which packs wait for it."
)


def _reason(code: str, meaning: str, causes: str, remedy: str, layer: str = "connection") -> Reason:
    return Reason(code, "connections", layer, meaning, causes, _CHECK, remedy)


register(
    _reason("connection_in_service", "The connection can be used by packs to which its secret is granted.",
            "It was approved, or nothing asked.", "Nothing: it is as it should be. End it when no pack needs it any more."),
    _reason("connection_rejected", "Somebody who may decide has refused the connection.",
            "The approver saw a reason against it.", "Read the approval's comment; ask again if it changed.",
            "approval"),
    _reason("connection_not_decided", "Nobody decided on the connection in time, or the request was taken back.",
            "The approval expired or was withdrawn.", "Connect again, and tell an approver.", "approval"),
    _reason("connection_superseded", "What was approved is no longer what policy or the request say.",
            "A policy version, a role or the secret changed between the request and the decision.",
            "Connect again: a new approval is asked for.", "approval"),
    _reason("connection_removed", "Somebody ended the connection; the grants behind it ended with it.",
            "It was not needed any more, or not wanted.",
            "Connect again if a pack still needs it; attachments that require it say that they"
            " wait for it."),
    _reason("connection_secret_revoked", "The secret behind the connection was revoked.",
            "Somebody revoked it, for example after a leak.",
            "Put the new credential into the treasury and connect again with it."),
    _reason("credential_expired", "The credential behind the connection is past its time.",
            "The outside system limits its life.",
            "Put a fresh credential into the treasury and connect again with it; the grants are"
            " then made anew."),
)  # fmt: skip

CONNECTION = machine(
    StateMachine(
        name="connection",
        states=[
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("active", reasons=("connection_in_service",)),
            State("expired", reasons=("credential_expired",), later="no kind of secret has a known end of life yet"),
            State("broken", reasons=("connection_secret_revoked",)),
            State("revoked", terminal=True, reasons=("connection_removed",)),
            State(
                "rejected",
                terminal=True,
                reasons=("connection_rejected", "connection_not_decided", "connection_superseded"),
            ),
        ],
        transitions=[
            ("awaiting_approval", "active"), ("awaiting_approval", "rejected"), ("awaiting_approval", "revoked"),
            ("active", "expired"), ("active", "broken"), ("active", "revoked"),
            ("expired", "active"), ("expired", "broken"), ("expired", "revoked"),
            ("broken", "revoked"), ("awaiting_approval", "broken"),
        ],
    )
)  # fmt: skip

NOT_APPROVED = {
    "rejected": "connection_rejected",
    "expired": "connection_not_decided",
    "withdrawn": "connection_not_decided",
    "superseded": "connection_superseded",
}


def check_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata as plain texts. Raises MetadataInvalid, also for what looks like a credential."""
    if len(metadata) > MOST_FIELDS:
        raise MetadataInvalid(f"There are {len(metadata)} fields.", field="metadata")
    found: dict[str, str] = {}
    for key, value in metadata.items():
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not re.fullmatch(KEY, key) or not re.fullmatch(PLAIN, text):
            raise MetadataInvalid(f"{key[:40]!r} is not a short plain text.", field=f"metadata/{key[:40]}")
        if redact.text(text) != text:
            raise MetadataInvalid(f"{key!r} looks like a credential.", field=f"metadata/{key}")
        found[key] = text
    return found


def subject(row: Mapping[str, Any], initiator: str, originating_person: str | None) -> dict[str, Any]:
    """Exactly what is approved, for the digest and the card."""
    keys = ("provider", "name", "host", "port", "access", "secret_id", "metadata", "why")
    return {
        "action": "connection.create",
        "connection": row["id"],
        "workspace": row["workspace_id"],
        **{key: row[key] for key in keys},
        "initiator": initiator,
        "originating_person": originating_person,
    }


def digest(row: Mapping[str, Any], initiator: str, originating_person: str | None) -> str:
    """SHA-256 over the canonical subject."""
    return canonical.sha256_hex(subject(row, initiator, originating_person))
