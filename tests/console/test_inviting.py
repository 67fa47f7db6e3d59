"""From an invitation to a decision with a second factor, in a browser: what a new person and an owner do on their first day."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import Eyes, Road, begin, look, sign_in
from tests.identity.phone import Phone, secret_of
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
PASSWORD = "correct horse battery"
STEP_UP = """@id("step-up") @verdict("ask") @rule("approve:1 stepup") @reason("Customers read this.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has side_effect && context.side_effect == "external_side_effect" };
"""
PICTURES = os.environ.get("PICTURES", "")


def kept(eyes: Eyes, name: str) -> None:
    """Checked in every look; a picture where somebody asks for them."""
    eyes.check_all(name)
    if PICTURES:
        eyes.wear("light", 1280)
        eyes.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


@pytest.fixture
def wanting(stage: Demo) -> Iterator[Road]:
    """A task that waits for an approval whose rule wants a second factor given just now."""
    stage.owner.post(stage.owner.ws("/workspace-policies"), {"kind": "governance", "text": STEP_UP, "note": "step-up"})
    try:
        yield begin(stage)
    finally:
        stage.owner.post(stage.owner.ws("/workspace-policies"), {"kind": "governance", "text": "", "note": "as before"})


def invited(browser: Browser, stage: Demo, road: Road, email: str, role: str) -> str:
    """An owner looks at what the role gives, invites, and has the link."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, road.link(stage.owner))
    page = eyes.page
    page.goto(road.page("people"))
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("form", name="Invite").get_by_role("combobox", name="Role").select_option(role)
    expect(page.get_by_role("button", name="Invite", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Show what it gives").click()
    gives = page.locator("#gives")
    expect(gives).to_contain_text("Connections and secrets")
    expect(gives).to_contain_text("once approved connection.create")
    assert [row for row in stage.owner.get(stage.owner.ws("/invitations"))["items"] if row["email"] == email] == []
    kept(eyes, "people-invite")
    page.get_by_role("button", name="Invite", exact=True).click()
    shown = page.get_by_role("status").filter(has_text="Hand this link to them")
    link = shown.locator("code").inner_text()
    expect(page.locator("main")).to_contain_text(email)
    page.reload()
    expect(page.get_by_text("Hand this link to them")).to_have_count(0)
    sent = [row for row in stage.owner.get(stage.owner.ws("/invitations"))["items"] if row["email"] == email]
    assert len(sent) == 1, "a reload invites nobody once more"
    context.close()
    return link


def viewer(stage: Demo, name: str) -> Client:
    """A new person who may look and no more. (The approver of the demo is an admin, and may invite.)"""
    email = f"{name.lower().replace(' ', '.')}+{stage.run}@acme.test"
    sent = stage.owner.post(stage.owner.ws("/invitations"), {"email": email, "role": "viewer"})
    accepting = {"token": sent["invitation_token"], "password": PASSWORD, "display_name": name}
    made = Client(stage.url).post("/v1/invitations/accept", accepting)
    return Client(stage.url, made["session_token"], stage.ids["workspace"])


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


@pytest.mark.capability("IDN-15", part="in the console, to who invites and to the invited")
@pytest.mark.capability("IDN-18", part="a second factor in the console")
@pytest.mark.capability("IDN-20", part="a decision asks for the code in place")
def test_from_an_invitation_to_a_decision_with_a_second_factor(browser: Browser, stage: Demo, wanting: Road) -> None:
    email = f"ada+{stage.run}@acme.test"
    link = invited(browser, stage, wanting, email, "admin")
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = look(context)
    page = eyes.page
    page.goto(link)
    expect(page.get_by_role("heading", name="Join Releases")).to_be_visible()
    expect(page.locator("#gives")).to_contain_text("member.invite")
    kept(eyes, "invitation")
    page.get_by_label("Your name").fill("Ada Admin")
    page.get_by_label("The password of your account, or a new one").fill("short")
    page.get_by_role("button", name="Accept and sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("password is not acceptable")
    page.get_by_label("The password of your account, or a new one").fill(PASSWORD)
    page.get_by_role("button", name="Accept and sign in").click()
    page.wait_for_url("**/attention")

    # Set up: the wrong code leaves it as it was, the right one gives ten recovery codes, once.
    page.get_by_role("link", name="Ada Admin").click()
    expect(page.get_by_text("Not set up")).to_be_visible()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Show a new secret").click()
    expect(page.locator(".qr svg")).to_be_visible()
    secret = page.locator("form .id code").inner_text()
    phone = Phone(secret_of(secret))
    kept(eyes, "second-factor-secret")
    page.get_by_label("The code that the app shows now").fill(phone.wrong())
    page.get_by_role("button", name="Put it into force").click()
    expect(page.get_by_role("alert")).to_contain_text("not accepted")
    assert secret not in page.content(), "a secret is shown once"
    page.get_by_label("The code that the app shows now").fill(phone.code())
    page.get_by_role("button", name="Put it into force").click()
    codes = page.locator(".codes code").all_inner_texts()
    assert len(set(codes)) == 10
    kept(eyes, "second-factor-codes")

    # Signing in: the password alone opens nothing.
    sign_out(page)
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
    assert not [cookie for cookie in context.cookies() if cookie["name"] == "worka_session"]
    kept(eyes, "sign-in-code")
    page.get_by_label("Code").fill(phone.wrong())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong, was used, or is of another time")
    page.get_by_label("Code").fill(codes[0].lower())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/attention")

    # Deciding: the code is asked for in place, and what was decided says how it was given.
    page.goto(wanting.page("approvals", wanting.approval_id))
    kept(eyes, "approval-step-up")
    page.get_by_label("Comment").fill("read it")
    page.get_by_label("Code of your second factor").fill(phone.wrong())
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Yes, approve").click()
    expect(page.get_by_role("alert")).to_contain_text("not accepted")
    assert stage.owner.get(f"/v1/approvals/{wanting.approval_id}")["state"] == "open"
    page.get_by_label("Code of your second factor").fill(phone.code(1))
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Yes, approve").click()
    expect(page.get_by_text("Your approval is recorded.")).to_be_visible()
    expect(page.locator("main")).to_contain_text("with a code of the second factor")
    (vote,) = stage.owner.get(f"/v1/approvals/{wanting.approval_id}")["votes"]
    assert (vote["stepped_up_by"], vote["comment"]) == ("totp", "read it")
    assert eyes.complaints == []
    context.close()


@pytest.mark.capability("IDN-14", part="a button that is off says why, in the words of the decision")
@pytest.mark.capability("IDN-13", part="one's own six permissions in the console")
def test_who_may_not_invite_reads_why_beside_the_button_that_is_off(
    browser: Browser, stage: Demo, standing: Road
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    reader = viewer(stage, "Walt Viewer")
    eyes = sign_in(context, standing.link(reader))
    page = eyes.page
    page.goto(standing.page("people"))
    button = page.get_by_role("button", name="Show what it gives")
    expect(button).to_be_disabled()
    denied = reader.get(reader.ws("/access/can"), action="member.invite")
    assert denied["verdict"] == "deny"
    why = page.locator(f"#{button.get_attribute('aria-describedby')}")
    assert denied["reasons"][0].startswith("Their role (viewer) "), "as it is told of somebody"
    expect(why).to_contain_text(denied["reasons"][0].replace("Their role", "Your role"))
    expect(why).to_contain_text(denied["remedy"].split(";")[0])
    kept(eyes, "people-viewer")
    page.goto(standing.page("me"))
    permissions = page.locator("#permissions")
    expect(permissions.get_by_role("listitem")).to_have_count(6)
    expect(permissions).to_contain_text("Not you: ask owner or admin")
    kept(eyes, "me")
    # One's own wish for mail is one's own to set, whatever the role.
    for button, wished in (("Tell me nothing by mail", False), ("Tell me by mail", True)):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("button", name=button)).to_have_count(0)
        assert reader.get(reader.ws("/my-notifications"))["mail"] is wished
    context.close()
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, standing.link(stage.owner))
    eyes.page.goto(standing.page("people"))
    expect(eyes.page.get_by_role("button", name="Show what it gives")).to_be_enabled()
    context.close()


@pytest.mark.capability("IDN-8", part="in the console, a change of role shows first what is gained and lost")
def test_a_change_of_role_shows_first_what_is_gained_and_lost(browser: Browser, stage: Demo, standing: Road) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    eyes = sign_in(context, standing.link(stage.owner))
    page = eyes.page
    viewer(stage, "Vi Viewer")
    page.goto(standing.page("people"))
    form = page.get_by_role("form", name="Role of Vi Viewer")
    form.get_by_role("combobox", name="Role").select_option("member")
    form.get_by_role("button", name="Compare roles of Vi Viewer").click()
    differs = page.locator("#differs")
    expect(differs).to_contain_text("task.create")
    rows = {row["name"]: row["role"] for row in stage.owner.get(stage.owner.ws("/members"))["items"]}
    assert rows["Vi Viewer"] == "viewer", "nothing is changed by looking"
    kept(eyes, "people-compare")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("#differs")).to_have_count(0)
    rows = {row["name"]: row["role"] for row in stage.owner.get(stage.owner.ws("/members"))["items"]}
    assert rows["Vi Viewer"] == "member"
    page.get_by_role("form", name="Role of Olga Owner").get_by_role("combobox", name="Role").select_option("member")
    page.get_by_role("button", name="Compare roles of Olga Owner").click()
    expect(page.get_by_role("alert")).to_contain_text("keeps one owner")
    context.close()
