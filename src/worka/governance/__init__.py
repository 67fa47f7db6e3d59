"""Policy as versioned data, and the gate that answers allow, deny or ask.

Owns the shipped governance set (by version, never edited), the tenants' own policy versions (which only tighten), the
gate, and the decision record: every mutating answer, every denial and every ask, with the policy of that day, so that
it can be explained and evaluated again. `governance.facade.Authorizer` is what `ctx.require` calls. Governance decides
nothing about people's consent: approvals does.
"""

from __future__ import annotations

from worka.governance import actions, events, explain, facade, kills, rules, store
from worka.governance.facade import Authorizer
from worka.governance.jobs import subscribe

__all__ = ["Authorizer", "actions", "events", "explain", "facade", "kills", "rules", "store", "subscribe"]
