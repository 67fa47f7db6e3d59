"""Fourteen pages in their four data states (loading, empty, stale, failed) and as they should be; two schemes, two widths."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.console.conftest import LOOKS, Eyes, Quiet, look, sign_in
from tests.console.gallery import PAGES
from tests.support.bad_day import BadDay
from worka.broker.ca import Authority
from worka.cli.client import Failed
from worka.kernel.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
ACCESSIBLE = pytest.mark.capability("DOR-4", part="accessible")
WAIT = 30_000
AT_ONCE = 5
"""Each open page holds a connection, of which a browser has six for one address: one is left for what the pages ask."""
FOLLOW = """address => {
  const link = document.createElement("a");
  link.href = address;
  link.textContent = "onward";
  document.querySelector("main").append(link);
  link.click();
}"""
# While a browser goes to another page nobody can look into the one that it leaves; so that page tells what it shows.
TELL = """() => {
  new MutationObserver(() => setTimeout(() => {
    const shown = document.querySelector("#loading"), { top, bottom } = shown.getBoundingClientRect();
    const told = { text: shown.innerText.trim(), seen: shown.checkVisibility() && top >= 0 && bottom <= innerHeight,
      busy: document.querySelector("main").getAttribute("aria-busy"), said: document.querySelector("#said").textContent };
    fetch("/told", { method: "POST", body: JSON.stringify(told) });
  })).observe(document.querySelector("#loading"), { attributeFilter: ["hidden"] });
}"""
STAY = "addEventListener('click', event => event.preventDefault())"
# Every control of the page that can be seen, each with a number; and what a press of Tab reaches, as it is seen then.
CONTROLS = """() => {
  const found = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter(node => node.type !== "hidden" && !node.disabled && !node.closest("dialog, #stale[hidden]") && node.checkVisibility());
  found.forEach((node, number) => { node.dataset.control = number; });
  document.activeElement.blur();
  return found.map(node => node.getAttribute("aria-label") || node.textContent.trim() || node.id || node.outerHTML.slice(0, 90));
}"""
REACHED = """() => {
  const node = document.activeElement;
  if (node === document.body) return null;
  const { left, top, width, height } = node.getClientRects()[0], style = getComputedStyle(node);
  const box = node.closest(".palette-field, .scope") || node, ring = getComputedStyle(box);
  const within = (at, most) => Math.min(Math.max(at, 1), most - 1);
  const x = within(left + Math.min(width, 24) / 2, innerWidth), y = within(top + Math.min(height, 24) / 2, innerHeight);
  const over = document.elementFromPoint(x, y);
  return {
    control: node.dataset.control === undefined ? -1 : Number(node.dataset.control),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || ring.boxShadow !== "none",
    seen: Boolean(over && (node.contains(over) || over.contains(node))),
  };
}"""
# Whether one of these controls is not on the page any more.
REPLACED = (
    """numbers => numbers.some(number => !document.querySelector(`[data-control="${number}"]`)?.checkVisibility())"""
)
NOBODY = "00000000000000000000000000"


def addresses(day: BadDay) -> dict[str, str]:
    """The pages, each where it has most to say."""
    found = {
        "attention": "attention",
        "task": f"tasks/{day.found['stalled']}",
        "approval": f"approvals/{day.found['approval']}",
        "invocation": f"invocations/{day.found['undeclared']}",
        "changes": "changes",
        "view": f"views/{day.owner.get(day.owner.ws('/views'))['items'][0]['id']}",
        "approvers": "approvers",
        "webhooks": "webhooks",
        "policy": "policies/workspace/governance",
        "accounts": "accounts",
        "trust": trusted(day),
        "exceptions": excepted(day),
        **told(day),
    }
    return {name: f"{day.url}/w/{day.ids['workspace']}/{path}" for name, path in found.items()}


def told(day: BadDay) -> dict[str, str]:
    """The pages of a webhook that nobody answers, and of one delivery to it."""
    known = day.owner.get(day.owner.ws("/webhooks"))["items"]
    if known:
        hook = known[0]["id"]
    else:
        body = {"url": "https://hooks.worka.test/in", "types": ["approval.expired"], "description": "the pager"}
        hook = day.owner.post(day.owner.ws("/webhooks"), body)["id"]
        day.owner.post(f"/v1/webhooks/{hook}/test")
    (delivery, *_) = day.owner.get(f"/v1/webhooks/{hook}/deliveries")["items"]
    return {"webhook": f"webhooks/{hook}", "delivery": f"deliveries/{delivery['id']}"}


def trusted(day: BadDay) -> str:
    """The page of upstream trust, with a record on it."""
    if not day.owner.get(day.owner.ws("/upstream-trusts"))["items"]:
        body = {"name": "inside.example.com", "ca_pem": Authority("inside").pem.decode(), "reason": "a CA of our own"}
        day.owner.post(day.owner.ws("/upstream-trusts"), body)
    return "broker/trust"


def excepted(day: BadDay) -> str:
    """The page of network exceptions, with a record on it."""
    if not day.owner.get(day.owner.ws("/network-exceptions"))["items"]:
        body = {"name": "inside.example.com", "port": 80, "address": "10.0.0.5", "real_port": 80, "reason": "the wiki"}
        day.owner.post(day.owner.ws("/network-exceptions"), body)
    return "broker/exceptions"


@pytest.fixture(scope="module")
def state(browser: Browser, bad_day: BadDay) -> Any:
    """One sign-in for the whole file."""
    context = browser.new_context()
    sign_in(context, f"{bad_day.url}/sign-in?link={bad_day.approver.post('/v1/sign-in-links')['token']}")
    found = context.storage_state()
    context.close()
    return found


@pytest.fixture
def eyes(browser: Browser, state: Any) -> Iterator[Eyes]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, storage_state=state)
    yield look(context)
    context.close()


def live(page: Page) -> None:
    expect(page.locator("#live-state")).to_have_text("Live", timeout=WAIT)


def by_keyboard(page: Page) -> None:
    """Tab reaches every control in the order of the page, each shows that it is reached, nothing hides it, none is a trap."""
    page.wait_for_load_state("load")
    for _ in range(3):
        names = page.evaluate(CONTROLS)
        reached = walk(page, names)
        missed = [number for number in range(len(names)) if number not in reached]
        if not missed or not page.evaluate(REPLACED, missed):
            break  # else news came in meanwhile, and a part of the page is another one now
    assert not missed, f"{page.url}: Tab never reaches {[names[number] for number in missed]}"
    begin = reached.index(min(reached))
    order = reached[begin:] + reached[:begin]
    assert order == sorted(order), f"{page.url}: the order jumps: {[names[number] for number in order]}"


def walk(page: Page, names: list[str]) -> list[int]:
    """The controls in the order in which Tab reaches them, once around."""
    reached: list[int] = []
    for _ in range(len(names) * 2 + 40):
        page.keyboard.press("Tab")
        now = page.evaluate(REACHED)
        if now is not None and now["control"] >= 0:
            if reached and now["control"] == reached[-1]:
                continue  # a date has a stop for each of its parts
            if now["control"] in reached:
                return reached
            name = names[now["control"]]
            assert now["ring"], f"{page.url}: nothing shows that “{name}” is reached"
            assert now["seen"], f"{page.url}: “{name}” is reached and cannot be seen"
            reached.append(now["control"])
    raise AssertionError(f"{page.url}: Tab does not come to an end: {[names[number] for number in reached[-5:]]}")


@ACCESSIBLE
def test_with_data_every_page_says_its_verdict_first(eyes: Eyes, bad_day: BadDay) -> None:
    for name, address in addresses(bad_day).items():
        eyes.page.goto(address)
        live(eyes.page)
        if name in ("attention", "task", "approval", "invocation"):
            tops = eyes.page.evaluate(
                "[document.querySelector('[data-verdict]'), document.querySelector('.card')]"
                ".map(node => node.getBoundingClientRect().top)"
            )
            assert tops[0] < tops[1], "the verdict is not above the evidence"
        eyes.check_all(name)


@pytest.mark.capability("DOR-4", part="keyboard")
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_worked_by_keyboard_alone(eyes: Eyes, bad_day: BadDay, width: int) -> None:
    eyes.wear("light", width)
    for address in addresses(bad_day).values():
        eyes.page.goto(address)
        live(eyes.page)
        by_keyboard(eyes.page)
    # The first stop of every page skips the menu.
    eyes.page.goto(addresses(bad_day)["changes"])
    eyes.page.keyboard.press("Tab")
    expect(eyes.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    eyes.page.keyboard.press("Enter")
    eyes.page.keyboard.press("Tab")
    assert eyes.page.evaluate("document.querySelector('main').contains(document.activeElement)")


@ACCESSIBLE
def test_loading_is_said_while_a_page_takes_its_time(eyes: Eyes, bad_day: BadDay) -> None:
    page = eyes.page
    held: list[Route] = []
    told: list[Any] = []

    def tell(route: Route) -> None:
        told.append(route.request.post_data_json)
        route.fulfill(status=204)
        held.pop().continue_()

    page.route("**/told", tell)
    # A page of another address than the one before: each of them is once the one that is waited for.
    start = f"{bad_day.url}/w/{bad_day.ids['workspace']}/views"
    for address in addresses(bad_day).values():
        page.goto(start)
        expect(page.locator("#loading")).to_be_hidden()
        page.route(address, lambda route: held.append(route))
        page.evaluate(TELL)
        page.evaluate(FOLLOW, address)
        page.wait_for_url(address, timeout=WAIT)
        page.unroute(address)
        assert told.pop() == {"text": "Loading…", "seen": True, "busy": "true", "said": "Loading"}
        assert not told
        expect(page.locator("#loading")).to_be_hidden()


@ACCESSIBLE
def test_what_is_shown_while_loading_can_be_read_and_ends_when_the_reader_stops_it(eyes: Eyes, bad_day: BadDay) -> None:
    page = eyes.page
    page.goto(addresses(bad_day)["attention"])
    live(page)
    page.evaluate(STAY)
    page.evaluate(FOLLOW, addresses(bad_day)["changes"])
    expect(page.locator("#loading")).to_be_in_viewport(ratio=1)
    eyes.check_all("attention-loading")
    page.keyboard.press("Escape")
    expect(page.locator("#loading")).to_be_hidden()
    assert page.locator("#main").get_attribute("aria-busy") == "false"


@ACCESSIBLE
def test_empty_says_what_will_be_here_and_what_to_do(browser: Browser, quiet: Quiet) -> None:
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), quiet.link())
    page = eyes.page
    for name, address, words, onward in (
        ("attention", "attention", "Nothing needs you", "All tasks"),
        ("tasks", "tasks", "No task is in flight", "worka task create"),
        ("approvals", "approvals", "No decision waits", "Decided approvals"),
        ("invocations", "invocations", "No pack has been called yet", "worka tool list"),
        ("changes", "changes?lane=sharing", "The filter finds nothing", "Show all changes"),
        ("views", "views", "No view yet", "worka task create"),
        ("approvers", "approvers", "No group yet", "Make a group"),
        ("webhooks", "webhooks", "No webhook yet", "Add a webhook"),
        ("policy", "policies/tenant/governance", "No version yet", "Propose"),
        ("accounts", "accounts", "No service account yet", "Make one of your own"),
        ("trust", "broker/trust", "No upstream trust yet", "Record a name"),
        ("exceptions", "broker/exceptions", "No network exception yet", "Record an exception"),
        ("task", f"tasks/task_{NOBODY}", "This is not here", "What needs me now"),
        ("approval", f"approvals/apr_{NOBODY}", "This is not here", "What needs me now"),
        ("invocation", f"invocations/inv_{NOBODY}", "This is not here", "What needs me now"),
        ("view", f"views/view_{NOBODY}", "This is not here", "What needs me now"),
        ("webhook", f"webhooks/whk_{NOBODY}", "This is not here", "What needs me now"),
        ("delivery", f"deliveries/dlv_{NOBODY}", "This is not here", "What needs me now"),
    ):
        page.goto(quiet.page(address))
        expect(page.locator("main")).to_contain_text(words)
        expect(page.locator("main")).to_contain_text(onward)
        if words != "This is not here":
            live(page)
            eyes.check_all(f"{name}-empty")
            by_keyboard(page)
        elif name == "task":
            eyes.check_all(f"{name}-empty")
            by_keyboard(page)
        else:
            expect(page.locator("main")).to_contain_text("What helps")
            eyes.check()
    page.context.close()


def same(page: Page) -> str:
    """What a page of a problem says, without what names this one request: the rest is the same for all pages."""
    text = re.sub(r' data-control="\d+"', "", page.locator("main").inner_html())
    for changing in (
        r"[0-9a-f]{32}",
        r"…?[0-9a-f]{12}…?",
        r"[a-z]+_[0-9a-z]{26}",
        r"\d+ \w+ \d{4}, [\d:]+",
        r"/w/[^\"]+",
    ):
        text = re.sub(changing, "…", text)
    return text


@ACCESSIBLE
def test_stale_is_said_with_its_age_and_nothing_is_taken_away(eyes: Eyes, bad_day: BadDay) -> None:
    pages = list(addresses(bad_day).items())
    for first in range(0, len(pages), AT_ONCE):
        stale(eyes, dict(pages[first : first + AT_ONCE]))


def stale(eyes: Eyes, pages: dict[str, str]) -> None:
    """Opens these, takes the cable out, looks at each, and puts it back in."""
    context = eyes.page.context
    opened = {}
    for name, address in pages.items():
        one = look(context)
        one.page.goto(address)
        live(one.page)
        opened[name] = (one, one.page.locator("h1").inner_text())
    context.set_offline(True)
    for name, (one, shown) in opened.items():
        page = one.page
        expect(page.locator("#live-state")).to_have_text(re.compile(r"Stale, as of \d+ \w+ ago"), timeout=WAIT)
        expect(page.locator("#stale")).to_contain_text("The console does not answer.", timeout=WAIT)
        page.bring_to_front()
        assert page.locator("h1").inner_text() == shown
        # What was there is unchanged, and was looked at with data; what is new is the same on every page.
        for scheme, width in LOOKS:
            one.wear(scheme, width)
            expect(page.locator("#stale")).to_be_in_viewport(ratio=1)
            one.fits()
        if name in ("attention", "task"):
            one.check_all(f"{name}-stale")
        if name == "attention":
            by_keyboard(page)
            assert "Try now" in page.evaluate(CONTROLS)
    context.set_offline(False)
    for one, _ in opened.values():
        one.page.get_by_role("button", name="Try now").or_(one.page.locator("h1")).first.focus()
        live(one.page)
        expect(one.page.locator("#stale")).to_be_hidden()
        one.page.close()


@contextlib.contextmanager
def no_database(day: BadDay) -> Iterator[None]:
    """PostgreSQL is really gone: killed, and the supervisor that would start it again is stopped."""
    supervisor = json.loads((day.home / "run" / "instance.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        EmbeddedPostgres(day.home).stop("immediate")
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        back(day)


def back(day: BadDay) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError, Failed):
            day.owner.get(day.owner.ws("/tasks"))
            return
        time.sleep(0.2)
    raise AssertionError("the instance did not come back")


@ACCESSIBLE
def test_failed_says_what_is_away_what_helps_and_goes_on_when_it_is_back(eyes: Eyes, bad_day: BadDay) -> None:
    pages = addresses(bad_day)
    reader = look(eyes.page.context)
    reader.page.goto(pages["task"])
    live(reader.page)
    asking = {name: look(eyes.page.context) for name in pages}
    for one in asking.values():
        one.page.goto(f"{bad_day.url}/sign-in")  # from a page of ours, as a reader comes
    said = ""
    with no_database(bad_day):
        # All at once: each waits for the database until the door gives up.
        for name, address in pages.items():
            asking[name].page.evaluate("address => { setTimeout(() => location.assign(address)); }", address)
        for name, address in pages.items():
            one, page = asking[name], asking[name].page
            expect(page.locator("h1")).to_have_text("A part of Worka is away", timeout=60_000)
            assert page.url == address
            expect(page.locator(".kind")).to_contain_text("503")
            expect(page.locator("main")).to_contain_text("What helps")
            again = page.get_by_role("link", name="Try again")
            expect(again).to_have_attribute("href", re.compile(re.escape(address.partition("/w/")[2])))
            one.complaints.clear()  # the browser's own line about the status 503
            if not said:
                said = same(page)
                page.bring_to_front()
                one.check_all(f"{name}-failed")
                by_keyboard(page)
            assert same(page) == said
        # A page that was open notices, although its connection to the console lives; what it showed stays.
        expect(reader.page.locator("#stale")).to_contain_text("A part of Worka does not answer.", timeout=60_000)
        expect(reader.page.locator("#live-state")).to_have_text(re.compile("Stale, as of"))
        expect(reader.page.locator("h1")).to_have_text("Match payments of April")
    again.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(address)
    expect(page.locator("h1")).not_to_have_text("A part of Worka is away")
    live(reader.page)
    expect(reader.page.locator("#stale")).to_be_hidden()


def test_the_gallery_is_complete_and_can_be_made_anew(eyes: Eyes, bad_day: BadDay, tmp_path: Path) -> None:
    kept = {path.stem: path for path in (Path(__file__).parents[2] / "docs" / "screenshots").glob("*.png")}
    assert set(kept) == PAGES, "run `make screenshots`"
    assert sum(path.stat().st_size for path in kept.values()) < 3_000_000, "pictures that a clone carries stay small"
    eyes.page.goto(addresses(bad_day)["attention"])
    for scheme, width in LOOKS:
        eyes.wear(scheme, width)
        made = eyes.keep(tmp_path, f"attention-{scheme}-{width}").read_bytes()
        assert made.startswith(b"\x89PNG")
        assert int.from_bytes(made[16:20], "big") == width
        assert len(made) > 20_000, "an empty picture"
