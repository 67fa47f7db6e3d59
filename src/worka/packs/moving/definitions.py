"""Definitions that differ from what was approved: what the server lists now, and what was decided on it. Pure.

An attachment keeps, for each tool that differs, {pin, definition, decision}: the definition that the server lists with its
hash, and `accepted`, `refused` or None. A decision is about exactly this pin: another definition is held anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worka.packs.model import WHOLE_SERVER

Row = dict[str, Any]
SHOWN = ("name", "description", "input_schema", "output_schema", "annotations")


def entry(row: Row, tool: str) -> Row:
    """What is kept of a tool; empty when it is as it was approved."""
    return dict((row.get("definitions") or {}).get(tool) or {})


def known(row: Row, tool: str, listed: Mapping[str, Any] | None) -> bool:
    """Whether exactly this is kept already."""
    return entry(row, tool).get("pin") == (listed or {}).get("pin")


def settled(row: Row, tool: str, listed: Mapping[str, Any] | None) -> bool:
    """Whether somebody has decided on exactly what the server lists now."""
    return bool(listed) and known(row, tool, listed) and entry(row, tool).get("decision") is not None


def listed_now(row: Row, tool: str, listed: Mapping[str, Any] | None) -> Row:
    """The record with what the server lists now of a tool, undecided."""
    kept = {"pin": (listed or {}).get("pin"), "definition": (listed or {}).get("definition"), "decision": None}
    return {**(row.get("definitions") or {}), tool: kept}


def decided(row: Row, tool: str, decision: str, by: str, why: str) -> Row:
    """The record with a decision on what is listed."""
    return {**(row.get("definitions") or {}), tool: {**entry(row, tool), "decision": decision, "by": by, "why": why}}


def forgotten(row: Row, tool: str) -> Row:
    """The record without what was decided on a tool: its definition is the release's again."""
    return {name: kept for name, kept in (row.get("definitions") or {}).items() if name != tool}


def only_decided(row: Row) -> Row:
    """The record without what nobody has decided on."""
    return {name: kept for name, kept in (row.get("definitions") or {}).items() if kept.get("decision") is not None}


def refused(row: Row, tool: str) -> bool:
    """Whether the tool, or all of the server, is off because somebody refused what it lists."""
    return any(entry(row, name).get("decision") == "refused" for name in (tool, WHOLE_SERVER))


def served(row: Row, definition: Row) -> Row:
    """The definition of a tool as it is served here: the accepted one, where there is one. What it may do, the class and
    whether it may be repeated, stays that of the release."""
    kept = entry(row, definition["name"])
    if kept.get("decision") != "accepted":
        return definition
    return {**definition, **{key: kept["definition"].get(key) for key in SHOWN}, "pin": kept["pin"]}


def pins(row: Row, pinned: Mapping[str, str], server_pin: str | None) -> tuple[dict[str, str], str | None]:
    """The pins of a session: those of the release, and the accepted ones in their place."""
    found, whole = dict(pinned), server_pin
    for name, kept in (row.get("definitions") or {}).items():
        if kept.get("decision") == "accepted":
            if name == WHOLE_SERVER:
                whole = kept["pin"]
            else:
                found[name] = kept["pin"]
    return found, whole
