"""API shapes of approvals."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ApprovalState = Literal["open", "approved", "rejected", "expired", "withdrawn", "superseded"]


class NewDecision(BaseModel):
    """Consent or refusal to exactly what has this digest."""

    model_config = ConfigDict(extra="forbid")
    decision: Literal["approve", "reject"]
    digest: str = Field(min_length=1, max_length=128)
    comment: str = Field("", max_length=4000)
