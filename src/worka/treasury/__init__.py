"""The treasury: the system of record for secrets. Existence and grant are two separate decisions.

It owns envelope encryption (a master key outside the database wraps one data key and one audit key per tenant), secrets and
their versions, grants per secret and attachment on one endpoint, and leases with their use. A value leaves only as a lease
to the broker, on the wire; no route and no pack ever gets one.
"""

from __future__ import annotations

from worka.treasury import actions as _actions
from worka.treasury import model as _model

__all__: list[str] = []
_ = (_actions, _model)
