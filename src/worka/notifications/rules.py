"""Pure rules of notifications: states and reasons, types and filters, addresses, pauses. No clock, no database."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlsplit

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.rules import canonical_path
from worka.kernel.reasons import Reason, register
from worka.kernel.states import State, StateMachine, machine
from worka.notifications.errors import WebhookInvalid

TYPES = {
    "approval.requested": "somebody's yes is needed",
    "approval.reminder": "it is still needed, and nobody has decided",
    "approval.escalation": "nobody decided in time, so more people may",
    "approval.decided": "it was approved or rejected, or policy asks something else by now",
    "approval.expired": "nobody decided before its end",
    "connection.expiring": "the credential of a connection ends soon, was not renewed, or has ended",
    "secret.expiring": "a secret ends soon, or is due for a new value",
    "secret.read": "a person has read a secret's value, with a second one's consent",
}
"""What can be told, and when. A webhook names these, or `approval.*`, or `*`."""
TEST = "webhook.test"
MOST_WEBHOOKS = 20
MOST_WAITING = 1000
"""Deliveries that wait for one webhook at most: what comes beyond that is kept and skipped, and can be replayed."""
PAUSES = (5, 30, 120, 600, 1800, 7200, 18_000, 36_000)
"""Seconds before the next try, by how many there were. After the last one it is given up: 19 hours in all."""
MAIL_PAUSES = (30, 120, 600, 1800, 3600, 7200)
DISABLED_AFTER = timedelta(hours=72)
"""A webhook of which every try failed for this long is disabled, visibly."""
OVERLAP_HOURS = 24
_CHECK = (
    "`worka webhook deliveries WEBHOOK`, and `worka why dlv_…` for one of them: every try, what was answered, and when."
)


def _reason(code: str, meaning: str, causes: str, remedy: str, layer: str = "service") -> Reason:
    return Reason(code, "notifications", layer, meaning, causes, _CHECK, remedy)


register(
    _reason("delivery_waiting", "It is about to be sent.", "It was just written, or others to the same receiver go first.",
            "Nothing; if it stays so, `worka doctor` tells whether a worker and the broker run.", "capacity"),
    _reason("delivery_retried", "A try failed; it is tried again after a pause that grows.",
            "The receiver was away, slow, or answered with an error.",
            "Look at what the receiver answered; nothing is lost meanwhile.", "upstream"),
    _reason("delivery_accepted", "The receiver has accepted it.", "A webhook answered 2xx; a mail server took the message.",
            "Nothing: it is as it should be. Whether somebody read it is not known."),
    _reason("address_unusable", "The person's address is no plain mailbox, so no mail can go there.",
            "It holds characters that mail servers read in several ways, or none at all.",
            "Correct the person's e-mail address."),
    _reason("receiver_answered", "The receiver answered, but did not accept it.",
            "An error of the receiver, a redirect (which is never followed), or a wrong address.",
            "Look at its answer in the delivery's tries, and at the receiver's own log.", "upstream"),
    _reason("delivery_refused", "The receiver refused it for good, so it is not tried again.",
            "The mail server answered with a permanent error, for example since there is no such mailbox.",
            "Correct the person's address, or ask who runs the mail server.", "upstream"),
    _reason("delivery_given_up", "Every try failed, and there are no more.",
            "The receiver was away or wrong for longer than the tries last.",
            "Mend the receiver, then `worka webhook replay`.", "upstream"),
    _reason("delivery_not_needed", "What it told of was over before it could be sent.",
            "The approval was decided or withdrawn, or the person may not decide it any more.", "Nothing."),
    _reason("delivery_queue_full", "Too many deliveries wait for this webhook, so this one was kept, not tried.",
            f"More than {MOST_WAITING} wait: the receiver is away or too slow for what happens here.",
            "Mend the receiver, then `worka webhook replay` for the span of time.", "capacity"),
    _reason("delivery_webhook_off", "The webhook was paused, disabled or removed when it was to be sent.",
            "Somebody paused or removed it, or it failed for too long.",
            "Take it up again, then `worka webhook replay` for the span of time."),
    _reason("webhook_in_service", "The webhook is told of what it wants.", "It was added, or taken up again.",
            "Nothing: it is as it should be."),
    _reason("webhook_paused", "Somebody paused the webhook: nothing is sent to it.", "Its receiver is being worked on.",
            "`worka webhook resume`, then `worka webhook replay` for what was missed."),
    _reason("webhook_keeper_left", "Who answered for the webhook is not in the workspace any more: nothing is sent to it.",
            "Whoever added it, or took it up last, was taken out of the workspace.",
            "Look at where it leads; then `worka webhook resume` (and answer for it), or `worka webhook remove`."),
    _reason("webhook_failing", "Every try failed for 72 hours, so nothing is sent to it any more.",
            "The receiver is gone, its address or certificate changed, or it refuses our signature.",
            "Mend the receiver, try it with `worka webhook test`, then `worka webhook resume` and `replay`.", "upstream"),
    _reason("webhook_gone", "The receiver said that it is gone (410), so nothing is sent to it any more.",
            "Whoever runs the receiver has taken it down.",
            "Remove the webhook, or resume it when that was a mistake.", "upstream"),
    _reason("webhook_removed", "Somebody removed the webhook.", "It was not needed any more.", "Add it again."),
)  # fmt: skip

WEBHOOK = machine(
    StateMachine(
        name="webhook",
        states=[
            State("active", reasons=("webhook_in_service",)),
            State("paused", reasons=("webhook_paused", "webhook_keeper_left")),
            State("disabled", reasons=("webhook_failing", "webhook_gone")),
            State("removed", terminal=True, reasons=("webhook_removed",)),
        ],
        transitions=[
            ("active", "paused"), ("active", "disabled"), ("active", "removed"), ("paused", "active"),
            ("paused", "removed"), ("disabled", "active"), ("disabled", "removed"),
        ],
    )
)  # fmt: skip
DELIVERY = machine(
    StateMachine(
        name="delivery",
        states=[
            State("queued", reasons=("delivery_waiting", "delivery_retried")),
            State("sent", terminal=True, reasons=("delivery_accepted",)),
            State("refused", terminal=True, reasons=("delivery_refused",)),
            State("failed", terminal=True, reasons=("delivery_given_up",)),
            State(
                "skipped",
                terminal=True,
                reasons=("delivery_not_needed", "delivery_queue_full", "delivery_webhook_off"),
            ),
        ],
        transitions=[("queued", state) for state in ("sent", "refused", "failed", "skipped")],
    )
)

_PORTS = range(1024, 65_536)
_FILTER = re.compile(r"\*|[a-z]+(?:\.[a-z]+)*(?:\.\*)?\Z")


def address(url: str) -> tuple[str, int, str]:
    """(host, port, path) of the address of a webhook. Raises WebhookInvalid."""

    def wrong(said: str) -> WebhookInvalid:
        return WebhookInvalid(f"url: {said}", field="/url")

    if len(url) > 2000 or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise wrong("up to 2000 plain characters, without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise wrong("it cannot be read") from error
    if parts.scheme != "https":
        raise wrong("it begins with https://")
    if "@" in parts.netloc:
        raise wrong("no user name or password stands in an address; the receiver checks the signature")
    if parts.fragment or url.endswith("#"):
        raise wrong("no fragment")
    if port != 443 and port not in _PORTS:
        raise wrong("port 443, or one above 1023")
    try:
        host = normalise_host(parts.netloc.rpartition(":")[0] if parts.port else parts.netloc)
    except HostProblem as problem:
        raise wrong(problem.detail) from problem
    path = parts.path or "/"
    if canonical_path(path) != path or "*" in path:
        raise wrong("the path is written plainly, without dot segments and needless escapes")
    return host, port, path


def filters(types: Iterable[str]) -> list[str]:
    """The types that a webhook names, checked against those that there are. Raises WebhookInvalid."""
    found = sorted(set(types))
    for wanted in found:
        if not _FILTER.match(wanted) or not any(wants([wanted], known) for known in TYPES):
            raise WebhookInvalid(
                f"types: there is nothing called {wanted[:60]!r}; there are {', '.join(TYPES)}.", field="/types"
            )
    if not found:
        raise WebhookInvalid("types: name at least one.", field="/types")
    return found


def wants(types: Iterable[str], kind: str) -> bool:
    """Whether a webhook with these types is told of this one. A test is for whoever asks for it."""
    return any(
        wanted == "*" or wanted == kind or (wanted.endswith(".*") and kind.startswith(wanted[:-1])) for wanted in types
    )


def pause(attempts: int, channel: str, jitter: float | None = None) -> timedelta | None:
    """How long after the so manieth try the next one comes; None: there is none. Spread by a tenth, so that what failed
    together does not come back together."""
    pauses = PAUSES if channel == "webhook" else MAIL_PAUSES
    if attempts > len(pauses):
        return None
    spread = random.uniform(0.9, 1.1) if jitter is None else jitter  # noqa: S311 - no secret hangs on it
    return timedelta(seconds=pauses[attempts - 1] * spread)
