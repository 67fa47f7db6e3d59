"""Pure rules of the treasury: endpoints, states, and whether a lease is given. No clock, no database, no key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from worka.kernel import canonical
from worka.kernel.errors import Invalid
from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine
from worka.treasury.errors import DatesInvalid, EndpointInvalid, KindNotBindable, SecretEmpty

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
        "A rotation with an overlap is under way: calls that began with the old value go on with it.",
        "`worka secret show ID`: until when; `worka secret leases ID`: which calls have which version.",
        "Nothing: it ends by itself. `worka secret finish ID` ends the old value now, `worka secret back ID` the new one.",
    ),
    _reason(
        "secret_destroyed", "connection", "The secret's values are gone for good; its name and its history stay.",
        "A person destroyed it after it was revoked, or the tenant's keys were destroyed.", _CHECK,
        "Put the new credential into the treasury as a new secret; nothing brings this one back.",
    ),
    _reason(
        "secret_expired", "connection", "The secret is past the end that was set for it: it is leased to nobody.",
        "The outside system ends the credential on that day, and nobody rotated it before.", _CHECK,
        "Get a new credential there and rotate the secret: `worka secret rotate ID`; its grants stay.",
    ),
    _reason(
        "secret_due_soon", "connection", "The secret has to have a new value soon.",
        "Its end, or its turn to be rotated, is within 14 days.", _CHECK,
        "Look at what stands on it (`worka secret dependants ID`), then rotate it: `worka secret rotate ID`.",
    ),
    _reason(
        "secret_due", "connection", "The secret is past its end, or past its turn to be rotated.",
        "Nobody rotated it in time.", _CHECK,
        "Rotate it: `worka secret rotate ID`. Past its end it is leased to nobody.",
    ),
    _reason(
        "reading_open", "connection", "Who asked may read the value once, until its time is over.",
        "Another owner agreed.", "`worka secret readings ID`: who, why, until when.",
        "Read it (`worka secret read READING`), or let it pass.",
    ),
    _reason(
        "reading_done", "connection", "The value was read once; nobody reads it by this again.",
        "Who asked read it.", "`worka secret readings ID`; the audit row says when.",
        "Rotate the secret once the reason is over: a person knows it now.",
    ),
    _reason(
        "reading_over", "connection", "Its minutes are over and nobody read the value.",
        "It was not read in time.", "`worka secret readings ID`.", "Ask again, if it is needed still.",
    ),
    _reason(
        "reading_refused", "approval", "Nobody agreed to the reading, or who asked may not read it any more.",
        "It was rejected, expired or withdrawn, or a role changed.", "`worka why APPROVAL`: what became of the question.",
        "Ask again, with a better reason.",
    ),
    _reason(
        "keys_destroyed", "platform", "The tenant's data keys are gone, and all that was sealed under them.",
        "Two owners destroyed them.", "`worka treasury key`: how many are destroyed; the changes say who and why.",
        "Nothing brings them back. New secrets are sealed under a new key.",
    ),
    _reason(
        "destruction_refused", "approval", "The keys were not destroyed.",
        "It was rejected, expired or withdrawn, or who asked may not do it any more.", "`worka why APPROVAL`.",
        "Ask again, if it is meant.",
    ),
    _reason(
        "secret_replayed", "platform", "An older version of the secret was put back into the database.",
        "Somebody wrote to the database beside the application, or restored a part of it.",
        "worka doctor; the audit ledger says which version is the newest.",
        "Rotate the secret to a new value, and find out who wrote there.",
    ),
    _reason(
        "treasury_sealed", "platform", "The operator has sealed the treasury: no value leaves it.",
        "Something is being looked into.", "`worka treasury status`: by whom, since when and why.",
        "Wait; the operator unseals it: `worka treasury unseal`.",
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
        "another_persons_account", "connection", "The secret is of another person's own account: this call may not use it.",
        "The call is made for somebody else than the person whose account it is.", _CHECK,
        "That person makes the call, or whoever calls connects an account of their own.",
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
            State("rotating", reasons=("secret_rotating",)),
            State("revoked", reasons=("secret_revoked",)),
            State("destroyed", terminal=True, reasons=("secret_destroyed",)),
        ],
        transitions=[
            ("active", "rotating"), ("rotating", "active"), ("active", "revoked"), ("rotating", "revoked"),
            ("revoked", "destroyed"), ("active", "destroyed"), ("rotating", "destroyed"),
        ],
    )
)  # fmt: skip
READING = machine(
    StateMachine(
        name="secret_reading",
        states=[
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("open", reasons=("reading_open",)),
            State("closed", terminal=True, reasons=("reading_done", "reading_over", "reading_refused")),
        ],
        transitions=[("awaiting_approval", "open"), ("awaiting_approval", "closed"), ("open", "closed")],
    )
)
DESTRUCTION = machine(
    StateMachine(
        name="key_destruction",
        states=[
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("closed", terminal=True, reasons=("keys_destroyed", "destruction_refused")),
        ],
        transitions=[("awaiting_approval", "closed")],
    )
)
LEASABLE = ("active", "rotating")
READY = {"active": "secret_ready", "rotating": "secret_rotating"}
SOON = timedelta(days=14)
"""How long before its end a secret is warned of."""
MOST_OVERLAP_MINUTES = 7 * 24 * 60

Binding = Literal["endpoint", "signing", "platform"]


@dataclass(frozen=True)
class Kind:
    """A kind of secret and what it may be bound to: an attachment's endpoint, signing inside the treasury, or the platform."""

    words: str
    binds: Binding
    ends: str = ""
    """What people should know of its end."""


KINDS: Mapping[str, Kind] = {
    "api_token": Kind("an API key or token", "endpoint"),
    "oauth_access": Kind("an OAuth access token", "endpoint", "it ends by itself and is refreshed"),
    "oauth_refresh": Kind("an OAuth refresh token", "platform"),
    "oauth_client": Kind("an OAuth client's secret", "platform"),
    "password": Kind("a password", "endpoint"),
    "registry": Kind("a registry's pull credential", "platform"),
    "publication": Kind("a publisher's signing key", "signing"),
    "infrastructure": Kind("a generated password of the infrastructure", "platform"),
    "other": Kind("other connection material", "endpoint"),
}


def bindable(kind: str, name: str) -> None:
    """Whether an attachment may be granted it. Raises KindNotBindable."""
    found = KINDS.get(kind, KINDS["other"])
    if found.binds != "endpoint":
        where = {"signing": "signs inside the treasury", "platform": "is the platform's own"}[found.binds]
        raise KindNotBindable(f"{name} is {found.words}: it {where}, and is granted to no attachment.")


def due(row: Mapping[str, Any]) -> datetime | None:
    """When it has to have a new value: its end, or its turn to be rotated, whichever comes first."""
    turn = None
    if row["rotate_days"]:
        turn = (row["rotated_at"] or row["created_at"]) + timedelta(days=row["rotate_days"])
    return min([moment for moment in (row["expires_at"], turn) if moment is not None], default=None)


def warning(row: Mapping[str, Any], at: datetime) -> str:
    """`due`, `soon` or nothing, at this moment. Only of what can still be used."""
    end = due(row)
    if row["kind"] == "oauth_access":
        return ""  # its connection renews it, and warns where it cannot
    if row["state"] not in LEASABLE or end is None or end > at + SOON:
        return ""
    return "due" if end <= at else "soon"


def listed(names: Sequence[str]) -> str:
    """The digest of a list of dependants: who rotates says which list was seen."""
    return canonical.sha256_hex({"v": 1, "dependants": sorted(names)})[:16]


def leased_version(row: Mapping[str, Any], known: int | None) -> int:
    """Which version a call gets: in an overlap the one that it had before, else the newest. `known`: its last lease's."""
    if row["state"] == "rotating" and known is not None and known == row["previous_version"]:
        return known
    return int(row["version"])


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


NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,119}$"


def check_name(name: str, kind: str) -> None:
    """Raises Invalid for a name or a kind that there cannot be: for doors without a schema of their own."""
    if not re.fullmatch(NAME, name):
        raise Invalid(
            "A name begins with a letter or digit, and has letters, digits, spaces, dots and dashes.", field="name"
        )
    if kind not in KINDS:
        raise Invalid(f"{kind[:40]!r} is no kind of secret; there are {', '.join(KINDS)}.", field="kind")


def check_overlap(minutes: int) -> None:
    """Raises Invalid for one that is too long."""
    if not 0 <= minutes <= MOST_OVERLAP_MINUTES:
        raise Invalid(f"An overlap has 0 to {MOST_OVERLAP_MINUTES} minutes.", field="overlap_minutes")


def check_days(days: int | None) -> None:
    """Raises Invalid for a turn that is none."""
    if days is not None and not 1 <= days <= 3650:
        raise Invalid("A turn to be rotated comes after 1 to 3650 days.", field="rotate_days")


def check_end(expires_at: datetime | None, at: datetime) -> None:
    """Raises DatesInvalid for an end that is past."""
    if expires_at is not None and expires_at <= at:
        raise DatesInvalid(f"{expires_at:%Y-%m-%d %H:%M}Z is past.", field="expires_at")


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
    at: datetime,
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
    # Behind a tool that many share stands the account of who it acts for, and nobody else's.
    if secret["person_id"] and secret["person_id"] not in (
        invocation["originating_person"],
        invocation["initiator_id"],
    ):
        return Refusal("another_persons_account", f"{secret['name']} is of another person's own account")
    if secret["expires_at"] is not None and secret["expires_at"] <= at:
        return Refusal("secret_expired", f"{secret['name']} ended on {secret['expires_at']:%Y-%m-%d %H:%M}Z")
    return fitting[0]
