"""The marketplace and the registry in the console: found, reviewed, published with an approval, in the reports, withdrawn."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("REG-4", part="in the console")
@pytest.mark.capability("REG-8", part="in the console")
@pytest.mark.capability("REG-9", part="in the console")
def test_a_release_is_found_reviewed_published_and_withdrawn(browser: Browser, stage: Demo, standing: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page = eyes.page
    release = stage.ids["release_notes"]
    page.goto(standing.page("marketplace"))
    page.get_by_label("What it should do").fill("publish notes")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator(f"a[href$='/marketplace/{release}']").click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("It was registered here: attach it.")
    expect(main).to_contain_text("Nobody has said that they looked at it.")
    eyes.check_all("listing")

    page.goto(standing.page("registry"))
    unreviewed = page.get_by_role("region", name="Installable, not reviewed")
    expect(unreviewed.locator(f"a[href$='/marketplace/{release}']")).to_have_count(1)
    page.goto(standing.page("marketplace", release))
    page.get_by_role("button", name="Sign as").click()
    expect(page.get_by_role("alert")).to_contain_text("has no key that signs")
    page.get_by_label("What you looked at, and found").fill("read every line of it")
    page.get_by_role("button", name="Say that you reviewed it").click()
    expect(main).to_contain_text("A person has looked at this artifact.")

    page.get_by_label("Seen by").select_option("public")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the most that policy allows")
    page.get_by_label("Seen by").select_option("private")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(main).to_contain_text("waits for the approval")
    eyes.check()
    asked = stage.owner.get(stage.owner.ws("/publications"), release_id=release, state="awaiting_approval")["items"]
    card = stage.approver.get(f"/v1/approvals/{asked[0]['approval_id']}")
    decision = {"decision": "approve", "digest": card["digest"], "comment": ""}
    stage.approver.post(f"/v1/approvals/{card['id']}/decisions", decision)
    page.goto(standing.page("registry"))
    row = page.locator(f"[data-key='{asked[0]['id']}']")
    expect(row).to_contain_text("Published", timeout=30_000)
    expect(unreviewed.locator(f"a[href$='/marketplace/{release}']")).to_have_count(0)
    eyes.check_all("registry")

    page.goto(standing.page("marketplace", release))
    page.get_by_label("Why it goes").fill("the test is over")
    page.get_by_role("button", name="Withdraw it from the marketplace").click()
    expect(main).to_contain_text("it was withdrawn")
    page.goto(standing.page("marketplace"))
    eyes.check_all("marketplace")
    assert eyes.complaints == []
    context.close()
