"""API shapes of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.http import Answer


class Checkpoint(Answer):
    """The last seal that was found."""

    number: int
    time: datetime
    age_seconds: float


class PlatformVerification(Answer):
    """What a verification of all ledgers found: `ok`, or the first bad row and every problem in words."""

    ok: bool
    rows: int
    sealed: int
    unsealed: int
    window_seconds: float | None
    window: str
    claim: str
    checkpoint: Checkpoint | None
    public_key: str | None
    first_bad: Any
    problems: list[str]
    tenants: int


class Verification(PlatformVerification):
    """What a verification of a tenant's ledger found: `ok`, or the first bad row and every problem in words."""

    tenant: str
    workspace: str
