"""The outside's certificate: each way of being wrong has its own word, and the operator's record is what makes it right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.broker import others
from tests.broker.others import Ca, Wanting, node_outside
from tests.broker.world import HOST, World, code

pytestmark = pytest.mark.asyncio


@pytest.mark.capability("BRK-6", "BRK-12")
@pytest.mark.parametrize(
    ("host", "days", "trusted", "expected"),
    [
        (HOST, 1, True, "upstream_malformed"),
        (HOST, -1, True, "upstream_certificate_expired"),
        ("other.worka.test", 1, True, "upstream_certificate_name"),
        (HOST, 1, False, "upstream_certificate_untrusted"),
    ],
    ids=["good", "expired", "wrong name", "untrusted"],
)
async def test_each_wrong_certificate_has_its_own_word(
    world: World, tmp_path: Path, host: str, days: int, trusted: bool, expected: str
) -> None:
    ca = Ca("outside")

    async def serve(reader: object, writer: object) -> None:
        return

    async with others.outside(tmp_path, serve, ca.pair(host, days=days)) as port:
        await world.declare(HOST)
        await world.exempt(HOST, 443, port, ca_pem=(ca if trusted else Ca("another")).pem)
        box = await world.box()
        async with box.invoking() as call:
            found = await box.fetch(f"https://{HOST}/")
    assert (found["status"], code(found)) == (502, expected), "of the good one only the answer is missing"
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["reason"]) == ("allowed", expected)


@pytest.mark.capability("BRK-6", "BRK-12")
async def test_an_outside_that_speaks_only_old_tls_is_told_apart(world: World, tmp_path: Path) -> None:
    ca = Ca("outside")
    with others.old_outside(tmp_path, ca.pair(HOST)) as port:
        await world.declare(HOST)
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        box = await world.box()
        async with box.invoking():
            assert code(await box.fetch(f"https://{HOST}/")) == "upstream_tls_too_old"


@pytest.mark.capability("BRK-3")
async def test_a_ca_and_a_client_certificate_are_the_operators_and_the_key_is_a_leased_secret(
    world: World, tmp_path: Path
) -> None:
    ca, clients = Ca("outside"), Ca("clients")
    client = clients.pair("worka-client")
    async with node_outside(tmp_path, ca.pair(HOST), clients=clients.pem) as port:
        await world.declare(HOST)
        await world.exempt(HOST, 443, port, ca_pem="")
        box = await world.box()
        async with box.invoking():
            codes = [code(await box.fetch(f"https://{HOST}/v1"))]
        first = await world.trust(HOST, ca_pem=ca.pem)
        async with box.invoking():
            codes.append(code(await box.fetch(f"https://{HOST}/v1")))
        await world.execute("update worka.upstream_trust set removed_at = now() where id = %s", first)
        wrong = await world.trust(HOST, ca_pem=ca.pem, client=Ca("nobody").pair("worka-client"))
        async with box.invoking():
            codes.append(code(await box.fetch(f"https://{HOST}/v1")))
        await world.execute("update worka.upstream_trust set removed_at = now() where id = %s", wrong)
        right = await world.trust(HOST, ca_pem=ca.pem, client=client)
        async with box.invoking() as call:
            found = await box.fetch(f"https://{HOST}/v1")
        world.treasury.grants.clear()
        async with box.invoking():
            codes.append(code(await box.fetch(f"https://{HOST}/v1")))
    assert codes == [
        "upstream_certificate_untrusted",
        "client_certificate_refused",
        "upstream_unreachable",  # Node hangs up on a certificate of somebody else's without saying why
        "connection_not_granted",
    ]
    assert json.loads(found["text"])["client"] == "worka-client"
    (row,) = await world.egress(call.id)
    assert (row["trust_id"], row["status"]) == (right, 200)
    key = client[1].strip().splitlines()[1]
    assert key not in str(await world.rows("select * from worka.egress, worka.event, worka.upstream_trust"))


@pytest.mark.capability("BRK-6", part="a refusal of our certificate, whose words can be lost")
@pytest.mark.parametrize("speaks", ["http/1.1", "h2"])
async def test_a_refused_certificate_is_told_though_the_connection_was_reset_before_its_words_were_read(
    world: World, tmp_path: Path, speaks: str
) -> None:
    ca, clients = Ca("outside"), Ca("clients")
    codes = []
    with Wanting(tmp_path, ca.pair(HOST), clients.pem, speaks) as outside:
        await world.declare(HOST)
        await world.exempt(HOST, 443, outside.port, ca_pem="")
        # Four failures in a row: the fifth would open the circuit.
        for client, times in ((None, (0, 1, 2)), (Ca("nobody").pair("worka-client"), (1,))):
            trusted = await world.trust(HOST, ca_pem=ca.pem, client=client)
            box = await world.box()
            for losing in times:
                outside.losing = losing
                async with box.invoking() as call:
                    codes.append(code(await box.fetch(f"https://{HOST}/v1")))
                (row,) = await world.egress(call.id)
                assert (row["verdict"], row["reason"]) == ("allowed", codes[-1])
            await world.execute("update worka.upstream_trust set removed_at = now() where id = %s", trusted)
        assert outside.losing == 0, "the control: they were lost"
        refused = outside.refused
        if speaks == "http/1.1":
            await world.trust(HOST, ca_pem=ca.pem, client=clients.pair("worka-client"))
            box = await world.box()
            async with box.invoking():
                assert (await box.fetch(f"https://{HOST}/v1"))["text"] == "seen", "the control: the right one is taken"
    told, silent = "client_certificate_refused", "upstream_unreachable"
    assert codes == [told, told, silent, told], "read at once, asked for once more, never said; and somebody else's"
    assert refused >= 3
