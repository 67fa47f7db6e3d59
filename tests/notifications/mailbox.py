"""Somebody's mail server: aiosmtpd on a real socket, with a certificate of its own CA."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from worka.broker.ca import Authority

USER, PASSWORD = "worka", "m41l-pa55word-not-in-a-log"


@dataclass
class Mailbox:
    """`rcpt`, `data`: what it answers to RCPT and to the end of DATA; `got`: what it has accepted."""

    authority: Authority
    port: int = 0
    rcpt: str = "250 OK"
    data: str = "250 OK queued"
    sign_in: str = ""
    """What it answers to whoever signs in, instead of looking at the password."""
    sessions: int = 0
    tls: list[bool] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    signed_in: list[bool] = field(default_factory=list)

    @property
    def got(self) -> list[EmailMessage]:
        return [message_from_bytes(bytes(one.content or b""), policy=default) for one in self.envelopes]  # type: ignore[misc,arg-type]

    async def handle_EHLO(
        self, server: Any, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.sessions += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.data.startswith("250"):
            self.envelopes.append(envelope)
            self.tls.append(session.ssl is not None)
            self.signed_in.append(bool(session.authenticated))
        return self.data


def _signs_in(server: Any, _session: Any, _envelope: Any, mechanism: str, auth_data: Any) -> AuthResult:
    said = server.event_handler.sign_in
    if said:
        return AuthResult(success=False, handled=False, message=said)
    good = isinstance(auth_data, LoginPassword) and (auth_data.login, auth_data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=good, handled=False)


@contextmanager
def mailbox(*, starttls: bool = True) -> Iterator[Mailbox]:
    """One on 127.0.0.1, at a free port, in a thread of its own."""
    found = Mailbox(Authority("mail", ["http/1.1"]))
    context: ssl.SSLContext = found.authority.server_context("127.0.0.1")
    how: dict[str, Any] = {"enable_SMTPUTF8": True, "ident": "mail.worka.test"}
    if starttls:
        how |= {"tls_context": context, "require_starttls": True, "authenticator": _signs_in, "auth_required": True}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve() -> asyncio.Server:
        return await loop.create_server(lambda: SMTP(found, loop=loop, **how), host="127.0.0.1", port=0)

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    found.port = int(server.sockets[0].getsockname()[1])
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(_end, loop, server)
        thread.join(10)
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_later(0.05, loop.stop)
