"""API shapes of who answers for what in a workspace."""

from __future__ import annotations

from datetime import datetime

from worka.kernel.http import Answer


class RoleHolder(Answer):
    """Somebody in a recorded role, and what it rests on: the membership, who gave it when, and the rules that permit it.
    `needs_approval`: a rule asks for somebody's consent each time. `tools`: of an AI team member that acts by itself."""

    kind: str
    id: str
    name: str
    role: str
    approver: bool
    given_by: str
    given_at: datetime
    permitted_by: list[str]
    needs_approval: bool
    tools: list[str]


class RecordedRole(Answer):
    """One role of a workspace, and everybody who has it. `action`: what the façade was asked about each."""

    role: str
    words: str
    action: str
    holders: list[RoleHolder]


class RecordedRoles(Answer):
    """Who answers for what in a workspace."""

    workspace_id: str
    roles: list[RecordedRole]
