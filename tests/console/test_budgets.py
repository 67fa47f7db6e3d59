"""The first page is small and soon there: counted in bytes, and by the browser's own entries of what it painted."""

from __future__ import annotations

import re
import statistics

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response

from tests.console.conftest import Quiet, sign_in
from worka.web.render import MODULES, version

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
FIRST_PAGE = 300_000
SCRIPTS = 26_000
PAINTED = 1_500
LOADS = 5
PAINTS = """() => new Promise(done => {
  new PerformanceObserver(list => {
    const first = performance.getEntriesByName('first-contentful-paint')[0];
    const large = list.getEntries().at(-1);
    if (first && large) done([first.startTime, large.startTime]);
  }).observe({type: 'largest-contentful-paint', buffered: true});
})"""


def cold(browser: Browser, quiet: Quiet, state: object) -> Page:
    """A page with an empty cache and the reader's session."""
    return browser.new_context(viewport={"width": 1280, "height": 860}, storage_state=state).new_page()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def state(browser: Browser, quiet: Quiet) -> object:
    context = browser.new_context()
    sign_in(context, quiet.link())
    found = context.storage_state()
    context.close()
    return found


@pytest.mark.parametrize("path", ["attention", "sign-in"])
def test_the_first_page_is_small_with_all_that_it_loads(
    browser: Browser, quiet: Quiet, state: object, path: str
) -> None:
    page = cold(browser, quiet, state if path == "attention" else None)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(quiet.page(path) if path == "attention" else f"{quiet.base_url}/sign-in", wait_until="load")
    page.wait_for_timeout(300)
    finished = [answer for answer in answers if "/events" not in answer.url]
    sizes = {answer.url: len(answer.body()) for answer in finished}
    assert len(sizes) >= 4, sizes
    assert sum(sizes.values()) <= FIRST_PAGE, sizes
    assert sum(size for url, size in sizes.items() if url.endswith(".js")) <= SCRIPTS, sizes
    assert {answer.url.split("/")[2] for answer in finished} == {quiet.base_url.split("/")[2]}, (
        "something came from elsewhere"
    )
    page.context.close()


def test_the_quiet_page_is_painted_soon(browser: Browser, quiet: Quiet, state: object) -> None:
    painted = []
    for _ in range(LOADS):
        page = cold(browser, quiet, state)
        page.goto(quiet.page("attention"), wait_until="load")
        painted.append(page.evaluate(PAINTS))
        page.context.close()
    first, largest = (statistics.median(times) for times in zip(*painted, strict=True))
    assert first <= PAINTED, painted
    assert largest <= PAINTED, painted


def test_what_never_changes_is_asked_for_once(browser: Browser, quiet: Quiet, state: object) -> None:
    page = cold(browser, quiet, state)
    page.goto(quiet.page("attention"), wait_until="load")
    asked: list[str] = []
    page.on("requestfinished", lambda request: asked.append(request.url) if not cached(request.response()) else None)
    page.goto(quiet.page("changes"), wait_until="load")
    # The icon of the window is the browser's own affair: it asks for it past the cache.
    assert [url for url in asked if "/static/" in url and not url.endswith("mark.svg")] == []
    page.context.close()


def cached(response: Response | None) -> bool:
    return (
        response is not None and response.request.timing["responseStart"] - response.request.timing["requestStart"] <= 0
    )


def test_static_files_are_immutable_under_their_version_only(quiet: Quiet) -> None:
    with httpx.Client(base_url=quiet.base_url, trust_env=False) as http:
        for name in ("console.css", "fonts/inter.woff2", *(f"js/{module}" for module in MODULES)):
            fixed = http.get(f"/static/v-{version()}/{name}")
            assert fixed.status_code == 200, name
            assert "immutable" in fixed.headers["cache-control"]
            for other in (f"/static/{name}", f"/static/v-000000000000/{name}"):
                answer = http.get(other)
                assert answer.headers["cache-control"] == "no-cache", other
        assert http.get(f"/static/v-{version()}/../render.py").status_code == 404
        assert http.get(f"/static/v-{version()}/js/nothing.js").status_code == 404


def test_every_module_is_named_in_the_page(quiet: Quiet) -> None:
    with httpx.Client(base_url=quiet.base_url, trust_env=False) as http:
        text = http.get("/sign-in").text
        named = set(re.findall(r'(?:href|src)="/static/v-[0-9a-f]{12}/js/([a-z]+\.js)"', text))
        assert named == set(MODULES)
        for module in MODULES:
            source = http.get(f"/static/v-{version()}/js/{module}").text
            imports = set(re.findall(r'from "\./([a-z]+\.js)"|import "\./([a-z]+\.js)"', source))
            assert {a or b for a, b in imports} <= set(MODULES)
