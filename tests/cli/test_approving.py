"""Approvals as an operator handles them at a terminal: groups, standing in, many at once, a bypass, and what is measured."""

from __future__ import annotations

import json
import secrets
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.console.conftest import begin
from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)


class Terminal:
    """`worka` as one person."""

    def __init__(self, instance: Instance, token: str, workspace: str) -> None:
        self.instance = instance
        self.token, self.workspace = token, workspace
        self.before = ["--url", instance.url, "--token", token, "--workspace", workspace]

    def text(self, *words: str, code: int = 0) -> str:
        done = self.instance.worka(*self.before, *words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return str(done.stdout if code in (0, 6, 7) else done.stderr)

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.text("-o", "json", *words, code=code))


@pytest.fixture
def owner(instance: Instance, stage: Demo) -> Terminal:
    return Terminal(instance, str(stage.owner.token), stage.ids["workspace"])


@pytest.fixture
def approver(instance: Instance, stage: Demo) -> Terminal:
    return Terminal(instance, str(stage.approver.token), stage.ids["workspace"])


@pytest.mark.capability("APR-11", part="delegation at the command line")
def test_standing_in_is_given_listed_and_ended_at_a_terminal(owner: Terminal) -> None:
    said = owner.text("approvals", "delegate", "--to", "Arno Approver", "--until", "8h", "--dry-run")
    assert "would decide in your place until" in said
    assert "all that you may decide" in said
    assert owner.json("approvals", "delegations")["items"] == []
    made = owner.json("approvals", "delegate", "--to", "Arno Approver", "--until", "8h")
    assert made["id"] in owner.text("approvals", "delegations")
    refused = owner.text("approvals", "delegate", "--to", "Arno Approver", "--until", "yesterday", code=2)
    assert "no ISO 8601 time" in refused
    owner.text("approvals", "undelegate", made["id"], "--dry-run")
    assert owner.json("approvals", "delegations")["items"], "a dry run ends nothing"
    assert owner.json("approvals", "undelegate", made["id"])["state"] == "ended"
    assert owner.json("approvals", "delegations")["items"] == []


@pytest.mark.capability("APR-12", part="a batch with a veto at the command line")
def test_many_are_decided_at_once_each_by_itself_with_a_veto_and_a_dry_run(
    stage: Demo, approver: Terminal, tmp_path: Path
) -> None:
    roads = [begin(stage) for _ in range(3)]
    ids = [road.approval_id for road in roads]
    waiting = {row["id"] for row in approver.json("approvals", "list", "--whose", "mine")["items"]}
    assert set(ids) <= waiting
    words = ["approvals", "decide", "--batch", ",".join(ids[:2]), "--decision", "approve", "--veto", ids[1]]
    assert "nothing was kept" in approver.text(*words, "--dry-run")
    assert all(approver.json("approvals", "show", one)["state"] == "open" for one in ids)
    done = approver.json(*words)
    assert [result["state"] for result in done["results"]] == ["approved", "rejected"]
    # A file: the list itself, with a decision written to each; one digest is not what it was.
    third = approver.json("approvals", "show", ids[2])
    file = tmp_path / "inbox.json"
    file.write_text(json.dumps({"items": [{**third, "digest": "0" * 64, "decision": "approve"}]}))
    assert "digest is not that of this approval" in approver.text("approvals", "decide", "--batch", str(file), code=7)
    file.write_text(json.dumps([{"id": ids[2], "digest": third["digest"], "decision": "approve"}]))
    assert approver.json("approvals", "decide", "--batch", str(file))["decided"] == 1
    assert "neither ids nor a file" in approver.text("approvals", "decide", "--batch", "nowhere", code=2)


@pytest.mark.capability("APR-12", part="bypass, settings and measures at the command line")
def test_a_bypass_settings_and_measures_are_handled_at_a_terminal(owner: Terminal, approver: Terminal) -> None:
    bypass = ["approvals", "bypass", "open", "--tool", "nobody.has.it", "--why", "incident 7", "--most-uses", "2"]
    assert "nothing was kept" in owner.text(*bypass, "--until", "1h", "--dry-run")
    made = owner.json(*bypass, "--until", "1h")
    assert (made["state"], made["uses"]) == ("open", 0)
    assert "incident 7" in owner.text("approvals", "bypass", "list")
    assert "within 4 hours" in owner.text(*bypass, "--until", "9h", code=2)
    assert "Policy does not allow this" in approver.text(*bypass, "--until", "1h", code=5)
    assert "Approvals of nobody.has.it go through" in owner.text("why", made["id"])
    owner.text("approvals", "bypass", "close", made["id"], "--dry-run")
    assert owner.json("approvals", "bypass", "close", made["id"])["reason"] == "bypass_closed"
    before = owner.json("approvals", "settings")
    assert "nothing was kept" in owner.text("approvals", "settings", "--remind-minutes", "15", "--dry-run")
    assert owner.json("approvals", "settings") == before
    assert owner.json("approvals", "settings", "--remind-minutes", "15")["holds"]["remind_minutes"] == 15
    assert owner.json("approvals", "settings", "--remind-minutes", "-")["own"]["remind_minutes"] is None
    measured = owner.json("approvals", "fatigue")
    assert measured["all"]["votes"] == sum(row["votes"] for row in measured["people"])
    assert "all" in owner.text("approvals", "fatigue")


@pytest.mark.capability("APR-11", part="groups at the command line, each change with a dry run")
def test_a_group_is_made_changed_and_deleted_at_a_terminal_and_a_dry_run_does_nothing(owner: Terminal) -> None:
    said = owner.text("group", "create", "cli-security", "--add", "Arno Approver", "--dry-run")
    assert "nothing was kept" in said
    assert "cli-security" not in owner.text("group", "list")
    made = owner.json("group", "create", "cli-security", "--purpose", "looks first", "--add", "Arno Approver")
    assert [member["name"] for member in made["members"]] == ["Arno Approver"]
    assert "Olga Owner" not in owner.text("group", "show", "cli-security")
    owner.text("group", "change", "cli-security", "--add", "Olga Owner", "--dry-run")
    assert "Olga Owner" not in owner.text("group", "show", "cli-security")
    assert "Olga Owner" in owner.text("group", "change", "cli-security", "--add", "Olga Owner")
    assert "Nobody here is called so" in owner.text("group", "change", "cli-security", "--add", "Nemo", code=3)
    owner.text("group", "delete", "cli-security", "--dry-run")
    owner.text("group", "delete", "cli-security")
    assert "There is no such group here" in owner.text("group", "show", "cli-security", code=3)


TEXT = (
    "// [bold]What no markup of a terminal eats, and what is longer than a cell of a table: " + "x" * 130 + "\n"
    '@id("two") @verdict("ask") @rule("approve:2") @reason("Two people look at a connection.")\n'
    'forbid(principal, action == Worka::Action::"connection.create", resource);\n'
)
FOUR_EYES = pytest.mark.capability("APR-1", "APR-4", part="a change of policy, at the command line")


@pytest.fixture
def two_owners(instance: Instance, stage: Demo) -> tuple[Terminal, Terminal]:
    """Two owners of a tenant of their own, in which no other test saves a policy."""
    name = secrets.token_hex(4)
    made = stage.operator.post(
        "/v1/tenants",
        {"slug": f"two-{name}", "name": "Two", "workspace_name": "W", "owner_email": f"odo-{name}@two.test"},
    )
    here = str(made["workspace_id"])

    def join(token: str, called: str) -> Terminal:
        body = {"token": token, "password": secrets.token_urlsafe(18), "display_name": called}
        return Terminal(instance, str(Client(stage.url).post("/v1/invitations/accept", body)["session_token"]), here)

    first = join(made["invitation_token"], "Odo First")
    invited = first.json("member", "invite", f"pia-{name}@two.test", "--role", "owner")
    return first, join(invited["invitation_token"], "Pia Second")


@FOUR_EYES
def test_the_second_person_reads_the_whole_text_of_a_change_of_policy_before_approving_it_at_a_terminal(
    two_owners: tuple[Terminal, Terminal], tmp_path: Path
) -> None:
    first, second = two_owners
    file = tmp_path / "governance.cedar"
    file.write_text(TEXT)
    said = first.text("policy", "save", str(file), "--note", "after the [bold]incident", code=6)
    (approval,) = first.json("approvals", "list")["items"]
    assert approval["id"] in said
    words = ("approvals", "show", approval["id"])
    card = second.text(*words)
    for line in TEXT.splitlines():
        assert card.count(line) == 2, f"among what comes, and in the text, whole: {line}\n{card}"
    for told in (approval["digest"], "after the [bold]incident", "missing", "you can", "Pia Second"):
        assert told in card, f"{told}\n{card}"
    assert "Odo First" in card
    # The console's pages of it, which the same person may open instead.
    with httpx.Client(base_url=second.instance.url, cookies={"worka_session": second.token}, trust_env=False) as http:
        for place in (f"approvals/{approval['id']}", "deciding"):
            page = http.get(f"/w/{second.workspace}/{place}", headers={"Accept": "text/html"})
            assert page.status_code == 200, page.text
            assert TEXT.splitlines()[1] in unescape(page.text)
    mine = first.text(*words)
    assert "you cannot" in mine
    assert approval["digest"] in mine
    tried = second.text("approvals", "approve", approval["id"], "--dry-run")
    assert "dry run: would approve" in tried
    assert TEXT.splitlines()[1] in tried
    assert first.json("policy", "show", "governance")["version"] == 0
    assert "approved" in second.text("approvals", "approve", approval["id"], "--digest", approval["digest"])
    held = first.json("policy", "show", "governance")
    assert (held["version"], held["text"]) == (1, TEXT)
    # Taking a policy away is a change of it, too: an empty text is said to be one.
    file.write_text("")
    first.text("policy", "save", str(file), "--note", "over", code=6)
    (over,) = first.json("approvals", "list")["items"]
    assert "empty" in second.text("approvals", "show", over["id"])
    assert "rejected" in second.text("approvals", "reject", over["id"])
    assert first.json("policy", "show", "governance")["version"] == 1
