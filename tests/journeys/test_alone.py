"""Work goes on with its person disconnected: signed out, the credential revoked, the client killed. Judged from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import httpx
import pytest

from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)

CLIENT = """
import json, sys, httpx
url, workspace, token, body = sys.argv[1:5]
with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
    with client.stream("GET", f"/v1/workspaces/{workspace}/events") as stream:
        lines = stream.iter_lines()
        made = client.post(f"/v1/workspaces/{workspace}/tasks", json=json.loads(body)).raise_for_status().json()
        print(made["id"], flush=True)
        for line in lines:
            print(line, flush=True)
"""


def status(instance: Instance, token: str) -> int:
    return httpx.get(f"{instance.url}/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code


def session_of(instance: Instance, stage: Demo) -> str:
    """A session of the owner's own beside the stage's, as signing in by link gives it."""
    link = stage.owner.post("/v1/sign-in-links")["token"]
    answer = httpx.post(f"{instance.url}/sign-in", data={"link": link}, headers={"Origin": instance.url})
    return str(answer.cookies["worka_session"])


def begin(instance: Instance, stage: Demo, token: str, body: dict[str, Any]) -> str:
    answer = httpx.post(
        f"{instance.url}/v1/workspaces/{stage.ids['workspace']}/tasks",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
    )
    return str(answer.raise_for_status().json()["id"])


def signed_out(instance: Instance, stage: Demo, body: dict[str, Any]) -> str:
    token = session_of(instance, stage)
    assert status(instance, token) == 200, "the control: it was signed in"
    task = begin(instance, stage, token, body)
    httpx.delete(f"{instance.url}/v1/sessions/current", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    assert status(instance, token) == 401
    return task


def token_revoked(instance: Instance, stage: Demo, body: dict[str, Any]) -> str:
    made = stage.owner.post(stage.owner.ws("/tokens"), {"name": f"alone {uuid.uuid4().hex[:6]}"})
    task = begin(instance, stage, made["token"], body)
    stage.owner.send("DELETE", f"/v1/tokens/{made['token_id']}")
    assert status(instance, made["token"]) == 401
    return task


def client_killed(instance: Instance, stage: Demo, body: dict[str, Any]) -> str:
    token = session_of(instance, stage)
    command = [sys.executable, "-c", CLIENT, instance.url, stage.ids["workspace"], token, json.dumps(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") as client:
        assert client.stdout is not None
        task = client.stdout.readline().strip()
        assert client.stdout.readline(), "the control: it was following the task live"
        os.kill(client.pid, signal.SIGKILL)
    return task


def until(instance: Instance, task: str, *states: str) -> dict[str, Any]:
    """The task's row in one of these states; nobody asks a door."""
    deadline = time.monotonic() + 60
    while True:
        (row,) = instance.rows("select * from worka.task where id = %s", task)
        if row["state"] in states:
            return row
        assert time.monotonic() < deadline, f"left alone, the task is {row['state']} ({row['reason']})"
        time.sleep(0.1)


@pytest.mark.capability("TSK-6")
@pytest.mark.parametrize("leave", [signed_out, token_revoked, client_killed])
def test_a_task_comes_to_its_end_with_its_person_gone(instance: Instance, stage: Demo, leave: Any) -> None:
    body = {"workflow": "release-notes", "inputs": {"repository": leave.__name__}, "member_id": stage.ids["member"]}
    task = leave(instance, stage, body)
    (left,) = instance.rows("select clock_timestamp() as at")
    # Nobody of theirs asks from here on. Somebody else, who is asked, decides.
    until(instance, task, "waiting")
    (approval,) = instance.rows("select ref from worka.wait where task_id = %s and cleared_at is null", task)
    card = stage.approver.get(f"/v1/approvals/{approval['ref']}")
    decision = {"decision": "approve", "digest": card["digest"], "comment": ""}
    stage.approver.post(f"/v1/approvals/{approval['ref']}/decisions", decision)
    done = until(instance, task, "succeeded", "failed", "unknown")
    assert (done["state"], done["originating_person"]) == ("succeeded", stage.ids["owner"])
    steps = instance.rows("select name, started_at, state from worka.step where task_id = %s order by position", task)
    assert [step["state"] for step in steps] == ["succeeded"] * 5
    after = [step["name"] for step in steps if step["started_at"] > left["at"]]
    assert len(after) >= 1, "it was all done before its person left: this proved nothing"
    assert len([effect for effect in stage.record()["effects"] if task in str(effect)]) == 1
    (revision,) = instance.rows("select count(*) as n from worka.view_revision where task_id = %s", task)
    assert revision["n"] == 1
