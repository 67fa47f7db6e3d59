"""API shapes of notifications."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body
from worka.notifications.rules import OVERLAP_HOURS

WebhookState = Literal["active", "paused", "disabled", "removed"]
DeliveryState = Literal["queued", "sent", "refused", "failed", "skipped"]
Types = Annotated[list[Annotated[str, Field(min_length=1, max_length=80)]], Field(min_length=1, max_length=20)]


class NewWebhook(Body):
    """Where to, of what, and what it is for. `dry_run`: checked, and not added."""

    url: str = Field(min_length=9, max_length=2000, description="an https address")
    types: Types = Field(default_factory=lambda: ["*"], description="such as approval.requested, approval.*, or *")
    description: str = Field("", max_length=500)
    dry_run: bool = False


class ChangedWebhook(Body):
    """What is to be different; what is left out stays."""

    types: Types | None = None
    description: str | None = Field(None, max_length=500)
    state: Literal["active", "paused"] | None = None
    dry_run: bool = False


class Rotation(Body):
    """A new secret; the old one signs beside it for so many hours (0: not at all)."""

    overlap_hours: int = Field(OVERLAP_HOURS, ge=0, le=168)
    dry_run: bool = False


class NewReplay(Body):
    """One delivery, or those of a span of time that did not reach the receiver."""

    delivery_id: str | None = Field(None, max_length=64)
    since: str | None = Field(None, max_length=40, description="an ISO 8601 time with its zone, or an age such as 2h")
    until: str | None = Field(None, max_length=40, description="the same; without it now")
    dry_run: bool = False


class Webhook(Answer):
    """An outside system that is told of what happens in the workspace."""

    id: str
    workspace_id: str
    url: str
    types: list[str]
    description: str
    state: WebhookState
    reason: str
    since: datetime
    failing_since: datetime | None
    secrets: int
    """How many sign now: two while one is rotated."""
    created_by: str
    created_at: datetime


class WebhookWithSecret(Webhook):
    """The only answer that holds the secret: it is shown once. None in a dry run."""

    secret: str | None
    dry_run: bool


class RemovedWebhook(Webhook):
    """What is not tried any more with it."""

    undelivered: int


class Delivery(Answer):
    """One message to one receiver."""

    id: str
    workspace_id: str
    channel: Literal["webhook", "mail"]
    target: str
    message_id: str
    type: str
    state: DeliveryState
    reason: str
    attempts: int
    next_at: datetime | None
    status: int | None
    replay_of: str | None
    created_by: str
    created_at: datetime
    since: datetime


class Attempt(Answer):
    """One try: what came of it, how long it took, and the beginning of what was answered."""

    number: int
    at: datetime
    reason: str
    detail: str
    status: int | None
    duration_ms: float | None
    answer: str
    egress_id: str | None


class DeliveryWithAttempts(Delivery):
    """With what was sent, and every try."""

    payload: dict[str, Any]
    tries: list[Attempt]


class SentAgain(Answer):
    """What is sent again, or would be."""

    deliveries: list[str]
    more: bool
    """Whether there were more than one replay takes: repeat it."""
    dry_run: bool


class Choice(Answer):
    """What somebody wants to be told by mail, in this tenant. `sent`: whether the deployment sends mail at all."""

    mail: bool
    sent: bool


class NewChoice(Body):
    """The same, to be set."""

    mail: bool


class Told(Answer):
    """One receiver who was told of an approval, or was to be."""

    delivery: Delivery
    name: str
    """The person's, or the webhook's host."""


class ToldOf(Answer):
    """Who was told of an approval, and why nobody else was."""

    approval_id: str
    headline: str
    mail: bool
    """Whether the deployment sends mail."""
    webhooks: int
    """How many webhooks of the workspace are told of approvals."""
    without_mail: list[str]
    """Names of those whose yes is needed and who want no mail."""
    told: list[Told]
