"""How each state comes about for its reason, on a real database with real processes: `WAYS[machine, state, reason]`.

A way does what people, workers and crashes do, and returns the id of what is now in that state.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.connections.test_connections import connect, decide
from tests.packs.conftest import Packs
from tests.packs.plain import tree
from tests.packs.test_registration import small
from tests.treasury.support import secret
from tests.workflows.connecting import connection_row, needs_connection
from tests.workflows.test_tasks import LOG, PUBLISH, SHOW
from tests.workflows.world import Row, World, ok
from worka.approvals import bypass
from worka.approvals import service as approvals
from worka.broker import store as broker_rows
from worka.broker import ways
from worka.connections import clients, refusals, renewing, tokens
from worka.connections import service as connecting
from worka.connections.oauth import Tokens
from worka.governance import service as governance
from worka.kernel.clock import now
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.notifications import jobs, leaving
from worka.notifications import service as webhooks
from worka.packs import service as packs
from worka.packs.moving import service as moving
from worka.packs.proposals import service as proposals
from worka.packs.registry import oci
from worka.packs.registry.remote import RemoteProblem
from worka.packs.registry.service import policies as registry_policies
from worka.packs.registry.service import publishing
from worka.packs.service import attachments, releases
from worka.treasury import datakeys, reading
from worka.treasury import service as vault
from worka.treasury import subscribe as treasury_subscribe
from worka.treasury.errors import TreasurySealed
from worka.workflows.reaper import Reaper
from worka.workspaces import service as workspaces
from worka.workspaces.limits import service as limits

OnTasks = Callable[[World], Awaitable[str]]
OnPacks = Callable[[Packs], Awaitable[str]]
Pair = tuple[str, str, str]
TASK_WAYS: dict[Pair, OnTasks] = {}
PACK_WAYS: dict[Pair, OnPacks] = {}
NOTE = {"kind": "tool", "name": "note", "tool": "test.box.note", "arguments": {}}
PLAIN = {**LOG, "arguments": {}}
ONE_AT_ONCE = {"layer": "workspace", "scope": "workspace", "name": "tasks_at_once", "value": 1}


def on_tasks(machine: str, state: str, reason: str) -> Callable[[OnTasks], OnTasks]:
    def keep(way: OnTasks) -> OnTasks:
        TASK_WAYS[machine, state, reason] = way
        return way

    return keep


def on_packs(machine: str, state: str, reason: str) -> Callable[[OnPacks], OnPacks]:
    def keep(way: OnPacks) -> OnPacks:
        PACK_WAYS[machine, state, reason] = way
        return way

    return keep


async def step_of(world: World, task_id: str, position: int) -> str:
    return str((await world.task(task_id))["steps"][position - 1]["id"])


def hang(world: World, name: str = "log") -> asyncio.Event:
    """The tool answers to nobody, ever. The event is set once it is called."""
    called = asyncio.Event()

    async def answer(_arguments: Row, _meta: Row) -> Row:
        called.set()
        await asyncio.Event().wait()
        return ok()

    world.host.answers[name] = answer
    return called


async def called(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 20)


async def forget_workers(world: World) -> None:
    """Heartbeats belong to the deployment: workers that other tests killed still look alive for some seconds."""
    async with world.runtime.db.transaction(None) as conn:
        await conn.execute("delete from worka.process where role = 'worker'")


async def forget_other_workers(world: World, task_id: str) -> None:
    """The same, but for the one that holds this task."""
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "delete from worka.process where role = 'worker'"
            " and id <> (select claimed_by from worka.task where id = %s)",
            (task_id,),
        )


# tasks and their steps ----------------------------------------------------------------------------------------------
@on_tasks("task", "queued", "queued_waiting_for_worker")
async def queued(world: World) -> str:
    await forget_workers(world)
    return await world.start([PLAIN])


@on_tasks("task", "queued", "queued_over_quota")
async def over_quota(world: World) -> str:
    await limits.set_limit(world.ctx(world.owner), world.workspace_id, {**ONE_AT_ONCE, "reason": "one after the other"})
    event = hang(world)
    world.work()
    await world.start([PLAIN])
    await called(event)
    task_id = await world.start([PLAIN])
    deadline = asyncio.get_running_loop().time() + 20
    while (await world.task(task_id))["reason"] != "queued_over_quota":
        assert asyncio.get_running_loop().time() < deadline, "it was not held"
        await asyncio.sleep(0.05)
    return task_id


@on_tasks("step", "queued", "not_reached")
async def not_reached(world: World) -> str:
    return await step_of(world, await queued(world), 1)


@on_tasks("task", "running", "running_step")
async def running(world: World) -> str:
    event = hang(world)
    world.work()
    task_id = await world.start([PLAIN])
    await called(event)
    return task_id


@on_tasks("step", "running", "running_step")
async def running_step(world: World) -> str:
    return await step_of(world, await running(world), 1)


@on_tasks("invocation", "running", "call_under_way")
async def call_under_way(world: World) -> str:
    return str((await world.task(await running(world)))["steps"][0]["invocation_id"])


@on_tasks("invocation", "stalled", "caller_silent")
async def caller_silent(world: World) -> str:
    return str((await world.task(await holder_silent(world)))["steps"][0]["invocation_id"])


@on_tasks("invocation", "stalled", "call_overdue")
async def call_overdue(world: World) -> str:
    """The worker lives and waits, and the host that ends calls at their deadline does not."""
    subject = await call_under_way(world)
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.invocation set started_at = started_at - interval '2 hours' where id = %s", (subject,)
        )
    return subject


@on_tasks("task", "waiting", "waiting_for_approval")
async def waiting(world: World) -> str:
    world.work()
    task_id = await world.start([LOG, PUBLISH], {"word": "x"})
    await world.until(task_id, "waiting")
    return task_id


@on_tasks("step", "waiting", "waiting_for_approval")
async def waiting_step(world: World) -> str:
    return await step_of(world, await waiting(world), 2)


async def retry(world: World) -> str:
    """One place, and the broken call is queued again behind a task that came after it."""
    world.environment["WORKA_WORKFLOWS__CONCURRENCY"] = "1"
    await forget_workers(world)
    broke = asyncio.Event()

    async def breaks(_arguments: Row, _meta: Row) -> Row:
        broke.set()
        # Until the other task stands in line.
        await asyncio.sleep(1)
        return {"status": "failed", "layer": "pack", "reason": "pack_crashed", "message": "The server ended: exit 3."}

    world.host.answers["log"] = breaks
    hang(world, "compose")
    world.work()
    task_id = await world.start([PLAIN])
    await called(broke)
    await world.start([{**PLAIN, "name": "compose", "tool": "test.box.compose"}])
    await world.until(task_id, "retrying")
    await asyncio.sleep(0.3)
    return task_id


@on_tasks("task", "retrying", "retrying")
async def retrying(world: World) -> str:
    return await retry(world)


@on_tasks("step", "queued", "retrying")
async def retrying_step(world: World) -> str:
    return await step_of(world, await retry(world), 1)


@on_tasks("task", "retrying", "worker_lost")
async def worker_lost(world: World) -> str:
    event = hang(world)
    worker = world.work()
    task_id = await world.start([PLAIN])
    await called(event)
    worker.kill()
    # The sweep of a worker that is about to take work, and that takes none yet.
    reaper = Reaper(world.runtime, lease=3, knows=lambda _task, _segment: False)
    for _ in range(100):
        await reaper.sweep()
        if (await world.task(task_id))["state"] == "retrying":
            return task_id
        await asyncio.sleep(0.1)
    raise AssertionError("the task was not offered again")


@on_tasks("task", "stalled", "stalled")
async def stalled(world: World) -> str:
    event = hang(world)
    worker = world.work()
    task_id = await world.start([{**PLAIN, "seconds": 1}])
    await called(event)
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(1.2)
    return task_id


@on_tasks("task", "stalled", "holder_silent")
async def holder_silent(world: World) -> str:
    event = hang(world)
    worker = world.work()
    task_id = await world.start([PLAIN])
    await called(event)
    worker.signal(signal.SIGSTOP)
    # The lease (3 s), and the two seconds in which a living worker would have noticed.
    await asyncio.sleep(5.5)
    return task_id


@on_tasks("task", "unknown", "unknown_outcome")
async def unknown(world: World) -> str:
    world.host.answers["note"] = world.host.effect
    doomed = world.work("1", "pack.invocation.after_effect")
    task_id = await world.start([NOTE])
    await doomed.died()
    world.work("2")
    await world.until(task_id, "unknown", seconds=20)
    return task_id


@on_tasks("step", "unknown", "unknown_outcome")
async def unknown_step(world: World) -> str:
    return await step_of(world, await unknown(world), 1)


# approvals ----------------------------------------------------------------------------------------------------------
async def approval_of(world: World, task_id: str) -> str:
    return str(next(wait["ref"] for wait in (await world.task(task_id))["waits"]))


@on_tasks("approval", "open", "waiting_for_approver")
async def waiting_for_approver(world: World) -> str:
    return await approval_of(world, await waiting(world))


@on_tasks("approval", "open", "nobody_can_decide")
async def nobody_can_decide(world: World) -> str:
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set approver = false where principal_id = %s", (world.approver,))
    return await approval_of(world, await waiting(world))


@on_tasks("approval", "open", "waiting_for_confirmation")
async def waiting_for_confirmation(world: World) -> str:
    text = (
        '@id("mine") @verdict("ask") @rule("confirm") @reason("whoever it is done for looks at it")\n'
        'forbid(principal, action == Worka::Action::"tool.invoke", resource);'
    )
    await governance.save_policy(world.ctx(world.owner), world.workspace_id, "governance", text, "confirm")
    world.work()
    task_id = await world.start([PLAIN])
    await world.until(task_id, "waiting")
    return await approval_of(world, task_id)


async def approved_without_a_worker(world: World) -> str:
    worker = world.work()
    task_id = await world.start([LOG, PUBLISH, SHOW], {"word": "x"})
    await world.until(task_id, "waiting")
    worker.kill()
    await world.approve(task_id)
    return task_id


@on_tasks("approval", "approved", "approved")
async def approved(world: World) -> str:
    return await approval_of(world, await approved_without_a_worker(world))


@on_tasks("step", "queued", "queued_waiting_for_worker")
async def approved_step(world: World) -> str:
    return await step_of(world, await approved_without_a_worker(world), 2)


@on_tasks("approval", "approved", "used")
async def used(world: World) -> str:
    world.host.answers["publish"] = world.host.effect
    task_id = await waiting(world)
    await world.approve(task_id)
    await world.until(task_id, "succeeded")
    return await approval_of(world, task_id)


@on_tasks("approval", "approved", "bypassed")
async def bypassed(world: World) -> str:
    ctx = world.ctx(world.owner)
    until = now() + timedelta(minutes=30)
    await bypass.open_(ctx, world.workspace_id, "boundary", "pack.attach", "incident 7", until, 2)
    async with ctx.transaction():
        row = await approvals.request(
            ctx, boundary="pack.attach", action="pack.attach", subject_type="test", subject_id="x", title="Attach it",
            effect="Attaches it", digest="d", card={}, arguments=None, rules=["approve:1"], decision_id=new_id("dec"),
            policy_version="p", blocks=[],
        )  # fmt: skip
    return str(row["id"])


# releases -----------------------------------------------------------------------------------------------------------
def stage(state: str, stages: int) -> None:
    reasons = {
        "draft": "waiting_for_build",
        "built": "waiting_for_publication",
        "published": "waiting_for_identity",
        "registered": "waiting_for_probe",
        "probed": "waiting_for_release",
        "released": "release_in_service",
    }

    @on_packs("release", state, reasons[state])
    async def way(place: Packs) -> str:
        row = await registered(place)
        return str((await packs.run_registration(place.platform(), row["id"], stages=stages))["id"])


async def registered(place: Packs, **changes: Any) -> Row:
    """A registration that was asked for, and of which no stage was taken."""
    files = {name: base64.b64encode(data).decode() for name, data in tree().items()}
    return await packs.register(place.ctx(), small(**changes), lock_text="", files=files)


for number, name in enumerate(("draft", "built", "published", "registered", "probed", "released")):
    stage(name, number)


@on_packs("release", "failed", "build_failed")
async def build_failed(place: Packs) -> str:
    gone = "mcp==2.3.0 --hash=sha256:" + "0" * 64
    return str((await place.register(small(), gone, tree()))["id"])


@on_packs("release", "failed", "probe_failed")
async def probe_failed(place: Packs) -> str:
    return str((await place.register(small(), "", {"server.py": b"raise SystemExit('no configuration')"}))["id"])


@on_packs("release", "failed", "tools_differ")
async def tools_differ(place: Packs) -> str:
    declared = [{"name": "speak", "side_effect": "read_only"}]
    return str((await place.register(small(tools=declared), "", tree()))["id"])


@on_packs("release", "failed", "identity_refused")
async def identity_refused(place: Packs) -> str:
    """An older registration of the publisher's name comes back meanwhile, as after a restore."""
    row = await registered(place)
    await packs.run_registration(place.platform(), row["id"], stages=2)
    world = place.world
    async with world.db.transaction(world.tenant_id) as conn:
        other, rival = new_id("ws"), "rel_0000000000" + row["id"][14:]
        await conn.execute(
            "insert into worka.workspace (tenant_id, id, slug, name, created_by) values (%s, %s, 'b', 'B', 'test')",
            (world.tenant_id, other),
        )
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
            " created_by, created_at) select tenant_id, %s, %s, publisher, 'other', version, manifest, 'released',"
            " 'release_in_service', created_by, created_at - interval '1 minute' from worka.release where id = %s",
            (rival, other, row["id"]),
        )
    return str((await packs.run_registration(place.platform(), row["id"]))["id"])


@on_packs("release", "failed", "host_unavailable")
async def host_unavailable(place: Packs) -> str:
    row = await registered(place)
    elsewhere = Path(place.world.settings.home) / "no-host-here"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "objects").unlink(missing_ok=True)
    (elsewhere / "objects").symlink_to(Path(place.world.settings.home) / "objects")
    nobody = replace(place.platform(), settings=Settings(home=elsewhere))
    # How long it is waited for is not what this is about.
    with patch.object(releases, "HOST_PATIENCE", 0):
        return str((await packs.run_registration(nobody, row["id"]))["id"])


async def released(place: Packs, **changes: Any) -> Row:
    row = await place.register(small(**changes), "", tree())
    assert row["state"] == "released", row["error"]
    return row


@on_packs("release", "quarantined", "release_quarantined")
async def quarantined(place: Packs) -> str:
    row = await released(place)
    await packs.quarantine(place.ctx(), row["id"], "a bad file was found")
    return str(row["id"])


@on_packs("release", "revoked", "release_revoked")
async def revoked(place: Packs) -> str:
    row = await released(place)
    await packs.revoke(place.ctx(), row["id"], "a flaw")
    return str(row["id"])


# attachments --------------------------------------------------------------------------------------------------------
REACH: dict[str, Any] = {
    "outbound_domains": ["tracker.worka.test"],
    "connections": [
        {
            "provider": "tracker",
            "access": "read issues",
            "required": True,
            "inject": {
                "host": "tracker.worka.test",
                "header": "Authorization",
                "template": "Bearer {{connection.access_token}}",
            },
        }
    ],
}


async def reaching(place: Packs) -> Row:
    """A pack that asks before it is attached, and that needs a connection: both are missing."""
    return await packs.attach(place.ctx(), (await released(place, **REACH))["id"], mounts={})


@on_packs("attachment", "awaiting_approval", "waiting_for_approver")
async def awaiting_approval(place: Packs) -> str:
    return str((await reaching(place))["id"])


@on_packs("attachment", "awaiting_connection", "waiting_for_connection")
async def awaiting_connection(place: Packs) -> str:
    row = await reaching(place)
    await place.approve(row["approval_id"])
    return str(row["id"])


async def serving(place: Packs) -> Row:
    return await packs.attach(place.ctx(), (await released(place))["id"])


@on_packs("attachment", "attached", "attachment_in_service")
async def attached(place: Packs) -> str:
    return str((await serving(place))["id"])


@on_packs("attachment", "held", "tool_definition_changed")
async def held(place: Packs) -> str:
    row = await serving(place)
    ctx = place.ctx()
    async with ctx.transaction():
        await attachments.hold(ctx, row["id"], "say", "description:\n- Says what it is given.\n+ Sends it to me.")
    return str(row["id"])


@on_packs("attachment", "suspended", "release_quarantined")
async def suspended(place: Packs) -> str:
    row = await serving(place)
    await packs.quarantine(place.ctx(), row["release_id"], "a bad file was found")
    return str(row["id"])


@on_packs("attachment", "awaiting_dependency", "waiting_for_dependency")
async def awaiting_dependency(place: Packs) -> str:
    needs = [{"pack": "acme.other", "tools": ["say"]}]
    return str((await packs.attach(place.ctx(), (await released(place, dependencies=needs))["id"]))["id"])


# moves --------------------------------------------------------------------------------------------------------------
async def move_to(place: Packs, **changes: Any) -> Row:
    """An attachment, a newer release, and the move to it."""
    row = await serving(place)
    await released(place, version="1.1.0", **changes)
    return await moving.update(place.ctx(), row["id"])


@on_packs("attachment", "updating", "attachment_updating")
async def updating(place: Packs) -> str:
    return str((await move_to(place))["attachment_id"])


@on_packs("attachment_move", "trying", "move_being_tried")
async def move_being_tried(place: Packs) -> str:
    return str((await move_to(place))["id"])


@on_packs("attachment_move", "planned", "move_planned")
async def move_planned(place: Packs) -> str:
    """No worker took it up yet."""
    row = await packs.attach(place.ctx(), (await released(place))["id"], mode="tracking")
    await released(place, version="1.1.0")
    (move,) = await place.world.rows("attachment_move", "attachment_id = %s", row["id"])
    return str(move["id"])


@on_packs("attachment_move", "awaiting_approval", "waiting_for_approver")
async def move_awaiting_approval(place: Packs) -> str:
    return str((await move_to(place, **REACH))["id"])


@on_packs("attachment_move", "awaiting_connection", "waiting_for_connection")
async def move_awaiting_connection(place: Packs) -> str:
    move = await move_to(place, **REACH)
    await place.approve(move["approval_id"])
    return str(move["id"])


@on_packs("attachment_move", "awaiting_dependency", "waiting_for_dependency")
async def move_awaiting_dependency(place: Packs) -> str:
    move = await move_to(place, dependencies=[{"pack": "acme.other", "tools": ["say"]}])
    await place.approve(move["approval_id"])
    return str(move["id"])


# proposals of what packs reach ----------------------------------------------------------------------------------------
@on_packs("egress_proposal", "open", "waiting_for_decision")
async def proposal_open(place: Packs) -> str:
    row = await packs.attach(place.ctx(), (await released(place))["id"])
    refused = {
        "id": new_id("egr"), "workspace_id": row["workspace_id"], "attachment_id": row["id"], "invocation_id": None,
        "session_id": "s", "trace_id": "0" * 32, "host": "rates.example.org", "port": 53, "kind": "dns", "method": None,
        "path": None, "verdict": "denied", "reason": "undeclared_destination", "rule": None, "address": None,
        "opaque": False, "exception_id": None, "connection_id": None, "lease_id": None, "decision_id": None,
    }  # fmt: skip
    ctx = place.ctx()
    async with ctx.transaction() as conn:
        await broker_rows.insert_egress(conn, str(ctx.tenant_id), refused)
    return str((await proposals.propose(place.ctx(), refused["id"], why="the rates"))["id"])


# bypasses of approvals ----------------------------------------------------------------------------------------------
async def open_bypass(place: Packs) -> str:
    ctx = place.ctx()
    until = now() + timedelta(minutes=30)
    row = await bypass.open_(ctx, place.world.workspace_id, "boundary", "pack.attach", "incident 7", until, 2)
    return str(row["id"])


@on_packs("approval_bypass", "open", "bypass_in_force")
async def bypass_in_force(place: Packs) -> str:
    return await open_bypass(place)


@on_packs("approval_bypass", "awaiting_approval", "bypass_waits_for_owner")
async def bypass_waits_for_owner(place: Packs) -> str:
    await place.world.person("second owner")
    await place.world.join("second owner", "owner")
    return await open_bypass(place)


@on_packs("approval_bypass", "open", "bypass_held")
async def bypass_held(place: Packs) -> str:
    await place.world.person("second owner")
    await place.world.join("second owner", "owner")
    bypass.subscribe(place.world.subscribers)
    theirs, mine, until = place.world.ctx("second owner"), place.ctx(), now() + timedelta(minutes=30)
    row = await bypass.open_(theirs, place.world.workspace_id, "boundary", "pack.attach", "incident 7", until, 2)
    consent = await approvals.show(mine, row["approval_id"])
    await approvals.decide(mine, consent["id"], "approve", consent["digest"])
    await governance.kill(mine, place.world.workspace_id, "member", place.world.ids["second owner"], "stolen", False)
    return str(row["id"])


# secrets and connections --------------------------------------------------------------------------------------------
@on_packs("secret", "active", "secret_ready")
async def secret_ready(place: Packs) -> str:
    return str((await secret(place.world))["id"])


@on_packs("secret", "rotating", "secret_rotating")
async def secret_rotating(place: Packs) -> str:
    row = await secret(place.world)
    await vault.rotate(place.ctx(), row["id"], "another-value", overlap_minutes=60)
    return str(row["id"])


async def reading_of(place: Packs) -> Row:
    """A reading that another owner is asked for."""
    await place.world.person("second owner")
    await place.world.join("second owner", "owner")
    row = await secret(place.world)
    return await reading.ask(place.ctx(), row["id"], "the vendor asks", 30)


@on_packs("secret_reading", "awaiting_approval", "waiting_for_approver")
async def reading_waits(place: Packs) -> str:
    return str((await reading_of(place))["id"])


@on_packs("secret_reading", "open", "reading_open")
async def reading_open(place: Packs) -> str:
    row = await reading_of(place)
    treasury_subscribe(place.world.subscribers)
    other = place.world.ctx("second owner")
    card = await approvals.show(other, row["approval_id"])
    await approvals.decide(other, card["id"], "approve", card["digest"])
    return str(row["id"])


@on_packs("key_destruction", "awaiting_approval", "waiting_for_approver")
async def destruction_waits(place: Packs) -> str:
    await place.world.person("second owner")
    await place.world.join("second owner", "owner")
    seen = await datakeys.reach(place.ctx())
    row = await datakeys.ask(place.ctx(), place.world.workspace_id, "the customer left", seen["digest"])
    return str(row["id"])


@on_packs("secret", "revoked", "secret_revoked")
async def secret_revoked(place: Packs) -> str:
    row = await secret(place.world)
    await vault.revoke(place.ctx(), row["id"], "it leaked")
    return str(row["id"])


@on_packs("connection", "awaiting_approval", "waiting_for_approver")
async def connection_asked_for(place: Packs) -> str:
    return str((await connect(place.world))["id"])


@on_packs("connection", "active", "connection_in_service")
async def connection_in_service(place: Packs) -> str:
    made = await connect(place.world)
    await decide(place.world, made["approval_id"])
    return str(made["id"])


@on_packs("connection", "broken", "connection_secret_revoked")
async def connection_broken(place: Packs) -> str:
    kept = await secret(place.world)
    made = await connect(place.world, secret_id=kept["id"])
    await decide(place.world, made["approval_id"])
    await vault.revoke(place.ctx(), kept["id"], "it leaked")
    return str(made["id"])


# connections by OAuth: the provider is another test's, here it is said what it answered --------------------------------
def provider_says(status: int, body: bytes) -> Any:
    async def post(_args: Row) -> Row:
        answer = base64.b64encode(body).decode()
        return {"reason": "allowed", "detail": "", "status": status, "cut": False, "answer": answer}

    return post


async def nobody_reaches_it(_args: Row) -> Row:
    return {"reason": "upstream_unreachable", "detail": "OSError", "status": None, "cut": False, "answer": ""}


async def oauth_connection(place: Packs, provider: str = "gitlab", kind: str = "oauth_code") -> str:
    """One that is allowed, and not consented to yet."""
    place.world.subscribers.on("platform.way.wanted", ways.wanted)
    where = place.world.workspace_id
    await clients.register(place.ctx(), where, provider=provider, client_id="w", secret="its-secret", metadata={})
    made = await connecting.create(
        place.ctx(), where, provider=provider, name="Outside", access="read", metadata={}, why="", kind=kind
    )
    await decide(place.world, made["approval_id"])
    return str(made["id"])


async def with_tokens(place: Packs, seconds: int = 3600) -> str:
    """One whose provider gave tokens."""
    subject = await oauth_connection(place)
    ctx = place.platform()
    async with ctx.transaction():
        row = await connecting.held(ctx, subject)
        assert row is not None
        found = Tokens("an-access-token", "a-refresh-token", seconds, None)
        await tokens.keep(ctx, row, found, {}, {"kind": "flow", "id": "flow_of_the_test"})
    return subject


@on_packs("connection", "awaiting_consent", "waiting_for_consent")
async def waiting_for_consent(place: Packs) -> str:
    return await oauth_connection(place)


@on_packs("connection", "awaiting_consent", "waiting_for_token")
async def waiting_for_token(place: Packs) -> str:
    return await oauth_connection(place, "linear", "oauth_client")


@on_packs("connection", "awaiting_consent", "consent_failed")
async def consent_failed(place: Packs) -> str:
    subject = await oauth_connection(place, "linear", "oauth_client")
    refused = provider_says(401, b'{"error":"invalid_client"}')
    assert await renewing.renew(place.platform(), subject, refused) == "provider_refused"
    return subject


@on_packs("connection", "active", "refresh_failing")
async def refresh_failing(place: Packs) -> str:
    subject = await with_tokens(place)
    assert await renewing.renew(place.platform(), subject, nobody_reaches_it, by_hand=True) == "provider_away"
    return subject


@on_packs("connection", "active", "credential_refused")
async def credential_refused(place: Packs) -> str:
    subject = await with_tokens(place)
    (row,) = await place.world.rows("connection", "id = %s", subject)
    await refusals.refused(place.platform(), subject, row["refreshed_at"], "inv_x")
    return subject


@on_packs("connection", "expired", "credential_expired")
async def credential_expired(place: Packs) -> str:
    subject = await with_tokens(place, 1)
    await asyncio.sleep(1.1)
    await renewing.expire(place.platform(), subject)
    return subject


@on_packs("connection", "broken", "refresh_refused")
async def refresh_refused(place: Packs) -> str:
    subject = await with_tokens(place)
    await renewing.renew(place.platform(), subject, provider_says(400, b'{"error":"invalid_grant"}'), by_hand=True)
    return subject


@on_packs("connection", "broken", "refresh_lost")
async def refresh_lost(place: Packs) -> str:
    subject = await refresh_failing(place)
    await renewing.renew(place.platform(), subject, provider_says(400, b'{"error":"invalid_grant"}'), by_hand=True)
    return subject


async def step_that_waits(world: World, state: str = "") -> str:
    """A task whose step needs a connection; `state`: of the one that is there."""
    await needs_connection(world)
    if state:
        reason = {"expired": "credential_expired", "broken": "refresh_refused"}[state]
        await connection_row(world, state, reason)
    world.work()
    task_id = await world.start([PLAIN])
    await world.until(task_id, "waiting")
    return task_id


@on_tasks("task", "waiting", "connection_missing")
async def connection_missing(world: World) -> str:
    return await step_that_waits(world)


@on_tasks("task", "waiting", "connection_expired")
async def connection_expired(world: World) -> str:
    return await step_that_waits(world, "expired")


@on_tasks("task", "waiting", "connection_broken")
async def connection_is_broken(world: World) -> str:
    return await step_that_waits(world, "broken")


@on_tasks("step", "waiting", "connection_missing")
async def step_connection_missing(world: World) -> str:
    return await step_of(world, await step_that_waits(world), 1)


@on_tasks("step", "waiting", "connection_expired")
async def step_connection_expired(world: World) -> str:
    return await step_of(world, await step_that_waits(world, "expired"), 1)


@on_tasks("step", "waiting", "connection_broken")
async def step_connection_broken(world: World) -> str:
    return await step_of(world, await step_that_waits(world, "broken"), 1)


# webhooks and deliveries --------------------------------------------------------------------------------------------
async def webhook(place: Packs) -> str:
    url = "https://hooks.worka.test/in"
    made = await webhooks.create(place.ctx(), place.world.workspace_id, url=url, types=["*"], description="")
    return str(made["id"])


async def delivered(place: Packs, hook: str, status: int | None) -> str:
    """A message to it, tried once. The broker is another test's: here it says what the receiver answered."""

    async def post(_args: Row, _traceparent: str) -> Row:
        reason = "allowed" if status else "upstream_unreachable"
        return {"reason": reason, "detail": "", "status": status, "answer": "", "duration_ms": 1.0, "egress_id": None}

    nobody: Any = None
    async with place.world.nobody().alone(tenant_id=place.world.tenant_id).transaction() as conn:
        made = await webhooks.store.add_delivery(
            conn,
            {
                "tenant_id": place.world.tenant_id, "id": new_id("dlv"), "workspace_id": place.world.workspace_id,
                "channel": "webhook", "target": hook, "message_id": "msg_1", "type": "approval.requested",
                "payload": {"data": {}}, "cause": new_id("out"), "state": "queued", "reason": "delivery_waiting",
                "replay_of": None, "created_by": "platform",
            },
        )  # fmt: skip
    assert made is not None
    await jobs.one(place.world.nobody().alone(tenant_id=place.world.tenant_id), post, nobody, made["id"])
    return str(made["id"])


@on_packs("webhook", "active", "webhook_in_service")
async def webhook_in_service(place: Packs) -> str:
    return await webhook(place)


@on_packs("webhook", "paused", "webhook_paused")
async def webhook_paused(place: Packs) -> str:
    made = await webhook(place)
    await webhooks.change(place.ctx(), made, types=None, description=None, state="paused")
    return made


@on_packs("webhook", "paused", "webhook_keeper_left")
async def webhook_keeper_left(place: Packs) -> str:
    world = place.world
    leaving.subscribe(world.subscribers)
    await world.person("keeper")
    await world.join("keeper", "admin")
    url = "https://hooks.worka.test/theirs"
    made = await webhooks.create(world.ctx("keeper"), world.workspace_id, url=url, types=["*"], description="")
    await workspaces.remove_member(world.ctx("owner"), world.workspace_id, world.ids["keeper"])
    return str(made["id"])


@on_packs("webhook", "disabled", "webhook_gone")
async def webhook_gone(place: Packs) -> str:
    made = await webhook(place)
    await delivered(place, made, 410)
    return made


@on_packs("webhook", "disabled", "webhook_failing")
async def webhook_failing(place: Packs) -> str:
    made = await webhook(place)
    await delivered(place, made, None)
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.webhook set failing_since = now() - interval '73 hours' where id = %s", (made,)
        )
    await delivered(place, made, None)
    return made


@on_packs("delivery", "queued", "delivery_waiting")
async def delivery_waiting(place: Packs) -> str:
    return str((await webhooks.test(place.ctx(), await webhook(place)))["id"])


@on_packs("delivery", "queued", "delivery_retried")
async def delivery_retried(place: Packs) -> str:
    return await delivered(place, await webhook(place), None)


# publications -------------------------------------------------------------------------------------------------------
async def asked_to_publish(place: Packs) -> Row:
    """A publication that waits for its approval."""
    row = await released(place)
    return await publishing.publish(
        place.ctx(),
        place.world.workspace_id,
        release_id=row["id"],
        destination="local",
        visibility=None,
        shared_with=[],
    )


@on_packs("publication", "awaiting_approval", "waiting_for_approver")
async def publication_awaiting_approval(place: Packs) -> str:
    return str((await asked_to_publish(place))["id"])


@on_packs("publication", "queued", "publication_waiting")
async def publication_queued(place: Packs) -> str:
    row = await asked_to_publish(place)
    await place.approve(row["approval_id"])
    return str(row["id"])


@on_packs("publication", "pushing", "publication_under_way")
async def publication_pushing(place: Packs) -> str:
    """Its worker took it up, and was killed."""
    publication = await publication_queued(place)
    with patch.object(oci, "load", side_effect=KeyboardInterrupt), contextlib.suppress(KeyboardInterrupt):
        await publishing.run_publication(place.platform(), publication)
    return publication


@on_packs("publication", "failed", "publication_not_allowed")
async def publication_not_allowed(place: Packs) -> str:
    publication = await publication_queued(place)
    settings = {"image_destinations": ["elsewhere.example:443/x"]}
    await registry_policies.set_policy(
        place.ctx(), place.world.workspace_id, scope="tenant", settings=settings, note="tightened"
    )
    await publishing.run_publication(place.platform(), publication)
    return publication


@on_packs("publication", "failed", "publication_superseded")
async def publication_superseded(place: Packs) -> str:
    """Wider than what was asked for, and published, since."""
    row = await released(place)
    asked = {
        who: await publishing.publish(
            place.ctx(), place.world.workspace_id, release_id=row["id"], destination="local", visibility=who,
            shared_with=shared,
        )
        for who, shared in (("shared", ["ten_x"]), ("private", []))
    }  # fmt: skip
    for one in asked.values():
        await place.approve(one["approval_id"])
    for who in ("private", "shared"):
        await publishing.run_publication(place.platform(), asked[who]["id"])
    return str(asked["shared"]["id"])


@on_packs("publication", "failed", "publication_withdrawn")
async def publication_withdrawn(place: Packs) -> str:
    listed = await publication_queued(place)
    await publishing.run_publication(place.platform(), listed)
    row = await publishing.get(place.ctx(), listed)
    again = await publishing.publish(
        place.ctx(), row["workspace_id"], release_id=row["release_id"], destination="local", visibility=None,
        shared_with=[],
    )  # fmt: skip
    await place.approve(again["approval_id"])
    await publishing.withdraw(place.ctx(), row["release_id"], "a flaw")
    await publishing.run_publication(place.platform(), again["id"])
    return str(again["id"])


@on_packs("publication", "failed", "publication_lost")
async def publication_lost(place: Packs) -> str:
    publication = await publication_queued(place)
    with patch.object(oci, "load", side_effect=OSError("no such disk")):
        await publishing.run_publication(place.platform(), publication)
    return publication


@on_packs("publication", "failed", "release_not_publishable")
async def release_not_publishable(place: Packs) -> str:
    publication = await publication_queued(place)
    row = await publishing.get(place.ctx(), publication)
    await packs.revoke(place.ctx(), row["release_id"], "a flaw")
    await publishing.run_publication(place.platform(), publication)
    return publication


def publication_fails(reason: str) -> None:
    """What registries do to bring it about is in tests/packs/test_remote_registry.py; here it is how that is told."""

    @on_packs("publication", "failed", reason)
    async def way(place: Packs) -> str:
        publication = await publication_queued(place)
        met = RemoteProblem(reason, "the registry answered 500")
        with patch.object(oci, "load", side_effect=met):
            await publishing.run_publication(place.platform(), publication)
        return publication


@on_packs("publication", "failed", "treasury_sealed")
async def publication_meets_a_seal(place: Packs) -> str:
    """That a destination's credential does not leave while it is sealed is in tests/packs/test_remote_registry.py."""
    publication = await publication_queued(place)
    with patch.object(oci, "load", side_effect=TreasurySealed("The treasury was sealed by an operator: a look.")):
        await publishing.run_publication(place.platform(), publication)
    return publication


for reason_of_failure in (
    "artifact_damaged", "broker_unavailable", "registry_answered_late", "registry_lied", "registry_refused",
    "registry_redirected", "registry_unreachable", "registry_wants_token",
):  # fmt: skip
    publication_fails(reason_of_failure)
