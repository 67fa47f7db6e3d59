"""`python -m worka.web.serve`: the serve role (API, console, realtime)."""

from __future__ import annotations

import asyncio

import uvicorn

from worka import web
from worka.api.app import create
from worka.identity import ensure_setup_token
from worka.kernel import failpoints, memory, settings, telemetry
from worka.kernel.loading import loading
from worka.workers.wiring import Runtime


def main() -> None:
    """Runs the door until it is told to stop."""
    memory.no_core_dumps()
    failpoints.check_environment()
    loaded = settings.load()
    runtime = Runtime(loaded, "serve")
    telemetry.configure("serve", runtime.paths.log)
    memory.keep(loaded.treasury.lock_memory)
    asyncio.run(_first_start(loaded))
    with loading():
        app = create(runtime, web)
    uvicorn.run(
        app,
        host=loaded.http.host,
        port=loaded.http.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=20,
    )


async def _first_start(loaded: settings.Settings) -> None:
    runtime = Runtime(loaded, "serve-start")
    await runtime.db.open()
    try:
        await ensure_setup_token(runtime.db, runtime.sealer, runtime.paths.run)
    finally:
        await runtime.db.close()


if __name__ == "__main__":
    main()
