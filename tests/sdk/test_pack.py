"""Tools out of functions: what they list, what a caller gets, and what an author is told at import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from worka_sdk import Declined, Field, NobodyToAsk, Pack, ToolError, current
from worka_sdk.pack import Refused
from worka_sdk.testing import Harness


@dataclass
class Sum:
    """A sum."""

    value: int


@dataclass
class Sure:
    """Whether to go on."""

    yes: bool


def made() -> Pack:
    """A pack with a tool of every kind."""
    pack = Pack("sums", version="1.0.0")

    @pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: f"it is {found.value}")
    def add(a: int, b: Annotated[int, Field("the other", least=0)] = 1) -> Sum:
        """Adds two numbers."""
        return Sum(a + b)

    @pack.tool(side_effect="destructive")
    async def wipe() -> str:
        """Wipes everything, if a person is sure."""
        return "wiped" if current().elicit("Wipe everything?", Sure).yes else "kept"

    @pack.tool(side_effect="external_side_effect", idempotent=True)
    def send() -> str:
        """Sends it."""
        return f"{current().invocation_id} {current().idempotency_key}"

    @pack.tool(side_effect="write")
    def fail(how: str) -> Sum:
        """Fails."""
        if how == "told":
            raise ToolError("It cannot be done.", "Do something else.")
        if how == "lies":
            return "no sum"  # type: ignore[return-value]
        raise RuntimeError("the password is hunter2")

    return pack


@pytest.mark.capability("TOL-3")
def test_a_structured_result_has_a_summary_beside_it_and_an_error_its_remedy() -> None:
    harness = Harness(made())
    found = harness.call("add", a=2)
    assert (found.value, found.text, found.is_error) == ({"value": 3}, "it is 3", False)
    told = harness.call("fail", how="told")
    assert (told.value, told.text, told.is_error) == (None, "It cannot be done. Do something else.", True)


def test_what_breaks_inside_of_a_tool_is_for_its_author_and_not_for_its_caller(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for how in ("breaks", "lies"):
        found = Harness(made()).call("fail", how=how)
        assert found.is_error
        assert "hunter2" not in found.text
    assert "hunter2" in capsys.readouterr().err
    assert not Harness(made()).call("add", a=1).is_error, "the control"


def test_a_call_that_does_not_fit_never_reaches_the_tool() -> None:
    pack = made()
    for name, given in (
        ("add", {}),
        ("add", {"a": "1"}),
        ("add", {"a": 1, "b": -1}),
        ("add", {"a": 1, "c": 1}),
        ("no", {}),
    ):
        with pytest.raises(Refused):
            pack.call(name, given)
    with pytest.raises(AssertionError, match="the platform would refuse this call"):
        Harness(pack).call("add", b=1)
    assert pack.call("add", {"a": 1})["structuredContent"] == {"value": 2}, "the control"


def test_a_tool_reads_the_ids_of_its_call_and_only_there() -> None:
    meta = {"invocation_id": "inv_1", "idempotency_key": "k"}
    assert Harness(made()).call("send", meta=meta).text == "inv_1 k"
    assert (current().invocation_id, current().idempotency_key) == ("", "")


def test_a_person_is_asked_and_may_decline_and_where_nobody_is_that_is_said() -> None:
    harness = Harness(made(), answers=[Sure(True), {"yes": False}, "decline", "cancel"])
    assert [harness.call("wipe").text for _ in range(2)] == ["wiped", "kept"]
    assert [harness.call("wipe").text for _ in range(3)] == [
        str(Declined("decline")),
        str(Declined("cancel")),
        str(NobodyToAsk()),
    ]
    asked = harness.person.questions[0]
    assert asked["message"] == "Wipe everything?"
    assert asked["schema"]["properties"] == {"yes": {"type": "boolean"}}


def test_an_author_is_told_at_import_what_no_tool_can_be_made_of() -> None:
    pack = Pack("x", version="1")
    tool = pack.tool(side_effect="read_only")

    def no_words(a: int) -> str: ...  # type: ignore[empty-body]

    def no_return(a: int):  # type: ignore[no-untyped-def]
        """D."""

    def no_type(a) -> str:  # type: ignore[no-untyped-def]
        """D."""

    def many(*a: int) -> str:  # type: ignore[empty-body]
        """D."""

    def a_list(a: int) -> list[int]:  # type: ignore[empty-body]
        """D."""

    def raw(a: bytes) -> str:  # type: ignore[empty-body]
        """D."""

    for function in (no_words, no_return, no_type, many, a_list, raw):
        with pytest.raises(TypeError):
            tool(function)
    with pytest.raises(ValueError, match="side_effect is one of"):
        pack.tool(side_effect="harmless")  # type: ignore[arg-type]
    assert pack.tools == {}

    @tool
    def good(a: int) -> str:
        """D."""
        return str(a)

    with pytest.raises(ValueError, match="two tools good"):
        tool(good)
