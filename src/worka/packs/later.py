"""What a manifest may declare though this version has nothing behind it yet: never ignored, always said.

Two answers, decided per field (ADR 0085). *Told*: the pack works without it, so it registers, and each release carries a
warning that says what does not happen. *Refused*: the pack would be broken or weaker than it says, so it does not
register until there is something behind the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worka.packs.manifest import Manifest


@dataclass(frozen=True)
class Later:
    """A field whose subject comes later: what does not happen, and what the author can do."""

    field: str
    refused: bool
    message: str
    fix: str


FIELDS: Final = (
    Later(
        "webhooks",
        False,
        "no address is given to it, and nothing is delivered: inbound events are not in this version",
        "keep it for later, or poll with a tool",
    ),
    Later(
        "host_services",
        False,
        "it is shown and asked about at attachment; every call of it is denied: host services are not in this version",
        "keep it for later; the tools must do without",
    ),
    Later(
        "dependencies",
        False,
        "it is shown and kept; no pack can call another in this version",
        "keep it for later, or let a workflow call both",
    ),
    Later(
        "views",
        False,
        "it is kept with the release and not offered: static views of packs are not in this version",
        "keep it for later, or publish a view from a workflow",
    ),
    Later(
        "templates",
        False,
        "it is kept with the release and not offered at attachment in this version",
        "keep it for later; make the members and workflows by hand",
    ),
    Later(
        "migrations",
        True,
        "pack-owned tables (worka.db) are not in this version, so none of these would be run",
        "remove it, and keep state outside of the pack",
    ),
)
BY_FIELD: Final = {item.field: item for item in FIELDS}
RUNTIMES: Final = {
    "image": "there is no container engine behind runtime.image in this version",
    "command": "runtime.command alone names what only the author's machine has; this version installs packages",
}


def declared(manifest: Manifest) -> Iterator[Later]:
    """What this manifest declares of it, in the order of the table."""
    for item in FIELDS:
        if getattr(manifest, item.field):
            yield item


def runtime(manifest: Manifest) -> tuple[str, str] | None:
    """(field, why) of a way to start that is not served, or None."""
    if manifest.runtime.package is not None:
        return None
    field = "image" if manifest.runtime.image is not None else "command"
    return field, RUNTIMES[field]
