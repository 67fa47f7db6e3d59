"""Servers that misuse the protocol itself: too much, without an end, in no encoding, before they are asked, in their own name.

Each is left as it is. What holds: one session ends with its reason, or the call simply works; the host stays small, and the
same host serves an ordinary server at the same moment.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Tenant
from tests.hostile.test_leaks import rss
from tests.packs.running import Instance, instance
from worka.packs import rules, service
from worka.packs.runtime.capped import Pipe, Stderr, Stdout
from worka.packs.runtime.pins import Listing, Pins

pytestmark = pytest.mark.timeout(300)

SERVER = r"""
import json, os, random, sys, time

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
    if mode.startswith("a shuffled text"):
        lines = [str(number) for number in range(20_000)]
        random.Random(mode).shuffle(lines)
        told = "\n".join(lines)
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
        elif mode in ("blank lines without an end", "stray lines without an end"):
            lines = (b"\n" if mode.startswith("blank") else b"x\n") * 65_536
            while True:
                out.write(lines)
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
    "blank lines without an end": {"oversize_output"},
    "stray lines without an end": {"oversize_output"},
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


async def heartbeat(packs: Instance, until: asyncio.Task[Any]) -> tuple[int, float]:
    """How often the host answered until this was done, and the longest that it took, in seconds."""
    beats, longest = 0, 0.0
    while not until.done():
        began = time.monotonic()
        await packs.client.status()
        beats, longest = beats + 1, max(longest, time.monotonic() - began)
    return beats, longest


@pytest.mark.capability("RUN-7")
@pytest.mark.parametrize("mode", ["blank lines without an end", "stray lines without an end"])
async def test_a_pack_that_has_always_more_to_read_does_not_keep_the_host_from_another_tenants_call(
    packs: Instance, mode: str
) -> None:
    quiet = await packs.session(tenant_id="ten_quiet")
    assert await packs.value(quiet, "value = 'ready'") == "ready"
    bad = await hostile(packs, mode, limits={"output_bytes": 8 << 20}, tenant_id="ten_loud")
    flood = asyncio.create_task(packs.run(bad, "", timeout=20))
    alive = asyncio.create_task(heartbeat(packs, flood))
    echoes = [await packs.value(quiet, f"value = {number}") for number in range(3)]
    beats, longest = await alive
    assert echoes == [0, 1, 2]
    assert beats > 1, "the host was asked while it read"
    assert longest < 5, "the host's loop stood still while it read one pack's lines"
    assert (await flood)["reason"] == "oversize_output"


@pytest.mark.capability("RUN-7")
async def test_the_loop_goes_round_between_two_reads_of_what_never_ends(tmp_path: Path) -> None:
    """A file has always more to read, as a pack that writes faster than it is read."""
    endless = tmp_path / "endless"
    with endless.open("wb") as opened:
        opened.truncate(1 << 28)
    for reader in (Stderr(Pipe(os.open(endless, os.O_RDONLY))), Stdout(Pipe(os.open(endless, os.O_RDONLY)), 1 << 25)):
        pumping = asyncio.create_task(reader.pump() if isinstance(reader, Stderr) else reader.pump(nobody))
        turns = 0
        while not pumping.done() and turns < 20:
            await asyncio.sleep(0)
            turns += 1
        assert turns == 20, f"the loop stood still for {type(reader).__name__}"
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        reader.pipe.close()


async def nobody(_message: Any) -> None:
    raise AssertionError("nothing here is a message")


@pytest.mark.capability("RUN-7")
async def test_a_flood_of_stderr_is_read_no_faster_than_its_bound_and_its_last_line_is_kept(packs: Instance) -> None:
    """The pack waits for its own pipe, as it would for a slow disk; the host does not work for it without end."""
    session = await packs.session()
    flood = (
        "import os, time\nstop, value = time.monotonic() + 1, 0\n"
        "while time.monotonic() < stop: value += os.write(2, b'noise ' * 10_000)\n"
        "os.write(2, b'\\nand that was all\\n')"
    )
    outcome = await packs.run(session, flood)
    assert outcome["status"] == "ok", outcome
    assert 1 << 20 < outcome["structured"]["value"] < 128 << 20, "within one second"
    assert (await packs.value(session, "value = 'next'")) == "next", "the control: the session goes on"
    died = await packs.run(session, flood + "\nos._exit(3)")
    assert died["reason"] == "pack_crashed", died
    assert died["stderr_tail"].rstrip().endswith("and that was all")


@pytest.mark.capability("RUN-7")
async def test_a_definition_that_changed_beyond_all_recognition_is_told_without_keeping_the_host(
    packs: Instance,
) -> None:
    """Twenty thousand lines in another order: a plain diff of them takes minutes."""
    quiet = await packs.session(tenant_id="ten_quiet")
    assert await packs.value(quiet, "value = 'ready'") == "ready"
    session = await hostile(packs, "a shuffled text, as it was")
    probed = await packs.client.probe(session=session)
    pins = {tool["name"]: rules.tool_pin(tool) for tool in probed["tools"]}
    again = await packs.run(session | {"pins": pins}, "")
    assert (again["status"], again["held"]) == ("ok", None), "the control: as it was approved it serves"
    other = await hostile(packs, "a shuffled text, as it is now")
    call = asyncio.create_task(packs.run(other | {"pins": pins}, "", timeout=20))
    alive = asyncio.create_task(heartbeat(packs, call))
    assert [await packs.value(quiet, f"value = {number}") for number in range(3)] == [0, 1, 2]
    _, longest = await alive
    outcome = await call
    assert outcome["reason"] == "tool_definition_changed", outcome
    assert "description" in outcome["held"]["diff"]
    assert "-" in outcome["held"]["diff"]
    assert longest < 5, "the host's loop stood still while it compared"


@pytest.mark.capability("RUN-7")
async def test_of_a_thousand_changed_definitions_only_those_that_are_told_are_put_into_words(tmp_path: Path) -> None:
    pins = Pins(tmp_path)

    def listing(word: str) -> Listing:
        tool = {"input_schema": {}, "output_schema": None, "annotations": None}
        return Listing({}, None, "1", [tool | {"name": f"t{n:03}", "description": f"{word} {n}"} for n in range(1000)])

    pins.remember(listing("before"))
    known = {tool["name"]: rules.tool_pin(tool) for tool in listing("before").tools}
    found = pins.compare(listing("after"), known, None)
    told = found.of("t999")
    assert told is not None
    assert (told["tool"], len(told["all"])) == ("t999", 21)
    assert all("-before" in one["diff"] and "+after" in one["diff"] for one in told["all"])
    assert sum("text" in vars(one) for one in found.tools.values()) == 21


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
