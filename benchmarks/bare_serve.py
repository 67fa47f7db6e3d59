"""The door with a layer taken out, so that the price of the layer can be measured. Only the benchmark starts this: the
product has no such switch, and nothing here is in the build.
"""

from __future__ import annotations

import argparse
from typing import Any

import uvicorn

from worka import web
from worka.api.app import create
from worka.governance.facade import Authorizer
from worka.kernel import settings, telemetry
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.db import Connection
from worka.kernel.events import Event, Statement
from worka.kernel.ids import new_id
from worka.workers.wiring import Runtime


class AllowAll:
    """No policy: everything is allowed, and no decision is recorded."""

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        return Decision(new_id("dec"), "allow", "benchmark", (), (), (), "none", "")


class Silent:
    """No audit: of the two parts only the event rows are written."""

    async def flush(self, conn: Connection, ctx: Context, entries: list[Event], first: Statement | None = None) -> None:
        if first is not None:
            await conn.execute(*first)


def main() -> None:
    """Serves on WORKA_HTTP__PORT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", default="", help="policy, audit, or both with a comma")
    without = set(filter(None, parser.parse_args().without.split(",")))
    assert without <= {"policy", "audit"}, without
    loaded = settings.load()
    runtime = Runtime(loaded, "serve")
    assert isinstance(runtime.authorizer, Authorizer)
    if "policy" in without:
        runtime.authorizer = AllowAll()  # type: ignore[assignment]
    if "audit" in without:
        runtime.recorder = Silent()  # type: ignore[assignment]
    telemetry.configure("serve", runtime.paths.log)
    http = loaded.http
    uvicorn.run(create(runtime, web), host=http.host, port=http.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
