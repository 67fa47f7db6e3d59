"""A real browser on a real instance. `Road` is all that a test needs of it: an address, one-time links, ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.console.gallery import PAGES
from tests.support.bad_day import SLOTS, BadDay
from tests.support.instance import Instance, make_instance, make_repository
from worka.cli.client import Client
from worka.cli.demo import Demo

Scheme = Literal["light", "dark"]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROGRAM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
    "preload": False,  # of style sheets, for a rule that is in none of these sets
}
COLOURS = {**RULES, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""What the colour scheme decides: the same page in the other one is looked at for this alone."""
AXE = Axe().axe_script
RUN = "rules => axe.run(rules).then(answer => answer.violations)"
SETTLED = """async () => {
  await document.fonts.ready;
  const finite = document.getAnimations().filter(one => one.effect.getComputedTiming().iterations !== Infinity);
  await Promise.all(finite.map(one => one.finished.catch(() => {})));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
LOOKS: list[tuple[Scheme, int]] = [("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)]
SHOTS = os.environ.get("SCREENSHOTS", "")
"""A folder (docs/screenshots): what the tests look at, and the gallery lists, is also kept there; `make screenshots`."""


@dataclass
class Road:
    """An instance in which one task waits for one open approval, which `approver` may decide and `asker` may not."""

    base_url: str
    workspace_id: str
    task_id: str
    approval_id: str
    approver: Client
    asker: Client

    def link(self, who: Client) -> str:
        """A fresh one-time sign-in link of a person."""
        token = who.post("/v1/sign-in-links")["token"]
        return f"{self.base_url}/sign-in?link={token}"

    def page(self, *parts: str) -> str:
        """The address of a console page of the workspace."""
        return "/".join([self.base_url, "w", self.workspace_id, *parts])


@pytest.fixture
def road(stage: Demo) -> Road:
    """A new task of the shipped workflow, run until it waits for its approval."""
    return begin(stage)


@pytest.fixture(scope="module")
def standing(stage: Demo) -> Road:
    """The same, for tests that decide nothing."""
    return begin(stage)


def started(stage: Demo) -> dict[str, Any]:
    """A new task of the shipped workflow, started through the API."""
    saved = stage.save_workflow()
    task: dict[str, Any] = stage.owner.post(
        stage.owner.ws("/tasks"),
        {
            "workflow": saved["name"],
            "version": saved["version"],
            "inputs": {"repository": stage.repository_name(), "limit": 20},
            "member_id": stage.ids["member"],
        },
    )
    return task


def begin(stage: Demo) -> Road:
    """Starts a task through the API and waits for its approval."""
    task = started(stage)
    deadline = time.monotonic() + 60
    while (state := stage.owner.get(f"/v1/tasks/{task['id']}")["state"]) != "waiting":
        assert state not in ("failed", "cancelled"), stage.owner.get(f"/v1/tasks/{task['id']}/why")
        assert time.monotonic() < deadline, f"the task is {state}"
        time.sleep(0.2)
    why = stage.owner.get(f"/v1/tasks/{task['id']}/why")
    approval = next(wait["ref"] for wait in why["waiting_on"] if wait["kind"] == "approval")
    return Road(stage.url, stage.ids["workspace"], task["id"], approval, stage.approver, stage.owner)


@pytest.fixture(scope="package")
def bad_day() -> Iterator[BadDay]:
    """A workspace on its worst day, on an instance of its own: its worker is stopped and its slots are taken."""
    made = make_instance("test-bad-day-")
    day = BadDay()
    repository = make_repository(made.home / "repos" / "harbour", ["feat: add the pier", "fix: lamp on the mole"])
    before = os.environ.get("WORKA_DEMO_REPO")
    os.environ["WORKA_DEMO_REPO"] = str(repository)
    try:
        made.start(WORKA_WORKFLOWS__CONCURRENCY=str(SLOTS))
        day.home, day.url = made.home, made.url
        day.seed()
        yield day
    finally:
        os.environ.pop("WORKA_DEMO_REPO")
        if before is not None:
            os.environ["WORKA_DEMO_REPO"] = before
        with contextlib.suppress(OSError, KeyError, ValueError):
            day.continue_worker()
        made.stop()
        day.finish(ok=False)
        shutil.rmtree(made.home, ignore_errors=True)


@pytest.fixture(scope="module")
def quiet(instance: Instance) -> Quiet:
    """A workspace in which nothing has happened yet, on an instance where nothing is wrong."""
    demo = Demo(interactive=False, quiet=True)
    demo.home, demo.url = instance.home, instance.url
    demo.people()
    return Quiet(demo.url, demo.ids["workspace"], demo.owner)


@dataclass
class Quiet:
    """A new workspace and its owner."""

    base_url: str
    workspace_id: str
    owner: Client

    def link(self) -> str:
        """A fresh one-time sign-in link."""
        return f"{self.base_url}/sign-in?link={self.owner.post('/v1/sign-in-links')['token']}"

    def page(self, *parts: str) -> str:
        """The address of a console page of the workspace."""
        return "/".join([self.base_url, "w", self.workspace_id, *parts])


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's chromium, started once, without its windows where it is packaged so. It is over before tests of another folder
    begin: none of theirs could run a loop."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def browser(chromium: Browser) -> Iterator[Browser]:
    """It, with no window of another file."""
    yield chromium
    for context in chromium.contexts:
        context.close()


@dataclass
class Eyes:
    """A page that keeps what a person would complain about: script errors, and requests that failed."""

    page: Page
    complaints: list[str]

    def check(self, name: str = "", rules: dict[str, Any] = RULES) -> None:
        """No accessibility violation, nothing wider than the window, no error in the console."""
        self.page.evaluate(SETTLED)
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        found = self.page.evaluate(RUN, rules)
        told = [
            f"{item['id']}: {item['nodes'][0]['html'][:200]} {item['nodes'][0]['failureSummary']}" for item in found
        ]
        assert not told, f"{self.page.url}\n" + "\n".join(told)
        self.fits()
        assert not self.complaints, self.complaints
        if SHOTS and name in PAGES:
            self.keep(Path(SHOTS), name)

    def fits(self) -> None:
        """Nothing is wider than the window."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{self.page.url} is {wide} px wider than the window"

    def check_all(self, name: str) -> None:
        """The same page in both schemes and both widths."""
        seen = 0
        for scheme, width in LOOKS:
            self.wear(scheme, width)
            self.check(f"{name}-{scheme}-{width}", COLOURS if width == seen else RULES)
            seen = width

    def wear(self, scheme: Scheme, width: int) -> None:
        """Changes colours and width of what is shown, as the system and the window would."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 860 if width > 800 else 844})

    def keep(self, folder: Path, name: str) -> Path:
        """A picture of what the window shows."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def look(context: BrowserContext) -> Eyes:
    """A new page that is watched."""
    page = context.new_page()
    eyes = Eyes(page, [])
    page.on("pageerror", lambda error: eyes.complaints.append(str(error)))
    page.on("console", lambda said: eyes.complaints.append(said.text) if _ours(said.type, said.text) else None)
    return eyes


def _ours(kind: str, text: str) -> bool:
    # A page that answers 404 or 403 on purpose is no complaint, nor a cable that a test pulled; a blocked script is.
    ours = not any(
        part in text for part in ("the server responded with a status of 4", "net::ERR_INTERNET_DISCONNECTED")
    )
    return kind == "error" and ours


def sign_in(context: BrowserContext, link: str) -> Eyes:
    """Signs in with a one-time link, as a person does."""
    eyes = look(context)
    eyes.page.goto(link)
    eyes.page.get_by_role("button", name="Sign in").click()
    eyes.page.wait_for_url("**/attention")
    return eyes
