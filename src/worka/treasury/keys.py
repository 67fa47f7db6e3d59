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
from worka.treasury.errors import MasterKeyUnreadable

_SIZE = 32
_NONCE = 12
_OF_ITSELF = frozenset({"id", "wrap", "root"})


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
    """The deployment's key in force. `id` tells keys apart without telling anything about them.

    What wraps tenants' keys comes from the key itself; what tokens, second factors and the platform's chain are kept by comes
    from `root`, which a new master key takes over from the first one: a rotation makes none of them invalid."""

    def __init__(self, raw: bytes, root: bytes | None = None) -> None:
        if len(raw) != _SIZE:
            raise MasterKeyUnreadable(f"The master key has {len(raw)} bytes, not {_SIZE}.")
        self._raw = raw
        self._root = root if root is not None else raw
        self._derived: dict[str, bytes] = {}
        self.id = "mk_" + self.derive("id").hex()[:16]

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
        if purpose not in self._derived:
            source = self._raw if purpose in _OF_ITSELF else self._root
            kdf = HKDF(algorithm=SHA256(), length=_SIZE, salt=None, info=b"worka/v1/" + purpose.encode())
            self._derived[purpose] = kdf.derive(source)
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

    def written(self) -> str:
        """As it lies in a file or a setting: base64, and after a space the root under it, where that is another."""
        text = base64.b64encode(self._raw).decode()
        if self._root == self._raw:
            return text
        nonce, sealed = encrypt(self.derive("root"), self._root, associated("root"))
        return f"{text} {base64.b64encode(nonce + sealed).decode()}"

    def followed_by(self, raw: bytes) -> MasterKey:
        """The key that comes after it, with the same root."""
        return MasterKey(raw, self._root)

    def same_root(self, other: MasterKey) -> bool:
        """Whether tokens and second factors of one are those of the other."""
        return hmac.compare_digest(self._root, other._root)

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"


def read_key(text: str, place: str) -> MasterKey:
    """A key as `written`. Raises MasterKeyUnreadable."""
    try:
        first, *root = text.split()
        raw = base64.b64decode(first, validate=True)
        if not root:
            return MasterKey(raw)
        sealed = base64.b64decode(root[0], validate=True)
        bare = MasterKey(raw)
        return MasterKey(raw, decrypt(bare.derive("root"), sealed[:_NONCE], sealed[_NONCE:], associated("root")))
    except (ValueError, binascii.Error) as error:
        raise MasterKeyUnreadable(f"{place} is not base64.") from error
    except Unopened as error:
        raise MasterKeyUnreadable(f"{place}: its second part does not open under the first.") from error


def create_once(path: Path, data: bytes) -> None:
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
