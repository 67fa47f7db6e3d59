"""Use cases of observability: changes, attention, health. All read, none change anything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.approvals import service as approvals
from worka.authorization.explain import reader_may
from worka.kernel.clock import ago, clock, now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Denied
from worka.observability import actions, rules, sentences, store
from worka.packs.actions import PROPOSAL_DECIDE
from worka.packs.proposals import service as proposals
from worka.treasury import rotation
from worka.workflows import engine
from worka.workflows import store as tasks
from worka.workflows.rules import shown_state
from worka.workflows.words import line

Row = dict[str, Any]
MOST_PROPOSALS = 20
"""Of open proposals, that attention names; all of them have a page."""
ROLES = ("serve", "worker", "broker")
"""Roles with a database, which beat; host and launcher have none and are asked over their sockets by `worka doctor`."""


async def _require(ctx: Context) -> str:
    assert ctx.workspace_id is not None
    await ctx.require(actions.OBSERVE.name, Resource("workspace", ctx.workspace_id, ctx.workspace_id))
    return ctx.workspace_id


async def changes(
    ctx: Context,
    *,
    before: tuple[str, int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    lanes: list[str] | None = None,
    actor: str | None = None,
    subject: str | None = None,
    limit: int = 50,
) -> list[Row]:
    """What was committed in the workspace, newest first (up to limit + 1 rows): who, for whom, what, before, after,
    cause. `actor` and `subject`: an id, or a part of a name or a title in any case. `before` is the (xid, id) of the last
    row of the page before."""
    async with ctx.transaction() as conn:
        workspace_id = await _require(ctx)
        rows = await store.changes(
            conn,
            workspace_id,
            before=before,
            since=since,
            until=until,
            lanes=lanes,
            actor=actor,
            subject=subject,
            limit=limit + 1,
        )
    return [change(row) for row in rows]


def change(row: Row) -> Row:
    """One change as the doors show it."""
    # A step is called by its own name only within its task.
    of = f" of “{row['task_title']}”" if row.get("task_title") else ""
    return {
        "id": row["id"],
        "xid": row["xid"],
        "cursor": f"{row['xid']}-{row['id']}",
        "at": row["at"],
        "type": row["type"],
        "lane": row["lane"],
        "sentence": sentences.sentence(row),
        "diff": rules.one_line(row["before"], row["after"]),
        "subject": {"id": row["subject"], "name": f"{row['subject_name']}{of}"},
        "actor": {"kind": row["actor_kind"], "id": row["actor_id"], "name": row["actor_name"]},
        "on_behalf_of": {"id": row["on_behalf_of"], "name": row["on_behalf_name"]} if row["on_behalf_of"] else None,
        "in_the_place_of": {"id": row["seat"], "name": row["seat_name"]} if row["seat_name"] else None,
        "before": row["before"],
        "after": row["after"],
        "cause": row["cause"],
        "data": row["data"],
        "trace_id": row["trace_id"],
    }


_NOT_SERVING = {
    "awaiting_connection": "waits for a connection",
    "awaiting_dependency": "waits for a pack",
    "awaiting_consent": "is not connected yet",
    "failed": "failed",
    "broken": "does not work",
}


async def attention(ctx: Context) -> Row:
    """What needs this reader now: {items: [{kind, ref, title, state, reason, since, headline, mine}], counts,
    observed_at}. `mine`: this reader can clear it."""
    async with ctx.transaction() as conn:
        workspace_id = await _require(ctx)
        items: list[Row] = []
        for approval in await approvals.listing(ctx, workspace_id, "open", None, 100):
            mine = approval["eligibility"]["eligible"]
            who = "you" if mine else " or ".join(approval["who_could"]) or "nobody who is here now"
            blocked = ", ".join(str(item["name"]) for item in approval["blocks"] if item.get("name"))
            headline = f"“{approval['title']}” waits for {who}{', for ' + blocked if blocked else ''}"
            since, reason = approval["created_at"], approval["reason"]
            items.append(_item("approval", approval["id"], approval["title"], "open", reason, since, headline, mine))
        at = now()
        health = _health(await store.processes(conn))
        living = _living(health)
        torn = await _torn(conn, workspace_id, at)
        items += torn
        named = {item["ref"] for item in torn}
        tasks_here = await store.unfinished_tasks(conn, workspace_id, 200)
        rejected = [
            str((task["error"] or {}).get("approval_id"))
            for task in tasks_here
            if task["reason"] == "approval_rejected"
        ]
        rejections = await store.rejected_by(conn, rejected) if rejected else {}
        for task in tasks_here:
            if task["id"] in named:
                continue
            state, reason = shown_state(task, at)
            said = line(task, state, reason, living)
            by = rejections.get(str((task["error"] or {}).get("approval_id"))) if state == "failed" else None
            if by is not None:
                said = f"was not done: {'you' if by['person_id'] == ctx.principal.id else by['name']} rejected it"
            items.append(
                _item(
                    "task",
                    task["id"],
                    task["title"],
                    state,
                    reason,
                    task["since"],
                    f"{task['title']} {said}"[:300],
                    state == "unknown",
                )
            )
        for pack in await store.failing_packs(conn, workspace_id):
            tools = ", ".join(tool.removeprefix(f"{pack['pack']}.") for tool in pack["tools"][:3])
            headline = f"{pack['pack']} failed {pack['times']}× in 24 h in {tools}: {rules.meaning(pack['reason'])}"
            items.append(
                _item(
                    "invocation",
                    pack["newest"],
                    pack["pack"],
                    "failed",
                    pack["reason"],
                    pack["first_at"],
                    headline,
                    False,
                )
            )
        for row in await store.held_or_broken(conn, workspace_id):
            how = _NOT_SERVING.get(row["state"], f"is {row['state']}")
            headline = f"{row['title']} {how}: {rules.meaning(row['reason'])}"
            items.append(
                _item(row["kind"], row["id"], row["title"], row["state"], row["reason"], row["since"], headline, False)
            )
        items += await _proposed(ctx, workspace_id)
        for secret in await rotation.ending(ctx, workspace_id):
            when = f"{secret['due_at']:%Y-%m-%d %H:%M}Z"
            reason = "secret_due" if secret["warning"] == "due" else "secret_due_soon"
            said = f"{secret['name']} {'was due' if secret['warning'] == 'due' else 'is due'} for a new value on {when}"
            items.append(
                _item("secret", secret["id"], secret["name"], secret["warning"], reason, secret["since"], said, False)
            )
        stand = 0 if living else len(await store.tasks_for_a_worker(conn, workspace_id, 200))
        for process in health["processes"]:
            if process["health"] != "healthy":
                held = process["role"] == "worker" and stand
                because = (
                    f"; {stand} task{'s' if stand != 1 else ''} here wait{'' if stand != 1 else 's'} for one"
                    if held
                    else ""
                )
                items.append(
                    _item(
                        "process",
                        process["id"],
                        process["role"],
                        process["health"],
                        process["reason"],
                        process["beat_at"],
                        process["headline"] + because,
                        False,
                    )
                )
    counts: dict[str, int] = {}
    for item in items:
        counts[item["kind"]] = counts.get(item["kind"], 0) + 1
    items.sort(key=lambda item: (not item["mine"], item["since"] is None, item["since"]))
    return {"items": items, "counts": counts, "observed_at": at}


async def _proposed(ctx: Context, workspace_id: str) -> list[Row]:
    """Proposals of what packs reach that wait for a decision."""
    try:
        rows = await proposals.listing(ctx, workspace_id, "open", None, None, MOST_PROPOSALS)
    except Denied:
        return []
    place = Resource("workspace", workspace_id, workspace_id)
    mine = bool(rows) and (await reader_may(ctx, PROPOSAL_DECIDE.name, place))[0]
    return [
        _item("proposal", row["id"], row["pack"], "open", row["reason"], row["created_at"],
              f"{row['pack']} waits for a decision on the proposal that {row['words']}"[:300], mine)
        for row in rows
    ]  # fmt: skip


async def _torn(conn: Connection, workspace_id: str, at: datetime) -> list[Row]:
    """Tasks whose row and whose engine's record say different things: left alone, nothing may ever move them."""
    rows = await store.tasks_in_the_engine(conn, workspace_id, 500)
    runs: dict[str, list[Row]] = {}
    for run in await tasks.engine_runs(conn, [row["id"] for row in rows]):
        runs.setdefault(run["task_id"], []).append(run)
    return [
        _item("task", row["id"], row["title"], row["state"], "engine_disagrees", row["since"], f"{row['title']}: {told}",
              False)
        for row in rows
        if (told := engine.disagreement(row, runs.get(row["id"], []), at))
    ]  # fmt: skip


def _item(
    kind: str, ref: str, title: str, state: str, reason: str, since: datetime | None, headline: str, mine: bool
) -> Row:
    return {
        "kind": kind,
        "ref": ref,
        "title": title,
        "state": state,
        "reason": reason,
        "since": since,
        "headline": headline,
        "mine": mine,
    }


def _living(health: Row) -> int:
    return sum(1 for row in health["processes"] if row["role"] == "worker" and row["health"] == "healthy")


async def waiting_for_a_worker(ctx: Context) -> list[Row]:
    """The workspace's tasks that stand still because no worker is alive, the longest first; none while one is."""
    async with ctx.transaction() as conn:
        workspace_id = await _require(ctx)
        if _living(_health(await store.processes(conn))):
            return []
        at = now()
        rows = [(task, *shown_state(task, at)) for task in await store.tasks_for_a_worker(conn, workspace_id, 200)]
    return [
        {**task, "state": state, "reason": reason, "line": line(task, state, reason, 0)} for task, state, reason in rows
    ]


async def living_workers(ctx: Context) -> int:
    """How many workers are alive, for lists of tasks."""
    async with ctx.db.transaction(None) as conn:
        return _living(_health(await store.processes(conn)))


async def processes(ctx: Context) -> Row:
    """The health of our own processes, from their signs of life. {state, processes: […], observed_at}."""
    async with ctx.db.transaction(None) as conn:
        return _health(await store.processes(conn))


def _health(rows: list[Row]) -> Row:
    found: list[Row] = []
    for role in ROLES:
        mine = [row for row in rows if row["role"] == role]
        # A killed process leaves its row behind; once another of its role lives, the old one is history.
        living = [row for row in mine if row["silent"] <= rules.ALIVE_SECONDS]
        newest = max(mine, key=lambda row: row["beat_at"], default=None)
        shown = living or ([newest] if newest else [])
        found += [_process(row, role) for row in shown] or [_process(None, role)]
    found += [_process(row, row["role"]) for row in rows if row["role"] not in ROLES]
    return {"state": rules.worst([row["health"] for row in found]), "processes": found, "observed_at": now()}


def _process(row: Row | None, role: str) -> Row:
    health, reason = rules.process_state(row["silent"] if row else None)
    since = f" (since {clock(row['beat_at'], now())})" if row else ""
    words = {
        "healthy": f"{role} is alive",
        "down": f"{role} gave no sign of life for {ago(row['silent'] if row else 0)}{since}",
        "unknown": f"{role} was never seen",
    }
    return {
        "id": row["id"] if row else f"{role}",
        "role": role,
        "pid": row["pid"] if row else None,
        "build": row["build"] if row else None,
        "started_at": row["started_at"] if row else None,
        "beat_at": row["beat_at"] if row else None,
        "health": health,
        "reason": reason,
        "headline": words[health],
        "detail": row["detail"] if row else {},
    }
