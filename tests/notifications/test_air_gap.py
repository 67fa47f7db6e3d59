"""The platform's own messages behind an air gap: they go where the operator's list says, and to no receiver otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.approvals.asking import asked
from tests.notifications.mailbox import Mailbox
from tests.notifications.mailbox import mailbox as serving
from tests.notifications.receiver import Receiver
from tests.notifications.test_mail import with_mail
from tests.notifications.world import HOST
from tests.notifications.world import town as make_town
from tests.workspaces.world import World
from worka.broker.platform import PlatformLimits
from worka.kernel.airgap import AirGap, parse

pytestmark = [pytest.mark.timeout(60), pytest.mark.capability("BRK-15", part="the air gap, by reason")]
ELSEWHERE = AirGap(True, parse(["elsewhere.worka.test:443", "10.0.0.0/8:*"]))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with serving() as found:
        yield found


@pytest.mark.parametrize("listed", ["127.0.0.1:*", "127.0.0.0/8:*"])
async def test_a_webhook_goes_once_its_place_is_on_the_list_and_its_receiver_is_not_blamed_before(
    world: World, receiver: Receiver, listed: str
) -> None:
    closed = await make_town(world, PlatformLimits(seconds=2.0), gap=ELSEWHERE)
    try:
        await closed.exempt(receiver)
        hook = await closed.webhook()
        await asked(world)
        await closed.run()
        assert receiver.got == []
        assert closed.resolver.asked == [], "not even its name"
        (delivery,) = await closed.deliveries()
        assert (delivery["state"], delivery["reason"]) == ("queued", "delivery_retried")
        (attempt,) = await closed.tries(delivery["id"])
        assert attempt["reason"] == "air_gapped"
        (row,) = await closed.egress()
        assert (row["host"], row["verdict"], row["reason"]) == (HOST, "denied", "air_gapped")
        (held,) = await world.rows("webhook", "id = %s", hook["id"])
        assert held["failing_since"] is None, "the refusal is ours: it must not end the webhook after some days"
    finally:
        await closed.leave(keep=True)

    opened = await make_town(world, PlatformLimits(seconds=2.0), gap=AirGap(True, parse([listed])))
    try:
        await opened.due_now()
        await opened.send()
        assert len(receiver.got) == 1
        (delivery,) = await opened.deliveries()
        assert (delivery["state"], delivery["attempts"]) == ("sent", 2)
    finally:
        await opened.leave()


async def test_a_mail_goes_once_its_server_is_on_the_list(world: World, mailbox: Mailbox) -> None:
    closed = await with_mail(world, mailbox, gap=ELSEWHERE)
    try:
        await asked(world, "approve:1 of group:owners")
        await closed.run()
        assert mailbox.sessions == 0
        (delivery,) = await closed.deliveries()
        (attempt,) = await closed.tries(delivery["id"])
        assert (delivery["state"], attempt["reason"]) == ("queued", "air_gapped")
        (row,) = await closed.egress()
        assert (row["kind"], row["verdict"], row["reason"]) == ("tunnel", "denied", "air_gapped")
    finally:
        await closed.leave(keep=True)

    opened = await with_mail(world, mailbox, gap=AirGap(True, parse([f"127.0.0.1:{mailbox.port}"])))
    try:
        await opened.due_now()
        await opened.send()
        assert len(mailbox.got) == 1
        (delivery,) = await opened.deliveries()
        assert delivery["state"] == "sent"
    finally:
        await opened.leave()
