"""Passwords with argon2id, off the event loop and few at a time: each costs 64 MiB and a good part of a second."""

from __future__ import annotations

import asyncio
import weakref
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE = 2
_hasher = PasswordHasher()
_gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def _gate() -> asyncio.Semaphore:
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))


@lru_cache(maxsize=1)
def _dummy() -> str:
    return _hasher.hash("nobody has this password")


async def hash_password(password: str) -> str:
    """The argon2id hash of a password, parameters included."""
    async with _gate():
        return await asyncio.to_thread(_hasher.hash, password)


async def verify(stored: str | None, password: str) -> bool:
    """Whether the password is right. Without a stored hash the same work is done on a dummy, so that the time taken
    does not tell whether there is an account."""
    async with _gate():
        right = await asyncio.to_thread(_verify, stored or _dummy(), password)
    return right and stored is not None


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
