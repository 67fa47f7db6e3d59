"""One pack session: a sandbox, an MCP client on its capped pipes, and at most one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import anyio
import mcp_types as types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from worka.kernel import ids, ipc
from worka.kernel.errors import Problem, Unavailable
from worka.kernel.paths import Paths
from worka.packs.rules import did_you_mean
from worka.packs.runtime import launching, outcome
from worka.packs.runtime.build import Stamp
from worka.packs.runtime.capped import Malformed, Oversize, Pipe, Stderr, Stdout, feed
from worka.packs.runtime.outcome import CallFailed, Ending
from worka.packs.runtime.pins import Differences, Listing, Pins
from worka.packs.runtime.spec import SessionSpec

log = logging.getLogger("worka.host")
_CLIENT = types.Implementation(name="worka", version="1")
_SETTLE_SECONDS = 2.0  # between a closed stdout and the report of how the process ended
_LAST_WORDS_SECONDS = 0.2
_MOST_TOOLS = 1000
_MOST_PAGES = 100
_BROKER_SECONDS = 10.0


class Session:
    """Made by `start`, used by `call`, over when `ended` is set. `close` may be called at any time, twice too."""

    def __init__(self, spec: SessionSpec, paths: Paths, pins: Pins) -> None:
        self.id = ids.new_id("ses")
        self.spec = spec
        self.paths = paths
        self.pins = pins
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.isolation: dict[str, Any] = {}
        self.listing: Listing | None = None
        self.differences = Differences()
        self.handshake_ms: float | None = None
        self.calls = 0
        self.serving = ""
        """The invocation that it was taken or started for."""
        self.busy_seconds = 0.0
        self.started_at = self.used_at = time.monotonic()
        self.pid = 0
        self._phase = "before the MCP handshake"
        self._sandbox: launching.Sandbox | None = None
        self._stdout: Stdout | None = None
        self._stderr: Stderr | None = None
        self._client: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._entered = asyncio.Event()
        self._closing = asyncio.Event()
        self._on_broker = False
        self._forgotten = False
        self._stale = False
        self.dropped = False
        """Whether somebody ended it on purpose: then it is no fault of the broker's that a call in it has no end there."""

    @property
    def alive(self) -> bool:
        """Whether a call may be sent to it."""
        return self._client is not None and not self.ended.done() and not self._closing.is_set()

    @property
    def worn(self) -> bool:
        """Whether its processor time could run out in the middle of the next call."""
        return self.busy_seconds > self.spec.limits.cpu_seconds / 2

    @property
    def stderr_tail(self) -> str:
        """Redacted, at most 64 KiB, since the last call began."""
        return self._stderr.tail if self._stderr is not None else ""

    @property
    def stray_stdout(self) -> str | None:
        """Lines of stdout that were no messages, redacted."""
        return self._stdout.quoted if self._stdout is not None else None

    async def start(self, stamp: Stamp, timeout: float) -> None:
        """Sandbox, handshake, tools, pins; seconds for all of it. Raises CallFailed, and leaves nothing behind then."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                await self._launch(stamp)
                self._task = asyncio.create_task(self._run())
                await self._or_end(self._handshake())
        except TimeoutError:
            await self.close()
            raise self._failed(
                "handshake_failed", f"The pack did not complete the MCP handshake within {timeout:g} s."
            ) from None
        except BaseException:
            await self.close()
            raise
        self.handshake_ms = round((time.perf_counter() - began) * 1000, 3)
        self._phase = "during the call"
        self.used_at = time.monotonic()

    async def _launch(self, stamp: Stamp) -> None:
        token, bundle = "", None
        if self.spec.network:
            try:
                opened = await ipc.call_unix(
                    self.paths.broker_socket,
                    "open_session",
                    {
                        "session_id": self.id,
                        "tenant_id": self.spec.tenant_id,
                        "workspace_id": self.spec.workspace_id,
                        "attachment_id": self.spec.attachment_id,
                    },
                    timeout=_BROKER_SECONDS,
                )
            except Problem as problem:
                raise CallFailed(_shut(problem)) from problem
            self._on_broker = True
            token, bundle = str(opened["token"]), str(opened["ca_bundle_path"])
        request = self.spec.sandbox_request(
            self.id,
            token=token,
            ca_bundle_path=bundle,
            runtime_roots=stamp.runtime_roots,
        )
        try:
            self._sandbox = await launching.start(self.paths.launcher_socket, request)
        except launching.Refused as refused:
            own = ("broker_unavailable", "isolation_too_weak")
            reason = refused.reason if refused.reason in own else "sandbox_unavailable"
            raise CallFailed(Ending(reason, refused.message, remedy=refused.remedy)) from refused
        self.pid = self._sandbox.pid
        self.isolation = self._sandbox.isolation

    async def _run(self) -> None:
        """Lives as long as the session: the client's task group must be entered and left by one task."""
        sandbox = self._sandbox
        assert sandbox is not None
        stdin = Pipe(sandbox.stdin)
        self._stdout = Stdout(Pipe(sandbox.stdout), self.spec.limits.output_bytes)
        self._stderr = Stderr(Pipe(sandbox.stderr))
        incoming, to_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        from_client, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        last_words = asyncio.create_task(self._stderr.pump())
        pumps = [
            asyncio.create_task(self._read(self._stdout, incoming)),
            last_words,
            asyncio.create_task(feed(stdin, outgoing)),
            asyncio.create_task(self._mourn(sandbox, last_words)),
        ]
        try:
            async with ClientSession(
                to_client, from_client, message_handler=self._notified, client_info=_CLIENT
            ) as client:
                self._client = client
                self._entered.set()
                await self._closing.wait()
        except Exception as error:
            log.warning("the client of session %s ended: %s", self.id, type(error).__name__)
        finally:
            self._client = None
            self._entered.set()
            sandbox.kill()
            for pipe in (stdin, self._stdout.pipe, self._stderr.pipe):
                pipe.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for stream in (incoming, to_client, from_client, outgoing):
                stream.close()
            if not self.ended.done():
                self.ended.set_result(Ending("pack_signalled", "The session was closed.", None, 9))

    async def _read(self, stdout: Stdout, incoming: anyio.abc.ObjectSendStream[SessionMessage | Exception]) -> None:
        ending: Ending | None = None
        try:
            await stdout.pump(incoming.send)
        except Oversize as error:
            ending = Ending("oversize_output", str(error))
        except Malformed as error:
            ending = Ending("malformed_output", str(error))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return
        if ending is None:
            # The end of stdout is mostly the end of the process, whose own report says more.
            await asyncio.sleep(_SETTLE_SECONDS)
            ending = Ending("protocol_error", f"The pack closed its stdout {self._phase}.")
        self._over(ending)

    async def _mourn(self, sandbox: launching.Sandbox, last_words: asyncio.Task[None]) -> None:
        report = await asyncio.shield(sandbox.exit)
        # Its last output may still be in the pipe: an error message is worth a moment.
        await asyncio.wait({last_words}, timeout=_LAST_WORDS_SECONDS)
        self._over(outcome.from_exit(report, limits=self.spec.limits.model_dump(), during=self._phase))

    def _over(self, ending: Ending) -> None:
        if not self.ended.done():
            self.ended.set_result(ending)

    async def _notified(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._stale = True

    async def _or_end(self, work: Any) -> Any:
        """The work's result, or CallFailed as soon as the session is over."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self.ended}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise CallFailed(self.ended.result())
            try:
                return task.result()
            except MCPError as error:
                if error.code == types.CONNECTION_CLOSED:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(self.ended), 2 * _SETTLE_SECONDS)
                if self.ended.done():
                    raise CallFailed(self.ended.result()) from error
                raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _handshake(self) -> None:
        await self._entered.wait()
        client = self._client
        if client is None:
            raise CallFailed(await asyncio.shield(self.ended))
        try:
            try:
                await client.initialize()
            except MCPError as error:
                if error.code == types.CONNECTION_CLOSED:
                    raise
                # A server of the stateless kind knows no `initialize`.
                await client.discover()
            self._phase = "while it listed its tools"
            await self.refresh()
        except (MCPError, RuntimeError, ValidationError) as error:
            if isinstance(error, MCPError) and error.code == types.CONNECTION_CLOSED:
                raise
            raise self._failed("handshake_failed", f"The MCP handshake failed: {_words(error)}") from error

    async def refresh(self) -> None:
        """Lists the tools again and compares them with the pins."""
        client = self._client
        assert client is not None
        self._stale = False
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        pages = 0
        while True:
            page = await client.list_tools(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None)
            tools += [_definition(tool) for tool in page.tools]
            cursor = page.next_cursor
            pages += 1
            if len(tools) > _MOST_TOOLS or pages > _MOST_PAGES:
                raise RuntimeError(f"it lists more than {_MOST_TOOLS} tools, or more than {_MOST_PAGES} pages of them")
            if not cursor:
                break
        info = client.server_info
        self.listing = Listing(
            server_info=info.model_dump(mode="json", by_alias=True, exclude_none=True) if info is not None else {},
            instructions=client.instructions,
            protocol=str(client.protocol_version),
            tools=tools,
        )
        if _holds_nul(self.listing.as_dict()):
            raise RuntimeError("it describes itself with a NUL, which no record can hold")
        # Beside the loop: hashing a thousand definitions takes a while.
        self.differences = await asyncio.to_thread(
            self.pins.compare, self.listing, self.spec.pins, self.spec.server_pin
        )

    def _must_list(self, tool: str) -> None:
        """Raises CallFailed where the server does not know, under this name, what was registered: sent all the same, the
        call would come back as some error of the server's own."""
        listed = sorted(item["name"] for item in self.listing.tools) if self.listing else [tool]
        if tool in self.spec.pins and tool not in listed:
            names = ", ".join(listed[:20]) or "no tool at all"
            told = f"The server does not list {tool}, which was registered; it lists {names}."
            raise CallFailed(Ending("tool_not_listed", told + did_you_mean(tool, listed)))

    async def call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any], timeout: float
    ) -> types.CallToolResult:
        """One call, `timeout` in seconds. Raises CallFailed; a session that failed is closed by its owner."""
        assert self._stdout is not None
        assert self._stderr is not None
        self.calls += 1
        began = time.monotonic()
        if self.calls > 1:
            # What a cold session wrote while it started belongs to its first call.
            self._stdout.exchange()
            self._stderr.exchange()
        try:
            async with asyncio.timeout(timeout):
                if self._stale:
                    await self._or_end(self.refresh())
                self._must_list(tool)
                if (changed := self.differences.concerning(tool)) is not None:
                    words = f"{changed} is not as it was approved; it was not called."
                    raise CallFailed(Ending("tool_definition_changed", words))
                result: types.CallToolResult = await self._or_end(self._request(tool, arguments, meta))
                return result
        except TimeoutError:
            raise self._failed("pack_timeout", f"The pack did not answer within {timeout:g} s.") from None
        except (ValidationError, RuntimeError) as error:
            raise self._failed(
                "malformed_output", f"The pack's answer is not a tool result: {_words(error)}"
            ) from error
        except MCPError as error:
            # An error answer is a proper answer: the session can go on.
            raise CallFailed(Ending("protocol_error", f"The server refused the request: {_words(error)}")) from error
        finally:
            self.used_at = time.monotonic()
            self.busy_seconds += self.used_at - began

    async def _request(self, tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> types.CallToolResult:
        client = self._client
        if client is None:
            raise CallFailed(self.ended.result() if self.ended.done() else Ending("pack_crashed", "The pack is gone."))
        params = types.CallToolRequestParams.model_validate({"name": tool, "arguments": arguments, "_meta": meta})
        return await client.send_request(types.CallToolRequest(params=params), types.CallToolResult)

    def _failed(self, reason: str, message: str) -> CallFailed:
        """Ends the session for this reason, unless it has ended for another one just before."""
        self._over(Ending(reason, message))
        return CallFailed(self.ended.result())

    async def begin(self, invocation_id: str, traceparent: str | None) -> None:
        """Opens the broker for one invocation. Raises CallFailed: `broker_unavailable`, or the code of what it refuses."""
        if not self._on_broker:
            return
        try:
            await ipc.call_unix(
                self.paths.broker_socket,
                "begin",
                {"session_id": self.id, "tenant_id": self.spec.tenant_id, "invocation_id": invocation_id},
                timeout=_BROKER_SECONDS,
                traceparent=traceparent,
            )
        except Problem as problem:
            raise CallFailed(_shut(problem)) from problem

    async def end(self, invocation_id: str) -> dict[str, Any]:
        """Shuts the broker again: {egress, denied}. Raises Problem."""
        if not self._on_broker:
            return {"egress": [], "denied": None}
        ended: dict[str, Any] = await ipc.call_unix(
            self.paths.broker_socket,
            "end",
            {"session_id": self.id, "tenant_id": self.spec.tenant_id, "invocation_id": invocation_id},
            timeout=_BROKER_SECONDS,
        )
        return ended

    async def kill(self, ending: Ending | None = None) -> None:
        """Kills the sandbox and waits for its end. The broker still knows the session. Never raises."""
        if ending is not None:
            self.dropped = True
            self._over(ending)
        first = not self._closing.is_set()
        self._closing.set()
        if self._sandbox is not None:
            self._sandbox.kill()
        if self._task is not None:
            await asyncio.gather(asyncio.shield(self._task), return_exceptions=True)
        elif self._sandbox is not None and first:
            for fd in (self._sandbox.stdin, self._sandbox.stdout, self._sandbox.stderr):
                Pipe(fd).close()

    async def close(self, ending: Ending | None = None) -> None:
        """Kills the sandbox and forgets the broker's session. Never raises."""
        await self.kill(ending)
        if self._on_broker and not self._forgotten:
            self._forgotten = True
            with contextlib.suppress(Problem):
                await ipc.call_unix(
                    self.paths.broker_socket,
                    "close_session",
                    {"session_id": self.id, "tenant_id": self.spec.tenant_id},
                    timeout=_BROKER_SECONDS,
                )

    def describe(self) -> dict[str, Any]:
        """For the op `status`."""
        return {
            "session_id": self.id,
            "tenant_id": self.spec.tenant_id,
            "attachment_id": self.spec.attachment_id,
            "release_id": self.spec.release_id,
            "pack": f"{self.spec.publisher}.{self.spec.pack}",
            "pid": self.pid,
            "uid": self.spec.uid,
            "network": self.spec.network,
            "calls": self.calls,
            "idle_seconds": round(time.monotonic() - self.used_at, 1),
            "held": sorted(self.differences.tools),
        }


def _shut(problem: Problem) -> Ending:
    """Why the broker did not open the network. What is away, or was started anew, is worth another try; what it refuses, a
    kill switch or a pack that was taken away, stays refused and keeps its name."""
    away = isinstance(problem, Unavailable) or problem.problem_code in ("broker_session_unknown", "internal")
    return Ending("broker_unavailable" if away else problem.problem_code, problem.detail, remedy=problem.remedy or "")


def _definition(tool: types.Tool) -> dict[str, Any]:
    """A tool as the rest of the platform knows it: what a caller is shown, and nothing that may vary by the call."""
    annotations = tool.annotations
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "annotations": annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
        if annotations is not None
        else None,
    }


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def _words(error: BaseException) -> str:
    """The error in a line. A validation error without the input, which may hold what should not be in a log."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)[:3]
        )
    return str(error)[:500]
