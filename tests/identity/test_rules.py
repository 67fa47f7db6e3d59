"""The pure rules of identity: tokens, passwords, names, the sign-in budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worka.identity import rules
from worka.identity.errors import WeakPassword
from worka.kernel.errors import Invalid


@given(st.binary(min_size=32, max_size=32), st.sampled_from(sorted(rules.PREFIXES)))
def test_a_token_tells_its_kind_and_every_single_typing_error(random: bytes, kind: str) -> None:
    token = rules.make_token(kind, random)
    assert rules.kind_of(token) == kind
    for place in range(0, len(token), 7):
        wrong = token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]
        assert rules.kind_of(wrong) is None
    assert rules.kind_of(token + " ") is None
    assert rules.kind_of("") is None


def test_a_password_is_long_enough_and_not_the_address() -> None:
    rules.check_password("a long enough one", "me@example.org")
    for wrong in ("short", "x" * 1025, "ME@example.ORG"):
        with pytest.raises(WeakPassword):
            rules.check_password(wrong, "me@example.org")


def test_tool_names_have_publisher_pack_and_tool() -> None:
    assert rules.check_tools(["acme.notes.publish", "acme.notes.publish"]) == ["acme.notes.publish"]
    for wrong in ("publish", "acme.notes", "acme.notes.*", "a.b.c.d", "../x.y.z"):
        with pytest.raises(Invalid):
            rules.check_tools([wrong])


def test_an_address_has_one_at_sign_and_nothing_that_is_no_letter() -> None:
    assert rules.check_email(" Ada@Example.ORG ") == "ada@example.org"
    for wrong in ("ada", "a@b@c", "a b@c", "a@b\nc", "a@\x1db", "a@b\x85c", "@b", "a@", "a\u2028@b"):
        with pytest.raises(Invalid):
            rules.check_email(wrong)


def test_an_invited_address_is_a_dot_atom_and_carries_nothing_else() -> None:
    for right in ("o'hara+x@x-y.example", "zoë@bücher.example", "root@localhost", "a.b@c.example"):
        assert rules.check_email(right) == right
    for wrong in (
        "<script>alert(1)</script>@x.org", '"a"@b.c', "a..b@c.d", ".a@b.c", "a@b..c", "a@b_c.d", "a@b>", "\u202ea@b.c",
    ):  # fmt: skip
        with pytest.raises(Invalid):
            rules.check_email(wrong)


def test_a_name_that_ends_in_a_line_break_is_no_name() -> None:
    with pytest.raises(Invalid):
        rules.check_tools(["acme.notes.publish\n"])
