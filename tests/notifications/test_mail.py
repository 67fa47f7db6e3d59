"""Whose yes is needed hears of it by mail: handed to a real SMTP server through the broker's tunnel, or not called sent."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from tests.approvals.asking import asked, join, make_older, say, sweep
from tests.approvals.test_timing import configure
from tests.governance.test_layers import another_workspace
from tests.notifications.mailbox import PASSWORD, USER, Mailbox
from tests.notifications.mailbox import mailbox as serving
from tests.notifications.receiver import Receiver
from tests.notifications.test_receivers import hang
from tests.notifications.world import Town
from tests.notifications.world import town as make_town
from tests.workspaces.world import World
from worka.broker.platform import MailRoute, PlatformLimits
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.settings import HttpSettings, MailSettings, Settings
from worka.notifications import explain, service, told
from worka.notifications.adapters import smtp
from worka.notifications.errors import DeliveryNotFound, NoMail, TooManyTests
from worka.notifications.fan_out import fan_out
from worka.notifications.jobs import Sender

pytestmark = pytest.mark.timeout(60)
MX = "mail.worka.test"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with serving() as found:
        yield found


async def with_mail(
    world: World, mailbox: Mailbox, limits: PlatformLimits | None = None, gap: AirGap = OPEN, **changes: Any
) -> Town:
    """The deployment sends mail through it, by a recorded exception: it has no public address."""
    given = {
        "host": MX, "port": mailbox.port, "user": USER, "password": PASSWORD, "sender": "worka@example.com",
        "address": "127.0.0.1", "ca_pem": mailbox.authority.pem.decode(),
    }  # fmt: skip
    settings = MailSettings(**{**given, **changes})
    http = HttpSettings(public_url="https://worka.example.com")
    world.settings = Settings(home=world.settings.home, mail=settings, http=http)
    return await make_town(world, limits, mail=MailRoute.of(settings), gap=gap)


@pytest_asyncio.fixture
async def post(world: World, mailbox: Mailbox) -> AsyncIterator[Town]:
    found = await with_mail(world, mailbox)
    yield found
    await found.leave()


async def address(world: World, who: str) -> str:
    (row,) = await world.rows("membership", "principal_id = %s", world.ids[who])
    async with world.db.transaction(world.tenant_id) as conn:
        found = await (
            await conn.execute("select email from worka.person where id = %s", (row["principal_id"],))
        ).fetchone()
    assert found is not None
    return str(found["email"])


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_exactly_those_whose_yes_is_needed_get_a_mail_with_the_cards_facts(
    post: Town, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = post.world
    approval = await asked(world)

    await post.run()

    wanted = {await address(world, who) for who in ("owner", "admin", "approver")}
    assert {str(mail["To"]) for mail in mailbox.got} == wanted, "not who asks, not who may only look, no stranger"
    assert {to for envelope in mailbox.envelopes for to in envelope.rcpt_tos} == wanted
    text = mailbox.got[0].get_content()
    for fact in ("Publish notes 1", "Creates a page at tracker.worka.test", "robot for member", "Release notes",
                 approval["id"], f"https://worka.example.com/approvals/{approval['id']}", "Until: "):  # fmt: skip
        assert fact in text
    assert "the exact text" not in text, "what is called with stands on the card alone"
    assert mailbox.tls == [True] * 3
    assert mailbox.signed_in == [True] * 3
    rows = await post.deliveries()
    assert {(row["channel"], row["state"], row["status"]) for row in rows} == {("mail", "sent", 250)}
    egress = await post.egress()
    assert {(row["kind"], row["host"], row["rule"], row["exception_id"], row["opaque"]) for row in egress} == {
        ("tunnel", MX, "settings/mail", "settings/mail.address", True)
    }
    assert all(row["decision_id"] and row["bytes_out"] > 100 for row in egress)
    assert PASSWORD not in caplog.text
    assert PASSWORD not in str(rows + egress)


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_a_mail_is_sent_only_when_the_server_accepted_it_and_is_the_same_mail_at_every_try(
    post: Town, mailbox: Mailbox
) -> None:
    mailbox.data = "451 4.3.0 try again later"
    await asked(post.world, "approve:1 of group:owners")
    await post.run()
    (delivery,) = await post.deliveries()
    assert (delivery["state"], delivery["reason"], delivery["status"]) == ("queued", "delivery_retried", 451)
    assert mailbox.got == []
    (first,) = await post.tries(delivery["id"])
    assert (first["reason"], first["detail"]) == ("receiver_answered", "4.3.0 try again later")

    mailbox.data = "250 OK"
    await post.due_now()
    await post.send()
    (delivery,) = await post.deliveries()
    assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("sent", 2, 250)
    message_id = str(mailbox.got[0]["Message-ID"])
    assert message_id == f"<{delivery['message_id']}.{post.world.ids['owner'][-12:]}@example.com>"


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_what_the_server_refuses_for_good_is_not_tried_again(post: Town, mailbox: Mailbox) -> None:
    mailbox.rcpt = "550 5.1.1 no such mailbox"
    await asked(post.world, "approve:1 of group:owners")
    await post.run()
    (delivery,) = await post.deliveries()
    assert (delivery["state"], delivery["reason"], delivery["status"]) == ("refused", "delivery_refused", 550)

    mailbox.rcpt = "250 OK"
    await post.due_now()
    await post.send()
    assert mailbox.got == []
    # The positive control: the same server takes the next one.
    await asked(post.world, "approve:1 of group:owners", number=2)
    await post.run()
    assert len(mailbox.got) == 1


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_no_text_of_an_approval_becomes_a_header(post: Town, mailbox: Mailbox) -> None:
    title = "Publish\r\nBcc: eve@example.org\r\n\r\nand more\x1b[2J\u2028end"
    await asked(post.world, "approve:1 of group:owners", title=title)
    await post.run()
    (mail,) = mailbox.got
    assert mail["Bcc"] is None
    assert str(mail["Subject"]) == "Your yes is needed: Publish Bcc: eve@example.org and more [2J end"
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [[await address(post.world, "owner")]]
    raw = bytes(mailbox.envelopes[0].content or b"")
    assert b"\x1b" not in raw
    assert raw.count(b"\r\nBcc") == 0


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_mail_never_goes_in_the_clear_unless_that_is_recorded(world: World) -> None:
    with serving(starttls=False) as plain:
        safe = await with_mail(world, plain, user="", password=None)
        try:
            await asked(world, "approve:1 of group:owners")
            await safe.run()
            (delivery,) = await safe.deliveries()
            (attempt,) = await safe.tries(delivery["id"])
            assert (attempt["reason"], delivery["state"]) == ("upstream_tls_failed", "queued")
            assert plain.got == []
        finally:
            await safe.leave(keep=True)
        with pytest.raises(ValueError, match="insecure_reason"):
            MailSettings(host=MX, sender="worka@example.com", security="none")
        # The positive control: recorded, it goes.
        open_ = await with_mail(world, plain, user="", password=None, security="none", insecure_reason="a relay here")
        try:
            await open_.due_now()
            await open_.send()
            assert len(plain.got) == 1
        finally:
            await open_.leave()


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_a_certificate_for_another_name_or_of_another_authority_is_refused(
    world: World, mailbox: Mailbox
) -> None:
    with serving() as other:
        town = await with_mail(world, mailbox, ca_pem=other.authority.pem.decode())
        try:
            await asked(world, "approve:1 of group:owners")
            await town.run()
            (delivery,) = await town.deliveries()
            (attempt,) = await town.tries(delivery["id"])
            assert attempt["reason"] == "upstream_certificate_untrusted"
            assert mailbox.got == []
        finally:
            await town.leave()


@pytest.mark.capability("BRK-15", part="the platform's own calls: mail to an inside address")
async def test_a_mail_server_at_an_inside_address_needs_its_recorded_exception(world: World, mailbox: Mailbox) -> None:
    town = await with_mail(world, mailbox, address="")
    town.resolver.answers[MX] = [("127.0.0.1",)]
    try:
        await asked(world, "approve:1 of group:owners")
        await town.run()
        (delivery,) = await town.deliveries()
        (attempt,) = await town.tries(delivery["id"])
        assert (attempt["reason"], mailbox.sessions) == ("private_address", 0)
        (egress,) = await town.egress()
        assert (egress["verdict"], egress["reason"], egress["kind"]) == ("denied", "private_address", "tunnel")
    finally:
        await town.leave(keep=True)
    # The positive control.
    town = await with_mail(world, mailbox)
    try:
        await town.due_now()
        await town.send()
        assert len(mailbox.got) == 1
    finally:
        await town.leave()


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_without_a_setting_no_mail_is_written_and_no_tunnel_is_given(town: Town) -> None:
    await asked(town.world)
    await town.run()
    assert await town.deliveries() == []
    with pytest.raises(NoMail):
        await told.test_mail(town.world.ctx("member"), town.world.workspace_id)
    # Whoever asks the broker all the same is refused by the rule that is not there, and that is recorded.
    who = {"tenant_id": town.world.tenant_id, "workspace_id": town.world.workspace_id, "subject_id": "x"}
    route = MailSettings(host=MX, sender="worka@example.com")
    found = await asyncio.to_thread(smtp.probe, town.paths.broker_out_socket, route, who)
    assert found.reason == "platform_rule_missing"
    (egress,) = await town.egress()
    assert (egress["verdict"], egress["reason"]) == ("denied", "platform_rule_missing")


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_who_wants_no_mail_gets_none_and_others_do(post: Town, mailbox: Mailbox) -> None:
    world = post.world
    assert await told.choose(world.ctx("owner"), False) == {"mail": False, "sent": True}
    approval = await asked(world)
    await post.run()
    owner = await address(world, "owner")
    assert owner not in {str(mail["To"]) for mail in mailbox.got}
    assert len(mailbox.got) == 2
    found = await told.told_of(world.ctx("member"), approval["id"])
    assert found["without_mail"] == ["owner"]
    assert found["headline"] == (
        "2 of 2 messages were accepted by their receivers. No active webhook here is told of approvals."
        " owner chose to get no mail."
    )


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_what_is_decided_before_its_mail_goes_out_is_not_asked_for_any_more(post: Town, mailbox: Mailbox) -> None:
    mailbox.data = "451 later"
    approval = await asked(post.world, "approve:1 of group:owners")
    await post.run()
    await say(post.world, "owner", approval)
    mailbox.data = "250 OK"
    await post.due_now()
    await post.run()
    (asking, ended) = await post.deliveries()
    assert (asking["state"], asking["reason"]) == ("skipped", "delivery_not_needed")
    assert (ended["type"], ended["target"], ended["state"]) == ("approval.decided", post.world.ids["member"], "sent")
    (mail,) = mailbox.got
    assert str(mail["Subject"]) == "Approved: Publish notes 1"
    assert "Decided by: owner" in mail.get_content()


@pytest.mark.capability("APR-11")
async def test_a_reminder_and_an_escalation_reach_those_who_may_decide_by_mail(post: Town, mailbox: Mailbox) -> None:
    await configure(post.world, remind_minutes=10, escalate_minutes=30)
    approval = await asked(post.world, "approve:1 of group:owners")
    await post.run()
    await make_older(post.world, approval["id"], 11)
    assert await sweep(post.world) == 1
    await post.run()
    subjects = [str(mail["Subject"]) for mail in mailbox.got]
    assert subjects == ["Your yes is needed: Publish notes 1", "Still needed: your yes to Publish notes 1"]
    await make_older(post.world, approval["id"], 30)
    assert await sweep(post.world) == 1
    await post.run()
    assert str(mailbox.got[-1]["Subject"]) == "Nobody has decided yet: Publish notes 1"


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_a_test_mail_goes_to_whoever_asks_for_it_and_only_so_many_wait(post: Town, mailbox: Mailbox) -> None:
    ctx = post.world.ctx("viewer")
    made = await told.test_mail(ctx, post.world.workspace_id)
    await post.run()
    (mail,) = mailbox.got
    assert (str(mail["To"]), made["type"]) == (await address(post.world, "viewer"), "mail.test")
    (row,) = await post.deliveries()
    assert row["state"] == "sent"
    for _ in range(3):
        await told.test_mail(ctx, post.world.workspace_id)
    with pytest.raises(TooManyTests, match="wait"):
        await told.test_mail(ctx, post.world.workspace_id)


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_no_mail_goes_to_what_is_no_plain_mailbox(post: Town, mailbox: Mailbox) -> None:
    # Their address begins with their name in this world: two mailboxes, for some readers.
    odd = await join(post.world, "eve@example.org, odd")
    await asked(post.world)
    await post.run()
    bad = [row for row in await post.deliveries() if row["target"] == odd]
    assert [(row["state"], row["reason"]) for row in bad] == [("refused", "delivery_refused")]
    (attempt,) = await post.tries(bad[0]["id"])
    assert attempt["reason"] == "address_unusable"
    assert len(mailbox.got) == 3, "the others are plain mailboxes"
    assert all("eve" not in to for envelope in mailbox.envelopes for to in envelope.rcpt_tos)


@pytest.mark.capability("IDN-2", part="a token of one workspace reads no mail's record of another")
@pytest.mark.capability("DOR-6", part="e-mail")
async def test_whom_a_mail_is_for_sees_its_record_only_while_let_into_its_workspace(post: Town) -> None:
    world = post.world
    await asked(world)
    await post.run()
    found = {row["target"]: row["id"] for row in await post.deliveries()}
    # A viewer sees no webhooks: this record is shown to them as the one it is for, and to nobody else of their kind.
    mine = found[world.ids["approver"]]
    ctx = world.ctx("approver")
    assert (await service.show_delivery(ctx, mine))["target"] == world.ids["approver"], "the control"
    with pytest.raises(DeliveryNotFound):
        await service.show_delivery(world.ctx("viewer"), mine)
    elsewhere = replace(ctx, bound_to=await another_workspace(world))
    with pytest.raises(DeliveryNotFound):
        await service.show_delivery(elsewhere, mine)
    with pytest.raises(DeliveryNotFound):
        await explain.explain(elsewhere, mine)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("delete from worka.membership where principal_id = %s", (world.ids["approver"],))
    with pytest.raises(DeliveryNotFound):
        await service.show_delivery(ctx, mine)


def plain() -> str:
    """As AUTH PLAIN sends it."""
    return base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_what_a_server_says_to_signing_in_is_no_tenants_to_read(post: Town, mailbox: Mailbox) -> None:
    login = base64.b64encode(PASSWORD.encode()).decode()
    mailbox.sign_in = f"535 5.7.8 not you, {USER}: {plain()} {login}"
    await asked(post.world, "approve:1 of group:owners")
    await post.run()
    (delivery,) = await post.deliveries()
    (attempt,) = await post.tries(delivery["id"])
    assert (attempt["reason"], attempt["status"], delivery["state"]) == ("receiver_answered", 535, "queued")
    assert attempt["detail"] == attempt["answer"] == "the mail server did not let us sign in"
    # The positive control: what it says to a message is kept, and that has the password in no form either.
    mailbox.sign_in, mailbox.rcpt = "", f"450 4.2.1 busy: {plain()} {login}"
    await post.due_now()
    await post.send()
    (_, second) = await post.tries(delivery["id"])
    assert (second["status"], second["detail"].replace("=", "")) == (450, "4.2.1 busy: [redacted] [redacted]")
    for form in (PASSWORD, plain().rstrip("="), login.rstrip("=")):
        assert form not in str(await post.world.rows("delivery_attempt"))


@pytest.mark.capability("DOR-6", part="e-mail")
async def test_webhooks_that_hang_hold_up_no_mail(world: World, mailbox: Mailbox, receiver: Receiver) -> None:
    """Worker and broker have one place for webhooks here, and it is taken."""
    found = await with_mail(world, mailbox, PlatformLimits(seconds=5.0, at_once=1))
    try:
        found.sender = Sender(world.nobody(), found.post, found.mail, at_once=1)
        await found.exempt(receiver)
        hooks = [await found.webhook() for _ in range(3)]
        receiver.behave = hang
        await asked(world)
        await fan_out(world.nobody())
        for _ in range(60):
            if len(mailbox.got) == 3:
                break
            await found.sender.sweep()
            await asyncio.sleep(0.05)
        assert len(mailbox.got) == 3, "before the one that hangs has its deadline"
        assert found.under_way.total() == 1, "the control: one webhook is being tried all the while"
        assert {row["state"] for hook in hooks for row in await found.deliveries(hook["id"])} == {"queued"}
    finally:
        await found.leave()
