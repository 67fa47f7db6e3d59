"""Documents hold untrusted text: it is shown, never obeyed."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worka.web.markdown import MAX_CHARACTERS, render
from worka.web.render import local

ALLOWED = {
    "p": set(), "h2": set(), "h3": set(), "h4": set(), "h5": set(), "h6": set(), "ul": set(), "ol": set(), "li": set(),
    "pre": {"tabindex"}, "code": set(), "strong": set(), "em": set(), "hr": set(), "blockquote": set(),
    "a": {"href", "rel"}, "span": {"class"},
}  # fmt: skip
pytestmark = pytest.mark.capability("VIW-6", part="untrusted text")


class Reader(HTMLParser):
    """What a browser would make of it: every tag and attribute is one of the few we write."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attrs} <= ALLOWED[tag], attrs
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(str(render(text)))
    reader.close()
    return reader


MARKUP = st.text(alphabet="<>&\"'`*_[]()\\#-!/:.0123456789abhjst \n\u202e\ue000", max_size=200)


@given(st.one_of(st.text(max_size=300), MARKUP))
def test_whatever_is_written_only_our_own_tags_come_out(text: str) -> None:
    assert all(link.startswith(("http://", "https://")) for link in read(text).links)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>1</script>)",
        '[x](https://a.example/"onmouseover="alert(1))',
        "[x](//evil.example)",
        "`</code><script>`",
        "```\n</code></pre><script>\n```",
        "![x](https://tracker.example/pixel.png)",
        "\\<script\\>alert\\(1\\)\\</script\\>",
        "&lt;script&gt;",
        "[a](https://x.example/\ue000)`code`",
    ],
)
def test_the_usual_tricks_stay_text(text: str) -> None:
    assert "<script" not in str(render(text)).lower()
    assert all(link.startswith("http") for link in read(text).links)


def test_a_link_says_where_it_goes() -> None:
    assert '<span class="host">evil.example</span>' in str(render("[your bank](https://evil.example/login)"))
    assert "host" not in str(render("[https://a.example/1](https://a.example/1)"))


def test_ordinary_notes_read_as_notes() -> None:
    out = str(render("# Notes\n\n- **One** `x_y_z`\n- two\n  - inner\n\n1. first\n2. *second*\n\nA\nB\n"))
    assert "<h2>Notes</h2>" in out
    assert "<ul><li><strong>One</strong> <code>x_y_z</code></li><li>two<ul><li>inner</li></ul></li></ul>" in out
    assert "<ol><li>first</li><li><em>second</em></li></ol>" in out
    assert "<p>A B</p>" in out


def test_a_link_in_angle_brackets_is_a_link_and_an_entity_is_its_character() -> None:
    assert '<a href="https://a.example/1"' in str(render("[#1](<https://a.example/1>) x"))
    out = str(render("&lt;b&gt; &#60;script&#62; &#42;not bold&#42; &amp;lt; &#x202e;"))
    assert out == "<p>&lt;b&gt; &lt;script&gt; *not bold* &amp;lt; \ufffd</p>"
    assert read("[x](<javascript:alert(1)>) [x](&#106;avascript:1) [x](<&quot;onx=>)").links == []


def test_text_that_reorders_itself_is_marked() -> None:
    assert "\u202e" not in str(render("abc\u202egnp.exe"))
    assert "\ufffd" in str(render("abc\u202egnp.exe"))


@pytest.mark.parametrize(
    "piece", ["*a ", "**a", "[", "[a](", "`", "``a", "# ", "- ", "> ", "\\*", "<a", "  - a\n", "1. a\n"]
)
def test_hostile_text_is_read_in_time_that_grows_with_its_length(piece: str) -> None:
    text = (piece * MAX_CHARACTERS)[:MAX_CHARACTERS]
    started = time.perf_counter()
    render(text)
    assert time.perf_counter() - started < 8


def test_a_document_that_is_cut_says_so() -> None:
    assert "Cut here" in str(render("a\n" * MAX_CHARACTERS))


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "/sign-in", "", None]
)
def test_after_sign_in_a_reader_is_never_sent_elsewhere(target: str | None) -> None:
    assert local(target) == "/"


def test_after_sign_in_a_reader_comes_back_to_where_they_were() -> None:
    assert local("/w/ws_1/changes?lane=work&since=1h") == "/w/ws_1/changes?lane=work&since=1h"
