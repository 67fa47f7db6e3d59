"""Problems of notifications.

NotFound ── WebhookNotFound, DeliveryNotFound      Invalid ── WebhookInvalid, ReplayInvalid
Conflict ── TooManyWebhooks, WebhookNotActive, NoMail      TooMany ── TooManyTests, TooManyWaiting
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Invalid, NotFound, TooMany


class WebhookNotFound(NotFound):
    """There is no such webhook for the caller; whether it exists for others is secret."""

    code, title = "webhook_not_found", "There is no such webhook here"


class DeliveryNotFound(NotFound):
    """There is no such delivery for the caller."""

    code, title = "delivery_not_found", "There is no such delivery here"


class WebhookInvalid(Invalid):
    """A field of a webhook is not acceptable."""

    code, title = "webhook_invalid", "The webhook is not acceptable"
    default_remedy = (
        "Name an https address without a password in it, and types such as approval.requested or approval.*."
    )


class ReplayInvalid(Invalid):
    """It is not clear what is to be sent again."""

    code, title = "replay_invalid", "It is not clear what is to be sent again"
    default_remedy = "Name one delivery, or a span of time that has begun."


class TooManyWebhooks(Conflict):
    """The workspace has as many as it may."""

    code, title = "too_many_webhooks", "The workspace has as many webhooks as it may"
    default_remedy = "Remove one that is not needed any more."


class WebhookNotActive(Conflict):
    """It is paused, disabled or removed."""

    code, title = "webhook_not_active", "The webhook is not active"
    default_remedy = "Take it up again first: worka webhook resume."


class TooManyWaiting(TooMany):
    """As many deliveries wait for the webhook as may."""

    code, title = "too_many_waiting", "As many deliveries wait for this webhook as may"
    default_remedy = "Wait until its receiver has taken some; `worka webhook deliveries` shows what it answers."


class NoMail(Conflict):
    """The deployment sends no mail."""

    code, title = "no_mail", "This deployment sends no mail"
    default_remedy = "Its operator sets WORKA_MAIL__HOST and what belongs to it (docs/reference/settings.md)."


class TooManyTests(TooMany):
    """Test messages wait already."""

    code, title = "too_many_tests", "Test messages wait to be sent already"
    default_remedy = "Look at what became of them first; `worka doctor` tells whether mail goes out at all."
