"""What can have happened at the broker. The subject is the egress row or the exception; no query, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worka.kernel.events import Event


def allowed(row: Mapping[str, Any]) -> Event:
    """broker.egress.allowed: a request is about to leave (for reading methods: the first of its kind in the call)."""
    return _egress("broker.egress.allowed", row)


def denied(row: Mapping[str, Any]) -> Event:
    """broker.egress.denied: something tried to leave and did not (the first of its kind in the call)."""
    return _egress("broker.egress.denied", row)


def withheld(row: Mapping[str, Any], reason: str) -> Event:
    """broker.answer.withheld: an answer was not passed on (it held the secret, or could not be searched)."""
    return _egress("broker.answer.withheld", {**row, "reason": reason})


def circuit_opened(row: Mapping[str, Any], failures: int, reason: str) -> Event:
    """broker.circuit.opened: an outside failed again and again, and is not asked for a while, by this tenant."""
    return _circuit("broker.circuit.opened", row, {"failures": failures, "reason": reason})


def circuit_closed(row: Mapping[str, Any]) -> Event:
    """broker.circuit.closed: the outside answered again."""
    return _circuit("broker.circuit.closed", row, {})


def _circuit(kind: str, row: Mapping[str, Any], data: dict[str, Any]) -> Event:
    return Event(
        type=kind,
        subject=f"{row['host']}:{row['port']}",
        subject_name=f"{row['host']}:{row['port']}",
        cause={"kind": "invocation", "id": row["invocation_id"]} if row["invocation_id"] else None,
        data={**data, "egress_id": row["id"]},
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def _egress(kind: str, row: Mapping[str, Any]) -> Event:
    invocation = row["invocation_id"]
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=f"{row['host']}:{row['port']}",
        cause={"kind": "invocation", "id": invocation} if invocation else None,
        data={
            key: row[key]
            for key in (
                "kind",
                "method",
                "path",
                "reason",
                "rule",
                "connection_id",
                "lease_id",
                "exception_id",
                "decision_id",
            )
            if row.get(key) is not None
        },
        lane="capability",
        workspace_id=row["workspace_id"],
    )


def exception_created(row: Mapping[str, Any], cause: dict[str, Any] | None = None) -> Event:
    """network.exception.created: packs of the workspace may reach an inside address by a name."""
    return Event(
        type="network.exception.created",
        subject=row["id"],
        subject_name=f"{row['name']}:{row['port']}",
        after={key: row[key] for key in ("name", "port", "address", "real_port", "reason")},
        cause=cause,
        lane="policy",
        workspace_id=row["workspace_id"],
    )


def exception_removed(row: Mapping[str, Any]) -> Event:
    """network.exception.removed: the exception holds no longer."""
    return Event(
        type="network.exception.removed",
        subject=row["id"],
        subject_name=f"{row['name']}:{row['port']}",
        before={key: row[key] for key in ("name", "port", "address", "real_port", "reason")},
        lane="policy",
        workspace_id=row["workspace_id"],
    )


_TRUST = ("name", "port", "attachment_id", "ca_pem", "client_cert_pem", "client_key_secret_id", "reason")


def trust_created(row: Mapping[str, Any], cause: dict[str, Any] | None = None) -> Event:
    """upstream.trust.created: the certificate of an outside name is checked otherwise, or one of ours is shown to it."""
    return Event(
        type="upstream.trust.created",
        subject=row["id"],
        subject_name=f"{row['name']}:{row['port']}",
        after={key: row[key] for key in _TRUST},
        cause=cause,
        lane="policy",
        workspace_id=row["workspace_id"],
    )


def trust_removed(row: Mapping[str, Any]) -> Event:
    """upstream.trust.removed: the record holds no longer."""
    return Event(
        type="upstream.trust.removed",
        subject=row["id"],
        subject_name=f"{row['name']}:{row['port']}",
        before={key: row[key] for key in _TRUST},
        lane="policy",
        workspace_id=row["workspace_id"],
    )


def way_change_proposed(row: Mapping[str, Any]) -> Event:
    """way.change.proposed: an exception or upstream trust for a name that a credential goes to waits for a second person."""
    return _way("way.change.proposed", row, {"kind": "approval", "id": row["approval_id"]})


def way_change_closed(row: Mapping[str, Any], cause: dict[str, Any]) -> Event:
    """way.change.closed: what waited is recorded, or ended without being so; the reason says which."""
    return _way("way.change.closed", row, cause)


def _way(kind: str, row: Mapping[str, Any], cause: dict[str, Any]) -> Event:
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=f"{row['name']}:{row['port']}",
        after={**row["settings"], "kind": row["kind"], "state": row["state"], "reason": row["reason"]},
        cause=cause,
        data={
            "carries": [item["words"] for item in row["carries"]],
            "made_id": row["made_id"],
            "why": row["settings"]["reason"],
        },
        lane="policy",
        workspace_id=row["workspace_id"],
    )


def policy_saved(row: Mapping[str, Any], before: Mapping[str, Any] | None, here: str, cause: Any = None) -> Event:
    """egress.policy.saved: what policy says of destinations is another from the next call on."""
    place = "workspace" if row["workspace_id"] else "tenant"
    return Event(
        type="egress.policy.saved",
        subject=row["workspace_id"] or row["tenant_id"],
        subject_name=f"policy on destinations of the {place}",
        before=None if before is None else {"version": before["version"], **before["settings"]},
        after={"version": row["version"], **row["settings"]},
        cause=cause,
        data={"note": row["note"], "approved_by": row["approved_by"]},
        lane="policy",
        workspace_id=here,
    )


def policy_change_proposed(row: Mapping[str, Any]) -> Event:
    """egress.policy.proposed: a change that lets more through waits for a second person."""
    return _change("egress.policy.proposed", row)


def policy_change_closed(row: Mapping[str, Any]) -> Event:
    """egress.policy.closed: a change that waited ended without being in force."""
    return _change("egress.policy.closed", row)


def _change(kind: str, row: Mapping[str, Any]) -> Event:
    place = "workspace" if row["scope"] else "tenant"
    return Event(
        type=kind,
        subject=row["id"],
        subject_name=f"policy on destinations of the {place}",
        after={"state": row["state"], "base_version": row["base_version"], **row["settings"]},
        cause={"kind": "approval", "id": row["approval_id"]} if row["approval_id"] else None,
        data={"note": row["note"], "outcome": row["outcome"]},
        lane="policy",
        workspace_id=row["workspace_id"],
    )
