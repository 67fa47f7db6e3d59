"""Preloop as its release compose file starts the part that serves tool calls: `python -m preloop.server` in the role `api`,
PostgreSQL with pgvector, and a NATS server with JetStream. Its policy is on: two rules in CEL for the tool, one that denies
and one that allows; its audit log and chain are as they ship; its logs are errors only, its check-in with its maker is off.

What its wheel lacks is given here: the Alembic configuration (its migrations are in it, the ini file is not).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from benchmarks import peers
from benchmarks.client import Connection
from benchmarks.gateway import Gateway, database, password
from benchmarks.targets import Caller, Mcp, Wrong, free_port

FORBIDDEN = "forbidden"
RULES = (
    {"action": "deny", "condition_expression": f"args.text.startsWith('{FORBIDDEN}')", "priority": 1},
    {"action": "allow", "condition_expression": "args.text.startsWith('x')", "priority": 2},
)
_MIGRATE = """
from pathlib import Path
import preloop.models
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", str(Path(preloop.models.__file__).with_name("alembic")))
command.upgrade(config, "head")
"""


class Refused(Caller):
    """Calls that its policy denies."""

    def __init__(self, mcp: Mcp) -> None:
        super().__init__(mcp.connection)
        self.mcp = mcp

    async def call(self, text: str) -> None:
        try:
            await self.mcp.call(FORBIDDEN + text)
        except Wrong as refusal:
            if "Access denied" not in str(refusal):
                raise
        else:
            raise Wrong("its policy did not deny")


class Preloop(Gateway):
    """The gateway before the direct peer's server. `administrator` is the login of a PostgreSQL that it gets a database of."""

    def __init__(self, folder: Path, administrator: str, upstream: str) -> None:
        super().__init__()
        env = peers.environment("preloop")
        nats = peers.debian("nats-server", "usr/sbin/nats-server")
        place = folder / "preloop"
        place.mkdir()
        queue, self.port = free_port(), free_port()
        environ = {
            "PATH": f"{env}/bin:/usr/bin:/bin", "HOME": str(place), "ENVIRONMENT": "production",
            "DATABASE_URL": database(administrator, "preloop", "vector"), "NATS_URL": f"nats://127.0.0.1:{queue}",
            "PRELOOP_URL": f"http://127.0.0.1:{self.port}", "PRELOOP_SERVICE_ROLE": "api",
            "PRELOOP_DISABLE_TELEMETRY": "true", "LOG_LEVEL": "ERROR", "ROOT_LOG_LEVEL": "ERROR",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ENCRYPTION_KEY": urlsafe_b64encode(os.urandom(32)).decode(),
        }  # fmt: skip
        python = str(env / "bin" / "python")
        self.run([python, "-c", _MIGRATE], environ, place)
        self.spawn(
            [str(nats), "-js", "-a", "127.0.0.1", "-p", str(queue), "-sd", str(place)],
            queue,
            environ,
            place / "nats.log",
        )
        command = [python, "-m", "preloop.server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.spawn(command, self.port, environ, place / "preloop.log", seconds=180)
        self._register(upstream)
        self.words = (
            f"preloop {peers.version('preloop', 'preloop')} before the direct server, one process as its release starts it, "
            "PostgreSQL, NATS, two CEL rules on the tool, its audit chain as it ships (preloop.py)"
        )

    def _register(self, upstream: str) -> None:
        word = password()
        person = {"username": "bench", "email": "bench@example.com", "password": word, "full_name": "Bench"}
        self.ask("/api/v1/auth/register", person)
        self.token = str(self.ask("/api/v1/auth/token/json", {"username": "bench", "password": word})["access_token"])
        self.key = str(self.ask("/api/v1/auth/api-keys", {"name": "bench"})["key"])
        wanted = {"name": "echo", "url": upstream, "transport": "http-streaming", "auth_type": "none"}
        server = self.ask("/api/v1/mcp-servers", wanted)
        until = time.monotonic() + 60
        while not any(tool["name"] == "echo" for tool in self.ask("/api/v1/tools")):
            if time.monotonic() > until:
                raise peers.PeerMissing(f"it lists no tool of its upstream: {json.dumps(server)[:300]}")
            time.sleep(0.5)
        tool = {"tool_name": "echo", "tool_source": "mcp", "mcp_server_id": server["id"], "is_enabled": True}
        made = self.ask("/api/v1/tool-configurations", {**tool, "account_id": server["account_id"]})
        for rule in RULES:
            self.ask(f"/api/v1/tool-configurations/{made['id']}/access-rules", rule)

    async def caller(self) -> Mcp:
        headers = {"Authorization": f"Bearer {self.key}"}
        return await Mcp(await Connection(self.port).open(), "/mcp/v1", headers, "echo").initialize()

    async def refused(self) -> Refused:
        """A caller whose calls its policy denies."""
        return Refused(await self.caller())
