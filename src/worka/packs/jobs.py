"""What runs later, or on another domain's event."""

from __future__ import annotations

from worka.kernel.events import Subscribers
from worka.packs.moving import service as moving
from worka.packs.proposals import service as proposals
from worka.packs.registry.service import publishing
from worka.packs.service import again, attachments, releases, stopping, vulnerabilities

REGISTER = "pack.register"
"""The engine's name of the registration job; positional arguments: tenant id, release id."""

MOVE = "pack.move"
"""The engine's name of the job that decides, tries and makes a move; positional arguments: tenant id, move id."""

KILLED = "pack.end_killed"
"""The engine's name of the job that ends what a kill switch stops; positional arguments: tenant id, kill id."""

carry_signatures = publishing.carry_due
try_stages = again.try_due
run_move = moving.run_move
run_killing = stopping.run_killing
hand_on = moving.hand_on
run_registration = releases.run_registration


def subscribe(subscribers: Subscribers) -> None:
    """Decisions and connections move attachments in their own transaction."""
    subscribers.on("approval.locking", attachments.approval_locking)
    subscribers.on("approval.decided", attachments.approval_decided)
    subscribers.on("approval.locking", publishing.approval_locking)
    subscribers.on("approval.decided", publishing.approval_decided)
    subscribers.on("connection.activated", attachments.connection_activated)
    subscribers.on("approval.locking", vulnerabilities.approval_locking)
    subscribers.on("approval.decided", vulnerabilities.approval_decided)
    subscribers.on("release.released", vulnerabilities.release_released)
    subscribers.on("release.released", proposals.release_released)
    subscribers.on("attachment.attached", attachments.attachment_serves)
    subscribers.on("release.lifted", attachments.release_lifted)
    subscribers.on("kill.set", stopping.kill_set)
    moving.subscribe(subscribers)
