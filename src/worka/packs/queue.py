"""A call that waits for its turn, in words: which limit is full, who holds it, how many are before it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from worka.kernel.explanation import WaitingOn

Row = dict[str, Any]
REASON: Final = "waiting_for_session"
_WHOSE: Final = {"attachment": "of this attachment", "tenant": "of this tenant", "host": "of this machine"}
_SETTING: Final = {
    "attachment": "packs.sessions_per_attachment",
    "tenant": "packs.sessions_per_tenant",
    "host": "packs.sessions",
}


def headline(row: Row, place: Row) -> str:
    """The sentence for a call that waits at this place in line."""
    return f"{row['tool']} waits for one of the {place['most']} sessions {_WHOSE[place['limit']]}: {position(place)}"


def position(place: Row) -> str:
    """The place in line, in words."""
    before = "it is the next" if not place["ahead"] else f"{place['ahead']} before it"
    others = place["tenants"]
    turns = f", in turn with {others} other tenant{'s' * (others != 1)}" if others else ""
    return before + turns


def waiting_on(row: Row, place: Row, deadline: datetime) -> WaitingOn:
    """What it waits for. `deadline`: when it is given up without having been sent."""
    held = ", ".join(place["holders"][:5]) + (" …" if len(place["holders"]) > 5 else "")
    return WaitingOn(
        kind="slot",
        ref=place["holders"][0] if place["holders"] else row["attachment_id"],
        name=f"place {place['ahead'] + 1} in line for a session {_WHOSE[place['limit']]}, of {place['most']}",
        since=row["started_at"],
        deadline=deadline,
        who=[f"the calls that run: {held}" if held else "calls of other tenants, which end by themselves"],
        because=f"A place comes free when a running call ends. The operator can raise {_SETTING[place['limit']]}.",
    )
