"""Answers to name lookups of a sandbox. Sans-I/O: bytes in, bytes and an observation out; nothing is asked outside.

A declared name gets an address of the session's pool, so a lookup tells the outside nothing; other names do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from worka.broker.addresses import HostProblem, normalise_host

MAX_QUERY = 512  # RFC 1035 4.2.1; a longer datagram is not a question from a resolver library
TTL = 60
_IN = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """`wire` goes back to the asker; `name` is what was asked for; `refused` names are recorded, aggregated."""

    wire: bytes
    name: str
    outcome: Literal["answered", "empty", "refused"]


def respond(packet: bytes, address_of: Callable[[str], str | None]) -> Reply | None:
    """The reply to one datagram, or None when it is no question (then silence: an answer to noise is a reflector).

    `address_of(name)` gives the pool address of a declared name and None for every other.
    """
    if len(packet) > MAX_QUERY:
        return None
    try:
        query = DNSRecord.parse(packet)
    except Exception:
        return None
    if query.header.qr or query.header.opcode or len(query.questions) != 1:
        return None
    question = query.q
    reply = query.reply(ra=1, aa=0)
    reply.auth, reply.ar = [], []
    asked = str(question.qname)
    try:
        name = normalise_host(asked)
    except HostProblem:
        name = asked.encode("ascii", "backslashreplace").decode()[:253]
        address = None
    else:
        address = address_of(name) if question.qclass == _IN else None
    if address is None:
        reply.header.rcode = RCODE.NXDOMAIN
        return Reply(reply.pack(), name, "refused")
    if question.qtype != QTYPE.A:
        # No error and no record: "exists, but not over IPv6", so that clients go on with the A answer at once.
        return Reply(reply.pack(), name, "empty")
    reply.add_answer(RR(question.qname, QTYPE.A, rdata=A(address), ttl=TTL))
    return Reply(reply.pack(), name, "answered")
