"""On the wire: a real MCP client, and what no client would send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import types
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

SERVER = Path(__file__).with_name("server.py")
SDK = Path(__file__).resolve().parents[2] / "sdk"
ENV = {"PYTHONPATH": str(SDK), "PATH": os.environ["PATH"]}
META = {"invocation_id": "inv_1", "idempotency_key": "key-1"}


@pytest.mark.capability("RUN-2", part="the SDK's server and a real client")
async def test_a_real_client_lists_calls_and_is_asked() -> None:
    asked: list[Any] = []

    async def person(_context: Any, params: Any) -> types.ElicitResult:
        asked.append(params)
        return types.ElicitResult(action="accept", content={"name": "Ann", "age": 41})

    server = StdioServerParameters(command=sys.executable, args=[str(SERVER)], env=ENV)
    async with stdio_client(server) as (read, write), ClientSession(read, write, elicitation_callback=person) as client:
        started = await client.initialize()
        assert (started.server_info.name, started.server_info.version, started.instructions) == (
            "wire",
            "2.0.0",
            "Be brief.",
        )
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(listed) == ["ask", "endless", "fail", "name", "say", "text"]
        params = types.CallToolRequestParams.model_validate({"name": "say", "arguments": {"text": "hé"}, "_meta": META})
        said = await client.send_request(types.CallToolRequest(params=params), types.CallToolResult)
        assert said.structured_content == {"text": "hé", "key": "key-1"}
        jsonschema.validate(said.structured_content, listed["say"].output_schema or {})
        answer = await client.call_tool("ask", {})
        assert answer.content[0].text == "Ann, 42 next year"  # type: ignore[union-attr]
        assert asked[0].message == "Who are you?"
        assert (await client.call_tool("fail", {})).is_error
        with pytest.raises(MCPError, match="/text: is required"):
            await client.call_tool("say", {})
        with pytest.raises(MCPError, match="There is no tool sya"):
            await client.call_tool("sya", {})


async def test_where_a_client_takes_no_questions_the_tool_says_so() -> None:
    server = StdioServerParameters(command=sys.executable, args=[str(SERVER)], env=ENV)
    async with stdio_client(server) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        answer = await client.call_tool("ask", {})
        assert answer.is_error
        assert "nobody can be asked here" in answer.content[0].text  # type: ignore[union-attr]
        assert not (await client.call_tool("say", {"text": "x"})).is_error, "the session goes on"


class Wire:
    """The bare pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            env=ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, *lines: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


def message(method: str, number: Any = None, **params: Any) -> bytes:
    """A request, or without a number a notification."""
    known = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(known | ({"id": number} if number is not None else {})).encode()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        for pipe in (made.process.stdin, made.process.stdout, made.process.stderr):
            if pipe:
                pipe.close()


def test_what_is_no_message_is_answered_and_the_session_goes_on(wire: Wire) -> None:
    wire.send(b"nonsense", b"\xff\xfe{}", b"[1]", b"", message("no/such", 1), b'{"id": 9, "result": {}}')
    assert [wire.read()["error"]["code"] for _ in range(4)] == [-32700, -32700, -32600, -32601]
    wire.send(message("tools/call", 2, name="say", arguments=[1]), message("tools/call", 3, name=5))
    assert [wire.read()["error"]["code"] for _ in range(2)] == [-32602, -32602]
    wire.send(message("tools/call", "a", name="say", arguments={"text": "x"}))
    answer = wire.read()
    assert (answer["id"], answer["result"]["structuredContent"]["text"]) == ("a", "x"), "and no stray line before it"


def test_no_answer_ends_the_session_whatever_is_in_it(wire: Wire) -> None:
    wire.send(message("tools/call", 1, name="name"), message("tools/call", 2, name="text"))
    assert wire.read()["result"]["structuredContent"] == {"?.md": "?.md"}
    assert wire.read()["result"]["content"][0]["text"] == "?"
    wire.send(message("tools/call", 3, name="text", arguments={"number": True}))
    wire.send(message("tools/call", 4, name="\ud800"))
    assert wire.read()["result"]["isError"]
    assert "There is no tool ?;" in wire.read()["error"]["message"]
    wire.send(message("tools/call", 5, name="endless"), message("tools/call", 6, name="name", _meta=[1]))
    assert [(found["id"], found["error"]["code"]) for found in (wire.read(), wire.read())] == [(5, -32603), (6, -32603)]
    wire.send(b"[" * 100_000, b'{"id": {}, "method": "ping"}', message("ping", 7))
    assert [wire.read().get("error", {}).get("code") for _ in range(3)] == [-32700, -32600, None], "and it goes on"


def test_a_number_beyond_all_numbers_is_the_callers_mistake_and_no_end(wire: Wire) -> None:
    wire.send(message("tools/call", 1, name="name", arguments={"size": 10**400}))
    error = wire.read()["error"]
    assert (error["code"], "/size: must be a number" in error["message"]) == (-32602, True)
    wire.send(message("tools/call", 2, name="name", arguments={"size": 10**300}))
    assert not wire.read()["result"]["isError"], "the control"


def test_a_cancelled_question_ends_the_call_and_what_came_meanwhile_is_answered(wire: Wire) -> None:
    wire.send(message("initialize", 1, protocolVersion="1999-01-01", capabilities={"elicitation": {}}))
    assert wire.read()["result"]["protocolVersion"] == "2025-11-25", "an unknown version is answered with ours"
    wire.send(message("tools/call", 2, name="ask"))
    question = wire.read()
    assert question["method"] == "elicitation/create"
    wire.send(message("ping", 3), message("tools/list", 4), message("notifications/cancelled", requestId=2))
    assert wire.read() == {"jsonrpc": "2.0", "id": 3, "result": {}}
    ended = wire.read()
    assert (ended["id"], ended["result"]["isError"]) == (2, True)
    assert wire.read()["id"] == 4
    assert wire.process.stdin
    wire.process.stdin.close()
    assert wire.process.wait(10) == 0
