"""IBM ContextForge as its tuning guide says: PostgreSQL, gunicorn with uvicorn workers (one a core), session pool, JSON
answers, caches on with their longest lives, unused features and logs off. Authentication stays on, with its JWT.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks import peers
from benchmarks.client import Connection
from benchmarks.targets import Caller, Mcp, Target, free_port

EMAIL = "admin@bench.test"


class ContextForge(Target):
    """The gateway before the direct peer's server. `administrator` is the login of a PostgreSQL that it gets a database of."""

    def __init__(self, folder: Path, administrator: str, upstream: str) -> None:
        super().__init__()
        env = peers.environment("contextforge")
        self.port = free_port()
        place = folder / "forge"
        place.mkdir()
        secret = secrets.token_urlsafe(48)
        environ = {
            "PATH": f"{env}/bin:/usr/bin:/bin", "HOME": str(place), "ENVIRONMENT": "production",
            "DATABASE_URL": _database(administrator), "HOST": "127.0.0.1", "PORT": str(self.port),
            "JWT_SECRET_KEY": secret, "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48), "AUTH_REQUIRED": "true",
            "BASIC_AUTH_PASSWORD": _password(), "PLATFORM_ADMIN_EMAIL": EMAIL, "PLATFORM_ADMIN_PASSWORD": _password(),
            "DEFAULT_USER_PASSWORD": _password(),
            # tuning guide, sections 6, 8 and 9
            "MCP_SESSION_POOL_ENABLED": "true", "MCP_SESSION_POOL_MAX_PER_KEY": "50",
            "MCP_SESSION_POOL_HEALTH_CHECK_METHODS": '["skip"]', "JSON_RESPONSE_ENABLED": "true",
            "USE_STATEFUL_SESSIONS": "false", "DB_POOL_CLASS": "queue", "DB_POOL_SIZE": "10", "DB_MAX_OVERFLOW": "10",
            "AUTH_CACHE_ENABLED": "true", "AUTH_CACHE_USER_TTL": "300", "AUTH_CACHE_TEAM_TTL": "300",
            "AUTH_CACHE_ROLE_TTL": "300", "AUTH_CACHE_REVOCATION_TTL": "120", "AUTH_CACHE_BATCH_QUERIES": "true",
            "CACHE_TYPE": "memory", "HTTPX_MAX_CONNECTIONS": "200", "HTTPX_MAX_KEEPALIVE_CONNECTIONS": "100",
            # section 10: what is not used is off
            "MCPGATEWAY_UI_ENABLED": "false", "MCPGATEWAY_ADMIN_API_ENABLED": "false", "MCPGATEWAY_A2A_ENABLED": "false",
            "LLMCHAT_ENABLED": "false", "MCPGATEWAY_CATALOG_ENABLED": "false", "PLUGINS_ENABLED": "false",
            "DB_METRICS_RECORDING_ENABLED": "false", "TOKEN_USAGE_LOGGING_ENABLED": "false", "OBSERVABILITY_ENABLED": "false",
            "STRUCTURED_LOGGING_ENABLED": "false", "AUDIT_TRAIL_ENABLED": "false", "LOG_LEVEL": "ERROR",
            "DISABLE_ACCESS_LOG": "true", "RATE_LIMITING_ENABLED": "false", "TOOL_RATE_LIMIT": "1000",
            # its server-side request check would refuse the loopback address of the direct peer
            "SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        }  # fmt: skip
        command = [str(env / "bin" / "gunicorn"), "mcpgateway.main:app", "-k", "uvicorn.workers.UvicornWorker"]
        command += ["-w", "2", "-b", f"127.0.0.1:{self.port}", "--timeout", "600", "--preload", "--log-level", "error"]
        self.log = place / "forge.log"
        self._run([str(env / "bin" / "python"), "-m", "mcpgateway.bootstrap_db"], environ, place)
        self.spawn(command, self.port, environ, self.log)
        create = [str(env / "bin" / "python"), "-m", "mcpgateway.utils.create_jwt_token", "--username", EMAIL]
        self.token = (
            self._run([*create, "--exp", "600", "--secret", secret, "--admin"], environ, place).strip().splitlines()[-1]
        )
        self.words = (
            f"mcp-contextforge-gateway {peers.version('contextforge', 'mcp-contextforge-gateway')} before the direct server, "
            "gunicorn with 2 uvicorn workers, PostgreSQL, tuned as its guide says (forge.py), its own audit trail off"
        )
        self._register(upstream)

    def _run(self, command: list[str], environ: dict[str, str], place: Path) -> str:
        done = subprocess.run(command, env=environ, cwd=place, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise peers.PeerMissing(f"{' '.join(command[1:3])}: {done.stderr[-400:]}")
        return done.stdout

    def _ask(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise peers.PeerMissing(f"{path}: {error.code} {error.read()[:300]!r}") from error

    def _register(self, upstream: str) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self._ask("/health")
                break
            except (OSError, peers.PeerMissing):
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        self._ask("/gateways", {"name": "echo", "url": upstream, "transport": "STREAMABLEHTTP"})
        tools: list[dict[str, Any]] = []
        while not tools and time.monotonic() < until:
            tools = [tool for tool in self._ask("/tools") if "echo" in tool["name"]]
            time.sleep(0.2)
        if not tools:
            raise peers.PeerMissing("the gateway lists no tool of its upstream")
        self.tool = str(tools[0]["name"])
        server = {"server": {"name": "bench", "associated_tools": [tools[0]["id"]]}}
        self.server = str(self._ask("/servers", server)["id"])

    async def caller(self) -> Caller:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await Mcp(
            await Connection(self.port).open(), f"/servers/{self.server}/mcp", headers, self.tool
        ).initialize()


def _password() -> str:
    return "Bench-" + secrets.token_urlsafe(18) + "!7"


def _database(administrator: str) -> str:
    """A role and a database of its own in that cluster."""
    password = secrets.token_urlsafe(18)
    with psycopg.connect(administrator, autocommit=True) as conn:
        conn.execute(f"create role forge login password '{password}'")
        conn.execute("create database forge owner forge")
    known = conninfo_to_dict(administrator)
    return f"postgresql+psycopg://forge:{password}@/forge?host={known['host']}&port={known['port']}"
