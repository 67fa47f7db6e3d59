"""Notifications: what tells people and other systems that something waits for them.

A message is written with the change that it tells of (the outbox), and a worker turns it into deliveries: one for each
webhook of the workspace that wants it (Standard Webhooks) and one for each person whose yes is needed (e-mail). Each is
tried again with growing pauses, under one id that stays the same, until the receiver has accepted it: at least once,
never silently lost. What leaves, leaves through the broker; nothing here opens a socket to the outside.
"""

from __future__ import annotations

from worka.notifications import actions as actions
from worka.notifications import rules as rules
from worka.notifications.leaving import subscribe

__all__ = ["actions", "rules", "subscribe"]
