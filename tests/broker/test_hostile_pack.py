"""What a hostile pack tries beside the rules: requests that turn into others behind them, and rows without end."""

from __future__ import annotations

import pytest

from tests.broker.world import HOST, World, code


@pytest.mark.capability("BRK-13", part="a request is what its line says")
async def test_a_header_that_makes_another_request_of_it_does_not_leave(world: World) -> None:
    await world.declare({"host": HOST, "methods": ["GET", "POST"], "paths": ["/public"]})
    await world.exempt(HOST, 443, world.outside.tracker)
    box = await world.box()
    async with box.invoking("write") as call:
        turned = [
            await box.fetch(f"https://{HOST}/public", method="POST", headers={name: value})
            for name, value in (
                ("X-HTTP-Method-Override", "DELETE"),
                ("X_Method_Override", "PUT"),
                ("X-Original-URL", "/admin"),
            )
        ]
        assert [code(found) for found in turned] == ["malformed_request"] * 3
        assert world.outside.requests == []
        plain = await box.fetch(f"https://{HOST}/public", method="POST", headers={"X-Request-Id": "7"})
    assert plain["status"] == 401, "the control: without such a header it is answered"
    reasons = {(row["verdict"], row["reason"]): row["count"] for row in await world.egress(call.id)}
    assert reasons == {("denied", "malformed_request"): 3, ("allowed", "allowed"): 1}


@pytest.mark.capability("BRK-5", part="bounded")
async def test_methods_that_a_pack_makes_up_make_one_row_and_not_one_each(world: World) -> None:
    await world.declare({"host": HOST, "port": 80})
    await world.exempt(HOST, 80, world.outside.plain)
    box = await world.box()
    async with box.invoking() as call:
        for name in [f"M{number}" for number in range(8)] + ["x" * 3000]:
            said = await box.raw(HOST, 80, f"{name} /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert "method_not_allowed" in said
        said = await box.raw(HOST, 80, f"DELETE /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert "method_not_allowed" in said
    rows = {row["method"]: row["count"] for row in await world.egress(call.id)}
    assert rows == {"(other)": 9, "DELETE": 1}, "the control: a method of HTTP's own has its row"


@pytest.mark.capability("BRK-15", part="host names")
async def test_a_port_of_thousands_of_digits_is_refused_with_its_row(world: World) -> None:
    await world.declare({"host": HOST, "port": 80})
    await world.exempt(HOST, 80, world.outside.plain)
    box = await world.box()
    async with box.invoking() as call:
        said = await box.raw(HOST, 80, f"GET /a HTTP/1.1\r\nHost: {HOST}:{'4' * 5000}\r\n\r\n".encode())
        good = await box.raw(HOST, 80, f"GET /a HTTP/1.1\r\nHost: {HOST}:80\r\nConnection: close\r\n\r\n".encode())
    assert "raw_address" in said
    assert good.startswith("HTTP/1.1 401"), "the control: its own port is one"
    assert [row["reason"] for row in await world.egress(call.id) if row["verdict"] == "denied"] == ["raw_address"]
