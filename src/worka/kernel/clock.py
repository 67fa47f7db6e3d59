"""The one clock: UTC, aware; and how its times and durations are said."""

from __future__ import annotations

from datetime import UTC, datetime


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
