"""Tenants, their workspaces, and who is in them with which role.

Owns tenants (made by the operator), workspaces, memberships with their role and the mark of a named approver, and
invitations. A workspace is the place that a request happens in; to someone who is not a member it does not exist.
Workspaces never decides what a role may do: that is the reviewed matrix of authorization.
"""

from __future__ import annotations

from worka.workspaces import actions, events, rules, store

__all__ = ["actions", "events", "rules", "store"]
