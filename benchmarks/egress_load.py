"""The caller of row 4, the same program for every contestant: kept-alive connections, GET after GET, or one large body.

    egress_load.py '{"way": …, "host": …, "port": …, "ca": …, "proxy": …, "path": …, "calls": n, "callers": n, "send": bytes,
                     "pause": seconds}'

`way`: `direct` connects to host:port (inside a sandbox's network that is the broker), `proxy` asks a proxy. With `ca` TLS is
spoken with the host. `pause` is after each request, and not timed. Prints {times: ms, seconds, errors, first_error, cpu_seconds}.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from typing import Any


class Caller:
    """One connection."""

    def __init__(self, what: dict[str, Any], context: ssl.SSLContext | None) -> None:
        self.what, self.context, self.spent = what, context, False
        port = what["port"]
        self.host = what["host"] if port in {80, 443} else f"{what['host']}:{port}"
        self.target = what["path"]
        if what["way"] == "proxy" and context is None:
            self.target = f"http://{self.host}{what['path']}"

    async def open(self) -> None:
        what = self.what
        place = what["proxy"] if what["way"] == "proxy" else (what["host"], what["port"])
        tunnel = what["way"] == "proxy" and self.context is not None
        context = None if tunnel else self.context
        name = what["host"] if context is not None else None
        self.reader, self.writer = await asyncio.open_connection(
            *place, ssl=context, server_hostname=name, limit=1 << 20
        )
        if tunnel:
            self.writer.write(f"CONNECT {what['host']}:{what['port']} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            head = await self.reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
                raise OSError(head.decode("latin-1")[:100])
            await self.writer.start_tls(self.context, server_hostname=what["host"])  # type: ignore[arg-type]

    async def call(self) -> None:
        size = self.what.get("send", 0)
        method, more = ("POST", f"Content-Length: {size}\r\n") if size else ("GET", "")
        self.writer.write(f"{method} {self.target} HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n".encode())
        for _ in range(size // 65536):
            self.writer.write(b"z" * 65536)
            await self.writer.drain()
        head = await self._head()
        status = head[9:12]
        lower = head.lower()
        # A proxy that keeps no connection: the next request is timed with its new one.
        self.spent = head.startswith(b"HTTP/1.0") or b"\r\nconnection: close" in lower
        at = lower.find(b"content-length:")
        left = int(lower[at + 15 : lower.find(b"\r\n", at)]) if at >= 0 else -1
        if left < 0:
            # A proxy that writes it in chunks.
            while count := int((await self.reader.readline()).split(b";")[0], 16):
                await self.reader.readexactly(count + 2)
            await self.reader.readline()
        while left > 0:
            data = await self.reader.read(min(left, 1 << 18))
            if not data:
                raise OSError("the answer ended early")
            left -= len(data)
        if status != b"200":
            raise ValueError(head.decode("latin-1")[:100])

    async def _head(self) -> bytes:
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            # It closed a connection that it had not said it would close.
            if error.partial or self.what.get("send"):
                raise
            self.close()
            await self.open()
            self.writer.write(f"GET {self.target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            return await self.reader.readuntil(b"\r\n\r\n")

    def close(self) -> None:
        self.writer.close()


async def main(what: dict[str, Any]) -> dict[str, Any]:
    """Plays them all."""
    context = ssl.create_default_context(cafile=what["ca"]) if what.get("ca") else None
    times: list[float] = []
    errors, first = 0, ""

    async def caller(start: int) -> None:
        nonlocal errors, first
        one: Caller | None = None
        for _ in range(start, what["calls"], what["callers"]):
            began = time.perf_counter()
            try:
                if one is None:
                    one = Caller(what, context)
                    await one.open()
                    began = time.perf_counter()
                elif one.spent:
                    one.close()
                    one = Caller(what, context)
                    await one.open()
                await one.call()
                times.append((time.perf_counter() - began) * 1000)
                if what.get("pause"):
                    await asyncio.sleep(what["pause"])
            except Exception as error:
                errors, first = errors + 1, first or repr(error)[:200]
                if one is not None and hasattr(one, "writer"):
                    one.close()
                one = None
        if one is not None:
            one.close()

    used, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller(start) for start in range(what["callers"])))
    seconds = time.perf_counter() - began
    return {"times": [round(found, 4) for found in times], "seconds": seconds, "errors": errors, "first_error": first,
            "cpu_seconds": time.process_time() - used}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
