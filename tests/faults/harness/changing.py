"""The row of the tool that changes after it was approved, while it is being called. What was done, the tracker says."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import CALL_PATIENCE, GaveUp, Job, Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import PACK, Stage
from tests.faults.harness.watch import Prober
from worka.cli.client import Client

SERVER = Path(__file__).with_name("versioned") / "turncoat.py"
CALLERS = 3
BEFORE, AFTER = 4.0, 5.0
"""Seconds for which the tools are called before the change, and at least after it."""
FELT_WITHIN = 25.0
"""Until some call met the change and another one did not; on a machine with much to do a call is long."""
SETTING_UP = (15.0, 40.0, 100.0)
"""When it turns, from now: the moment stands in what is registered, so whoever was not ready by then does it again."""
LOAD_STARTS = 4.0
HELD = ("tool_definition_changed", "tool_held")


class ToolChanged(Row):
    name = "tool-changed"
    promise = "held before the next call; unchanged tools serve; it serves again once somebody agreed to exactly that"
    mix = {"post": 5, "publish": 2, "read": 3}  # noqa: RUF012
    resume = None

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        self.seed = seed
        self.victim = rng.choice(stage.tenants)
        self.how = rng.choice(["notice", "ends"])
        self.killed = rng.choice(["", "", "serve", "worker", "host"])
        # A task's call that loses its host fails visibly: that is another row's promise.
        mix = {"read": 3} if self.killed == "host" else self.mix
        load = Load(stage, seed, journal, mix=mix, pause=self.pause)
        owner, approver = self.victim.client(), self.victim.client("approver")
        for number, seconds in enumerate(SETTING_UP):
            self.at = time.time() + seconds
            self.pack, self.attachment = self._attached(owner, approver, number)
            # The control, and what it costs to start it for the first time.
            for tool in ("turn", "keep"):
                self._one(load, owner, tool, f"first-{number}")
            if time.time() < self.at - BEFORE - LOAD_STARTS:
                return load
            self._detached(owner)
        raise AssertionError("the pack took too long to set up")

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        owner = self.victim.client()
        hit = Hit(mode=f"{self.how}{', ' + self.killed + ' killed' if self.killed else ''}", victim=self.victim.name)
        over = threading.Event()
        callers = [
            threading.Thread(target=self._call, args=(load, self.victim.client(), number, over), daemon=True)
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        time.sleep(max(0.0, self.at - time.time()))
        hit.at = time.time()
        if self.killed:
            time.sleep(rng.uniform(0, 0.3))
            os.kill(stage.roles()[self.killed]["pid"], signal.SIGKILL)
        hit.until = time.time()
        time.sleep(AFTER)
        deadline = hit.at + FELT_WITHIN
        while not (told(load.jobs, hit) and kept(load.jobs, hit)) and time.time() < deadline:
            time.sleep(0.1)
        over.set()
        for caller in callers:
            caller.join(2 * CALL_PATIENCE)
        path = f"/v1/attachments/{self.attachment}/definitions"
        held = [item for item in load.insist(self._job(), "held", lambda: owner.get(path))["items"] if item["waits"]]
        hit.facts["held"] = [item["tool"] for item in held]
        if held:
            hit.proof.append(f"{held[0]['tool']} waits for a decision: {held[0]['diff'][-80:]!r}")
            hit.facts["accepted_at"] = time.time()
            decision = {"tool": "turn", "pin": held[0]["pin"], "decision": "accept", "why": "the harness"}
            owner.post(path, decision)
            self._one(load, owner, "turn", "accepted")
        self._detached(owner)
        return hit

    def _detached(self, owner: Client) -> None:
        owner.call("DELETE", f"/v1/attachments/{self.attachment}", {"reason": "done"})

    def _job(self) -> Job:
        return Job(self.victim.name, "asked", f"f{self.seed}-asked")

    def _attached(self, owner: Client, approver: Client, number: int) -> tuple[str, str]:
        """(the pack's name, the attachment) of a turncoat that turns at `self.at`, attached and approved."""
        name = f"turncoat{self.seed.replace('.', '-')}-{number}"
        manifest: dict[str, Any] = json.loads((PACK / "worka" / "aip.json").read_text())
        tool = {"side_effect": "write", "idempotent": True}
        manifest |= {
            "publisher": f"t{self.victim.run}",
            "name": name,
            "display_name": "Turncoat",
            "runtime": {
                **manifest["runtime"],
                "package": {"ecosystem": "path", "name": name, "version": "1.0.0"},
            },
            "tools": [
                {"name": "turn", "description": "Posts a note.", **tool},
                {"name": "keep", "description": "Posts a note, always the same way.", **tool},
            ],
        }
        server = SERVER.read_text().replace("AT, HOW = None, None", f"AT, HOW = {self.at!r}, {self.how!r}")
        files = {"server.py": base64.b64encode(server.encode()).decode()}
        release = owner.post(owner.ws("/releases"), {"manifest": manifest, "lock": "", "files": files})
        while release["state"] not in ("released", "failed"):
            time.sleep(0.1)
            release = owner.get(f"/v1/releases/{release['id']}")
        assert release["state"] == "released", f"the turncoat is {release['state']}: {release.get('error')}"
        attachment = owner.post(owner.ws("/attachments"), {"release_id": release["id"], "mode": "pinned"})
        if attachment["state"] == "awaiting_approval":
            card = approver.get(f"/v1/approvals/{attachment['approval_id']}")
            decision = {"decision": "approve", "digest": card["digest"], "comment": ""}
            approver.post(f"/v1/approvals/{card['id']}/decisions", decision)
        return f"{manifest['publisher']}.{name}", attachment["id"]

    def _call(self, load: Load, owner: Client, number: int, over: threading.Event) -> None:
        count = 0
        while not over.is_set():
            count += 1
            self._one(load, owner, ("keep", "turn")[count % 2], f"{number}-{count}")

    def _one(self, load: Load, owner: Client, tool: str, name: str) -> None:
        """One call, judged as every call is: at most one effect, and one where it was acknowledged."""
        job = Job(self.victim.name, "call", f"f{self.seed}-{tool}-{name}", facts={"tool": tool, "sent": time.time()})
        load.jobs.append(job)
        path = owner.ws(f"/tools/{self.pack}.{tool}/call")
        body = {"arguments": {"marker": job.marker, "text": tool}}
        try:
            answer = load.insist(job, "call", lambda: owner.post(path, body, key=job.marker), patience=CALL_PATIENCE)
        except GaveUp as error:
            job.state, job.reason = "not_acknowledged", str(error)
            return
        job.acked = answer["status"] == "succeeded"
        job.state, job.reason, job.effect_id = answer["status"], answer["reason"], answer["effect_id"]

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        accepted = hit.facts.pop("accepted_at", float("inf"))
        mine = [job for job in load.jobs if "tool" in job.facts]
        markers = {job.marker: job for job in mine}
        done = [
            entry for entry in self.victim.requests() if entry["kind"] == "effect" and entry["repository"] in markers
        ]
        turned = [entry for entry in done if entry["title"] == "turned"]
        early = [entry for entry in turned if entry["at"] < accepted]
        verdict.say(not early, f"{len(early)} calls were served by a definition that nobody had approved")
        verdict.say(len(turned) > len(early), "the control: what was accepted does not serve")
        verdict.say([entry for entry in done if entry["title"] == "approved"], "nothing was called before the change")
        verdict.say(kept(load.jobs, hit), "the tool that did not change does not serve any more")
        refused = [job.reason for job in mine if changed(job, hit) and not job.acked]
        verdict.say(told(load.jobs, hit), f"no call was told that the tool changed: {refused[:2]}")
        verdict.say(hit.facts.pop("held") == ["turn"], "other tools are held than the one that changed")
        verdict.figures |= {
            "turned_calls_refused": len(told(load.jobs, hit)),
            "kept_calls": len(kept(load.jobs, hit)),
            "tool_effects": len(done),
        }


def changed(job: Job, hit: Hit) -> bool:
    """Whether this is a call of what changed, sent after that."""
    return job.facts.get("tool") == "turn" and job.facts["sent"] > hit.at


def told(jobs: list[Job], hit: Hit) -> list[Job]:
    """Calls that were refused for the change."""
    return [job for job in list(jobs) if changed(job, hit) and any(reason in job.reason for reason in HELD)]


def kept(jobs: list[Job], hit: Hit) -> list[Job]:
    """Calls of the tool that did not change which succeeded well after the change."""
    mine = [job for job in list(jobs) if job.facts.get("tool") == "keep" and job.facts["sent"] > hit.at + 1.0]
    return [job for job in mine if job.acked]
