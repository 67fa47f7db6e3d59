"""Words of the ledger: how a request ended, and what a reader asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from worka.broker.causes import REASONS
from worka.broker.explain import PROPOSED

Outcome = Literal["answered", "upstream_error", "upstream_failed", "withheld", "cut", "under_way", "refused"]
OUTCOMES: Final[dict[str, str]] = {
    "answered": "sent, and answered",
    "upstream_error": "sent, and the outside answered with an error (4xx or 5xx)",
    "upstream_failed": "let through, and the outside did not answer",
    "withheld": "sent and answered; the answer was not given to the pack",
    "cut": "let through, and ended before its answer was complete",
    "under_way": "let through; no answer is recorded yet",
    "refused": "refused here: nothing of it left",
}
UPSTREAM: Final = sorted(reason.code for reason in REASONS if reason.layer == "upstream")
WITHHELD: Final = ["answer_unscannable", "secret_echoed"]
RULES: Final = PROPOSED
"""Refusals by what a release declares and what policy says: those that other rules would change."""


def by_rules(row: Mapping[str, Any]) -> bool:
    """Whether a row was refused by what a release declares or policy says. An upgrade that is no WebSocket of HTTP/1.1 never is
    let through, by any rule."""
    return row["reason"] in RULES and (row["reason"] != "upgrade_refused" or row["kind"] == "websocket")


BY: Final = ("host", "pack", "rule", "reason", "outcome", "credential", "actor", "workspace")
Row = dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """What of the ledger is asked for; None: whatever it is. `host` may be `*.name`; `credential` is a connection or a secret;
    `actor` acted, or was behind it."""

    pack: str | None = None
    attachment_id: str | None = None
    invocation_id: str | None = None
    host: str | None = None
    port: int | None = None
    outcome: str | None = None
    verdict: str | None = None
    reason: str | None = None
    rule: str | None = None
    credential: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def within(self, since: datetime, until: datetime) -> Filter:
        """The same of this window alone."""
        return replace(self, since=max(filter(None, (self.since, since))), until=min(filter(None, (self.until, until))))
