"""`worka limits`, `worka workspace roles` and taking things away, as an operator types them, on a running instance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.instance import Instance
from worka.cli.demo import Demo

NAME = ("tasks_per_hour", "900")
OPS = pytest.mark.capability("OPS-7", part="in the command line")


def worka(instance: Instance, env: dict[str, str], *words: str) -> Any:
    done = instance.worka("--output", "json", *words, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said(instance: Instance, env: dict[str, str], *words: str, code: int = 0) -> str:
    done = instance.worka(*words, **env)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return str(done.stdout + done.stderr)


@pytest.fixture
def left_as_it_was(instance: Instance, cli_owner: dict[str, str]) -> Iterator[None]:
    """The instance is everybody's: what a test limits is free again afterwards."""
    yield
    for layer in ("workspace", "tenant"):
        instance.worka("limits", "clear", "tasks_per_hour", "--layer", layer, "--reason", "over", **cli_owner)


@OPS
@pytest.mark.usefixtures("left_as_it_was")
def test_a_limit_is_tried_set_shown_raised_no_further_than_its_layer_and_cleared(
    instance: Instance, cli_owner: dict[str, str]
) -> None:
    tried = said(instance, cli_owner, "limits", "set", *NAME, "--dry-run")
    assert "At most 900 tasks started in an hour" in tried
    assert "nothing was set" in tried
    assert "none set" in said(instance, cli_owner, "limits", "show")
    assert "--reason is needed" in said(instance, cli_owner, "limits", "set", *NAME, code=2)
    made = worka(instance, cli_owner, "limits", "set", *NAME, "--reason", "the budget")
    assert (made["value"], made["layer"], made["scope"]) == (900, "workspace", "workspace")
    shown = worka(instance, cli_owner, "limits", "show")
    item = next(row for row in shown["items"] if (row["name"], row["scope"]) == ("tasks_per_hour", "workspace"))
    assert (item["limit"], item["source"]["reason"]) == (900, "the budget")
    worka(instance, cli_owner, "limits", "set", "tasks_per_hour", "800", "--layer", "tenant", "--reason", "all of us")
    above = said(instance, cli_owner, "limits", "set", "tasks_per_hour", "850", "--reason", "more", code=2)
    assert "only tightens" in above
    unknown = said(instance, cli_owner, "limits", "set", "tea_per_hour", "3", "--reason", "r", code=2)
    assert "tasks_per_hour" in unknown, "the limits that there are"
    stale = said(
        instance, cli_owner, "limits", "set", "tasks_per_hour", "3", "--revision", "99999", "--reason", "r", code=7
    )
    assert "worka limits show" in stale
    gone = worka(instance, cli_owner, "limits", "clear", "tasks_per_hour", "--reason", "over")
    assert gone["value"] is None
    deployment = said(instance, cli_owner, "limits", "show", "--deployment", code=5)
    assert "may not set a limit for every tenant" in deployment


@OPS
def test_a_dry_run_of_a_deployments_limit_says_which_tenants_would_be_over_it(instance: Instance, stage: Demo) -> None:
    operator = {"WORKA_TOKEN": str(stage.operator.token)}
    wish, kept = ("limits", "set", *NAME, "--deployment", "--dry-run"), ("limits", "show", "--deployment")
    before = worka(instance, operator, *kept)["items"]
    text = " ".join(said(instance, operator, *wish).split())
    assert "would set tasks_per_hour per tenant, for every tenant: at most 900" in text
    assert "over it now: 0 of" in text
    assert "nothing was set" in text
    many = ("limits", "set", "members", "1", "--scope", "workspace", "--deployment", "--dry-run")
    found = worka(instance, operator, *many)
    (mine,) = [row for row in found["over"] if row["tenant_id"] == stage.ids["tenant"]]
    assert (mine["over"], mine["use"] > 1, found["tenants"] >= len(found["over"])) == (1, True, True)
    assert f"{mine['tenant_id']}: {mine['use']} in use, 1 workspaces over it" in said(instance, operator, *many)
    nobody = said(instance, operator, *wish, "--tenant", "ten_nowhere", code=3)
    assert "There is no tenant" in nobody
    clearing = said(instance, operator, "limits", "clear", NAME[0], "--deployment", "--dry-run")
    assert "would clear tasks_per_hour" in clearing
    assert worka(instance, operator, *kept)["items"] == before


@pytest.mark.capability("IDN-16")
def test_the_recorded_roles_are_told_by_one_command(instance: Instance, cli_owner: dict[str, str]) -> None:
    text = said(instance, cli_owner, "workspace", "roles")
    assert "owner" in text
    found = worka(instance, cli_owner, "workspace", "roles")
    assert [role["role"] for role in found["roles"]] == [
        "owner", "capability_approver", "connection_manager", "publication_reviewer", "acting_member",
    ]  # fmt: skip
    assert all(holder["permitted_by"] for role in found["roles"] for holder in role["holders"])


@pytest.mark.capability("GOV-14", part="releases and secrets, as before a kill switch")
def test_taking_a_secret_away_is_shown_before_and_done_with_a_reason(
    instance: Instance, cli_owner: dict[str, str]
) -> None:
    made = httpx.post(
        f"{instance.url}/v1/workspaces/{cli_owner['WORKA_WORKSPACE']}/secrets",
        json={"name": "to-be-revoked", "value": "a-value", "kind": "other", "purpose": "p"},
        headers={"Authorization": f"Bearer {cli_owner['WORKA_TOKEN']}"},
    ).json()
    tried = said(instance, cli_owner, "secret", "revoke", made["id"], "--dry-run")
    assert "would have refused 0" in tried
    assert "nothing was done" in tried
    said(instance, cli_owner, "secret", "revoke", made["id"], "--yes", code=2)
    done = worka(instance, cli_owner, "secret", "revoke", made["id"], "--yes", "--reason", "leaked")
    assert done["state"] == "revoked"
