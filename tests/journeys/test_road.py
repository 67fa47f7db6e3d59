"""The journey: one trace id, and every row of the road's table left its link. `make prove CODE=ROAD` takes each writer away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.road import Journey
from tests.plugins import catalogue
from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)


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


@pytest.fixture(scope="module")
def journey(instance: Instance, stage: Demo) -> Journey:
    """A task that went its whole road, or as far as it came."""
    made = Journey(instance, stage)
    made.travel()
    return made


def test_the_road_comes_to_its_end(journey: Journey) -> None:
    assert journey.state == "succeeded", journey.answers
    assert len([effect for effect in journey.stage.record()["effects"] if journey.task_id in str(effect)]) == 1


@pytest.mark.parametrize("link", LINKS)
def test_every_row_of_the_road_left_its_link(journey: Journey, link: str) -> None:
    assert LINKS[link].left(journey), f"row {LINKS[link].row} of the road left no {link}"


def test_another_trace_has_no_link(instance: Instance, stage: Demo) -> None:
    """The control: what is found is found by the journey's own ids, not because something is always there."""
    nothing = Journey(instance, stage, task_id="task_none", approval_id="apr_none")
    assert [name for name, link in LINKS.items() if link.left(nothing)] == []


def test_one_trace_passes_through_every_process(journey: Journey) -> None:
    assert {"serve", "worker", "host", "broker"} <= {span["role"] for span in journey.logged("traces.jsonl")}


def test_no_row_of_the_road_keeps_the_body_of_an_answer(journey: Journey) -> None:
    """The control: the notes in the view hold the words that are looked for."""
    (view,) = journey.of_task("view_revision")
    words = "add the pier"
    assert words in json.dumps(view["document"])
    tables = ("egress", "invocation", "lease", "event", "audit_entry", "decision", "approval", "step", "idempotency")
    for table in tables:
        rows = journey.instance.rows(
            f"select t::text as line from worka.{table} t where tenant_id = %s", view["tenant_id"]
        )
        assert rows, table
        assert not any(words in row["line"] or words.encode().hex() in row["line"] for row in rows), table


def test_every_row_of_architectures_table_has_a_link_and_every_link_a_mutation() -> None:
    table = re.findall(r"^\| (\d+) \|", (Path(catalogue.CHECKOUT) / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert {int(number) for number in table} == {link.row for link in LINKS.values()}
    taken = {mutation.path.stem.removeprefix("ROAD-") for mutation in catalogue.mutations(code="ROAD")}
    assert taken == set(LINKS), "a link that no patch takes away is not shown to be missed"
