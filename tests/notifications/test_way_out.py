"""The platform's own calls speak as packs' do: the outside's certificate has its word, both versions of HTTP are spoken, and an
answer counts before the whole request was read."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.approvals.asking import asked
from tests.broker import others
from tests.broker.others import Ca, node_outside
from tests.notifications.receiver import Receiver
from tests.notifications.world import HOST, Town
from worka.broker import service as exceptions
from worka.broker import trusts
from worka.broker.schema import NewNetworkException, NewUpstreamTrust
from worka.kernel import ipc
from worka.kernel.errors import Problem

pytestmark = pytest.mark.timeout(60)


async def behind(town: Town, port: int, ca_pem: str) -> None:
    """The receiver's name leads to this port here, under this CA."""
    new = NewNetworkException(
        name=HOST, port=443, address="127.0.0.1", real_port=port, ca_pem=ca_pem, reason="the test's receiver"
    )
    await exceptions.create_exception(town.world.ctx("admin"), new)


async def sent(town: Town) -> tuple[str, dict[str, Any]]:
    """(reason of the delivery's last try, egress row) of the last message."""
    (delivery,) = await town.deliveries()
    return (await town.tries(delivery["id"]))[-1]["reason"], (await town.egress())[-1]


@pytest.mark.capability("BRK-6", part="the platform's own calls")
@pytest.mark.parametrize(
    ("name", "days", "expected"),
    [(HOST, -1, "upstream_certificate_expired"), ("other.worka.test", 1, "upstream_certificate_name")],
    ids=["expired", "another name"],
)
async def test_a_receiver_with_a_wrong_certificate_is_told_apart(
    town: Town, tmp_path: Path, name: str, days: int, expected: str
) -> None:
    ca = Ca("outside")

    async def serve(reader: object, writer: object) -> None:
        return

    async with others.outside(tmp_path, serve, ca.pair(name, days=days)) as port:
        await behind(town, port, ca.pem)
        await town.webhook()
        await asked(town.world)
        await town.run()
    reason, egress = await sent(town)
    assert (reason, egress["reason"], egress["verdict"]) == (expected, expected, "allowed")


@pytest.mark.capability("BRK-6", part="the platform's own calls")
@pytest.mark.capability("BRK-13", part="upstream trust, for the platform's own calls")
async def test_the_operators_record_of_trust_holds_for_the_platforms_own_calls(town: Town, receiver: Receiver) -> None:
    await behind(town, receiver.port, Ca("somebody else's").pem)
    await town.webhook()
    await asked(town.world)
    await town.run()
    reason, egress = await sent(town)
    assert (reason, egress["reason"], egress["trust_id"]) == (*["upstream_certificate_untrusted"] * 2, None)
    assert receiver.got == []
    new = NewUpstreamTrust(name=HOST, ca_pem=receiver.authority.pem.decode(), reason="it signs itself")
    trust = await trusts.create(town.world.ctx("admin"), new)
    await town.due_now()
    await town.send()
    reason, egress = await sent(town)
    assert (reason, egress["trust_id"], egress["upstream_protocol"]) == ("allowed", trust["id"], "http/1.1")
    assert len(receiver.got) == 1
    # It is taken back: checked as before.
    await trusts.remove(town.world.ctx("admin"), trust["id"])
    await asked(town.world, number=2)
    await town.run()
    assert (await town.egress())[-1]["reason"] == "upstream_certificate_untrusted"


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_receiver_that_speaks_http2_is_spoken_to_in_it_and_may_answer_before_it_has_read(
    town: Town, tmp_path: Path
) -> None:
    ca = Ca("outside")
    async with node_outside(tmp_path, ca.pair(HOST)) as port:
        await behind(town, port, ca.pem)
        hook = await town.webhook(f"https://{HOST}/early")
        large = base64.b64encode(b"x" * (200 * 1024)).decode()
        args = {
            "tenant_id": town.world.tenant_id, "workspace_id": town.world.workspace_id, "purpose": "webhook",
            "subject_id": hook["id"], "url": f"https://{HOST}/early", "headers": {}, "body": large,
        }  # fmt: skip
        try:
            early = await ipc.call_unix(town.paths.broker_socket, "platform_http", args)
        except Problem as problem:
            early = {"reason": problem.problem_code, "status": None}
        assert (early["reason"], early["status"]) == ("allowed", 413)
        assert base64.b64decode(early["answer"]) == b"too much"
        other = await town.webhook(f"https://{HOST}/echoed?and=more")
        args |= {"subject_id": other["id"], "url": f"https://{HOST}/echoed?and=more"}
        whole = await ipc.call_unix(town.paths.broker_socket, "platform_http", args)
    assert (whole["reason"], whole["status"]) == ("allowed", 200)
    assert b'"version":"2.0"' in base64.b64decode(whole["answer"])
    assert b'"url":"/echoed?and=more"' in base64.b64decode(whole["answer"])
    rows = await town.egress()
    assert [(row["status"], row["upstream_protocol"], row["path"]) for row in rows] == [
        (413, "h2", None),
        (200, "h2", None),
    ]
    assert rows[1]["bytes_out"] == 200 * 1024
