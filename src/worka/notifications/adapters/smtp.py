"""SMTP through the broker's tunnel: this process opens no outside socket, and TLS is spoken end to end through it.

A message counts as sent only when the server has said 250 to its end. A 5xx to sender, recipient or content is for good;
whatever else goes wrong is tried again under the same Message-ID.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from worka.broker.adapters.outside import tls_reason
from worka.kernel import ipc, redact
from worka.kernel.settings import MailSettings

SECONDS = 20.0
_MOST = 64 * 1024


@dataclass(frozen=True)
class Sent:
    """What came of it. `reason` is `allowed` when the server accepted the message."""

    reason: str
    detail: str = ""
    status: int | None = None
    final: bool = False
    duration_ms: float | None = None
    egress_id: str | None = None


class _Stopped(Exception):
    def __init__(self, reason: str, detail: str = "", status: int | None = None, final: bool = False) -> None:
        super().__init__(reason)
        self.sent = Sent(reason, detail, status, final)


class _Through(smtplib.SMTP):
    """smtplib over a socket that is connected already."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        super().__init__(local_hostname="localhost", timeout=SECONDS)
        self.sock = sock
        self._host = host  # starttls checks the certificate against it
        self.file = None


def send(path: Path, route: MailSettings, who: dict[str, Any], message: EmailMessage, to: str) -> Sent:
    """Hands over one message. `who` names for whom the broker's row is. Blocks; never raises for what the server does."""
    return _session(path, route, who, lambda smtp: _hand_over(smtp, message, route.sender, to))


def probe(path: Path, route: MailSettings, who: dict[str, Any]) -> Sent:
    """Greets the server and signs in, and sends nothing."""
    return _session(path, route, who, lambda _smtp: Sent("allowed"))


def _session(path: Path, route: MailSettings, who: dict[str, Any], act: Any) -> Sent:
    started = time.perf_counter()
    egress_id = None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(path))
            opened = _ask(sock, who)
            egress_id = opened["egress_id"]
            if opened["reason"] != "allowed":
                raise _Stopped(opened["reason"], opened["detail"])
            found = _talk(sock, route, act)
    except _Stopped as stopped:
        found = stopped.sent
    except ssl.SSLError as error:
        found = Sent(*tls_reason(error))
    except smtplib.SMTPResponseException as error:
        # Greeting, hello or signing in: the deployment's trouble, not this message's. What the server said to it is no
        # tenant's to read (it may hold what was just signed in with): the step and the status are enough.
        found = Sent("receiver_answered", _step(error), int(error.smtp_code))
    except TimeoutError:
        found = Sent("upstream_timeout", "the mail server fell silent")
    except (smtplib.SMTPException, OSError, ValueError, KeyError) as error:
        found = Sent("upstream_unreachable", type(error).__name__)
    duration = round((time.perf_counter() - started) * 1000, 3)
    return Sent(found.reason, found.detail[:500], found.status, found.final, duration, egress_id)


def _ask(sock: socket.socket, who: dict[str, Any]) -> dict[str, Any]:
    try:
        sock.sendall(ipc.frame(who))
        (length,) = struct.unpack(">I", _exactly(sock, 4))
        if length > _MOST:
            raise ValueError("a frame too long")
        return dict(json.loads(_exactly(sock, length)))
    except (OSError, EOFError) as error:
        raise _Stopped("broker_away", type(error).__name__) from error


def _exactly(sock: socket.socket, wanted: int) -> bytes:
    found = bytearray()
    while len(found) < wanted:
        data = sock.recv(wanted - len(found))
        if not data:
            raise EOFError
        found += data
    return bytes(found)


def _talk(sock: socket.socket, route: MailSettings, act: Any) -> Sent:
    if route.security == "tls":
        sock = _context(route).wrap_socket(sock, server_hostname=route.host)
    smtp = _Through(sock, route.host)
    try:
        code, said = smtp.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        smtp.ehlo_or_helo_if_needed()
        if route.security == "starttls":
            if not smtp.has_extn("starttls"):
                raise _Stopped(
                    "upstream_tls_failed", "the mail server offers no STARTTLS, and mail does not go in the clear"
                )
            smtp.starttls(context=_context(route))
            smtp.ehlo()
        if route.user and route.password is not None:
            secret = route.password.get_secret_value()
            for form in (secret, f"\0{route.user}\0{secret}"):  # as AUTH LOGIN sends it, and as AUTH PLAIN does
                redact.remember(form)
            smtp.login(route.user, secret)
        found: Sent = act(smtp)
    finally:
        smtp.close()
    return found


def _context(route: MailSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=route.ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _hand_over(smtp: smtplib.SMTP, message: EmailMessage, sender: str, to: str) -> Sent:
    for code, said in (smtp.mail(sender), smtp.rcpt(to)):
        if code not in (250, 251):
            return _refused(code, said)
    code, said = smtp.data(message.as_bytes())
    if code != 250:
        return _refused(code, said)
    try:
        smtp.docmd("QUIT")
    except (smtplib.SMTPException, OSError):
        pass  # it has the message
    return Sent("allowed", _said(said), code)


def _refused(code: int, said: bytes) -> Sent:
    return Sent("receiver_answered", _said(said), code, final=500 <= code < 600)


def _step(error: smtplib.SMTPResponseException) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "the mail server did not let us sign in"
    return "the mail server did not greet us" if isinstance(error, smtplib.SMTPConnectError) else "before any message"


def _said(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return redact.text("".join(char if char.isprintable() else " " for char in text))[:500]
