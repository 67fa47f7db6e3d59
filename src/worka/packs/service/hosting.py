"""What the pack host is told: the session of an attachment, and the calls to it."""

from __future__ import annotations

import hashlib
from typing import Any

from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths
from worka.packs.moving import definitions
from worka.packs.runtime.client import HostClient

Row = dict[str, Any]

BUILD_SECONDS = 600.0
PROBE_SECONDS = 120.0


def client(ctx: Context) -> HostClient:
    """The client of this instance's host."""
    return HostClient(Paths(ctx.settings.home).run)


async def waiting(ctx: Context, invocation_id: str) -> Row | None:
    """Where a running call of the tenant waits for a place (`runtime.places.Places.of`); None when it does not wait, or when
    the host cannot say."""
    assert ctx.tenant_id is not None
    try:
        return await client(ctx).waiting(tenant_id=ctx.tenant_id, invocation_id=invocation_id)
    except Problem:
        return None


def session(ctx: Context, release: Row, attachment: Row | None) -> Row:
    """The session spec of an attachment; without one, that of a probe (no mounts, no network, a key of its own)."""
    manifest = release["manifest"]
    runtime = manifest["runtime"]
    limits = runtime.get("limits") or {}
    pins, server_pin = (
        ({}, None)
        if attachment is None
        else definitions.pins(
            attachment, {tool["name"]: tool["pin"] for tool in release["tools"]}, release["server_pin"]
        )
    )
    mounts = (
        []
        if attachment is None
        else [
            {"name": mount["name"], "source": mount["clone"], "target": mount["target"], "mode": "ro"}
            for mount in attachment["mounts"]
        ]
    )
    environment = dict(runtime.get("env") or {})
    if mounts:
        # The clone belongs to the platform's user, and git refuses another owner's repository unless told.
        environment["GIT_CONFIG_COUNT"] = str(len(mounts))
        for index, mount in enumerate(mounts):
            environment[f"GIT_CONFIG_KEY_{index}"] = "safe.directory"
            environment[f"GIT_CONFIG_VALUE_{index}"] = mount["target"]
    return {
        "session_key": f"probe:{release['id']}" if attachment is None else f"{attachment['id']}:{release['digest']}",
        "tenant_id": release["tenant_id"],
        "workspace_id": release["workspace_id"] if attachment is None else attachment["workspace_id"],
        "attachment_id": None if attachment is None else attachment["id"],
        "release_id": release["id"],
        "revoked": release["state"] == "revoked",
        "digest": release["digest"],
        "tree_digest": release["tree_digest"],
        "env_path": release["env_path"],
        "command": [*(release["entry"] or []), *(runtime.get("args") or [])],
        "env": environment,
        "uid": ctx.settings.packs.uid_base + _probe_number(release["id"]) if attachment is None else attachment["uid"],
        "mounts": mounts,
        "limits": {
            "memory_mb": limits.get("memory") or 512,
            "cpu_seconds": limits.get("cpu") or 300,
            "processes": limits.get("processes") or 64,
            "files": limits.get("files") or 256,
            "disk_mb": limits.get("disk") or 64,
            "timeout_seconds": limits.get("timeout") or ctx.settings.packs.call_timeout_seconds,
            "output_bytes": (limits.get("output") or 8) * 1024 * 1024,
        },
        "network": bool(attachment is not None and manifest.get("outbound_domains")),
        "publisher": release["publisher"],
        "pack": release["name"],
        "pins": pins,
        "server_pin": server_pin,
    }


def _probe_number(release_id: str) -> int:
    """Probes take the part of the range above the attachments' (60,000 to 64,999), so that two seldom share a uid."""
    return 60_000 + int.from_bytes(hashlib.sha256(release_id.encode()).digest()[:4]) % 5_000
