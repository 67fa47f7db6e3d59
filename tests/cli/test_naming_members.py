"""A member is named by e-mail wherever a command takes one: in an incident nobody looks ids up."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(240)
NOBODY = "nobody@acme.test"
INPUT = '{"repository": "harbour"}'


def said(instance: Instance, who: dict[str, str], *words: str, code: int = 0) -> str:
    done = instance.worka(*words, **who)
    assert done.returncode == code, f"{words} ended {done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def data(instance: Instance, who: dict[str, str], *words: str) -> Any:
    return json.loads(said(instance, who, "-o", "json", *words))


@pytest.fixture
def bob(instance: Instance, stage: Demo, cli_owner: dict[str, str]) -> dict[str, str]:
    """A member of the workspace whom no other test looks at: the address, the id, and a credential."""
    email = f"bob-{secrets.token_hex(4)}@acme.test"
    token = data(instance, cli_owner, "member", "invite", email)["invitation_token"]
    body = {"token": token, "password": "correct horse battery", "display_name": "Bob Builder"}
    made = Client(stage.url).post("/v1/invitations/accept", body)
    return {
        "email": email,
        "id": made["person_id"],
        "WORKA_TOKEN": made["session_token"],
        "WORKA_WORKSPACE": stage.ids["workspace"],
    }


def env(bob: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in bob.items() if key.startswith("WORKA_")}


@pytest.mark.capability("GOV-15", part="a member by e-mail, on the command line")
def test_a_kill_switch_takes_a_member_by_e_mail_and_is_lifted_on_trial_for_one_by_e_mail(
    instance: Instance, stage: Demo, cli_owner: dict[str, str], bob: dict[str, str]
) -> None:
    on = ("kill", "on", "member", bob["email"])
    assert "nothing was stopped" in said(instance, cli_owner, *on, "--dry-run")
    said(instance, env(bob), "attention")
    made = data(instance, cli_owner, *on, "--reason", "incident", "--yes")
    assert made["subject"] == bob["id"]
    assert "incident" in said(instance, env(bob), "attention", code=5)
    held = said(instance, cli_owner, "kill", "lift", made["id"], "--reason", "over", code=7)
    assert f"`worka kill lift {made['id']} --for ID`" in held
    assert "--skip-trial" in held
    trial = data(instance, cli_owner, "kill", "lift", made["id"], "--reason", "over", "--for", bob["email"])
    assert trial["exempt"] == [bob["id"]]
    data(instance, cli_owner, "kill", "lift", made["id"], "--reason", "over")
    said(instance, env(bob), "attention")
    # Who is not here is said to be nobody here; by an id that nobody has, the API says the same and no more.
    assert "nobody of this workspace" in said(instance, cli_owner, "kill", "on", "member", NOBODY, "--dry-run", code=3)
    absent = said(instance, cli_owner, "kill", "on", "member", f"per_{'7' * 26}", "--dry-run", code=3)
    assert f"no member with the id per_{'7' * 26}" in absent
    operator = {"WORKA_TOKEN": str(stage.operator.token)}
    over = ("--tenant", stage.ids["tenant"], "--dry-run")
    assert "by the id" in said(instance, operator, *on, *over, code=2), (
        "who is in a tenant is not the operator's to read"
    )
    said(instance, operator, "kill", "on", "member", bob["id"], *over)


@pytest.mark.capability("OPS-7", part="a member by e-mail; what a refusal says to do")
def test_a_limit_takes_a_member_by_e_mail_and_who_is_held_back_reads_when_and_how_it_goes_on(
    instance: Instance, stage: Demo, cli_owner: dict[str, str], bob: dict[str, str]
) -> None:
    create = ("task", "create", "release-notes", "--member", "Rhea", "--input", INPUT)
    mine = ("--member", bob["email"])
    tasks = [data(instance, env(bob), *create)["id"] for _ in range(2)]
    set_one = ("limits", "set", "tasks_per_hour", "1", *mine)
    assert "2 now, 1 too many" in said(instance, cli_owner, *set_one, "--dry-run")
    try:
        data(instance, cli_owner, *set_one, "--reason", "calm")
        shown = data(instance, cli_owner, "limits", "show", *mine)
        assert shown["member_id"] == bob["id"]
        row = next(row for row in shown["items"] if (row["name"], row["scope"]) == ("tasks_per_hour", "member"))
        assert (row["limit"], row["use"]) == (1, 2)
        held = said(instance, env(bob), *create, code=1)
        assert (
            "2 tasks started in an hour by this member, and the most is 1; set for the workspace by Olga Owner" in held
        )
        wait = re.search(r"Try again in (\d+) seconds\. An owner of this workspace can raise it: `(.+?)`", held)
        assert wait, held
        assert 0 < int(wait[1]) <= 3600
        assert "Ask" not in held, "an owner reads the same words"
        assert held.count(wait[1]) == 1, "said once"
        # What it names to type works as it stands.
        typed = shlex.split(wait[2].replace("NUMBER", "5").replace("WHY", "enough"))
        said(instance, env(bob), *typed[1:], code=5)
        said(instance, cli_owner, *typed[1:])
        tasks.append(data(instance, env(bob), *create)["id"])
    finally:
        said(instance, cli_owner, "limits", "clear", "tasks_per_hour", *mine, "--reason", "over")
        for task in tasks:
            instance.worka("task", "cancel", task, **cli_owner)
    for words in (("limits", "show"), ("limits", "clear", "tasks_per_hour", "--reason", "r")):
        assert "nobody of this workspace" in said(instance, cli_owner, *words, "--member", NOBODY, code=3)
