"""Two tenants on a running instance: one in which everything happened once, and one whose owner is a stranger to it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.support.instance import Instance
from worka.broker.ca import Authority
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.kernel.ids import new_id

TRUSTED = Authority("trusted").pem.decode()
"""A certificate that can be read."""


@dataclass(eq=False)
class Doors:
    """`a`: clients of the full tenant; `b`: the other tenant's owner; `ids`: what the first tenant has, by name."""

    instance: Instance
    demo: Demo
    a: Client
    b: Client
    ids: dict[str, str]
    b_ids: dict[str, str]
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(METHOD, path, operation) of every route of the document."""
        return [
            (method.upper(), path, operation)
            for path, item in sorted(self.document["paths"].items())
            for method, operation in item.items()
        ]

    def http(self, token: str | None = None, **headers: str) -> httpx.Client:
        """A bare client, for requests that the CLI's client would never send."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.Client(base_url=self.instance.url, headers=headers, timeout=60, trust_env=False)


def full(instance: Instance, repository: Path) -> Iterator[Doors]:
    """The demo's stages up to the refused road in a tenant of its own, and a second tenant."""
    demo = Demo(interactive=False, quiet=True)
    demo.home, demo.url = instance.home, instance.url
    before = os.environ.get("WORKA_DEMO_REPO")
    os.environ["WORKA_DEMO_REPO"] = str(repository)
    try:
        demo.people()
        demo.packs()
        demo.outside()
        demo.approvals()
        demo.task()
        demo.refused()
        b, ids, b_ids = _other(demo)
        ids["move"] = ended_move(instance, demo)
        yield Doors(instance, demo, demo.owner, b, ids, b_ids, document=demo.owner.get("/openapi.json"))
    finally:
        with contextlib.suppress(Exception):
            demo.finish(ok=False)
        if before is None:
            os.environ.pop("WORKA_DEMO_REPO", None)
        else:
            os.environ["WORKA_DEMO_REPO"] = before


def _other(demo: Demo) -> tuple[Client, dict[str, str], dict[str, str]]:
    made = demo.operator.post(
        "/v1/tenants",
        {
            "slug": f"bolt-{demo.run}",
            "name": f"Bolt {demo.run}",
            "workspace_name": "Other",
            "owner_email": f"boris+{demo.run}@bolt.test",
        },
    )
    owner = Client(demo.url).post(
        "/v1/invitations/accept",
        {"token": made["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": "Boris"},
    )
    b = Client(demo.url, owner["session_token"], made["workspace_id"])
    return (
        b,
        further(demo),
        {"tenant": made["tenant_id"], "workspace": made["workspace_id"], "owner": owner["person_id"]},
    )


OSV: dict[str, Any] = {
    "id": "OSV-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "nothing that a pack holds",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "nobody-holds-it"}, "versions": ["1.0"]}],
}  # fmt: skip
"""A known vulnerability of what no pack holds."""
ASKS_FOR_POLICY = """@id("four-eyes") @verdict("ask") @rule("approve:1") @reason("Two people look at a change.")
forbid(principal, action == Worka::Action::"policy.save_here", resource);
@id("more-outside") @verdict("ask") @rule("approve:1") @reason("Two people look at what lets more through.")
forbid(principal, action == Worka::Action::"egress_policy.set", resource) when { context has widens && context.widens };
"""


def ended_move(instance: Instance, demo: Demo) -> str:
    """A move that was asked for and taken back, as it stands in the rows: nothing waits for it."""
    ids, owner = demo.ids, demo.owner
    release, attachment = ids["release_notes"], ids["attachment_notes"]
    told = owner.get(f"/v1/releases/{release}/difference", since=release)
    move = new_id("mov")
    instance.rows(
        "insert into worka.attachment_move (tenant_id, id, workspace_id, attachment_id, pack, kind, from_release, to_release,"
        " state, reason, difference, widens, redefines, requester_kind, requester_id, ended_at)"
        " values (%s, %s, %s, %s, 'worka.notes', 'asked', %s, %s, 'superseded', 'move_withdrawn', %s, false, false, 'person',"
        " %s, clock_timestamp()) returning id",
        ids["tenant"], move, ids["workspace"], attachment, release, release, json.dumps(told), ids["owner"],
    )  # fmt: skip
    return move


def further(demo: Demo) -> dict[str, str]:
    """The ids of the demo, and of what it leaves behind without naming it."""
    owner, ids = demo.owner, dict(demo.ids)
    task = owner.get(f"/v1/tasks/{ids['task']}")
    step = next(step for step in task["steps"] if step["invocation_id"])
    secret = owner.get(f"/v1/secrets/{ids['secret']}")
    policy = owner.post(owner.ws("/policies"), {"kind": "governance", "text": "", "note": "the floor alone"})
    # From here on a change of this workspace's own policy waits for a second person.
    owner.post(owner.ws("/workspace-policies"), {"kind": "governance", "text": ASKS_FOR_POLICY, "note": "four eyes"})
    proposal = owner.post(owner.ws("/workspace-policies"), {"kind": "governance", "text": "", "note": "no more"})
    owner.post(owner.ws("/egress-policy"), {"settings": {"refuse": ["nobody-goes.test"]}, "note": "n"})
    loosening = owner.post(owner.ws("/egress-policy"), {"settings": {}, "note": "no more"})
    denied = owner.get(owner.ws("/egress"), outcome="refused")["items"][0]["id"]
    outside = owner.post(owner.ws("/egress-proposals"), {"egress_id": denied, "path": "/only/this"})
    stopped = {"kind": "destination", "subject": "stopped.test", "reason": "nothing should go there"}
    group = owner.post(owner.ws("/groups"), {"name": "security", "members": [ids["approver"]]})
    lasts = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    delegation = owner.post(owner.ws("/delegations"), {"to": ids["approver"], "until": lasts})
    what = {"kind": "tool", "target": "nobody.has.it", "why": "w", "until": lasts, "most_uses": 1}
    bypass = owner.post(owner.ws("/bypasses"), what)
    where = {"url": "https://nobody-hears.worka.test/in", "types": ["approval.expired"]}
    trust = owner.post(owner.ws("/upstream-trusts"), {"name": "trusted.test", "ca_pem": TRUSTED, "reason": "the tests"})
    asks = {"name": "tracker.worka.test", "ca_pem": TRUSTED, "reason": "a credential goes there"}
    led = owner.post(owner.ws("/upstream-trusts"), asks)
    owner.post(f"/v1/approvals/{led['approval_id']}/withdraw")
    hook = owner.post(owner.ws("/webhooks"), where)
    delivery = owner.post(f"/v1/webhooks/{hook['id']}/test")["id"]
    owner.post(owner.ws("/advisories"), {"documents": [OSV]})
    # Of a pack that the rest does without: what is taken away leaves a receipt.
    owner.post(f"/v1/releases/{ids['release_fetch']}/revoke", {"reason": "not needed"})
    withdrawal = owner.get(owner.ws("/withdrawals"))["items"][0]["id"]
    client = {"provider": "gitlab", "client_id": "worka", "secret": "a-client-secret-of-the-test"}
    client_id = owner.post(owner.ws("/provider-clients"), client)["id"]
    asked = {
        "provider": "gitlab",
        "name": "GitLab",
        "kind": "oauth_code",
        "access": "read",
        "own": False,
        "metadata": {},
    }
    consenting = owner.post(owner.ws("/connections"), asked)
    demo.approve(consenting["approval_id"], "the test needs it")
    # Nothing of it is to be tried in the background while a test looks whether anything changed.
    owner.call("PATCH", f"/v1/webhooks/{hook['id']}", {"state": "paused"})
    where = {"name": "outside", "host": "nobody-answers.worka.test", "repository": "team/packs"}
    destination = owner.post(owner.ws("/destinations"), where)
    owner.post(owner.ws("/publisher-keys"), {"publisher": "worka"})
    publication = owner.post(owner.ws("/publications"), {"release_id": ids["release_notes"]})
    owner.post(f"/v1/approvals/{publication['approval_id']}/withdraw")
    reading = owner.post(f"/v1/secrets/{ids['secret']}/readings", {"why": "to look", "minutes": 5})
    owner.post(f"/v1/approvals/{reading['approval_id']}/withdraw")
    return ids | {
        "reading": reading["id"],
        "provider_client": client_id,
        "consenting": consenting["id"],
        "egress_change": loosening["id"],
        "egress_refused": denied,
        "egress_proposal": outside["id"],
        "withdrawal": withdrawal,
        "destination": destination["id"],
        "publication": publication["id"],
        "trust": trust["id"],
        "way_change": led["id"],
        "webhook": hook["id"],
        "delivery": delivery,
        "group": group["id"],
        "account": owner.post(owner.ws("/service-accounts"), {"name": f"importer-{demo.run}", "purpose": "imports"})[
            "id"
        ],
        "invitation": owner.post(owner.ws("/invitations"), {"email": f"guest-{demo.run}@b.test", "role": "viewer"})[
            "invitation_id"
        ],
        "delegation": delegation["id"],
        "bypass": bypass["id"],
        "proposal": proposal["id"],
        "kill": owner.post(owner.ws("/kills"), stopped)["id"],
        "step": step["id"],
        "invocation": step["invocation_id"],
        "decision": step["decision_id"],
        "grant": secret["grants"][0]["id"],
        "trace": task["trace_id"],
        "egress": owner.get(owner.ws("/egress"))["items"][0]["id"],
        "token": owner.post(owner.ws("/tokens"), {"name": "reader"})["token_id"],
        "policy_version": str(policy["version"]),
    }
