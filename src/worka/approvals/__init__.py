"""Consent by a person before a decided action proceeds: requests, eligibility, votes, quorum, decision, expiry, use.

Owns approvals and votes, the groups that rules name, delegations, and bypasses. An approval is bound to the digest of the
exact action and arguments, expires, and is used once. `confirm` is consent by the person behind the action, `approve`
consent by somebody else (four eyes). Who may decide is one pure function. It never performs what was approved: the
decision is published inside its transaction, and whoever waits resumes in that same commit.
"""

from __future__ import annotations

from worka.approvals import actions, events, explain, jobs, rules, service, store
from worka.approvals.jobs import subscribe

__all__ = ["actions", "events", "explain", "jobs", "rules", "service", "store", "subscribe"]
