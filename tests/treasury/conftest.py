"""Everybody of tests/workspaces/world.py."""

from __future__ import annotations

from tests.workspaces.world import world

__all__ = ["world"]
