"""What schemathesis sends, mended in one thing: an idempotency key of its own for every request.

It generates the same few keys over and over; the same key with another request is 422 by promise (test_idempotency.py).
"""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

_numbers = itertools.count()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Makes a key that is right in shape unique; wrong ones stay as they are."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 180 and key.isprintable() and key.isascii():
        case.headers["Idempotency-Key"] = f"{key}-{next(_numbers)}"
