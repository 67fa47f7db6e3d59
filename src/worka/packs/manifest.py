"""The manifest `worka/aip.json`: read and checked before any code of a pack runs (contracts.md 1).

`read` answers a manifest and what should be told about it, or raises ManifestInvalid with one entry per wrong field:
its JSON pointer, what is wrong, and the fix. Unknown fields are reported with the nearest known name, never guessed.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from worka.broker.rules import RuleProblem, declared, parse_rules
from worka.kernel import schemas, strict_json
from worka.packs import format as models
from worka.packs import later
from worka.packs.errors import ManifestInvalid
from worka.packs.format import SCHEMA_VERSION, Manifest, Package, published_schema, schema

__all__ = [
    "OLDER_PLACE",
    "PLACE",
    "SCHEMA_VERSION",
    "Manifest",
    "Notice",
    "Package",
    "absent_files",
    "other_document",
    "published_schema",
    "read",
    "schema",
    "two_places",
    "understood",
    "unserved",
]

PLACE = "worka/aip.json"
OLDER_PLACE = "aip.json"
MOST_TOLD = 50
"""Unknown fields that are told one by one, and errors that are; of more it is said that there are more."""
MOST_UNKNOWN = 200


@dataclass(frozen=True)
class Notice:
    """Something that should be told: `pointer` of the field, what is the matter, and the fix."""

    pointer: str
    message: str
    fix: str

    def body(self) -> dict[str, str]:
        """As JSON."""
        return {"pointer": self.pointer, "message": self.message, "fix": self.fix}


def read(raw: Any, *, place: str = PLACE) -> tuple[Manifest, list[Notice]]:
    """The manifest and its warnings. `place` is where it stood: at the root, the older names are mapped.

    Raises ManifestInvalid with `errors` (pointer, message, fix), all of them at once up to MOST_TOLD.
    """
    with schemas.allowance():
        return _read(raw, place)


def _read(raw: Any, place: str) -> tuple[Manifest, list[Notice]]:
    if not isinstance(raw, dict):
        raise ManifestInvalid(errors=[Notice("", "the manifest is not a JSON object", "write one JSON object").body()])
    data: dict[str, Any] = copy.deepcopy(raw)
    notices = _map_older(data) if place == OLDER_PLACE else []
    errors: list[Notice] = []
    unknown: list[list[int | str]] = []
    manifest: Manifest | None = None
    # Unknown fields are taken out and told; the second round then sees only what is known.
    for _round in range(2):
        try:
            manifest = Manifest.model_validate(data)
            errors = []
            break
        except ValidationError as problem:
            forbidden = [
                e["loc"]
                for e in problem.errors(include_input=False, include_url=False)
                if e["type"] == "extra_forbidden"
            ]
            errors = _errors(problem, data)
            if len(unknown) + len(forbidden) > MOST_UNKNOWN:
                many = f"{len(unknown) + len(forbidden)} fields are none of {SCHEMA_VERSION}"
                errors.insert(0, Notice("", many, f"remove them; more than {MOST_UNKNOWN} are not looked at"))
                break
            for loc in forbidden:
                unknown.append(path := _loc(loc, data))
                _remove(data, path)
            if not forbidden:
                break
    notices += [_unknown(path) for path in unknown[:MOST_TOLD]]
    if (more := len(unknown) - MOST_TOLD) > 0:
        notices.append(
            Notice("", f"and {more} more fields are none of {SCHEMA_VERSION}; they were not read", "remove them")
        )
    if manifest is not None:
        errors = _across(manifest)
    if errors or manifest is None:
        raise ManifestInvalid(errors=[error.body() for error in errors], warnings=[notice.body() for notice in notices])
    for name, tool in manifest.declared_tools.items():
        if "side_effect" not in tool.model_fields_set:
            index = list(manifest.declared_tools).index(name)
            notices.append(
                Notice(
                    f"/tools/{index}", f"tool {name} has no side_effect and counts as destructive", "add side_effect"
                )
            )
    notices += [Notice(f"/{item.field}", item.message, item.fix) for item in later.declared(manifest)]
    return manifest, notices


def unserved(manifest: Manifest) -> list[Notice]:
    """Why this version cannot register a valid manifest: what it needs and nothing stands behind yet."""
    found = [Notice(f"/{item.field}", item.message, item.fix) for item in later.declared(manifest) if item.refused]
    if (way := later.runtime(manifest)) is not None:
        found.append(Notice(f"/runtime/{way[0]}", way[1], "give runtime.package with a hashed lock"))
    return found


def absent_files(manifest: Manifest, names: Collection[str]) -> list[Notice]:
    """What the manifest names among the pack's files (paths) and is not there. For packs that are sent as files."""
    found = []
    for key, view in manifest.views.items():
        if view.path not in names:
            step = key.replace("~", "~0").replace("/", "~1")
            found.append(Notice(f"/views/{step}/path", f"there is no file {view.path}", "add it, or correct the path"))
    return found


def two_places(names: Collection[str]) -> list[Notice]:
    """What is the matter where the files hold the manifest in both its places: readers would differ in which one they read."""
    if PLACE not in names or OLDER_PLACE not in names:
        return []
    return [Notice("", f"the files hold {PLACE} and {OLDER_PLACE}", f"keep {PLACE} alone")]


def other_document(contents: bytes, manifest: Manifest, place: str) -> list[Notice]:
    """Nothing, if the manifest among the pack's files reads as this one: whoever reviews the files reads that one. How it is
    written may differ (an artifact carries the document as it was understood)."""
    try:
        same = understood(read(strict_json.loads(contents), place=place)[0]) == understood(manifest)
    except (strict_json.Unreadable, ManifestInvalid):
        same = False
    return [] if same else [Notice("", f"the files hold another {place}", "send the same document in both places")]


def understood(manifest: Manifest) -> dict[str, Any]:
    """The document as it was understood: what a release keeps, and its digest covers."""
    return manifest.model_dump(mode="json", by_alias=True, exclude_none=True)


def _map_older(data: dict[str, Any]) -> list[Notice]:
    notices = [Notice("", f"the manifest stands at the root ({OLDER_PLACE})", f"move it to {PLACE}")]
    if "schema_version" not in data:
        data["schema_version"] = SCHEMA_VERSION
        notices.append(
            Notice(
                "/schema_version",
                "there is no schema_version; read as worka.aip.v1",
                f'add "schema_version": "{SCHEMA_VERSION}"',
            )
        )
    if "tenant" in data and "publisher" not in data:
        data["publisher"] = data.pop("tenant")
        notices.append(Notice("/tenant", "`tenant` is the older name of `publisher`", "rename it to publisher"))
    if "tools" not in data:
        data["tools"] = "discover"
        told = "there are no tools; what the server lists at registration is frozen, each as destructive"
        notices.append(Notice("/tools", told, 'declare them with their side_effect, or write "tools": "discover"'))
    dependencies = data.get("dependencies")
    if not isinstance(dependencies, list):
        return notices
    for index, item in enumerate(dependencies[: 2 * MOST_TOLD]):
        if isinstance(item, str) and item.count("/") == 1:
            dependencies[index] = {"pack": item.replace("/", "."), "tools": []}
            notices.append(
                Notice(
                    f"/dependencies/{index}",
                    f"{item!r} is the older form; it names no tool, so none may be called",
                    'write {"pack": "publisher.name", "tools": […]}',
                )
            )
    return notices


def _across(manifest: Manifest) -> list[Notice]:
    """What one field says about another."""
    found: list[Notice] = []
    items = [
        item if isinstance(item, str) else item.model_dump(exclude_none=True) for item in manifest.outbound_domains
    ]
    for index, item in enumerate(items):
        try:
            parse_rules([item])
        except RuleProblem as problem:
            found.append(
                Notice(
                    f"/outbound_domains/{index}",
                    str(problem).replace("outbound_domains[0]", "this item"),
                    "write a host name, *.host, or {host, port, methods, paths, websocket} or {host, opaque}",
                )
            )
    if not found:
        rules = parse_rules(items)
        for index, need in enumerate(manifest.connections):
            unread = need.inject is not None and any(rule.opaque and rule.covers(need.inject.host) for rule in rules)
            if unread:
                message = f"{need.inject.host if need.inject else ''} is opaque, so no credential can be placed there"
                found.append(Notice(f"/connections/{index}/inject/host", message, "take opaque away, or the injection"))
            host = need.inject.host.lower() if need.inject is not None else ""
            if need.inject is not None and not (declared(rules, host) or host in {rule.host for rule in rules}):
                found.append(
                    Notice(
                        f"/connections/{index}/inject/host",
                        f"{need.inject.host} is not among outbound_domains",
                        "declare the host there, or correct it here",
                    )
                )
    names = [] if manifest.tools == "discover" else [tool.name for tool in manifest.tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            found.append(Notice(f"/tools/{index}/name", f"tool {name} is declared twice", "remove one of the two"))
    for index, dependency in enumerate(manifest.dependencies):
        others = [other.pack for other in manifest.dependencies[:index]]
        if dependency.pack == manifest.pack:
            found.append(Notice(f"/dependencies/{index}/pack", "a pack does not depend on itself", "remove it"))
        elif dependency.pack in others:
            message = f"{dependency.pack} is named twice"
            found.append(Notice(f"/dependencies/{index}/pack", message, "join the two entries"))
    webhooks = [webhook.name for webhook in manifest.webhooks]
    for index, name in enumerate(webhooks):
        if name in webhooks[:index]:
            found.append(
                Notice(f"/webhooks/{index}/name", f"webhook {name} is declared twice", "remove one of the two")
            )
    providers = [need.provider for need in manifest.connections]
    for index, provider in enumerate(providers):
        if provider in providers[:index]:
            found.append(Notice(f"/connections/{index}/provider", f"{provider} is named twice", "join the two entries"))
    return found


_ABSENT = object()


def _down(value: Any, step: int | str) -> Any:
    """What stands at one step below a JSON value, or _ABSENT."""
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _ABSENT


def _loc(loc: tuple[int | str, ...], data: Any, missing: bool = False) -> list[int | str]:
    """The place in the document: pydantic's path without the names of union members. `missing`: the last is absent."""
    path: list[int | str] = []
    here = data
    for step in loc:
        below = _down(here, step)
        if below is _ABSENT and not (missing and step == loc[-1]):
            continue
        here = below
        path.append(step)
    return path


def _at(data: Any, path: list[int | str]) -> Any:
    for step in path:
        data = _down(data, step)
    return data


def _other_member(kind: str, loc: tuple[int | str, ...], value: Any) -> bool:
    """Whether the error is about the member of a union that the author did not mean."""
    return (kind == "literal_error" and loc == ("tools", "literal['discover']") and isinstance(value, list)) or (
        kind == "string_type" and loc[-1] == "str" and isinstance(value, dict)
    )


def _pointer(path: list[int | str]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)[:300]


def _remove(data: Any, path: list[int | str]) -> None:
    for step in path[:-1]:
        data = data[step]
    data.pop(path[-1], None)


def _unknown(path: list[int | str]) -> Notice:
    name = str(path[-1])[:80]
    near = difflib.get_close_matches(name, _known_names(), n=1)
    return Notice(
        _pointer(path),
        f"{name} is not a field of {SCHEMA_VERSION}; it was not read",
        f"did you mean {near[0]}? Otherwise remove it" if near else "remove it",
    )


@cache
def _known_names() -> tuple[str, ...]:
    parts = [part for part in vars(models).values() if isinstance(part, type) and issubclass(part, BaseModel)]
    return tuple(sorted({name for part in parts for name in part.model_fields}))


_FIXES = {
    "missing": "add it",
    "string_type": "write a text in quotes",
    "int_type": "write a whole number",
    "bool_type": "write true or false",
    "list_type": "write a list",
    "dict_type": "write an object",
    "model_type": "write an object",
    "model_attributes_type": "write an object",
}
_PATTERN_FIXES = {
    "version": "write a SemVer version such as 1.2.0",
    "publisher": "use lower-case letters, digits, - and _, starting with a letter or digit",
    "name": "use lower-case letters, digits, - and _, starting with a letter or digit",
    "homepage": "write an address that starts with https://",
    "pack": "write publisher.name",
    "provider": "use lower-case letters, digits, - and _",
}


def _errors(problem: ValidationError, data: dict[str, Any]) -> list[Notice]:
    found: dict[str, Notice] = {}
    for error in problem.errors(include_input=False, include_url=False):
        if error["type"] == "extra_forbidden":
            continue
        kind, context = error["type"], error.get("ctx", {})
        path = _loc(error["loc"], data, missing=kind == "missing")
        if _other_member(kind, error["loc"], _at(data, path)):
            continue
        message = str(context["error"]) if "error" in context else error["msg"][:1].lower() + error["msg"][1:]
        if kind == "missing":
            message = "this field is required"
        if kind == "literal_error":
            fix = f"write one of {context.get('expected')}"
        elif kind == "string_pattern_mismatch":
            message = "it has not the form that is needed"
            fix = _PATTERN_FIXES.get(str(path[-1]) if path else "", f"match {context.get('pattern')}")
        else:
            fix = _FIXES.get(kind, message)
        if len(found) >= MOST_TOLD and _pointer(path) not in found:
            found[""] = Notice("", "there are more errors", "correct these first")
            break
        # A union tells one error per member; the first about a place is the most useful.
        found.setdefault(_pointer(path), Notice(_pointer(path), message, fix))
    return list(found.values())
