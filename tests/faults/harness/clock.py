"""The row of the clock: two hours forth or back in the middle of the work, for every process of ours and PostgreSQL."""

from __future__ import annotations

import glob
import os
import random
import shutil
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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
SEEN_WITHIN = 8.0
SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


def maps_of(pid: int) -> str:
    """What a process has mapped: the library that shifts its clock among it."""
    return Path(f"/proc/{pid}/maps").read_text()


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
        # The wrapper of a build sets its own PYTHONPATH; here one more folder is needed: libfaketime refuses the way in
        # which Python sleeps, so `sitecustomize` lets it sleep in another one.
        (self.folder / "sitecustomize.py").write_text(SLEEP)
        wrapper = os.environ.pop("WORKA_BUILD_BIN", None)
        try:
            return stages.build(
                LD_PRELOAD=library,
                FAKETIME_TIMESTAMP_FILE=str(self.file),
                FAKETIME_CACHE_DURATION="1",
                FAKETIME_DONT_FAKE_MONOTONIC="1",
                PYTHONPATH=os.pathsep.join([os.environ["PYTHONPATH"], str(self.folder)]),
            )
        finally:
            if wrapper is not None:
                os.environ["WORKA_BUILD_BIN"] = wrapper

    def close(self, stage: Stage) -> None:
        super().close(stage)
        shutil.rmtree(self.folder, ignore_errors=True)

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
        hit.facts["shifted"] = [name for name, role in stage.roles().items() if "faketime" in maps_of(role["pid"])]
        fresh, link = (stage.tenants[0].approver.post("/v1/sign-in-links")["url"] for _ in range(2))
        # The control: a link of this moment opens a session.
        hit.facts["fresh_link"] = self._use(stage, fresh)
        approvals = stage.instance.rows("select count(*) as n from worka.approval where state = 'expired'")
        hit.at = time.time()
        self.shift(offset)
        seen = self._seen(stage, offset)
        time.sleep(rng.uniform(3, 5))
        hit.facts["offset"] = offset
        hit.facts["link"] = self._use(stage, link) if offset > 0 else "not tried"
        self.shift(0)
        hit.until = time.time()
        back = self._seen(stage, 0)
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

    def _seen(self, stage: Stage, wanted: int) -> dict[str, float]:
        """How far the clocks of the door and of the database are off, once both are where they should be, or in vain."""
        deadline = time.monotonic() + SEEN_WITHIN
        while True:
            seen = {"serve": self._door(stage), "postgresql": self._database(stage)}
            if all(abs(value - wanted) < 10 for value in seen.values()) or time.monotonic() > deadline:
                return seen
            time.sleep(0.3)

    def _door(self, stage: Stage) -> float:
        with httpx.Client(trust_env=False, timeout=5) as http:
            answer = http.get(f"{stage.instance.url}/livez")
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()

    def _database(self, stage: Stage) -> float:
        with admin(stage) as conn:
            row = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
        assert row is not None
        return float(row[0]) - time.time()

    def _use(self, stage: Stage, link: str) -> str:
        """What a one-time sign-in link gives now: `opened` (a session), or the refusal's status."""
        token = parse_qs(urlsplit(link).query)["link"][0]
        with httpx.Client(base_url=stage.instance.url, trust_env=False, timeout=8, follow_redirects=False) as http:
            answer = http.post("/sign-in", data={"link": token}, headers={"Origin": stage.instance.url})
        return "opened" if "worka_session" in answer.cookies else f"refused {answer.status_code}"

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.say(starts(stage) == hit.facts.pop("starts"), "a process of ours was started again")
        verdict.say(not hit.facts["expired"], f"{hit.facts['expired']} approvals expired early")
        verdict.say(
            hit.facts["fresh_link"] == "opened", f"the control: a fresh sign-in link was {hit.facts['fresh_link']}"
        )
        verdict.say(hit.facts["link"] != "opened", "a sign-in link opened a session two hours after it was made")
        verdict.figures["unready_for"], _ = prober.outage(hit.at)
