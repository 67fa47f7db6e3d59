"""Actions: what can be asked for, declared by each domain's `actions.py`, with the permission that holds it by default."""

from __future__ import annotations

import re
from dataclasses import dataclass

PERMISSIONS = ("view", "change", "approve", "manage_connections", "publish_shared_views", "manage_team_members")
# Beyond the six: what only owners do, what only operators do, what any signed-in principal may ask, what a tool call needs.
OTHER = ("administer", "own", "operate", "audit", "invoke")


@dataclass(frozen=True)
class Action:
    """`name` is noun.verb; `permission` one of PERMISSIONS or OTHER; `records`: whether an allow is written as a decision row;
    `waits`: whether its use case asks for the approvals that policy wants, and goes on when they are given."""

    name: str
    permission: str
    resource_type: str
    doc: str = ""
    records: bool = True
    waits: bool = False

    def __post_init__(self) -> None:
        if self.permission not in PERMISSIONS + OTHER:
            raise ValueError(f"action {self.name}: unknown permission {self.permission}")

    @property
    def words(self) -> str:
        """What it is, to be said after "may" or "may not": `invite people to the workspace`."""
        short = re.split(r"[:;]| \(", self.doc, maxsplit=1)[0].rstrip(".")
        return short[:1].lower() + short[1:] if short else self.name


_registry: dict[str, Action] = {}


def register(*actions: Action) -> None:
    """Adds actions; the same name with another meaning is an error."""
    for action in actions:
        if _registry.setdefault(action.name, action) != action:
            raise ValueError(f"action {action.name} is registered twice with different meanings")


def get(name: str) -> Action | None:
    """The action of this name, if it is registered."""
    return _registry.get(name)


def all_actions() -> list[Action]:
    """Every action, by name."""
    return [_registry[name] for name in sorted(_registry)]


def count() -> int:
    """How many are registered."""
    return len(_registry)
