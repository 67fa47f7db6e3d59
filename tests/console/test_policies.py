"""Policies in the console: written, checked, tried on what was decided, proposed, decided by the second owner, brought back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Eyes, sign_in
from tests.console.test_states import by_keyboard
from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
TEXT = """@id("no-connecting") @verdict("deny") @reason("Nothing is connected any more.")
forbid(principal, action == Worka::Action::"connection.create", resource);
"""
LOCKS_OUT = """@id("nobody-saves") @reason("Nobody.")
forbid(principal, action, resource);
"""
OWNS = pytest.mark.capability("XPL-5", part="for policy, in the console")


class Place:
    """A workspace of its own, with as many owners as a test wants."""

    def __init__(self, instance: Instance) -> None:
        demo = Demo(interactive=False, quiet=True)
        demo.home, demo.url = instance.home, instance.url
        demo.people()
        self.url, self.owner, self.id = demo.url, demo.owner, demo.ids["workspace"]

    def another(self, name: str, role: str = "owner") -> Client:
        """Somebody else of this role, signed in."""
        wanted = {"email": f"{name}{secrets.token_hex(4)}@b.test", "role": role}
        invited = self.owner.post(self.owner.ws("/invitations"), wanted)
        made = Client(self.url).post(
            "/v1/invitations/accept",
            {
                "token": invited["invitation_token"],
                "password": secrets.token_urlsafe(18),
                "display_name": name.capitalize(),
            },
        )
        return Client(self.url, made["session_token"], self.id)

    def page(self, path: str) -> str:
        """The address of a page."""
        return f"{self.url}/w/{self.id}/{path}"

    def version(self, kind: str = "governance") -> int:
        """The newest of the tenant's."""
        return int(self.owner.get(self.owner.ws(f"/policies/{kind}"))["version"])


@pytest.fixture(scope="module")
def place(instance: Instance) -> Place:
    """One workspace for the tests of this file, each of which leaves it with the text that it began with."""
    return Place(instance)


def seen_by(browser: Browser, place: Place, who: Client, width: int = 1280) -> Eyes:
    """A browser of somebody's own."""
    context = browser.new_context(viewport={"width": width, "height": 860})
    return sign_in(context, f"{place.url}/sign-in?link={who.post('/v1/sign-in-links')['token']}")


@pytest.fixture
def eyes(browser: Browser, place: Place) -> Iterator[Eyes]:
    """The owner's."""
    found = seen_by(browser, place, place.owner)
    yield found
    assert found.complaints == []
    found.page.context.close()


def write(eyes: Eyes, text: str, button: str) -> None:
    """Types a text and presses a button."""
    eyes.page.get_by_label("Text, in Cedar").fill(text)
    eyes.page.get_by_role("button", name=button, exact=True).click()


@OWNS
def test_a_fault_is_shown_by_statement_and_line_and_what_was_typed_stays_through_reload_and_back(
    eyes: Eyes, place: Place
) -> None:
    page, before = eyes.page, place.version()
    page.goto(place.page("policies/tenant/governance"))
    eyes.check()
    wrong = TEXT + "permit(principal, action, resource);\n"
    for button in ("Check", "Dry run", "Propose"):
        write(eyes, wrong, button)
        expect(page.locator("#found")).to_contain_text("Statement 2, line 3: only `forbid`")
        expect(page.get_by_label("Text, in Cedar")).to_have_value(wrong)
    eyes.check_all("policies")
    page.reload()
    expect(page.get_by_label("Text, in Cedar")).to_have_value(wrong)
    page.get_by_role("link", name="Governance of this workspace").click()
    page.wait_for_url("**/policies/workspace/governance")
    page.go_back()
    expect(page.get_by_label("Text, in Cedar")).to_have_value(wrong)
    write(eyes, LOCKS_OUT, "Propose")
    expect(page.locator("#found")).to_contain_text("It would be refused.")
    expect(page.get_by_label("Text, in Cedar")).to_have_value(LOCKS_OUT)
    assert place.version() == before, "nothing was saved"
    write(eyes, TEXT, "Check")
    expect(page.locator("#found")).to_contain_text("Proposing it would hold at once")
    by_keyboard(page)


@OWNS
def test_a_text_that_no_address_holds_is_checked_all_the_same(eyes: Eyes, place: Place) -> None:
    page = eyes.page
    page.goto(place.page("policies/tenant/governance"))
    long = "".join(f"// {secrets.token_hex(40)}\n" for _ in range(300)) + "permit(principal, action, resource);\n"
    write(eyes, long, "Check")
    expect(page.locator("#found")).to_contain_text("Statement 1, line 301: only `forbid`")
    expect(page.get_by_label("Text, in Cedar")).to_have_value(long)
    assert "draft=" not in page.url
    page.goto(place.page("policies/tenant/governance?look=check&draft=eNrLSM3JyQ"))
    expect(page.get_by_role("main")).to_contain_text("it was cut off")


@OWNS
@pytest.mark.capability("BEY-2", part="for policy, in the console")
def test_a_lone_owner_tries_saves_reads_the_difference_keeps_a_file_and_brings_the_old_text_back(
    eyes: Eyes, place: Place
) -> None:
    page, before = eyes.page, place.version()
    page.goto(place.page("governance"))
    page.get_by_role("link", name="Governance policy of the tenant").click()
    trial = page.locator("#found")
    invites = TEXT.replace("connection.create", "member.invite").replace("no-connecting", "no-inviting")
    place.owner.post(place.owner.ws("/invitations"), {"email": f"x{secrets.token_hex(4)}@b.test", "role": "viewer"})
    write(eyes, invites, "Dry run")
    expect(trial).to_contain_text("this would have denied")
    expect(trial).to_contain_text("Nothing is connected any more.")
    expect(trial).to_contain_text('+@id("no-inviting")')
    eyes.check_all("policies-tried")
    link = page.get_by_role("group", name="Table of what would flip").get_by_role("link").first
    link.click()
    page.wait_for_url("**/decisions/dec_*")
    page.go_back()
    expect(page.get_by_label("Text, in Cedar")).to_have_value(invites)
    assert place.version() == before, "nothing was saved yet"
    page.get_by_label("Why, for those who read it later").fill("the freeze")
    page.get_by_role("button", name="Propose", exact=True).click()
    page.wait_for_url(f"**/governance/governance/{before + 1}?*")
    expect(page.get_by_role("main")).to_contain_text("the freeze")
    assert place.version() == before + 1
    page.reload()
    page.go_back()
    page.go_forward()
    assert place.version() == before + 1, "neither a reload nor going back saves again"
    # What holds already flips nothing: what it did since is said to be its own doing.
    page.goto(place.page("policies/tenant/governance"))
    page.get_by_role("button", name="Dry run", exact=True).click()
    expect(trial).to_contain_text("decided nothing differently")
    expect(trial).to_contain_text("by changes already in force")
    eyes.check()
    with page.expect_download() as kept:
        page.get_by_role("link", name="Save as a file").click()
    assert kept.value.suggested_filename == "governance.cedar"
    assert kept.value.path().read_text() == invites
    back = "Take everything back…" if before == 0 else f"Bring version {before} back"
    page.get_by_role("link", name=back).click()
    expect(page.locator("#found")).to_contain_text('-@id("no-inviting")')
    page.get_by_role("button", name="Propose", exact=True).click()
    page.wait_for_url(f"**/governance/governance/{before + 2}?*")
    assert place.owner.get(place.owner.ws("/policies/governance"))["text"] != invites


@OWNS
def test_two_who_write_at_once_do_not_overwrite_each_other(eyes: Eyes, place: Place, browser: Browser) -> None:
    page, before = eyes.page, place.version("access")
    page.goto(place.page("policies/tenant/access"))
    page.get_by_label("Text, in Cedar").fill("// mine\n")
    place.owner.post(place.owner.ws("/policies"), {"kind": "access", "text": "// theirs\n", "note": "first"})
    page.get_by_role("button", name="Propose", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Another version was saved meanwhile")
    expect(page.get_by_label("Text, in Cedar")).to_have_value("// mine\n")
    assert place.owner.get(place.owner.ws("/policies/access"))["text"] == "// theirs\n"
    page.get_by_role("button", name="Propose", exact=True).click()
    page.wait_for_url(f"**/governance/access/{before + 2}?*")
    assert place.owner.get(place.owner.ws("/policies/access"))["text"] == "// mine\n", "the control: once it was seen"


@OWNS
@pytest.mark.capability("DOR-4", part="accessible")
def test_of_two_owners_one_proposes_withdraws_proposes_again_and_the_other_puts_it_in_force(
    browser: Browser, instance: Instance
) -> None:
    place = Place(instance)
    other = place.another("erik")
    eyes = seen_by(browser, place, place.owner, 390)
    page, here = eyes.page, place.page("policies/workspace/governance")
    for _ in range(2):
        page.goto(here)
        write(eyes, TEXT, "Check")
        expect(page.locator("#found")).to_contain_text("wait for a second person")
        page.get_by_label("Why, for those who read it later").fill("the freeze")
        page.get_by_role("button", name="Propose", exact=True).click()
        page.wait_for_url("**/approvals/apr_*")
        approval = page.url
        page.goto(here)
        expect(page.get_by_role("heading", name="Waits for a second person")).to_be_visible()
        eyes.check_all("policies-waits")
        if _ == 0:
            page.get_by_role("button", name="Withdraw “the freeze”").click()
            expect(page.get_by_role("heading", name="Waits for a second person")).to_have_count(0)
    second = seen_by(browser, place, other)
    # Who did not propose it is not offered to take it back, and decides on exactly this text.
    second.page.goto(here)
    expect(second.page.get_by_role("button", name="Withdraw “the freeze”")).to_have_count(0)
    second.page.get_by_role("link", name="Open its approval").click()
    second.page.wait_for_url(approval)
    expect(second.page.get_by_role("main")).to_contain_text("no-connecting")
    second.page.get_by_role("button", name="Approve").click()
    second.page.get_by_role("button", name="Yes, approve").click()
    expect(second.page.get_by_role("main")).to_contain_text("Your approval is recorded")
    second.page.goto(here)
    expect(second.page.get_by_role("main")).to_contain_text("Version 1, in force")
    expect(second.page.get_by_role("main")).to_contain_text("approved by Erik")
    for one in (eyes, second):
        assert one.complaints == []
        one.page.context.close()


@OWNS
@pytest.mark.capability("IDN-14")
def test_who_may_not_change_it_reads_it_and_whom_to_ask(browser: Browser, place: Place) -> None:
    eyes = seen_by(browser, place, place.another("vera", "viewer"))
    page = eyes.page
    page.goto(place.page("policies/tenant/governance"))
    expect(page.get_by_role("main")).to_contain_text("ask an owner")
    expect(page.get_by_label("Text, in Cedar")).to_have_count(0)
    expect(page.get_by_role("link", name="Save as a file")).to_be_visible()
    eyes.check_all("policies-viewer")
    admin = seen_by(browser, place, place.another("dora", "admin"))
    admin.page.goto(place.page("policies/workspace/governance"))
    expect(admin.page.get_by_role("button", name="Dry run", exact=True)).to_be_visible()
    expect(admin.page.get_by_role("button", name="Propose", exact=True)).to_have_count(0)
    admin.check()
    for one in (eyes, admin):
        one.page.context.close()


def test_what_stands_in_an_address_is_read_or_refused() -> None:
    from worka.kernel.errors import Invalid
    from worka.web.policies import packed, unpacked

    for text in ("", TEXT, "// ü 🎉\n" * 50):
        assert unpacked(packed(text)) == text
    bomb = packed("a" * 10_000_000)
    for bad in (packed(TEXT)[:-4], "!", "AAAA", bomb, packed(TEXT) + "é"):
        with pytest.raises(Invalid):
            unpacked(bad)
