"""Ending a task in the console, and saying there what became of a step whose outcome nobody knows: who may, and who not."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Eyes, Road, sign_in
from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
SECONDS = 90


@pytest.fixture(scope="module")
def viewer(stage: Demo) -> Client:
    """Somebody who may look and nothing else, invited as such."""
    invited = stage.owner.post(
        stage.owner.ws("/invitations"), {"email": f"vera+{secrets.token_hex(3)}@acme.test", "role": "viewer"}
    )
    accepted = Client(stage.url).post(
        "/v1/invitations/accept",
        {"token": invited["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": "Vera Viewer"},
    )
    return Client(stage.url, accepted["session_token"], stage.ids["workspace"])


@pytest.fixture
def unknown(stage: Demo, instance: Instance) -> Callable[[], str]:
    """A new task whose worker was killed between the intent and the outcome of a call that may not be repeated."""

    def make() -> str:
        member = stage.owner.post(
            stage.owner.ws("/team-members"),
            {
                "name": f"Gil {secrets.token_hex(2)}",
                "responsibility": "Keeps the branches",
                "instructions": "Follow the branching workflow.",
                "tools": ["mcp.git.git_create_branch"],
                "role": "member",
            },
        )
        step = {"kind": "tool", "name": "branch", "title": "Make the branch", "tool": "mcp.git.git_create_branch"}
        definition = {
            "schema_version": "worka.workflow.v1",
            "name": "branching",
            "title": "Branch for the release",
            "description": "Makes a branch.",
            "inputs": {"type": "object", "properties": {}},
            "members": [{"name": "*", "tools": ["mcp.git.git_create_branch"]}],
            "steps": [step | {"arguments": {"repo_path": "/repo", "branch_name": "release"}, "seconds": 60}],
            "outcomes": ["succeeded", "failed", "cancelled"],
            "limits": {"steps": 5, "seconds": 600},
        }
        stage.owner.post(stage.owner.ws("/workflows"), {"definition": definition})
        armed = instance.home / "failpoints" / "pack.invocation.after_intent"
        proof = armed.with_name(armed.name + ".hit")
        proof.unlink(missing_ok=True)
        armed.touch()
        armed.chmod(0o666)
        try:
            body = {"workflow": "branching", "inputs": {}, "member_id": member["id"]}
            task_id = str(stage.owner.post(stage.owner.ws("/tasks"), body)["id"])
            rests(stage.owner, task_id, "unknown")
        finally:
            armed.unlink(missing_ok=True)
        assert proof.exists(), "no worker was killed: this test proved nothing"
        return task_id

    return make


def rests(reader: Client, task_id: str, *states: str) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while (task := reader.get(f"/v1/tasks/{task_id}"))["state"] not in states:
        assert time.monotonic() < end, f"the task is {task['state']} ({task['reason']}), not {' or '.join(states)}"
        time.sleep(0.1)
    return dict(task)


def enter(browser: Browser, road: Demo, who: Client, task_id: str) -> Eyes:
    token = who.post("/v1/sign-in-links")["token"]
    eyes = sign_in(browser.new_context(viewport={"width": 1280, "height": 860}), f"{road.url}/sign-in?link={token}")
    eyes.page.goto(f"{road.url}/w/{road.ids['workspace']}/tasks/{task_id}")
    return eyes


def by_hand(page: Page, outcome: str) -> Any:
    """The form as somebody sends it who was shown none."""
    origin = "/".join(page.url.split("/")[:3])
    return page.request.post(page.url, form={"outcome": outcome}, headers={"Origin": origin, "Accept": "text/html"})


@pytest.mark.capability("IDN-9", "IDN-14", part="ending a task in the console")
def test_a_viewer_is_told_why_they_cannot_end_a_task_and_the_owner_ends_it(
    browser: Browser, stage: Demo, road: Road, viewer: Client
) -> None:
    eyes = enter(browser, stage, viewer, road.task_id)
    page = eyes.page
    action = page.locator("li", has_text="Cancel the task")
    expect(action).to_contain_text("Not by you")
    expect(action).to_contain_text("needs change")
    expect(page.locator("main form")).to_have_count(0)
    eyes.check()
    refused = by_hand(page, "cancel")
    assert refused.status == 403
    assert "You may not do this" in refused.text() or "may not" in refused.text()
    assert "What can be done" in refused.text(), "the refusal stands on the page of the task"
    assert road.asker.get(f"/v1/tasks/{road.task_id}")["state"] == "waiting"
    page.context.close()

    eyes = enter(browser, stage, stage.owner, road.task_id)
    page = eyes.page
    cancel = page.get_by_role("button", name="Cancel task")
    cancel.focus()
    page.keyboard.press("Enter")
    question = page.get_by_role("dialog")
    expect(question).to_contain_text(
        "Its open approvals are withdrawn and it does not go on. This is recorded under your name."
    )
    expect(question).to_contain_text(f"Cancel “{road.asker.get(f'/v1/tasks/{road.task_id}')['title']}”?")
    eyes.check()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    assert road.asker.get(f"/v1/tasks/{road.task_id}")["state"] == "waiting", "asked, not answered: nothing happened"
    cancel.focus()
    page.keyboard.press("Enter")
    expect(question.get_by_role("button", name="Not yet")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-verdict]")).to_contain_text("Cancelled by a person")
    expect(page.get_by_role("button", name="Cancel task")).to_have_count(0)
    eyes.check()
    assert road.asker.get(f"/v1/tasks/{road.task_id}")["state"] == "cancelled"
    assert road.asker.get(f"/v1/approvals/{road.approval_id}")["state"] == "withdrawn"
    # Ending it once more is refused on the same page, and says that it has ended.
    again = by_hand(page, "cancel")
    assert again.status == 409
    assert "cancelled" in again.text()
    page.context.close()


@pytest.mark.capability("TSK-13", part="a person says in the console what became of an unknown outcome")
@pytest.mark.capability("IDN-14", part="resolving a task in the console")
@pytest.mark.parametrize(
    ("outcome", "button", "ends"),
    [("failed", "End as failed", ("failed",)), ("retry", "Run again", ("succeeded", "failed"))],
)
def test_an_unknown_outcome_is_resolved_by_who_may_and_by_nobody_else(
    browser: Browser,
    stage: Demo,
    viewer: Client,
    unknown: Callable[[], str],
    outcome: str,
    button: str,
    ends: tuple[str, ...],
) -> None:
    task_id = unknown()
    eyes = enter(browser, stage, viewer, task_id)
    expect(eyes.page.locator("[data-verdict]")).to_contain_text("Nobody knows whether branch had its effect")
    expect(eyes.page.locator("main")).to_contain_text("Not by you")
    expect(eyes.page.locator("main form")).to_have_count(0)
    refused = by_hand(eyes.page, outcome)
    assert refused.status == 403
    assert stage.owner.get(f"/v1/tasks/{task_id}")["state"] == "unknown"
    eyes.page.context.close()

    eyes = enter(browser, stage, stage.owner, task_id)
    page = eyes.page
    eyes.check()
    page.get_by_role("button", name=button).click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(page.locator("[data-verdict]")).not_to_contain_text("Nobody knows", timeout=30_000)
    task = rests(stage.owner, task_id, *ends)
    if outcome == "failed":
        assert task["reason"] == "resolved_as_failed"
        # What is no longer unknown cannot be resolved again.
        assert by_hand(page, outcome).status == 409
    else:
        assert task["steps"][0]["attempt"] == 2, "the step was run again"
    page.context.close()
