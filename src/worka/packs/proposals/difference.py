"""Differences of a manifest's outbound part, and of a policy on destinations: made, said and applied. Pure.

A difference of a manifest is {add: [item], remove: [item], drop: [provider]} in the manifest's own terms; of a policy it is
{scope, part, add: [item]}.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from worka.broker.ledger import OTHER
from worka.broker.policy import rules as policy
from worka.broker.records.model import by_rules
from worka.kernel import canonical
from worka.packs.moving import versions

Row = dict[str, Any]
POLICY = frozenset({policy.REFUSED, policy.NOT_LISTED})
BY_NAME_ALONE = "dns"
MARK = "outside"
"""What a version made of a proposal is marked with: `1.2.4-outside.1` comes after 1.2.3, and before the publisher's 1.2.4."""


class Gone(ValueError):
    """What a difference takes away is not there."""


def of_denial(row: Mapping[str, Any], port: int | None, method: str | None, path: str | None) -> tuple[str, Row]:
    """(kind, difference) for exactly what a row was refused. Of a refused lookup only the name is known: port, method and path
    are then the proposer's, and where they say nothing it is reading at 443. Raises ValueError saying why there is none."""
    reason, by_name = str(row["reason"]), row["kind"] == BY_NAME_ALONE
    if row["verdict"] != "denied":
        raise ValueError("it was let through")
    if not by_rules(row):
        raise ValueError(f"it was not refused by what the release declares or policy says, but for {reason}")
    if row["host"].startswith("("):
        raise ValueError("the row stands for further destinations that were not kept one by one")
    if not by_name and (port or method or path):
        raise ValueError("port, method and path are those of the refusal: a proposal is never wider")
    asked: tuple[int, str | None, str | None]
    if by_name:
        asked = (port or 443, method or "GET", path)
    elif row["opaque"]:
        asked = (row["port"], None, None)
    elif row["method"] is None:
        raise ValueError("what was asked was never read: the connection ended before")
    else:
        asked = (row["port"], row["method"], row["path"])
    # To policy a WebSocket has no method: once it stands, it says what it likes.
    socket = row["kind"] == "websocket"
    if socket and reason in POLICY:
        asked = (asked[0], None, asked[2])
    item = policy.narrow_item(str(row["host"]), *asked, websocket=socket and reason not in POLICY)
    if row["method"] == OTHER:
        raise ValueError("its method is none that a rule can name")
    if (path or not by_name) and not row["opaque"] and "paths" not in item:
        raise ValueError("its path is written so that two servers read it differently: no rule can name exactly that")
    if reason not in POLICY:
        return "widen", {"add": [item], "remove": [], "drop": []}
    layer, _, part = str(row["rule"]).removeprefix(policy.PREFIX).partition("/")
    where = "workspace" if layer.startswith("workspace") else "tenant"
    named = "only" if part == "only" else "except"
    return "policy", {"scope": where, "part": named, "add": [{**item, "packs": [str(row["pack"])]}]}


def digest(attachment_id: str, kind: str, difference: Mapping[str, Any]) -> str:
    """The same difference for the same attachment is the same proposal."""
    return canonical.sha256_hex({"attachment": attachment_id, "kind": kind, "difference": difference})


def apply(manifest: Mapping[str, Any], difference: Mapping[str, Any]) -> Row:
    """The manifest with the difference. Raises Gone for what it would take away and is not there."""
    made = copy.deepcopy(dict(manifest))
    items = list(made.get("outbound_domains") or [])
    for item in difference["remove"]:
        if item not in items:
            raise Gone(policy.said(item))
        items.remove(item)
    items += [item for item in difference["add"] if item not in items]
    made["outbound_domains"] = items
    for provider in difference["drop"]:
        kept = [need for need in made.get("connections") or [] if need["provider"] != provider]
        if len(kept) == len(made.get("connections") or []):
            raise Gone(f"the connection to {provider}")
        made["connections"] = kept
    return made


def next_version(version: str, taken: Iterable[str]) -> str:
    """The version of a release made of a proposal: after the one that it is made of, before the publisher's next one, and
    followed by nobody by itself."""
    held = set(taken)
    core, _, trial = version.partition("+")[0].partition("-")
    major, minor, patch = core.split(".")
    parts = trial.split(".") if trial else []
    if not parts:
        start = f"{major}.{minor}.{int(patch) + 1}-{MARK}"
    elif MARK in parts and parts[-1].isdigit():
        start = f"{core}-{'.'.join(parts[:-1])}"
    else:
        # A version that is a trial itself goes on with further parts, which come after it.
        start = f"{core}-{trial}.{MARK}"
    number = 1
    while f"{start}.{number}" in held or not versions.newer(f"{start}.{number}", version):
        number += 1
    return f"{start}.{number}"


def said(kind: str, difference: Mapping[str, Any]) -> str:
    """A difference in words."""
    if kind == "policy":
        part = "puts on its list" if difference["part"] == "only" else "excepts from what it refuses"
        return f"the {difference['scope']}'s policy {part} {_listed(difference['add'])}"
    parts = []
    if difference["add"]:
        parts.append(f"declares {_listed(difference['add'])}")
    if difference["remove"]:
        parts.append(f"declares {_listed(difference['remove'])} no more")
    if difference["drop"]:
        parts.append(f"needs no connection to {', '.join(difference['drop'])} any more")
    return "the release " + ", and ".join(parts)


def _listed(items: Iterable[Any]) -> str:
    return "; ".join(policy.said(item) for item in items)
