"""How a request ends before its answer is whole, and how that is said to the pack."""

from __future__ import annotations

from typing import Any

from worka.broker.wire import heads
from worka.broker.wire.heads import Answer
from worka.kernel import reasons

_STATUS = {"upstream_timeout": 504, "egress_not_recorded": 503, "limit_exceeded": 413, "malformed_request": 400,
           "rate_exceeded": 429, "daily_limit_exceeded": 429, "circuit_open": 503, "exchange_too_long": 504,
           "egress_unwatched": 503}  # fmt: skip
UPSTREAM = frozenset(
    {"upstream_unreachable", "upstream_malformed", "name_not_resolved", "secret_echoed", "answer_unscannable",
     "upstream_tls_failed", "upstream_certificate_expired", "upstream_certificate_name",
     "upstream_certificate_untrusted", "upstream_tls_too_old", "client_certificate_refused"}
)  # fmt: skip


class PackLeft(ConnectionResetError):
    """The pack closed its side, or sent no HTTP, in the middle of a request."""


class Stop(Exception):
    """The request ends here with this reason code; `detail` is for a person."""

    def __init__(
        self, reason: str, detail: str = "", *, rule: str | None = None, remedy: str = "", **extra: Any
    ) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.rule, self.remedy, self.extra = reason, detail, rule, remedy, extra


def told(stop: Stop, destination: str) -> tuple[Answer, bytes]:
    """The refusal as the pack reads it (problem+json)."""
    reason = reasons.get(stop.reason)
    status = _STATUS.get(stop.reason, 502 if stop.reason in UPSTREAM else 403)
    body = {
        "type": f"urn:worka:problem:{stop.reason}",
        "title": reason.meaning if reason else stop.reason,
        "status": status,
        "code": stop.reason,
        "reason": stop.reason,
        "detail": stop.detail or (reason.meaning if reason else ""),
        "destination": destination,
        "remedy": stop.remedy or (reason.remedy if reason else ""),
        "rule": stop.rule,
        **stop.extra,
    }
    answer, raw = heads.problem(status, body)
    seconds = stop.extra.get("retry_after_seconds")
    if seconds is not None:
        answer = Answer(answer.status, (*answer.headers, (b"retry-after", str(int(seconds) or 1).encode())))
    return answer, raw
