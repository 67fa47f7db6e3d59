"""What can be asked for in observability."""

from __future__ import annotations

from worka.kernel.actions import Action, register

OBSERVE = Action("workspace.observe", "view", "workspace", "Read changes, attention, health and chains.", records=False)

NETWORK_NEEDED = Action(
    "deployment.network.view", "operate", "tenant", "See where the deployment dials, and what its air gap would refuse.",
    records=False,
)  # fmt: skip

register(OBSERVE, NETWORK_NEEDED)
