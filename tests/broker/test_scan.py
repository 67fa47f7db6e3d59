"""The scan of answers for an injected secret."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worka.broker.scan import CodedScanner, Scanner, SecretEchoed, Unscannable, scanner_for

pytestmark = pytest.mark.capability("TRE-3", part="answers are searched for the injected secret")
SECRET = b'tok_"5e/cret+&=value'


def passed(data: bytes, cuts: Iterable[int], secret: bytes = SECRET) -> bytes:
    scanner, out, start = Scanner([secret]), b"", 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        out += scanner.feed(data[start:cut])
        start = cut
    return out + scanner.finish()


def json_u(secret: bytes) -> bytes:
    return b"".join(b"\\u%04x" % byte for byte in secret)


FORMS = [
    SECRET,
    base64.b64encode(SECRET),
    base64.b64encode(b"x" + SECRET + b"yz"),
    base64.urlsafe_b64encode(b"user:" + SECRET),
    quote(SECRET, safe="").encode(),
    quote(SECRET, safe="/+").encode(),
    quote(SECRET, safe="").lower().encode(),
    b"".join(b"%%%02x" % byte for byte in SECRET),
    json.dumps(SECRET.decode())[1:-1].encode(),
    json.dumps(SECRET.decode())[1:-1].replace("/", "\\/").encode(),
    json_u(SECRET),
    SECRET.hex().encode(),
    SECRET.hex().upper().encode(),
]


@given(
    st.sampled_from(FORMS), st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(0, 400), max_size=6)
)
def test_the_secret_is_found_in_every_coding_however_it_is_cut(
    form: bytes, before: bytes, after: bytes, cuts: list[int]
) -> None:
    # An odd number of backslashes or a begun escape before it would make it another text.
    data = before.rstrip(b"\\%0123456789abcdefABCDEFu") + b" " + form + b" " + after
    with pytest.raises(SecretEchoed):
        passed(data, cuts)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_an_answer_without_the_secret_passes_byte_for_byte(data: bytes, cuts: list[int]) -> None:
    assert passed(data, cuts) == data


@given(st.integers(0, len(SECRET) - 1), st.sampled_from(FORMS), st.lists(st.integers(0, 300), max_size=4))
def test_a_beginning_that_does_not_go_on_passes(length: int, form: bytes, cuts: list[int]) -> None:
    data = b"see " + form[: length // 2] + b" \n"
    assert passed(data, cuts) == data


def test_nothing_of_the_secret_has_gone_on_when_it_is_found() -> None:
    scanner = Scanner([SECRET])
    out = b"".join(scanner.feed(bytes([byte])) for byte in b"ok " + SECRET[:-1])
    assert out == b"ok "
    with pytest.raises(SecretEchoed):
        scanner.feed(SECRET[-1:])


def test_a_stream_of_events_is_not_held_back() -> None:
    assert Scanner([SECRET]).feed(b"data: 1\n\n") == b"data: 1\n\n"


def test_memory_stays_small_over_a_long_answer() -> None:
    scanner = Scanner([SECRET])
    for _ in range(200):
        scanner.feed(b"\\u0074%74tok_" * 800)
        assert scanner.held <= 6 * len(SECRET) + 12


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_answer_is_looked_into(coding: str, pack: object) -> None:
    clean = pack(b"nothing " * 100)  # type: ignore[operator]
    scanner = scanner_for([SECRET], coding, limit=1 << 20)
    assert scanner.feed(clean[:20]) + scanner.feed(clean[20:]) + scanner.finish() == clean
    with pytest.raises(SecretEchoed):
        CodedScanner([SECRET], coding, limit=1 << 20).feed(pack(b"x" * 50 + SECRET))  # type: ignore[operator]


def test_what_cannot_be_looked_into_is_not_passed_on() -> None:
    with pytest.raises(Unscannable):
        scanner_for([SECRET], "br", limit=1 << 20)
    with pytest.raises(Unscannable):
        scanner_for([SECRET], "gzip, br", limit=1 << 20)
    with pytest.raises(Unscannable):
        CodedScanner([SECRET], "gzip", limit=1 << 20).feed(gzip.compress(b"\0" * (4 << 20)))
    with pytest.raises(Unscannable):
        CodedScanner([SECRET], "gzip", limit=1 << 20).feed(gzip.compress(b"a") + SECRET)
    with pytest.raises(Unscannable):
        CodedScanner([SECRET], "gzip", limit=1 << 20).feed(b"not gzip at all")
