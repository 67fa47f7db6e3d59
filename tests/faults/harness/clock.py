"""The row of the clock: two hours forth or back in the middle of the work, for every process of ours and PostgreSQL."""

from __future__ import annotations

import glob
import random
import time
from email.utils import parsedate_to_datetime

import httpx

from tests.faults.harness import stage as stages
from tests.faults.harness.database import admin, starts
from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage
from tests.faults.harness.watch import Prober
from tests.support.database import reachable_directory

TWO_HOURS = 7200


class Clock(Row):
    name = "clock"
    promise = "no early or double firing; order by sequence, not clock; tokens fail closed"
    resume = None
    clock = False
    tail = 2.0

    def build(self) -> Stage:
        library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
        if library is None:
            raise SystemExit("libfaketime is missing; run: apt-get install -y faketime")
        # Outside of the home: the file must be there before anything is.
        self.folder = reachable_directory("test-faults-clock-")
        self.file = self.folder / "offset"
        self.shift(0)
        return stages.build(
            LD_PRELOAD=library,
            FAKETIME_TIMESTAMP_FILE=str(self.file),
            FAKETIME_CACHE_DURATION="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )

    def close(self, stage: Stage) -> None:
        super().close(stage)
        self.file.unlink()
        self.folder.rmdir()

    def shift(self, seconds: int) -> None:
        """Sets the clock of the platform, in one step."""
        draft = self.file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.rename(self.file)

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        offset = rng.choice([TWO_HOURS, -TWO_HOURS])
        hit = Hit(mode=f"{offset:+d} s and back", victim="the clock of every role and of PostgreSQL")
        hit.facts["starts"] = starts(stage)
        link = stage.tenants[0].approver.post("/v1/sign-in-links")["url"]
        approvals = stage.instance.rows("select count(*) as n from worka.approval where state = 'expired'")
        hit.at = time.time()
        self.shift(offset)
        time.sleep(1.5)
        seen = {"serve": self._door(stage), "postgresql": self._database(stage)}
        time.sleep(rng.uniform(3, 5))
        hit.facts["offset"] = offset
        hit.facts["link"] = self._use(link) if offset > 0 else "not tried"
        self.shift(0)
        hit.until = time.time()
        time.sleep(1.5)
        back = {"serve": self._door(stage), "postgresql": self._database(stage)}
        hit.facts |= {
            "off_by": {n: round(v, 1) for n, v in seen.items()},
            "back_to": {n: round(v, 1) for n, v in back.items()},
        }
        hit.facts["expired"] = (
            stage.instance.rows("select count(*) as n from worka.approval where state = 'expired'")[0]["n"]
            - approvals[0]["n"]
        )
        if all(abs(value - offset) < 10 for value in seen.values()) and all(abs(v) < 10 for v in back.values()):
            hit.proof = [f"{name} was off by {value:+.0f} s, then {back[name]:+.0f} s" for name, value in seen.items()]
        return hit

    def _door(self, stage: Stage) -> float:
        with httpx.Client(trust_env=False, timeout=5) as http:
            answer = http.get(f"{stage.instance.url}/livez")
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()

    def _database(self, stage: Stage) -> float:
        with admin(stage) as conn:
            row = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
        assert row is not None
        return float(row[0]) - time.time()

    def _use(self, link: str) -> str:
        """What a sign-in link of a moment ago gives when the clock says that it is two hours old."""
        with httpx.Client(trust_env=False, timeout=5, follow_redirects=False) as http:
            answer = http.get(link)
        return f"{answer.status_code}{' with a session' if 'worka_session' in answer.cookies else ''}"

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.say(starts(stage) == hit.facts.pop("starts"), "a process of ours was started again")
        verdict.say(not hit.facts["expired"], f"{hit.facts['expired']} approvals expired early")
        link = hit.facts["link"]
        verdict.say("session" not in str(link), f"a sign-in link opened a session two hours after its making: {link}")
        ready, _ = prober.outage(hit.at)
        verdict.say(ready == 0.0, f"the door was away for {ready} s because of the clock")
