"""Connections: the approved link between a workspace and an outside system: service, credential, access, scope.

It owns the connection's record and its states. The credential's value lies in the treasury; where it may be used is bound
here, to one host and port. Connecting asks by policy; removing ends the grants that came with it. A connection is never
called a service, and never used by another workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worka.connections import actions as _actions
from worka.connections import model as _model

if TYPE_CHECKING:
    from worka.kernel.events import Subscribers

__all__ = ["subscribe"]
_ = (_actions, _model)


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    from worka.connections import service

    subscribers.on("approval.decided", service.approval_decided)
