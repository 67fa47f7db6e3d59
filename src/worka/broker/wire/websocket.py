"""The one change of protocol that a rule can allow: a WebSocket's handshake (RFC 6455), checked on both sides. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HANDSHAKE = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-accept"}
)


def _all(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _tokens(values: Sequence[bytes]) -> list[bytes]:
    return [token.strip() for value in values for token in value.split(b",") if token.strip()]


def handshake_problem(method: str, version: str, headers: Sequence[tuple[bytes, bytes]], *, body: bool) -> str | None:
    """Why a request with `Upgrade: websocket` is no handshake of one; None when it is."""
    if version != "1.1" or method != "GET" or body:
        return "a WebSocket begins with a GET of HTTP/1.1 without a body"
    if b"upgrade" not in [token.lower() for token in _tokens(_all(headers, b"connection"))]:
        return "a WebSocket's handshake lists Upgrade in Connection"
    if _all(headers, b"sec-websocket-version") != [b"13"]:
        return "only version 13 of WebSockets is carried"
    keys = _all(headers, b"sec-websocket-key")
    try:
        whole = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        whole = False
    return None if whole else "a WebSocket's handshake has one key of 16 bytes"


def accept_of(key: bytes) -> bytes:
    """What the outside has to answer to a key."""
    # The protocol's own constant; nothing is protected by this hash.
    return base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())


def answer_problem(asked: Sequence[tuple[bytes, bytes]], answered: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a 101 is no agreement to the handshake that was sent; None when it is."""
    if [value.lower() for value in _all(answered, b"upgrade")] != [b"websocket"]:
        return "the outside changed to another protocol"
    if b"upgrade" not in [token.lower() for token in _tokens(_all(answered, b"connection"))]:
        return "the outside's answer does not list Upgrade in Connection"
    if _all(answered, b"sec-websocket-accept") != [accept_of(_all(asked, b"sec-websocket-key")[0])]:
        return "the outside did not answer to the key of this handshake"
    if _all(answered, b"sec-websocket-extensions"):
        return "the outside uses an extension that was not offered"
    chosen = _all(answered, b"sec-websocket-protocol")
    if chosen and (len(chosen) > 1 or chosen[0] not in _tokens(_all(asked, b"sec-websocket-protocol"))):
        return "the outside uses a subprotocol that was not offered"
    return None
