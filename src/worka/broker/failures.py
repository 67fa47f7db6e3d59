"""The raw lines behind the reasons of egress rows: what the socket, TLS or the parser said, as it was said, redacted.

A row's reason is for everybody and durable before its cause is told; these lines are for whoever has to mend it. They are kept in
memory while the call runs, a bounded number for each row, and written once with its end: a call without a failure writes none.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worka.broker import store
from worka.kernel import letters, redact
from worka.kernel.clock import now
from worka.kernel.context import Context

log = logging.getLogger("worka.broker")
OF_A_ROW, OF_A_CALL = 10, 200
"""The first failures of a row are its cause; a thousandth tells nothing new."""
LONGEST = 600


@dataclass(frozen=True, slots=True)
class Line:
    """One failure of one row."""

    egress_id: str
    at: datetime
    reason: str
    text: str


class Lines:
    """Those of one call."""

    def __init__(self) -> None:
        self._kept: list[Line] = []
        self._of: Counter[str] = Counter()

    def add(self, row: dict[str, Any], reason: str, detail: str = "", error: BaseException | None = None) -> None:
        """Keeps a line for this row, unless there is nothing to say or enough was said."""
        text = said(detail, error)
        if not text or self._of[row["id"]] >= OF_A_ROW or len(self._kept) >= OF_A_CALL:
            return
        self._of[row["id"]] += 1
        where = f" (dialled {row['address']})" if row.get("address") else ""
        self._kept.append(Line(row["id"], now(), reason, (text + where)[:LONGEST]))

    async def write(self, context: Callable[[], Context], workspace_id: str, seconds: float) -> None:
        """Writes them. What cannot be written is said in the log: the rows stand without their lines."""
        kept, self._kept = self._kept, []
        if not kept:
            return
        try:
            async with asyncio.timeout(seconds):
                ctx = context()
                async with ctx.transaction() as conn:
                    assert ctx.tenant_id is not None
                    await store.add_lines(
                        conn,
                        ctx.tenant_id,
                        workspace_id,
                        [
                            {"egress_id": line.egress_id, "at": line.at, "reason": line.reason, "text": line.text}
                            for line in kept
                        ],
                    )
        except Exception as error:
            log.error("%d failure lines could not be written: %s", len(kept), type(error).__name__)


def said(detail: str, error: BaseException | None) -> str:
    """The words of a failure and of what caused it, as one readable line without secrets."""
    parts = [detail] if detail else []
    seen: BaseException | None = error
    for _ in range(4):
        if seen is None:
            break
        words = _words(seen)
        if words and not any(words in part for part in parts):
            parts.append(words)
        seen = seen.__cause__
    return letters.visible(" ".join(redact.text(": ".join(parts)).split()))[:LONGEST]


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{type(error).__name__}: {error.verify_message} (code {error.verify_code})"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: [Errno {error.errno}] {error.strerror}"
    # A Stop carries a reason code and no more; its detail was given.
    return f"{type(error).__name__}: {error}" if str(error) and not hasattr(error, "reason") else ""
