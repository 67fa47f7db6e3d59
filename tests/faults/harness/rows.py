"""A row of the fault matrix: how its fault is brought about, how the hit is proven, what is promised beyond the rules
that hold for every row."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.harness.judge import Verdict
    from tests.faults.harness.load import Load
    from tests.faults.harness.stage import Stage
    from tests.faults.harness.watch import Prober

READY = 5.0
RESUME = 10.0


@dataclass
class Hit:
    """A fault that was brought about. `proof` says by what we know that it hit; empty means it did not."""

    victim: str = ""
    failpoint: str = ""
    mode: str = ""
    at: float = 0.0
    until: float = 0.0
    """When the fault was over: the window in which callers may meet errors ends once the door is ready again."""
    proof: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Row:
    """Base of all rows. `name` is what `ROWS=` takes."""

    name = ""
    promise = ""
    mix: dict[str, int] = {"post": 6, "publish": 3, "read": 3}  # noqa: RUF012
    pause = 0.15
    outage = READY
    """How long the door may be away after the fault is over."""
    resume: float | None = RESUME
    """How long until the steps in flight go on; None where nothing is promised."""
    tail = 2.0
    """Seconds of load after the recovery."""
    clock = True
    environment: dict[str, str] = {}  # noqa: RUF012
    private_mounts = False
    """Whether the row mounts something: then it runs in a mount namespace of its own."""

    def build(self) -> Stage:
        """The stage for all seeds of this row."""
        from tests.faults.harness import stage

        return stage.build(**self.environment)

    def close(self, stage: Stage) -> None:
        """Ends what the row has beside the stage."""
        stage.close()

    def load(self, stage: Stage, seed: str, journal: Path, rng: random.Random) -> Load:
        """The load of one seed."""
        from tests.faults.harness.load import Load

        return Load(stage, seed, journal, mix=self.mix, pause=self.pause)

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        """Brings the fault about, waits until it is over where that belongs to it, and proves it."""
        raise NotImplementedError

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        """What this row promises beside the common rules."""
