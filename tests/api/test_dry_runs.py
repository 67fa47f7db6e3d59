"""Every change that can be tried, tried as it would be sent: answered in the same shape, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conforming import fault_of_answer
from tests.api.samples import SAMPLES, url
from tests.api.test_tenancy import digests, picture
from tests.api.world import Doors, full
from tests.support.instance import Instance

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.capability("DOR-2", part="a dry run is the change undone"),
]


@pytest.fixture(scope="module")
def doors(instance: Instance, repository: Path) -> Iterator[Doors]:
    """Tenants of its own: the controls here take things away."""
    yield from full(instance, repository)


@pytest.fixture(scope="module")
def clients(doors: Doors) -> Iterator[dict[str, httpx.Client]]:
    made = {"owner": doors.http(doors.a.token), "operator": doors.http(doors.demo.operator.token)}
    yield made
    for client in made.values():
        client.close()


def tried(doors: Doors) -> list[tuple[str, str]]:
    """The routes that take `dry_run`."""
    return [
        (method, path)
        for method, path, operation in doors.operations
        if any(parameter["name"] == "dry_run" for parameter in operation.get("parameters", []))
    ]


def whole(doors: Doors) -> dict[str, Any]:
    """Every tenant's rows that can be told by tenant, and what is the deployment's. Keys of requests are kept all the same."""
    found: dict[str, Any] = {name: digest for name, digest in digests(doors).items() if name != "idempotency"}
    for table in ("deployment_policy", "second_factor"):
        found[table] = doors.instance.rows(f"select count(*) as n from worka.{table}")
    return found


def test_a_dry_run_of_every_change_that_has_one_leaves_every_table_as_it_was(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong, right = [], 0
    routes = tried(doors)
    picture(doors)  # what making the world set going is done
    before = whole(doors)
    for method, path in routes:
        sample = SAMPLES[f"{method} {path}"]
        body = sample.body(doors) if sample.body else None
        answer = clients[sample.who].request(method, url(doors, path), json=body, params={"dry_run": "true"})
        right += answer.is_success
        if fault := fault_of_answer(doors, method, path, answer):
            wrong.append(f"{method} {path}: {fault}")
        after = whole(doors)
        # A refusal is an attempt, and attempts are recorded; so is a call outside, which cannot be undone.
        moved = {name for name in before if after[name] != before[name]}
        if moved and (answer.is_success or moved - {"decision", "event", "audit_entry", "audit_head", "egress"}):
            wrong.append(f"{method} {path} ({answer.status_code}) changed {sorted(moved)}")
        before = after
    assert wrong == []
    assert (len(routes) >= 20, right >= 12) == (True, True), (len(routes), right)


def test_the_same_request_without_it_is_done_and_a_route_without_one_refuses_it(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    owner, path = clients["owner"], url(doors, "/v1/workspaces/{workspace_id}/groups")
    key = {"Idempotency-Key": "a-dry-run"}
    body = {"name": "controls", "purpose": "", "members": []}
    would = owner.post(path, json=body, params={"dry_run": "true"}, headers=key)
    assert (would.status_code, would.json()["name"]) == (201, "controls")
    again = owner.post(path, json=body, params={"dry_run": "true"}, headers=key)
    assert (again.json(), again.headers.get("idempotency-replayed")) == (would.json(), "true")
    assert owner.post(path, json=body, headers=key).status_code == 422, "the key belongs to the dry run"
    made = owner.post(path, json=body)
    assert (made.status_code, made.json()["id"] != would.json()["id"]) == (201, True), "its name was not taken"
    assert owner.post(path, json=body, params={"dry_run": "true"}).status_code == 409, "and now it is"
    thing = f"/v1/groups/{made.json()['id']}"
    tag = owner.get(thing).headers["etag"]
    for given, status in (('"stale"', 412), (tag, 200), (tag, 200)):
        tried_ = owner.patch(thing, json={"purpose": "p"}, params={"dry_run": "true"}, headers={"If-Match": given})
        assert tried_.status_code == status, tried_.text
    assert owner.delete(thing, params={"dry_run": "true"}).status_code == 204
    assert owner.get(thing).json()["purpose"] == ""
    refused = owner.post(
        url(doors, "/v1/workspaces/{workspace_id}/invitations"),
        json={"email": "nobody@b.test", "role": "viewer"},
        params={"dry_run": "true"},
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_parameter"), "refused, and not done"
