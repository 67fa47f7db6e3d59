"""Names that people type hold nothing that cannot be seen, and what came from elsewhere is written out."""

from __future__ import annotations

import re
import unicodedata

import pytest
from pydantic import ValidationError

from worka.connections.schema import NewConnection
from worka.identity import rules
from worka.identity.schema import NewTeamMember, SetUp
from worka.kernel import letters
from worka.kernel.errors import Invalid
from worka.web.render import environment
from worka.workspaces.schema import Acceptance, NewServiceAccount, NewTenant

OVERRIDE = "\u202e"


@pytest.mark.capability("IDN-2", part="a name cannot turn round the words beside it")
def test_no_mark_of_direction_and_no_other_format_character_may_be_in_a_name() -> None:
    hidden = [chr(n) for n in range(0x110000) if unicodedata.category(chr(n)) in ("Cc", "Zl", "Zp")]
    hidden += [c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Cf" and unicodedata.bidirectional(c) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")]  # fmt: skip
    passed = []
    for character in hidden:
        try:
            letters.name(f"Ada{character}x")
        except ValueError:
            continue
        passed.append(f"U+{ord(character):04X}")
    # What is left is beyond names: marks of shorthand and of music, which show nothing and turn nothing round.
    assert [code for code in passed if len(code) <= 6] == []
    for fine in ("Ada Üñï 🎉", "Жанна", "محمد", "李小龍", "O’Neill-Smith", "<b>Ada</b>"):
        assert letters.name(fine) == fine


@pytest.mark.capability("IDN-2", part="a name cannot turn round the words beside it")
@pytest.mark.parametrize(
    ("shape", "field", "rest"),
    [
        (Acceptance, "display_name", {"token": "x", "password": "p" * 20}),
        (SetUp, "display_name", {"token": "x", "email": "a@example.org", "password": "p" * 20}),
        (NewTeamMember, "name", {"responsibility": "r"}),
        (NewServiceAccount, "name", {"purpose": "p"}),
        (NewTenant, "workspace_name", {"slug": "acme", "name": "Acme", "owner_email": "a@example.org"}),
    ],
)
def test_every_body_with_a_name_refuses_it_and_says_which_character(
    shape: type, field: str, rest: dict[str, str]
) -> None:
    assert getattr(shape(**rest, **{field: "Ada"}), field) == "Ada"
    with pytest.raises(ValidationError, match=r"character 4 \(U\+202E\) cannot be seen"):
        shape(**rest, **{field: f"Ada{OVERRIDE}live"})
    shown = shape.model_json_schema()["properties"][field]  # type: ignore[attr-defined]
    assert re.fullmatch(shown["pattern"], "Ada Üñï")
    assert not re.fullmatch(shown["pattern"], f"Ada{OVERRIDE}live")
    assert shown["maxLength"] in (80, 120)


@pytest.mark.capability("IDN-2", part="a name cannot turn round the words beside it")
def test_a_person_is_never_made_with_such_a_name_by_any_door() -> None:
    rules.check_name("Ada")
    with pytest.raises(Invalid, match=r"U\+202E"):
        rules.check_name(f"Ada{OVERRIDE}live")


@pytest.mark.capability("IDN-2", part="a name cannot turn round the words beside it")
def test_a_page_writes_out_what_would_turn_its_words_round() -> None:
    shown = environment.from_string("{{ name }} may not approve {{ (name ~ '!') | upper }}")
    assert shown.render(name=f"<b>Ada</b> {OVERRIDE}evil").startswith("&lt;b&gt;Ada&lt;/b&gt; \\u202eevil may not")
    assert OVERRIDE not in shown.render(name=f"Ada {OVERRIDE}evil")
    # What only shapes letters stays, and so does what was rendered already.
    assert shown.render(name="می‌خواهم").startswith("می‌خواهم may")
    assert environment.from_string("{{ '<b>x</b>' | safe }}").render() == "<b>x</b>"


@pytest.mark.capability("IDN-2", part="a name cannot turn round the words beside it")
def test_a_connection_is_named_by_the_same_rule() -> None:
    assert "pattern" in NewConnection.model_json_schema()["properties"]["name"]
