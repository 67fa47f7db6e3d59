"""Packs are taken away and given back by somebody who clicks: what it would stop first, then a reason, then a receipt."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Eyes, Road, sign_in
from tests.console.test_inviting import kept, viewer
from tests.console.test_moving import packed
from tests.console.test_states import by_keyboard
from tests.packs.test_registration import SERVER
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.cli.packs import register

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@dataclass
class Held:
    """A small pack that is attached in the workspace of the stage."""

    pack: str
    release: str
    attachment: str
    tool: str
    owner: Client

    def state(self) -> str:
        """Where its attachment stands."""
        return str(self.owner.get(f"/v1/attachments/{self.attachment}")["state"])

    def call(self) -> str:
        """What becomes of a call of its tool: its reason, or the code of the refusal."""
        path = self.owner.ws(f"/tools/{self.pack}.{self.tool}/call")
        answer = self.owner.http.post(path, json={"arguments": {"text": "ahoy"}}).json()
        return str(answer.get("reason") or answer.get("code"))

    def receipts(self) -> list[str]:
        """The receipts of it and its releases."""
        rows = self.owner.get(self.owner.ws("/withdrawals"), limit=200)["items"]
        return [row["id"] for row in rows if row["subject"] in (self.pack, self.release, self.attachment)]


@pytest.fixture
def held(stage: Demo, tmp_path: Path) -> Iterator[Held]:
    """A pack of its own for each test, with a tool that reads like no other here: it is taken away."""
    mark = secrets.token_hex(4)
    name, tool = f"taken{mark}", f"tell_{mark}"
    listed = [{"name": tool, "description": "Says what it is given.", "side_effect": "read_only"}]
    server = SERVER.replace("def say(", f"def {tool}(")
    release = register(stage.owner, packed(tmp_path / name, name, "1.0.0", server, tools=listed))
    body = {"release_id": release["id"], "mode": "pinned", "mounts": {}}
    attached = stage.owner.post(stage.owner.ws("/attachments"), body)
    assert attached["state"] == "attached", attached
    found = Held(f"p{name}.{name}", release["id"], attached["id"], tool, stage.owner)
    yield found
    if found.state() != "detached":
        stage.owner.call("DELETE", f"/v1/attachments/{found.attachment}", {"reason": "the test is over"})


def eyes_of(browser: Browser, road: Road, who: Client) -> Eyes:
    """A signed-in window."""
    return sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), road.link(who))


def tab_to(page: Page, name: str) -> None:
    """Moves on by Tab to the control of this name."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id") == name:
            return
    raise AssertionError(f"Tab does not reach “{name}”")


@pytest.mark.capability("GOV-14", part="in the console: what it touches first, a reason, the receipt")
@pytest.mark.capability("LIF-5", part="in the console: quarantined and lifted")
def test_a_release_is_quarantined_from_its_page_by_keyboard_alone_and_lifted_from_the_receipt(
    browser: Browser, stage: Demo, standing: Road, held: Held
) -> None:
    eyes = eyes_of(browser, standing, stage.owner)
    page = eyes.page
    assert held.call() == "call_succeeded"
    page.goto(standing.page("releases", held.release))
    tab_to(page, "Quarantine it")
    page.keyboard.press("Enter")
    stops = page.get_by_role("region", name="What it would stop")
    expect(stops).to_contain_text("1 attachment stops")
    expect(stops).to_contain_text("becomes Suspended")
    reach = stage.owner.get(f"/v1/releases/{held.release}/reach")
    expect(page.get_by_role("main")).to_contain_text(reach["sentence"])
    tops = page.evaluate("['reach', 'do'].map(id => document.getElementById(id).getBoundingClientRect().top)")
    assert tops[0] < tops[1], "what hangs on it stands above the button"
    kept(eyes, "withdraw-small")
    by_keyboard(page)
    # Without a reason the browser sends nothing, and no look has done anything.
    button = page.get_by_role("form", name="Quarantine it").get_by_role("button", name="Quarantine it")
    button.click()
    expect(page.locator("#confirm")).to_be_hidden()
    assert (held.state(), held.receipts()) == ("attached", [])

    page.locator("#reason").focus()
    page.keyboard.type("its key was stolen")
    tab_to(page, "Quarantine it")
    page.keyboard.press("Enter")
    ask = page.locator("#confirm")
    expect(ask).to_contain_text(f"Quarantine {held.pack} 1.0.0?")
    expect(ask).to_contain_text("its key was stolen")
    assert held.state() == "attached", "it is asked once more before anything is sent"
    page.keyboard.press("Escape")
    expect(ask).to_be_hidden()
    page.locator("#reason").focus()
    tab_to(page, "Quarantine it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Not yet")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-verdict]")).to_contain_text("was quarantined by Olga Owner")
    (receipt,) = held.receipts()
    assert page.url.endswith(f"/withdrawals/{receipt}")
    expect(page.get_by_role("region", name="What it did")).to_contain_text("became Suspended")
    kept(eyes, "withdrawal")
    by_keyboard(page)
    assert (held.state(), held.call()) == ("suspended", "release_quarantined")
    page.goto(standing.page("attachments", held.attachment))
    expect(page.get_by_role("status").filter(has_text="its key was stolen")).to_be_visible()
    page.get_by_role("link", name="Its receipt").click()

    page.get_by_role("link", name="Lift it").click()
    expect(page.get_by_role("region", name="What would serve again")).to_contain_text("1 attachment serves again")
    page.locator("#reason").fill("there is a new key")
    page.get_by_role("button", name="Lift it").click()
    page.locator("#confirm").get_by_role("button", name="Lift", exact=True).click()
    expect(page.locator("[data-verdict]")).to_contain_text("was lifted by Olga Owner")
    assert (held.state(), held.call()) == ("attached", "call_succeeded")
    # The way back was taken: the receipt of the quarantine offers it no more, and a lift of what runs is off, with why.
    page.goto(standing.page("withdrawals", receipt))
    expect(page.get_by_role("link", name="Lift it")).to_have_count(0)
    page.goto(standing.page("withdraw", "lift", held.release))
    expect(page.get_by_role("button", name="Lift it")).to_be_disabled()
    expect(page.locator("#do-off")).to_contain_text("is released, not quarantined")
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("LIF-5", part="in the console: who may, and who may not")
def test_whoever_may_not_sees_what_it_would_touch_and_why_the_button_is_off(
    browser: Browser, stage: Demo, standing: Road, held: Held
) -> None:
    looker = viewer(stage, "Vera Viewer")
    eyes = eyes_of(browser, standing, looker)
    page = eyes.page
    places = [("quarantine", held.release), ("revoke", held.pack), ("detach", held.attachment)]
    for act, thing in places:
        page.goto(standing.page("withdraw", act, thing))
        expect(page.get_by_role("region", name="What hangs on it")).to_contain_text(held.pack)
        button = page.get_by_role("button", name=f"{act.capitalize()} it")
        expect(button).to_be_disabled()
        expect(page.locator("#reason")).to_be_disabled()
        expect(page.locator(f"#{button.get_attribute('aria-describedby')}")).to_contain_text(
            re.compile("permission|not")
        )
        eyes.check()
    page.context.close()
    # What the button would have sent is refused all the same; and without a reason, to whoever may as well.
    why = "we count by hand"
    for who, reason, status in ((looker, why, 403), (stage.owner, "  ", 422), (stage.owner, why, 303)):
        with httpx.Client(base_url=stage.url, cookies={"worka_session": str(who.token)}, trust_env=False) as http:
            address = f"/w/{standing.workspace_id}/withdraw/detach/{held.attachment}"
            shown = http.get(address, headers={"Accept": "text/html"}).text
            seen = re.search(r'name="version" value="&#34;([0-9a-f]+)&#34;"', shown)
            assert seen is not None
            sent = {"reason": reason, "version": f'"{seen[1]}"'}
            answer = http.post(address, data=sent, headers={"Origin": stage.url, "Accept": "text/html"})
        assert answer.status_code == status, answer.text[:400]
        assert held.state() == ("detached" if status == 303 else "attached")


@pytest.mark.capability("GOV-14", part="in the console: a page that is old by now does nothing")
def test_what_changed_meanwhile_is_not_taken_away_by_an_old_page(
    browser: Browser, stage: Demo, standing: Road, held: Held
) -> None:
    eyes = eyes_of(browser, standing, stage.owner)
    page = eyes.page
    page.goto(standing.page("withdraw", "revoke", held.release))
    page.locator("#reason").fill("nobody needs it")
    stage.owner.post(f"/v1/releases/{held.release}/quarantine", {"reason": "somebody was faster"})
    before = held.receipts()
    page.get_by_role("button", name="Revoke it").click()
    page.locator("#confirm").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("It changed since you read it")
    expect(page.locator("#reason")).to_have_value("nobody needs it")
    assert held.receipts() == before
    # What is shown now is what it is now: from here it is done.
    expect(page.locator(".head")).to_contain_text("Quarantined")
    page.get_by_role("button", name="Revoke it").click()
    page.locator("#confirm").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator("[data-verdict]")).to_contain_text("was revoked by Olga Owner")
    assert len(held.receipts()) == len(before) + 1
    expect(page.get_by_text("There is no way back")).to_be_visible()
    page.context.close()


@pytest.mark.capability("GOV-9", part="in the console")
@pytest.mark.capability("GOV-14", part="in the console: an attachment, and a whole pack")
def test_an_attachment_is_detached_and_a_whole_pack_is_revoked_from_their_pages(
    browser: Browser, stage: Demo, standing: Road, held: Held, tmp_path: Path
) -> None:
    eyes = eyes_of(browser, standing, stage.owner)
    page = eyes.page
    page.goto(standing.page("attachments", held.attachment))
    page.locator("li", has_text="Detach it").get_by_role("link", name="See what it touches").click()
    expect(page.get_by_role("region", name="What it would stop")).to_contain_text("It serves here no more")
    page.locator("#reason").fill("we count by hand")
    page.get_by_role("button", name="Detach it").click()
    page.locator("#confirm").get_by_role("button", name="Detach", exact=True).click()
    expect(page.locator("[data-verdict]")).to_contain_text("we count by hand")
    assert held.state() == "detached"
    assert held.call() != "call_succeeded"

    page.goto(standing.page("packs", held.pack))
    expect(page.get_by_role("heading", name="Not attached here")).to_be_visible()
    page.get_by_role("link", name="Revoke all of it").click()
    page.locator("#reason").fill("its publisher is gone")
    page.get_by_role("button", name="Revoke it").click()
    page.locator("#confirm").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator("[data-verdict]")).to_contain_text(f"{held.pack} was revoked by Olga Owner")
    body = {"release_id": held.release, "mode": "pinned", "mounts": {}}
    refused = stage.owner.http.post(stage.owner.ws("/attachments"), json=body)
    assert refused.status_code == 409, refused.text
    page.goto(standing.page("packs", held.pack))
    expect(page.get_by_role("status").filter(has_text="its publisher is gone")).to_be_visible()
    assert eyes.complaints == []
    page.context.close()
