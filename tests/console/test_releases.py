"""The pages of releases: which approval blocks one, in two clicks from home; what hangs on it; where a tool comes from."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, look, sign_in
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.mark.capability("OBS-5", part="which approval blocks a release")
@pytest.mark.capability("BEY-3", part="packs, as a list and a picture")
def test_a_release_says_its_gates_in_two_clicks_from_home_and_a_tool_leads_back_to_its_source(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    made = stage.owner.get(f"/v1/releases/{stage.ids['release_notes']}")
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    sign_in(context, standing.link(stage.owner))
    eyes = look(context)
    page = eyes.page
    page.goto(standing.page("attention"))
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Releases").click()
    expect(page.get_by_role("heading", name="Releases", exact=True)).to_be_visible()
    eyes.check_all("releases")
    page.get_by_role("link", name=f"{made['pack']} {made['version']}", exact=True).click()
    main = page.get_by_role("main")
    gates = stage.owner.get(f"/v1/releases/{made['id']}/gates")
    for gate in gates["gates"]:
        expect(main.get_by_role("heading", name="Gates, in order")).to_be_visible()
        expect(main).to_contain_text(gate["because"][:60])
    expect(page.get_by_role("img", name=re.compile("can reach"))).to_be_visible()
    expect(main).to_contain_text(stage.owner.get(f"/v1/releases/{made['id']}/reach")["sentence"])
    grade = stage.owner.get(f"/v1/releases/{made['id']}/grade")
    expect(page.get_by_role("heading", name=re.compile(f"Grade {grade['grade']}"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download the SBOM")).click()
    assert download.value.suggested_filename.endswith(".cdx.json")
    eyes.check_all("release")
    page.goto(standing.page("lineage") + "?subject=worka.notes.check_link")
    found = stage.owner.get(stage.owner.ws("/lineage"), subject="worka.notes.check_link")
    expect(main).to_contain_text(found["sentence"])
    eyes.check_all("lineage")
    page.goto(standing.page("failures"))
    expect(page.get_by_role("heading", name="Failures by reason")).to_be_visible()
    eyes.check_all("failures")
    assert eyes.complaints == []
    context.close()
