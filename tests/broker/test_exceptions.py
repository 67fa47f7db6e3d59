"""What is taken for the CA of a network exception, and of upstream trust."""

from __future__ import annotations

import time

import pytest

from worka.broker import certificates

ONE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def told(pem: str) -> str:
    """With which words a CA is refused."""
    with pytest.raises(certificates.FieldProblem) as refused:
        certificates.chain("ca_pem", pem)
    return str(refused.value)


def test_blanks_between_certificates_are_looked_at_once() -> None:
    began = time.thread_time()
    assert "and nothing else" in told((ONE + " " * 40) * 500 + "!")
    assert "and nothing else" in told("-----BEGIN CERTIFICATE-----" + "A" * 60_000)
    assert time.thread_time() - began < 2
    assert "cannot be read" in told(f"  {ONE}\n\n{ONE} "), "the control: two certificates by their form"
