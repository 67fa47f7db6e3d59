"""`worka team-member` and `worka token`, as an operator types them: tried, done, and refused alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(240)


def worka(instance: Instance, who: dict[str, str], *words: str, code: int = 0) -> Any:
    done = instance.worka("--output", "json", *words, **who)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done.stdout + done.stderr


@pytest.mark.capability("DOR-2", part="AI team members and tokens, each tried before it is done")
def test_a_team_member_is_added_given_a_token_paused_and_its_token_revoked_by_command(
    instance: Instance, stage: Demo, cli_owner: dict[str, str]
) -> None:
    name = f"scribe-{stage.run}"
    add = ("team-member", "add", name, "--responsibility", "notes", "--tool", "worka.notes.check_link")
    names = lambda: {row["name"] for row in worka(instance, cli_owner, "team-member", "list")["items"]}  # noqa: E731
    assert worka(instance, cli_owner, *add, "--dry-run")["team_member"]["tools"] == ["worka.notes.check_link"]
    assert name not in names()
    made = worka(instance, cli_owner, *add)
    assert (name in names(), made["owner_person_id"]) == (True, stage.ids["owner"])
    taken = worka(instance, cli_owner, *add, "--dry-run", code=7)
    assert taken["code"] == "team_member_name_taken", "refused as adding it would be"
    would = worka(instance, cli_owner, "token", "create", "nightly", "--for", name, "--dry-run")
    assert (would["principal_id"], "token" in would) == (made["id"], False)
    token = worka(instance, cli_owner, "token", "create", "nightly", "--for", name, "--days", "1")
    as_scribe = {**cli_owner, "WORKA_TOKEN": token["token"]}
    assert worka(instance, as_scribe, "me")["id"] == made["id"]
    refused = worka(instance, as_scribe, "team-member", "change", name, "--pause", "--dry-run", code=5)
    assert refused["action"] == "team_member.change"
    tried = worka(instance, cli_owner, "team-member", "change", name, "--pause", "--no-tools", "--dry-run")
    assert (tried["team_member"]["enabled"], tried["team_member"]["tools"]) == (False, [])
    assert worka(instance, as_scribe, "me")["id"] == made["id"], "tried, and not paused"
    changed = worka(instance, cli_owner, "team-member", "change", name, "--no-tools")
    assert (changed["enabled"], changed["tools"]) == (True, [])
    assert worka(instance, cli_owner, "token", "revoke", token["token_id"], "--dry-run")["would"] == "revoke"
    assert worka(instance, as_scribe, "me")["id"] == made["id"], "tried, and not revoked"
    worka(instance, cli_owner, "token", "revoke", token["token_id"])
    worka(instance, as_scribe, "me", code=4)
    worka(instance, cli_owner, "team-member", "change", "nobody", "--pause", code=3)
    assert instance.worka("team-member", "change", name, **cli_owner).returncode == 2, "nothing changes"
