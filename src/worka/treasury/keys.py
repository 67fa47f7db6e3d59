"""The master key, and what is derived from it. It is never in the database, and nothing but wrapped keys leaves
here."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worka.kernel import canonical
from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.treasury.errors import MasterKeyUnreadable

FILE = "master.key"
_SIZE = 32
_NONCE = 12


class Unopened(Exception):
    """The bytes do not open under this key and these associated data."""


def new_key() -> bytes:
    """A fresh random key."""
    return os.urandom(_SIZE)


def associated(*parts: str | int) -> bytes:
    """Associated data without ambiguity: canonical JSON of the parts."""
    return canonical.dumps(list(parts))


def encrypt(key: bytes, plaintext: bytes, data: bytes) -> tuple[bytes, bytes]:
    """(nonce, ciphertext with tag), AES-256-GCM. Random nonces: safe far beyond the number of items of a tenant."""
    nonce = os.urandom(_NONCE)
    return nonce, AESGCM(key).encrypt(nonce, plaintext, data)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, data: bytes) -> bytes:
    """The plaintext. Raises Unopened."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, data)
    except (InvalidTag, ValueError) as error:
        raise Unopened from error


class MasterKey:
    """The deployment's one key. `id` tells keys apart without telling anything about them."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != _SIZE:
            raise MasterKeyUnreadable(f"The master key has {len(raw)} bytes, not {_SIZE}.")
        self._raw = raw
        self._derived: dict[str, bytes] = {}
        self.id = "mk_" + self.derive("id").hex()[:16]

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
        if purpose not in self._derived:
            kdf = HKDF(algorithm=SHA256(), length=_SIZE, salt=None, info=b"worka/v1/" + purpose.encode())
            self._derived[purpose] = kdf.derive(self._raw)
        return self._derived[purpose]

    def hmac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 of the data under the purpose's key."""
        return hmac.digest(self.derive(f"hmac/{purpose}"), data, hashlib.sha256)

    def wrap(self, tenant: str, purpose: str, version: int, key: bytes) -> bytes:
        """A tenant's key as it lies in the database."""
        nonce, sealed = encrypt(self.derive("wrap"), key, associated("tenant_key", tenant, purpose, version))
        return nonce + sealed

    def unwrap(self, tenant: str, purpose: str, version: int, wrapped: bytes) -> bytes:
        """The key again. Raises Unopened."""
        data = associated("tenant_key", tenant, purpose, version)
        return decrypt(self.derive("wrap"), wrapped[:_NONCE], wrapped[_NONCE:], data)

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"


def ensure_keys(settings: Settings) -> MasterKey:
    """The master key from the settings, else from keys/master.key, which is made (0600) at the first start.

    Raises MasterKeyUnreadable.
    """
    configured = settings.treasury.master_key
    if configured is not None:
        return _decoded(configured.get_secret_value(), "WORKA_TREASURY__MASTER_KEY")
    folder = Paths(settings.home).keys
    path = folder / FILE
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _create_once(path, base64.b64encode(os.urandom(_SIZE)) + b"\n")
        if path.stat().st_mode & 0o077:
            raise MasterKeyUnreadable(
                f"keys/{FILE} can be read by others.", remedy=f"chmod 600 keys/{FILE} under WORKA_HOME."
            )
        return _decoded(path.read_text(), f"keys/{FILE}")
    except OSError as error:
        raise MasterKeyUnreadable(f"keys/{FILE}: {type(error).__name__}.") from error


def known_key(settings: Settings) -> MasterKey | None:
    """The master key as it is, without making one; None where there is none yet. Raises MasterKeyUnreadable."""
    if settings.treasury.master_key is None and not (Paths(settings.home).keys / FILE).exists():
        return None
    return ensure_keys(settings)


def _decoded(text: str, place: str) -> MasterKey:
    try:
        return MasterKey(base64.b64decode(text.strip(), validate=True))
    except (ValueError, binascii.Error) as error:
        raise MasterKeyUnreadable(f"{place} is not base64.") from error


def _create_once(path: Path, data: bytes) -> None:
    """The file appears whole; when several processes start at once, the first one's key is everybody's."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
