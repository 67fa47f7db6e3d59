"""Looks for an injected secret in what comes back, while it streams. Constant memory: a few lengths of the secret.

Found are the raw bytes, base64 (both alphabets, every alignment), hex, and any mix of percent- or of JSON escapes.
A server that wants to leak what it was given can always find another coding; this stops echoes, not conspiracies.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

Known = dict[bytes, tuple[bytes, ...]]
"""The patterns of secrets that were looked for before; whoever keeps it ends it with the call."""
MIN_ENCODED = 8  # shorter secrets give patterns that ordinary text contains
_FOLD, _FREELY = 100, 1 << 20
_JSON_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CUT_ESCAPE = re.compile(rb"(?:%[0-9a-fA-F]?|\\(?:u[0-9a-fA-F]{0,3})?)\Z")
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}


class SecretEchoed(Exception):
    """The answer holds the injected secret."""


class Unscannable(Exception):
    """The answer is in a coding that cannot be looked into, so it is not passed on."""


def patterns(secret: bytes) -> tuple[bytes, ...]:
    """The byte strings to look for as they stand (escapes are undone instead of listed)."""
    found = {secret}
    if len(secret) >= MIN_ENCODED:
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + secret).rstrip(b"=")
            # The first and last characters also depend on the neighbours of the secret.
            start = (0, 2, 3)[shift]
            end = len(coded) - (1 if (len(secret) + shift) % 3 else 0)
            core = coded[start:end]
            found |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
        found |= {binascii.hexlify(secret), binascii.hexlify(secret).upper()}
        found.add(quote(secret, safe="").encode())
        found.add(json.dumps(secret.decode("utf-8", "replace"))[1:-1].encode())
    return tuple(sorted(found))


def _json_unescape(data: bytes) -> bytes:
    def plain(match: re.Match[bytes]) -> bytes:
        if match.group(1):
            return chr(int(match.group(1), 16)).encode("utf-8", "replace")
        return _PLAIN.get(match.group(2), match.group(2))

    return _JSON_ESCAPE.sub(plain, data)


def _overlap(data: bytes, pattern: bytes) -> int:
    """The length of the longest end of `data` that is a proper beginning of `pattern`."""
    first = pattern[:1]
    at = data.find(first, max(len(data) - len(pattern) + 1, 0))
    while at >= 0:
        if pattern.startswith(data[at:]):
            return len(data) - at
        at = data.find(first, at + 1)
    return 0


class Scanner:
    """Feed it an answer piece by piece; what it gives back is safe to pass on. Raises SecretEchoed at the first find.

    It keeps back only an end that could be the beginning of the secret, so a stream of events is not delayed.
    """

    def __init__(self, secrets: Iterable[bytes], known: Known | None = None) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        known = {} if known is None else known
        for secret in self._secrets:
            if secret not in known:
                known[secret] = patterns(secret)
        self._patterns = tuple(pattern for secret in self._secrets for pattern in known[secret])
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go on now."""
        window = self._held + data
        keep = max((self._look(window, pattern) for pattern in self._patterns), default=0)
        for decoded in self._decodings(window):
            for secret in self._secrets:
                if secret in decoded:
                    raise SecretEchoed
                begun = _overlap(decoded, secret)
                keep = max(keep, min(6 * begun, len(window)))
        cut = _CUT_ESCAPE.search(window) if self._secrets else None
        if cut is not None:
            # A cut escape after a begun secret: the decoded end is no beginning yet, so look at what stands before it.
            for decoded in self._decodings(window[: cut.start()], always=True):
                begun = max((_overlap(decoded, secret) for secret in self._secrets), default=0)
                keep = max(keep, min(6 * begun + 6, len(window)))
        self._held = window[len(window) - keep :]
        return window[: len(window) - keep]

    @property
    def held(self) -> int:
        """How many bytes are kept back now."""
        return len(self._held)

    def finish(self) -> bytes:
        """The rest, at the end of the answer: a beginning that was never completed."""
        rest, self._held = self._held, b""
        return rest

    def check(self, text: bytes) -> None:
        """Look through one whole value (a header). Raises SecretEchoed."""
        for form in (text, *self._decodings(text)):
            if any(pattern in form for pattern in self._patterns):
                raise SecretEchoed

    @staticmethod
    def _look(window: bytes, pattern: bytes) -> int:
        if pattern in window:
            raise SecretEchoed
        return _overlap(window, pattern)

    @staticmethod
    def _decodings(window: bytes, *, always: bool = False) -> list[bytes]:
        forms = []
        if always or b"%" in window:
            forms.append(unquote_to_bytes(window))
        if always or b"\\" in window:
            forms.append(_json_unescape(window))
            if window.startswith(b"\\"):
                # The window may begin with the second half of `\\\\`, whose first half has gone on already.
                forms.append(_json_unescape(window[1:]))
        return forms


class CodedScanner:
    """Scans an answer with a content coding that we did not ask for: decodes beside the stream, passes the original on.

    Whole pieces are held back while the decoded text ends in a beginning of the secret; a bomb is cut by `limit`.
    """

    def __init__(self, secrets: Iterable[bytes], coding: str, *, limit: int, known: Known | None = None) -> None:
        if coding not in {"gzip", "x-gzip", "deflate"}:
            raise Unscannable(coding)
        self._scanner = Scanner(secrets, known)
        self._inflate = zlib.decompressobj(wbits=47 if coding != "deflate" else 15)
        self._left = limit
        self._coded = self._plain = 0
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """The coded bytes that may go on now. Raises SecretEchoed or Unscannable."""
        self._held.append(data)
        self._coded += len(data)
        rest = data
        while rest:
            try:
                plain = self._inflate.decompress(rest, 65536)
            except zlib.error as error:
                raise Unscannable("the coding is broken") from error
            rest = self._inflate.unconsumed_tail
            self._left -= len(plain)
            self._plain += len(plain)
            # Looking through takes time that all share: what unpacks to a hundredfold is made to take it.
            if self._left < 0 or self._plain > _FREELY + _FOLD * self._coded:
                raise Unscannable("the answer unpacks to more than the limit")
            self._scanner.feed(plain)
            if self._inflate.eof:
                if self._inflate.unused_data:
                    raise Unscannable("bytes follow the end of the coding")
                break
        if self._scanner.held and sum(map(len, self._held)) < 1 << 20:
            return b""
        if self._scanner.held:
            raise Unscannable("the coding hides where the secret could end")
        done, self._held = b"".join(self._held), []
        return done

    def finish(self) -> bytes:
        """The rest of the coded bytes at the end of the answer."""
        self._scanner.finish()
        done, self._held = b"".join(self._held), []
        return done

    def check(self, text: bytes) -> None:
        """Look through one header value. Raises SecretEchoed."""
        self._scanner.check(text)


def scanner_for(
    secrets: Iterable[bytes], coding: str, *, limit: int, known: Known | None = None
) -> Scanner | CodedScanner:
    """The scanner for an answer with this Content-Encoding (empty or `identity` for none). Raises Unscannable."""
    word = coding.strip().lower()
    if word in {"", "identity"}:
        return Scanner(secrets, known)
    return CodedScanner(secrets, word, limit=limit, known=known)
