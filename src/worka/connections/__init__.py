"""A workspace's accounts at outside systems: which provider, where, with what access, backed by which secret.

Owns connections and their states. Connecting is a consent boundary: by the shipped policy it waits for an approval, and
the decision and the activation are one commit. A connection belongs to one workspace and holds a reference, never a
value; ending it ends the grants of its secret for its endpoint. It never calls the outside: only the broker does.
"""

from __future__ import annotations

from worka.connections import actions, events, rules, store
from worka.connections.jobs import subscribe

__all__ = ["actions", "events", "rules", "store", "subscribe"]
