"""Ways of the platform's own that a domain below asks for: written, and ended, in the transaction of what needs them."""

from __future__ import annotations

from typing import Any

from worka.broker import store
from worka.kernel.context import Context
from worka.kernel.ids import new_id


async def wanted(ctx: Context, payload: dict[str, Any]) -> None:
    """`payload`: {workspace_id, purpose, subject_id, ways: [(host, port, method, path)]}."""
    by_place: dict[tuple[str, int, str], list[str]] = {}
    for host, port, method, path in payload["ways"]:
        by_place.setdefault((host, port, path), []).append(method)
    for (host, port, path), methods in by_place.items():
        await store.add_platform_rule(
            ctx.conn,
            {
                "tenant_id": ctx.tenant_id, "id": new_id("rule"), "workspace_id": payload["workspace_id"],
                "purpose": payload["purpose"], "subject_id": payload["subject_id"], "host": host, "port": port,
                "method": ",".join(sorted(set(methods))), "path": path, "created_by": ctx.principal.id,
            },
        )  # fmt: skip


async def ended(ctx: Context, payload: dict[str, Any]) -> None:
    """`payload`: {purpose, subject_id}."""
    await store.end_platform_rules(ctx.conn, payload["purpose"], payload["subject_id"])
