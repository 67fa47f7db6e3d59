"""Service accounts in the console: looked at, made, given a token, rotated, ended."""

from __future__ import annotations

import secrets

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.test_policies import Place, seen_by
from tests.console.test_states import by_keyboard
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def place(instance: Instance) -> Place:
    """A workspace of its own."""
    return Place(instance)


def opens(place: Place, token: str) -> int:
    """What the door answers to a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{place.url}/v1/workspaces/{place.id}/tasks", headers=headers, trust_env=False).status_code


@pytest.mark.capability("IDN-21")
@pytest.mark.capability("DOR-4", part="accessible")
def test_an_account_is_looked_at_made_given_a_token_rotated_and_ended(browser: Browser, place: Place) -> None:
    eyes = seen_by(browser, place, place.owner)
    page, name = eyes.page, f"importer-{secrets.token_hex(3)}"
    page.goto(place.page("people"))
    page.get_by_role("link", name="Make one, or change them").click()
    expect(page.get_by_role("main")).to_contain_text("No service account yet")
    eyes.check_all("accounts-empty")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("What it is for").fill("imports issues")
    page.get_by_role("button", name="Show what it may do").click()
    would = page.locator("#would")
    expect(would).to_contain_text("Nothing is made yet")
    expect(would).to_contain_text("task.view")
    expect(would).not_to_contain_text("task.create")
    eyes.check_all("accounts-would")
    page.get_by_label("Role").select_option("member")
    page.get_by_role("button", name="Show what it may do").click()
    expect(would).to_contain_text("task.create")
    expect(would).not_to_contain_text("member.invite")
    page.reload()
    assert place.owner.get(place.owner.ws("/service-accounts"))["items"] == [], "looking makes none"
    page.get_by_role("button", name="Make it").click()
    page.wait_for_url("**/accounts/sva_*")
    (row,) = place.owner.get(place.owner.ws("/service-accounts"))["items"]
    assert (row["name"], row["role"], row["purpose"]) == (name, "member", "imports issues")
    eyes.check_all("account")
    by_keyboard(page)
    tokens = []
    for look, do in (("New token…", "Make the token"), ("Rotate…", "Rotate")):
        page.get_by_role("link", name=look).click()
        page.get_by_label("Ends after days").fill("nine")
        page.get_by_role("button", name=do, exact=True).click(force=True)
        assert page.get_by_text("Give the program this token").count() == 0, "the browser takes no such number"
        page.get_by_label("Ends after days").fill("9")
        page.get_by_role("button", name=do, exact=True).click()
        expect(page.locator("#fresh")).to_contain_text("Give the program this token")
        tokens.append(page.locator("#fresh code").first.inner_text())
        eyes.check()
        page.reload()
        expect(page.get_by_role("main")).not_to_contain_text(tokens[-1])
    assert [opens(place, token) for token in tokens] == [401, 200], "the rotation voids the first"
    page.get_by_role("link", name="End it…").click()
    expect(page.locator("#would")).to_contain_text("does not come back")
    assert opens(place, tokens[1]) == 200, "looking ends nothing"
    page.get_by_role("button", name="End it", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Its tokens open nothing")
    assert opens(place, tokens[1]) == 401
    page.goto(place.page("accounts"))
    expect(page.get_by_role("main")).to_contain_text("ended")
    eyes.check_all("accounts")
    by_keyboard(page)
    assert eyes.complaints == []
    page.context.close()


@pytest.mark.capability("IDN-14")
def test_who_may_not_make_one_reads_why_and_a_name_is_given_once(browser: Browser, place: Place) -> None:
    eyes = seen_by(browser, place, place.another("vera", "viewer"), 390)
    page = eyes.page
    page.goto(place.page("accounts"))
    expect(page.get_by_role("button", name="Show what it may do")).to_be_disabled()
    eyes.check()
    page.context.close()
    name = f"importer-{secrets.token_hex(3)}"
    made = place.owner.post(place.owner.ws("/service-accounts"), {"name": name, "purpose": "x", "role": "viewer"})
    eyes = seen_by(browser, place, place.owner, 390)
    page = eyes.page
    page.goto(place.page("accounts"))
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("What it is for").fill("again")
    page.get_by_role("button", name="Show what it may do").click()
    expect(page.get_by_role("alert")).to_contain_text(f"has a service account called {name}")
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    # A token is its owner's: another admin ends it, and is offered no token.
    admin = seen_by(browser, place, place.another("dora", "admin"))
    admin.page.goto(place.page(f"accounts/{made['id']}"))
    expect(admin.page.get_by_role("main")).to_contain_text("Its token is its owner's")
    expect(admin.page.get_by_role("link", name="New token…")).to_have_count(0)
    expect(admin.page.get_by_role("link", name="End it…")).to_be_visible()
    admin.check()
    for one in (eyes, admin):
        one.page.context.close()


@pytest.mark.capability("IDN-21", part="its name is taken by one rule, whatever the door")
def test_the_console_takes_no_name_of_an_account_that_cannot_be_seen(browser: Browser, place: Place) -> None:
    eyes = seen_by(browser, place, place.owner)
    before = place.owner.get(place.owner.ws("/service-accounts"))["items"]

    def sent(name: str) -> tuple[int, str]:
        """What the page's form would be answered, also for what a browser would not let anybody type."""
        answer = eyes.page.request.post(
            place.page("accounts"), form={"name": name, "purpose": "x"}, headers={"Origin": place.url}, max_redirects=0
        )
        return answer.status, answer.text()

    for bad in ("im\u202eporter", "im\nporter"):
        status, told = sent(bad)
        assert (status, "cannot be seen" in told, "\u202e" in told) == (422, True, False)
    assert sent("   ")[0] == 422
    assert place.owner.get(place.owner.ws("/service-accounts"))["items"] == before
    assert sent(f"importer-{secrets.token_hex(3)}")[0] == 303, "the control"
    eyes.page.context.close()
