"""The outside of row 4, for every contestant the same: it answers 256 bytes to whoever brings the right credential, 20 MB at
`/big`, and takes whatever is sent. `python egress_outside.py <pem with key>` prints {plain, tls}: its ports.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import uvloop

TOKEN = "Bearer bench-5ecret-value"
BODY = b"x" * 256
BIG = 20 * 1024 * 1024
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 256\r\nContent-Type: text/plain\r\n\r\n" + BODY
_NO = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
_FREE = b"GET /free"


class Outside(asyncio.Protocol):
    """HTTP/1.1 with kept-alive connections, no more of it than the benchmark needs."""

    def __init__(self) -> None:
        self.data = b""
        self.left = 0
        self.sending = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.left:
            taken = min(self.left, len(data))
            self.left -= taken
            data = data[taken:]
            if not self.left:
                self.transport.write(_OK)
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[: end + 4], self.data[end + 4 :]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        size = int(lower[at + 17 : lower.find(b"\r\n", at + 2)]) if at >= 0 else 0
        if size:
            self.left = size - len(self.data)
            self.data = b""
            if self.left <= 0:
                self.left = 0
                self.transport.write(_OK)
        elif b"/big" in head.split(b"\r\n", 1)[0]:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
            self.sending = BIG
            self.resume_writing()
        else:
            allowed = b"\r\nauthorization: " + TOKEN.lower().encode() + b"\r\n" in lower
            self.transport.write(_OK if allowed or _FREE in head else _NO)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while self.sending and not self.paused:
            piece = min(self.sending, 65536)
            self.sending -= piece
            self.transport.write(b"y" * piece)


async def main() -> None:
    """Serves until it is ended."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    plain = await loop.create_server(Outside, "127.0.0.1", 0, backlog=512)
    secure = await loop.create_server(Outside, "127.0.0.1", 0, backlog=512, ssl=context)
    ports = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
    print(json.dumps({"plain": ports[0], "tls": ports[1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
