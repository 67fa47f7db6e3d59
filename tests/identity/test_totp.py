"""Codes by time, by the vectors of their standards."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from worka.identity import totp

SECRET = b"12345678901234567890"
RFC_6238 = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}
RFC_4226 = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


@pytest.mark.capability("IDN-18", part="TOTP with the vectors of RFC 6238 and RFC 4226")
def test_the_codes_are_those_of_the_standards_own_vectors() -> None:
    assert {when: totp.hotp(SECRET, totp.step_of(at(when)), 8) for when in RFC_6238} == RFC_6238
    assert tuple(totp.hotp(SECRET, counter) for counter in range(10)) == RFC_4226


def test_a_code_is_taken_one_step_early_and_one_late_and_no_further() -> None:
    here = 1_700_000_010
    codes = {offset: totp.hotp(SECRET, totp.step_of(at(here)) + offset) for offset in range(-3, 4)}
    taken = {
        offset for offset, code in codes.items() if totp.matching_step(SECRET, code, at(here), after=0) is not None
    }
    assert taken == {-1, 0, 1}


def test_a_step_that_was_used_and_those_before_it_are_not_taken_again() -> None:
    here = at(1_700_000_010)
    now = totp.step_of(here)
    assert totp.matching_step(SECRET, totp.hotp(SECRET, now), here, after=now - 1) == now
    assert totp.matching_step(SECRET, totp.hotp(SECRET, now), here, after=now) is None
    assert totp.matching_step(SECRET, totp.hotp(SECRET, now - 1), here, after=now) is None
    assert totp.matching_step(SECRET, totp.hotp(SECRET, now + 1), here, after=now) == now + 1


def test_what_the_app_reads_has_the_secret_the_account_and_how_it_counts() -> None:
    uri = urlsplit(totp.otpauth_uri(SECRET, "ada+x@example.org"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Worka:ada%2Bx@example.org")
    assert parse_qs(uri.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["Worka"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


@pytest.mark.parametrize("typed", ["123456", " 123 456 ", "12-34-56"])
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    assert totp.is_totp(totp.cleaned(typed))


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "١٢٣٤٥٦", "12345a", "123456\n7"])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert not totp.is_totp(totp.cleaned(typed))


def test_recovery_codes_are_ten_different_ones_that_are_read_with_and_without_hyphens() -> None:
    codes = totp.recovery_codes(bytes(range(100)))
    assert len(set(codes)) == 10
    assert all(totp.is_recovery(totp.cleaned(code)) and totp.is_recovery(totp.cleaned(code.lower())) for code in codes)
    assert not any(totp.is_totp(totp.cleaned(code)) for code in codes)
