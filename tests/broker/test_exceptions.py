"""What is taken for the CA of a network exception."""

from __future__ import annotations

import time

import pytest

from worka.broker import service
from worka.broker.errors import ExceptionInvalid
from worka.broker.schema import NewNetworkException

ONE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def told(pem: str) -> str:
    """With which words a CA is refused."""
    new = NewNetworkException(name="a.test", address="10.0.0.1", real_port=443, ca_pem=pem, reason="tests", port=443)
    with pytest.raises(ExceptionInvalid) as refused:
        service._ca(new)
    return str(refused.value)


def test_blanks_between_certificates_are_looked_at_once() -> None:
    began = time.thread_time()
    assert "and nothing else" in told((ONE + " " * 40) * 500 + "!")
    assert "and nothing else" in told("-----BEGIN CERTIFICATE-----" + "A" * 60_000)
    assert time.thread_time() - began < 2
    assert "cannot be read" in told(f"  {ONE}\n\n{ONE} "), "the control: two certificates by their form"
