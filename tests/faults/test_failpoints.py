"""A real SIGKILL at every commit and effect of the road: one effect per task, nothing lost, judged from outside.

The judge is the tracker's own record (what took effect, by idempotency key) and the caller's (what was acknowledged);
never our tables alone. The supervisor starts the killed process again; the caller repeats its request with the same key.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support import roles
from tests.support.instance import Instance
from worka.cli.client import Client, Failed
from worka.cli.demo import Demo
from worka.kernel import failpoints
from worka.kernel.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.timeout(180), pytest.mark.faults]
SIDES = ("before", "after")

# Hit while a task is created, waits, is approved, publishes and ends.
ROAD = [
    "task.created.before_commit",
    "task.created.after_commit",
    "task.claimed.after_commit",
    "pack.invocation.intent.before_commit",
    "pack.invocation.after_intent",
    "broker.egress.before_commit",
    "broker.egress.before_dial",
    "broker.egress.after_answer",
    "treasury.lease.before_commit",
    "pack.invocation.after_effect",
    "pack.invocation.outcome.before_commit",
    "step.outcome.before_commit",
    "audit.flushed.before_commit",
    "audit.sealed.before_write",
    "approval.requested.before_commit",
    "task.waiting.before_commit",
    "approval.decided.before_commit",
    "task.resumed.before_commit",
    "approval.decided.after_commit",
    "approval.consumed.before_commit",
    "step.intent.before_commit",
    "view.published.before_commit",
    "task.finished.before_commit",
]


def insist(call: Any, *arguments: Any, **named: Any) -> Any:
    """A caller that repeats its request, with the same key, while the door or a process behind it is away."""
    deadline = time.monotonic() + 45
    while True:
        try:
            return call(*arguments, **named)
        except Failed as failure:
            away = (
                failure.body.get("code") in ("no_server", "idempotency_key_in_flight")
                or failure.body.get("status", 0) >= 500
            )
            if not away or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def rest(owner: Client, task_id: str, after: str = "") -> dict[str, Any]:
    """The task once it rests: waiting (for something else than `after`), or ended."""
    deadline = time.monotonic() + 60
    task: dict[str, Any] = {}
    while time.monotonic() < deadline:
        task = insist(owner.get, f"/v1/tasks/{task_id}")
        waits = [wait["ref"] for wait in task.get("waits", []) if not wait.get("cleared_at")]
        if task["state"] in ("succeeded", "failed", "cancelled", "unknown") or (
            task["state"] == "waiting" and after not in waits
        ):
            return task
        time.sleep(0.15)
    raise AssertionError(f"the task does not rest: {task['state']} {task['reason']}")


def run_task(stage: Demo) -> tuple[str, dict[str, Any]]:
    """Creates a task, approves what it asks, and waits for its end, through whatever dies on the way."""
    body = {
        "workflow": "release-notes",
        "inputs": {"repository": f"fault-{uuid.uuid4().hex[:6]}"},
        "member_id": stage.ids["member"],
    }
    key = uuid.uuid4().hex
    task_id = insist(stage.owner.post, stage.owner.ws("/tasks"), body, key=key)["id"]
    task = rest(stage.owner, task_id)
    approved = ""
    while task["state"] == "waiting":
        (approval,) = [
            wait["ref"] for wait in task["waits"] if not wait.get("cleared_at") and wait["kind"] == "approval"
        ]
        approved = approval
        card = insist(stage.approver.get, f"/v1/approvals/{approval}")
        decision = {"decision": "approve", "digest": card["digest"], "comment": ""}
        try:
            insist(stage.approver.post, f"/v1/approvals/{approval}/decisions", decision, key=f"{key}-{approval}")
        except Failed as failure:
            # The first try was decided and its answer lost: the second sees that it is decided.
            if failure.body["status"] != 409:
                raise
        task = rest(stage.owner, task_id, after=approved)
    return task_id, task


def effects_of(stage: Demo, task_id: str) -> list[dict[str, Any]]:
    """What the tracker says took effect for the steps of this task."""
    return [effect for effect in stage.record()["effects"] if task_id in str(effect)]


@pytest.mark.parametrize("name", ROAD)
@pytest.mark.capability("TSK-13")
@pytest.mark.capability("APR-9")
def test_a_process_killed_there_loses_nothing_and_repeats_nothing(name: str, stage: Demo, instance: Instance) -> None:
    armed = instance.home / "failpoints" / name
    proof = armed.with_name(name + ".hit")
    proof.unlink(missing_ok=True)
    armed.touch()
    armed.chmod(0o666)
    try:
        task_id, task = run_task(stage)
    finally:
        armed.unlink(missing_ok=True)
    assert proof.exists(), "the failpoint was not reached: this test proved nothing"
    assert task["state"] == "succeeded", f"{task['state']} {task['reason']}"
    assert len(effects_of(stage, task_id)) == 1
    same = [item for item in stage.owner.pages(stage.owner.ws("/tasks")) if item["title"] == task["title"]]
    assert [item["id"] for item in same] == [task_id], "one request made one task"


def test_every_failpoint_of_the_catalogue_is_killed_somewhere() -> None:
    # tests/connections/test_killed.py
    elsewhere = {f"connection.{name}.before_commit" for name in ("changed", "created", "ended", "renewal", "tokens")}
    elsewhere |= {
        f"connection.{point}" for point in ("consent.used.after_commit", "renewal.after_claim", "renewal.after_answer")
    }
    # tests/broker/test_killed.py
    elsewhere |= {"egress.policy.before_commit", "way.change.before_commit"}
    # tests/packs/test_proposals_killed.py
    elsewhere |= {"egress.proposal.before_commit"}
    # tests/packs/test_leftovers.py, tests/packs/test_registration_killed.py
    elsewhere |= {f"{name}.{side}_commit" for name in ("attachment.created", "release.stage") for side in SIDES}
    # tests/approvals/test_killed.py
    elsewhere |= {
        f"approval.{name}.before_commit"
        for name in ("bypass", "bypassed", "delegation", "escalated", "group", "reminded", "settings")
    }
    # tests/approvals/test_rule_changed.py
    elsewhere |= {"approval.superseded.before_commit"}
    # tests/notifications/test_killed.py
    elsewhere |= {
        f"delivery.{name}" for name in ("queued.before_commit", "claimed.after_commit", "settled.before_commit")
    }
    elsewhere |= {"webhook.changed.before_commit", "notification.chosen.before_commit"}
    # tests/governance/test_changes.py
    elsewhere |= {f"policy.{name}.before_commit" for name in ("approved", "break_glass", "proposed", "saved")}
    elsewhere |= {"kill.moved.before_commit"}
    # tests/workspaces/test_limits_killed.py
    elsewhere |= {"limit.set.before_commit"}
    # tests/packs/test_moves_killed.py
    elsewhere |= {f"attachment.{name}.{side}_commit" for name in ("definition", "mode", "move") for side in SIDES}
    elsewhere |= {"attachment.move.tried", "attachment.moved.after_commit"}
    # tests/packs/test_publishing.py
    elsewhere |= {f"registry.publication.{point}" for point in ("before_commit", "after_commit", "after_push")}
    # tests/packs/test_governing_killed.py
    elsewhere |= {f"registry.{name}.{side}_commit" for name in ("artifact", "changed", "trust_root") for side in SIDES}
    elsewhere |= {f"pack.{name}.{side}_commit" for name in ("advisories", "withdrawn") for side in SIDES}
    # tests/identity/test_killed.py
    elsewhere |= {f"identity.{name}.before_commit" for name in ("account", "factor")}
    elsewhere |= {"workspace.invitation.before_commit"}
    # tests/treasury/test_killed.py
    elsewhere |= {
        f"treasury.{name}.before_commit"
        for name in (
            "changed", "keys_destroyed", "overlap", "read", "reading", "resealed", "rewrapped", "rotated", "sealed",
            "warned",
        )
    }  # fmt: skip
    elsewhere |= {"treasury.master_rotated.after_commit"}
    assert set(ROAD) | elsewhere == set(failpoints.CATALOGUE)


@pytest.mark.capability("DEP-3")
def test_postgresql_killed_under_a_waiting_task_loses_nothing(stage: Demo, instance: Instance) -> None:
    body = {"workflow": "release-notes", "inputs": {"repository": "pg-kill"}, "member_id": stage.ids["member"]}
    task_id = stage.owner.post(stage.owner.ws("/tasks"), body)["id"]
    rest(stage.owner, task_id)
    server = EmbeddedPostgres(instance.home)
    pid = server.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while server.running_pid() in (None, pid):
        assert time.monotonic() < deadline, "the supervisor did not bring PostgreSQL back"
        time.sleep(0.1)
    task = rest(stage.owner, task_id)
    assert task["state"] == "waiting"
    (approval,) = [wait["ref"] for wait in task["waits"] if not wait.get("cleared_at")]
    card = insist(stage.approver.get, f"/v1/approvals/{approval}")
    insist(
        stage.approver.post,
        f"/v1/approvals/{approval}/decisions",
        {"decision": "approve", "digest": card["digest"], "comment": ""},
        key="pg",
    )
    assert rest(stage.owner, task_id, after=approval)["state"] == "succeeded"
    assert len(effects_of(stage, task_id)) == 1


@pytest.mark.capability("TSK-12")
@pytest.mark.parametrize(
    "point", ["task.claimed.after_commit", "step.outcome.before_commit", "pack.invocation.after_effect"]
)
def test_a_worker_stopped_past_its_lease_cannot_commit_when_it_goes_on(
    stage: Demo, instance: Instance, tmp_path: Path, point: str
) -> None:
    first = instance.pids()["worker"]
    armed = instance.home / "failpoints" / point
    proof = armed.with_name(point + ".hit")
    proof.unlink(missing_ok=True)
    armed.write_text("STOP")
    armed.chmod(0o666)
    body = {"workflow": "release-notes", "inputs": {"repository": "zombie"}, "member_id": stage.ids["member"]}
    task_id = stage.owner.post(stage.owner.ws("/tasks"), body)["id"]
    deadline = time.monotonic() + 30
    while not proof.exists():
        assert time.monotonic() < deadline, "the worker was not stopped: this test proved nothing"
        time.sleep(0.02)
    env = {**instance.env, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "WORKA_WORKFLOWS__SLOT": "9"}
    second = roles.start("worka.workers.worker", env, tmp_path / "worker.log")
    try:
        try:
            task = rest(stage.owner, task_id)
            assert task["state"] == "waiting"
        finally:
            os.kill(first, signal.SIGCONT)
        time.sleep(1)
        (approval,) = [wait["ref"] for wait in rest(stage.owner, task_id)["waits"] if not wait.get("cleared_at")]
        card = stage.approver.get(f"/v1/approvals/{approval}")
        stage.approver.post(
            f"/v1/approvals/{approval}/decisions", {"decision": "approve", "digest": card["digest"], "comment": ""}
        )
        assert rest(stage.owner, task_id, after=approval)["state"] == "succeeded"
        assert len(effects_of(stage, task_id)) == 1
        assert instance.pids()["worker"] == first, "the stopped worker goes on"
    finally:
        second.terminate()
        second.wait(20)
