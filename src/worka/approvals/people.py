"""Who is in a workspace, and which of them policy lets approve: what the pure rules are asked with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worka import authorization
from worka.approvals.actions import APPROVAL_DECIDE
from worka.approvals.rules import Ask, Eligibility, Reader, eligible
from worka.authorization.rules import Actor
from worka.kernel import actions
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.workspaces import store as workspaces


@dataclass(frozen=True)
class Audience:
    """The people of one workspace as readers of its approvals, and everyone's name."""

    readers: dict[str, Reader]
    names: dict[str, str]

    def reader(self, kind: str, principal_id: str) -> Reader:
        """Somebody as a reader; who is not in the workspace may do nothing."""
        if kind != "person":
            return Reader(kind, principal_id, False)
        return self.readers.get(principal_id) or Reader(kind, principal_id, False, member=False)

    def able(self, ask: Ask, at: datetime) -> list[str]:
        """The names of all who may decide this now. Complete, never cut."""
        return [self.names[who] for who, reader in self.readers.items() if eligible(ask, reader, at).eligible]

    def who_could(self, ask: Ask, at: datetime) -> list[str]:
        """Who to ask: those who may decide; where there are none, who can make somebody able to."""
        return self.able(ask, at) or ["an owner or admin of the workspace, by naming an approver or inviting one"]

    def eligibility(self, ask: Ask, ctx: Context, at: datetime) -> Eligibility:
        """The caller's."""
        return eligible(ask, self.reader(ctx.principal.kind, ctx.principal.id), at)


async def audience(conn: Connection, ctx: Context, workspace_id: str) -> Audience:
    """Loads the members once and asks the access set, tenant policy included, for each person. Nothing is recorded."""
    policies, _ = await authorization.service.policies_in_force(conn, ctx)
    rows: list[dict[str, Any]] = await workspaces.members(conn, workspace_id)
    resource = Resource("approval", "*", workspace_id)
    readers: dict[str, Reader] = {}
    for row in rows:
        if row["principal_kind"] != "person" or not row["enabled"]:
            continue
        roles = (row["role"], "approver") if row["approver"] else (row["role"],)
        who = Actor("person", row["principal_id"], row["name"], True, roles)
        asked = authorization.rules.question(who, APPROVAL_DECIDE, resource, {}, ctx.tenant_id or "")
        answer = authorization.rules.decide([asked], actions.get(APPROVAL_DECIDE), policies)
        readers[who.id] = Reader("person", who.id, answer.allowed)
    return Audience(readers, {row["principal_id"]: row["name"] for row in rows})
