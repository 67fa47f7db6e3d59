"""Receivers that hang, drip, flood, redirect, refuse or are gone; and what an operator does about what was missed."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler

import pytest

from tests.approvals.asking import asked
from tests.notifications.receiver import Receiver, Unverified, Verifier, answer
from tests.notifications.receiver import receiver as receiving
from tests.notifications.world import HOST, Town
from worka.governance import service as governance
from worka.notifications import explain, rules, service
from worka.notifications.errors import ReplayInvalid, WebhookNotActive

pytestmark = [pytest.mark.timeout(90), pytest.mark.capability("DOR-6", part="webhooks")]


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(6)


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b".")
        handler.wfile.flush()
        time.sleep(0.1)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 30))
    handler.end_headers()
    for _ in range(1 << 14):
        handler.wfile.write(b"x" * 65536)


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("behave", "reason"),
    [(hang, "upstream_timeout"), (drip, "upstream_timeout"), (nonsense, "upstream_malformed")],
    ids=["hangs", "drips", "speaks something else"],
)
async def test_a_receiver_that_gives_no_whole_answer_costs_one_deadline_and_is_tried_again(
    town: Town, receiver: Receiver, behave: object, reason: str
) -> None:
    await town.exempt(receiver)
    await town.webhook()
    receiver.behave = behave  # type: ignore[assignment]
    await asked(town.world)
    began = time.monotonic()
    await town.run()
    assert time.monotonic() - began < 5, "the deadline of a whole call is two seconds here"
    (delivery,) = await town.deliveries()
    (attempt,) = await town.tries(delivery["id"])
    assert (delivery["state"], attempt["reason"]) == ("queued", reason)
    (egress,) = await town.egress()
    assert egress["reason"] == reason

    receiver.behave = answer(200)
    await town.due_now()
    await town.send()
    assert [row["state"] for row in await town.deliveries()] == ["sent"]


async def test_of_a_flood_only_the_beginning_is_read_and_kept(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    await town.webhook()
    receiver.behave = flood
    await asked(town.world)
    await town.run()
    (egress,) = await town.egress()
    assert egress["bytes_in"] == 16 * 1024
    (delivery,) = await town.deliveries()
    (attempt,) = await town.tries(delivery["id"])
    assert (delivery["state"], len(attempt["answer"])) == ("sent", 500)


async def test_a_redirect_is_not_followed(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    with receiving("elsewhere") as canary:
        await town.exempt(canary, "elsewhere.worka.test")
        await town.webhook()
        receiver.behave = answer(307, Location="https://elsewhere.worka.test/in")
        await asked(town.world)
        await town.run()
        (delivery,) = await town.deliveries()
        (attempt,) = await town.tries(delivery["id"])
        assert (attempt["status"], attempt["detail"]) == (307, "a redirect, which is not followed")
        assert (delivery["state"], canary.connections) == ("queued", 0)
        # The positive control: where it points to could be reached by a webhook of its own.
        await town.webhook("https://elsewhere.worka.test/in")
        await asked(town.world, number=2)
        await town.run()
        assert canary.connections == 1


async def test_one_receiver_that_hangs_holds_up_no_other_and_has_two_tries_at_once(
    town: Town, receiver: Receiver
) -> None:
    await town.exempt(receiver)
    slow = await town.webhook()
    with receiving("quick") as quick:
        await town.exempt(quick, "quick.worka.test")
        await town.webhook("https://quick.worka.test/in")
        receiver.behave = hang
        for number in range(5):
            await asked(town.world, number=number)
        await town.run()
        assert len(quick.got) == 5
        assert town.most_at_once[slow["id"]] == 2


async def test_beyond_its_bound_a_queue_keeps_and_skips_and_replay_brings_it(
    town: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_WAITING", 2)
    await town.exempt(receiver)
    hook = await town.webhook()
    receiver.behave = answer(500)
    for number in range(4):
        await asked(town.world, number=number)
    await town.run()
    rows = await town.deliveries()
    assert [row["reason"] for row in rows] == ["delivery_retried"] * 2 + ["delivery_queue_full"] * 2

    receiver.behave = answer(200)
    await town.due_now()
    await town.send()
    ctx = town.world.ctx("admin")
    would = await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None, dry_run=True)
    assert would == {"deliveries": [row["id"] for row in rows[2:]], "more": False, "dry_run": True}
    assert len(await town.deliveries()) == 4, "a dry run writes nothing"
    done = await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None)
    await town.send()
    again = (await town.deliveries())[4:]
    assert [row["id"] for row in again] == done["deliveries"]
    assert [row["message_id"] for row in again] == [row["message_id"] for row in rows[2:]]
    assert [row["state"] for row in again] == ["sent", "sent"]
    assert await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None) == {
        "deliveries": [], "more": False, "dry_run": False,
    }  # fmt: skip


async def test_one_delivery_is_sent_again_on_demand_and_the_receiver_sees_that_it_is_the_same(
    town: Town, receiver: Receiver
) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    await asked(town.world)
    await town.run()
    (delivery,) = await town.deliveries()
    ctx = town.world.ctx("admin")
    await service.replay(ctx, hook["id"], delivery_id=delivery["id"], since=None, until=None)
    await town.send()
    verifier = Verifier(hook["secret"])
    first, second = receiver.got
    verifier.verify(first.body, first.headers)
    with pytest.raises(Unverified, match="seen already"):
        verifier.verify(second.body, second.headers)
    with pytest.raises(ReplayInvalid):
        await service.replay(ctx, hook["id"], delivery_id=None, since=None, until=None)
    with pytest.raises(ReplayInvalid):
        await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until="2h")


async def test_a_receiver_that_says_it_is_gone_is_told_nothing_more(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    receiver.behave = answer(410)
    await asked(town.world)
    await town.run()
    (delivery,) = await town.deliveries()
    assert (delivery["state"], delivery["reason"]) == ("refused", "delivery_refused")
    found = await service.get(town.world.ctx("admin"), hook["id"])
    assert (found["state"], found["reason"]) == ("disabled", "webhook_gone")
    await asked(town.world, number=2)
    await town.run()
    assert len(receiver.got) == 1


async def test_a_webhook_that_failed_for_days_is_disabled_with_a_reason_and_taken_up_again_by_hand(
    town: Town, receiver: Receiver
) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    ctx = town.world.ctx("admin")
    receiver.behave = answer(500)
    await asked(town.world)
    await town.run()
    assert (await service.get(ctx, hook["id"]))["state"] == "active", "one failure is nothing"
    await town.older("webhook", "failing_since", hook["id"], 73)
    await town.due_now()
    await town.send()
    found = await service.get(ctx, hook["id"])
    assert (found["state"], found["reason"]) == ("disabled", "webhook_failing")
    said = await explain.explain(ctx, hook["id"])
    assert "Every try failed for 72 hours" in said.headline
    with pytest.raises(WebhookNotActive):
        await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None)
    await asked(town.world, number=2)
    await town.run()
    assert {row["reason"] for row in await town.deliveries()} == {"delivery_webhook_off"}

    receiver.behave = answer(200)
    receiver.got.clear()
    await service.change(ctx, hook["id"], types=None, description=None, state="active")
    await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None)
    await town.send()
    assert len({got.id for got in receiver.got}) == 2, "both messages, the one tried and the one that came meanwhile"
    assert (await service.get(ctx, hook["id"]))["failing_since"] is None


async def test_after_its_last_try_a_delivery_is_given_up_with_what_was_answered(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    await town.webhook()
    receiver.behave = answer(500, b"broken")
    await asked(town.world)
    await town.run()
    for _ in rules.PAUSES:
        await town.due_now()
        await town.send()
    (delivery,) = await town.deliveries()
    assert (delivery["state"], delivery["reason"]) == ("failed", "delivery_given_up")
    assert delivery["attempts"] == len(rules.PAUSES) + 1 == len(await town.tries(delivery["id"]))
    said = await explain.explain(town.world.ctx("admin"), delivery["id"])
    assert "the receiver answered 500" in said.headline
    assert [step.command for step in said.next][-1].endswith(f"--delivery {delivery['id']}")


async def test_two_secrets_sign_while_one_is_rotated_and_the_old_one_ends(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    ctx = town.world.ctx("admin")
    fresh = await service.rotate(ctx, hook["id"], 24)
    assert fresh["secrets"] == 2
    await asked(town.world)
    await town.run()
    (got,) = receiver.got
    for secret in (hook["secret"], fresh["secret"]):
        Verifier(secret).verify(got.body, got.headers)

    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute("update worka.webhook_secret set expires_at = now() where expires_at is not null")
    await asked(town.world, number=2)
    await town.run()
    Verifier(fresh["secret"]).verify(receiver.got[1].body, receiver.got[1].headers)
    with pytest.raises(Unverified, match="no matching signature"):
        Verifier(hook["secret"]).verify(receiver.got[1].body, receiver.got[1].headers)


async def test_what_comes_while_it_is_paused_is_kept(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    ctx = town.world.ctx("admin")
    await service.change(ctx, hook["id"], types=None, description=None, state="paused")
    await asked(town.world)
    await town.run()
    assert receiver.got == []
    await service.change(ctx, hook["id"], types=None, description=None, state="active")
    await service.replay(ctx, hook["id"], delivery_id=None, since="1h", until=None)
    await town.send()
    assert len(receiver.got) == 1


async def test_a_kill_switch_on_its_host_stops_it_and_the_refusal_is_no_failure_of_the_receivers(
    town: Town, receiver: Receiver
) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    owner = town.world.ctx("owner")
    switch = await governance.kill(owner, town.world.workspace_id, "destination", HOST, "leak", everywhere=False)
    await asked(town.world)
    await town.run()
    assert receiver.connections == 0
    (delivery,) = await town.deliveries()
    (attempt,) = await town.tries(delivery["id"])
    assert (delivery["state"], attempt["reason"]) == ("queued", "killed")
    assert (await service.get(owner, hook["id"]))["failing_since"] is None
    (egress,) = await town.egress()
    assert (egress["verdict"], egress["reason"], egress["rule"]) == ("denied", "killed", f"kill/{switch['id']}")
    # The positive control: lifted, it goes.
    await governance.lift(owner, town.world.workspace_id, switch["id"], "all", [], "over", skip_trial=True)
    await town.due_now()
    await town.send()
    assert len(receiver.got) == 1
