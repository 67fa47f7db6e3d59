"""How much of the outside one attachment may use: what its manifest says, within what the deployment gives. Pure.

Requests in a minute and at once, bytes of one call and of one day (UTC), seconds of one exchange.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowance:
    """`call_bytes` and `day_bytes` count both ways."""

    requests_per_minute: int = 600
    at_once: int = 32
    call_bytes: int = 2048 * MB
    day_bytes: int = 20480 * MB
    exchange_seconds: float = 600.0

    def within(self, declared: Mapping[str, Any]) -> Allowance:
        """What a manifest's `outbound_limits` leave of it; they only tighten."""
        asked = {
            "requests_per_minute": declared.get("requests_per_minute"),
            "at_once": declared.get("at_once"),
            "call_bytes": _bytes(declared.get("call_mb")),
            "day_bytes": _bytes(declared.get("day_mb")),
            "exchange_seconds": declared.get("exchange_seconds"),
        }
        names = [field.name for field in fields(self)]
        return replace(self, **{name: min(getattr(self, name), asked[name]) for name in names if asked[name]})


def _bytes(megabytes: Any) -> int | None:
    return megabytes * MB if isinstance(megabytes, int) else None


@dataclass(frozen=True, slots=True)
class Excess:
    """Which limit is reached: its reason code, a sentence, and the seconds after which it may be tried again."""

    reason: str
    detail: str
    seconds: float | None = None


@dataclass(slots=True)
class Meter:
    """The use of one attachment, over all of its sessions. `clock` is monotonic seconds, `day` today's date in UTC."""

    open: int = 0
    day: datetime.date | None = None
    day_bytes: int = 0
    _left: float | None = None
    _at: float = 0.0

    def begin_day(self, day: datetime.date, used: int) -> None:
        """What the rows say of today; never less than what is known here."""
        if self.day != day:
            self.day, self.day_bytes = day, used
        else:
            self.day_bytes = max(self.day_bytes, used)

    def admit(self, allowed: Allowance, clock: float, day: datetime.date) -> Excess | None:
        """None: the request may go, and is counted; `done` follows it."""
        if self.day != day:
            self.day, self.day_bytes = day, 0
        if self.day_bytes >= allowed.day_bytes:
            return Excess("daily_limit_exceeded", f"{self.day_bytes} bytes of {allowed.day_bytes} of today are used")
        if self.open >= allowed.at_once:
            return Excess("limit_exceeded", f"{self.open} requests of {allowed.at_once} at once are open", 1)
        most = float(allowed.requests_per_minute)
        left = most if self._left is None else min(most, self._left + (clock - self._at) * most / 60)
        self._left, self._at = left, clock
        if left < 1:
            return Excess(
                "rate_exceeded", f"more than {allowed.requests_per_minute} requests in a minute", (1 - left) * 60 / most
            )
        self._left -= 1
        self.open += 1
        return None

    def done(self) -> None:
        """A request that was let go is over."""
        self.open -= 1

    def count(self, allowed: Allowance, call_bytes: int, piece: int) -> Excess | None:
        """A piece passes in a call that has had `call_bytes` with it; what is in excess is not passed on."""
        self.day_bytes += piece
        if call_bytes > allowed.call_bytes:
            return Excess("limit_exceeded", f"more than {allowed.call_bytes} bytes in one call")
        if self.day_bytes > allowed.day_bytes:
            return Excess("daily_limit_exceeded", f"more than {allowed.day_bytes} bytes in a day")
        return None


class Meters:
    """Those of one broker, by attachment; none that is in use is forgotten."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._by_id: dict[str, Meter] = {}

    def of(self, attachment_id: str) -> Meter:
        """The meter of an attachment."""
        found = self._by_id.pop(attachment_id, None) or Meter()
        self._by_id[attachment_id] = found
        if len(self._by_id) > self._most:
            idle = next((key for key, meter in self._by_id.items() if not meter.open), None)
            if idle is not None and idle != attachment_id:
                del self._by_id[idle]
        return found
