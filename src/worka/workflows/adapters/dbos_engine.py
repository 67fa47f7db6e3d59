"""DBOS Transact as the durable engine (architecture.md, "The durable engine").

A workflow run is one segment of a task; each governed step is one engine step. The journal holds ids and state names
only: arguments, results and error texts stay in our own tables, so step functions return state names and raise nothing
that carries a text. The engine's threads hand coroutines to the worker's loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from worka.kernel.db import IDLE_IN_TRANSACTION_SECONDS
from worka.kernel.errors import Unavailable
from worka.workflows.adapters.bell import Bell
from worka.workflows.segment import Work
from worka.workflows.steps import Claim

log = logging.getLogger("worka.engine")
T = TypeVar("T")
Job = Callable[[str, str], Awaitable[None]]
"""(tenant_id, subject id) -> None."""

# One version for all releases: segments are enqueued without a version, and any live release takes them.
APP_VERSION = "worka"
# How soon the engine reacts. While nothing is put there, the bell keeps it from asking the database.
TASKS_POLLING_SECONDS = 0.06
JOBS_POLLING_SECONDS = 0.25
JOB_PAUSE_SECONDS = 0.5
MOST_JOB_PAUSE_SECONDS = 15.0
# Places of a worker, each a thread. Jobs mostly wait: for a build, a probe, a registry. What ends calls waits for no such.
JOBS = {"tenant_jobs": 16, "endings": 8}
JOBS_OF_TENANT, JOBS_OF_OLD = 2, 4


class EngineFault(Exception):
    """A segment broke off. Its text is a class name, nothing else: the journal keeps it."""


def migrate_engine(migrator_url: str, engine_role: str) -> None:
    """Creates or updates the engine's schema `dbos` and grants it to the engine role. Only the migration process calls
    it."""
    logging.getLogger("dbos").setLevel(logging.WARNING)
    DBOS.migrate(migrator_url, application_role=engine_role)


class DbosEngine:
    """The engine of one worker process. `start` and `stop` block: call them in a thread."""

    def __init__(
        self,
        url: str,
        *,
        executor: str,
        loop: asyncio.AbstractEventLoop,
        work: Work,
        jobs: dict[str, Job],
        concurrency: int,
    ) -> None:
        self._loop = loop
        self._work = work
        self._concurrency = concurrency
        self._stopping = False
        config: DBOSConfig = {
            "name": "worka",
            "system_database_url": url,
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": APP_VERSION,
            "executor_id": executor,
            "run_migrations": False,
            "sys_db_pool_size": 6,
            "sys_db_idle_transaction_timeout_sec": IDLE_IN_TRANSACTION_SECONDS,
            "log_level": "WARNING",
            "enable_otlp": False,
            "max_executor_threads": concurrency * 2 + 4 + JOBS_OF_OLD + sum(JOBS.values()),
        }
        self.bell = Bell()
        self._engine: Any = DBOS(config=config)
        DBOS.workflow(name="segment", max_recovery_attempts=100)(self._segment_function())
        for name, job in jobs.items():
            DBOS.workflow(name=name, max_recovery_attempts=100)(self._job_function(job))

    def start(self) -> None:
        """Takes up its own unfinished runs and begins to take new ones from the queues."""
        DBOS.launch()
        self.bell.hang(self._engine._sys_db)
        DBOS.register_queue("tasks", worker_concurrency=self._concurrency, polling_interval_sec=TASKS_POLLING_SECONDS)
        # A part for each tenant, taken from in no order: who waits for a server that never answers waits alone.
        for name, places in JOBS.items():
            DBOS.register_queue(
                name,
                worker_concurrency=places,
                partition_worker_concurrency=JOBS_OF_TENANT,
                polling_interval_sec=JOBS_POLLING_SECONDS,
            )
        # What an older release has put there.
        DBOS.register_queue("jobs", worker_concurrency=JOBS_OF_OLD, polling_interval_sec=JOBS_POLLING_SECONDS)

    def stop(self) -> None:
        """Takes nothing new; what runs is taken up by whoever comes next."""
        self._stopping = True
        DBOS.destroy(destroy_registry=True)

    def knows(self, task_id: str, segment: int) -> bool:
        """Whether a run of this segment still waits in the queue (then it is not lost, only late)."""
        name = f"{task_id}:{segment}"
        waiting = DBOS.list_workflows(
            workflow_id_prefix=name, status=["ENQUEUED"], limit=50, load_input=False, load_output=False
        )
        return any(run.workflow_id == name or run.workflow_id.startswith(name + ":") for run in waiting)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the worker's loop, from an engine thread."""
        if self._stopping or self._loop.is_closed():
            coroutine.close()
            raise EngineFault("stopping")
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except EngineFault:
            raise
        except BaseException as error:
            log.exception("a segment broke off")
            # `from None`: the cause's text could hold what the journal must not.
            raise EngineFault(type(error).__name__) from None

    def _segment_function(self) -> Callable[[str, str, int], str]:
        work, call = self._work, self._call

        def one_step(claim: Claim, step_id: str) -> str:
            return call(work.run_step(claim, step_id))

        def segment(tenant_id: str, task_id: str, number: int) -> str:
            # Not an engine step: each execution, a replay too, needs a claim of its own.
            claim = call(work.claim(tenant_id, task_id, number))
            if claim is None:
                return "moved_on"
            try:
                # Recorded, so that a replay walks the same steps in the same order.
                left = DBOS.run_step({"name": "plan"}, lambda: list(claim.left))
                for step_id in left:
                    state: str = DBOS.run_step({"name": "step"}, one_step, claim, step_id)
                    if state != "succeeded":
                        return state
                return call(work.finish(claim))
            finally:
                work.released(claim)

        return segment

    def _job_function(self, job: Job) -> Callable[[str, str], str]:
        def run(tenant_id: str, subject: str) -> str:
            async def once() -> str:
                pause = JOB_PAUSE_SECONDS
                while True:
                    try:
                        await job(tenant_id, subject)
                    except Unavailable as away:
                        # Every job reads where its subject stands: begun again, it goes on. Ended here, nobody would carry
                        # on what it is about once the database is back.
                        log.warning("a job waits for what is away: %s", away.problem_code, extra={"subject": subject})
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, MOST_JOB_PAUSE_SECONDS)
                        continue
                    return "done"

            return DBOS.run_step({"name": "job"}, lambda: self._call(once()))

        return run
