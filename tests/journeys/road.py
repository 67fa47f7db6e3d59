"""The road of one task, driven from outside, and what a judge finds of it.

The driver never gives up early: a road that breaks leaves what it left, and each missing link is told by itself.
"""

from __future__ import annotations

import json
import secrets
import time
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
