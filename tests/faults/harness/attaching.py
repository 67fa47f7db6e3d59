"""The row of attachment: packs are attached, called, moved to a newer release, quarantined, lifted and detached, while
processes of ours die. Which release serves, the pack itself says."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.harness import settled
from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import CALL_PATIENCE, PATIENCE, GaveUp, Job, Load
from tests.faults.harness.publishing import THINKING, Publishing, away, kill, pack
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, Tenant
from tests.faults.harness.watch import Prober
from tests.support.instance import make_repository
from worka.cli.client import Client, Failed

POINTS = (
    *(f"attachment.{name}.{side}_commit" for name in ("created", "move") for side in ("before", "after")),
    *(f"attachment.{name}.{side}_commit" for name in ("created", "mode") for side in ("before", "after")),
    *(f"pack.withdrawn.{side}_commit" for side in ("before", "after")),
    *(f"release.stage.{side}_commit" for side in ("before", "after")),
    "attachment.move.tried",
    "attachment.moved.after_commit",
    "pack.invocation.outcome.before_commit",
)
ROLES = ("worker", "worker", "serve", "serve", "host", "broker", "launcher", "postgres", "postgres")
AWAY = (
    "host_unavailable",
    "process_unavailable",
    "broker_unavailable",
    "broker_lost",
    "sandbox_unavailable",
    "pack_signalled",
)
UNDECIDED = ("call_in_flight", "outcome_unknown")
"""What a repeat is told of a call whose process died in the middle of it: it is called anew, under a key of its own."""
OVER = ("moved", "failed", "refused", "superseded")
MOUNTS = [{"name": "repo", "target": "/repo", "mode": "ro"}]


class Attaching(Publishing):
    """Callers that take a pack through all of its life in a workspace. After each acknowledgement they call the pack, and what
    answers must be what was acknowledged."""

    def _do(self, job: Job, tenant: Tenant, owner: Client, approver: Client, rng: random.Random) -> None:
        if job.kind != "attachment":
            super()._do(job, tenant, owner, approver, rng)
            return
        name = "a" + job.marker.rsplit("-", 1)[1]
        job.facts["pack"] = f"{tenant.publisher}.{name}"
        runtime = pack(tenant.publisher, name, "1.0.0")["manifest"]["runtime"]
        versions = [
            pack(tenant.publisher, name, version, runtime={**runtime, "package": {**runtime["package"], "version": version}, "mounts": MOUNTS})
            for version in ("1.0.0", "1.0.1")
        ]  # fmt: skip
        first = self.registered(job, owner, versions[0])
        mode = rng.choice(["pinned", "tracking"])
        attachment = self._attach(job, owner, approver, first["id"], mode, str(tenant.repository()))
        job.acked = True
        self._serves(job, owner, "1.0.0")
        time.sleep(rng.uniform(0, 2 * THINKING))
        second = self.registered(job, owner, versions[1])
        if mode == "pinned" and rng.random() < 0.4:
            mode = "tracking"
            self._follow(job, owner, attachment)
        elif mode == "pinned":
            self._move(job, owner, approver, attachment, second["id"])
        if mode == "tracking":
            self._followed(job, owner, approver, attachment)
        self._serves(job, owner, "1.0.1")
        time.sleep(rng.uniform(0, 2 * THINKING))
        if rng.random() < 0.5:
            self._taken_away(job, owner, second["id"])
        self._detach(job, owner, attachment)
        job.state = "detached"

    def _attach(self, job: Job, owner: Client, approver: Client, release: str, mode: str, place: str) -> str:
        body = {"release_id": release, "mode": mode, "mounts": {"repo": place}}
        row = self.insist(job, "attach", lambda: owner.post(owner.ws("/attachments"), body, key=f"{job.marker}-attach"))
        path = f"/v1/attachments/{row['id']}"
        if row["state"] == "awaiting_approval":
            self._approve(job, approver, row["approval_id"])
        found = self.until(job, "attached", path, owner, lambda now: now["state"] in ("attached", "detached"))
        assert found["state"] == "attached", f"the attachment is {found['state']} ({found['reason']})"
        return str(row["id"])

    def _serves(self, job: Job, owner: Client, version: str) -> None:
        """A call is answered by this version. What a killed part of ours made fail, is called again."""
        path = owner.ws(f"/tools/{job.facts['pack']}.version/call")
        deadline = time.monotonic() + PATIENCE
        number = 0
        while True:
            number += 1
            key = f"{job.marker}-{version}-{number}"
            answer = self._called(job, owner, path, key)
            if answer["status"] == "succeeded":
                said = answer["structured"]
                assert said["version"] == version, (
                    f"version {said['version']} answered where {version} was acknowledged"
                )
                assert said["mounted"], f"{version} serves without the repository that was bound"
                return
            job.facts.setdefault("failures", []).append(answer["reason"])
            assert answer["reason"] in AWAY, f"the call failed: {answer['reason']} {answer.get('message')}"
            if time.monotonic() > deadline:
                raise GaveUp(f"no call succeeds: {answer['reason']}")
            time.sleep(0.3)

    def _called(self, job: Job, owner: Client, path: str, key: str) -> Any:
        body = {"arguments": {"marker": job.marker}}
        try:
            return self.insist(job, "call", lambda: owner.post(path, body, key=key), patience=CALL_PATIENCE)
        except GaveUp as error:
            said = error.__cause__.body if isinstance(error.__cause__, Failed) else {}
            away = int(said.get("status") or 0) in (0, 503) or said.get("code") in UNDECIDED
            if not away:
                raise
            return {"status": "failed", "reason": "process_unavailable"}

    def _follow(self, job: Job, owner: Client, attachment: str) -> None:
        path = f"/v1/attachments/{attachment}/mode"
        try:
            self.insist(job, "mode", lambda: owner.call("PUT", path, {"mode": "tracking"}, key=f"{job.marker}-mode"))
        except GaveUp as error:
            # A PUT that was done and is done again says that it is so already.
            if not isinstance(error.__cause__, Failed) or error.__cause__.body.get("status") != 409:
                raise

    def _followed(self, job: Job, owner: Client, approver: Client, attachment: str) -> None:
        """It moves by itself; a move that failed for what was away says so, and is asked for by hand."""
        path = f"/v1/attachments/{attachment}/standing"

        def rests(found: Any) -> bool:
            move = found["move"]
            if move and move["state"] == "awaiting_approval":
                self._approve(job, approver, move["approval_id"])
                return False
            return found["attachment"]["state"] == "attached" and (found["version"] == "1.0.1" or move is None)

        found = self.until(job, "followed", path, owner, rests)
        if found["version"] != "1.0.1":
            moves = self.insist(job, "moves", lambda: owner.get(f"/v1/attachments/{attachment}/moves"))["items"]
            assert moves, "nothing followed, and nothing says why"
            self._told(job, owner, f"/v1/moves/{moves[0]['id']}", moves[0]["reason"])
            self._move(job, owner, approver, attachment, found["newer"][0]["id"])

    def _move(self, job: Job, owner: Client, approver: Client, attachment: str, release: str) -> None:
        path = f"/v1/attachments/{attachment}/moves"

        def read(subjects: list[str]) -> Any:
            (made,) = [subject for subject in subjects if subject.startswith("mov_")]
            return self.insist(job, "get", lambda: owner.get(f"/v1/moves/{made}"))

        for number in range(4):
            key = f"{job.marker}-move-{number}"
            move = self.once(job, "move", lambda key=key: owner.post(path, {"release_id": release}, key=key), read)
            if move["state"] == "awaiting_approval":
                self._approve(job, approver, move["approval_id"])
            move = self.until(job, "moved", f"/v1/moves/{move['id']}", owner, lambda now: now["state"] in OVER)
            if move["state"] == "moved":
                return
            self._told(job, owner, f"/v1/moves/{move['id']}", move["reason"])
            time.sleep(0.5)
        raise AssertionError(f"the move ends {move['state']} ({move['reason']}) again and again")

    def _taken_away(self, job: Job, owner: Client, release: str) -> None:
        """Quarantined: from its acknowledgement on no call is answered. Lifted: they are."""
        job.facts["quarantined"] = release
        path = f"/v1/releases/{release}"
        body = {"reason": "the harness"}
        self.insist(job, "quarantine", lambda: owner.post(f"{path}/quarantine", body, key=f"{job.marker}-quarantine"))
        self._refused(job, owner, "quarantined")
        self.insist(job, "lift", lambda: owner.post(f"{path}/lift", body, key=f"{job.marker}-lift"))
        self._serves(job, owner, "1.0.1")

    def _refused(self, job: Job, owner: Client, when: str) -> None:
        path = owner.ws(f"/tools/{job.facts['pack']}.version/call")
        key = f"{job.marker}-{when}"
        try:
            answer = self.insist(job, "call", lambda: owner.post(path, {"arguments": {"marker": job.marker}}, key=key))
        except GaveUp as error:
            if isinstance(error.__cause__, Failed) and error.__cause__.body.get("status") in (403, 404, 409):
                return
            raise
        assert answer["status"] != "succeeded", f"a call succeeded although it was {when}"

    def _detach(self, job: Job, owner: Client, attachment: str) -> None:
        path = f"/v1/attachments/{attachment}"
        try:
            self.insist(
                job, "detach", lambda: owner.call("DELETE", path, {"reason": "done"}, key=f"{job.marker}-detach")
            )
        except GaveUp as error:
            if not isinstance(error.__cause__, Failed) or error.__cause__.body.get("status") != 409:
                raise
        found = self.insist(job, "get", lambda: owner.get(path))
        assert found["state"] == "detached", f"the attachment is {found['state']} after it was detached"
        self._refused(job, owner, "detached")


class AttachmentKill(Row):
    name = "attachment"
    promise = "what serves is what was acknowledged, of one release or the other; nothing is left of what was detached"
    mix = {"attachment": 4, "post": 2, "read": 5}  # noqa: RUF012
    resume = None
    tail = 4.0

    def build(self) -> Stage:
        stage = super().build()
        self.source = Path(tempfile.mkdtemp(prefix="faults-repository-"))
        os.environ["WORKA_DEMO_REPO"] = str(make_repository(self.source / "harbour", ["feat: a pier", "fix: its lamp"]))
        try:
            for tenant in stage.tenants:
                tenant.publisher = f"p{tenant.run}"
                tenant.repository()
        except BaseException:
            self.close(stage)
            raise
        return stage

    def close(self, stage: Stage) -> None:
        super().close(stage)
        shutil.rmtree(self.source, ignore_errors=True)

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        self.role = rng.choice(ROLES)
        self.at_point = rng.random() < 0.65
        mix = self.mix
        if not self.at_point and self.role in ("host", "broker", "launcher"):
            # A task's call that loses its host or broker fails visibly: that is another row's promise.
            mix = {"attachment": 4, "read": 5}
        return Attaching(stage, seed, journal, mix=mix, pause=self.pause)

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        if self.role == "postgres" and not self.at_point:
            return away(stage, load, prober, rng)
        return kill(stage, self.role, rng, POINTS if self.at_point else ())

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        mine = [job for job in load.jobs if job.kind == "attachment" and not job.gave_up]
        settled.attachments(verdict, stage, [job.facts["pack"] for job in mine])
        settled.once(verdict, stage, [release for job in mine for release in job.facts.get("releases", [])])
        failures = Counter(reason for job in mine for reason in job.facts.get("failures", []))
        verdict.figures |= {
            "lives": sum(job.state == "detached" for job in mine),
            "quarantined": sum("quarantined" in job.facts for job in mine),
            "failures_told": dict(failures),
        }
