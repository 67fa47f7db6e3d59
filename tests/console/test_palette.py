"""The command palette: everything by keyboard, ids and names of all kinds, and the same search without a script."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.console.conftest import Eyes, sign_in
from tests.support.bad_day import BadDay

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
ID = re.compile(r"[a-z]{2,8}_[0-9a-z]{26}")


def enter(browser: Browser, day: BadDay, **options: object) -> Eyes:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)  # type: ignore[arg-type]
    return sign_in(context, f"{day.url}/sign-in?link={day.approver.post('/v1/sign-in-links')['token']}")


@pytest.fixture(scope="module")
def eyes(browser: Browser, bad_day: BadDay) -> Iterator[Eyes]:
    found = enter(browser, bad_day)
    yield found
    found.page.context.close()


@pytest.fixture
def page(eyes: Eyes, bad_day: BadDay) -> Page:
    eyes.page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/attention")
    return eyes.page


def selected(page: Page) -> Locator:
    return page.locator("#palette [role=option][aria-selected=true]:visible")


@pytest.mark.capability("DOR-4", part="keyboard")
@pytest.mark.parametrize("key", ["Control+k", "Meta+k", "/"])
def test_a_key_opens_it_and_escape_gives_the_focus_back(page: Page, key: str) -> None:
    link = page.get_by_role("link", name="Changes").first
    link.focus()
    page.keyboard.press(key)
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    expect(link).to_be_focused()


@pytest.mark.parametrize(
    ("what", "leads_to"),
    [
        ("waiting", "/tasks/"),
        ("approval", "/approvals/"),
        ("crashed", "/invocations/"),
        ("unconnected", "/attachments/"),
        ("failed_release", "/releases/"),
    ],
)
def test_a_pasted_id_of_any_kind_leads_to_its_page(page: Page, bad_day: BadDay, what: str, leads_to: str) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.insert_text(f"  {bad_day.found[what].upper()} ")
    page.wait_for_url(f"**{leads_to}{bad_day.found[what]}")
    expect(page.locator("[data-verdict]")).not_to_be_empty()


def test_ids_of_links_and_traces_lead_to_what_they_happened_in(page: Page, bad_day: BadDay) -> None:
    call = bad_day.owner.get(f"/v1/invocations/{bad_day.found['undeclared']}")
    task = bad_day.owner.get(f"/v1/tasks/{bad_day.found['waiting']}")
    base = f"{bad_day.url}/w/{bad_day.ids['workspace']}"
    for some_id, where in (
        (call["egress"][0]["id"], f"invocations/{call['id']}"),
        (task["trace_id"], f"tasks/{task['id']}"),
        (task["steps"][0]["id"], f"tasks/{task['id']}"),
        (task["steps"][0]["decision_id"], f"decisions/{task['steps'][0]['decision_id']}"),
    ):
        page.goto(f"{base}/search?q={some_id}")
        assert page.url == f"{base}/{where}"
    page.goto(f"{base}/search?q=egr_00000000000000000000000000")
    expect(page.locator("main")).to_contain_text("This id is of nothing that this workspace shows.")


def test_words_find_what_is_called_so_and_arrows_choose(page: Page, bad_day: BadDay) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type("payments of")
    expect(page.locator("#palette [data-found] [role=option]")).to_have_count(4)
    expect(page.locator("#palette [data-said]")).to_have_text("4 results")
    first = selected(page).inner_text()
    page.keyboard.press("ArrowDown")
    assert selected(page).inner_text() != first
    assert page.locator("#q").get_attribute("aria-activedescendant") == selected(page).get_attribute("id")
    page.keyboard.press("ArrowUp")
    assert selected(page).inner_text() == first
    assert ID.findall(page.locator("#palette").inner_text()) == []
    wanted = selected(page).locator("[data-title]").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/**")
    expect(page.locator("h1")).to_have_text(wanted)


def test_the_end_of_an_id_as_pages_show_it_is_enough(page: Page, bad_day: BadDay) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type(f"…{bad_day.found['stalled'][-6:]}")
    expect(selected(page)).to_contain_text("Match payments of April")


def test_places_actions_and_where_the_reader_was_are_there_without_typing(page: Page, bad_day: BadDay) -> None:
    base = f"{bad_day.url}/w/{bad_day.ids['workspace']}"
    page.goto(f"{base}/tasks/{bad_day.found['payment']}")
    page.goto(f"{base}/changes")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette [data-recent] [role=option]").first).to_contain_text("Pay invoice 2233")
    expect(page.locator("#palette")).to_contain_text("Decide what waits longest for you")
    page.keyboard.type("light dark")
    expect(selected(page)).to_contain_text("Switch between light and dark")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("Control+k")
    page.keyboard.type("approv")
    expect(page.get_by_role("option", name="Approvals Page")).to_be_visible()


def test_a_person_who_does_not_see_hears_how_many_and_that_nothing_was_found(page: Page) -> None:
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Id, name, place or action")).to_be_focused()
    page.keyboard.type("zzzz-nothing")
    expect(page.locator("#palette [data-said]")).to_have_text("0 results")
    expect(page.locator("#palette [data-none]")).to_contain_text("zzzz-nothing")


def test_a_search_that_does_not_answer_says_so(page: Page, eyes: Eyes) -> None:
    page.keyboard.press("Control+k")
    page.context.set_offline(True)
    try:
        page.keyboard.type("rates")
        expect(page.locator("#palette [data-broken]")).to_be_visible()
        expect(page.locator("#palette [data-said]")).to_have_text("The search does not answer.")
    finally:
        page.context.set_offline(False)
        eyes.complaints.clear()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390), ("dark", 1280), ("light", 390)])
def test_it_is_accessible_in_both_schemes_and_widths(
    browser: Browser, bad_day: BadDay, scheme: str, width: int
) -> None:
    found = enter(browser, bad_day, color_scheme=scheme)
    found.page.set_viewport_size({"width": width, "height": 844})
    found.page.keyboard.press("Control+k")
    found.page.keyboard.type("pay")
    expect(found.page.locator("#palette [data-found] [role=option]").first).to_be_visible()
    found.check(f"palette-{scheme}-{width}")
    found.page.context.close()


@pytest.mark.capability("DOR-4", part="keyboard")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen_the_pages_fold_into_a_menu(browser: Browser, bad_day: BadDay, scheme: str) -> None:
    found = enter(browser, bad_day, color_scheme=scheme)
    page, menu = found.page, found.page.get_by_role("navigation", name="Console")
    expect(menu.get_by_role("link", name="Tasks")).to_be_visible()
    expect(page.locator("#places")).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(menu).to_be_hidden()
    button = page.get_by_role("button", name="Pages: Attention")
    button.focus()
    page.keyboard.press("Enter")
    expect(menu.get_by_role("link", name="Tasks")).to_be_visible()
    found.check(f"menu-{scheme}-390")
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    menu.get_by_role("link", name="Tasks").click()
    page.wait_for_url("**/tasks")
    expect(page.get_by_role("button", name="Pages: Tasks")).to_be_visible()
    page.context.close()


def test_without_scripts_it_is_a_plain_search_form(browser: Browser, bad_day: BadDay) -> None:
    found = enter(browser, bad_day, java_script_enabled=False)
    page = found.page
    page.get_by_role("link", name="Find or go to").click()
    page.get_by_label("Id or name").fill("breakwater")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Reminder to Breakwater & Sons").first.click()
    expect(page.locator("[data-verdict]")).to_contain_text("Retrying")
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/search")
    page.get_by_label("Id or name").fill(bad_day.found["approval"])
    page.get_by_role("button", name="Find").click()
    page.wait_for_url(f"**/approvals/{bad_day.found['approval']}")
    page.context.close()


def test_single_keys_can_be_switched_off(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.get_by_label("Single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#palette")).to_be_hidden()
    page.keyboard.press("Control+k")
    page.get_by_label("Single keys").check()
    page.keyboard.press("Escape")
