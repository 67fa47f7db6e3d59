"""Typed, time-ordered ids: `task_` + 26 characters (UUIDv7 in Crockford's base 32, lower case, RFC 9562)."""

from __future__ import annotations

import os
import re
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SHAPE = re.compile(r"^[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}\Z")
_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A new id. Ids made by one process are strictly increasing, also within a millisecond and over a clock step back."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 bits of sub-millisecond counter, never going back.
        stamp = max((time.time_ns() // 1_000_000) << 12, _last + 1)
        _last = stamp
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = ((stamp >> 12) << 80) | (7 << 76) | ((stamp & 0xFFF) << 64) | (2 << 62) | random
    chars = []
    for _ in range(26):
        chars.append(_ALPHABET[value & 31])
        value >>= 5
    return f"{prefix}_{''.join(reversed(chars))}"


def check(value: str, prefix: str | None = None) -> bool:
    """Whether `value` has the shape of an id, and of this prefix when one is given."""
    return bool(_SHAPE.match(value)) and (prefix is None or value.startswith(prefix + "_"))


def prefix_of(value: str) -> str:
    """The prefix of an id; empty when the text is no id."""
    return value.split("_", 1)[0] if _SHAPE.match(value) else ""
