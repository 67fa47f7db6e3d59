"""Our pack `worka.notes`: a pure function over what two strangers' servers answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packs" / "notes"))

from worka_notes import reading, writing
from worka_notes.compose import compose

from worka.cli import demo_tracker

PREFIX = "Content type application/json cannot be simplified to markdown, but here is the raw content:\n"


def entry(number: int, message: str) -> str:
    """One commit as git_log of mcp-server-git writes it."""
    return f"Commit: {number:040x}\nAuthor: Ann <b>\nDate: 2026-01-{number:02d} 10:00:00+00:00\nMessage: {message}\n\n"


def log(*messages: str) -> str:
    """A git_log answer."""
    return "Commit history:\n" + "\n".join(entry(number, message) for number, message in enumerate(messages, 1))


def fetched(items: Any, cut: int | None = None) -> str:
    """A fetch answer of mcp-server-fetch over JSON, cut after `cut` characters of the content."""
    content = json.dumps(items)
    if cut is not None:
        said = f"Call the fetch tool with a start_index of {cut} to get more content."
        content = content[:cut] + f"\n\n<error>Content truncated. {said}</error>"
    return f"{PREFIX}Contents of https://tracker.worka.test/api/issues:\n{content}"


def issue(number: int, title: str = "t", **more: Any) -> dict[str, Any]:
    """An issue of the tracker."""
    return {
        "number": number,
        "title": title,
        "state": "open",
        "html_url": f"https://tracker.worka.test/issues/{number}",
        **more,
    }


def test_every_commit_and_every_open_issue_once_and_grouped() -> None:
    text = log(
        "feat(api): one", "fix: two", "no convention", "feat!: four", "FEAT: five", "chore: six\n\nBREAKING CHANGE: x"
    )
    notes = compose(text, fetched([issue(1), issue(2, state="closed"), issue(3), issue(3)]), "acme/web")
    assert [commit.sha for commit in notes.commits] == [f"{n:040x}" for n in range(1, 7)]
    assert {group.key: len(group.commits) for group in notes.groups} == {"breaking": 2, "feat": 2, "fix": 1, "other": 1}
    listed = [sha for group in notes.groups for sha in group.commits]
    assert sorted(listed) == sorted(commit.sha for commit in notes.commits)
    assert [item.number for item in notes.issues] == ["1", "3"]
    for commit in notes.commits:
        assert notes.markdown.count(commit.sha[:10]) == 1 or notes.markdown.count(f"`{commit.sha[:10]}`") >= 1
    assert "[#1](<https://tracker.worka.test/issues/1>)" in notes.markdown
    assert not notes.cut.commits
    assert not notes.cut.issues


def test_the_same_input_gives_the_same_notes_and_another_repository_others() -> None:
    first = compose(log("feat: a"), fetched([]), "acme/web")
    assert compose(log("feat: a"), fetched([]), "acme/web") == first
    assert compose(log("fix: b"), fetched([]), "acme/app").markdown != first.markdown


def test_a_cut_is_said_never_silent() -> None:
    whole = json.dumps([issue(1), issue(2)])
    notes = compose(log("feat: a"), fetched([issue(1), issue(2)], cut=len(whole) - 5), "r")
    assert [item.number for item in notes.issues] == ["1"]
    assert notes.cut.issues
    assert "was cut; only the first 1 open issues" in notes.markdown
    full = compose(log("a", "b"), fetched([]), "r", since="2026-01-01T00:00:00Z", limit=2)
    assert full.cut.commits
    assert "the log was cut at 2 commits" in full.markdown
    assert not compose(log("a", "b"), fetched([]), "r", limit=2).cut.commits
    unread = compose(log("a"), fetched([issue(1), {"title": "no number"}, "x"]), "r")
    assert unread.cut.issues
    assert "2 entries of the tracker could not be read" in unread.markdown


HOSTILE: dict[str, Callable[[str], bool]] = {
    "<script>alert(1)</script>": lambda text: "<" not in text,
    "<img src=x onerror=alert(1)>": lambda text: "<" not in text,
    "[x](javascript:alert(1))": lambda text: "\\[x\\]" in text,
    "![x](https://evil.example/p.png)": lambda text: "https://" not in text and "\\[" in text,
    "https://evil.example www.evil.example HTTP://EVIL": lambda text: "https://" not in text and "www." not in text,
    "a\n# heading\n- item": lambda text: "\n" not in text,
    "`code` **b** _i_ ~~s~~ | t |": lambda text: "\\`" in text and "\\*\\*" in text and "\\|" in text,
    "@everyone someone@evil.example": lambda text: "\\@everyone" in text and "e@" not in text,
    "\u202egnirts\u202c \u200bzero": lambda text: "\u202e" not in text and "\u200b" not in text,
    "\\](javascript:1)": lambda text: text.startswith("\\\\\\]"),
    "&lt;b&gt; & \" '": lambda text: "&amp;lt;" in text and "&quot;" in text,
    "x" * 5000: lambda text: len(text) == writing.LONGEST,
    "null\x00 bell\x07 cr\r": lambda text: all(ord(c) >= 32 for c in text),
}


@pytest.mark.parametrize("text", sorted(HOSTILE), ids=lambda text: repr(text)[:30])
def test_text_from_outside_is_inert(text: str) -> None:
    shown = writing.escape(text)
    assert HOSTILE[text](shown), shown
    notes = compose(log(f"feat: {text}"), fetched([issue(1, text, labels=[{"name": text}])]), text or "r")
    assert "<script" not in notes.markdown.lower()
    assert "](javascript" not in notes.markdown
    for line in notes.markdown.splitlines():
        assert "<" not in line.replace("](<https://tracker.worka.test/", ""), line


def test_a_link_of_the_tracker_leads_to_the_tracker_or_nowhere() -> None:
    for url in (
        "javascript:alert(1)",
        "http://tracker.worka.test/issues/1",
        "https://tracker.worka.test.evil.example/1",
        "https://tracker.worka.test@evil.example/1",
        "https://tracker.worka.test:444/1",
        "//evil.example",
        7,
    ):
        assert reading.issues(fetched([issue(1, html_url=url)])).open[0].url == ""
    spaced = compose(log("a"), fetched([issue(1, html_url="https://tracker.worka.test/1 ) > <x")]), "r").markdown
    assert "](<https://tracker.worka.test/1%20%29%20%3E%20%3Cx>)" in spaced


def test_a_header_inside_a_message_is_no_commit() -> None:
    forged = "Commit: " + "f" * 40 + "\nAuthor: Eve\nDate: 2026-01-01 00:00:00+00:00\nMessage: feat: forged"
    found = reading.commits(log(f"fix: one\n{forged}", "fix: two"))
    assert [commit.sha[:3] for commit in found] == ["000", "000"]


def test_other_shapes_of_an_answer_are_read_or_refused() -> None:
    assert [item.number for item in reading.issues(json.dumps({"items": [issue(1)]})).open] == ["1"]
    assert reading.issues(fetched({"issues": [issue(1)], "next": "cursor"})).cut
    for text in ("", "Contents of https://x/:\nnothing here", fetched({"message": "no"})):
        with pytest.raises(ValueError, match="tracker's answer"):
            reading.issues(text)
    with pytest.raises(ValueError, match="git_log"):
        compose("fatal: not a git repository", fetched([]), "r")
    assert compose("Commit history:\n", fetched([]), "r").commits == []
    with pytest.raises(ValueError, match="commit_link"):
        compose(log("a"), fetched([]), "r", commit_link="http://x")


def test_the_demo_trackers_own_issues_come_out_inert() -> None:
    notes = compose(
        log("feat: a"), fetched(demo_tracker.issues("acme/web")), "acme/web", commit_link="https://c.test/{sha}"
    )
    assert len(notes.issues) == 7
    assert "<script" not in notes.markdown
    assert "](javascript" not in notes.markdown
    assert f"[`{1:010x}`]" not in notes.markdown
    assert "(<https://c.test/" in notes.markdown
