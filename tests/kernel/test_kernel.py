"""The kernel's words: ids, settings, redaction, canonical JSON, state machines."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from worka.kernel import canonical, failpoints, ids, redact, settings, telemetry
from worka.kernel.errors import Conflict, NotFound, from_body
from worka.kernel.states import State, StateMachine


def test_ids_sort_by_the_order_in_which_they_were_made() -> None:
    made = [ids.new_id("task") for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == 5000


def test_an_id_says_what_it_is_and_nothing_else_passes_for_one() -> None:
    assert ids.check(ids.new_id("apr"), "apr")
    assert not ids.check(ids.new_id("apr"), "task")
    for text in (
        "",
        "task_",
        "task_1",
        "TASK_" + "0" * 26,
        "task_" + "i" * 26,
        "task_" + "0" * 27,
        "task_" + "0" * 26 + "\n",
    ):
        assert not ids.check(text), text


def test_ids_never_go_back_when_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.new_id("task")
    earlier = time.time_ns() - 7_200_000_000_000
    monkeypatch.setattr(ids.time, "time_ns", lambda: earlier)
    assert ids.new_id("task") > first


def test_an_unknown_setting_refuses_to_start_and_names_the_nearest_one() -> None:
    with pytest.raises(SystemExit, match=r"WORKA_HTTP__PROT is not a setting.*WORKA_HTTP__PORT"):
        settings.load({"WORKA_HTTP__PROT": "1", "WORKA_HOME": "/tmp/x"})
    assert settings.load({"WORKA_HTTP__PORT": "81", "WORKA_HOME": "/tmp/x"}).http.port == 81


def test_a_secret_setting_can_come_from_a_file_and_is_never_printed(tmp_path: object) -> None:
    import pathlib

    path = pathlib.Path(str(tmp_path)) / "key"
    path.write_text("postgresql://u:hidden-word@h/d\n")
    loaded = settings.load({"WORKA_DATABASE__URL_FILE": str(path), "WORKA_HOME": "/tmp/x"})
    assert loaded.database.url is not None
    assert loaded.database.url.get_secret_value().endswith("@h/d")
    assert "hidden-word" not in repr(loaded) + loaded.model_dump_json()


def test_a_remembered_secret_is_masked_in_every_usual_spelling() -> None:
    secret = 'trk-"quoted"-9f8e7d'
    text = " ".join([secret, base64.b64encode(secret.encode()).decode(), json.dumps(secret)])
    assert "9f8e7d" in redact.text(text)
    redact.remember(secret)
    masked = redact.text(text)
    assert "9f8e7d" not in masked
    assert base64.b64encode(secret.encode()).decode().rstrip("=") not in masked


def test_a_value_is_masked_however_many_came_after_it() -> None:
    known = redact.Known()
    values = [f"{n:06d}-secret" for n in range(3000)]
    for value in values:
        known.add(value, 0.0)
    for form in ("longer-value", "longer-value-still"):
        known.add(form, 0.0)
    text = f"a {values[0]} b {values[700]}{values[2999]} c 000001-secre longer-value-still"
    m = redact.MASK
    assert known.masked(text, 0.0) == f"a {m} b {m}{m} c 000001-secre {m}"


def test_where_there_is_no_room_for_a_value_everything_is_masked_until_no_call_can_have_it() -> None:
    known = redact.Known(kept=3)
    for n in range(3):
        known.add(f"secret-{n}", float(n))
    assert known.masked("see secret-0", 3.0) == f"see {redact.MASK}", "the control: there was room"
    known.add("secret-3", 10.0)
    assert [known.masked(text, 899.0) for text in ("see secret-0", "anything", "")] == [redact.MASK, redact.MASK, ""]
    assert known.masked("see secret-0 and secret-1", 900.0) == f"see secret-0 and {redact.MASK}"
    # What is used again is not the one that is forgotten, and one that is old enough goes without a word.
    known.add("secret-1", 1000.0)
    known.add("secret-4", 1001.0)
    assert known.masked("secret-1 secret-2 secret-4", 1001.0) == f"{redact.MASK} secret-2 {redact.MASK}"


def test_token_shaped_text_is_masked_and_plain_words_are_not() -> None:
    assert "abcdef123456" not in redact.text("Authorization: Bearer abcdef123456")
    assert redact.text("the token bucket is full") == "the token bucket is full"
    signed = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_d"
    for around in ("{}", "-{}", "x-{} y", '"{}"'):
        assert redact.text(around.format(signed)) == around.format(redact.MASK)


def test_masking_takes_time_that_grows_with_the_text_and_no_faster() -> None:
    """What a stranger asks for stands in the access log, which is masked."""
    began = time.thread_time()
    for part in ("eyJaaaaaaaa-", "eyJaaaaaaaa.aaaaaaa-", "token=  ", "-----BEGIN A ", "password: '", "bearer  "):
        redact.text(part * 8000)
    assert time.thread_time() - began < 4


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(-(2**53) + 1, 2**53 - 1),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_canonical_json_is_the_same_for_the_same_value(value: object) -> None:
    once = canonical.dumps(value)
    assert canonical.dumps(json.loads(once)) == once


_NAMES = st.text() | st.sampled_from(["\U0001f600", "\ufb33", "a", "A", "\x7f", "\u20ac"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(_NAMES, inner) | st.tuples(inner),
    )
)
def test_canonical_json_is_that_of_the_reference_whichever_way_it_is_written(value: Any) -> None:
    try:
        wanted = rfc8785.dumps(value)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            canonical.dumps(value)
    else:
        assert canonical.dumps(value) == wanted


def test_canonical_json_holds_no_half_characters_and_no_circles() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for wrong, error in (("\ud800", ValueError), ({"a": ["\udfff"]}, ValueError), (circle, RecursionError)):
        with pytest.raises(error):
            canonical.dumps(wrong)
    assert canonical.dumps({"b": 1, "a": "\u20ac\x01"}) == '{"a":"\u20ac\\u0001","b":1}'.encode(), "the control"


def test_a_move_that_a_machine_does_not_have_is_refused() -> None:
    machine = StateMachine(
        "lamp", [State("off", reasons=("switched_off",)), State("on", terminal=True)], [("off", "on")]
    )
    machine.check("off", "on")
    with pytest.raises(Conflict):
        machine.check("on", "off")


def test_a_problem_keeps_its_code_and_remedy_across_processes() -> None:
    body = NotFound("No such lamp.", code="lamp_not_found", remedy="Look again.", lamp="l1").body("t")
    problem = from_body(body)
    assert isinstance(problem, NotFound)
    assert problem.body("t") == body


def test_a_failpoint_set_outside_tests_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKA_FAILPOINT", "task.created.before_commit")
    monkeypatch.delenv("WORKA_TESTING", raising=False)
    with pytest.raises(SystemExit, match="outside tests"):
        failpoints.check_environment()
    monkeypatch.setenv("WORKA_TESTING", "1")
    failpoints.check_environment()


def test_only_a_well_formed_traceparent_is_taken_over() -> None:
    good = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert telemetry.parse(good) == ("a" * 32, "b" * 16)
    for bad in (None, "", good.upper(), "00-" + "0" * 32 + "-" + "b" * 16 + "-01", good + "x"):
        assert telemetry.parse(bad) is None


async def test_what_is_long_is_written_beside_those_who_are_served_and_what_is_short_at_once() -> None:
    where: list[bool] = []

    def write(value: object) -> str:
        where.append(threading.current_thread() is threading.main_thread())
        return canonical.sha256_hex(value)

    small = {"text": "x" * 1000, "list": list(range(100))}
    for value in (small, {"text": "x" * 300_000}, {"list": list(range(5000))}, {"deep": [[{"a": "b"}] * 900] * 2}):
        assert await canonical.beside(value, write, value) == canonical.sha256_hex(value)
    assert where == [True, False, False, False]
