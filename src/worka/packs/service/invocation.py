"""One governed call of one tool, the same for everyone: prepare (may it?) -> open (intent) -> run (call) -> close
(outcome).

The four are apart because their transactions are: the intent commits before anything happens outside, together with
what the caller commits (a task's step, an approval's consumption); the call holds no transaction; the outcome commits
with what follows from it. A crash between intent and outcome leaves a running row, never a guess.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from worka.approvals import service as approvals
from worka.connections import rules as connections
from worka.kernel import canonical, failpoints, reasons, telemetry
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Problem, Unavailable
from worka.kernel.events import Event
from worka.kernel.ids import new_id
from worka.kernel.redact import text
from worka.packs import actions, events, model, rules, store
from worka.packs.errors import AttachmentNotUsable, InputInvalid, ToolHeld, ToolNotFound
from worka.packs.moving import definitions
from worka.packs.service import attachments, exposure, hosting, withdrawing
from worka.workspaces.limits import rules as limit_rules
from worka.workspaces.limits import service as limits

Row = dict[str, Any]
RESULT = "packs.invocation.result"
LONGEST_TEXT = 4000
LARGEST_ARGUMENTS = 4 * 1024 * 1024


async def _begun(conn: Connection) -> limit_rules.Use:
    rows = await store.calls_begun(conn, 60)
    return limit_rules.counted((row["workspace_id"], row["initiator_id"], row["calls"]) for row in rows)


async def _room_in(conn: Connection, scope: str, workspace_id: str, member_id: str) -> float:
    place = None if scope == "tenant" else workspace_id
    return await store.oldest_call(conn, 60, place, member_id if scope == "member" else None)


limit_rules.add(
    limit_rules.Limit(
        store.CALL_LIMIT,
        "calls of packs in a minute",
        limit_rules.SCOPES,
        60,
        "A call at the door is refused (429, with Retry-After); a task's step pauses and goes on by itself.",
        _begun,
        wait=_room_in,
    )
)


@dataclass(frozen=True)
class Prepared:
    """A call that passed every check but the approval. `decision.verdict` is allow or ask.

    `digest` is the approval digest (decisions.md 14): equal digests are the same action. `card` is what an approver is
    shown without arguments; `arguments_bytes` are the canonical arguments, to be sealed.
    """

    tool: str
    tool_name: str
    arguments: dict[str, Any]
    arguments_bytes: bytes
    args_digest: str
    definition: Row
    attachment: Row
    release: Row
    decision: Decision
    digest: str
    boundary: str
    title: str
    effect: str
    card: Row
    destinations: list[str]
    timeout_seconds: float

    @property
    def side_effect(self) -> str:
        """The tool's declared class."""
        return str(self.definition["side_effect"])

    @property
    def idempotent(self) -> bool:
        """Whether the same key may be sent again: reading is, an effect is when the manifest says so."""
        return bool(self.definition["idempotent"]) or self.side_effect == "read_only"


async def prepare(ctx: Context, tool: str, arguments: dict[str, Any]) -> Prepared:
    """Resolves `publisher.pack.tool` in the workspace, validates the arguments, and asks for the decision.

    Opens a transaction, or joins the caller's. Raises ToolNotFound, AttachmentNotUsable, ToolHeld, InputInvalid,
    Denied.
    """
    assert ctx.workspace_id is not None
    attachment, release, definition = await resolve(ctx, tool)
    raw = await canonical.beside(arguments, _arguments, definition, tool, arguments)
    destinations, backing = await _destinations(ctx, attachment, release, definition)
    args_digest = hashlib.sha256(raw).hexdigest()
    facts = rules.call_facts(tool, attachment["pack"], release, definition)
    decision = await ctx.require(
        actions.INVOKE.name,
        Resource("tool", tool, ctx.workspace_id, facts),
        **facts,
        digest=args_digest,
        args_bytes=len(raw),
        arguments=arguments,
    )
    action = {
        "action": actions.INVOKE.name,
        "tool": tool,
        "arguments": arguments,
        "release": release["id"],
        "release_digest": release["digest"],
        "tool_pin": definition["pin"],
        "attachment": attachment["id"],
        "workspace": ctx.workspace_id,
        "connections": backing,
        "destinations": destinations,
        "initiator": f"{ctx.principal.kind}:{ctx.principal.id}",
        "originating_person": ctx.originating_person,
    }
    where = f" at {', '.join(destinations)}" if destinations and definition["side_effect"] != "read_only" else ""
    shown = {key: value for key, value in action.items() if key != "arguments"}
    limits = release["manifest"]["runtime"].get("limits") or {}
    return Prepared(
        tool=tool,
        tool_name=definition["name"],
        arguments=arguments,
        arguments_bytes=raw,
        args_digest=args_digest,
        definition=definition,
        attachment=attachment,
        release=release,
        decision=decision,
        digest=await canonical.beside(arguments, canonical.sha256_hex, action),
        boundary=f"tool.{definition['side_effect']}",
        title=f"Call {tool}",
        effect=f"{tool} {rules.EFFECT_CLASSES[definition['side_effect']]}{where}",
        card={
            **shown,
            "args_digest": args_digest,
            "side_effect": definition["side_effect"],
            "idempotent": definition["idempotent"],
            "description": definition["description"],
            "pack": attachment["pack"],
            "version": release["version"],
        },
        destinations=destinations,
        timeout_seconds=float(limits.get("timeout") or ctx.settings.packs.call_timeout_seconds),
    )


async def resolve(ctx: Context, tool: str) -> tuple[Row, Row, Row]:
    """(attachment, release, frozen definition) of a tool in the workspace. Raises ToolNotFound, AttachmentNotUsable,
    ToolHeld."""
    assert ctx.workspace_id is not None
    publisher, _, rest = tool.partition(".")
    pack, _, name = rest.partition(".")
    if not (publisher and pack and name):
        raise ToolNotFound(f"{tool[:100]!r} is not of the form publisher.pack.tool.")
    async with ctx.transaction() as conn:
        found = await store.attachment_with_release(conn, ctx.workspace_id, f"{publisher}.{pack}")
    if found is None:
        raise ToolNotFound(f"No pack {publisher}.{pack} is attached to this workspace.", tool=tool)
    attachment, release = found
    definition = next((item for item in release["tools"] if item["name"] == name), None)
    if definition is None:
        registered = sorted(item["name"] for item in release["tools"])
        raise ToolNotFound(
            f"{publisher}.{pack} {release['version']} was registered without a tool {name}; it has"
            f" {', '.join(registered[:20])}.{rules.did_you_mean(name, registered)}",
            tool=tool,
            registered=registered,
        )
    if attachment["state"] not in model.SERVING or release["state"] not in ("released", "revoked"):
        reason = attachment["reason"] if attachment["state"] not in model.SERVING else release["reason"]
        async with ctx.transaction() as conn:
            raise _not_usable(attachment, reason, await withdrawing.because(conn, attachment))
    if definitions.refused(attachment, name):
        raise ToolHeld(
            f"The definition that the server lists of {tool} now was refused; the tool is off here.",
            attachment_id=attachment["id"],
            tool=tool,
        )
    if (accepted := definitions.served(attachment, definition)) is not definition:
        release = {**release, "tools": [accepted if item is definition else item for item in release["tools"]]}
        definition = accepted
    if {name, model.WHOLE_SERVER} & set(attachment["held"] or {}):
        raise ToolHeld(
            f"The definition of {tool} differs from the one that was approved.",
            attachment_id=attachment["id"],
            tool=tool,
        )
    return attachment, release, definition


def _arguments(definition: Row, tool: str, arguments: dict[str, Any]) -> bytes:
    try:
        raw = canonical.dumps(arguments)
    except Exception as error:
        raise InputInvalid("The arguments are not plain JSON.", tool=tool, errors=[]) from error
    if len(raw) > LARGEST_ARGUMENTS:
        raise InputInvalid(
            f"The arguments have {len(raw)} bytes; {LARGEST_ARGUMENTS} is the most.", tool=tool, errors=[]
        )
    if complaints := rules.input_errors(definition["input_schema"], arguments):
        first = complaints[0]
        raise InputInvalid(f"{first['pointer'] or 'arguments'}: {first['message']}.", tool=tool, errors=complaints)
    return raw


async def _destinations(ctx: Context, attachment: Row, release: Row, definition: Row) -> tuple[list[str], list[Row]]:
    """(where this pack's credentials go, which connections back it) as they are now."""
    items = release["manifest"].get("outbound_domains", [])
    hosts = [item if isinstance(item, str) else item["host"] for item in items]
    found_here: list[Row] = []
    needs = rules.connection_needs(release["manifest"])
    if not needs:
        return sorted(hosts), found_here
    async with ctx.transaction():
        for need in needs:
            found = next((row for row in await _theirs(ctx, attachment, need) if row["state"] == "active"), None)
            if found is not None:
                found_here.append(
                    {
                        "id": found["id"],
                        "provider": need["provider"],
                        "name": found["name"],
                        "endpoint": need["endpoint"],
                        **({"person": found["person_id"]} if found["person_id"] else {}),
                    }
                )
    return sorted({item["endpoint"] for item in found_here if item["endpoint"]}) or sorted(hosts), found_here


async def _theirs(ctx: Context, attachment: Row, need: Row) -> list[Row]:
    """The connections that a call for this person may use for a need."""
    there = await store.connections_at(
        ctx.conn, attachment["workspace_id"], need["provider"], need["host"], need["port"]
    )
    return [dict(row) for row in connections.own(there, ctx.originating_person or ctx.principal.id)]


@dataclass(frozen=True)
class Lacking:
    """A connection that the call needs and that is not there for whom it is made: the reason, the connection that it is about
    (None: there is none), and the need."""

    reason: str
    connection_id: str | None
    provider: str
    endpoint: str

    @property
    def ref(self) -> str:
        """What is waited for."""
        return self.connection_id or f"{self.provider} {self.endpoint}"

    @property
    def name(self) -> str:
        """The same in words."""
        return f"{self.provider} at {self.endpoint}"


async def lacking(ctx: Context, prepared: Prepared) -> Lacking | None:
    """In the caller's transaction: the first connection that the release requires and that does not serve whom this call is
    made for."""
    for need in rules.connection_needs(prepared.release["manifest"]):
        if not need["required"] or not need["endpoint"]:
            continue
        mine = await _theirs(ctx, prepared.attachment, need)
        if not any(row["state"] == "active" for row in mine):
            reason, connection_id = connections.lacking(mine)
            return Lacking(reason, connection_id, need["provider"], need["endpoint"])
    return None


async def open_invocation(
    ctx: Context,
    prepared: Prepared,
    *,
    idempotency_key: str,
    task_id: str | None = None,
    step_id: str | None = None,
    approval_id: str | None = None,
    first: bool = False,
) -> Row:
    """The intent, in the caller's transaction: a running invocation. `approval_id` is consumed for this key: a retry
    under the same key is the same use. Running invocations of the key are ended as unknown (their caller is gone);
    `first` says that the caller holds the key's lock and saw none.

    Raises RateReached before anything is written, AttachmentNotUsable where the pack was taken away meanwhile, and what
    `approvals.consume` raises. Nothing may be called before this is committed.
    """
    conn = ctx.conn
    assert ctx.tenant_id is not None
    settings = prepared.attachment["call_limits"]
    if settings:
        place = prepared.attachment["workspace_id"]
        await limits.take_one(ctx, store.CALL_LIMIT, place, ctx.principal.id, settings)
    for lost in [] if first else await store.lose_invocations(conn, idempotency_key):
        ctx.record(lost_event(lost))
    invocation_id = new_id("inv")
    if approval_id is not None:
        await approvals.consume(ctx, approval_id, idempotency_key)
    row = await store.insert_invocation(
        conn,
        {
            "tenant_id": ctx.tenant_id,
            "id": invocation_id,
            "workspace_id": prepared.attachment["workspace_id"],
            "attachment_id": prepared.attachment["id"],
            "release_id": prepared.release["id"],
            "release_digest": prepared.release["digest"],
            "pack": prepared.attachment["pack"],
            "tool": prepared.tool,
            "side_effect": prepared.side_effect,
            "initiator_kind": ctx.principal.kind,
            "initiator_id": ctx.principal.id,
            "originating_person": ctx.originating_person,
            "decision_id": prepared.decision.id,
            "approval_id": approval_id,
            "task_id": task_id,
            "step_id": step_id,
            "idempotency_key": idempotency_key,
            "args_digest": prepared.args_digest,
            "trace_id": ctx.trace_id,
        },
    )
    if row is None:
        gone = await store.attachment(conn, prepared.attachment["id"]) or prepared.attachment
        # Moved meanwhile, it serves, and the call was prepared for the release before.
        moved = gone["release_id"] != prepared.release["id"] and gone["state"] in model.SERVING
        reason = "attachment_updating" if moved else gone["reason"]
        raise _not_usable(gone, reason, await withdrawing.because(conn, gone))
    ctx.record(
        events.invocation(
            events.INVOCATION_STARTED,
            row,
            {"state": "running"},
            attachment=row["attachment_id"],
            release=row["release_id"],
            release_digest=row["release_digest"],
            decision=row["decision_id"],
            approval=approval_id,
            args_digest=row["args_digest"],
            side_effect=row["side_effect"],
            attempt=row["attempt"],
            idempotency_key=idempotency_key,
            step=step_id,
        )
    )
    ctx.failpoint("pack.invocation.intent.before_commit")
    return row


def _not_usable(attachment: Row, reason: str, because: str) -> AttachmentNotUsable:
    """What whoever calls a tool of an attachment that serves no more is told: who took it away, and why."""
    return AttachmentNotUsable(
        f"{attachment['pack']} does not serve calls now. {rules.meaning(reason)}{because}",
        remedy=f"Read `worka why {attachment['id']}`: it names who must act.",
        attachment_id=attachment["id"],
        state=attachment["state"],
        reason=reason,
        layer=rules.layer_of(reason, "publication"),
    )


async def run(ctx: Context, prepared: Prepared, row: Row) -> Row:
    """Calls the tool through the host and returns its outcome (the host's form). No transaction may be open.

    Never raises for what goes wrong with the call: a host that is down is an outcome too (layer platform).
    """
    if ctx.tx is not None:
        raise RuntimeError("a call never runs inside a transaction")
    failpoints.hit("pack.invocation.after_intent")
    try:
        with telemetry.span(
            ctx.trace_id, "pack.invoke", ctx.span_id, tool=prepared.tool, invocation_id=row["id"]
        ) as span_id:
            outcome: Row = await hosting.client(ctx).invoke(
                session=_session(ctx, prepared),
                tool=prepared.tool_name,
                arguments=prepared.arguments,
                timeout_seconds=prepared.timeout_seconds,
                meta={
                    "invocation_id": row["id"],
                    "idempotency_key": row["idempotency_key"],
                    "traceparent": f"00-{ctx.trace_id}-{span_id}-01",
                },
            )
    except Unavailable as problem:
        outcome = {"status": "failed", "layer": "platform", "reason": "host_unavailable", "message": problem.detail}
    except Problem as problem:
        outcome = {"status": "failed", "layer": "sandbox", "reason": problem.problem_code, "message": problem.detail}
    failpoints.hit("pack.invocation.after_effect")
    return outcome


def _session(ctx: Context, prepared: Prepared) -> Row:
    """The attachment's session, with the isolation that was required when the call was decided."""
    place = prepared.attachment["workspace_id"]
    required = exposure.required(prepared.attachment["call_limits"], place)
    return hosting.session(ctx, prepared.release, prepared.attachment) | {"isolation": required}


async def close_invocation(ctx: Context, row: Row, release: Row, outcome: Row) -> Row:
    """The outcome, in the caller's transaction or one of its own: state, leg, sealed result. `release` is the one that
    was called. Returns the row as it is now.

    Once: an invocation that is not running any more keeps what it has (a late answer of a retried call).
    """
    async with ctx.transaction() as conn:
        egress: list[Row] = []
        # A pack that declares no host has no door to the outside, and so no rows.
        if release["manifest"].get("outbound_domains"):
            # Locked before they are read: what is being written of this call now is seen, or comes too late.
            now = await store.invocation_for_update(conn, row["id"])
            assert now is not None
            if now["state"] != "running":
                return now
            egress = await store.egress_of(conn, row["id"])
        outcome = await _ended_on_purpose(ctx, row, outcome)
        definition = next((tool for tool in release["tools"] if row["tool"] == f"{row['pack']}.{tool['name']}"), None)
        columns = await _outcome_columns(ctx, row, definition, outcome, egress)
        model.INVOCATION.check("running", columns["state"])
        finished = await store.finish_invocation(conn, row["id"], columns)
        if finished is None:
            ended = await store.invocation(conn, row["id"])
            assert ended is not None
            return ended
        if outcome.get("held"):
            held = outcome["held"]
            # What a session of the release before lists says nothing of the one that is attached now.
            there = await store.attachment_for_update(conn, row["attachment_id"])
            if there is not None and there["release_id"] == row["release_id"]:
                for item in held.get("all") or [held]:
                    name = str(item["tool"])
                    await attachments.hold(ctx, row["attachment_id"], name, item.get("diff"), item.get("listed"))
        ctx.record(
            events.invocation(
                events.INVOCATION_FINISHED,
                row,
                {"state": columns["state"], "reason": columns["reason"], "layer": columns["layer"]},
                result_digest=columns["result_digest"],
                effect=columns["effect_id"],
                validated=columns["validated"],
                egress=[item["id"] for item in egress],
            )
        )
        ctx.failpoint("pack.invocation.outcome.before_commit")
        # Whoever made the call has its answer at hand, and need not open what was just sealed.
        return finished if columns["result_sealed"] is None else {**finished, "answer": answer_of(outcome)}


async def _ended_on_purpose(ctx: Context, row: Row, outcome: Row) -> Row:
    """A session that was killed, or not given, or whose network stayed shut because somebody took the pack away did not crash:
    the call says who and why."""
    if outcome.get("reason") not in ("pack_signalled", "session_dropped", "invocation_foreign"):
        return outcome
    attachment = await store.attachment(ctx.conn, row["attachment_id"])
    if attachment is None or attachment["state"] not in ("suspended", "detached"):
        return outcome
    reason = attachment["reason"]
    told = f"{rules.meaning(reason)}{await withdrawing.because(ctx.conn, attachment)}"
    return {**outcome, "reason": reason, "layer": rules.layer_of(reason, "publication"), "message": told}


def answer_of(outcome: Row) -> Row:
    """{structured, text, is_structured} of an outcome."""
    return {
        "structured": outcome.get("structured"),
        "text": outcome.get("text") or "",
        "is_structured": bool(outcome.get("is_structured")),
    }


async def _outcome_columns(ctx: Context, row: Row, definition: Row | None, outcome: Row, egress: list[Row]) -> Row:
    status = outcome.get("status")
    result = answer_of(outcome)
    digest: str | None = None
    if status in ("ok", "tool_error"):
        try:
            digest = await canonical.beside(result, canonical.sha256_hex, result)
        except ValueError as error:
            status, outcome = "failed", _unreadable(outcome, error)
    layer: str | None = None
    reason, message = "call_succeeded", ""
    state = "succeeded"
    validated: bool | None = None
    if status == "ok":
        schema = None if definition is None else definition["output_schema"]
        if schema:
            complaints = rules.input_errors(schema, result["structured"])
            validated = bool(result["is_structured"]) and not complaints
            if not validated:
                state, layer, reason = "failed", "pack", "output_invalid"
                message = (
                    f"{complaints[0]['pointer'] or 'result'}: {complaints[0]['message']}"
                    if complaints
                    else "no structured content"
                )
        else:
            validated = False
    else:
        layer, reason, message = rules.failing_layer(outcome, egress)
        if reasons.get(reason) is None:
            # Nobody could look this code up: the registered one stands in the row, the host's own in the message.
            reason, message = "host_refused", f"{reason}: {message}"
        state = "failed"
        if rules.effect_uncertain(row["side_effect"], outcome, egress):
            state, message, reason = "unknown", f"{reason}: {message}", "effect_uncertain"
    tail = text(_kept(outcome.get("stderr_tail")))[-LONGEST_TEXT:]
    if outcome.get("reason") in ("pack_crashed", "pack_signalled"):
        message = rules.with_last_words(message, tail)
    sealed: bytes | None = None
    if digest is not None:
        sealed = await ctx.sealer.seal(ctx, f"{RESULT}:{row['id']}", json.dumps(result, ensure_ascii=False).encode())
    structured = result["structured"] if isinstance(result["structured"], dict) else {}
    effect = structured.get("effect_id") if row["side_effect"] != "read_only" and state == "succeeded" else None
    stray = outcome.get("stray_stdout")
    return {
        "state": state,
        "reason": reason,
        "layer": layer,
        "message": text(_kept(message))[:LONGEST_TEXT],
        "stderr_tail": tail,
        "stray_stdout": None if not stray else text(_kept(stray))[:LONGEST_TEXT],
        "isolation": {
            **(outcome.get("isolation") or {}),
            **{key: outcome[key] for key in ("exit_code", "signal") if outcome.get(key) is not None},
        },
        "session": outcome.get("session"),
        "handshake_ms": outcome.get("handshake_ms"),
        "call_ms": outcome.get("call_ms"),
        "result_sealed": sealed,
        "result_digest": digest,
        "validated": validated,
        "effect_id": effect if isinstance(effect, str) and len(effect) <= 200 and "\0" not in effect else None,
    }


def _unreadable(outcome: Row, error: ValueError) -> Row:
    """An answer with a number, or half of a character, that not every reader of JSON holds (RFC 7493): whoever read it next
    would read something else, so nobody does."""
    told = f"The answer is not JSON that every reader reads alike: {error}."
    return {**outcome, "status": "failed", "layer": "pack", "reason": "output_invalid", "message": told}


def _kept(said: Any) -> str:
    """A pack's text as a column takes it: JSON has NUL, PostgreSQL has not. Without it the outcome could not be recorded, and
    the call would be running for ever."""
    return str(said or "").replace("\0", "\N{SYMBOL FOR NULL}")


async def result_of(ctx: Context, row: Row) -> Row:
    """{structured, text, is_structured} of an invocation; empty when it has none. Joins or opens a transaction."""
    if "answer" in row:
        return dict(row["answer"])
    if row["result_sealed"] is None:
        return {"structured": None, "text": "", "is_structured": False}
    async with ctx.transaction():
        opened = await ctx.sealer.open(ctx, f"{RESULT}:{row['id']}", bytes(row["result_sealed"]))
    found: Row = json.loads(opened)
    return found


def lost_event(row: Row) -> Event:
    """The end of an invocation whose caller is gone."""
    return events.invocation(
        events.INVOCATION_FINISHED, row, {"state": "unknown", "reason": "outcome_lost", "layer": "platform"}
    )


def call_key(ctx: Context, key: str) -> str:
    """The key that goes outside for a caller's key: of this principal only, and it tells nobody what the caller
    wrote."""
    digest = canonical.sha256_hex(
        {"tenant": ctx.tenant_id, "principal": f"{ctx.principal.kind}:{ctx.principal.id}", "key": key}
    )
    return "call_" + base64.b32encode(bytes.fromhex(digest)).decode().lower()[:40]
