"""Without a credential no route answers but those named here: every route of the document, and every page of the console."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.console_routes import routes
from tests.api.samples import SAMPLES, parameters, url
from tests.api.test_tenancy import picture
from tests.api.world import Doors

pytestmark = pytest.mark.timeout(300)
OPEN = {
    "GET /.well-known/authzen-configuration",
    "GET /livez",
    "GET /metrics",
    "GET /readyz",
    "GET /v1/platform",
    "POST /v1/invitations/accept",
    "POST /v1/invitations/preview",
    "POST /v1/sessions",
    "POST /v1/setup",
}
"""All that somebody who is nobody may ask: health, where to ask, and how to become somebody. A route that is added here
is a change of what the public reaches."""
OPEN_PAGES = {
    "GET /sign-in", "POST /sign-in", "GET /docs/api", "GET /invitation", "POST /invitation", "GET /connections/callback",
}  # fmt: skip


def marks(doors: Doors) -> set[str]:
    """Ids and names that only those who are somebody may see."""
    ids = {value for value in doors.ids.values() if isinstance(value, str) and "_" in value}
    return ids | {f"Acme {doors.demo.run}", "Olga Owner"}


def pages(doors: Doors) -> list[tuple[str, str, str]]:
    """(key, METHOD, address) of every page and form of the console, with our ids in their places."""
    known: dict[str, Any] = {**parameters(doors, ""), "token": "wkl_x", "action": "x"}
    found = []
    for route in routes():
        places = {name: known.get(name, "x") for name in route.param_convertors}
        found += [
            (f"{method} {route.path}", method, route.path_format.format(**places))
            for method in sorted((route.methods or set()) - {"HEAD"})
        ]
    return found


@pytest.mark.capability("IDN-6", part="every route and page without a credential")
def test_without_a_credential_nothing_is_told_and_nothing_changes_on_any_route(doors: Doors) -> None:
    ours, before = marks(doors), picture(doors)
    wrong, answered = [], set()
    with doors.http() as http:
        for method, path, _ in doors.operations:
            key, sample = f"{method} {path}", SAMPLES[f"{method} {path}"]
            target = url(doors, path)
            body = sample.body(doors) if sample.body else None
            answer = http.request(method, target, json=body, params=sample.query(doors) if sample.query else None)
            if answer.status_code != 401 or answer.json()["code"] != "unauthenticated":
                answered.add(key)
            elif "www-authenticate" not in answer.headers:
                wrong.append(f"{key} does not say how to sign in")
            if shown := {mark for mark in ours if mark in answer.text and mark not in f"{target}{body}"}:
                wrong.append(f"{key} shows {shown}")
    assert wrong == []
    assert answered == OPEN
    after = picture(doors)
    assert [table for table in after if after[table] != before[table]] == []


@pytest.mark.capability("IDN-6", part="every route and page without a credential")
def test_without_a_credential_the_console_shows_how_to_sign_in_and_nothing_else(doors: Doors) -> None:
    ours, before = marks(doors), picture(doors)
    wrong, tried = [], 0
    with doors.http(**{"Accept": "text/html", "Origin": doors.instance.url}) as http:
        for key, method, target in pages(doors):
            if key in OPEN_PAGES:
                continue
            tried += 1
            answer = http.request(method, target)
            to_sign_in = answer.status_code in (302, 303, 307) and "/sign-in" in answer.headers["location"]
            if not to_sign_in and answer.status_code != 401:
                wrong.append(f"{key}: {answer.status_code}")
            if shown := {mark for mark in ours if mark in answer.text and mark not in target}:
                wrong.append(f"{key} shows {shown}")
    assert tried > 25
    assert wrong == []
    assert picture(doors) == before


@pytest.mark.capability("IDN-6", part="every route and page without a credential")
def test_the_same_requests_by_somebody_who_is_known_are_answered(doors: Doors) -> None:
    """The control: what was refused above was refused for its missing credential, not for its form."""
    wrong = []
    with doors.http(doors.a.token, **{"Accept": "application/json"}) as http:
        for method, path, _ in doors.operations:
            key, sample = f"{method} {path}", SAMPLES[f"{method} {path}"]
            if method != "GET" or sample.endless or sample.who != "owner":
                continue
            answer = http.get(url(doors, path), params=sample.query(doors) if sample.query else None)
            if answer.status_code == 401:
                wrong.append(f"{key}: {answer.status_code} {answer.text[:120]}")
    with doors.http(doors.a.token, **{"Accept": "text/html"}) as http:
        here = f"/w/{doors.ids['workspace']}"
        seen = {path: http.get(f"{here}{path}").status_code for path in ("/tasks", "/people", "/governance")}
    assert wrong == []
    assert set(seen.values()) == {200}, seen
