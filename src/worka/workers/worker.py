"""The `worker` role: the durable engine, the reaper, leases and heartbeat, the expiry of approvals, and notifications.

It may touch the database (application and engine role), the host's and the broker's socket; it serves nothing and dials
nothing else.
`python -m worka.workers.worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Any

from worka.approvals import jobs as approvals
from worka.audit import sealer
from worka.connections import jobs as connections
from worka.kernel import failpoints, ipc, memory, settings, telemetry
from worka.kernel.errors import Problem
from worka.kernel.events import MESSAGES
from worka.kernel.settings import Settings
from worka.notifications.adapters import smtp
from worka.notifications.fan_out import fan_out
from worka.notifications.jobs import Sender
from worka.observability.heartbeat import Heartbeat
from worka.packs import jobs as pack_jobs
from worka.packs import service as packs
from worka.packs.registry.service import publishing
from worka.packs.service import leftovers, unnamed
from worka.treasury import rotation
from worka.views import service as views
from worka.workers.wiring import Runtime, build_id, database_url
from worka.workflows.adapters.dbos_engine import DbosEngine
from worka.workflows.reaper import Reaper
from worka.workflows.segment import Work

log = logging.getLogger("worka.worker")
SWEEP_SECONDS = 1.0
EXPIRY_SECONDS = 5.0
CONNECTION_SECONDS = 2.0
DELIVERY_SECONDS = 0.5
LEFTOVER_SECONDS = 900.0
HAND_ON_SECONDS = 60.0
SIGNATURE_SECONDS = 5.0
STAGE_SECONDS = 5.0
BROKER_SECONDS = 40.0
"""For a whole call of the platform's: its rows, resolving, and the broker's own deadline for the rest."""


class Worker:
    """One worker process. `start`, then `stop`; `run` does both around a stop signal."""

    def __init__(self, config: Settings) -> None:
        self.runtime = Runtime(config, "worker")
        self.lease = config.workflows.lease_seconds
        self.heartbeat = Heartbeat(self.runtime.db, "worker", build_id(), detail=self._detail)
        self.work = Work(self.runtime, worker=self.heartbeat.id, lease=self.lease, publish_view=views.publish)
        self.engine: DbosEngine | None = None
        self.reaper: Reaper | None = None
        self.sender = Sender(
            self.runtime.platform_context(), self._post, self._mail, ended=lambda: self._ring("deliveries")
        )
        self._loops: list[asyncio.Task[None]] = []

    def _detail(self) -> dict[str, Any]:
        return {"claims": self.work.held, "places": self.runtime.settings.workflows.concurrency}

    async def start(self) -> None:
        """Opens the pool, starts the engine (it takes up its own unfinished runs) and the loops."""
        config = self.runtime.settings
        await self.runtime.db.open()
        await self.heartbeat.beat()
        self.engine = engine = DbosEngine(
            database_url(config, "engine_url"),
            executor=f"worker-{config.workflows.slot}",
            loop=asyncio.get_running_loop(),
            work=self.work,
            jobs={
                "pack.register": self._register_pack,
                "pack.end_calls": self._end_calls,
                "registry.publish": self._publish,
                pack_jobs.KILLED: self._end_killed,
                pack_jobs.MOVE: self._move_attachment,
            },
            concurrency=config.workflows.concurrency,
        )
        await asyncio.to_thread(engine.start)
        self.reaper = Reaper(self.runtime, lease=self.lease, knows=engine.knows)
        self._loops = [
            asyncio.create_task(self.heartbeat.run()),
            asyncio.create_task(engine.bell.listen(self.runtime.db)),
            asyncio.create_task(sealer.run(self.runtime.db, self.runtime.paths, asyncio.Event())),
            asyncio.create_task(_every(self.lease / 4, "renew leases", self.work.renew)),
            asyncio.create_task(_every(SWEEP_SECONDS, "sweep", self.reaper.sweep)),
            asyncio.create_task(_every(EXPIRY_SECONDS, "expire approvals", self._expire)),
            asyncio.create_task(_every(EXPIRY_SECONDS, "remind of approvals", self._remind)),
            asyncio.create_task(_every(EXPIRY_SECONDS, "tend secrets", self._tend)),
            asyncio.create_task(_every(CONNECTION_SECONDS, "tend connections", self._tend_connections)),
            asyncio.create_task(_every(HAND_ON_SECONDS, "hand moves on", self._hand_on)),
            asyncio.create_task(_every(STAGE_SECONDS, "take failed stages up again", self._try_stages)),
            asyncio.create_task(_every(SIGNATURE_SECONDS, "bring signatures to registries", self._carry_signatures)),
            asyncio.create_task(_every(DELIVERY_SECONDS, "turn messages into deliveries", self._fan_out)),
            asyncio.create_task(_every(DELIVERY_SECONDS, "send deliveries", self._send)),
            asyncio.create_task(_every(LEFTOVER_SECONDS, "clear away what nothing names", self._clear_away)),
        ]
        log.info("the worker takes tasks")

    async def stop(self) -> None:
        """Gives its claims back and ends; another worker goes on with them at once."""
        for loop in self._loops:
            loop.cancel()
        await self.sender.close()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)
        with contextlib.suppress(Problem):
            await self.work.let_go()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.heartbeat.end()
        await self.runtime.db.close()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await self.start()
        try:
            await stopping.wait()
        finally:
            await self.stop()

    async def _register_pack(self, tenant_id: str, release_id: str) -> None:
        await packs.run_registration(self.runtime.platform_context(tenant_id), release_id)

    async def _end_calls(self, tenant_id: str, withdrawal_id: str) -> None:
        await packs.run_ending(self.runtime.platform_context(tenant_id), withdrawal_id)

    async def _end_killed(self, tenant_id: str, kill_id: str) -> None:
        await pack_jobs.run_killing(self.runtime.platform_context(tenant_id), kill_id)

    async def _publish(self, tenant_id: str, publication_id: str) -> None:
        await publishing.run_publication(self.runtime.platform_context(tenant_id), publication_id)

    async def _move_attachment(self, tenant_id: str, move_id: str) -> None:
        await pack_jobs.run_move(self.runtime.platform_context(tenant_id), move_id)

    async def _clear_away(self) -> None:
        await leftovers.sweep(self.runtime.platform_context, self.runtime.settings.home)
        await unnamed.sweep(self.runtime.platform_context())

    async def _try_stages(self) -> None:
        await pack_jobs.try_stages(self.runtime.platform_context())

    async def _carry_signatures(self) -> None:
        await pack_jobs.carry_signatures(self.runtime.platform_context())

    async def _hand_on(self) -> None:
        await pack_jobs.hand_on(self.runtime.platform_context)

    async def _expire(self) -> None:
        await approvals.expire_due(self.runtime.platform_context())

    async def _remind(self) -> None:
        await approvals.remind_due(self.runtime.platform_context())

    async def _tend(self) -> None:
        await rotation.sweep(self.runtime.platform_context())

    async def _tend_connections(self) -> None:
        await connections.sweep(self.runtime.platform_context())

    async def _fan_out(self) -> None:
        if await self._look(MESSAGES, lambda: fan_out(self.runtime.platform_context())):
            self._ring("deliveries")

    async def _send(self) -> None:
        await self._look("deliveries", self.sender.sweep)

    async def _look(self, queue: str, act: Callable[[], Awaitable[int]]) -> int:
        """Asks the database only where the bell rang, where the last look found something, and once in a while: what is
        tried again later rings nothing."""
        assert self.engine is not None
        bell = self.engine.bell
        if not bell.due(queue):
            return 0
        rings = bell.rings(queue)
        done = await act()
        if not done:
            bell.empty(queue, rings)
        return done

    def _ring(self, queue: str) -> None:
        if self.engine is not None:
            self.engine.bell.ring(queue)

    async def _post(self, args: dict[str, Any], traceparent: str) -> dict[str, Any]:
        found = await ipc.call_unix(
            self.runtime.paths.broker_socket, "platform_http", args, timeout=BROKER_SECONDS, traceparent=traceparent
        )
        return dict(found)

    async def _mail(self, who: dict[str, Any], message: EmailMessage, to: str) -> smtp.Sent:
        route, path = self.runtime.settings.mail, self.runtime.paths.broker_out_socket
        return await asyncio.to_thread(smtp.send, path, route, who, message, to)


async def _every(seconds: float, name: str, act: Callable[[], Awaitable[Any]]) -> None:
    """Runs `act` again and again; what it meets is logged, and the next round tries anew."""
    while True:
        try:
            await act()
        except Problem as problem:
            log.warning("could not %s: %s", name, problem.problem_code)
        except Exception:
            log.exception("could not %s", name)
        await asyncio.sleep(seconds)


def main() -> None:
    """The process."""
    memory.no_core_dumps()
    failpoints.check_environment()
    config = settings.load()
    worker = Worker(config)
    telemetry.configure("worker", worker.runtime.paths.log)
    memory.keep(config.treasury.lock_memory)
    asyncio.run(worker.run())
    # Engine threads may still wait for coroutines of the loop that has ended: nothing of theirs is lost by going now.
    os._exit(0)


if __name__ == "__main__":
    main()
