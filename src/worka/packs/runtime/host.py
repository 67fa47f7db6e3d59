"""The `host` role: `python -m worka.packs.runtime.host` serves `run/host.sock`. No database, no way out, no root.

Ops: `build`, `probe`, `invoke`, `drop`, `renew`, `stop`, `retire`, `status`, `verify`, `waiting`. An invocation never raises for what goes wrong
with the pack: every failure is an outcome with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from worka.kernel import ipc, memory, settings, telemetry
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.errors import BadRequest, Problem
from worka.kernel.paths import Paths
from worka.kernel.settings import PackSettings
from worka.packs.runtime import build, digest, launching, outcome
from worka.packs.runtime.build import Builder, Stamp
from worka.packs.runtime.errors import DigestMismatch, NoRoom, ProbeFailed, SandboxUnavailable
from worka.packs.runtime.outcome import CallFailed, Ending
from worka.packs.runtime.pins import Pins
from worka.packs.runtime.pool import Pool
from worka.packs.runtime.sessions import Session
from worka.packs.runtime.spec import SessionSpec
from worka.packs.sandbox.tiers import stricter

_START_SECONDS = 30.0
_BROKER_SECONDS = 8.0
_PROBE_SECONDS = 60.0


class Host:
    """All packs of one home."""

    def __init__(self, paths: Paths, config: PackSettings, gap: AirGap = OPEN) -> None:
        self.paths = paths
        self.folders = {str(paths.envs), os.path.realpath(paths.envs)}
        self.builder = Builder(paths.home, gap=gap)
        self.pins = Pins(paths.envs / "pins")
        self.isolation = config.isolation
        self.runtime = config.runtime
        self.pool = Pool(
            per_attachment=config.sessions_per_attachment,
            per_tenant=config.sessions_per_tenant,
            idle_seconds=config.idle_seconds,
            total=config.sessions,
        )

    async def handle(self, op: str, args: dict[str, Any], traceparent: str | None) -> Any:
        """One call of `host.sock`."""
        ops: dict[str, Callable[..., Awaitable[Any]]] = {
            "build": self.builder.build,
            "probe": self.probe,
            "invoke": self.invoke,
            "drop": self.drop,
            "renew": self.renew,
            "stop": self.stop,
            "retire": self.retire,
            "status": self.status,
            "verify": self.verify,
            "waiting": self.waiting,
        }
        if op not in ops:
            raise BadRequest(f"The host has no operation {op}.")
        meta = args.get("meta")
        carried = traceparent or (meta.get("traceparent") if isinstance(meta, dict) else None)
        trace_id, parent = telemetry.parse(carried) or (os.urandom(16).hex(), None)
        with telemetry.span(trace_id, f"host.{op}", parent) as span_id:
            if op == "invoke" and isinstance(meta, dict):
                args = args | {"meta": meta | {"traceparent": f"00-{trace_id}-{span_id}-01"}}
            try:
                return await ops[op](**args)
            except TypeError as error:
                raise BadRequest(f"{op}: {error}") from error

    async def probe(self, *, session: dict[str, Any], attachment_id: str | None = None) -> dict[str, Any]:
        """Starts the server without network and lists what it is; `attachment_id`: the attachment that it is tried for, whose
        end is its end too. Raises ProbeFailed (its code is the reason), NoRoom."""
        spec = self._required(session).model_copy(update={"network": False, "pins": {}, "server_pin": None})
        probed = Session(spec, self.paths, self.pins)
        self.pool.trials[probed] = attachment_id
        try:
            async with self.pool.slot(spec, _PROBE_SECONDS):
                if probed.ended.done():
                    raise CallFailed(probed.ended.result())
                await probed.start(await self._intact(spec, cold=True), _PROBE_SECONDS)
            assert probed.listing is not None
            await asyncio.to_thread(self.pins.remember, probed.listing)
            return probed.listing.as_dict()
        except CallFailed as failure:
            ending = failure.ending
            tail = probed.stderr_tail
            if ending.reason == "no_free_session":
                raise NoRoom(ending.message, remedy=ending.remedy) from failure
            if ending.reason in ("sandbox_unavailable", "isolation_too_weak"):
                raise SandboxUnavailable(
                    ending.message, code=ending.reason, remedy=ending.remedy or None, stderr_tail=tail[-4000:]
                ) from failure
            raise ProbeFailed(
                ending.message,
                code=ending.reason,
                stderr_tail=tail[-4000:],
                stray_stdout=probed.stray_stdout,
                exit_code=ending.exit_code,
                signal=ending.signal,
            ) from failure
        finally:
            del self.pool.trials[probed]
            await probed.close()

    async def invoke(
        self,
        *,
        session: dict[str, Any],
        tool: str,
        arguments: dict[str, Any],
        timeout_seconds: float,
        meta: dict[str, Any],
    ) -> dict[str, Any]:
        """The outcome of one call; `timeout_seconds` bounds the call itself, not a cold start before it."""
        spec = self._required(session)
        try:
            async with self.pool.slot(spec, timeout_seconds, str(meta.get("invocation_id") or "")):
                waited = time.monotonic() + _BROKER_SECONDS
                while True:
                    if spec.release_id in self.pool.revoked:
                        spec = self._required(session)  # it may have been revoked while the call waited
                    found = await self._invoke(spec, tool, arguments, timeout_seconds, meta)
                    # Nothing was sent yet: a broker that is being started again is waited for.
                    if found["reason"] != "broker_unavailable" or time.monotonic() > waited:
                        return found
                    await asyncio.sleep(0.3)
        except CallFailed as failure:
            return outcome.failed(failure.ending)
        except DigestMismatch as problem:
            # What still runs of it was started from files that are not trusted any more.
            for warm in [other for other in self.pool.sessions if other.spec.env_path == spec.env_path]:
                self.pool.discard(warm)
            return outcome.failed(Ending("digest_mismatch", problem.detail, remedy=problem.remedy))

    def _required(self, session: dict[str, Any]) -> SessionSpec:
        """The session with what this machine requires of every pack. A session that was started under less is another one:
        its key differs, so a warm one is never taken for it."""
        spec = SessionSpec.read(session)
        required = stricter(spec.isolation, self.isolation)
        revoked = spec.revoked or spec.release_id in self.pool.revoked
        if (required, revoked, self.runtime) == (spec.isolation, spec.revoked, spec.runtime):
            return spec
        return SessionSpec.read(session | {"isolation": required, "revoked": revoked, "runtime": self.runtime})

    async def _invoke(
        self, spec: SessionSpec, tool: str, arguments: dict[str, Any], timeout: float, meta: dict[str, Any]
    ) -> dict[str, Any]:
        invocation_id = str(meta.get("invocation_id") or "")
        stamp = await self._intact(spec, cold=False)
        session = self.pool.take(spec)
        temperature = "warm"
        if session is not None:
            session.serving = invocation_id
            try:
                await session.begin(invocation_id, meta.get("traceparent"))
            except CallFailed as failure:
                self.pool.discard(session)
                if failure.ending.reason != "broker_unavailable":
                    return outcome.failed(failure.ending, **self._seen(session, temperature))
                # A broker that was started anew does not know the old session. Nothing was sent yet: start over.
                session = None
        if session is None:
            temperature = "cold"
            session = Session(spec, self.paths, self.pins)
            session.serving = invocation_id
            self.pool.admit(session)
            try:
                stamp = await self._intact(spec, cold=True)
                await session.start(stamp, _START_SECONDS)
                await session.begin(invocation_id, meta.get("traceparent"))
            except CallFailed as failure:
                self.pool.discard(session)
                return outcome.failed(failure.ending, **self._seen(session, temperature))
            except BaseException:
                self.pool.discard(session)
                raise
        return await self._call(session, tool, arguments, timeout, meta, temperature)

    async def _call(
        self,
        session: Session,
        tool: str,
        arguments: dict[str, Any],
        timeout: float,
        meta: dict[str, Any],
        temperature: str,
    ) -> dict[str, Any]:
        began = time.perf_counter()
        failure: CallFailed | None = None
        result: Any = None
        left: dict[str, Any] = {"egress": None, "denied": None}
        try:
            sent = {key: value for key, value in meta.items() if value is not None}
            result = await session.call(tool, arguments, sent, timeout)
        except CallFailed as failed:
            failure = failed
        finally:
            call_ms = round((time.perf_counter() - began) * 1000, 3)
            if session.ended.done():
                # Dead before its network is shut: what it left running must not answer for another invocation. The broker
                # forgets the session only after it was told that the invocation is over.
                await session.kill()
            closed = False
            with contextlib.suppress(Problem):
                left = await session.end(str(meta.get("invocation_id") or ""))
                closed = True
            if not closed:
                # The broker could not say that this invocation is over, so this session serves no other.
                self.pool.discard(session)
        broken = left.pop("broken", None)
        more = self._seen(session, temperature) | left | {"call_ms": call_ms}
        self.pool.give_back(session)
        if not closed and not session.dropped and (failure is not None or result.is_error):
            # The pack met a network that broke under it: its own error would hide whose fault it was.
            lost = "The broker ended while the call ran; what it had let out may have reached the outside."
            return outcome.failed(Ending("broker_lost", lost), **more)
        if broken and failure is None and result.is_error:
            # The pack was refused for a fault of ours, not of its own and not of the outside: nothing was sent.
            return outcome.failed(Ending(str(broken), "The broker could not do its part, so nothing was sent."), **more)
        if failure is not None:
            if failure.ending.reason in ("tool_definition_changed", "tool_not_listed"):
                more["held"] = await asyncio.to_thread(session.differences.of, tool)
            return outcome.failed(failure.ending, **more)
        other = await asyncio.to_thread(session.differences.other) if session.differences.tools else None
        return outcome.answered(result, **more, held=other)

    @staticmethod
    def _seen(session: Session, temperature: str) -> dict[str, Any]:
        return {
            "session": temperature,
            "handshake_ms": session.handshake_ms if temperature == "cold" else None,
            "stderr_tail": session.stderr_tail,
            "stray_stdout": session.stray_stdout,
            "isolation": session.isolation,
        }

    async def _intact(self, spec: SessionSpec, *, cold: bool) -> Stamp:
        """The stamp, if the environment is what was registered. Raises DigestMismatch.

        Warm: the stamp. Cold: also every file's owner, size, inode and change time, which only root can forge; if they
        moved (a restored backup), or no second uid keeps the pack from its files, everything is hashed again.
        """
        env = Path(spec.env_path)
        if not self._built_here(spec.env_path):
            raise DigestMismatch("The environment is not one that this host built.")
        stamp = build.read_stamp(env)
        expected = spec.tree_digest or stamp.tree_digest
        if stamp.tree_digest != expected:
            raise DigestMismatch(f"The environment {env.name} is not the release's.")
        if not cold:
            return stamp
        try:
            same = await asyncio.to_thread(digest.surface, env) == stamp.surface
            separated = bool((await launching.check(self.paths.launcher_socket)).get("uid_separated"))
            return stamp if same and separated else await asyncio.to_thread(build.verify_full, env, expected)
        except OSError as error:
            raise DigestMismatch(f"The environment {env.name} cannot be read: {error}") from error

    def _built_here(self, env_path: str) -> bool:
        """Whether this names a folder of ours, and not a link to one elsewhere."""
        folder, _, name = env_path.rpartition("/")
        if folder not in self.folders or name in ("", ".", ".."):
            return False
        try:
            return stat.S_ISDIR(os.lstat(env_path).st_mode)
        except OSError:
            return False

    async def verify(self, *, env_path: str, tree_digest: str) -> dict[str, Any]:
        """Hashes an environment in full: {intact, message}."""
        try:
            await asyncio.to_thread(build.verify_full, Path(env_path), tree_digest)
        except (DigestMismatch, OSError) as problem:
            return {"intact": False, "message": str(problem)}
        return {"intact": True, "message": ""}

    async def drop(self, *, attachment_id: str) -> dict[str, Any]:
        """Ends the attachment's sessions: {dropped: how many, calls: the invocations that they served, or that waited}."""
        return (await self.pool.drop(attachment_id)).as_dict()

    async def renew(self, *, release_id: str, because: dict[str, Any]) -> dict[str, Any]:
        """The release was revoked: what was started of it before ends, as `drop` says. `because`: {reason, message, remedy}
        of the calls."""
        return (await self.pool.renew(release_id, Ending(**because))).as_dict()

    async def stop(
        self,
        *,
        tenant_id: str,
        invocation_ids: list[str],
        release_id: str | None,
        workspace_id: str | None,
        idle: bool,
        because: dict[str, Any],
    ) -> dict[str, Any]:
        """Ends these calls of a tenant, running or waiting, with their sessions; `idle`: and what is kept warm of the release,
        in the workspace (None: of any). As `drop`."""

        def kept(spec: SessionSpec) -> bool:
            here = spec.tenant_id == tenant_id and workspace_id in (None, spec.workspace_id)
            return idle and here and release_id in (None, spec.release_id)

        return (await self.pool.stop(tenant_id, invocation_ids, kept, Ending(**because))).as_dict()

    async def retire(self, *, attachment_id: str, digest: str) -> dict[str, Any]:
        """Ends the attachment's idle sessions of other releases than this one, and busy ones after their call: {retired}."""
        return {"retired": self.pool.retire(attachment_id, digest)}

    async def waiting(self, *, tenant_id: str, invocation_id: str) -> dict[str, Any]:
        """{place}: where a call stands in line (`Places.of`), None when it does not wait."""
        return {"place": self.pool.places.of(tenant_id, invocation_id)}

    async def status(self) -> dict[str, Any]:
        """{sessions, calls, isolation}. `calls`: how many went to a pack since this process began."""
        isolation = await launching.check(self.paths.launcher_socket)
        return {"sessions": self.pool.describe(), "calls": self.pool.calls, "isolation": isolation}


async def serve(home: Path, config: PackSettings, stop: asyncio.Event, gap: AirGap = OPEN) -> None:
    """Serves `home/run/host.sock` until `stop` is set."""
    paths = Paths(home)
    for folder in (paths.run, paths.envs):
        folder.mkdir(parents=True, exist_ok=True)
    host = Host(paths, config, gap)
    # A build or a trial that nobody waits for any more takes nobody's turn; a call goes on, and its record says how it ended.
    server = await ipc.serve_unix(paths.host_socket, host.handle, given_up=frozenset({"build", "probe"}))
    try:
        await stop.wait()
    finally:
        server.close()
        await host.pool.close()


async def _main() -> None:
    loaded = settings.load()
    telemetry.configure("host", Paths(loaded.home).log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(loaded.home, loaded.packs, stop, loaded.network.gap)


def main() -> int:
    """The role's entry; WORKA_HOME and the settings say where."""
    memory.no_core_dumps()
    # Each call passes through this process twice; this loop costs it a fifth less than the library's own.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
