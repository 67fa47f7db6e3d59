"""Packs in the console: reviewed, attached, compared, moved, pinned and gone back, by somebody who clicks."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Eyes, Road, sign_in
from tests.console.test_inviting import kept
from tests.console.test_states import by_keyboard
from tests.packs.moving import LOUD, SAY, WIDER
from tests.packs.running import SERVER as PROBE
from tests.packs.test_registration import SERVER, lock, small
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.cli.packs import register

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
WAIT = 30_000


def packed(folder: Path, name: str, version: str, server: str, **changes: Any) -> Path:
    """The folder of a small pack."""
    import json

    document = small(version, publisher=f"p{name}", name=name, **changes)
    (folder / "worka").mkdir(parents=True)
    (folder / "worka" / "aip.json").write_text(json.dumps(document))
    (folder / "requirements.lock").write_text(lock())
    (folder / "server.py").write_text(server)
    return folder


def settled(api: Client, attachment_id: str) -> dict[str, Any]:
    """Where the attachment stands once its move rests."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = api.get(f"/v1/attachments/{attachment_id}/standing")
        if found["attachment"]["state"] != "updating" and (
            found["move"] is None or found["move"]["state"] != "planned"
        ):
            return found
        time.sleep(0.2)
    raise AssertionError("the move did not come to rest")


@pytest.mark.capability("GOV-4", part="in the console")
@pytest.mark.capability("LIF-4", part="the difference in the console, from the review to the way back")
@pytest.mark.capability("GOV-8", part="in the console")
@pytest.mark.capability("BEY-2", part="which recorded calls an attached pack would have served, in the console")
def test_a_pack_is_reviewed_attached_compared_moved_and_taken_back(
    browser: Browser, stage: Demo, standing: Road, tmp_path: Path
) -> None:
    name, owner = f"small{secrets.token_hex(3)}", stage.owner
    first = register(owner, packed(tmp_path / "one", name, "1.0.0", SERVER))
    eyes: Eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(owner))
    page = eyes.page
    page.get_by_role("link", name="Packs", exact=True).first.click()
    page.get_by_role("link", name="Review Small 1.0.0").first.click()
    expect(page.get_by_role("heading", name="What attaching it here would meet")).to_be_visible()
    expect(page.get_by_text("Nothing: it would serve at once.")).to_be_visible()
    kept(eyes, "review")
    by_keyboard(page)
    page.get_by_role("button", name="Attach it").click()
    expect(page.locator("[data-verdict]")).to_contain_text("is attached")
    attachment_id = page.url.rsplit("/", 1)[1]

    second = register(owner, packed(tmp_path / "two", name, "1.1.0", WIDER, tools=[SAY, LOUD]))
    owner.post(owner.ws(f"/tools/p{name}.{name}.say/call"), {"arguments": {"text": "x"}})
    page.reload()
    here = page.url
    page.get_by_role("link", name="what it would have served as 1.1.0").click()
    expect(page.get_by_role("heading", name="Calls made here, had it been attached")).to_be_visible()
    expect(page.get_by_text("would have been served", exact=False).first).to_be_visible()
    expect(page.locator("#recorded ~ ul")).to_contain_text(f"p{name}.{name}.say")
    kept(eyes, "review-recorded")
    page.goto(here)
    expect(page.get_by_text("The tool shout is new: it reads only.")).to_be_visible()
    page.get_by_role("link", name="what differs in 1.1.0").click()
    expect(page.get_by_role("heading", name="1 widening", exact=False)).to_be_visible()
    kept(eyes, "difference")
    by_keyboard(page)
    page.go_back()
    form = page.get_by_role("form", name="Move it")
    form.get_by_label("Why").fill("it is loud")
    form.get_by_role("button", name="Move to 1.1.0").click()
    expect(page.get_by_role("status").filter(has_text="is under way: awaiting approval")).to_be_visible()
    kept(eyes, "attachment-moving")
    page.goto(standing.page("packs"))
    expect(page.get_by_role("link", name="To 1.1.0: waiting for approver")).to_be_visible()
    kept(eyes, "packs-moving")
    page.goto(here)
    found = owner.get(f"/v1/attachments/{attachment_id}/standing")
    card = stage.approver.get(f"/v1/approvals/{found['move']['approval_id']}")
    assert any("shout is new" in line for line in card["card"]["changes"])
    stage.approver.post(
        f"/v1/approvals/{card['id']}/decisions", {"decision": "approve", "digest": card["digest"], "comment": ""}
    )
    now = settled(owner, attachment_id)
    assert now["attachment"]["release_id"] == second["id"], now
    page.reload()
    expect(page.locator("[data-verdict]")).to_contain_text("1.1.0 is attached")
    page.get_by_role("button", name="Go back to 1.0.0").click()
    now = settled(owner, attachment_id)
    assert (now["attachment"]["release_id"], now["attachment"]["mode"]) == (first["id"], "pinned")
    page.reload()
    page.get_by_role("button", name="Let it follow").click()
    expect(page.get_by_text("Follows new releases, on the account of")).to_be_visible(timeout=WAIT)
    kept(eyes, "attachment")
    by_keyboard(page)
    owner.call("DELETE", f"/v1/attachments/{attachment_id}", {"reason": "the test is over"})


@pytest.mark.capability("TOL-5", part="decided, and the decision taken back, in the console")
def test_a_decision_on_a_changed_definition_is_made_and_taken_back_by_a_click(
    browser: Browser, stage: Demo, standing: Road, tmp_path: Path
) -> None:
    name, owner = f"probe{secrets.token_hex(3)}", stage.owner
    tools = [{"name": tool, "side_effect": "read_only"} for tool in ("run", "change", "steady")]
    release = register(owner, packed(tmp_path / "probe", name, "1.0.0", PROBE, tools=tools))
    attachment = owner.post(owner.ws("/attachments"), {"release_id": release["id"]})

    def call(tool: str) -> dict[str, Any]:
        found: dict[str, Any] = owner.post(
            owner.ws(f"/tools/p{name}.{name}.{tool}/call"), {"arguments": {"code": "value = 1"}}
        )
        return found

    def definitions() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = owner.get(f"/v1/attachments/{attachment['id']}/definitions")["items"]
        return found

    assert call("change")["status"] == "succeeded"
    assert call("run")["reason"] == "tool_definition_changed"
    eyes: Eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), standing.link(owner))
    page = eyes.page
    page.goto(standing.page(f"attachments/{attachment['id']}"))
    page.get_by_role("form", name="Decide on run").get_by_role("button", name="Refuse it").click()
    expect(page.get_by_text("refused by", exact=False)).to_be_visible()
    assert [item["decision"] for item in definitions()] == ["refused"]
    kept(eyes, "attachment-decided")
    by_keyboard(page)
    form = page.get_by_role("form", name="Take the decision on run back")
    form.get_by_label("Why").fill("decided too soon")
    form.get_by_role("button", name="Take the decision back").click()
    expect(page.get_by_role("button", name="Take the decision back")).to_have_count(0)
    assert definitions() == []
    owner.call("DELETE", f"/v1/attachments/{attachment['id']}", {"reason": "the test is over"})
    page.context.close()
