"""The broker: the only way out for packs.

It is the resolver and the listener of every sandbox, from outside. It decides each request by the rules of its
release, resolves and checks addresses itself, puts the workspace's credential on the wire where it is bound to, looks
through what comes back, and commits a row before it dials. It never lets a request pass because a part of it is down,
never gives a secret to a pack, and never follows a redirect: the pack's next request is decided anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worka.kernel.events import Subscribers

__all__ = ["subscribe"]


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    from worka.broker import jobs

    jobs.subscribe(subscribers)
