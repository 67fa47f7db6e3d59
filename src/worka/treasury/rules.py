"""Pure rules of the treasury: endpoints, states, and whether a lease is given. No clock, no database, no key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine
from worka.treasury.errors import EndpointInvalid, SecretEmpty

# A name, and no address literal: its last label is not a number. At most 253 characters.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HOST = rf"^(?!(?:.*\.)?[0-9]+$){_NAME}$"
ENDPOINT = rf"^(?!(?:.*\.)?[0-9]+:){_NAME}:{_PORT}$"
MOST_CHARACTERS = 65_536
LEASE_SECONDS = 300
"""A lease ends with its invocation; this bounds one whose end nobody told."""


def _reason(code: str, layer: str, meaning: str, causes: str, check: str, remedy: str) -> Reason:
    return Reason(code, "treasury", layer, meaning, causes, check, remedy)


_CHECK = "worka why SECRET (its state, its grants); the audit row of the refusal names the attachment and the endpoint."

register(
    _reason(
        "secret_ready", "connection", "The secret can be leased to whom it is granted.",
        "It was created, or given a new value, and nobody revoked it.", "GET /v1/secrets/ID shows its grants.", "Nothing: it is as it should be.",
    ),
    _reason(
        "secret_rotating", "connection", "The old and the new value are both valid for a while.",
        "A rotation is under way.", "GET /v1/secrets/ID shows the version.", "Finish the rotation at the outside"
        " system.",
    ),
    _reason(
        "no_grant", "connection", "The attachment has no live grant of this secret.",
        "Nobody granted it, or the grant was revoked, with its connection or by itself.", _CHECK,
        "Someone who manages connections grants the secret to the attachment for this endpoint.",
    ),
    _reason(
        "endpoint_not_bound", "connection", "The attachment's grant of this secret is for another endpoint.",
        "The pack calls another host or port than the one that was granted.", _CHECK,
        "Grant the secret for this endpoint too, if it is meant to go there.",
    ),
    _reason(
        "secret_revoked", "connection", "The secret was revoked: it is leased to nobody.",
        "A person revoked it, for example after a leak.", _CHECK,
        "Connect again with a new secret; a revoked one does not come back.",
    ),
    _reason(
        "secret_unreadable", "platform", "The stored secret does not open: it was changed, or the key is another one.",
        "Damage or tampering in the database, or a restored database beside another master key.",
        "worka doctor; the audit ledger's verification.", "Restore from a backup, or rotate the secret.",
    ),
    _reason(
        "invocation_not_running", "pack", "A value was asked for outside of a running call of that attachment.",
        "The call had ended, or the request came from another attachment.",
        "`worka invocation why ID`: the call that asked, and whether it had ended.",
        "Nothing, if calls work; the broker asks only for calls that are under way.",
    ),
)  # fmt: skip

SECRET = machine(
    StateMachine(
        name="secret",
        states=[
            State("active", reasons=("secret_ready",)),
            State("rotating", reasons=("secret_rotating",), later="a new value replaces the old one in one commit"),
            State("revoked", reasons=("secret_revoked",)),
            State("destroyed", terminal=True, later="a revoked secret is kept, sealed, until retention is built"),
        ],
        transitions=[
            ("active", "rotating"), ("rotating", "active"), ("active", "revoked"), ("rotating", "revoked"),
            ("revoked", "destroyed"),
        ],
    )
)  # fmt: skip
LEASABLE = ("active", "rotating")


def endpoint(text: str) -> str:
    """The endpoint as it is bound: `host:port`, lower case. Raises EndpointInvalid (no wildcard, no address
    literal)."""
    found = text.strip().lower()
    if not re.fullmatch(ENDPOINT, found) or len(found.partition(":")[0]) > 253:
        raise EndpointInvalid(f"{text[:80]!r} is not host:port.", field="endpoint")
    return found


def check_value(value: str) -> bytes:
    """The value's bytes. Raises SecretEmpty. Shorter ones could not be told from ordinary text when masking them."""
    if not 6 <= len(value) <= MOST_CHARACTERS or "\x00" in value:
        raise SecretEmpty(f"It has {len(value)} characters, or a NUL.", field="value")
    return value.encode()


@dataclass(frozen=True)
class Refusal:
    """Why a lease is not given: a registered reason code and a sentence."""

    reason: str
    sentence: str


def may_lease(
    secret: Mapping[str, Any],
    grants: Sequence[Mapping[str, Any]],
    invocation: Mapping[str, Any] | None,
    attachment_id: str,
    bound: str,
) -> Mapping[str, Any] | Refusal:
    """The grant that allows it, or the refusal. `grants`: the live ones of this secret and attachment."""
    if (
        invocation is None
        or invocation["state"] != "running"
        or invocation["attachment_id"] != attachment_id
        or invocation["workspace_id"] != secret["workspace_id"]
    ):
        return Refusal("invocation_not_running", "no call of this attachment in the secret's workspace is running")
    if not grants:
        return Refusal("no_grant", f"{secret['name']} is not granted to this attachment")
    fitting = [grant for grant in grants if grant["endpoint"] == bound]
    if not fitting:
        endpoints = ", ".join(sorted({grant["endpoint"] for grant in grants}))
        return Refusal("endpoint_not_bound", f"{secret['name']} is granted for {endpoints}, not for {bound}")
    if secret["state"] not in LEASABLE:
        return Refusal("secret_revoked", f"{secret['name']} is {secret['state']}")
    return fitting[0]
