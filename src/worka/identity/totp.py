"""One-time codes by time (RFC 6238 over RFC 4226) and recovery codes. Pure: no clock, no database.

SHA-1, six digits and thirty seconds are what every authenticator app takes; RFC 6238 says why HMAC-SHA-1 is enough here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

DIGITS: Final = 6
PERIOD: Final = 30
WINDOW: Final = 1
"""Steps before and after the present one whose codes are taken too: clocks differ, and people type slowly (RFC 6238 5.2)."""
SECRET_BYTES: Final = 20
RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 10
_ISSUER: Final = "Worka"
_TOTP = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[A-Z2-7]{16}")


def hotp(secret: bytes, counter: int, digits: int = DIGITS) -> str:
    """The code of a counter (RFC 4226 5.3)."""
    mac = hmac.digest(secret, counter.to_bytes(8, "big"), hashlib.sha1)
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def step_of(at: datetime) -> int:
    """The time step of a moment."""
    return int(at.timestamp()) // PERIOD


def matching_step(secret: bytes, code: str, at: datetime, after: int) -> int | None:
    """The step within the window whose code this is, newer than `after` (the last one used); None if there is none. Every
    step is compared, in the same time whether it fits or not."""
    now = step_of(at)
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if hmac.compare_digest(hotp(secret, step), code) and step > after:
            found = step
    return found


def cleaned(typed: str) -> str:
    """A code as it was typed, without the spaces and hyphens that people put into it, in capital letters."""
    return re.sub(r"[\s-]", "", typed).upper()


def is_totp(code: str) -> bool:
    """Whether a cleaned code has the shape of an authenticator's."""
    return _TOTP.fullmatch(code) is not None


def is_recovery(code: str) -> bool:
    """Whether a cleaned code has the shape of a recovery code."""
    return _RECOVERY.fullmatch(code) is not None


def secret_text(secret: bytes) -> str:
    """The secret as people type it into an app (base32)."""
    return base64.b32encode(secret).decode().rstrip("=")


def otpauth_uri(secret: bytes, account: str) -> str:
    """What an authenticator app reads from the QR code."""
    query = {"secret": secret_text(secret), "issuer": _ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD}
    return f"otpauth://totp/{_ISSUER}:{quote(account, safe='@')}?{urlencode(query)}"


def recovery_codes(random: bytes) -> list[str]:
    """Ten codes of 80 bits each, from as many random bytes: `ABCD-EFGH-IJKL-MNOP`."""
    if len(random) != RECOVERY_CODES * _RECOVERY_BYTES:
        raise ValueError("ten codes have ten random bytes each")
    parts = [random[at : at + _RECOVERY_BYTES] for at in range(0, len(random), _RECOVERY_BYTES)]
    texts = [base64.b32encode(part).decode() for part in parts]
    return ["-".join(text[at : at + 4] for at in range(0, 16, 4)) for text in texts]
