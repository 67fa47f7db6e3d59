"""What can have happened in the registry. None carries a credential, a key's private half or an artifact's bytes."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

Row = dict[str, Any]


def _event(kind: str, row: Row, name: str, **more: Any) -> Event:
    return Event(kind, row["id"], name, lane="capability", workspace_id=row.get("workspace_id"), **more)


def artifact_kept(row: Row, name: str) -> Event:
    """registry.artifact.kept: a release lies in the layout of this deployment, under its digest."""
    return _event(
        "registry.artifact.kept", row, name, after={"digest": row["digest"], "size": row["size"]},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def publication_moved(row: Row, name: str, before: str | None, state: str, reason: str, **data: Any) -> Event:
    """registry.publication.moved: a publication was asked for, reached its next state, or failed."""
    after = {"state": state, "reason": reason, "destination": row["destination"], "visibility": row["visibility"]}
    return _event(
        "registry.publication.moved", row, name, before=None if before is None else {"state": before}, after=after,
        cause={"kind": "release", "id": row["release_id"]}, data=data,
    )  # fmt: skip


def listing_moved(row: Row, name: str, before: Row | None, why: str) -> Event:
    """registry.listing.moved: a release is listed, is seen by others than before, or was withdrawn."""
    keys = ("state", "visibility", "shared_with")
    return _event(
        "registry.listing.moved", row, name, before=before and {key: before[key] for key in keys},
        after={key: row[key] for key in keys} | {"digest": row["digest"]}, data={"why": why},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def signed(row: Row, name: str) -> Event:
    """registry.release.signed: a known key vouched for an artifact; whether that counts, the trust root says."""
    return _event(
        "registry.release.signed", row, name, after={"digest": row["digest"], "key": row["key_id"]},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def envelope_kept(row: Row, name: str) -> Event:
    """registry.envelope.kept: what came with an artifact was kept, and no key that is known here signed it."""
    return _event(
        "registry.envelope.kept", row, name, after={"digest": row["digest"], "claims": row["key_id"]},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def signatures_wanted(row: Row, name: str) -> Event:
    """registry.signatures.wanted: somebody had signatures brought again to where an artifact was published."""
    return _event(
        "registry.signatures.wanted", row, name, after={"destination": row["destination"]},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def signatures_carried(row: Row, name: str, there: int, error: Row | None) -> Event:
    """registry.signatures.carried: the signatures of an artifact lie beside it at a registry outside; or they do not, and are not
    brought again by themselves."""
    return _event(
        "registry.signatures.carried", row, name, after={"destination": row["destination"], "there": there},
        data={"error": error and error["code"]}, cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def key_made(row: Row) -> Event:
    """registry.key.made: a publisher has a key; its private half lies in the treasury."""
    return _event("registry.key.made", row, row["publisher"], after={"key": row["key_id"], "secret": row["secret_id"]})


def reviewed(row: Row, name: str) -> Event:
    """registry.release.reviewed: a person looked at an artifact and says so."""
    return _event(
        "registry.release.reviewed", row, name, after={"digest": row["digest"]}, data={"note": row["note"]},
        cause={"kind": "release", "id": row["release_id"]},
    )  # fmt: skip


def destination_moved(row: Row, state: str) -> Event:
    """registry.destination.moved: a registry can be published to, or not any more."""
    place = f"{row['host']}:{row['port']}/{row['repository']}"
    sent_to = {"token_service": row["token_service"], "blob_hosts": row["blob_hosts"]}
    return _event("registry.destination.moved", row, row["name"], after={"state": state, "place": place, **sent_to})


def policy_set(row: Row, before: Row | None, subject: str, name: str) -> Event:
    """registry.policy.set: what may be published where is another from now on."""
    return Event(
        "registry.policy.set", subject, name, before and {"version": before["version"], **before["settings"]},
        {"version": row["version"], **row["settings"]}, data={"note": row["note"]}, lane="capability",
        workspace_id=row["workspace_id"] or None,
    )  # fmt: skip


def root_set(version: int, expires: str, publishers: list[str]) -> Event:
    """registry.trust_root.set: which keys the deployment trusts is another from now on."""
    return Event(
        "registry.trust_root.set", f"trust_root_{version}", f"trust root {version}",
        after={"version": version, "expires": expires, "publishers": publishers}, lane="capability",
    )  # fmt: skip
