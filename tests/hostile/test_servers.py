"""Servers that misuse the protocol itself: too much, without an end, in no encoding, before they are asked, in their own name.

Each is left as it is. What holds: one session ends with its reason, or the call simply works; the host stays small, and the
same host serves an ordinary server at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile.conftest import Tenant
from tests.hostile.test_leaks import rss
from tests.packs.running import Instance, instance
from worka.packs import service

pytestmark = pytest.mark.timeout(300)

SERVER = r"""
import json, os, sys, time

mode = sys.argv[1]
out = sys.stdout.buffer
seen = []


def say(message):
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def answer(number, value):
    content = [{"type": "text", "text": "x"}]
    say({"jsonrpc": "2.0", "id": number, "result": {"content": content, "structuredContent": {"value": value}}})


def notice(text, method="notifications/message"):
    say({"jsonrpc": "2.0", "method": method, "params": {"level": "info", "data": text}})


def tools(count):
    schema = {"type": "object"}
    told = "d\0" if mode == "a NUL in a definition" else "d"
    return [{"name": "run" if n == 0 else f"t{n}", "description": told, "inputSchema": schema} for n in range(count)]


if mode == "answers before it is asked":
    for number in range(6):
        answer(number, "early")
if mode == "speaks first":
    for number in range(90, 99):
        answer(number, "early")
    notice("hello")
    say({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})

asked = 0
for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method is None:
        seen.append(message)
        if mode == "asks back" and len(seen) == asked:
            answer(call, [sorted(one) for one in seen])
        continue
    if method == "initialize":
        say({"jsonrpc": "2.0", "id": number, "result": {"protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "s", "version": "1"}}})
    elif method == "tools/list":
        if mode == "ten thousand tools":
            say({"jsonrpc": "2.0", "id": number, "result": {"tools": tools(10_000)}})
        elif mode == "pages without an end":
            say({"jsonrpc": "2.0", "id": number, "result": {"tools": tools(1), "nextCursor": "again"}})
        else:
            say({"jsonrpc": "2.0", "id": number, "result": {"tools": tools(1)}})
            if mode == "changes all the time":
                say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    elif method == "tools/call":
        if mode == "a gigabyte in one answer":
            out.write(b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "' % number)
            for _ in range(1024):
                out.write(b"x" * 1_048_576)
            out.write(b'"}]}}\n')
            out.flush()
        elif mode == "a line without an end":
            while True:
                out.write(b"x" * 65_536)
        elif mode == "lines without an end":
            while True:
                out.write(b"y" * 1000 + b"\n")
        elif mode == "an answer that never comes, and news all the time":
            while True:
                notice("still working")
                time.sleep(0.02)
        elif mode == "a flood of log messages":
            while True:
                notice("z" * 1000)
        elif mode == "no UTF-8":
            out.write(b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "\xff\xfe"}]}}\n' % number)
            out.flush()
        elif mode == "a stray line that is no UTF-8":
            out.write(b"\xff\xfe loading\n")
            answer(number, "fine")
        elif mode == "nested without an end":
            out.write(b'{"jsonrpc": "2.0", "id": %d, "result": ' % number + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
            out.flush()
        elif mode == "a number beyond all numbers":
            out.write(b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [], "structuredContent": {"value": 1e999}}}\n' % number)
            out.flush()
        elif mode == "asks back":
            call = number
            wanted = ["sampling/createMessage", "elicitation/create", "roots/list", "tools/call", "shell/run"]
            asked = len(wanted)
            for place, name in enumerate(wanted):
                say({"jsonrpc": "2.0", "id": f"mine-{place}", "method": name, "params": {}})
        else:
            answer(number, "fine")
"""
BOUND = 262_144
ENDS = {
    "a gigabyte in one answer": {"oversize_output"},
    "a line without an end": {"oversize_output"},
    "lines without an end": {"oversize_output"},
    "an answer that never comes, and news all the time": {"pack_timeout"},
    "a flood of log messages": {"oversize_output"},
    "no UTF-8": {"malformed_output"},
    "nested without an end": {"malformed_output"},
    "ten thousand tools": {"handshake_failed"},
    "pages without an end": {"handshake_failed"},
    "a NUL in a definition": {"handshake_failed"},
    "answers before it is asked": {"handshake_failed"},
    "a number beyond all numbers": {"malformed_output"},
}
GOES_ON = ("a stray line that is no UTF-8", "speaks first", "changes all the time")


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    """A launcher and a host of their own."""
    with instance() as here:
        yield here


async def hostile(packs: Instance, mode: str, **changes: Any) -> dict[str, Any]:
    """A session of the server in this mode."""
    session = await packs.session(SERVER, **changes)
    return session | {"command": [*session["command"], mode]}


@pytest.mark.capability("RUN-4")
@pytest.mark.parametrize("mode", sorted(ENDS))
async def test_a_server_that_gives_too_much_ends_alone_and_is_told_as_what_it_did(packs: Instance, mode: str) -> None:
    quiet = await packs.session()
    assert await packs.value(quiet, "value = 1") == 1
    # What a pack may say by default holds ten thousand tools.
    room = {"limits": {"output_bytes": 8 << 20}} if mode == "ten thousand tools" else {}
    bad, before = await hostile(packs, mode, **room), rss(packs)
    calls = (packs.run(quiet, f"value = {number}") for number in range(20))
    outcome, *others = await asyncio.gather(packs.run(bad, "", timeout=3), *calls)
    assert outcome["reason"] in ENDS[mode], outcome
    assert len(outcome["message"]) < 2000, "nor is its flood told on"
    assert [other["structured"]["value"] for other in others] == list(range(20)), (
        "the control: others are served meanwhile"
    )
    assert rss(packs) - before < 80_000, "the host grew with it"
    assert await packs.gone(bad)


@pytest.mark.capability("RUN-2")
@pytest.mark.parametrize("mode", GOES_ON)
async def test_a_server_that_speaks_before_it_is_asked_or_out_of_turn_is_served_all_the_same(
    packs: Instance, mode: str
) -> None:
    session = await hostile(packs, mode)
    for _ in range(3):
        outcome = await packs.run(session, "", timeout=10)
        assert (outcome["status"], outcome["structured"]) == ("ok", {"value": "fine"}), outcome
    if mode.startswith("a stray line"):
        assert "loading" in outcome["stray_stdout"]


@pytest.mark.capability("RUN-2")
async def test_what_a_server_asks_of_its_host_is_refused_and_reaches_nobody(packs: Instance) -> None:
    """Sampling, elicitation, roots, a tool of somebody else, a shell: there is no such service behind a pack's pipe."""
    outcome = await packs.run(await hostile(packs, "asks back"), "", timeout=10)
    assert outcome["status"] == "ok", outcome
    assert outcome["structured"]["value"] == [["error", "id", "jsonrpc"]] * 5, "each was answered with an error"


TEXTS = ("\ud800", "\x00", "\x00\ud800", "\uffff\U0010ffff", "\x1b[2J\x07")


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text) for text in TEXTS])
async def test_a_text_that_no_database_takes_is_an_answer_like_any_other(tenant: Tenant, text: str) -> None:
    """Half a surrogate and NUL are legal in JSON, and in no column of text."""
    answer = await tenant.answer("run", {"code": f"value = {text!r}"})
    assert answer["status"] in ("succeeded", "failed"), answer
    (row,) = await tenant.packs.world.rows("invocation", "id = %s", tenant.last)
    assert row["state"] == answer["status"], "nobody is left waiting for it"
    told = await service.result_of(tenant.ctx, row)
    assert told["structured"] == answer["structured"]
    wrong = await tenant.answer("run", {"code": f"raise ValueError({text!r})"})
    expected = "malformed_output" if "\ud800" in text else "tool_error"
    assert (wrong["status"], wrong["reason"]) == ("failed", expected), wrong
    loud = await tenant.answer(
        "run", {"code": "import sys; sys.stderr.buffer.write(b'\\x00\\xff\\n' * 3); sys.stderr.flush(); value = 1"}
    )
    assert loud["status"] == "succeeded", loud
    assert await tenant.call("run", code="value = 'next'") == "next", "the control: the session goes on"
