"""What happens here on another domain's word: an approval puts a change of the policy on destinations in force, or closes it, and
records where a name leads, or does not; ways of the platform's own are written and ended with what needs them."""

from __future__ import annotations

from worka.broker import service, trusts, ways
from worka.broker.asked import service as asked
from worka.broker.policy import service as policy
from worka.kernel.events import Subscribers

RECORDS = (service.EXCEPTION, trusts.TRUST)
"""What can wait to be recorded: a process that hears of a decision knows both."""


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    subscribers.on("approval.locking", policy.approval_locking)
    subscribers.on("approval.decided", policy.approval_decided)
    subscribers.on("approval.locking", asked.approval_locking)
    subscribers.on("approval.decided", asked.approval_decided)
    # Connections stand below the broker: their rules are written here, as they commit.
    subscribers.on("platform.way.wanted", ways.wanted)
    subscribers.on("platform.way.ended", ways.ended)
