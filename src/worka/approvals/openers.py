"""Whether who opened a bypass could open it still: it lets nothing through while they could not."""

from __future__ import annotations

from typing import Any

from worka.approvals.actions import BYPASS_OPEN
from worka.approvals.people import Audience, refusal
from worka.kernel.context import Resource


def held(people: Audience, row: dict[str, Any]) -> str:
    """Why it lets nothing through now, in words; empty: it does. The façade is asked as at the opening of it, by the roles,
    policy and kill switches of this moment."""
    place = Resource(
        "workspace", row["workspace_id"], row["workspace_id"], {"boundary": row["target"], "kind": row["kind"]}
    )
    said = people.said(row["opened_by"], BYPASS_OPEN, place)
    name = people.name(row["opened_by"])
    if said is None:
        return f"{name}, who opened it, is not an enabled member of the workspace now."
    if said.verdict != "deny":
        return ""
    words = refusal(said)
    return (
        f"{name}, who opened it, may not open one now: {words}" if words else f"{name}, who opened it, is no owner now."
    )
