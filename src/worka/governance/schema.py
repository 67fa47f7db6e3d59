"""API shapes of governance."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worka.kernel.http import Body

Kind = Literal["governance", "access"]


class NewPolicy(Body):
    """A whole new text for the tenant's policy of a kind; an empty one goes back to the shipped floor alone."""

    kind: Kind
    text: str = Field(max_length=64_000)
    note: str = Field("", max_length=2000)
