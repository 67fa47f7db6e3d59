"""Certificates as an operator gives them: read, and believed to be nothing else."""

from __future__ import annotations

import re
import ssl

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.ca import told

_PEM = re.compile(r"\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+\Z")


class FieldProblem(ValueError):
    """A field of a record cannot be taken; the text names it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


def name(raw: str) -> str:
    """The outside name of a record. Raises FieldProblem."""
    try:
        return normalise_host(raw)
    except HostProblem as problem:
        raise FieldProblem("name", problem.detail) from problem


def authority(field: str, raw: str) -> str:
    """Whom to trust, as it is kept; empty: nobody beside the public ones. Raises FieldProblem."""
    pem = chain(field, raw)
    try:
        if pem:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        raise FieldProblem(field, "the certificate cannot be read") from error
    return pem


def chain(field: str, raw: str) -> str:
    """Some certificates, as they are kept; empty: none. Raises FieldProblem."""
    pem = raw.strip()
    # Certificates only: a private key that was pasted along must not be stored.
    if pem and not _PEM.match(pem):
        raise FieldProblem(field, "one or more PEM certificates and nothing else")
    try:
        told(pem)
    except ValueError as error:
        raise FieldProblem(field, "the certificate cannot be read") from error
    return f"{pem}\n" if pem else ""
