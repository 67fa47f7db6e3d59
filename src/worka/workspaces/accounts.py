"""Use cases of service accounts: programs of a workspace's own, each owned by a person (IDN-21).

An account has a role (member or viewer) and acts for its owner: never more than both may. Only its owner holds its tokens, so
whoever acts through one is behind it, and cannot then be the other pair of eyes.
"""

from __future__ import annotations

from typing import Any

from worka import identity
from worka.identity import rules as person_rules
from worka.identity import service as people
from worka.identity.errors import NotYours
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Invalid
from worka.kernel.ids import new_id
from worka.workspaces import actions, store
from worka.workspaces.errors import AccountEnded, AccountNotFound
from worka.workspaces.limits import service as limits
from worka.workspaces.service import place

Row = dict[str, Any]


async def create(ctx: Context, workspace_id: str, name: str, purpose: str, role: str) -> Row:
    """A service account of the caller's. Raises NotYours, Invalid, Conflict, QuotaFull."""
    if ctx.principal.kind != "person":
        raise NotYours("A service account has an owning person: a person makes it.")
    # Its name stands in cards, mails and the ledger, beside those of people: every door takes it by the same rule.
    name = person_rules.check_name(name, "/body/name")
    if not name:
        raise Invalid("A service account has a name.", field="/body/name")
    async with ctx.transaction() as conn:
        await ctx.require(actions.SERVICE_ACCOUNT_CREATE, place(workspace_id), name=name, role=role)
        await limits.take_one(ctx, "members", workspace_id)
        base = {"tenant_id": ctx.tenant_id, "workspace_id": workspace_id, "created_by": ctx.principal.id}
        row = await identity.store.create_service_account(
            conn,
            {**base, "id": new_id("sva"), "name": name, "purpose": purpose, "owner_person_id": ctx.principal.id},
        )
        if row is None:
            raise Conflict(f"The workspace has a service account called {name}.", code="service_account_name_taken")
        member = await store.add_member(
            conn,
            {**base, "principal_kind": "service_account", "principal_id": row["id"], "role": role, "approver": False},
        )
        assert member is not None
        ctx.record(identity.events.account_created(row, role))
        ctx.failpoint("identity.account.before_commit")
    return shown({**row, "role": role})


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The service accounts of a workspace, ended ones too, by id; up to limit + 1 of them."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.SERVICE_ACCOUNT_VIEW, place(workspace_id))
        rows = await identity.store.service_accounts(conn, workspace_id, after, limit + 1)
    return [shown(row) for row in rows]


async def show(ctx: Context, workspace_id: str, account_id: str) -> Row:
    """One service account. Raises AccountNotFound."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.SERVICE_ACCOUNT_VIEW, place(workspace_id))
        row = await _account(ctx, workspace_id, account_id)
        held = await store.membership(conn, workspace_id, "service_account", account_id)
    return shown({**row, "role": held["role"] if held else None})


async def token(ctx: Context, workspace_id: str, account_id: str, expires_in_days: int | None, *, rotate: bool) -> Row:
    """A new token, shown once; with `rotate` every older one of the account opens nothing from the next call on. Its owner's
    alone. Raises AccountNotFound, AccountEnded, NotYours."""
    async with ctx.transaction() as conn:
        row = await _account(ctx, workspace_id, account_id, lock=True)
        await ctx.require(actions.SERVICE_ACCOUNT_TOKEN, _resource(row))
        if row["owner_person_id"] != ctx.principal.id:
            raise NotYours("The token of a service account is its owner's: it acts for them.")
        if row["ended_at"] is not None:
            raise AccountEnded(f"{row['name']} has ended.")
        old: list[Row] = []
        if rotate:
            old = await identity.store.revoke_tokens_of(conn, workspace_id, "service_account", account_id)
        for gone in old:
            ctx.record(identity.events.token_revoked(gone))
        fresh = await people.issue_token(ctx, workspace_id, row["name"], "service_account", account_id, expires_in_days)
        ctx.failpoint("identity.account.before_commit")
    return {**fresh, "tokens_revoked": len(old)}


async def end(ctx: Context, workspace_id: str, account_id: str) -> Row:
    """It acts no more, from the next call on; its tokens are revoked and its role is gone. Raises AccountNotFound,
    AccountEnded."""
    async with ctx.transaction() as conn:
        row = await _account(ctx, workspace_id, account_id, lock=True)
        await ctx.require(actions.SERVICE_ACCOUNT_END, _resource(row))
        ended = await identity.store.end_service_account(conn, account_id)
        if ended is None:
            raise AccountEnded(f"{row['name']} has ended.")
        await store.remove_member(conn, workspace_id, "service_account", account_id)
        revoked = await identity.store.revoke_tokens_of(conn, workspace_id, "service_account", account_id)
        ctx.record(identity.events.account_ended(ended, len(revoked)))
        await ctx.publish("membership.changed", {"workspace_id": workspace_id, "principal_id": account_id})
        ctx.failpoint("identity.account.before_commit")
    return shown({**ended, "role": None})


def shown(row: Row) -> Row:
    """A service account as the API shows it."""
    keys = ("id", "workspace_id", "name", "purpose", "owner_person_id", "created_at", "ended_at")
    return {**{key: row[key] for key in keys}, "role": row.get("role")}


def _resource(row: Row) -> Resource:
    facts = {"name": row["name"], "owner": row["owner_person_id"]}
    return Resource("service_account", row["id"], row["workspace_id"], facts)


async def _account(ctx: Context, workspace_id: str, account_id: str, *, lock: bool = False) -> Row:
    row = await identity.store.service_account(ctx.conn, account_id, lock=lock)
    if row is None or row["workspace_id"] != workspace_id:
        raise AccountNotFound(f"{account_id} is no service account of this workspace.")
    return row
