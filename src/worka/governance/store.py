"""Every query of governance: decisions and policy versions. Both are append-only by grant."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from worka.kernel.db import Connection

Row = dict[str, Any]
_JSON = ("context", "rules", "reasons", "approval_rules")


async def add_decision(conn: Connection, row: Row) -> None:
    """Inserts a decision. `tenant_id` is '' for what is decided outside of every tenant."""
    await conn.execute(
        "insert into worka.decision (tenant_id, id, workspace_id, principal_kind, principal_id, originating_person,"
        " action, resource_type, resource_id, context, verdict, layer, rules, reasons, approval_rules, access_version,"
        " governance_version, remedy, trace_id, asked_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(principal_kind)s,"
        " %(principal_id)s, %(originating_person)s, %(action)s, %(resource_type)s, %(resource_id)s, %(context)s,"
        " %(verdict)s, %(layer)s, %(rules)s, %(reasons)s, %(approval_rules)s, %(access_version)s,"
        " %(governance_version)s, %(remedy)s, %(trace_id)s, %(asked_by)s)",
        {"asked_by": None, **row, **{key: Jsonb(row[key]) for key in _JSON}},
    )


async def decision(conn: Connection, decision_id: str) -> Row | None:
    """One decision of the tenant."""
    return await (await conn.execute("select * from worka.decision where id = %s", (decision_id,))).fetchone()


async def decisions(
    conn: Connection,
    workspace_id: str,
    *,
    verdict: str | None = None,
    action: str | None = None,
    principal: str | None = None,
    concerns: str | None = None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """A workspace's decisions, newest first, without their inputs. `principal`: who acted or was behind it; `concerns`
    is the same, for a reader who may see none but those."""
    cursor = await conn.execute(
        "select id, at, verdict, layer, action, resource_type, resource_id, workspace_id, principal_kind, principal_id,"
        " originating_person, reasons, rules, approval_rules, access_version, governance_version, remedy, trace_id,"
        " asked_by from worka.decision where workspace_id = %(workspace)s"
        " and (%(after)s::text is null or id < %(after)s)"
        " and (%(verdict)s::text is null or verdict = %(verdict)s) and (%(action)s::text is null or action = %(action)s)"
        " and (%(principal)s::text is null or %(principal)s in (principal_id, originating_person))"
        " and (%(concerns)s::text is null or %(concerns)s in (principal_id, originating_person))"
        " order by id desc limit %(limit)s",
        {
            "workspace": workspace_id,
            "after": after,
            "verdict": verdict,
            "action": action,
            "principal": principal,
            "concerns": concerns,
            "limit": limit,
        },
    )
    return await cursor.fetchall()


async def decisions_between(
    conn: Connection, workspace_id: str | None, since: datetime, until: datetime, after: str | None, limit: int
) -> list[Row]:
    """Decisions of a window about what was really tried, in order of their ids: of one workspace, or (None) of the whole tenant."""
    cursor = await conn.execute(
        "select * from worka.decision where at >= %(since)s and at < %(until)s and asked_by is null"
        " and (%(workspace)s::text is null or workspace_id = %(workspace)s)"
        " and (%(after)s::text is null or id > %(after)s) order by id limit %(limit)s",
        {"workspace": workspace_id, "since": since, "until": until, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def acts(conn: Connection, workspace_id: str, since: datetime, limit: int) -> list[Row]:
    """What was tried and not denied in a workspace, or in the whole tenant, since then: one decision of those that are alike."""
    cursor = await conn.execute(
        "select distinct on (principal_id, originating_person, workspace_id, action, resource_type, resource_id, context,"
        " verdict, approval_rules) * from worka.decision where (workspace_id = %s or workspace_id is null) and at >= %s"
        " and verdict <> 'deny' and asked_by is null order by principal_id, originating_person, workspace_id, action,"
        " resource_type, resource_id, context, verdict, approval_rules limit %s",
        (workspace_id, since, limit),
    )
    return await cursor.fetchall()


async def add_policy(conn: Connection, row: Row) -> Row | None:
    """Inserts a policy version of a place (`scope`: empty for the tenant); None if that number is there."""
    cursor = await conn.execute(
        "insert into worka.policy_version (tenant_id, kind, scope, version, text, note, owner_person_id, created_by,"
        " approved_by) values (%(tenant_id)s, %(kind)s, %(scope)s, %(version)s, %(text)s, %(note)s,"
        " %(owner_person_id)s, %(created_by)s, %(approved_by)s) on conflict do nothing returning *",
        {"scope": "", "approved_by": "", **row},
    )
    return await cursor.fetchone()


async def policies(conn: Connection, after: tuple[str, int] | None, limit: int, scope: str = "") -> list[Row]:
    """Versions of both kinds of a place, newest first by (kind, version)."""
    cursor = await conn.execute(
        "select kind, scope, version, note, owner_person_id, created_by, created_at, approved_by"
        " from worka.policy_version where scope = %(scope)s and (%(all)s or (kind, -version) > (%(kind)s,"
        " -%(version)s)) order by kind, version desc limit %(limit)s",
        {
            "all": after is None,
            "kind": after[0] if after else "",
            "version": after[1] if after else 0,
            "limit": limit,
            "scope": scope,
        },
    )
    return await cursor.fetchall()


async def newest_policy(conn: Connection, kind: str, scope: str) -> int:
    """The newest version of a place, whether a break-glass covers it or not; 0 where there is none."""
    cursor = await conn.execute(
        "select coalesce(max(version), 0) as version from worka.policy_version where kind = %s and scope = %s",
        (kind, scope),
    )
    found = await cursor.fetchone()
    return int(found["version"]) if found else 0


async def deployment_policies(conn: Connection, limit: int, after: tuple[str, int] | None = None) -> list[Row]:
    """The deployment's versions, newest first by (kind, version), without texts."""
    cursor = await conn.execute(
        "select kind, '*' as scope, version, note, created_by as owner_person_id, created_by, created_at,"
        " '' as approved_by from worka.deployment_policy where %(all)s or (kind, -version) > (%(kind)s, -%(version)s)"
        " order by kind, version desc limit %(limit)s",
        {
            "all": after is None,
            "kind": after[0] if after else "",
            "version": after[1] if after else 0,
            "limit": limit,
        },
    )
    return await cursor.fetchall()


async def add_deployment_policy(conn: Connection, kind: str, version: int, text: str, note: str, by: str) -> bool:
    """Adds a version of the deployment's policy; False if that number is there."""
    cursor = await conn.execute(
        "select worka.deployment_policy_add(%s, %s, %s, %s, %s) as added", (kind, version, text, note, by)
    )
    found = await cursor.fetchone()
    return found is not None and bool(found["added"])


# proposed changes ---------------------------------------------------------------------------------------------------
async def add_proposal(conn: Connection, row: Row) -> Row:
    """Inserts a proposed change."""
    cursor = await conn.execute(
        "insert into worka.policy_proposal (tenant_id, id, workspace_id, kind, scope, base_version, text, note, digest,"
        " proposed_by) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(kind)s, %(scope)s, %(base_version)s, %(text)s,"
        " %(note)s, %(digest)s, %(proposed_by)s) returning *",
        row,
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def set_proposal_approval(conn: Connection, proposal_id: str, approval_id: str) -> Row:
    """Names the approval that a proposed change waits for."""
    cursor = await conn.execute(
        "update worka.policy_proposal set approval_id = %s where id = %s returning *", (approval_id, proposal_id)
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def proposal(conn: Connection, proposal_id: str, *, lock: bool = False) -> Row | None:
    """One proposed change of the tenant; with `lock` nobody else moves it until this transaction ends."""
    plain, locking = (
        "select * from worka.policy_proposal where id = %s",
        "select * from worka.policy_proposal where id = %s for update",
    )
    return await (await conn.execute(locking if lock else plain, (proposal_id,))).fetchone()


async def proposals(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The proposed changes that were asked for in a workspace, newest first, without texts."""
    cursor = await conn.execute(
        "select id, workspace_id, kind, scope, base_version, note, digest, state, outcome, since, approval_id, version,"
        " proposed_by, created_at from worka.policy_proposal where workspace_id = %(workspace)s"
        " and (%(after)s::text is null or id < %(after)s) order by id desc limit %(limit)s",
        {"workspace": workspace_id, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def open_proposals(conn: Connection, kind: str, scope: str) -> list[Row]:
    """The open proposed changes of a place; locked."""
    cursor = await conn.execute(
        "select * from worka.policy_proposal where kind = %s and scope = %s and state = 'open' order by id for update",
        (kind, scope),
    )
    return await cursor.fetchall()


async def close_proposal(conn: Connection, proposal_id: str, outcome: str, version: int | None = None) -> Row | None:
    """Ends an open one: in force as `version`, or closed with how its approval ended. None if it is not open."""
    cursor = await conn.execute(
        "update worka.policy_proposal set state = %s, outcome = %s, version = %s, since = now()"
        " where id = %s and state = 'open' returning *",
        ("closed" if version is None else "in_force", outcome, version, proposal_id),
    )
    return await cursor.fetchone()


async def lock_place(conn: Connection, tenant_id: str, kind: str, scope: str) -> None:
    """One change of a place's policy at a time."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 9))", (f"{tenant_id} {kind} {scope}",))


# break-glass --------------------------------------------------------------------------------------------------------
async def add_glass(conn: Connection, row: Row) -> Row:
    """Opens a break-glass."""
    cursor = await conn.execute(
        "insert into worka.policy_break_glass (tenant_id, id, scope, reason, opened_by, until) values (%(tenant_id)s,"
        " %(id)s, %(scope)s, %(reason)s, %(opened_by)s, now() + make_interval(secs => %(seconds)s)) returning *",
        row,
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def end_glass(conn: Connection, scope: str, because: str) -> list[Row]:
    """Ends what is open in a place."""
    cursor = await conn.execute(
        "update worka.policy_break_glass set ended_at = now(), ended_because = %s where scope = %s and ended_at is null"
        " and until > now() returning *",
        (because, scope),
    )
    return await cursor.fetchall()


async def open_glass(conn: Connection) -> list[Row]:
    """What is open now, in any place of the tenant."""
    cursor = await conn.execute(
        "select * from worka.policy_break_glass where ended_at is null and until > now() order by id"
    )
    return await cursor.fetchall()


# kill switches ------------------------------------------------------------------------------------------------------
async def kills_on(conn: Connection) -> list[Row]:
    """Every kill switch of the tenant that is not lifted."""
    cursor = await conn.execute("select * from worka.kill where state <> 'lifted' order by id")
    return await cursor.fetchall()


async def kill(conn: Connection, kill_id: str, *, lock: bool = False) -> Row | None:
    """One kill switch of the tenant."""
    plain, locking = "select * from worka.kill where id = %s", "select * from worka.kill where id = %s for update"
    return await (await conn.execute(locking if lock else plain, (kill_id,))).fetchone()


async def kills(conn: Connection, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The kill switches of a workspace and of its tenant, lifted ones too, newest first."""
    cursor = await conn.execute(
        "select * from worka.kill where (workspace_id is null or workspace_id = %(workspace)s)"
        " and (%(after)s::text is null or id < %(after)s) order by id desc limit %(limit)s",
        {"workspace": workspace_id, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def add_kill(conn: Connection, row: Row) -> Row | None:
    """Sets a kill switch; None if the same one is on."""
    cursor = await conn.execute(
        "insert into worka.kill (tenant_id, id, workspace_id, kind, subject, reason, receipt, set_by, set_by_name,"
        " by_operator, by_owner) values (%(tenant_id)s, %(id)s, %(workspace_id)s, %(kind)s, %(subject)s, %(reason)s, %(receipt)s,"
        " %(set_by)s, %(set_by_name)s, %(by_operator)s, %(by_owner)s) on conflict do nothing returning *",
        {**row, "receipt": Jsonb(row["receipt"])},
    )
    return await cursor.fetchone()


async def move_kill(conn: Connection, kill_id: str, state: str, exempt: list[str], by: str, reason: str) -> Row:
    """Writes the state of a locked kill switch: on, on trial with its exemptions, or lifted."""
    cursor = await conn.execute(
        "update worka.kill set state = %s, exempt = %s, moved_by = %s, moved_at = now(), move_reason = %s where id = %s"
        " returning *",
        (state, Jsonb(exempt), by, reason, kill_id),
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


# What a kill switch has to do with, by its kind: attachments, then whose work is under way. One statement each.
_SERVES = "a.state in ('attached', 'held', 'updating', 'awaiting_connection')"
_OF = {
    "release": "a.release_id = %(subject)s",
    "secret": "exists (select 1 from worka.secret_grant g where g.attachment_id = a.id and g.secret_id = %(subject)s"
    " and g.revoked_at is null)",
    "destination": "exists (select 1 from jsonb_array_elements(case when jsonb_typeof(r.manifest -> 'outbound_domains')"
    " = 'array' then r.manifest -> 'outbound_domains' else '[]'::jsonb end) d where"
    " lower(case jsonb_typeof(d) when 'string' then d #>> '{}' else d ->> 'host' end) = split_part(%(subject)s, ':', 1))",
    "member": "false",
    "workspace": "a.workspace_id = %(subject)s",
    "tenant": "true",
}


async def touched_attachments(conn: Connection, kind: str, subject: str, workspace_id: str | None) -> list[Row]:
    """The serving attachments that have to do with it: id, pack, workspace_id; complete."""
    cursor = await conn.execute(
        "select a.id, a.pack, a.workspace_id from worka.attachment a join worka.release r on r.tenant_id ="  # noqa: S608 - our own constants
        f" a.tenant_id and r.id = a.release_id where {_SERVES} and {_OF[kind]}"
        " and (%(workspace)s::text is null or a.workspace_id = %(workspace)s) order by a.id",
        {"subject": subject, "workspace": workspace_id},
    )
    return await cursor.fetchall()


async def touched_tasks(
    conn: Connection, kind: str, subject: str, workspace_id: str | None, attachments: list[Row]
) -> list[Row]:
    """The tasks that are not over and have to do with it: those of a member, of a workspace or tenant, and those whose
    workflow names a tool of a pack that is touched there: id, title, state, workspace_id; complete."""
    cursor = await conn.execute(
        "select t.id, t.title, t.state, t.workspace_id from worka.task t join worka.workflow_definition d on"
        " d.tenant_id = t.tenant_id and d.id = t.definition_id where t.ended_at is null"
        " and t.state not in ('succeeded', 'failed', 'cancelled')"
        " and (%(workspace)s::text is null or t.workspace_id = %(workspace)s)"
        " and case %(kind)s when 'tenant' then true when 'workspace' then t.workspace_id = %(subject)s"
        " when 'member' then %(subject)s in (t.member_id, t.originating_person)"
        " else exists (select 1 from jsonb_to_recordset(%(attachments)s) as a(pack text, workspace_id text)"
        " where a.workspace_id = t.workspace_id and position('\"' || a.pack || '.' in d.definition::text) > 0) end"
        " order by t.id",
        {"kind": kind, "subject": subject, "workspace": workspace_id, "attachments": Jsonb(attachments)},
    )
    return await cursor.fetchall()


async def hanging(conn: Connection, principal_id: str, workspace_id: str | None) -> list[Row]:
    """What hangs on a member here (None: in the tenant): {what, id, name, workspace_id} of its workspaces, the approvals that
    it waits for, its delegations, the bypasses it opened, the invitations it sent, the service accounts and AI team members
    it owns, the tokens that open with its rights, the webhooks it keeps, and its proposals of policy; complete."""
    cursor = await conn.execute(
        "select * from ("
        "select 'workspaces' as what, w.id, w.name, w.id as workspace_id from worka.membership m join worka.workspace w on"
        " w.tenant_id = m.tenant_id and w.id = m.workspace_id where m.principal_id = %(who)s"
        " union all select 'approvals_asked', id, title, workspace_id from worka.approval where state = 'open'"
        " and %(who)s in (requester_id, originating_person)"
        " union all select 'delegations', id, case when from_person = %(who)s then 'given' else 'taken' end, workspace_id"
        " from worka.approval_delegation where %(who)s in (from_person, to_person) and ended_at is null and until > now()"
        " union all select 'bypasses', id, kind || ' ' || target, workspace_id from worka.approval_bypass"
        " where opened_by = %(who)s and state <> 'closed' and until > now()"
        # By the role alone: the address is for who may invite.
        " union all select 'invitations', i.id, 'as ' || split_part(i.role, '+', 1), w.id from worka.workspace w,"
        " worka.invitations_of(w.tenant_id, w.id) i where i.created_by = %(who)s and i.used_at is null"
        " and i.withdrawn_at is null and i.expires_at > now() and (%(workspace)s::text is null or w.id = %(workspace)s)"
        " union all select 'service_accounts', id, name, workspace_id from worka.service_account"
        " where owner_person_id = %(who)s and ended_at is null"
        " union all select 'team_members', t.id, t.name, m.workspace_id from worka.team_member t join worka.membership m on"
        " m.tenant_id = t.tenant_id and m.principal_id = t.id where t.owner_person_id = %(who)s and t.enabled"
        " union all select 'tokens', k.id, k.name, k.workspace_id from worka.api_token k where k.revoked_at is null"
        " and (k.expires_at is null or k.expires_at > now()) and (k.principal_id = %(who)s or exists (select 1 from"
        " worka.service_account s where s.tenant_id = k.tenant_id and s.id = k.principal_id and s.ended_at is null"
        " and s.owner_person_id = %(who)s))"
        " union all select 'webhooks', id, url, workspace_id from worka.webhook where kept_by = %(who)s"
        " and state <> 'removed'"
        " union all select 'proposals', id, kind || ' policy', workspace_id from worka.policy_proposal"
        " where proposed_by = %(who)s and state = 'open') h"
        " where %(workspace)s::text is null or h.workspace_id = %(workspace)s order by what, id",
        {"who": principal_id, "workspace": workspace_id},
    )
    return await cursor.fetchall()


async def webhooks_of(conn: Connection, workspace_id: str | None) -> list[Row]:
    """The webhooks of a workspace (None: of the tenant) that are not removed: {id, url, workspace_id}."""
    cursor = await conn.execute(
        "select id, url, workspace_id from worka.webhook where state <> 'removed'"
        " and (%(workspace)s::text is null or workspace_id = %(workspace)s) order by id",
        {"workspace": workspace_id},
    )
    return await cursor.fetchall()


async def touched_calls(
    conn: Connection, kind: str, subject: str, workspace_id: str | None, attachments: list[str]
) -> list[str]:
    """The ids of calls that are under way and have to do with it."""
    cursor = await conn.execute(
        "select i.id from worka.invocation i where i.state = 'running'"
        " and (%(workspace)s::text is null or i.workspace_id = %(workspace)s) and (i.attachment_id = any(%(attachments)s)"
        " or (%(kind)s = 'member' and %(subject)s in (i.initiator_id, i.originating_person))) order by i.id",
        {"kind": kind, "subject": subject, "workspace": workspace_id, "attachments": attachments},
    )
    return [row["id"] for row in await cursor.fetchall()]


async def stopped_calls(conn: Connection, kind: str, subject: str, workspace_id: str | None) -> list[str]:
    """The ids of the calls under way that a kill switch stops: of the very release that runs, of whoever makes them."""
    cursor = await conn.execute(
        f"select i.id from worka.invocation i where i.state = 'running' and {_CALLED[kind]}"  # noqa: S608 - our own constants
        " and (%(workspace)s::text is null or i.workspace_id = %(workspace)s) order by i.id",
        {"subject": subject, "workspace": workspace_id},
    )
    return [row["id"] for row in await cursor.fetchall()]


async def calls_of(conn: Connection, workspace_id: str, calls: list[str]) -> list[str]:
    """Which of these calls are a workspace's."""
    if not calls:
        return []
    cursor = await conn.execute(
        "select id from worka.invocation where workspace_id = %s and id = any(%s)", (workspace_id, calls)
    )
    return [row["id"] for row in await cursor.fetchall()]


_CALLED = {
    "release": "i.release_id = %(subject)s",
    "secret": "exists (select 1 from worka.lease l where l.invocation_id = i.id and l.secret_id = %(subject)s)",
    "destination": "exists (select 1 from worka.egress e where e.invocation_id = i.id and e.verdict = 'allowed'"
    " and (split_part(%(subject)s, ':', 2) in ('', e.port::text)) and (lower(e.host) = split_part(%(subject)s, ':', 1)"
    " or (starts_with(%(subject)s, '*.')"
    " and right(lower(e.host), length(split_part(%(subject)s, ':', 1)) - 1) = substr(split_part(%(subject)s, ':', 1), 2))))",
    "member": "%(subject)s in (i.initiator_id, i.originating_person)",
    "workspace": "i.workspace_id = %(subject)s",
    "tenant": "true",
}


async def recorded_calls(
    conn: Connection, kind: str, subject: str, workspace_id: str | None, since: datetime, limit: int
) -> tuple[int, list[Row]]:
    """How many calls since then had to do with it, and the newest of them: id, tool, state, workspace_id, task_id, at."""
    cursor = await conn.execute(
        "select i.id, i.tool, i.state, i.workspace_id, i.task_id, i.started_at as at, count(*) over () as total"  # noqa: S608 - our own constants
        f" from worka.invocation i where i.started_at >= %(since)s and {_CALLED[kind]}"
        " and (%(workspace)s::text is null or i.workspace_id = %(workspace)s) order by i.id desc limit %(limit)s",
        {"subject": subject, "workspace": workspace_id, "since": since, "limit": limit},
    )
    rows = await cursor.fetchall()
    return (int(rows[0]["total"]) if rows else 0), [{k: v for k, v in row.items() if k != "total"} for row in rows]


async def stoppable(conn: Connection, kind: str, subject: str) -> Row | None:
    """{name, workspaces: where it is} of what has this id in the tenant; None where there is no such thing. A release is where
    it was registered and where it was attached."""
    statements = {
        "release": "select r.publisher || '.' || r.name || ' ' || r.version as name, array(select r.workspace_id union"
        " select a.workspace_id from worka.attachment a where a.tenant_id = r.tenant_id and a.release_id = r.id)"
        " as workspaces from worka.release r where r.id = %s",
        "secret": "select name, array[workspace_id] as workspaces from worka.secret where id = %s",
        "workspace": "select name, array[id] as workspaces from worka.workspace where id = %s",
        "tenant": "select name, array[]::text[] as workspaces from worka.tenant where tenant_id = %s",
        "member": "select coalesce(max(p.display_name), max(t.name), max(a.name), max(m.principal_id)) as name,"
        " array_agg(distinct m.workspace_id) as workspaces"
        " from worka.membership m left join worka.person p on p.id = m.principal_id left join worka.team_member t on"
        " t.tenant_id = m.tenant_id and t.id = m.principal_id left join worka.service_account a on a.id = m.principal_id"
        " where m.principal_id = %s group by m.principal_id",
    }
    return await (await conn.execute(statements[kind], (subject,))).fetchone()


async def stopped(conn: Connection, kind: str, subject: str, workspace_id: str | None) -> Row | None:
    """{name} of what a kill switch of this very place (None: of the tenant) stops now; None where none does."""
    cursor = await conn.execute(
        "select coalesce(receipt ->> 'name', subject) as name from worka.kill where kind = %s and subject = %s"
        " and workspace_id is not distinct from %s and state <> 'lifted'",
        (kind, subject, workspace_id),
    )
    return await cursor.fetchone()


async def exemptible(conn: Connection, ids: list[str], workspace_id: str | None) -> list[str]:
    """Those of these ids that are a workspace, or a member of one: of this one, or (None) of any of the tenant."""
    cursor = await conn.execute(
        "select id from worka.workspace where id = any(%(ids)s) and (%(place)s::text is null or id = %(place)s)"
        " union select principal_id from worka.membership where principal_id = any(%(ids)s)"
        " and (%(place)s::text is null or workspace_id = %(place)s)",
        {"ids": ids, "place": workspace_id},
    )
    return [row["id"] for row in await cursor.fetchall()]


async def withdrawable(conn: Connection, kind: str, subject: str) -> Row | None:
    """{name, workspace_id, state} of a release or a secret of the tenant."""
    statements = {
        "release": "select publisher || '.' || name || ' ' || version as name, workspace_id, state from worka.release"
        " where id = %s",
        "secret": "select name, workspace_id, state from worka.secret where id = %s",
    }
    return await (await conn.execute(statements[kind], (subject,))).fetchone()


async def recorded_members(conn: Connection, workspace_id: str) -> list[Row]:
    """Everybody in the workspace who is enabled: kind, id, name, role, approver, who made it so and when, whether an
    operator, and of AI team members their owner and tools. Complete, by name."""
    cursor = await conn.execute(
        "select m.principal_kind as kind, m.principal_id as id, coalesce(p.display_name, t.name) as name, m.role,"
        " m.approver, m.created_by as given_by, m.created_at as given_at, coalesce(p.operator, false) as operator,"
        " t.owner_person_id, coalesce(t.tools, '[]'::jsonb) as tools from worka.membership m"
        " left join worka.person p on m.principal_kind = 'person' and p.id = m.principal_id"
        " left join worka.team_member t on m.principal_kind = 'team_member' and t.tenant_id = m.tenant_id"
        " and t.id = m.principal_id where m.workspace_id = %s and coalesce(p.enabled, t.enabled, false)"
        " order by 3, m.principal_id",
        (workspace_id,),
    )
    return await cursor.fetchall()
