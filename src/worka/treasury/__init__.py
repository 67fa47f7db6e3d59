"""Secrets at rest, who may use them where, and the short leases in which a value leaves.

Owns the key envelope (a master key outside the database, a data key and an audit key per tenant), secrets and their
versions, grants and leases. Creating a secret grants nothing; a grant names one secret, one attachment and one
endpoint. A value leaves only as a lease to the broker, for one running invocation, and never through a route, an
event or a log: but by a reading, which another owner agreed to.
"""

from __future__ import annotations

from worka.treasury import actions, events, rules, store
from worka.treasury.jobs import subscribe

__all__ = ["actions", "events", "rules", "store", "subscribe"]
