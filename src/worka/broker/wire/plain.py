"""Heads of the plainest kind of HTTP/1.1, read and written without h11: nearly every message is one, and h11 was a quarter of
what a request costs. Pure.

Read is a GET without a body, or an answer of one length, whose head came whole and is printable ASCII with every line ended by
CRLF. Whatever is not exactly that is None, and h11's to read or to refuse; what is read here reads the same there.
"""

from __future__ import annotations

import re

from worka.broker.wire.heads import Answer, Outgoing, Request

Headers = tuple[tuple[bytes, bytes], ...]
MOST = 16 * 1024
"""Bytes of a head."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXT = re.compile(rb"[\t\x20-\x7e]*")
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_REQUEST = re.compile(rb"GET (/[\x21-\x7e]*) HTTP/1\.1")
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t\x20-\x7e]*)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# Where these stand, a message has a body of another kind, or the connection does not go on as it was.
_APART = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_WITHOUT_BODY = frozenset({204, 304})


def request(data: bytes) -> tuple[Request, int] | None:
    """The request at the beginning of `data`, and the length of its head."""
    found = _head(data)
    if found is None:
        return None
    first, headers, size = found
    line = _REQUEST.fullmatch(first)
    if line is None or not _whole(headers) or sum(name == b"host" for name, _ in headers) != 1:
        return None
    if any(name == b"content-length" for name, _ in headers):
        return None
    return Request(method="GET", target=line[1], headers=headers, version="1.1", body=False), size


def answer(data: bytes) -> tuple[Answer, int, int] | None:
    """The answer to a GET at the beginning of `data`, the length of its head, and that of its body."""
    found = _head(data)
    if found is None:
        return None
    first, headers, size = found
    line = _ANSWER.fullmatch(first)
    length = _length(headers)
    if line is None or length is None or not _whole(headers) or int(line[1]) in _WITHOUT_BODY:
        return None
    return Answer(int(line[1]), headers, line[2]), size, length


def asked(request: Outgoing) -> bytes | None:
    """A GET without a body as it is written, on a connection that goes on."""
    if request.method != "GET" or request.has_body or request.length is not None or request.websocket:
        return None
    headers = ((b"host", request.authority), *request.headers)
    if not _TARGET.fullmatch(request.target) or not _written(headers) or _length(request.headers) is not None:
        return None
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (request.target, _lines(headers))


def answered(answer: Answer) -> tuple[bytes, int] | None:
    """The head of an answer to a GET as it is written, and the length of its body."""
    length = _length(answer.headers)
    if length is None or not 200 <= answer.status <= 599 or answer.status in _WITHOUT_BODY:
        return None
    if not _written(answer.headers) or not _TEXT.fullmatch(answer.reason):
        return None
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (answer.status, answer.reason, _lines(answer.headers)), length


def _head(data: bytes) -> tuple[bytes, Headers, int] | None:
    end = data.find(b"\r\n\r\n", 0, MOST)
    if end < 0:
        return None
    first, *rest = data[:end].split(b"\r\n")
    headers = []
    for line in rest:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or not _TEXT.fullmatch(value):
            return None
        headers.append((name.lower(), value.strip(b" \t")))
    return first, tuple(headers), end + 4


def _whole(headers: Headers) -> bool:
    return not any(
        name in _APART or (name == b"connection" and value.lower() != b"keep-alive") for name, value in headers
    )


def _length(headers: Headers) -> int | None:
    """The one length that is said, None: none, or more."""
    said = [value for name, value in headers if name == b"content-length"]
    return int(said[0]) if len(said) == 1 and _LENGTH.fullmatch(said[0]) else None


def _written(headers: Headers) -> bool:
    return _whole(headers) and all(
        _NAME.fullmatch(name) and _TEXT.fullmatch(value) and value == value.strip(b" \t") for name, value in headers
    )


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
