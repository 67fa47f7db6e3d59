"""API shapes of governance."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["governance", "access"]


class NewPolicy(BaseModel):
    """A whole new text for the tenant's policy of a kind; an empty one goes back to the shipped floor alone."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    text: str = Field(max_length=64_000)
    note: str = Field("", max_length=2000)
