"""Definition pins: what a server lists now against what was approved, and a difference that a person can read.

A pin is a hash; to show what changed, the host keeps each definition it has listed in a probe under its own hash.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worka.packs import rules

SERVER = "server instructions"
_MOST_TOLD = 20
"""How many differences of one session are told at once; the rest when these are settled."""


@dataclass(frozen=True)
class Listing:
    """What a server says of itself, in the form of the op `probe`."""

    server_info: dict[str, Any]
    instructions: str | None
    protocol: str
    tools: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The answer of `probe`."""
        return {
            "server_info": self.server_info,
            "instructions": self.instructions,
            "protocol": self.protocol,
            "tools": self.tools,
        }


class Difference:
    """How one definition differs; put into words when it is told, which is work."""

    def __init__(self, words: str = "", *, before: Any = None, after: dict[str, Any] | None = None) -> None:
        self._words, self._before, self._after = words, before, after

    @functools.cached_property
    def text(self) -> str:
        """What a person reads of it."""
        return self._words if self._after is None else _diff(self._before, self._after)


@dataclass(frozen=True)
class Differences:
    """Tool name -> how it differs; `whole` when the server's instructions changed, which concerns every tool."""

    tools: dict[str, Difference] = field(default_factory=dict)
    whole: Difference | None = None
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """{pin, definition} of each that differs, as the server lists it now; nothing for what it does not list."""

    def concerning(self, tool: str) -> str | None:
        """What this tool is held for: the server's instructions, its own name, or None."""
        return SERVER if self.whole is not None else tool if tool in self.tools else None

    def of(self, tool: str) -> dict[str, Any] | None:
        """Why this tool is held, or None: {tool, diff, listed, all}. `all` are the differences of the whole server."""
        if self.whole is not None:
            return self._one(SERVER, self.whole)
        return self._one(tool, self.tools[tool]) if tool in self.tools else None

    def other(self) -> dict[str, Any] | None:
        """Some tool that is held, for the record of a call to one that is not."""
        return next((self._one(tool, diff) for tool, diff in sorted(self.tools.items(), key=_name)), None)

    def _one(self, tool: str, difference: Difference) -> dict[str, Any]:
        others = [pair for pair in sorted(self.tools.items(), key=_name) if pair[0] != tool][:_MOST_TOLD]
        told: list[dict[str, Any]] = [
            {"tool": name, "diff": one.text, "listed": self.listed.get(name)}
            for name, one in [(tool, difference), *others]
        ]
        return {**told[0], "all": told}


def _name(pair: tuple[str, Difference]) -> str:
    return pair[0]


class Pins:
    """Compares, and remembers definitions below `home/envs/pins`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remember(self, listing: Listing) -> None:
        """Keeps what was listed, by pin. A full disk costs the old side of a later difference, nothing else."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            for tool in listing.tools:
                self._keep(rules.tool_pin(tool), tool)
            self._keep(rules.server_pin(listing.instructions), {"instructions": listing.instructions})

    def _keep(self, pin: str, value: dict[str, Any]) -> None:
        path = self.folder / f"{pin}.json"
        if not path.exists():
            fresh = path.with_suffix(".fresh")
            fresh.write_text(json.dumps(value))
            fresh.rename(path)

    def _recall(self, pin: str) -> Any:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / f"{pin}.json").read_text())
        return None

    def compare(self, listing: Listing, pins: dict[str, str], server_pin: str | None) -> Differences:
        """No pins: nothing was approved yet (a probe), so nothing differs."""
        if not pins:
            return Differences()
        found: dict[str, Difference] = {}
        now: dict[str, dict[str, Any]] = {}
        listed = {tool["name"]: tool for tool in listing.tools}
        names = ", ".join(sorted(listed)[:20]) or "no tool at all"
        for name in pins.keys() | listed.keys():
            if name not in listed:
                found[name] = Difference(f"The server does not list this tool any more; it lists {names}.")
            elif name not in pins:
                now[name] = {"pin": rules.tool_pin(listed[name]), "definition": listed[name]}
                found[name] = Difference(
                    "The server lists this tool, but it was not there when the release was registered."
                )
            elif (pin := rules.tool_pin(listed[name])) != pins[name]:
                now[name] = {"pin": pin, "definition": listed[name]}
                found[name] = Difference(before=self._recall(pins[name]), after=listed[name])
        for name, count in Counter(tool["name"] for tool in listing.tools).items():
            if count > 1:
                now.pop(name, None)
                found[name] = Difference(f"The server lists this tool {count} times.")
        whole = None
        if server_pin is not None and (pin := rules.server_pin(listing.instructions)) != server_pin:
            now[SERVER] = {"pin": pin, "definition": {"instructions": listing.instructions}}
            whole = Difference(before=self._recall(server_pin), after={"instructions": listing.instructions})
        return Differences(found, whole, now)


def _diff(before: Any, after: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return (
            "It differs from what was approved (the earlier text is not kept here). Now:\n"
            + rules.readable(after, ensure_ascii=True)[:6000]
        )
    parts = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            parts.append(f"{key}:\n" + rules.diff(before.get(key), after.get(key), "approved", "listed now"))
    return "\n".join(parts)[:8000]
