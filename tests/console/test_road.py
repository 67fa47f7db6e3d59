"""The operator's road through the console: sign in, see what needs me, ask why, decide, see it done."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.client import Failed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("DOR-4", part="two clicks")
@pytest.mark.capability("APR-7")
def test_an_approver_goes_from_sign_in_to_a_done_task(browser: Browser, road: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    eyes = look(context)
    page = eyes.page
    page.goto(road.link(road.approver))
    eyes.check("sign-in-link")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/attention")
    eyes.check("attention")

    # One click from home to the written answer.
    page.locator(f'main a[href$="{road.task_id}"]').click()
    expect(page.locator("[data-verdict]")).to_contain_text("Waiting")
    expect(page.get_by_role("heading", name="Waiting on")).to_be_visible()
    answer = httpx.get(
        f"{road.base_url}/v1/tasks/{road.task_id}/why", headers={"Authorization": f"Bearer {road.approver.token}"}
    ).json()
    assert _without_time(page.locator("[data-verdict]").inner_text()) == _without_time(answer["headline"])
    eyes.check("task-waiting")

    page.get_by_role("link", name="Decide").click()
    expect(page.get_by_role("heading", name="Exactly this will happen")).to_be_visible()
    card = road.approver.get(f"/v1/approvals/{road.approval_id}")
    body = page.locator("main").inner_text()
    assert card["digest"] in body
    assert card["card"]["tool"] in body
    for name in card["arguments"]:
        assert name in body
    eyes.check("approval")

    page.get_by_label("Comment").fill("The notes are right.")
    page.locator("h1").click()
    page.keyboard.press("a")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Approve")
    # What is decided stands in the question, with what was said about it; a second key alone decides nothing.
    for name, value in card["arguments"].items():
        expect(dialog).to_contain_text(name)
        expect(dialog).to_contain_text(str(value)[:40].splitlines()[0])
    expect(dialog).to_contain_text("The notes are right.")
    expect(dialog.get_by_role("button", name="Not yet")).to_be_focused()
    eyes.check("approval-confirm")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert road.approver.get(f"/v1/approvals/{road.approval_id}")["state"] == "open"
    page.keyboard.press("a")
    page.keyboard.press("Shift+Tab")
    expect(dialog.get_by_role("button", name="Yes, approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-verdict]")).to_contain_text("was approved by")
    expect(page.locator("main")).to_contain_text("The notes are right.")
    eyes.check("approval-done")

    page.goto(road.page("tasks", road.task_id))
    expect(page.locator("[data-verdict]")).to_contain_text("Done", timeout=60_000)
    eyes.check("task-done")
    context.close()


def _without_time(headline: str) -> str:
    return re.sub(r"\d+ (s|min|h|d)\b", "…", headline).strip()


@pytest.mark.capability("DOR-4", part="live")
def test_a_task_that_is_looked_at_changes_by_itself(browser: Browser, road: Road) -> None:
    context = browser.new_context()
    eyes = sign_in(context, road.link(road.approver))
    eyes.page.goto(road.page("tasks", road.task_id))
    expect(eyes.page.locator("#live-state")).to_have_text("Live", timeout=15_000)
    eyes.page.evaluate("window.stayed = true")
    card = road.approver.get(f"/v1/approvals/{road.approval_id}")
    road.approver.post(
        f"/v1/approvals/{road.approval_id}/decisions",
        {"decision": "approve", "digest": card["digest"], "comment": ""},
    )
    expect(eyes.page.locator("[data-verdict]")).to_contain_text("Done", timeout=60_000)
    expect(eyes.page.locator("#said")).to_contain_text("Done")
    assert eyes.page.evaluate("window.stayed"), "the page was loaded anew instead of updated"
    assert not eyes.complaints
    context.close()


@pytest.mark.capability("APR-4", part="in the console")
def test_who_asked_sees_why_they_cannot_decide_and_no_form(browser: Browser, standing: Road) -> None:
    context = browser.new_context()
    eyes = sign_in(context, standing.link(standing.asker))
    page = eyes.page
    page.goto(standing.page("approvals", standing.approval_id))
    expect(page.get_by_text("You cannot decide this")).to_be_visible()
    because = standing.asker.get(f"/v1/approvals/{standing.approval_id}")["eligibility"]["because"]
    expect(page.locator("main")).to_contain_text(because)
    assert page.get_by_role("button", name="Approve").count() == 0
    eyes.check("approval-cannot")
    # A form made by hand is refused on the same card, and nothing is decided.
    answer = page.request.post(
        page.url,
        form={
            "decision": "approve",
            "digest": standing.approver.get(f"/v1/approvals/{standing.approval_id}")["digest"],
        },
        headers={"Origin": standing.base_url},
    )
    assert answer.status == 403
    assert standing.approver.get(f"/v1/approvals/{standing.approval_id}")["state"] == "open"
    context.close()


def test_every_page_is_accessible_in_both_schemes_and_widths(browser: Browser, standing: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, standing.link(standing.approver))
    failed = standing.asker.call(
        "POST",
        standing.asker.ws("/tools/worka.notes.check_link/call"),
        {"arguments": {"url": "https://nowhere.worka.test/"}},
    )
    calls = standing.asker.get(standing.asker.ws("/invocations"))["items"]
    views = standing.asker.get(standing.asker.ws("/views"))["items"]
    pages = {
        "attention": ["attention"],
        "tasks": ["tasks?show=all"],
        "task": ["tasks", standing.task_id],
        "approvals": ["approvals?show=all"],
        "approval": ["approvals", standing.approval_id],
        "invocations": ["invocations"],
        "invocation": ["invocations", failed["invocation_id"]],
        "changes": ["changes"],
        "changes-empty": ["changes?lane=sharing"],
        "views": ["views"],
        "decision": ["decisions", calls[0]["decision_id"]],
        "attachment": ["why", calls[0]["attachment_id"]],
        "search": ["search?q=release"],
        "not-found": ["tasks", "task_00000000000000000000000000"],
    }
    if views:
        pages["view"] = ["views", views[0]["id"]]
    for name, parts in pages.items():
        eyes.page.goto(standing.page(*parts))
        eyes.check_all(name)
    context.close()


def test_the_road_of_a_refused_call_has_one_open_leg(browser: Browser, standing: Road) -> None:
    failed = standing.asker.call(
        "POST",
        standing.asker.ws("/tools/worka.notes.check_link/call"),
        {"arguments": {"url": "https://nowhere.worka.test/"}},
    )
    context = browser.new_context()
    eyes = sign_in(context, standing.link(standing.approver))
    eyes.page.goto(standing.page("invocations", failed["invocation_id"]))
    expect(eyes.page.locator(".road .bad")).to_have_count(1)
    expect(eyes.page.locator(".road .bad")).to_contain_text("Broker")
    expect(eyes.page.locator(".broken")).to_contain_text("nowhere.worka.test")
    context.close()


@pytest.mark.capability("DOR-4", part="keyboard")
def test_an_id_pasted_into_find_leads_to_its_page(browser: Browser, standing: Road) -> None:
    context = browser.new_context()
    eyes = sign_in(context, standing.link(standing.approver))
    eyes.page.keyboard.press("Control+k")
    eyes.page.get_by_role("searchbox").or_(eyes.page.locator("#q")).first.fill(standing.task_id)
    eyes.page.wait_for_url(f"**/tasks/{standing.task_id}")
    assert eyes.page.url.endswith(f"/tasks/{standing.task_id}")
    context.close()


def test_without_scripts_a_person_still_signs_in_and_decides(browser: Browser, road: Road) -> None:
    context = browser.new_context(java_script_enabled=False)
    eyes = sign_in(context, road.link(road.approver))
    eyes.page.goto(road.page("approvals", road.approval_id))
    eyes.page.get_by_role("button", name="Reject").click()
    expect(eyes.page.locator("[data-verdict]")).to_contain_text("was rejected by")
    assert road.approver.get(f"/v1/approvals/{road.approval_id}")["state"] == "rejected"
    context.close()


@pytest.mark.capability("DOR-4", part="a decided approval is told in the past")
def test_a_rejected_approval_says_what_it_did_and_when_it_was_asked_and_thanks_only_who_decided(
    browser: Browser, road: Road
) -> None:
    context = browser.new_context(timezone_id="UTC")
    eyes = sign_in(context, road.link(road.approver))
    page = eyes.page
    page.goto(road.page("approvals", road.approval_id))
    asked = page.locator("dt", has_text="Asked").last.locator("+ dd time").get_attribute("datetime")
    page.wait_for_timeout(1100)
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes, reject").click()
    main = page.locator("main")
    expect(main).to_contain_text("Your rejection is recorded.")
    expect(page.locator("[data-verdict]")).to_contain_text("failed; what was asked was not done.")
    expect(main).not_to_contain_text("resumed")
    expect(main).not_to_contain_text("will happen")
    expect(main).not_to_contain_text("May decide")
    expect(main).to_contain_text("Exactly this was asked")
    assert page.locator("dt", has_text="Asked").last.locator("+ dd time").get_attribute("datetime") == asked
    page.goto(road.page("approvals?show=decided"))
    row = page.locator(f'tr[data-key="{road.approval_id}"]')
    assert row.locator("time").first.get_attribute("datetime") == asked
    context.close()
    # Whoever only opens that address decided nothing.
    context = browser.new_context()
    other = sign_in(context, road.link(road.asker)).page
    other.goto(road.page("approvals", f"{road.approval_id}?done=reject"))
    expect(other.locator("[data-verdict]")).to_contain_text("was rejected by")
    expect(other.locator("main")).not_to_contain_text("is recorded")
    context.close()


def test_an_id_of_another_kind_in_an_address_leads_to_its_own_page(browser: Browser, standing: Road) -> None:
    context = browser.new_context()
    page = sign_in(context, standing.link(standing.approver)).page
    page.goto(standing.page("approvals", standing.task_id))
    page.wait_for_url(f"**/tasks/{standing.task_id}")
    expect(page.locator(".kind-word")).to_have_text("Task")
    page.goto(standing.page("tasks", standing.approval_id))
    page.wait_for_url(f"**/approvals/{standing.approval_id}")
    # What is not there is not there, whatever it is asked as.
    answer = page.goto(standing.page("approvals", "task_00000000000000000000000000"))
    assert answer is not None
    assert answer.status == 404
    with pytest.raises(Failed) as refused:
        standing.approver.get(f"/v1/approvals/{standing.task_id}")
    assert "another kind of thing" in refused.value.body["detail"]
    assert f"worka why {standing.task_id}" in refused.value.body["remedy"]
    context.close()
