"""What can be asked for in observability."""

from __future__ import annotations

from worka.kernel.actions import Action, register

OBSERVE = Action("workspace.observe", "view", "workspace", "Read changes, attention, health and chains.", records=False)

register(OBSERVE)
