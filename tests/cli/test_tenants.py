"""`worka tenant`, as the deployment's operator types it."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = pytest.mark.capability("DOR-2", part="tenants, by the deployment's operator")


def said(instance: Instance, who: dict[str, str], *words: str, code: int = 0) -> str:
    done = instance.worka(*words, **who)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def operator(stage: Demo) -> dict[str, str]:
    return {"WORKA_TOKEN": str(stage.operator.token)}


def test_a_tenant_is_tried_made_listed_and_comes_into_the_hands_of_its_owner(
    instance: Instance, stage: Demo, operator: dict[str, str]
) -> None:
    name, owner = f"Mole {secrets.token_hex(4)}", f"odo-{secrets.token_hex(4)}@mole.test"
    slug = name.lower().replace(" ", "-")
    listed = said(instance, operator, "tenant", "list")
    tried = said(instance, operator, "tenant", "create", name, "--owner", owner, "--dry-run")
    assert f"would make the tenant {name} ({slug})" in tried
    assert "wki_" not in tried, "what opens nothing is not shown"
    assert instance.rows("select 1 as n from worka.tenant where slug = %s", slug) == []
    assert instance.rows("select 1 as n from worka.one_time_token where email = %s", owner) == []
    assert said(instance, operator, "tenant", "list") == listed

    made = json.loads(said(instance, operator, "-o", "json", "tenant", "create", name, "--owner", owner))
    assert made["tenant_id"] in said(instance, operator, "tenant", "list")
    body = {"token": made["invitation_token"], "password": "correct horse battery", "display_name": "Odo"}
    accepted = Client(stage.url).post("/v1/invitations/accept", body)
    (mine,) = Client(stage.url, accepted["session_token"]).get("/v1/me")["workspaces"]
    assert (mine["id"], mine["role"]) == (made["workspace_id"], "owner")
    # Tried as it would be done: what would be refused is refused.
    for extra in ([], ["--dry-run"]):
        assert slug in said(instance, operator, "tenant", "create", name, "--owner", owner, *extra, code=7)


def test_who_is_no_operator_makes_no_tenant_and_a_name_without_letters_needs_a_short_one(
    instance: Instance, cli_owner: dict[str, str], operator: dict[str, str]
) -> None:
    for extra in ([], ["--dry-run"]):
        assert "may not" in said(instance, cli_owner, "tenant", "create", "Mole", "--owner", "a@b.test", *extra, code=5)
    wanted = said(instance, operator, "tenant", "create", "日本", "--owner", "a@b.test", code=2)
    assert "--slug" in wanted
    given = ("tenant", "create", "日本", "--slug", f"nihon-{secrets.token_hex(4)}", "--owner", "a@b.test")
    assert "would make the tenant 日本" in said(instance, operator, *given, "--dry-run")
    wrong = said(instance, operator, "tenant", "create", "Mole", "--owner", "nobody", code=2)
    assert "not an e-mail address" in wrong
