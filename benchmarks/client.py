"""One HTTP/1.1 client for every contestant: kept-alive connections, nothing parsed that is not needed. No pool, no retry."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Connection:
    """One caller's connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> Connection:
        """Connects to loopback."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    def close(self) -> None:
        """Gives it back."""
        self._writer.close()

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body)."""
        return await self._ask("GET", path, headers, b"")

    async def post(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body)."""
        return await self._ask("POST", path, headers, body)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        status = int(head[0].split(" ", 2)[1])
        if got.get("transfer-encoding") == "chunked":
            data = b""
            while size := int((await self._reader.readline()).split(b";")[0], 16):
                data += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readline()
        else:
            data = await self._reader.readexactly(int(got.get("content-length", "0")))
        return status, got, data


def json_of(kind: str, data: bytes) -> Any:
    """The JSON of an answer, or of its one server-sent event."""
    if "event-stream" in kind:
        data = b"".join(line[5:].strip() for line in data.splitlines() if line.startswith(b"data:"))
    return json.loads(data) if data else None
