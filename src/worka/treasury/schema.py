"""API shapes of the treasury. A value goes in and never comes out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from worka.kernel.http import Body
from worka.treasury.rules import MOST_CHARACTERS

_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"


class NewSecret(Body):
    """A secret: what it is called, what it is for, its kind, and its value."""

    name: str = Field(min_length=1, max_length=120, pattern=_NAME)
    purpose: str = Field("", max_length=400)
    kind: Literal["api_token", "oauth_access", "password", "registry", "publication", "infrastructure", "other"] = (
        "api_token"
    )
    value: SecretStr = Field(min_length=6, max_length=MOST_CHARACTERS)


class NewValue(Body):
    """The new value of a rotation."""

    value: SecretStr = Field(min_length=6, max_length=MOST_CHARACTERS)


class NewGrant(Body):
    """Which attachment may use the secret, on which endpoint (host:port)."""

    grantee_id: str = Field(min_length=1, max_length=80)
    endpoint: str = Field(min_length=3, max_length=260)


class Why(Body):
    """Why it is taken back; it stands in the ledger."""

    why: str = Field("", max_length=400)
