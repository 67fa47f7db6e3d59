"""Releases and attachments written as registration and attachment leave them, for tests that need no sandbox."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.workspaces.world import World
from worka import workspaces
from worka.kernel.ids import new_id

Row = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


async def another_workspace(world: World, *members: str, role: str = "owner") -> str:
    """A further workspace of the tenant, with these members."""
    made = new_id("ws")
    async with world.db.transaction(world.tenant_id) as conn:
        row = {"tenant_id": world.tenant_id, "id": made, "slug": made[-8:], "name": "Other place", "created_by": "test"}
        await workspaces.store.create_workspace(conn, row)
        for name in members:
            await workspaces.store.add_member(
                conn,
                {
                    "tenant_id": world.tenant_id, "workspace_id": made, "principal_kind": "person",
                    "principal_id": world.ids[name], "role": role, "approver": False, "created_by": "test",
                },
            )  # fmt: skip
    return made


async def release(
    world: World,
    pack: str = "acme.small",
    version: str = "1.0.0",
    *,
    tools: tuple[str, ...] = ("say",),
    packages: tuple[str, ...] = ("lib==1.0",),
    state: str = "released",
    workspace_id: str | None = None,
    **manifest: Any,
) -> str:
    """The id of a release; `packages` are `name==version`."""
    made, (publisher, _, name) = new_id("rel"), pack.partition(".")
    document = {
        "schema_version": "worka.aip.v1", "publisher": publisher, "name": name, "version": version, "display_name": name,
        "description": "For tests.", "source": {"repository": "https://git.test/x", "revision": "abc123"},
        "runtime": {"transport": "stdio", "package": {"ecosystem": "pypi", "name": "lib", "version": "1.0", "lock": "l"}},
        "tools": "discover", **manifest,
    }  # fmt: skip
    frozen = [
        {"name": tool, "description": "Says it.", "input_schema": SCHEMA, "side_effect": "read_only", "idempotent": True,
         "pin": "p"}
        for tool in tools
    ]  # fmt: skip
    held = [dict(zip(("name", "version"), item.split("=="), strict=True)) for item in packages]
    reason = {"released": "release_in_service", "revoked": "release_revoked", "quarantined": "release_quarantined"}[
        state
    ]
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason, digest,"
            " tree_digest, tools, packages, source, probe, created_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'tree',"
            " %s, %s, %s, %s, %s)",
            (
                world.tenant_id, made, workspace_id or world.workspace_id, publisher, name, version, Jsonb(document), state,
                reason, f"digest-of-{made}", Jsonb(frozen), Jsonb(held), Jsonb({"ecosystem": "pypi", "contents": "c"}),
                Jsonb({"server_info": {"name": name}}), world.ids["member"],
            ),
        )  # fmt: skip
    return made


async def attachment(
    world: World, release_id: str, *, workspace_id: str | None = None, state: str = "attached", held: Row | None = None
) -> str:
    """The id of an attachment of a release."""
    made = new_id("att")
    reason = {
        "attached": "attachment_in_service", "held": "tool_definition_changed", "suspended": "release_quarantined",
        "awaiting_connection": "waiting_for_connection", "awaiting_dependency": "waiting_for_dependency",
        "awaiting_approval": "waiting_for_approver", "updating": "attachment_updating",
    }[state]  # fmt: skip
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
            " created_by, held) select tenant_id, %s, %s, id, publisher || '.' || name, 'pinned', %s, %s, 1, digest, %s, %s"
            " from worka.release where id = %s",
            (
                made, workspace_id or world.workspace_id, state, reason, world.ids["admin"],
                None if held is None else Jsonb(held), release_id,
            ),
        )  # fmt: skip
    return made


async def called(world: World, attachment_id: str, tool: str = "acme.small.say", **columns: Any) -> str:
    """The id of a call of an attached tool: running, unless `state` and `reason` say how it ended."""
    made = new_id("inv")
    row = {"state": "running", "reason": "call_under_way", "layer": None, **columns}
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack, tool,"
            " side_effect, initiator_kind, initiator_id, originating_person, decision_id, idempotency_key, args_digest, state,"
            " reason, layer, trace_id, ended_at) select tenant_id, %s, workspace_id, id, release_id, digest, pack, %s,"
            " 'read_only', 'person', %s, %s, 'dec_x', %s, 'd', %s, %s, %s, 'trace', case when %s = 'running' then null else now()"
            " end from worka.attachment where id = %s",
            (
                made, tool, world.ids["member"], world.ids["member"], new_id("key"), row["state"], row["reason"], row["layer"],
                row["state"], attachment_id,
            ),
        )  # fmt: skip
    return made


async def one(world: World, table: str, row_id: str) -> Row:
    """A row as it is now."""
    (found,) = await world.rows(table, "id = %s", row_id)
    return found
