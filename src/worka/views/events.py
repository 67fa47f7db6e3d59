"""What can have happened in views."""

from __future__ import annotations

CREATED = "view.document.created"
REVISED = "view.document.revised"

ALL = (CREATED, REVISED)
