"""No page of the console offers what its reader's role lacks: every page × every role, form by form."""

from __future__ import annotations

import re
import secrets
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.api.console_routes import routes
from tests.api.samples import parameters
from tests.api.world import Doors
from worka.cli.client import Client

pytestmark = pytest.mark.timeout(300)
ROLES = ("owner", "admin", "member", "viewer", "approver")
ANYBODY = {"/w/{workspace_id}/came-back", "/invitation", "/sign-in", "/sign-out", "/theme", "/w/{workspace_id}/me"}
"""Forms that are about oneself."""
NEEDS: dict[str, tuple[str, ...]] = {
    "/w/{workspace_id}/governance/kill": ("kill.set",),
    "/w/{workspace_id}/governance/lift/{kill_id}": ("kill.set",),
    "/w/{workspace_id}/policies/{scope}/{kind}": ("policy.try_here", "policy.try"),
    "/w/{workspace_id}/broker/policy": ("egress_policy.set", "egress_policy.set_wide"),
    "/w/{workspace_id}/broker/proposals": ("egress_proposal.create", "egress_proposal.decide"),
    "/w/{workspace_id}/broker/trust": ("upstream_trust.create", "upstream_trust.remove"),
    "/w/{workspace_id}/broker/exceptions": ("network_exception.create", "network_exception.remove"),
    "/w/{workspace_id}/broker/destinations/{host}": ("kill.set", "egress_policy.set"),
    "/w/{workspace_id}/accounts": ("service_account.create",),
    "/w/{workspace_id}/accounts/{account_id}": ("service_account.token", "service_account.end"),
    "/w/{workspace_id}/limits": ("limit.set",),
    "/w/{workspace_id}/secrets": ("secret.create",),
    "/w/{workspace_id}/secrets/{secret_id}": (
        "secret.rotate",
        "secret.date",
        "secret.grant",
        "secret.ungrant",
        "secret.read",
        "secret.revoke",
        "secret.destroy",
    ),
    "/w/{workspace_id}/connections": (
        "connection.create",
        "connection.own",
        "provider_client.register",
        "provider_client.remove",
    ),
    "/w/{workspace_id}/connections/{connection_id}": ("connection.authorize", "connection.remove"),
    "/w/{workspace_id}/webhooks": ("webhook.create",),
    "/w/{workspace_id}/webhooks/{webhook_id}": (
        "webhook.change",
        "webhook.rotate",
        "webhook.test",
        "webhook.replay",
        "webhook.remove",
    ),
    "/w/{workspace_id}/registry/retry": ("release.publish",),
    "/w/{workspace_id}/marketplace/{release_id}": (
        "release.publish",
        "release.sign",
        "release.review",
        "listing.withdraw",
        "pack.register",
    ),
    "/w/{workspace_id}/attachments/{attachment_id}": (
        "pack.update",
        "attachment.pin",
        "attachment.follow",
        "attachment.resolve",
    ),
    "/w/{workspace_id}/releases/{release_id}/review": ("pack.attach",),
    "/w/{workspace_id}/withdraw/{act}/{thing}": ("pack.quarantine",),
    "/w/{workspace_id}/tasks/{task_id}": ("task.cancel", "task.resolve"),
    "/w/{workspace_id}/approvals/{approval_id}": ("approval.decide", "approval.confirm", "approval.decide_for"),
    "/w/{workspace_id}/deciding": ("approval.decide", "approval.confirm", "approval.decide_for"),
    "/w/{workspace_id}/people": ("member.invite", "member.change", "member.remove"),
    "/w/{workspace_id}/approvers": (
        "approval.delegation.create",
        "approval.delegation.end",
        "approval.bypass.open",
        "approval.bypass.close",
        "approval.group.create",
        "approval.group.change",
        "approval.group.delete",
        "approval.settings.change",
    ),
}
"""Form -> the actions behind it; who holds none of them is not offered it."""


class Forms(HTMLParser):
    """The forms of a page that change something, with their buttons that can be pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []
        self.unexplained: list[str] = []
        self._form: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._form = given.get("action") if (given.get("method") or "").lower() == "post" else None
        elif tag == "button" and self._form is not None and given.get("type") != "button":
            if "disabled" in given:
                if not (given.get("title") or given.get("aria-describedby")):
                    self.unexplained.append(self._form)
            else:
                self.found.append((self._form, True))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


def forms() -> list[APIRoute]:
    """Every form that the console takes."""
    return [route for route in routes() if "POST" in (route.methods or ())]


def pages(doors: Doors) -> list[str]:
    """The address of every page in a workspace, with our ids in its places."""
    known = {
        **parameters(doors, ""),
        "scope": "workspace",
        "kind": "governance",
        "act": "quarantine",
        "thing": "worka.notes",
    }
    return [
        route.path_format.format(**{name: known.get(name, "x") for name in route.param_convertors})
        for route in routes()
        if "GET" in (route.methods or ()) and route.path.startswith("/w/{workspace_id}")
    ]


def route_of(action: str) -> str:
    """The form's route, by the address in the page."""
    for route in forms():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", route.path_format), action):
            return route.path_format
    raise AssertionError(f"{action} is no form that the console takes")


@pytest.fixture(scope="module")
def people(doors: Doors) -> dict[str, Client]:
    """Somebody of each role, signed in."""
    found: dict[str, Client] = {"owner": doors.a}
    for role in ROLES[1:]:
        wanted = {"role": "viewer" if role == "approver" else role, "approver": role == "approver"}
        invited = doors.a.post(doors.a.ws("/invitations"), {"email": f"{role}{secrets.token_hex(4)}@b.test", **wanted})
        made = Client(doors.instance.url).post(
            "/v1/invitations/accept",
            {"token": invited["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": role},
        )
        found[role] = Client(doors.instance.url, made["session_token"], doors.ids["workspace"])
    return found


def test_every_form_of_the_console_says_what_it_needs() -> None:
    assert {route.path_format for route in forms()} == set(NEEDS) | ANYBODY


@pytest.mark.capability("IDN-14")
def test_no_page_offers_a_role_what_it_lacks(doors: Doors, people: dict[str, Client]) -> None:
    wrong: list[str] = []
    offered: dict[str, set[str]] = {role: set() for role in ROLES}
    held: dict[tuple[str, str], bool] = {}

    def may(role: str, action: str) -> bool:
        if (role, action) not in held:
            query: Any = {"action": action}
            held[role, action] = people[role].get(people[role].ws("/access/can"), **query)["verdict"] != "deny"
        return held[role, action]

    for role in ROLES:
        headers = {"Authorization": f"Bearer {people[role].token}", "Accept": "text/html"}
        with httpx.Client(base_url=doors.instance.url, headers=headers, timeout=60, trust_env=False) as http:
            for page in pages(doors):
                answer = http.get(page)
                assert answer.status_code < 500, page
                if "text/html" not in answer.headers.get("content-type", "") or answer.status_code >= 400:
                    continue
                seen = Forms()
                seen.feed(answer.text)
                wrong += [
                    f"{role} on {page}: a disabled button of {form} without a reason" for form in seen.unexplained
                ]
                for form, _ in seen.found:
                    route = route_of(form)
                    if route in ANYBODY:
                        continue
                    offered[role].add(route)
                    if not any(may(role, action) for action in NEEDS[route]):
                        wrong.append(f"{role} on {page} is offered {route}")
    assert sorted(set(wrong)) == []
    # The control: the same pages do offer it to whoever may.
    assert {
        "/w/{workspace_id}/governance/kill",
        "/w/{workspace_id}/limits",
        "/w/{workspace_id}/policies/{scope}/{kind}",
    } <= offered["owner"]
    assert "/w/{workspace_id}/governance/kill" in offered["admin"]
    assert "/w/{workspace_id}/limits" not in offered["admin"]
    assert not {
        route for route in offered["viewer"] if "governance" in route or "limits" in route or "policies" in route
    }
