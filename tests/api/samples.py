"""One right request per route of the OpenAPI document: what the generated tests bend, and what a stranger sends.

A route without an entry fails the tests: add one here, with a body that its owner could send.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.api.world import Doors

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
        "connection_id": ids["connection"],
        "decision_id": ids["decision"],
        "grant_id": ids["grant"],
        "invocation_id": ids["invocation"],
        "exception_id": ids["exception_canary"],
        "release_id": ids["release_notes"],
        "secret_id": ids["secret"],
        "task_id": ids["task"],
        "token_id": ids["token"],
        "view_id": ids["view"],
        "thing_id": ids["task"],
        "link_id": ids["invocation"],
        "principal_id": ids["approver"],
        "member_id": ids["member"],
        "kind": "governance",
        "version": ids["policy_version"],
        "tool": "worka.notes.check_link",
        "name": "release-notes",
    }


def url(w: Doors, path: str, **changed: str) -> str:
    """The path with ids in its places."""
    return path.format(**{**parameters(w, path), **changed})


def unique() -> str:
    """A word that was not used yet."""
    return "x" + secrets.token_hex(5)


WS = "/v1/workspaces/{workspace_id}"
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
    "POST /v1/sign-in-links": PLAIN,
    "POST /v1/tenants": Sample(
        lambda w: {"slug": unique(), "name": "T", "workspace_name": "W", "owner_email": f"{unique()}@b.test"},
        who="operator",
    ),
    "GET /v1/audit/verify": Sample(who="operator"),
    f"GET {WS}": PLAIN,
    f"GET {WS}/access": PLAIN,
    f"GET {WS}/approvals": Sample(query=lambda w: {"state": "approved", "limit": "2"}),
    f"GET {WS}/attachments": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/attention": PLAIN,
    f"GET {WS}/audit/export": PLAIN,
    f"GET {WS}/audit/verify": PLAIN,
    f"GET {WS}/chain/{{link_id}}": PLAIN,
    f"GET {WS}/changes": Sample(
        query=lambda w: {"since": "2h", "until": "2100-01-01T00:00:00Z", "lane": "access", "actor": w.ids["owner"]}
    ),
    f"GET {WS}/connections": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/egress": Sample(query=lambda w: {"verdict": "allowed", "invocation_id": w.ids["invocation"]}),
    f"GET {WS}/events": Sample(query=lambda w: {"after": "0-0"}, endless=True),
    f"GET {WS}/invocations": Sample(query=lambda w: {"state": "succeeded", "task_id": w.ids["task"]}),
    f"GET {WS}/members": PLAIN,
    f"GET {WS}/members/{{principal_id}}": PLAIN,
    f"GET {WS}/network-exceptions": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/policies": Sample(query=lambda w: {"limit": "1"}),
    f"GET {WS}/policies/{{kind}}": PLAIN,
    f"GET {WS}/policies/{{kind}}/{{version}}": PLAIN,
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
    "GET /v1/attachments/{attachment_id}": PLAIN,
    "GET /v1/attachments/{attachment_id}/why": PLAIN,
    "GET /v1/connections/{connection_id}": PLAIN,
    "GET /v1/connections/{connection_id}/why": PLAIN,
    "GET /v1/decisions/{decision_id}": PLAIN,
    "GET /v1/invocations/{invocation_id}": PLAIN,
    "GET /v1/invocations/{invocation_id}/why": PLAIN,
    "GET /v1/releases/{release_id}": PLAIN,
    "GET /v1/releases/{release_id}/why": PLAIN,
    "GET /v1/secrets/{secret_id}": PLAIN,
    "GET /v1/secrets/{secret_id}/why": PLAIN,
    "GET /v1/tasks/{task_id}": PLAIN,
    "GET /v1/tasks/{task_id}/why": PLAIN,
    "GET /v1/views/{view_id}": Sample(query=lambda w: {"revision": "1"}),
    "GET /v1/why/{thing_id}": PLAIN,
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
    f"POST {WS}/connections": Sample(
        lambda w: {
            "provider": "tracker", "name": unique(), "host": "x.test", "port": 443, "access": "read",
            "secret_id": w.ids["secret"], "metadata": {"k": "v"}, "why": "w",
        }
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
    "POST /v1/attachments/{attachment_id}/resolve": Sample(lambda w: {"reason": "r"}),
    "POST /v1/secrets/{secret_id}/grants": Sample(
        lambda w: {"grantee_id": w.ids["attachment_notes"], "endpoint": "tracker.worka.test:443"}
    ),
    "POST /v1/secrets/{secret_id}/rotate": Sample(lambda w: {"value": "another-value"}),
    "POST /v1/tasks/{task_id}/cancel": Sample(lambda w: {"reason": "r"}),
    "POST /v1/tasks/{task_id}/resolve": Sample(lambda w: {"outcome": "failed", "note": "n"}),
    # changes that take something away, in an order in which each still finds its thing
    "DELETE /v1/tokens/{token_id}": PLAIN,
    "DELETE /v1/network-exceptions/{exception_id}": PLAIN,
    "DELETE /v1/grants/{grant_id}": PLAIN,
    "POST /v1/secrets/{secret_id}/revoke": Sample(lambda w: {"why": "w"}),
    "DELETE /v1/connections/{connection_id}": PLAIN,
    "POST /v1/releases/{release_id}/revoke": Sample(lambda w: {"reason": "r"}),
    "DELETE /v1/attachments/{attachment_id}": Sample(lambda w: {"reason": "r"}),
    "POST /v1/releases/{release_id}/quarantine": Sample(lambda w: {"reason": "r"}),
    f"DELETE {WS}/members/{{principal_id}}": PLAIN,
    "DELETE /v1/sessions/current": PLAIN,
}  # fmt: skip
