"""The broker role with its ledger taken out, so that the price of the rows can be measured. Only the benchmark starts this:
the product has no such switch, and nothing here is in the build.
"""

from __future__ import annotations

from worka.broker.recording import Recording, Write
from worka.workers import broker


async def _not_written(self: Recording, write: Write) -> None:
    write.entry.written = True


def _not_added(self: Recording, write: Write, *, now: bool = False) -> None:
    return


def main() -> None:
    """Serves until it is told to stop."""
    Recording.write, Recording.add = _not_written, _not_added  # type: ignore[method-assign]
    broker.main()


if __name__ == "__main__":
    main()
