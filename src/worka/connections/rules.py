"""Pure rules of connections: states, their reasons, the digest of what is approved. No clock, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
    _reason("credential_expired", "The credential behind the connection is past its time, and no new one came.",
            "The provider ended it, and gave nothing to renew it with, or every try to renew it failed.",
            "Connect again: `worka connection authorize ID`; grants stay, and what waits goes on by itself."),
    _reason("waiting_for_consent", "Somebody has to consent at the provider.",
            "The connection was allowed here; the account outside is not connected yet.",
            "Whoever connects opens the connection's page, or runs `worka connection authorize ID`, and consents there."),
    _reason("waiting_for_token", "The platform is fetching the token from the provider.",
            "The connection was allowed; its first token is asked for by itself.",
            "Nothing: it takes seconds. If it stays so, look at the broker's ledger for the provider's host."),
    _reason("consent_failed", "The provider gave no token.",
            "The person refused there, the consent was begun and not ended, or the provider refused the client.",
            "Read what the provider said, mend it, and begin again: `worka connection authorize ID`."),
    _reason("refresh_failing", "The credential is still good, and the last try to renew it failed.",
            "The provider is away, or the way to it is refused here.",
            "Nothing yet: it is tried again by itself. Before the credential ends, see why the provider cannot be reached."),
    _reason("credential_refused", "The provider did not take the credential in the last call that used it (401).",
            "It was taken back, replaced or disabled at the provider; or the call asked for what this credential may not.",
            "What can be renewed is renewed for the next call by itself. Else put a good one in its place: rotate the secret, or"
            " connect again. The next answer that is no 401 takes the mark away."),
    _reason("refresh_refused", "The provider refuses to renew the credential: it must be connected again.",
            "The person or the provider took the consent back, or it lapsed there.",
            "Connect again: `worka connection authorize ID`; grants stay, and what waits goes on by itself."),
    _reason("refresh_lost", "A renewal was cut off before its end was recorded, and the provider takes the old credential no"
            " more: it must be connected again.",
            "The provider gives a new refresh token each time; this process or machine died after it gave one and before"
            " it was kept.",
            "Connect again: `worka connection authorize ID`; grants stay, and what waits goes on by itself."),
    _reason("connection_owner_left", "Whose own account it is left the workspace; the connection ended with that.",
            "Somebody's membership ended.",
            "Nothing, if others use accounts of their own or the workspace's; else somebody connects another account."),
    _reason("connection_expired", "A step needs a connection whose credential has expired.",
            "The provider ended the credential, and it was not renewed.",
            "Connect it again: `worka connection authorize ID`. What waits goes on by itself."),
    _reason("connection_broken", "A step needs a connection that is broken.",
            "Its secret was revoked, or the provider refuses to renew its credential.",
            "Connect it again: `worka connection authorize ID`. What waits goes on by itself."),
)  # fmt: skip

CONNECTION = machine(
    StateMachine(
        name="connection",
        states=[
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("awaiting_consent", reasons=("waiting_for_consent", "waiting_for_token", "consent_failed")),
            State("active", reasons=("connection_in_service", "refresh_failing", "credential_refused")),
            State("expired", reasons=("credential_expired",)),
            State("broken", reasons=("connection_secret_revoked", "refresh_refused", "refresh_lost")),
            State("revoked", terminal=True, reasons=("connection_removed", "connection_owner_left")),
            State(
                "rejected",
                terminal=True,
                reasons=("connection_rejected", "connection_not_decided", "connection_superseded"),
            ),
        ],
        transitions=[
            ("awaiting_approval", "active"), ("awaiting_approval", "rejected"), ("awaiting_approval", "revoked"),
            ("awaiting_approval", "awaiting_consent"), ("awaiting_consent", "awaiting_consent"),
            ("awaiting_consent", "active"), ("awaiting_consent", "revoked"), ("awaiting_consent", "broken"),
            ("active", "active"), ("active", "expired"), ("active", "broken"), ("active", "revoked"),
            ("expired", "active"), ("expired", "broken"), ("expired", "revoked"),
            ("broken", "active"), ("broken", "revoked"), ("awaiting_approval", "broken"),
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


def subject(
    row: Mapping[str, Any], initiator: str, originating_person: str | None, led: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Exactly what is approved, for the digest and the card. `led`: what is recorded of where its credentials go."""
    keys = ("provider", "name", "host", "port", "access", "secret_id", "metadata", "why")
    # A connection by a token says nothing of these, as before there were others.
    oauth = ("kind", "scopes", "client_id") if row.get("kind", "token") != "token" else ()
    whose = ("person_id",) if row.get("person_id") else ()
    return {
        "action": "connection.create",
        "connection": row["id"],
        "workspace": row["workspace_id"],
        **{key: row[key] for key in (*keys, *oauth, *whose)},
        "initiator": initiator,
        "originating_person": originating_person,
        # A name of which nothing is recorded says nothing of it, as before there was this.
        **({"led": list(led)} if led else {}),
    }


def digest(
    row: Mapping[str, Any], initiator: str, originating_person: str | None, led: Sequence[Mapping[str, Any]] = ()
) -> str:
    """SHA-256 over the canonical subject."""
    return canonical.sha256_hex(subject(row, initiator, originating_person, led))


# whose account ------------------------------------------------------------------------------------------------------
ENDED = frozenset({"revoked", "rejected"})


def own(rows: Sequence[Mapping[str, Any]], person_id: str | None) -> list[Mapping[str, Any]]:
    """The connections that a call for this person may use: their own ones, and the workspace's where they have none for
    the same provider and endpoint. Never another person's; and never the workspace's in place of one of their own that is
    broken: nobody would know whose account it was."""

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["provider"], row["host"], row["port"]

    mine = {
        place(row) for row in rows if row["person_id"] and row["person_id"] == person_id and row["state"] not in ENDED
    }
    return [row for row in rows if (row["person_id"] == person_id if row["person_id"] else place(row) not in mine)]


def backing(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the connections of an endpoint, newest first, those that an attachment is granted: the workspace's newest active one,
    and everybody's own; whose is used, each call decides by `own`."""
    active = [row for row in rows if row["state"] == "active"]
    return [*[row for row in active if not row["person_id"]][:1], *(row for row in active if row["person_id"])]


def lacking(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """(reason, id of the connection that it is about) of an endpoint for which none of these is active."""
    for state, reason in (("broken", "connection_broken"), ("expired", "connection_expired")):
        found = next((row for row in rows if row["state"] == state), None)
        if found is not None:
            return reason, str(found["id"])
    asked = next((row for row in rows if row["state"] not in ENDED), None)
    return "connection_missing", str(asked["id"]) if asked is not None else None


# refused in a call --------------------------------------------------------------------------------------------------
REFUSED = "credential_refused"
FORCED_EVERY = timedelta(hours=1)
"""A renewal that a 401 brought on is the only one for so long: what is refused anew right after is not mended by another."""


def renewable(row: Mapping[str, Any]) -> bool:
    """Whether the platform can fetch another credential by itself."""
    return row["kind"] == "oauth_client" or row["refresh_secret_id"] is not None


def renews_at_once(row: Mapping[str, Any], at: datetime) -> bool:
    """Whether a 401 makes its renewal due: not when that was tried within the hour, or is being tried again already."""
    problem = row["problem"] or {}
    told = problem.get("code") == REFUSED
    if not renewable(row) or (row["reason"] == REFUSED and not told):
        return False
    return not told or datetime.fromisoformat(problem["at"]) <= at - FORCED_EVERY


# renewing -----------------------------------------------------------------------------------------------------------
AHEAD_SECONDS = 600.0
"""How long before its end a credential is renewed; of a short one, half its life."""
PAUSES = (5.0, 15.0, 60.0, 300.0, 900.0)
CLAIM_SECONDS = 90.0
"""How long one process may take for a renewal: longer than the broker lets a call take, and its tries to keep the answer."""
TELL_PAUSES = (30.0, 300.0, 3600.0, 21_600.0)
"""Before each further try to tell a provider that a token is over; after the last it is told nothing, and we say so."""


def renewal(at: datetime, seconds: int) -> datetime:
    """When a credential of this life, given now, is renewed."""
    return at + timedelta(seconds=max(1.0, seconds - min(AHEAD_SECONDS, seconds / 2)))


def pause(tries: int) -> timedelta:
    """Before the try after this many failed ones."""
    return timedelta(seconds=PAUSES[min(max(tries, 1), len(PAUSES)) - 1])
