"""Attachments and running invocations to lease for, as rows of the real tables."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.workspaces.world import World
from worka.kernel.context import Context, Principal
from worka.kernel.ids import new_id
from worka.treasury import service

VALUE = "trk-Zt9vQ2mX7sLw4Kd8"
HERE = "tracker.worka.test:443"


async def attachment(world: World, pack: str = "acme.notes", workspace_id: str | None = None) -> str:
    """An attachment that serves."""
    release, found = new_id("rel"), new_id("att")
    place = workspace_id or world.workspace_id
    publisher, _, name = pack.partition(".")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state,"
            " reason, created_by)"
            " values (%s, %s, %s, %s, %s, %s, %s, 'released', 'release_in_service', 'test')",
            (world.tenant_id, release, place, publisher, name, f"1.0.0-{release[-8:]}", Jsonb({})),
        )
        await conn.execute(
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid,"
            " digest,"
            " created_by) values (%s, %s, %s, %s, %s, 'pinned', 'attached', 'attachment_in_service', 1, 'd', 'test')",
            (world.tenant_id, found, place, release, pack),
        )
    return found


async def invocation(world: World, attachment_id: str, state: str = "running") -> str:
    """An invocation of the attachment."""
    found = new_id("inv")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest,"
            " pack, tool,"
            " side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state, reason,"
            " trace_id)"
            " select tenant_id, %s, workspace_id, id, release_id, 'd', pack, 'publish', 'external_side_effect',"
            " 'person', 'p',"
            " 'dec_x', %s, 'a', %s, 'call_under_way', 't' from worka.attachment where id = %s",
            (found, found, state, attachment_id),
        )
    return found


async def secret(world: World, name: str = "tracker-token", value: str = VALUE, **fields: Any) -> dict[str, Any]:
    """A secret in the world's workspace."""
    words = {"purpose": "the tracker's bearer token", "kind": "api_token", **fields}
    return await service.create(world.ctx("owner"), world.workspace_id, name=name, value=value, **words)


def broker(world: World, attachment_id: str) -> Context:
    """The Context in which the broker acts for an attachment."""
    principal = Principal("attachment", attachment_id, "acme.notes", world.tenant_id)
    return world.context(principal, tenant_id=world.tenant_id, workspace_id=world.workspace_id)


async def lease(
    world: World, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str = HERE
) -> service.Lease:
    """A lease, as the broker asks for it."""
    return await service.lease(
        broker(world, attachment_id),
        secret_id=secret_id,
        attachment_id=attachment_id,
        invocation_id=invocation_id,
        endpoint=endpoint,
    )
