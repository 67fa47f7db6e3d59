"""Values of our pack `worka.tables`: whatever stands in a file is what is shown, and finds its row again."""

from __future__ import annotations

import json
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packs" / "tables"))

from worka_sdk.testing import Harness
from worka_tables import sources
from worka_tables.tools import pack

from worka.kernel import canonical

NUMBERS = (
    st.integers(-(2**70), 2**70).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda one: f"{one:f}")
)
CELLS = NUMBERS | st.dates().map(str) | st.sampled_from(["NaN", "inf", "-0", "-0.0", "007", "1e400", "1e-400", "true"])


def rows(**given: Any) -> list[list[Any]]:
    found = Harness(pack).call("read_rows", **given)
    assert not found.is_error, found.text
    shown: list[list[Any]] = found.value["rows"]
    canonical.dumps(shown)  # every reader of JSON reads these alike
    return shown


def same(shown: Any, written: str) -> bool:
    """Whether it is the text that was written, or its number to the last digit."""
    if isinstance(shown, str):
        return shown == written
    return Decimal(repr(shown)) == Decimal(written)


@pytest.mark.capability("TOL-2", part="a pack of the SDK, input and output")
@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=6))
@example([str(2**53 + 1), str(2**53), str(-(2**63) + 1), str(2**63), "0.1", "1e400"])
@example(["0.10000000000000000001", "12345678901234567.89"])
def test_a_cell_of_a_csv_file_is_shown_to_its_last_digit_and_found_by_what_was_shown(cells: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        before, sources.ROOT = sources.ROOT, Path(place)
        try:
            Path(place, "a.csv").write_text("\n".join(["v", *cells]))
            found = [row[0] for row in rows(file="a.csv")]
            assert all(map(same, found, cells)), (found, cells)
            for value in found:
                where = [{"column": "v", "operator": "=", "value": value}]
                assert [value] in rows(file="a.csv", where=where), value
        finally:
            sources.ROOT = before


@pytest.mark.capability("TOL-2", part="a pack of the SDK, input and output")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(width=64), min_size=1, max_size=6))
def test_a_number_of_a_json_file_is_shown_to_its_last_digit(numbers: list[float]) -> None:
    with tempfile.TemporaryDirectory() as place:
        before, sources.ROOT = sources.ROOT, Path(place)
        try:
            # Python writes NaN and Infinity too, as many a program does.
            Path(place, "a.jsonl").write_text("\n".join(json.dumps({"v": number}) for number in numbers))
            found = [row[0] for row in rows(file="a.jsonl")]
            assert all(map(same, found, map(json.dumps, numbers))), (found, numbers)
        finally:
            sources.ROOT = before
