"""What recorded rows would be under other rules. Pure.

A row tells what was asked: host, port, method, and the path of its last request. Rules are decided again over exactly that.
Where a row counts several requests and the answer hangs on the path, it is told as not certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worka.broker import rules
from worka.broker.policy import rules as policy
from worka.broker.policy.rules import Layer
from worka.broker.records.model import by_rules
from worka.broker.rules import Rule

UNREAD = "opaque_not_allowed"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Book:
    """What decides over one attachment's requests: what its release declares, what policy says where it is, and whether the
    deployment lets anything through unread (`broker.opaque`)."""

    declared: tuple[Rule, ...]
    held: tuple[Layer, ...]
    opaque: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What a book says of a row: `certain` is false where the path of every request would have to be known."""

    allowed: bool
    reason: str
    rule: str | None
    certain: bool = True


def recorded(row: Mapping[str, Any]) -> bool:
    """Whether the rules let it through then: what was refused later (an address, a credential) had passed them."""
    return row["verdict"] == "allowed" or not _refused(row)


def _refused(row: Mapping[str, Any]) -> bool:
    """Whether what refused it is decided again here."""
    return by_rules(row) or row["reason"] == UNREAD


def missing(row: Mapping[str, Any]) -> str | None:
    """Why rules have nothing to say of this row; None: they have."""
    if (
        row["kind"] == "raw"
        or row["reason"] in ("raw_address", "no_active_invocation", "malformed_host")
        or (row["reason"] == "upgrade_refused" and not by_rules(row))
    ):
        return "it was refused before any rule was asked"
    if row["pack"] is None:
        return "it was one of the platform's own calls, which follow recorded rules of their own"
    if row["attachment_state"] in (None, "detached"):
        return "its pack is no longer attached"
    if row["kind"] != "dns" and row["method"] is None and not row["opaque"]:
        return "what was asked was never read: the connection ended before"
    if row["host"].startswith("("):
        return "the row stands for further destinations that were not kept one by one"
    return None


def said(row: Mapping[str, Any], book: Book) -> Said:
    """What the book says of a row that `missing` has nothing against."""
    host, pack = row["host"], row["pack"]
    if row["kind"] == "dns":
        known = rules.declared(book.declared, host)
        return Said(known, "allowed" if known else "undeclared_destination", None)
    if row["opaque"] or rules.opaque_rule(book.declared, host, row["port"]) is not None:
        return _opaque(row, book)
    effect, port, method = row["side_effect"] or "read_only", row["port"], row["method"]
    path = row["path"] or "/"
    found = policy.decide(
        book.declared, book.held, pack, host, port, method, path, effect, websocket=row["kind"] == "websocket"
    )
    return Said(found.allowed, found.reason, found.rule_id, row["count"] == 1 or not _by_path(book, host, port))


def _opaque(row: Mapping[str, Any], book: Book) -> Said:
    """What is not read; and what was not read, where the rules would have it read: then what it said is not known."""
    host, port = row["host"], row["port"]
    unread = rules.opaque_rule(book.declared, host, port)
    read = [rule for rule in book.declared if rule.covers(host) and port in rule.ports and not rule.opaque]
    if unread is None and not read:
        return Said(False, "undeclared_destination", None)
    if unread is not None and not book.opaque:
        return Said(False, UNREAD, unread.id)
    refused = policy.refusal(book.held, row["pack"], host, port, None, None)
    if refused is not None:
        return Said(False, refused.reason, refused.rule_id)
    if unread is not None:
        return Said(True, "allowed", unread.id)
    whole = next((rule for rule in read if rule.methods is None and rule.paths is None), None)
    if whole is None:
        return Said(False, "path_not_allowed" if read[0].paths else "method_not_allowed", read[0].id, certain=False)
    return Said(True, "allowed", whole.id, certain=False)


def _by_path(book: Book, host: str, port: int) -> bool:
    """Whether any rule that could speak of this place looks at paths."""
    declared = any(rule.paths is not None for rule in book.declared if rule.covers(host) and port in rule.ports)
    items = (
        item for layer in book.held for part in (layer.refuse, layer.excepted, layer.only or ()) for item in part
    )  # fmt: skip
    return declared or any(item.rule.paths is not None for item in items if item.rule.covers(host))


def compare(
    rows: Sequence[Row], today: Callable[[Row], Book], then: Callable[[Row], Book], room: int
) -> tuple[list[Row], int]:
    """Up to `room` rows that would be decided otherwise, or of which it cannot be said; and how many rows that took."""
    items: list[Row] = []
    for number, row in enumerate(rows, 1):
        lacking = missing(row)
        if lacking is not None:
            # What no rule was asked about says nothing of these rules; only what they might have decided is told.
            if row["verdict"] == "allowed" or _refused(row):
                items.append(_item(row, None, None, lacking))
        else:
            now, new = said(row, today(row)), said(row, then(row))
            if new.allowed != now.allowed or new.allowed != recorded(row):
                items.append(_item(row, now, new, None))
        if len(items) == room:
            return items, number
    return items, len(rows)


def _item(row: Row, now: Said | None, new: Said | None, lacking: str | None) -> Row:
    keys = ("at", "workspace_id", "attachment_id", "pack", "invocation_id", "host", "port", "kind", "method", "path",
            "count")  # fmt: skip
    return {
        "egress_id": row["id"],
        **{key: row[key] for key in keys},
        "from": "allowed" if recorded(row) else "denied",
        "from_reason": row["reason"],
        "today": now and _word(now),
        "today_rule": now and now.rule,
        "to": new and _word(new),
        "to_reason": new and new.reason,
        "to_rule": new and new.rule,
        "earlier": bool(now and new and now.allowed == new.allowed),
        "certain": bool(now and new and now.certain and new.certain),
        "missing": lacking,
    }


def _word(found: Said) -> str:
    return "allowed" if found.allowed else "denied"


def counts(items: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many requests would be decided otherwise, each way."""
    found: dict[str, int] = {}
    for item in items:
        if item["missing"] is None and not item["earlier"]:
            key = f"{item['today']} to {item['to']}"
            found[key] = found.get(key, 0) + item["count"]
    return found


def sentence(items: Sequence[Mapping[str, Any]], scanned: int, requests: int, window: str) -> str:
    """What a person reads first."""
    by = counts(items)
    parts = [
        f"{verb} {_times(by[key], 'request')} that pass today"
        if key.startswith("allowed")
        else f"{verb} {_times(by[key], 'request')} refused today"
        for key, verb in (("allowed to denied", "refused"), ("denied to allowed", "let through"))
        if key in by
    ]
    told = " and ".join(parts) if parts else "decided nothing differently"
    before = sum(1 for item in items if item["earlier"])
    rest = sum(1 for item in items if item["missing"] is not None)
    unsure = sum(1 for item in items if item["missing"] is None and not item["earlier"] and not item["certain"])
    more = f"; {_times(before, 'row')} decided differently since then by earlier changes" if before else ""
    more += f"; of {_times(unsure, 'row')} only the last path is known" if unsure else ""
    more += f"; {_times(rest, 'row')} could not be decided again" if rest else ""
    return f"In {window} these rules would have {told}, of {_times(requests, 'request')} in {_times(scanned, 'row')}{more}."


def _times(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
