"""The use cases of moving, split by what they are about."""

from __future__ import annotations

from worka.kernel.events import Subscribers
from worka.packs.moving import asked, following
from worka.packs.moving.asked import back, compare, update, withdraw
from worka.packs.moving.following import set_mode
from worka.packs.moving.held import accept, refuse
from worka.packs.moving.reading import history, read, standing
from worka.packs.moving.review import review
from worka.packs.moving.sweeping import hand_on
from worka.packs.moving.trying import run_move

__all__ = [
    "accept",
    "back",
    "compare",
    "hand_on",
    "history",
    "read",
    "refuse",
    "review",
    "run_move",
    "set_mode",
    "standing",
    "subscribe",
    "update",
    "withdraw",
]


def subscribe(subscribers: Subscribers) -> None:
    """Decisions, connections, releases and other attachments move moves, in their own transaction."""
    subscribers.on("approval.locking", asked.approval_locking)
    subscribers.on("approval.decided", asked.approval_decided)
    subscribers.on("connection.activated", asked.connection_activated)
    subscribers.on("attachment.attached", asked.attachment_serves)
    subscribers.on("attachment.attached", following.attachment_serves)
    subscribers.on("release.released", following.release_released)
