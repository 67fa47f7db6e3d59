"""One check, and whom it is made on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from worka.kernel.paths import Paths
from worka.kernel.settings import Settings


@dataclass(frozen=True)
class Check:
    """`failed` is broken; `warning` works, but not as it should; both have a remedy."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `--output json`."""
        return asdict(self)


@dataclass
class Patient:
    """The instance that is examined: its address, its settings, and what one examination learned for the next."""

    url: str
    settings: Settings
    facts: dict[str, Any] = field(default_factory=dict)
    """`database`: what observability.vitals read, when the database could be read; `platform`: the door's answer."""

    @cached_property
    def paths(self) -> Paths:
        """The places under its home."""
        return Paths(self.settings.home)
