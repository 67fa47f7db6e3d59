"""Secrets and keys from the command line: each change tried before it is made, values typed and never printed."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.support.forks import typed
from tests.support.instance import Instance
from worka.cli.client import Client
from worka.cli.demo import Demo

pytestmark = [pytest.mark.timeout(240), pytest.mark.capability("DOR-2", part="secrets and keys")]
VALUE = "typed-value-12345"


def worka(instance: Instance, who: dict[str, str], *words: str, line: str = "", code: int = 0) -> Any:
    done = typed(["--output", "json", *words], {**instance.env, **who}, f"{line}\n")
    assert done.returncode == code, done.stdout + done.stderr
    assert VALUE not in done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture
def place(stage: Demo) -> tuple[dict[str, str], Client, Client]:
    """A tenant of its own with two owners: the first by environment, and both as clients."""
    name, anyone = secrets.token_hex(4), Client(stage.url)
    made = stage.operator.post(
        "/v1/tenants",
        {"slug": f"sec-{name}", "name": "Sec", "workspace_name": "W", "owner_email": f"ona-{name}@sec.test"},
    )

    def accept(token: str, called: str) -> Client:
        person = {"password": secrets.token_urlsafe(18), "display_name": called}
        found = anyone.post("/v1/invitations/accept", {"token": token, **person})
        return Client(stage.url, found["session_token"], made["workspace_id"])

    first = accept(made["invitation_token"], "Ona")
    second = accept(
        first.post(first.ws("/invitations"), {"email": f"otto-{name}@sec.test", "role": "owner"})["invitation_token"],
        "Otto",
    )
    return {"WORKA_TOKEN": str(first.token), "WORKA_WORKSPACE": made["workspace_id"]}, first, second


@pytest.mark.capability("TRE-4", "TRE-9", "TRE-10")
def test_a_secret_is_tried_put_in_rotated_and_taken_back(
    instance: Instance, place: tuple[dict[str, str], Client, Client]
) -> None:
    me, owner, _ = place
    tried = worka(instance, me, "secret", "create", "token", "--dry-run", line=VALUE)
    assert tried["would"]["state"] == "active"
    assert owner.get(owner.ws("/secrets"))["items"] == [], "nothing was kept"
    made = worka(instance, me, "secret", "create", "token", "--purpose", "p", "--rotate-days", "90", line=VALUE)
    assert (made["rotate_days"], made["grants"]) == (90, [])
    generated = worka(instance, me, "secret", "create", "queue", "--kind", "infrastructure", "--generate")
    assert generated["binds"] == "platform"
    assert [row["name"] for row in worka(instance, me, "secret", "list")["items"]] == ["queue", "token"]
    assert worka(instance, me, "secret", "dependants", "token")["items"] == []
    worka(instance, me, "secret", "rotate", "token", "--overlap", "30", "--dry-run", line="another-value-1")
    assert worka(instance, me, "secret", "show", "token")["version"] == 1
    turned = worka(instance, me, "secret", "rotate", "token", "--overlap", "30", "--yes", line="another-value-1")
    assert (turned["state"], turned["version"]) == ("rotating", 2)
    assert worka(instance, me, "secret", "back", "token", "--dry-run")["would"]["state"] == "active"
    back = worka(instance, me, "secret", "back", "token")
    assert (back["state"], back["version"]) == ("active", 3)
    worka(instance, me, "secret", "finish", "token", code=7)
    dated = worka(instance, me, "secret", "dates", "token", "--expires", "2100-01-01T00:00:00Z")
    assert (dated["expires_at"][:10], dated["rotate_days"]) == ("2100-01-01", None)
    worka(instance, me, "secret", "show", "nothing", code=3)


@pytest.mark.capability("TRE-13")
def test_a_value_is_read_with_the_consent_of_another_owner(
    instance: Instance, place: tuple[dict[str, str], Client, Client]
) -> None:
    me, _, partner = place
    worka(instance, me, "secret", "create", "token", line=VALUE)
    worka(instance, me, "secret", "ask-to-read", "token", "--reason", "w", "--dry-run")
    asked = worka(instance, me, "secret", "ask-to-read", "token", "--reason", "the vendor asks")
    worka(instance, me, "secret", "read", asked["id"], code=7)
    card = partner.get(f"/v1/approvals/{asked['approval_id']}")
    partner.post(
        f"/v1/approvals/{card['id']}/decisions", {"decision": "approve", "digest": card["digest"], "comment": ""}
    )
    done = instance.worka("secret", "read", asked["id"], **me)
    assert (done.returncode, done.stdout.strip()) == (0, VALUE), done.stderr
    worka(instance, me, "secret", "read", asked["id"], code=7)
    (row,) = worka(instance, me, "secret", "readings", "token")["items"]
    assert (row["state"], row["reason"]) == ("closed", "reading_done")


def test_keys_are_looked_at_rotated_and_their_destruction_is_asked_for(
    instance: Instance, stage: Demo, place: tuple[dict[str, str], Client, Client]
) -> None:
    me, owner, partner = place
    made = worka(instance, me, "secret", "create", "token", line=VALUE)
    assert worka(instance, me, "treasury", "rotate-key", "--dry-run")["would"]["version"] == 2
    assert worka(instance, me, "treasury", "key")["version"] == 1
    turned = worka(instance, me, "treasury", "rotate-key")
    assert (turned["version"], turned["left"]) == (2, 0)
    status = worka(instance, {"WORKA_TOKEN": str(stage.operator.token)}, "treasury", "status")
    assert (status["sealed"], status["lost"]) == (False, 0)
    worka(instance, me, "treasury", "status", code=5)
    tried = worka(instance, me, "treasury", "destroy-keys", "--dry-run")
    assert tried["reach"]["counts"]["secrets"] == 1
    asked = worka(instance, me, "treasury", "destroy-keys", "--reason", "the customer left", "--yes")
    assert owner.get(f"/v1/secrets/{made['id']}")["state"] == "active"
    card = partner.get(f"/v1/approvals/{asked['approval_id']}")
    assert "cannot be undone" in card["effect"]
    partner.post(
        f"/v1/approvals/{card['id']}/decisions", {"decision": "approve", "digest": card["digest"], "comment": ""}
    )
    assert owner.get(f"/v1/secrets/{made['id']}")["state"] == "destroyed"
    assert worka(instance, me, "treasury", "key")["destroyed"] == 2
