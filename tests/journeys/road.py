"""The road of one task, driven from outside, and every link that it has to leave (the table of ARCHITECTURE.md).

The driver never gives up early: a road that breaks leaves what it left, and each missing link is told by itself.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.instance import Instance
from worka.cli.demo import Demo

Row = dict[str, Any]
ENDED = ("succeeded", "failed", "cancelled", "unknown")
REPOSITORY = "the-road"


@dataclass
class Journey:
    """One task under one trace id, from its request to its end: what the caller saw, and what a judge sees now."""

    instance: Instance
    stage: Demo
    trace: str = field(default_factory=lambda: secrets.token_hex(16))
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    task_id: str = ""
    state: str = ""
    approval_id: str = ""
    held: Row = field(default_factory=dict)  # the task's row, seen while a worker held it
    why: Row = field(default_factory=dict)  # its explanation, while it waited
    answers: list[int] = field(default_factory=list)

    def send(self, who: Any, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """A request under the journey's trace; None when it is refused or the door breaks."""
        headers = {
            "Authorization": f"Bearer {who.token}",
            "traceparent": f"00-{self.trace}-{secrets.token_hex(8)}-01",
            **({"Idempotency-Key": key} if key else {}),
        }
        answer = httpx.request(method, self.instance.url + path, json=body, headers=headers, timeout=20)
        self.answers.append(answer.status_code)
        return answer.json() if answer.is_success else None

    def travel(self) -> None:
        """Asks for the task, approves what it asks, and waits for its end; some seconds when all is well."""
        stage, ws = self.stage, f"/v1/workspaces/{self.stage.ids['workspace']}"
        inputs = {"repository": REPOSITORY}
        body = {"workflow": "release-notes", "inputs": inputs, "member_id": stage.ids["member"]}
        made = self.send(stage.owner, "POST", f"{ws}/tasks", body, self.key)
        if made is None:
            return
        self.task_id = made["id"]
        self._until("waiting", *ENDED)
        if self.state == "waiting":
            self.why = self.send(stage.owner, "GET", f"/v1/tasks/{self.task_id}/why") or {}
            listed = self.send(stage.approver, "GET", f"{ws}/approvals?state=open") or {"items": []}
            mine = [item for item in listed["items"] if any(b["id"] == self.task_id for b in item["blocks"])]
            for card in mine[:1]:
                self.approval_id = card["id"]
                decision = {"decision": "approve", "digest": card["digest"], "comment": ""}
                self.send(stage.approver, "POST", f"/v1/approvals/{card['id']}/decisions", decision)
            self._until(*ENDED)
        time.sleep(1.5)  # the next seal is at most a second away

    def _until(self, *states: str, seconds: float = 25) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = self.instance.rows("select * from worka.task where id = %s", self.task_id)
            if not rows:
                return
            self.state = rows[0]["state"]
            if self.state == "running" and not self.held:
                self.held = rows[0]
            if self.state in states:
                return
            time.sleep(0.03)

    # the judge --------------------------------------------------------------------------------------------------------
    def rows(self, table: str, where: str = "true", *values: Any) -> list[Row]:
        """Rows of the tenant, by the cluster's administrator."""
        query = f"select * from worka.{table} where tenant_id = %s and {where}"
        return self.instance.rows(query, self.stage.ids["tenant"], *values)

    def traced(self, table: str, where: str = "true", *values: Any) -> list[Row]:
        """Rows under the journey's trace."""
        return self.rows(table, f"trace_id = %s and {where}", self.trace, *values)

    def of_task(self, table: str, where: str = "true", *values: Any) -> list[Row]:
        """Rows that name the task."""
        return self.rows(table, f"task_id = %s and {where}", self.task_id, *values)

    def audited(self) -> list[Row]:
        """The bodies of audit entries under the trace, each with its lane and number."""
        rows = self.rows("audit_entry", "position(%s::text in convert_from(body, 'UTF8')) > 0", self.trace)
        return [{**json.loads(bytes(row["body"])), "lane": row["lane"], "seq": row["seq"]} for row in rows]

    def logged(self, name: str) -> list[Row]:
        """Lines of a log under the trace."""
        lines = (self.instance.home / "log" / name).read_text().splitlines()
        return [json.loads(line) for line in lines if self.trace in line and line.startswith("{")]

    def spans(self, name: str) -> list[Row]:
        """Spans of this name under the trace."""
        return [span for span in self.logged("traces.jsonl") if span["name"] == name]

    def sealed(self) -> dict[int, int]:
        """Lane -> number of the last row of this tenant that a checkpoint in the object store seals."""
        found: dict[int, int] = {}
        for path in self.instance.home.rglob("checkpoints/*.json"):
            for leaf in json.loads(path.read_text())["leaves"]:
                if leaf["tenant"] == self.stage.ids["tenant"]:
                    found = {lane: max(seq, found.get(lane, 0)) for lane, seq, _ in leaf["heads"]} | {
                        lane: seq for lane, seq in found.items() if lane not in {head[0] for head in leaf["heads"]}
                    }
        return found

    def chain(self) -> set[str]:
        """The kinds of the links that `GET …/chain/{task}` shows."""
        path = f"/v1/workspaces/{self.stage.ids['workspace']}/chain/{self.task_id}"
        found = self.send(self.stage.owner, "GET", path) or {"links": []}
        return {link["kind"] for link in found["links"]}


@dataclass(frozen=True)
class Link:
    """What one row of the road leaves behind. `row`: its number in ARCHITECTURE.md."""

    row: int
    left: Callable[[Journey], Any]


def _all(values: list[Any], count: int) -> bool:
    return len(values) == count and all(values)


CALLS = 4  # git log, fetch, compose, publish
STEPS = 5  # the same, and the view

LINKS: dict[str, Link] = {
    "access-log": Link(
        1, lambda j: [e for e in j.logged("serve.log") if e["message"].startswith("POST /v1/workspaces/")]
    ),
    "span": Link(1, lambda j: [s for s in j.spans("http.request") if s["role"] == "serve" and s["ms"] > 0]),
    "idempotency": Link(1, lambda j: j.rows("idempotency", "key = %s and state = 'done' and status = 201", j.key)),
    "credential": Link(
        2, lambda j: [e for e in j.audited() if e["type"] == "workflow.task.started" and e["credential"]]
    ),
    "decision": Link(
        3, lambda j: [d for d in j.traced("decision", "action = 'task.create'") if d["rules"] and d["access_version"]]
    ),
    "task": Link(4, lambda j: j.traced("task", "id = %s", j.task_id)),
    "event": Link(4, lambda j: j.traced("event", "type = 'workflow.task.started' and subject = %s", j.task_id)),
    "audit": Link(4, lambda j: [e for e in j.audited() if e["type"] == "workflow.task.started"]),
    "claim": Link(5, lambda j: j.held.get("claim") and j.held["claimed_by"]),
    "lease": Link(5, lambda j: j.held.get("lease_until")),
    "attempt": Link(
        5, lambda j: len({e["after"]["attempt"] for e in j.traced("event", "type = 'workflow.task.claimed'")}) == 2
    ),
    "approval": Link(6, lambda j: j.traced("approval", "id = %s and decision_id <> ''", j.approval_id)),
    "wait": Link(
        6, lambda j: j.of_task("wait", "kind = 'approval' and ref = %s and deadline is not null", j.approval_id)
    ),
    "vote": Link(
        7,
        lambda j: j.rows(
            "approval_vote", "approval_id = %s and person_id = %s", j.approval_id, j.stage.ids["approver"]
        ),
    ),
    "next-segment": Link(
        7, lambda j: j.instance.rows("select 1 from dbos.workflow_status where workflow_uuid = %s", f"{j.task_id}:2")
    ),
    "receipt": Link(
        8,
        lambda j: _all(
            [j.rows("step_receipt", "step_id = %s and phase = 'outcome'", s["id"]) for s in j.of_task("step")], STEPS
        ),
    ),
    "approval-used": Link(
        8, lambda j: j.rows("approval", "id = %s and consumed_at is not null and consumed_by <> ''", j.approval_id)
    ),
    "invocation": Link(
        8, lambda j: _all([i["decision_id"] for i in j.of_task("invocation", "trace_id = %s", j.trace)], CALLS)
    ),
    "intent-audit": Link(8, lambda j: len([e for e in j.audited() if e["type"] == "pack.invocation.started"]) == CALLS),
    "outcome": Link(
        9, lambda j: _all([i["state"] == "succeeded" and i["ended_at"] for i in j.of_task("invocation")], CALLS)
    ),
    "isolation": Link(
        9, lambda j: _all([i["isolation"].get("driver") == "bwrap" for i in j.of_task("invocation")], CALLS)
    ),
    "output-tail": Link(9, lambda j: [i for i in j.of_task("invocation") if i["stderr_tail"].strip()]),
    "pack-span": Link(9, lambda j: len(j.spans("pack.invoke")) == CALLS),
    "egress": Link(
        10, lambda j: j.traced("egress", "verdict = 'allowed' and rule is not null and invocation_id is not null")
    ),
    "egress-span": Link(10, lambda j: [s for s in j.spans("broker.egress") if s["role"] == "broker"]),
    "secret-lease": Link(
        11, lambda j: j.traced("lease", "used_count > 0 and closed_at is not null and invocation_id <> ''")
    ),
    "answer": Link(
        12, lambda j: _all([e["status"] and e["duration_ms"] and e["bytes_in"] for e in j.traced("egress")], 2)
    ),
    "effect": Link(12, lambda j: j.of_task("step", "kind = 'tool' and effect_id is not null")),
    "view": Link(12, lambda j: j.of_task("view_revision", "invocation_id is not null")),
    "checkpoint": Link(
        13, lambda j: _all([j.sealed().get(e["lane"], 0) >= e["seq"] for e in j.audited()], len(j.audited()) or -1)
    ),
    "explanation": Link(
        14, lambda j: [w for w in j.why.get("waiting_on", []) if w["ref"] == j.approval_id and w["who"]]
    ),
    "chain": Link(
        14,
        lambda j: (
            {"request", "decision", "approval", "release", "egress", "lease", "effect", "view", "audit"} <= j.chain()
        ),
    ),
}
