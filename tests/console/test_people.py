"""People and access: what each role holds, and why somebody may or may not do something, by mouse and by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, sign_in
from tests.console.test_inviting import viewer
from tests.console.test_states import by_keyboard
from worka.cli.client import Failed
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("IDN-7", "IDN-13")
@pytest.mark.capability("AUT-11", part="why somebody may not, in the console, with the rule trail")
@pytest.mark.capability("DOR-4", part="accessible")
def test_an_owner_asks_why_somebody_may_not_and_reads_the_rules(browser: Browser, standing: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, standing.link(standing.asker))
    page = eyes.page
    page.get_by_role("link", name="People and access").first.click()
    expect(page.get_by_role("heading", name="People and access")).to_be_visible()
    expect(page.get_by_role("row", name="manage connections")).to_contain_text("yes")
    page.locator("select[name=principal]").select_option(label=next(
        option for option in page.locator("select[name=principal]").locator("option").all_inner_texts() if "member" in option
    ))  # fmt: skip
    page.locator("select[name=action]").select_option("connection.create")
    page.get_by_role("button", name="Ask").click()
    answer = page.locator("#answer")
    expect(answer).to_contain_text("Denied")
    expect(answer).to_contain_text("manage_connections")
    expect(answer).to_contain_text("Access: the role")
    assert "action=connection.create" in page.url, "the question is in the address"
    eyes.check_all("people")
    by_keyboard(page)
    page.locator("input[name=resource]").fill("att_00000000000000000000000000")
    page.locator("select[name=action]").select_option("pack.detach")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no such thing in this workspace")
    context.close()


@pytest.mark.capability("BEY-4", part="roles, in the console")
def test_who_holds_more_than_they_needed_is_shown_and_the_narrower_role_compared_before_it_is_given(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    wide = viewer(stage, "Wanda Wide")
    wanda = wide.get("/v1/me")["id"]
    stage.owner.call("PATCH", stage.owner.ws(f"/members/{wanda}"), {"role": "admin"})
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, standing.link(stage.owner))
    page = eyes.page
    page.goto(standing.page("people"))
    page.get_by_role("link", name="Show who holds more than they needed").click()
    row = page.locator(f"[data-key='unneeded-{wanda}']")
    expect(row).to_contain_text("Wanda Wide is an admin and did nothing that is recorded in 30 days")
    expect(row).to_contain_text("administer")
    eyes.check_all("people-unneeded")
    row.get_by_role("button", name="Compare Wanda Wide as viewer").click()
    expect(page.locator("#differs")).to_contain_text("As viewer would change this")
    members = {row["principal_id"]: row["role"] for row in stage.owner.get(stage.owner.ws("/members"))["items"]}
    assert members[wanda] == "admin", "nothing is done by looking"
    page.locator("#differs").get_by_role("button", name="Change it").click()
    members = {row["principal_id"]: row["role"] for row in stage.owner.get(stage.owner.ws("/members"))["items"]}
    assert members[wanda] == "viewer"
    # Who reads no evidence is told so in its place.
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(wide))
    eyes.page.goto(standing.page("people"))
    expect(eyes.page.locator("#unneeded-off")).to_contain_text("You")
    expect(eyes.page.get_by_role("link", name="Show who holds more than they needed")).to_have_count(0)
    context.close()


@pytest.mark.capability("IDN-13", part="a refusal on the page names its decision, and cards stand apart")
def test_a_refusal_names_its_decision_where_there_is_one_and_asks_for_none_where_there_is_not(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    reader = viewer(stage, "Willa Viewer")
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(reader))
    page = eyes.page
    page.goto(standing.page("people"))
    expect(page.locator("#invite-off")).to_contain_text("permission")
    expect(page.locator("#invite-off")).not_to_contain_text("decision id")
    page.locator("select[name=principal]").select_option(label="Olga Owner (owner)")
    page.locator("select[name=action]").select_option("connection.create")
    page.get_by_role("button", name="Ask").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("decision id")
    shown = alert.locator("code").last.inner_text()
    assert shown.startswith("dec_")
    assert stage.owner.get(f"/v1/decisions/{shown}")["verdict"] == "deny", "and it is the one to be read"
    gaps = page.evaluate(
        "[...document.querySelectorAll('main > .card')].map(card => card.getBoundingClientRect())"
        ".map((box, at, all) => at ? box.top - all[at - 1].bottom : 99)"
    )
    assert len(gaps) >= 5
    assert min(gaps) >= 16, gaps
    page.context.close()


@pytest.mark.capability("AUT-11")
def test_a_decision_s_page_asks_again_with_the_policy_of_that_day(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    reader = viewer(stage, "Rita Viewer")
    with pytest.raises(Failed) as refused:
        reader.post(reader.ws("/invitations"), {"email": "a@b.test", "role": "viewer"})
    decision = refused.value.body["decision_id"]
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(stage.owner))
    page = eyes.page
    page.goto(standing.page(f"decisions/{decision}"))
    again = page.locator("section", has=page.get_by_role("heading", name="Asked again with the policy of that day"))
    expect(again).to_contain_text("Deny")
    expect(again).to_contain_text("the same answer")
    recorded = stage.owner.get(f"/v1/decisions/{decision}")
    assert (recorded["verdict"], recorded["replay"]["same"]) == ("deny", True)
    assert eyes.complaints == []
    page.context.close()
