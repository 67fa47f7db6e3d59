"""Rounds: ours and the peers take turns (A B A B …) in one run; what a round found, and what the rounds say together."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Scenario:
    """One comparison. `contestants[0]` is ours; `calls` of each make one round; `by` is what ratios are made of:
    `p50` (smaller is better) or `rate` (calls a second, larger is better). `slow` contestants play fewer calls."""

    name: str
    title: str
    contestants: tuple[str, ...]
    calls: int
    by: str = "p50"
    unit: str = "call"
    slow: dict[str, int] = field(default_factory=dict)

    def calls_of(self, who: str) -> int:
        """How many calls this contestant plays in a round."""
        return self.slow.get(who, self.calls)


@dataclass
class Round:
    """What one contestant did in one round. `times` are milliseconds of the calls that worked; `units` is what the rate
    counts (rows, where a call writes several)."""

    scenario: str
    who: str
    number: int
    times: list[float]
    seconds: float
    errors: int = 0
    first_error: str = ""
    units: int = 0
    cpu_seconds: float | None = None
    client_cpu_seconds: float = 0.0
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """Its median in milliseconds."""
        return percentile(self.times, 50)

    @property
    def rate(self) -> float:
        """Units a second."""
        return (self.units or len(self.times)) / self.seconds if self.seconds else 0.0

    def value(self, by: str) -> float:
        """What the ratio is made of."""
        return self.p50 if by == "p50" else self.rate

    def kept(self) -> dict[str, Any]:
        """As JSON, times rounded to the microsecond."""
        return {**asdict(self), "times": [round(time, 3) for time in self.times]}


@dataclass(frozen=True)
class Bar:
    """One bar of design: what was wanted, what was found, and how far the machine's own floor is from that."""

    words: str
    limit: str
    found: float | str
    met: bool | None
    """None: it was not measured here."""
    floor: str = ""
    note: str = ""


class Row(Protocol):
    """One row of the table of bars."""

    name: str
    number: int
    title: str
    peers: dict[str, str]
    """Every contestant -> what it is, with its version."""

    def scenarios(self) -> list[Scenario]: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def administrator(self) -> str: ...

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round: ...

    async def once(self) -> dict[str, Any]:
        """What is measured beside the rounds, in every go."""
        ...

    def bars(self, found: Found) -> list[Bar]: ...


def percentile(values: list[float], share: float) -> float:
    """Nearest rank; 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


@dataclass
class Found:
    """Everything a finished run holds."""

    scenarios: list[Scenario]
    rounds: list[Round]
    floor: dict[str, float]
    extras: list[dict[str, Any]]

    def of(self, scenario: str, who: str) -> list[Round]:
        """A contestant's rounds, in order."""
        return [r for r in self.rounds if r.scenario == scenario and r.who == who]

    def errors(self, scenario: str, who: str) -> int:
        """All errors of a contestant."""
        return sum(r.errors for r in self.of(scenario, who))

    def ours(self, scenario: str) -> str:
        """Our contestant's name."""
        return next(s for s in self.scenarios if s.name == scenario).contestants[0]

    def ratios(self, scenario: str, peer: str, by: str | None = None) -> list[float]:
        """Ours divided by the peer's, round by round."""
        chosen = next(s for s in self.scenarios if s.name == scenario)
        by = by or chosen.by
        pairs = zip(self.of(scenario, chosen.contestants[0]), self.of(scenario, peer), strict=True)
        return [a.value(by) / b.value(by) if b.value(by) else float("inf") for a, b in pairs]

    def ratio(self, scenario: str, peer: str, by: str | None = None) -> float:
        """The median of them."""
        return statistics.median(self.ratios(scenario, peer, by))

    def times(self, scenario: str, who: str) -> list[float]:
        """All times of a contestant."""
        return [time for r in self.of(scenario, who) for time in r.times]

    def p50(self, scenario: str, who: str) -> float:
        """The median of its rounds' medians: one slow round moves it less than the pooled median."""
        rounds = [r.p50 for r in self.of(scenario, who) if r.times]
        return statistics.median(rounds) if rounds else 0.0

    def p99(self, scenario: str, who: str) -> float:
        """Of all calls of all rounds."""
        return percentile(self.times(scenario, who), 99)

    def rate(self, scenario: str, who: str) -> float:
        """The median of its rounds' rates."""
        rounds = [r.rate for r in self.of(scenario, who)]
        return statistics.median(rounds) if rounds else 0.0

    def cpu(self, scenario: str, who: str) -> float:
        """Milliseconds of processor time a call: hardly moved by what else the machine does."""
        rounds = self.of(scenario, who)
        return 1000 * sum(r.cpu_seconds or 0.0 for r in rounds) / (sum(len(r.times) + r.errors for r in rounds) or 1)

    def clean(self, scenario: str, peer: str) -> bool:
        """Whether neither side erred: a peer that did is no win, and ours that did voids the row."""
        return self.errors(scenario, self.ours(scenario)) == 0 and self.errors(scenario, peer) == 0
