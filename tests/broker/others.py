"""Outsides that are none of ours, with certificates as a test needs them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NODE = Path(__file__).with_name("outside_h2.mjs")
DAY = datetime.timedelta(days=1)


class Ca:
    """A certificate authority of a test."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)

    def _sign(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool = False, host: str = "", days: int = 1
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        """Its own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def pair(self, host: str, *, days: int = 1) -> tuple[str, str]:
        """(certificate, key) for a name, PEM; `days` may be over."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = self._sign(subject, key.public_key(), host=host, days=days)
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@asynccontextmanager
async def node_outside(folder: Path, pair: tuple[str, str], *, clients: str = "") -> AsyncIterator[int]:
    """Node's HTTP/2 server; its port. With `clients` it wants a certificate of that CA."""
    certificate, key, ca = folder / "outside.pem", folder / "outside.key", folder / "clients.pem"
    certificate.write_text(pair[0])
    key.write_text(pair[1])
    ca.write_text(clients)
    process = await asyncio.create_subprocess_exec(
        "node", str(NODE), str(certificate), str(key), *([str(ca)] if clients else []), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await asyncio.wait_for(process.stdout.readline(), 20))
    finally:
        process.kill()
        await process.wait()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def outside(folder: Path, serve: Serve, pair: tuple[str, str] | None) -> AsyncIterator[int]:
    """A server that does with a connection what the test says; its port. Without a pair it speaks no TLS."""
    context: ssl.SSLContext | None = None
    if pair is not None:
        both = folder / "both.pem"
        both.write_text(pair[1] + pair[0])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(quiet, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@contextmanager
def old_outside(folder: Path, pair: tuple[str, str]) -> Iterator[int]:
    """A server that knows TLS 1.1 at most, and says so; its port."""
    both = folder / "both.pem"
    both.write_text(pair[1] + pair[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what it is for
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        # A socket's own handshake sends its alert before it closes; asyncio's does not.
        with contextlib.suppress(OSError):
            while True:
                found, _ = listener.accept()
                with contextlib.suppress(OSError):
                    context.wrap_socket(found, server_side=True).close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


class Wanting:
    """A server that wants a certificate of ours and says so; of the next `losing` connections its words are lost on the way."""

    def __init__(self, folder: Path, pair: tuple[str, str], clients: str, speaks: str) -> None:
        both = folder / "both.pem"
        both.write_text(pair[1] + pair[0])
        self.losing = self.refused = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(both)
        self._context.load_verify_locations(cadata=clients)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols([speaks])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Wanting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                found, _ = self._listener.accept()
                with found, contextlib.suppress(OSError):
                    if self.losing:
                        self.losing -= 1
                        self._lose(found)
                    else:
                        self._answer(found)

    def _answer(self, found: socket.socket) -> None:
        try:
            spoken = self._context.wrap_socket(found, server_side=True)
        except ssl.SSLError:
            self.refused += 1
            raise
        with spoken:
            seen = b""
            while b"\r\n\r\n" not in seen:
                seen += spoken.recv(65536)
            spoken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nseen")

    def _lose(self, found: socket.socket) -> None:
        """Shakes hands as far as the other side can tell, and resets the connection once its certificate, or none, is there."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        side = self._context.wrap_bio(incoming, outgoing, server_side=True)
        while not outgoing.pending:
            incoming.write(found.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        found.sendall(outgoing.read())
        found.recv(65536)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The first line and the headers of a request."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if line)
    return lines[0], {name.lower(): value.strip() for name, value in pairs}


async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A WebSocket's server (RFC 6455), as small as one can be: it says back each message, or its Authorization to `auth`."""
    _, headers = await head(reader)
    magic = headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(magic).digest()).decode()
    extension = headers.get("sec-websocket-extensions", "")
    writer.write(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        mask = await reader.readexactly(4)
        body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(await reader.readexactly(size)))
        if first & 0x0F == 8:
            return
        if body == b"auth":
            body = headers.get("authorization", "none").encode()
        if body == b"extensions":
            body = (extension or "none").encode()
        writer.write(
            bytes([first, len(body)]) + body if len(body) < 126 else b"\x82\x7e" + len(body).to_bytes(2, "big") + body
        )
