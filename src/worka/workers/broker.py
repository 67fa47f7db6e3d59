"""`python -m worka.workers.broker`: the broker role, the only one that dials out."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from worka.broker import server
from worka.kernel import failpoints, memory, settings, telemetry
from worka.observability.heartbeat import Heartbeat
from worka.treasury import service as treasury
from worka.workers.wiring import Runtime, build_id


async def serve() -> None:
    """Runs the broker until it is told to stop."""
    loaded = settings.load()
    runtime = Runtime(loaded, "broker")
    telemetry.configure("broker", runtime.paths.log)
    memory.keep(loaded.treasury.lock_memory)
    await runtime.db.open()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    heartbeat = Heartbeat(runtime.db, "broker", build_id())
    beat = asyncio.create_task(heartbeat.run())
    try:
        await server.run(loaded, make_context=runtime.context, treasury=treasury, stop=stop)
    finally:
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await heartbeat.end()
        await runtime.db.close()


def main() -> None:
    """Entry point of the role."""
    memory.no_core_dumps()
    failpoints.check_environment()
    # Each byte to the outside and back passes through this process; this loop costs it less than the library's own.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
