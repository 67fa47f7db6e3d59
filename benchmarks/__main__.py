"""`benchmarks/run NAME`: floors, rounds, ratios, the result. A row may take several goes (`--seconds`)."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.rounds import Found, Round, Row, Scenario

ROWS = {"audit": 8, "authorization": 2, "sandbox": 7, "call": 1, "lists": 9, "lease": 5, "egress": 4}
RESULTS = Path(__file__).with_name("results")
MORE = 75  # EX_TEMPFAIL: run it again to go on
VOID = 1


def say(text: str, *, end: str = "\n") -> None:
    """Talk goes to stderr; a line without its end is written over on a terminal."""
    if end == "" and not sys.stderr.isatty():
        return
    sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + text + end)
    sys.stderr.flush()


class Run:
    """A run of one row: what was measured in earlier goes, and the rest."""

    def __init__(self, row: Row, *, rounds: int, smoke: bool, seconds: float | None) -> None:
        self.row = row
        self.wanted = rounds
        self.smoke = smoke
        self.until = time.monotonic() + seconds if seconds else None
        self.partial = RESULTS / f".{row.name}.partial.json"
        self.key = {"build": os.environ.get("WORKA_BUILD_ID", "source"), "row": row.name, "rounds": rounds}
        self.rounds: list[Round] = []
        self.floors: list[dict[str, float]] = []
        self.extras: list[dict[str, Any]] = []
        if not smoke:
            self._resume()

    def _resume(self) -> None:
        """Earlier goes of the same build; those of another build would compare different things."""
        try:
            kept = json.loads(self.partial.read_text())
        except (OSError, ValueError):
            return
        if kept["key"] != self.key:
            say(f"{self.row.name}: what an earlier go left was made with another build, and is dropped")
            return
        names = {field.name for field in fields(Round)}
        self.rounds = [Round(**{k: v for k, v in r.items() if k in names}) for r in kept["rounds"]]
        self.floors, self.extras = kept["floors"], kept["extras"]

    def _keep(self) -> None:
        if not self.smoke:
            data = {"key": self.key, "floors": self.floors, "extras": self.extras}
            self.partial.write_text(json.dumps({**data, "rounds": [r.kept() for r in self.rounds]}))

    def _left(self) -> bool:
        return self.until is None or time.monotonic() < self.until

    async def go(self) -> bool:
        """Measures until all rounds are done or the time is up; whether all are."""
        row = self.row
        say(f"{row.name}: setting up", end="")
        try:
            await row.open()
            say(f"{row.name}: measuring the floors", end="")
            self.floors.append(await asyncio.to_thread(machine.floors, row.administrator(), quick=self.smoke))
            await self._play()
            if self._complete():
                self.extras.append(await row.once())
            self._keep()
        finally:
            await row.close()
        return self._complete()

    def _complete(self) -> bool:
        done = {(r.scenario, r.who, r.number) for r in self.rounds}
        return all(
            (s.name, who, number) in done
            for s in self.row.scenarios()
            for who in s.contestants
            for number in range(self.wanted)
        )

    async def _play(self) -> None:
        row = self.row
        warm: set[str] = set()
        for number in range(self.wanted):
            for scenario in row.scenarios():
                done = {r.who for r in self.rounds if r.scenario == scenario.name and r.number == number}
                if done >= set(scenario.contestants):
                    continue
                # A round is whole or not there: its contestants must have met the same machine.
                self.rounds = [r for r in self.rounds if not (r.scenario == scenario.name and r.number == number)]
                if not self._left():
                    return
                if scenario.name not in warm:
                    await self._warm(scenario)
                    warm.add(scenario.name)
                for who in scenario.contestants:
                    say(f"{row.name}: {scenario.title}, round {number + 1} of {self.wanted}, {who}", end="")
                    found = await row.play(scenario, who, number, self._calls(scenario, who))
                    self.rounds.append(found)
                    say(
                        f"{row.name}: {scenario.title}, round {number + 1} of {self.wanted}: {who} "
                        f"{found.p50:.3f} ms, {found.rate:.0f}/s, {found.errors} errors {found.first_error}"
                    )
                self._keep()

    async def _warm(self, scenario: Scenario) -> None:
        for who in scenario.contestants:
            await self.row.play(scenario, who, -1, max(2, self._calls(scenario, who) // 10))

    def _calls(self, scenario: Scenario, who: str) -> int:
        calls = scenario.calls_of(who)
        return max(2, min(calls, 40, calls // 20)) if self.smoke else calls

    def found(self) -> Found:
        """All of it; the floors are the lowest of the goes, since noise only adds."""
        floor = {name: min(f[name] for f in self.floors) for name in self.floors[0]} if self.floors else {}
        return Found(self.row.scenarios(), self.rounds, floor, self.extras)


def commit() -> str:
    """The checkout's commit, with `+` when it holds changes."""
    done = [
        subprocess.run(["git", *args], capture_output=True, text=True, cwd=RESULTS.parent, check=False).stdout.strip()
        for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "../src"))
    ]
    return done[0] + ("+" if done[1] else "")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("name", choices=sorted(ROWS))
    parser.add_argument("--smoke", action="store_true", help="a few calls: does it run? Nothing is kept")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every contestant (5)")
    parser.add_argument("--seconds", type=float, help=f"begin no round after this; exit {MORE} when some are left")
    options = parser.parse_args()
    module = importlib.import_module(f"benchmarks.{options.name}")
    row: Row = module.make(smoke=options.smoke)
    rounds = 2 if options.smoke else options.rounds
    run = Run(row, rounds=rounds, smoke=options.smoke, seconds=options.seconds)
    # A row that is played in this process runs on the loop of the process whose work it is.
    with asyncio.Runner(loop_factory=getattr(module, "LOOP", None)) as runner:
        done = runner.run(run.go())
    if not done:
        say(f"{row.name}: {len(run.rounds)} rounds are kept; run it again to go on")
        return MORE
    found = run.found()
    result = report.result(row, found, smoke=options.smoke, commit=commit(), at=datetime.now(UTC))
    print(report.text(result))
    if options.smoke:
        print(json.dumps({"smoke": row.name, "rounds": len(run.rounds), "errors": result["our_errors"]}))
    else:
        report.write(result, RESULTS)
        run.partial.unlink(missing_ok=True)
    return VOID if result["our_errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
