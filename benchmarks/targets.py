"""What row 1 calls: Worka as an operator starts it, and its peers as their documentation says."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.support.instance import Instance, make_instance

from benchmarks import peers
from benchmarks.client import Connection, json_of
from worka.cli.client import Client
from worka.cli.packs import pack_body
from worka.kernel.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
TOOL = "worka.echo.echo"


class Wrong(Exception):
    """An answer that is not the echo."""


class Caller(ABC):
    """One caller on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @abstractmethod
    async def call(self, text: str) -> None:
        """One call; raises Wrong for any answer but the right one."""

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()


class Target(ABC):
    """A system under comparison."""

    words = ""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    async def caller(self) -> Caller:
        """A new caller, ready to call."""

    def pids(self) -> list[int]:
        """The processes whose time is this system's (their descendants count too)."""
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        """Ends it."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def spawn(self, command: list[str], port: int, env: dict[str, str], log: Path, seconds: float = 90) -> None:
        """Starts a server and waits until its port answers. Raises PeerMissing with the end of its log."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent
            )
        self.processes.append(process)
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                return
            time.sleep(0.05)
        raise peers.PeerMissing(f"{command[0]} did not start: {log.read_text()[-500:]}")


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Worka --------------------------------------------------------------------------------------------------------------
class Governed(Caller):
    """POST …/tools/{tool}/call with a bearer token; `expect` is the status that is right for this caller."""

    numbers = itertools.count(1)
    run = secrets.token_hex(4)

    def __init__(self, connection: Connection, path: str, token: str, *, keyed: bool = True, expect: int = 200) -> None:
        super().__init__(connection)
        self.path, self.keyed, self.expect = path, keyed, expect
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def call(self, text: str) -> None:
        headers = self.headers
        if self.keyed:
            headers = {**headers, "Idempotency-Key": f"bench-{self.run}-{next(self.numbers)}"}
        body = json.dumps({"arguments": {"text": text}}).encode()
        status, _, data = await self.connection.post(self.path, headers, body)
        if status != self.expect:
            raise Wrong(f"{status}: {data[:300]!r}")
        if status == 200:
            found = json.loads(data)
            if found["status"] != "succeeded" or found["structured"] != {"result": text}:
                raise Wrong(str(found)[:300])


class Worka(Target):
    """A whole instance on an empty home: a tenant, an owner, a viewer, and the echo pack attached."""

    def __init__(self) -> None:
        super().__init__()
        self.instance: Instance = make_instance("bench-call-")
        self.tenant = self.workspace = self.token = self.viewer = ""
        self.variants: dict[str, int] = {}

    def start(self) -> None:
        """Up, and everything made through public routes."""
        self.instance.start()
        anyone = self.instance.client()
        setup = (self.instance.home / "run" / "setup-token").read_text().strip()
        person = {"password": secrets.token_urlsafe(18), "display_name": "Bench"}
        made = anyone.post("/v1/setup", {"token": setup, "email": "operator@bench.test", **person})
        operator = self.instance.client(made["session_token"])
        tenant = operator.post(
            "/v1/tenants",
            {"slug": "bench", "name": "Bench", "workspace_name": "Bench", "owner_email": "owner@bench.test"},
        )
        self.tenant, self.workspace = tenant["tenant_id"], tenant["workspace_id"]
        owner = self._accept(anyone, tenant["invitation_token"])
        self.token = owner.token or ""
        invited = owner.post(owner.ws("/invitations"), {"email": "viewer@bench.test", "role": "viewer"})
        self.viewer = self._accept(anyone, invited["invitation_token"]).token or ""
        release = owner.post(owner.ws("/releases"), pack_body(HERE / "pack"))
        while release["state"] not in ("released", "failed"):
            time.sleep(0.1)
            release = owner.get(f"/v1/releases/{release['id']}")
        assert release["state"] == "released", release
        attachment = owner.post(owner.ws("/attachments"), {"release_id": release["id"]})
        while attachment["state"] != "attached":
            assert attachment["state"] != "failed", attachment
            time.sleep(0.1)
            attachment = owner.get(f"/v1/attachments/{attachment['id']}")
        self.owner = owner

    def _accept(self, anyone: Client, token: str) -> Client:
        person = {"password": secrets.token_urlsafe(18), "display_name": "Bench"}
        made = anyone.post("/v1/invitations/accept", {"token": token, **person})
        return self.instance.client(made["session_token"], self.workspace)

    @property
    def path(self) -> str:
        """Where the tool is called."""
        return f"/v1/workspaces/{self.workspace}/tools/{TOOL}/call"

    async def caller(self) -> Caller:
        return await self.as_(self.token)

    async def as_(self, token: str, *, port: int | None = None, keyed: bool = True, expect: int = 200) -> Governed:
        """A caller with this token at this door."""
        port = port or int(self.instance.url.rsplit(":", 1)[1])
        return Governed(await Connection(port).open(), self.path, token, keyed=keyed, expect=expect)

    def variant(self, without: str) -> int:
        """The port of another door of the same instance with a layer taken out: the benchmark's own wiring."""
        if without not in self.variants:
            port = free_port()
            environ = {
                **self.instance.env,
                "WORKA_HTTP__PORT": str(port),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            }
            command = [sys.executable, "-m", "benchmarks.bare_serve", *(["--without", without] if without else [])]
            self.spawn(command, port, environ, self.instance.home / f"bare-{without or 'nothing'}.log")
            self.variants[without] = port
        return self.variants[without]

    def only(self, port: int | None) -> None:
        """Stops every other door of the benchmark's own where it is, so that it takes no time from what is measured."""
        for process, its in zip(self.processes, self.variants.values(), strict=True):
            process.send_signal(signal.SIGCONT if its == port else signal.SIGSTOP)

    def pids(self) -> list[int]:
        process = self.instance.process
        postmaster = EmbeddedPostgres(self.instance.home).running_pid()
        return [pid for pid in (process.pid if process else None, postmaster) if pid] + super().pids()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
        super().stop()
        self.instance.stop()
        shutil.rmtree(self.instance.home, ignore_errors=True)


# peers --------------------------------------------------------------------------------------------------------------
class Mcp(Caller):
    """An MCP session over streamable HTTP."""

    def __init__(self, connection: Connection, path: str, headers: dict[str, str], tool: str) -> None:
        super().__init__(connection)
        self.path, self.tool, self.numbers = path, tool, itertools.count(1)
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}

    async def initialize(self) -> Mcp:
        """The handshake."""
        about = {"name": "bench", "version": "1"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
        got, _ = await self._send("initialize", params)
        if session := got.get("mcp-session-id"):
            self.headers["Mcp-Session-Id"] = session
        self.headers["MCP-Protocol-Version"] = "2025-06-18"
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
        await self.connection.post(self.path, self.headers, note)
        return self

    async def _send(self, method: str, params: dict[str, Any]) -> tuple[dict[str, str], Any]:
        message = {"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}
        status, got, data = await self.connection.post(self.path, self.headers, json.dumps(message).encode())
        if status != 200:
            raise Wrong(f"{status}: {data[:300]!r}")
        return got, json_of(got.get("content-type", ""), data)

    async def call(self, text: str) -> None:
        _, found = await self._send("tools/call", {"name": self.tool, "arguments": {"text": text}})
        result = found.get("result") or {}
        if result.get("isError") or not result.get("content") or result["content"][0].get("text") != text:
            raise Wrong(str(found)[:300])


class FastMcp(Target):
    """A FastMCP server over HTTP in its own environment; `upstream` makes it a proxy of another one."""

    def __init__(self, folder: Path, upstream: str = "") -> None:
        super().__init__()
        env = peers.environment("fastmcp")
        self.port = free_port()
        program = HERE / "peers" / "fastmcp_server.py"
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "FASTMCP_LOG_LEVEL": "ERROR"}
        command = [str(env / "bin" / "python"), str(program), str(self.port), *([upstream] if upstream else [])]
        self.words = f"FastMCP {peers.version('fastmcp', 'fastmcp')}, " + (
            "its own proxy before the direct server"
            if upstream
            else "its HTTP server as it ships; one tools/call in a session"
        )
        self.spawn(command, self.port, environ, folder / f"fastmcp-{self.port}.log")

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    async def caller(self) -> Caller:
        return await Mcp(await Connection(self.port).open(), "/mcp", {}, "echo").initialize()
