"""Writes the notes. Every text that came from outside is escaped here, for markdown and for HTML, in one function."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

from worka_notes.reading import Commit, Issue

LONGEST = 300
# Order of the sections. A breaking change stands first and only there: every commit appears once.
SECTIONS: tuple[tuple[str, str], ...] = (
    ("breaking", "Breaking changes"),
    ("feat", "Features"),
    ("fix", "Fixes"),
    ("perf", "Performance"),
    ("security", "Security"),
    ("revert", "Reverted"),
    ("refactor", "Refactoring"),
    ("docs", "Documentation"),
    ("test", "Tests"),
    ("build", "Build"),
    ("ci", "Continuous integration"),
    ("style", "Style"),
    ("chore", "Chores"),
    ("other", "Other changes"),
)
_ALIASES = {"feature": "feat", "bugfix": "fix", "hotfix": "fix", "doc": "docs", "tests": "test", "sec": "security"}
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]|~$@])")
_LINK_START = re.compile(r"(?i)(https?|ftp|mailto|xmpp)(:)|\b(www)(\.)")


def escape(text: str) -> str:
    """Untrusted text as inert markdown on one line: no markup, HTML, link, mention or control character survives.

    At most LONGEST characters; a longer one ends in an ellipsis. Backslash escapes are CommonMark's; `&`, `<` and `>`
    become entities, so that the text is inert in HTML even where a renderer ignores the backslash.
    """
    # Format characters (bidirectional overrides, zero width) can make a line read as what it is not.
    plain = "".join(
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c
        for c in text
        if unicodedata.category(c) not in {"Cf", "Cs", "Co"}
    )
    plain = " ".join(plain.split())
    if len(plain) > LONGEST:
        plain = plain[: LONGEST - 1].rstrip() + "…"
    plain = _PUNCTUATION.sub(r"\\\1", plain)
    plain = plain.replace("](", "]\\(")
    plain = _LINK_START.sub(lambda m: f"{m[1] or m[3]}\\{m[2] or m[4]}", plain)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def link(label: str, url: str) -> str:
    """`[label](<url>)`, or the label alone without a url. `label` is already escaped."""
    return f"[{label}](<{quote(url, safe=':/?#@!$&*+,;=%~._-')}>)" if url else label


def section_of(commit: Commit) -> str:
    """The key of the section a commit stands in."""
    if commit.breaking:
        return "breaking"
    kind = _ALIASES.get(commit.kind, commit.kind)
    return kind if any(kind == key for key, _title in SECTIONS) else "other"


def grouped(commits: Iterable[Commit]) -> list[tuple[str, str, list[Commit]]]:
    """(key, title, commits) of every section that has commits, in the fixed order."""
    by_key: dict[str, list[Commit]] = {}
    for commit in commits:
        by_key.setdefault(section_of(commit), []).append(commit)
    return [(key, title, by_key[key]) for key, title in SECTIONS if key in by_key]


def document(
    title: str,
    lead: str,
    groups: list[tuple[str, str, list[Commit]]],
    issues: list[Issue],
    said: list[str],
    commit_link: str,
) -> str:
    """The whole document as markdown."""
    lines = [f"# {title}", "", lead, ""]
    for sentence in said:
        lines += [f"> **Note:** {sentence}", ""]
    for _key, heading, commits in groups:
        lines += [f"## {heading}", "", *(_commit_line(commit, commit_link) for commit in commits), ""]
    if issues:
        lines += ["## Open issues", "", *(_issue_line(issue) for issue in issues), ""]
    return "\n".join(lines).rstrip() + "\n"


def _commit_line(commit: Commit, commit_link: str) -> str:
    scope = f"**{escape(commit.scope)}:** " if commit.scope else ""
    url = commit_link.replace("{sha}", commit.sha) if commit_link else ""
    where = link(f"`{commit.sha[:10]}`", url)
    return f"- {scope}{escape(commit.subject)} ({where}, {escape(commit.author)}, {escape(commit.date[:10])})"


def _issue_line(issue: Issue) -> str:
    labels = f" ({', '.join(escape(label) for label in issue.labels)})" if issue.labels else ""
    return f"- {link('#' + escape(issue.number), issue.url)} {escape(issue.title)}{labels}"
