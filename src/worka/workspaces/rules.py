"""Pure rules of workspaces: short names, and the role that an invitation carries."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from worka.kernel.errors import Invalid

SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$"
ROLES = ("owner", "admin", "member", "viewer")


def check_slug(slug: str) -> str:
    """Lower-case letters, digits and inner hyphens, 48 at most. Raises Invalid."""
    if not re.fullmatch(SLUG, slug):
        raise Invalid(
            "A short name has lower-case letters, digits and inner hyphens, 48 at most.", code="bad_slug", field="slug"
        )
    return slug


def slug_of(name: str) -> str:
    """A short name made from a name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "main"


def pack_role(role: str, approver: bool) -> str:
    """How an invitation keeps its role: `member`, or `member+approver`."""
    return f"{role}+approver" if approver else role


def unpack_role(kept: str) -> tuple[str, bool]:
    """The role and whether the invited person is a named approver."""
    role, _, extra = kept.partition("+")
    return role, extra == "approver"


def invitation_state(row: dict[str, Any], at: datetime) -> str:
    """open, accepted, withdrawn or expired."""
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    if row["used_at"] is not None:
        return "accepted"
    return "open" if row["expires_at"] > at else "expired"
