"""How each store function is called on the rows of `filled.py`. A store function that is missing here fails the test.

- `reads`: its own tenant gets an answer, another tenant gets nothing.
- `writes`: its own tenant changes a row, another tenant changes nothing and is told so, or told nothing.
- `refused`: what it writes names its tenant; under another one the database refuses it.
- `deployment`: not a tenant's at all, by decision; says why that is right, and which columns an answer may have at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tests.kernel.filled import DIGEST, TRACE, hmac, rows
from worka.kernel.ids import new_id

Call = Callable[[Any, Any, SimpleNamespace], Any]
"""(the store module, the connection, the filled tenant) -> what the function gives."""


@dataclass(frozen=True)
class Entry:
    """One store function: what is expected of it, and how it is called."""

    kind: str
    call: Call
    because: str = ""
    columns: frozenset[str] = frozenset()
    under: str = "tenant"
    """Which of the world's tenants is its own."""


def reads(call: Call) -> Entry:
    """A query."""
    return Entry("reads", call)


def writes(call: Call) -> Entry:
    """A change of rows found by a condition."""
    return Entry("writes", call)


def refused(call: Call, under: str = "tenant") -> Entry:
    """A change that names its tenant."""
    return Entry("refused", call, under=under)


def deployment(because: str, call: Call, *columns: str) -> Entry:
    """Of the deployment."""
    return Entry("deployment", call, because, frozenset(columns))


def new(a: SimpleNamespace, thing: str, **changes: Any) -> dict[str, Any]:
    """A further row like the one that is there."""
    return {**rows(a)[thing], "id": new_id("new"), **changes}


LOCK = "an advisory lock on a name: it shows no row and changes none"
SEALER = "the platform's sealer seals all tenants' heads in one checkpoint: hashes and ids only"
BEAT = "heartbeats of our own processes: no tenant's rows"
SIGN_IN = "people belong to the deployment, and whoever asks holds the keyed hash of a secret"
PERSON = "people belong to the deployment (decisions.md 16); a tenant's doors show those of its memberships only"
DOCTOR = (
    "the doctor looks at the deployment: roles, versions, ids of keys, a time, public certificates; no tenant's row"
)
REAPER = "work across tenants claims ids only, then sets the tenant"

CALLS: dict[str, Entry] = {
    # api
    "api.begin": refused(lambda s, c, a: s.begin(c, a.tenant, a.person, new_id("key"), DIGEST, a.process)),
    "api.bind": refused(lambda s, c, a: s.bind(c, a.tenant, a.person, new_id("key"), DIGEST)),
    "api.finish": writes(lambda s, c, a: s.finish(c, a.tenant, a.person, a.key, 200, {})),
    "api.mark": writes(lambda s, c, a: s.mark(c, a.tenant, a.person, a.key, ["task_x"])),
    "api.alone": deployment(LOCK, lambda s, c, a: s.alone(c, "/v1/tasks/task_x")),
    "api.release": writes(lambda s, c, a: s.release(c, a.tenant, a.person, a.key)),
    # approvals
    "approvals.add": refused(lambda s, c, a: s.add(c, new(a, "asked"))),
    "approvals.get": reads(lambda s, c, a: s.get(c, a.asked, lock=True)),
    "approvals.open_for": reads(lambda s, c, a: s.open_for(c, a.step, DIGEST)),
    "approvals.usable_for": reads(lambda s, c, a: s.usable_for(c, a.step, DIGEST)),
    "approvals.of_subject": reads(lambda s, c, a: s.of_subject(c, a.step)),
    "approvals.listed": reads(lambda s, c, a: s.listed(c, a.ws, None, None, 50)),
    "approvals.votes": reads(lambda s, c, a: s.votes(c, a.agreed)),
    "approvals.votes_of": reads(lambda s, c, a: s.votes_of(c, [a.agreed])),
    "approvals.add_vote": refused(lambda s, c, a: s.add_vote(c, new(a, "vote", person_id=new_id("per")))),
    "approvals.close": writes(lambda s, c, a: s.close(c, a.asked, "open", "approved", "approved", a.at)),
    "approvals.set_reason": writes(lambda s, c, a: s.set_reason(c, a.asked, "nobody_can_decide")),
    "approvals.consume": writes(lambda s, c, a: s.consume(c, a.agreed, "key")),
    "approvals.states_of": reads(lambda s, c, a: s.states_of(c, [{"id": a.queued}])),
    "approvals.overdue": deployment(REAPER, lambda s, c, a: s.overdue(c, 5), "tenant_id", "approval_id"),
    # audit
    "audit.append": refused(lambda s, c, a: s.append(c, a.tenant, 3, [b"mac"], [b"forged"])),
    "audit.wake_sealer": deployment(SEALER, lambda s, c, a: s.wake_sealer(c)),
    "audit.take_sealer_lock": deployment(SEALER, lambda s, c, a: s.take_sealer_lock(c)),
    "audit.tenants": deployment(SEALER, lambda s, c, a: s.tenants(c)),
    "audit.heads": deployment(SEALER, lambda s, c, a: s.heads(c)),
    "audit.own_heads": reads(lambda s, c, a: s.own_heads(c)),
    "audit.rows_stand": reads(lambda s, c, a: s.rows_stand(c, {(3, 1): a.hash})),
    "audit.pages": reads(lambda s, c, a: s.pages(c)),
    # authorization
    "authorization.standing": reads(lambda s, c, a: s.standing(c, a.ws, "team_member", a.member)),
    "authorization.policy_versions": reads(lambda s, c, a: s.policy_versions(c)),
    "authorization.policy": reads(lambda s, c, a: s.policy(c, "access", 1)),
    # broker
    "broker.attachment": reads(lambda s, c, a: s.attachment(c, a.attached)),
    "broker.invocation": reads(lambda s, c, a: s.invocation(c, a.running)),
    "broker.connections": reads(lambda s, c, a: s.connections(c, a.ws)),
    "broker.live_exceptions": reads(lambda s, c, a: s.live_exceptions(c, a.ws)),
    "broker.exceptions_page": reads(lambda s, c, a: s.exceptions_page(c, a.ws, None, 50)),
    "broker.exception": reads(lambda s, c, a: s.exception(c, a.exception)),
    "broker.insert_exception": refused(lambda s, c, a: s.insert_exception(c, a.tenant, new(a, "exception"))),
    "broker.lock_exceptions": deployment(LOCK, lambda s, c, a: s.lock_exceptions(c, a.ws)),
    "broker.remove_exception": writes(lambda s, c, a: s.remove_exception(c, a.exception)),
    "broker.insert_egress": refused(lambda s, c, a: s.insert_egress(c, a.tenant, new(a, "egress"))),
    "broker.repeat_egress": writes(lambda s, c, a: s.repeat_egress(c, a.egress, 1, "/x", None)),
    "broker.finish_egress": writes(
        lambda s, c, a: s.finish_egress(
            c, a.egress, {"status": 200, "reason": "allowed", "bytes_out": 1, "bytes_in": 1, "duration_ms": 1.0}
        )
    ),
    "broker.egress_of": reads(lambda s, c, a: s.egress_of(c, a.running)),
    "broker.egress": reads(lambda s, c, a: s.egress(c, a.egress)),
    "broker.egress_page": reads(lambda s, c, a: s.egress_page(c, a.ws, None, 50, None, None)),
    # connections
    "connections.add": refused(lambda s, c, a: s.add(c, new(a, "connection"))),
    "connections.set_approval": writes(lambda s, c, a: s.set_approval(c, a.connection, a.asked)),
    "connections.move": writes(lambda s, c, a: s.move(c, a.connection, "broken", "connection_secret_revoked")),
    "connections.get": reads(lambda s, c, a: s.get(c, a.connection, lock=True)),
    "connections.listed": reads(lambda s, c, a: s.listed(c, a.ws, None, 50)),
    "connections.of_secret": reads(lambda s, c, a: s.of_secret(c, a.secret)),
    "connections.same_way": reads(lambda s, c, a: s.same_way(c, new(a, "connection"))),
    "connections.waiting_attachments": reads(lambda s, c, a: s.waiting_attachments(c, a.ws)),
    # governance
    "governance.add_decision": refused(lambda s, c, a: s.add_decision(c, new(a, "decision"))),
    "governance.decision": reads(lambda s, c, a: s.decision(c, a.decision)),
    "governance.add_policy": refused(lambda s, c, a: s.add_policy(c, new(a, "policy", version=2))),
    "governance.policies": reads(lambda s, c, a: s.policies(c, None, 50)),
    # identity
    "identity.credential": deployment(
        SIGN_IN, lambda s, c, a: s.credential(c, hmac(a.token)),
        "kind", "credential_id", "principal_kind", "principal_id", "tenant_id", "workspace_id", "expires_at",
        "issued_by", "person", "memberships",
    ),
    "identity.person": deployment(
        PERSON, lambda s, c, a: s.person(c, a.person), "id", "email", "display_name", "operator", "enabled"
    ),
    "identity.person_by_email": deployment(
        PERSON, lambda s, c, a: s.person_by_email(c, a.mail),
        "id", "display_name", "password_hash", "operator", "enabled",
    ),
    "identity.create_person": deployment(
        PERSON, lambda s, c, a: s.create_person(c, new(a, "person", email=f"{new_id('x')}@example.org"))
    ),
    "identity.operator_exists": deployment(PERSON, lambda s, c, a: s.operator_exists(c)),
    "identity.create_session": deployment(
        SIGN_IN, lambda s, c, a: s.create_session(c, new_id("ses"), a.person, new_id("x").encode(), a.at)
    ),
    "identity.revoke_session": deployment(SIGN_IN, lambda s, c, a: s.revoke_session(c, new_id("ses"), a.person)),
    "identity.create_one_time": refused(
        lambda s, c, a: s.create_one_time(c, new(a, "one_time", hmac=new_id("x").encode()))
    ),
    "identity.take_one_time": deployment(
        SIGN_IN, lambda s, c, a: s.take_one_time(c, "setup", hmac(a.link)),
        "id", "person_id", "tenant_id", "workspace_id", "email", "role", "created_by",
    ),
    "identity.peek_one_time": deployment(
        SIGN_IN, lambda s, c, a: s.peek_one_time(c, "invitation", hmac(a.link)),
        "id", "person_id", "tenant_id", "workspace_id", "email", "role", "created_by",
    ),
    "identity.take_try": deployment(SIGN_IN, lambda s, c, a: s.take_try(c, new_id("x").encode(), 1, 60)),
    "identity.known_place": deployment(SIGN_IN, lambda s, c, a: s.known_place(c, b"x")),
    "identity.went_well": deployment(SIGN_IN, lambda s, c, a: s.went_well(c, b"x", b"y", [b"z"])),
    "identity.one_time_exists": deployment(SIGN_IN, lambda s, c, a: s.one_time_exists(c, "setup")),
    "identity.team_member": reads(lambda s, c, a: s.team_member(c, a.member)),
    "identity.team_members": reads(lambda s, c, a: s.team_members(c, a.ws, None, 50)),
    "identity.create_team_member": refused(
        lambda s, c, a: s.create_team_member(c, new(a, "team_member", name=new_id("x")))
    ),
    "identity.change_team_member": writes(
        lambda s, c, a: s.change_team_member(
            c, a.member, {"tools": [], "instructions": "x", "responsibility": "y", "enabled": False}
        )
    ),
    "identity.create_api_token": refused(
        lambda s, c, a: s.create_api_token(c, new(a, "api_token", token_hmac=new_id("x").encode()))
    ),
    "identity.api_token": reads(lambda s, c, a: s.api_token(c, a.token)),
    "identity.revoke_api_token": writes(lambda s, c, a: s.revoke_api_token(c, a.token)),
    "identity.revoke_tokens_of": writes(lambda s, c, a: s.revoke_tokens_of(c, a.ws, "person", a.person)),
    # observability
    "observability.rejected_by": reads(lambda s, c, a: _then(s.rejected_by(c, [a.agreed]), _rejected(c, a))),
    "observability.tasks_for_a_worker": reads(lambda s, c, a: s.tasks_for_a_worker(c, a.ws, 50)),
    "observability.beat": deployment(BEAT, lambda s, c, a: s.beat(c, a.process, "test", 1, "build", {})),
    "observability.end": deployment(BEAT, lambda s, c, a: s.end(c, a.process)),
    "observability.forget": deployment(BEAT, lambda s, c, a: s.forget(c, 1e6)),
    "observability.processes": deployment(
        BEAT, lambda s, c, a: s.processes(c), "id", "role", "pid", "build", "started_at", "beat_at", "detail", "silent"
    ),
    "observability.changes": reads(
        lambda s, c, a: s.changes(
            c, a.ws, before=None, since=None, until=None, lanes=None, actor=None, subject=None, limit=50
        )
    ),
    "observability.unfinished_tasks": reads(lambda s, c, a: _then(s.unfinished_tasks(c, a.ws, 50), _silent(c, a))),
    "observability.tasks_in_the_engine": reads(lambda s, c, a: s.tasks_in_the_engine(c, a.ws, 50)),
    "observability.failing_packs": reads(lambda s, c, a: s.failing_packs(c, a.ws)),
    "observability.held_or_broken": reads(lambda s, c, a: s.held_or_broken(c, a.ws)),
    "observability.home_of": reads(lambda s, c, a: s.home_of(c, "step", a.step)),
    "observability.trace_home": reads(lambda s, c, a: s.trace_home(c, TRACE)),
    "observability.task_links": reads(lambda s, c, a: s.task_links(c, a.claimed)),
    "observability.steps": reads(lambda s, c, a: s.steps(c, a.claimed)),
    "observability.invocations": reads(lambda s, c, a: s.invocations(c, None, a.failed)),
    "observability.decisions": reads(lambda s, c, a: s.decisions(c, [a.decision], [a.asked], TRACE)),
    "observability.approvals": reads(lambda s, c, a: s.approvals(c, [a.asked], [a.step])),
    "observability.egress": reads(lambda s, c, a: s.egress(c, [a.running])),
    "observability.leases": reads(lambda s, c, a: s.leases(c, [a.running])),
    "observability.revisions": reads(lambda s, c, a: s.revisions(c, a.claimed)),
    "observability.audit_of": reads(lambda s, c, a: s.audit_of(c, [a.attached], 50)),
    "observability.identity": deployment(
        DOCTOR, lambda s, c, a: s.identity(c), "at", "server", "role", "superuser", "bypasses", "owner", "may"
    ),
    "observability.schema_version": deployment(DOCTOR, lambda s, c, a: s.schema_version(c)),
    "observability.try_to_write": deployment(DOCTOR, lambda s, c, a: s.try_to_write(c)),
    "observability.master_key_ids": deployment(DOCTOR, lambda s, c, a: s.master_key_ids(c)),
    "observability.ledger_moved_at": deployment(DOCTOR, lambda s, c, a: s.ledger_moved_at(c)),
    "observability.authorities": deployment(DOCTOR, lambda s, c, a: s.authorities(c), "name", "port", "ca_pem"),
    # packs
    "packs.lock_identity": deployment(LOCK, lambda s, c, a: s.lock_identity(c, a.tenant, "acme")),
    "packs.publisher_workspace": reads(lambda s, c, a: s.publisher_workspace(c, "acme")),
    "packs.insert_release": refused(lambda s, c, a: s.insert_release(c, new(a, "release", version="2.0.0"))),
    "packs.redraft_release": writes(lambda s, c, a: s.redraft_release(c, a.release, {}, "", {})),
    "packs.release": reads(lambda s, c, a: s.release(c, a.release)),
    "packs.release_for_update": reads(lambda s, c, a: s.release_for_update(c, a.release)),
    "packs.release_of": reads(lambda s, c, a: s.release_of(c, "acme", "notes", "1.0.0")),
    "packs.releases": reads(lambda s, c, a: s.releases(c, None, 50)),
    "packs.move_release": writes(
        lambda s, c, a: s.move_release(c, a.release, "quarantined", "release_quarantined", error={"code": "x"})
    ),
    "packs.enqueue_registration": refused(lambda s, c, a: s.enqueue_registration(c, a.tenant, a.release, 7)),
    "packs.next_uid": deployment("a counter of numbers: no row", lambda s, c, a: s.next_uid(c)),
    "packs.carriers": reads(lambda s, c, a: s.carriers(c, [a.running])),
    "packs.living_workers": deployment(BEAT, lambda s, c, a: s.living_workers(c, 60, "nobody")),
    "packs.lock_pack": deployment(LOCK, lambda s, c, a: s.lock_pack(c, a.ws, "acme.notes")),
    "packs.insert_attachment": refused(lambda s, c, a: s.insert_attachment(c, new(a, "attached"))),
    "packs.attachment": reads(lambda s, c, a: s.attachment(c, a.attached)),
    "packs.attachment_for_update": reads(lambda s, c, a: s.attachment_for_update(c, a.attached)),
    "packs.attachment_with_release": reads(lambda s, c, a: s.attachment_with_release(c, a.ws, "acme.notes")),
    "packs.attachment_of": reads(lambda s, c, a: s.attachment_of(c, a.ws, "acme.notes")),
    "packs.attachments": reads(lambda s, c, a: s.attachments(c, a.ws, None, 50)),
    "packs.serving": reads(lambda s, c, a: s.serving(c, a.ws)),
    "packs.awaiting_connection": reads(lambda s, c, a: s.awaiting_connection(c, a.ws)),
    "packs.attachments_of_release": reads(lambda s, c, a: s.attachments_of_release(c, a.release, ["attached"])),
    "packs.move_attachment": writes(lambda s, c, a: s.move_attachment(c, a.attached, "detached", "attachment_removed")),
    "packs.set_attachment_approval": writes(lambda s, c, a: s.set_attachment_approval(c, a.attached, a.asked)),
    "packs.set_held": writes(lambda s, c, a: s.set_held(c, a.attached, {"write": {}})),
    "packs.active_connection": reads(lambda s, c, a: s.active_connection(c, a.ws, "tracker", "example.org", 443)),
    "packs.lock_key": deployment(LOCK, lambda s, c, a: s.lock_key(c, a.tenant, a.key)),
    "packs.insert_invocation": refused(lambda s, c, a: s.insert_invocation(c, new(a, "running"))),
    "packs.lose_invocations": writes(lambda s, c, a: s.lose_invocations(c, a.key)),
    "packs.invocation": reads(lambda s, c, a: s.invocation(c, a.running)),
    "packs.invocation_for_update": reads(lambda s, c, a: s.invocation_for_update(c, a.running)),
    "packs.newest_of_key": reads(lambda s, c, a: s.newest_of_key(c, a.key)),
    "packs.invocations": reads(lambda s, c, a: s.invocations(c, a.ws, None, 50, None, None)),
    "packs.finish_invocation": writes(lambda s, c, a: s.finish_invocation(c, a.running, rows(a)["outcome"])),
    "packs.egress_of": reads(lambda s, c, a: s.egress_of(c, a.running)),
    "packs.decision": reads(lambda s, c, a: s.decision(c, a.decision)),
    "packs.newest_connection": reads(lambda s, c, a: s.newest_connection(c, a.ws, "tracker", "example.org", 443)),
    "packs.same_failures": reads(
        lambda s, c, a: s.same_failures(c, a.ws, "acme.notes.write", "tool_error", a.running)
    ),
    # realtime
    "realtime.newest": deployment("the number of a transaction: no row", lambda s, c, a: s.newest(c)),
    "realtime.after": reads(lambda s, c, a: s.after(c, a.ws, "0", 0, 50)),
    "realtime.held_back": reads(lambda s, c, a: s.held_back(c, a.ws, "0", 0)),
    "realtime.may_still_read": reads(lambda s, c, a: s.may_still_read(c, a.ws, "person", a.person, a.session)),
    # treasury
    "treasury.tenant_key": reads(lambda s, c, a: s.tenant_key(c, a.tenant, "data", None)),
    "treasury.add_tenant_key": refused(lambda s, c, a: s.add_tenant_key(c, a.tenant, "data", 2, b"mine", "m")),
    "treasury.add_secret": refused(lambda s, c, a: s.add_secret(c, new(a, "secret", name=new_id("x")))),
    "treasury.add_version": refused(lambda s, c, a: s.add_version(c, a.tenant, a.secret, 2, 1, b"n", b"c")),
    "treasury.version": reads(lambda s, c, a: s.version(c, a.secret, 1)),
    "treasury.secret": reads(lambda s, c, a: s.secret(c, a.secret, lock="share")),
    "treasury.secrets": reads(lambda s, c, a: s.secrets(c, a.ws, None, 50)),
    "treasury.set_version": writes(lambda s, c, a: s.set_version(c, a.secret, 2)),
    "treasury.set_state": writes(lambda s, c, a: s.set_state(c, a.secret, "revoked", "secret_revoked")),
    "treasury.attachment": reads(lambda s, c, a: s.attachment(c, a.attached)),
    "treasury.add_grant": refused(lambda s, c, a: s.add_grant(c, new(a, "grant"))),
    "treasury.live_grants": reads(lambda s, c, a: s.live_grants(c, a.secret, a.attached, lock=True)),
    "treasury.grants": reads(lambda s, c, a: s.grants(c, a.secret)),
    "treasury.grant": reads(lambda s, c, a: s.grant(c, a.grant)),
    "treasury.revoke_grants": writes(lambda s, c, a: s.revoke_grants(c, "me", secret_id=a.secret)),
    "treasury.invocation": reads(lambda s, c, a: s.invocation(c, a.running)),
    "treasury.add_lease": refused(lambda s, c, a: s.add_lease(c, new(a, "lease"), 60)),
    "treasury.close_leases": writes(lambda s, c, a: s.close_leases(c, a.running)),
    "treasury.last_lease": reads(lambda s, c, a: s.last_lease(c, a.secret)),
    "treasury.connections_of": reads(lambda s, c, a: s.connections_of(c, a.secret)),
    # views
    "views.lock_by_name": reads(lambda s, c, a: s.lock_by_name(c, a.ws, "notes")),
    "views.insert": refused(lambda s, c, a: s.insert(c, new(a, "view", name=new_id("x")))),
    "views.revise": refused(lambda s, c, a: s.revise(c, a.tenant, a.view, 2, "x", {}, None, None, a.person)),
    "views.views": reads(lambda s, c, a: s.views(c, a.ws, None, 50)),
    "views.view": reads(lambda s, c, a: s.view(c, a.view)),
    "views.revision": reads(lambda s, c, a: s.revision(c, a.view, 1)),
    "views.history": reads(lambda s, c, a: s.history(c, a.view, 50)),
    # workflows
    "workflows.lock_workflow": deployment(LOCK, lambda s, c, a: s.lock_workflow(c, a.tenant, a.ws, "notes")),
    "workflows.insert_definition": refused(lambda s, c, a: s.insert_definition(c, new(a, "definition", version=2))),
    "workflows.newest_definition": reads(lambda s, c, a: s.newest_definition(c, a.ws, "notes")),
    "workflows.definition": reads(lambda s, c, a: s.definition(c, a.definition)),
    "workflows.definitions": reads(lambda s, c, a: s.definitions(c, a.ws, None, 50)),
    "workflows.insert_task": refused(lambda s, c, a: s.insert_task(c, new(a, "queued"))),
    "workflows.insert_steps": refused(
        lambda s, c, a: s.insert_steps(
            c, a.tenant, a.queued,
            [{"id": new_id("step"), "position": 9, "name": "x", "kind": "tool", "idempotency_key": "k"}],
        )
    ),
    "workflows.enqueue": refused(lambda s, c, a: s.enqueue(c, a.tenant, a.queued, 1, new_id("seg"))),
    "workflows.task": reads(lambda s, c, a: s.task(c, a.queued)),
    "workflows.task_for_update": reads(lambda s, c, a: s.task_for_update(c, a.queued)),
    "workflows.fenced": reads(lambda s, c, a: s.fenced(c, a.claimed, "claim")),
    "workflows.set_task": writes(lambda s, c, a: s.set_task(c, a.queued, "cancelled", "cancelled_by_person")),
    "workflows.next_segment": writes(lambda s, c, a: s.next_segment(c, a.queued, "queued", "queued_waiting_for_worker")),
    "workflows.claimable": reads(lambda s, c, a: s.claimable(c, a.queued)),
    "workflows.claim": writes(lambda s, c, a: s.claim(c, a.queued, "mine", "me", 60, 60)),
    "workflows.progress": writes(lambda s, c, a: s.progress(c, a.claimed, "claim", 60, 60)),
    "workflows.renew": writes(lambda s, c, a: s.renew(c, a.claimed, "claim", 5)),
    "workflows.count_run_time": writes(lambda s, c, a: s.count_run_time(c, a.claimed, 1.5)),
    "workflows.note_fault": writes(lambda s, c, a: s.note_fault(c, a.claimed, "claim", {"x": 1})),
    "workflows.let_go": writes(lambda s, c, a: s.let_go(c, a.claimed, "claim")),
    "workflows.reoffer": writes(lambda s, c, a: s.reoffer(c, a.queued, None, -1)),
    "workflows.last_sign": deployment(BEAT, lambda s, c, a: s.last_sign(c, a.process)),
    "workflows.newest_worker": deployment(BEAT, lambda s, c, a: s.newest_worker(c)),
    "workflows.titles": reads(lambda s, c, a: s.titles(c, a.ws, [a.queued])),
    "workflows.set_right": writes(lambda s, c, a: _then(s.set_right(c, a.queued, 1), _ahead(c, a))),
    "workflows.try_now": writes(lambda s, c, a: _then(s.try_now(c, a.queued), _paused(c, a))),
    "workflows.overdue": deployment(REAPER, lambda s, c, a: s.overdue(c, 0, 5), "tenant_id", "task_id"),
    "workflows.tasks": reads(lambda s, c, a: s.tasks(c, a.ws, None, 50, None)),
    "workflows.steps": reads(lambda s, c, a: s.steps(c, a.claimed)),
    "workflows.step": reads(lambda s, c, a: s.step(c, a.step)),
    "workflows.insert_receipt": refused(lambda s, c, a: s.insert_receipt(c, a.tenant, a.step, "intent:9", "x")),
    "workflows.settle_receipt": writes(lambda s, c, a: s.settle_receipt(c, a.step, "outcome:1", "e")),
    "workflows.receipts": reads(lambda s, c, a: s.receipts(c, a.claimed)),
    "workflows.start_step": writes(lambda s, c, a: s.start_step(c, a.open_step, None, None, None)),
    "workflows.set_step": writes(lambda s, c, a: s.set_step(c, a.open_step, "failed", "step_failed")),
    "workflows.end_open_steps": writes(lambda s, c, a: s.end_open_steps(c, a.queued, "task_ended")),
    "workflows.insert_wait": refused(lambda s, c, a: s.insert_wait(c, new(a, "wait"))),
    "workflows.open_wait_of": reads(lambda s, c, a: s.open_wait_of(c, a.asked)),
    "workflows.waits": reads(lambda s, c, a: s.waits(c, a.queued)),
    "workflows.clear_waits": writes(lambda s, c, a: s.clear_waits(c, a.queued, "me")),
    "workflows.place_in_line": reads(lambda s, c, a: _then(s.place_in_line(c, a.claimed), _older(c, a))),
    "workflows.running_tasks": reads(lambda s, c, a: s.running_tasks(c, a.ws, 50)),
    "workflows.engine_runs": reads(lambda s, c, a: _runs(s, c, a)),
    "workflows.egress_of": reads(lambda s, c, a: s.egress_of(c, a.running)),
    "workflows.invocation_of": reads(lambda s, c, a: s.invocation_of(c, a.running)),
    "workflows.usual_seconds": reads(lambda s, c, a: s.usual_seconds(c, a.definition, "log")),
    "workflows.living_workers": deployment(BEAT, lambda s, c, a: s.living_workers(c, 1)),
    "workflows.names": reads(lambda s, c, a: s.names(c, [a.person, a.member])),
    # workspaces
    "workspaces.enter_tenant": deployment(
        "the application role can set any tenant (ADR 0015): this names the only place that does it inside a"
        " transaction; it shows no row",
        lambda s, c, a: s.enter_tenant(c, new_id("ten")),
    ),
    "workspaces.memberships_of": deployment(
        "the door asks where a signed-in caller is a member before there is a tenant: ids and the role only",
        lambda s, c, a: s.memberships_of(c, "person", a.person),
        "tenant_id", "workspace_id", "role",
    ),
    "workspaces.roles_of": reads(lambda s, c, a: s.roles_of(c, a.ws, "person", a.person)),
    "workspaces.roles_everywhere": reads(lambda s, c, a: s.roles_everywhere(c, "person", a.person)),
    "workspaces.membership": reads(lambda s, c, a: s.membership(c, a.ws, "person", a.person)),
    "workspaces.members": reads(lambda s, c, a: s.members(c, a.ws)),
    "workspaces.add_member": refused(lambda s, c, a: s.add_member(c, new(a, "membership", principal_id=new_id("per")))),
    "workspaces.change_member": writes(
        lambda s, c, a: s.change_member(c, a.ws, "person", a.person, "viewer", False)
    ),
    "workspaces.remove_member": writes(lambda s, c, a: s.remove_member(c, a.ws, "person", a.person)),
    "workspaces.lock_members": reads(lambda s, c, a: s.lock_members(c, a.ws, "team_member", a.member)),
    "workspaces.create_tenant": refused(
        lambda s, c, a: s.create_tenant(c, new(a, "tenant", tenant_id=a.unborn, slug=a.unborn[4:])), under="unborn"
    ),
    "workspaces.create_workspace": refused(lambda s, c, a: s.create_workspace(c, new(a, "workspace", slug="two"))),
    "workspaces.workspace": reads(lambda s, c, a: s.workspace(c, a.ws)),
    "workspaces.changes_before": reads(lambda s, c, a: s.changes_before(c, a.ws, a.at, [], 50)),
}  # fmt: skip


async def _then(answer: Any, before: Any) -> Any:
    """Makes a state first that a real row has only after a while."""
    await before
    return await answer


async def _runs(s: Any, c: Any, a: SimpleNamespace) -> Any:
    """A run of the tenant's task in the engine's queue, made under that tenant whoever asks, and gone afterwards."""
    async with c.transaction(force_rollback=True):
        row = await (await c.execute("select current_setting('worka.tenant', true) as asker")).fetchone()
        await c.execute("select set_config('worka.tenant', %s, true)", (a.tenant,))
        await s.enqueue(c, a.tenant, a.queued, 1, f"{a.queued}:1")
        await c.execute("select set_config('worka.tenant', %s, true)", (row["asker"],))
        return await s.engine_runs(c, [a.queued])


async def _silent(c: Any, a: SimpleNamespace) -> None:
    await c.execute("update worka.task set since = now() - interval '1 hour' where id = %s", (a.queued,))


async def _rejected(c: Any, a: SimpleNamespace) -> None:
    await c.execute(
        "insert into worka.approval_vote (tenant_id, approval_id, person_id, decision) select tenant_id, id, 'per_no', 'reject'"
        " from worka.approval where id = %s",
        (a.agreed,),
    )


async def _ahead(c: Any, a: SimpleNamespace) -> None:
    await c.execute("update worka.task set since = now() + interval '1 hour' where id = %s", (a.queued,))


async def _paused(c: Any, a: SimpleNamespace) -> None:
    await c.execute(
        "update worka.task set state = 'retrying', reason = 'retrying', next_try = now() - interval '1 s' where id = %s",
        (a.queued,),
    )


async def _older(c: Any, a: SimpleNamespace) -> None:
    await c.execute("update worka.task set since = now() - interval '1 hour' where id = %s", (a.queued,))
