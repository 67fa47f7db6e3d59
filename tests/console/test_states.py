"""Six pages in their four data states (loading, empty, stale, failed) and as they should be; two themes, two widths."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.console.conftest import Eyes, Quiet, look, sign_in
from tests.console.gallery import PAGES
from tests.support.bad_day import BadDay
from worka.kernel.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420), pytest.mark.capability("DOR-4", part="accessible")]
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
FOLLOW = """address => {
  const link = document.createElement("a");
  link.href = address;
  link.textContent = "onward";
  document.querySelector("main").append(link);
  link.click();
}"""
NOBODY = "00000000000000000000000000"


def addresses(day: BadDay) -> dict[str, str]:
    """The six pages, each where it has most to say."""
    found = {
        "attention": "attention",
        "task": f"tasks/{day.found['stalled']}",
        "approval": f"approvals/{day.found['approval']}",
        "invocation": f"invocations/{day.found['undeclared']}",
        "changes": "changes",
        "view": f"views/{day.owner.get(day.owner.ws('/views'))['items'][0]['id']}",
    }
    return {name: f"{day.url}/w/{day.ids['workspace']}/{path}" for name, path in found.items()}


def enter(browser: Browser, base_url: str, link: str, scheme: str, width: int) -> Eyes:
    context = browser.new_context(viewport={"width": width, "height": 860 if width > 800 else 844}, color_scheme=scheme)  # type: ignore[arg-type]
    return sign_in(context, link)


@pytest.fixture(params=LOOKS, ids=[f"{scheme}-{width}" for scheme, width in LOOKS])
def eyes(request: pytest.FixtureRequest, browser: Browser, bad_day: BadDay) -> Iterator[Eyes]:
    scheme, width = request.param
    link = f"{bad_day.url}/sign-in?link={bad_day.approver.post('/v1/sign-in-links')['token']}"
    found = enter(browser, bad_day.url, link, scheme, width)
    found.look = f"{scheme}-{width}"
    yield found
    found.page.context.close()


def live(page: Page) -> None:
    expect(page.locator("#live-state")).to_have_text("Live", timeout=15_000)


def test_with_data_every_page_says_its_verdict_first(eyes: Eyes, bad_day: BadDay) -> None:
    lists = {
        name: f"{bad_day.url}/w/{bad_day.ids['workspace']}/{name}"
        for name in ("tasks", "approvals", "invocations", "views")
    }
    for name, address in {**addresses(bad_day), **lists}.items():
        eyes.page.goto(address)
        live(eyes.page)
        if name in ("attention", "task", "approval", "invocation"):
            tops = eyes.page.evaluate(
                "[document.querySelector('[data-verdict]'), document.querySelector('.card')]"
                ".map(node => node.getBoundingClientRect().top)"
            )
            assert tops[0] < tops[1], "the verdict is not above the evidence"
        eyes.check(f"{name}-{eyes.look}")


def test_loading_is_shown_when_a_page_takes_its_time(eyes: Eyes, bad_day: BadDay) -> None:
    page = eyes.page
    held: list[Route] = []
    # A page of another address than the one before: each of the six is once the one that is waited for.
    start = f"{bad_day.url}/w/{bad_day.ids['workspace']}/views"
    for name, address in addresses(bad_day).items():
        page.goto(start)
        page.route(address, lambda route: held.append(route))
        page.evaluate(FOLLOW, address)
        expect(page.locator("html[data-loading]")).to_be_attached()
        assert page.locator("#main").get_attribute("aria-busy") == "true"
        expect(page.locator("#said")).to_have_text("Loading")
        if f"{name}-loading-{eyes.look}" in PAGES:
            eyes.check(f"{name}-loading-{eyes.look}")
        held.pop().continue_()
        page.wait_for_url(address)
        page.unroute(address)
        expect(page.locator("html[data-loading]")).to_have_count(0)
    eyes.check()


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_empty_says_what_will_be_here_and_what_to_do(browser: Browser, quiet: Quiet, scheme: str, width: int) -> None:
    eyes = enter(browser, quiet.base_url, quiet.link(), scheme, width)
    page = eyes.page
    for name, address, words in (
        ("attention", "attention", "Nothing needs you"),
        ("tasks", "tasks", "Nothing not finished"),
        ("approvals", "approvals", "No decision waits"),
        ("invocations", "invocations", "No pack has been called yet"),
        ("changes", "changes?lane=sharing", "Nothing changed"),
        ("views", "views", "No view yet"),
        ("task", f"tasks/task_{NOBODY}", "This is not here"),
        ("approval", f"approvals/apr_{NOBODY}", "This is not here"),
        ("invocation", f"invocations/inv_{NOBODY}", "This is not here"),
        ("view", f"views/view_{NOBODY}", "This is not here"),
    ):
        page.goto(quiet.page(address))
        expect(page.locator("main")).to_contain_text(words)
        if name not in ("attention", "task", "approval", "invocation", "view"):
            live(page)
        eyes.check(f"{name}-empty-{scheme}-{width}")
    page.context.close()


def test_stale_is_said_with_its_age_and_nothing_is_taken_away(eyes: Eyes, bad_day: BadDay) -> None:
    context = eyes.page.context
    opened = {}
    for name, address in addresses(bad_day).items():
        one = look(context)
        one.page.goto(address)
        live(one.page)
        opened[name] = (one, one.page.locator("h1").inner_text())
    context.set_offline(True)
    for name, (one, shown) in opened.items():
        page = one.page
        expect(page.locator("#live-state")).to_have_text(re.compile(r"Stale, as of \d+ s ago"), timeout=15_000)
        expect(page.locator("#stale")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("button", name="Try now")).to_be_visible()
        assert page.locator("h1").inner_text() == shown
        one.check(f"{name}-stale-{eyes.look}")
    context.set_offline(False)
    for one, _ in opened.values():
        live(one.page)
        expect(one.page.locator("#stale")).to_be_hidden()


@pytest.fixture
def no_database(bad_day: BadDay) -> Iterator[None]:
    """PostgreSQL is really gone: killed, and the supervisor that would start it again is stopped."""
    supervisor = json.loads((bad_day.home / "run" / "instance.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        EmbeddedPostgres(bad_day.home).stop("immediate")
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        back(bad_day)


def back(day: BadDay) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError, SystemExit, Exception):
            day.owner.get(day.owner.ws("/tasks"))
            return
        time.sleep(0.3)
    raise AssertionError("the instance did not come back")


def test_failed_says_what_is_away_and_what_helps(
    browser: Browser, bad_day: BadDay, request: pytest.FixtureRequest
) -> None:
    opened = []
    for scheme, width in LOOKS:
        link = f"{bad_day.url}/sign-in?link={bad_day.approver.post('/v1/sign-in-links')['token']}"
        opened.append((enter(browser, bad_day.url, link, scheme, width), f"{scheme}-{width}"))
    pages = addresses(bad_day)
    reader = opened[0][0].page
    live(reader)
    request.getfixturevalue("no_database")
    # A page that is open notices, although its connection to the console lives.
    expect(reader.locator("#stale")).to_contain_text("A part of Worka does not answer.", timeout=30_000)
    expect(reader.locator("#live-state")).to_have_text(re.compile("Stale, as of"))
    for eyes, name_of_look in opened:
        page = eyes.page
        for name, address in pages.items():
            answer = page.goto(address)
            assert answer is not None
            assert answer.status == 503
            expect(page.locator("h1")).to_have_text("A part of Worka is away")
            expect(page.locator("main")).to_contain_text("What helps")
            expect(page.get_by_role("link", name="Try again")).to_have_attribute("href", re.compile("/w/"))
            eyes.complaints.clear()
            eyes.check(f"{name}-failed-{name_of_look}")
        page.context.close()


def test_the_gallery_is_complete_and_can_be_made_anew(eyes: Eyes, bad_day: BadDay, tmp_path: Path) -> None:
    kept = {path.stem for path in (Path(__file__).parents[2] / "docs" / "screenshots").glob("*.png")}
    assert kept == PAGES, "run `make screenshots`"
    eyes.page.goto(addresses(bad_day)["attention"])
    made = eyes.keep(tmp_path, f"attention-{eyes.look}").read_bytes()
    assert made.startswith(b"\x89PNG")
    assert int.from_bytes(made[16:20], "big") == int(eyes.look.partition("-")[2])
    assert len(made) > 20_000, "an empty picture"
