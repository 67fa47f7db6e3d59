"""Problems of workspaces.

NotFound ── WorkspaceNotFound, MemberNotFound       Conflict ── SlugTaken, AlreadyMember, LastOwner
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, NotFound


class WorkspaceNotFound(NotFound):
    """There is no such workspace for the caller; whether it exists for others is secret."""

    code, title = "workspace_not_found", "There is no such workspace here"


class MemberNotFound(NotFound):
    """Nobody of this id in the workspace."""

    code, title = "member_not_found", "There is no such member here"


class SlugTaken(Conflict):
    """The short name of a tenant is in use."""

    code, title = "slug_taken", "This short name is taken"
    default_remedy = "Choose another slug."


class AlreadyMember(Conflict):
    """The person has a role here."""

    code, title = "already_member", "They are a member already"
    default_remedy = "Change the role instead."


class LastOwner(Conflict):
    """A workspace keeps at least one owner."""

    code, title = "last_owner", "A workspace keeps one owner at least"
    default_remedy = "Make somebody else an owner first."
