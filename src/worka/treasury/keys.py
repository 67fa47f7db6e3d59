"""Keys: the master key from outside the database, and AES-256-GCM under keys that know where a value belongs."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.treasury.errors import Unreadable

NONCE = 12


def master_key(settings: Settings) -> bytes:
    """32 bytes: from WORKA_TREASURY__MASTER_KEY (or its _FILE), else from keys/master.key, made at first use (0600)."""
    given = settings.treasury.master_key
    if given is not None:
        try:
            key = base64.b64decode(given.get_secret_value(), validate=True)
        except binascii.Error as error:
            raise SystemExit("settings: treasury.master_key is not base64.") from error
    else:
        path = Paths(settings.home).keys / "master.key"
        key = path.read_bytes() if path.exists() else make_key_file(path)
    if len(key) != 32:
        raise SystemExit("settings: the treasury's master key must have 32 bytes.")
    return key


def make_key_file(path: Path) -> bytes:
    """Makes the key once, whoever comes first: linked into place whole, so that no process reads half a key."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, os.urandom(32))
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()


def derive(master: bytes, purpose: str) -> bytes:
    """A key of its own for a purpose of the deployment (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"worka:" + purpose.encode()).derive(master)


def make_key() -> bytes:
    """A fresh 256-bit key."""
    return os.urandom(32)


def place(*parts: object) -> bytes:
    """Associated data: where a value belongs. Lengths keep two lists of parts from reading the same."""
    return b"".join(f"{len(str(part).encode())}:{part};".encode() for part in parts)


def encrypt(key: bytes, plaintext: bytes, where: bytes) -> tuple[bytes, bytes]:
    """(nonce, ciphertext and tag)."""
    nonce = os.urandom(NONCE)
    return nonce, AESGCM(key).encrypt(nonce, plaintext, where)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, where: bytes, name: str) -> bytes:
    """The plaintext. Raises Unreadable, naming the item, when it was altered, moved or sealed under another key."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, where)
    except (InvalidTag, ValueError) as error:
        raise Unreadable(f"{name} does not open.", item=name) from error
