"""A small, safe renderer for documents that hold untrusted data.

Everything is escaped first; markup is recognised in the escaped text only. There is no raw HTML, no image, no attribute
from the text except the address of a link, which must be http or https and whose host is shown beside it.
"""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

from markupsafe import Markup

# Characters that reorder or hide text (bidirectional overrides, zero widths) are shown as a mark instead of obeyed.
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ue000-\uf8ff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPED = re.compile(r"\\(&(?:lt|gt|amp|quot|#x27);|[!-/:-@\[-`{-~])")
# Every repetition is bounded: the text is hostile, and the time to read it must grow with its length only.
_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)(.{1,400}?)(?<!`)\1(?!`)")
_LINK = re.compile(r"\[([^\[\]]{1,400})\]\(([^()\s]{1,2000})\)")
_ANGLE = re.compile(r"\[([^\[\]]{1,400})\]\(&lt;([^()<>\s]{1,2000}?)&gt;\)")
# A character written as an entity stands for that character, as text: `&lt;` in the source reads `<`.
_ENTITY = re.compile(r"&amp;(lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#[xX][0-9a-fA-F]{1,5});")
_AUTO = re.compile(r"&lt;(https?://[^\s<>]{1,2000}?)&gt;")
_STRONG = re.compile(r"\*\*(?=\S)(.{1,300}?)(?<=\S)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])[*_](?=[^\s*_])(.{1,200}?)(?<=[^\s*_])[*_](?![\w*])")
_HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
_BULLET = re.compile(r"^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$")
_RULE = re.compile(r"^\s*(?:-{3,}|\*{3,}|_{3,})\s*$")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_QUOTE = re.compile(r"^&gt;\s?(.*)$")
MAX_CHARACTERS = 400_000
MAX_LINE = 20_000


def render(text: str) -> Markup:
    """The document as HTML. Headings begin at h2 (h1 is the page's own). Past MAX_CHARACTERS it is cut, and says so.
    A paragraph longer than MAX_LINE is shown as it is, without markup."""
    cut = len(text) > MAX_CHARACTERS
    safe = html.escape(_HIDDEN.sub("\ufffd", text[:MAX_CHARACTERS].replace("\r\n", "\n")), quote=True)
    body = "".join(_blocks(safe.split("\n")))
    if cut:
        body += f"<p><strong>Cut here:</strong> the document is longer than {MAX_CHARACTERS} characters.</p>"
    return Markup(body)  # noqa: S704 - every character of the input was escaped above


def _blocks(lines: list[str]) -> list[str]:
    out: list[str] = []
    paragraph: list[str] = []
    lists: list[tuple[int, str]] = []

    def end_paragraph() -> None:
        if paragraph:
            out.append(f"<p>{_inline(' '.join(paragraph))}</p>")
            paragraph.clear()

    def end_lists(indent: int = -1) -> None:
        while lists and lists[-1][0] > indent:
            out.append(f"</li></{lists.pop()[1]}>")

    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := _FENCE.match(line):
            end_paragraph()
            end_lists()
            code: list[str] = []
            while number < len(lines) and not lines[number].strip().startswith(fence.group(1)):
                code.append(lines[number])
                number += 1
            number += 1
            out.append('<pre tabindex="0"><code>' + "\n".join(code) + "</code></pre>")
        elif not line.strip():
            end_paragraph()
            following = lines[number] if number < len(lines) else ""
            if not _BULLET.match(following) and not following.startswith("  "):
                end_lists()
        elif heading := _HEADING.match(line):
            end_paragraph()
            end_lists()
            level = min(len(heading.group(1)) + 1, 6)
            out.append(f"<h{level}>{_inline(heading.group(2).rstrip().rstrip('#').rstrip())}</h{level}>")
        elif _RULE.match(line):
            end_paragraph()
            end_lists()
            out.append("<hr>")
        elif bullet := _BULLET.match(line):
            end_paragraph()
            indent, kind = len(bullet.group(1)), "ol" if bullet.group(2) else "ul"
            end_lists(indent)
            if lists and lists[-1] == (indent, kind):
                out.append("</li><li>")
            else:
                if lists and lists[-1][0] == indent:
                    out.append(f"</li></{lists.pop()[1]}>")
                out.append(f"<{kind}><li>")
                lists.append((indent, kind))
            out.append(_inline(bullet.group(3)))
        elif quote := _QUOTE.match(line):
            end_paragraph()
            end_lists()
            out.append(f"<blockquote><p>{_inline(quote.group(1))}</p></blockquote>")
        elif lists and line.startswith("  "):
            out.append(" " + _inline(line.strip()))
        else:
            end_lists()
            paragraph.append(line.strip())
    end_paragraph()
    end_lists()
    return out


def _inline(text: str) -> str:
    if len(text) > MAX_LINE:
        return text
    kept: list[str] = []

    def keep(fragment: str) -> str:
        # A private-use character stands for a finished fragment: nothing after this looks into it. The input has none.
        kept.append(fragment)
        return chr(0xE000 + len(kept) - 1) if len(kept) <= 0x1900 else ""

    text = _ESCAPED.sub(lambda match: keep(match.group(1)), text)
    text = _CODE.sub(lambda match: keep(f"<code>{match.group(2).strip()}</code>"), text)
    text = _ENTITY.sub(lambda match: keep(_character(match.group(1))), text)
    text = _ANGLE.sub(lambda match: keep(_link(match.group(1), match.group(2), kept)), text)
    text = _LINK.sub(lambda match: keep(_link(match.group(1), match.group(2), kept)), text)
    text = _AUTO.sub(lambda match: keep(_link(match.group(1), match.group(1), kept)), text)
    text = _STRONG.sub(r"<strong>\1</strong>", text)
    text = _EMPHASIS.sub(r"<em>\1</em>", text)
    return _restore(text, kept)


def _character(entity: str) -> str:
    return html.escape(_HIDDEN.sub("\ufffd", html.unescape(f"&{entity};")), quote=True)


def _restore(text: str, kept: list[str]) -> str:
    return re.sub("[\ue000-\uf8ff]", lambda match: kept[ord(match.group()) - 0xE000], text)


def _link(label: str, address: str, kept: list[str]) -> str:
    """A link that says where it goes. `label` and `address` are escaped already."""
    label, target = _restore(label, kept), _restore(address, kept)
    plain = html.unescape(target)
    try:
        host = urlsplit(plain).hostname or ""
    except ValueError:
        host = ""
    if not re.match(r"https?://", plain) or not host or "<" in target:
        return f"[{label}]({target})"
    where = "" if host in label else f' <span class="host">{html.escape(host)}</span>'
    return f'<a href="{target}" rel="noopener noreferrer nofollow">{label}</a>{where}'
