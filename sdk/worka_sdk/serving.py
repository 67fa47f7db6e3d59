"""MCP over stdio: newline-delimited JSON-RPC, one request at a time, as the platform sends them.

While a tool asks a person, the answer is awaited on the same pipe; other requests that come meanwhile are kept.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import deque
from typing import Any, BinaryIO

from worka_sdk.errors import NobodyToAsk, ToolError
from worka_sdk.pack import INVALID_PARAMS, Pack, Refused

# Versions of MCP whose handshake, tools and elicitation are what is spoken here; the newest first.
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INTERNAL_ERROR = -32700, -32600, -32601, -32603
LONGEST_LINE = 64 * 1024 * 1024


class Server:
    """One session. `run` returns when the other side closes."""

    def __init__(self, pack: Pack, incoming: BinaryIO | None = None, outgoing: BinaryIO | None = None) -> None:
        self.pack = pack
        self.incoming = incoming or sys.stdin.buffer
        self.outgoing = outgoing or _own_stdout()
        self.waiting: deque[dict[str, Any]] = deque()
        self.asked = 0
        self.can_ask = False
        self.working_for: Any = None

    def run(self) -> None:
        """Reads and answers until the end of the input."""
        while (message := self._next()) is not None:
            self._answer(message)

    def _next(self) -> dict[str, Any] | None:
        return self.waiting.popleft() if self.waiting else self._read()

    def _read(self) -> dict[str, Any] | None:
        """The next message that is one; what cannot be read is answered with the error it is."""
        while True:
            line = self.incoming.readline(LONGEST_LINE + 1)
            if not line:
                return None
            if len(line) > LONGEST_LINE:
                raise SystemExit(f"a message of more than {LONGEST_LINE} bytes")
            if not line.strip():
                continue
            try:
                message = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                self._send({"id": None, "error": {"code": PARSE_ERROR, "message": "This is not JSON."}})
                continue
            if isinstance(message, dict):
                return message
            self._send({"id": None, "error": {"code": INVALID_REQUEST, "message": "A message is an object."}})

    def _send(self, message: dict[str, Any]) -> None:
        self._write(_line(message))

    def _write(self, line: bytes) -> None:
        self.outgoing.write(line)
        self.outgoing.flush()

    def _answer(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if number is None or not isinstance(method, str):
            return  # a notification, or an answer that nobody awaits
        if not isinstance(number, str | int):
            self._send({"id": None, "error": {"code": INVALID_REQUEST, "message": "An id is a text or an integer."}})
            return
        params = message.get("params")
        try:
            line = _line({"id": number, "result": self._do(method, params if isinstance(params, dict) else {}, number)})
        except Refused as refused:
            line = _line({"id": number, "error": {"code": refused.code, "message": str(refused)}})
        except Exception as error:
            # One request that cannot be answered must not end those after it. The cause is for the author, on stderr.
            traceback.print_exc(file=sys.stderr)
            said = f"{method} failed with {type(error).__name__}; the author finds the cause in the pack's output."
            line = _line({"id": number, "error": {"code": INTERNAL_ERROR, "message": said}})
        self._write(line)

    def _do(self, method: str, params: dict[str, Any], number: Any) -> dict[str, Any]:
        if method == "initialize":
            asked = params.get("protocolVersion")
            self.can_ask = isinstance((params.get("capabilities") or {}).get("elicitation"), dict)
            return {
                "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
                "capabilities": {"tools": {"listChanged": False}},
                "serverInfo": {"name": self.pack.name, "version": self.pack.version},
                **({"instructions": self.pack.instructions} if self.pack.instructions else {}),
            }
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": [tool.listed() for tool in self.pack.tools.values()]}
        if method == "tools/call":
            given = params.get("arguments") or {}
            if not isinstance(given, dict) or not isinstance(params.get("name"), str):
                raise Refused(INVALID_PARAMS, "tools/call takes {name, arguments}.")
            self.working_for = number
            try:
                return self.pack.call(params["name"], given, params.get("_meta") or {}, self)
            finally:
                self.working_for = None
        raise Refused(METHOD_NOT_FOUND, f"{method} is not served here.")

    def ask(self, message: str, schema: dict[str, Any]) -> dict[str, Any]:
        """`elicitation/create`, sent to the client; its answer. Raises NobodyToAsk, ToolError."""
        if not self.can_ask:
            raise NobodyToAsk
        self.asked += 1
        mine = f"ask-{self.asked}"
        params = {"message": message, "requestedSchema": schema}
        self._send({"id": mine, "method": "elicitation/create", "params": params})
        while (heard := self._read()) is not None:
            if heard.get("id") == mine and "method" not in heard:
                if "error" in heard:
                    raise NobodyToAsk
                answer = heard.get("result")
                return answer if isinstance(answer, dict) else {}
            if heard.get("method") == "ping":
                self._answer(heard)
            elif heard.get("method") == "notifications/cancelled":
                if (heard.get("params") or {}).get("requestId") == self.working_for:
                    raise ToolError("The call was cancelled while a person was asked.")
            elif "id" in heard:
                self.waiting.append(heard)
        raise ToolError("The session ended while a person was asked.")


def _line(message: dict[str, Any]) -> bytes:
    """A message as it is sent. Half of a surrogate pair, as in the name of a file that is not UTF-8, becomes a `?`."""
    return json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _own_stdout() -> BinaryIO:
    """The protocol's own descriptor: what a tool prints goes to stderr, and cannot be taken for a message."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")
