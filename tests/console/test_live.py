"""Pages stay true while somebody reads them, and nothing that the reader holds is taken away. Events are real ones."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from tests.console.conftest import Eyes, Road, begin, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420), pytest.mark.capability("DOR-4", "OBS-6", part="live")]
LIVE = 15_000


def read(browser: Browser, road: Road, *parts: str, height: int = 860) -> Eyes:
    context = browser.new_context(viewport={"width": 1280, "height": height})
    eyes = sign_in(context, road.link(road.approver))
    eyes.page.goto(road.page(*parts))
    expect(eyes.page.locator("#live-state")).to_have_text("Live", timeout=LIVE)
    return eyes


def top(page: Page, selector: str) -> float:
    return float(page.locator(selector).evaluate("node => node.getBoundingClientRect().top"))


def mark(page: Page, selector: str) -> None:
    """The very node, so that a new one in its place is noticed."""
    page.locator(selector).evaluate("node => { window.held = node; }")


def still_held(page: Page) -> bool:
    return bool(page.evaluate("window.held.isConnected && document.activeElement === window.held"))


def test_new_rows_are_counted_and_move_nothing_until_the_reader_asks(
    browser: Browser, standing: Road, stage: Demo
) -> None:
    begin(stage)
    last = begin(stage)
    eyes = read(browser, standing, "attention", height=420)
    page = eyes.page
    row = f'#lane-approvals a.main-link[href$="{last.approval_id}"]'
    page.locator(row).focus()
    page.locator(row).evaluate("node => node.scrollIntoView({block: 'center'})")
    mark(page, row)
    before, scrolled = top(page, row), page.evaluate("scrollY")
    assert scrolled > 0
    rows = page.locator("#lane-approvals li").count()

    new = begin(stage)
    expect(page.locator("#news")).to_have_text(re.compile(r"\d+ new"), timeout=LIVE)
    assert abs(top(page, row) - before) < 1, "what was read moved"
    assert still_held(page), "the focus was lost"
    assert page.locator("#lane-approvals li").count() == rows
    expect(page.locator("#said")).to_have_text(re.compile(r"new\. Press n"))
    expect(page.locator("nav .count")).to_have_text(str(rows + 1))
    page.wait_for_timeout(100)
    eyes.check("new-rows-light-1280")

    page.keyboard.press("n")
    expect(page.locator("#news")).to_be_hidden()
    expect(page.locator(f'#lane-approvals a.main-link[href$="{new.approval_id}"]')).to_be_visible()
    assert page.evaluate("document.activeElement.closest('[data-list]') !== null"), "the reader is at the new rows"
    page.context.close()


def test_a_row_that_is_over_keeps_its_place_and_says_so(browser: Browser, road: Road, stage: Demo) -> None:
    eyes = read(browser, road, "approvals")
    page = eyes.page
    row = page.locator(f'tr[data-key="{road.approval_id}"]')
    below = page.locator("tbody tr").last
    at = below.evaluate("node => node.getBoundingClientRect().top")
    stage.owner.post(f"/v1/tasks/{road.task_id}/cancel", {"reason": "not today"})
    expect(page.locator("#news")).to_contain_text("gone", timeout=LIVE)
    expect(row).to_have_attribute("data-over", "")
    assert abs(below.evaluate("node => node.getBoundingClientRect().top") - at) < 1
    page.locator("#news").click()
    expect(row).to_have_count(0)
    page.context.close()


def test_what_grows_above_does_not_move_what_is_read(browser: Browser, road: Road) -> None:
    eyes = read(browser, road, "tasks", road.task_id, height=420)
    page = eyes.page
    page.locator("details[data-key=raw] > summary").click()
    page.locator("details[data-key=raw] > summary").evaluate("node => node.scrollIntoView({block: 'center'})")
    mark(page, "details[data-key=raw] > summary")
    page.evaluate("window.held.focus()")
    height = page.evaluate(
        "document.querySelector('main').scrollHeight - document.querySelector('details[data-key=raw]').scrollHeight"
    )
    before = top(page, "details[data-key=raw] > summary")
    card = road.approver.get(f"/v1/approvals/{road.approval_id}")
    body = {"decision": "approve", "digest": card["digest"], "comment": ""}
    road.approver.post(f"/v1/approvals/{road.approval_id}/decisions", body)
    expect(page.locator("[data-verdict]")).to_contain_text("Done", timeout=60_000)
    after = page.evaluate(
        "document.querySelector('main').scrollHeight - document.querySelector('details[data-key=raw]').scrollHeight"
    )
    assert after != height, "nothing above changed its height: the test shows nothing"
    assert abs(top(page, "details[data-key=raw] > summary") - before) < 1.5
    assert still_held(page)
    assert page.locator("details[data-key=raw]").evaluate("node => node.open")
    page.context.close()


def test_typed_text_and_a_selection_survive_what_happens_meanwhile(browser: Browser, road: Road, stage: Demo) -> None:
    eyes = read(browser, road, "approvals", road.approval_id)
    page = eyes.page
    page.get_by_label("Comment").fill("Half a thought, not yet")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.effect'))")
    chosen = page.evaluate("getSelection().toString()")
    assert chosen.strip()
    # Something else in the workspace: the number in the menu changes, the reader's text and selection do not.
    before = page.locator("nav .count").inner_text()
    begin(stage)
    expect(page.locator("nav .count")).not_to_have_text(before, timeout=LIVE)
    assert page.evaluate("getSelection().toString()") == chosen
    expect(page.get_by_label("Comment")).to_have_value("Half a thought, not yet")

    # The very thing is taken away: the verdict says so at once, the typed text stays until the reader lets it go.
    page.get_by_label("Comment").focus()
    stage.owner.post(f"/v1/tasks/{road.task_id}/cancel", {"reason": "somebody was faster"})
    expect(page.locator(".verdict .badge").first).not_to_have_text("Open", timeout=LIVE)
    expect(page.get_by_label("Comment")).to_have_value("Half a thought, not yet")
    expect(page.get_by_label("Comment")).to_be_focused()
    expect(page.locator("#news")).to_have_text("Changed meanwhile")
    page.locator("#news").click()
    expect(page.get_by_label("Comment")).to_have_count(0)
    expect(page.locator("#news")).to_be_hidden()
    page.context.close()


def test_open_changes_stay_open_and_new_ones_are_counted(browser: Browser, standing: Road, stage: Demo) -> None:
    eyes = read(browser, standing, "changes")
    page = eyes.page
    page.locator("details[data-key] > summary").first.click()
    first = page.locator("[data-change]").first.get_attribute("data-change")
    begin(stage)
    expect(page.locator("#news")).to_have_text(re.compile(r"\d+ new"), timeout=LIVE)
    assert page.locator("[data-change]").first.get_attribute("data-change") == first
    assert page.locator("details[data-key]").first.evaluate("node => node.open")
    page.locator("#news").click()
    expect(page.locator(f'[data-change="{first}"]')).to_be_attached()
    assert page.locator("[data-change]").first.get_attribute("data-change") != first
    page.context.close()


def test_a_page_whose_server_is_gone_says_how_old_it_is_and_catches_up(
    browser: Browser, standing: Road, stage: Demo
) -> None:
    eyes = read(browser, standing, "tasks")
    page = eyes.page
    page.context.set_offline(True)
    expect(page.locator("#live-state")).to_have_text(re.compile(r"Stale, as of \d+ s ago"), timeout=LIVE)
    expect(page.locator("#stale")).to_contain_text("The console does not answer.", timeout=LIVE)
    expect(page.locator("#stale")).to_contain_text(re.compile(r"What you see is as of \d+ s ago"))
    expect(page.locator("#said")).to_contain_text("as of")
    new = begin(stage)
    page.context.set_offline(False)
    expect(page.locator("#live-state")).to_have_text("Live", timeout=60_000)
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#news")).to_contain_text("new")
    page.locator("#news").click()
    expect(page.locator(f'tr[data-key="{new.task_id}"]')).to_be_visible()
    page.context.close()


def test_pages_that_nobody_looks_at_leave_room_for_one_more_and_catch_up(
    browser: Browser, standing: Road, stage: Demo
) -> None:
    """A browser opens six connections to one server: six pages of the console, each with its stream, take all of them."""
    first = read(browser, standing, "tasks").page
    others = [first.context.new_page() for _ in range(5)]
    for page in others:
        page.goto(standing.page("tasks"))
        expect(page.locator("#live-state")).to_have_text("Live", timeout=LIVE)
    seventh = first.context.new_page()
    with pytest.raises(TimeoutError):
        seventh.goto(standing.page("tasks"), timeout=3000)
    for page in (first, *others):
        look(page, away=True)
    seventh.goto(standing.page("tasks"), timeout=LIVE)
    expect(seventh.locator("#live-state")).to_have_text("Live", timeout=LIVE)

    new = begin(stage)
    expect(seventh.locator("#news")).to_contain_text("new", timeout=LIVE)
    expect(first.locator("#news")).to_be_hidden()
    look(first, away=False)
    expect(first.locator("#live-state")).to_have_text("Live", timeout=LIVE)
    expect(first.locator("#stale")).to_be_hidden()
    first.locator("#news").click(timeout=LIVE)
    expect(first.locator(f'tr[data-key="{new.task_id}"]')).to_be_visible()
    first.context.close()


def look(page: Page, away: bool) -> None:
    """Another tab comes to the front, or this one again: without a window, a browser shows every page at once."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        away,
    )
