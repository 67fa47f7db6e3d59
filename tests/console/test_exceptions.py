"""Network exceptions, walked through a browser: looked at before they are recorded, replaced and taken back, and asked of somebody
else where a credential goes to the name."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Quiet, Road, sign_in
from tests.console.test_broker import opened
from tests.console.test_states import by_keyboard, live
from worka.broker.ca import Authority
from worka.cli.demo import Demo
from worka.cli.demo_surroundings import TRACKER

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
NAME = "wiki.inside.example.com"


def look_at(
    page: Page, name: str, address: str, why: str, *, ca: str = "", port: str = "443", behind: str = ""
) -> None:
    """Fills the form and has it say what it would do."""
    form = page.get_by_role("form", name="Record an exception")
    form.get_by_label("Name", exact=True).fill(name)
    form.get_by_label("Port that packs use").select_option(port)
    form.get_by_label("Address behind it").fill(address)
    form.get_by_label("Port behind it").fill(behind)
    form.get_by_label("The CA to trust, PEM").fill(ca)
    form.get_by_label("Why").fill(why)
    form.get_by_role("button", name="Show what it does").click()


@pytest.mark.capability("BRK-13", part="network exceptions, in the console")
def test_without_an_exception_it_is_said_what_holds_and_what_one_is_for(browser: Browser, quiet: Quiet) -> None:
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), quiet.link())
    eyes.page.goto(quiet.page("broker", "exceptions"))
    main = eyes.page.get_by_role("main")
    expect(main).to_contain_text("No network exception yet")
    expect(main).to_contain_text("reach no inside address by any name")
    live(eyes.page)
    eyes.check_all("broker-exceptions-empty")
    by_keyboard(eyes.page)
    eyes.page.context.close()


@pytest.mark.capability("BRK-13", part="network exceptions, in the console")
def test_an_exception_is_looked_at_recorded_replaced_and_taken_back(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    def held() -> list[dict[str, object]]:
        rows = stage.owner.get(stage.owner.ws("/network-exceptions"))["items"]
        return [row for row in rows if row["name"] == NAME]

    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker"))
    page.get_by_role("link", name="Exceptions").click()
    would = page.locator("#would")
    table = page.get_by_role("region", name="Network exceptions of this workspace")
    ca = Authority("theirs").pem.decode()
    for why, address in (("our wiki", "10.1.2.3"), ("it moved", "10.1.2.4")):
        look_at(page, NAME, address, why, ca=ca, behind="8443")
        expect(would).to_contain_text(f"Calls to {NAME}:443 that begin after this go to {address}:8443")
        expect(would).to_contain_text("CN=Worka session theirs")
        expect(would).to_contain_text("Nothing is recorded yet")
        assert all(row["reason"] != why for row in held())
        if why == "it moved":
            expect(would).to_contain_text("It stands in the place of what is recorded")
            eyes.check_all("broker-exceptions-looked")
        would.get_by_role("button", name="Record it").click()
        expect(table.get_by_role("row").nth(1)).to_contain_text(why)
    leads_to = table.get_by_role("row").nth(1).locator("code")
    expect(leads_to).to_have_text("10.1.2.4:8443")
    assert leads_to.evaluate("one => one.getClientRects().length") == 1, "an address is read in one piece"
    expect(table.get_by_role("row").nth(2)).to_contain_text("taken back")
    live(page)
    by_keyboard(page)
    eyes.check_all("broker-exceptions")
    # What cannot hold is said at the form, with what was typed still in it, and nothing is recorded.
    for address, behind, port, said in (
        ("169.254.169.254", "", "443", "address: "),
        ("10.1.2.3", "99999", "443", "real_port: "),
        ("10.1.2.3", "", "443", "port 443 needs the CA to trust"),
    ):
        authority = "" if "needs" in said else ca
        look_at(page, "other.example.com", address, "a slip", ca=authority, port=port, behind=behind)
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(page.get_by_label("Address behind it")).to_have_value(address)
    assert len(held()) == 2
    eyes.complaints.clear()  # the browser's own lines about the status 422
    # The port behind it is the same where none is said; without TLS nobody checks.
    look_at(page, "other.example.com", "fd00::5", "for a look", port="80")
    expect(would).to_contain_text("go to [fd00::5]:80")
    expect(would).to_contain_text("nobody: without TLS")
    would.get_by_role("link", name="Leave it").click()
    page.get_by_role("button", name=f"Take back what is recorded for {NAME}").click()
    ending = page.locator("#ending")
    expect(ending).to_contain_text(f"Calls to {NAME}:443 that begin after this no longer go to 10.1.2.4:8443")
    expect(ending).to_contain_text("It was recorded because: it moved")
    eyes.check_all("broker-exceptions-ending")
    assert [row["removed_at"] is None for row in held()] == [True, False]
    ending.get_by_role("button", name="Take it back").click()
    expect(page.get_by_role("button", name=f"Take back what is recorded for {NAME}")).to_have_count(0)
    assert all(row["removed_at"] is not None for row in held())


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person, in the console")
def test_where_a_name_leads_that_a_credential_goes_to_is_asked_of_somebody_else(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker", "exceptions"))
    before = stage.owner.get(stage.owner.ws("/network-exceptions"))["items"]
    look_at(page, TRACKER, "10.6.6.6", "it moved", ca=Authority("theirs").pem.decode())
    would = page.locator("#would")
    expect(would).to_contain_text(f"Calls to {TRACKER}:443 go to 10.6.6.6:443")
    expect(would).to_contain_text("somebody else has to agree first; you cannot do that yourself")
    expect(would).to_contain_text("the workspace's connection Issue tracker (tracker)")
    expect(would).to_contain_text("It would stand in the place of what is recorded")
    eyes.check_all("broker-exceptions-asks")
    would.get_by_role("button", name="Ask for it").click()
    waiting = page.locator("[data-waiting]")
    expect(waiting).to_contain_text("It waits for somebody else to agree")
    eyes.check_all("broker-exceptions-waiting")
    assert stage.owner.get(stage.owner.ws("/network-exceptions"))["items"] == before, "nobody agreed yet"
    # It waits on its own page, not on that of upstream trust.
    page.goto(standing.page("broker", "trust"))
    expect(page.get_by_role("main")).to_contain_text("Record a name")
    expect(waiting).to_have_count(0)
    page.goto(standing.page("broker", "exceptions"))
    waiting.get_by_role("link", name="the approval").click()
    expect(page.get_by_role("main")).to_contain_text("You cannot decide this")
    (row,) = [row for row in stage.owner.get(stage.owner.ws("/way-changes"))["items"] if row["state"] == "open"]
    stage.owner.post(f"/v1/approvals/{row['approval_id']}/withdraw")
    page.goto(standing.page("broker", "exceptions"))
    expect(waiting).to_have_count(0)
