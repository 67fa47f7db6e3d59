"""A process in a network of its own whose resolver keeps silent about some names: how long one tenant waits for a name while another
asks for many of those. `python -m tests.broker.names FOLDER` says it as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults.harness.outward import Names
from worka.broker.adapters.outside import SystemResolver
from worka.cli.egress_suite import internet

SLOW = 40


async def tried() -> dict[str, Any]:
    """Of the second tenant: its answer with nothing beside it, and its answer and the seconds beside the first tenant's names."""
    resolver = SystemResolver()
    alone = await resolver.resolve(internet.TRACKER, "ten_b")
    slow = [asyncio.create_task(resolver.resolve(f"slow{number}.test", "ten_a")) for number in range(SLOW)]
    await asyncio.sleep(0.5)
    began = time.monotonic()
    try:
        beside = list(await asyncio.wait_for(resolver.resolve(internet.TRACKER, "ten_b"), 5))
    except TimeoutError:
        beside = []
    took = time.monotonic() - began
    return {"alone": alone, "beside": beside, "seconds": took, "slow_ended": sum(task.done() for task in slow)}


def main() -> None:
    """The process. Its threads would wait for longer than anybody else does."""
    internet.enter(Path(sys.argv[1]) / "resolv.conf")
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    Names({internet.TRACKER: internet.TRACKER_ADDRESS}, silent="slow")
    print(json.dumps(asyncio.run(tried())), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
