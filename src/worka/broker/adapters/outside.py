"""Name resolution and dialling: the only place of the platform that opens a connection to the outside for a pack."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import certifi


class SystemResolver:
    """Asks the machine's resolver, in threads of its own so that a slow name does not hold up others' work."""

    def __init__(self, threads: int = 16) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="broker-resolve")

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Every address of `host`, IPv4 first. Raises OSError when the resolver does not answer."""
        loop = asyncio.get_running_loop()
        try:
            # The trailing dot keeps the machine's search domains out: what was checked is what was declared.
            found = await loop.run_in_executor(
                self._pool, lambda: socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM)
            )
        except socket.gaierror as error:
            if error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}:
                return ()
            raise
        ordered = sorted(found, key=lambda item: item[0] != socket.AF_INET)
        return tuple(dict.fromkeys(str(item[4][0]) for item in ordered))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Dialer:
    """Opens connections to addresses that were checked before; TLS is always verified against the name."""

    def __init__(self) -> None:
        self._public = self._client(ssl.create_default_context())
        if not self._public.cert_store_stats()["x509_ca"]:
            self._public.load_verify_locations(cafile=certifi.where())
        self._private: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    async def dial(
        self, address: str, port: int, *, name: str | None, ca_pem: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to address:port. With `name` TLS is spoken, verified for that name against the public roots, or
        against `ca_pem` alone. Raises OSError, ssl.SSLError."""
        context = None if name is None else self._public if ca_pem is None else self._trusting(ca_pem)
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=name, limit=256 * 1024)

    def _trusting(self, ca_pem: str) -> ssl.SSLContext:
        context = self._private.get(ca_pem)
        if context is None:
            context = self._client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            context.load_verify_locations(cadata=ca_pem)
            self._private[ca_pem] = context
            while len(self._private) > 64:
                self._private.popitem(last=False)
        return context

    @staticmethod
    def _client(context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context
