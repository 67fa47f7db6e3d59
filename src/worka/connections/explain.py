"""Why a connection is as it is, and who acts next."""

from __future__ import annotations

from typing import Any, Final

from worka import treasury
from worka.approvals.explain import waiting_on
from worka.authorization.explain import offer, reader_may
from worka.connections import actions, service, store
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, Timing, WaitingOn
from worka.workspaces.explain import changed_just_before

_SENTENCES: Final = {
    "connection_in_service": "is active: packs to which its secret is granted may use it",
    "refresh_failing": "is active, and the last try to renew its credential failed",
    "credential_refused": "is active, and the provider did not take its credential in the last call",
    "waiting_for_consent": "waits for somebody to consent at the provider",
    "waiting_for_token": "waits for its first token, which the platform is fetching",
    "consent_failed": "is not connected yet: the provider gave no token",
    "connection_rejected": "was refused by somebody who may decide",
    "connection_not_decided": "was not decided in time, or the request was taken back",
    "connection_superseded": "was approved, but policy, rights or the secret had changed by then",
    "connection_removed": "was removed; the grants behind it ended with it",
    "connection_owner_left": "ended, since whose own account it was left the workspace",
    "connection_secret_revoked": "is broken: the secret behind it was revoked",
    "refresh_refused": "is broken and must be connected again: the provider refuses to renew its credential",
    "refresh_lost": "is broken and must be connected again: a renewal was cut off, and the provider takes the old credential"
    " no more",
    "credential_expired": "has expired: the credential behind it is past its time",
}
_TIMING: Final[dict[str, Timing]] = {
    "awaiting_approval": "before_start",
    "awaiting_consent": "before_start",
    "rejected": "before_start",
    "active": "during",
    "expired": "after_completion",
    "broken": "after_completion",
    "revoked": "after_completion",
}
_TELLS: Final = frozenset(
    {"waiting_for_consent", "consent_failed", "refresh_refused", "refresh_lost", "refresh_failing", "credential_refused"}
)  # fmt: skip
_TOLD: Final = {
    "pending": "the provider is being told",
    "told": "the provider was told that its tokens are over",
    "not_told": "the provider could not be told",
    "cannot_be_told": "there is no way to tell the provider",
}


async def explain(ctx: Context, connection_id: str) -> Explanation:
    """The Explanation of a connection for this reader. Raises ConnectionNotFound."""
    async with ctx.transaction() as conn:
        row = await service.get(ctx, connection_id)
        stuck = await store.waiting_attachments(conn, row["workspace_id"]) if row["state"] != "active" else []
        wait = await waiting_on(ctx, row["approval_id"]) if row["state"] == "awaiting_approval" else None
        changes = await changed_just_before(
            conn, row["workspace_id"], row["since"], connection_id, row["approval_id"] or ""
        )
        following = await _next(ctx, row, wait)
        consent = await _consent(ctx, row) if row["state"] == "awaiting_consent" else None
        names = await store.names(conn, [row["person_id"]]) if row["person_id"] else {}
    name = f"Connection {row['name']} ({row['provider']} at {row['host']}:{row['port']})"
    if wait is not None:
        headline = f"{name} waits for an approval by {' or '.join(wait.who)}."
    else:
        headline = f"{name} {_SENTENCES.get(row['reason'], 'is ' + row['state'])}{_more(row)}."
    evidence = [
        Evidence(kind="attachment", ref=item["id"], label=f"{item['pack']} waits for a connection") for item in stuck
    ]
    if row["approval_id"]:
        evidence.append(Evidence(kind="approval", ref=row["approval_id"], label="the decision on it"))
    if row["person_id"]:
        whose = names.get(row["person_id"], row["person_id"])
        evidence.append(Evidence(kind="person", ref=row["person_id"], label=f"{whose}'s own account"))
    if row["secret_id"]:
        evidence.append(Evidence(kind="secret", ref=row["secret_id"], label=f"backed by {row['secret']}"))
    return Explanation(
        subject=connection_id,
        headline=headline,
        state=row["state"],
        reason=row["reason"],
        since=row["since"],
        layer="approval" if row["state"] in ("awaiting_approval", "rejected") else "connection",
        timing=_TIMING[row["state"]],
        waiting_on=[item for item in (wait, consent) if item is not None],
        last_error=_met(row),
        changed_just_before=changes,
        evidence=evidence,
        next=following,
        observed_at=row["since"],
    )


async def _next(ctx: Context, row: dict[str, Any], wait: WaitingOn | None) -> list[NextAction]:
    resource = Resource("connection", row["id"], row["workspace_id"])
    if wait is not None:
        return [
            NextAction(
                label="Decide it",
                command=f"worka approvals approve {wait.ref}",
                permission="approve",
                allowed=wait.you_can,
                because=wait.because,
            )
        ]
    end = await offer(ctx, "End it", f"worka connection remove {row['id']}", actions.CONNECTION_REMOVE, resource)
    refused = row["reason"] == "credential_refused"
    ready = refused or row["state"] in ("awaiting_consent", "expired", "broken")
    if row["kind"] in ("oauth_code", "oauth_device") and ready:
        again = "Consent at the provider" if row["state"] == "awaiting_consent" else "Connect it again"
        command = f"worka connection authorize {row['id']}"
        if row["person_id"]:
            mine = row["person_id"] == ctx.principal.id
            because = "" if mine else "It is another person's own account: they consent for it themselves."
            return [NextAction(label=again, command=command, permission="change", allowed=mine, because=because), end]
        return [await offer(ctx, again, command, actions.CONNECTION_AUTHORIZE, resource), end]
    if refused and row["kind"] == "token" and row["secret_id"]:
        command, secret = (
            f"worka secret rotate {row['secret_id']}",
            Resource("secret", row["secret_id"], row["workspace_id"]),
        )
        rotate = treasury.actions.SECRET_ROTATE
        return [await offer(ctx, "Put a good credential in its place", command, rotate, secret), end]
    if refused or row["reason"] == "consent_failed":
        command = f"worka connection renew {row['id']}"
        return [await offer(ctx, "Ask the provider again", command, actions.CONNECTION_AUTHORIZE, resource), end]
    if row["state"] in ("active", "awaiting_consent"):
        return [end]
    return [
        await offer(
            ctx,
            "Connect it again, with a credential that is good",
            f"worka connection create {row['provider']} --host {row['host']}",
            actions.CONNECTION_CREATE,
            Resource("connection", "new", row["workspace_id"]),
        )
    ]


def _more(row: dict[str, Any]) -> str:
    """What a sentence needs beyond the reason: whose account, until when, what the provider said."""
    said = []
    if row["state"] == "active" and row["account"].get("name"):
        said.append(f"as {row['account']['name']}")
    if row["state"] == "active" and row["expires_at"] is not None:
        ends = row["expires_at"].strftime("%Y-%m-%d %H:%M")
        said.append(
            f"its credential is good until {ends}Z" + (" and is renewed by itself" if row["refresh_at"] else "")
        )
    if row["reason"] in _TELLS and row["problem"]:
        said.append(row["problem"]["detail"].rstrip("."))
    if row["reason"] == "credential_refused" and row["refresh_at"] is not None and row["refresh_at"] <= now():
        said.append("a new one is asked for now")
    if row["state"] == "revoked" and row["receipt"]:
        told = _TOLD.get(row["receipt"]["provider"]["state"])
        said += [told] if told else []
    return f" ({'; '.join(said)})" if said else ""


def _met(row: dict[str, Any]) -> LastError | None:
    problem = row["problem"]
    if not problem or row["state"] == "revoked" or row["reason"] == "connection_in_service":
        return None
    return LastError(
        code=problem["code"], message=problem["detail"], attempt=1,
        next_try=row["refresh_at"] if row["state"] in ("active", "expired") else None,
    )  # fmt: skip


async def _consent(ctx: Context, row: dict[str, Any]) -> WaitingOn | None:
    """Who has to consent at the provider; nobody where the platform fetches the token by itself."""
    resource = Resource("connection", row["id"], row["workspace_id"])
    if row["kind"] == "oauth_client" and row["refresh_at"] is not None:
        return WaitingOn(
            kind="provider", ref=row["id"], name=f"{row['provider']} to give a token", since=row["since"],
            who=["the platform, by itself"], you_can=False, because="It is asked for by itself, again and again.",
        )  # fmt: skip
    flow = await store.open_flow(ctx.conn, row["id"])
    if row["person_id"]:
        can = row["person_id"] == ctx.principal.id
        because = "It is your own account." if can else "It is another person's own account."
        who = [(await store.names(ctx.conn, [row["person_id"]])).get(row["person_id"], row["person_id"])]
    else:
        can, because = await reader_may(ctx, actions.CONNECTION_AUTHORIZE, resource)
        who = ["owners and admins of the workspace"]
    return WaitingOn(
        kind="consent" if row["kind"] != "oauth_client" else "provider", ref=row["id"], since=row["since"],
        name=f"at {row['provider']}" if row["kind"] != "oauth_client" else f"{row['provider']} to give a token",
        deadline=flow["expires_at"] if flow else None, who=who, you_can=can, because=because,
    )  # fmt: skip
