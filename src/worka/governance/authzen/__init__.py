"""The AuthZEN Authorization API 1.0 over the one façade: outside enforcement points ask, Worka answers and records.

Owns the shapes of that protocol and the mapping onto our words (subject: principal; context and properties: facts), its
batch semantics, searches and metadata. It decides nothing: every answer is governance's. What is unknown, elsewhere, or of
another tenant is one and the same `false`.
"""

from __future__ import annotations

from worka.governance.authzen import schema, service

__all__ = ["schema", "service"]
