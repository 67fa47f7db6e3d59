"""A tenant with a row in every table of a tenant, written by the stores' own functions: what another tenant must not reach."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import worka.api.store
import worka.approvals.store
import worka.audit.store
import worka.broker.asked.store
import worka.broker.policy.store
import worka.broker.store
import worka.connections.store
import worka.governance.store
import worka.identity.store
import worka.notifications.store
import worka.packs.lifecycle.store
import worka.packs.moving.store
import worka.packs.proposals.store
import worka.packs.registry.store
import worka.packs.store
import worka.services.store
import worka.treasury.store
import worka.views.store
import worka.workflows.store
import worka.workspaces.store
from worka.kernel import events
from worka.kernel.clock import now
from worka.kernel.context import Context, Principal
from worka.kernel.db import Connection, Database
from worka.kernel.events import Event, Subscribers
from worka.kernel.ids import new_id

DAY = date(2026, 1, 1)
TRACE = "0af7651916cd43dd8448eb211c80319c"
DIGEST = "sha256:ab"
PREFIXES = {
    "tenant": "ten", "ws": "ws", "person": "per", "member": "tmb", "token": "tok", "session": "ses", "link": "ott",
    "decision": "dec", "asked": "apr", "agreed": "apr", "late": "apr", "secret": "sec", "connection": "conn",
    "release": "rel", "attached": "att", "waiting": "att", "grant": "grt", "running": "inv", "failed": "inv",
    "lease": "lease", "egress": "egr", "exception": "nex", "trust": "ust", "definition": "wf", "queued": "task",
    "claimed": "task",
    "step": "step", "open_step": "step", "wait": "wait", "view": "view", "process": "proc",
    "proposal": "pol", "glass": "glass", "kill": "kill",
    "hook": "whk", "hook_secret": "whs", "rule": "rule", "sending": "dlv", "told": "dlv", "word": "out",
    "group": "grp", "delegation": "dlg", "bypass": "byp", "other": "per",
    "account": "sva", "withdrawn": "wdr", "finding": "vul", "move": "mov",
    "origin": "src", "artifact": "art", "destination": "dst", "publication": "pub", "listing": "lst", "key_pair": "key",
    "attestation": "atn", "reading": "srd", "destruction": "kdn", "review": "rev", "client": "pcl", "flow": "flow",
    "egress_change": "epc", "proposed": "epr", "way_change": "wch",
}  # fmt: skip


def blank(**known: str) -> SimpleNamespace:
    """Fresh ids for a tenant that is not written anywhere yet. `at` is a moment after everything in it."""
    made = {name: new_id(prefix) for name, prefix in PREFIXES.items()} | known
    return SimpleNamespace(
        **made, key=new_id("key"), mail=f"{made['person']}@example.org", at=now() + timedelta(hours=1)
    )


def hmac(some_id: str) -> bytes:
    """The keyed hash that stands in for a credential's."""
    return f"hmac of {some_id}".encode()


def rows(a: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """What the inserting functions take, by the name of the thing."""
    base = {"tenant_id": a.tenant, "workspace_id": a.ws, "created_by": a.person}
    approval = {
        **base, "verb": "approve", "boundary": "tool.external_side_effect", "action": "tool.call",
        "subject_type": "step", "subject_id": a.step, "title": "t", "effect": "e", "digest": DIGEST, "rules": [],
        "quorum": 1, "four_eyes": True, "requester_kind": "person", "requester_id": a.person,
        "originating_person": a.person, "acting_owner": None, "decision_id": a.decision, "policy_version": "1",
        "card": {}, "arguments_sealed": b"sealed", "blocks": [], "reason": "waiting_for_approver", "expires_at": a.at,
        "trace_id": TRACE,
    }  # fmt: skip
    attachment = {
        **base, "release_id": a.release, "pack": "acme.notes", "mode": "pinned", "uid": 1, "mounts": [],
        "digest": DIGEST,
    }  # fmt: skip
    invocation = {
        **base, "attachment_id": a.attached, "release_id": a.release, "release_digest": DIGEST, "pack": "acme.notes",
        "tool": "acme.notes.write", "side_effect": "write", "initiator_kind": "person", "initiator_id": a.person,
        "originating_person": a.person, "decision_id": a.decision, "approval_id": a.agreed, "task_id": a.claimed,
        "step_id": a.step, "args_digest": DIGEST, "trace_id": TRACE,
    }  # fmt: skip
    task = {
        **base, "definition_id": a.definition, "title": "t", "inputs": {}, "member_id": a.member,
        "originating_person": a.person, "expected_seconds": 60, "trace_id": TRACE,
    }  # fmt: skip
    delivery = {
        **base, "id": a.sending, "channel": "webhook", "target": a.hook, "message_id": "msg_1",
        "type": "approval.requested", "payload": {"data": {"approval_id": a.asked}}, "cause": "c1", "state": "queued",
        "reason": "delivery_waiting", "replay_of": None,
    }  # fmt: skip
    return {
        "tenant": {**base, "slug": a.tenant[4:], "name": "Filled"},
        "workspace": {**base, "id": a.ws, "slug": "main", "name": "Main"},
        "person": {
            "id": a.person, "email": a.mail, "display_name": "Ada", "password_hash": "!", "operator": False,
        },
        "membership": {**base, "principal_kind": "person", "principal_id": a.person, "role": "owner", "approver": True},
        "team_member": {
            **base, "id": a.member, "name": "robot", "responsibility": "r", "instructions": "", "tools": ["a.b.c"],
            "owner_person_id": a.person,
        },
        "account": {**base, "id": a.account, "name": "importer", "purpose": "p", "owner_person_id": a.person},
        "api_token": {
            **base, "id": a.token, "principal_kind": "person", "principal_id": a.person, "name": "t", "prefix": "wkt",
            "token_hmac": hmac(a.token), "expires_at": None,
        },
        "one_time": {
            "id": a.link, "kind": "invitation", "hmac": hmac(a.link), "person_id": None, "tenant_id": a.tenant,
            "workspace_id": a.ws, "email": a.mail, "role": "viewer", "created_by": a.person, "until": a.at,
        },
        "policy": {
            "tenant_id": a.tenant, "kind": "access", "version": 1, "text": "t", "note": "", "owner_person_id": a.person,
            "created_by": a.person,
        },
        "decision": {
            **base, "id": a.decision, "principal_kind": "person", "principal_id": a.person,
            "originating_person": a.person, "action": "task.create", "resource_type": "approval",
            "resource_id": a.asked, "context": {}, "verdict": "allow", "layer": "authorization", "rules": [],
            "reasons": [], "approval_rules": [], "access_version": "1", "governance_version": "1", "remedy": "",
            "trace_id": TRACE,
        },
        "proposal": {
            **base, "id": a.proposal, "kind": "access", "scope": "", "base_version": 1, "text": "t", "note": "",
            "digest": DIGEST, "proposed_by": a.person,
        },
        "glass": {
            **base, "id": a.glass, "scope": "ws_other", "reason": "r", "opened_by": "root", "seconds": 3600,
        },
        "kill": {
            **base, "id": a.kill, "kind": "release", "subject": a.release, "reason": "r", "receipt": {},
            "set_by": a.person, "set_by_name": "Ada", "by_operator": False, "by_owner": True,
        },
        "withdrawn": {
            **base, "id": a.withdrawn, "kind": "release", "subject": a.release, "name": "acme.notes 1.0.0", "act": "revoke",
            "why": "w", "receipt": {"releases": [{"id": a.release}]}, "by_kind": "person", "by_id": a.person, "by_name": "Ada", "approval_id": None,
        },
        "advisory": {
            "tenant_id": a.tenant, "id": "OSV-1", "summary": "s", "severity": "high", "modified": "2026-01-01T00:00:00Z",
            "withdrawn": False, "imported_by": a.person,
            "affects": [{"ecosystem": "pypi", "package": "notes", "versions": ["1"], "ranges": []}],
        },
        "finding": {
            **base, "id": a.finding, "release_id": a.release, "advisory_id": "OSV-1", "package": "notes", "version": "1",
        },
        "origin": {
            **base, "id": a.origin, "release_id": a.release, "origin": "private", "repository": "", "revision": "",
            "contents": "c", "artifact_digest": None, "taken_from": "", "similar_found": [],
        },
        "artifact": {
            **base, "id": a.artifact, "release_id": a.release, "source_id": a.origin, "digest": DIGEST, "size": 1, "layers": [],
            "contents": "c",
        },
        "destination": {
            **base, "id": a.destination, "name": "outside", "host": "registry.example", "port": 443, "repository": "team/packs",
            "credential": b"sealed", "token_service": "", "blob_hosts": [],
        },
        "publication": {
            **base, "id": a.publication, "release_id": a.release, "artifact_id": a.artifact, "destination_id": a.destination,
            "destination": "registry.example:443/team/packs", "visibility": "public", "shared_with": [],
            "state": "failed", "reason": "registry_refused", "created_kind": "person", "originating_person": a.person,
        },
        "listing": {
            **base, "id": a.listing, "release_id": a.release, "publication_id": a.publication, "digest": DIGEST,
            "visibility": "public", "shared_with": [], "state": "listed", "why": "",
        },
        "key_pair": {
            **base, "id": a.key_pair, "publisher": "acme", "key_id": f"key of {a.key_pair}", "public_key": "p",
            "secret_id": a.secret,
        },
        "attestation": {
            **base, "id": a.attestation, "release_id": a.release, "digest": DIGEST, "key_id": "k", "envelope": {},
            "verified": False,
        },
        "review": {**base, "id": a.review, "release_id": a.release, "digest": DIGEST, "note": "n"},
        "service_policy": {
            **base, "service": "shop", "version": 1, "note": "", "document": {"kind": "service", "inbound": {"port": 8080}},
        },
        "registry_policy": {**base, "version": 1, "settings": {"most": "shared"}, "note": ""},
        "limit": {
            "tenant_id": a.tenant, "layer": "workspace", "scope": "workspace", "workspace_id": a.ws, "member_id": "",
            "name": "tasks_at_once", "value": 5, "reason": "r", "set_by": a.person, "set_by_name": "Ada", "known": None,
        },
        "asked": {**approval, "id": a.asked},
        "agreed": {**approval, "id": a.agreed},
        "late": {**approval, "id": a.late, "subject_id": "late", "expires_at": a.at - timedelta(days=1)},
        "vote": {
            "tenant_id": a.tenant, "approval_id": a.agreed, "person_id": a.person, "decision": "approve",
            "comment": "", "credential_id": a.session,
        },
        "group": {**base, "id": a.group, "name": "security", "purpose": "p"},
        "delegation": {
            **base, "id": a.delegation, "from_person": a.person, "to_person": a.other, "scope": "all", "until": a.at,
        },
        "bypass": {
            **base, "id": a.bypass, "kind": "boundary", "target": "pack.attach", "why": "w", "until": a.at,
            "most_uses": 2, "state": "open", "reason": "bypass_in_force", "approval_id": None, "opened_by": a.person,
        },
        "approval_settings": {
            **base, "expires_minutes": 60, "remind_minutes": 5, "remind_times": 1, "escalate_minutes": 10,
            "escalate_to": "owners", "blanket_seconds": 3, "updated_by": a.person,
        },
        "word": {**base, "id": new_id("out"), "topic": "test", "payload": {}},
        "hook": {**base, "id": a.hook, "url": "https://h.test/in", "types": ["*"], "description": "",
                 "reason": "webhook_in_service"},
        "hook_secret": {**base, "id": a.hook_secret, "webhook_id": a.hook, "sealed": b"sealed"},
        "rule": {**base, "id": a.rule, "purpose": "webhook", "subject_id": a.hook, "host": "h.test", "port": 443,
                 "method": "POST", "path": "/in"},
        "sending": delivery,
        "told": {**delivery, "id": a.told, "message_id": "msg_2", "cause": "c2", "state": "skipped",
                 "reason": "delivery_webhook_off"},
        "attempt": {"tenant_id": a.tenant, "delivery_id": a.sending, "number": 1, "reason": "allowed", "detail": "",
                    "status": 500, "duration_ms": 1.0, "answer": "no", "egress_id": a.egress},
        "secret": {**base, "id": a.secret, "name": "token", "purpose": "p", "kind": "api_token"},
        "connection": {
            **base, "id": a.connection, "provider": "tracker", "name": "n", "host": "example.org", "port": 443,
            "access": "read", "why": "", "secret_id": a.secret, "metadata": {}, "state": "active",
            "reason": "connection_in_service", "kind": "oauth_code", "client_id": a.client, "person_id": a.person,
        },
        "client": {
            **base, "id": a.client, "provider": "tracker", "client_id": "worka", "secret_id": a.secret, "metadata": {},
        },
        "flow": {
            **base, "id": a.flow, "connection_id": a.connection, "kind": "code", "person_id": a.person,
            "credential_id": a.session, "state_hash": "h", "sealed": b"sealed", "seconds": 600,
        },
        "restriction": {
            **base, "providers": ["tracker"], "reason": "r", "set_by": a.person, "set_by_name": "P",
        },
        "release": {
            **base, "id": a.release, "publisher": "acme", "name": "notes", "version": "1.0.0",
            "manifest": {"display_name": "Notes"}, "lock_text": "", "source": {},
        },
        "attached": {**attachment, "id": a.attached},
        "waiting": {**attachment, "id": a.waiting, "pack": "acme.other"},
        "move": {
            **base, "id": a.move, "attachment_id": a.attached, "pack": "acme.notes", "kind": "asked",
            "from_release": a.release, "to_release": a.release, "difference": {}, "widens": True, "redefines": False,
            "mounts": [], "requester_kind": "person", "requester_id": a.person, "originating_person": a.person, "why": "w",
        },
        "grant": {
            **base, "id": a.grant, "secret_id": a.secret, "attachment_id": a.attached,
            "endpoint": "example.org:443", "granted_by": a.person,
        },
        "running": {**invocation, "id": a.running, "idempotency_key": a.key},
        "failed": {**invocation, "id": a.failed, "idempotency_key": a.key + "2"},
        "outcome": {
            "state": "failed", "reason": "tool_error", "layer": "pack", "message": "m", "stderr_tail": "",
            "stray_stdout": None, "isolation": {}, "session": None, "handshake_ms": None, "call_ms": None,
            "result_sealed": None, "result_digest": None, "validated": None, "effect_id": None,
        },
        "reading": {
            **base, "id": a.reading, "secret_id": a.secret, "why": "w", "minutes": 5, "approval_id": a.asked,
            "opened_by": a.person,
        },
        "destruction": {
            **base, "id": a.destruction, "why": "w", "reach": {}, "approval_id": a.asked, "asked_by": a.person,
        },
        "lease": {
            **base, "id": a.lease, "secret_id": a.secret, "secret_version": 1, "grant_id": a.grant,
            "attachment_id": a.attached, "invocation_id": a.running, "endpoint": "example.org:443", "trace_id": TRACE,
        },
        "exception": {
            **base, "id": a.exception, "name": "tracker.example", "port": 443, "address": "127.0.0.1",
            "real_port": 8443, "ca_pem": "", "reason": "test",
        },
        "trust": {
            **base, "id": a.trust, "name": "tracker.example", "port": 443, "attachment_id": "", "ca_pem": "a CA",
            "client_cert_pem": "", "client_key_secret_id": None, "reason": "test",
        },
        "egress": {
            **base, "id": a.egress, "attachment_id": a.attached, "invocation_id": a.running, "session_id": "s",
            "host": "example.org", "port": 443, "kind": "http", "method": "GET", "path": "/", "verdict": "allowed",
            "reason": "allowed", "rule": None, "address": None, "opaque": False, "exception_id": None,
            "connection_id": a.connection, "lease_id": a.lease, "trace_id": TRACE, "decision_id": None,
        },
        "egress_policy": {
            **base, "version": 1, "settings": {"refuse": ["x.example"]}, "note": "", "approved_by": "",
        },
        "egress_change": {
            **base, "id": a.egress_change, "scope": a.ws, "base_version": 1, "settings": {}, "note": "", "digest": DIGEST,
            "proposed_by": a.person,
        },
        "way_change": {
            **base, "id": a.way_change, "kind": "network_exception", "name": "tracker.example", "port": 443,
            "settings": {"ca_pem": "", "reason": "test"}, "replaces": None, "carries": [], "digest": DIGEST,
            "proposed_by": a.person,
        },
        "proposed": {
            **base, "id": a.proposed, "attachment_id": a.attached, "pack": "acme.notes", "release_id": a.release,
            "kind": "widen", "digest": DIGEST, "difference": {"add": [], "remove": [], "drop": []},
            "cause": "undeclared_destination", "refused": [a.egress], "why": "", "owner_kind": "person",
            "owner_id": a.person, "originating_person": None,
        },
        "definition": {
            **base, "id": a.definition, "name": "notes", "version": 1, "definition": {"steps": [1]}, "digest": DIGEST,
        },
        "queued": {**task, "id": a.queued},
        "claimed": {**task, "id": a.claimed},
        "wait": {
            **base, "id": a.wait, "task_id": a.queued, "step_id": a.open_step, "kind": "approval", "ref": a.asked,
            "name": "n", "deadline": None,
        },
        "view": {**base, "id": a.view, "name": "notes", "title": "t"},
    }  # fmt: skip


async def fill(db: Database, a: SimpleNamespace) -> None:
    """Writes the tenant, in the order in which a real one comes about."""
    r = rows(a)
    identity, packs, tasks = worka.identity.store, worka.packs.store, worka.workflows.store
    async with db.transaction(None) as conn:
        await identity.create_person(conn, r["person"])
        await identity.create_session(conn, a.session, a.person, hmac(a.session), a.at)
    async with db.transaction(a.tenant) as conn:
        await worka.workspaces.store.create_tenant(conn, r["tenant"])
        await worka.workspaces.store.create_workspace(conn, r["workspace"])
        await worka.workspaces.store.add_member(conn, r["membership"])
        await identity.create_team_member(conn, r["team_member"])
        await identity.create_service_account(conn, r["account"])
        await identity.create_api_token(conn, r["api_token"])
        await identity.create_one_time(conn, r["one_time"])
        await worka.workspaces.store.set_limit(conn, r["limit"])
        await worka.workspaces.store.rate_lease(conn, a.tenant, "requests_per_minute/tenant//", 10, 60, 3, 0)
        await worka.governance.store.add_policy(conn, r["policy"])
        await worka.governance.store.add_decision(conn, r["decision"])
        await worka.governance.store.add_proposal(conn, r["proposal"])
        await worka.governance.store.add_glass(conn, r["glass"])
        await worka.governance.store.add_kill(conn, r["kill"])
        for name in ("asked", "agreed", "late"):
            await worka.approvals.store.add(conn, r[name])
        await worka.approvals.store.see(conn, a.tenant, a.agreed, a.person)
        await worka.approvals.store.add_vote(conn, r["vote"])
        await _who_approves(conn, a, r)
        await worka.approvals.store.close(conn, a.agreed, "open", "approved", "approved", now())
        await worka.treasury.store.add_tenant_key(conn, a.tenant, "data", 1, b"wrapped", "master")
        await worka.treasury.store.add_secret(conn, r["secret"])
        await worka.treasury.store.add_version(conn, a.tenant, a.secret, 1, 1, b"nonce", b"cipher")
        await worka.connections.store.add(conn, r["connection"])
        await worka.connections.store.add_client(conn, r["client"])
        await worka.connections.store.add_flow(conn, r["flow"])
        await worka.connections.store.restrict(conn, r["restriction"])
        await packs.insert_release(conn, r["release"])
        for name in ("attached", "waiting"):
            await packs.insert_attachment(conn, r[name])
        await packs.move_attachment(conn, a.attached, "attached", "attachment_in_service")
        await packs.move_attachment(conn, a.waiting, "awaiting_connection", "waiting_for_connection")
        lifecycle = worka.packs.lifecycle.store
        await lifecycle.add_withdrawal(conn, r["withdrawn"])
        await lifecycle.set_standing(conn, a.tenant, "acme.notes", a.ws, "free", a.withdrawn)
        await lifecycle.put_advisories(conn, [r["advisory"]])
        await lifecycle.add_finding(conn, r["finding"])
        await worka.packs.moving.store.insert_move(conn, r["move"])
        await _published(conn, r)
        await worka.treasury.store.add_grant(conn, r["grant"])
        await tasks.insert_definition(conn, r["definition"])
        await _tasks(conn, a, r)
        # A call begins only with a release that runs; what is registered stays a draft for the others.
        await packs.move_release(conn, a.release, "released", "release_in_service")
        for name in ("running", "failed"):
            await packs.insert_invocation(conn, r[name])
        await packs.move_release(conn, a.release, "draft", "waiting_for_build")
        await packs.finish_invocation(conn, a.failed, r["outcome"])
        await worka.treasury.store.add_lease(conn, r["lease"], 60)
        await worka.treasury.store.add_reading(conn, r["reading"])
        await worka.treasury.store.add_destruction(conn, r["destruction"])
        await worka.broker.store.insert_exception(conn, a.tenant, r["exception"])
        await worka.broker.store.insert_trust(conn, a.tenant, r["trust"])
        await worka.broker.store.insert_egress(conn, a.tenant, r["egress"])
        await worka.broker.store.add_use(conn, a.tenant, a.attached, DAY, 1, 1, 1)
        line = {"egress_id": a.egress, "at": now(), "reason": "upstream_unreachable", "text": "refused"}
        await worka.broker.store.add_lines(conn, a.tenant, a.ws, [line])
        await worka.broker.policy.store.add(conn, r["egress_policy"])
        await worka.broker.policy.store.add_change(conn, r["egress_change"])
        await worka.broker.asked.store.add(conn, r["way_change"])
        await worka.packs.proposals.store.add(conn, r["proposed"])
        await worka.views.store.insert(conn, r["view"])
        await worka.views.store.revise(conn, a.tenant, a.view, 1, "t", {"text": "x"}, a.claimed, a.failed, a.person)
        await worka.audit.store.append(conn, a.tenant, 3, [b"mac"], [b"body"])
        await worka.api.store.begin(conn, a.tenant, a.person, a.key, DIGEST, a.process)
        event = Event("pack.attachment.created", a.attached, "acme.notes", lane="capability", data={})
        await events.store(conn, _context(db, a), [event])
        await conn.execute(
            "insert into worka.outbox (tenant_id, id, topic, payload) values (%s, %s, 'test', '{}')",
            (a.tenant, a.word),
        )
        await _who_is_told(conn, a, r)


async def _published(conn: Connection, r: dict[str, dict[str, Any]]) -> None:
    """A release as the registry has it: from its source to who vouches for it."""
    registry = worka.packs.registry.store
    await registry.add_source(conn, r["origin"])
    await registry.add_artifact(conn, r["artifact"])
    await registry.add_destination(conn, r["destination"])
    await registry.add_publication(conn, r["publication"])
    await registry.put_listing(conn, r["listing"])
    await registry.add_key(conn, r["key_pair"])
    await registry.add_attestation(conn, r["attestation"])
    await registry.add_review(conn, r["review"])
    await registry.add_policy(conn, r["registry_policy"])
    await worka.services.store.add_policy(conn, r["service_policy"]["tenant_id"], r["service_policy"])


async def _who_is_told(conn: Connection, a: SimpleNamespace, r: dict[str, dict[str, Any]]) -> None:
    """A webhook with its rule and secret, a delivery that is tried, one that was not, and somebody who wants no mail."""
    told = worka.notifications.store
    await worka.broker.store.add_platform_rule(conn, r["rule"])
    await told.add_webhook(conn, r["hook"])
    await told.add_secret(conn, r["hook_secret"])
    for name in ("sending", "told"):
        await told.add_delivery(conn, r[name])
    await told.add_attempt(conn, r["attempt"])
    await told.choose(conn, a.tenant, a.person, False)


async def _who_approves(conn: Connection, a: SimpleNamespace, r: dict[str, dict[str, Any]]) -> None:
    """A group with somebody in it, a delegation, a bypass, and when approvals are reminded of."""
    approvals = worka.approvals.store
    await approvals.add_group(conn, r["group"])
    await approvals.join_group(conn, a.tenant, a.group, a.person, a.person)
    await approvals.add_delegation(conn, r["delegation"])
    await approvals.add_bypass(conn, r["bypass"])
    await approvals.put_settings(conn, r["approval_settings"])
    await approvals.look_again(conn, a.ws, a.at - timedelta(days=1))


async def _tasks(conn: Connection, a: SimpleNamespace, r: dict[str, dict[str, Any]]) -> None:
    """One task in the queue, with a step that waits, and one in the hands of a worker, with a step that succeeded."""
    tasks = worka.workflows.store
    for task, step in ((a.queued, a.open_step), (a.claimed, a.step)):
        await tasks.insert_task(conn, r["queued" if task == a.queued else "claimed"])
        one = {"id": step, "position": 1, "name": "log", "kind": "tool", "idempotency_key": f"{a.key}/{step}"}
        await tasks.insert_steps(conn, a.tenant, task, [one])
        await tasks.insert_receipt(conn, a.tenant, step, "outcome", "attempt")
    await tasks.insert_wait(conn, r["wait"])
    await tasks.claim(conn, a.claimed, "claim", "worker", 60, 60)
    await tasks.start_step(conn, a.step, a.running, a.agreed, a.decision)
    await tasks.set_step(conn, a.step, "succeeded", "step_done", result_sealed=b"sealed")


def _context(db: Database, a: SimpleNamespace) -> Context:
    nobody: Any = None
    principal = Principal("person", a.person, "Ada")
    return Context(principal, a.tenant, db, nobody, nobody, nobody, Subscribers(), a.ws, a.person, TRACE)
