"""What can have happened in identity. No token, no password, no hash in any of them."""

from __future__ import annotations

from typing import Any

from worka.kernel.events import Event


def person_created(person_id: str, name: str, operator: bool, vouched_by: str | None = None) -> Event:
    """identity.person.created: someone can sign in from now on; `vouched_by` invited the address, which nobody checked."""
    after = {"operator": operator, "vouched_by": vouched_by}
    return Event("identity.person.created", person_id, name, after=after, lane="access")


def session_opened(session_id: str, person_name: str, how: str) -> Event:
    """identity.session.opened: someone signed in; `how` is password, link, setup or invitation."""
    return Event("identity.session.opened", session_id, person_name, data={"how": how}, lane="access")


def session_closed(session_id: str, person_name: str) -> Event:
    """identity.session.closed: someone signed out."""
    return Event("identity.session.closed", session_id, person_name, lane="access")


def sign_in_refused(reason: str) -> Event:
    """identity.sign_in.refused: a sign-in failed. The address tried is not recorded: people type passwords there."""
    return Event("identity.sign_in.refused", "sign_in", "", data={"reason": reason}, lane="access")


def link_created(person_id: str, name: str) -> Event:
    """identity.sign_in_link.created: a one-time sign-in was handed out."""
    return Event("identity.sign_in_link.created", person_id, name, lane="access")


def factor_set(person_id: str, name: str, renewed: bool) -> Event:
    """identity.second_factor.set: a second factor is in force; `renewed`: in the place of another one."""
    return _factor("set", person_id, name, after={"state": "on"}, data={"renewed": renewed})


def factor_ended(person_id: str, name: str, how: str) -> Event:
    """identity.second_factor.ended: its person took it away, with a code."""
    return _factor("ended", person_id, name, before={"state": "on"}, after={"state": "off"}, data={"with": how})


def factor_reset(person_id: str, name: str, why: str, sessions: int) -> Event:
    """identity.second_factor.reset: somebody else took it away from who lost it; every session of theirs ended."""
    data = {"why": why, "sessions_ended": sessions}
    return _factor("reset", person_id, name, before={"state": "on"}, after={"state": "off"}, data=data)


def factor_refused(person_id: str, name: str, where: str) -> Event:
    """identity.second_factor.refused: a code was not accepted; never which."""
    return _factor("refused", person_id, name, data={"where": where})


def recovery_renewed(person_id: str, name: str) -> Event:
    """identity.recovery_codes.renewed: the old ones open nothing any more."""
    return Event("identity.recovery_codes.renewed", person_id, name, lane="access")


def stepped_up(credential_id: str, name: str, how: str) -> Event:
    """identity.session.stepped_up: the second factor was given in it, just now; `how` is totp or recovery_code."""
    return Event("identity.session.stepped_up", credential_id, name, data={"how": how}, lane="access")


def _factor(verb: str, person_id: str, name: str, **said: Any) -> Event:
    return Event(f"identity.second_factor.{verb}", person_id, name, lane="access", **said)


def team_member_created(row: dict[str, Any]) -> Event:
    """identity.team_member.created: an AI team member exists, with these tools and this owner."""
    return Event(
        "identity.team_member.created",
        row["id"],
        row["name"],
        after={"tools": row["tools"], "owner": row["owner_person_id"], "responsibility": row["responsibility"]},
        lane="access",
        workspace_id=row["workspace_id"],
    )


def team_member_changed(row: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> Event:
    """identity.team_member.changed: its tools, instructions or whether it may act."""
    return Event(
        "identity.team_member.changed",
        row["id"],
        row["name"],
        before=before,
        after=after,
        lane="access",
        workspace_id=row["workspace_id"],
    )


def account_created(row: dict[str, Any], role: str) -> Event:
    """identity.service_account.created: a program of the workspace may act, for its owner."""
    after = {"role": role, "owner": row["owner_person_id"], "purpose": row["purpose"]}
    return _account("created", row, after=after)


def account_ended(row: dict[str, Any], tokens: int) -> Event:
    """identity.service_account.ended: it acts no more, and its tokens are revoked."""
    return _account("ended", row, before={"owner": row["owner_person_id"]}, data={"tokens_revoked": tokens})


def _account(verb: str, row: dict[str, Any], **said: Any) -> Event:
    return Event(
        f"identity.service_account.{verb}",
        row["id"],
        row["name"],
        lane="access",
        workspace_id=row["workspace_id"],
        **said,
    )


def token_created(row: dict[str, Any]) -> Event:
    """identity.token.created: an API token exists (its prefix only)."""
    after = {"principal": row["principal_id"], "prefix": row["prefix"], "expires_at": str(row["expires_at"] or "never")}
    return Event(
        "identity.token.created", row["id"], row["name"], after=after, lane="access", workspace_id=row["workspace_id"]
    )


def token_revoked(row: dict[str, Any]) -> Event:
    """identity.token.revoked: an API token opens nothing any more."""
    return Event(
        "identity.token.revoked",
        row["id"],
        row["name"],
        before={"principal": row["principal_id"]},
        lane="access",
        workspace_id=row["workspace_id"],
    )
