"""A smoke of each benchmark as a user starts it, and the arithmetic that its verdicts rest on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as command
from benchmarks.rounds import Bar, Found, Round, Scenario

from tests.support.commands import run_to_its_end

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(command.ROWS))
def test_a_smoke_of_it_runs_without_an_error_and_keeps_nothing(name: str) -> None:
    kept = sorted(path.name for path in (ROOT / "benchmarks" / "results").iterdir())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = run_to_its_end([ROOT / "benchmarks" / "run", name, "--smoke"], seconds=270, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["smoke"] == name
    assert said["errors"] == 0
    assert said["rounds"] >= 2 * 2, "at least one contestant more than once beside another"
    assert sorted(path.name for path in (ROOT / "benchmarks" / "results").iterdir()) == kept


SCENARIO = Scenario("s", "a scenario", ("ours", "peer"), 3)


def found(ours: list[list[float]], peer: list[list[float]], errors: int = 0) -> Found:
    rounds = [
        Round("s", who, number, times, sum(times) / 1000, errors if who == "peer" else 0)
        for who, all_times in (("ours", ours), ("peer", peer))
        for number, times in enumerate(all_times)
    ]
    return Found([SCENARIO], rounds, {}, [])


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    # In the third round both met a busy machine; in the second only the peer did.
    seen = found([[2, 2, 2], [2, 2, 2], [20, 20, 20]], [[1, 1, 1], [8, 8, 8], [10, 10, 10]])
    assert seen.ratios("s", "peer") == [2, 0.25, 2]
    assert seen.ratio("s", "peer") == 2
    assert seen.ratios("s", "peer", "rate") == pytest.approx([0.5, 4, 0.5])


def test_percentiles_are_times_that_were_measured() -> None:
    seen = found([[float(n) for n in range(1, 101)]], [[1.0]])
    assert (seen.p50("s", "ours"), seen.p99("s", "ours")) == (50, 99)


def test_a_peer_that_erred_is_no_comparison_and_we_are_not_spared_either() -> None:
    assert found([[1.0]], [[1.0]]).clean("s", "peer")
    assert not found([[1.0]], [[1.0]], errors=1).clean("s", "peer")
    mine = found([[1.0]], [[1.0]])
    mine.rounds[0].errors = 1
    assert not mine.clean("s", "peer")


class Fake:
    """A row of constant times; `dies_at` ends the run there."""

    name, number, title, peers = "fake", 0, "a fake", {"ours": "", "peer": ""}

    def __init__(self, dies_at: int = 99) -> None:
        self.played: list[tuple[str, int]] = []
        self.dies_at = dies_at

    def scenarios(self) -> list[Scenario]:
        return [SCENARIO]

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def administrator(self) -> str:
        return ""

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        if number == self.dies_at and who == "peer":
            raise KeyboardInterrupt
        self.played.append((who, number))
        return Round(scenario.name, who, number, [1.0] * calls, 0.1)

    async def once(self) -> dict[str, Any]:
        return {}

    def bars(self, found: Found) -> list[Bar]:
        return []


async def test_the_rounds_take_turns_and_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command.machine, "floors", lambda _url, quick: {"fork_and_exec": 1.0})
    first = Fake(dies_at=1)
    with pytest.raises(KeyboardInterrupt):
        await command.Run(first, rounds=3, smoke=False, seconds=None).go()
    assert first.played == [("ours", -1), ("peer", -1), ("ours", 0), ("peer", 0), ("ours", 1)]
    second = Fake()
    run = command.Run(second, rounds=3, smoke=False, seconds=None)
    assert await run.go()
    # The round that broke off is played again, whole; -1 is the warm-up of this go.
    assert second.played[2:] == [("ours", 1), ("peer", 1), ("ours", 2), ("peer", 2)]
    assert [(r.who, r.number) for r in run.rounds].count(("ours", 1)) == 1

    monkeypatch.setenv("WORKA_BUILD_ID", "another build")
    assert command.Run(Fake(), rounds=3, smoke=False, seconds=None).rounds == []


def test_processor_time_is_that_of_all_rounds_by_all_calls_the_failed_ones_too() -> None:
    rounds = [
        Round("s", "ours", 0, [1.0] * 3, 1, 1, cpu_seconds=0.2),
        Round("s", "ours", 1, [1.0] * 4, 1, cpu_seconds=0.6),
    ]
    assert Found([SCENARIO], rounds, {}, []).cpu("s", "ours") == pytest.approx(100)
    assert Found([SCENARIO], rounds, {}, []).cpu("s", "peer") == 0, "who did not play took none"
