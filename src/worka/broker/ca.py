"""The private CA of one pack session: made in memory, never stored, trusted by that one sandbox only.

Leaf certificates are made on demand for whatever name or address the pack connects to, so that a refusal, too, can be
said inside TLS where a program can read it. (One of the only-here exceptions: this module signs.)
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from worka.broker.addresses import HostProblem, normalise_host

_DAY = datetime.timedelta(days=1)
_KEPT = 256
_SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


@lru_cache(maxsize=1)
def public_roots() -> bytes:
    """The public root certificates as PEM: the system's bundle, else certifi's."""
    path = _SYSTEM_BUNDLE if _SYSTEM_BUNDLE.is_file() else Path(certifi.where())
    return path.read_bytes()


def expiry(pem: str) -> datetime.datetime:
    """When the first of some certificates ends. Raises ValueError when there is none."""
    return min(item.not_valid_after_utc for item in x509.load_pem_x509_certificates(pem.encode()))


def told(pem: str) -> list[dict[str, Any]]:
    """[{subject, issuer, ends_at, over}] of some certificates, in their order. Raises ValueError for what cannot be read."""
    return [
        {
            "subject": _words(item.subject), "issuer": _words(item.issuer), "ends_at": item.not_valid_after_utc,
            "over": item.not_valid_after_utc <= _now(),
        }
        for item in (x509.load_pem_x509_certificates(pem.encode()) if pem else [])
    ]  # fmt: skip


def _words(given: x509.Name) -> str:
    return "".join(char for char in given.rfc4514_string() if char.isprintable())[:200]


class Authority:
    """The CA of one session. `bundle` is what the sandbox trusts: the public roots and this CA. `protocols` are offered in
    TLS, the first that the client knows is spoken."""

    def __init__(self, session_id: str, protocols: Sequence[str] = ("h2", "http/1.1")) -> None:
        self._protocols = list(protocols)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(f"Worka session {session_id}")
        self._contexts: OrderedDict[str, tuple[datetime.datetime, ssl.SSLContext]] = OrderedDict()
        start = _now() - _DAY
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + 365 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip

    @property
    def pem(self) -> bytes:
        """The CA's own certificate."""
        return self._cert.public_bytes(serialization.Encoding.PEM)

    @property
    def bundle(self) -> bytes:
        """Public roots and this CA, PEM: the variables of a sandbox *replace* the roots of a client."""
        return public_roots().rstrip() + b"\n" + self.pem

    def server_context(self, address: str) -> ssl.SSLContext:
        """The TLS server side for a connection to this local address; the client's SNI picks the certificate.

        After the handshake the name that the client sent is `ssl_object.worka_sni` (None when it sent none).
        """
        context = self._context(address)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        # The connection object is the one place that both this callback and the reader of the socket see.
        connection.worka_sni = name  # type: ignore[union-attr]
        if name is None:
            return None
        try:
            connection.context = self._context(normalise_host(name))
        except HostProblem:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def _context(self, subject: str) -> ssl.SSLContext:
        kept = self._contexts.get(subject)
        if kept is not None and _now() - kept[0] < _DAY / 2:
            self._contexts.move_to_end(subject)
            return kept[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(self._protocols)
        _load(context, self._leaf(subject), self._leaf_key)
        self._contexts[subject] = (_now(), context)
        while len(self._contexts) > _KEPT:
            self._contexts.popitem(last=False)
        return context

    def _leaf(self, subject: str) -> bytes:
        # A day back, as the authority itself: a clock that is set back must not make it one of tomorrow.
        start = _now() - _DAY
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(subject))
        except ValueError:
            alternative = x509.DNSName(subject)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_common_name(subject))
            .issuer_name(self._name)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + 2 * _DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _load(context: ssl.SSLContext, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    # OpenSSL's loader wants a path; an anonymous memory file keeps the key off the disk.
    descriptor = os.memfd_create("worka-leaf", os.MFD_CLOEXEC)
    try:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        os.write(descriptor, private + certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
