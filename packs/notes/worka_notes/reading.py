"""Reads what the two third-party packs answer: text that was made for people, by code that we do not control.

Both texts are untrusted. A reader here never guesses: what it cannot read it counts and says.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

# mcp-server-git joins its entries by a blank line, so a header inside a message's running text is not an entry.
_ENTRY = re.compile(
    r"(?:\A(?:Commit history:\n)?|\n\n)"
    r"Commit: (?P<sha>[0-9a-f]{40}|[0-9a-f]{64})\nAuthor: (?P<author>[^\n]*)\n"
    r"Date: (?P<date>\d{4}-\d\d-\d\d[^\n]*)\nMessage: "
)
_CONVENTIONAL = re.compile(
    r"(?P<type>[A-Za-z]{2,12})(?:\((?P<scope>[^()\n]{1,60})\))?(?P<bang>!)?:[ \t]+(?P<subject>\S.*)"
)
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE:", re.MULTILINE)
_CONTENTS = re.compile(r"^Contents of (?P<url>\S+):\n", re.MULTILINE)
# The sentence that mcp-server-fetch puts at the very end of what it cut.
_FETCH_CUT = re.compile(
    r"\n\n<error>Content truncated\. Call the fetch tool with a start_index of \d+ to get more content\.</error>\s*\Z"
)
_CLOSED = frozenset({"closed", "done", "resolved", "merged"})


@dataclass(frozen=True)
class Commit:
    """One commit of the log. `kind` is its conventional type in lower case, or "other"."""

    sha: str
    author: str
    date: str
    subject: str
    kind: str
    scope: str
    breaking: bool


@dataclass(frozen=True)
class Issue:
    """One open issue. `url` is empty unless it points at the tracker that answered."""

    number: str
    title: str
    url: str
    labels: tuple[str, ...]


@dataclass
class Issues:
    """The open issues, in the tracker's order, each number once; `cut` when the answer was cut; `unread` items had no
    shape."""

    open: list[Issue] = field(default_factory=list)
    source: str = ""
    cut: bool = False
    unread: int = 0


def commits(log_text: str) -> list[Commit]:
    """The commits of a `git_log` answer, newest first as git gave them, each once."""
    found: dict[str, Commit] = {}
    entries = list(_ENTRY.finditer(log_text))
    for index, entry in enumerate(entries):
        end = entries[index + 1].start() if index + 1 < len(entries) else len(log_text)
        message = log_text[entry.end() : end].strip()
        head = message.split("\n", 1)[0].strip()
        match = _CONVENTIONAL.fullmatch(head)
        found.setdefault(
            entry["sha"],
            Commit(
                sha=entry["sha"],
                author=entry["author"].strip(),
                date=entry["date"].strip(),
                subject=(match["subject"] if match else head) or "(no message)",
                kind=match["type"].lower() if match else "other",
                scope=(match["scope"] or "").strip() if match else "",
                breaking=bool(match and match["bang"]) or bool(_BREAKING.search(message)),
            ),
        )
    return list(found.values())


def issues(text: str) -> Issues:
    """The open issues of a `fetch` answer whose content is JSON: a list, or an object with `issues` or `items`.

    A text cut in the middle gives every issue that is whole. Raises ValueError when there is no JSON to read at all.
    """
    result = Issues()
    contents = _CONTENTS.search(text)
    body = text[contents.end() :] if contents else text
    result.source = contents["url"] if contents else ""
    ending = _FETCH_CUT.search(body)
    if ending:
        result.cut, body = True, body[: ending.start()]
    start = re.search(r"[\[{]", body)
    if start is None:
        raise ValueError("the tracker's answer holds no JSON list of issues")
    try:
        value, _end = json.JSONDecoder().raw_decode(body, start.start())
        items = value if isinstance(value, list) else value.get("issues", value.get("items"))
        if not isinstance(items, list):
            raise ValueError("the tracker's answer has no list under `issues` or `items`")
        # A tracker that pages says so itself; following pages is the caller's work.
        result.cut = result.cut or (isinstance(value, dict) and bool(value.get("next")))
    except json.JSONDecodeError:
        result.cut, items = True, _whole_items(body)
    seen: set[str] = set()
    for item in items:
        issue = _issue(item, result)
        if issue is not None and issue.number not in seen:
            seen.add(issue.number)
            result.open.append(issue)
    return result


def _whole_items(body: str) -> list[Any]:
    """The complete elements at the front of a JSON list whose end is missing."""
    begin = body.find("[")
    items: list[Any] = []
    position = begin + 1
    decoder = json.JSONDecoder()
    while begin >= 0:
        while position < len(body) and body[position] in " \t\r\n,":
            position += 1
        try:
            item, position = decoder.raw_decode(body, position)
        except json.JSONDecodeError:
            break
        items.append(item)
    return items


def _issue(item: Any, result: Issues) -> Issue | None:
    number = (
        next((item[key] for key in ("number", "id", "key") if item.get(key) is not None), None)
        if isinstance(item, dict)
        else None
    )
    if number is None or not isinstance(number, str | int) or not isinstance(item.get("title"), str):
        result.unread += 1
        return None
    if str(item.get("state", "open")).lower() in _CLOSED or item.get("pull_request"):
        return None
    labels = item.get("labels")
    names = (
        [label.get("name") if isinstance(label, dict) else label for label in labels]
        if isinstance(labels, list)
        else []
    )
    return Issue(
        number=str(number),
        title=item["title"],
        url=_own_url(item.get("html_url") or item.get("url"), result.source),
        labels=tuple(str(name) for name in names if isinstance(name, str))[:20],
    )


def _own_url(url: Any, source: str) -> str:
    """The link, if it is https and leads to the tracker that answered: the tracker's data chooses no other host."""
    if not isinstance(url, str) or len(url) > 2000 or not source:
        return ""
    try:
        link, home = urlsplit(url), urlsplit(source)
        same = link.scheme == "https" and link.hostname == home.hostname and (link.port or 443) == (home.port or 443)
    except ValueError:
        return ""
    return url if same and link.username is None and link.password is None else ""
