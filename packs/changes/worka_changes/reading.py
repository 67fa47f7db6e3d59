"""What git says about a repository, read without trusting it: no shell, no option out of an argument, bounded."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from worka_sdk import ToolError

ROOT = Path("/repo")
SECONDS = 30
MOST_COMMITS = 20_000
MOST_TAG = 200
_FIELDS = ("%H", "%cI", "%an", "%s", "%b")
_VERSION = re.compile(
    r"(?P<prefix>|v|release-|.*[/@-]v?)(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?P<pre>-[0-9A-Za-z.-]+)?(?P<build>\+[0-9A-Za-z.-]+)?"
)
_SUBJECT = re.compile(r"(?P<kind>[A-Za-z]+)(?:\((?P<scope>[^()]*)\))?(?P<mark>!)?: +(?P<text>.+)")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE: +(.+)", re.MULTILINE)


@dataclass(frozen=True)
class Version:
    """A tag that names a version (SemVer)."""

    tag: str
    numbers: tuple[int, int, int]
    pre: str

    @property
    def text(self) -> str:
        """Without the tag's own prefix."""
        return ".".join(map(str, self.numbers)) + self.pre

    def order(self) -> tuple[object, ...]:
        """As SemVer orders versions: a pre-release comes before its release, its numbers count as numbers."""
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre[1:].split(".") if part]
        return (self.numbers, not parts, parts)


@dataclass(frozen=True)
class Commit:
    """A commit; `kind` and `scope` of a conventional one, else empty. `breaking`: what it breaks, in its own words."""

    sha: str
    date: str
    author: str
    subject: str
    kind: str
    scope: str
    breaking: str


def git(*arguments: str) -> str:
    """What git answers. Raises ToolError with its last words."""
    command = ["git", "-C", str(ROOT), "-c", "core.pager=cat", "-c", "log.showSignature=false"]
    command += ["-c", "i18n.logOutputEncoding=UTF-8", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except ValueError as error:
        raise ToolError("git takes no such name.") from error  # NUL, or half of a surrogate pair
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"git took longer than {SECONDS} s.", "Name a later start.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ToolError(f"git: {said[-1][:300] if said else 'it failed'}.")
    return done.stdout.decode(errors="replace")


def version_of(tag: str) -> Version | None:
    """The version that a tag names, or None."""
    # Python reads no number of more than 4300 digits.
    match = _VERSION.fullmatch(tag) if len(tag) <= MOST_TAG else None
    if match is None:
        return None
    return Version(tag, (int(match["major"]), int(match["minor"]), int(match["patch"])), match["pre"] or "")


def versions(until: str = "HEAD") -> list[tuple[Version, str, str]]:
    """(version, commit, date) of every version that `until` holds, the newest first."""
    form = "%(refname:strip=2)%00%(objectname)%00%(*objectname)%00%(creatordate:iso-strict)"
    lines = git("for-each-ref", f"--format={form}", f"--merged={commit_of(until)}", "refs/tags")
    found = []
    # By line ends alone: a tag may hold what `splitlines` takes for one.
    for line in filter(None, lines.split("\n")):
        tag, sha, peeled, date = line.split("\0")
        if (version := version_of(tag)) is not None:
            found.append((version, peeled or sha, date))
    return sorted(found, key=lambda item: item[0].order(), reverse=True)


def commit_of(name: str) -> str:
    """The commit that a tag, branch or hash names. Raises ToolError."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except ToolError as error:
        raise ToolError(
            f"There is no commit {name}.", "Name a tag, a branch or a hash; list_versions names tags."
        ) from error


def commits(since: str, until: str) -> list[Commit]:
    """The commits that `until` holds and `since` does not, the newest first; without `since`, all. Raises ToolError."""
    span = [commit_of(until), *([f"^{commit_of(since)}"] if since else [])]
    # An author may write any character but NUL, which ends a field here, and by -z a commit: so fields are counted.
    form = "%x00".join(_FIELDS)
    text = git("log", "-z", "--no-color", "--no-merges", f"--max-count={MOST_COMMITS}", f"--format={form}", *span, "--")
    found = []
    fields = iter(text.split("\0"))
    for sha, date, author, subject, body in zip(fields, fields, fields, fields, fields, strict=False):
        match = _SUBJECT.fullmatch(subject)
        told = _BREAKING.search(body)
        breaking = told[1].strip() if told else (match["text"] if match and match["mark"] else "")
        kind, scope = (match["kind"].lower(), match["scope"] or "") if match else ("", "")
        found.append(Commit(sha, date, author, match["text"] if match else subject, kind, scope, breaking))
    return found
