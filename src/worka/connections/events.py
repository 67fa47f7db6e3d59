"""What can have happened to a connection. References only; no credential, no metadata values."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event

_SHOWN = ("provider", "host", "port", "access", "secret_id", "state", "reason")
_FURTHER = ("kind", "person_id", "client_id", "scopes")


def _after(row: dict[str, Any], state: str, reason: str) -> dict[str, Any]:
    further = {key: row[key] for key in _FURTHER if row.get(key) and row.get(key) != "token"}
    return {**{key: row[key] for key in _SHOWN}, **further, "state": state, "reason": reason}


def created(row: dict[str, Any], decision_id: str) -> Event:
    """connection.created: somebody asked to connect an outside system; it is active, or waits for an approval or a
    consent at the provider."""
    after, data = _after(row, row["state"], row["reason"]), {"why": row["why"], "decision_id": decision_id}
    return Event(
        "connection.created",
        row["id"],
        row["name"],
        None,
        after,
        data=data,
        lane="access",
        workspace_id=row["workspace_id"],
    )


def moved(row: dict[str, Any], state: str, reason: str, cause: dict[str, Any] | None, **data: Any) -> Event:
    """connection.<state>: activated, awaiting_consent, rejected, broken, expired or revoked."""
    kind = "connection.activated" if state == "active" else f"connection.{state}"
    before = {"state": row["state"], "reason": row["reason"]}
    return Event(
        kind,
        row["id"],
        row["name"],
        before,
        _after(row, state, reason),
        cause,
        data,
        lane="access",
        workspace_id=row["workspace_id"],
    )


def _about(kind: str, row: dict[str, Any], data: dict[str, Any], before: Any = None, after: Any = None) -> Event:
    return Event(
        kind, row["id"], row["name"], before, after, data=data, lane="access", workspace_id=row["workspace_id"]
    )


def consent_begun(row: dict[str, Any], flow: dict[str, Any]) -> Event:
    """connection.consent.begun: a person goes to the provider to consent, in this session and no other."""
    return _about("connection.consent.begun", row, {"flow": flow["id"], "kind": flow["kind"], "scopes": row["scopes"]})


def consent_refused(row: dict[str, Any], flow_id: str, reason: str) -> Event:
    """connection.consent.refused: an answer of a provider was not taken, or the provider refused; `reason` says which."""
    return _about("connection.consent.refused", row, {"flow": flow_id, "reason": reason})


def renewing(row: dict[str, Any], grant: str) -> Event:
    """connection.renewal.begun: the platform asks the provider for a new credential; committed before it is asked."""
    return _about("connection.renewal.begun", row, {"grant": grant, "interrupted_before": row["refresh_open"]})


def renewed(row: dict[str, Any], after: dict[str, Any], rotated: bool) -> Event:
    """connection.renewed: a new credential lies in the treasury; `rotated`: the refresh token is another one too."""
    before = {"expires_at": _moment(row["expires_at"]), "granted": row["granted"]}
    told = {"expires_at": _moment(after["expires_at"]), "granted": after["granted"]}
    return _about("connection.renewed", row, {"rotated": rotated}, before, told)


def not_renewed(row: dict[str, Any], code: str, detail: str) -> Event:
    """connection.renewal.failed: no new credential came; the one there is stays as long as it is good."""
    return _about("connection.renewal.failed", row, {"code": code, "detail": detail})


def credential_refused(row: dict[str, Any], invocation_id: str, renews: bool) -> Event:
    """connection.credential.refused: the provider answered 401 in a call; `renews`: a new credential is asked for at once."""
    return _credential("connection.credential.refused", row, invocation_id, {"renews": renews})


def credential_accepted(row: dict[str, Any], invocation_id: str) -> Event:
    """connection.credential.accepted: the provider takes a credential again that it had refused."""
    return _credential("connection.credential.accepted", row, invocation_id, {})


def _credential(kind: str, row: dict[str, Any], invocation_id: str, data: dict[str, Any]) -> Event:
    return Event(
        kind, row["id"], row["name"], cause={"kind": "invocation", "id": invocation_id}, data=data, lane="access",
        workspace_id=row["workspace_id"],
    )  # fmt: skip


def warned(row: dict[str, Any], level: str) -> Event:
    """connection.warned: its credential ends soon, and nothing renews it."""
    return _about("connection.warned", row, {"level": level, "expires_at": _moment(row["expires_at"])})


def provider_told(row: dict[str, Any], provider: dict[str, Any]) -> Event:
    """connection.provider.told: what came of telling the provider that a token is over."""
    return _about("connection.provider.told", row, provider)


def registered(row: dict[str, Any]) -> Event:
    """provider_client.registered: the workspace is known to a provider by this client; the platform may reach it there."""
    return _client("provider_client.registered", row, None, "active")


def unregistered(row: dict[str, Any]) -> Event:
    """provider_client.removed: the workspace is no client there any more; nothing of the platform's reaches it."""
    return _client("provider_client.removed", row, "active", "ended")


def _client(kind: str, row: dict[str, Any], before: str | None, after: str) -> Event:
    shown = {key: row[key] for key in ("provider", "client_id", "secret_id")}
    return Event(
        kind, row["id"], row["provider"], {"state": before} if before else None, {**shown, "state": after}, lane="access",
        workspace_id=row["workspace_id"],
    )  # fmt: skip


def restricted(tenant_id: str, before: Any, row: dict[str, Any]) -> Event:
    """provider.restricted: which outside systems the tenant may connect is another set; null: no restriction."""
    return Event(
        "provider.restricted", tenant_id, "", {"providers": before}, {"providers": row["providers"]},
        data={"reason": row["reason"]}, lane="policy",
    )  # fmt: skip


def _moment(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
