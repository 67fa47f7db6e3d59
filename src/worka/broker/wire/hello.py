"""The first message of TLS, as far as a road without interception needs it (RFC 8446, 4.1.2). Pure.

Nothing here trusts a length: what is not whole is incomplete until the bound, and then no ClientHello.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST = 16 * 1024 + 5
_SNI, _ECH, _OUTER_ECH = 0, 0xFE0D, 0xFD00


class NotTls(ValueError):
    """What came first is no ClientHello."""


@dataclass(frozen=True, slots=True)
class Hello:
    """`name` is the server name (None: none was sent), `hidden` whether another one is sent encrypted."""

    name: str | None
    hidden: bool


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise NotTls("a length points beyond its message")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Bytes:
        return _Bytes(self.take(self.number(size)))

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


def read(data: bytes) -> Hello | None:
    """The ClientHello at the beginning of `data`; None while it is not whole. Raises NotTls."""
    message = b""
    at = 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if len(data) - at < 5:
            _bounded(data)
            return None
        kind, major = data[at], data[at + 1]
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if kind != 22 or major != 3 or not 0 < size <= 1 << 14:
            raise NotTls("no handshake of TLS")
        if len(data) - at - 5 < size:
            _bounded(data)
            return None
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message[0] != 1 or (len(message) >= 4 and int.from_bytes(message[1:4], "big") > MOST):
            raise NotTls("no ClientHello, or one without end")
    return _hello(_Bytes(message[4 : 4 + int.from_bytes(message[1:4], "big")]))


def _bounded(data: bytes) -> None:
    if len(data) >= MOST:
        raise NotTls("a ClientHello without end")


def _hello(body: _Bytes) -> Hello:
    body.take(2 + 32)
    body.vector(1), body.vector(2), body.vector(1)
    name: str | None = None
    hidden = False
    seen: set[int] = set()
    extensions = body.vector(2) if body.left else _Bytes(b"")
    while extensions.left:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise NotTls("an extension stands twice")
        seen.add(kind)
        if kind == _SNI:
            name = _name(value)
        hidden |= kind in {_ECH, _OUTER_ECH}
    return Hello(name, hidden)


def _name(value: _Bytes) -> str:
    names = value.vector(2)
    if names.number(1) != 0:
        raise NotTls("a server name of another kind")
    found = names.vector(2)
    raw = found.take(len(found._data))
    if names.left or value.left or not raw.isascii():
        raise NotTls("more than one server name")
    return raw.decode("ascii")
