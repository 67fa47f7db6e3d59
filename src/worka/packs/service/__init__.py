"""The use cases of packs, split by what they are about."""

from __future__ import annotations

from worka.packs.service.again import retry, try_due
from worka.packs.service.attachments import attach, connection_activated, detach, resolve_held
from worka.packs.service.calls import call
from worka.packs.service.invocation import (
    Lacking,
    Prepared,
    close_invocation,
    lacking,
    open_invocation,
    prepare,
    result_of,
    run,
)
from worka.packs.service.releases import register, run_registration
from worka.packs.service.withdrawing import quarantine, revoke, run_ending

__all__ = [
    "Lacking",
    "Prepared",
    "attach",
    "call",
    "close_invocation",
    "connection_activated",
    "detach",
    "lacking",
    "open_invocation",
    "prepare",
    "quarantine",
    "register",
    "resolve_held",
    "result_of",
    "retry",
    "revoke",
    "run",
    "run_ending",
    "run_registration",
    "try_due",
]
