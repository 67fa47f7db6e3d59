"""The first message of TLS, as OpenSSL writes it and as nobody should."""

from __future__ import annotations

import ssl
import struct

import pytest

from worka.broker.wire.hello import MOST, Hello, NotTls, read


def client_hello(name: str | None, *, tls12: bool = False) -> bytes:
    """A real one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    out = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read()


def with_extension(raw: bytes, kind: int, value: bytes) -> bytes:
    """The same ClientHello with one extension more."""
    body = bytearray(raw[9:])
    at = 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    size = int.from_bytes(body[at : at + 2], "big")
    added = struct.pack("!HH", kind, len(value)) + value
    body[at : at + 2] = struct.pack("!H", size + len(added))
    body += added
    message = b"\x01" + len(body).to_bytes(3, "big") + bytes(body)
    return raw[:3] + struct.pack("!H", len(message)) + message


def in_records(raw: bytes, size: int) -> bytes:
    """The same message over several records."""
    message = raw[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(raw[:3] + struct.pack("!H", len(piece)) + piece for piece in pieces)


@pytest.mark.parametrize("tls12", [False, True])
def test_the_name_is_read_out_of_a_real_hello_however_it_arrives(tls12: bool) -> None:
    raw = client_hello("api.example", tls12=tls12)
    assert read(raw) == read(raw + b"more") == read(in_records(raw, 40)) == Hello("api.example", hidden=False)
    assert [read(raw[:end]) for end in range(len(raw))] == [None] * len(raw)
    assert read(client_hello(None)) == Hello(None, hidden=False)


@pytest.mark.capability("BRK-15", part="tunnels by name")
def test_a_hidden_name_is_seen_to_be_hidden() -> None:
    raw = client_hello("front.example")
    assert read(with_extension(raw, 0xFE0D, b"\0" * 40)) == Hello("front.example", hidden=True)
    assert read(with_extension(raw, 0x1234, b"\0" * 40)) == Hello("front.example", hidden=False)


def other_names() -> list[bytes]:
    raw = client_hello("api.example")
    name = b"\x00\x0bapi.example"
    return [
        with_extension(raw, 0, b"\0\x0e\0" + name),  # a second server name
        raw.replace(b"\x00\x0e\x00" + name, b"\x00\x0e\x01" + name),  # of another kind
        raw.replace(b"\x00\x0e\x00" + name, b"\x00\x0d\x00" + name),
        raw.replace(b"\x00\x0e\x00" + name, b"\x00\xff\x00" + name),
        raw.replace(b"api.example", b"api\xffexample"),
    ]


@pytest.mark.capability("BRK-15", part="tunnels by name")
@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x02\x01\x00\x10" + b"\0" * 16,
        b"\x17\x03\x03\x00\x10" + b"\0" * 16,
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\0\0\0",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x04\x01\0\0\0",
        b"\x16\x03\x01\x00\x01\x01" * (MOST // 6 + 1),
        *other_names(),
    ],
)
def test_what_is_no_hello_is_not_guessed_at(raw: bytes) -> None:
    with pytest.raises(NotTls):
        read(raw)
