"""One right request per route of the OpenAPI document: what the generated tests bend, and what a stranger sends.

A route without an entry fails the tests: add one here, with a body that its owner could send.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.world import OSV, TRUSTED, Doors

NO_ID = "7zzzzzzzzzzzzzzzzzzzzzzzzz"
"""The end of an id that nobody has."""


@dataclass(frozen=True)
class Sample:
    """`body` and `query` of a right request by the full tenant's owner; `who` may send it; `open`: without signing in."""

    body: Callable[[Doors], dict[str, Any]] | None = None
    query: Callable[[Doors], dict[str, str]] | None = None
    who: str = "owner"
    open: bool = False
    endless: bool = False
    """The answer is a stream that does not end by itself."""


def parameters(w: Doors, path: str) -> dict[str, str]:
    """The full tenant's ids for the places of a path."""
    ids = w.ids
    return {
        "workspace_id": ids["workspace"],
        "approval_id": ids["approval"],
        "attachment_id": ids["attachment_notes"],
        "connection_id": ids["consenting"] if path.endswith(("/authorize", "/renew")) else ids["connection"],
        "client_id": ids["provider_client"],
        "decision_id": ids["decision"],
        "grant_id": ids["grant"],
        "invocation_id": ids["invocation"],
        "exception_id": ids["exception_canary"],
        "trust_id": ids["trust"],
        "proposal_id": ids["proposal"],
        "release_id": ids["release_notes"],
        "pack": "worka.notes",
        "withdrawal_id": ids["withdrawal"],
        "move_id": ids["move"],
        "secret_id": ids["secret"],
        "reading_id": ids["reading"],
        "task_id": ids["task"],
        "token_id": ids["token"],
        "view_id": ids["view"],
        "thing_id": ids["task"],
        "link_id": ids["invocation"],
        "principal_id": ids["approver"],
        "person_id": ids["approver"],
        "invitation_id": ids["invitation"],
        "account_id": ids["account"],
        "member_id": ids["member"],
        "kill_id": ids["kill"],
        "kind": "governance",
        # Of the deployment's policy there may be no version; 0 is the floor alone.
        "version": "0" if path.startswith("/v1/deployment/") else ids["policy_version"],
        "tool": "worka.notes.check_link",
        "name": "release-notes",
        "group_id": ids["group"],
        "delegation_id": ids["delegation"],
        "bypass_id": ids["bypass"],
        "webhook_id": ids["webhook"],
        "delivery_id": ids["delivery"],
        "destination_id": ids["destination"],
        "egress_id": ids["egress"],
        "publication_id": ids["publication"],
        "report": "unreviewed",
        "host": "tracker.worka.test",
        "change_id": ids["egress_change"],
        "way_change_id": ids["way_change"],
        "egress_proposal_id": ids["egress_proposal"],
    }


def url(w: Doors, path: str, **changed: str) -> str:
    """The path with ids in its places."""
    return path.format(**{**parameters(w, path), **changed})


def unique() -> str:
    """A word that was not used yet."""
    return "x" + secrets.token_hex(5)


def _asked(w: Doors, *parts: str) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "subject": {"type": "team_member", "id": w.ids["member"]},
        "action": {"name": "task.view"},
        "resource": {"type": "task", "id": w.ids["task"]},
    }
    return {name: whole[name] for name in parts} if parts else whole


def soon() -> str:
    """A time to come, near enough for what is only opened for a while."""
    return (datetime.now(UTC) + timedelta(minutes=30)).isoformat(timespec="seconds")


WS = "/v1/workspaces/{workspace_id}"
AUTHZEN = "/access/v1/"
"""The AuthZEN API: by its specification it ignores what it does not know, has one status for a bad request, and answers
questions about strangers with a `false`. tests/api/test_authzen.py holds it to all of that."""
PLAIN = Sample()
SAMPLES: dict[str, Sample] = {
    "GET /livez": Sample(open=True),
    "GET /readyz": Sample(open=True, query=lambda w: {"verbose": "true"}),
    "GET /metrics": Sample(open=True),
    "GET /v1/platform": Sample(open=True),
    "GET /v1/me": PLAIN,
    "GET /v1/workspaces": PLAIN,
    "POST /v1/setup": Sample(
        lambda w: {"token": "wkst_x", "email": "a@b.test", "password": "0123456789ab", "display_name": "A"}, open=True
    ),
    "POST /v1/sessions": Sample(lambda w: {"email": f"{unique()}@b.test", "password": "0123456789ab"}, open=True),
    "POST /v1/invitations/accept": Sample(lambda w: {"token": "wki_x", "password": "0123456789ab"}, open=True),
    "POST /v1/invitations/preview": Sample(lambda w: {"token": "wki_x"}, open=True),
    f"GET {WS}/service-accounts": PLAIN,
    f"POST {WS}/service-accounts": Sample(lambda w: {"name": unique(), "purpose": "imports", "role": "viewer"}),
    f"GET {WS}/service-accounts/{{account_id}}": PLAIN,
    f"POST {WS}/service-accounts/{{account_id}}/tokens": Sample(lambda w: {"expires_in_days": 1}),
    f"POST {WS}/service-accounts/{{account_id}}/rotate": Sample(lambda w: {"expires_in_days": 1}),
    f"POST {WS}/service-accounts/{{account_id}}/end": PLAIN,
    f"GET {WS}/invitations": PLAIN,
    f"POST {WS}/invitations/preview": Sample(lambda w: {"email": f"{unique()}@b.test", "role": "member"}),
    f"POST {WS}/invitations/{{invitation_id}}/renew": PLAIN,
    f"POST {WS}/invitations/{{invitation_id}}/withdraw": PLAIN,
    f"POST {WS}/members/{{principal_id}}/preview": Sample(lambda w: {"role": "member"}),
    "POST /v1/sign-in-links": PLAIN,
    "POST /v1/sessions/current/step-up": Sample(lambda w: {"code": "123456"}),
    "GET /v1/me/second-factor": PLAIN,
    "POST /v1/me/second-factor": Sample(lambda w: {"password": "0123456789ab", "code": "123456"}),
    "POST /v1/me/second-factor/confirm": Sample(lambda w: {"code": "123456"}),
    "POST /v1/me/second-factor/recovery-codes": Sample(lambda w: {"code": "123456"}),
    "POST /v1/me/second-factor/end": Sample(lambda w: {"code": "123456"}),
    "POST /v1/people/{person_id}/second-factor/reset": Sample(lambda w: {"why": "lost the phone"}, who="operator"),
    f"POST {WS}/members/{{principal_id}}/second-factor/reset": Sample(lambda w: {"why": "lost the phone"}),
    "POST /v1/tenants": Sample(
        lambda w: {"slug": unique(), "name": "T", "workspace_name": "W", "owner_email": f"{unique()}@b.test"},
        who="operator",
    ),
    "GET /v1/audit/verify": Sample(who="operator"),
    f"GET {WS}": PLAIN,
    f"GET {WS}/access": PLAIN,
    f"GET {WS}/access/actions": Sample(
        query=lambda w: {
            "principal": w.ids["member"], "resource": w.ids["task"], "resource_type": "task", "limit": "2",
            "on_behalf_of": w.ids["owner"], "fact": "host=x.test", "verdict": "allow",
        }
    ),
    f"GET {WS}/access/can": Sample(query=lambda w: {"action": "task.view", "resource": w.ids["task"], "fact": "port=1"}),
    f"GET {WS}/access/principals": Sample(
        query=lambda w: {"action": "task.create", "resource": "*", "verdict": "allow", "fact": "name=x", "limit": "1"}
    ),
    f"GET {WS}/access/unused": Sample(query=lambda w: {"days": "7"}),
    f"GET {WS}/access/resources": Sample(
        query=lambda w: {
            "principal": w.ids["member"], "action": "task.view", "on_behalf_of": w.ids["owner"], "limit": "1",
            "verdict": "allow", "fact": "mode=x",
        }
    ),
    f"GET {WS}/access/why": Sample(
        query=lambda w: {
            "principal": w.ids["member"], "action": "task.view", "resource": w.ids["task"],
            "on_behalf_of": w.ids["owner"], "fact": "network=true",
        }
    ),
    f"GET {WS}/approvals": Sample(query=lambda w: {"state": "approved", "limit": "2"}),
    f"GET {WS}/approvals/fatigue": Sample(query=lambda w: {"days": "7"}),
    f"GET {WS}/approvals/settings": PLAIN,
    f"GET {WS}/groups": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/delegations": Sample(query=lambda w: {"in_force": "true", "limit": "1"}),
    f"GET {WS}/bypasses": Sample(query=lambda w: {"state": "open", "limit": "1"}),
    f"GET {WS}/attachments": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/attention": PLAIN,
    f"GET {WS}/audit/export": PLAIN,
    f"GET {WS}/audit/verify": PLAIN,
    f"GET {WS}/chain/{{link_id}}": PLAIN,
    f"GET {WS}/changes": Sample(
        query=lambda w: {"since": "2h", "until": "2100-01-01T00:00:00Z", "lane": "access", "actor": w.ids["owner"]}
    ),
    f"GET {WS}/connections": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/connection-needs": PLAIN,
    f"GET {WS}/providers": PLAIN,
    f"GET {WS}/provider-clients": PLAIN,
    "GET /v1/deployment/provider-restriction": Sample(query=lambda w: {"tenant_id": w.ids["tenant"]}, who="operator"),
    "PUT /v1/deployment/provider-restriction": Sample(
        lambda w: {"tenant_id": w.ids["tenant"], "providers": None, "reason": "nothing is held back"}, who="operator"
    ),
    f"GET {WS}/decisions": Sample(
        query=lambda w: {"verdict": "allow", "action": "task.create", "principal": w.ids["owner"], "limit": "1"}
    ),
    f"GET {WS}/egress": Sample(query=lambda w: {"verdict": "allowed", "invocation_id": w.ids["invocation"]}),
    f"GET {WS}/egress/counts": Sample(query=lambda w: {"by": "pack", "since": "7d"}),
    f"GET {WS}/egress/export": Sample(query=lambda w: {"format": "csv", "since": "7d"}),
    f"GET {WS}/egress/stream": Sample(query=lambda w: {"after": "0-0", "host": "*.test"}, endless=True),
    "GET /v1/egress/{egress_id}": PLAIN,
    f"GET {WS}/egress/destinations": Sample(query=lambda w: {"pack": "worka.notes", "days": "7"}),
    f"GET {WS}/egress/destinations/{{host}}": Sample(query=lambda w: {"port": "443"}),
    f"GET {WS}/egress/destinations/{{host}}/reach": Sample(query=lambda w: {"port": "443"}),
    f"GET {WS}/egress/destinations/{{host}}/reach.svg": PLAIN,
    "GET /v1/secrets/{secret_id}/reach": PLAIN,
    "GET /v1/secrets/{secret_id}/reach.svg": PLAIN,
    f"POST {WS}/egress/tries": Sample(
        lambda w: {
            "attachment_id": w.ids["attachment_notes"], "host": "tracker.worka.test", "port": 443, "method": "GET",
            "path": "/", "websocket": True, "resolve": False,
        }
    ),
    f"POST {WS}/egress/replays": Sample(
        lambda w: {"policy": {"refuse": ["x.test"]}, "scope": "workspace"}, query=lambda w: {"since": "1h", "limit": "2"}
    ),
    f"GET {WS}/egress-policy": PLAIN,
    f"POST {WS}/egress-policy": Sample(
        lambda w: {"scope": "workspace", "settings": {"refuse": [f"{unique()}.test"]}, "note": "n"}
    ),
    f"GET {WS}/egress-policy/versions": Sample(query=lambda w: {"scope": "workspace", "limit": "1"}),
    f"GET {WS}/egress-policy/changes": Sample(query=lambda w: {"limit": "1"}),
    "GET /v1/egress-policy-changes/{change_id}": PLAIN,
    f"POST {WS}/egress-proposals": Sample(lambda w: {"egress_id": w.ids["egress_refused"], "why": "w"}),
    f"GET {WS}/egress-proposals": Sample(query=lambda w: {"state": "rejected", "limit": "1"}),
    "GET /v1/egress-proposals/{egress_proposal_id}": PLAIN,
    "POST /v1/egress-proposals/{egress_proposal_id}/decision": Sample(lambda w: {"decision": "reject", "why": "w"}),
    "GET /v1/attachments/{attachment_id}/unused": Sample(query=lambda w: {"days": "30"}),
    "POST /v1/attachments/{attachment_id}/narrowings": Sample(lambda w: {"days": 30, "why": "w"}),
    f"GET {WS}/events": Sample(query=lambda w: {"after": "0-0"}, endless=True),
    f"GET {WS}/invocations": Sample(query=lambda w: {"state": "succeeded", "task_id": w.ids["task"]}),
    f"GET {WS}/limits": Sample(query=lambda w: {"member": w.ids["approver"]}),
    "GET /v1/deployment/limits": Sample(who="operator"),
    f"GET {WS}/members": PLAIN,
    f"GET {WS}/roles": PLAIN,
    "GET /v1/releases/{release_id}/withdrawal-preview": Sample(query=lambda w: {"days": "7"}),
    "GET /v1/secrets/{secret_id}/withdrawal-preview": Sample(query=lambda w: {"days": "90"}),
    f"GET {WS}/members/{{principal_id}}": PLAIN,
    f"GET {WS}/network-exceptions": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/upstream-trusts": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/way-changes": Sample(query=lambda w: {"limit": "1"}),
    "GET /v1/way-changes/{way_change_id}": PLAIN,
    f"GET {WS}/policies": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/policies/{{kind}}": PLAIN,
    f"GET {WS}/policies/{{kind}}/{{version}}": PLAIN,
    f"GET {WS}/kills": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/kills/{{kill_id}}": PLAIN,
    f"GET {WS}/policy-layers": PLAIN,
    f"GET {WS}/policy-proposals": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/workspace-policies": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/workspace-policies/{{kind}}": PLAIN,
    f"GET {WS}/workspace-policies/{{kind}}/{{version}}": PLAIN,
    "GET /v1/policy-proposals/{proposal_id}": PLAIN,
    f"GET {WS}/releases": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/secrets": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/tasks": Sample(query=lambda w: {"state": "succeeded", "limit": "1"}),
    f"GET {WS}/team-members": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/team-members/{{member_id}}": PLAIN,
    f"GET {WS}/tools": PLAIN,
    f"GET {WS}/views": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/why/{{thing_id}}": PLAIN,
    f"GET {WS}/workflows": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/workflows/{{name}}": Sample(query=lambda w: {"version": "1"}),
    "GET /v1/approvals/{approval_id}": PLAIN,
    "GET /v1/approvals/{approval_id}/why": PLAIN,
    "GET /v1/groups/{group_id}": PLAIN,
    "GET /v1/groups/{group_id}/deletion-preview": PLAIN,
    "GET /v1/delegations/{delegation_id}": PLAIN,
    "GET /v1/bypasses/{bypass_id}": PLAIN,
    f"GET {WS}/webhooks": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/my-notifications": PLAIN,
    "GET /v1/approvals/{approval_id}/notifications": PLAIN,
    "GET /v1/webhooks/{webhook_id}": PLAIN,
    "GET /v1/webhooks/{webhook_id}/deliveries": Sample(query=lambda w: {"state": "queued", "limit": "1"}),
    "GET /v1/deliveries/{delivery_id}": PLAIN,
    "GET /v1/deliveries/{delivery_id}/why": PLAIN,
    "GET /v1/attachments/{attachment_id}": PLAIN,
    "GET /v1/attachments/{attachment_id}/why": PLAIN,
    "GET /v1/attachments/{attachment_id}/standing": PLAIN,
    "GET /v1/attachments/{attachment_id}/moves": Sample(query=lambda w: {"limit": "1"}),
    "GET /v1/attachments/{attachment_id}/definitions": PLAIN,
    "GET /v1/moves/{move_id}": PLAIN,
    "GET /v1/moves/{move_id}/why": PLAIN,
    "GET /v1/releases/{release_id}/difference": Sample(query=lambda w: {"since": w.ids["release_notes"]}),
    f"GET {WS}/releases/{{release_id}}/review": Sample(query=lambda w: {"mode": "tracking"}),
    f"GET {WS}/releases/{{release_id}}/recorded-calls": Sample(query=lambda w: {"days": 30}),
    "GET /v1/connections/{connection_id}": PLAIN,
    "GET /v1/connections/{connection_id}/why": PLAIN,
    "GET /v1/connections/{connection_id}/reach": PLAIN,
    "GET /v1/connections/{connection_id}/uses": PLAIN,
    "POST /v1/connections/{connection_id}/authorize": Sample(lambda w: {"how": "code"}),
    "POST /v1/connections/{connection_id}/renew": PLAIN,
    "GET /v1/decisions/{decision_id}": PLAIN,
    "GET /v1/decisions/{decision_id}/replay": PLAIN,
    "GET /v1/invocations/{invocation_id}": PLAIN,
    "GET /v1/invocations/{invocation_id}/why": PLAIN,
    "GET /v1/invocations/{invocation_id}/log": PLAIN,
    "GET /v1/egress/{egress_id}/log": PLAIN,
    "GET /v1/releases/{release_id}": PLAIN,
    "GET /v1/releases/{release_id}/why": PLAIN,
    "GET /v1/releases/{release_id}/reach": PLAIN,
    "GET /v1/releases/{release_id}/reach.svg": PLAIN,
    "GET /v1/releases/{release_id}/grade": PLAIN,
    "GET /v1/releases/{release_id}/gates": PLAIN,
    "GET /v1/releases/{release_id}/sbom": PLAIN,
    "GET /v1/attachments/{attachment_id}/reach": PLAIN,
    "GET /v1/withdrawals/{withdrawal_id}": PLAIN,
    f"GET {WS}/lineage": Sample(query=lambda w: {"subject": w.ids["attachment_notes"]}),
    f"GET {WS}/packs/{{pack}}/users": Sample(query=lambda w: {"limit": "5"}),
    f"GET {WS}/packs/{{pack}}/reach": PLAIN,
    f"GET {WS}/withdrawals": Sample(query=lambda w: {"limit": "5"}),
    f"GET {WS}/failures": Sample(query=lambda w: {"days": "7"}),
    f"GET {WS}/advisories": Sample(query=lambda w: {"limit": "5"}),
    f"GET {WS}/findings": Sample(query=lambda w: {"limit": "5"}),
    f"POST {WS}/advisories": Sample(lambda w: {"documents": [OSV]}),
    f"POST {WS}/advisory-checks": PLAIN,
    "GET /v1/secrets/{secret_id}": PLAIN,
    "GET /v1/secrets/{secret_id}/readings": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/data-key": PLAIN,
    f"GET {WS}/key-destruction-preview": PLAIN,
    "GET /v1/deployment/treasury": Sample(who="operator"),
    "GET /v1/deployment/network": Sample(who="operator", query=lambda w: {"since": "1h", "allowed": "a.test:443"}),
    "GET /v1/secrets/{secret_id}/dependants": PLAIN,
    "GET /v1/secrets/{secret_id}/leases": Sample(query=lambda w: {"limit": "1"}),
    "GET /v1/secrets/{secret_id}/why": PLAIN,
    "GET /v1/tasks/{task_id}": PLAIN,
    "GET /v1/tasks/{task_id}/why": PLAIN,
    "GET /v1/views/{view_id}": Sample(query=lambda w: {"revision": "1"}),
    "GET /v1/why/{thing_id}": PLAIN,
    # AuthZEN: questions, and where to ask them
    "GET /.well-known/authzen-configuration": Sample(open=True),
    "POST /access/v1/evaluation": Sample(lambda w: {**_asked(w), "context": {"port": 1}}),
    "POST /access/v1/evaluations": Sample(
        lambda w: {**_asked(w), "evaluations": [{}], "options": {"evaluations_semantic": "execute_all"}}
    ),
    "POST /access/v1/search/action": Sample(lambda w: {**_asked(w, "subject", "resource"), "page": {"limit": 2}}),
    "POST /access/v1/search/resource": Sample(lambda w: {**_asked(w), "resource": {"type": "task"}}),
    "POST /access/v1/search/subject": Sample(lambda w: {**_asked(w), "subject": {"type": "team_member"}}),
    # changes that leave what is there
    f"POST {WS}/invitations": Sample(lambda w: {"email": f"{unique()}@b.test", "role": "viewer"}),
    f"POST {WS}/tokens": Sample(lambda w: {"name": "t", "principal_id": w.ids["member"], "expires_in_days": 1}),
    f"POST {WS}/team-members": Sample(lambda w: {"name": unique(), "responsibility": "r", "tools": ["a.b.c"]}),
    f"PATCH {WS}/team-members/{{member_id}}": Sample(lambda w: {"instructions": "Be kind."}),
    f"PATCH {WS}/members/{{principal_id}}": Sample(lambda w: {"role": "admin", "approver": True}),
    f"POST {WS}/secrets": Sample(lambda w: {"name": unique(), "value": "a-value", "kind": "other", "purpose": "p"}),
    f"POST {WS}/network-exceptions": Sample(
        lambda w: {"name": f"{unique()}.test", "port": 80, "address": "127.0.0.1", "real_port": 9, "reason": "r"}
    ),
    f"POST {WS}/upstream-trusts": Sample(
        lambda w: {"name": f"{unique()}.test", "port": 443, "ca_pem": TRUSTED, "reason": "r"}
    ),
    f"POST {WS}/connections": Sample(
        lambda w: {
            "provider": "tracker", "name": unique(), "host": "x.test", "port": 443, "access": "read",
            "secret_id": w.ids["secret"], "metadata": {"k": "v"}, "why": "w",
        }
    ),
    f"POST {WS}/provider-clients": Sample(
        lambda w: {"provider": "zendesk", "client_id": unique(), "secret": "a-client-secret",
                   "metadata": {"subdomain": unique()}}
    ),
    f"POST {WS}/consent-answers": Sample(lambda w: {"state": "nobody-wrote-this", "code": "c", "iss": "i", "error": ""}),
    f"POST {WS}/policy-checks": Sample(lambda w: {"kind": "governance", "text": "", "scope": "tenant"}),
    f"POST {WS}/policy-dry-runs": Sample(
        lambda w: {"kind": "governance", "text": "", "scope": "workspace", "role_of": w.ids["approver"], "role": "viewer"},
        query=lambda w: {"since": "1h", "limit": "2"},
    ),
    f"POST {WS}/workspace-policies": Sample(
        lambda w: {"kind": "access", "text": f"// {unique()}", "note": "n"}
    ),
    f"POST {WS}/limit-previews": Sample(
        lambda w: {
            "layer": "workspace", "scope": "member", "name": "tasks_at_once", "value": 3, "member_id": w.ids["approver"],
            "here": False, "revision": None,
        }
    ),
    f"POST {WS}/limits": Sample(
        lambda w: {
            "layer": "tenant", "scope": "workspace", "name": "tasks_at_once", "value": 5000, "member_id": "",
            "here": True, "revision": None, "reason": "r",
        }
    ),
    "POST /v1/deployment/limit-previews": Sample(
        lambda w: {"tenant_id": w.ids["tenant"], "scope": "workspace", "name": "members", "value": 1},
        query=lambda w: {"limit": "1"}, who="operator",
    ),
    "POST /v1/deployment/limits": Sample(
        lambda w: {
            "tenant_id": w.ids["tenant"], "scope": "workspace", "name": "tasks_at_once", "value": 9000, "revision": None,
            "reason": "r",
        },
        who="operator",
    ),
    f"POST {WS}/kill-previews": Sample(
        lambda w: {"kind": "release", "subject": w.ids["release_notes"], "everywhere": True, "days": 7}
    ),
    f"POST {WS}/kills": Sample(
        lambda w: {"kind": "destination", "subject": f"{unique()}.test", "reason": "r", "everywhere": False}
    ),
    f"POST {WS}/kills/{{kill_id}}/lift": Sample(
        lambda w: {"stage": "trial", "exempt": [w.ids["workspace"]], "reason": "r", "skip_trial": False}
    ),
    "GET /v1/tenants": Sample(who="operator"),
    "GET /v1/deployment/policies": Sample(who="operator", query=lambda w: {"limit": "1"}),
    "GET /v1/deployment/policies/{kind}": Sample(who="operator"),
    "GET /v1/deployment/policies/{kind}/{version}": Sample(who="operator"),
    "GET /v1/deployment/kills": Sample(who="operator", query=lambda w: {"tenant_id": w.ids["tenant"], "limit": "1"}),
    "POST /v1/deployment/policy-checks": Sample(lambda w: {"kind": "governance", "text": ""}, who="operator"),
    "POST /v1/deployment/policy-dry-runs": Sample(
        lambda w: {"tenant_id": w.ids["tenant"], "kind": "governance", "text": ""},
        query=lambda w: {"since": "1h"}, who="operator",
    ),
    "POST /v1/deployment/policies": Sample(
        lambda w: {"kind": "governance", "text": "", "note": "n"}, who="operator"
    ),
    "POST /v1/deployment/kills": Sample(
        lambda w: {"tenant_id": w.ids["tenant"], "kind": "destination", "subject": f"{unique()}.test", "reason": "r"},
        who="operator",
    ),
    "POST /v1/deployment/lifts": Sample(
        lambda w: {
            "tenant_id": w.ids["tenant"], "kill_id": w.ids["kill"], "stage": "trial", "exempt": [w.ids["workspace"]],
            "reason": "r", "skip_trial": False,
        },
        who="operator",
    ),
    f"POST {WS}/policies": Sample(lambda w: {"kind": "governance", "text": "", "note": "n"}),
    f"POST {WS}/workflows": Sample(lambda w: {"definition": {"name": "x"}}),
    f"POST {WS}/tasks": Sample(
        lambda w: {
            "workflow": "release-notes", "version": 1, "inputs": {"limit": 1}, "member_id": w.ids["member"],
        }
    ),
    f"POST {WS}/releases": Sample(lambda w: {"manifest": {"name": "x"}, "lock": "", "files": {}}),
    f"POST {WS}/attachments": Sample(
        lambda w: {"release_id": w.ids["release_notes"], "mode": "pinned", "mounts": {}}
    ),
    f"POST {WS}/tools/{{tool}}/call": Sample(lambda w: {"arguments": {"url": "https://nowhere.test/"}}),
    "POST /v1/approvals/{approval_id}/decisions": Sample(
        lambda w: {"decision": "approve", "digest": "0" * 64, "comment": ""}
    ),
    "POST /v1/approvals/{approval_id}/withdraw": PLAIN,
    f"POST {WS}/approvals/decisions": Sample(
        lambda w: {
            "items": [{"approval_id": w.ids["approval"], "decision": "approve", "digest": "0" * 64, "comment": ""}]
        }
    ),
    f"PUT {WS}/approvals/settings": Sample(lambda w: {"remind_minutes": 30, "escalate_to": "owners"}),
    f"POST {WS}/groups/preview": Sample(lambda w: {"name": unique(), "purpose": "p", "members": [w.ids["approver"]]}),
    "POST /v1/groups/{group_id}/preview": Sample(lambda w: {"purpose": "q", "add": [w.ids["owner"]], "remove": []}),
    f"POST {WS}/groups": Sample(lambda w: {"name": unique(), "purpose": "p", "members": [w.ids["approver"]]}),
    "PATCH /v1/groups/{group_id}": Sample(lambda w: {"purpose": "q", "add": [w.ids["owner"]], "remove": []}),
    f"POST {WS}/delegations": Sample(
        lambda w: {
            "to": w.ids["approver"], "until": "2100-01-01T00:00:00Z", "scope": "all", "dry_run": True,
        }
    ),
    f"POST {WS}/bypasses": Sample(
        lambda w: {
            "kind": "boundary", "target": "pack.attach", "why": "w", "until": soon(), "most_uses": 1, "dry_run": True,
        }
    ),
    f"POST {WS}/webhooks": Sample(
        lambda w: {"url": f"https://{unique()}.test/in", "types": ["approval.*"], "description": "d", "dry_run": True}
    ),
    f"PUT {WS}/my-notifications": Sample(lambda w: {"mail": True}),
    f"POST {WS}/mail-tests": PLAIN,
    "PATCH /v1/webhooks/{webhook_id}": Sample(
        lambda w: {"types": ["*"], "description": unique(), "state": "active", "dry_run": False}
    ),
    "POST /v1/webhooks/{webhook_id}/rotate": Sample(lambda w: {"overlap_hours": 1, "dry_run": True}),
    "POST /v1/webhooks/{webhook_id}/test": PLAIN,
    "POST /v1/webhooks/{webhook_id}/replays": Sample(
        lambda w: {"since": "2h", "until": "1h", "dry_run": True}
    ),
    "POST /v1/attachments/{attachment_id}/moves": Sample(
        lambda w: {"release_id": w.ids["release_notes"], "mounts": {}, "why": "w"}
    ),
    "POST /v1/attachments/{attachment_id}/back": Sample(lambda w: {"why": "w"}),
    "PUT /v1/attachments/{attachment_id}/mode": Sample(lambda w: {"mode": "tracking", "why": "w"}),
    "POST /v1/attachments/{attachment_id}/definitions": Sample(
        lambda w: {"tool": "check_link", "pin": "0" * 64, "decision": "refuse", "why": "w"}
    ),
    "POST /v1/moves/{move_id}/withdraw": Sample(lambda w: {"why": "w"}),
    "POST /v1/attachments/{attachment_id}/resolve": Sample(lambda w: {"reason": "r"}),
    "POST /v1/secrets/{secret_id}/grants": Sample(
        lambda w: {"grantee_id": w.ids["attachment_notes"], "endpoint": "tracker.worka.test:443"}
    ),
    "POST /v1/secrets/{secret_id}/rotate": Sample(
        lambda w: {"value": "another-value", "grants": "keep", "overlap_minutes": 5}
    ),
    "POST /v1/secrets/{secret_id}/readings": Sample(lambda w: {"why": "w", "minutes": 5}),
    "POST /v1/secret-readings/{reading_id}/read": PLAIN,
    f"POST {WS}/data-key/rotate": PLAIN,
    f"POST {WS}/key-destructions": Sample(lambda w: {"why": "w", "digest": "0" * 16}),
    "POST /v1/deployment/treasury/seal": Sample(lambda w: {"sealed": False, "why": "w"}, who="operator"),
    "POST /v1/deployment/treasury/rotate-master-key": Sample(who="operator"),
    "POST /v1/secrets/{secret_id}/rotate/finish": PLAIN,
    "POST /v1/secrets/{secret_id}/rotate/back": PLAIN,
    "PUT /v1/secrets/{secret_id}/dates": Sample(lambda w: {"rotate_days": 90}),
    "POST /v1/secrets/{secret_id}/destroy": Sample(lambda w: {"why": "w"}),
    "POST /v1/tasks/{task_id}/cancel": Sample(lambda w: {"reason": "r"}),
    "POST /v1/tasks/{task_id}/resolve": Sample(lambda w: {"outcome": "failed", "note": "n"}),
    f"GET {WS}/marketplace": Sample(query=lambda w: {"q": "notes", "limit": "2"}),
    f"GET {WS}/marketplace/{{release_id}}": PLAIN,
    f"POST {WS}/marketplace/{{release_id}}/install": PLAIN,
    f"POST {WS}/registry/fetch": Sample(lambda w: {"destination": "outside", "digest": "sha256:" + "0" * 64}),
    "GET /v1/releases/{release_id}/registry": PLAIN,
    "GET /v1/releases/{release_id}/signatures": PLAIN,
    "POST /v1/releases/{release_id}/signatures": Sample(lambda w: {}),
    "POST /v1/releases/{release_id}/reviews": Sample(lambda w: {"note": "read it"}),
    f"GET {WS}/publications": PLAIN,
    f"POST {WS}/publications": Sample(
        lambda w: {
            "release_id": w.ids["release_notes"], "destination": "local", "visibility": "private", "shared_with": [],
        }
    ),
    "GET /v1/publications/{publication_id}": PLAIN,
    "GET /v1/publications/{publication_id}/why": PLAIN,
    "POST /v1/publications/{publication_id}/retry": PLAIN,
    "POST /v1/releases/{release_id}/retry": PLAIN,
    f"GET {WS}/destinations": PLAIN,
    f"POST {WS}/destinations": Sample(
        lambda w: {
            "name": unique(), "host": "registry.test", "port": 443, "repository": "team/packs", "username": "ada",
            "password": "pass",
        }
    ),
    f"GET {WS}/publisher-keys": PLAIN,
    f"POST {WS}/publisher-keys": Sample(lambda w: {"publisher": unique()}),
    f"GET {WS}/registry/reports/{{report}}": Sample(query=lambda w: {"days": "0"}),
    f"GET {WS}/registry/policy": PLAIN,
    f"POST {WS}/registry/policy": Sample(
        lambda w: {"scope": "workspace", "settings": {"most": "shared", "approvers": ["approve:1"]}, "note": "n"}
    ),
    f"GET {WS}/registry/trust-root": PLAIN,
    "GET /v1/deployment/trust-roots": Sample(who="operator"),
    "POST /v1/deployment/trust-roots": Sample(lambda w: {"document": {"signed": {}, "signatures": []}}, who="operator"),
    # changes that take something away, in an order in which each still finds its thing
    "POST /v1/delegations/{delegation_id}/end": PLAIN,
    "POST /v1/bypasses/{bypass_id}/close": PLAIN,
    "DELETE /v1/groups/{group_id}": PLAIN,
    "DELETE /v1/webhooks/{webhook_id}": PLAIN,
    "POST /v1/releases/{release_id}/withdraw-listing": Sample(lambda w: {"reason": "r"}),
    "DELETE /v1/destinations/{destination_id}": PLAIN,
    "DELETE /v1/tokens/{token_id}": PLAIN,
    "GET /v1/network-exceptions/{exception_id}": PLAIN,
    "DELETE /v1/network-exceptions/{exception_id}": PLAIN,
    "GET /v1/upstream-trusts/{trust_id}": PLAIN,
    "DELETE /v1/upstream-trusts/{trust_id}": PLAIN,
    "DELETE /v1/grants/{grant_id}": PLAIN,
    "POST /v1/secrets/{secret_id}/revoke": Sample(lambda w: {"why": "w"}),
    "POST /v1/connections/{connection_id}/remove": Sample(lambda w: {"why": "w"}),
    "DELETE /v1/provider-clients/{client_id}": PLAIN,
    "DELETE /v1/connections/{connection_id}": PLAIN,
    "POST /v1/releases/{release_id}/revoke": Sample(lambda w: {"reason": "r"}),
    "DELETE /v1/attachments/{attachment_id}": Sample(lambda w: {"reason": "r"}),
    "POST /v1/releases/{release_id}/quarantine": Sample(lambda w: {"reason": "r"}),
    "POST /v1/releases/{release_id}/lift": Sample(lambda w: {"reason": "r"}),
    f"POST {WS}/packs/{{pack}}/revoke": Sample(lambda w: {"reason": "r"}),
    f"POST {WS}/packs/{{pack}}/quarantine": Sample(lambda w: {"reason": "r"}),
    f"POST {WS}/packs/{{pack}}/lift": Sample(lambda w: {"reason": "r"}),
    f"DELETE {WS}/members/{{principal_id}}": PLAIN,
    "DELETE /v1/sessions/current": PLAIN,
}  # fmt: skip
