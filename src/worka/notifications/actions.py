"""What can be asked for in notifications."""

from __future__ import annotations

from worka.kernel.actions import Action, register

MAIL_TEST = "mail.test"
NOTIFICATION_CHOOSE = "notification.choose"
WEBHOOK_CHANGE = "webhook.change"
WEBHOOK_CREATE = "webhook.create"
WEBHOOK_REMOVE = "webhook.remove"
WEBHOOK_REPLAY = "webhook.replay"
WEBHOOK_ROTATE = "webhook.rotate"
WEBHOOK_TEST = "webhook.test"
WEBHOOK_VIEW = "webhook.view"

register(
    Action(MAIL_TEST, "view", "workspace", "Send oneself a mail that says it is a test."),
    Action(NOTIFICATION_CHOOSE, "view", "workspace", "Choose whether one gets mail oneself."),
    Action(WEBHOOK_CHANGE, "administer", "webhook", "Change what a webhook is told of, pause it or take it up again."),
    Action(WEBHOOK_CREATE, "administer", "webhook", "Have an outside system told of what happens in the workspace."),
    Action(WEBHOOK_REMOVE, "administer", "webhook", "Take a webhook away."),
    Action(WEBHOOK_REPLAY, "administer", "webhook", "Send deliveries of a webhook again."),
    Action(WEBHOOK_ROTATE, "administer", "webhook", "Give a webhook a new secret."),
    Action(WEBHOOK_TEST, "administer", "webhook", "Send a webhook a message that says it is a test."),
    Action(WEBHOOK_VIEW, "change", "webhook", "See the workspace's webhooks and their deliveries.", records=False),
)
