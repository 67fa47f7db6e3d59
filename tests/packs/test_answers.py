"""What a pack answers is bounded by what it becomes here, and data that is none is the pack's mistake."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import mcp_types as types
import pytest

from tests.hostile.test_leaks import rss
from tests.packs.running import Instance, instance
from worka.kernel import ipc
from worka.kernel.errors import Problem
from worka.packs.runtime import capped, outcome
from worka.packs.runtime.capped import MOST_LINE, MOST_VALUES, Stdout

ROOM = {"limits": {"output_bytes": 32 << 20, "memory_mb": 1024}}


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    with instance() as running:
        yield running


def answering(result: str) -> str:
    """Code that answers with this JSON text, which stands in a Python expression."""
    return (
        'import sys\nsys.stdout.write(\'{"jsonrpc": "2.0", "id": %d, "result": \' % number)\n'
        f"sys.stdout.write({result})\nsys.stdout.write('}}\\n')\nsys.stdout.flush()"
    )


def block(kind: str, data: str) -> dict[str, Any]:
    if kind == "blob":
        return {"type": "resource", "resource": {"uri": "file:///x", "mimeType": "application/x", "blob": data}}
    return {"type": kind, "data": data, "mimeType": "application/x"}


@pytest.mark.capability("RUN-4")
@pytest.mark.parametrize("kind", ["image", "audio", "blob"])
async def test_data_that_is_no_base64_is_the_packs_mistake_and_is_told_as_that(packs: Instance, kind: str) -> None:
    session = await packs.session()
    good = {"content": [block(kind, base64.b64encode(b"12345").decode())]}
    told = await packs.run(session, answering(repr(json.dumps(good))))
    assert (told["status"], told["text"]) == ("ok", "[application/x, 5 bytes]"), "the control"
    for data in ("abcde", "\N{SNOWMAN}", "a"):
        try:
            bad = await packs.run(session, answering(repr(json.dumps({"content": [block(kind, data)]}))))
        except Problem as problem:
            raise AssertionError(f"it is told as the platform's: {problem}") from problem
        assert (bad["status"], bad["reason"], bad["layer"]) == ("failed", "malformed_output", "pack"), bad
        assert "base64" in bad["message"]
    assert "Traceback" not in packs.log("host")
    assert await packs.value(session, "value = 1") == 1, "the session goes on"


@pytest.mark.capability("RUN-4")
async def test_an_answer_of_millions_of_values_ends_its_session_before_it_fills_the_host(packs: Instance) -> None:
    quiet = await packs.session()
    assert await packs.value(quiet, "value = 1") == 1
    before = rss(packs)
    many = "'{\"content\": [], \"structuredContent\": {\"v\": [' + '1,' * 12_000_000 + '1]}}'"
    outcome = await packs.run(await packs.session(**ROOM), answering(many))
    assert (outcome["reason"], outcome["layer"]) == ("oversize_output", "pack"), outcome
    assert str(MOST_VALUES) in outcome["message"]
    assert rss(packs) - before < 200_000, "twelve million objects were made of it"
    text = '\'{"content": [{"type": "text", "text": "\' + \'a, [b] {c} \\\\"d\\\\" \' * 800_000 + \'"}]}\''
    served = await packs.run(await packs.session(**ROOM), answering(text))
    assert served["status"] == "ok", served["message"]
    assert len(served["text"]) == 15 * 800_000, "the control: commas and brackets of a text are no values"


async def one_message(line: bytes) -> types.CallToolResult:
    """What the line is once it is read, as the client reads it."""
    found: list[Any] = []

    async def keep(message: Any) -> None:
        found.append(message)

    reader = Stdout.__new__(Stdout)
    Stdout.__init__(reader, None, MOST_LINE)  # type: ignore[arg-type]
    await reader._line(line, keep)
    return types.CallToolResult.model_validate(found[0].message.result)


@pytest.mark.capability("RUN-4")
async def test_whatever_fits_the_bounds_of_a_message_fits_a_frame_between_our_processes() -> None:
    """The worst: as many numbers as there may be, each of which is written longer than it came, and text up to the brim."""
    start = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"'
    numbers = b'"}],"structuredContent":{"v":[' + b"9e15," * (MOST_VALUES - 100) + b"1]}}}"
    line = start + b"x" * (MOST_LINE - len(start) - len(numbers)) + numbers
    assert len(line) == MOST_LINE
    result = await one_message(line)
    sent = ipc.frame({"ok": True, "value": outcome.answered(result, stderr_tail="e" * 65_536), "stays": True})
    assert MOST_LINE < len(sent) <= ipc.MAX_FRAME
    with pytest.raises(capped.Oversize):
        await one_message(line.replace(b"9e15,", b"1,1,"))
