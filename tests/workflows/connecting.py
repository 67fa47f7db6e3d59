"""A pack of the workflows' world that needs an account outside, and accounts as rows."""

from __future__ import annotations

import json
from typing import Any

from tests.workflows.world import World
from worka.connections import store
from worka.kernel.ids import new_id

HOST = "api.worka.test"


async def needs_connection(world: World, required: bool = True) -> None:
    """From now on the pack declares that it needs the outside at its endpoint."""
    need = {
        "provider": "outside", "access": "read issues", "required": required,
        "inject": {"host": HOST, "header": "Authorization", "template": "Bearer {{connection.access_token}}"},
    }  # fmt: skip
    more = json.dumps({"connections": [need], "outbound_domains": [HOST]})
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.release set manifest = manifest || %s::jsonb", (more,))


async def connection_row(
    world: World, state: str = "active", reason: str = "connection_in_service", person: str | None = None, **more: Any
) -> str:
    """A connection to the outside in this state."""
    made = new_id("conn")
    row = {
        "tenant_id": world.tenant_id, "id": made, "workspace_id": world.workspace_id, "provider": "outside", "name": "Issues",
        "host": HOST, "port": 443, "access": "read", "why": "", "secret_id": None, "metadata": {}, "state": state,
        "reason": reason, "created_by": world.owner, "person_id": person, **more,
    }  # fmt: skip
    async with world.runtime.db.transaction(world.tenant_id) as conn:
        await store.add(conn, row)
    return made
