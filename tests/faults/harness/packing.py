"""Rows in which a pack goes wrong: it hangs, eats memory, forks without end, floods its log, or fills its disk."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, Tenant
from tests.faults.harness.watch import Prober
from worka.cli.client import Failed

CALLS = 3
DISK_BYTES = 8 << 20
"""What the pack's manifest gives it."""
IDLE_SECONDS = 1.5
"""Warm sessions are let go soon, so that what is left afterwards is a leak and nothing else."""
# The broker's connections to the database come and go with the load.
SLACK_DESCRIPTORS = {"host": 4, "launcher": 2, "broker": 12}
SETTLED_WITHIN = 12.0


def processes_of(uid: int) -> list[int]:
    """Processes that run as this uid."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == uid:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def zombies_of(parent: int) -> int:
    """Children of a process that ended and were never reaped."""
    count = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += fields[0] == "Z" and int(fields[1]) == parent
    return count


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class Harm(Row):
    """One tenant's pack does harm, three calls at once; the other tenants must not notice."""

    mix = {"post": 5, "publish": 2, "call": 3, "read": 2}  # noqa: RUF012
    how = ""
    environment = {"WORKA_PACKS__IDLE_SECONDS": str(IDLE_SECONDS)}  # noqa: RUF012
    reasons: tuple[str, ...] = ("pack_timeout",)
    resume = None
    calls, at_once = CALLS, CALLS
    promise = "only that pack dies, group reaped, reason in the activity; no zombie or descriptor leak"

    def build(self) -> Stage:
        """Takes the measure of the three roles at rest, before any load."""
        stage = super().build()
        time.sleep(2 * IDLE_SECONDS)
        self.at_rest = {name: descriptors(stage.roles()[name]["pid"]) for name in ("host", "launcher", "broker")}
        return stage

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        victim = rng.choice(stage.tenants)
        uid = stage.instance.rows("select uid from worka.attachment where id = %s", victim.attachment["id"])[0]["uid"]
        pids = stage.roles()
        hit = Hit(victim=f"{victim.name}'s pack, uid {uid}", mode=self.how)
        hit.facts = {
            "tenant": victim.name,
            "starts": {name: role["starts"] for name, role in pids.items()},
        }
        answers: list[dict[str, Any]] = []
        hit.at = time.time()
        share = self.calls // self.at_once
        threads = [threading.Thread(target=self._call, args=(victim, answers, share)) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        most = 0
        flooded = 0
        while any(thread.is_alive() for thread in threads):
            there = processes_of(uid)
            most = max(most, len(there))
            flooded = max([flooded, *(_written(pid) for pid in there)])
            time.sleep(0.1)
        hit.until = time.time()
        hit.facts |= {"most_processes": most, "written_mb": flooded >> 20}
        hit.facts["answers"] = dict(Counter(f"{answer.get('status')}:{answer.get('reason')}" for answer in answers))
        hit.facts["uid"] = uid
        if len(answers) == self.calls and self.seen(answers, most, flooded):
            hit.proof.append(
                f"{self.calls} calls ended as {hit.facts['answers']}; {most} processes, {flooded >> 20} MiB written"
            )
        return hit

    def _call(self, victim: Tenant, answers: list[dict[str, Any]], times: int) -> None:
        path, client = victim.owner.ws("/tools/worka.faults.misbehave/call"), victim.client()
        for _ in range(times):
            try:
                answers.append(client.call("POST", path, {"arguments": {"how": self.how}}))
            except Failed as failure:
                answers.append({"status": "refused", "reason": failure.body.get("code"), **failure.body})

    def seen(self, answers: list[dict[str, Any]], most: int, flooded: int) -> bool:
        """Whether the harm was really done."""
        return all(answer.get("reason") in self.reasons for answer in answers)

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        victim = hit.facts.pop("tenant")
        verdict.figures["unready_for"], _ = prober.outage(hit.at)
        verdict.say(
            {name: role["starts"] for name, role in stage.roles().items()} == hit.facts.pop("starts"),
            "a process of ours was started again",
        )
        others = [entry for entry in load.tries if entry.tenant != victim and entry.sent >= hit.at]
        failing = [entry for entry in others if entry.status not in (200, 409)]
        verdict.figures |= {"others_tries": len(others), "others_errors": len(failing)}
        verdict.say(not failing, f"others met {[(e.op, e.status, e.code) for e in failing[:3]]}")
        lost = [job for job in load.jobs if job.tenant != victim and job.kind == "call" and job.state != "succeeded"]
        verdict.say(not lost, f"{len(lost)} calls of other tenants did not succeed: {[job.reason for job in lost[:2]]}")
        self._reaped(verdict, stage, hit)
        self._told(verdict, stage, victim)

    def _reaped(self, verdict: Verdict, stage: Stage, hit: Hit) -> None:
        """What the pack left is gone: no process, no descriptor, no zombie, once idle sessions were let go."""
        roles = stage.roles()
        uid = hit.facts.pop("uid")
        deadline = time.monotonic() + SETTLED_WITHIN
        while True:
            left = processes_of(uid)
            more = {name: descriptors(roles[name]["pid"]) - count for name, count in self.at_rest.items()}
            undead = {name: zombies_of(roles[name]["pid"]) for name in ("host", "launcher")}
            leaked = {name: count for name, count in more.items() if count > SLACK_DESCRIPTORS[name]}
            if not left and not leaked and not any(undead.values()):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        verdict.figures |= {"processes_left": len(left), "descriptors_more": more}
        verdict.say(not left, f"{len(left)} processes of the pack are left")
        verdict.say(not leaked, f"descriptors leaked: {leaked}")
        verdict.say(not any(undead.values()), f"zombies are left: {undead}")

    def _told(self, verdict: Verdict, stage: Stage, victim: str) -> None:
        """The reason stands in the activity, where an operator looks."""
        tenant = next(tenant for tenant in stage.tenants if tenant.name == victim)
        owner = tenant.client()
        items = owner.get(owner.ws("/invocations"), limit=200)["items"]
        harmed = [item for item in items if item["tool"].endswith("misbehave")][: self.calls]
        told = {item["reason"] for item in harmed}
        verdict.say(harmed and told <= set(self.reasons), f"the activity gives {told} as the reason")
        if harmed:
            why = owner.get(f"/v1/invocations/{harmed[0]['id']}/why")
            verdict.say(why["reason"] in self.reasons, f"why says {why['reason']}: {why['headline']}")


def _written(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().split()
    except OSError:
        return 0
    return int(lines[lines.index("wchar:") + 1])


class Hung(Harm):
    name = "pack-hung"
    how = "hang"


class OutOfMemory(Harm):
    name = "pack-out-of-memory"
    how = "memory"
    reasons = ("pack_out_of_memory",)


class ForkBomb(Harm):
    name = "pack-fork-bomb"
    how = "fork"
    reasons = ("pack_timeout", "pack_signalled", "pack_crashed", "malformed_output", "protocol_error")

    def seen(self, answers: list[dict[str, Any]], most: int, flooded: int) -> bool:
        return super().seen(answers, most, flooded) and most >= 24


class LogFlood(Harm):
    name = "pack-log-flood"
    how = "log"

    def seen(self, answers: list[dict[str, Any]], most: int, flooded: int) -> bool:
        return super().seen(answers, most, flooded) and flooded > 20 << 20


class DiskFill(Harm):
    name = "pack-disk-fill"
    how = "disk"
    reasons = ("tool_error",)

    def seen(self, answers: list[dict[str, Any]], most: int, flooded: int) -> bool:
        written = [re.search(r"disk full after (\d+) bytes", str(answer.get("message"))) for answer in answers]
        return all(found and 1 << 20 <= int(found[1]) <= 2 * DISK_BYTES for found in written)


class Crashing(Harm):
    """Fifty crashes a seed on one instance, a thousand over twenty: what each leaves adds up, and is measured against rest."""

    name = "pack-crashes"
    how = "crash"
    calls, at_once = 51, 3
    reasons = ("pack_crashed", "pack_signalled")
