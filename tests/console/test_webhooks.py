"""Webhooks in the console, against a real receiver: added, tried, read, replayed, changed, rotated, paused and removed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Eyes, Road, begin, sign_in
from tests.console.test_inviting import PASSWORD, kept, viewer
from tests.console.test_states import by_keyboard
from tests.notifications.receiver import Receiver, Unverified, Verifier, answer, receiver
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
WAIT = 30_000


@dataclass
class Outside:
    """A receiver behind a name that the workspace may reach."""

    host: str
    hooks: Receiver

    @property
    def url(self) -> str:
        return f"https://{self.host}/in"


@pytest.fixture
def outside(stage: Demo) -> Iterator[Outside]:
    host = f"hooks-{secrets.token_hex(3)}.worka.test"
    with receiver() as hooks:
        stage.owner.post(
            stage.owner.ws("/network-exceptions"),
            {
                "name": host, "port": 443, "address": "127.0.0.1", "real_port": hooks.port,
                "ca_pem": hooks.authority.pem.decode(), "reason": "the receiver of the test",
            },
        )  # fmt: skip
        yield Outside(host, hooks)
        for row in hooks_of(stage, host):
            stage.owner.call("DELETE", f"/v1/webhooks/{row['id']}")


def hooks_of(stage: Demo, host: str) -> list[dict[str, Any]]:
    return [row for row in stage.owner.get(stage.owner.ws("/webhooks"))["items"] if host in row["url"]]


def of_owner(browser: Browser, stage: Demo, road: Road) -> Eyes:
    return sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), road.link(stage.owner))


def secret_in(page: Page) -> str:
    """The secret that this answer shows, and no page after it."""
    shown = page.get_by_role("status").filter(has_text="this secret").locator("code").inner_text()
    assert shown.startswith("whsec_")
    return shown


def verdict(page: Page) -> Any:
    return page.locator("[data-verdict]")


@pytest.mark.capability("DOR-6", part="webhooks in the console, against a real receiver")
def test_a_webhook_is_added_tried_replayed_rotated_paused_and_removed(
    browser: Browser, stage: Demo, standing: Road, outside: Outside
) -> None:
    eyes = of_owner(browser, stage, standing)
    page = eyes.page
    page.get_by_role("link", name="Webhooks").first.click()
    expect(page.get_by_role("heading", name="Webhooks", exact=True)).to_be_visible()

    # A refusal keeps what was typed; looking adds nothing.
    form = page.get_by_role("form", name="Add a webhook")
    form.get_by_label("Address").fill(f"https://user:pw@{outside.host}/in")
    form.get_by_label("What it is for").fill("the pager")
    form.get_by_role("button", name="Show what it does").click()
    expect(page.get_by_role("alert")).to_contain_text("no user name or password")
    form = page.get_by_role("form", name="Add a webhook")
    expect(form.get_by_label("What it is for")).to_have_value("the pager")
    form.get_by_label("Address").fill(outside.url)
    form.get_by_role("button", name="Show what it does").click()
    would = page.locator("#would")
    expect(would).to_contain_text(f"Worka would send to {outside.host}, port 443, exactly /in, and nowhere else.")
    expect(would).to_contain_text("somebody's yes is needed")
    assert hooks_of(stage, outside.host) == []
    kept(eyes, "webhooks-add")
    page.get_by_role("button", name="Add it").click()
    secret = secret_in(page)
    kept(eyes, "webhooks-secret")
    page.reload()
    assert secret not in page.content(), "a secret is shown once"
    (made,) = hooks_of(stage, outside.host)
    assert made["description"] == "the pager"

    # A test: what arrived is signed with that secret, and the page says what was answered.
    page.get_by_role("link", name=outside.host).click()
    page.get_by_role("button", name="Send a test").click()
    expect(verdict(page)).to_contain_text("was accepted by the receiver", timeout=WAIT)
    expect(page.get_by_role("region", name="Table of tries")).to_contain_text("The receiver has accepted it.")
    expect(page.get_by_role("region", name="Table of tries")).to_contain_text("204")
    (got,) = outside.hooks.got
    first = Verifier(secret)
    assert first.verify(got.body, got.headers)["type"] == "webhook.test"
    kept(eyes, "delivery")
    by_keyboard(page)

    # The receiver breaks: the log says what it answered; mended, it is sent again under the same message id.
    outside.hooks.behave = answer(410, b"gone for good")
    page.go_back()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("region", name="Table of tries")).to_contain_text("gone for good", timeout=WAIT)
    expect(page.get_by_role("region", name="Table of tries")).to_contain_text("did not accept it")
    failed = outside.hooks.got[-1].id
    page.get_by_role("navigation", name="You are here").get_by_role("link").click()
    expect(verdict(page)).to_contain_text("is active")
    expect(page.get_by_role("region", name="Table of deliveries")).to_contain_text("Refused")
    outside.hooks.behave = answer(204)

    # Paused, nothing is sent again, and the button says what helps; taken up again, it is.
    page.get_by_role("button", name="Pause…").click()
    expect(page.locator("#would")).to_contain_text("Nothing would be sent to it any more")
    assert hooks_of(stage, outside.host)[0]["state"] == "active"
    page.get_by_role("button", name="Pause it").click()
    expect(verdict(page)).to_contain_text("is paused")
    again = page.get_by_role("region", name="Table of deliveries").get_by_role("button").first
    expect(again).to_be_disabled()
    expect(page.locator(f"#{again.get_attribute('aria-describedby')}")).to_contain_text("Take it up again first.")
    kept(eyes, "webhook-paused")
    page.get_by_role("button", name="Take it up again…").click()
    expect(page.locator("#would")).to_contain_text("you would answer for it")
    assert hooks_of(stage, outside.host)[0]["state"] == "paused"
    page.get_by_role("button", name="Take it up again", exact=True).click()
    expect(verdict(page)).to_contain_text("is active")
    page.get_by_role("button", name="Show what would be sent").click()
    expect(page.locator("#would")).to_contain_text("1 that did not arrive would be sent again")
    sent = len(outside.hooks.got)
    page.get_by_role("button", name="Send them again").click()
    expect(page.get_by_role("status").filter(has_text="sent again")).to_be_visible()
    row = page.get_by_role("region", name="Table of deliveries").get_by_role("row").filter(has_text="sent again after")
    expect(row.first).to_contain_text("Sent", timeout=WAIT)
    assert [one.id for one in outside.hooks.got[sent:]] == [failed]

    # A new secret: both sign while the receiver changes over.
    page.goto(standing.page("webhooks", made["id"]))
    page.get_by_role("form", name="Rotate the secret").get_by_role("button").click()
    expect(page.locator("#would")).to_contain_text("sign beside it for 24 hours")
    page.get_by_role("button", name="Make the new secret").click()
    second = secret_in(page)
    assert second != secret
    page.reload()
    assert second not in page.content()
    sent = len(outside.hooks.got)
    page.get_by_role("button", name="Send a test").click()
    expect(verdict(page)).to_contain_text("was accepted", timeout=WAIT)
    got = outside.hooks.got[sent]
    for known in (secret, second):
        Verifier(known).verify(got.body, got.headers)
    with pytest.raises(Unverified):
        Verifier("whsec_" + "A" * 44).verify(got.body, got.headers)

    # What it is told of, and its end.
    page.goto(standing.page("webhooks", made["id"]))
    told = page.get_by_role("form", name="What it is told of")
    told.locator("input[value='approval.*']").uncheck()
    told.locator("input[value='approval.expired']").check()
    told.get_by_role("button", name="Show what it changes").click()
    expect(page.locator("#would")).to_contain_text("No more: approval.requested")
    assert hooks_of(stage, outside.host)[0]["types"] == ["approval.*"]
    kept(eyes, "webhook-change")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("#would")).to_have_count(0)
    assert hooks_of(stage, outside.host)[0]["types"] == ["approval.expired"]
    page.get_by_role("button", name="Remove…").click()
    expect(page.locator("#would")).to_contain_text("It would be told of nothing any more.")
    assert hooks_of(stage, outside.host) != []
    page.get_by_role("button", name=f"Remove {outside.host}").click()
    page.wait_for_url(re.compile("/webhooks$"))
    assert hooks_of(stage, outside.host) == []
    expect(page.get_by_role("link", name=outside.host)).to_have_count(0)
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("IDN-14", part="webhooks: a button that is off says why, and who may not look is told so")
def test_who_may_only_look_at_webhooks_reads_why_and_a_viewer_is_refused_with_the_decision(
    browser: Browser, stage: Demo, standing: Road, outside: Outside
) -> None:
    made = stage.owner.post(stage.owner.ws("/webhooks"), {"url": outside.url, "types": ["approval.expired"]})
    email = f"max+{secrets.token_hex(3)}@acme.test"
    sent = stage.owner.post(stage.owner.ws("/invitations"), {"email": email, "role": "member"})
    joined = Client(stage.url).post(
        "/v1/invitations/accept",
        {"token": sent["invitation_token"], "password": PASSWORD, "display_name": "Max Member"},
    )
    member = Client(stage.url, joined["session_token"], stage.ids["workspace"])
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(member))
    page = eyes.page
    for place, button, action in (
        ("webhooks", "Show what it does", "webhook.create"),
        (f"webhooks/{made['id']}", "Send a test", "webhook.test"),
        (f"webhooks/{made['id']}", "Rotate…", "webhook.rotate"),
        (f"webhooks/{made['id']}", "Remove…", "webhook.remove"),
    ):
        page.goto(standing.page(place))
        found = page.get_by_role("button", name=button)
        expect(found).to_be_disabled()
        denied = member.get(member.ws("/access/can"), action=action, resource="*")
        assert denied["verdict"] == "deny"
        expect(page.locator(f"#{found.get_attribute('aria-describedby')}")).to_contain_text(
            denied["reasons"][0].replace("Their role", "Your role")
        )
    kept(eyes, "webhook-member")
    by_keyboard(page)
    page.context.close()
    reader = viewer(stage, "Vito Viewer")
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(reader))
    eyes.page.goto(standing.page("webhooks"))
    expect(eyes.page.get_by_role("heading", name="You may not do this")).to_be_visible()
    expect(eyes.page.locator("main")).to_contain_text("dec_")
    eyes.page.context.close()
    eyes = of_owner(browser, stage, standing)
    eyes.page.goto(standing.page("webhooks", made["id"]))
    expect(eyes.page.get_by_role("button", name="Send a test")).to_be_enabled()
    eyes.page.context.close()


@pytest.mark.capability("DOR-6", part="the card says who was told, and the log shows the delivery")
def test_the_card_of_an_approval_says_which_webhook_was_told(browser: Browser, stage: Demo, outside: Outside) -> None:
    secret = stage.owner.post(stage.owner.ws("/webhooks"), {"url": outside.url, "types": ["approval.requested"]})[
        "secret"
    ]
    road = begin(stage)
    eyes = of_owner(browser, stage, road)
    page = eyes.page
    page.goto(road.page("approvals", road.approval_id))
    told = page.locator("section", has=page.get_by_role("heading", name="Who was told"))
    expect(told).to_contain_text("accepted by their receivers", timeout=WAIT)
    told.get_by_text("1 message", exact=True).click()
    expect(told).to_contain_text(f"Webhook to {outside.host}: approval.requested")
    told.get_by_role("link", name="approval.requested").click()
    expect(verdict(page)).to_contain_text("was accepted by the receiver")
    (got,) = [one for one in outside.hooks.got if one.message["type"] == "approval.requested"]
    assert Verifier(secret).verify(got.body, got.headers)["data"]["approval_id"] == road.approval_id
    page.get_by_role("link", name="open the approval").click()
    page.wait_for_url(road.page("approvals", road.approval_id))
    assert eyes.complaints == []
    page.context.close()
