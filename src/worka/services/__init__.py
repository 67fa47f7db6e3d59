"""Services: long-lived HTTP processes of a workspace. What is here is their network policy alone: a shape of its own (inbound, domain,
health, wider outbound), its versions, and the decisions over it. It is no pack's policy: a pack cannot hold one, and a
service is never decided by a pack's rules. Nothing asks it yet; deployment, probes, routes and logs come with services.
"""

from worka.services.rules import Asker, Decision, inbound, outbound, public_routes
from worka.services.schema import ServicePolicy

__all__ = ["Asker", "Decision", "ServicePolicy", "inbound", "outbound", "public_routes"]
