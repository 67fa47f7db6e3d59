"""Name resolution and dialling: the only place of the platform that opens a connection to the outside for a pack."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import certifi


class SystemResolver:
    """Asks the machine's resolver, in threads of its own so that a slow name does not hold up others' work. A name whose servers
    keep silent holds its thread for longer than anybody waits for it, so a tenant has `share` of them at most."""

    def __init__(self, threads: int = 32, share: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="broker-resolve")
        self._share = share
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def resolve(self, host: str, whose: str = "") -> tuple[str, ...]:
        """Every address of `host`, IPv4 first. Raises OSError when the resolver does not answer."""
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = asyncio.Semaphore(self._share)
        await turn.acquire()
        asked = asyncio.get_running_loop().run_in_executor(self._pool, _addresses, host)
        asked.add_done_callback(lambda done: _over(done, turn))
        try:
            # Whoever waits may leave; the thread cannot.
            found = await asyncio.shield(asked)
        except socket.gaierror as error:
            if error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}:
                return ()
            raise
        ordered = sorted(found, key=lambda item: item[0] != socket.AF_INET)
        return tuple(dict.fromkeys(str(item[4][0]) for item in ordered))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str) -> list[tuple[Any, ...]]:
    # The trailing dot keeps the machine's search domains out: what was checked is what was declared.
    return list(socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM))


def _over(asked: asyncio.Future[Any], turn: asyncio.Semaphore) -> None:
    turn.release()
    # Whoever asked may be gone by then.
    if not asked.cancelled():
        asked.exception()


class Dialer:
    """Opens connections to addresses that were checked before; TLS is always verified against the name."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[str | None, str | None, bool], ssl.SSLContext] = OrderedDict()

    async def dial(
        self,
        address: str,
        port: int,
        *,
        name: str | None,
        ca_pem: str | None,
        client: ClientCertificate | None = None,
        h2: bool = False,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to address:port. With `name` TLS is spoken, verified for that name against the public roots, or
        against `ca_pem` alone; with `h2` HTTP/2 is offered before HTTP/1.1. Raises OSError, ssl.SSLError."""
        context = None if name is None else self._context(ca_pem, client, h2=h2)
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=name, limit=256 * 1024)

    def _context(self, ca_pem: str | None, client: ClientCertificate | None, *, h2: bool) -> ssl.SSLContext:
        key = (ca_pem, client.digest if client is not None else None, h2)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _client(ca_pem, client, h2=h2)
            while len(self._contexts) > 64:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What we show the outside of ourselves. `pem` and its `key` are held against each other when they are loaded."""

    pem: str
    key: str = field(repr=False)

    @property
    def digest(self) -> str:
        """Which one it is, without saying the key."""
        return hashlib.sha256(f"{self.pem}\0{self.key}".encode()).hexdigest()

    def load(self, context: ssl.SSLContext) -> None:
        """Raises ssl.SSLError when they are no pair."""
        # OpenSSL's loader wants a path; an anonymous memory file keeps the key off the disk.
        descriptor = os.memfd_create("worka-client", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, f"{self.key.strip()}\n{self.pem}".encode())
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
        finally:
            os.close(descriptor)


def _no_password() -> str:
    # Else OpenSSL would ask on the terminal of the process.
    raise ValueError("the key of the client certificate is encrypted")


def _client(ca_pem: str | None, client: ClientCertificate | None, *, h2: bool) -> ssl.SSLContext:
    if ca_pem is None:
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"]:
            context.load_verify_locations(cafile=certifi.where())
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"] if h2 else ["http/1.1"])
    if client is not None:
        client.load(context)
    return context


# X509_V_ERR_*: verify(1) of OpenSSL.
_EXPIRED, _NAME, _UNTRUSTED = frozenset({9, 10}), frozenset({62, 64}), frozenset({2, 18, 19, 20, 21, 24, 27})
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE",
                      "TLSV1_ALERT_INSUFFICIENT_SECURITY", "DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL"})  # fmt: skip
_ABOUT_OURS = frozenset(
    {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
     "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
     "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED"}
)  # fmt: skip


def tls_reason(error: ssl.SSLError) -> tuple[str, str]:
    """(reason code, what OpenSSL says) of a TLS that did not come about."""
    said = str(getattr(error, "verify_message", "") or error.reason or type(error).__name__)
    code = getattr(error, "verify_code", None)
    if code in _EXPIRED:
        return "upstream_certificate_expired", said
    if code in _NAME:
        return "upstream_certificate_name", said
    if code in _UNTRUSTED:
        return "upstream_certificate_untrusted", said
    if error.reason in _TOO_OLD:
        return "upstream_tls_too_old", said
    return ("client_certificate_refused" if error.reason in _ABOUT_OURS else "upstream_tls_failed"), said
