"""What a stopped owner set in motion, at a terminal and in the console's pages: their bypass, their invitation, their delegate."""

from __future__ import annotations

import subprocess
from html import unescape

import httpx
import pytest

from tests.cli.test_approving import Terminal, two_owners
from tests.support.instance import worka_command
from worka.cli.client import Client

__all__ = ["two_owners"]
pytestmark = pytest.mark.timeout(300)
WHY = "a stolen laptop"


def page(who: Terminal, *parts: str) -> str:
    """A page of the console, as whoever is signed in (or nobody) reads it."""
    cookies = {"worka_session": who.token} if who.token else {}
    with httpx.Client(base_url=who.instance.url, cookies=cookies, trust_env=False) as http:
        answer = http.get("/".join(["", *parts]), headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


@pytest.mark.capability("APR-12", part="a bypass that is held says so at a terminal and in the console")
@pytest.mark.capability("IDN-15", part="an invitation that is held says so at a terminal and in the console")
def test_what_a_stopped_owner_set_in_motion_is_named_before_and_said_to_be_held_after(
    two_owners: tuple[Terminal, Terminal],
) -> None:
    first, second = two_owners
    here = ["w", second.workspace]
    words = ("approvals", "bypass", "open", "--boundary", "pack.attach", "--why", "incident 7", "--most-uses", "2")
    bypass = first.json(*words, "--until", "1h", code=6)
    second.text("approvals", "approve", bypass["approval_id"])
    assert "lets nothing through now" not in second.text("approvals", "bypass", "list"), "the control: it is open"
    sent = first.json("member", "invite", f"acc-{second.workspace[-8:]}@two.test", "--role", "admin")
    link = f"invitation?token={sent['invitation_token']}"
    nobody = Terminal(first.instance, "", "")
    assert "Accept and sign in" in page(nobody, link), "the control: it opens"
    odo = next(row["principal_id"] for row in second.json("member", "list")["items"] if row["name"] == "Odo First")
    looked = second.text("kill", "on", "member", odo, "--dry-run")
    assert "1 bypass of approvals that they opened" in looked
    assert "1 open invitation that they sent" in looked
    kill = second.json("kill", "on", "member", odo, "--reason", WHY, "--yes")

    for said in (second.text("approvals", "bypass", "list"), second.text("why", bypass["id"])):
        assert "lets nothing through now" in " ".join(said.split()), said
        assert WHY in said
    assert "lets nothing through now" in page(second, *here, "approvers")
    listed = second.text("member", "invitations")
    assert f"{sent['invitation_id']} opens nothing for now" in listed
    assert WHY in listed
    assert "Opens nothing for now" in page(second, *here, "people")
    for shown in (page(nobody, link), invited(nobody, sent["invitation_token"])):
        assert "opens nothing for now" in shown
        assert WHY not in shown, "who comes from outside is not told why"
        assert "Accept and sign in" not in shown
    body = {"token": sent["invitation_token"], "password": "correct horse battery", "display_name": "Accomplice"}
    with httpx.Client(base_url=first.instance.url, trust_env=False) as http:
        refused = http.post("/v1/invitations/accept", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "invitation_held")
    assert "worka member resend" in refused.json()["remedy"]
    assert "let nobody in by an invitation" in second.text("changes", "--limit", "20")

    second.text("kill", "lift", kill["id"], "--skip-trial", "--reason", "found again")
    assert "lets nothing through now" not in second.text("approvals", "bypass", "list")
    assert "Accept and sign in" in page(nobody, link)
    assert Client(first.instance.url).post("/v1/invitations/accept", body)["session_token"], (
        "the control: lifted, it opens"
    )


def invited(nobody: Terminal, token: str) -> str:
    """What the invited read at a terminal, before they accept."""
    words = [*worka_command(), "--url", nobody.instance.url, "invitation", "accept", "--dry-run"]
    done = subprocess.run(
        words, input=token, env=nobody.instance.env, capture_output=True, text=True, timeout=120, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
