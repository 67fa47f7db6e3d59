"""The rows of publication: packs are registered, signed and published to a registry outside while processes of ours die, or
while the registry does."""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.harness import settled
from tests.faults.harness.database import PostgresKill
from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import PATIENCE, Job, Load
from tests.faults.harness.outside import HOST, MODES, Outside
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage, Tenant, gone
from tests.faults.harness.watch import Prober
from tests.support.database import reachable_directory
from worka.cli.client import Client

SERVER = Path(__file__).with_name("versioned") / "server.py"
POINTS = (
    *(f"{name}.{side}_commit" for side in ("before", "after") for name in ("release.stage", "registry.artifact")),
    *(f"{name}.{side}_commit" for side in ("before", "after") for name in ("registry.publication", "registry.changed")),
    "registry.publication.after_push",
    "approval.decided.before_commit",
    "approval.decided.after_commit",
    "audit.flushed.before_commit",
)
ROLES = ("worker", "worker", "worker", "serve", "serve", "host", "broker", "launcher", "postgres", "postgres")
REACHED_WITHIN = 45.0
"""A life of a pack is long: its rarer stages come late."""
ASKED_TO_END = 0.3
THINKING = 0.4
"""Seconds, on the mean, that a person takes between two stages."""
# What a caller may meet and take up again: each is told with a remedy.
REGISTRY_REASONS = {"registry_unreachable", "registry_lied", "registry_refused", "registry_answered_late"}


def patiently() -> Iterator[int]:
    """For as long as a caller takes up what failed again, as it was told to: however fast it fails while a part is away."""
    deadline, number = time.monotonic() + PATIENCE, 0
    while not number or time.monotonic() < deadline:
        yield number
        number += 1


def pack(publisher: str, name: str, version: str, **changes: Any) -> dict[str, Any]:
    """The request that registers a small pack whose one tool says its version."""
    manifest = {
        "schema_version": "worka.aip.v1",
        "publisher": publisher,
        "name": name,
        "version": version,
        "display_name": name,
        "description": f"Says its version, for {name}.",
        "runtime": {
            "package": {"ecosystem": "path", "name": name, "version": version},
            "command": ["python", "server.py"],
            "limits": {"timeout": 10},
        },
        "tools": [
            {"name": "version", "description": "Says its version.", "side_effect": "read_only", "idempotent": True}
        ],
        **changes,
    }
    server = SERVER.read_text().replace("VERSION = None", f"VERSION = {version!r}")
    return {"manifest": manifest, "lock": "", "files": {"server.py": base64.b64encode(server.encode()).decode()}}


class Publishing(Load):
    """Callers that take a pack from its source to the marketplace; each believes what it was told, and takes up again what it
    is told that failed."""

    def _do(self, job: Job, tenant: Tenant, owner: Client, approver: Client, rng: random.Random) -> None:
        if job.kind != "release":
            super()._do(job, tenant, owner, approver, rng)
            return
        release = self.registered(job, owner, pack(tenant.publisher, "k" + job.marker.rsplit("-", 1)[1], "1.0.0"))
        job.acked = True
        time.sleep(rng.uniform(0, 2 * THINKING))
        self._sign(job, owner, release["id"])
        time.sleep(rng.uniform(0, 2 * THINKING))
        row = self._publish(job, owner, approver, release["id"])
        job.facts |= {"publication": row["id"], "digest": row["digest"]}
        job.state, job.reason = row["state"], row["reason"]

    def registered(self, job: Job, owner: Client, body: dict[str, Any]) -> Any:
        """The release, in service; a registration that failed for what is away is sent again, as a new request."""
        for number in patiently():
            path, key = owner.ws("/releases"), f"{job.marker}-{body['manifest']['version']}-{number}"
            sent = self.insist(job, "register", lambda path=path, key=key: owner.post(path, body, key=key))
            release = self.until(
                job,
                "build",
                f"/v1/releases/{sent['id']}",
                owner,
                lambda found: found["state"] in ("released", "failed"),
            )
            job.facts.setdefault("releases", []).append(release["id"])
            if release["state"] == "released":
                return release
            self._told(job, owner, f"/v1/releases/{release['id']}", release["reason"])
            time.sleep(0.5)
        raise AssertionError(f"the registration fails again and again: {release['reason']} {release.get('error')}")

    def _told(self, job: Job, owner: Client, path: str, reason: str) -> None:
        """What failed says why and what to do."""
        why = self.insist(job, "why", lambda: owner.get(f"{path}/why"))
        job.facts.setdefault("failures", []).append(reason)
        if why["reason"] != reason or not why["next"]:
            raise AssertionError(f"{path} failed for {reason}; why says {why['reason']} and names {why['next']}")

    def _sign(self, job: Job, owner: Client, release: str) -> None:
        path = f"/v1/releases/{release}/signatures"

        def read(_subjects: list[str]) -> Any:
            return self.insist(job, "get", lambda: owner.get(path))

        said = self.once(job, "sign", lambda: owner.post(path, {}, key=f"{job.marker}-sign"), read)
        assert len(said["signatures"]) == 1, f"{len(said['signatures'])} signatures of one key"

    def _publish(self, job: Job, owner: Client, approver: Client, release: str) -> Any:
        body = {"release_id": release, "destination": "outside"}

        def read(subjects: list[str]) -> Any:
            (made,) = [subject for subject in subjects if subject.startswith("pub_")]
            return self.insist(job, "get", lambda: owner.get(f"/v1/publications/{made}"))

        key = f"{job.marker}-publish"
        row = self.once(job, "publish", lambda: owner.post(owner.ws("/publications"), body, key=key), read)
        self._approve(job, approver, row["approval_id"])
        path = f"/v1/publications/{row['id']}"
        for number in patiently():
            row = self.until(
                job, "carry", path, owner, lambda found: found["state"] in ("published", "failed", "refused")
            )
            if row["state"] != "failed":
                return row
            self._told(job, owner, path, row["reason"])
            time.sleep(0.5)
            again = f"{job.marker}-again-{number}"
            self.once(job, "retry", lambda again=again: owner.post(f"{path}/retry", key=again), lambda _: None)
        return row


class Registry(Row):
    """What rows with a registry outside have in common: the registry, and what is judged of it."""

    mix = {"release": 4, "post": 3, "read": 5}  # noqa: RUF012
    resume = None
    tail = 3.0

    def build(self) -> Stage:
        self.folder = reachable_directory("test-faults-registry-")
        self.outside = Outside(self.folder)
        stage = super().build()
        try:
            for tenant in stage.tenants:
                self._settle(tenant)
        except BaseException:
            self.close(stage)
            raise
        return stage

    def _settle(self, tenant: Tenant) -> None:
        """The registry as a destination that policy allows, and a key to sign with."""
        tenant.publisher, owner = f"p{tenant.run}", tenant.owner
        exception = {"name": HOST, "port": 443, "address": "127.0.0.1", "real_port": self.outside.port}
        more = {"ca_pem": self.outside.ca_pem, "reason": "the harness's registry runs on this machine"}
        owner.post(owner.ws("/network-exceptions"), exception | more)
        policy = {"image_destinations": ["local", f"{HOST}:443/*"]}
        owner.post(owner.ws("/registry/policy"), {"scope": "tenant", "settings": policy, "note": "the harness"})
        place = {"name": "outside", "host": HOST, "port": 443, "repository": self.repository(tenant)}
        owner.post(owner.ws("/destinations"), place)
        owner.post(owner.ws("/publisher-keys"), {"publisher": tenant.publisher})

    def repository(self, tenant: Tenant) -> str:
        return f"{tenant.name}/packs"

    def close(self, stage: Stage) -> None:
        super().close(stage)
        self.outside.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        return Publishing(stage, seed, journal, mix=self.mix, pause=self.pause)

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        mine = [job for job in load.jobs if job.kind == "release" and not job.gave_up]
        done = [job for job in mine if job.state == "published"]
        for job in [job for job in mine if job.state != "published"][:3]:
            verdict.broken.append(f"the publication {job.facts.get('publication')} ended {job.state} ({job.reason})")
        for tenant in stage.tenants:
            place = self.repository(tenant)
            for job in [job for job in done if job.tenant == tenant.name]:
                lost = self.outside.lacks(place, job.facts["digest"])
                verdict.say(not lost, f"{job.marker} is published, and at the registry {lost}")
                there = self.outside.tagged(place, job.facts["digest"])
                verdict.say(there, f"{job.marker} is published without its signature")
            settled.publications(verdict, stage, tenant, lambda digest, place=place: self.outside.lacks(place, digest))
        settled.once(verdict, stage, [release for job in mine for release in job.facts.get("releases", [])])
        failures = Counter(reason for job in mine for reason in job.facts.get("failures", []))
        verdict.figures |= {"published": len(done), "failures_told": dict(failures)}


class PublicationKill(Registry):
    name = "publication"
    promise = "nothing lost, nothing twice, never half published; it goes on by itself or says what to do"

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        self.role = rng.choice(ROLES)
        self.at_point = rng.random() < 0.6
        load = super().load(stage, seed, journal, rng)
        if not self.at_point and self.role in ("host", "broker", "launcher"):
            # A tool call that loses its host or broker fails visibly: that is another row's promise.
            load.mix = {"release": 4, "read": 5}
        return load

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        if self.role == "postgres" and not self.at_point:
            return away(stage, load, prober, rng)
        return kill(stage, self.role, rng, POINTS if self.at_point else ())


def away(stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
    """SIGKILL to PostgreSQL, or to a backend of it that commits."""
    hit = PostgresKill().strike(stage, load, prober, rng)
    hit.facts.pop("starts")
    return hit


def kill(stage: Stage, role: str, rng: random.Random, points: tuple[str, ...]) -> Hit:
    """SIGKILL to a role at any moment, or (a worker, by the seed) the word to end; with points, SIGKILL to whoever reaches the
    one that the seed names."""
    before = stage.roles()
    hit = Hit(mode="failpoint" if points else "any moment")
    asked = not points and role == "worker" and rng.random() < ASKED_TO_END
    if points:
        hit.failpoint = rng.choice(points)
        proof = stage.arm(hit.failpoint)
        deadline = time.monotonic() + REACHED_WITHIN
        while not proof.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        hit.at = time.time()
        if not proof.exists():
            hit.until = hit.at
            return hit
        hit.proof.append(f"{hit.failpoint} was consumed")
    else:
        hit.mode = "asked to end" if asked else hit.mode
        hit.at = time.time()
        os.kill(before[role]["pid"], signal.SIGTERM if asked else signal.SIGKILL)
    if not _replaced(stage, before, hit, asked):
        hit.proof.clear()
    hit.until = time.time()
    return hit


def _replaced(stage: Stage, before: dict[str, dict[str, Any]], hit: Hit, asked: bool) -> bool:
    """Whether a process of ours is gone, by signal 9 unless it was asked to end, and another took its place."""
    # No promise, only the proof: the time of a server's return is what `server-kill` judges.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = stage.roles()
        for name, was in before.items():
            ended = now[name]["last_exit"]
            if gone(was["pid"]) and now[name]["pid"] != was["pid"] and (asked or ended == "signal 9"):
                hit.victim = f"{name} {was['pid']}"
                hit.proof.append(f"pid {was['pid']} is gone ({ended}), {now[name]['pid']} took its place")
                return True
        time.sleep(0.02)
    return False


class RegistryFaults(Registry):
    """The registry is killed in the middle of a push, or lies, keeps silent, hangs up, or forgets what it took."""

    name = "registry"
    promise = "a publication fails with the reason and is taken up again; nothing is listed that is not there, whole"

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        hit = Hit(mode=rng.choice(["killed", "killed", *MODES]), victim="docker-registry")
        seconds = rng.uniform(3, 8)
        self.outside.met.clear()
        self.outside.under_way.clear()
        self.outside.under_way.wait(REACHED_WITHIN)
        time.sleep(rng.uniform(0, 0.05))
        hit.at = time.time()
        if hit.mode == "killed":
            pid = self.outside.kill()
            self._felt("away", seconds)
            self.outside.start()
            if met := self.outside.met["away"]:
                hit.proof.append(f"the registry {pid} was killed, and {met} requests met that")
        else:
            self.outside.mode = hit.mode
            self._felt(hit.mode, seconds)
            self.outside.mode = ""
            if met := self.outside.met[hit.mode]:
                hit.proof.append(f"{met} requests met a registry that is told: {hit.mode}")
        hit.until = time.time()
        return hit

    def _felt(self, mode: str, seconds: float) -> None:
        """For so long at least, and until somebody met it: publications have stages in which no registry is asked."""
        deadline = time.monotonic() + REACHED_WITHIN
        time.sleep(seconds)
        while not self.outside.met[mode] and time.monotonic() < deadline:
            time.sleep(0.05)

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        super().judge(verdict, stage, load, prober, hit)
        met = {reason for job in load.jobs for reason in job.facts.get("failures", [])}
        verdict.say(met <= REGISTRY_REASONS, f"publications failed for {sorted(met - REGISTRY_REASONS)}")
        verdict.say(met, "no publication failed: the fault was not felt")
        bad = [entry for entry in load.tries if entry.status == 0 or entry.status >= 500]
        verdict.say(
            not bad, f"callers met {[(e.op, e.status, e.code) for e in bad[:3]]} of a registry that is not ours"
        )
        ready, _ = prober.outage(hit.at)
        verdict.say(ready == 0.0, f"the door was away for {ready} s although only a registry was")
