"""Canonical JSON (RFC 8785) and digests over it."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def dumps(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises ValueError for what JSON cannot hold."""
    return rfc8785.dumps(value)


def sha256_hex(value: Any) -> str:
    """SHA-256, in hex, over the canonical bytes."""
    return hashlib.sha256(dumps(value)).hexdigest()
