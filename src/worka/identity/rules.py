"""Pure rules of identity: the shape of tokens, passwords, tool names; the sign-in budget. No clock, no database."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass

from worka.identity.errors import WeakPassword
from worka.kernel import letters
from worka.kernel.errors import Invalid

PREFIXES = {
    "session": "wks",
    "api_token": "wkt",
    "invitation": "wki",
    "sign_in_link": "wkl",
    "setup": "wkst",
    "second_factor": "wkf",
}
_TOKEN = re.compile(r"^(wks|wkt|wki|wkl|wkst|wkf)_([A-Za-z0-9_-]{43})([0-9a-f]{8})$")
TOOL = r"^[a-z0-9][a-z0-9_-]*(?:\.[A-Za-z0-9][A-Za-z0-9_-]*){2}$"
# Spelled out beyond \s, which is not the same set in every language that reads the OpenAPI document.
# The dot-atom of RFC 5322, with letters beyond ASCII as in RFC 6531: no quoted names, no comments, nothing unseen.
_BEYOND = r"\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
_ATOM = rf'[^{_BEYOND}@.()<>\[\]:;,\\"]'
_LABEL = rf"[^{_BEYOND}!-,./:-@\[-`{{-~]"
EMAIL = rf"^{_ATOM}+(?:\.{_ATOM}+)*@{_LABEL}+(?:\.{_LABEL}+)*$"
SHORTEST_PASSWORD = 10


def make_token(kind: str, random: bytes) -> str:
    """`<prefix>_<43 characters><8 hex digits of CRC-32>` of 32 random bytes. The sum tells a typing error, and lets
    scanners of leaked text know one of ours; it guards nothing."""
    if len(random) != 32:
        raise ValueError("a token has 32 random bytes")
    body = base64.urlsafe_b64encode(random).rstrip(b"=").decode()
    prefix = PREFIXES[kind]
    return f"{prefix}_{body}{zlib.crc32(f'{prefix}_{body}'.encode()):08x}"


def kind_of(token: str) -> str | None:
    """The kind of a well-formed token with a right sum, else None."""
    match = _TOKEN.match(token)
    if match is None or f"{zlib.crc32(f'{match[1]}_{match[2]}'.encode()):08x}" != match[3]:
        return None
    return next(kind for kind, prefix in PREFIXES.items() if prefix == match[1])


def check_password(password: str, email: str) -> None:
    """Raises WeakPassword. Length is what counts (NIST SP 800-63B 3.1.1.2); no rules of composition."""
    if not SHORTEST_PASSWORD <= len(password) <= 1024:
        raise WeakPassword(f"It has {len(password)} characters.")
    if password.casefold() == email.casefold():
        raise WeakPassword("It is the e-mail address.")


def check_name(name: str, field: str = "/body/display_name") -> str:
    """The name without spaces around it. Raises Invalid: it has a character that cannot be seen. Every door that takes a name
    of a person, or of a service account, comes by here."""
    try:
        return letters.name(name).strip()
    except ValueError as error:
        raise Invalid(f"The name cannot be taken: {error}.", field=field) from error


def check_email(email: str) -> str:
    """The address as it is stored (lower case, without spaces around it). Raises Invalid."""
    cleaned = email.strip().lower()
    if not re.fullmatch(EMAIL, cleaned):
        raise Invalid("This is not an e-mail address.", code="bad_email", field="email")
    return cleaned


def check_tools(tools: list[str]) -> list[str]:
    """The list without repetition, in order. Raises Invalid for what is no `publisher.pack.tool`."""
    wrong = [name for name in tools if not re.fullmatch(TOOL, name)]
    if wrong:
        raise Invalid(
            f"These are no tool names (publisher.pack.tool): {', '.join(wrong[:5])}",
            code="bad_tool_name",
            field="tools",
        )
    return list(dict.fromkeys(tools))


@dataclass(frozen=True)
class Limit:
    """At most `tries` in `seconds` under one key."""

    name: str
    tries: int
    seconds: int


PAIR = Limit("pair", 10, 60)
"""One e-mail address from one place."""
PLACE = Limit("place", 60, 60)
"""One place, whatever the address: somebody who tries one password on many."""
ADDRESS = Limit("address", 50, 3600)
"""One e-mail address from all places together where nobody signed in with it before. Whoever did is not held up by it:
strangers who guess do not lock an owner out of the place they are used to."""
LOOK = Limit("look", 60, 60)
"""Looks at invitations from one place, and at one invitation. Counted apart from tries: a look holds nobody up who accepts."""
FACTOR = Limit("factor", 10, 900)
"""Codes of one person's second factor, wherever they are given. Whoever can try has the password or a session already."""
TOKEN_FACTOR = Limit("token_factor", 10, 900)
"""Codes given with one API token: apart from its person's own, so that a token in foreign hands locks nobody out."""
TOKEN_FACTOR_DAY = Limit("token_factor_day", 30, 86400)
"""And in a day: whoever goes on with it after the pause waits longer."""
