"""Who gets in: sessions as cookies, one-time links, forms of our own only, nothing inline."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx
import pytest
from playwright.sync_api import Browser

from tests.console.conftest import Road, sign_in
from tests.console.test_inviting import viewer
from worka.cli.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


class Inline(HTMLParser):
    """What a strict policy forbids: scripts and styles in the page itself. Escaped text is no tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        self.found += [name for name in names if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)


@pytest.fixture
def http(standing: Road) -> httpx.Client:
    return httpx.Client(base_url=standing.base_url, headers={"Accept": "text/html"}, trust_env=False)


def session(http: httpx.Client, road: Road) -> None:
    token = road.link(road.approver).rpartition("=")[2]
    answer = http.post("/sign-in", data={"link": token}, headers={"Origin": road.base_url})
    assert answer.status_code == 303


def test_a_stranger_is_led_to_sign_in_and_back(http: httpx.Client, standing: Road) -> None:
    answer = http.get(f"/w/{standing.workspace_id}/changes?lane=work")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=%2Fw%2F")


def test_a_link_is_not_spent_by_looking_and_works_once(http: httpx.Client, standing: Road) -> None:
    link = standing.link(standing.approver)
    token = link.rpartition("=")[2]
    for _ in range(2):
        assert http.get(link).status_code == 200
    ours = {"Origin": standing.base_url}
    assert http.post("/sign-in", data={"link": token}, headers=ours).status_code == 303
    assert http.post("/sign-in", data={"link": token}, headers=ours).status_code >= 400


def test_the_session_cookie_is_strict_and_out_of_reach_of_scripts(http: httpx.Client, standing: Road) -> None:
    token = standing.link(standing.approver).rpartition("=")[2]
    answer = http.post("/sign-in", data={"link": token}, headers={"Origin": standing.base_url})
    (cookie,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith("worka_session=")]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "Path=/" in cookie


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", None])
def test_a_form_of_another_origin_changes_nothing(http: httpx.Client, standing: Road, origin: str | None) -> None:
    session(http, standing)
    card = standing.approver.get(f"/v1/approvals/{standing.approval_id}")
    answer = http.post(
        f"/w/{standing.workspace_id}/approvals/{standing.approval_id}",
        data={"decision": "approve", "digest": card["digest"]},
        headers={"Origin": origin} if origin else {},
    )
    assert answer.status_code in (303, 401, 403)
    assert "/approvals/" not in answer.headers.get("location", "")
    assert standing.approver.get(f"/v1/approvals/{standing.approval_id}")["state"] == "open"


def test_a_wrong_password_says_so_and_nothing_more(http: httpx.Client, standing: Road) -> None:
    ours = {"Origin": standing.base_url}
    answer = http.post("/sign-in", data={"email": "nobody@worka.test", "password": "x" * 14}, headers=ours)
    assert answer.status_code == 401
    assert "worka_session" not in answer.headers.get("set-cookie", "")
    assert "nobody@worka.test" in answer.text


@pytest.mark.capability("IDN-14", part="what a form is refused for is said to who sent it")
@pytest.mark.parametrize(
    ("place", "form"),
    [
        ("secrets", {"name": "seen from the door", "kind": "api_token"}),
        ("connections", {"do": "ask", "provider": "tracker", "host": "x.worka.test", "access": "read"}),
        ("broker/destinations/x.worka.test", {"do": "kill", "why": "a look"}),
    ],
    ids=["secret", "connection", "destination"],
)
def test_what_a_form_is_refused_for_is_said_to_who_sent_it(
    http: httpx.Client, stage: Demo, standing: Road, place: str, form: dict[str, str]
) -> None:
    reader = viewer(stage, f"Vilma {place.partition('/')[0].title()}")
    ours = {"Origin": standing.base_url}
    token = standing.link(reader).rpartition("=")[2]
    assert http.post("/sign-in", data={"link": token}, headers=ours).status_code == 303
    answer = http.post(f"/w/{standing.workspace_id}/{place}", data=form, headers=ours)
    assert answer.status_code == 403
    said = " ".join(answer.text.split())
    assert "You may not " in said
    assert "Your role (viewer) does not hold" in said
    assert "Their role" not in said
    asked = reader.get(reader.ws("/access/can"), action="secret.create")
    assert asked["reasons"][0].startswith("Their role (viewer) does not hold"), "the control: as it is told of somebody"


def test_pages_carry_a_strict_policy_and_nothing_inline(http: httpx.Client, standing: Road) -> None:
    session(http, standing)
    for path in ("attention", f"tasks/{standing.task_id}", f"approvals/{standing.approval_id}", "changes"):
        answer = http.get(f"/w/{standing.workspace_id}/{path}")
        assert answer.status_code == 200, path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        reader = Inline()
        reader.feed(answer.text)
        assert reader.found == [], path


def test_another_workspace_is_not_found_like_one_that_does_not_exist(http: httpx.Client, standing: Road) -> None:
    session(http, standing)
    for workspace in ("ws_00000000000000000000000000", "ws_0", "x"):
        answer = http.get(f"/w/{workspace}/attention")
        assert answer.status_code == 404
        assert "text/html" in answer.headers["content-type"]
        assert "This is not here" in answer.text


def test_signing_out_ends_the_session_on_the_server(browser: Browser, standing: Road) -> None:
    context = browser.new_context()
    eyes = sign_in(context, standing.link(standing.approver))
    (cookie,) = [item for item in context.cookies() if item["name"] == "worka_session"]
    eyes.page.get_by_role("button", name="Sign out").click()
    eyes.page.wait_for_url("**/sign-in")
    answer = httpx.get(f"{standing.base_url}/v1/me", headers={"Authorization": f"Bearer {cookie['value']}"})
    assert answer.status_code == 401
    context.close()


def test_light_and_dark_are_the_readers_choice_from_the_first_paint(browser: Browser, standing: Road) -> None:
    context = browser.new_context(color_scheme="light")
    eyes = sign_in(context, standing.link(standing.approver))
    eyes.page.get_by_role("button", name="Switch between light and dark").click()
    assert eyes.page.locator("html").get_attribute("data-theme") == "dark"
    answer = eyes.page.request.get(eyes.page.url, headers={"Accept": "text/html"})
    assert '<html lang="en" data-theme="dark">' in answer.text()
    context.close()
