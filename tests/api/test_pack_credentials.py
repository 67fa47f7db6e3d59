"""What a pack, a service or a device holds opens no door: not one route of the API, not one page of the console (IDN-17)."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.api.samples import SAMPLES, url
from tests.api.world import Doors
from worka.identity import service
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.treasury.sealer import TreasurySealer
from worka.web.pages import router

pytestmark = pytest.mark.timeout(300)


def forged(doors: Doors, kind: str, principal_id: str) -> str:
    """A token that our own keys made and the database knows, for a principal that must have none; an owner, by its row."""
    sealer = TreasurySealer(Settings(home=doors.instance.home))
    token, hmac = service.new_token(sealer, "api_token")
    row = (doors.ids["tenant"], doors.ids["workspace"], kind, principal_id)
    doors.instance.rows(
        "insert into worka.membership (tenant_id, workspace_id, principal_kind, principal_id, role, approver, created_by)"
        " values (%s, %s, %s, %s, 'owner', true, 'test') on conflict do nothing returning 1",
        *row,
    )
    doors.instance.rows(
        "insert into worka.api_token (tenant_id, workspace_id, principal_kind, principal_id, id, name, prefix, token_hmac,"
        " created_by) values (%s, %s, %s, %s, %s, 'forged', 'x', %s, 'test') returning 1",
        *row,
        new_id("tok"),
        hmac,
    )
    return token


def pages(doors: Doors) -> list[tuple[str, str]]:
    """(method, path) of every page of the console."""
    places = {"subject": doors.ids["task"], **{f"{kind}_id": doors.ids[kind] for kind in (
        "task", "approval", "invocation", "view", "decision", "workspace")}}  # fmt: skip
    return [
        (method, route.path.format(**places))
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
        if route.path != "/sign-in"
    ]


@pytest.mark.capability("IDN-17", part="every route of the API and page of the console, with all that packs could hold")
def test_nothing_that_a_pack_a_service_or_a_device_holds_opens_a_route_or_a_page(doors: Doors) -> None:
    attachment = doors.ids["attachment_notes"]
    (called,) = doors.instance.rows(
        "select session, trace_id from worka.invocation where id = %s", doors.ids["invocation"]
    )
    held = {
        "a token made for the pack": forged(doors, "attachment", attachment),
        "a token made for a service": forged(doors, "service", new_id("svc")),
        "a token made for a device": forged(doors, "device", new_id("dev")),
        "its attachment's id": attachment,
        "its session's id": str(called["session"] or attachment),
        "its invocation's id": doors.ids["invocation"],
        "the trace of its call": str(called["trace_id"]),
    }
    wrong: list[str] = []
    tried = 0
    with doors.http() as http:
        for why, token in held.items():
            for method, path, _ in doors.operations:
                sample = SAMPLES[f"{method} {path}"]
                body = sample.body(doors) if sample.body else None
                answer = http.request(method, url(doors, path), json=body, headers={"Authorization": f"Bearer {token}"})
                tried += 1
                if answer.status_code != 401:
                    wrong.append(f"{why}: {method} {path}: {answer.status_code} {answer.text[:120]}")
            for method, path in pages(doors):
                cookie = {"Cookie": f"worka_session={token}", "Accept": "text/html", "Origin": doors.instance.url}
                answer = http.request(method, path, headers=cookie)
                tried += 1
                if answer.status_code not in (303, 401) or "/sign-in" not in answer.headers.get("location", "/sign-in"):
                    wrong.append(f"{why}: page {method} {path}: {answer.status_code} {answer.text[:120]}")
    assert wrong == []
    assert tried > 600


def test_the_control_of_these_routes_the_same_way_of_making_a_token_opens_them_to_a_person(doors: Doors) -> None:
    token = forged(doors, "person", doors.ids["owner"])
    refused = []
    with doors.http(token) as http:
        for method, path, _ in doors.operations:
            sample = SAMPLES[f"{method} {path}"]
            if method != "GET" or sample.endless or sample.who != "owner":
                continue
            query = sample.query(doors) if sample.query else None
            answer: Any = http.get(url(doors, path), params=query)
            if answer.status_code == 401:
                refused.append(path)
    assert refused == []
