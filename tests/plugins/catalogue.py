"""The capabilities as data: codes and statements, which of them guard something, what the partly covered lack.

Read by the pytest plugin, the architecture tests, `scripts/capabilities` and `scripts/prove`; standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.plugins import resting

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = Path("docs/reference/capabilities.source.md")
GUARDING = Path("tests/mutations/guarding.txt")
PARTLY = Path("tests/partly.toml")
MUTATIONS = Path("tests/mutations")
VERDICTS = MUTATIONS / "verdicts.jsonl"

# What a mutation may stand for beside a capability: their tests need no tag.
UNTAGGED = {
    "ROAD": "a writer of the road's table in ARCHITECTURE.md: without it a link of the journey is missing",
    "RULE": "a guard that no capability names: a rule of ARCHITECTURE.md, 'What may never happen', or of a door",
}

CODE = re.compile(r"[A-Z0-9]{3}-\d+")
_LINE = re.compile(r"^- \*\*([A-Z0-9]{3}-\d+)\*\* (.+)$")


@dataclass(frozen=True)
class Capability:
    """One line of the list: its stable code, its statement, and the heading that it stands under."""

    code: str
    statement: str
    section: str


@dataclass(frozen=True)
class Mutation:
    """A patch that removes one guard. `expects`: node ids that must fail by their own assertion."""

    path: Path
    code: str
    expects: tuple[str, ...]
    why: str

    def key(self, root: Path = CHECKOUT) -> str:
        """What a verdict rests on: the patch, the definitions that it changes and those of its tests, as they are now."""
        patch = (root / MUTATIONS / self.path.name).read_text()
        digest = hashlib.sha256(patch.encode())
        parts = [
            (name, resting.of_change(name, _text(root / name), places)) for name, places in resting.hunks(patch).items()
        ]
        for name in sorted({test.split("::")[0] for test in self.expects}):
            named = {test.split("::")[-1].split("[")[0] for test in self.expects if test.startswith(f"{name}::")}
            parts.append((name, resting.of_tests(_text(root / name), named)))
        for name, part in sorted(parts):
            digest.update(f"\0{name}\0{part}".encode())
        return digest.hexdigest()[:32]


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else "gone"


def absent(tests: Iterable[str]) -> list[str]:
    """Which of these tests pytest does not find in the checkout: a name of its own, or one of its parameters."""
    named = sorted(set(tests))
    files = sorted({test.split("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found = {line.strip() for line in done.stdout.splitlines() if "::" in line}
    found |= {line.split("[")[0] for line in found}
    if not found:
        raise ValueError(f"pytest collects nothing: {(done.stdout + done.stderr)[-2000:]}")
    return [test for test in named if test not in found]


def capabilities(root: Path = CHECKOUT) -> dict[str, Capability]:
    """Every capability by its code, in the order of the source. Raises ValueError if a code stands twice."""
    found: dict[str, Capability] = {}
    section = ""
    for line in (root / SOURCE).read_text().splitlines():
        if line.startswith("## "):
            section = line[3:].strip()
        elif match := _LINE.match(line):
            code, statement = match.groups()
            if code in found:
                raise ValueError(f"{SOURCE}: {code} stands twice")
            found[code] = Capability(code, statement.strip(), section)
    return found


def guarding(root: Path = CHECKOUT) -> list[str]:
    """Codes that promise a refusal, an isolation or an only-once: their tests must fail without the guard."""
    lines = (line.split("#")[0].strip() for line in (root / GUARDING).read_text().splitlines())
    return [line for line in lines if line]


def partly(root: Path = CHECKOUT) -> dict[str, str]:
    """Code -> what of its statement no test proves yet."""
    path = root / PARTLY
    return {str(code): str(text) for code, text in tomllib.loads(path.read_text())["missing"].items()}


def mutations(root: Path = CHECKOUT, code: str | None = None) -> list[Mutation]:
    """The patches under tests/mutations, all or those of one code. Raises ValueError if one does not name its code."""
    found = []
    for path in sorted((root / MUTATIONS).glob("*.patch")):
        head = path.read_text().split("\ndiff --git", 1)[0]
        fields: dict[str, list[str]] = {}
        for key, value in re.findall(r"^# (code|expects|why): *(.+?) *$", head, re.MULTILINE):
            fields.setdefault(key, []).append(value)
        codes = fields.get("code", [])
        if len(codes) != 1 or not path.name.startswith(f"{codes[0]}-"):
            raise ValueError(f"{path.name}: needs one '# code: CODE' line, and a name that starts with that code")
        mutation = Mutation(path, codes[0], tuple(fields.get("expects", [])), " ".join(fields.get("why", [])))
        if code is None or mutation.code == code:
            found.append(mutation)
    return found


def verdicts(root: Path = CHECKOUT) -> dict[str, dict[str, Any]]:
    """Patch's name -> what `make prove` last said of it: {mutation, key, proven, why, seconds}."""
    path = root / VERDICTS
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return {row["mutation"]: row for row in rows}


def state(mutation: Mutation, known: dict[str, dict[str, Any]], root: Path = CHECKOUT) -> str:
    """`proven`, `failed`, `stale` (it was said of another patch, code or test: it counts as none) or `none`."""
    row = known.get(mutation.path.stem)
    if row is None:
        return "none"
    if row["key"] != mutation.key(root):
        return "stale"
    return "proven" if row["proven"] else "failed"


def keep_verdict(mutation: Mutation, key: str, proven: bool, why: str, seconds: float, root: Path = CHECKOUT) -> None:
    """Writes one verdict; those of patches that are not there any more go. A line each, so that branches merge."""
    there = {found.path.stem for found in mutations(root)}
    row = {"mutation": mutation.path.stem, "key": key, "proven": proven, "why": why, "seconds": seconds}
    with _alone(root):
        rows = {name: old for name, old in verdicts(root).items() if name in there} | {mutation.path.stem: row}
        text = "".join(json.dumps(rows[name], ensure_ascii=False) + "\n" for name in sorted(rows))
        beside = (root / VERDICTS).with_suffix(".new")
        beside.write_text(text)
        beside.replace(root / VERDICTS)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two runs of `make prove` in one checkout write one after the other."""
    folder = os.open(root / MUTATIONS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
