"""State machines as data, in one registry: every state names the reasons that it may have, and no other is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from worka.kernel.errors import Conflict


@dataclass(frozen=True)
class State:
    """One state with its reason codes; each is in `kernel.reasons`. `later`: why nobody meets this state yet."""

    name: str
    terminal: bool = False
    reasons: tuple[str, ...] = ()
    later: str = ""


@dataclass(frozen=True)
class StateMachine:
    """States and the moves between them. `check` is the guard of every update."""

    name: str
    states: Iterable[State]
    transitions: Iterable[tuple[str, str]]
    by_name: dict[str, State] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", tuple(self.states))
        object.__setattr__(self, "transitions", frozenset(self.transitions))
        object.__setattr__(self, "by_name", {state.name: state for state in self.states})
        for old, new in self.transitions:
            if old not in self.by_name or new not in self.by_name:
                raise ValueError(f"{self.name}: {old} -> {new} names an unknown state")

    def check(self, old: str, new: str) -> None:
        """Raises Conflict when the machine has no such move."""
        if (old, new) not in self.transitions:
            said = (
                f"A {self.name} that is {old} cannot become {new}."
                if old != new
                else f"The {self.name} is {old} already."
            )
            raise Conflict(said, code="state_conflict", state=old)

    def holds(self, state: str, reason: str) -> None:
        """Raises ValueError unless `reason` is one of this state's: called by every statement that stores the pair, so
        that no state is stored which nobody can explain."""
        known = self.by_name.get(state)
        if known is None or reason not in known.reasons:
            raise ValueError(f"a {self.name} is never {state} for the reason {reason!r}")

    def terminal(self, name: str) -> bool:
        """Whether nothing follows this state."""
        return self.by_name[name].terminal


_registry: dict[str, StateMachine] = {}


def machine(definition: StateMachine) -> StateMachine:
    """Registers a machine (once per name) and returns it."""
    if _registry.setdefault(definition.name, definition) is not definition:
        raise ValueError(f"state machine {definition.name} is registered twice")
    return definition


def all_machines() -> dict[str, StateMachine]:
    """Every machine by name."""
    return dict(_registry)
