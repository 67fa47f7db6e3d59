"""Canonical JSON (RFC 8785) and digests over it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import rfc8785

T = TypeVar("T")
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


_MANY, _LONG = 2_000, 256 * 1024


def is_long(value: Any) -> bool:
    """Whether writing it takes so long that others should not wait for it: many parts, or long texts. Stops counting there."""
    left, text = _MANY, _LONG
    stack = [value]
    while stack:
        item = stack.pop()
        left -= 1
        if isinstance(item, str):
            text -= len(item)
        elif isinstance(item, dict):
            left -= len(item)
            text -= sum(map(len, item)) if left >= 0 else 0
            stack.extend(item.values() if left >= 0 else ())
        elif isinstance(item, list):
            left -= len(item)
            stack.extend(item if left >= 0 else ())
        if left < 0 or text < 0:
            return True
    return False


async def beside(value: Any, act: Callable[..., T], /, *given: Any) -> T:
    """`act(*given)`, which writes or walks through `value`: beside those who are served meanwhile where that is long."""
    return await asyncio.to_thread(act, *given) if is_long(value) else act(*given)


def sha256_hex(value: Any) -> str:
    """SHA-256, in hex, over the canonical bytes."""
    return hashlib.sha256(dumps(value)).hexdigest()
