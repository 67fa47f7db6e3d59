"""Ed25519 keys that sign for a publisher. The private half is a secret like every other and never leaves: what is to be signed
comes here. Whoever asks was asked already (`ctx.require`), with the secret among the facts, so that a kill switch on it counts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from worka.kernel.context import Context
from worka.treasury import errors, events, rules, store, values

Row = dict[str, Any]
KIND = "publication"


def key_id(public: str) -> str:
    """SHA-256, in hex, over the raw public key. Raises ValueError for what is no Ed25519 key in base64."""
    return hashlib.sha256(_raw(public)).hexdigest()


def new_seed() -> tuple[str, str]:
    """(private, public) of a fresh key, both in base64."""
    seed = os.urandom(32)
    return base64.b64encode(seed).decode(), public_of(base64.b64encode(seed).decode())


def public_of(seed: str) -> str:
    """The public half, in base64. Raises ValueError."""
    public = Ed25519PrivateKey.from_private_bytes(_raw(seed)).public_key().public_bytes_raw()
    return base64.b64encode(public).decode()


def sign_with(seed: str, data: bytes) -> str:
    """The signature, in base64. Raises ValueError for a seed that is none."""
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(_raw(seed)).sign(data)).decode()


def verifies(public: str, signature: str, data: bytes) -> bool:
    """Whether the signature is this key's over this data. What cannot be read is no signature."""
    try:
        given = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(_raw(public)).verify(given, data)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _raw(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if len(data) != 32:
        raise ValueError("an Ed25519 key has 32 bytes")
    return data


async def sign(ctx: Context, secret_id: str, data: bytes) -> str:
    """In the caller's transaction: the signature of the key that lies in this secret, in base64.

    Raises SecretNotFound, SecretRevoked, SecretUnreadable."""
    row = await store.secret(ctx.conn, secret_id, lock="share")
    if row is None or row["kind"] != KIND:
        raise errors.SecretNotFound(f"There is no signing key {secret_id}.")
    if row["state"] not in rules.LEASABLE:
        raise errors.SecretRevoked(f"{row['name']} is {row['state']}.", reason="secret_revoked")
    seed = await values.opened(ctx, row)
    ctx.record(events.signed(row, hashlib.sha256(data).hexdigest()))
    return sign_with(seed, data)
