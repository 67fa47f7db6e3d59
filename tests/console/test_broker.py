"""What goes outside, walked through a browser: from a running pack to where it goes and how that is stopped, from a refusal to a
proposal, policy replayed before it is saved, a request that is only tried, and the ledger as it is written."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import LOOKS, Eyes, Road, look, sign_in
from tests.console.test_states import by_keyboard, live
from worka.broker.ca import Authority
from worka.cli.demo import CANARY, Demo
from worka.cli.demo_surroundings import TRACKER

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
PACK = "mcp.fetch"


def opened(browser: Browser, stage: Demo, road: Road, width: int = 1280, scheme: str = "light") -> Eyes:
    """A browser of the owner's."""
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme)  # type: ignore[arg-type]
    sign_in(context, road.link(stage.owner))
    return look(context)


def refused(stage: Demo) -> str:
    """A lookup of a host that the pack does not declare, refused by the broker; the row's id."""
    address = f"https://{CANARY}/loot"
    stage.owner.call("POST", stage.owner.ws("/tools/worka.notes.check_link/call"), {"arguments": {"url": address}})
    rows = stage.owner.get(stage.owner.ws("/egress"), outcome="refused", host=CANARY)["items"]
    return str(rows[0]["id"])


def main_of(page: Page) -> str:
    """The text of the page."""
    return page.get_by_role("main").inner_text()


@pytest.mark.capability("BRK-10")
@pytest.mark.capability("DOR-4", part="where a running pack goes, in two clicks")
def test_from_a_running_pack_it_is_two_clicks_to_where_it_goes_and_to_what_revoking_that_would_touch(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("packs", PACK))
    # The first click: hosts, credential, rule, since when.
    page.get_by_role("link", name="Where it goes").click()
    table = page.get_by_role("region", name="Hosts that it reached")
    row = table.get_by_role("row").filter(has_text=TRACKER).first
    expect(row).to_contain_text(re.compile("of "))
    rule = row.locator("code").first
    expect(rule).to_have_text(re.compile(r"outbound_domains\[\d+\]"))
    assert rule.evaluate("one => one.getClientRects().length") == 1, "a rule's name is read in one piece"
    expect(row).to_contain_text(re.compile(r"\bago\b|just now"))  # as old as the stage is
    connection = stage.owner.get(stage.owner.ws("/connections"))["items"][0]
    expect(row).to_contain_text(connection["name"])
    eyes.check_all("broker-going")
    # The second: what it would touch, before anything is done.
    row.get_by_role("link", name="Revoke…").click()
    would = page.locator("#revoke")
    expect(would).to_contain_text("would break")
    expect(would).to_contain_text("would have been refused")
    expect(would).to_contain_text(f"Refused to {PACK} alone")
    expect(page.get_by_role("button", name=f"Refuse it to {PACK}")).to_be_enabled()
    eyes.check_all("broker-revoke")
    assert stage.owner.get(stage.owner.ws("/egress-policy"))["layers"] == [], "nothing is done by looking"
    form = page.get_by_role("form", name="Refuse it to this pack")
    form.get_by_label("Why").fill("nobody reads these notes")
    form.get_by_role("button", name=f"Refuse it to {PACK}").click()
    expect(page.get_by_role("main")).to_contain_text("policy refuses it: egress_policy/workspace.1/refuse[0]")
    (layer,) = stage.owner.get(stage.owner.ws("/egress-policy"))["layers"]
    assert layer["settings"]["refuse"] == [{"host": TRACKER, "port": 443, "packs": [PACK]}]
    # Back as it was, so that the other tests go there.
    stage.owner.post(stage.owner.ws("/egress-policy"), {"settings": {}, "note": "over"})


@pytest.mark.capability("BRK-5", part="read")
def test_the_ledger_is_shown_as_it_is_written_and_leads_to_what_stands_behind_a_row(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("attention"))
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Broker").click()
    ledger = page.get_by_role("region", name="The egress ledger")
    expect(ledger).to_contain_text(TRACKER)
    for kind in ("invocations", "releases", "secrets", "why"):
        assert ledger.locator(f"a[href*='/{kind}/']").count(), kind
    expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
    egress = refused(stage)
    # What comes in meanwhile is held back until the reader wants it, as on every list.
    page.locator("#news:visible").or_(page.locator(f"[data-key='{egress}']")).first.wait_for(timeout=20_000)
    if page.locator("#news").is_visible():
        page.keyboard.press("n")
    expect(page.locator(f"[data-key='{egress}']")).to_contain_text("refused")
    eyes.check_all("broker")
    page.locator("select[name=outcome]").select_option("refused")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("region", name="The egress ledger")).not_to_contain_text("outside answered")
    page.get_by_role("navigation", name="What goes outside").get_by_role("link", name="Destinations").click()
    expect(page.get_by_role("region", name="Destinations that packs may reach")).to_contain_text(TRACKER)
    eyes.check_all("broker-destinations")


@pytest.mark.capability("BRK-14")
def test_from_a_refusal_a_proposal_is_made_looked_at_and_rejected(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    egress = refused(stage)
    page.goto(standing.page("broker", "refused"))
    item = page.locator(f"li[data-key='{egress}']")
    expect(item).to_contain_text(CANARY)
    eyes.check_all("broker-refused")
    form = item.get_by_role("form", name=f"Propose {CANARY}")
    form.get_by_label("Why it should pass").fill("links lead there")
    form.get_by_label("Path").fill("/loot")
    form.get_by_role("button", name="Propose exactly this").click()
    main = page.get_by_role("main")
    expect(main).to_contain_text(f"the release declares GET on {CANARY}:443 at /loot")
    expect(main).to_contain_text("links lead there")
    page.get_by_role("link", name="See what it would change").first.click()
    expect(main).to_contain_text("these rules would have")
    expect(page.get_by_role("region", name="What would be decided otherwise")).to_contain_text(CANARY)
    eyes.check_all("broker-proposals")
    decide = page.get_by_role("form", name="Decide")
    decide.get_by_label("Why").fill("nobody needs it")
    decide.get_by_role("button", name="Reject it").click()
    expect(main).to_contain_text("It is rejected")
    expect(main).to_contain_text("nobody needs it")


@pytest.mark.capability("BRK-13", part="policy on destinations")
def test_policy_is_replayed_before_it_is_saved(browser: Browser, stage: Demo, standing: Road) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker", "policy"))
    form = page.get_by_role("form", name="The policy")
    expect(form.get_by_role("button", name="Save it")).to_have_count(0)
    form.locator("[name=refuse]").fill(
        f'{{"host": "{TRACKER}", "methods": ["GET"], "packs": ["nobody.nothing"]}}\nads.example.com'
    )
    form.get_by_role("button", name="Replay it over the last day").click()
    expect(page.get_by_role("main")).to_contain_text("decided nothing differently")
    eyes.check_all("broker-policy")
    # Another text than the one that was replayed is replayed again, and not saved.
    form = page.get_by_role("form", name="The policy")
    form.locator("[name=refuse]").fill("ads.example.com")
    form.get_by_role("button", name="Save it").click()
    expect(page.get_by_role("main")).to_contain_text("decided nothing differently")
    assert all(
        "ads.example.com" not in str(layer) for layer in stage.owner.get(stage.owner.ws("/egress-policy"))["layers"]
    )
    page.get_by_role("form", name="The policy").get_by_role("button", name="Save it").click()
    expect(page.get_by_role("main")).to_contain_text("refused: ads.example.com")
    page.get_by_role("form", name="The policy").locator("[name=refuse]").fill('{"host": "a.example.com", "port": 22}')
    page.get_by_role("button", name="Replay it over the last day").click()
    expect(page.get_by_role("alert")).to_contain_text("ports 80 and 443 only")
    stage.owner.post(stage.owner.ws("/egress-policy"), {"settings": {}, "note": "over"})


@pytest.mark.capability("BRK-13", part="upstream trust, in the console")
def test_upstream_trust_is_looked_at_recorded_replaced_and_taken_back(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker", "trust"))
    main = page.get_by_role("main")
    expect(main).to_contain_text("No upstream trust yet")
    eyes.check_all("broker-trust-empty")
    for why, ca in (("a CA of our own", Authority("theirs")), ("another one", Authority("newer"))):
        form = page.get_by_role("form", name="Record a name")
        form.get_by_label("Name", exact=True).fill("inside.example.com")
        form.get_by_label("The CA to trust, PEM").fill(ca.pem.decode())
        form.get_by_label("Why").fill(why)
        form.get_by_role("button", name="Show what it does").click()
        would = page.locator("#would")
        expect(would).to_contain_text("Calls to inside.example.com:443 that begin after this")
        expect(would).to_contain_text("Nothing is recorded yet")
        if why == "another one":
            expect(would).to_contain_text("It stands in the place of what is recorded")
            eyes.check_all("broker-trust-looked")
        would.get_by_role("button", name="Record it").click()
        table = page.get_by_role("region", name="Records of upstream trust")
        expect(table.get_by_role("row").nth(1)).to_contain_text(why)
    expect(table).to_contain_text("CN=Worka session newer")
    expect(table.get_by_role("row").nth(2)).to_contain_text("taken back")
    live(page)
    by_keyboard(page)
    eyes.check_all("broker-trust")
    # What cannot hold is said at the form, and nothing is recorded.
    form = page.get_by_role("form", name="Record a name")
    form.get_by_label("Name", exact=True).fill("other.example.com")
    form.get_by_label("The CA to trust, PEM").fill("no certificate")
    form.get_by_label("Why").fill("a slip")
    form.get_by_role("button", name="Show what it does").click()
    expect(page.get_by_role("alert")).to_contain_text("one or more PEM certificates and nothing else")
    assert len(stage.owner.get(stage.owner.ws("/upstream-trusts"))["items"]) == 2
    eyes.complaints.clear()  # the browser's own line about the status 422
    page.get_by_role("button", name="Take back what is recorded for inside.example.com").click()
    ending = page.locator("#ending")
    expect(ending).to_contain_text("are checked against the public authorities again")
    eyes.check_all("broker-trust-ending")
    ending.get_by_role("button", name="Take it back").click()
    expect(main).not_to_contain_text("Take back…")
    held = stage.owner.get(stage.owner.ws("/upstream-trusts"))["items"]
    assert all(row["removed_at"] is not None for row in held)


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person, in the console")
def test_who_vouches_for_a_name_that_a_credential_goes_to_is_asked_of_somebody_else(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker", "trust"))
    before = len(stage.owner.get(stage.owner.ws("/upstream-trusts"))["items"])
    form = page.get_by_role("form", name="Record a name")
    form.get_by_label("Name", exact=True).fill(TRACKER)
    form.get_by_label("The CA to trust, PEM").fill(Authority("theirs").pem.decode())
    form.get_by_label("Why").fill("a CA of our own")
    form.get_by_role("button", name="Show what it does").click()
    would = page.locator("#would")
    expect(would).to_contain_text("somebody else has to agree first; you cannot do that yourself")
    expect(would).to_contain_text("the workspace's connection Issue tracker (tracker)")
    expect(would).to_contain_text("Nothing is asked or recorded yet")
    eyes.check_all("broker-trust-asks")
    would.get_by_role("button", name="Ask for it").click()
    waiting = page.locator("[data-waiting]")
    expect(waiting).to_contain_text("It waits for somebody else to agree")
    eyes.check_all("broker-trust-waiting")
    waiting.get_by_role("link", name="the approval").click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("What goes there")
    expect(main).to_contain_text("You cannot decide this")
    (row,) = [row for row in stage.owner.get(stage.owner.ws("/way-changes"))["items"] if row["state"] == "open"]
    stage.owner.post(f"/v1/approvals/{row['approval_id']}/withdraw")
    page.goto(standing.page("broker", "trust"))
    expect(page.locator("[data-waiting]")).to_have_count(0)
    assert len(stage.owner.get(stage.owner.ws("/upstream-trusts"))["items"]) == before


@pytest.mark.capability("BRK-12", part="a request that is only tried")
def test_a_request_is_tried_in_the_console(browser: Browser, stage: Demo, standing: Road) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("broker", "try"))
    form = page.get_by_role("form", name="The request")
    form.get_by_label("Pack").select_option(label=PACK)
    form.get_by_label("Host").fill("elsewhere.example.org")
    form.get_by_role("button", name="Try it").click()
    verdict = page.locator("[data-verdict]")
    expect(verdict).to_contain_text("It would be refused")
    eyes.check_all("broker-try")
    form = page.get_by_role("form", name="The request")
    form.get_by_label("Host").fill(TRACKER)
    form.get_by_label("Path").fill("/api/issues")
    form.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("main")).to_contain_text("nothing shows it")
    # The same as a WebSocket, which the rule does not say; the answer keeps what was asked.
    page.get_by_role("form", name="The request").get_by_label("It asks to become a WebSocket").check()
    page.get_by_role("form", name="The request").get_by_role("button", name="Try it").click()
    expect(page.locator("[data-verdict]")).to_contain_text("It would be refused")
    expect(page.get_by_role("main")).to_contain_text("upgrade_refused")
    expect(page.get_by_label("It asks to become a WebSocket")).to_be_checked()


@pytest.mark.capability("BEY-4", part="in the console")
def test_what_a_pack_does_not_use_is_shown_with_the_difference(browser: Browser, stage: Demo, standing: Road) -> None:
    eyes = opened(browser, stage, standing)
    page = eyes.page
    page.goto(standing.page("packs", PACK))
    page.get_by_role("link", name="What it does not use").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"What {PACK} does not use")
    eyes.check_all("broker-unused")


@pytest.mark.parametrize(("scheme", "width"), [LOOKS[0], LOOKS[2]])
def test_every_page_of_it_is_looked_at_in_two_schemes_and_widths(
    browser: Browser, stage: Demo, standing: Road, scheme: str, width: int
) -> None:
    eyes = opened(browser, stage, standing, width, scheme)
    attachment = stage.ids["attachment_fetch"]
    for path in (
        "broker", "broker/refused", "broker/destinations", "broker/policy", "broker/proposals", "broker/trust", "broker/try",
        f"broker/attachments/{attachment}", f"broker/unused/{attachment}", f"broker/destinations/{TRACKER}",
        f"broker/destinations/{TRACKER}?attachment={attachment}&revoke=true",
    ):  # fmt: skip
        eyes.page.goto(standing.page(path))
        assert main_of(eyes.page)
        eyes.check(f"{path.partition('?')[0].replace('/', '-')[:60]}-{scheme}-{width}")
