"""Why a release, an attachment or an invocation is as it is. Console, CLI and API call these three."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel import reasons
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Change, Evidence, Explanation, LastError, Leg, NextAction, Timing, WaitingOn
from worka.packs import actions, model, rules, store
from worka.packs.service import reading

Row = dict[str, Any]


async def explain(ctx: Context, subject: str) -> Explanation:
    """The explanation of a release, an attachment or an invocation, by its id. Raises NotFound of its kind."""
    kind = subject.split("_", 1)[0]
    if kind == "rel":
        return await explain_release(ctx, subject)
    return await (explain_attachment if kind == "att" else explain_invocation)(ctx, subject)


async def explain_release(ctx: Context, release_id: str) -> Explanation:
    """Which stage a release is in, or failed at and why; what could be done."""
    row = await reading.release(ctx, release_id)
    name = f"{row['publisher']}.{row['name']} {row['version']}"
    state, reason = row["state"], row["reason"]
    error = row["error"] or {}
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    if state == "failed":
        headline = (
            f"{name} failed at {_STAGE_WORDS.get(row['failed_stage'], row['failed_stage'])}: {error.get('message', '')}"
        )
        allowed, because = await _may(
            ctx, actions.REGISTER.name, Resource("pack", name.split(" ")[0], row["workspace_id"])
        )
        following.append(
            NextAction(
                label="Correct it and register again",
                command="worka pack register PATH",
                permission="change",
                allowed=allowed,
                because=because,
            )
        )
    elif state in model.RELEASE_ROAD[:-1]:
        headline = f"{name} is being registered: {_STAGE_WORDS[state]} is next"
        waiting.append(
            WaitingOn(
                kind="pack_release",
                ref=release_id,
                name=f"{_STAGE_WORDS[state]} of {name}",
                since=row["since"],
                who=["the platform"],
                because="the platform does this by itself",
            )
        )
    else:
        headline = f"{name} is {state}: {_meaning(reason)}"
    return Explanation(
        subject=release_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=_layer(reason, "publication"),
        timing="before_start" if state in model.RELEASE_ROAD[:-1] or state == "failed" else "after_completion",
        scope="tenant",
        waiting_on=waiting,
        last_error=_last_error(reason, error, int(row["source"].get("attempt", 1))) if error else None,
        changed_just_before=await _changes(ctx, row["workspace_id"], row["since"], release_id),
        evidence=[
            *([Evidence(kind="digest", ref=row["digest"], label="release digest")] if row["digest"] else []),
            *(
                Evidence(kind="tool_difference", ref=item["tool"], label=f"{item['field']}: {item['diff']}"[:2000])
                for item in error.get("differences", [])[:20]
            ),
            *(
                Evidence(kind="manifest_warning", ref=item["pointer"], label=f"{item['message']}; {item['fix']}")
                for item in row["source"].get("warnings", [])
            ),
        ],
        next=following,
    )


async def explain_attachment(ctx: Context, attachment_id: str) -> Explanation:
    """What an attachment waits for, or which tools are held and how their definitions differ."""
    row = await reading.attachment(ctx, attachment_id)
    async with ctx.transaction() as conn:
        release = await store.release(conn, row["release_id"])
    assert release is not None
    name = f"{row['pack']} {release['version']}"
    state, reason = row["state"], row["reason"]
    layer = _layer(reason, "publication")
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    evidence = [Evidence(kind="release", ref=release["id"], label=name)]
    headline = f"{name} is {state}: {_meaning(reason)}"
    if state == "awaiting_approval":
        headline = f"{name} waits for an approval to be attached"
        waiting.append(await _approval_wait(ctx, row))
        following.append(
            NextAction(
                label="Open the approval", command=f"worka approvals show {row['approval_id']}", permission="approve"
            )
        )
    elif state == "awaiting_connection":
        waiting = await _missing_connections(ctx, row, release)
        headline = f"{name} waits for a connection: {', '.join(item.name for item in waiting) or 'it is being checked'}"
        allowed, because = await _may(ctx, "connection.create", Resource("connection", "new", row["workspace_id"]))
        following.append(
            NextAction(
                label="Connect it",
                command="POST /v1/workspaces/{workspace_id}/connections",
                permission="manage_connections",
                allowed=allowed,
                because=because,
            )
        )
    elif state == "held":
        tools = sorted(row["held"] or {})
        headline = (
            f"{name}: {', '.join(tools)} held, because the definition changed after it was approved; other tools serve"
        )
        evidence += [
            Evidence(kind="tool_difference", ref=tool, label=str((row["held"] or {})[tool])[:2000]) for tool in tools
        ]
        allowed, because = await _may(
            ctx, actions.RELEASE_HELD.name, Resource("attachment", attachment_id, row["workspace_id"])
        )
        waiting.append(
            WaitingOn(
                kind="attachment",
                ref=attachment_id,
                name=f"a decision on the changed definition of {', '.join(tools)}",
                since=row["since"],
                who=["owners and admins of the workspace"],
                you_can=allowed,
                because=because,
            )
        )
        following.append(
            NextAction(
                label="Serve again, if the server is as approved",
                command=f"POST /v1/attachments/{attachment_id}/resolve",
                permission="administer",
                allowed=allowed,
                because=because,
            )
        )
    elif state == "detached" and row["approval_id"]:
        evidence.append(Evidence(kind="approval", ref=row["approval_id"]))
    elif state == "attached" and release["state"] == "revoked":
        headline = f"{name} serves calls; its release was revoked, so it cannot be attached anew"
    return Explanation(
        subject=attachment_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer,
        timing="before_start" if state.startswith("awaiting") or state == "requested" else "during",
        waiting_on=waiting,
        changed_just_before=await _changes(ctx, row["workspace_id"], row["since"], attachment_id),
        evidence=evidence,
        next=following,
    )


async def explain_invocation(ctx: Context, invocation_id: str) -> Explanation:
    """The road of one call, with the failing leg open."""
    row = await reading.invocation(ctx, invocation_id)
    async with ctx.transaction() as conn:
        egress = await store.egress_of(conn, invocation_id)
        decision = await store.decision(conn, row["decision_id"])
        repeats = (
            0
            if row["state"] == "succeeded"
            else await store.same_failures(conn, row["workspace_id"], row["tool"], row["reason"], invocation_id)
        )
    state, reason = row["state"], row["reason"]
    layer = row["layer"] or _layer(reason, "pack")
    known = reasons.get(reason)
    headline = {
        "running": f"{row['tool']} is running",
        "succeeded": f"{row['tool']} answered",
        "unknown": f"Nobody knows whether {row['tool']} had its effect: {row['message'] or _meaning(reason)}",
    }.get(state, f"{row['tool']} failed at the {layer}: {row['message'] or _meaning(reason)}")
    following: list[NextAction] = []
    if state in ("failed", "unknown") and known is not None and known.remedy:
        following.append(
            NextAction(label=known.remedy, command=_commands(row).get(layer, f"worka invocation show {invocation_id}"))
        )
    waiting = []
    if state == "running":
        waiting.append(
            WaitingOn(
                kind="external_event",
                ref=invocation_id,
                name=f"the answer of {row['tool']}",
                since=row["started_at"],
                who=["the pack"],
                because="it ends at its deadline",
            )
        )
    elif state == "unknown":
        waiting.append(
            WaitingOn(
                kind="external_event",
                ref=row["idempotency_key"],
                name="someone who looks at the outside system by the idempotency key",
                since=row["since"],
                who=["a person with access to the outside system"],
            )
        )
    timing: Timing = "during" if state == "running" else "after_completion"
    return Explanation(
        subject=invocation_id,
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer,
        timing=timing,
        waiting_on=waiting,
        last_error=None
        if state in ("running", "succeeded")
        else LastError(
            code=reason,
            message=row["message"] or _meaning(reason),
            attempt=row["attempt"],
            output_ref=f"{invocation_id}#stderr" if row["stderr_tail"] else None,
        ),
        changed_just_before=await _changes(ctx, row["workspace_id"], row["started_at"], invocation_id),
        evidence=[
            Evidence(kind="decision", ref=row["decision_id"], label=_decision_words(decision)),
            *([Evidence(kind="approval", ref=row["approval_id"])] if row["approval_id"] else []),
            Evidence(kind="release", ref=row["release_id"], label=f"digest {row['release_digest']}"),
            Evidence(kind="attachment", ref=row["attachment_id"]),
            *(Evidence(kind="egress", ref=item["id"], label=_egress_words(item)) for item in egress),
            *(
                [Evidence(kind="output_tail", ref=f"{invocation_id}#stderr", label=row["stderr_tail"][-400:])]
                if row["stderr_tail"]
                else []
            ),
            *(
                [Evidence(kind="stray_stdout", ref=f"{invocation_id}#stdout", label=row["stray_stdout"][:200])]
                if row["stray_stdout"]
                else []
            ),
            Evidence(kind="trace", ref=row["trace_id"]),
            *(
                [Evidence(kind="same_failure", ref=row["tool"], label=f"{repeats} more in this workspace within a day")]
                if repeats
                else []
            ),
        ],
        next=following,
        road=road(row, decision, egress),
        certainty="unknown" if state == "unknown" else "observed",
    )


_LEGS = ("authorized", "governed", "sandbox", "handshake", "pack", "broker", "upstream")
_LEG_OF_REASON = {
    "handshake_failed": "handshake",
    "tool_definition_changed": "handshake",
    "sandbox_unavailable": "sandbox",
    "digest_mismatch": "sandbox",
    "host_unavailable": "sandbox",
    "outcome_lost": "pack",
    "effect_uncertain": "pack",
}
_LEG_OF_LAYER = {
    "sandbox": "sandbox",
    "pack": "pack",
    "broker": "broker",
    "connection": "broker",
    "upstream": "upstream",
    "platform": "sandbox",
}


def road(row: Row, decision: Row | None, egress: list[Row]) -> list[Leg]:
    """The legs of a call. Pure. The pack stands before the broker: it is the pack that sets out."""
    failed = None
    if row["state"] in ("failed", "unknown"):
        failed = _LEG_OF_REASON.get(row["reason"]) or _LEG_OF_LAYER.get(row["layer"] or "pack", "pack")
    refused = [item for item in egress if item["verdict"] == "denied"]
    sent = [item for item in egress if item["verdict"] == "allowed"]
    details = {
        "authorized": _decision_words(decision),
        "governed": f"approved as {row['approval_id']}" if row["approval_id"] else "no approval was needed",
        "sandbox": _sandbox_words(row["isolation"] or {}),
        "handshake": "warm session"
        if row["session"] == "warm"
        else (f"{row['handshake_ms']:.0f} ms" if row["handshake_ms"] else ""),
        "pack": f"answered in {row['call_ms']:.0f} ms" if row["call_ms"] and failed is None else "",
        "broker": "; ".join(_egress_words(item) for item in (refused or sent)[:5])
        or "nothing asked to leave the sandbox",
        "upstream": "; ".join(f"{item['host']} answered {item['status']}" for item in sent if item["status"])[:500]
        or "nothing was reached",
    }
    if failed is not None:
        details[failed] = f"{row['reason']}: {row['message']}".rstrip(": ")
    legs = []
    passed = True
    for name in _LEGS:
        ref = row["decision_id"] if name == "authorized" else row["approval_id"] if name == "governed" else None
        if name in ("broker", "upstream") and name != failed:
            # What left is a fact, whatever became of the pack afterwards.
            hit = [item for item in sent if name == "broker" or item["status"]]
            state = (
                "ok"
                if hit and not (name == "broker" and refused)
                else "unknown"
                if row["state"] == "running"
                else "not_reached"
            )
            ref = hit[0]["id"] if hit else None
        elif name == failed:
            state = "unknown" if row["state"] == "unknown" else "failed"
            ref = (refused or sent or [{"id": None}])[-1]["id"] if name in ("broker", "upstream") else ref
            passed = False
        elif name == "pack" and failed in ("broker", "upstream"):
            state = "ok"
        else:
            state = (
                "not_reached"
                if not passed
                else "unknown"
                if row["state"] == "running" and name not in ("authorized", "governed")
                else "ok"
            )
        legs.append(Leg.model_validate({"name": name, "state": state, "detail": details[name], "ref": ref}))
    return legs


_STAGE_WORDS = {
    "draft": "building from the lock",
    "built": "recording the digest",
    "published": "claiming the identity",
    "registered": "probing in the sandbox",
    "probed": "releasing",
}


def _commands(row: Row) -> dict[str, str]:
    return {
        "broker": f"GET /v1/workspaces/{row['workspace_id']}/egress?invocation_id={row['id']}",
        "connection": f"GET /v1/workspaces/{row['workspace_id']}/connections",
        "upstream": f"GET /v1/workspaces/{row['workspace_id']}/egress?invocation_id={row['id']}",
        "sandbox": "worka doctor",
        "platform": "worka doctor",
    }


def _decision_words(decision: Row | None) -> str:
    if decision is None:
        return "the decision's record is not here"
    by = ", ".join(str(rule) for rule in decision["rules"]) or decision["layer"]
    versions = f"access {decision['access_version']}, governance {decision['governance_version']}"
    return f"{decision['verdict']} by {by}; {versions}"


def _egress_words(item: Row) -> str:
    what = f"{item['method'] or item['kind']} {item['host']}:{item['port']}{item['path'] or ''}"
    times = f" ({item['count']} times)" if item["count"] > 1 else ""
    if item["verdict"] == "denied":
        return f"{what} refused: {item['reason']}{times}"
    return f"{what} allowed by {item['rule']}, answered {item['status'] or 'nothing'}{times}"


def _sandbox_words(isolation: Row) -> str:
    if not isolation:
        return ""
    weak = "" if isolation.get("uid_separated", True) else ", without a uid of its own"
    return f"{isolation.get('driver', 'sandbox')}{weak}"


def _meaning(reason: str) -> str:
    known = reasons.get(reason)
    return known.meaning.rstrip(".") if known else reason


def _layer(reason: str, otherwise: str) -> str:
    known = reasons.get(reason)
    return known.layer if known else otherwise


def _last_error(reason: str, error: Row, attempt: int) -> LastError:
    return LastError(code=str(error.get("code", reason)), message=str(error.get("message", ""))[:2000], attempt=attempt)


async def _may(ctx: Context, action: str, resource: Resource) -> tuple[bool, str]:
    decision = await ctx.decide(action, resource)
    if decision.verdict == "deny":
        return False, "; ".join(decision.reasons) or decision.remedy
    return True, "this will ask for an approval" if decision.verdict == "ask" else ""


async def _changes(ctx: Context, workspace_id: str, before: datetime, apart_from: str) -> list[Change]:
    async with ctx.transaction() as conn:
        rows = await store.changes_before(conn, workspace_id, before)
    return [
        Change(
            at=item["at"],
            who=item["actor_name"] or item["actor_id"],
            what=f"{item['type']} {item['subject_name']}".strip(),
            ref=item["subject"],
        )
        for item in rows
        if item["subject"] != apart_from
    ]


async def _missing_connections(ctx: Context, row: Row, release: Row) -> list[WaitingOn]:
    found = []
    async with ctx.transaction() as conn:
        for need in rules.connection_needs(release["manifest"]):
            if (
                need["required"]
                and await store.active_connection(
                    conn, row["workspace_id"], need["provider"], need["host"], need["port"]
                )
                is None
            ):
                found.append(
                    WaitingOn(
                        kind="connection",
                        ref=need["provider"],
                        name=f"{need['provider']} at {need['endpoint']}",
                        since=row["since"],
                        who=["owners and admins of the workspace"],
                        because=f"it is needed to {need['access']}" if need["access"] else "",
                    )
                )
    return found


async def _approval_wait(ctx: Context, row: Row) -> WaitingOn:
    from worka.approvals import explain as approvals

    told = await approvals.explain(ctx, row["approval_id"])
    if told.waiting_on:
        return told.waiting_on[0].model_copy(update={"kind": "approval", "ref": row["approval_id"]})
    return WaitingOn(
        kind="approval", ref=row["approval_id"], name=f"approval to attach {row['pack']}", since=row["since"]
    )
