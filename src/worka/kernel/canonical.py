"""Canonical JSON (RFC 8785) and digests over it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785

_LARGEST = 2**53 - 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def dumps(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises ValueError for what JSON cannot hold."""
    if not _plain(value):
        return rfc8785.dumps(value)
    try:
        return _encode(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half a character") from error


def _plain(value: Any) -> bool:
    """Whether the library's encoder, in C, writes the same bytes: no fractions, no integer beyond what JSON holds, and names
    whose order by code point is the order by UTF-16. Every ledger row and nearly every digest is of this kind."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_LARGEST <= value <= _LARGEST)
    if kind is dict:
        return all(type(name) is str and name.isascii() and _plain(inner) for name, inner in value.items())
    if kind is list:
        return all(map(_plain, value))
    return False


def sha256_hex(value: Any) -> str:
    """SHA-256, in hex, over the canonical bytes."""
    return hashlib.sha256(dumps(value)).hexdigest()
