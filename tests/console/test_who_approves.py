"""Who approves, in the console: a group is made, changed and deleted, and a bypass opened and closed, each shown first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Eyes, Road, begin, sign_in
from tests.console.test_inviting import kept, viewer
from tests.console.test_states import by_keyboard
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.fixture
def name() -> str:
    """Of a group that only this test knows."""
    return f"ops-{secrets.token_hex(3)}"


@pytest.fixture
def wanting(stage: Demo, name: str) -> Iterator[Road]:
    """A task that waits for somebody of a group that nobody has made yet, and is the only one that waits."""
    for row in stage.owner.get(stage.owner.ws("/approvals"), state="open")["items"]:
        stage.owner.post(f"/v1/approvals/{row['id']}/withdraw")
    text = f"""@id("of-ops") @verdict("ask") @rule("approve:1 of group:{name}") @reason("Operations look at it.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when {{ context has side_effect && context.side_effect == "external_side_effect" }};
"""
    stage.owner.post(stage.owner.ws("/workspace-policies"), {"kind": "governance", "text": text, "note": "ops"})
    try:
        yield begin(stage)
    finally:
        stage.owner.post(stage.owner.ws("/workspace-policies"), {"kind": "governance", "text": "", "note": "as before"})


def of_owner(browser: Browser, stage: Demo, road: Road, width: int = 1280) -> Eyes:
    eyes = sign_in(browser.new_context(viewport={"width": width, "height": 860}), road.link(stage.owner))
    eyes.page.goto(road.page("approvers"))
    return eyes


def groups(stage: Demo, name: str) -> list[dict[str, Any]]:
    return [row for row in stage.owner.get(stage.owner.ws("/groups"))["items"] if row["name"] == name]


def naming(stage: Demo, name: str) -> list[str]:
    """The open approvals that ask for somebody of the group."""
    waiting = stage.owner.get(stage.owner.ws("/approvals"), state="open")["items"]
    return [row["id"] for row in waiting if any(f"group:{name}" in rule for rule in row["rules"])]


def later(page: Page, hours: float) -> str:
    return str(page.evaluate("hours => new Date(Date.now() + hours * 36e5).toISOString().slice(0, 16)", hours))


@pytest.mark.capability(
    "APR-11", part="groups are made, changed and deleted in the console, each shown before it is done"
)
def test_a_group_is_made_changed_and_deleted_and_what_it_does_is_shown_first(
    browser: Browser, stage: Demo, wanting: Road, name: str
) -> None:
    eyes = of_owner(browser, stage, wanting)
    page = eyes.page
    before = stage.owner.get(f"/v1/approvals/{wanting.approval_id}")
    assert before["absent_groups"] == [name]

    # A name that is none comes back with everything that was typed.
    make = page.get_by_role("form", name="Make a group")
    make.get_by_label("Name", exact=True).fill("Not A Name")
    make.get_by_label("What it is for").fill("looks at what leaves")
    make.get_by_label("Arno Approver").check()
    make.get_by_role("button", name="Show what it does").click()
    expect(page.get_by_role("alert")).to_contain_text("is no name of a group")
    make = page.get_by_role("form", name="Make a group")
    expect(make.get_by_label("Name", exact=True)).to_have_value("Not A Name")
    expect(make.get_by_label("What it is for")).to_have_value("looks at what leaves")
    expect(make.get_by_label("Arno Approver")).to_be_checked()

    make.get_by_label("Name", exact=True).fill(name)
    make.get_by_role("button", name="Show what it does").click()
    would = page.locator("#would")
    expect(would).to_contain_text(f"group:{name} would have 1 person, whose approval counts.")
    expect(would).to_contain_text("1 open approval could then be decided that cannot be now.")
    expect(would.get_by_role("link", name="Call ").first).to_be_visible()
    assert groups(stage, name) == [], "nothing is made by looking"
    kept(eyes, "approvers-group")
    by_keyboard(page)
    page.get_by_role("button", name=f"Make group:{name}").click()
    expect(page.locator("#would")).to_have_count(0)
    (made,) = groups(stage, name)
    assert [row["name"] for row in made["members"]] == ["Arno Approver"]
    assert made["purpose"] == "looks at what leaves"
    after = stage.owner.get(f"/v1/approvals/{wanting.approval_id}")
    assert after["absent_groups"] == []
    assert "Arno Approver" in after["who_could"], "with others, who could give what the shipped rule wants"

    # Somebody who joined meanwhile is not put out by a page that did not show them.
    page.get_by_text(f"Change group:{name}", exact=True).click()
    stage.owner.call("PATCH", f"/v1/groups/{made['id']}", {"add": [stage.ids["owner"]]})
    form = page.get_by_role("form", name=f"Change group:{name}")
    form.get_by_label("Arno Approver").uncheck()
    form.get_by_role("button", name="Show what it does").click()
    expect(page.locator("#would")).to_contain_text("Leaves: Arno Approver")
    expect(page.locator("#would")).to_contain_text("Stays: Olga Owner")
    expect(page.locator("#would")).to_contain_text("too few could decide it then")
    page.get_by_role("button", name=f"Change group:{name}", exact=True).click()
    expect(page.locator("#would")).to_have_count(0)
    (changed,) = groups(stage, name)
    assert [row["name"] for row in changed["members"]] == ["Olga Owner"]

    # While an approval names it, it stays; afterwards it goes. What others left waiting in this workspace asks by it too.
    page.get_by_text(f"Change group:{name}", exact=True).click()
    page.get_by_role("button", name=f"Delete group:{name}…").click()
    expect(page.get_by_role("alert")).to_contain_text("Open approvals name this group")
    shown = page.locator("#would")
    for _ in range(5):
        for approval_id in naming(stage, name):
            stage.owner.post(f"/v1/approvals/{approval_id}/withdraw")
        page.goto(wanting.page("approvers"))  # without the refusal of before
        page.get_by_text(f"Change group:{name}", exact=True).click()
        page.get_by_role("button", name=f"Delete group:{name}…").click()
        expect(shown.or_(page.get_by_role("alert")).first).to_be_visible()
        if shown.count():
            break
    expect(shown).to_contain_text("would not be there any more")
    assert groups(stage, name) != []
    page.get_by_role("button", name=f"Delete group:{name}", exact=True).click()
    expect(page.locator("#would")).to_have_count(0)
    assert groups(stage, name) == []
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("APR-12", part="a bypass is shown, opened within its cap, and closed in the console")
def test_a_bypass_is_shown_with_what_it_covers_then_opened_and_closed(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = of_owner(browser, stage, standing)
    page = eyes.page
    form = page.get_by_role("form", name="Open a bypass")
    expect(page.locator("#cap")).to_contain_text("At most 4 hours and 20 uses")
    form.get_by_label("Which").fill("tool.external_side_effect")
    form.get_by_label("Why").fill("incident 7")
    form.get_by_label("Ends (UTC)").fill(later(page, 30))
    form.get_by_label("At most so often").fill("3")
    form.get_by_role("button", name="Show what it covers").click()
    expect(page.get_by_role("alert")).to_contain_text("within 4 hours")
    form = page.get_by_role("form", name="Open a bypass")
    expect(form.get_by_label("Why")).to_have_value("incident 7")
    form.get_by_label("Ends (UTC)").fill(later(page, 1))
    form.get_by_role("button", name="Show what it covers").click()
    shown = page.locator("#opening")
    expect(shown).to_contain_text("Up to 3 approvals of the boundary tool.external_side_effect would go through unseen")
    expect(shown).to_contain_text("It would be open at once: you are the only owner.")
    expect(shown).to_contain_text("were of it")
    expect(shown).to_contain_text("not touched")

    def open_() -> list[dict[str, Any]]:
        rows = stage.owner.get(stage.owner.ws("/bypasses"))["items"]
        return [row for row in rows if row["why"] == "incident 7" and row["state"] != "closed"]

    assert open_() == [], "nothing is opened by looking"
    kept(eyes, "approvers-bypass")
    page.get_by_role("button", name="Open it").click()
    row = page.get_by_role("region", name="Table of bypasses").get_by_role("row").filter(has_text="incident 7").first
    expect(row).to_contain_text("0 of 3")
    (opened,) = open_()
    assert (opened["target"], opened["most_uses"]) == ("tool.external_side_effect", 3)
    row.get_by_role("button", name="Close the bypass of tool.external_side_effect").click()
    expect(page.get_by_role("button", name="Close the bypass of tool.external_side_effect")).to_have_count(0)
    assert open_() == []
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("APR-11", part="a workspace's own times of reminders and escalation, in the console")
def test_the_times_are_shown_with_what_changes_and_then_set(browser: Browser, stage: Demo, standing: Road) -> None:
    eyes = of_owner(browser, stage, standing, width=390)
    page = eyes.page
    settings = stage.owner.ws("/approvals/settings")
    before = stage.owner.get(settings)
    form = page.get_by_role("form", name="Set the times")
    form.get_by_label("Reminded after").fill("soon")
    form.get_by_label("Reminded at most").fill("2")
    form.get_by_role("button", name="Show what changes").click()
    expect(page.get_by_role("alert")).to_contain_text("Reminded after (minutes, 0: never): ")
    expect(form.get_by_label("Reminded after")).to_have_value("soon")
    form.get_by_label("Reminded after").fill("30")
    form.get_by_label("Escalated to").select_option("admins")
    form.get_by_role("button", name="Show what changes").click()
    shown = page.locator("#times")
    expect(shown).to_contain_text(f"Reminded after (minutes, 0: never): {before['holds']['remind_minutes']} → 30")
    expect(shown).to_contain_text("Escalated to: owners → admins")
    expect(shown).to_contain_text("open approval")
    assert stage.owner.get(settings) == before, "nothing is set by looking"
    kept(eyes, "approvers-times")
    by_keyboard(page)
    try:
        page.get_by_role("button", name="Set these times").click()
        expect(shown).to_have_count(0)
        own = stage.owner.get(settings)["own"]
        assert (own["remind_minutes"], own["remind_times"], own["escalate_to"]) == (30, 2, "admins")
        assert own["expires_minutes"] is None, "what was left empty is the deployment's"
        expect(page.get_by_role("region", name="When")).to_contain_text("30 min, up to 2 times")
    finally:
        stage.owner.call("PUT", settings, before["own"])
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("IDN-14", part="groups and bypasses: a button that is off says why")
def test_who_may_not_change_who_approves_reads_why_beside_each_button(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    reader = viewer(stage, "Wanda Viewer")
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(reader))
    page = eyes.page
    page.goto(standing.page("approvers"))
    buttons = {
        "Make a group": ("Show what it does", "approval.group.create"),
        "Open a bypass": ("Show what it covers", "approval.bypass.open"),
        "Delegate": ("Delegate", "approval.delegation.create"),
    }
    for form, (button, action) in buttons.items():
        found = page.get_by_role("form", name=form).get_by_role("button", name=button, exact=True)
        expect(found).to_be_disabled()
        denied = reader.get(reader.ws("/access/can"), action=action)
        assert denied["verdict"] == "deny"
        why = page.locator(f"#{found.get_attribute('aria-describedby')}")
        expect(why).to_contain_text(denied["remedy"].split(";")[0])
        expect(why).not_to_contain_text("decision id")
    kept(eyes, "approvers-viewer")
    by_keyboard(page)
    page.context.close()
    eyes = of_owner(browser, stage, standing)
    for form, (button, _) in buttons.items():
        expect(eyes.page.get_by_role("form", name=form).get_by_role("button", name=button, exact=True)).to_be_enabled()
    eyes.page.context.close()


@pytest.mark.capability("APR-11", part="what a delegation would do is shown before it is given, in the console")
def test_a_delegation_is_shown_before_it_is_given(browser: Browser, stage: Demo, standing: Road) -> None:
    eyes = of_owner(browser, stage, standing)
    page = eyes.page
    form = page.get_by_role("form", name="Delegate")
    form.get_by_label("Who").select_option(label="Arno Approver")
    form.get_by_label("Until (UTC)").fill(later(page, 2))
    form.get_by_role("button", name="Show what it does").click()
    shown = page.locator("#standing-in")
    expect(shown).to_contain_text("Arno Approver would decide in your place, for everything, until")
    in_force = stage.owner.get(stage.owner.ws("/delegations"), in_force="true")["items"]
    assert in_force == [], "nothing is delegated by looking"
    kept(eyes, "approvers-delegation")
    page.get_by_role("button", name="Delegate it").click()
    end = page.get_by_role("button", name="End the delegation to Arno Approver")
    expect(end).to_be_visible()
    (given,) = stage.owner.get(stage.owner.ws("/delegations"), in_force="true")["items"]
    until = datetime.fromisoformat(given["until"])
    assert timedelta(hours=1) < until - datetime.now(UTC) < timedelta(hours=3)
    end.click()
    expect(page.locator("main")).to_contain_text("Nothing is delegated")
    page.context.close()
