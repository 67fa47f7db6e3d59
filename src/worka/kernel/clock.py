"""The one clock: UTC, aware; and how its times and durations are said."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def ago(seconds: float) -> str:
    """A duration as people say it: `5 s`, `12 min`, `3 h`, `2 d`. Never more than has passed."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def clock(moment: datetime, at: datetime) -> str:
    """A moment as people name it: `20:08:03 UTC`, with the day when that is not today's."""
    moment, at = moment.astimezone(UTC), at.astimezone(UTC)
    return f"{moment:%H:%M:%S} UTC" if moment.date() == at.date() else f"{moment.day} {moment:%b %H:%M} UTC"


AGE = r"^([0-9]{1,5})([smhd])$"
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str, at: datetime) -> datetime:
    """A moment from an ISO 8601 time with zone, or from an age (`2h`) before `at`. Raises ValueError."""
    age = re.fullmatch(AGE, text)
    if age:
        try:
            return at - timedelta(seconds=int(age[1]) * _UNIT[age[2]])
        except OverflowError:
            raise ValueError(f"{text} before {at:%Y-%m-%d} is before all time.") from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is neither a time nor an age.") from None
    if found.tzinfo is None:
        raise ValueError(f"{text[:60]!r} has no zone.")
    return found
