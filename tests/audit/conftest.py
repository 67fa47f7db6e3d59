"""Everybody of tests/workspaces/world.py, and a tenant with nothing but a ledger."""

from __future__ import annotations

from tests.audit.ledger import ledger
from tests.workspaces.world import world

__all__ = ["ledger", "world"]
