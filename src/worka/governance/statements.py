"""Cedar text cut into statements, so that an error can be located; and a tenant's policy checked one by one.

Pure: the schema comes from the registered actions. Cedar's own validation errors carry a policy id and no line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import cedarpy

from worka.authorization import arguments, cedar
from worka.authorization.cedar import Request
from worka.authorization.vocabulary import VOCABULARY
from worka.kernel import actions

MOST_BYTES = 64_000
MOST_STATEMENTS = 200
_FAILED = re.compile(r"policy `s(\d+)/[^`]*`: (.*)", re.DOTALL)
_ALLOWED_NOTES = {"id", "verdict", "rule", "reason", "remedy"}


@dataclass(frozen=True)
class Statement:
    """One policy: its text, and the line (from 1) where it begins."""

    text: str
    line: int


@dataclass(frozen=True)
class Fault:
    """What is wrong with the n-th statement (from 1)."""

    statement: int
    line: int
    message: str

    def shown(self) -> dict[str, object]:
        """As the problem document holds it."""
        return {"statement": self.statement, "line": self.line, "message": self.message}


def split(text: str) -> list[Statement]:
    """Cuts at every `;` outside of strings and comments. A rest without one is a statement too, and will not parse."""
    found: list[Statement] = []
    start = position = 0
    while position < len(text):
        char = text[position]
        if char == '"':
            position += 1
            while position < len(text) and text[position] != '"':
                position += 2 if text[position] == "\\" else 1
        elif text.startswith("//", position):
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        elif char == ";":
            _add(found, text, start, position + 1)
            start = position + 1
        position += 1
    _add(found, text, start, len(text))
    return found


def _add(found: list[Statement], text: str, start: int, end: int) -> None:
    # Comments and blank lines before a statement are not part of it.
    while start < end:
        if text[start].isspace():
            start += 1
        elif text.startswith("//", start):
            after = text.find("\n", start, end)
            start = end if after < 0 else after + 1
        else:
            break
    if piece := text[start:end].strip():
        found.append(Statement(piece, text.count("\n", 0, start) + 1))


def check(kind: str, text: str, parse_rule: object) -> list[Fault]:
    """What is wrong with a tenant's policy of this kind (`access`, `governance`); empty when it can be saved.

    Only forbids are taken: a tenant tightens, and nothing it writes can loosen the floor. `parse_rule` is approvals'
    reader of `@rule` (raises ValueError)."""
    if len(text.encode()) > MOST_BYTES:
        return [Fault(0, 1, f"the text is larger than {MOST_BYTES} bytes")]
    statements = split(text)
    if len(statements) > MOST_STATEMENTS:
        return [Fault(0, 1, f"more than {MOST_STATEMENTS} statements")]
    faults: list[Fault] = []
    ids: dict[str, int] = {}
    for number, statement in enumerate(statements, 1):
        said = _check_one(kind, statement.text, parse_rule, ids, number)
        faults += [Fault(number, statement.line, message) for message in said]
    return faults or _trial(statements)


def place_of(text: str, name: str) -> tuple[int, Statement] | None:
    """The number and the statement of this `@id`, or of this number where it has none."""
    found = split(text)
    for number, statement in enumerate(found, 1):
        if f'@id("{name}")' in statement.text:
            return number, statement
    return (int(name), found[int(name) - 1]) if name.isdigit() and 0 < int(name) <= len(found) else None


def _check_one(kind: str, text: str, parse_rule: object, ids: dict[str, int], number: int) -> list[str]:
    result = cedarpy.validate_policies(text, cedar.schema())
    if not result.validation_passed:
        return [_plain(str(error)) for error in result.errors]
    document = json.loads(cedarpy.policies_to_json_str(text))
    if document.get("templates"):
        return ["templates (?principal, ?resource) are not supported"]
    (policy,) = document["staticPolicies"].values()
    notes = policy.get("annotations") or {}
    if policy["effect"] != "forbid":
        return ["only `forbid` is accepted: a tenant's policy tightens, and never loosens the shipped floor"]
    faults = _check_notes(kind, notes, parse_rule)
    if kind == "governance" and notes.get("verdict") == "ask" and (hasty := _cannot_wait(policy["action"])):
        able = ", ".join(action.name for action in actions.all_actions() if action.waits)
        faults.append(f"{', '.join(hasty)} cannot wait for an approval; ask for one of {able}, or deny")
    names, literal = arguments.names_in(policy)
    if not literal:
        faults.append('the name of an argument is written out: getTag("name"), not an expression')
    if names and (policy["action"].get("entity") or {}).get("id") != "tool.invoke":
        faults.append(
            'only action == Worka::Action::"tool.invoke" is given arguments: elsewhere this would never apply'
        )
    own = notes.get("id")
    if own is not None and ids.setdefault(own, number) != number:
        faults.append(f"the id {own!r} stands in statement {ids[own]} too")
    return faults


def _cannot_wait(scope: dict[str, Any]) -> list[str]:
    """The actions that a statement names and that nobody could approve; one that names none asks where it can."""
    named = [entry["id"] for entry in (scope.get("entities") or [scope.get("entity")]) if entry]
    return [name for name in named if (known := actions.get(name)) is not None and not known.waits]


def _check_notes(kind: str, notes: dict[str, str | None], parse_rule: object) -> list[str]:
    faults = []
    if unknown := set(notes) - _ALLOWED_NOTES:
        faults.append(f"unknown annotation {sorted(unknown)}; known are {sorted(_ALLOWED_NOTES)}")
    verdict = notes.get("verdict")
    if kind == "access":
        if verdict not in (None, "deny"):
            faults.append("an access policy denies; `ask` belongs to a governance policy")
        return faults
    if verdict not in ("ask", "deny"):
        faults.append('a governance policy needs @verdict("ask") or @verdict("deny")')
    if verdict == "ask":
        try:
            parse_rule(notes.get("rule") or "")  # type: ignore[operator]
        except ValueError as error:
            faults.append(f"@rule: {error}")
    return faults


def _plain(message: str) -> str:
    """Cedar's message without its own policy numbers, which mean nothing to a reader."""
    return message.replace("[policy0] ", "").replace("for policy `policy0`, ", "")


def _trial(statements: list[Statement]) -> list[Fault]:
    """Evaluates them all for every action with ordinary and with extreme facts. The schema cannot see an overflow, and
    a forbid that errors would be skipped by Cedar: every such decision would be a deny."""
    if not statements:
        return []
    policies = cedar.join(*(cedar.load(entry.text, f"s{number}") for number, entry in enumerate(statements, 1)))
    faults: dict[str, Fault] = {}
    for number in (0, 2**63 - 1, -(2**63)):
        samples = {"String": "text", "Long": number, "Bool": number == 0, "Set<String>": ["text"]}
        facts = {name: samples[kind] for name, kind in VOCABULARY.items()}
        given = {word: dict.fromkeys(policies.arguments, samples[kind]) for word, kind in arguments.TYPES.items()}
        for action in actions.all_actions():
            request = Request(
                "person", "per_trial", True, ("owner",), (), action.name, action.resource_type, "trial", "ws_trial",
                "ten_trial", facts, facts, given if action.name == "tool.invoke" else {},
            )  # fmt: skip
            for error in cedar.evaluate(request, policies).errors:
                match = _FAILED.search(error)
                place, said = (int(match[1]), match[2]) if match else (1, error)
                fault = Fault(place, statements[place - 1].line, f"evaluating it fails: {said}")
                faults.setdefault(f"{place} {said.split('`')[0]}", fault)
    return sorted(faults.values(), key=lambda fault: fault.statement)
