"""Use cases of identity: signing in and out, credentials, the first operator, AI team members."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from worka.identity import actions, events, factors, rules, store
from worka.identity.errors import (
    AlreadySetUp,
    BadCredential,
    BadSignIn,
    EmailTaken,
    NotYours,
    SecondFactorRequired,
    TeamMemberNotFound,
    TokenNotFound,
    TooManySignIns,
    UsedOrUnknownToken,
)
from worka.identity.passwords import hash_password, verify
from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Principal, Resource, Sealer
from worka.kernel.db import Database
from worka.kernel.errors import Conflict
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths

PURPOSE = "credential"
RATE = "requests_per_minute"
"""The limit whose settings are found with the credential, in the one statement that every request begins with."""
INVITATION = "invitation"
"""The place of a try that came with an invitation: who holds none cannot try there."""
_SESSION_HOURS = 12
_LINK = timedelta(minutes=10)
_CODE = timedelta(minutes=5)
_SETUP = timedelta(days=7)


@dataclass(frozen=True)
class Credential:
    """A live credential: who it is, and the tenant and workspace it is bound to (API tokens)."""

    principal: Principal
    id: str
    tenant_id: str | None = None
    workspace_id: str | None = None
    kind: str = field(default="session")
    issued_by: str | None = None
    """The person who made it: whoever holds a team member's token acts for that person (decisions.md 5)."""
    memberships: tuple[dict[str, Any], ...] = ()
    """Where the principal is a member, over all tenants, read with the credential itself: {tenant_id, workspace_id,
    role}."""
    stepped_up_at: datetime | None = None
    """When the second factor was last given in this session."""
    stepped_up_by: str | None = None
    limits: tuple[dict[str, Any], ...] = ()
    """The settings of the limit on requests in those tenants, read with it too; most often none."""

    @property
    def credential_id(self) -> str:
        """The same as `id`."""
        return self.id


def new_token(sealer: Sealer, kind: str) -> tuple[str, bytes]:
    """A fresh token and the keyed hash that is stored. The token is masked in whatever this process writes."""
    token = rules.make_token(kind, os.urandom(32))
    redact.remember(token)
    return token, sealer.hmac(PURPOSE, token.encode())


async def authenticate(db: Database, sealer: Sealer, token: str) -> Credential:
    """Whose credential a token is. Raises BadCredential, the same for every reason.

    Only session and API tokens open doors: links, invitations, setup tokens and whatever a pack holds do not."""
    kind = rules.kind_of(token)
    if kind not in ("session", "api_token"):
        raise BadCredential("The credential is unknown, expired or revoked.")
    async with db.single() as conn:
        row = await store.credential(conn, sealer.hmac(PURPOSE, token.encode()), RATE)
    if row is None or row["kind"] != kind:
        raise BadCredential("The credential is unknown, expired or revoked.")
    found = {
        "id": row["credential_id"],
        "tenant_id": row["tenant_id"],
        "workspace_id": row["workspace_id"],
        "kind": kind,
        "issued_by": row["issued_by"],
        "memberships": tuple(row["memberships"]),
        "stepped_up_at": row["stepped_up_at"],
        "stepped_up_by": row["stepped_up_by"],
        "limits": tuple(row["limits"]),
    }
    if row["principal_kind"] == "person":
        person = row["person"]
        if person is None:
            raise BadCredential("The credential is unknown, expired or revoked.")
        return Credential(
            Principal(
                "person",
                row["principal_id"],
                person["display_name"],
                operator=person["operator"] and kind == "session",
            ),
            **found,
        )
    if row["principal_kind"] == "team_member":
        async with db.transaction(row["tenant_id"]) as conn:
            member = await store.team_member(conn, row["principal_id"])
        if member is None:
            raise BadCredential("The credential is unknown, expired or revoked.")
        return Credential(principal_of(member), **found)
    if row["principal_kind"] == "service_account":
        async with db.transaction(row["tenant_id"]) as conn:
            account = await store.service_account(conn, row["principal_id"])
        if account is None or account["ended_at"] is not None:
            raise BadCredential("The credential is unknown, expired or revoked.")
        who = Principal(
            "service_account", account["id"], account["name"], account["tenant_id"],
            owner_person_id=account["owner_person_id"],
        )  # fmt: skip
        return Credential(who, **found)
    # Packs, services and devices have no API credential at all (IDN-2, IDN-17), whatever a row says.
    raise BadCredential("The credential is unknown, expired or revoked.")


def principal_of(member: dict[str, Any]) -> Principal:
    """The principal of a team member's row."""
    return Principal(
        kind="team_member",
        id=member["id"],
        name=member["name"],
        tenant_id=member["tenant_id"],
        owner_person_id=member["owner_person_id"],
        tools=tuple(member["tools"]),
    )


def person_principal(row: dict[str, Any]) -> Principal:
    """The principal of a person's row."""
    return Principal("person", row["id"], row["display_name"], operator=row["operator"])


async def open_session(ctx: Context, person: dict[str, Any], how: str) -> dict[str, Any]:
    """Opens a session for a person within the open transaction: {session_token, expires_at, person_id}."""
    hours = ctx.settings.http.session_hours if ctx.settings is not None else _SESSION_HOURS
    until = now() + timedelta(hours=hours)
    token, hmac = new_token(ctx.sealer, "session")
    session_id = new_id("ses")
    await store.create_session(ctx.conn, session_id, person["id"], hmac, until)
    ctx.acting(person_principal(person)).record(events.session_opened(session_id, person["display_name"], how))
    return {"session_token": token, "expires_at": until, "person_id": person["id"], "session_id": session_id}


async def create_person(
    ctx: Context, email: str, name: str, password: str, *, operator: bool = False, vouched_by: str | None = None
) -> dict[str, Any]:
    """Makes a person within the open transaction; `vouched_by` invited them. Raises EmailTaken, WeakPassword, Invalid."""
    email = rules.check_email(email)
    rules.check_password(password, email)
    rules.check_name(name)
    if await store.person_by_email(ctx.conn, email) is not None:
        raise EmailTaken(f"{email} has an account.")
    row: dict[str, Any] = {
        "id": new_id("per"),
        "email": email,
        "display_name": name.strip() or email,
        "password_hash": await hash_password(password),
        "operator": operator,
        "enabled": True,
    }
    await store.create_person(ctx.conn, row)
    ctx.acting(person_principal(row)).record(
        events.person_created(row["id"], row["display_name"], operator, vouched_by)
    )
    return row


async def ensure_setup_token(db: Database, sealer: Sealer, home: Path) -> Path | None:
    """Makes sure that a deployment without an operator has a setup token in `home/setup-token` (0600).

    Returns the file, or None when the deployment is set up (and removes a file left over)."""
    path = home / "setup-token"
    async with db.transaction(None) as conn:
        if await store.operator_exists(conn):
            path.unlink(missing_ok=True)
            return None
        if path.exists() and await store.one_time_exists(conn, "setup"):
            return path
        token, hmac = new_token(sealer, "setup")
        await store.create_one_time(conn, _one_time("setup", hmac, now() + _SETUP))
    temporary = path.with_name(f".setup-token.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    temporary.replace(path)
    return path


def _one_time(kind: str, hmac: bytes, until: datetime, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("person_id", "tenant_id", "workspace_id", "email", "role", "created_by"))
    return {"id": new_id("ott"), "kind": kind, "hmac": hmac, "until": until, **empty, **fields}


async def create_one_time(ctx: Context, kind: str, until: datetime, **fields: Any) -> str:
    """A one-time token within the open transaction; returns it (it is shown once, only its keyed hash is kept)."""
    token, hmac = new_token(ctx.sealer, kind)
    await store.create_one_time(ctx.conn, _one_time(kind, hmac, until, **{"created_by": ctx.principal.id, **fields}))
    return token


async def peek_one_time(ctx: Context, kind: str, token: str) -> dict[str, Any]:
    """What a usable one-time token says, in a transaction of its own; it stays usable. Raises UsedOrUnknownToken."""
    row = None
    if rules.kind_of(token) == kind:
        async with ctx.db.transaction(None) as conn:
            row = await store.peek_one_time(conn, kind, ctx.sealer.hmac(PURPOSE, token.encode()))
    if row is None:
        raise UsedOrUnknownToken("It is unknown, was used, or has expired.")
    return row


async def take_one_time(ctx: Context, kind: str, token: str) -> dict[str, Any]:
    """Uses up a one-time token within the open transaction. Raises UsedOrUnknownToken."""
    row = None
    if rules.kind_of(token) == kind:
        row = await store.take_one_time(ctx.conn, kind, ctx.sealer.hmac(PURPOSE, token.encode()))
    if row is None:
        raise UsedOrUnknownToken("It is unknown, was used, or has expired.")
    return row


async def set_up(ctx: Context, token: str, email: str, password: str, name: str) -> dict[str, Any]:
    """Makes the first operator and signs them in. Raises UsedOrUnknownToken, AlreadySetUp."""
    async with ctx.transaction() as conn:
        await take_one_time(ctx, "setup", token)
        if await store.operator_exists(conn):
            raise AlreadySetUp("There is an operator.")
        person = await create_person(ctx, email, name, password, operator=True)
        session = await open_session(ctx, person, "setup")
    if ctx.settings is not None:
        home = Paths(ctx.settings.home)
        for folder in (home.home, home.run):  # the door writes it where its user may
            (folder / "setup-token").unlink(missing_ok=True)
    return session


async def nobody_yet(ctx: Context) -> bool:
    """Whether this deployment waits for its first operator. The database is asked only while a setup token lies here: once
    somebody is set up, nobody's look at the sign-in page costs a statement."""
    if ctx.settings is None or not Paths(ctx.settings.home).setup_token.exists():
        return False
    async with ctx.db.transaction(None) as conn:
        return not await store.operator_exists(conn)


async def charge_sign_in(ctx: Context, email: str, place: str) -> None:
    """Counts a try of a password of `email` from `place`, over all processes, before it is looked at. Raises
    TooManySignIns."""
    async with ctx.db.transaction(None) as conn:
        limits: list[tuple[rules.Limit, tuple[str, ...]]] = [(rules.PAIR, (email, place))]
        if place != INVITATION:
            limits.append((rules.PLACE, (place,)))
            if not await store.known_place(conn, _key(ctx, "known", email, place)):
                limits.append((rules.ADDRESS, (email,)))
        waits = [
            await store.take_try(conn, _key(ctx, limit.name, *words), limit.tries, limit.seconds)
            for limit, words in limits
        ]
    wait = int(max(waits)) + 1
    if max(waits) > 0:
        raise TooManySignIns(f"Try again in {wait} seconds.", retry_after=wait)


async def charge_look(ctx: Context, token: str, place: str) -> None:
    """Counts a look at an invitation, over all processes, before it is looked up. Raises TooManySignIns."""
    async with ctx.db.transaction(None) as conn:
        for words in (("place", place), ("token", token)):
            wait = await store.take_try(conn, _key(ctx, rules.LOOK.name, *words), rules.LOOK.tries, rules.LOOK.seconds)
            if wait > 0:
                break
    if wait > 0:  # outside of the transaction: what was counted stays
        raise TooManySignIns(f"Try again in {int(wait) + 1} seconds.", retry_after=int(wait) + 1)


def _key(ctx: Context, name: str, *words: str) -> bytes:
    return ctx.sealer.hmac(f"sign_in.{name}", "\x00".join(words).encode())


async def sign_in(ctx: Context, email: str, password: str, address: str = "", code: str = "") -> dict[str, Any]:
    """Signs a person in; `code` is needed where there is a second factor. Raises BadSignIn, SecondFactorRequired (with a
    one-time `continuation` for `finish_sign_in`), TooManySignIns and TooManyCodes (with `retry_after`, seconds)."""
    email = email.strip().lower()
    await charge_sign_in(ctx, email, address)
    async with ctx.db.transaction(None) as conn:
        row = await store.person_by_email(conn, email)
    # Verified outside of any transaction: it takes long, and must take as long for nobody's address.
    right = await verify(row["password_hash"] if row else None, password)
    if not right or row is None or not row["enabled"]:
        async with ctx.transaction():
            ctx.record(events.sign_in_refused("wrong" if row is None or row["enabled"] else "disabled"))
        raise BadSignIn("They do not belong together, or the account is disabled.")
    try:
        return await _past_the_password(ctx, row, email, address, code)
    except SecondFactorRequired as needed:
        if not code:
            async with ctx.transaction():
                needed.continuation = await create_one_time(
                    ctx, "second_factor", now() + _CODE, person_id=row["id"], email=email
                )
        raise


async def finish_sign_in(ctx: Context, continuation: str, code: str, address: str = "") -> dict[str, Any]:
    """The second step of signing in, for whom the first one (the right password) gave a continuation. A wrong code leaves it
    usable. Raises UsedOrUnknownToken, SecondFactorRequired, TooManyCodes."""
    held = await peek_one_time(ctx, "second_factor", continuation)
    async with ctx.db.transaction(None) as conn:
        row = await store.person_by_email(conn, held["email"])
    if row is None or not row["enabled"] or row["id"] != held["person_id"]:
        raise UsedOrUnknownToken("Its person is disabled.")
    return await _past_the_password(ctx, row, held["email"], address, code or "-", continuation)


async def _past_the_password(
    ctx: Context, person: dict[str, Any], email: str, address: str, code: str, continuation: str = ""
) -> dict[str, Any]:
    """Opens the session of somebody whose password was right, with a second factor where there is one."""
    if code:
        await factors.charge(ctx, person["id"])
    async with ctx.transaction() as conn:
        if continuation:
            await take_one_time(ctx, "second_factor", continuation)
        await factors.at_sign_in(ctx, person, code)
        await store.went_well(
            conn,
            _key(ctx, rules.PAIR.name, email, address),
            _key(ctx, "known", email, address),
            [_key(ctx, rules.PLACE.name, address), _key(ctx, rules.ADDRESS.name, email)],
        )
        return await open_session(ctx, person, "password")


async def sign_in_link(ctx: Context, base_url: str = "") -> dict[str, Any]:
    """A one-time sign-in of the caller, for ten minutes: {token, url, expires_at}. Only a person has one."""
    if ctx.principal.kind != "person":
        raise NotYours("An AI team member does not sign in.")
    _need_session(ctx)
    until = now() + _LINK
    async with ctx.transaction():
        token = await create_one_time(ctx, "sign_in_link", until, person_id=ctx.principal.id)
        ctx.record(events.link_created(ctx.principal.id, ctx.principal.name))
    return {"token": token, "url": f"{base_url.rstrip('/')}/sign-in?link={token}", "expires_at": until}


def _need_session(ctx: Context) -> None:
    """A token is bound to a workspace and may have an end; what it makes must not outlive or outgrow it."""
    if ctx.credential_id is not None and not ctx.credential_id.startswith("ses_"):
        raise NotYours("A token cannot make another credential.", remedy="Sign in, and ask again with that session.")


async def sign_in_by_link(ctx: Context, token: str) -> dict[str, Any]:
    """Opens a session with a one-time link. Raises UsedOrUnknownToken."""
    async with ctx.transaction() as conn:
        row = await take_one_time(ctx, "sign_in_link", token)
        person = await store.person(conn, row["person_id"])
        if person is None or not person["enabled"]:
            raise UsedOrUnknownToken("Its person is disabled.")
        return await open_session(ctx, person, "link")


async def sign_out(ctx: Context) -> None:
    """Ends the session that the request came with; an API token is revoked by its id instead."""
    if ctx.credential_id is None or not ctx.credential_id.startswith("ses_"):
        raise NotYours(
            "This request did not come with a session.", remedy="Revoke an API token with DELETE /v1/tokens/{id}."
        )
    async with ctx.transaction() as conn:
        await store.revoke_session(conn, ctx.credential_id, ctx.principal.id)
        ctx.record(events.session_closed(ctx.credential_id, ctx.principal.name))


async def reset_second_factor(ctx: Context, person_id: str, why: str) -> dict[str, Any]:
    """An operator takes the second factor of somebody who lost it away: {person_id, sessions_ended}. People belong to the
    deployment, so this is in its ledger. Raises NotYours, StepUpFirst, PersonNotFound, NoSecondFactor, Denied."""
    platform = replace(ctx, tenant_id=None, workspace_id=None)
    async with platform.transaction():
        await platform.require(actions.PERSON_RESET_FACTOR, Resource("tenant", "deployment"))
        return {"person_id": person_id, "sessions_ended": await factors.reset(platform, person_id, why)}


async def create_token(
    ctx: Context, workspace_id: str, name: str, principal_id: str | None, expires_in_days: int | None
) -> dict[str, Any]:
    """An API token, shown once: for the caller, or for an AI team member. Raises NotYours, TeamMemberNotFound."""
    if ctx.principal.kind != "person":
        raise NotYours("Only a person makes credentials.")
    _need_session(ctx)
    workspace = Resource("workspace", workspace_id, workspace_id)
    async with ctx.transaction() as conn:
        kind, target = "person", ctx.principal.id
        if principal_id in (None, ctx.principal.id):
            await ctx.require(actions.TOKEN_CREATE, workspace)
        elif str(principal_id).startswith("per_"):
            raise NotYours("A person's token is made by that person.")
        else:
            await ctx.require(actions.TOKEN_ISSUE, workspace)
            member = await store.team_member(conn, str(principal_id))
            if member is None or member["workspace_id"] != workspace_id:
                raise TeamMemberNotFound(f"{principal_id} is no AI team member of this workspace.")
            kind, target = "team_member", member["id"]
        return await issue_token(ctx, workspace_id, name, kind, target, expires_in_days)


async def issue_token(
    ctx: Context, workspace_id: str, name: str, kind: str, principal_id: str, expires_in_days: int | None
) -> dict[str, Any]:
    """An API token of a principal, shown once, within the open transaction of a person with a session, who was asked
    whether they may. Raises NotYours."""
    if ctx.principal.kind != "person":
        raise NotYours("Only a person makes credentials.")
    _need_session(ctx)
    token, hmac = new_token(ctx.sealer, "api_token")
    row = await store.create_api_token(
        ctx.conn,
        {
            "tenant_id": ctx.tenant_id,
            "id": new_id("tok"),
            "workspace_id": workspace_id,
            "principal_kind": kind,
            "principal_id": principal_id,
            "name": name,
            "prefix": token[:8],
            "token_hmac": hmac,
            "created_by": ctx.principal.id,
            "expires_at": now() + timedelta(days=expires_in_days) if expires_in_days else None,
        },
    )
    ctx.record(events.token_created(row))
    return {"token": token, "token_id": row["id"], "principal_id": principal_id, "expires_at": row["expires_at"]}


async def revoke_token(ctx: Context, token_id: str) -> None:
    """Revokes an API token: one's own, or (with that right) a team member's. Raises TokenNotFound."""
    async with ctx.transaction() as conn:
        row = await store.api_token(conn, token_id)
        own = row is not None and row["principal_kind"] == "person" and row["principal_id"] == ctx.principal.id
        if row is None or (row["principal_kind"] == "person" and not own):
            raise TokenNotFound(f"{token_id} is not one of yours.")
        if not own:
            await ctx.require(actions.TOKEN_REVOKE, Resource("token", token_id, row["workspace_id"]))
        if await store.revoke_api_token(conn, token_id) is not None:
            ctx.record(events.token_revoked(row))


async def create_team_member(ctx: Context, workspace_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Makes an AI team member owned by the caller, within the open transaction; the caller has checked the right to,
    and gives it its role. `fields`: name, responsibility, instructions, tools. Raises Conflict, Invalid."""
    if ctx.principal.kind != "person":
        raise NotYours("An AI team member has an owning person: a person adds it.")
    row = await store.create_team_member(
        ctx.conn,
        {
            **fields,
            "tools": rules.check_tools(fields["tools"]),
            "tenant_id": ctx.tenant_id,
            "id": new_id("tmb"),
            "workspace_id": workspace_id,
            "owner_person_id": ctx.principal.id,
            "created_by": ctx.principal.id,
        },
    )
    if row is None:
        raise Conflict(f"The workspace has an AI team member called {fields['name']}.", code="team_member_name_taken")
    ctx.record(events.team_member_created(row))
    return row


async def change_team_member(
    ctx: Context, workspace_id: str, member_id: str, changes: dict[str, Any]
) -> dict[str, Any]:
    """Changes tools, words or whether it may act; holds for its very next call. Raises TeamMemberNotFound."""
    async with ctx.transaction() as conn:
        row = await store.team_member(conn, member_id, lock=True)
        if row is None or row["workspace_id"] != workspace_id:
            raise TeamMemberNotFound(f"{member_id} is no AI team member of this workspace.")
        await ctx.require(
            actions.TEAM_MEMBER_CHANGE, Resource("team_member", member_id, workspace_id, {"name": row["name"]})
        )
        if changes.get("tools") is not None:
            changes["tools"] = rules.check_tools(changes["tools"])
        fields = ("tools", "instructions", "responsibility", "enabled")
        after = {name: changes[name] if changes.get(name) is not None else row[name] for name in fields}
        different = [name for name in fields if after[name] != row[name]]
        changed = await store.change_team_member(conn, member_id, after)
        assert changed is not None
        if different:
            words = {name: ({n: o[n] for n in different}) for name, o in (("before", row), ("after", after))}
            ctx.record(events.team_member_changed(row, words["before"], words["after"]))
        return changed


async def warm_up() -> None:
    """Computes the dummy hash once, so that the first sign-in is not the slow one."""
    await asyncio.shield(verify(None, "warm-up"))
