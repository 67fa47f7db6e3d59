"""One story through the console alone: invited, refused, granted after a dry run, decided by two of whom one stands in."""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Eyes, begin, look, sign_in
from tests.console.test_inviting import PASSWORD, PICTURES, kept, viewer
from tests.console.test_who_approves import later
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
REVIEW = "publication.review"
TWO = """@id("two-people") @verdict("ask") @rule("approve:2") @reason("Customers read this: two people look.")
forbid(principal, action == Worka::Action::"tool.invoke", resource)
when { context has side_effect && context.side_effect == "external_side_effect" };
"""


def shown(eyes: Eyes, name: str) -> None:
    """Its pages are looked at in every scheme and width by tests of their own; here once, or with a picture."""
    (kept if PICTURES else Eyes.check)(eyes, name)


class Story:
    """The people of it, each in a browser of their own, in the demo's workspace."""

    def __init__(self, browser: Browser, stage: Demo) -> None:
        self.browser, self.stage = browser, stage
        self.seen: list[Eyes] = []

    def of(self, who: Client) -> Eyes:
        token = who.post("/v1/sign-in-links")["token"]
        context = self.browser.new_context(viewport={"width": 1280, "height": 860})
        self.seen.append(sign_in(context, f"{self.stage.url}/sign-in?link={token}"))
        return self.seen[-1]

    def at(self, *parts: str) -> str:
        return "/".join([self.stage.url, "w", self.stage.ids["workspace"], *parts])

    def read_back(self, eyes: Eyes, wanted: list[str], pages: int = 12) -> str:
        """What the changes say, page by page into the past, until all that is wanted was read: others change things too."""
        eyes.page.goto(self.at("changes"))
        told = ""
        for _ in range(pages):
            told += " ".join((eyes.page.locator("#live").text_content() or "").split())
            older = eyes.page.get_by_role("link", name="Older")
            if all(said in told for said in wanted) or not older.count():
                break
            eyes.page.goto(older.evaluate("link => link.href"))
        return told

    def may_review(self, eyes: Eyes, who: str) -> str:
        """Asks on the page of people whether somebody may; returns what the page answers."""
        eyes.page.goto(self.at("people"))
        form = eyes.page.get_by_role("form", name="Ask about access")
        asked = form.locator("select[name=principal]")
        asked.select_option(asked.locator("option").filter(has_text=who).get_attribute("value"))
        form.locator("select[name=action]").select_option(REVIEW)
        form.get_by_role("button", name="Ask").click()
        return eyes.page.locator("#answer").inner_text()


@pytest.mark.capability("IDN-15", "IDN-13", "XPL-5", "APR-11", "AUD-1", part="as one story, in the console")
def test_a_member_is_invited_granted_more_and_decides_with_a_stand_in_and_the_changes_tell_it_all(
    browser: Browser, stage: Demo
) -> None:
    story = Story(browser, stage)
    name = f"Mira {secrets.token_hex(3).title()}"
    email = f"{name.split()[1].lower()}@acme.test"

    # Invited, with what it gives shown first; she comes in by the link.
    owner = story.of(stage.owner)
    page = owner.page
    page.goto(story.at("people"))
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Show what it gives").click()
    expect(page.locator("#gives")).to_contain_text("as member would have")
    page.get_by_role("button", name="Invite", exact=True).click()
    link = page.get_by_role("status").filter(has_text="Hand this link to them").locator("code").inner_text()
    mira = look(browser.new_context(viewport={"width": 1280, "height": 860}))
    mira.page.goto(link)
    mira.page.get_by_label("Your name").fill(name)
    mira.page.get_by_label("The password of your account, or a new one").fill(PASSWORD)
    mira.page.get_by_role("button", name="Accept and sign in").click()
    mira.page.wait_for_url("**/attention")

    # She cannot review a publication, and reads why and whom to ask.
    denied = story.may_review(mira, name)
    assert "Denied" in denied
    assert "owner, admin" in denied
    shown(mira, "story-denied")

    # Granted by a change of role, whose gains are shown before anything is changed.
    page.goto(story.at("people"))
    form = page.get_by_role("form", name=f"Role of {name}")
    form.get_by_role("combobox", name="Role").select_option("admin")
    form.get_by_role("button", name=f"Compare roles of {name}").click()
    expect(page.locator("#differs")).to_contain_text(REVIEW)
    assert "Denied" in story.may_review(mira, name), "nothing is granted by looking"
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("#differs")).to_have_count(0)
    assert "Denied" not in story.may_review(mira, name)

    # Two people have to look: checked and tried over what was decided, then in force.
    page.goto(story.at("policies", "workspace", "governance"))
    page.get_by_label("Text, in Cedar").fill(TWO)
    page.get_by_label("Why, for those who read it later").fill("two people look")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#found")).to_contain_text("Proposing it would hold at once")
    shown(owner, "story-dry-run")
    page.get_by_role("button", name="Propose").click()
    try:
        expect(page.locator("main")).to_contain_text("in force")
        road = begin(stage)
        # Of the two, one is Mira; the other is Vera, who may only look but stands in for Arno.
        vera = story.of(viewer(stage, f"Vera {secrets.token_hex(3).title()}"))
        vera.page.goto(story.at("approvals", road.approval_id))
        expect(vera.page.get_by_role("button", name="Approve")).to_have_count(0)
        arno = story.of(stage.approver)
        arno.page.goto(story.at("approvers"))
        give = arno.page.get_by_role("form", name="Delegate")
        taker = give.locator("select[name=to]")
        taker.select_option(taker.locator("option").filter(has_text="Vera").last.get_attribute("value"))
        give.get_by_label("Until (UTC)").fill(later(arno.page, 1))
        give.get_by_role("button", name="Delegate", exact=True).click()
        expect(arno.page.get_by_role("button", name="End the delegation to Vera")).to_be_visible()
        for eyes, expected in ((mira, "waits for 1 of 2 approvals"), (vera, "was approved by")):
            eyes.page.goto(story.at("approvals", road.approval_id))
            eyes.page.get_by_role("button", name="Approve").click()
            eyes.page.get_by_role("button", name="Yes, approve").click()
            expect(eyes.page.locator("main")).to_contain_text(expected)
        shown(vera, "story-approved")
        page.goto(story.at("tasks", road.task_id))
        expect(page.locator("[data-verdict]")).to_contain_text("Done", timeout=60_000)

        # And the whole of it stands in the changes, in words, and each decision with its rule behind it.
        call = "Call worka.notes.publish_notes"
        wanted = [
            "Olga Owner invited a person",
            f"{name} added member {name}",
            f"Olga Owner changed member {name}",
            "Olga Owner put into force: governance policy of the workspace",
            f"asked for an approval of {call}",
            "Arno Approver delegated approvals: Vera",
            f"{name} decided on approval {call}",
            f"decided on approval {call} in the place of Arno Approver",
        ]
        told = story.read_back(owner, wanted)
        for said in wanted:
            assert said in told, f"{said}\n{told}"
        page.goto(story.at("changes"))
        shown(owner, "story-changes")
        page.goto(story.at("approvals", road.approval_id))
        page.get_by_role("link", name="open the decision").click()
        expect(page.locator("main")).to_contain_text("two-people")
        shown(owner, "story-decision")

        # Over: the stand-in ends where it was given.
        arno.page.goto(story.at("approvers"))
        arno.page.get_by_role("button", name="End the delegation to Vera").click()
        expect(arno.page.get_by_role("button", name="End the delegation to Vera")).to_have_count(0)
    finally:
        stage.owner.post(stage.owner.ws("/workspace-policies"), {"kind": "governance", "text": "", "note": "as before"})
        for row in stage.owner.get(stage.owner.ws("/members"))["items"]:
            if row["name"] == name or row["name"].startswith("Vera "):
                stage.owner.call("DELETE", stage.owner.ws(f"/members/{row['principal_id']}"))
    for eyes in (*story.seen, mira):
        assert eyes.complaints == []
        eyes.page.context.close()
