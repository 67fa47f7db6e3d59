"""`python -m worka.workers.broker`: the broker role, the only one that dials out."""

from __future__ import annotations

import asyncio
import signal

from worka.broker import server
from worka.kernel import failpoints, settings, telemetry
from worka.treasury import service as treasury
from worka.workers.wiring import Runtime


async def serve() -> None:
    """Runs the broker until it is told to stop."""
    loaded = settings.load()
    runtime = Runtime(loaded, "broker")
    telemetry.configure("broker", runtime.paths.log)
    await runtime.db.open()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await server.run(loaded, make_context=runtime.context, treasury=treasury, stop=stop)
    finally:
        await runtime.db.close()


def main() -> None:
    """Entry point of the role."""
    failpoints.check_environment()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
