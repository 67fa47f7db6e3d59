"""A pack in a tenant of tests/workspaces/world.py, written as registration and attachment leave it."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.workspaces.world import World
from worka.kernel.ids import new_id


async def attached(world: World, pack: str, tools: dict[str, str], **manifest: Any) -> str:
    """The id of an attachment of `publisher.name` with these tools (name -> side effect)."""
    publisher, _, name = pack.partition(".")
    release, attachment = new_id("rel"), new_id("att")
    document = {
        "schema_version": "worka.aip.v1",
        "publisher": publisher,
        "name": name,
        "version": "1.0.0",
        "display_name": name,
        "description": name,
        "runtime": {"transport": "stdio", "package": {"ecosystem": "pypi", "name": "x", "version": "1", "lock": "l"}},
        "tools": "discover",
        **manifest,
    }
    frozen = [
        {"name": tool, "description": "", "input_schema": {}, "side_effect": effect, "idempotent": False, "pin": "p"}
        for tool, effect in tools.items()
    ]
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
            " digest, tools, created_by) values (%s, %s, %s, %s, %s, '1.0.0', %s, 'released', 'release_in_service', 'd', %s, 't')",
            (world.tenant_id, release, world.workspace_id, publisher, name, Jsonb(document), Jsonb(frozen)),
        )
        await conn.execute(
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
            " created_by) values (%s, %s, %s, %s, %s, 'pinned', 'attached', 'attachment_in_service', 1, 'd', 't')",
            (world.tenant_id, attachment, world.workspace_id, release, pack),
        )
    return attachment
