"""The tools of worka.changes: versions, the next one, and the change log between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from worka_sdk import Field, Pack, ToolError

from worka_changes import reading
from worka_changes.reading import Commit

pack = Pack("changes", version="1.0.0")
Since = Annotated[str, Field("tag, branch or hash where it begins; empty: the newest version", max_length=200)]
Until = Annotated[str, Field("tag, branch or hash where it ends", min_length=1, max_length=200)]
Level = Literal["major", "minor", "patch", "none"]
TITLES = {"feat": "Added", "fix": "Fixed", "perf": "Faster", "revert": "Taken back", "docs": "Documented"}
OTHER = "Other changes"
# What may begin a link, a picture, an element or a list where a reader of Markdown expects plain words.
_SPECIAL = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_{}[]<>#|!~"})


@dataclass
class Tagged:
    """A version, its tag, its commit and when it was made."""

    version: str
    tag: str
    commit: str
    date: str


@dataclass
class Versions:
    """The versions that the branch holds, by SemVer, the newest first."""

    versions: list[Tagged]
    total: int


@dataclass
class Because:
    """A commit that calls for the level."""

    commit: str
    subject: str
    level: Level


@dataclass
class Next:
    """The next version by SemVer. `current` is empty before the first; `commits` came since it."""

    current: str
    next: str
    level: Level
    commits: int
    because: list[Because]


@dataclass
class Change:
    """A commit, as it stands in the change log. Its texts are the authors' own words."""

    commit: str
    date: str
    author: str
    subject: str
    scope: str
    breaking: str


@dataclass
class Section:
    """Changes of one kind."""

    title: str
    changes: list[Change]


@dataclass
class ChangeLog:
    """The changes between two commits. `markdown` is escaped: what an author wrote shows as text."""

    since: str
    until: str
    commits: int
    sections: list[Section]
    markdown: str


def level_of(commit: Commit) -> Level:
    """What a commit calls for, by Conventional Commits 1.0.0."""
    if commit.breaking:
        return "major"
    return "minor" if commit.kind == "feat" else "patch" if commit.kind in ("fix", "perf", "revert") else "none"


@pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: f"{found.total} versions")
def list_versions(limit: Annotated[int, Field("the most versions", least=1, most=1000)] = 50) -> Versions:
    """Lists the versions of the mounted repository: tags that are SemVer, the newest first, with commit and date."""
    found = reading.versions()
    shown = [Tagged(version.text, version.tag, sha, date) for version, sha, date in found[:limit]]
    return Versions(shown, len(found))


@pack.tool(side_effect="read_only", idempotent=True)
def next_version(until: Until = "HEAD") -> Next:
    """Says which version comes next by SemVer, from the conventional commits since the newest version, and because of
    which. Before 1.0.0 a breaking change raises the minor number."""
    known = [version for version, _, _ in reading.versions(until) if not version.pre]
    current = known[0] if known else None
    found = reading.commits(current.tag if current else "", until)
    levels = [(commit, level_of(commit)) for commit in found]
    order: tuple[Level, ...] = ("major", "minor", "patch", "none")
    highest: Level = next((level for level in order if any(mine == level for _, mine in levels)), "none")
    because = [Because(commit.sha, commit.subject, level) for commit, level in levels if level == highest != "none"]
    if current is None:
        return Next("", "0.1.0", highest, len(found), because[:50])
    major, minor, patch = current.numbers
    raised = "minor" if highest == "major" and major == 0 else highest
    upcoming = {
        "major": (major + 1, 0, 0),
        "minor": (major, minor + 1, 0),
        "patch": (major, minor, patch + 1),
        "none": current.numbers,
    }[raised]
    return Next(current.text, ".".join(map(str, upcoming)), highest, len(found), because[:50])


@pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: found.markdown)
def change_log(
    since: Since = "",
    until: Until = "HEAD",
    title: Annotated[str, Field("heading; empty: the commit's name", max_length=200)] = "",
) -> ChangeLog:
    """Writes the change log between two commits: every commit once, by kind, breaking ones first."""
    if not since:
        end = reading.commit_of(until)
        before = [version for version, sha, _ in reading.versions(until) if sha != end and not version.pre]
        since = before[0].tag if before else ""
    found = reading.commits(since, until)
    if not found:
        raise ToolError(f"There is no change from {since or 'the beginning'} to {until}.", "Name an earlier start.")
    sections: dict[str, list[Change]] = {"Breaking": [], **{name: [] for name in TITLES.values()}, OTHER: []}
    for commit in found:
        name = "Breaking" if commit.breaking else TITLES.get(commit.kind, OTHER)
        change = Change(commit.sha, commit.date, commit.author, commit.subject, commit.scope, commit.breaking)
        sections[name].append(change)
    kept = [Section(name, changes) for name, changes in sections.items() if changes]
    return ChangeLog(since, until, len(found), kept, _markdown(title or until, kept))


def _markdown(title: str, sections: list[Section]) -> str:
    lines = [f"## {_escaped(title)}"]
    for section in sections:
        lines += ["", f"### {section.title}", ""]
        for change in section.changes:
            scope = f"**{_escaped(change.scope)}:** " if change.scope else ""
            broken = ""
            if change.breaking and change.breaking != change.subject:
                broken = f" ({_escaped(change.breaking)})"
            lines.append(f"- {scope}{_escaped(change.subject)}{broken} ({change.commit[:10]})")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)
