"""What happens here on another domain's word: an approval puts a change of policy in force, or closes it."""

from __future__ import annotations

from worka.governance.service import approval_decided, approval_locking
from worka.kernel.events import Subscribers


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    subscribers.on("approval.locking", approval_locking)
    subscribers.on("approval.decided", approval_decided)
