"""The four template roots (BRK-7)."""

from __future__ import annotations

import pytest

from worka.broker.templates import TemplateError, expand, roots

pytestmark = pytest.mark.capability("BRK-7")
VALUES = {
    "connection.access_token": "t0ken",
    "connection.refresh_token": "r",
    "connection.provider": "tracker",
    "connection.metadata.account": "42",
    "connection.metadata.loop": "{{connection.access_token}}",
    "connection.metadata.bad": "a\r\nX-Evil: 1",
}


def test_the_four_roots_expand() -> None:
    text = "{{connection.access_token}}/{{ connection.refresh_token }}/{{connection.provider}}"
    text += "/{{connection.metadata.account}}"
    assert expand(text, VALUES.get) == "t0ken/r/tracker/42"


@pytest.mark.parametrize(
    "template",
    [
        "{{env.HOME}}", "{{connection}}", "{{connection.secret}}", "{{connection.metadata}}",
        "{{connection.metadata.a.b}}", "{{secret.x}}", "{{}}", "{{connection.access_token", "connection.access_token}}",
        "{{{connection.access_token}}}", "{{connection.access_token|upper}}", "{{connection.metadata.a b}}",
        "{{{{connection.provider}}}}",
    ],
)  # fmt: skip
def test_any_other_root_is_an_error(template: str) -> None:
    with pytest.raises(TemplateError):
        expand(template, lambda _: "x")


def test_a_value_is_never_expanded_again() -> None:
    assert expand("{{connection.metadata.loop}}", VALUES.get) == "{{connection.access_token}}"


def test_a_missing_value_and_one_that_would_end_the_header_are_errors_without_the_value() -> None:
    with pytest.raises(TemplateError, match=r"no metadata\.none"):
        expand("{{connection.metadata.none}}", VALUES.get)
    with pytest.raises(TemplateError) as problem:
        expand("{{connection.metadata.bad}}", VALUES.get)
    assert "Evil" not in str(problem.value)


def test_the_roots_of_a_template_are_listed_in_order() -> None:
    assert roots("{{connection.provider}}-{{connection.access_token}}") == (
        "connection.provider",
        "connection.access_token",
    )
