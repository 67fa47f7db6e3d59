"""The first two questions of an operator, answered from the signed-in home of a workspace on its worst day."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.console.conftest import Eyes, sign_in
from tests.support.bad_day import BILLING, UNDECLARED, BadDay

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
SECONDS = 10.0
CLICKS = 2
# A click of a mouse counts, and so does a key that opens something.
COUNTER = """
addEventListener("click", (e) => { if (e.isTrusted && e.detail > 0) sessionStorage.steps = Number(sessionStorage.steps || 0) + 1; }, true);
addEventListener("keydown", (e) => { if (e.isTrusted && e.key === "Enter") sessionStorage.steps = Number(sessionStorage.steps || 0) + 1; }, true);
addEventListener("mousedown", () => { sessionStorage.mouse = "used"; }, true);
"""
# What really happened, by who seeded it: (the row of the home, what is typed into the palette, the cause).
RUNNING = {
    "stalled": ("Match payments of April", "April", r"its worker is down since .+, and no worker is alive"),
    "queued": ("Match payments of 2026", "of 2026", r"no worker is alive"),
    "retrying": (
        "Reminder to Breakwater & Sons",
        "Breakwater",
        r"ended with exit code 1.+FileNotFoundError: templates/reminder\.html",
    ),
    "waiting": ("Release notes of mole", "notes of mole", r"Arno Approver"),
    "payment": ("Pay invoice 2233", "2233 task", r"Call acme\.billing\.post_payment.+Arno Approver"),
}
FAILED = {
    "undeclared": (
        "undeclared destination",
        "fetch_rates",
        rf"{re.escape(UNDECLARED)}.+refused.+declares ledger\.bank\.example",
    ),
    "crashed": (
        "pack crashed",
        "render_invoice",
        r"ended with exit code 1.+FileNotFoundError: templates/reminder\.html",
    ),
    "too_much_memory": ("out of memory", "import_statement", r"more than its 128 MiB"),
    "invalid": ("output invalid", "sum_ledger output", r"/total: must be of type number"),
}


def home(browser: Browser, day: BadDay) -> tuple[BrowserContext, Eyes]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, f"{day.url}/sign-in?link={day.approver.post('/v1/sign-in-links')['token']}")
    eyes.page.add_init_script(COUNTER)
    eyes.page.goto(f"{day.url}/w/{day.ids['workspace']}/attention")
    eyes.page.evaluate("sessionStorage.steps = 0; delete sessionStorage.mouse")
    return context, eyes


def answered(page: Page, day: BadDay, cause: str, go: Callable[[], None], kind: str) -> dict[str, Any]:
    """Goes, reads the answer, and holds it against the clock, the clicks, the truth and the API."""
    started = time.monotonic()
    go()
    page.wait_for_url(f"**/{kind}s/**")
    expect(page.locator("[data-verdict]")).to_have_text(re.compile(cause, re.DOTALL))
    assert time.monotonic() - started <= SECONDS
    assert int(page.evaluate("sessionStorage.steps")) <= CLICKS
    ref = page.url.rsplit("/", 1)[1].partition("?")[0]
    answer: dict[str, Any] = day.approver.get(f"/v1/{kind}s/{ref}/why")
    shown = page.locator("[data-verdict]").inner_text()
    assert timeless(shown) == timeless(answer["headline"])
    return answer


def timeless(headline: str) -> str:
    return re.sub(r"\d+ (s|min|h|d)\b", "…", headline).strip()


def from_home(page: Page, name: str) -> Callable[[], None]:
    row = page.locator("li", has=page.get_by_role("link", name=name, exact=True)).last
    why = row.get_by_role("link", name="Why")
    return lambda: why.click()


def from_approval(page: Page, name: str) -> Callable[[], None]:
    """A task that waits for a decision stands with it, once."""
    link = page.locator("#lane-approvals").get_by_role("link", name=name, exact=True)
    return lambda: link.click()


def through_tasks(page: Page, name: str) -> Callable[[], None]:
    def go() -> None:
        page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
        page.get_by_role("link", name=name, exact=True).click()

    return go


def by_palette(page: Page, words: str, first: str) -> Callable[[], None]:
    def go() -> None:
        page.keyboard.press("Control+k")
        page.keyboard.type(words)
        expect(page.locator("#palette [data-found] [role=option][aria-selected=true]")).to_contain_text(first)
        page.keyboard.press("Enter")

    return go


@pytest.mark.capability("DOR-4", "OBS-5", part="why is this workflow still running")
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
@pytest.mark.parametrize("state", list(RUNNING))
def test_why_is_this_workflow_still_running(browser: Browser, bad_day: BadDay, state: str, hand: str) -> None:
    name, typed, cause = RUNNING[state]
    context, eyes = home(browser, bad_day)
    page = eyes.page
    by_mouse = {"queued": through_tasks, "waiting": from_approval, "payment": from_approval}.get(state, from_home)
    go = by_mouse(page, name) if hand == "mouse" else by_palette(page, typed, name)
    answer = answered(page, bad_day, cause, go, "task")
    assert answer["subject"] == bad_day.found[state]
    if hand == "keyboard":
        assert page.evaluate("sessionStorage.mouse") is None
    eyes.check()
    context.close()


@pytest.mark.capability("DOR-4", "OBS-5", part="why did this pack fail to invoke")
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
@pytest.mark.parametrize("kind", list(FAILED))
def test_why_did_this_pack_fail_to_invoke(browser: Browser, bad_day: BadDay, kind: str, hand: str) -> None:
    reason, typed, cause = FAILED[kind]
    context, eyes = home(browser, bad_day)
    page = eyes.page
    if hand == "mouse":
        lane = page.locator("#lane-packs")
        link = lane.get_by_role("link", name=re.compile(f"Why: acme.billing, .*{reason}"))
        go: Callable[[], None] = lambda: link.click()  # noqa: E731
    else:
        go = by_palette(page, typed, typed.split(" ")[0])
    answer = answered(page, bad_day, cause, go, "invocation")
    leg = next(leg["name"] for leg in answer["road"] if leg["state"] == "failed")
    expect(page.locator(".road .bad .leg")).to_have_text(leg.capitalize())
    if kind == "crashed":
        expect(page.locator(".terminal").first).to_contain_text("FileNotFoundError: templates/reminder.html")
    eyes.check()
    context.close()


def told(page: Page, started: float) -> None:
    """The answer is read within the time, and within the clicks."""
    assert time.monotonic() - started <= SECONDS
    assert int(page.evaluate("sessionStorage.steps")) <= CLICKS


@pytest.mark.capability("DOR-4", "OBS-5", part="what changed")
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
def test_what_changed(browser: Browser, bad_day: BadDay, hand: str) -> None:
    context, eyes = home(browser, bad_day)
    page, started = eyes.page, time.monotonic()
    if hand == "mouse":
        page.get_by_role("navigation").get_by_role("link", name="Changes").click()
        page.get_by_label("What", exact=True).fill("acme.payroll")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**/changes?*payroll*")
    else:
        page.keyboard.press("Control+k")
        page.keyboard.type("what changed")
        expect(page.locator("#palette [role=option][aria-selected=true]")).to_contain_text("changed in the last hour")
        page.keyboard.press("Enter")
        page.wait_for_url("**/changes?since=1h")
    line = page.locator("#live .change-line")
    expect(line.first).to_be_visible()
    expect(page.locator("#live")).to_contain_text("Olga Owner")
    told(page, started)
    # What it says is what the record holds, of the pack that was asked about, and who did it.
    shown = {row.get_attribute("data-change") for row in page.locator("#live [data-change]").all()}
    query = {"subject": "acme.payroll"} if hand == "mouse" else {"since": "1h"}
    held = bad_day.approver.get(bad_day.approver.ws("/changes"), limit=200, **query)["items"]
    assert shown
    assert shown <= {str(item["id"]) for item in held}
    if hand == "mouse":
        assert all("acme.payroll" in text for text in line.locator("strong").all_inner_texts())
    eyes.check()
    context.close()


@pytest.mark.capability("OBS-5", part="why packs fail, by reason, from the home")
def test_why_packs_fail_by_reason(browser: Browser, bad_day: BadDay) -> None:
    context, eyes = home(browser, bad_day)
    page, started = eyes.page, time.monotonic()
    page.get_by_role("navigation").get_by_role("link", name="Releases").click()
    page.get_by_role("link", name="Failures by reason").click()
    row = page.locator("tr", has_text="undeclared destination").first
    expect(row).to_contain_text("fetch_rates")
    told(page, started)
    counted = bad_day.approver.get(bad_day.approver.ws("/failures"), days=7)["items"]
    of = {(item["what"], item["reason"]): item["count"] for item in counted}
    assert of["invocation", "undeclared_destination"] >= 3, "two calls and a task"
    expect(row.locator(".num")).to_have_text(str(of["invocation", "undeclared_destination"]))
    expect(page.locator("main")).to_contain_text("Registrations")
    # Of one pack, from its own page: the others' failures are not among them.
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/attachments/{bad_day.found['unconnected']}")
    page.get_by_role("link", name="Its failures by reason").click()
    page.wait_for_url("**/failures?pack=acme.payroll")
    expect(page.locator("main")).to_contain_text("acme.payroll")
    expect(page.locator("main")).not_to_contain_text("undeclared destination")
    page.get_by_role("link", name="30 days").click()
    page.wait_for_url("**/failures?pack=acme.payroll&days=30")
    eyes.check()
    context.close()


def test_the_home_tells_apart_what_needs_a_decision_what_is_stuck_and_what_merely_waits(
    browser: Browser, bad_day: BadDay
) -> None:
    context, eyes = home(browser, bad_day)
    page = eyes.page
    decisions, stuck = (page.locator(f"#lane-{name}") for name in ("approvals", "tasks"))
    expect(decisions).to_contain_text("Pay invoice 2233")
    expect(stuck).to_contain_text("Match payments of April")
    expect(stuck).not_to_contain_text("Pay invoice 2233")
    assert page.locator("main").inner_text().count("Pay invoice 2233") == 1, "one piece of work, once"
    expect(stuck.locator("li", has_text="Pay invoice 2231")).to_contain_text("Was not done: you rejected it")
    # The one cause, and what follows from it.
    expect(page.locator("#lane-services")).to_contain_text(
        re.compile(r"worker.+since .+; \d tasks here wait for one", re.S)
    )
    expect(stuck.locator("li", has_text="Match payments of April")).to_contain_text("no worker is alive")
    expect(page.locator("#lane-capability")).to_contain_text("acme.payroll")
    expect(page.locator("#lane-packs")).to_contain_text("in fetch_rates: The pack's release does not declare")
    expect(stuck).to_contain_text(
        "rates.bank.example was refused. The pack's release does not declare this destination."
    )
    expect(stuck).to_contain_text("FileNotFoundError: templates/reminder.html")
    plain(page.locator("main").inner_text())
    context.close()


def plain(text: str) -> None:
    """A person reads names and words: no ids, no reason codes, no exceptions of some programming language."""
    assert re.findall(r"\b[a-z]{2,8}_[0-9a-z]{26}\b", text) == [], "an id where a name belongs"
    manifests = [BILLING / "worka/aip.json", *(Path(__file__).parents[2] / "packs").glob("*/worka/aip.json")]
    tools = {tool["name"] for path in manifests for tool in json.loads(path.read_text())["tools"]}
    codes = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)) - tools
    assert codes == set(), "a code where words belong"
    assert "Errno" not in text


@pytest.mark.capability("OBS-5", part="what failed work was refused by, and by whom")
def test_what_failed_says_who_or_what_stopped_it_and_leads_there(browser: Browser, bad_day: BadDay) -> None:
    context, eyes = home(browser, bad_day)
    page = eyes.page
    for name, cause, action, leads_to in (
        ("Pay invoice 2231", r"rejected by Arno Approver.+paid in February", "See who decided", "/approvals/apr_"),
        (
            "Salaries of March",
            r"acme\.payroll does not serve.+connection",
            "See why the pack does not",
            "/attachments/att_",
        ),
        ("Rates of the day for Porto", r"rates\.bank\.example was refused", "See where the call", "/invocations/inv_"),
    ):
        page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/attention")
        from_home(page, name)()
        page.wait_for_url("**/tasks/**")
        verdict = page.locator("[data-verdict]")
        expect(verdict).to_have_text(re.compile(cause, re.DOTALL))
        plain(verdict.inner_text())
        page.locator("#next + ul li", has_text=action).get_by_role("link", name="Open").click()
        page.wait_for_url(f"**{leads_to}**")
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/changes")
    plain(page.locator("#live").inner_text())
    context.close()


def test_the_day_holds_what_it_says(bad_day: BadDay) -> None:
    states = {name: bad_day.owner.get(f"/v1/tasks/{bad_day.found[name]}/why")["state"] for name in RUNNING}
    assert states == {
        "stalled": "stalled",
        "queued": "queued",
        "retrying": "retrying",
        "waiting": "waiting",
        "payment": "waiting",
    }
    reasons = {name: bad_day.owner.get(f"/v1/invocations/{bad_day.found[name]}/why")["reason"] for name in FAILED}
    assert reasons == {
        "undeclared": "undeclared_destination",
        "crashed": "pack_crashed",
        "too_much_memory": "pack_out_of_memory",
        "invalid": "output_invalid",
    }, json.dumps(reasons)


def enter(browser: Browser, day: BadDay, path: str, width: int = 1280) -> Page:
    context = browser.new_context(viewport={"width": width, "height": 860})
    page = sign_in(context, f"{day.url}/sign-in?link={day.approver.post('/v1/sign-in-links')['token']}").page
    page.goto(f"{day.url}/w/{day.ids['workspace']}/{path}")
    return page


@pytest.mark.capability("OBS-5", part="a part of the platform that is down, and the work that stands still for it")
def test_a_part_that_is_down_leads_to_the_work_behind_it_and_says_what_is_done_on_the_machine(
    browser: Browser, bad_day: BadDay
) -> None:
    page = enter(browser, bad_day, "attention")
    by_palette(page, "doctor", "Worker")()
    page.wait_for_url("**/why/proc_**")
    expect(page.locator("h1")).to_have_text("The worker is down")
    expect(page.locator("[data-verdict]")).to_contain_text("No other is alive.")
    behind = page.locator("section", has=page.locator("#behind"))
    expect(behind).to_contain_text("wait for it")
    expect(page.locator("main")).to_contain_text("worka doctor")
    expect(page.locator("main")).to_contain_text("worka down && worka up")
    own = page.url.rsplit("/", 1)[1]
    assert page.locator(f'main a[href$="{own}"]').count() == 0, "a page does not lead to itself"
    behind.get_by_role("link", name="Match payments of 2026").click()
    page.wait_for_url("**/tasks/**")
    page.get_by_role("link", name=re.compile("no worker is alive to take it")).click()
    page.wait_for_url(f"**/why/{own}")
    page.context.close()


@pytest.mark.capability("OBS-5", part="lists say why in the words of the home")
def test_lists_say_why_in_words_and_name_the_work(browser: Browser, bad_day: BadDay) -> None:
    page = enter(browser, bad_day, "tasks")
    row = page.locator("tr", has_text="Match payments of 2025")
    expect(row).to_contain_text("Its worker is down, and no worker is alive")
    expect(page.locator("main")).not_to_contain_text("holder silent")
    expect(page.locator("tr", has_text="Breakwater")).to_contain_text("FileNotFoundError")
    page.get_by_role("link", name="Running", exact=True).click()
    expect(page.locator("main")).to_contain_text(
        re.compile(r"No task is running.*3 stalled.+1 retrying.+1 queued", re.S)
    )
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/invocations")
    row = page.locator("tr", has_text="Match payments of 2025")
    expect(row).to_contain_text("Stalled")
    expect(page.locator("main")).not_to_contain_text("its task")
    page.context.close()


@pytest.mark.capability("DOR-4", part="changes are found by a part of a name")
def test_changes_are_found_by_a_part_of_a_name_and_an_empty_answer_blames_the_filter(
    browser: Browser, bad_day: BadDay
) -> None:
    page = enter(browser, bad_day, "changes?actor=olga&subject=BREAKWATER")
    main = page.locator("main")
    expect(main).to_contain_text("Who: Olga Owner; What:")
    names = page.locator("#live .change-line strong").all_inner_texts()
    assert names
    assert all("Breakwater" in name for name in names), names
    assert any(name.startswith("run of") for name in names), "a step is called with its task"
    assert page.locator("#live .rest").count() == 0, "what was asked for is not folded away"
    expect(page.locator("#live .row-when").first).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
    page.goto(page.url.replace("BREAKWATER", "nothing+of+this"))
    expect(main).to_contain_text("The filter finds nothing")
    expect(main).to_contain_text("nothing of this")
    page.get_by_role("link", name="Show all changes").click()
    expect(page.locator("#live .change-line").first).to_be_visible()
    page.context.close()


def test_a_mistyped_address_keeps_the_frame_and_tells_a_person_what_a_person_can_do(
    browser: Browser, bad_day: BadDay
) -> None:
    page = enter(browser, bad_day, "aprovals")
    expect(page.locator("h1")).to_have_text("There is no page here")
    expect(page.locator("main")).not_to_contain_text("openapi")
    page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    page.wait_for_url("**/tasks")
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/tasks/task_00000000000000000000000000")
    expect(page.locator("h1")).to_have_text("This is not here")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    page.goto(f"{bad_day.url}/w/ws_00000000000000000000000000/tasks")
    expect(page.locator("h1")).to_have_text("This is not here")
    page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    page.wait_for_url(f"**/w/{bad_day.ids['workspace']}/tasks")
    page.context.close()


@pytest.mark.capability("DOR-4", part="narrow")
@pytest.mark.parametrize("width", [390, 900])
def test_nothing_of_a_list_is_cut_on_a_narrow_window(browser: Browser, bad_day: BadDay, width: int) -> None:
    page = enter(browser, bad_day, "tasks", width)
    for path, words in (("tasks", "no worker is alive"), ("approvals", "Decide"), ("invocations", "Match payments of")):
        page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/{path}")
        cut = page.evaluate(
            "[...document.querySelectorAll('.table td')].filter(td => td.checkVisibility() &&"
            " (td.getBoundingClientRect().right > innerWidth || td.scrollWidth > td.clientWidth + 1)).map(td => td.innerText)"
        )
        assert cut == [], path
        box = page.locator(".table td", has_text=words).first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.context.close()


def test_the_keys_of_a_page_are_listed_and_only_those_that_do_something(browser: Browser, bad_day: BadDay) -> None:
    page = enter(browser, bad_day, "views")
    keys = page.locator("#keys")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    expect(keys).to_contain_text("find, or go to a place")
    expect(keys.get_by_text("approve: asks once more")).to_be_hidden()
    page.keyboard.press("Escape")
    page.goto(f"{bad_day.url}/w/{bad_day.ids['workspace']}/approvals/{bad_day.found['approval']}")
    page.keyboard.press("?")
    expect(keys.get_by_text("approve: asks once more")).to_be_visible()
    page.context.close()
