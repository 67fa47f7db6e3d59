"""How much of the outside one attachment may use, as arithmetic."""

from __future__ import annotations

import datetime

import pytest

from worka.broker.allowance import MB, Allowance, Meter, Meters

DAY = datetime.date(2026, 1, 1)


def test_a_manifest_tightens_and_never_loosens() -> None:
    given = Allowance(requests_per_minute=100, at_once=4, call_bytes=10 * MB, day_bytes=100 * MB, exchange_seconds=60)
    asked = {"requests_per_minute": 10, "at_once": 40, "call_mb": 1, "day_mb": 1000, "exchange_seconds": 5}
    assert given.within(asked) == Allowance(10, 4, 1 * MB, 100 * MB, 5)
    assert given.within({}) == given


def test_requests_of_a_minute_come_back_with_time() -> None:
    allowed, meter = Allowance(requests_per_minute=6), Meter()
    for _ in range(6):
        assert meter.admit(allowed, 0.0, DAY) is None
    excess = meter.admit(allowed, 0.0, DAY)
    assert excess is not None
    assert (excess.reason, excess.seconds) == ("rate_exceeded", 10.0)
    assert meter.admit(allowed, 9.9, DAY) is not None
    assert meter.admit(allowed, 10.1, DAY) is None
    assert meter.admit(allowed, 10.1, DAY) is not None


def test_requests_at_once_come_back_when_they_end() -> None:
    allowed, meter = Allowance(at_once=2), Meter()
    assert [meter.admit(allowed, 0.0, DAY) is None for _ in range(3)] == [True, True, False]
    meter.done()
    assert meter.admit(allowed, 0.0, DAY) is None


@pytest.mark.parametrize("day_bytes", [10, 1000])
def test_bytes_of_a_call_and_of_a_day_end_what_is_under_way(day_bytes: int) -> None:
    allowed, meter = Allowance(call_bytes=100, day_bytes=day_bytes), Meter()
    assert meter.admit(allowed, 0.0, DAY) is None
    assert meter.count(allowed, 8, 8) is None
    excess = meter.count(allowed, 101, 93)
    assert excess is not None
    assert excess.reason == "limit_exceeded"
    if day_bytes == 10:
        refused = meter.admit(allowed, 0.0, DAY)
        assert refused is not None
        assert refused.reason == "daily_limit_exceeded"
        assert meter.admit(allowed, 0.0, DAY + datetime.timedelta(days=1)) is None


def test_the_day_is_what_the_rows_say_after_a_restart() -> None:
    allowed, meter = Allowance(day_bytes=100), Meter()
    meter.begin_day(DAY, 100)
    refused = meter.admit(allowed, 0.0, DAY)
    assert refused is not None
    assert refused.reason == "daily_limit_exceeded"
    meter.begin_day(DAY, 50)
    assert meter.admit(allowed, 0.0, DAY) is not None, "what is known here counts too"


def test_no_meter_in_use_is_forgotten() -> None:
    found = Meters(most=2)
    first = found.of("att_1")
    first.open = 1
    found.of("att_2"), found.of("att_3")
    assert found.of("att_1") is first
