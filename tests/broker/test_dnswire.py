"""Name lookups of a sandbox."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from worka.broker.dnswire import respond

POOL = {"api.example": "192.88.98.1"}


def ask(name: str, kind: str = "A") -> tuple[DNSRecord, str, str]:
    reply = respond(DNSRecord.question(name, kind).pack(), POOL.get)
    assert reply is not None
    return DNSRecord.parse(reply.wire), reply.outcome, reply.name


@pytest.mark.capability("BRK-2")
def test_a_declared_name_has_its_pool_address_and_every_other_does_not_exist() -> None:
    record, outcome, _ = ask("API.Example.")
    assert (outcome, str(record.rr[0].rdata)) == ("answered", "192.88.98.1")
    record, outcome, name = ask("evil.example")
    assert (outcome, record.header.rcode, record.rr, name) == ("refused", RCODE.NXDOMAIN, [], "evil.example")


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "TXT", "MX", "ANY"])
def test_a_declared_name_has_only_an_ipv4_address(kind: str) -> None:
    record, outcome, _ = ask("api.example", kind)
    assert (outcome, record.header.rcode, record.rr) == ("empty", RCODE.NOERROR, [])


def test_odd_names_are_refused_and_seen() -> None:
    assert ask("1.2.3.4")[1] == "refused"
    assert ask("4.3.2.1.in-addr.arpa", "PTR")[1] == "refused"


@given(st.binary(max_size=600))
def test_noise_gets_silence_or_a_refusal(noise: bytes) -> None:
    reply = respond(noise, POOL.get)
    assert reply is None or reply.outcome in {"refused", "empty", "answered"}


def test_answers_and_several_questions_are_not_answered() -> None:
    query = DNSRecord.question("api.example")
    assert respond(query.reply().pack(), POOL.get) is None
    query.add_question(DNSRecord.question("evil.example").q)
    assert respond(query.pack(), POOL.get) is None
    assert QTYPE.A == 1
