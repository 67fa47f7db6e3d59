"""Packs, attachments, tools, invocations and host services, as what is asked about."""

from __future__ import annotations

from typing import Any, get_args

from worka.kernel.context import Resource
from worka.kernel.db import Connection
from worka.kernel.kinds import ResourceType, register
from worka.packs import manifest as manifests
from worka.packs import model, rules, store
from worka.packs.format import HostService

Row = dict[str, Any]


async def _pack(conn: Connection, workspace_id: str, resource_id: str) -> Resource | None:
    """With the facts of the release that is attached here, else of the newest one."""
    found = await store.attachment_with_release(conn, workspace_id, resource_id)
    release = found[1] if found else await store.newest_release(conn, resource_id)
    if release is None:
        return None
    manifest, _ = manifests.read(release["manifest"])
    facts = rules.attach_facts(manifest, release["tools"], [mount.name for mount in manifest.runtime.mounts])
    return Resource("pack", resource_id, workspace_id, {**facts, "release": release["id"]})


async def _packs(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    found = [await _pack(conn, workspace_id, name) for name in await store.pack_names(conn, after, limit)]
    return [pack for pack in found if pack is not None]


async def _attachment(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.attachment(conn, resource_id)
    return _attached(row) if row else None


async def _attachments(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [_attached(row) for row in await store.attachments(conn, workspace_id, after, limit)]


def _attached(row: Row) -> Resource:
    return Resource("attachment", row["id"], row["workspace_id"], {"pack": row["pack"], "state": row["state"]})


async def _tool(conn: Connection, workspace_id: str, resource_id: str) -> Resource | None:
    pack, _, name = resource_id.rpartition(".")
    found = await store.attachment_with_release(conn, workspace_id, pack)
    if found is None or found[0]["state"] not in model.SERVING:
        return None
    attachment, release = found
    definition = next((tool for tool in release["tools"] if tool["name"] == name), None)
    facts = definition and rules.call_facts(resource_id, attachment["pack"], release, definition)
    return Resource("tool", resource_id, workspace_id, facts) if facts else None


async def _tools(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    """By name; a workspace's attachments are few, so they are read whole and cut here."""
    names = sorted(
        f"{row['pack']}.{tool['name']}" for row in await store.serving(conn, workspace_id) for tool in row["tools"]
    )
    wanted = [name for name in names if after is None or name > after][:limit]
    return [tool for name in wanted if (tool := await _tool(conn, workspace_id, name)) is not None]


async def _invocation(conn: Connection, _workspace_id: str, resource_id: str) -> Resource | None:
    row = await store.invocation(conn, resource_id)
    return _called(row) if row else None


async def _invocations(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Resource]:
    return [_called(row) for row in await store.invocations(conn, workspace_id, after, limit, None, None)]


def _called(row: Row) -> Resource:
    return Resource("invocation", row["id"], row["workspace_id"], {"tool": row["tool"], "pack": row["pack"]})


HOST_SERVICES = tuple(sorted(get_args(HostService)))


async def _host_service(conn: Connection, workspace_id: str, resource_id: str) -> Resource | None:
    known = resource_id in HOST_SERVICES
    return Resource("host_service", resource_id, workspace_id, {"name": resource_id}) if known else None


async def _host_services(conn: Connection, workspace_id: str, after: str | None, _limit: int) -> list[Resource]:
    wanted = [name for name in HOST_SERVICES if after is None or name > after]
    return [Resource("host_service", name, workspace_id, {"name": name}) for name in wanted]


register(
    ResourceType("attachment", "A pack in a workspace.", _attachment, _attachments),
    ResourceType("host_service", "What the platform does for packs that declare it.", _host_service, _host_services),
    ResourceType("invocation", "One call of a tool.", _invocation, _invocations),
    ResourceType("pack", "A pack, by publisher.name.", _pack, _packs),
    ResourceType("tool", "A tool of an attached pack, by publisher.pack.tool.", _tool, _tools),
)
