"""What an attachment declares and did not use: destinations, methods, paths, WebSockets, tools and credentials, with the difference that
takes it away (BEY-4). Counted over the ledger; where a row tells less than one would have to know, nothing is called unused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from worka.broker import bindings
from worka.broker.policy import rules as policy
from worka.broker.rules import Rule, RuleProblem, canonical_path, parse_rules
from worka.broker.templates import TemplateError
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.packs import store as rows
from worka.packs.proposals import difference, store
from worka.packs.service import reading

Row = dict[str, Any]
DAYS = 30


async def report(ctx: Context, attachment_id: str, days: int = DAYS) -> Row:
    """{attachment_id, pack, version, days, whole, items, difference, words, policy, commands, sentence}. `whole` is false where
    the attachment is younger than the window: then it is too early to take anything away. Raises AttachmentNotFound."""
    row = await reading.attachment(ctx, attachment_id)
    async with ctx.transaction() as conn:
        release = await rows.release(conn, row["release_id"])
        assert release is not None
        since = now() - timedelta(days=days)
        went = await store.requests_of(conn, attachment_id, since)
        calls = await store.calls_of(conn, attachment_id, since)
        grants = await store.grants_of(conn, attachment_id, since)
    return told(row, release, went, calls, grants, since, days)


def told(
    row: Row,
    release: Row,
    went: Sequence[Row],
    calls: Mapping[str, Row],
    grants: Sequence[Row],
    since: datetime,
    days: int,
) -> Row:
    """The report out of what is declared and what was used. Pure."""
    items, found = _destinations(release["manifest"], went)
    dropped = _connections(release["manifest"], went)
    items += dropped
    found["drop"] = [item["name"] for item in dropped]
    tools = _tools(row["pack"], release["tools"], calls)
    secrets = [
        {
            "what": "secret", "name": f"{grant['secret']} at {grant['endpoint']}", "id": grant["id"],
            "words": f"The credential {grant['secret']} may be used at {grant['endpoint']}, and never was.",
        }
        for grant in grants
        if not grant["leases"] and grant["granted_at"] < since
    ]  # fmt: skip
    changed = bool(found["remove"] or found["drop"])
    whole = bool(row["created_at"] < since)
    return {
        "attachment_id": row["id"], "pack": row["pack"], "release_id": release["id"], "version": release["version"],
        "days": days, "since": since, "whole": whole,
        "items": [*items, *tools, *secrets],
        "difference": found,
        "words": difference.said("narrow", found) if changed else "",
        "manifest": difference.apply(release["manifest"], found) if changed else None,
        "policy": _forbidding(tools),
        "commands": [f"worka secret ungrant {item['id']}" for item in secrets],
        "sentence": _sentence(row, release, [*items, *tools, *secrets], days, whole),
    }  # fmt: skip


def _destinations(manifest: Row, went: Sequence[Row]) -> tuple[list[Row], Row]:
    """(what of each rule was not used, the difference that takes it away)."""
    declared = manifest.get("outbound_domains") or []
    empty: Row = {"add": [], "remove": [], "drop": []}
    try:
        book = parse_rules(declared)
    except RuleProblem:
        return [], empty
    items: list[Row] = []
    for raw, rule in zip(declared, book, strict=True):
        here = [use for use in went if rule.covers(use["host"]) and use["port"] in rule.ports]
        said = policy.said(raw)
        if not here:
            items.append(
                {
                    "what": "destination",
                    "name": rule.host,
                    "id": rule.id,
                    "words": f"It may reach {said}, and never did.",
                }
            )
            empty["remove"].append(raw)
            continue
        narrowed, lines = _narrowed(raw, rule, here)
        items += lines
        if lines:
            empty["remove"].append(raw)
            empty["add"].append(narrowed)
    return items, empty


def _narrowed(raw: Any, rule: Rule, here: Sequence[Row]) -> tuple[Row, list[Row]]:
    """A rule that was used, without what of it was not: its ports, methods and paths."""
    spec: Row = {"host": raw} if isinstance(raw, str) else dict(raw)
    lines: list[Row] = []

    def unused(what: str, name: str, words: str) -> None:
        lines.append({"what": what, "name": name, "id": rule.id, "words": words})

    ports = {use["port"] for use in here}
    if len(rule.ports) > 1 and len(ports) == 1:
        (port,) = ports
        other = next(iter(rule.ports - ports))
        spec["port"] = port
        unused("port", f"{rule.host}:{other}", f"It may reach {rule.host} at port {other}, and went to {port} alone.")
    if rule.opaque:
        return spec, lines
    if rule.websocket and not any(use["socket"] for use in here):
        del spec["websocket"]
        unused("websocket", rule.host, f"It may speak WebSockets with {rule.host}, and never did.")
    methods = {use["method"] for use in here if use["method"]}
    whole = all(use["method"] for use in here)
    if rule.methods is not None and whole and rule.methods - methods:
        spec["methods"] = sorted(rule.methods & methods)
        gone = ", ".join(sorted(rule.methods - methods))
        unused("method", gone, f"It may send {gone} to {rule.host}, and sent {', '.join(sorted(methods))} alone.")
    if rule.paths is not None and not any(use["several"] for use in here):
        # A row that counts several requests keeps the last path alone: then every path may have been used.
        kept = [pattern for pattern in rule.paths if any(_is(pattern, use["path"]) for use in here)]
        if kept and len(kept) < len(rule.paths):
            gone = ", ".join(pattern for pattern in rule.paths if pattern not in kept)
            spec["paths"] = kept
            unused("path", gone, f"It may reach {gone} at {rule.host}, and never did.")
    return spec, lines


def _is(pattern: str, path: str | None) -> bool:
    clean = canonical_path(path or "/") or path or "/"
    return clean.startswith(pattern[:-1]) if pattern.endswith("*") else clean == pattern


def _connections(manifest: Row, went: Sequence[Row]) -> list[Row]:
    """Connections that are only for hosts to which nothing went."""
    try:
        needs = bindings.parse_needs(manifest.get("connections") or [])
    except (RuleProblem, TemplateError, KeyError):
        return []
    return [
        {
            "what": "connection", "name": need.provider, "id": need.host or "",
            "words": f"It is backed by a connection to {need.provider} on requests to {need.host}, and sent none.",
        }
        for need in needs
        if need.host is not None and not any(need.covers(use["host"]) for use in went)
    ]  # fmt: skip


def _tools(pack: str, tools: Iterable[Row], calls: Mapping[str, Row]) -> list[Row]:
    return [
        {
            "what": "tool", "name": f"{pack}.{tool['name']}", "id": tool["name"],
            "words": f"It offers the tool {tool['name']} ({str(tool['side_effect']).replace('_', ' ')}), which nobody called.",
        }
        for tool in tools
        if f"{pack}.{tool['name']}" not in calls and tool["name"] not in calls
    ]  # fmt: skip


def _forbidding(tools: Sequence[Row]) -> str:
    """Statements of policy that refuse the tools that nobody called: a tool cannot be taken out of a manifest, since it is what
    the server lists. Empty where all were called."""
    if not tools:
        return ""
    names = ", ".join(json.dumps(item["name"]) for item in tools)
    return (
        '@id("unused-tools") @verdict("deny") @reason("Nobody called this tool; it was taken away as unused.")\n'
        '@remedy("An owner takes it out of the policy again.")\n'
        'forbid(principal, action == Worka::Action::"tool.invoke", resource)\n'
        f"when {{ (resource has name) && [{names}].contains(resource.name) }};\n"
    )


def _sentence(row: Row, release: Row, items: Sequence[Row], days: int, whole: bool) -> str:
    name = f"{row['pack']} {release['version']}"
    early = "" if whole else f" It is attached for less than {days} days: what is not used yet may still be."
    if not items:
        return f"{name} used all that it declares in the last {days} days.{early}"
    kinds: dict[str, int] = {}
    for item in items:
        kinds[item["what"]] = kinds.get(item["what"], 0) + 1
    counted = ", ".join(f"{number} {what}{'s' if number > 1 else ''}" for what, number in kinds.items())
    return f"{name} did not use {counted} of what it declares in the last {days} days.{early}"


__all__ = ["DAYS", "report", "told"]
