"""Answers made to get the secret in, or two answers out of one; each beside one that is right."""

from __future__ import annotations

import asyncio
import base64
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.broker import others
from tests.broker.others import Ca
from tests.broker.world import HOST, INJECT, TOKEN, Box, World, code

pytestmark = pytest.mark.asyncio
Write = Callable[[str], bytes]


def plain(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*pieces: bytes, headers: str = "", tail: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return f"HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n".encode() + body + b"0\r\n" + tail + b"\r\n"


ANSWERS: dict[str, tuple[Write, str]] = {
    "right": (lambda said: plain(b"fine"), ""),
    "right, in gzip": (lambda said: plain(gzip.compress(b"fine" * 100), "Content-Encoding: gzip\r\n"), ""),
    "in gzip": (lambda said: plain(gzip.compress(said.encode()), "Content-Encoding: gzip\r\n"), "secret_echoed"),
    "in deflate": (lambda said: plain(zlib.compress(said.encode()), "Content-Encoding: deflate\r\n"), "secret_echoed"),
    "in a coding that is not read": (lambda said: plain(b"\x0b\x02\x80", "Content-Encoding: br\r\n"), "answer_unscannable"),
    "in two codings": (
        lambda said: plain(gzip.compress(gzip.compress(said.encode())), "Content-Encoding: gzip, gzip\r\n"),
        "answer_unscannable",
    ),
    "after the end of the coding": (
        lambda said: plain(gzip.compress(b"x") + said.encode(), "Content-Encoding: gzip\r\n"), "answer_unscannable",
    ),
    "a bomb": (lambda said: plain(gzip.compress(b"\0" * (64 << 20)), "Content-Encoding: gzip\r\n"), "answer_unscannable"),
    "over two chunks": (lambda said: chunked(said[:12].encode(), said[12:].encode()), "secret_echoed"),
    "one byte a chunk": (lambda said: chunked(*(byte.encode() for byte in said)), "secret_echoed"),
    "in the reason": (lambda said: plain(b"x").replace(b"OK", said.encode()), "secret_echoed"),
    "in a header": (lambda said: plain(b"x", f"Set-Cookie: a={said}\r\n"), "secret_echoed"),
    "in base64": (lambda said: plain(base64.b64encode(b"ab" + said.encode())), "secret_echoed"),
    "two lengths": (
        lambda said: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nxxxxx", "upstream_malformed",
    ),
    "a head without end": (lambda said: b"HTTP/1.1 200 OK\r\n" + b"X-A: y\r\n" * 20_000, "upstream_malformed"),
    "no protocol": (lambda said: b"SSH-2.0-OpenSSH_9.2\r\n", "upstream_malformed"),
    "another protocol": (
        lambda said: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "upstream_malformed",
    ),
    "again and again": (lambda said: b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "upstream_malformed"),
    "cut short": (lambda said: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxxx", "upstream_malformed"),
}  # fmt: skip


@pytest.fixture
async def box(world: World, tmp_path: Path) -> AsyncIterator[tuple[Box, dict[str, Write]]]:
    """A box, and what the outside answers with."""
    ca, chosen = Ca("outside"), {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await others.head(reader)
        writer.write(chosen["write"](headers["authorization"]))
        await writer.drain()

    async with others.outside(tmp_path, serve, ca.pair(HOST)) as port:
        await world.declare(HOST, connections=INJECT)
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        await world.connect()
        yield await world.box(), chosen


@pytest.mark.capability("TRE-3")
@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_no_answer_brings_the_secret_in_or_two_answers_out(
    world: World, box: tuple[Box, dict[str, Write]], name: str
) -> None:
    inside, chosen = box
    chosen["write"], expected = ANSWERS[name]
    async with inside.invoking() as call:
        found = await inside.fetch(f"https://{HOST}/")
    assert TOKEN not in str(found)
    (row,) = await world.egress(call.id)
    assert row["reason"] == (expected or "allowed"), found
    if expected:
        assert (found.get("status"), code(found)) == (502, expected)
    else:
        assert found["status"] == 200


@pytest.mark.capability("TRE-3")
async def test_the_trailer_of_http_1_goes_nowhere(world: World, box: tuple[Box, dict[str, Write]]) -> None:
    inside, chosen = box
    chosen["write"] = lambda said: chunked(b"fine", headers="Trailer: x-echo\r\n", tail=f"X-Echo: {said}\r\n".encode())
    async with inside.invoking():
        raw = await inside.raw(
            HOST,
            443,
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: close\r\n\r\n".encode(),
            tls=True,
            sni=HOST,
        )
    assert "fine" in raw
    assert "echo" not in raw.lower()
    assert TOKEN not in raw


async def test_a_bomb_of_one_call_does_not_hold_up_another(world: World, box: tuple[Box, dict[str, Write]]) -> None:
    inside, chosen = box
    bomb = gzip.compress(b"\0" * (256 << 20), 1)
    chosen["write"] = lambda said: plain(bomb, "Content-Encoding: gzip\r\n")
    async with inside.invoking():
        await inside.fetch(f"https://{HOST}/")
        began = asyncio.get_running_loop().time()
        asked = asyncio.create_task(inside.fetch(f"https://{HOST}/"))
        longest = 0.0
        while not asked.done():
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0.01)
            longest = max(longest, asyncio.get_running_loop().time() - before)
        assert code(asked.result()) == "answer_unscannable"
    assert asyncio.get_running_loop().time() - began < 10
    assert longest < 1.0
