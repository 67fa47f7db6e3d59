"""Use cases of workspaces: tenants, invitations, members, AI team members' places, and what the caller may do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worka import identity
from worka.identity import rules as person_rules
from worka.identity import service as people
from worka.identity.errors import BadSignIn, TeamMemberNotFound
from worka.identity.passwords import verify
from worka.kernel.clock import now
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Invalid
from worka.kernel.ids import new_id
from worka.workspaces import actions, events, rules, store
from worka.workspaces.errors import (
    AlreadyMember,
    InvitationHeld,
    InvitationNotFound,
    InvitationOpen,
    InvitationOver,
    LastOwner,
    MemberNotFound,
    SignsInElsewhere,
    SlugTaken,
    WorkspaceNotFound,
)
from worka.workspaces.limits import service as limits

_INVITATION = timedelta(days=7)
INVITING = ("owner", "admin")


def place(workspace_id: str) -> Resource:
    """The workspace as a resource."""
    return Resource("workspace", workspace_id, workspace_id)


async def create_tenant(ctx: Context, slug: str, name: str, workspace_name: str, owner_email: str) -> dict[str, Any]:
    """Makes a tenant with a workspace and an owner's invitation: {tenant_id, workspace_id, invitation_token}.

    The operator gets no role in it. Raises SlugTaken, Invalid."""
    tenant_id, workspace_id = new_id("ten"), new_id("ws")
    slug = rules.check_slug(slug)
    email = person_rules.check_email(owner_email)
    platform = ctx.acting(ctx.principal)
    platform.tenant_id = None  # tenants are made outside of every tenant
    async with platform.transaction() as conn:
        await platform.require(actions.TENANT_CREATE, Resource("tenant", tenant_id, None, {"name": slug}))
        inside = platform.acting(ctx.principal, tenant_id=tenant_id, workspace_id=workspace_id)
        await store.enter_tenant(conn, tenant_id)
        by = {"tenant_id": tenant_id, "created_by": ctx.principal.id}
        if not await store.create_tenant(conn, {**by, "slug": slug, "name": name}):
            raise SlugTaken(f"There is a tenant {slug}.")
        row = {**by, "id": workspace_id, "slug": rules.slug_of(workspace_name), "name": workspace_name}
        await store.create_workspace(conn, row)
        token = await people.create_one_time(
            inside,
            "invitation",
            now() + _INVITATION,
            tenant_id=tenant_id,
            workspace_id=workspace_id,
            email=email,
            role="owner",
        )
        inside.record(events.tenant_created(tenant_id, name))
        inside.record(events.workspace_created(row))
        inside.record(events.invited(workspace_id, "owner", False))
    return {"tenant_id": tenant_id, "workspace_id": workspace_id, "invitation_token": token}


async def tenants(ctx: Context) -> list[str]:
    """The ids of the deployment's tenants, for the operator: nothing of what is in them."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    async with platform.transaction() as conn:
        await platform.require(actions.TENANT_VIEW, Resource("tenant", "", None))
        return await store.tenant_ids(conn)


async def invite(ctx: Context, workspace_id: str, email: str, role: str, approver: bool) -> dict[str, Any]:
    """An invitation, shown once: {invitation_id, invitation_token, expires_at}. Only an owner invites owners. Raises
    AlreadyMember, InvitationOpen."""
    email = person_rules.check_email(email)
    until, invitation_id = now() + _INVITATION, new_id("ott")
    async with ctx.transaction():
        await ctx.require(actions.MEMBER_INVITE, place(workspace_id), role=role)
        await _not_here_yet(ctx, workspace_id, email, role)
        # Who is invited now could not come in: better said to the one who invites. It counts when they accept.
        await limits.take_one(ctx, "members", workspace_id)
        token = await people.create_one_time(
            ctx,
            "invitation",
            until,
            id=invitation_id,
            tenant_id=ctx.tenant_id,
            workspace_id=workspace_id,
            email=email,
            role=rules.pack_role(role, approver),
        )
        ctx.record(events.invited(workspace_id, role, approver))
    return {
        "invitation_id": invitation_id,
        "invitation_token": token,
        "expires_at": until,
        "role": role,
        "approver": approver,
    }


async def _not_here_yet(ctx: Context, workspace_id: str, email: str, role: str, but: str = "") -> None:
    """One address has one link at most that opens the workspace, and none when its person is in it."""
    assert ctx.tenant_id is not None
    await store.lock_invitations(ctx.conn, workspace_id)
    for row in await store.members(ctx.conn, workspace_id):
        if row["principal_kind"] == "person" and row["email"] == email:
            raise AlreadyMember(
                f"{email} is a member of this workspace, as {row['role']}.",
                remedy=f"Change the role instead: `worka member change {email} --role {role}`.",
            )
    for found in await identity.store.invitations(ctx.conn, ctx.tenant_id, workspace_id):
        if found["id"] != but and found["email"] == email and rules.invitation_state(found, now()) == "open":
            raise InvitationOpen(
                f"{email} was invited as {rules.unpack_role(found['role'])[0]} until {found['expires_at'].isoformat()}.",
                remedy=f"A new link for it: `worka member resend {found['id']}`. For another role take it back first:"
                f" `worka member withdraw {found['id']}`.",
                invitation=found["id"],
            )


async def _end_others(inside: Context, workspace_id: str, email: str) -> None:
    """Whoever came in by one invitation does not keep another, with another role, for later."""
    assert inside.tenant_id is not None
    for row in await identity.store.invitations(inside.conn, inside.tenant_id, workspace_id):
        if row["email"] != email or row["used_at"] is not None or row["withdrawn_at"] is not None:
            continue
        await identity.store.withdraw_invitations(inside.conn, inside.tenant_id, workspace_id, row["id"], None)
        role, approver = rules.unpack_role(row["role"])
        inside.record(events.invitation_moved(workspace_id, row["id"], "withdrawn", role, approver))


async def invitations(ctx: Context, workspace_id: str) -> list[dict[str, Any]]:
    """The invitations into a workspace, newest first, with what became of each. Complete. For who may invite."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.MEMBER_INVITE, place(workspace_id))
        assert ctx.tenant_id is not None
        rows = await identity.store.invitations(conn, ctx.tenant_id, workspace_id)
        names = {row["principal_id"]: row["name"] for row in await store.members(conn, workspace_id)}
        # Who sent one may be no member: an operator, or somebody who has left. They have a name all the same.
        for sender in {row["created_by"] for row in rows} - set(names):
            person = await identity.store.person(conn, sender)
            names[sender] = person["display_name"] if person else sender
        judge = await ctx.authorizer.judge(ctx, conn, workspace_id)
        held = {sender: held_by(judge.stopped(sender)) for sender in {row["created_by"] for row in rows}}
    return [_invitation(row, names, held) for row in rows]


def held_by(stopped: Decision | None) -> str:
    """Why an invitation opens nothing for now, for who may send another; empty: it does."""
    if stopped is None:
        return ""
    return f"Who sent it is stopped: “{'; '.join(stopped.reasons)}”. Send it again yourself, or have the switch lifted."


def _invitation(row: dict[str, Any], names: dict[str, str], held: dict[str, str] | None = None) -> dict[str, Any]:
    role, approver = rules.unpack_role(row["role"])
    keys = ("id", "email", "created_at", "expires_at")
    state = rules.invitation_state(row, now())
    return {
        **{key: row[key] for key in keys},
        "role": role,
        "approver": approver,
        "invited_by": names.get(row["created_by"], row["created_by"]),
        "state": state,
        "held": (held or {}).get(row["created_by"], "") if state == "open" else "",
    }


async def withdraw_invitation(ctx: Context, workspace_id: str, invitation_id: str) -> dict[str, Any]:
    """Takes an unused invitation back: it opens nothing any more. Raises InvitationNotFound, InvitationOver."""
    async with ctx.transaction() as conn:
        row = await _unused(ctx, workspace_id, invitation_id)
        assert ctx.tenant_id is not None
        if not await identity.store.withdraw_invitations(conn, ctx.tenant_id, workspace_id, invitation_id, None):
            raise InvitationOver(f"{invitation_id} was accepted or taken back meanwhile.")
        ctx.record(events.invitation_moved(workspace_id, invitation_id, "withdrawn", row["role"], row["approver"]))
        ctx.failpoint("workspace.invitation.before_commit")
    return {**row, "state": "withdrawn"}


async def renew_invitation(ctx: Context, workspace_id: str, invitation_id: str) -> dict[str, Any]:
    """A new link for an unused invitation, also an expired one; the old link opens nothing any more. Shown once. Who renews
    it vouches for it from now on. Raises InvitationNotFound, InvitationOver, AlreadyMember, InvitationOpen."""
    until = now() + _INVITATION
    async with ctx.transaction() as conn:
        row = await _unused(ctx, workspace_id, invitation_id)
        await _not_here_yet(ctx, workspace_id, row["email"], row["role"], but=invitation_id)
        token, hmac = people.new_token(ctx.sealer, "invitation")
        assert ctx.tenant_id is not None
        renewed = await identity.store.renew_invitation(
            conn, ctx.tenant_id, workspace_id, invitation_id, hmac, until, ctx.principal.id
        )
        if not renewed:
            raise InvitationOver(f"{invitation_id} was accepted or taken back meanwhile.")
        ctx.record(events.invitation_moved(workspace_id, invitation_id, "renewed", row["role"], row["approver"]))
        ctx.failpoint("workspace.invitation.before_commit")
    return {
        "invitation_id": invitation_id,
        "invitation_token": token,
        "expires_at": until,
        "role": row["role"],
        "approver": row["approver"],
    }


async def _unused(ctx: Context, workspace_id: str, invitation_id: str) -> dict[str, Any]:
    """An invitation that the caller may send, take back or renew: only an owner does so with an owner's."""
    assert ctx.tenant_id is not None
    rows = await identity.store.invitations(ctx.conn, ctx.tenant_id, workspace_id)
    row = next((_invitation(row, {}) for row in rows if row["id"] == invitation_id), None)
    if row is None:
        raise InvitationNotFound(f"{invitation_id} is not an invitation into this workspace.")
    await ctx.require(actions.MEMBER_INVITE, place(workspace_id), role=row["role"])
    if row["state"] in ("accepted", "withdrawn"):
        raise InvitationOver(f"It was {row['state']}.", state=row["state"])
    return row


async def accept(ctx: Context, token: str, password: str, display_name: str, code: str = "") -> dict[str, Any]:
    """Accepts an invitation and signs in: {person_id, session_token, expires_at, workspace_id}.

    A new address gets an account with this password; for a known one the password must be the account's (an
    invitation is no way into somebody's account). A wrong one gives the invitation back, so every try is counted per
    invited address, over all invitations and tenants. It signs in, so an account with a second factor needs a `code`.
    Raises UsedOrUnknownToken, TooManySignIns, BadSignIn, SecondFactorRequired, AlreadyMember, WeakPassword, InvitationHeld."""
    email = (await people.peek_one_time(ctx, "invitation", token))["email"]
    await people.charge_sign_in(ctx, email, people.INVITATION)
    # Before it is looked whether there is an account, or a bad password would tell that in silence.
    person_rules.check_password(password, email)
    async with ctx.db.transaction(None) as conn:
        account = await identity.store.person_by_email(conn, email)
    # Verified outside of any transaction: it takes long. Only the hash that was checked counts below.
    right = account is not None and await verify(account["password_hash"], password)
    checked = account["password_hash"] if account is not None and right else None
    if account is not None and right and code:
        await identity.factors.charge(ctx, account["id"])
    async with ctx.transaction() as conn:
        row = await people.take_one_time(ctx, "invitation", token)
        # From here on inside the tenant: one transaction writes to one ledger.
        await store.enter_tenant(conn, row["tenant_id"])
        here = {"tenant_id": row["tenant_id"], "workspace_id": row["workspace_id"]}
        await _not_held(ctx.acting(ctx.principal, **here), row)
        known = await identity.store.person_by_email(conn, row["email"])
        if known is None:
            person = await identity.create_person(
                ctx.acting(ctx.principal, **here), row["email"], display_name, password, vouched_by=row["created_by"]
            )
        elif known["enabled"] and known["password_hash"] == checked:
            person = known
            await identity.factors.at_sign_in(ctx, person, code)
        else:
            raise BadSignIn("The invited address has an account: its password is needed.")
        who = Principal("person", person["id"], person["display_name"], operator=person["operator"])
        inside = ctx.acting(who, **here)
        await limits.take_one(inside, "members", row["workspace_id"])
        role, approver = rules.unpack_role(row["role"])
        member = await store.add_member(
            conn,
            {
                "tenant_id": row["tenant_id"],
                "workspace_id": row["workspace_id"],
                "principal_kind": "person",
                "principal_id": person["id"],
                "role": role,
                "approver": approver,
                "created_by": row["created_by"],
            },
        )
        if member is None:
            raise AlreadyMember(f"{person['display_name']} is a member of this workspace.")
        inside.record(events.member_added(row["workspace_id"], member, person["display_name"]))
        await _end_others(inside, row["workspace_id"], row["email"])
        session = await identity.open_session(inside, person, "invitation")
    return {**session, "workspace_id": row["workspace_id"], "tenant_id": row["tenant_id"]}


async def _not_held(inside: Context, row: dict[str, Any]) -> None:
    """What a stopped member sent lets nobody in, or a stop would be one accomplice late. Raises InvitationHeld; the attempt
    stays in the ledger, and the invitation is not used up."""
    place = row["workspace_id"]
    stopped = (await inside.authorizer.judge(inside, inside.conn, place)).stopped(row["created_by"])
    if stopped is None:
        return
    alone = inside.alone()
    async with alone.transaction():
        role, approver = rules.unpack_role(row["role"])
        alone.record(events.invitation_held(place, row["id"], role, approver, "; ".join(stopped.reasons)))
    raise InvitationHeld("Who sent this invitation is stopped in the workspace for now.")


async def my_workspaces(ctx: Context) -> list[dict[str, Any]]:
    """The workspaces that the caller is a member of, over all its tenants, with its role; by a token: only its own."""
    async with ctx.db.transaction(None) as conn:
        mine = await store.memberships_of(conn, ctx.principal.kind, ctx.principal.id)
    mine = [row for row in mine if ctx.bound_to in (None, row["workspace_id"])]
    found = []
    for tenant_id in dict.fromkeys(row["tenant_id"] for row in mine):
        async with ctx.db.transaction(tenant_id) as conn:
            for row in (entry for entry in mine if entry["tenant_id"] == tenant_id):
                workspace = await store.workspace(conn, row["workspace_id"])
                if workspace is not None:
                    found.append({**shown(workspace), "role": row["role"]})
    return found


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A workspace as the API shows it."""
    keys = ("id", "tenant_id", "slug", "name", "tenant_slug", "tenant_name", "created_at")
    return {key: row[key] for key in keys}


async def workspace(ctx: Context, workspace_id: str) -> dict[str, Any]:
    """One workspace. Raises WorkspaceNotFound."""
    async with ctx.transaction() as conn:
        row = await store.workspace(conn, workspace_id)
        if row is None:
            raise WorkspaceNotFound(f"{workspace_id} is not a workspace of yours.")
        await ctx.require(actions.WORKSPACE_VIEW, place(workspace_id))
        return shown(row)


async def me(ctx: Context) -> dict[str, Any]:
    """Who the caller is: principal, credential, and where it is a member."""
    principal = ctx.principal
    answer: dict[str, Any] = {
        "id": principal.id,
        "kind": principal.kind,
        "name": principal.name,
        "operator": principal.operator,
        "credential_id": ctx.credential_id,
        "tenant_id": ctx.tenant_id,
        "workspaces": await my_workspaces(ctx),
    }
    if principal.kind == "service_account":
        answer |= {"owner_person_id": principal.owner_person_id}
    if principal.kind == "team_member":
        answer |= {"owner_person_id": principal.owner_person_id, "tools": list(principal.tools)}
    return answer


async def members(ctx: Context, workspace_id: str) -> list[dict[str, Any]]:
    """Everyone in the workspace, with role, approver mark and owner (of AI team members). Complete, never cut."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.MEMBER_VIEW, place(workspace_id))
        rows = await store.members(conn, workspace_id)
    keys = (
        "principal_kind",
        "principal_id",
        "name",
        "email",
        "role",
        "approver",
        "enabled",
        "owner_person_id",
        "created_at",
    )
    return [{key: row[key] for key in keys} for row in rows]


async def member(ctx: Context, workspace_id: str, principal_id: str) -> dict[str, Any]:
    """One member, as `members` shows it. Raises MemberNotFound."""
    for row in await members(ctx, workspace_id):
        if row["principal_id"] == principal_id:
            return row
    raise MemberNotFound(f"Nobody in this workspace has the id {principal_id}.")


async def change_member(
    ctx: Context, workspace_id: str, principal_id: str, role: str | None, approver: bool | None
) -> dict[str, Any]:
    """Changes a member's role or names it an approver; holds for the next call. Raises MemberNotFound, LastOwner."""
    async with ctx.transaction() as conn:
        before, name, owners = await _member(ctx, workspace_id, principal_id)
        new_role = role or before["role"]
        new_mark = before["approver"] if approver is None else approver
        # Both ends of a change count: taking the role of owner away needs an owner as much as giving it.
        touched = "owner" if "owner" in (new_role, before["role"]) else new_role
        await ctx.require(actions.MEMBER_CHANGE, place(workspace_id), role=touched)
        if before["principal_kind"] != "person" and (new_role not in ("member", "viewer") or new_mark):
            raise Invalid(
                "Who is no person is a member or a viewer, and approves nothing.", code="role_not_for_team_members"
            )
        if before["role"] == "owner" and new_role != "owner" and owners < 2:
            raise LastOwner(f"{name} is the only owner.")
        after = await store.change_member(
            conn, workspace_id, before["principal_kind"], principal_id, new_role, new_mark
        )
        if after != before:
            withdrawn = 0
            if before["role"] in INVITING and (new_role not in INVITING or before["role"] == "owner" != new_role):
                withdrawn = await _withdraw_of(ctx, workspace_id, principal_id)
            ctx.record(events.member_changed(workspace_id, name, before, after, withdrawn))
            await ctx.publish("membership.changed", {"workspace_id": workspace_id, "principal_id": principal_id})
    return {"principal_id": principal_id, "role": new_role, "approver": new_mark}


async def remove_member(ctx: Context, workspace_id: str, principal_id: str) -> None:
    """Takes a member out and revokes its tokens of this workspace. Raises MemberNotFound, LastOwner."""
    async with ctx.transaction() as conn:
        before, name, owners = await _member(ctx, workspace_id, principal_id)
        await ctx.require(actions.MEMBER_REMOVE, place(workspace_id), role=before["role"])
        if before["role"] == "owner" and owners < 2:
            raise LastOwner(f"{name} is the only owner.")
        await store.remove_member(conn, workspace_id, before["principal_kind"], principal_id)
        revoked = await identity.store.revoke_tokens_of(conn, workspace_id, before["principal_kind"], principal_id)
        withdrawn = await _withdraw_of(ctx, workspace_id, principal_id)
        ctx.record(events.member_removed(workspace_id, name, before, len(revoked), withdrawn))
        await ctx.publish("membership.changed", {"workspace_id": workspace_id, "principal_id": principal_id})


async def _withdraw_of(ctx: Context, workspace_id: str, principal_id: str) -> int:
    """What somebody sent who may not send it any more opens nothing."""
    assert ctx.tenant_id is not None
    return await identity.store.withdraw_invitations(ctx.conn, ctx.tenant_id, workspace_id, None, principal_id)


async def reset_second_factor(ctx: Context, workspace_id: str, person_id: str, why: str) -> dict[str, Any]:
    """An owner takes the second factor of a member who lost it away: {person_id, sessions_ended}. A person's sign-in is the
    deployment's: only where it opens nothing but workspaces that the caller owns may an owner do so, and never an
    operator's. Raises MemberNotFound, SignsInElsewhere, and what `identity.factors.reset` raises."""
    async with ctx.transaction() as conn:
        row, name, _ = await _member(ctx, workspace_id, person_id)
        await ctx.require(actions.MEMBER_RESET_FACTOR, place(workspace_id), role=row["role"])
        who = await identity.store.person(conn, person_id)
        mine = {
            held["workspace_id"]
            for held in await store.memberships_of(conn, ctx.principal.kind, ctx.principal.id)
            if held["role"] == "owner"
        }
        theirs = await store.memberships_of(conn, "person", person_id)
        if who is None or who["operator"] or any(held["workspace_id"] not in mine for held in theirs):
            raise SignsInElsewhere(f"{name} signs in to more than the workspaces that you own.")
        return {"person_id": person_id, "sessions_ended": await identity.factors.reset(ctx, person_id, why)}


async def _member(ctx: Context, workspace_id: str, principal_id: str) -> tuple[dict[str, Any], str, int]:
    """A member that is about to be changed (nobody else changes it meanwhile), its name, and how many owners there are."""
    kind = {"tmb": "team_member", "sva": "service_account"}.get(principal_id.partition("_")[0], "person")
    found = await store.lock_members(ctx.conn, workspace_id, kind, principal_id)
    row = next((row for row in found if (row["principal_kind"], row["principal_id"]) == (kind, principal_id)), None)
    if row is None:
        raise MemberNotFound(f"Nobody in this workspace has the id {principal_id}.")
    who: dict[str, Any] | None
    if kind == "person":
        who = await identity.store.person(ctx.conn, principal_id)
    elif kind == "team_member":
        who = await identity.store.team_member(ctx.conn, principal_id)
    else:
        who = await identity.store.service_account(ctx.conn, principal_id)
    who = who or {}
    return (
        row,
        str(who.get("display_name") or who.get("name") or principal_id),
        sum(held["role"] == "owner" for held in found),
    )


async def add_team_member(ctx: Context, workspace_id: str, fields: dict[str, Any], role: str) -> dict[str, Any]:
    """Adds an AI team member, owned by the caller, with a role and the only tools it may call."""
    async with ctx.transaction() as conn:
        await ctx.require(identity.actions.TEAM_MEMBER_CREATE, place(workspace_id), name=fields["name"], role=role)
        await limits.take_one(ctx, "members", workspace_id)
        row = await people.create_team_member(ctx, workspace_id, fields)
        member = await store.add_member(
            conn,
            {
                "tenant_id": ctx.tenant_id,
                "workspace_id": workspace_id,
                "principal_kind": "team_member",
                "principal_id": row["id"],
                "role": role,
                "approver": False,
                "created_by": ctx.principal.id,
            },
        )
        assert member is not None
        ctx.record(events.member_added(workspace_id, member, row["name"]))
    return team_member_shown({**row, "role": role})


async def team_member(ctx: Context, workspace_id: str, member_id: str) -> dict[str, Any]:
    """One AI team member with its role. Raises TeamMemberNotFound."""
    async with ctx.transaction() as conn:
        await ctx.require(identity.actions.TEAM_MEMBER_VIEW, place(workspace_id))
        row = await identity.store.team_member(conn, member_id)
        if row is None or row["workspace_id"] != workspace_id:
            raise TeamMemberNotFound(f"{member_id} is no AI team member of this workspace.")
        held = await store.membership(conn, workspace_id, "team_member", member_id)
    return team_member_shown({**row, "role": held["role"] if held else None})


def team_member_shown(row: dict[str, Any]) -> dict[str, Any]:
    """A team member as the API shows it."""
    keys = (
        "id",
        "workspace_id",
        "name",
        "responsibility",
        "instructions",
        "tools",
        "owner_person_id",
        "enabled",
        "created_at",
    )
    return {**{key: row[key] for key in keys}, "role": row.get("role")}


async def team_members(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The AI team members of a workspace, by id; up to limit + 1 of them."""
    async with ctx.transaction() as conn:
        await ctx.require(identity.actions.TEAM_MEMBER_VIEW, place(workspace_id))
        rows = await identity.store.team_members(conn, workspace_id, after, limit + 1)
    return [team_member_shown(row) for row in rows]
