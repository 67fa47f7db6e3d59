"""Every query of proposals. The tenant is the transaction's (row-level security)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection
from worka.packs.proposals.model import PROPOSAL

Row = dict[str, Any]
MOST_REFUSED = 20
_JSON = ("difference", "refused")


async def add(conn: Connection, row: Mapping[str, Any]) -> Row:
    """A proposal, open."""
    cursor = await conn.execute(
        "insert into worka.egress_proposal (tenant_id, id, workspace_id, attachment_id, pack, release_id, kind, digest,"
        " difference, cause, refused, reason, why, owner_kind, owner_id, originating_person) values (%(tenant_id)s, %(id)s,"
        " %(workspace_id)s, %(attachment_id)s, %(pack)s, %(release_id)s, %(kind)s, %(digest)s, %(difference)s, %(cause)s,"
        " %(refused)s, 'waiting_for_decision', %(why)s, %(owner_kind)s, %(owner_id)s, %(originating_person)s) returning *",
        {**row, **{name: Jsonb(row[name]) for name in _JSON}},
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def again(conn: Connection, proposal_id: str, refused: Sequence[str]) -> Row:
    """The same was proposed once more: counted, with the newest of what it answers."""
    cursor = await conn.execute(
        "update worka.egress_proposal set times = times + 1, last_at = clock_timestamp(), refused = %s where id = %s returning *",
        (Jsonb(list(dict.fromkeys(refused))[-MOST_REFUSED:]), proposal_id),
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def lock_attachment(conn: Connection, attachment_id: str) -> None:
    """Proposals for an attachment are made and decided one after another: holds until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 31))", (attachment_id,))


async def newest(conn: Connection, attachment_id: str, digest: str) -> Row | None:
    """The newest proposal of this difference."""
    cursor = await conn.execute(
        "select * from worka.egress_proposal where attachment_id = %s and digest = %s order by id desc limit 1",
        (attachment_id, digest),
    )
    return await cursor.fetchone()


async def get(conn: Connection, proposal_id: str, *, lock: bool = False) -> Row | None:
    """One of them."""
    plain, locking = (
        "select * from worka.egress_proposal where id = %s",
        "select * from worka.egress_proposal where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (proposal_id,))).fetchone()


async def page(
    conn: Connection, workspace_id: str, state: str | None, attachment_id: str | None, after: str | None, limit: int
) -> list[Row]:
    """A workspace's proposals, newest first."""
    cursor = await conn.execute(
        "select * from worka.egress_proposal where workspace_id = %s and (%s::text is null or state = %s)"
        " and (%s::text is null or attachment_id = %s) and (%s::text is null or id < %s) order by id desc limit %s",
        (workspace_id, state, state, attachment_id, attachment_id, after, after, limit),
    )
    return await cursor.fetchall()


async def standing(conn: Connection, ids: Sequence[str]) -> dict[str, Row]:
    """What became of these, by id: the release, the move and the change of policy, with their states."""
    cursor = await conn.execute(
        "select p.id, r.version, r.state as release_state, r.reason as release_reason, m.id as move_id, m.state as move_state,"
        " m.reason as move_reason, m.approval_id as move_approval, c.state as change_state, c.outcome as change_outcome,"
        " c.approval_id as change_approval, c.version as policy_version, o.display_name as owner_name,"
        " d.display_name as decided_by_name from worka.egress_proposal p"
        " left join worka.release r on r.tenant_id = p.tenant_id and r.id = p.made_release"
        " left join worka.attachment_move m on m.tenant_id = p.tenant_id and m.id = p.move_id"
        " left join worka.egress_policy_change c on c.tenant_id = p.tenant_id and c.id = p.change_id"
        " left join worka.person o on o.id = p.owner_id left join worka.person d on d.id = p.decided_by"
        " where p.id = any(%s)",
        (list(ids),),
    )
    return {row["id"]: row for row in await cursor.fetchall()}


async def decide(conn: Connection, proposal_id: str, state: str, reason: str, **columns: Any) -> Row:
    """Its end: `columns` are decided_by, decided_why, made_release, change_id."""
    PROPOSAL.holds(state, reason)
    cursor = await conn.execute(
        "update worka.egress_proposal set state = %(state)s, reason = %(reason)s, since = clock_timestamp(),"
        " decided_by = %(decided_by)s, decided_why = %(decided_why)s, made_release = %(made_release)s,"
        " change_id = %(change_id)s where id = %(id)s returning *",
        {
            "decided_by": None, "decided_why": "", "made_release": None, "change_id": None, **columns,
            "id": proposal_id, "state": state, "reason": reason,
        },
    )  # fmt: skip
    found = await cursor.fetchone()
    assert found is not None
    return found


async def accepted_of(conn: Connection, attachment_id: str) -> Row | None:
    """The newest release that was made of a proposal for this attachment and may still come to it: {id, version}."""
    cursor = await conn.execute(
        "select r.* from worka.egress_proposal p join worka.release r on r.tenant_id = p.tenant_id and r.id = p.made_release"
        " left join worka.attachment_move m on m.tenant_id = p.tenant_id and m.id = p.move_id"
        " where p.attachment_id = %s and p.state = 'accepted' and r.state not in ('failed', 'revoked', 'quarantined')"
        " and (m.id is null or m.ended_at is null) order by p.since desc limit 1",
        (attachment_id,),
    )
    return await cursor.fetchone()


async def made_of(conn: Connection, release_id: str) -> list[Row]:
    """The accepted proposals that a release was made of, and that have no move yet, locked."""
    cursor = await conn.execute(
        "select * from worka.egress_proposal where made_release = %s and state = 'accepted' and move_id is null"
        " order by id for update",
        (release_id,),
    )
    return await cursor.fetchall()


async def set_move(conn: Connection, proposal_id: str, move_id: str) -> None:
    """The move to the release that it became."""
    await conn.execute("update worka.egress_proposal set move_id = %s where id = %s", (move_id, proposal_id))


async def versions_of(conn: Connection, publisher: str, name: str) -> list[str]:
    """Every version of a pack that there is, whatever its state."""
    cursor = await conn.execute(
        "select version from worka.release where publisher = %s and name = %s", (publisher, name)
    )
    return [row["version"] for row in await cursor.fetchall()]


# what is declared, and used -------------------------------------------------------------------------------------------
async def requests_of(conn: Connection, attachment_id: str, since: datetime) -> list[Row]:
    """What left for an attachment since then: {host, port, method, path, requests, last_at, several, socket}, by the newest path of
    each row."""
    cursor = await conn.execute(
        "select host, port, method, path, sum(count) as requests, max(last_at) as last_at, bool_or(count > 1) as several,"
        " bool_or(kind = 'websocket') as socket"
        " from worka.egress where attachment_id = %s and verdict = 'allowed' and last_at >= %s group by 1, 2, 3, 4",
        (attachment_id, since),
    )
    return await cursor.fetchall()


async def calls_of(conn: Connection, attachment_id: str, since: datetime) -> dict[str, Row]:
    """The calls of an attachment's tools since then, by tool: {calls, last_at}."""
    cursor = await conn.execute(
        "select tool, count(*) as calls, max(started_at) as last_at from worka.invocation where attachment_id = %s"
        " and started_at >= %s group by tool",
        (attachment_id, since),
    )
    return {row["tool"]: row for row in await cursor.fetchall()}


async def grants_of(conn: Connection, attachment_id: str, since: datetime) -> list[Row]:
    """The live grants of an attachment: {id, secret_id, secret, endpoint, granted_at, leases, last_at} since then."""
    cursor = await conn.execute(
        "select g.id, g.secret_id, s.name as secret, g.endpoint, g.granted_at, count(l.id) as leases,"
        " max(l.issued_at) as last_at from worka.secret_grant g join worka.secret s on s.tenant_id = g.tenant_id"
        " and s.id = g.secret_id left join worka.lease l on l.tenant_id = g.tenant_id and l.grant_id = g.id"
        " and l.issued_at >= %s where g.attachment_id = %s and g.revoked_at is null group by 1, 2, 3, 4, 5 order by g.id",
        (since, attachment_id),
    )
    return await cursor.fetchall()
