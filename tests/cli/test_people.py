"""Who is meant by what somebody typed: nobody is taken for another because of what they call themselves."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.cli.people import meant, named

pytestmark = pytest.mark.timeout(300)
MEANT = pytest.mark.capability("DOR-2", part="somebody is meant by id, address or name, and nobody else")
SARA = {"principal_id": "per_sara", "name": "Sara", "email": "sara@example.org"}
MALLORY = {"principal_id": "per_mallory", "name": "sara@example.org", "email": "mallory@example.org"}
ROBOT = {"principal_id": "tmb_robot", "name": "Scribe", "email": None}


@MEANT
def test_what_holds_an_at_is_an_address_whatever_anybody_calls_themselves() -> None:
    everybody: list[dict[str, Any]] = [MALLORY, SARA, ROBOT]
    assert meant(everybody, "sara@example.org") == [SARA]
    assert meant(everybody, " Sara@Example.ORG ") == [SARA], "an address in any case"
    assert meant([MALLORY, ROBOT], "sara@example.org") == [], "she is not here: nobody is meant"
    assert meant(everybody, "mallory@example.org") == [MALLORY], "the control"
    assert [meant(everybody, name) for name in ("Sara", "Scribe", "sara", "")] == [[SARA], [ROBOT], [], []]
    twin = {**MALLORY, "name": "Sara"}
    assert meant([SARA, twin], "Sara") == [SARA, twin], "both, so that neither is chosen"


@MEANT
def test_what_is_called_like_anothers_id_is_not_taken_for_it() -> None:
    real, called = {"id": "tmb_real", "name": "scribe"}, {"id": "tmb_called", "name": "tmb_real"}
    assert named([called, real], "tmb_real") == [real]
    assert named([called, real], "scribe") == [real]
    assert named([called], "tmb_real") == [called], "the control: where there is no such id it is a name"


class Terminal:
    """`worka` as the owner of a workspace."""

    def __init__(self, instance: Instance, stage: Demo, env: dict[str, str]) -> None:
        self.instance, self.stage, self.env = instance, stage, env
        self.run = secrets.token_hex(3)
        self.joined: list[str] = []

    def __call__(self, *words: str, code: int = 0) -> Any:
        done = self.instance.worka("-o", "json", *words, **self.env)
        assert done.returncode == code, f"{words}: {done.returncode} {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def joins(self, address: str, called: str) -> str:
        """Somebody accepts an invitation under a name of their choice; their id."""
        owner = self.stage.owner
        invited = owner.post(owner.ws("/invitations"), {"email": address, "role": "admin"})
        body = {"token": invited["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": called}
        made = Client(self.stage.url).post("/v1/invitations/accept", body)
        self.joined.append(str(Client(self.stage.url, made["session_token"]).get("/v1/me")["id"]))
        return self.joined[-1]


@pytest.fixture
def worka(instance: Instance, stage: Demo, cli_owner: dict[str, str]) -> Iterator[Terminal]:
    """The workspace is everybody's: who joins for a test leaves after it."""
    made = Terminal(instance, stage, cli_owner)
    yield made
    for who in made.joined:
        made("member", "remove", who)


@MEANT
def test_no_command_takes_who_calls_themselves_by_an_address_for_whose_it_is(worka: Terminal) -> None:
    sara, mallory = f"sara.{worka.run}@acme.test", f"mallory.{worka.run}@acme.test"
    attacker = worka.joins(mallory, sara)
    commands = [
        ("group", "create", f"g-{worka.run}", "--add", sara, "--dry-run"),
        ("approvals", "delegate", "--to", sara, "--until", "8h", "--dry-run"),
        ("limits", "show", "--member", sara),
        ("limits", "set", "tasks_per_hour", "9", "--member", sara, "--reason", "r", "--dry-run"),
        ("kill", "on", "member", sara, "--reason", "r", "--dry-run"),
        ("member", "change", sara, "--role", "viewer", "--dry-run"),
        ("member", "remove", sara, "--dry-run"),
        ("access", "why", sara, "task.create"),
        ("access", "list", "--principal", sara),
        ("decision", "list", "--principal", sara),
        ("policy", "dry-run", "--member", sara, "--role", "viewer"),
    ]
    stop = worka("kill", "on", "destination", f"{worka.run}.test", "--reason", "r", "--yes")
    commands.append(("kill", "lift", stop["id"], "--reason", "r", "--for", sara, "--dry-run"))
    for words in commands:
        refused = worka(*words, code=3)
        assert (f"nobody of this workspace has the e-mail address '{sara}'" in refused["detail"], words) == (
            True,
            words,
        )
        assert f"{attacker}, {mallory}) only calls itself so" in refused["detail"], words
    # Now she is here herself: the very same commands mean her, and only her.
    herself = worka.joins(sara, "Sara")
    for words in commands:
        answer = json.dumps(worka(*words))
        assert attacker not in answer, words
    assert [row["id"] for row in worka(*commands[0])["group"]["members"]] == [herself]
    assert worka(*commands[-1])["would"]["exempt"] == [herself]
    worka("kill", "lift", stop["id"], "--reason", "over", "--skip-trial")


@MEANT
def test_of_several_who_are_called_alike_none_is_chosen_and_their_ids_are_said(worka: Terminal) -> None:
    name = f"Robin {worka.run}"
    addresses = [f"{who}.{worka.run}@acme.test" for who in ("first", "second")]
    first = worka.joins(addresses[0], name)
    assert worka("member", "change", name, "--role", "admin")["principal_id"] == first, (
        "the control: while there is one"
    )
    second = worka.joins(addresses[1], name)
    for words in (
        ("member", "change", name, "--role", "viewer"),
        ("group", "create", f"r-{worka.run}", "--add", name),
        ("kill", "on", "member", name, "--reason", "r", "--yes"),
    ):
        refused = worka(*words, code=2)
        assert all(word in refused["detail"] for word in (first, second, *addresses)), words
    assert worka("member", "change", addresses[1], "--role", "viewer")["principal_id"] == second
    assert worka("member", "change", first, "--role", "viewer")["principal_id"] == first
