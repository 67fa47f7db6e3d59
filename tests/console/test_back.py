"""Going back to the answer of a form, or reloading it, sends nothing again and leads to no page of the browser's own."""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import Browser, expect

from tests.console.test_policies import Place, seen_by
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def place(instance: Instance) -> Place:
    """A workspace of its own."""
    return Place(instance)


def test_back_to_a_look_at_an_invitation_and_a_reload_of_it_invite_nobody(browser: Browser, place: Place) -> None:
    eyes = seen_by(browser, place, place.owner)
    page, email = eyes.page, f"x{secrets.token_hex(4)}@b.test"
    page.goto(place.page("people"))
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Show what it gives").click()
    expect(page.locator("#gives")).to_be_visible()
    page.get_by_role("button", name="Invite", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Hand this link to them")
    page.go_back()
    expect(page.get_by_role("heading", name="People and access", exact=True)).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="People and access", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("main")).not_to_contain_text("Hand this link to them")
    known = [row["email"] for row in place.owner.get(place.owner.ws("/invitations"))["items"]]
    assert known.count(email) == 1, "the control: it was sent, and once"
    page.context.close()


def test_a_refusal_at_an_address_that_is_no_page_leads_back_to_the_page_of_the_form(
    browser: Browser, place: Place
) -> None:
    eyes = seen_by(browser, place, place.owner)
    page = eyes.page
    page.goto(place.page("governance"))
    page.get_by_label("Which").fill("hooks.worka.test")
    page.get_by_label("Why", exact=True).fill(" ")
    page.get_by_role("button", name="Show what it touches").click()
    page.get_by_label("Why", exact=True).fill(" ")
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_role("alert")).to_contain_text("needs a reason")
    page.wait_for_url(place.page("governance"))
    eyes.check()
    page.reload()
    expect(page.get_by_role("heading", name="Kill switches")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert place.owner.get(place.owner.ws("/kills"))["items"] == []
    page.context.close()
