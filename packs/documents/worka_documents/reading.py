"""Markdown below the mount: sections, words and links. Nothing is rendered and no link is followed to the outside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from worka_sdk import ToolError

ROOT = Path("/docs")
MOST_FILES = 5000
MOST_BYTES = 2 * 1024 * 1024
MOST_LINES = 100_000
# A document may be one line of 2 MiB: each pattern takes time in proportion to it. So nothing is tried twice (`++`, `*+`),
# and what may be long stops where the next match may begin.
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINK = re.compile(
    r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*+\]\(\s*+(<[^<>\n]*>|[^\s()]*+(?:\([^\s()]*\)[^\s()]*+)*+)"
    r"(?:\s++(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?+\s*+\)"
)
_LINKED = re.compile(r"!?\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*+\)")
_DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:\s*(<[^<>]*>|\S+)")
_TICKS = re.compile("`+")
_ANCHOR = re.compile(r"<a\s+(?:id|name)=[\"']([^\"']+)", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """A line of text: its number, whether it is code, and the heading that it stands under."""

    number: int
    text: str
    code: bool
    section: str


@dataclass(frozen=True)
class Heading:
    """A heading, and the anchor that links name it by."""

    line: int
    level: int
    title: str
    anchor: str


@dataclass(frozen=True)
class Document:
    """A document: where it is, its lines, its headings."""

    path: str
    lines: list[Line]
    headings: list[Heading]

    @property
    def title(self) -> str:
        """Its first heading, else its name."""
        return self.headings[0].title if self.headings else Path(self.path).stem

    def anchors(self) -> set[str]:
        """What a link may name in it, in small letters."""
        own = {found.lower() for line in self.lines for found in _ANCHOR.findall(line.text)}
        return own | {heading.anchor.lower() for heading in self.headings}

    def links(self) -> Iterator[tuple[int, str]]:
        """(line, target) of every link and picture outside of code."""
        for line in self.lines:
            if line.code:
                continue
            text = _without_code(line.text)
            defined = _DEFINITION.match(text)
            for target in ([defined[1]] if defined else []) + [match[1] for match in _LINK.finditer(text)]:
                yield line.number, target.strip("<>")


def _without_code(text: str) -> str:
    """A line with blanks for its code, which stands between two runs of as many backticks."""
    runs = [match.span() for match in _TICKS.finditer(text)]
    ends: dict[int, int] = {}
    closing: dict[int, int] = {}
    for start, end in reversed(runs):
        if end - start in ends:
            closing[start] = ends[end - start]
        ends[end - start] = end
    parts, done = [], 0
    for start, _ in runs:
        if start >= done and start in closing:
            parts += [text[done:start], " " * (closing[start] - start)]
            done = closing[start]
    return "".join([*parts, text[done:]])


def inside(path: Path) -> bool:
    """Whether a path, with its links followed, is below the mount."""
    try:
        real, root = path.resolve(), ROOT.resolve()
    except (OSError, ValueError, RuntimeError):
        return False  # links in a circle, or no path at all
    return real == root or root in real.parents


def paths() -> list[Path]:
    """Every Markdown file, in order. Raises ToolError where there are too many."""
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        hidden = any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
        if not hidden and inside(path) and path.is_file():
            found.append(path)
        if len(found) > MOST_FILES:
            raise ToolError(f"There are more than {MOST_FILES} documents.", "Attach a smaller repository.")
    return found


def named(name: str) -> Document:
    """The document of this path. Raises ToolError."""
    path = ROOT / name
    if (
        name.startswith("/")
        or ".." in Path(name).parts
        or path.suffix != ".md"
        or not inside(path)
        or not os.path.isfile(path)
    ):
        raise ToolError(f"There is no document {name}.", "list_documents names them.")
    return read(path)


def read(path: Path) -> Document:
    """A document. Raises ToolError for one that is too large, OSError for one that cannot be read."""
    if path.stat().st_size > MOST_BYTES:
        raise ToolError(f"{path.name} has more than {MOST_BYTES} bytes.", "Split it.")
    texts = path.read_text("utf-8", "replace").splitlines()
    if len(texts) > MOST_LINES:
        raise ToolError(f"{path.name} has more than {MOST_LINES} lines.", "Split it.")
    lines: list[Line] = []
    headings: list[Heading] = []
    used: dict[str, int] = {}
    fence, section = "", ""
    for number, text in enumerate(texts, 1):
        mark = _FENCE.match(text)
        if fence:
            if mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not text.strip().strip(fence[0]):
                fence = ""
            lines.append(Line(number, text, True, section))
            continue
        if mark:
            fence = mark[1]
            lines.append(Line(number, text, True, section))
            continue
        if heading := _HEADING.fullmatch(text):
            section = _title(heading[2].strip())
            headings.append(Heading(number, len(heading[1]), section, _anchor(section, used)))
        lines.append(Line(number, text, False, section))
    return Document(path.relative_to(ROOT).as_posix(), lines, headings)


def each(found: list[Path], unreadable: list[str]) -> Iterator[Document]:
    """The documents, one at a time, that the memory need not hold all. Of one that cannot be read, its path and why not
    go to `unreadable`."""
    for path in found:
        try:
            document = read(path)
        except (ToolError, OSError) as error:
            unreadable.append(f"{path.relative_to(ROOT).as_posix()}: {error}")
        else:
            yield document


def _title(text: str) -> str:
    """A heading's words without the # that close it; those that touch a word are part of it."""
    words = text.rstrip("#")
    return words.rstrip() if not words or words[-1] in " \t" else text


def _anchor(title: str, used: dict[str, int]) -> str:
    """The anchor that hosts of repositories make of a heading: letters, digits, - and _; a number for a second one."""
    words = _LINKED.sub(r"\1", title).replace("`", "").lower()
    plain = "".join(letter for letter in words if letter.isalnum() or letter in " -_").replace(" ", "-")
    count = used.get(plain, 0)
    used[plain] = count + 1
    return f"{plain}-{count}" if count else plain


def broken(document: Document, known: dict[str, set[str]]) -> Iterator[tuple[int, str, str]]:
    """(line, target, why) of links to files and headings that are not there. Links to the outside are not looked at.
    `known`: path -> anchors of every document."""
    here = (ROOT / document.path).parent
    for line, target in document.links():
        if not target or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", target):
            continue
        place, _, anchor = target.partition("#")
        name = unquote(place.partition("?")[0])
        path = ROOT / name.lstrip("/") if place.startswith("/") else here / name
        if "\0" in name:
            yield line, target, "there is no such file"
        elif place and not inside(path):
            yield line, target, "it leads out of the folder"
        elif place and not os.path.exists(path):
            yield line, target, "there is no such file"
        elif anchor:
            other = document.path if not place else path.resolve().relative_to(ROOT.resolve()).as_posix()
            if other in known and unquote(anchor).lower() not in known[other]:
                yield line, target, f"{other} has no such heading"
