"""What happens here on another domain's word: an approval puts a change of the policy on destinations in force, or closes it;
ways of the platform's own are written and ended with what needs them."""

from __future__ import annotations

from worka.broker import ways
from worka.broker.policy import service as policy
from worka.kernel.events import Subscribers


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    subscribers.on("approval.locking", policy.approval_locking)
    subscribers.on("approval.decided", policy.approval_decided)
    # Connections stand below the broker: their rules are written here, as they commit.
    subscribers.on("platform.way.wanted", ways.wanted)
    subscribers.on("platform.way.ended", ways.ended)
