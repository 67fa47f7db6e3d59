"""What strangers wrote, on a terminal: nothing that it obeys, and nothing that hides."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from worka.cli import output

HOSTILE = "a\x1b]0;owned\x07\x9b31m\u202eb\u200bc\rd"
PLAIN = "Grüße, 世界\n\tzweite Zeile [bold]nicht fett[/]"


def no_harm(text: str) -> bool:
    return not set(text) & set("\x1b\x07\x9b\u202e\u200b\r")


@pytest.mark.capability("DOR-2", part="output in every form that a terminal does not obey")
@pytest.mark.parametrize("form", ["json", "ndjson", "yaml", "text"])
def test_no_form_of_output_lets_a_strangers_text_steer_the_terminal(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (HOSTILE, PLAIN):
        if form == "text":
            output.text(words)
        else:
            assert output.data({"title": words}, form)
        printed = capsys.readouterr().out
        assert no_harm(printed), repr(printed)
        readers: dict[str, Any] = {"json": json.loads, "ndjson": json.loads, "yaml": yaml.safe_load}
        if form in readers:
            assert readers[form](printed) == {"title": words}, (
                "the control: whoever reads it by machine gets it as it was"
            )
        elif words == PLAIN:
            assert "Grüße, 世界" in printed
            assert "[bold]" in printed


@pytest.mark.capability("DOR-2", part="a refusal for now says when to try again")
def test_a_refusal_for_now_says_once_when_to_try_again(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"title": "Too many requests", "detail": "17 wait.", "remedy": "Wait, then try again.", "retry_after": 17}
    output.problem(body)
    assert "again in 17 seconds" in capsys.readouterr().err
    output.problem({**body, "remedy": "Try again in 17 seconds."})
    assert capsys.readouterr().err.count("17 seconds") == 1
    output.problem({key: value for key, value in body.items() if key != "retry_after"})
    assert "seconds" not in capsys.readouterr().err, "the control: who need not wait is told nothing"
