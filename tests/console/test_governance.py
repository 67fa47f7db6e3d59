"""The page of governance: what holds, what would be with another text, and a kill switch that is shown before it is set."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("GOV-15", part="in the console")
def test_a_kill_switch_is_shown_then_set_then_lifted_on_trial_and_for_all(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page = eyes.page
    page.goto(standing.page("governance"))
    page.get_by_label("Which").fill("console.worka.test")
    page.get_by_label("Why", exact=True).fill("a bad day")
    page.get_by_role("button", name="Show what it touches").click()
    expect(page.get_by_role("main")).to_contain_text("Nothing is stopped yet.")
    assert [row for row in stage.owner.get(stage.owner.ws("/kills"))["items"] if row["state"] != "lifted"] == []
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_role("main")).to_contain_text("console.worka.test was stopped by")
    eyes.check()
    page.go_back()
    page.go_forward()
    set_here = [
        row for row in stage.owner.get(stage.owner.ws("/kills"))["items"] if row["subject"] == "console.worka.test"
    ]
    assert len(set_here) == 1, "going back stops nothing twice"
    for shown, button in (("Show a lift on trial", "Lift on trial"), ("Show a lift for all", "Lift for all")):
        page.get_by_label("Why it may go on").fill("mended")
        if button == "Lift on trial":
            assert page.get_by_label("On trial for").input_value() == "", "nobody is let through who was not named"
            page.get_by_label("On trial for").select_option("this workspace")
        before = stage.owner.get(stage.owner.ws("/kills"))["items"]
        page.get_by_role("button", name=shown).click()
        expect(page.locator("#lifting")).to_contain_text("It would be lifted for")
        eyes.check()
        page.reload()
        assert stage.owner.get(stage.owner.ws("/kills"))["items"] == before, "looking lifts nothing"
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("button", name=shown)).to_have_count(0)
    expect(page.get_by_role("main")).to_contain_text("Nothing is stopped here.")
    page.get_by_text(re.compile(r"\d+ lifted")).click()
    expect(page.get_by_text("Lifted by Olga Owner: mended")).to_be_visible()
    eyes.check_all("governance-lifted")
    page.reload()
    (row,) = [
        row for row in stage.owner.get(stage.owner.ws("/kills"))["items"] if row["subject"] == "console.worka.test"
    ]
    assert (row["state"], row["move_reason"]) == ("lifted", "mended")
    assert eyes.complaints == []
    context.close()


@pytest.mark.capability("OPS-7", part="in the console")
def test_a_limit_is_shown_with_its_use_tried_and_then_set(browser: Browser, stage: Demo, standing: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page = eyes.page
    page.goto(standing.page("governance"))
    table = page.get_by_role("group", name="Table of limits and their use")
    expect(table).to_contain_text("nobody set one")
    eyes.check()
    page.get_by_label("Limit on").select_option("tasks_per_hour")
    page.get_by_label("At most").fill("900")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("main")).to_contain_text("At most 900 tasks started in an hour")
    expect(page.get_by_role("main")).to_contain_text("Nothing is set yet.")
    assert all(row["limit"] is None for row in stage.owner.get(stage.owner.ws("/limits"))["items"])
    page.get_by_label("For what reason").fill("the budget")
    page.get_by_role("button", name="Set this limit").click()
    expect(table).to_contain_text("the budget")
    expect(table).to_contain_text("900")
    eyes.check()
    (member, *_) = [row for row in stage.owner.get(stage.owner.ws("/members"))["items"] if row["role"] != "owner"]
    page.get_by_label("Limit on").select_option("tasks_per_hour")
    page.get_by_label("Counted over").select_option(f"{member['name']} alone")
    page.get_by_label("At most").fill("7")
    page.get_by_label("For what reason").fill("this one")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("main")).to_contain_text("Nothing is set yet.")
    page.get_by_role("button", name="Set this limit").click()
    expect(table).not_to_contain_text("this one")
    page.get_by_label("As they hold for").select_option(member["name"])
    page.get_by_role("button", name="Show", exact=True).click()
    expect(table).to_contain_text("this one")
    expect(table).to_contain_text(f"{member['name']}, here")
    eyes.check_all("governance-limits")
    page.goto(standing.page("governance"))
    page.get_by_label("Limit on").select_option("tasks_per_hour")
    page.get_by_label("For what reason").fill("over")
    page.get_by_role("button", name="Show what it would do").click()
    page.get_by_role("button", name="Set this limit").click()
    expect(table).to_contain_text("nobody set one")
    assert eyes.complaints == []
    context.close()
