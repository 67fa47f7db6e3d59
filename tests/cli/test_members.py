"""`worka member` and `worka me`, as an operator types them: looking first, then doing, and a second factor by command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.identity.phone import Phone, calm_for_a_command, secret_of
from tests.support import forks
from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)
PASSWORD = "correct horse battery"
Worka = Callable[..., tuple[int, str, str]]


@pytest.fixture
def worka(stage: Demo, cli_owner: dict[str, str], tmp_path: Path) -> Worka:
    """Runs a command, as the owner unless said otherwise; (exit code, stdout, stderr)."""

    def run(*words: str, typed: str | None = None, **environment: str) -> tuple[int, str, str]:
        told = {**os.environ, "WORKA_URL": stage.url, "HOME": str(tmp_path), **cli_owner, **environment}
        done = forks.typed(words, told, typed or "")
        return done.returncode, done.stdout, done.stderr

    return run


def joined(stage: Demo, worka: Worka, name: str, role: str) -> tuple[str, Client]:
    """Somebody who was invited by command; their address and their session."""
    email = f"{name}+{stage.run}@acme.test"
    code, said, _ = worka("-o", "json", "member", "invite", email, "--role", role)
    assert code == 0, said
    body = {"token": json.loads(said)["invitation_token"], "password": PASSWORD, "display_name": name}
    accepted: dict[str, Any] = Client(stage.url).post("/v1/invitations/accept", body)
    return email, Client(stage.url, accepted["session_token"], stage.ids["workspace"])


@pytest.mark.capability("IDN-15", part="by command, before it is sent")
@pytest.mark.capability("DOR-2", part="members and invitations")
def test_an_invitation_is_looked_at_sent_listed_sent_again_and_taken_back(stage: Demo, worka: Worka) -> None:
    email = f"guest+{stage.run}@acme.test"
    code, said, _ = worka("member", "invite", email, "--role", "viewer", "--approver", "--dry-run")
    assert code == 0, said
    assert "nothing was sent" in said
    assert "Shared view controls: nothing" in said
    assert "approval.decide" in said
    assert email not in worka("-o", "json", "member", "invitations")[1]
    code, said, told = worka("member", "invite", email, "--role", "viewer")
    assert (code, "/invitation?token=wki_" in said, "works once" in told) == (0, True, True), said + told
    invitation = said.split()[0]
    code, said, _ = worka("member", "resend", invitation)
    assert (code, "wki_" in said) == (0, True)
    assert "would withdraw" in worka("member", "withdraw", invitation, "--dry-run")[1]
    assert worka("member", "withdraw", invitation)[0] == 0
    rows = json.loads(worka("-o", "json", "member", "invitations")[1])["items"]
    assert {row["id"]: row["state"] for row in rows}[invitation] == "withdrawn"
    assert worka("member", "withdraw", invitation)[0] == 7
    assert (
        worka("member", "invite", email, "--role", "owner", "--dry-run", WORKA_TOKEN=str(stage.approver.token))[0] == 5
    )


@pytest.mark.capability(
    "IDN-15", part="one address has one link that opens the workspace, and none once its person is in it"
)
def test_who_is_invited_or_here_is_not_invited_again_and_is_told_what_to_do_instead(stage: Demo, worka: Worka) -> None:
    email = f"twice+{stage.run}@acme.test"
    _, said, _ = worka("-o", "json", "member", "invite", email, "--role", "admin")
    first = json.loads(said)
    for extra in ((), ("--dry-run",)):
        code, _, told = worka("member", "invite", email, "--role", "viewer", *extra)
        assert (code, f"worka member resend {first['invitation_id']}" in told) == (7, True), told
    # Taken back, another one may go out; by that they come in.
    assert worka("member", "withdraw", first["invitation_id"])[0] == 0
    _, said, _ = worka("-o", "json", "member", "invite", email, "--role", "viewer")
    body = {"token": json.loads(said)["invitation_token"], "password": PASSWORD, "display_name": "Twice"}
    Client(stage.url).post("/v1/invitations/accept", body)
    for extra in ((), ("--dry-run",)):
        code, _, told = worka("member", "invite", email, "--role", "admin", *extra)
        assert (code, f"worka member change {email} --role admin" in told) == (7, True), told
    code, said, _ = worka("changes", "--who", "Twice", "--limit", "50")
    assert (code, "Twice" in said, "Olga Owner" in said) == (0, True, False), said
    assert worka("member", "change", email, "--role", "member")[0] == 0
    code, said, _ = worka("changes", "--about", "Twice")
    assert (code, "viewer → member" in said) == (0, True), said


@pytest.mark.capability("IDN-15", part="accepted at a terminal, by who holds the link")
def test_an_invitation_is_looked_at_and_accepted_at_a_terminal_and_opens_nothing_twice(
    stage: Demo, worka: Worka, tmp_path: Path
) -> None:
    email = f"term+{stage.run}@acme.test"
    said = worka("-o", "json", "member", "invite", email, "--role", "viewer")[1]
    link = f"{stage.url}/invitation?token={json.loads(said)['invitation_token']}"
    nobody = {"WORKA_TOKEN": "", "WORKA_WORKSPACE": ""}
    code, said, told = worka("invitation", "accept", "--dry-run", typed=f"{link}\n", **nobody)
    assert (code, email in said, "as viewer" in said, "nothing was used" in said) == (0, True, True, True), said + told
    assert worka("invitation", "accept", typed="", **nobody)[0] == 2, "nobody typed anything"
    typed = f"{link}\n{PASSWORD}\n"
    code, said, told = worka("--login", "tess", "invitation", "accept", "--name", "Tess", typed=typed, **nobody)
    assert (code, "you are in" in told, "wki_" in said + told) == (0, True, False), said + told
    code, said, told = worka("-o", "json", "--login", "tess", "me", **nobody)
    assert (code, "Tess" in said) == (0, True), said + told
    code, _, told = worka("invitation", "accept", typed=typed, **nobody)
    assert code != 0, told
    assert "remedy" in told


@pytest.mark.capability("IDN-8", part="a refusal of a role, in the words of who typed it")
def test_a_refusal_names_the_option_that_was_typed_and_who_could_do_it(stage: Demo, worka: Worka) -> None:
    email, _ = joined(stage, worka, "rolf", "member")
    for words, option in (
        (("member", "invite", "a@b.test", "--role", "emperor"), "--role"),
        (("member", "change", email, "--role", "emperor"), "--role"),
        (("approvals", "list", "--state", "decided"), "--state"),
    ):
        code, _, told = worka(*words)
        assert (code, f"{option}: " in told, "/body/" in told or "/query/" in told) == (2, True, False), told
    _, said, _ = worka("-o", "json", "member", "invite", "a@b.test", "--role", "emperor")
    assert json.loads(said)["fields"][0]["field"] == "/body/role", "a program gets the field of the API"
    admin = {"WORKA_TOKEN": str(stage.approver.token)}
    code, _, told = worka("member", "change", email, "--role", "owner", "--dry-run", **admin)
    assert (code, "role of owner can do it" in told, "administer" in told) == (5, True, False), told
    code, _, told = worka("member", "change", email, "--role", "viewer", "--dry-run", **admin)
    assert code == 0, told


@pytest.mark.capability("IDN-8", part="by command, a change of role says first what is gained and lost")
@pytest.mark.capability("IDN-13", part="one's own six permissions by command")
def test_a_role_is_compared_then_changed_and_the_six_permissions_follow(stage: Demo, worka: Worka) -> None:
    email, mine = joined(stage, worka, "cleo", "viewer")
    as_cleo = {"WORKA_TOKEN": str(mine.token)}
    code, said, _ = worka("access", "can-i", **as_cleo)
    assert (code, said.count("✓"), said.count("✗")) == (0, 1, 5), said
    code, said, _ = worka("member", "change", email, "--role", "member", "--dry-run")
    assert (code, "+ task.create: may not, then may" in said, "nothing was changed" in said) == (0, True, True), said
    assert worka("access", "can-i", **as_cleo)[1].count("✓") == 1
    assert worka("member", "change", email, "--role", "member")[0] == 0
    assert worka("access", "can-i", **as_cleo)[1].count("✓") == 2
    code, said, _ = worka("member", "remove", email, "--dry-run")
    assert (code, "- task.create" in said) == (0, True), said
    assert 0 <= said.find("what hangs on them here") < said.find("- task.create"), said
    assert worka("member", "remove", email)[0] == 0
    assert worka("access", "can-i", **as_cleo)[0] == 3


@pytest.mark.capability("IDN-18", part="a second factor by command")
@pytest.mark.capability("IDN-20", part="a session is stepped up by command")
def test_a_second_factor_is_set_up_asked_for_at_login_and_taken_away_by_command(stage: Demo, worka: Worka) -> None:
    email, mine = joined(stage, worka, "dana", "member")
    as_dana = {"WORKA_TOKEN": str(mine.token), "WORKA_PASSWORD_STDIN": "1"}
    code, said, _ = worka("me", "second-factor", "set-up", "--dry-run", **as_dana)
    assert (code, "would set up" in said) == (0, True), said
    code, said, told = worka("-o", "json", "me", "second-factor", "set-up", typed=f"{PASSWORD}\n", **as_dana)
    assert code == 0, said + told
    phone = Phone(secret_of(json.loads(said)["secret"]))
    assert worka("me", "second-factor", "confirm", phone.wrong(), **as_dana)[0] == 5
    calm_for_a_command()
    code, said, _ = worka("-o", "json", "me", "second-factor", "confirm", phone.code(-1), **as_dana)
    recovery = json.loads(said)["recovery_codes"]
    assert (code, len(recovery)) == (0, 10)
    login = ("--login", "dana", "login", "--email", email)
    code, said, told = worka(*login, typed=f"{PASSWORD}\n", **as_dana)
    assert (code, "code" in told) == (4, True), said + told
    assert worka(*login, "--code", phone.wrong(), typed=f"{PASSWORD}\n", **as_dana)[0] == 4
    assert worka(*login, "--code", recovery[0], typed=f"{PASSWORD}\n", **as_dana)[0] == 0
    assert worka("me", "step-up", **as_dana)[0] == 4, "nobody sits there to be asked"
    assert worka("me", "step-up", "--code", phone.wrong(), **as_dana)[0] == 5
    assert worka("me", "step-up", "--code", recovery[1], **as_dana)[0] == 0
    code, said, _ = worka("me", "second-factor", "show", **as_dana)
    assert (code, "8" in said) == (0, True), said
    code, said, _ = worka("member", "reset-second-factor", email, "--why", "lost the phone", "--dry-run")
    assert (code, "would take" in said) == (0, True)
    whom = json.loads(worka("-o", "json", "me", **as_dana)[1])["id"]
    code, said, told = worka("person", "reset-second-factor", whom, "--why", "r", "--dry-run")
    assert (code, "may not take the second factor from" in told) == (5, True), "an owner is no operator"
    assert worka("me", **as_dana)[0] == 0, "nothing was done"
    assert worka("member", "reset-second-factor", email, "--why", "lost the phone")[0] == 0
    assert worka("me", **as_dana)[0] == 4, "their sessions have ended"
    assert worka(*login, typed=f"{PASSWORD}\n", **as_dana)[0] == 0


@pytest.mark.capability("IDN-18", part="the operator takes a lost second factor away by command, tried before")
@pytest.mark.capability("IDN-20", part="a session is stepped up by command")
def test_the_operator_resets_a_second_factor_by_command_with_their_own_given_first(
    instance: Instance, stage: Demo, worka: Worka
) -> None:
    _, theirs = joined(stage, worka, "doris", "member")
    as_doris = {"WORKA_TOKEN": str(theirs.token), "WORKA_PASSWORD_STDIN": "1"}
    enrolled(worka, as_doris)
    _, mine = joined(stage, worka, "oswin", "viewer")
    as_operator = {"WORKA_TOKEN": str(mine.token), "WORKA_PASSWORD_STDIN": "1"}
    recovery, phone = enrolled(worka, as_operator)
    whom, who = (client.get("/v1/me")["id"] for client in (theirs, mine))
    reset = ("person", "reset-second-factor", whom, "--why", "showed a passport")
    code, _, told = worka(*reset, "--dry-run", **as_operator)
    assert (code, "may not take the second factor from" in told) == (5, True), told
    # No road makes a second operator, and the first one's password is thrown away by who set this instance up.
    instance.rows("update worka.person set operator = true where id = %s returning id", who)
    try:
        for words in (reset, (*reset, "--dry-run")):
            code, _, told = worka(*words, **as_operator)
            assert (code, "You have a second factor" in told) == (5, True), told
        assert worka(*reset, "--code", phone.wrong(), **as_operator)[0] == 5
        assert worka("me", **as_doris)[0] == 0, "refused so far"
        assert worka("me", "step-up", "--code", recovery[0], **as_operator)[0] == 0
        code, said, _ = worka(*reset, "--dry-run", **as_operator)
        assert (code, "end every session of theirs (" in said, "nothing was done" in said) == (0, True, True), said
        assert worka("me", **as_doris)[0] == 0, "tried, and not done"
        assert worka(*reset, "--code", recovery[1], **as_operator)[0] == 0
        assert worka("me", **as_doris)[0] == 4, "their sessions have ended"
        (row,) = instance.rows(
            "select body from (select convert_from(body, 'UTF8') as body from worka.audit_entry) e"
            " where position('identity.second_factor.reset' in body) > 0 and position(%s in body) > 0",
            whom,
        )
        assert (who in row["body"], "showed a passport" in row["body"]) == (True, True), "the platform's ledger has it"
    finally:
        instance.rows("update worka.person set operator = false where id = %s returning id", who)


def enrolled(worka: Worka, who: dict[str, str]) -> tuple[list[str], Phone]:
    """Sets somebody's second factor up by command; the recovery codes, and the app."""
    code, said, told = worka("-o", "json", "me", "second-factor", "set-up", typed=f"{PASSWORD}\n", **who)
    assert code == 0, said + told
    phone = Phone(secret_of(json.loads(said)["secret"]))
    calm_for_a_command()
    code, said, told = worka("-o", "json", "me", "second-factor", "confirm", phone.code(-1), **who)
    assert code == 0, said + told
    return json.loads(said)["recovery_codes"], phone


@pytest.mark.capability("IDN-21", part="service accounts by command")
def test_a_service_account_is_made_given_a_token_rotated_and_ended_by_command(stage: Demo, worka: Worka) -> None:
    name = f"importer-{stage.run}"
    code, said, _ = worka("service-account", "create", name, "--purpose", "imports issues", "--dry-run")
    assert (code, "would make" in said, name in worka("service-account", "list")[1]) == (0, True, False), said
    code, said, _ = worka("service-account", "create", name, "--purpose", "imports issues", "--role", "member")
    assert code == 0, said
    first = json.loads(worka("-o", "json", "service-account", "token", name)[1])["token"]
    code, said, _ = worka("-o", "json", "me", WORKA_TOKEN=first)
    mine = json.loads(said)
    assert (code, mine["kind"], mine["name"]) == (0, "service_account", name)
    assert mine["owner_person_id"] == stage.owner.get("/v1/me")["id"]
    second = json.loads(worka("-o", "json", "service-account", "rotate", name)[1])["token"]
    assert [worka("me", WORKA_TOKEN=token)[0] for token in (first, second)] == [4, 0]
    assert worka("service-account", "end", name, "--dry-run")[0] == 0
    assert worka("me", WORKA_TOKEN=second)[0] == 0
    assert worka("service-account", "end", name)[0] == 0
    assert worka("me", WORKA_TOKEN=second)[0] == 4
    assert worka("service-account", "rotate", name)[0] == 3
