"""IBM ContextForge as its tuning guide says: PostgreSQL, gunicorn with uvicorn workers (one a core), session pool, JSON
answers, caches on with their longest lives, unused features and logs off. Authentication stays on, with its JWT.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.client import Connection
from benchmarks.gateway import Gateway, database, password
from benchmarks.targets import Caller, Mcp, free_port

EMAIL = "admin@bench.test"


class ContextForge(Gateway):
    """The gateway before the direct peer's server. `administrator` is the login of a PostgreSQL that it gets a database of."""

    def __init__(self, folder: Path, administrator: str, upstream: str, *, audit: bool = False) -> None:
        super().__init__()
        env = peers.environment("contextforge")
        self.port = free_port()
        name = "forge_audit" if audit else "forge"
        place = folder / name
        place.mkdir()
        secret = secrets.token_urlsafe(48)
        environ = {
            "PATH": f"{env}/bin:/usr/bin:/bin", "HOME": str(place), "ENVIRONMENT": "production",
            "DATABASE_URL": database(administrator, name), "HOST": "127.0.0.1", "PORT": str(self.port),
            "JWT_SECRET_KEY": secret, "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48), "AUTH_REQUIRED": "true",
            "BASIC_AUTH_PASSWORD": password(), "PLATFORM_ADMIN_EMAIL": EMAIL, "PLATFORM_ADMIN_PASSWORD": password(),
            "DEFAULT_USER_PASSWORD": password(),
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
            "STRUCTURED_LOGGING_ENABLED": "false", "AUDIT_TRAIL_ENABLED": str(audit).lower(), "LOG_LEVEL": "ERROR",
            "DISABLE_ACCESS_LOG": "true", "RATE_LIMITING_ENABLED": "false", "TOOL_RATE_LIMIT": "1000",
            # its server-side request check would refuse the loopback address of the direct peer
            "SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        }  # fmt: skip
        command = [str(env / "bin" / "gunicorn"), "mcpgateway.main:app", "-k", "uvicorn.workers.UvicornWorker"]
        command += ["-w", "2", "-b", f"127.0.0.1:{self.port}", "--timeout", "600", "--preload", "--log-level", "error"]
        self.log = place / "forge.log"
        self.run([str(env / "bin" / "python"), "-m", "mcpgateway.bootstrap_db"], environ, place)
        self.spawn(command, self.port, environ, self.log)
        create = [str(env / "bin" / "python"), "-m", "mcpgateway.utils.create_jwt_token", "--username", EMAIL]
        self.token = (
            self.run([*create, "--exp", "600", "--secret", secret, "--admin"], environ, place).strip().splitlines()[-1]
        )
        self.words = (
            f"mcp-contextforge-gateway {peers.version('contextforge', 'mcp-contextforge-gateway')} before the direct server, "
            "gunicorn with 2 uvicorn workers, PostgreSQL, tuned as its guide says (forge.py), "
            f"its own audit trail {'on' if audit else 'off'}"
        )
        self._register(upstream)

    def _register(self, upstream: str) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self.ask("/health")
                break
            except (OSError, peers.PeerMissing):
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        self.ask("/gateways", {"name": "echo", "url": upstream, "transport": "STREAMABLEHTTP"})
        tools: list[dict[str, Any]] = []
        while not tools and time.monotonic() < until:
            tools = [tool for tool in self.ask("/tools") if "echo" in tool["name"]]
            time.sleep(0.2)
        if not tools:
            raise peers.PeerMissing("the gateway lists no tool of its upstream")
        self.tool = str(tools[0]["name"])
        server = {"server": {"name": "bench", "associated_tools": [tools[0]["id"]]}}
        self.server = str(self.ask("/servers", server)["id"])

    async def caller(self) -> Caller:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await Mcp(
            await Connection(self.port).open(), f"/servers/{self.server}/mcp", headers, self.tool
        ).initialize()
