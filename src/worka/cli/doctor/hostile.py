"""The hostile egress suite, tried on this machine with this build: a Worka of its own in a network of its own, no packet outside."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worka.cli import egress_suite, output
from worka.cli.doctor.check import Check
from worka.cli.egress_suite import VECTORS, Found, RangeFailed

REPORT = (
    "Stop `worka up` until this is understood: a pack could reach what it does not declare. `worka --output json doctor"
    " --egress` tells each vector; report it as SECURITY.md says."
)


def egress_suite_vectors() -> list[Found]:
    """Every vector, with its progress told to a person. Raises RangeFailed."""
    columns = (TextColumn("egress suite"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=output.talk, transient=True) as progress:
        task = progress.add_task("a Worka of its own is started", total=len(VECTORS))

        def say(found: Found) -> None:
            progress.update(task, advance=1, description=found.vector.family)

        return egress_suite.run(say)


def checks(found: list[Found]) -> Iterator[Check]:
    """One check for each family of vectors."""
    ordered = sorted(found, key=lambda one: one.vector.family)
    for family, ones in groupby(ordered, key=lambda one: one.vector.family):
        vectors = list(ones)
        broken = [one for one in vectors if not one.holds]
        if broken:
            told = "; ".join(f"{one.vector.id}: {', '.join(one.broken)}" for one in broken[:5])
            more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
            yield Check(f"egress suite: {family}", "failed", f"{told}{more}", REPORT)
        else:
            tries = sum(len(one.vector.tries) for one in vectors)
            yield Check(f"egress suite: {family}", "ok", f"{len(vectors)} vectors, {tries} tries: no canary was hit")


def egress_suite_checks() -> Iterator[Check]:
    """The checks, or why the suite could not be run: which proves nothing, and so is no success."""
    try:
        found = egress_suite_vectors()
    except RangeFailed as failed:
        yield Check(
            "egress suite", "failed", f"it could not be run: {failed}",
            "Mend what the other checks name (user namespaces, the sandbox, the disk), then run it again.",
        )  # fmt: skip
        return
    yield from checks(found)
