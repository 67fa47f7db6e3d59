"""What runs later, or on another domain's event inside its transaction."""

from __future__ import annotations

from worka.connections import ending, renewing, service
from worka.kernel.events import Subscribers

sweep = renewing.sweep


def subscribe(subscribers: Subscribers) -> None:
    """A decision activates or ends a connection in its own commit; a revoked secret breaks what it backs; who leaves takes
    their own accounts with them."""
    subscribers.on("approval.locking", service.approval_locking)
    subscribers.on("approval.decided", service.approval_decided)
    subscribers.on("secret.revoked", service.secret_revoked)
    subscribers.on("membership.changed", ending.left)
