"""The chain: request → decision → approval → release → egress → lease → effect → audit, joined from any link of it
(BEY-1).

Nothing here is inferred from times: each link names the id of the row that its own domain committed, and a link that
ought to be there and is not is listed under `missing`.
"""

from __future__ import annotations

from typing import Any, Final

from worka.kernel import ids
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.observability import actions, store
from worka.observability.errors import NothingKnown
from worka.observability.service import change

Row = dict[str, Any]
ORDER: Final = (
    "request",
    "workflow",
    "decision",
    "approval",
    "step",
    "release",
    "attachment",
    "invocation",
    "egress",
    "lease",
    "effect",
    "view",
    "audit",
)
MOST_CHANGES: Final = 500


async def chain(ctx: Context, some_id: str) -> Row:
    """{from, root, complete, missing, links: [{kind, id, label, at, to: [ids], …}]}. `some_id` is the id of any link,
    or a trace id. Raises NothingKnown (also for what lies in another workspace)."""
    async with ctx.transaction() as conn:
        workspace_id = ctx.workspace_id
        assert workspace_id is not None
        await ctx.require(actions.OBSERVE.name, Resource("workspace", workspace_id, workspace_id))
        home = await _home(conn, some_id)
        if home is None:
            raise NothingKnown(f"{some_id[:80]!r} is no link of a chain in this workspace.")
        task = await store.task_links(conn, home["task_id"]) if home["task_id"] else None
        calls = await store.invocations(conn, home["task_id"], home["invocation_id"])
        if (task or (calls[0] if calls else {})).get("workspace_id") != workspace_id:
            raise NothingKnown(f"{some_id[:80]!r} is no link of a chain in this workspace.")
        steps = await store.steps(conn, task["id"]) if task else []
        trace_id = task["trace_id"] if task else calls[0]["trace_id"]
        named = {row["approval_id"] for row in [*steps, *calls]} | {row["attach_approval_id"] for row in calls}
        approvals = await store.approvals(conn, [ref for ref in named if ref], [step["id"] for step in steps])
        asked = {row["decision_id"] for row in [*steps, *calls, *approvals]}
        decisions = await store.decisions(
            conn, [ref for ref in asked if ref], [row["id"] for row in approvals], trace_id
        )
        call_ids = [row["id"] for row in calls]
        egress, leases = await store.egress(conn, call_ids), await store.leases(conn, call_ids)
        views = await store.revisions(conn, task["id"]) if task else []
        links = _links(task, steps, calls, approvals, decisions, egress, leases, views, trace_id)
        subjects = sorted({link["id"] for link in links})
        history = [change(row) for row in await store.audit_of(conn, subjects, MOST_CHANGES)]
    links += [
        _link(
            "audit",
            entry["cursor"],
            entry["sentence"],
            entry["at"],
            [],
            subject=entry["subject"]["id"],
            type=entry["type"],
            trace_id=entry["trace_id"],
        )
        for entry in history
    ]
    missing = _missing(steps, calls, approvals, decisions, egress, leases, links)
    links.sort(key=lambda link: ORDER.index(link["kind"]))
    return {
        "from": some_id,
        "root": task["id"] if task else calls[0]["id"],
        "trace_id": trace_id,
        "complete": not missing,
        "missing": missing,
        "links": links,
    }


async def _home(conn: Connection, some_id: str) -> Row | None:
    """{task_id, invocation_id} of the chain that an id, or a trace id, is part of."""
    if len(some_id) == 32 and all(char in "0123456789abcdef" for char in some_id):
        return await store.trace_home(conn, some_id)
    home = await store.home_of(conn, ids.prefix_of(some_id), some_id)
    if home is None or home["task_id"] or home["invocation_id"]:
        return home
    # A decision about an approval belongs to what the approval is for; any other one to the request it was taken in.
    about = home.get("resource_id")
    if about and ids.prefix_of(about) == "apr":
        return await _home(conn, about)
    return await store.trace_home(conn, home["trace_id"]) if home["trace_id"] else None


def _link(kind: str, ref: str, label: str, at: Any, to: list[Any], **more: Any) -> Row:
    return {
        "kind": kind,
        "id": ref,
        "label": label,
        "at": at,
        "to": [item for item in dict.fromkeys(to) if item],
        **more,
    }


def _links(
    task: Row | None,
    steps: list[Row],
    calls: list[Row],
    approvals: list[Row],
    decisions: list[Row],
    egress: list[Row],
    leases: list[Row],
    views: list[Row],
    trace_id: str,
) -> list[Row]:
    links: list[Row] = []
    first = task or calls[0]
    started = [row["id"] for row in decisions if row["action"] == "task.create"]
    if task:
        who = task["person"] or task["created_by"]
        links.append(
            _link(
                "request",
                task["id"],
                f"{who} asked for “{task['title']}”",
                task["created_at"],
                [*started, task["definition_id"], *(step["id"] for step in steps)],
                person_id=task["originating_person"],
                trace_id=trace_id,
            )
        )
        links.append(
            _link(
                "workflow",
                task["definition_id"],
                f"{task['workflow']} version {task['version']}",
                task["created_at"],
                [],
                digest=task["digest"],
            )
        )
    else:
        links.append(
            _link(
                "request",
                trace_id,
                f"{first['initiator_id']} called {first['tool']}",
                first["started_at"],
                [first["id"]],
                person_id=first["originating_person"],
                trace_id=trace_id,
            )
        )
    for row in decisions:
        links.append(
            _link(
                "decision",
                row["id"],
                f"{row['verdict']}: {row['principal_kind']} {row['action']} {row['resource_type']}",
                row["at"],
                [item["id"] for item in approvals if item["decision_id"] == row["id"]]
                + [item["id"] for item in calls if item["decision_id"] == row["id"]],
                verdict=row["verdict"],
                layer=row["layer"],
                rules=row["rules"],
            )
        )
    for row in approvals:
        votes = row["votes"] or []
        said = (
            ", ".join(f"{vote['name'] or vote['person_id']}: {vote['decision']}" for vote in votes)
            or "nobody decided yet"
        )
        links.append(
            _link(
                "approval",
                row["id"],
                f"{row['title']}: {row['state']} ({said})",
                row["decided_at"] or row["created_at"],
                [item["id"] for item in calls if item["approval_id"] == row["id"]],
                state=row["state"],
                digest=row["digest"],
                votes=votes,
                consumed_by=row["consumed_by"],
                subject=row["subject_id"],
            )
        )
    for row in steps:
        links.append(
            _link(
                "step",
                row["id"],
                f"{row['position']}. {row['name']}: {row['state']}",
                row["started_at"],
                [
                    row["decision_id"],
                    row["approval_id"],
                    *(item["id"] for item in calls if item["step_id"] == row["id"]),
                ],
                state=row["state"],
                reason=row["reason"],
            )
        )
    for ref, row in {row["release_id"]: row for row in calls}.items():
        links.append(
            _link(
                "release",
                ref,
                f"{row['pack']} {row['version']}",
                row["registered_at"],
                [row["attachment_id"]],
                digest=row["release_digest"],
                source=row["source"],
                registered_by=row["registered_by"],
            )
        )
    for ref, row in {row["attachment_id"]: row for row in calls}.items():
        links.append(
            _link(
                "attachment",
                ref,
                f"{row['pack']} in this workspace",
                row["attached_at"],
                [item["id"] for item in calls if item["attachment_id"] == ref],
                attached_by=row["attached_by"],
                approval_id=row["attach_approval_id"],
            )
        )
    for row in calls:
        links.append(
            _link(
                "invocation",
                row["id"],
                f"{row['tool']}: {row['state']}",
                row["started_at"],
                [item["id"] for item in egress if item["invocation_id"] == row["id"]]
                + [item["id"] for item in leases if item["invocation_id"] == row["id"]]
                + ([f"{row['id']}/effect"] if row["effect_id"] else []),
                state=row["state"],
                reason=row["reason"],
                layer=row["layer"],
                attempt=row["attempt"],
                args_digest=row["args_digest"],
            )
        )
        if row["effect_id"]:
            links.append(
                _link(
                    "effect",
                    f"{row['id']}/effect",
                    str(row["effect_id"]),
                    row["ended_at"],
                    [],
                    idempotency_key=row["idempotency_key"],
                )
            )
    for row in egress:
        answer = f", answered {row['status']}" if row["status"] else ""
        links.append(
            _link(
                "egress",
                row["id"],
                f"{row['method'] or ''} {row['host']}:{row['port']} {row['verdict']}{answer}".strip(),
                row["at"],
                [row["lease_id"]],
                verdict=row["verdict"],
                reason=row["reason"],
                rule=row["rule"],
                count=row["count"],
                exception_id=row["exception_id"],
                connection_id=row["connection_id"],
            )
        )
    for row in leases:
        links.append(
            _link(
                "lease",
                row["id"],
                f"secret {row['name']} for {row['endpoint']}, used {row['used_count']}×",
                row["issued_at"],
                [],
                secret_id=row["secret_id"],
                used_count=row["used_count"],
            )
        )
    for row in views:
        links.append(
            _link(
                "view",
                row["id"],
                f"{row['title']}, revision {row['revision']}",
                row["created_at"],
                [],
                revision=row["revision"],
            )
        )
    return links


def _missing(
    steps: list[Row],
    calls: list[Row],
    approvals: list[Row],
    decisions: list[Row],
    egress: list[Row],
    leases: list[Row],
    links: list[Row],
) -> list[str]:
    """Links that ought to be there by what the others say."""
    decided = {row["id"] for row in decisions}
    approved = {row["id"] for row in approvals}
    leased = {row["id"] for row in leases}
    called = {row["id"] for row in calls}
    audited = {link["subject"] for link in links if link["kind"] == "audit"}
    missing = [
        f"invocation {row['invocation_id']} of step {row['name']}"
        for row in steps
        if row["invocation_id"] and row["invocation_id"] not in called
    ]
    missing += [
        f"decision {row['decision_id']} of {row['id']}"
        for row in [*steps, *calls]
        if row["decision_id"] and row["decision_id"] not in decided
    ]
    missing += [
        f"approval {row['approval_id']} of {row['id']}"
        for row in [*steps, *calls]
        if row["approval_id"] and row["approval_id"] not in approved
    ]
    missing += [
        f"lease {row['lease_id']} of egress {row['id']}"
        for row in egress
        if row["lease_id"] and row["lease_id"] not in leased
    ]
    missing += [f"audit of invocation {row['id']}" for row in calls if row["id"] not in audited]
    return missing
