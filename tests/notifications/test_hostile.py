"""Addresses that lead inside, callers from another tenant, texts that frame requests, and secrets that must not show."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from tests.approvals.asking import asked
from tests.notifications.receiver import Receiver, answer
from tests.notifications.receiver import receiver as receiving
from tests.notifications.test_receivers import hang
from tests.notifications.world import HOST, Town
from tests.workspaces.world import World, make
from worka.approvals.errors import ApprovalNotFound
from worka.governance import service as governance
from worka.kernel import ipc
from worka.kernel.errors import Denied
from worka.kernel.events import Subscribers
from worka.kernel.settings import DatabaseSettings, Settings
from worka.notifications import explain, rules, service, told
from worka.notifications.errors import (
    DeliveryNotFound,
    TooManyWaiting,
    TooManyWebhooks,
    WebhookInvalid,
    WebhookNotFound,
)
from worka.workers.wiring import Runtime
from worka.workspaces import service as workspaces

pytestmark = [pytest.mark.timeout(60), pytest.mark.capability("DOR-6", part="webhooks")]


@pytest.mark.capability("BRK-15", part="the platform's own calls: webhooks to inside addresses")
@pytest.mark.parametrize(
    "inside",
    [("127.0.0.1",), ("10.1.2.3",), ("169.254.169.254",), ("::1",), ("fe80::1",), ("93.184.216.34", "127.0.0.1")],
    ids=["loopback", "private", "metadata", "loopback 6", "link-local", "one of two"],
)
async def test_a_webhook_to_an_inside_address_does_not_leave(
    town: Town, receiver: Receiver, inside: tuple[str, ...]
) -> None:
    town.resolver.answers[HOST] = [inside]
    await town.webhook()
    await asked(town.world)
    await town.run()
    (delivery,) = await town.deliveries()
    (attempt,) = await town.tries(delivery["id"])
    assert (attempt["reason"], delivery["state"]) == ("private_address", "queued")
    (egress,) = await town.egress()
    assert (egress["verdict"], egress["reason"], egress["decision_id"] is not None) == (
        "denied",
        "private_address",
        True,
    )
    assert attempt["egress_id"] == egress["id"]
    # The positive control: the same receiver, under an exception that somebody has recorded.
    await town.exempt(receiver)
    await town.due_now()
    await town.send()
    assert len(receiver.got) == 1


@pytest.mark.capability("BRK-15", part="the platform's own calls: a name that is rebound")
async def test_a_name_is_resolved_once_and_what_was_checked_is_what_is_dialled(town: Town, receiver: Receiver) -> None:
    """The first answer is a public address that nobody is at from here; a second question would lead inside."""
    town.resolver.answers[HOST] = [("192.0.9.9",), ("127.0.0.1",)]
    await town.webhook(f"https://{HOST}:{receiver.port}/in")
    dialled: list[str] = []
    outside = town.broker._outside
    real = outside.dialer.dial

    async def watched(address: str, port: int, **how: Any) -> Any:
        dialled.append(address)
        if address != "127.0.0.1":
            raise OSError("nobody is there")
        return await real(address, port, **how)

    outside.dialer.dial = watched  # type: ignore[method-assign]
    await asked(town.world)
    await town.run()
    assert (dialled, town.resolver.asked, receiver.connections) == (["192.0.9.9"], [HOST], 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.worka.test/in", "https://127.0.0.1/in", "https://[::1]/in", "https://2130706433/in",
        "https://0x7f.1/in", "https://user:pass@hooks.worka.test/in", "https://hooks.worka.test@evil.test/",
        "https://hooks.worka.test/in#x", "https://hooks.worka.test:22/in", "https://hooks.worka.test/a/../in",
        "https://hooks.worka.test/%2e%2e/in", "https://hooks.worka.test/a\r\nX: y", "https://hooks.worka.test\\@x/",
        "ftp://hooks.worka.test/", "https:///in", "https://hooks.worka.test/*", "https://höoks.test/",
    ],
)  # fmt: skip
async def test_an_address_that_two_programs_could_read_differently_is_refused(town: Town, url: str) -> None:
    with pytest.raises(WebhookInvalid):
        await town.webhook(url)
    assert (await town.webhook("https://hooks.worka.test:8443/in?key=1"))["state"] == "active"


async def test_a_type_that_there_is_not_is_refused_by_name(town: Town) -> None:
    with pytest.raises(WebhookInvalid, match="nothing called"):
        await town.webhook(types=["approval.*", "task.done"])
    assert (await town.webhook(types=["approval.*"]))["types"] == ["approval.*"]


@pytest.mark.capability("BRK-15", part="the platform's own calls: only by a rule of the workspace")
async def test_the_broker_sends_nowhere_that_no_rule_names(town: Town, receiver: Receiver) -> None:
    """Whoever reaches the broker's socket says where to; whether that may be is not for them to say."""
    await town.exempt(receiver)
    await town.exempt(receiver, "other.worka.test")
    hook = await town.webhook()
    args = {
        "tenant_id": town.world.tenant_id, "workspace_id": town.world.workspace_id, "purpose": "webhook",
        "subject_id": hook["id"], "url": f"https://{HOST}/in", "headers": {}, "body": "",
    }  # fmt: skip

    async def sent(**changes: Any) -> str:
        found = await ipc.call_unix(town.paths.broker_socket, "platform_http", {**args, **changes})
        return str(found["reason"])

    other = await make(town.world.db, town.world.settings.home)
    assert await sent() == "allowed"
    assert await sent(url="https://other.worka.test/in") == "platform_rule_missing"
    assert await sent(url=f"https://{HOST}:8443/in") == "platform_rule_missing"
    assert await sent(url=f"https://{HOST}/inside") == "path_not_allowed"
    assert await sent(method="PUT") == "method_not_allowed"
    assert await sent(purpose="mail") == "platform_rule_missing"
    assert await sent(subject_id="whk_other") == "platform_rule_missing"
    assert await sent(workspace_id="ws_other") == "platform_rule_missing"
    assert await sent(tenant_id=other.tenant_id, workspace_id=other.workspace_id) == "platform_rule_missing"
    assert len(receiver.got) == 1
    gone = await service.remove(town.world.ctx("admin"), hook["id"])
    assert (gone["state"], gone["reason"], gone["secrets"]) == ("removed", "webhook_removed", 0)
    assert await sent() == "platform_rule_missing", "with the webhook its rule ended"


@pytest.mark.capability("BRK-15", part="the platform's own calls: request smuggling")
async def test_what_frames_a_request_is_the_brokers_alone(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    hook = await town.webhook()
    base = {
        "tenant_id": town.world.tenant_id, "workspace_id": town.world.workspace_id, "purpose": "webhook",
        "subject_id": hook["id"], "url": f"https://{HOST}/in", "body": "",
    }  # fmt: skip
    named = {"Host": "evil.test", "Content-Length": "99", "Transfer-Encoding": "chunked", "X-Mine": "1"}
    await ipc.call_unix(town.paths.broker_socket, "platform_http", {**base, "headers": named})
    assert len(receiver.got) == 1
    got = receiver.got[0]
    assert (got.headers["host"], got.headers["content-length"], got.headers["x-mine"]) == (HOST, "0", "1")
    assert "transfer-encoding" not in got.headers
    split = await ipc.call_unix(town.paths.broker_socket, "platform_http", {**base, "headers": {"X": "1\r\nY: 2"}})
    assert (split["reason"], len(receiver.got)) == ("malformed_request", 1)


@pytest.mark.capability("BRK-15", part="the platform's own calls: only where policy lets them")
async def test_policy_can_forbid_a_destination_and_the_decision_says_so(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    await town.webhook()
    text = (
        '@id("no-hooks") @verdict("deny") @reason("Nothing is told outside.") forbid(principal, action =='
        f' Worka::Action::"platform.send", resource) when {{ context has host && context.host == "{HOST}" }};'
    )
    await governance.save_policy(
        town.world.ctx("owner"), town.world.workspace_id, "governance", text, "quiet", scope="workspace"
    )
    await asked(town.world)
    await town.run()
    (delivery,) = await town.deliveries()
    (attempt,) = await town.tries(delivery["id"])
    assert (attempt["reason"], receiver.connections) == ("denied_by_governance", 0)
    assert "Nothing is told outside." in attempt["detail"]
    (egress,) = await town.egress()
    found = await governance.decision(town.world.ctx("owner"), egress["decision_id"])
    assert found["verdict"] == "deny"
    assert found["replay"]["same"] is True


async def test_every_verb_as_another_tenant_and_as_a_guesser_finds_nothing(town: Town) -> None:
    hook = await town.webhook()
    delivery = await service.test(town.world.ctx("admin"), hook["id"])
    approval = await asked(town.world)
    other = await make(town.world.db, town.world.settings.home)
    span = {"delivery_id": None, "since": "1h", "until": None}
    for ctx in (other.ctx("owner"), town.world.ctx("viewer"), town.world.ctx("stranger")):
        for call in (
            service.get(ctx, hook["id"]),
            service.change(ctx, hook["id"], types=["*"], description=None, state=None),
            service.remove(ctx, hook["id"]),
            service.rotate(ctx, hook["id"], 1),
            service.test(ctx, hook["id"]),
            service.list_deliveries(ctx, hook["id"], None, 10, None),
            service.replay(ctx, hook["id"], **span),
            explain.explain(ctx, hook["id"]),
        ):
            with pytest.raises(WebhookNotFound):
                await call
        for one in (service.show_delivery(ctx, delivery["id"]), explain.explain(ctx, delivery["id"])):
            with pytest.raises(DeliveryNotFound):
                await one
    with pytest.raises(ApprovalNotFound):
        await told.told_of(other.ctx("owner"), approval["id"])
    with pytest.raises(WebhookNotFound):
        await service.get(town.world.ctx("admin"), "whk_00000000000000000000000000")
    # The positive control: a member sees it, and only an admin changes it.
    assert (await service.get(town.world.ctx("member"), hook["id"]))["url"] == hook["url"]
    with pytest.raises(Denied):
        await service.rotate(town.world.ctx("member"), hook["id"], 1)
    with pytest.raises(Denied):
        await town.webhook(who="member")


async def test_a_webhook_of_one_workspace_hears_nothing_of_another_tenant(town: Town, receiver: Receiver) -> None:
    await town.exempt(receiver)
    await town.webhook()
    other = await make(town.world.db, town.world.settings.home)
    await asked(other)
    await town.run()
    assert receiver.got == []
    await asked(town.world)
    await town.run()
    assert len(receiver.got) == 1


async def test_there_are_only_so_many_webhooks(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_WEBHOOKS", 2)
    first = await town.webhook()
    await town.webhook()
    with pytest.raises(TooManyWebhooks):
        await town.webhook()
    await service.remove(town.world.ctx("admin"), first["id"])
    await town.webhook()


async def test_the_secret_is_shown_once_and_stands_nowhere_else(
    town: Town, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await town.exempt(receiver)
    dry = await town.webhook(dry_run=True)
    assert (dry["secret"], await town.world.rows("webhook")) == (None, [])
    hook = await town.webhook()
    secret = hook["secret"]
    assert secret.startswith("whsec_")
    receiver.behave = answer(500, f"you signed with {secret}".encode())
    await asked(town.world)
    await town.run()
    ctx = town.world.ctx("admin")
    (delivery,) = await town.deliveries()
    shown = [await service.get(ctx, hook["id"]), await service.show_delivery(ctx, delivery["id"])]
    kept = [await town.world.rows(table) for table in
            ("webhook", "webhook_secret", "delivery", "delivery_attempt", "event", "egress", "platform_rule")]  # fmt: skip
    for place in (caplog.text, repr(shown), repr(kept), repr(await town.world.rows("audit_entry"))):
        assert secret not in place
        assert secret[6:] not in place
    (attempt,) = await town.tries(delivery["id"])
    assert attempt["answer"] == "you signed with [redacted]"
    assert secret not in str(town.posted), "the broker gets a signature, never the secret"


async def test_one_tenants_slow_webhooks_hold_up_no_other_tenant(town: Town, receiver: Receiver) -> None:
    other = await make(town.world.db, town.world.settings.home)
    await town.exempt(receiver)
    theirs = replace(town, world=other, posted=town.posted)
    with receiving("slow") as slow:
        await theirs.exempt(slow, "slow.worka.test")
        slow.behave = hang
        for _ in range(12):
            hook = await theirs.webhook("https://slow.worka.test/in")
            for _ in range(2):
                await service.test(other.ctx("admin"), hook["id"])
        ours = await town.webhook()
        await service.test(town.world.ctx("admin"), ours["id"])
        try:
            await town.sender.sweep()  # one look, as the worker makes it: 24 of theirs were there before ours
            await town.sender.settle()
            assert len(receiver.got) == 1
            begun = Counter(args["tenant_id"] for args in town.posted)
            assert begun == {other.tenant_id: 6, town.world.tenant_id: 1}
        finally:
            # The positive control: theirs are not lost, and go as soon as they are taken.
            slow.behave = answer(204)
            await theirs.due_now()
            await town.send()
        assert {row["state"] for row in await theirs.deliveries()} == {"sent"}


async def test_the_broker_itself_lets_no_tenant_have_all_places(town: Town, receiver: Receiver) -> None:
    """Whoever asks it: another worker counts for itself."""
    other = await make(town.world.db, town.world.settings.home)
    theirs = replace(town, world=other)
    await town.exempt(receiver)
    ours = await town.webhook()
    with receiving("slow") as slow:
        await theirs.exempt(slow, "slow.worka.test")
        slow.behave = hang

        async def send(world: World, hook: dict[str, Any]) -> str:
            args = {
                "tenant_id": world.tenant_id, "workspace_id": world.workspace_id, "purpose": "webhook",
                "subject_id": hook["id"], "url": hook["url"], "headers": {}, "body": "",
            }  # fmt: skip
            return str((await ipc.call_unix(town.paths.broker_socket, "platform_http", args))["reason"])

        hooks = [await theirs.webhook("https://slow.worka.test/in") for _ in range(16)]
        slows = [asyncio.create_task(send(other, hook)) for hook in hooks]
        await asyncio.sleep(0.5)
        assert await send(town.world, ours) == "allowed"
        found = Counter(await asyncio.gather(*slows))
        assert found == {"limit_exceeded": 10, "upstream_timeout": 6}
        assert await send(town.world, ours) == "allowed"


async def test_no_more_may_wait_for_a_webhook_by_test_and_replay_either(
    town: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_WAITING", 3)
    await town.exempt(receiver)
    hook = await town.webhook()
    ctx = town.world.ctx("admin")
    span: dict[str, Any] = {"delivery_id": None, "since": "1h", "until": None}
    await service.change(ctx, hook["id"], types=None, description=None, state="paused")
    for number in range(4):
        await asked(town.world, number=number)
    await town.run()
    await service.change(ctx, hook["id"], types=None, description=None, state="active")
    await service.test(ctx, hook["id"])
    would = await service.replay(ctx, hook["id"], **span, dry_run=True)
    done = await service.replay(ctx, hook["id"], **span)
    assert (len(would["deliveries"]), would["more"]) == (len(done["deliveries"]), done["more"]) == (2, True)
    one = (await town.deliveries(hook["id"]))[0]["id"]
    for call in (
        service.test(ctx, hook["id"]),
        service.replay(ctx, hook["id"], **span),
        service.replay(ctx, hook["id"], delivery_id=one, since=None, until=None),
    ):
        with pytest.raises(TooManyWaiting, match="3 wait"):
            await call
    # The positive control: what waits is taken, and there is room again.
    await town.send()
    assert len((await service.replay(ctx, hook["id"], **span))["deliveries"]) == 2
    await service.test(ctx, hook["id"])


@pytest.mark.capability("BRK-15", part="the platform's own calls: no path in what viewers read")
async def test_the_path_of_a_webhook_stands_in_nothing_that_every_viewer_reads(town: Town, receiver: Receiver) -> None:
    """The address of a chat system is a credential by its path."""
    await town.exempt(receiver)
    path = "/services/T012/B345/t0k3n-in-a-path"
    hook = await town.webhook(f"https://{HOST}{path}?and=qu3ry")
    await service.test(town.world.ctx("admin"), hook["id"])
    await town.send()
    await service.test(town.world.ctx("admin"), hook["id"])
    switch = await governance.kill(
        town.world.ctx("owner"), town.world.workspace_id, "destination", HOST, "leak", everywhere=False
    )
    await town.send()
    sent, refused = await town.egress()
    (rule,) = await town.world.rows("platform_rule")
    assert (sent["verdict"], sent["rule"], sent["method"]) == ("allowed", rule["id"], "POST")
    assert (refused["verdict"], refused["rule"]) == ("denied", f"kill/{switch['id']}")
    for place in ("egress", "event", "decision", "audit_entry", "delivery", "delivery_attempt"):
        text = repr(await town.world.rows(place))
        assert not any(part in text for part in ("t0k3n", "B345", "qu3ry")), place
    # The positive control: it went there, and the rule that is named tells whoever may see it.
    assert receiver.got[0].path == f"{path}?and=qu3ry"
    assert rule["path"] == path


def wired(settings: Settings) -> Subscribers:
    """As every process of ours has them."""
    address = DatabaseSettings(url=SecretStr("postgresql://nobody@localhost/none"))
    return Runtime(settings.model_copy(update={"database": address}), "api").subscribers


async def test_a_webhook_ends_with_the_membership_of_who_answers_for_it(town: Town, receiver: Receiver) -> None:
    world = town.world
    world.subscribers = wired(world.settings)
    await town.exempt(receiver)
    await world.person("second")
    await world.join("second", "admin")
    theirs = await town.webhook(f"https://{HOST}/theirs", who="second")
    await town.webhook(f"https://{HOST}/ours")
    await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["second"], None, True)
    assert (await service.get(world.ctx("owner"), theirs["id"]))["state"] == "active", "they are still there"

    await workspaces.remove_member(world.ctx("owner"), world.workspace_id, world.ids["second"])
    await asked(world)
    await town.run()
    assert [got.path for got in receiver.got] == ["/ours"], "the control: the other one is told"
    found = await service.get(world.ctx("owner"), theirs["id"])
    assert (found["state"], found["reason"]) == ("paused", "webhook_keeper_left")
    assert "not in the workspace any more" in (await explain.explain(world.ctx("owner"), theirs["id"])).headline
    (event,) = await world.events("webhook.changed")
    assert (event["subject"], event["actor_id"], event["after"]["reason"]) == (
        theirs["id"], world.ids["owner"], "webhook_keeper_left",
    )  # fmt: skip

    # Whoever takes it up answers for it from then on: neither coming back nor leaving again of the first changes that.
    await service.change(world.ctx("owner"), theirs["id"], types=None, description=None, state="active")
    await world.join("second", "admin")
    await workspaces.remove_member(world.ctx("owner"), world.workspace_id, world.ids["second"])
    await asked(world, number=2)
    await town.run()
    assert sorted(got.path for got in receiver.got) == ["/ours", "/ours", "/theirs"]
