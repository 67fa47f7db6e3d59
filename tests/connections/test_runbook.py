"""The runbook of a broken connection, step by step as it stands, on a running instance with a real provider."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.connections.outside import API, CALLBACK, CLIENT, LOGIN, SECRET, Browser, Outside, entry
from tests.support.instance import Instance, make_instance
from tests.treasury.test_runbooks import typed
from worka.cli.client import Client

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/runbooks/broken-connection.md"


@dataclass
class Place:
    """An instance with an owner and an approver, and the provider's names leading to it."""

    instance: Instance
    owner: Client
    approver: Client
    who: dict[str, str]


@pytest.fixture(scope="module")
def place(outside: Outside) -> Iterator[Place]:
    """A whole Worka of its own that knows the provider."""
    made = make_instance("test-oauth-")
    catalogue = made.home.with_name(made.home.name + "-catalogue")
    catalogue.mkdir()
    (catalogue / "outside.json").write_text(json.dumps(entry()))
    try:
        # The door's public name is where a provider sends people back to; who asks here asks at its own address.
        made.start(WORKA_CONNECTIONS__CATALOGUE=str(catalogue), WORKA_HTTP__PUBLIC_URL="https://worka.test")
        anyone, person = made.client(), {"password": secrets.token_urlsafe(18)}
        setup = (made.home / "run" / "setup-token").read_text().strip()
        token = anyone.post("/v1/setup", {"token": setup, "email": "op@b.test", "display_name": "Op", **person})
        tenant = made.client(token["session_token"]).post(
            "/v1/tenants", {"slug": "oauth", "name": "O", "workspace_name": "O", "owner_email": "o@b.test"}
        )
        found = anyone.post(
            "/v1/invitations/accept", {"token": tenant["invitation_token"], "display_name": "Olga", **person}
        )
        owner = made.client(found["session_token"], tenant["workspace_id"])
        invited = owner.post(owner.ws("/invitations"), {"email": "a@b.test", "role": "admin", "approver": True})
        second = anyone.post(
            "/v1/invitations/accept", {"token": invited["invitation_token"], "display_name": "Ann", **person}
        )
        for name in (LOGIN, API):
            owner.post(
                owner.ws("/network-exceptions"),
                {"name": name, "port": 443, "address": "127.0.0.1", "real_port": outside.port, "ca_pem": outside.ca,
                 "reason": "the test's provider"},
            )  # fmt: skip
        who = {"WORKA_TOKEN": found["session_token"], "WORKA_WORKSPACE": tenant["workspace_id"]}
        yield Place(made, owner, made.client(second["session_token"], tenant["workspace_id"]), who)
    finally:
        made.stop()
        shutil.rmtree(made.home, ignore_errors=True)
        shutil.rmtree(catalogue, ignore_errors=True)


def needed(place: Place) -> None:
    """A pack is attached that needs the provider: as rows, since what is looked at here is the connection."""
    manifest = {
        "outbound_domains": [API],
        "connections": [{"provider": "outside", "access": "read issues", "scopes": ["issues:read"],
                         "inject": {"host": API, "header": "Authorization"}}],
    }  # fmt: skip
    (row,) = place.instance.rows("select tenant_id, id from worka.workspace where id = %s", place.owner.workspace)
    common = (row["tenant_id"], row["id"])
    place.instance.rows(
        "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
        " created_by) values (%s, 'rel_1', %s, 'acme', 'notes', '1.0.0', %s, 'released', 'release_in_service', 'test')"
        " returning id",
        *common, json.dumps(manifest),
    )  # fmt: skip
    place.instance.rows(
        "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
        " created_by) values (%s, 'att_1', %s, 'rel_1', 'acme.notes', 'pinned', 'attached', 'attachment_in_service', 1, 'd',"
        " 'test') returning id",
        *common,
    )


def consented(place: Place, outside: Outside, connection: str) -> Any:
    """Authorize and finish, as the runbook has them."""
    begun = typed(place.instance, place.who, "connection", "authorize", connection)
    assert begun["redirect_uri"] == CALLBACK
    back = Browser(outside).consents(begun["url"])
    return typed(place.instance, place.who, "connection", "finish", line=f"{CALLBACK}?{urlencode(back)}")


def test_the_runbook_names_the_commands_that_are_executed_here() -> None:
    text = PAGE.read_text()
    for words in (
        "worka connection list", "worka why", "worka connection needs", "worka connection renew", "worka connection authorize",
        "worka connection finish", "worka connection show", "worka connection reach", "worka connection remove",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.capability("CON-8", part="the runbook of a broken connection")
def test_a_broken_connection_is_found_understood_and_connected_again(place: Place, outside: Outside) -> None:
    needed(place)
    typed(place.instance, place.who, "connection", "register", "outside", CLIENT, line=SECRET)
    words = ("--kind", "oauth_code", "--access", "read issues", "--why", "the notes", "--name", "issues")
    tried = typed(place.instance, place.who, "connection", "create", "outside", *words, "--dry-run")
    assert tried["would"]["state"] == "awaiting_approval"
    made = typed(place.instance, place.who, "connection", "create", "outside", *words, code=6)
    card = place.approver.get(f"/v1/approvals/{made['approval_id']}")
    place.approver.post(f"/v1/approvals/{card['id']}/decisions", {"decision": "approve", "digest": card["digest"]})
    assert consented(place, outside, made["id"])["state"] == "active"

    # It breaks: the consent is taken back at the provider.
    outside.forget()
    # 3: renew it
    told = typed(place.instance, place.who, "connection", "renew", "issues", code=1)
    assert (told["outcome"], told["connection"]["state"]) == ("provider_refused", "broken")
    # 1: which, and why
    listed = typed(place.instance, place.who, "connection", "list")["items"]
    assert [(row["name"], row["state"], row["reason"]) for row in listed] == [("issues", "broken", "refresh_refused")]
    why = typed(place.instance, place.who, "why", made["id"])
    assert "must be connected again" in why["headline"]
    assert why["next"][0]["command"] == f"worka connection authorize {made['id']}"
    # 2: what waits
    (need,) = typed(place.instance, place.who, "connection", "needs")["items"]
    assert need["reason"] == "connection_broken"
    # 4: connect it again
    assert consented(place, outside, "issues")["outcome"] == "connected"
    # 5: it works, and its grant is the one that it had
    shown = typed(place.instance, place.who, "connection", "show", "issues")
    assert (shown["connection"]["state"], shown["connection"]["account"]["id"]) == ("active", "alice")
    reach = typed(place.instance, place.who, "connection", "reach", "issues")
    assert reach["counts"]["attachment"] == 1
    # Or: it is not needed any more
    would = typed(place.instance, place.who, "connection", "remove", "issues", "--dry-run")
    assert would["would"]["state"] == "revoked"
    gone = typed(place.instance, place.who, "connection", "remove", "issues", "--yes", "--reason", "over")
    assert gone["receipt"]["provider"]["state"] == "pending"
    deadline = time.monotonic() + 20
    while (state := place.owner.get(f"/v1/connections/{made['id']}")["receipt"]["provider"]["state"]) == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert state == "told"
    for path in (place.instance.home / "log").glob("*"):
        text = path.read_text(errors="replace")
        assert SECRET not in text, path
