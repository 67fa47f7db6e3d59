"""The circuit of one tenant and one outside: what fails again and again is not asked for a while. Pure.

Closed: everything goes. After `limit` failures in a row it opens: nothing is asked for `seconds`, then one request tries
(half-open); its success closes the circuit, its failure opens it again for twice as long, up to sixteen times.
A failure is one of the way to the outside (no connection, no TLS, no answer in time, no HTTP), never an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAILURES = frozenset(
    {"upstream_unreachable", "upstream_timeout", "upstream_malformed", "upstream_tls_failed", "exchange_too_long",
     "upstream_certificate_expired", "upstream_certificate_name", "upstream_certificate_untrusted",
     "upstream_tls_too_old", "client_certificate_refused"}
)  # fmt: skip
_MOST = 16

State = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Circuit:
    """`clock` is monotonic seconds, given by whoever asks."""

    limit: int
    seconds: float
    failures: int = 0
    reason: str = ""
    until: float | None = None
    times: int = 1
    trying: bool = False

    def state(self, clock: float) -> State:
        """What it is at this moment."""
        if self.until is None:
            return "closed"
        return "open" if clock < self.until or self.trying else "half_open"

    def admit(self, clock: float) -> float | None:
        """None: the request may go. Else the seconds until one may try."""
        state = self.state(clock)
        if state == "half_open":
            self.trying = True
        if state != "open":
            return None
        assert self.until is not None
        return max(self.until - clock, 1.0)

    def release(self) -> None:
        """An admitted request ended without telling anything about the outside."""
        self.trying = False

    def succeeded(self) -> bool:
        """The outside answered. True: the circuit was not closed, and is now."""
        was = self.until is not None
        self.failures, self.reason, self.until, self.times, self.trying = 0, "", None, 1, False
        return was

    def failed(self, reason: str, clock: float) -> bool:
        """The way to the outside failed. True: the circuit opens with this."""
        self.failures, self.reason = self.failures + 1, reason
        if self.until is not None and not self.trying:
            return False  # a request that was under way when it opened
        if self.until is None and self.failures < self.limit:
            return False
        self.times = 1 if self.until is None else min(self.times * 2, _MOST)
        self.until, self.trying = clock + self.seconds * self.times, False
        return True


class Circuits:
    """Those of one broker, by tenant, host and port; the ones that nothing was asked of for longest are forgotten."""

    def __init__(self, limit: int, seconds: float, most: int = 4096) -> None:
        self._limit, self._seconds, self._most = limit, seconds, most
        self._by_key: dict[tuple[str, str, int], Circuit] = {}

    def of(self, tenant_id: str, host: str, port: int) -> Circuit:
        """The circuit of this tenant to this outside."""
        key = (tenant_id, host, port)
        found = self._by_key.pop(key, None) or Circuit(self._limit, self._seconds)
        self._by_key[key] = found
        while len(self._by_key) > self._most:
            del self._by_key[next(iter(self._by_key))]
        return found
