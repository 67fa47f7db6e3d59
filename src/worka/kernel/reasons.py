"""Reason codes: the closed, documented answers to "why this state". Each domain registers its own in `rules.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# spec/explanation.md: layer -> incident class, one table.
INCIDENT_CLASS = {
    "authorization": "access or authorization",
    "governance": "access or authorization",
    "approval": "approval",
    "connection": "connection",
    "capacity": "pack invocation",
    "sandbox": "pack invocation",
    "pack": "pack invocation",
    "broker": "pack invocation",
    "upstream": "pack invocation",
    "service": "service deployment or health",
    "device": "service deployment or health",
    "platform": "service deployment or health",
    "publication": "publication or attachment",
    "projection": "stale projection",
}


@dataclass(frozen=True)
class Reason:
    """A stable code with what a person needs: its meaning, likely causes, how to check, and the remedy."""

    code: str
    domain: str
    layer: str
    meaning: str
    causes: str = ""
    check: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.layer not in INCIDENT_CLASS:
            raise ValueError(f"reason {self.code}: unknown layer {self.layer}")


_registry: dict[str, Reason] = {}


def register(*reasons: Reason) -> None:
    """Adds reasons; the same code with another text is an error."""
    for reason in reasons:
        if _registry.setdefault(reason.code, reason) != reason:
            raise ValueError(f"reason {reason.code} is registered twice with different texts")


def get(code: str) -> Reason | None:
    """The reason of a code, if it is registered."""
    return _registry.get(code)


def all_reasons() -> Iterable[Reason]:
    """Every reason, by code."""
    return [_registry[code] for code in sorted(_registry)]
