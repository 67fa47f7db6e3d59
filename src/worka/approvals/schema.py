"""API shapes of approvals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worka.kernel.http import Body

ApprovalState = Literal["open", "approved", "rejected", "expired", "withdrawn", "superseded"]


class NewDecision(Body):
    """Consent or refusal to exactly what has this digest."""

    decision: Literal["approve", "reject"]
    digest: str = Field(min_length=1, max_length=128)
    comment: str = Field("", max_length=4000)
