"""Pure decisions of packs: digests and pins, what differs, what an attachment needs, which leg of the road failed."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jsonschema
import re2
from referencing.exceptions import Unresolvable

from worka.kernel import canonical, differing, reasons, schemas
from worka.packs import causes
from worka.packs.manifest import Manifest

REASONS = causes.REASONS
"""Every reason code of this domain; registered on import."""

LAST_WORDS = 160
"""How much of a pack's last line of output a headline takes up."""
_MOST_COMPARED, _MOST_LINES = 64 * 1024, 400
UNCOMPARED = "… and what comes after that is not compared here"
_MOST_TOLD = 20
_TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}\Z")
EFFECT_CLASSES = {
    "read_only": "reads only",
    "write": "writes inside its own world",
    "external_side_effect": "has an effect at an outside system",
    "destructive": "may destroy",
}


def tool_pin(tool: Mapping[str, Any]) -> str:
    """SHA-256 over what a caller was shown of a tool (decisions.md 21). What a server left out and null are the
    same."""
    return canonical.sha256_hex(
        {key: tool.get(key) for key in ("name", "description", "input_schema", "output_schema", "annotations")}
    )


def server_pin(instructions: str | None) -> str:
    """SHA-256 over the server's instructions."""
    return canonical.sha256_hex({"instructions": instructions})


def release_digest(manifest: Mapping[str, Any], lock_text: str, tree_digest: str) -> str:
    """SHA-256 over the canonical manifest, the lock and the file tree (decisions.md 9)."""
    return canonical.sha256_hex(
        {"manifest": dict(manifest), "lock": lock_text, "tree": tree_digest, "format": "worka.release.v1"}
    )


def contents_digest(manifest: Mapping[str, Any], lock_text: str, files: Mapping[str, str]) -> str:
    """SHA-256 over what was handed in: manifest, lock and (path -> SHA-256) of the tree."""
    return canonical.sha256_hex({"manifest": dict(manifest), "lock": lock_text, "files": dict(files)})


def freeze(manifest: Manifest, probed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tools as they are served from now on: what was probed, with the classes that the manifest declares."""
    declared = manifest.declared_tools
    found = []
    for tool in probed:
        known = declared.get(tool["name"])
        shown = {key: tool.get(key) for key in ("name", "description", "input_schema", "output_schema", "annotations")}
        found.append(
            {
                **shown,
                "side_effect": known.side_effect if known else "destructive",
                "idempotent": known.idempotent if known else False,
                "pin": tool_pin(shown),
            }
        )
    return found


def listing_problem(probed: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a server's list of tools cannot be taken, or None: a name that is none, or two that people and parsers may
    take for one."""
    seen: dict[str, str] = {}
    for tool in probed:
        name = str(tool["name"])
        if not _TOOL_NAME.match(name):
            return f"The server lists a tool whose name {name[:80]!a} is more than letters, digits and _ . / -."
        if (other := seen.get(_plain(name))) is not None:
            return f"The server lists two tools that can be taken for one: {other} and {name}."
        seen[_plain(name)] = name
    return None


def tool_differences(manifest: Manifest, probed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the declared tools and the listed ones differ: [{tool, field, declared, found, diff}], readable. Empty:
    equal.

    What the manifest leaves out of a tool (its description, a schema) is not compared. `discover` differs in nothing.
    Of very many differences the first have their lines.
    """
    if manifest.tools == "discover":
        return []
    listed = {tool["name"]: tool for tool in probed}
    found: list[dict[str, Any]] = []
    for name, tool in manifest.declared_tools.items():
        if name not in listed:
            near = close(name, listed) if len(found) < _MOST_TOLD else None
            hint = f"; it lists {near}" if near else ""
            found.append(_difference(name, "name", name, None, f"declared, but the server does not list it{hint}"))
            continue
        for key in ("description", "input_schema", "output_schema"):
            if key in tool.model_fields_set and getattr(tool, key) != listed[name].get(key):
                found.append(
                    _difference(
                        name,
                        key,
                        getattr(tool, key),
                        listed[name].get(key),
                        diff(getattr(tool, key), listed[name].get(key)) if len(found) < _MOST_TOLD else "it differs",
                    )
                )
    for name in listed:
        if name not in manifest.declared_tools:
            found.append(_difference(name, "name", None, name, "listed by the server, but not declared"))
    return found


def _difference(tool: str, field: str, declared: Any, found: Any, text: str) -> dict[str, Any]:
    return {"tool": tool, "field": field, "declared": declared, "found": found, "diff": text}


def diff(before: Any, after: Any, old: str = "declared", new: str = "listed") -> str:
    """A unified diff of two values, as lines a person reads; of texts of strangers: the first 64 KiB and 400
    lines of each are compared."""
    ours, theirs = _lines(before), _lines(after)
    told = differing.unified(ours[:_MOST_LINES], theirs[:_MOST_LINES], old, new)
    cut = max(len(ours), len(theirs)) > _MOST_LINES or max(map(len, map("\n".join, (ours, theirs)))) >= _MOST_COMPARED
    if before != after and (cut or not told):
        told.append(UNCOMPARED)
    return "\n".join(told)[:8000]


def _lines(value: Any) -> list[str]:
    text = value if isinstance(value, str) else readable(value)
    return text[: _MOST_COMPARED + 1].splitlines()


def readable(value: Any, *, ensure_ascii: bool = False) -> str:
    """The value as indented JSON, its first 64 KiB; what comes after that is not even written."""
    pieces, length = [], 0
    for piece in json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=ensure_ascii).iterencode(value):
        pieces.append(piece)
        length += len(piece)
        if length > _MOST_COMPARED:
            break
    return "".join(pieces)[: _MOST_COMPARED + 1]


def attach_facts(manifest: Manifest, tools: Sequence[Mapping[str, Any]], mounts: Iterable[str]) -> dict[str, Any]:
    """What policy may look at when a release is attached (words of the authorization vocabulary)."""
    hosts = [item if isinstance(item, str) else item.host for item in manifest.outbound_domains]
    return {
        "pack": manifest.pack,
        "publisher": manifest.publisher,
        "version": manifest.version,
        "risk": risk(manifest, tools),
        "providers": sorted({need.provider for need in manifest.connections}),
        "network": bool(hosts),
        "hosts": hosts,
        "opaque": _opaque(manifest),
        "writes": any(tool["side_effect"] != "read_only" for tool in tools),
        "host_services": bool(manifest.host_services),
        "tools": [tool["name"] for tool in tools],
        "mounts": sorted(mounts),
    }


def call_facts(tool: str, pack: str, release: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    """What policy may look at when a tool is called, before anybody sees arguments."""
    items = release["manifest"].get("outbound_domains", [])
    hosts = [item if isinstance(item, str) else item["host"] for item in items]
    return {
        "tool": tool,
        "pack": pack,
        "publisher": release["publisher"],
        "version": release["version"],
        "release": release["id"],
        "side_effect": definition["side_effect"],
        "idempotent": definition["idempotent"],
        "network": bool(hosts),
        "hosts": hosts,
    }


def risk(manifest: Manifest, tools: Sequence[Mapping[str, Any]]) -> str:
    """The tier of a release, from what it says it needs: `low` reads what callers give it and nothing else; `high` acts
    outside, destroys, uses host services, gets a credential, names no single host, or speaks to one unread; `medium` is
    everything between."""
    hosts = [item if isinstance(item, str) else item.host for item in manifest.outbound_domains]
    classes = {tool["side_effect"] for tool in tools}
    acts = bool(classes - {"read_only", "write"})
    if acts or manifest.host_services or manifest.connections or any(host.startswith("*") for host in hosts):
        return "high"
    if _opaque(manifest):
        return "high"
    return "medium" if hosts or classes - {"read_only"} else "low"


def _opaque(manifest: Manifest) -> bool:
    """Whether something leaves that the broker does not read."""
    return any(not isinstance(item, str) and bool(item.opaque) for item in manifest.outbound_domains)


def attach_effect(facts: Mapping[str, Any], needs: Sequence[Mapping[str, Any]]) -> str:
    """What attaching gives the pack, in one sentence a person decides on."""
    parts = []
    if facts["network"]:
        parts.append(f"reach {', '.join(facts['hosts'])} through the broker")
    if facts["writes"]:
        parts.append("offer tools that write")
    if facts["host_services"]:
        parts.append("use host services")
    if facts["mounts"]:
        parts.append(f"read a clone of {', '.join(facts['mounts'])}")
    for need in needs:
        parts.append(
            f"have the {need['provider']} credential placed on its requests to {need['endpoint']} by the broker"
        )
    return f"{facts['pack']} {facts['version']} may " + ("; ".join(parts) if parts else "read what callers give it")


def connection_needs(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{provider, access, required, host, port, endpoint}] of a manifest; endpoint is host:port of the injection."""
    ports = {
        (item if isinstance(item, str) else item["host"]): (None if isinstance(item, str) else item.get("port"))
        for item in manifest.get("outbound_domains", [])
    }
    found = []
    for need in manifest.get("connections", []):
        host = (need.get("inject") or {}).get("host")
        port = ports.get(host) or 443
        found.append(
            {
                "provider": need["provider"],
                "access": need.get("access", ""),
                "required": need.get("required", True),
                "host": host,
                "port": port,
                "endpoint": f"{host}:{port}" if host else "",
            }
        )
    return found


def input_errors(schema: Mapping[str, Any] | None, value: Any) -> list[dict[str, str]]:
    """[{pointer, message}] where a value does not fit a JSON Schema; at most ten. Values are not repeated in the
    text."""
    if not schema:
        return []
    try:
        errors = sorted(schemas.errors(schema, value, most=10), key=lambda e: list(map(str, e.absolute_path)))
    except (schemas.TooCostly, re2.error) as costly:
        return [{"pointer": "", "message": f"the tool's schema cannot be applied in bounded time: {str(costly)[:120]}"}]
    except (Unresolvable, RecursionError):
        return [{"pointer": "", "message": "the tool's schema refers to what is not in it, so nothing fits it"}]
    found = [{"pointer": _pointer(error.absolute_path), "message": _complaint(error)} for error in errors]
    for path, declared in _lookalikes(schema, value, ()):
        found.append({"pointer": _pointer(path), "message": f"reads like {declared}, which the schema declares"})
    return found[:10]


def _pointer(path: Iterable[Any]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _lookalikes(schema: Any, value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """(path, declared name) of each name that some parsers take for a declared one, and others do not: another case,
    another Unicode form. What a person approves as one field a pack would read as another."""
    if not isinstance(schema, Mapping) or len(path) > 32:
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and isinstance(value, dict):
        declared = {_plain(name): name for name in properties}
        for name, inner in value.items():
            if name in properties:
                yield from _lookalikes(properties[name], inner, (*path, name))
            elif _plain(name) in declared:
                yield (*path, name), declared[_plain(name)]
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _lookalikes(schema.get("items"), inner, (*path, number))


def foreign_references(schema: Any) -> list[str]:
    """The `$ref`s of a schema that lead out of it."""
    found: list[str] = []
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key in ("$ref", "$dynamicRef"):
                if isinstance(item.get(key), str) and not item[key].startswith("#"):
                    found.append(item[key])
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return sorted(set(found))


def _complaint(error: jsonschema.ValidationError) -> str:
    want = error.validator_value
    return {
        "required": f"these fields are required: {', '.join(want) if isinstance(want, list) else want}",
        "additionalProperties": "an unknown field is here",
        "type": f"must be of type {want}",
        "enum": f"must be one of {want}",
        "minimum": f"must be at least {want}",
        "maximum": f"must be at most {want}",
        "minLength": f"must have at least {want} characters",
        "maxLength": f"must have at most {want} characters",
        "pattern": f"must match {want}",
    }.get(str(error.validator), f"does not satisfy {error.validator}")


def did_you_mean(name: str, registered: Sequence[str]) -> str:
    """` Did you mean X?`, when a registered name is close to the one that was asked for; else nothing."""
    near = close(name, registered, 0.5)
    return f" Did you mean {near}?" if near else ""


def close(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that is most like this one, of the first hundred: each is compared letter by letter."""
    return next(iter(difflib.get_close_matches(name, list(itertools.islice(names, 100)), n=1, cutoff=cutoff)), None)


def failing_layer(outcome: Mapping[str, Any], egress: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """(layer, reason, message) of a call that did not succeed.

    A pack only knows that "it did not work". If the broker refused something during the call, or the outside answered
    with an error, that is why: the pack's own words stay in the message. What broke the pack itself (a crash, a limit)
    is not explained by the network. The first line is what a person is told; the pack's own words follow on the next.
    """
    reason = str(outcome.get("reason") or "tool_error")
    layer = str(outcome.get("layer") or layer_of(reason, "pack"))
    message = str(outcome.get("message") or "")
    if reason != "tool_error":
        return layer, reason, message
    refused = [row for row in egress if row["verdict"] == "denied"]
    if refused:
        last = refused[-1]
        return (
            layer_of(last["reason"], "broker"),
            last["reason"],
            f"{_target(last)} was refused. {meaning(last['reason'])}{_own(message)}",
        )
    for row in reversed(egress):
        if layer_of(row["reason"], "broker") in {"upstream", "connection"}:
            return (
                layer_of(row["reason"], "upstream"),
                row["reason"],
                f"{row['host']}:{row['port']}: {meaning(row['reason'])}{_own(message)}",
            )
        if row["status"] is not None and row["status"] >= 400:
            return "upstream", "upstream_error", f"{row['host']} answered {row['status']}.{_own(message)}"
    return layer, reason, message


def meaning(reason: str) -> str:
    """What a reason code means, as a sentence; the code itself when nobody registered it."""
    known = reasons.get(reason)
    return known.meaning if known else f"{reason}."


def _target(row: Mapping[str, Any]) -> str:
    return f"the name {row['host']}" if row.get("kind") == "dns" else f"{row['host']}:{row['port']}"


def _own(message: str) -> str:
    return f"\nThe pack said: {message}" if message else ""


def layer_of(code: str, otherwise: str) -> str:
    """The layer of a reason code."""
    known = reasons.get(code)
    return known.layer if known is not None else otherwise


def with_last_words(message: str, tail: str) -> str:
    """The message of a pack that ended, with the last line that it wrote: that is mostly the error. `tail` is redacted
    already; what does not print is left out."""
    lines = ["".join(letter for letter in line if letter.isprintable()).strip() for line in tail.splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    if not last:
        return message
    return f"{message.rstrip('.')}; its last line of output: {last[:LAST_WORDS]}{'…' if len(last) > LAST_WORDS else ''}"


def effect_uncertain(side_effect: str, outcome: Mapping[str, Any], egress: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a failed call may have had its effect outside all the same: a writing request left, and the pack did not
    live to say what came of it. A tool that answered with an error knows, and is believed. `egress`: the call's rows. One whose
    request was given up says so a moment later; the broker knows it at once, where it answered (`outcome`)."""
    if side_effect == "read_only" or outcome.get("reason") == "tool_error":
        return False
    told = outcome.get("egress")
    left = None if told is None else {row["id"] for row in told}
    writes = [row for row in egress if row["verdict"] == "allowed" and (row["method"] or "GET") not in {"GET", "HEAD"}]
    return any(left is None or row["id"] in left for row in writes)


# stages that fail ---------------------------------------------------------------------------------------------------
WAITS_FOR = {
    "draft": "waiting_for_build",
    "built": "waiting_for_publication",
    "published": "waiting_for_identity",
    "registered": "waiting_for_probe",
    "probed": "waiting_for_release",
}
"""What a release waits for, by the stage that it has reached."""
FIRST_PAUSE, LONGEST_PAUSE, MOST_TRIES = 30.0, 900.0, 6
"""Seconds, and how often a stage is tried in a row before it rests: together about a quarter of an hour."""
_PASSING = frozenset({"build_failed", "sandbox_unavailable", "handshake_failed", "pack_crashed", "pack_signalled"})
"""Codes of what may be otherwise the next time: an index that was away, a machine that was full. A package that is not what
its record says, a tool that is another, a name that is taken stay so until somebody does something."""


def stage_pause(reason: str, code: str, tries: int) -> float | None:
    """Seconds until a stage that failed so many times in a row is tried again; None: it rests, and waits for somebody."""
    if tries >= MOST_TRIES or (reason != "host_unavailable" and code not in _PASSING):
        return None
    return min(FIRST_PAUSE * 2.0 ** (tries - 1), LONGEST_PAUSE)
