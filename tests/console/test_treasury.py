"""Secrets in the console: put in, looked at, rotated with its dependants shown and its grants asked about, revoked, destroyed."""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
VALUE, NEW = "cnr-console-value-1", "cnr-console-value-2"


@pytest.mark.capability("TRE-4", "TRE-9", "TRE-10")
def test_a_secret_is_put_in_rotated_and_ended_and_its_value_is_never_shown(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page, name = eyes.page, f"console-{secrets.token_hex(3)}"
    page.goto(standing.page("secrets"))
    expect(page.get_by_role("main")).to_contain_text("tracker")
    form = page.get_by_role("form", name="Put a secret in")
    form.get_by_label("Name").fill(name)
    form.get_by_label("What it is for").fill("the console's test")
    form.get_by_label("Value").fill(VALUE)
    form.get_by_role("button", name="Put it in").click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("nobody may use it: it has no grant")
    eyes.check_all("secret")

    form = page.get_by_role("form", name="Let an attachment use it")
    form.get_by_label("Attachment").fill(stage.ids["attachment_notes"])
    form.get_by_label("Where (host:port)").fill("api.example.com:443")
    form.get_by_role("button", name="Grant it").click()
    expect(page.get_by_role("region", name="Table of grants")).to_contain_text("api.example.com:443")

    form = page.get_by_role("form", name="Give it a new value")
    expect(form).to_contain_text("1 grant of an attachment")
    form.get_by_label("They remain").check()
    form.get_by_role("button", name="Rotate").click()
    expect(main).to_contain_text("Type in the new value, or say that the platform makes it")
    assert stage.owner.get(f"/v1/secrets/{page.url.rpartition('/')[2]}")["version"] == 1, (
        "an empty field replaced the value"
    )
    form = page.get_by_role("form", name="Give it a new value")
    form.get_by_label("New value").fill(NEW)
    form.get_by_label("They remain").check()
    form.get_by_label("The old value stays valid for").fill("30")
    form.get_by_role("button", name="Rotate").click()
    expect(main).to_contain_text("Old and new are both valid until")
    page.get_by_role("button", name="End the old value now").click()
    expect(main).not_to_contain_text("Old and new are both valid")

    page.get_by_role("button", name="Revoke…").click()
    expect(page.locator("#would")).to_contain_text("1 grant of an attachment")
    page.locator("#would").get_by_label("Why").fill("over")
    page.get_by_role("button", name=f"Revoke {name}").click()
    expect(main).to_contain_text("is revoked")
    page.get_by_role("button", name="Destroy its values…").click()
    page.locator("#would").get_by_label("Why").fill("over")
    page.get_by_role("button", name=f"Destroy {name}").click()
    expect(main).to_contain_text("is destroyed")
    assert VALUE not in page.content()
    assert NEW not in page.content()
    page.goto(standing.page("secrets"))
    expect(page.get_by_role("region", name="Table of secrets")).to_contain_text(name)
    eyes.check_all("secrets")
