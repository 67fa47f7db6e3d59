"""The packs domain's side of `run/host.sock`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worka.kernel import ipc

_BUILD_SECONDS = 2400.0  # with the wait for a turn
_PROBE_SECONDS = 180.0
_SHORT_SECONDS = 30.0
_START_SECONDS = 60.0
_GLANCE_SECONDS = 2.0


class HostClient:
    """Calls of the host of one instance. Every method raises the host's Problem, or PeerUnavailable (503)."""

    def __init__(self, run_dir: Path) -> None:
        self.socket = Path(run_dir) / "host.sock"

    async def build(
        self,
        *,
        release_id: str,
        package: dict[str, Any],
        lock_text: str,
        tree_path: str | None = None,
        command: list[str] | None = None,
        tenant_id: str = "",
        traceparent: str | None = None,
    ) -> dict[str, Any]:
        """{env_path, entry, tree_digest, file_count, installed: [{name, version}]}."""
        args = {
            "release_id": release_id, "package": package, "lock_text": lock_text,
            "tree_path": tree_path, "command": command, "tenant_id": tenant_id,
        }  # fmt: skip
        return await self._call("build", args, _BUILD_SECONDS, traceparent)

    async def probe(
        self, *, session: dict[str, Any], attachment_id: str | None = None, traceparent: str | None = None
    ) -> dict[str, Any]:
        """{server_info, instructions, protocol,
        tools: [{name, description, input_schema, output_schema, annotations}]}. `attachment_id`: for which it is tried."""
        args = {"session": session, "attachment_id": attachment_id}
        return await self._call("probe", args, _PROBE_SECONDS, traceparent)

    async def invoke(
        self,
        *,
        session: dict[str, Any],
        tool: str,
        arguments: dict[str, Any],
        timeout_seconds: float,
        meta: dict[str, Any],
        traceparent: str | None = None,
    ) -> dict[str, Any]:
        """The outcome. Waiting for a free session and for the answer are bounded by `timeout_seconds` each."""
        args = {
            "session": session, "tool": tool, "arguments": arguments, "timeout_seconds": timeout_seconds, "meta": meta,
        }  # fmt: skip
        return await self._call(
            "invoke", args, 2 * timeout_seconds + _START_SECONDS, traceparent or meta.get("traceparent")
        )

    async def drop(self, *, attachment_id: str) -> dict[str, Any]:
        """{dropped: how many were ended, calls: the invocations that they served, or that waited for one}."""
        return await self._call("drop", {"attachment_id": attachment_id}, _SHORT_SECONDS, None)

    async def renew(self, *, release_id: str, because: dict[str, str]) -> dict[str, Any]:
        """The release was revoked: ends its sessions that were started before. As `drop`."""
        return await self._call("renew", {"release_id": release_id, "because": because}, _SHORT_SECONDS, None)

    async def stop(
        self,
        *,
        tenant_id: str,
        invocation_ids: list[str],
        release_id: str | None,
        workspace_id: str | None,
        idle: bool,
        because: dict[str, str],
    ) -> dict[str, Any]:
        """Ends these calls, and what is kept warm of the release or workspace (`Host.stop`). As `drop`."""
        args = {
            "tenant_id": tenant_id, "invocation_ids": invocation_ids, "release_id": release_id,
            "workspace_id": workspace_id, "idle": idle, "because": because,
        }  # fmt: skip
        return await self._call("stop", args, _SHORT_SECONDS, None)

    async def retire(self, *, attachment_id: str, digest: str) -> dict[str, Any]:
        """{retired}: how many idle sessions of other releases were ended; those that are busy end after their call."""
        return await self._call("retire", {"attachment_id": attachment_id, "digest": digest}, _SHORT_SECONDS, None)

    async def waiting(self, *, tenant_id: str, invocation_id: str) -> dict[str, Any] | None:
        """Where a call waits for a place (`Places.of`); None when it does not wait."""
        asked = {"tenant_id": tenant_id, "invocation_id": invocation_id}
        place: dict[str, Any] | None = (await self._call("waiting", asked, _GLANCE_SECONDS, None))["place"]
        return place

    async def status(self) -> dict[str, Any]:
        """{sessions: […], calls, isolation: {driver, cgroup, uid_separated, seccomp}}."""
        return await self._call("status", {}, _SHORT_SECONDS, None)

    async def verify(self, *, env_path: str, tree_digest: str) -> dict[str, Any]:
        """{intact, message}: every file hashed again."""
        return await self._call("verify", {"env_path": env_path, "tree_digest": tree_digest}, _BUILD_SECONDS, None)

    async def _call(self, op: str, args: dict[str, Any], timeout: float, traceparent: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = await ipc.call_unix(self.socket, op, args, timeout=timeout, traceparent=traceparent)
        return answer
