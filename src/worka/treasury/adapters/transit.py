"""The transit engine of Vault or OpenBao: it encrypts our master key under one that never leaves it. Asked at a process's start and
at a rotation, never for a lease. This dials by itself and not through the broker, which cannot begin without the key."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from typing import Any

import httpx

from worka.kernel.airgap import OPEN, REASON, REMEDY, AirGap
from worka.kernel.settings import TreasurySettings
from worka.treasury.errors import MasterKeyUnreadable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}\Z")
SECONDS = 10.0


class Transit:
    """`transit_url` (https, or http on this machine), `transit_token`, `transit_key`, `transit_mount`."""

    def __init__(self, settings: TreasurySettings, gap: AirGap = OPEN) -> None:
        url = httpx.URL(settings.transit_url)
        if url.scheme != "https" and url.host not in ("127.0.0.1", "::1", "localhost"):
            raise MasterKeyUnreadable("treasury.transit_url has to be https: the answer holds the master key.")
        if not _NAME.match(settings.transit_key) or not _NAME.match(settings.transit_mount):
            raise MasterKeyUnreadable("treasury.transit_key and transit_mount are plain names.")
        if settings.transit_token is None:
            raise MasterKeyUnreadable("treasury.transit_token is not set.")
        if not gap.place(url.host, url.port or (443 if url.scheme == "https" else 80)):
            raise MasterKeyUnreadable(
                f"This deployment is air-gapped, and the key service at {url.host} is not on its list.",
                code=REASON, remedy=REMEDY,
            )  # fmt: skip
        self._url = f"{str(url).rstrip('/')}/v1/{settings.transit_mount}"
        self._key = settings.transit_key
        self._token = settings.transit_token

    def seal(self, plain: str) -> str:
        """Its ciphertext of ours. Raises MasterKeyUnreadable."""
        found = self._ask("encrypt", {"plaintext": base64.b64encode(plain.encode()).decode()})
        return _text(found, "ciphertext")

    def unseal(self, sealed: str) -> str:
        """Ours again. Raises MasterKeyUnreadable."""
        found = self._ask("decrypt", {"ciphertext": sealed})
        try:
            return base64.b64decode(_text(found, "plaintext"), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise MasterKeyUnreadable("The key service's answer is no key.") from error

    def _ask(self, verb: str, body: dict[str, str]) -> dict[str, Any]:
        try:
            answer = httpx.post(
                f"{self._url}/{verb}/{self._key}", json=body, timeout=SECONDS, follow_redirects=False,
                trust_env=False, verify=ssl.create_default_context(),
                headers={"X-Vault-Token": self._token.get_secret_value(), "X-Vault-Request": "true"},
            )  # fmt: skip
        except httpx.HTTPError as error:
            raise MasterKeyUnreadable(
                f"The key service does not answer: {type(error).__name__}.", remedy=_REMEDY
            ) from None
        if answer.status_code != 200:
            # Its words may hold what was sent: the status alone is told.
            raise MasterKeyUnreadable(f"The key service answered {answer.status_code} to {verb}.", remedy=_REMEDY)
        try:
            found = answer.json()["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise MasterKeyUnreadable("The key service's answer cannot be read.", remedy=_REMEDY) from error
        if not isinstance(found, dict):
            raise MasterKeyUnreadable("The key service's answer cannot be read.", remedy=_REMEDY)
        return found


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise MasterKeyUnreadable(f"The key service's answer has no {name}.", remedy=_REMEDY)
    return value


_REMEDY = "See that it runs and is unsealed, that treasury.transit_key exists there, and that the token may encrypt and decrypt."
