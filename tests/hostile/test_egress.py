"""Roads out that must not exist, each with a control: the same box reaches the same outside by the declared road.

Judged at the outside's own counters (a tracker and a canary on loopback), not in our rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.broker.conftest import cluster as cluster
from tests.broker.conftest import db as db
from tests.broker.conftest import outside as outside
from tests.broker.conftest import world as world
from tests.broker.world import CANARY, HOST, INJECT, Box, World, code
from worka.broker.adapters.outside import Dialer


@pytest.fixture
async def box(world: World) -> AsyncIterator[Box]:
    """A box that may reach the tracker; the canary is behind an exception too, but not declared."""
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.exempt(HOST, 80, world.outside.plain)
    await world.exempt(CANARY, 443, world.outside.canary)
    await world.connect()
    found = await world.box()
    yield found
    assert world.outside.canary_hits == 0


async def reached(world: World, box: Box) -> None:
    """The control: the declared road is open, to this box, now."""
    before = len(world.outside.requests)
    assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
    assert len(world.outside.requests) == before + 1


async def reason(world: World, call: str) -> list[str]:
    return [row["reason"] for row in await world.egress(call) if row["verdict"] == "denied"]


@pytest.mark.capability("BRK-15", part="raw addresses")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", "raw_address"),
        ("169.254.169.254", "private_address"),
        ("127.0.0.1", "private_address"),
        ("10.0.0.1", "private_address"),
        ("100.64.0.1", "private_address"),
        ("192.88.98.200", "raw_address"),
        ("2130706433", "private_address"),
        ("0x7f.1", "private_address"),
        ("0177.0.0.1", "private_address"),
        ("127.1", "private_address"),
    ],
)
async def test_a_raw_address_is_refused_in_every_spelling(world: World, box: Box, address: str, expected: str) -> None:
    async with box.invoking() as call:
        plain = await box.fetch(f"http://{address}/latest/meta-data/")
        secure = await box.fetch(f"https://{address}/")
        await reached(world, box)
    assert (plain["status"], code(plain)) == (403, expected)
    assert secure.get("status", 403) == 403
    assert set(await reason(world, call.id)) == {expected}
    assert all(row["kind"] == "raw" for row in await world.egress(call.id) if row["verdict"] == "denied")


@pytest.mark.capability("BRK-1")
async def test_other_ports_udp_and_ipv6_are_no_road(world: World, box: Box) -> None:
    async with box.invoking():
        assert await box.raw("1.1.1.1", 8443, b"x") == "ConnectionRefusedError"
        assert await box.raw("127.0.0.1", world.outside.canary, b"x") == "ConnectionRefusedError"
        assert await box.raw("2606:4700::1111", 443, b"x") == "OSError"
        assert "error" in await box.do("datagram", host="1.1.1.1", port=443)
        assert "error" in await box.do("datagram", host="8.8.8.8", port=53)
        await reached(world, box)


@pytest.mark.capability("BRK-15", part="rebinding")
async def test_a_name_that_resolves_inward_is_refused_whatever_it_resolved_to_before(world: World, box: Box) -> None:
    await world.declare(HOST, "rebind.test", "mixed.test", "mapped.test", connections=INJECT)
    world.resolver.answers["rebind.test"] = [("127.0.0.1",)]
    world.resolver.answers["mixed.test"] = [("93.184.216.34", "169.254.169.254")]
    world.resolver.answers["mapped.test"] = [("::ffff:7f00:1",)]
    async with box.invoking() as call:
        for name in ("rebind.test", "mixed.test", "mapped.test"):
            found = await box.fetch(f"https://{name}/")
            assert code(found) == "private_address"
        await reached(world, box)
    assert world.resolver.asked == ["rebind.test", "mixed.test", "mapped.test"]
    assert await reason(world, call.id) == ["private_address"] * 3


@pytest.mark.capability("BRK-15", part="rebinding")
async def test_what_was_checked_is_what_is_dialled(world: World, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first answer is public, the second would be the canary's: whoever asks twice finds it.
    await world.declare(HOST, "rebind.test", connections=INJECT)
    world.resolver.answers["rebind.test"] = [("93.184.216.34",), ("127.0.0.1",)]
    dialled: list[str] = []
    dial = Dialer.dial

    async def noting(self: Dialer, address: str, port: int, **trust: Any) -> Any:
        dialled.append(address)
        if address == "93.184.216.34":
            raise ConnectionRefusedError  # nobody's machine is asked in a test
        return await dial(self, address, port, **trust)

    monkeypatch.setattr(Dialer, "dial", noting)
    async with box.invoking() as call:
        first = await box.fetch("https://rebind.test/")
        second = await box.fetch("https://rebind.test/")
        await reached(world, box)
    assert code(first) == "upstream_unreachable"
    assert code(second) == "private_address"
    assert dialled == ["93.184.216.34", "127.0.0.1"]
    assert world.resolver.asked == ["rebind.test", "rebind.test"]
    assert await reason(world, call.id) == ["private_address"]


@pytest.mark.capability("BRK-15", part="SNI, Host and target")
async def test_fronting_is_refused(world: World, box: Box) -> None:
    def request(host: str) -> bytes:
        return f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    async with box.invoking() as call:
        other_host = await box.raw(HOST, 443, request(CANARY), tls=True, sni=HOST)
        other_sni = await box.raw(HOST, 443, request(HOST), tls=True, sni=CANARY)
        both = await box.raw(HOST, 443, request(CANARY), tls=True, sni=CANARY)
        plain = await box.raw(HOST, 80, request(CANARY))
        absolute = await box.raw(HOST, 80, request(HOST).replace(b"GET /", f"GET https://{CANARY}/".encode()))
        await reached(world, box)
    for answer in (other_host, other_sni, both, plain):
        assert answer.startswith("HTTP/1.1 403 ")
        assert "host_mismatch" in answer
    assert "nested_connect" in absolute
    assert len(world.outside.requests) == 1
    assert set(await reason(world, call.id)) == {"host_mismatch", "nested_connect"}


@pytest.mark.capability("BRK-15", part="nested CONNECT")
async def test_a_proxy_request_or_another_protocol_is_refused(world: World, box: Box) -> None:
    connect = f"CONNECT {CANARY}:443 HTTP/1.1\r\nHost: {CANARY}:443\r\n\r\n".encode()
    upgrade = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode()
    cleartext = upgrade.replace(b"websocket", b"h2c")
    async with box.invoking() as call:
        answers = [
            await box.raw(HOST, 443, connect, tls=True, sni=HOST),
            await box.raw(HOST, 80, connect),
            await box.raw(HOST, 443, upgrade, tls=True, sni=HOST),
            await box.raw(HOST, 443, cleartext, tls=True, sni=HOST),
            await box.raw(HOST, 80, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
            await box.raw(HOST, 80, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ]
        await reached(world, box)
    assert all(answer.startswith("HTTP/1.1 4") for answer in answers)
    assert len(world.outside.requests) == 1
    assert set(await reason(world, call.id)) == {"nested_connect", "upgrade_refused", "malformed_request"}


@pytest.mark.capability("BRK-15", part="request smuggling")
@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 50\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding:\tchunked\r\nContent-Length: 3",
        "Content-Length: 50\r\nContent-Length: 0",
    ],
)
async def test_a_second_request_is_not_hidden_in_a_body(world: World, box: Box, headers: str) -> None:
    hidden = f"GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    data = f"POST / HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n\r\n0\r\n\r\n{hidden}".encode()
    async with box.invoking("write") as call:
        assert (await box.raw(HOST, 443, data, tls=True, sni=HOST)).startswith("HTTP/1.1 400 ")
        await reached(world, box)
    assert [seen.path for seen in world.outside.requests] == ["/issues"]
    assert await reason(world, call.id) == ["malformed_request"]


@pytest.mark.capability("BRK-15", part="redirects")
async def test_a_redirect_out_of_scope_is_not_followed_and_is_named(world: World, box: Box) -> None:
    async with box.invoking() as call:
        first = await box.fetch(f"https://{HOST}/away")
        assert (first["status"], first["headers"]["location"]) == (302, f"https://{CANARY}/loot")
        assert (await box.fetch(first["headers"]["location"])).get("error") == "gaierror"
        inward = await box.fetch(f"https://{HOST}/inward")
        assert (await box.fetch(inward["headers"]["location"])).get("status", 403) == 403
        await reached(world, box)
    assert await reason(world, call.id) == ["redirect_out_of_scope", "private_address"]
    assert call.ended["denied"]["reason"] == "private_address"


@pytest.mark.capability("BRK-2")
async def test_names_are_not_a_way_to_tell_the_outside_something(world: World, box: Box) -> None:
    async with box.invoking() as call:
        for number in range(40):
            assert (await box.do("lookup", name=f"stolen-{number}.{CANARY}")).get("error") == "gaierror"
        assert (await box.do("lookup", name=HOST))["addresses"][0].startswith("192.88.98.")
        await reached(world, box)
    assert world.resolver.asked == []
    rows = await world.egress(call.id)
    assert len([row for row in rows if row["kind"] == "dns"]) <= 33
    assert sum(row["count"] for row in rows if row["kind"] == "dns") >= 80


async def test_a_client_that_does_not_trust_the_session_gets_nothing_out(world: World, box: Box) -> None:
    async with box.invoking() as call:
        assert await box.raw(HOST, 443, b"not TLS at all\r\n\r\n") in {"", "ConnectionResetError"}
        await reached(world, box)
    assert await reason(world, call.id) == ["tls_handshake_failed"]


async def test_a_flood_of_connections_is_bounded_and_the_road_stays_open(world: World, box: Box) -> None:
    async with box.invoking() as call:
        for _ in range(50):
            await box.raw("10.9.8.7", 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", seconds=2)
        await reached(world, box)
    (row,) = [row for row in await world.egress(call.id) if row["verdict"] == "denied"]
    assert (row["host"], row["count"]) == ("10.9.8.7", 50)
    assert len(call.ended["egress"]) == 2
