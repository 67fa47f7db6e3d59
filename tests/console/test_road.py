"""The operator's road through the console: sign in, see what needs me, ask why, decide, see it done."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in

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
    page.locator(f'a.main-link[href$="{road.task_id}"]').click()
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
    eyes.check("approval-confirm")
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
