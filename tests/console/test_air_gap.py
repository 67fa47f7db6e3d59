"""The foot of every page says that the deployment is air-gapped: whoever waits for an answer from outside knows why none comes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Eyes, Quiet, look, sign_in
from tests.support.instance import make_instance
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SAID = "Air-gapped: nothing outside is dialled but the operator’s list"


@pytest.fixture(scope="module")
def gapped() -> Iterator[Quiet]:
    """A workspace of an instance of its own, with the gap closed."""
    made = make_instance("test-gap-")
    try:
        made.start(WORKA_NETWORK__AIR_GAPPED="true", WORKA_NETWORK__ALLOWED="registry.corp.test:443")
        demo = Demo(interactive=False, quiet=True)
        demo.home, demo.url = made.home, made.url
        demo.people()
        yield Quiet(demo.url, demo.ids["workspace"], demo.owner)
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)


def opened(browser: Browser, place: Quiet) -> Eyes:
    """A browser of the owner's."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    sign_in(context, place.link())
    return look(context)


@pytest.mark.capability("BRK-15", part="the air gap, told by the console")
def test_the_foot_of_every_page_says_that_the_deployment_is_air_gapped(
    browser: Browser, gapped: Quiet, quiet: Quiet
) -> None:
    eyes = opened(browser, gapped)
    for path in ("attention", "tasks", "broker", "broker/try", "packs", "governance", "webhooks"):
        eyes.page.goto(gapped.page(path))
        expect(eyes.page.locator("footer")).to_contain_text(SAID)
    eyes.check_all("air-gapped")
    # The control: of a deployment without a gap nothing is said.
    eyes = opened(browser, quiet)
    eyes.page.goto(quiet.page("broker"))
    expect(eyes.page.locator("footer")).to_contain_text("as of")
    expect(eyes.page.locator("footer")).not_to_contain_text("Air-gapped")
