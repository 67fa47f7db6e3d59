"""Whatever runs, an operator answers for it: the eight questions about a tool, by two clicks, by one command and by one call."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Road, sign_in
from tests.console.test_inviting import kept
from tests.console.test_states import by_keyboard
from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
TOOL, PACK = "worka.notes.publish_notes", "worka.notes"
CLICKS, SECONDS = 2, 10.0


def expected(stage: Demo) -> dict[str, tuple[str, str]]:
    """Question -> what its answer has to say of the stage's pack."""
    made = stage.owner.get(f"/v1/releases/{stage.ids['release_notes']}")
    return {
        "owner": ("Whose is it?", "worka; registered by Olga Owner"),
        "source": ("From which source?", "its manifest names no source; what was handed in has the hash"),
        "release": ("Which release?", f"{PACK} 1.0.0, digest {made['digest'][:12]}, released"),
        "attached": ("Who attached it?", "Olga Owner on"),
        "approved": ("Who approved that?", "Arno Approver on"),
        "may": ("What may it do?", "publish_notes acts on outside systems; it may reach tracker.worka.test:443"),
        "users": ("Which workspaces use it?", "Releases (1.0.0)"),
        "breaks": ("What breaks if it is revoked?", "what runs goes on; quarantined, 1 attachment"),
    }


@pytest.mark.capability("LIF-6", part="every question that an operator asks of a tool, by every door")
@pytest.mark.capability("OBS-5", part="the eight questions about a running tool")
@pytest.mark.capability("DOR-4", part="the eight questions about a running tool: two clicks, ten seconds")
def test_eight_questions_about_a_tool_are_answered_in_two_clicks_by_one_command_and_by_one_call(
    browser: Browser, stage: Demo, standing: Road, instance: Instance
) -> None:
    told = stage.owner.get(stage.owner.ws("/lineage"), subject=TOOL)["answers"]
    wanted = expected(stage)
    assert [item["key"] for item in told] == list(wanted)
    for item in told:
        question, words = wanted[item["key"]]
        assert item["question"] == question
        assert words.casefold() in item["answer"].casefold(), item
        assert all(ref["id"] for ref in item["refs"]), item

    began = time.monotonic()
    done = instance.worka(
        "pack", "lineage", TOOL, WORKA_URL=stage.url, WORKA_TOKEN=stage.owner.token or "",
        WORKA_WORKSPACE=stage.ids["workspace"],
    )  # fmt: skip
    assert time.monotonic() - began < SECONDS
    assert done.returncode == 0, done.stderr
    flat = " ".join(done.stdout.split())
    for item in told:
        assert f"{item['question']} {' '.join(item['answer'].split())}" in flat, (item["key"], done.stdout)

    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(stage.owner))
    page = eyes.page
    began, clicks = time.monotonic(), 0
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Packs").click()
    clicks += 1
    expect(page.get_by_role("heading", name="Packs", exact=True)).to_be_visible()
    page.locator("main a[href$='/packs/worka.notes']", has_text="Release notes").click()
    clicks += 1
    asked = page.get_by_role("region", name="What an operator asks")
    of_pack = stage.owner.get(stage.owner.ws("/lineage"), subject=stage.ids["attachment_notes"])["answers"]
    for item in of_pack:
        expect(asked).to_contain_text(item["question"])
        expect(asked).to_contain_text(item["answer"])
    spent = time.monotonic() - began
    assert (clicks <= CLICKS, spent < SECONDS) == (True, True)
    kept(eyes, "pack")
    by_keyboard(page)
    page.go_back()
    kept(eyes, "packs")
    by_keyboard(page)
    page.go_forward()
    # From the pack's page its tool, and from there what each answer stands on, is a click away.
    page.get_by_role("link", name="publish_notes", exact=True).click()
    for item in told:
        expect(asked).to_contain_text(item["answer"])
    kept(eyes, "lineage")
    by_keyboard(page)
    page.get_by_role("link", name="See what a quarantine would stop").click()
    expect(page.get_by_role("region", name="What it would stop")).to_contain_text("1 attachment stops")
    kept(eyes, "withdraw")
    page.go_back()
    asked.get_by_role("link", name="the approval", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Arno Approver")
    assert eyes.complaints == []
    page.context.close()
