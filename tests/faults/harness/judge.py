"""The judge: compares what callers were told with what took effect at the tracker and with the exported ledger.

It trusts neither side's word for the other. What it finds is a list of sentences; an empty list is a pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faults.harness.load import Job, Load
from tests.faults.harness.stage import Stage, Tenant

TASKS = ("post", "publish", "light")
# The clocks of the tracker and of the database are one, but a row is dated before it is written.
SLACK = 0.3


@dataclass
class Verdict:
    """`broken` holds one sentence for each promise that was not kept."""

    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def say(self, condition: object, sentence: str) -> None:
        if not condition:
            self.broken.append(sentence)

    def worst(self, name: str, seconds: float, limit: float, what: str) -> None:
        """A promised time: the figure is kept, and judged."""
        self.figures[name] = round(seconds, 2)
        self.say(seconds <= limit, f"{what} took {seconds:.2f} s, {limit:g} s are promised")


def judge(stage: Stage, load: Load, folder: Path, window: tuple[float, float], *, clock: bool = True) -> Verdict:
    """Judges one seed. Errors that callers met are fine inside `window` (from the hit to the recovery), not outside.
    `clock`: whether the platform's own timestamps can be compared with ours."""
    verdict = Verdict()
    lost = [job for job in load.jobs if job.gave_up]
    for job in lost[:5]:
        verdict.broken.append(f"{job.kind} {job.marker} of {job.tenant} was given up: {job.gave_up}")
    tasks = [job for job in load.jobs if job.kind in TASKS and job.acked]
    for job in [job for job in tasks if job.state != "succeeded" and not job.gave_up][:5]:
        verdict.broken.append(f"the task {job.task_id} ended {job.state} ({job.reason})")
    with ThreadPoolExecutor(len(stage.tenants)) as pool:
        ledgers = list(pool.map(lambda tenant: tenant.ledger(folder), stage.tenants))
    for tenant, (ledger, bodies) in zip(stage.tenants, ledgers, strict=True):
        mine = [job for job in load.jobs if job.tenant == tenant.name]
        _effects(verdict, tenant, mine, clock)
        verdict.say(ledger["ok"], f"the ledger of {tenant.name} does not verify: {ledger.get('problems')}")
        _ledger(verdict, mine, bodies)
        if clock:
            _resumed(verdict, mine, bodies, window[0])
    _errors(verdict, load, window)
    states = Counter(job.state or "none" for job in load.jobs if job.kind in TASKS)
    verdict.figures |= {
        "jobs": len(load.jobs),
        "tasks_acknowledged": len(tasks),
        "task_states": dict(sorted(states.items())),
        "calls": dict(Counter(job.state for job in load.jobs if job.kind == "call")),
        "given_up": len(lost),
        "ledger_rows": sum(len(bodies) for _, bodies in ledgers),
    }
    return verdict


def _effects(verdict: Verdict, tenant: Tenant, jobs: list[Job], clock: bool) -> None:
    """Acknowledged ⊆ effected, and one effect for one thing that was wanted, by the tracker's own record."""
    by_marker: dict[str, list[dict[str, Any]]] = defaultdict(list)
    requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known = {job.marker for job in jobs}
    for entry in tenant.requests():
        if entry["kind"] == "effect" and entry["repository"] in known:
            by_marker[entry["repository"]].append(entry)
        elif entry["kind"] == "request" and entry.get("idempotency_key"):
            requests[entry["idempotency_key"]].append(entry)
    repeated = 0
    for job in jobs:
        effects = by_marker[job.marker]
        must = job.acked and job.state == "succeeded" and job.kind in (*TASKS, "call")
        verdict.say(len(effects) <= 1, f"{job.kind} {job.marker} had {len(effects)} effects, not one")
        if must:
            verdict.say(effects, f"{job.kind} {job.marker} was acknowledged and had no effect")
            ids = [effect["effect_id"] for effect in effects]
            verdict.say(job.effect_id in ids, f"{job.kind} {job.marker} says {job.effect_id}, the tracker {ids}")
        for effect in effects:
            repeated += len(requests[effect["key"]]) - 1
        for step in job.steps:
            done = [receipt for receipt in step["receipts"] if receipt["phase"] == "outcome"]
            verdict.say(len(done) <= 1, f"the step {step['id']} has {len(done)} outcomes")
            if clock and step["name"] == "effect" and step["state"] == "succeeded" and effects:
                ended = datetime.fromisoformat(step["ended_at"]).timestamp()
                late = [entry for entry in requests[effects[0]["key"]] if entry["at"] > ended + SLACK]
                verdict.say(not late, f"the finished step {step['id']} ran again: {late[:1]}")
    verdict.figures["effects"] = verdict.figures.get("effects", 0) + sum(len(found) for found in by_marker.values())
    verdict.figures["repeated_requests"] = verdict.figures.get("repeated_requests", 0) + repeated


def _ledger(verdict: Verdict, jobs: list[Job], bodies: list[dict[str, Any]]) -> None:
    """Every acknowledged task was started once and finished once, says the exported ledger."""
    started = Counter(row["subject"]["id"] for row in bodies if row["type"] == "workflow.task.started")
    finished = Counter(row["subject"]["id"] for row in bodies if row["type"] == "workflow.task.finished")
    for job in jobs:
        if job.kind in TASKS and job.acked:
            verdict.say(started[job.task_id] == 1, f"the ledger has {started[job.task_id]} starts of {job.task_id}")
            if job.state == "succeeded":
                verdict.say(finished[job.task_id] == 1, f"the ledger has {finished[job.task_id]} ends of {job.task_id}")
    titles = Counter(row["subject"]["name"] for row in bodies if row["type"] == "workflow.task.started")
    for job in jobs:
        verdict.say(titles[job.marker] <= 1, f"one request made {titles[job.marker]} tasks ({job.marker})")


def _resumed(verdict: Verdict, jobs: list[Job], bodies: list[dict[str, Any]], hit: float) -> None:
    """How long after the hit the tasks that were running then moved again, by the ledger's own times."""
    wanted = {job.task_id for job in jobs if job.task_id}
    moves: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in bodies:
        cause = row.get("cause") or {}
        task = row["subject"]["id"] if row["type"].startswith("workflow.task.") else cause.get("id")
        if task in wanted and row["type"].startswith("workflow.") and row["type"] != "workflow.task.reoffered":
            at = datetime.fromisoformat(row["at"]).timestamp()
            moves[task].append((at, row["type"]))
    for found in moves.values():
        found.sort()
        before = [kind for at, kind in found if at <= hit]
        after = [at for at, _ in found if at > hit]
        if (
            before
            and after
            and before[-1] in ("workflow.task.claimed", "workflow.step.started", "workflow.step.finished")
        ):
            worst = max(verdict.figures.get("resumed_after", 0.0), round(after[0] - hit, 2))
            verdict.figures["resumed_after"] = worst
            verdict.figures["in_flight"] = verdict.figures.get("in_flight", 0) + 1


def _errors(verdict: Verdict, load: Load, window: tuple[float, float]) -> None:
    """No caller meets an error outside of the window; inside it only `no answer` and 503."""
    bad = [entry for entry in load.tries if entry.status == 0 or entry.status >= 500]
    outside = [entry for entry in bad if entry.done < window[0] or entry.sent > window[1]]
    for entry in outside[:3]:
        when = entry.sent - window[0]
        verdict.broken.append(
            f"{entry.op} met {entry.status} {entry.code} {when:+.2f} s from the hit, outside the fault"
        )
    for entry in [entry for entry in bad if entry.status not in (0, 503)][:3]:
        verdict.broken.append(f"{entry.op} met {entry.status} {entry.code}: an error that is no 503")
    per_tenant = Counter(entry.tenant for entry in bad)
    verdict.figures["errors_in_window"] = len(bad) - len(outside)
    verdict.figures["errors_by_tenant"] = dict(per_tenant)
    verdict.figures["tries"] = len(load.tries)
