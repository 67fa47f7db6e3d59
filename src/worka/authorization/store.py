"""Every query of authorization: who holds what where, now; and the versions of policy in force."""

from __future__ import annotations

from typing import Any

from worka.kernel.db import Connection


async def policy_versions(conn: Connection) -> dict[str, int]:
    """The newest version of each kind (`access`, `governance`) of the tenant; 0 where it has none."""
    cursor = await conn.execute("select kind, max(version) as version from worka.policy_version group by kind")
    return {"access": 0, "governance": 0, **{row["kind"]: row["version"] for row in await cursor.fetchall()}}


async def policy(conn: Connection, kind: str, version: int) -> dict[str, Any] | None:
    """One version, with its text, note, owner and time."""
    cursor = await conn.execute("select * from worka.policy_version where kind = %s and version = %s", (kind, version))
    return await cursor.fetchone()
