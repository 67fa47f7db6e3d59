"""The tools of worka.documents: what documents there are, one's outline and text, a search, and broken links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from worka_sdk import Field, Pack, ToolError

from worka_documents import reading

pack = Pack("documents", version="1.0.0")
Name = Annotated[str, Field("path of the document below the mount", min_length=1, max_length=500)]
MOST_TEXT = 60_000


@dataclass
class Listed:
    """A document."""

    path: str
    title: str
    lines: int


@dataclass
class Documents:
    """The documents, by path. `total` is how many there are; `unreadable` says which of these cannot be read, and why."""

    documents: list[Listed]
    total: int
    unreadable: list[str]


@dataclass
class Heading:
    """A heading; `anchor` is what a link names it by."""

    line: int
    level: int
    title: str
    anchor: str


@dataclass
class Outline:
    """A document's headings, in order."""

    path: str
    title: str
    headings: list[Heading]


@dataclass
class Part:
    """The text of a document or of one section. `cut` says what is missing, and is empty otherwise."""

    path: str
    section: str
    text: str
    cut: str


@dataclass
class Hit:
    """A line that holds all the words, and the section that it stands in."""

    path: str
    line: int
    section: str
    text: str


@dataclass
class Hits:
    """Where the words stand; `total` lines hold them. `unreadable` says where was not looked, and why."""

    hits: list[Hit]
    total: int
    unreadable: list[str]


@dataclass
class Broken:
    """A link that leads nowhere, and why."""

    path: str
    line: int
    target: str
    why: str


@dataclass
class Checked:
    """Every link inside the folder was followed; links to the outside were not. `unreadable` says which documents were not
    looked at, and why."""

    documents: int
    links: int
    broken: list[Broken]
    unreadable: list[str]


def _told(text: str, unreadable: list[str]) -> str:
    return f"{text}; {len(unreadable)} documents cannot be read" if unreadable else text


@pack.tool(
    side_effect="read_only",
    idempotent=True,
    summary=lambda found: _told(f"{found.total} documents", found.unreadable),
)
def list_documents(
    limit: Annotated[int, Field("the most documents", least=1, most=1000)] = 200,
    offset: Annotated[int, Field("how many to leave out first", least=0, most=5000)] = 0,
) -> Documents:
    """Lists the Markdown documents of the mounted folder with their titles."""
    paths = reading.paths()
    unreadable: list[str] = []
    shown = reading.each(paths[offset : offset + limit], unreadable)
    return Documents([Listed(one.path, one.title, len(one.lines)) for one in shown], len(paths), unreadable)


@pack.tool(side_effect="read_only", idempotent=True)
def outline(path: Name) -> Outline:
    """Says the headings of a document, with their lines and anchors."""
    found = reading.named(path)
    headings = [Heading(one.line, one.level, one.title, one.anchor) for one in found.headings]
    return Outline(found.path, found.title, headings)


@pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: found.text)
def read_section(
    path: Name, anchor: Annotated[str, Field("a heading's anchor; empty: the whole document", max_length=300)] = ""
) -> Part:
    """Reads a document, or one section of it with what is below its heading."""
    found = reading.named(path)
    first, last, section = 1, len(found.lines), ""
    if anchor:
        known = [one for one in found.headings if one.anchor == anchor]
        if not known:
            raise ToolError(f"{path} has no section {anchor}.", "outline names the anchors.")
        first, section = known[0].line, known[0].title
        after = [one.line for one in found.headings if one.line > first and one.level <= known[0].level]
        last = after[0] - 1 if after else last
    text = "\n".join(line.text for line in found.lines[first - 1 : last])
    cut = f"{len(text) - MOST_TEXT} characters are missing; ask for a section." if len(text) > MOST_TEXT else ""
    return Part(found.path, section, text[:MOST_TEXT], cut)


@pack.tool(
    side_effect="read_only", idempotent=True, summary=lambda found: _told(f"{found.total} lines", found.unreadable)
)
def search(
    words: Annotated[
        str, Field("words that a line must all hold, in any case and order", min_length=1, max_length=200)
    ],
    limit: Annotated[int, Field("the most lines", least=1, most=500)] = 50,
) -> Hits:
    """Searches the documents for words, and says in which section each line stands."""
    wanted = [word.casefold() for word in words.split()]
    if not wanted:
        raise ToolError("There is no word to look for.")
    hits: list[Hit] = []
    total = 0
    unreadable: list[str] = []
    for document in reading.each(reading.paths(), unreadable):
        for line in document.lines:
            text = line.text.casefold()
            if all(word in text for word in wanted):
                total += 1
                if len(hits) < limit:
                    hits.append(Hit(document.path, line.number, line.section, line.text.strip()[:400]))
    return Hits(hits, total, unreadable)


@pack.tool(
    side_effect="read_only",
    idempotent=True,
    summary=lambda found: _told(f"{len(found.broken)} of {found.links} links", found.unreadable),
)
def broken_links() -> Checked:
    """Follows every link inside the folder, to files and to headings, and says which lead nowhere."""
    found = reading.paths()
    unreadable: list[str] = []
    # Read twice rather than held at once: first what a link may name, then the links.
    known = {document.path: document.anchors() for document in reading.each(found, unreadable)}
    broken: list[Broken] = []
    links = 0
    for document in reading.each(found, []):
        links += sum(1 for _ in document.links())
        broken += [Broken(document.path, line, target, why) for line, target, why in reading.broken(document, known)]
    return Checked(len(known), links, broken[:500], unreadable)
