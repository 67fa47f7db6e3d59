"""An approval is asked for, and another system hears of it: through the broker, signed, once for each message."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.approvals.asking import asked, say
from tests.notifications.receiver import Receiver, Unverified, Verifier, answer
from tests.notifications.world import HOST, Town
from worka.kernel.clock import now
from worka.kernel.db import Connection
from worka.notifications import service, store
from worka.notifications.fan_out import fan_out
from worka.treasury import rotation
from worka.treasury import service as treasury

pytestmark = pytest.mark.timeout(60)


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_receiver_hears_that_an_approval_is_asked_for_and_can_verify_it(town: Town, receiver: Receiver) -> None:
    exception = await town.exempt(receiver)
    hook = await town.webhook()
    approval = await asked(town.world)

    await town.run()

    (got,) = receiver.got
    message = Verifier(hook["secret"]).verify(got.body, got.headers)
    assert (got.path, message["type"]) == ("/in", "approval.requested")
    assert message["data"]["approval_id"] == approval["id"]
    assert message["data"]["title"] == "Publish notes 1"
    assert "the exact text" not in got.body.decode(), "arguments are for the card, not for the road"
    (delivery,) = await town.deliveries()
    assert (delivery["state"], delivery["reason"], delivery["status"]) == ("sent", "delivery_accepted", 204)
    (egress,) = await town.egress()
    assert (egress["host"], egress["port"], egress["verdict"], egress["status"]) == (HOST, 443, "allowed", 204)
    assert egress["exception_id"] == exception
    (decision,) = await town.world.rows("decision", "id = %s", egress["decision_id"])
    assert (decision["verdict"], decision["action"], decision["rules"]) == ("allow", "platform.send", [egress["rule"]])
    (attempt,) = await town.tries(delivery["id"])
    assert (attempt["egress_id"], attempt["status"]) == (egress["id"], 204)


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_what_is_forged_changed_old_or_repeated_does_not_verify(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    await asked(town.world)
    await town.run()
    (got,) = receiver.got
    verifier = Verifier(hook["secret"])

    with pytest.raises(Unverified, match="no matching signature"):
        verifier.verify(got.body.replace(b"approval", b"refusal"), got.headers)
    with pytest.raises(Unverified, match="no matching signature"):
        verifier.verify(got.body, {**got.headers, "webhook-id": "msg_other"})
    with pytest.raises(Unverified, match="no matching signature"):
        verifier.verify(got.body, {**got.headers, "webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)})
    with pytest.raises(Unverified, match="tolerance"):
        verifier.verify(got.body, got.headers, at=got.at + 3600)
    verifier.verify(got.body, got.headers)
    with pytest.raises(Unverified, match="seen already"):
        verifier.verify(got.body, got.headers)


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_webhook_hears_only_of_what_it_names(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    await town.webhook(types=["approval.decided"])
    approval = await asked(town.world)
    await town.run()
    assert receiver.got == []

    await say(town.world, "approver", approval)
    await town.run()

    (got,) = receiver.got
    data = got.message["data"]
    assert (got.message["type"], data["state"]) == ("approval.decided", "approved")
    assert data["decided_by"] == {"id": town.world.ids["approver"], "name": "approver"}


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_receiver_that_was_away_is_tried_again_under_the_same_id_until_it_accepts(
    town: Town, receiver: Receiver
) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    receiver.behave = answer(503, b"later please, said token=abcdefgh12345678")
    await asked(town.world)
    await town.run()
    (delivery,) = await town.deliveries()
    assert (delivery["state"], delivery["reason"], delivery["attempts"]) == ("queued", "delivery_retried", 1)
    assert delivery["next_at"] > delivery["since"], "not at once"
    (attempt,) = await town.tries(delivery["id"])
    assert (attempt["reason"], attempt["status"]) == ("receiver_answered", 503)
    assert attempt["answer"] == "later please, said token=[redacted]"

    receiver.behave = answer(200)
    await town.send()
    assert len(receiver.got) == 1, "its pause is not over"
    await town.due_now()
    await town.send()

    first, second = receiver.got
    assert first.id == second.id
    for got in (first, second):
        Verifier(hook["secret"]).verify(got.body, got.headers)
    (delivery,) = await town.deliveries()
    assert (delivery["state"], delivery["attempts"]) == ("sent", 2)
    assert json.loads(first.body) == json.loads(second.body)


@pytest.mark.capability("DOR-6", part="webhooks")
async def test_a_try_that_ends_while_a_delivery_is_read_is_not_shown_beside_the_state_from_before_it(
    town: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.exempt(receiver)
    await town.webhook()
    await asked(town.world)
    await fan_out(town.world.nobody())
    (delivery,) = await town.deliveries()
    real, ctx = store.delivery, town.world.ctx("owner")

    async def read(conn: Connection, delivery_id: str) -> Any:
        row = await real(conn, delivery_id)
        await town.send()
        return row

    monkeypatch.setattr(store, "delivery", read)
    shown = await service.show_delivery(ctx, delivery["id"])
    assert (shown["state"], shown["tries"]) == ("queued", [])
    monkeypatch.setattr(store, "delivery", real)
    shown = await service.show_delivery(ctx, delivery["id"])
    assert (shown["state"], [item["status"] for item in shown["tries"]]) == ("sent", [204]), "the control"


@pytest.mark.capability(
    "TRE-15", part="secrets with an end or a turn; the refresh of OAuth tokens has tests of its own"
)
async def test_a_receiver_hears_that_a_secret_ends_and_never_its_value(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook(types=["secret.expiring"])
    owner = town.world.ctx("owner")
    made = await treasury.create(
        owner, town.world.workspace_id, name="ends-soon", purpose="", kind="other", value="a-value-that-ends",
        expires_at=now() + timedelta(days=3),
    )  # fmt: skip
    await rotation.sweep(town.world.nobody())
    await asked(town.world)

    await town.run()

    (got,) = receiver.got
    message = Verifier(hook["secret"]).verify(got.body, got.headers)
    assert (message["type"], message["data"]["secret_id"], message["data"]["level"]) == (
        "secret.expiring", made["id"], "soon",
    )  # fmt: skip
    assert "a-value-that-ends" not in got.body.decode()
