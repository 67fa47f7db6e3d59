"""Which addresses may be dialled and which host spellings are names."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worka.broker.addresses import NAME, POOL, HostProblem, normalise_host, refused_kind

pytestmark = pytest.mark.capability("BRK-15", part="addresses and host spellings")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "this_network"),
        ("0.1.2.3", "this_network"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "metadata"),
        ("169.254.1.1", "link_local"),
        ("100.64.0.1", "carrier_nat"),
        ("100.100.100.200", "carrier_nat"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "reserved"),
        ("192.88.99.1", "six_to_four"),
        ("198.18.0.1", "benchmark"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::1", "loopback"),
        ("::", "unspecified"),
        ("::ffff:127.0.0.1", "mapped"),
        ("::ffff:7f00:1", "mapped"),
        ("::ffff:8.8.8.8", "mapped"),
        ("::127.0.0.1", "compatible"),
        ("64:ff9b::7f00:1", "nat64"),
        ("64:ff9b:1::1", "nat64"),
        ("2002:7f00:1::", "six_to_four"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "teredo"),
        ("2001:db8::1", "documentation"),
        ("fd00:ec2::254", "metadata"),
        ("fc00::1", "private"),
        ("fe80::1", "link_local"),
        ("fe80::1%eth0", "link_local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("2130706433", "unreadable"),
        ("0x7f.1", "unreadable"),
        ("127.1", "unreadable"),
    ],
)
def test_an_inside_address_is_refused(address: str, kind: str) -> None:
    assert refused_kind(address) == kind


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_a_public_address_passes(address: str) -> None:
    assert refused_kind(address) is None


@given(st.ip_addresses(v=4))
def test_what_the_registry_calls_not_global_is_refused(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert refused_kind(address) is not None


@given(st.ip_addresses(v=6))
def test_of_ipv6_only_global_unicast_passes(address: ipaddress.IPv6Address) -> None:
    if refused_kind(address) is None:
        assert address in ipaddress.ip_network("2000::/3")
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_disguise_is_refused_whatever_it_is(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for disguise in (f"::ffff:{address}", f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}", f"64:ff9b::{address}"):
        assert refused_kind(disguise) is not None


def test_the_pool_looks_public() -> None:
    assert not any(refused_kind(address) for address in POOL)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "1.1.1.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0",
        "0x", "1.2.3.4.", "[::1]", "::1", "[::ffff:127.0.0.1]", "example.0x7f", "a.1",
    ],
)  # fmt: skip
def test_every_spelling_of_an_address_is_a_raw_address(host: str) -> None:
    with pytest.raises(HostProblem) as problem:
        normalise_host(host)
    assert problem.value.reason == "raw_address"


@pytest.mark.parametrize(
    "host",
    [
        "", ".", "a..b", "example.com..", ".example.com", "user@example.com", "exa mple.com", "example.com\\@evil.test",
        "example.com/..", "example.com#x", "example.com?x", "exa\nmple.com", "exa\r\nmple.com", "a\0b", "１２７.０.０.１",
        "ｅxample.com", "bücher.example", "exam%70le.com", "-a.com", "a-.com", "a" * 64 + ".com", "a." * 127 + "com",
        "a。b",
    ],
)  # fmt: skip
def test_a_spelling_that_two_programs_read_differently_is_refused(host: str) -> None:
    with pytest.raises(HostProblem) as problem:
        normalise_host(host)
    assert problem.value.reason == "malformed_host"


def test_case_and_one_trailing_dot_do_not_matter() -> None:
    assert normalise_host("API.Example.COM.") == "api.example.com"
    assert normalise_host("xn--bcher-kva.example") == "xn--bcher-kva.example"


@given(st.text(max_size=80))
def test_what_passes_is_canonical_and_never_an_address(raw: str) -> None:
    try:
        host = normalise_host(raw)
    except HostProblem:
        return
    assert normalise_host(host) == host
    assert host.isascii()
    assert host == host.lower()
    with pytest.raises(ValueError, match="does not appear"):
        ipaddress.ip_address(host)


@given(st.text("aA0.-_x9:\n", max_size=12) | st.text(max_size=30) | st.from_regex(NAME))
def test_the_documented_pattern_is_what_passes(raw: str) -> None:
    try:
        normalise_host(raw)
    except HostProblem:
        assert len(raw) > 253 or not re.fullmatch(NAME, raw)
    else:
        assert re.fullmatch(NAME, raw)
