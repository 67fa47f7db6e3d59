"""What is read before anybody knows who sent it takes time that grows with its length, and no faster."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from worka.kernel import strict_json

ENOUGH = 4.0
"""Seconds of processor time for a reading that takes a tenth of one; comparing each part with each takes minutes."""


def spent(reading: Callable[[], object]) -> float:
    """Processor time of this thread."""
    began = time.thread_time()
    reading()
    return time.thread_time() - began


@pytest.mark.capability("DOR-1", part="a body is read one way, or refused")
def test_a_name_that_stands_twice_among_very_many_is_found_at_once() -> None:
    names = ",".join(f'"{number}":1' for number in range(100_000))

    def twice() -> None:
        with pytest.raises(strict_json.Unreadable, match="'99999' stands twice"):
            strict_json.loads(f'{{{names},"99999":1}}'.encode())

    assert spent(twice) < ENOUGH
    assert len(strict_json.loads(f"{{{names}}}".encode())) == 100_000


@pytest.mark.capability("DOR-1", part="a body is read one way, or refused")
def test_a_long_name_above_a_long_list_is_read_once() -> None:
    body = ('{"' + "a" * 500_000 + '":[' + "1," * 200_000 + "1]}").encode()
    assert spent(lambda: strict_json.loads(body)) < ENOUGH


@pytest.mark.capability("DOR-1", part="a body is read one way, or refused")
def test_a_fault_is_told_with_the_way_to_it_in_bounded_length() -> None:
    with pytest.raises(strict_json.Unreadable, match="NUL") as told:
        strict_json.loads(b'{"a": [1, {"b": "\\u0000"}]}')
    assert told.value.extra["field"] == "/body/a/1/b"
    with pytest.raises(strict_json.Unreadable) as escaped:
        strict_json.loads(b'{"a/b": {"c~d": "\\u0000"}}')
    assert escaped.value.extra["field"] == "/body/a~1b/c~0d", "a pointer that another program follows to the same place"
    with pytest.raises(strict_json.Unreadable) as long:
        strict_json.loads(('{"' + "a" * 5000 + '": 1e999}').encode())
    assert len(str(long.value)) < 400
    assert strict_json.loads(b'{"a": [1, {"b": "fine"}]}') == {"a": [1, {"b": "fine"}]}
