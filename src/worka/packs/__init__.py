"""Packs: third-party capability, in a box with one hole.

A *pack* is an MCP server with a manifest (`worka/aip.json`). A *release* is one version of it: built into an immutable
environment, probed in the sandbox, its tools frozen and pinned. An *attachment* gives a release to a workspace, with
the mounts, the uid and the grants that belong to it. An *invocation* is one governed call of one tool: intent, call,
outcome. This domain owns these four and the runtime that executes them; it never decides (`ctx.require` does), never
dials out (the broker does), never holds a secret (the treasury does), and never runs a pack without a working sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worka.kernel.events import Subscribers

__all__ = ["subscribe"]


def subscribe(subscribers: Subscribers) -> None:
    """Registers the in-transaction handlers of this domain."""
    from worka.packs import jobs

    jobs.subscribe(subscribers)
