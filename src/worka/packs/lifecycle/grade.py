"""The quality of a release, by checks that a machine makes on what registration recorded. Pure; nobody's opinion.

Each check says what it looked at and what would mend it. The grade is how many hold: A all, B all but two, C more than
half, D fewer. It never decides by itself: it stands beside what a person decides on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from worka.kernel.errors import Problem
from worka.packs.runtime.record import read_lock

Row = Mapping[str, Any]
LONG_ENOUGH = 20
"""Characters of a description below which it tells nobody anything."""


class Check(NamedTuple):
    """One check: its name, what it asks, and what mends it; `faults` lists what is wrong, nothing where it holds."""

    name: str
    asks: str
    fix: str
    faults: Callable[[Row], list[str]]


def _tools(release: Row) -> Sequence[Row]:
    return release["tools"] or []


def _named(release: Row, wrong: Callable[[Row], bool]) -> list[str]:
    return [str(tool["name"]) for tool in _tools(release) if wrong(tool)]


def _declared(release: Row) -> dict[str, Row]:
    tools = release["manifest"].get("tools")
    return {tool["name"]: tool for tool in tools} if isinstance(tools, list) else {}


def _no_input_schema(tool: Row) -> bool:
    schema = tool.get("input_schema") or {}
    return schema.get("type") != "object" or "properties" not in schema


def _effects(release: Row) -> list[str]:
    declared = _declared(release)
    return [tool["name"] for tool in _tools(release) if "side_effect" not in declared.get(tool["name"], {})]


def _idempotency(release: Row) -> list[str]:
    declared = _declared(release)
    return [
        tool["name"]
        for tool in _tools(release)
        if tool["side_effect"] != "read_only" and "idempotent" not in declared.get(tool["name"], {})
    ]


def _wide(release: Row) -> list[str]:
    found = []
    for item in release["manifest"].get("outbound_domains") or []:
        host = item if isinstance(item, str) else item["host"]
        if host.startswith("*"):
            found.append(host)
        elif isinstance(item, str) or not item.get("methods"):
            found.append(f"{host} by any method")
    return found


def _licence(release: Row) -> list[str]:
    return [] if release["manifest"].get("license") else ["no licence is named"]


def _source(release: Row) -> list[str]:
    source = release["manifest"].get("source")
    if isinstance(source, Mapping) and (source.get("revision") or source.get("version")):
        return []
    return ["no revision of a source is named"]


def _warnings(release: Row) -> list[str]:
    return [f"{item['pointer']}: {item['message']}" for item in (release["source"] or {}).get("warnings") or []]


def _lock(release: Row) -> list[str]:
    """Every installed package stands in the lock, by its version: nothing came in from elsewhere."""
    package = (release["manifest"]["runtime"] or {}).get("package") or {}
    if package.get("ecosystem") == "npm":
        text = release["lock_text"]
        return [
            item["name"]
            for item in release["packages"] or []
            if f'"{item["name"]}' not in text and item["name"] not in text
        ]
    try:
        pins = read_lock(release["lock_text"]).pins
    except Problem as problem:
        return [problem.detail]
    missing = [
        f"{item['name']} {item['version']}"
        for item in release["packages"] or []
        if pins.get(_plain(item["name"])) != item["version"]
    ]
    return missing if pins or not missing else ["there is no lock"]


def _plain(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _probe(release: Row) -> list[str]:
    probe = release["probe"] or {}
    if not probe.get("server_info"):
        return ["the server was not probed, or does not say what it is"]
    return [] if _tools(release) else ["the server listed no tool"]


def _limits(release: Row) -> list[str]:
    limits = (release["manifest"]["runtime"] or {}).get("limits") or {}
    return [name for name in ("memory", "cpu", "processes", "timeout") if not limits.get(name)]


def _services(release: Row) -> list[str]:
    return list(release["manifest"].get("host_services") or [])


CHECKS = (
    Check(
        "input_schemas",
        "every tool says what it takes",
        "Give each tool an input schema of type object with its properties.",
        lambda r: _named(r, _no_input_schema),
    ),
    Check(
        "output_schemas",
        "every tool says what it gives, so that results are validated",
        "Give each tool an output schema.",
        lambda r: _named(r, lambda tool: not tool.get("output_schema")),
    ),
    Check(
        "descriptions",
        "every tool is described in words that tell somebody something",
        f"Describe each tool in at least {LONG_ENOUGH} characters.",
        lambda r: _named(r, lambda tool: len((tool.get("description") or "").strip()) < LONG_ENOUGH),
    ),
    Check(
        "side_effects",
        "the side effect of every tool is declared, not assumed to be the worst",
        "Declare side_effect for each tool in the manifest.",
        _effects,
    ),
    Check(
        "idempotency",
        "every tool that writes says whether a repeat is safe",
        "Declare idempotent for each tool that is not read_only.",
        _idempotency,
    ),
    Check(
        "narrow_outbound",
        "what it may reach is named by host and method, not by a wildcard",
        "Name single hosts, each with the methods that are needed.",
        _wide,
    ),
    Check("licence", "its licence is named", "Name the licence in the manifest.", _licence),
    Check(
        "source_revision",
        "its source is named down to a revision",
        "Name source.repository and source.revision in the manifest.",
        _source,
    ),
    Check("no_warnings", "its manifest was read without a warning", "Correct what the warnings name.", _warnings),
    Check(
        "complete_lock",
        "every installed package stands in its lock by version and hash",
        "Write the lock anew: `worka pack lock FOLDER`.",
        _lock,
    ),
    Check(
        "probed",
        "the server started in the sandbox and said what it is",
        "Register a server that answers initialize with its name and lists tools.",
        _probe,
    ),
    Check(
        "limits",
        "it names its own limits on memory, processor, processes and time",
        "Name runtime.limits: memory, cpu, processes, timeout.",
        _limits,
    ),
    Check(
        "no_host_services",
        "it needs no service of the host",
        "Leave host services out where the pack can do without.",
        _services,
    ),
)
"""All of them, in the order in which they are shown."""


def of(release: Row) -> dict[str, Any]:
    """{grade, passed, of, checks: [{name, asks, passed, faults, fix}]} of a release's row. One that was not probed yet has
    the grade `-`: there is nothing to look at."""
    checks: list[dict[str, Any]] = []
    for check in CHECKS:
        faults = check.faults(release)
        checks.append(
            {
                "name": check.name,
                "asks": check.asks,
                "passed": not faults,
                "faults": faults[:20],
                "fix": "" if not faults else check.fix,
            }
        )
    passed = sum(check["passed"] for check in checks)
    letter = letter_of(passed, len(checks)) if release["probe"] else "-"
    return {"grade": letter, "passed": passed, "of": len(checks), "checks": checks}


def letter_of(passed: int, of_all: int) -> str:
    """A: all hold. B: all but one or two. C: more than half. D: fewer."""
    if passed == of_all:
        return "A"
    if passed >= of_all - 2:
        return "B"
    return "C" if passed * 2 > of_all else "D"


def in_words(found: Mapping[str, Any]) -> str:
    """`B: 11 of 13 checks hold; not output_schemas, limits`."""
    missing = [check["name"] for check in found["checks"] if not check["passed"]]
    return f"{found['grade']}: {found['passed']} of {found['of']} checks hold" + (
        f"; not {', '.join(missing)}" if missing else ""
    )
