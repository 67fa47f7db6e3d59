"""Several approvals on one page, each by itself; and who approves here."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import begin, sign_in, started
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("APR-12", part="several on one page of the console, with their arguments, each by itself")
def test_several_are_decided_on_one_page_each_by_itself(browser: Browser, stage: Demo) -> None:
    yes, no, left = (begin(stage) for _ in range(3))
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, yes.link(yes.approver))
    page = eyes.page
    page.goto(yes.page("approvals"))
    page.get_by_role("link", name="Decide several together").click()
    expect(page.get_by_role("heading", name="Decide together")).to_be_visible()
    body = page.locator("main").inner_text()
    for name, value in yes.approver.get(f"/v1/approvals/{yes.approval_id}")["arguments"].items():
        assert name in body
        assert str(value).split("\n")[0][:40] in body, "the arguments stand beside the choice"
    assert body.count("1 person who did not ask for it") >= 3, "so does what each of them wants"
    assert body.count("Missing 1 ") >= 3
    eyes.check_all("deciding")
    # Nothing is chosen by itself.
    page.get_by_role("button", name="Decide what is chosen").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was chosen")
    page.locator(f'input[name="decision-{yes.approval_id}"][value="approve"]').check()
    page.locator(f'input[name="decision-{no.approval_id}"][value="reject"]').check()
    page.get_by_role("button", name="Decide what is chosen").click()
    came = page.locator("section", has=page.get_by_role("heading", name="What came of each"))
    expect(came).to_contain_text("now approved")
    expect(came).to_contain_text("now rejected")
    states = [yes.approver.get(f"/v1/approvals/{road.approval_id}")["state"] for road in (yes, no, left)]
    assert states == ["approved", "rejected", "open"]
    # What somebody else decided meanwhile is told for that one, and the others go on.
    page.locator(f'input[name="decision-{left.approval_id}"][value="approve"]').check()
    left.asker.post(f"/v1/approvals/{left.approval_id}/withdraw")
    page.get_by_role("button", name="Decide what is chosen").click()
    expect(page.locator("main")).to_contain_text("It is withdrawn already")
    context.close()


@pytest.mark.capability("APR-12", part="a bypassed approval says in the console that no person decided")
def test_an_approval_that_a_bypass_let_through_says_that_no_person_decided(browser: Browser, stage: Demo) -> None:
    owner = stage.owner
    opened = owner.post(
        owner.ws("/bypasses"),
        {
            "kind": "boundary",
            "target": "tool.external_side_effect",
            "why": "incident 7",
            "until": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(),
            "most_uses": 1,
        },
    )
    assert opened["state"] == "open"
    started(stage)
    deadline = time.monotonic() + 60
    while not (through := [one for one in owner.get(owner.ws("/approvals"))["items"] if one["bypass_id"]]):
        assert time.monotonic() < deadline, "no approval went through by the bypass"
        time.sleep(0.2)
    waits = begin(stage)  # the control: the bypass is used up, so the next one waits for somebody
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = sign_in(context, waits.link(owner)).page
    page.goto(waits.page("approvals", through[0]["id"]))
    decision = page.locator("section", has=page.get_by_role("heading", name="Decision", exact=True))
    expect(decision).to_contain_text("a bypass, no person")
    expect(decision).not_to_contain_text("nobody yet")
    page.goto(waits.page("approvals", waits.approval_id))
    expect(page.locator("main")).to_contain_text("nobody yet")
    context.close()


@pytest.mark.capability("APR-11", part="delegation in the console")
def test_who_approves_is_shown_and_standing_in_is_given_and_ended_there(browser: Browser, stage: Demo) -> None:
    stage.owner.post(stage.owner.ws("/groups"), {"name": "console-security", "members": [stage.ids["approver"]]})
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    link = f"{stage.url}/sign-in?link={stage.owner.post('/v1/sign-in-links')['token']}"
    eyes = sign_in(context, link)
    page = eyes.page
    page.goto(f"{stage.url}/w/{stage.ids['workspace']}/approvers")
    expect(page.locator("main")).to_contain_text("group:console-security")
    eyes.check("approvers")
    page.locator("select[name=to]").select_option(label="Arno Approver")
    page.get_by_label("Until (UTC)").fill("2020-01-01T10:00")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_role("alert")).to_contain_text("ends in time to come")
    page.locator("select[name=to]").select_option(label="Arno Approver")
    page.get_by_label("Until (UTC)").fill(page.evaluate("new Date(Date.now() + 36e5).toISOString().slice(0, 16)"))
    page.get_by_role("button", name="Delegate").click()
    end = page.get_by_role("button", name="End the delegation to Arno Approver")
    expect(end).to_be_visible()
    end.click()
    expect(page.locator("main")).to_contain_text("Nothing is delegated")
    context.close()
