"""Signed notes (C2SP signed-note) under the seal key: Ed25519, its private half in keys/seal.ed25519, mode 0600.

The key is no database content: who can write rows cannot sign checkpoints. `seal.ed25519.pub` is for everyone.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from worka.audit.errors import SealKeyUnreadable

FILE = "seal.ed25519"
_ED25519 = b"\x01"


@dataclass(frozen=True)
class SealKey:
    """A signing key; `name` goes with every signature, `public` is the verifier's line (name+id+key)."""

    name: str
    public: str
    _private: Ed25519PrivateKey = field(repr=False)
    _id: bytes = field(repr=False)

    def note(self, text: str) -> str:
        """The signed note: the text (ending with a newline), an empty line, the signature line. Raises ValueError."""
        if not text.endswith("\n") or "\n\n" in text:
            raise ValueError("a note's text ends with a newline and has no empty line")
        signature = base64.b64encode(self._id + self._private.sign(text.encode())).decode()
        return f"{text}\n\N{EM DASH} {self.name} {signature}\n"


def _made(seed: bytes) -> SealKey:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    name = "worka.audit/" + hashlib.sha256(public).hexdigest()[:16]
    key_id = hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]
    return SealKey(name, f"{name}+{key_id.hex()}+{base64.b64encode(_ED25519 + public).decode()}", private, key_id)


def ensure_key(keys: Path) -> SealKey:
    """The seal key of this instance; whichever process comes first makes it. Raises SealKeyUnreadable."""
    path = keys / FILE
    try:
        if not path.exists():
            keys.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_once(path, base64.b64encode(os.urandom(32)) + b"\n")
        key = _made(base64.b64decode(path.read_bytes().strip(), validate=True))
        public = path.with_name(FILE + ".pub")
        if not public.exists():
            create_once(public, key.public.encode() + b"\n", mode=0o644)
        return key
    except (OSError, ValueError) as error:
        raise SealKeyUnreadable(f"keys/{FILE}: {type(error).__name__}.") from error


def create_once(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Writes a file that appears whole, or not at all; False when there is one already (it is left alone)."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
