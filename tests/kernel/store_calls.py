"""How each store function is called on the rows of `filled.py`. A store function that is missing here fails the test.

- `reads`: its own tenant gets an answer, another tenant gets nothing.
- `writes`: its own tenant changes a row, another tenant changes nothing and is told so, or told nothing.
- `refused`: what it writes names its tenant; under another one the database refuses it.
- `deployment`: not a tenant's at all, by decision; says why that is right, and which columns an answer may have at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from tests.kernel.filled import DAY, DIGEST, TRACE, hmac, rows
from worka.broker.records.model import Filter
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
FACTOR = "a person's second factor is of the deployment, as the person is; sealed, and reached by identity's use cases"
PERSON = "people belong to the deployment (decisions.md 16); a tenant's doors show those of its memberships only"
DOCTOR = (
    "the doctor looks at the deployment: roles, versions, ids of keys, a time, public certificates; no tenant's row"
)
DEPLOYMENT_POLICY = "the deployment's own policy is no tenant's: every decision of every tenant reads it"
TENANTS = "the operator sees which tenants there are: ids only"
DEPLOYMENT_LIMIT = "what the deployment gives each tenant is no tenant's: every one of them reads what it is held to"
MASTER = "the deployment's master key and its seal are its operator's: ids of tenants, and counts of keys"
REAPER = "work across tenants claims ids only, then sets the tenant"


async def _lease_again(store: Any, conn: Any, a: SimpleNamespace) -> bool:
    sealed, asked = {"nonce": b"n", "ciphertext": b"c"}, {**rows(a)["lease"], "id": new_id("lease")}
    return await store.lease_again(conn, {}, 0, b"{}", b"mac", lease=asked, sealed=sealed, said="{}", seconds=60)


async def _rest(store: Any, conn: Any, a: SimpleNamespace) -> None:
    await store.move_release(conn, a.release, "failed", "build_failed", failed_stage="draft")
    await store.rest(conn, a.release, {"code": "build_failed", "rests": "r"})


async def _standing(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    found = await store.standing(conn, a.ws, "team_member", a.member)
    return {key: value for key, value in found.items() if key not in ("in_force", "versions")}


async def _in_force(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """What of it is a tenant's: its versions and its kill switches. The deployment's part is everybody's."""
    holds = await store.in_force(conn, a.ws)
    return {"versions": holds.access.tenant or holds.governance.tenant, "kills": list(holds.kills)}


async def _sealed_things(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """Counts: nothing of it where nothing is."""
    found = await store.sealed_things(conn)
    return {what: number for what, number in found.items() if number} or None


async def _ending(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.secret set expires_at = clock_timestamp() where id = %s", (a.secret,))
    return await store.ending(conn, a.ws, timedelta(days=1))


async def _taken_back(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled grant lives: here a person took it back."""
    await conn.execute("update worka.secret_grant set revoked_at = clock_timestamp() where id = %s", (a.grant,))
    return await store.taken_back(conn, a.attached, "example.org:443") or None


async def _leases_over(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled grant lives: here it is over, and the lease with it."""
    await conn.execute("update worka.secret_grant set revoked_at = clock_timestamp() where id = %s", (a.grant,))
    return await store.leases_over(conn, [a.lease])


async def _due(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.connection set refresh_at = clock_timestamp() where id = %s", (a.connection,))
    return await store.due(conn, 1000)


async def _wanting(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled release declares no connection: here it does."""
    await conn.execute(
        'update worka.release set manifest = manifest || \'{"connections": [{"provider": "tracker"}]}\' where id = %s',
        (a.release,),
    )
    found = getattr(store, "wanting", None) or store.serving_in
    return await found(conn, a.ws)


async def _waiting_tasks(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled wait is for an approval: here it is for a connection."""
    await conn.execute("update worka.wait set kind = 'connection' where id = %s", (a.wait,))
    found = getattr(store, "waiting_tasks", None) or store.waiting_for_connections
    return await found(conn, a.ws)


async def _attached_tools(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled release was not probed: here it has a tool."""
    await conn.execute('update worka.release set tools = \'[{"name": "write"}]\' where id = %s', (a.release,))
    return await store.attached_tools(conn, a.ws)


async def _offered(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.release set state = 'released' where id = %s", (a.release,))
    return await store.releases_of(conn, "acme.notes")


async def _followed(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.attachment set mode = 'tracking' where id = %s", (a.attached,))
    return await store.followers(conn, "acme.notes")


async def _paused(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled release did not fail: here it did."""
    await conn.execute(
        "update worka.release set state = 'failed', next_try = clock_timestamp() where id = %s", (a.release,)
    )
    return await store.pause_over(conn, a.release) or None


async def _wanted(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled publication failed: here it did not."""
    await conn.execute("update worka.publication set state = 'published' where id = %s", (a.publication,))
    return await store.want_signatures(conn, a.release, DIGEST)


async def _taken(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute(
        "update worka.publication set signatures_next = clock_timestamp() where id = %s", (a.publication,)
    )
    return await store.take_signatures(conn, a.publication, 5) or None


async def _arrived(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.attachment_move set state = 'moved' where id = %s", (a.move,))
    return await store.arrival(conn, a.attached, a.release)


async def _another_move(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    # One at a time: the one that is under way ends first.
    await conn.execute("update worka.attachment_move set ended_at = clock_timestamp() where id = %s", (a.move,))
    return await store.insert_move(conn, new(a, "move"))


async def _lacking(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.attachment set state = 'awaiting_dependency' where id = %s", (a.waiting,))
    return await store.awaiting_dependency(conn, a.ws)


async def _begun(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await store.move_release(conn, a.release, "released", "release_in_service")
    return await store.insert_invocation(conn, new(a, "running"))


async def _released(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """Nor was it released."""
    await conn.execute("update worka.release set state = 'released' where id = %s", (a.release,))
    return await store.releases_with_packages(conn, None, 50)


async def _proposed(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.finding set approval_id = %s where id = %s", (a.asked, a.finding))
    return await store.findings_of_approval(conn, a.asked)


async def _newest(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute("update worka.release set state = 'released' where id = %s", (a.release,))
    return await store.newest_like(conn, a.release)


async def _stale(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """The filled release is public and attached: here it is neither."""
    await conn.execute("update worka.listing set visibility = 'private' where release_id = %s", (a.release,))
    await conn.execute("update worka.attachment set state = 'detached' where release_id = %s", (a.release,))
    return await store.stale_private(conn, a.ws, None, 50, 0)


async def _unreviewed(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    """It was reviewed: here there is another artifact of it, and it is released."""
    await conn.execute("update worka.release set state = 'released' where id = %s", (a.release,))
    await conn.execute(
        "insert into worka.artifact (tenant_id, id, workspace_id, release_id, source_id, digest, size, layers, contents)"
        " select tenant_id, id || 'x', workspace_id, release_id, source_id, 'sha256:cd', size, layers, contents"
        " from worka.artifact where id = %s",
        (a.artifact,),
    )
    return await store.unreviewed(conn, a.ws, None, 50)


async def _changed_again(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    return await store.add(conn, {**rows(a)["egress_policy"], "version": 2})


async def _proposed_again(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    # One at a time for one difference.
    return await store.add(conn, new(a, "proposed", digest=new_id("x")))


async def _accepted(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute(
        "update worka.egress_proposal set state = 'accepted', reason = 'made_into_release', made_release = %s where id = %s",
        (a.release, a.proposed),
    )
    return await store.accepted_of(conn, a.attached)


async def _made_of(store: Any, conn: Any, a: SimpleNamespace) -> Any:
    await conn.execute(
        "update worka.egress_proposal set state = 'accepted', made_release = %s where id = %s", (a.release, a.proposed)
    )
    return await store.made_of(conn, a.release)


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
    "approvals.successor": reads(lambda s, c, a: s.successor(c, {**rows(a)["asked"], "id": ""})),
    "approvals.predecessor": reads(lambda s, c, a: s.predecessor(c, {**rows(a)["asked"], "id": "apr_z"})),
    "approvals.set_reason": writes(lambda s, c, a: s.set_reason(c, a.asked, "nobody_can_decide")),
    "approvals.consume": writes(lambda s, c, a: s.consume(c, a.agreed, "key")),
    "approvals.see": refused(lambda s, c, a: s.see(c, a.tenant, a.asked, new_id("per"))),
    "approvals.standing": reads(lambda s, c, a: _groups_and_delegations(s.standing(c, a.ws, a.at - timedelta(minutes=1)))),
    "approvals.lock_people": deployment(LOCK, lambda s, c, a: s.lock_people(c, a.ws)),
    "approvals.add_group": refused(lambda s, c, a: s.add_group(c, new(a, "group", name=new_id("x")))),
    "approvals.group": reads(lambda s, c, a: s.group(c, a.group)),
    "approvals.groups": reads(lambda s, c, a: s.groups(c, a.ws, None, 50)),
    "approvals.set_purpose": writes(lambda s, c, a: s.set_purpose(c, a.group, "another")),
    "approvals.join_group": refused(lambda s, c, a: s.join_group(c, a.tenant, a.group, new_id("per"), a.person)),
    "approvals.leave_group": writes(lambda s, c, a: s.leave_group(c, a.group, a.person)),
    "approvals.groups_of_person": reads(lambda s, c, a: s.groups_of_person(c, a.ws, a.person)),
    "approvals.remove_group": writes(lambda s, c, a: s.remove_group(c, a.group)),
    "approvals.waiting": reads(lambda s, c, a: s.waiting(c, a.ws, 50)),
    "approvals.add_delegation": refused(lambda s, c, a: s.add_delegation(c, new(a, "delegation"))),
    "approvals.delegation": reads(lambda s, c, a: s.delegation(c, a.delegation)),
    "approvals.delegations": reads(lambda s, c, a: s.delegations(c, a.ws, None, None, 50)),
    "approvals.end_delegation": writes(
        lambda s, c, a: s.end_delegation(c, a.delegation, a.person, a.at - timedelta(minutes=1))
    ),
    "approvals.settings": reads(lambda s, c, a: s.settings(c, a.ws)),
    "approvals.put_settings": refused(lambda s, c, a: s.put_settings(c, new(a, "approval_settings"))),
    "approvals.due": deployment(REAPER, lambda s, c, a: s.due(c, 5), "tenant_id", "approval_id"),
    "approvals.look_again": writes(lambda s, c, a: s.look_again(c, a.ws, a.at)),
    "approvals.schedule": writes(lambda s, c, a: s.schedule(c, a.asked, None)),
    "approvals.mark_reminded": writes(lambda s, c, a: s.mark_reminded(c, a.asked)),
    "approvals.mark_escalated": writes(lambda s, c, a: s.mark_escalated(c, a.asked, "owners")),
    "approvals.send_later": refused(lambda s, c, a: s.send_later(c, new(a, "word"))),
    "approvals.add_bypass": refused(lambda s, c, a: s.add_bypass(c, new(a, "bypass"))),
    "approvals.bypass": reads(lambda s, c, a: s.bypass(c, a.bypass)),
    "approvals.bypasses": reads(lambda s, c, a: s.bypasses(c, a.ws, None, None, 50)),
    "approvals.move_bypass": writes(
        lambda s, c, a: s.move_bypass(c, a.bypass, "open", "closed", "bypass_closed", a.person)
    ),
    "approvals.bypasses_for": reads(
        lambda s, c, a: s.bypasses_for(c, a.ws, [("boundary", "pack.attach")], a.at - timedelta(minutes=1))
    ),
    "approvals.bypasses_of": reads(lambda s, c, a: s.bypasses_of(c, a.ws, a.person, a.at - timedelta(minutes=1))),
    "approvals.take_bypass": writes(
        lambda s, c, a: s.take_bypass(c, a.ws, [("boundary", "pack.attach")], a.at - timedelta(minutes=1))
    ),
    "approvals.mark_bypassed": writes(lambda s, c, a: s.mark_bypassed(c, a.asked, a.bypass)),
    "approvals.votes_between": reads(
        lambda s, c, a: s.votes_between(c, a.ws, a.at - timedelta(days=2), a.person, 50)
    ),
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
    "authorization.standing": reads(_standing),
    "authorization.in_force": reads(_in_force),
    "authorization.declared": reads(lambda s, c, a: s.declared(c, a.attached, a.ws)),
    "authorization.principals": reads(lambda s, c, a: s.principals(c, a.ws, None, 50, None)),
    "authorization.policy": reads(lambda s, c, a: s.policy(c, "access", 1)),
    # broker
    "broker.attachment": reads(lambda s, c, a: s.attachment(c, a.attached)),
    "broker.invocation": reads(lambda s, c, a: s.invocation(c, a.running)),
    "broker.connections": reads(lambda s, c, a: s.connections(c, a.ws)),
    "broker.live_exceptions": reads(lambda s, c, a: s.live_exceptions(c, a.ws)),
    "broker.exceptions_page": reads(lambda s, c, a: s.exceptions_page(c, a.ws, None, 50)),
    "broker.exception": reads(lambda s, c, a: s.exception(c, a.exception)),
    "broker.insert_exception": refused(lambda s, c, a: s.insert_exception(c, a.tenant, new(a, "exception"))),
    "broker.remove_exception": writes(lambda s, c, a: s.remove_exception(c, a.exception)),
    "broker.insert_egress": refused(lambda s, c, a: s.insert_egress(c, a.tenant, new(a, "egress"))),
    "broker.take_back_egress": writes(lambda s, c, a: s.take_back_egress(c, a.egress, "egress_not_recorded", alone=True)),
    "broker.repeat_egress": writes(lambda s, c, a: s.repeat_egress(c, a.egress, 1, "/x", None)),
    "broker.finish_egress": writes(
        lambda s, c, a: s.finish_egress(
            c, a.egress, {"status": 200, "reason": "allowed", "bytes_out": 1, "bytes_in": 1, "duration_ms": 1.0}
        )
    ),
    "broker.trusts_page": reads(lambda s, c, a: s.trusts_page(c, a.ws, None, 50)),
    "broker.trust": reads(lambda s, c, a: s.trust(c, a.trust)),
    "broker.insert_trust": refused(lambda s, c, a: s.insert_trust(c, a.tenant, new(a, "trust", name="other.example"))),
    "broker.remove_trust": writes(lambda s, c, a: s.remove_trust(c, a.trust)),
    "broker.live_trusts": reads(lambda s, c, a: s.live_trusts(c, a.ws, a.attached)),
    "broker.add_use": refused(lambda s, c, a: s.add_use(c, a.tenant, a.attached, DAY, 1, 1, 1)),
    "broker.carry_on": refused(
        lambda s, c, a: s.carry_on(
            c, a.tenant, a.attached, DAY, a.egress,
            {"times": 1, "path": "/x", "address": None, "requests": 1, "status": 200, "reason": "allowed", "bytes_out": 1,
             "bytes_in": 1, "duration_ms": 1.0},
        )
    ),
    "broker.again": refused(
        lambda s, c, a: s.again(
            c, a.tenant, a.attached, DAY, a.egress,
            {"times": 1, "path": "/x", "requests": 1, "status": 200, "reason": "allowed", "bytes_out": 1, "bytes_in": 1,
             "duration_ms": 1.0},
        )
    ),
    "broker.use": reads(lambda s, c, a: s.use(c, a.attached, DAY)),
    "broker.leases_over": reads(lambda s, c, a: _leases_over(s, c, a)),
    "broker.egress_of": reads(lambda s, c, a: s.egress_of(c, a.running)),
    "broker.add_lines": writes(
        lambda s, c, a: s.add_lines(c, a.tenant, a.ws, [{"egress_id": a.egress, "at": datetime.now(UTC), "reason": "r", "text": "t"}])
    ),
    "broker.lines_of": reads(lambda s, c, a: s.lines_of(c, a.egress)),
    "broker.lines_of_call": reads(lambda s, c, a: s.lines_of_call(c, a.running)),
    "broker.egress": reads(lambda s, c, a: s.egress(c, a.egress)),
    "broker.asked.carried": reads(lambda s, c, a: s.carried(c, a.ws, "example.org", 443)),
    "broker.asked.add": refused(lambda s, c, a: s.add(c, new(a, "way_change"))),
    "broker.asked.set_approval": writes(lambda s, c, a: s.set_approval(c, a.way_change, a.asked)),
    "broker.asked.get": reads(lambda s, c, a: s.get(c, a.way_change, lock=True)),
    "broker.asked.page": reads(lambda s, c, a: s.page(c, a.ws, None, 5)),
    "broker.asked.open_for": reads(
        lambda s, c, a: s.open_for(c, a.ws, "tracker.example", 443)
    ),
    "broker.asked.end": writes(lambda s, c, a: s.end(c, a.way_change, "way_rejected")),
    "broker.policy.lock": deployment(LOCK, lambda s, c, a: s.lock(c, a.tenant)),
    "broker.policy.in_force": reads(lambda s, c, a: s.in_force(c, a.ws)),
    "broker.policy.newest": reads(lambda s, c, a: s.newest(c, a.ws)),
    "broker.policy.versions": reads(lambda s, c, a: s.versions(c, a.ws, None, 5)),
    "broker.policy.add": refused(_changed_again),
    "broker.policy.add_change": refused(lambda s, c, a: s.add_change(c, new(a, "egress_change"))),
    "broker.policy.set_approval": writes(lambda s, c, a: s.set_approval(c, a.egress_change, a.asked)),
    "broker.policy.change": reads(lambda s, c, a: s.change(c, a.egress_change, lock=True)),
    "broker.policy.changes": reads(lambda s, c, a: s.changes(c, a.ws, None, 5)),
    "broker.policy.open_changes": reads(lambda s, c, a: s.open_changes(c, a.ws)),
    "broker.policy.close_change": writes(lambda s, c, a: s.close_change(c, a.egress_change, "rejected")),
    "broker.records.page": reads(lambda s, c, a: s.page(c, [a.ws], Filter(host="example.org"), None, 5)),
    "broker.records.one": reads(lambda s, c, a: s.one(c, a.egress)),
    "broker.records.counts": reads(lambda s, c, a: s.counts(c, [a.ws], Filter(), "credential", 5)),
    "broker.records.followed": reads(lambda s, c, a: s.followed(c, a.ws, Filter(), "0", 5)),
    "broker.records.held_back": reads(lambda s, c, a: s.held_back(c, a.ws, "0")),
    "broker.records.recorded": reads(lambda s, c, a: s.recorded(c, [a.ws], Filter(), None, 5)),
    "broker.records.manifests": reads(lambda s, c, a: s.manifests(c, [a.release])),
    "broker.records.serving": reads(lambda s, c, a: s.serving(c, [a.ws])),
    "broker.records.attachment": reads(lambda s, c, a: s.attachment(c, a.attached)),
    "broker.records.connections": reads(lambda s, c, a: s.connections(c, [a.ws])),
    "broker.records.grants": reads(lambda s, c, a: s.grants(c, [a.attached])),
    "broker.records.used": reads(lambda s, c, a: s.used(c, [a.ws], a.at - timedelta(days=9))),
    "broker.records.people_of": reads(
        lambda s, c, a: s.people_of(c, [a.ws], "example.org", 443, a.at - timedelta(days=9))
    ),
    "broker.platform_rules": reads(lambda s, c, a: s.platform_rules(c, "webhook", a.hook)),
    "broker.add_platform_rule": refused(lambda s, c, a: s.add_platform_rule(c, new(a, "rule", subject_id=new_id("whk")))),
    "broker.end_platform_rules": writes(lambda s, c, a: s.end_platform_rules(c, "webhook", a.hook)),
    # notifications
    "notifications.lock_webhooks": deployment(LOCK, lambda s, c, a: s.lock_webhooks(c, a.ws)),
    "notifications.add_webhook": refused(lambda s, c, a: s.add_webhook(c, new(a, "hook"))),
    "notifications.webhook": reads(lambda s, c, a: s.webhook(c, a.hook, lock=True)),
    "notifications.webhooks": reads(lambda s, c, a: s.webhooks(c, a.ws, None, 50)),
    "notifications.change_webhook": writes(lambda s, c, a: s.change_webhook(c, a.hook, ["approval.*"], "d")),
    "notifications.webhooks_kept": reads(lambda s, c, a: s.webhooks_kept(c, a.ws, a.person)),
    "notifications.move_webhook": writes(
        lambda s, c, a: s.move_webhook(c, a.hook, "active", "paused", "webhook_paused")
    ),
    "notifications.set_failing": writes(lambda s, c, a: s.set_failing(c, a.hook, True)),
    "notifications.add_secret": refused(lambda s, c, a: s.add_secret(c, new(a, "hook_secret"))),
    "notifications.expire_secrets": writes(lambda s, c, a: s.expire_secrets(c, a.hook, 24)),
    "notifications.secrets": reads(lambda s, c, a: s.secrets(c, a.hook)),
    "notifications.drop_secrets": writes(lambda s, c, a: s.drop_secrets(c, a.hook)),
    "notifications.outbox_due": deployment(REAPER, lambda s, c, a: s.outbox_due(c, 5), "tenant_id", "outbox_id"),
    "notifications.take_message": reads(lambda s, c, a: s.take_message(c, a.word)),
    "notifications.message_done": writes(lambda s, c, a: s.message_done(c, a.word)),
    "notifications.message_later": writes(lambda s, c, a: s.message_later(c, a.word, "why", timedelta(hours=1))),
    "notifications.waiting": reads(lambda s, c, a: s.waiting(c, a.hook, 10)),
    "notifications.add_delivery": refused(lambda s, c, a: s.add_delivery(c, new(a, "sending", cause=new_id("out")))),
    "notifications.deliveries_due": deployment(
        REAPER, lambda s, c, a: s.deliveries_due(c, 5, 5, 2, 5), "tenant_id", "delivery_id", "channel"
    ),
    "notifications.claim": writes(lambda s, c, a: s.claim(c, a.sending, 60)),
    "notifications.add_attempt": refused(lambda s, c, a: s.add_attempt(c, new(a, "attempt", number=7))),
    "notifications.settle": writes(
        lambda s, c, a: s.settle(c, a.sending, 0, "sent", "delivery_accepted", 200, None)
    ),
    "notifications.give_back": writes(lambda s, c, a: s.give_back(c, a.sending, 0, 5)),
    "notifications.set_aside": writes(lambda s, c, a: s.set_aside(c, a.sending, 60)),
    "notifications.skip_waiting": writes(lambda s, c, a: s.skip_waiting(c, a.hook, "delivery_webhook_off")),
    "notifications.delivery": reads(lambda s, c, a: s.delivery(c, a.sending)),
    "notifications.attempts": reads(lambda s, c, a: s.attempts(c, a.sending)),
    "notifications.deliveries": reads(lambda s, c, a: s.deliveries(c, a.hook, None, 50)),
    "notifications.deliveries_between": reads(
        lambda s, c, a: s.deliveries_between(c, a.hook, a.at - timedelta(days=1), a.at, 50)
    ),
    "notifications.told_of": reads(lambda s, c, a: s.told_of(c, a.asked)),
    "notifications.without_mail": reads(lambda s, c, a: s.without_mail(c)),
    "notifications.choice": reads(lambda s, c, a: s.choice(c, a.person)),
    "notifications.choose": refused(lambda s, c, a: s.choose(c, a.tenant, new_id("per"), True)),
    # connections
    "connections.add": refused(lambda s, c, a: s.add(c, new(a, "connection"))),
    "connections.set_approval": writes(lambda s, c, a: s.set_approval(c, a.connection, a.asked)),
    "connections.move": writes(lambda s, c, a: s.move(c, a.connection, "broken", "connection_secret_revoked")),
    "connections.get": reads(lambda s, c, a: s.get(c, a.connection, lock=True)),
    "connections.listed": reads(lambda s, c, a: s.listed(c, a.ws, None, 50)),
    "connections.living": reads(lambda s, c, a: s.living(c, a.ws)),
    "connections.of_secret": reads(lambda s, c, a: s.of_secret(c, a.secret)),
    "connections.of_person": reads(lambda s, c, a: s.of_person(c, a.ws, a.person)),
    "connections.of_client": reads(lambda s, c, a: s.of_client(c, a.client)),
    "connections.same_way": reads(lambda s, c, a: s.same_way(c, new(a, "connection"))),
    "connections.waiting_attachments": reads(lambda s, c, a: s.waiting_attachments(c, a.ws)),
    "connections.keep": writes(
        lambda s, c, a: s.keep(
            c,
            a.connection,
            {
                "secret_id": a.secret, "refresh_secret_id": None, "granted": ["read"], "account": {}, "expires_at": a.at,
                "refresh_at": a.at,
            },
        )
    ),
    "connections.claim": writes(lambda s, c, a: s.claim(c, a.connection, "claim_1", 60)),
    "connections.again": writes(lambda s, c, a: s.again(c, a.connection, timedelta(1), {"code": "x"}, open_=True)),
    "connections.refused": writes(lambda s, c, a: s.refused(c, a.connection, {"code": "x"}, renew=True)),
    "connections.set_problem": writes(lambda s, c, a: s.set_problem(c, a.connection, {"code": "x"})),
    "connections.no_more": writes(lambda s, c, a: s.no_more(c, a.connection, {"code": "x"})),
    "connections.renew_at": writes(lambda s, c, a: s.renew_at(c, a.connection, a.at)),
    "connections.set_warned": writes(lambda s, c, a: s.set_warned(c, a.connection, "soon")),
    "connections.set_receipt": writes(lambda s, c, a: s.set_receipt(c, a.connection, {"x": 1}, timedelta(1), 1)),
    "connections.due": deployment(REAPER, lambda s, c, a: _due(s, c, a), "tenant_id", "what", "id"),
    "connections.add_client": refused(lambda s, c, a: s.add_client(c, new(a, "client", provider="other"))),
    "connections.client": reads(lambda s, c, a: s.client(c, a.client, lock=True)),
    "connections.client_of": reads(lambda s, c, a: s.client_of(c, a.ws, "tracker")),
    "connections.clients": reads(lambda s, c, a: s.clients(c, a.ws)),
    "connections.end_client": writes(lambda s, c, a: s.end_client(c, a.client)),
    "connections.add_flow": refused(lambda s, c, a: s.add_flow(c, new(a, "flow"))),
    "connections.flow": reads(lambda s, c, a: s.flow(c, a.flow, lock=True)),
    "connections.open_flow": reads(lambda s, c, a: s.open_flow(c, a.connection)),
    "connections.use_flow": writes(lambda s, c, a: s.use_flow(c, a.flow)),
    "connections.asking": writes(lambda s, c, a: s.asking(c, a.flow, 90)),
    "connections.not_yet": writes(lambda s, c, a: s.not_yet(c, a.flow, 9)),
    "connections.poll_later": writes(lambda s, c, a: s.poll_later(c, a.flow, 9)),
    "connections.end_flow": writes(lambda s, c, a: s.end_flow(c, a.flow, "over")),
    "connections.end_flows": writes(lambda s, c, a: s.end_flows(c, a.connection, "over")),
    "connections.wanting": reads(lambda s, c, a: _wanting(s, c, a)),
    "connections.waiting_tasks": reads(lambda s, c, a: _waiting_tasks(s, c, a)),
    "connections.requests_of": reads(lambda s, c, a: s.requests_of(c, a.connection, 30)),
    "connections.calls_of": reads(lambda s, c, a: s.calls_of(c, a.connection, 10)),
    "connections.standing": reads(lambda s, c, a: s.standing(c, new(a, "connection"))),
    "connections.restriction": reads(lambda s, c, a: s.restriction(c)),
    "connections.restrict": refused(lambda s, c, a: s.restrict(c, rows(a)["restriction"])),
    "connections.active_of": reads(lambda s, c, a: s.active_of(c)),
    "connections.lock_places": deployment(LOCK, lambda s, c, a: s.lock_places(c, a.ws)),
    "connections.exceptions_to": reads(lambda s, c, a: s.exceptions_to(c, a.ws, [("tracker.example", 443)])),
    "connections.trusts_in": reads(lambda s, c, a: s.trusts_in(c, a.ws, [("tracker.example", 443)])),
    "connections.names": reads(lambda s, c, a: s.names(c, [a.person])),
    # governance
    "governance.add_decision": refused(lambda s, c, a: s.add_decision(c, new(a, "decision"))),
    "governance.decisions": reads(lambda s, c, a: s.decisions(c, a.ws, after=None, limit=50)),
    "governance.decision": reads(lambda s, c, a: s.decision(c, a.decision)),
    "governance.acts": reads(lambda s, c, a: s.acts(c, a.ws, DAY - timedelta(days=400), 50)),
    "governance.add_policy": refused(lambda s, c, a: s.add_policy(c, new(a, "policy", version=2))),
    "governance.policies": reads(lambda s, c, a: s.policies(c, None, 50)),
    "governance.newest_policy": reads(lambda s, c, a: s.newest_policy(c, "access", "")),
    "governance.deployment_policies": deployment(
        DEPLOYMENT_POLICY, lambda s, c, a: s.deployment_policies(c, 50, None), "kind", "scope", "version", "note",
        "owner_person_id", "created_by", "created_at", "approved_by",
    ),
    "governance.add_deployment_policy": deployment(
        DEPLOYMENT_POLICY, lambda s, c, a: s.add_deployment_policy(c, "access", 0, "", "n", "per_x"),
    ),
    "governance.decisions_between": reads(
        lambda s, c, a: s.decisions_between(c, None, a.at - timedelta(days=1), a.at, None, 50)
    ),
    "governance.add_proposal": refused(lambda s, c, a: s.add_proposal(c, new(a, "proposal"))),
    "governance.set_proposal_approval": writes(lambda s, c, a: s.set_proposal_approval(c, a.proposal, a.asked)),
    "governance.proposal": reads(lambda s, c, a: s.proposal(c, a.proposal)),
    "governance.proposals": reads(lambda s, c, a: s.proposals(c, a.ws, None, 50)),
    "governance.open_proposals": reads(lambda s, c, a: s.open_proposals(c, "access", "")),
    "governance.close_proposal": writes(lambda s, c, a: s.close_proposal(c, a.proposal, "rejected")),
    "governance.lock_place": deployment(LOCK, lambda s, c, a: s.lock_place(c, a.tenant, "access", "")),
    "governance.add_glass": refused(lambda s, c, a: s.add_glass(c, new(a, "glass", scope="ws_x"))),
    "governance.end_glass": writes(lambda s, c, a: s.end_glass(c, "ws_other", "test")),
    "governance.open_glass": reads(lambda s, c, a: s.open_glass(c)),
    "governance.calls_of": reads(lambda s, c, a: s.calls_of(c, a.ws, [a.running])),
    "governance.kills_on": reads(lambda s, c, a: s.kills_on(c)),
    "governance.kill": reads(lambda s, c, a: s.kill(c, a.kill, lock=True)),
    "governance.kills": reads(lambda s, c, a: s.kills(c, a.ws, None, 50)),
    "governance.add_kill": refused(lambda s, c, a: s.add_kill(c, new(a, "kill", subject="rel_other"))),
    "governance.move_kill": writes(lambda s, c, a: s.move_kill(c, a.kill, "trial", [a.ws], a.person, "r")),
    "governance.touched_attachments": reads(
        lambda s, c, a: s.touched_attachments(c, "workspace", a.ws, None)
    ),
    "governance.touched_tasks": reads(lambda s, c, a: s.touched_tasks(c, "workspace", a.ws, None, [])),
    "governance.hanging": reads(lambda s, c, a: s.hanging(c, a.person, None)),
    "governance.webhooks_of": reads(lambda s, c, a: s.webhooks_of(c, a.ws)),
    "governance.touched_calls": reads(lambda s, c, a: s.touched_calls(c, "member", a.person, None, [])),
    "governance.stopped_calls": reads(lambda s, c, a: s.stopped_calls(c, "tenant", a.tenant, None)),
    "governance.recorded_calls": reads(
        lambda s, c, a: s.recorded_calls(c, "release", a.release, None, a.at - timedelta(days=1), 5)
    ),
    "governance.withdrawable": reads(lambda s, c, a: s.withdrawable(c, "secret", a.secret)),
    "governance.recorded_members": reads(lambda s, c, a: s.recorded_members(c, a.ws)),
    "governance.stoppable": reads(lambda s, c, a: s.stoppable(c, "release", a.release)),
    "governance.stopped": reads(lambda s, c, a: s.stopped(c, "release", a.release, a.ws)),
    "governance.exemptible": reads(lambda s, c, a: s.exemptible(c, [a.ws, a.person], a.ws)),
    # identity
    "identity.credential": deployment(
        SIGN_IN, lambda s, c, a: s.credential(c, hmac(a.token), "requests_per_minute"),
        "kind", "credential_id", "principal_kind", "principal_id", "tenant_id", "workspace_id", "expires_at",
        "issued_by", "person", "memberships", "stepped_up_at", "stepped_up_by", "limits",
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
    "identity.invitations": refused(lambda s, c, a: s.invitations(c, a.tenant, a.ws)),
    "identity.withdraw_invitations": refused(lambda s, c, a: s.withdraw_invitations(c, a.tenant, a.ws, None, None)),
    "identity.renew_invitation": refused(
        lambda s, c, a: s.renew_invitation(c, a.tenant, a.ws, a.link, new_id("x").encode(), a.at, a.person)
    ),
    "identity.take_try": deployment(SIGN_IN, lambda s, c, a: s.take_try(c, new_id("x").encode(), 1, 60)),
    "identity.known_place": deployment(SIGN_IN, lambda s, c, a: s.known_place(c, b"x")),
    "identity.went_well": deployment(SIGN_IN, lambda s, c, a: s.went_well(c, b"x", b"y", [b"z"])),
    "identity.one_time_exists": deployment(SIGN_IN, lambda s, c, a: s.one_time_exists(c, "setup")),
    "identity.give_back_try": deployment(SIGN_IN, lambda s, c, a: s.give_back_try(c, b"x")),
    "identity.second_factor": deployment(
        FACTOR, lambda s, c, a: s.second_factor(c, a.person),
        "secret_sealed", "since", "last_step", "pending_sealed", "pending_until", "recovery_left",
    ),
    "identity.with_second_factor": deployment(
        FACTOR, lambda s, c, a: s.with_second_factor(c, [a.person]),
    ),
    "identity.begin_second_factor": deployment(FACTOR, lambda s, c, a: s.begin_second_factor(c, a.person, b"x", a.at)),
    "identity.confirm_second_factor": deployment(
        FACTOR, lambda s, c, a: s.confirm_second_factor(c, a.person, b"z", 1, [b"y"])
    ),
    "identity.use_step": deployment(FACTOR, lambda s, c, a: s.use_step(c, a.person, b"x", 1)),
    "identity.use_recovery_code": deployment(FACTOR, lambda s, c, a: s.use_recovery_code(c, a.person, b"y")),
    "identity.renew_recovery_codes": deployment(
        FACTOR, lambda s, c, a: s.renew_recovery_codes(c, a.person, [new_id("x").encode()])
    ),
    "identity.end_second_factor": deployment(FACTOR, lambda s, c, a: s.end_second_factor(c, a.person)),
    "identity.step_up_session": deployment(
        FACTOR, lambda s, c, a: s.step_up_session(c, new_id("ses"), a.person, a.at, "totp")
    ),
    "identity.revoke_sessions": deployment(FACTOR, lambda s, c, a: s.revoke_sessions(c, new_id("per"))),
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
    "identity.service_account": reads(lambda s, c, a: s.service_account(c, a.account)),
    "identity.service_accounts": reads(lambda s, c, a: s.service_accounts(c, a.ws, None, 50)),
    "identity.create_service_account": refused(
        lambda s, c, a: s.create_service_account(c, new(a, "account", name=new_id("n")))
    ),
    "identity.end_service_account": writes(lambda s, c, a: s.end_service_account(c, a.account)),
    "identity.create_api_token": refused(
        lambda s, c, a: s.create_api_token(c, new(a, "api_token", token_hmac=new_id("x").encode()))
    ),
    "identity.api_token": reads(lambda s, c, a: s.api_token(c, a.token)),
    "identity.api_tokens": reads(lambda s, c, a: s.api_tokens(c, a.ws, None, 50)),
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
    "observability.secrets_ending": deployment(
        "the doctor names what ends, to whoever may read the deployment's database; never a value",
        lambda s, c, a: s.secrets_ending(c), "tenant_id", "name", "ends_at",
    ),
    "observability.destinations_since": deployment(
        DOCTOR, lambda s, c, a: s.destinations_since(c, datetime(2020, 1, 1, tzinfo=UTC), 50),
        "host", "port", "address", "platform", "tenants", "requests", "last_at",
    ),
    "observability.authorities": deployment(DOCTOR, lambda s, c, a: s.authorities(c), "name", "port", "ca_pem"),
    # packs
    "packs.calls_begun": reads(lambda s, c, a: s.calls_begun(c, 3600)),
    "packs.exposures": reads(lambda s, c, a: s.exposures(c, 24)),
    "packs.oldest_call": reads(lambda s, c, a: _less(s.oldest_call(c, 3600, a.ws, None), 3600.0)),
    "packs.attached_counted": reads(lambda s, c, a: s.attached_counted(c)),
    "packs.moving.releases_of": reads(_offered),
    "packs.moving.followers": reads(_followed),
    "packs.moving.recorded_calls": reads(
        lambda s, c, a: s.recorded_calls(c, a.ws, "acme.notes", ["write"], a.at - timedelta(days=9), None, 5)
    ),
    "packs.moving.insert_move": refused(_another_move),
    "packs.moving.move": reads(lambda s, c, a: s.move(c, a.move)),
    "packs.moving.move_for_update": reads(lambda s, c, a: s.move_for_update(c, a.move)),
    "packs.moving.open_moves": reads(lambda s, c, a: s.open_moves(c, a.ws)),
    "packs.moving.open_move": reads(lambda s, c, a: s.open_move(c, a.attached)),
    "packs.moving.moves_of": reads(lambda s, c, a: s.moves_of(c, a.attached, None, 5)),
    "packs.moving.arrival": reads(_arrived),
    "packs.moving.waiting_moves": reads(lambda s, c, a: s.waiting_moves(c, a.ws, "planned")),
    "packs.moving.set_state": writes(lambda s, c, a: s.set_state(c, a.move, "refused", "move_rejected")),
    "packs.moving.set_decision": writes(lambda s, c, a: s.set_decision(c, a.move, a.decision, None)),
    "packs.moving.enqueue_move": writes(lambda s, c, a: s.enqueue_move(c, a.tenant, a.move)),
    "packs.moving.moves_left": deployment(
        REAPER, lambda s, c, a: s.moves_left(c, timedelta(seconds=-60), 5), "tenant_id", "move_id"
    ),
    "packs.moving.still_left": reads(lambda s, c, a: s.still_left(c, a.move, timedelta(seconds=-60))),
    "packs.moving.to_release": writes(
        lambda s, c, a: s.to_release(c, a.attached, {"id": a.release, "digest": "another"}, [])
    ),
    "packs.moving.set_mode": writes(lambda s, c, a: s.set_mode(c, a.attached, "tracking", a.person, None)),
    "packs.moving.set_definitions": writes(lambda s, c, a: s.set_definitions(c, a.attached, {"write": {}}, None)),
    "packs.moving.attached_tools": reads(lambda s, c, a: s.attached_tools(c, a.ws, ["acme.notes"])),
    "packs.moving.awaiting_dependency": reads(_lacking),
    "packs.proposals.add": refused(_proposed_again),
    "packs.proposals.again": writes(lambda s, c, a: s.again(c, a.proposed, [a.egress])),
    "packs.proposals.lock_attachment": deployment(LOCK, lambda s, c, a: s.lock_attachment(c, a.attached)),
    "packs.proposals.newest": reads(lambda s, c, a: s.newest(c, a.attached, DIGEST)),
    "packs.proposals.get": reads(lambda s, c, a: s.get(c, a.proposed, lock=True)),
    "packs.proposals.page": reads(lambda s, c, a: s.page(c, a.ws, "open", a.attached, None, 5)),
    "packs.proposals.standing": reads(lambda s, c, a: s.standing(c, [a.proposed])),
    "packs.proposals.decide": writes(lambda s, c, a: s.decide(c, a.proposed, "rejected", "proposal_rejected")),
    "packs.proposals.accepted_of": reads(_accepted),
    "packs.proposals.made_of": reads(_made_of),
    "packs.proposals.set_move": writes(lambda s, c, a: s.set_move(c, a.proposed, a.move)),
    "packs.proposals.versions_of": reads(lambda s, c, a: s.versions_of(c, "acme", "notes")),
    "packs.proposals.requests_of": reads(lambda s, c, a: s.requests_of(c, a.attached, a.at - timedelta(days=9))),
    "packs.proposals.calls_of": reads(lambda s, c, a: s.calls_of(c, a.attached, a.at - timedelta(days=9))),
    "packs.proposals.grants_of": reads(lambda s, c, a: s.grants_of(c, a.attached, a.at - timedelta(days=9))),
    "packs.lifecycle.attachments_of": reads(lambda s, c, a: s.attachments_of(c, [a.attached])),
    "packs.lifecycle.secrets_of": reads(lambda s, c, a: s.secrets_of(c, [a.attached])),
    "packs.lifecycle.secrets_at": reads(lambda s, c, a: s.secrets_at(c, "example.org:443", [a.attached])),
    "packs.lifecycle.grants_of_secret": reads(
        lambda s, c, a: s.grants_of_secret(c, a.secret, a.at - timedelta(days=9))
    ),
    "packs.lifecycle.connections_at": reads(lambda s, c, a: s.connections_at(c, "example.org", 443)),
    "packs.lifecycle.connections_of_secret": reads(lambda s, c, a: s.connections_of_secret(c, a.secret)),
    "packs.lifecycle.lineage": reads(lambda s, c, a: s.lineage(c, a.ws, a.running)),
    "packs.lifecycle.places_of": reads(lambda s, c, a: s.places_of(c, "acme.notes")),
    "packs.lifecycle.users_of": reads(lambda s, c, a: s.users_of(c, "acme.notes", [a.ws], None, 50)),
    "packs.lifecycle.releases_of_pack": reads(lambda s, c, a: s.releases_of_pack(c, "acme.notes")),
    "packs.lifecycle.attachments_in_use": reads(lambda s, c, a: s.attachments_in_use(c, "pack", "acme.notes")),
    "packs.lifecycle.hanging_on": reads(
        lambda s, c, a: s.hanging_on(c, [{"id": a.attached, "pack": "acme.notes", "workspace_id": a.ws}])
    ),
    "packs.lifecycle.reached_by": reads(lambda s, c, a: s.reached_by(c, [a.attached], a.at - timedelta(days=2))),
    "packs.lifecycle.add_withdrawal": refused(lambda s, c, a: s.add_withdrawal(c, new(a, "withdrawn"))),
    "packs.lifecycle.withdrawals": reads(lambda s, c, a: s.withdrawals(c, a.ws, None, 50)),
    "packs.lifecycle.withdrawal": reads(lambda s, c, a: s.withdrawal(c, a.withdrawn)),
    "packs.lifecycle.last_withdrawal": reads(lambda s, c, a: s.last_withdrawal(c, [a.release])),
    "packs.lifecycle.withdrawal_of_release": reads(lambda s, c, a: s.withdrawal_of_release(c, a.release, "revoke")),
    "packs.lifecycle.lock_standing": deployment(LOCK, lambda s, c, a: s.lock_standing(c, a.tenant, "acme.notes")),
    "packs.lifecycle.standings": reads(lambda s, c, a: s.standings(c, ["acme.notes"])),
    "packs.lifecycle.standing": reads(lambda s, c, a: s.standing(c, "acme.notes")),
    "packs.lifecycle.set_standing": refused(
        lambda s, c, a: s.set_standing(c, a.tenant, "acme.notes", a.ws, "revoked", a.withdrawn)
    ),
    "packs.lifecycle.running_of": reads(lambda s, c, a: s.running_of(c, [a.attached])),
    "packs.lifecycle.enqueue_killing": refused(lambda s, c, a: s.enqueue_killing(c, a.tenant, new_id("kill"))),
    "packs.lifecycle.enqueue_ending": refused(lambda s, c, a: s.enqueue_ending(c, a.tenant, new_id("wdr"))),
    "packs.lifecycle.packs_of_tenant": reads(lambda s, c, a: s.packs_of_tenant(c)),
    "packs.lifecycle.attached_tools": reads(_attached_tools),
    "packs.lifecycle.awaiting_of_release": reads(lambda s, c, a: s.awaiting_of_release(c, a.release)),
    "packs.lifecycle.decided_of_release": reads(lambda s, c, a: s.decided_of_release(c, a.release)),
    "packs.lifecycle.failures": reads(lambda s, c, a: s.failures(c, a.ws, a.at - timedelta(days=2), None)),
    "packs.lifecycle.put_advisories": refused(
        lambda s, c, a: s.put_advisories(c, [{**rows(a)["advisory"], "id": "OSV-2"}])
    ),
    "packs.lifecycle.advisories": reads(lambda s, c, a: s.advisories(c, None, 50)),
    "packs.lifecycle.advisory": reads(lambda s, c, a: s.advisory(c, "OSV-1")),
    "packs.lifecycle.advisories_for": reads(
        lambda s, c, a: s.advisories_for(c, [{"ecosystem": "pypi", "package": "notes"}])
    ),
    "packs.lifecycle.releases_with_packages": reads(_released),
    "packs.lifecycle.findings_of_release": reads(lambda s, c, a: s.findings_of_release(c, a.release)),
    "packs.lifecycle.findings": reads(lambda s, c, a: s.findings(c, a.ws, None, 50)),
    "packs.lifecycle.add_finding": refused(
        lambda s, c, a: s.add_finding(c, new(a, "finding", package="other"))
    ),
    "packs.lifecycle.move_findings": writes(lambda s, c, a: s.move_findings(c, [a.finding], "proposed", a.asked)),
    "packs.lifecycle.findings_of_approval": reads(_proposed),
    "services.add_policy": refused(lambda s, c, a: s.add_policy(c, a.tenant, new(a, "service_policy", version=2))),
    "services.policy": reads(lambda s, c, a: s.policy(c, a.ws, "shop")),
    "services.policy_versions": reads(lambda s, c, a: s.policy_versions(c, a.ws, "shop", None, 10)),
    "packs.registry.add_source": refused(lambda s, c, a: s.add_source(c, new(a, "origin", contents="d"))),
    "packs.registry.source": reads(lambda s, c, a: s.source(c, a.release, "c")),
    "packs.registry.add_artifact": refused(lambda s, c, a: s.add_artifact(c, new(a, "artifact", digest="sha256:ef"))),
    "packs.registry.artifact_of": reads(lambda s, c, a: s.artifact_of(c, a.release)),
    "packs.registry.add_destination": refused(lambda s, c, a: s.add_destination(c, new(a, "destination", name="other"))),
    "packs.registry.destination": reads(lambda s, c, a: s.destination(c, a.destination)),
    "packs.registry.destinations": reads(lambda s, c, a: s.destinations(c, a.ws, None, 50)),
    "packs.registry.remove_destination": writes(lambda s, c, a: s.remove_destination(c, a.destination)),
    "packs.registry.add_publication": refused(lambda s, c, a: s.add_publication(c, new(a, "publication"))),
    "packs.registry.publication": reads(lambda s, c, a: s.publication(c, a.publication)),
    "packs.registry.publications": reads(lambda s, c, a: s.publications(c, a.ws, None, 50, None, None)),
    "packs.registry.move_publication": writes(
        lambda s, c, a: s.move_publication(c, a.publication, "queued", "publication_waiting", again=True)
    ),
    "packs.registry.enqueue_publication": refused(lambda s, c, a: s.enqueue_publication(c, a.tenant, a.publication, 7)),
    "packs.registry.want_signatures": writes(_wanted),
    "packs.registry.signatures_due": deployment(REAPER, lambda s, c, a: s.signatures_due(c, 5), "tenant_id", "id"),
    "packs.registry.take_signatures": writes(_taken),
    "packs.registry.settle_signatures": writes(
        lambda s, c, a: s.settle_signatures(
            c, {"id": a.publication, "signatures_next": None}, there=["h"], tries=1, error={"code": "x"}, pause=5.0
        )
    ),
    "packs.registry.listing_of": reads(lambda s, c, a: s.listing_of(c, a.release)),
    "packs.registry.put_listing": refused(lambda s, c, a: s.put_listing(c, new(a, "listing"))),
    "packs.registry.market": refused(lambda s, c, a: s.market(c, a.tenant, [a.release])),
    "packs.registry.market_search": refused(lambda s, c, a: s.market_search(c, a.tenant, [])),
    "packs.registry.newest_like": reads(_newest),
    "packs.registry.add_key": refused(lambda s, c, a: s.add_key(c, new(a, "key_pair", key_id=new_id("k")))),
    "packs.registry.keys": reads(lambda s, c, a: s.keys(c, a.ws, None, None, 50)),
    "packs.registry.add_attestation": refused(lambda s, c, a: s.add_attestation(c, new(a, "attestation", envelope={"another": True}))),
    "packs.registry.attestations": reads(lambda s, c, a: s.attestations(c, a.release)),
    "packs.registry.trust_root": deployment(
        "The operator's trust root holds for every tenant, and each checks signatures with it.",
        lambda s, c, a: s.trust_root(c), "version", "document", "created_by", "created_at",
    ),
    "packs.registry.trust_roots": deployment(
        "The service gives the history to operators only.", lambda s, c, a: s.trust_roots(c, None, 5), "version",
        "document", "created_by", "created_at",
    ),
    "packs.registry.add_trust_root": deployment(
        "The service lets operators only; here the number is not the next, so nothing is added.",
        lambda s, c, a: s.add_trust_root(c, 1_000_000, {}, a.person),
    ),
    "packs.registry.add_review": refused(lambda s, c, a: s.add_review(c, new(a, "review"))),
    "packs.registry.reviews": reads(lambda s, c, a: s.reviews(c, a.release)),
    "packs.registry.lock_attestations": deployment(LOCK, lambda s, c, a: s.lock_attestations(c, a.release)),
    "packs.registry.lock_policy": deployment(LOCK, lambda s, c, a: s.lock_policy(c, a.tenant)),
    "packs.registry.policies": reads(lambda s, c, a: s.policies(c, a.ws)),
    "packs.registry.add_policy": refused(
        lambda s, c, a: s.add_policy(c, {**rows(a)["registry_policy"], "version": 2})
    ),
    "packs.registry.publication_failures": reads(lambda s, c, a: s.publication_failures(c, a.ws, None, 50, 3)),
    "packs.registry.public_artifacts": reads(lambda s, c, a: s.public_artifacts(c, a.ws, None, 50)),
    "packs.registry.stale_private": reads(_stale),
    "packs.registry.sources_and_images": reads(lambda s, c, a: s.sources_and_images(c, a.ws, None, 50)),
    "packs.registry.unreviewed": reads(_unreviewed),
    "packs.lock_identity": deployment(LOCK, lambda s, c, a: s.lock_identity(c, a.tenant, "acme")),
    "packs.publisher_workspace": reads(lambda s, c, a: s.publisher_workspace(c, "acme")),
    "packs.insert_release": refused(lambda s, c, a: s.insert_release(c, new(a, "release", version="2.0.0"))),
    "packs.releases_due": deployment(REAPER, lambda s, c, a: s.releases_due(c, 5), "tenant_id", "id"),
    "packs.pause_over": reads(_paused),
    "packs.releases_stuck": deployment(
        REAPER, lambda s, c, a: s.releases_stuck(c, timedelta(0), 5), "tenant_id", "id"
    ),
    "packs.objects_named": deployment(
        "bytes lie under their digest and are shared: digests of all tenants, and nothing else",
        lambda s, c, a: s.objects_named(c),
    ),
    "packs.attachments_held": deployment(REAPER, lambda s, c, a: s.attachments_held(c, [a.attached])),
    "packs.rest": writes(_rest),
    "packs.redraft_release": writes(lambda s, c, a: s.redraft_release(c, a.release, {}, "", {})),
    "packs.release": reads(lambda s, c, a: s.release(c, a.release)),
    "packs.release_for_update": reads(lambda s, c, a: s.release_for_update(c, a.release)),
    "packs.release_of": reads(lambda s, c, a: s.release_of(c, "acme", "notes", "1.0.0")),
    "packs.releases": reads(lambda s, c, a: s.releases(c, None, 50)),
    "packs.newest_release": reads(lambda s, c, a: s.newest_release(c, "acme.notes")),
    "packs.pack_names": reads(lambda s, c, a: s.pack_names(c, None, 50)),
    "packs.move_release": writes(
        lambda s, c, a: s.move_release(c, a.release, "quarantined", "release_quarantined", error={"code": "x"})
    ),
    "packs.enqueue_registration": refused(lambda s, c, a: s.enqueue_registration(c, a.tenant, a.release, 7)),
    "packs.next_uid": deployment("a counter of numbers: no row", lambda s, c, a: s.next_uid(c)),
    "packs.carriers": reads(lambda s, c, a: s.carriers(c, [a.running])),
    "packs.living_workers": deployment(BEAT, lambda s, c, a: s.living_workers(c, 60, "nobody")),
    "packs.lock_pack": deployment(LOCK, lambda s, c, a: s.lock_pack(c, a.ws, "acme.notes")),
    "packs.lock_tools": deployment(LOCK, lambda s, c, a: s.lock_tools(c, a.ws)),
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
    "packs.connections_at": reads(lambda s, c, a: s.connections_at(c, a.ws, "tracker", "example.org", 443)),
    "packs.accounts_of": reads(lambda s, c, a: s.accounts_of(c, [a.connection])),
    "packs.serving_in": reads(lambda s, c, a: _wanting(s, c, a)),
    "packs.lock_key": deployment(LOCK, lambda s, c, a: s.lock_key(c, a.tenant, a.key)),
    "packs.insert_invocation": writes(_begun),
    "packs.lose_invocations": writes(lambda s, c, a: s.lose_invocations(c, a.key)),
    "packs.invocation": reads(lambda s, c, a: s.invocation(c, a.running)),
    "packs.invocation_for_update": reads(lambda s, c, a: s.invocation_for_update(c, a.running)),
    "packs.newest_of_key": reads(lambda s, c, a: s.newest_of_key(c, a.key)),
    "packs.invocations": reads(lambda s, c, a: s.invocations(c, a.ws, None, 50, None, None)),
    "packs.finish_invocation": writes(lambda s, c, a: s.finish_invocation(c, a.running, rows(a)["outcome"])),
    "packs.egress_of": reads(lambda s, c, a: s.egress_of(c, a.running)),
    "packs.decision": reads(lambda s, c, a: s.decision(c, a.decision)),
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
    "treasury.tenant_keys": reads(lambda s, c, a: s.tenant_keys(c, a.tenant)),
    "treasury.rewrap": writes(lambda s, c, a: s.rewrap(c, a.tenant, "data", 1, b"again", "other")),
    "treasury.keys_by_master": deployment(
        MASTER, lambda s, c, a: s.keys_by_master(c), "master", "keys", "tenants"
    ),
    "treasury.tenants_under": deployment(MASTER, lambda s, c, a: s.tenants_under(c, ["other"], 100)),
    "treasury.destroy_keys": writes(lambda s, c, a: s.destroy_keys(c, a.tenant)),
    "treasury.under_older": reads(lambda s, c, a: s.under_older(c, 2, 100)),
    "treasury.count_under_older": reads(lambda s, c, a: s.count_under_older(c, 2)),
    "treasury.reseal": writes(lambda s, c, a: s.reseal(c, a.secret, 1, 2, b"n", b"c")),
    "treasury.set_seal": deployment(MASTER, lambda s, c, a: s.set_seal(c, False, "w", "me", "Me")),
    "treasury.add_reading": refused(lambda s, c, a: s.add_reading(c, new(a, "reading"))),
    "treasury.reading": reads(lambda s, c, a: s.reading(c, a.reading)),
    "treasury.readings": reads(lambda s, c, a: s.readings(c, a.secret, None, 50)),
    "treasury.move_reading": writes(lambda s, c, a: s.move_reading(c, a.reading, "closed", "reading_over")),
    "treasury.add_destruction": refused(lambda s, c, a: s.add_destruction(c, new(a, "destruction"))),
    "treasury.destruction": reads(lambda s, c, a: s.destruction(c, a.destruction)),
    "treasury.close_destruction": writes(
        lambda s, c, a: s.close_destruction(c, a.destruction, "destruction_refused")
    ),
    "treasury.living_secrets": reads(lambda s, c, a: s.living_secrets(c)),
    "treasury.sealed_things": reads(_sealed_things),
    "treasury.add_secret": refused(lambda s, c, a: s.add_secret(c, new(a, "secret", name=new_id("x")))),
    "treasury.add_version": refused(lambda s, c, a: s.add_version(c, a.tenant, a.secret, 2, 1, b"n", b"c")),
    "treasury.version": reads(lambda s, c, a: s.version(c, a.secret, 1)),
    "treasury.secret": reads(lambda s, c, a: s.secret(c, a.secret, lock="share")),
    "treasury.secrets": reads(lambda s, c, a: s.secrets(c, a.ws, None, 50)),
    "treasury.set_version": writes(lambda s, c, a: s.set_version(c, a.secret, 2)),
    "treasury.end_versions": writes(lambda s, c, a: s.end_versions(c, a.secret, [])),
    "treasury.set_overlap": writes(lambda s, c, a: s.set_overlap(c, a.secret, 1, 5)),
    "treasury.set_dates": writes(lambda s, c, a: s.set_dates(c, a.secret, None, 30)),
    "treasury.set_warned": writes(lambda s, c, a: s.set_warned(c, a.secret, "soon")),
    "treasury.due": deployment(
        REAPER, lambda s, c, a: s.due(c, 100, timedelta(days=9)), "tenant_id", "secret_id"
    ),
    "treasury.ending": reads(_ending),
    "treasury.lease_again": refused(_lease_again),
    "treasury.leased_before": reads(lambda s, c, a: s.leased_before(c, a.secret, a.running)),
    "treasury.leases": reads(lambda s, c, a: s.leases(c, a.secret, None, 50)),
    "treasury.dependants": reads(lambda s, c, a: s.dependants(c, a.secret, 30)),
    "treasury.sealed": deployment(
        "whether the treasury is sealed is no tenant's: every lease of every tenant reads it",
        lambda s, c, a: s.sealed(c), "sealed", "why", "by_whom", "by_name", "at",
    ),
    "treasury.set_state": writes(lambda s, c, a: s.set_state(c, a.secret, "revoked", "secret_revoked")),
    "treasury.grants_of_attachment": reads(lambda s, c, a: s.grants_of_attachment(c, a.attached)),
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
    "treasury.taken_back": reads(lambda s, c, a: _taken_back(s, c, a)),
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
    "workflows.definition_names": reads(lambda s, c, a: s.definition_names(c, a.ws, None, 50)),
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
    "workflows.claimable": reads(lambda s, c, a: s.claimable(c, a.queued, "tasks_at_once")),
    "workflows.places_taken": reads(lambda s, c, a: s.places_taken(c, "")),
    "workflows.tasks_begun": reads(lambda s, c, a: s.tasks_begun(c, 3600)),
    "workflows.oldest_begun": reads(lambda s, c, a: _less(s.oldest_begun(c, 3600, a.ws, None), 3600.0)),
    "workflows.hold_task": writes(lambda s, c, a: s.hold_task(c, a.queued)),
    "workflows.release_task": writes(lambda s, c, a: _then(s.release_task(c, a.queued), _held(c, a))),
    "workflows.tasks_held": deployment(REAPER, lambda s, c, a: s.tasks_held(c, 5), "tenant_id", "task_id"),
    "workflows.limits_of": reads(lambda s, c, a: s.limits_of(c, a.queued, "tasks_at_once")),
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
    "workflows.lock_connections": deployment(LOCK, lambda s, c, a: s.lock_connections(c, a.ws)),
    "workflows.waiting_for_connections": reads(lambda s, c, a: _waiting_tasks(s, c, a)),
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
    "workspaces.owners_everywhere": reads(lambda s, c, a: s.owners_everywhere(c)),
    "workspaces.tenant_ids": deployment(TENANTS, lambda s, c, a: s.tenant_ids(c)),
    "workspaces.workspace_ids": reads(lambda s, c, a: s.workspace_ids(c)),
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
    "workspaces.limits_in_force": reads(lambda s, c, a: s.limits_in_force(c)),
    "workspaces.bounds_of": reads(lambda s, c, a: s.bounds_of(c, "tasks_at_once", a.ws, a.person)),
    "workspaces.rate_lease": refused(lambda s, c, a: s.rate_lease(c, a.tenant, "member/x", 10, 60, 2, 0)),
    "workspaces.rates_used": reads(lambda s, c, a: s.rates_used(c, "requests_per_minute/")),
    "workspaces.members_counted": reads(lambda s, c, a: s.members_counted(c)),
    "workspaces.lock_invitations": deployment(LOCK, lambda s, c, a: s.lock_invitations(c, a.ws)),
    "workspaces.lock_limit": deployment(LOCK, lambda s, c, a: s.lock_limit(c, a.tenant, "tasks_at_once")),
    "workspaces.limit_setting": reads(lambda s, c, a: s.limit_setting(c, rows(a)["limit"])),
    "workspaces.set_limit": refused(lambda s, c, a: s.set_limit(c, {**rows(a)["limit"], "value": 7})),
    "workspaces.deployment_limits": deployment(
        DEPLOYMENT_LIMIT, lambda s, c, a: s.deployment_limits(c),
        "scope", "name", "value", "revision", "reason", "set_by", "set_by_name", "set_at",
    ),
    "workspaces.set_deployment_limit": deployment(
        DEPLOYMENT_LIMIT,
        lambda s, c, a: s.set_deployment_limit(
            c, {"scope": "tenant", "name": "of no meaning", "value": None, "known": None, "reason": "r", "set_by": "x",
                "set_by_name": ""},
        ),
        "scope", "name", "value", "revision", "reason", "set_by", "set_by_name", "set_at",
    ),
    "workspaces.changes_before": reads(lambda s, c, a: s.changes_before(c, a.ws, a.at, [], 50)),
}  # fmt: skip


async def _groups_and_delegations(found: Any) -> Any:
    """Nothing, where there are neither groups nor delegations to be seen."""
    row = await found
    return [*row["groups"], *row["delegations"]]


async def _less(answer: Any, otherwise: float) -> bool:
    """Whether a row was found: without one the answer is the whole window."""
    return bool(await answer != otherwise)


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


async def _held(c: Any, a: SimpleNamespace) -> None:
    await c.execute("update worka.task set reason = 'queued_over_quota', held_since = now() where id = %s", (a.queued,))


async def _paused(c: Any, a: SimpleNamespace) -> None:
    await c.execute(
        "update worka.task set state = 'retrying', reason = 'retrying', next_try = now() - interval '1 s' where id = %s",
        (a.queued,),
    )


async def _older(c: Any, a: SimpleNamespace) -> None:
    await c.execute("update worka.task set since = now() - interval '1 hour' where id = %s", (a.queued,))
