"""Connections in the console: what is needed, asking for it, consenting at the provider, and the end, looked at before."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
SECRET = "a-client-secret-of-the-console-test"


@pytest.mark.capability("CON-3", "CON-5", "CON-6")
def test_a_connection_is_asked_for_consented_to_and_ended_in_the_console(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page, name = eyes.page, f"GitLab {secrets.token_hex(3)}"
    page.goto(standing.page("connections"))
    main = page.get_by_role("main")
    expect(page.get_by_role("region", name="Table of needs")).to_contain_text("tracker.worka.test:443")
    expect(page.get_by_role("region", name="Table of connections")).to_contain_text("the workspace's")
    form = page.get_by_role("form", name="Register a client")
    form.get_by_label("Outside system").fill("gitlab")
    form.get_by_label("Client id").fill("worka")
    form.get_by_label("Client secret").fill(SECRET)
    form.get_by_role("button", name="Register").click()
    expect(main).to_contain_text("Take back")
    assert SECRET not in page.content()

    form = page.get_by_role("form", name="Ask for a connection")
    form.get_by_label("Outside system").fill("gitlab")
    form.get_by_label("How").select_option("oauth_code")
    form.get_by_label("What people call it").fill(name)
    form.get_by_label("For what access").fill("read projects")
    form.get_by_label("Why").fill("the weekly notes")
    form.get_by_role("button", name="Ask for it").click()
    expect(main).to_contain_text("waits for an approval")
    connection = page.url.rpartition("/")[2]
    eyes.check_all("connection-asked")
    stage.approve(stage.owner.get(f"/v1/connections/{connection}")["approval_id"], "the notes need it")
    page.goto(standing.page(f"connections/{connection}"))
    expect(main).to_contain_text("waits for somebody to consent at the provider")
    page.get_by_role("button", name="Begin…").click()
    begun = page.locator("#begun")
    expect(begun).to_contain_text("the weekly notes")
    going = begun.get_by_role("link", name="Go to GitLab").get_attribute("href") or ""
    assert going.startswith("https://gitlab.com/oauth/authorize?")
    assert "code_challenge_method=S256" in going
    eyes.check_all("connection-begun")

    # What comes back without a consent that was begun is nobody's; a refusal at the provider is told.
    page.goto(f"{standing.base_url}/connections/callback?state=nobody-wrote-this&code=x")
    expect(page.get_by_role("main")).to_contain_text("belongs to no consent")
    state = parse_qs(urlsplit(going).query)["state"][0]
    page.goto(f"{standing.base_url}/connections/callback?state={state}&error=access_denied")
    expect(page.get_by_role("main")).to_contain_text("access_denied")
    eyes.check_all("came-back")
    page.get_by_role("button", name="Note it").click()
    expect(page.get_by_role("main")).to_contain_text("the provider gave no token")

    page.get_by_role("button", name="End it…").click()
    would = page.locator("#would")
    expect(would).to_contain_text("Nothing stands on")
    eyes.check_all("connection-would-end")
    would.get_by_label("Why").fill("not needed")
    would.get_by_role("button", name=f"End {name}").click()
    expect(page.get_by_role("main")).to_contain_text("How it ended")
    page.goto(standing.page("connections"))
    expect(page.get_by_role("region", name="Table of connections")).to_contain_text(name)
    eyes.check_all("connections")
    client = stage.owner.get(stage.owner.ws("/provider-clients"))["items"][0]["id"]
    stage.owner.call("DELETE", f"/v1/provider-clients/{client}")
