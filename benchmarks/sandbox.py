"""Row 7: how long until something runs in the sandbox, and what a call into a running one costs.

Cold: from the request to the first byte that the program inside writes, through the launcher as the host asks it;
against bubblewrap with the same flags and `--unshare-net`, and against `runsc do`. Ours does more in that time: its own
uid, control groups, its own process that may do so. Warm: a call through the host against the same server on bare pipes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.packs.running import SERVER, Instance
from tests.support.database import reachable_directory

from benchmarks import peers
from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from worka.kernel.postgres import EmbeddedPostgres
from worka.packs import rules
from worka.packs.runtime import launching
from worka.packs.runtime.client import HostClient
from worka.packs.sandbox import etc, seccomp
from worka.packs.sandbox.spec import Allowed, bwrap_arguments, read

ROOT = Path(__file__).resolve().parents[1]
PRINT = ["/usr/bin/printf", "x"]
LAUNCHER, BWRAP, RUNSC = "launcher", "bwrap", "runsc do"
HOST, PIPE, BARE = "through the host", "pipe into the sandbox", "bare pipe"
PACK, UNBOXED = "cold through the host", "no sandbox"
LOG = "Commit history:\nCommit: " + "0" * 40 + "\nAuthor: Ann\nDate: 2026-01-01 10:00:00+00:00\nMessage: feat: one\n\n"
NOTES = {"log_text": LOG, "issues_text": "Contents of https://tracker.worka.test/api/issues:\n[]", "repository": "a/b"}


class Server:
    """The test server on pipes, asked in JSON lines without any client library."""

    def __init__(self, wire: int, answer: int) -> None:
        self.wire, self.answer, self.numbers = wire, answer, itertools.count(1)
        self.ask("initialize", {})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One question and its answer."""
        message = {"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}
        os.write(self.wire, json.dumps(message).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            data += os.read(self.answer, 65536)
        found: dict[str, Any] = json.loads(data)
        return found

    def call(self) -> None:
        """The tool that does nothing."""
        assert (
            self.ask("tools/call", {"name": "steady", "arguments": {"code": "x" * 256}})["result"]["isError"] is False
        )


class Sandbox:
    """The row."""

    name, number, title = "sandbox", 7, "sandbox start, cold and warm"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.peers = {
            LAUNCHER: "Worka's launcher, asked as the pack host asks it: own uid, control groups, killed as a whole; two children wait",
            BWRAP: "bubblewrap with the same flags and `--unshare-net`, as the caller's own user: "
            + subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
            HOST: "Worka's host: session pool, pins, MCP client, bounded pipes, its own process",
            PIPE: "JSON lines on the pipes of a sandboxed server, nothing else",
            BARE: "the same server as a plain child process on pipes",
            PACK: "the pack `worka.notes` (MCP SDK of Python), digest checked, sandbox, handshake, first call",
            UNBOXED: "the same command as a plain child process, MCP SDK's own client, handshake, first call",
        }
        self.packs = Instance()
        self.home = reachable_directory("bench-sandbox-")
        self.database = EmbeddedPostgres(self.home)
        self.runsc: Path | None = None
        self.numbers = itertools.count(1)
        self.sandboxes: list[launching.Sandbox] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.notes: dict[str, Any] = {}
        if not smoke:
            try:
                self.runsc = peers.debian("runsc", "usr/bin/runsc")
                self.peers[RUNSC] = (
                    "gVisor from Debian, `--network=none`, its default platform: " + self.runsc.parts[-4]
                )
            except peers.PeerMissing as missing:
                self.peers[RUNSC] = f"did not run: {missing}"

    def scenarios(self) -> list[Scenario]:
        """Cold, warm, and a whole Python pack (not in a smoke: it is installed from a registry)."""
        runsc = (RUNSC,) if self.runsc else ()
        found = [
            Scenario(
                "cold",
                "sandbox start until the first byte",
                (LAUNCHER, BWRAP, *runsc),
                2000,
                slow={RUNSC: 20},
                unit="start",
            ),
            Scenario("warm", "a call with 256 B into a warm session", (HOST, PIPE, BARE), 2000),
        ]
        if not self.smoke:
            found.append(
                Scenario("pack", "a cold Python pack until its first answer", (PACK, UNBOXED), 4, unit="start")
            )
        return found

    async def open(self) -> None:
        """A launcher and a host, the test server, and (for the floors) a PostgreSQL."""
        await asyncio.to_thread(self.database.start)
        await asyncio.to_thread(self.packs.start)
        built = await self.packs.pack(SERVER)
        self.env_path, self.entry = built["env_path"], built["entry"]
        self.allowed = Allowed(
            Path(os.path.realpath(self.packs.home)), 200_000, (), (Path(os.path.realpath(sys.base_prefix)),)
        )
        self.etc = etc.make(self._own_home())
        self.filter = self.packs.home / "filter"
        self.filter.write_bytes(seccomp.assemble())
        self.warm_session = await self._pinned(await self.packs.session(SERVER))
        self.bare = self._bare_server()
        self.inside = await self._sandboxed_server()
        if not self.smoke:
            self.notes = await self._notes()

    def _own_home(self) -> Path:
        home = self.packs.home / "bench"
        home.mkdir()
        home.chmod(0o755)
        return home

    async def close(self) -> None:
        """Ends everything that was started."""
        for child in self.children:
            child.kill()
            child.wait()
        for sandbox in self.sandboxes:
            sandbox.kill()
        await asyncio.to_thread(self.packs.stop)
        await asyncio.to_thread(self.database.stop, "immediate")
        subprocess.run(["rm", "-rf", str(self.home)], check=False)

    def administrator(self) -> str:
        """For the floors."""
        return administrator(self.home)

    # what is compared ------------------------------------------------------------------------------------------------
    def _request(self, command: list[str]) -> dict[str, Any]:
        number = next(self.numbers)
        return {
            "session_id": f"bench-{number}",
            "uid": 210_000 + number % 1000,
            "command": command,
            "env": {"PATH": "/usr/bin"},
            "env_path": self.env_path,
            "limits": {"memory_mb": 256, "cpu_seconds": 60, "processes": 16, "files": 128, "disk_mb": 16},
        }

    async def _launcher(self) -> float:
        began = time.perf_counter()
        sandbox = await launching.start(self.packs.home / "run" / "launcher.sock", self._request(PRINT))
        await _readable(sandbox.stdout)
        assert os.read(sandbox.stdout, 1) == b"x"
        spent = time.perf_counter() - began
        await sandbox.exit
        sandbox.kill()
        for fd in (sandbox.stdin, sandbox.stdout, sandbox.stderr):
            os.close(fd)
        return spent

    def _bwrap_command(self, seccomp_fd: int, status_fd: int) -> list[str]:
        spec = read(self._request(PRINT), self.allowed)
        flags = bwrap_arguments(spec, etc=self.etc, seccomp_fd=seccomp_fd, status_fd=status_fd, unshare_net=True)
        return ["/usr/bin/bwrap", *flags, "--", *PRINT]

    async def _bwrap(self) -> float:
        filter_fd = os.open(self.filter, os.O_RDONLY)
        status_read, status_write = os.pipe()
        command = self._bwrap_command(filter_fd, status_write)
        began = time.perf_counter()
        spent = self._until_first_byte(command, began, (filter_fd, status_write))
        for fd in (filter_fd, status_write, status_read):
            os.close(fd)
        return spent

    async def _runsc(self) -> float:
        return self._until_first_byte([str(self.runsc), "--network=none", "do", *PRINT], time.perf_counter(), ())

    def _until_first_byte(self, command: list[str], began: float, passed: tuple[int, ...]) -> float:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=passed, env={"PATH": "/usr/bin"}
        ) as child:
            assert child.stdout is not None
            byte = os.read(child.stdout.fileno(), 1)
            spent = time.perf_counter() - began
            _, errors = child.communicate()
            assert byte == b"x", errors[-300:]
        return spent

    async def _through_the_host(self) -> float:
        began = time.perf_counter()
        outcome = await self.packs.client.invoke(
            session=self.warm_session, tool="steady", arguments={"code": "x" * 256}, timeout_seconds=10,
            meta={"invocation_id": "inv_bench", "idempotency_key": "key", "traceparent": None},
        )  # fmt: skip
        assert outcome["status"] == "ok", outcome
        return time.perf_counter() - began

    async def _pipe(self) -> float:
        return _timed(self.inside.call)

    async def _bare(self) -> float:
        return _timed(self.bare.call)

    async def _cold_pack(self) -> float:
        session = {**self.notes, "attachment_id": f"att_n{next(self.numbers)}"}
        session["session_key"] = session["attachment_id"]
        began = time.perf_counter()
        outcome = await self.packs.client.invoke(
            session=session, tool="compose_release_notes", arguments=NOTES, timeout_seconds=30,
            meta={"invocation_id": "inv_bench", "idempotency_key": "key", "traceparent": None},
        )  # fmt: skip
        spent = time.perf_counter() - began
        assert outcome["status"] == "ok", outcome
        assert outcome["session"] == "cold", outcome
        await self.packs.client.drop(attachment_id=session["attachment_id"])
        return spent

    async def _unboxed(self) -> float:
        command, *arguments = self.notes["command"]
        server = StdioServerParameters(command=command, args=arguments, env={"PATH": "/usr/bin"}, cwd="/")
        began = time.perf_counter()
        with open(os.devnull, "w") as quiet:
            async with stdio_client(server, errlog=quiet) as (reader, writer), ClientSession(reader, writer) as client:
                await client.initialize()
                await client.list_tools()
                result = await client.call_tool("compose_release_notes", NOTES)
                spent = time.perf_counter() - began
        assert not result.is_error, result
        return spent

    # what they need ---------------------------------------------------------------------------------------------------
    async def _pinned(self, session: dict[str, Any]) -> dict[str, Any]:
        client: HostClient = self.packs.client
        probed = await client.probe(session=session)
        pins = {tool["name"]: rules.tool_pin(tool) for tool in probed["tools"]}
        return session | {"pins": pins, "server_pin": rules.server_pin(probed["instructions"])}

    async def _notes(self) -> dict[str, Any]:
        source = ROOT / "packs" / "notes"
        files = {f"worka_notes/{path.name}": path.read_text() for path in (source / "worka_notes").glob("*.py")}
        built = await self.packs.client.build(
            release_id="rel_notes",
            package={"ecosystem": "path", "name": "worka_notes", "version": "1.0.0"},
            lock_text=(source / "requirements.lock").read_text(),
            tree_path=str(self.packs.tree(files)),
            command=["python", "-m", "worka_notes"],
        )
        limits = {"memory_mb": 512, "cpu_seconds": 300, "processes": 32, "output_bytes": 16 * 1024 * 1024}
        session = await self.packs.session(SERVER, limits=limits)
        session |= {"env_path": built["env_path"], "command": built["entry"], "tree_digest": built["tree_digest"]}
        return await self._pinned(session)

    def _bare_server(self) -> Server:
        child = subprocess.Popen(
            self.entry, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
        )
        self.children.append(child)
        assert child.stdin is not None
        assert child.stdout is not None
        return Server(child.stdin.fileno(), child.stdout.fileno())

    async def _sandboxed_server(self) -> Server:
        sandbox = await launching.start(self.packs.home / "run" / "launcher.sock", self._request(self.entry))
        self.sandboxes.append(sandbox)
        return await asyncio.to_thread(Server, sandbox.stdin, sandbox.stdout)

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """One after the other; processor time is of this process and all its children, which is all there is."""
        act: Callable[[], Awaitable[float]] = {
            LAUNCHER: self._launcher, BWRAP: self._bwrap, RUNSC: self._runsc, HOST: self._through_the_host,
            PIPE: self._pipe, BARE: self._bare, PACK: self._cold_pack, UNBOXED: self._unboxed,
        }[who]  # fmt: skip
        times, errors, first = [], 0, ""
        used, client, began = cpu_seconds([os.getpid()]), time.process_time(), time.perf_counter()
        for _ in range(calls):
            try:
                times.append(await act() * 1000)
            except Exception as error:
                errors, first = errors + 1, first or repr(error)[:300]
        seconds = time.perf_counter() - began
        used, client = cpu_seconds([os.getpid()]) - used, time.process_time() - client
        return Round(scenario.name, who, number, times, seconds, errors, first, 0, used, client)

    async def once(self) -> dict[str, Any]:
        """What isolation was in force."""
        status = await self.packs.client.status()
        return {
            "isolation": ", ".join(f"{key} {value}" for key, value in status["isolation"].items() if key != "sessions")
        }

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars, without the zygote's."""
        bare = found.floor["fork_and_exec"]
        cold = found.p50("cold", LAUNCHER)
        ratio = found.ratio("cold", BWRAP)
        near = f"{cold:.2f} ms is {cold / bare:.1f} x fork and exec; bubblewrap itself {found.p50('cold', BWRAP) / bare:.1f} x"
        bars = [Bar("cold start / bubblewrap", "<= 1.3", ratio, ratio <= 1.3 and found.clean("cold", BWRAP), near)]
        if self.runsc:
            ratio = found.ratio("cold", RUNSC)
            bars.append(Bar("cold start / runsc do", "<= 0.2", ratio, ratio <= 0.2 and found.clean("cold", RUNSC)))
        else:
            bars.append(Bar("cold start / runsc do", "<= 0.2", "did not run", None, note=self.peers.get(RUNSC, "")))
        more = found.p50("warm", HOST) - found.p50("warm", BARE)
        stdio = found.floor["stdio_round_trip"]
        bars.append(
            Bar(
                "a warm call more than on a bare pipe, ms",
                "<= 1",
                more,
                more <= 1 and found.errors("warm", HOST) == 0,
                f"{found.p50('warm', HOST):.3f} ms is {found.p50('warm', HOST) / stdio:.0f} x one stdio round trip",
            )
        )
        if not self.smoke:
            ratio = found.ratio("pack", UNBOXED)
            bars.append(
                Bar(
                    "cold Python pack / without a sandbox",
                    "<= 1.1",
                    ratio,
                    ratio <= 1.1 and found.clean("pack", UNBOXED),
                )
            )
        return bars


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def make(*, smoke: bool) -> Sandbox:
    """The row."""
    return Sandbox(smoke=smoke)
