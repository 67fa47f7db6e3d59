"""Pure decisions of observability: how ages are read, what is healthy, how a change is said in one line."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from worka.kernel import clock, ids
from worka.kernel.reasons import Reason, register
from worka.kernel.reasons import get as reason_of
from worka.observability.errors import BadSince

ALIVE_SECONDS: Final = 10.0
"""A process that gave no sign of life for longer is down; its row is forgotten after an hour."""
FORGOTTEN_SECONDS: Final = 3600.0
AGE = clock.AGE
_CODE = re.compile(r"([a-z]+ )?[a-z]+(_[a-z]+)+")
_HASH = re.compile(r"(sha256:)?[0-9a-f]{40,64}")
WORST: Final = ("down", "degraded", "unknown", "paused", "healthy")


def since(text: str | None, at: datetime) -> datetime | None:
    """A moment from an ISO 8601 time with zone, or from an age (`2h`). None stays None. Raises BadSince."""
    if not text:
        return None
    try:
        return clock.moment(text, at)
    except ValueError as error:
        raise BadSince(str(error)) from error


def process_state(seconds_silent: float | None) -> tuple[str, str]:
    """(health, reason) from the age of the last sign of life; None: there never was one."""
    if seconds_silent is None:
        return "unknown", "process_never_seen"
    return ("healthy", "process_alive") if seconds_silent <= ALIVE_SECONDS else ("down", "process_silent")


def worst(states: list[str]) -> str:
    """A parent shows the worst of its children; without children nothing is known."""
    return min(states, key=WORST.index) if states else "unknown"


def one_line(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """The difference as one line: `state queued → running, attempt 1`."""
    before, after = before or {}, after or {}
    parts = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        if old == new or _unreadable(new) or (new is None and _unreadable(old)):
            continue
        if old is None and _says_nothing(new):
            continue
        words = key.replace("_", " ")
        if old is None:
            parts.append(f"{words} {_short(str(new).replace('.', ' ') if key == 'boundary' else new)}")
        elif new is None:
            # Several events say only what is new: a key that is not named again was not removed.
            continue
        else:
            parts.append(f"{words} {_short(old)} → {_short(new)}")
    return ", ".join(parts)[:300]


def _unreadable(value: Any) -> bool:
    """Ids and hashes, or a list of them, are compared, not read: they stand in the change's details."""
    if isinstance(value, list) and value:
        return all(_unreadable(item) for item in value)
    return isinstance(value, str) and (ids.check(value) or _HASH.fullmatch(value) is not None)


def _says_nothing(value: Any) -> bool:
    """A new thing's field that was left empty or off; turned off, it is a difference and is said."""
    return value is False or value in ("", [], {})


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        text = ", ".join(str(item) for item in value)
    else:
        text = value if isinstance(value, str) else str(value)
    text = text.replace("_", " ") if _CODE.fullmatch(text) else text or "nothing"
    return text if len(text) <= 60 else text[:57] + "…"


def meaning(code: str) -> str:
    """What a reason code means; the code in words when nobody registered it."""
    known = reason_of(code)
    return known.meaning if known else f"{code.replace('_', ' ')}."


def _reason(code: str, meaning: str, causes: str, check: str, remedy: str) -> Reason:
    return Reason(code, "observability", "platform", meaning, causes, check, remedy)


register(
    _reason(
        "process_alive", "The process gave a sign of life within the last ten seconds.", "It runs, and reaches the database.",
        "GET /v1/platform shows the age of the last sign.", "Nothing to do.",
    ),
    _reason(
        "process_silent", "The process gave no sign of life for more than ten seconds.",
        "It was killed, stopped, or lost the database.", "`worka doctor`, and its log under log/ of WORKA_HOME.",
        "`worka up` starts it again by itself; read its log if it keeps ending.",
    ),
    _reason(
        "process_never_seen", "No sign of life of this process is known.", "It was not started yet, or runs against another database than this one.",
        "GET /v1/platform lists the processes.", "Start it: `worka up` runs them all.",
    ),
)  # fmt: skip
