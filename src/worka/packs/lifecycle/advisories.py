"""Known vulnerabilities as OSV says them: reading a feed that may be anything, and whether a version is hit. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key, partial
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from worka.kernel.clock import now
from worka.packs.lifecycle.errors import FeedInvalid

Row = dict[str, Any]
ECOSYSTEMS = {"PyPI": "pypi", "npm": "npm"}
"""OSV's name of an ecosystem -> ours. What is of others cannot be in a pack, and is left out."""
MOST = 2000
"""Documents of one request."""
MOST_RANGES, MOST_VERSIONS = 200, 5000
MOST_AFFECTED, MOST_EVENTS, MOST_LISTED = 1000, 5000, 50_000
"""Packages of one document, and the events and the versions of all of them: each is compared with what is installed."""
AHEAD = timedelta(minutes=10)
"""How far another clock may be ahead of ours."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,99}\Z")
_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z")


def read(documents: Sequence[Any]) -> list[Row]:
    """The advisories of a feed that speak of packages of our ecosystems: [{id, summary, severity, modified, withdrawn,
    affects}]. Raises FeedInvalid with the number of the document and the field, and takes nothing of such a feed."""
    if len(documents) > MOST:
        raise FeedInvalid(f"{len(documents)} documents; {MOST} is the most of one request.", field="documents")
    found: dict[str, Row] = {}
    for number, document in enumerate(documents):
        one = _one(number, document)
        if one is not None and (one["id"] not in found or found[one["id"]]["modified"] < one["modified"]):
            found[one["id"]] = one
    return list(found.values())


def _one(number: int, document: Any) -> Row | None:
    if not isinstance(document, Mapping):
        raise _bad(number, "", "is no object")
    name = document.get("id")
    if not isinstance(name, str) or not _ID.match(name):
        raise _bad(number, "id", "is missing, or no id of an advisory")
    modified = _moment(number, document.get("modified"))
    affected = document.get("affected", [])
    if not isinstance(affected, list):
        raise _bad(number, "affected", "is no list")
    if len(affected) > MOST_AFFECTED:
        raise _bad(number, "affected", f"names more than {MOST_AFFECTED} packages")
    affects: list[Row] = []
    events = listed = 0
    for item in affected:
        if (entry := _affected(number, item)) is not None:
            affects.append(entry)
            events += sum(map(len, entry["ranges"]))
            listed += len(entry["versions"])
        if events > MOST_EVENTS or listed > MOST_LISTED:
            raise _bad(number, "affected", f"holds more than {MOST_EVENTS} events, or {MOST_LISTED} versions")
    if not affects:
        return None
    summary = document.get("summary") or document.get("details") or ""
    if not isinstance(summary, str):
        raise _bad(number, "summary", "is no text")
    return {
        "id": name,
        "summary": " ".join("".join(c for c in summary if c.isprintable() or c.isspace()).split())[:500],
        "severity": _severity(document),
        "modified": modified,
        "withdrawn": bool(document.get("withdrawn")),
        "affects": affects,
    }


def _bad(number: int, field: str, what: str) -> FeedInvalid:
    return FeedInvalid(
        f"Document {number + 1}: {field or 'it'} {what}.", field=f"documents/{number}/{field}".rstrip("/")
    )


def _moment(number: int, value: Any) -> str:
    try:
        when = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad(number, "modified", "is no time") from None
    if when > now() + AHEAD:
        # It would stand before every correction of the advisory until then.
        raise _bad(number, "modified", "lies in the future")
    return when.isoformat()


def _severity(document: Mapping[str, Any]) -> str:
    """The word that the database gives (`HIGH`), else the first CVSS vector, else nothing."""
    specific = document.get("database_specific")
    word = specific.get("severity") if isinstance(specific, Mapping) else None
    if isinstance(word, str):
        return word[:40].lower()
    listed = document.get("severity")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], Mapping) else {}
    return str(first.get("score") or "")[:200]


def _affected(number: int, item: Any) -> Row | None:
    package = item.get("package") if isinstance(item, Mapping) else None
    if not isinstance(package, Mapping):
        return None
    ecosystem = ECOSYSTEMS.get(str(package.get("ecosystem") or "").partition(":")[0])
    name = package.get("name")
    if ecosystem is None:
        return None
    if not isinstance(name, str) or not 0 < len(name) <= 214:
        raise _bad(number, "affected/package/name", "is missing, or too long")
    versions = item.get("versions") or []
    if not isinstance(versions, list) or len(versions) > MOST_VERSIONS or not all(isinstance(v, str) for v in versions):
        raise _bad(number, "affected/versions", f"is no list of at most {MOST_VERSIONS} versions")
    ranges = [events for entry in _list(number, item, "ranges") if (events := _range(number, entry)) is not None]
    return {
        "ecosystem": ecosystem,
        "package": plain(ecosystem, name),
        "versions": [v[:100] for v in versions],
        "ranges": ranges,
    }


def _list(number: int, item: Mapping[str, Any], field: str) -> list[Any]:
    value = item.get(field) or []
    if not isinstance(value, list) or len(value) > MOST_RANGES:
        raise _bad(number, f"affected/{field}", f"is no list of at most {MOST_RANGES}")
    return value


def _range(number: int, entry: Any) -> list[Row] | None:
    """The events of a range of versions; None for one of commits, which an installed package does not have."""
    if not isinstance(entry, Mapping) or entry.get("type") not in ("ECOSYSTEM", "SEMVER"):
        return None
    found = []
    for event in _list(number, entry, "events"):
        if not isinstance(event, Mapping):
            raise _bad(number, "affected/ranges/events", "holds what is no object")
        for kind in ("introduced", "fixed", "last_affected"):
            if isinstance(event.get(kind), str):
                found.append({"kind": kind, "version": event[kind][:100]})
    return found


def plain(ecosystem: str, name: str) -> str:
    """A package's name as it is compared."""
    return canonicalize_name(name) if ecosystem == "pypi" else name.lower()


def hit(ecosystem: str, package: str, version: str, affects: Iterable[Mapping[str, Any]]) -> bool:
    """Whether this version of a package is one that an advisory speaks of. A version that nobody can order is hit by
    name, and where every version is; a range that cannot be read hits nothing, rather than everything."""
    for entry in affects:
        if entry["ecosystem"] != ecosystem or entry["package"] != plain(ecosystem, package):
            continue
        if version in entry["versions"] or any(_within(ecosystem, version, events) for events in entry["ranges"]):
            return True
    return False


def _within(ecosystem: str, version: str, events: Sequence[Mapping[str, Any]]) -> bool:
    """OSV's rule: walk the events in the order of their versions; after `introduced` it is hit, after `fixed` no more."""
    try:
        inside = False
        for event in sorted(events, key=cmp_to_key(partial(_in_order, ecosystem))):
            side = compare(ecosystem, version, event["version"])
            if event["kind"] == "introduced" and side >= 0:
                inside = True
            elif (event["kind"] == "fixed" and side >= 0) or (event["kind"] == "last_affected" and side > 0):
                inside = False
    except (InvalidVersion, ValueError):
        return False
    return inside


def _in_order(ecosystem: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    return compare(ecosystem, a["version"], b["version"]) or _RANK[a["kind"]] - _RANK[b["kind"]]


_RANK = {"introduced": 0, "last_affected": 1, "fixed": 2}


def compare(ecosystem: str, a: str, b: str) -> int:
    """-1, 0 or 1. `0` stands before everything. Raises InvalidVersion, ValueError."""
    if a == b:
        return 0
    if "0" in (a, b):
        return -1 if a == "0" else 1
    if ecosystem == "pypi":
        left, right = Version(a), Version(b)
        return (left > right) - (left < right)
    return _semver(a, b)


def _semver(a: str, b: str) -> int:
    parts = []
    for version in (a, b):
        match = _SEMVER.match(version)
        if match is None:
            raise ValueError(version)
        parts.append((tuple(int(n) for n in match.groups()[:3]), match[4]))
    (left, before), (right, after) = parts
    if left != right:
        return -1 if left < right else 1
    if before is None or after is None:  # a version is after every one that leads to it
        return (before is None) - (after is None)
    for x, y in zip(before.split("."), after.split("."), strict=False):
        if x != y:
            numbers = x.isdecimal(), y.isdecimal()
            if numbers == (True, True):
                return -1 if int(x) < int(y) else 1
            if numbers != (False, False):
                return -1 if numbers[0] else 1
            return -1 if x < y else 1
    return (before.count(".") > after.count(".")) - (before.count(".") < after.count("."))
