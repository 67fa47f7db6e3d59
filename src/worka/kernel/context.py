"""The Context every use case receives: who acts, for whom, where, in which transaction; and the three protocols that
domains plug in (authorizer, audit recorder, sealer). "Everything -> authorization" and "everything -> audit" are two
methods on this one object, not imports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from worka.kernel import actions, failpoints
from worka.kernel import events as event_rows
from worka.kernel.db import Connection, Database, Rollback
from worka.kernel.errors import Denied
from worka.kernel.events import Event, Subscribers

PrincipalKind = Literal["person", "team_member", "service_account", "device", "attachment", "platform"]
Verdict = Literal["allow", "deny", "ask"]


@dataclass(frozen=True)
class Principal:
    """Who acts. `tenant_id` is None for people (they belong to the deployment) and the platform."""

    kind: PrincipalKind
    id: str
    name: str
    tenant_id: str | None = None
    operator: bool = False
    owner_person_id: str | None = None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resource:
    """What is acted on. `attrs` are the facts that policy may look at."""

    type: str
    id: str
    workspace_id: str | None = None
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """One answer of the façade, with the record's id."""

    id: str
    verdict: Verdict
    layer: str
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    approval_rules: tuple[str, ...]
    policy_version: str
    remedy: str


class Judge(Protocol):
    """What several principals could do in one place, by one reading of all that is in force there: for showing who could,
    and for what somebody set in motion. Nobody tries anything, so nothing is recorded."""

    def could(self, who: Principal, roles: tuple[str, ...], action: str, resource: Resource) -> Decision: ...

    def alike(self, kind: PrincipalKind, action: str, resource: Resource) -> Resource:
        """The resource with no more of it than what is in force looks at: the same answers for all that are equal in it."""
        ...

    def stopped(self, principal_id: str) -> Decision | None:
        """The refusal by a kill switch on this member; None when none holds here."""
        ...


class Authorizer(Protocol):
    """`governance.facade` implements it: access, then governance, one decision record."""

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision: ...

    async def again(self, ctx: Context, decision_id: str) -> Decision | None: ...

    async def judge(self, ctx: Context, conn: Connection, workspace_id: str) -> Judge: ...


class OneStatement(Protocol):
    """A statement that is a transaction of its own, for `Context.once`. It writes the row of the event and, as the last
    thing, the ledger's, by `worka.audit_append`; or it does nothing, and answers False."""

    async def __call__(self, conn: Connection, told: dict[str, Any], lane: int, body: bytes, mac: bytes, /) -> bool: ...


class Recorder(Protocol):
    """`audit.recorder` implements it: the last statement of the transaction. `first`, if given, is run with it, in the
    same exchange and before it. `once` is for a statement that writes the row itself."""

    async def flush(
        self, conn: Connection, ctx: Context, entries: list[Event], first: event_rows.Statement | None = None
    ) -> None: ...

    async def once(self, conn: Connection, ctx: Context, event: Event, run: OneStatement) -> bool: ...


class Sealer(Protocol):
    """`treasury` implements it. Seals under the tenant's data key with `purpose` as associated data; `seal_own` under a key
    of the deployment, for what belongs to no tenant."""

    async def seal(self, ctx: Context, purpose: str, plaintext: bytes) -> bytes: ...

    async def open(self, ctx: Context, purpose: str, sealed: bytes) -> bytes: ...

    def seal_own(self, purpose: str, plaintext: bytes) -> bytes: ...

    def open_own(self, purpose: str, sealed: bytes) -> bytes: ...

    def hmac(self, purpose: str, data: bytes) -> bytes: ...

    async def audit_key(self, conn: Connection, tenant_id: str) -> bytes: ...


class Binder(Protocol):
    """`api.idempotency` implements it; see `Context.bind_key`."""

    async def __call__(self, conn: Connection) -> None: ...


class Precondition(Protocol):
    """`api.conditional` implements it; see `Context.guard`."""

    async def begun(self, conn: Connection) -> None: ...

    async def ending(self, conn: Connection) -> None: ...


class Witness(Protocol):
    """`api.idempotency` implements it."""

    async def __call__(self, conn: Connection, subjects: list[str]) -> None: ...


@dataclass
class Context:
    """Passed to every use case. Copies made by `acting` share the open transaction and its collected events."""

    principal: Principal
    tenant_id: str | None
    db: Database
    authorizer: Authorizer
    recorder: Recorder
    sealer: Sealer
    subscribers: Subscribers
    workspace_id: str | None = None
    originating_person: str | None = None
    trace_id: str = field(default_factory=lambda: os.urandom(16).hex())
    span_id: str = field(default_factory=lambda: os.urandom(8).hex())
    credential_id: str | None = None
    bound_to: str | None = None
    """The workspace of the token that was used: outside of it, its holder has no role. None: a session, or no request."""
    tx: Transaction | None = field(default=None, repr=False)
    settings: Any = field(default=None, repr=False)
    stepped_up_at: datetime | None = None
    """When the session of this request last had its second factor given; None: never, or there is no session."""
    stepped_up_by: str | None = None
    """How: `totp` or `recovery_code`."""
    witness: Witness | None = field(default=None, repr=False)
    """Told, inside the transaction of the change, what it changed: the request's idempotency key is marked there."""
    bind_key: Binder | None = field(default=None, repr=False)
    """For a use case that keeps its own record by key: binds the request's idempotency key to this request, inside its
    transaction; raises if the key belongs to another request."""
    guard: Precondition | None = field(default=None, repr=False)
    """Asked inside the transaction of the change, at its beginning and before its commit, whether it may still happen."""
    unrecorded: bool = field(default=False, repr=False)
    """A look of the platform's own at what the caller was shown: a decision about it is asked for, and not recorded."""
    undone: bool = field(default=False, repr=False)
    """A dry run: whatever its transactions do is rolled back at their end, and nothing of it is recorded or published."""

    @property
    def conn(self) -> Connection:
        """The open transaction's connection."""
        if self.tx is None:
            raise RuntimeError("no transaction is open: use `async with ctx.transaction()`")
        return self.tx.conn

    @property
    def traceparent(self) -> str:
        """W3C trace context of this request."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Joins the open transaction, or opens one. On the outermost exit the events and then the audit rows are
        written, the audit statement last, and all of it commits together or not at all."""
        if self.tx is not None:
            yield self.tx.conn
            return
        person = self.principal.id if self.principal.kind == "person" else self.originating_person
        async with self.db.transaction(self.tenant_id, person) as conn:
            self.tx = Transaction(conn)
            try:
                if self.guard is not None:
                    await self.guard.begun(conn)
                yield conn
                # What they do may leave more to be done.
                while self.tx.at_the_end:
                    await self.tx.at_the_end.pop(0)()
                if self.undone:
                    await self._undo(self.tx)
                await self._flush(self.tx)
            finally:
                after, told, settle, self.tx = self.tx.after_commit, self.tx.tenants(), self.tx.settle, None
                if self.undone:
                    after, told, settle = [], set(), 0.0
        for point in after:
            failpoints.hit(point)
        if settle:
            await asyncio.sleep(settle)
        for tenant in told:
            self.db.announce(event_rows.CHANNEL, tenant)

    async def _undo(self, tx: Transaction) -> None:
        """Ends a dry run: all of it was done but the record of it. Raises Rollback, which leaves the use case its answer."""
        if tx.events and self.guard is not None:
            await self.guard.ending(tx.conn)
        raise Rollback

    async def _flush(self, tx: Transaction) -> None:
        groups: dict[tuple[Any, ...], tuple[Context, list[Event]]] = {}
        for source, event in tx.events:
            who = (source.tenant_id or "", source.principal, source.originating_person, source.workspace_id)
            groups.setdefault(who, (source, []))[1].append(event)
        # Each actor's rows carry its own name; the audit statement of all of them comes last. Chains are locked in one
        # order (the platform's first), so that two transactions never wait for each other.
        ordered = sorted(groups.values(), key=lambda group: group[0].tenant_id or "")
        subjects = list(dict.fromkeys(event.subject for _, event in tx.events))
        if subjects and self.guard is not None:
            await self.guard.ending(tx.conn)
        if subjects and self.witness is not None:
            await self.witness(tx.conn, subjects)
        if len(ordered) == 1 and ordered[0][0].tenant_id is not None and len(ordered[0][1]) <= event_rows.AT_ONCE:
            # One actor in one tenant, as nearly always: event rows and audit rows are one exchange.
            source, group = ordered[0]
            await source.recorder.flush(tx.conn, source, group, event_rows.statement(source, group))
        else:
            for source, group in ordered:
                await event_rows.store(tx.conn, source, group)
            for source, group in ordered:
                await source.recorder.flush(tx.conn, source, group)
        if tx.events:
            failpoints.hit("audit.flushed.before_commit")
        for point in tx.before_commit:
            failpoints.hit(point)

    async def decide(self, action: str, resource: Resource, **context: Any) -> Decision:
        """The façade's answer, recorded, without raising."""
        return await self.authorizer.decide(self, action, resource, context)

    async def require(self, action: str, resource: Resource, **context: Any) -> Decision:
        """Like `decide`, but a deny raises Denied with the decision id. The answer is allow or ask."""
        decision = await self.authorizer.decide(self, action, resource, context)
        if decision.verdict == "deny":
            known = actions.get(action)
            words = known.words if known else action
            denied = Denied(
                f"{self.principal.name or self.principal.id} may not {words}: " + "; ".join(decision.reasons),
                remedy=decision.remedy or None,
                decision_id=decision.id,
                action=action,
                resource_type=resource.type,
                layer=decision.layer,
            )
            denied.about = (self.principal.id, words, decision.reasons)
            raise denied
        return decision

    def record(self, event: Event) -> None:
        """Collects an event for the open transaction: an audit entry and an event row, committed with the change."""
        if self.tx is None:
            raise RuntimeError("record needs the transaction of the change it records")
        self.tx.events.append((self, event))

    async def once(self, event: Event, run: OneStatement) -> bool:
        """A use case that was decided before on the very same facts, which its one statement compares: no transaction around
        it, one exchange, one commit, and its event and ledger row in it. False: nothing was done, and the caller goes the
        whole way; so it is where a transaction is open, or something wants to be asked inside of it."""
        inside = (self.tx, self.guard, self.witness, self.bind_key)
        if self.tenant_id is None or self.undone or any(one is not None for one in inside):
            return False
        async with self.db.single() as conn:
            done = await self.recorder.once(conn, self, event, run)
        if done:
            self.db.announce(event_rows.CHANNEL, self.tenant_id)
        return done

    def at_the_end(self, act: Callable[[], Awaitable[None]]) -> None:
        """Runs `act` in the open transaction after everything else in it, before its events are written: for what needs
        the rows that the caller has yet to write."""
        if self.tx is None:
            raise RuntimeError("there is no transaction to wait for the end of")
        self.tx.at_the_end.append(act)

    def settles(self, seconds: float) -> None:
        """Whoever asked for this change is answered, and readers are told, so long after its commit: then what looked before
        it is over."""
        if self.tx is None:
            raise RuntimeError("there is no transaction whose change could settle")
        self.tx.settle = max(self.tx.settle, seconds)

    async def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """Runs in-transaction subscribers."""
        await self.subscribers.publish(self, topic, payload)

    def failpoint(self, name: str) -> None:
        """Dies at `*.before_commit` just before COMMIT (all rows written), at `*.after_commit` just after it."""
        if self.tx is None:
            failpoints.hit(name)
        elif name.endswith(".after_commit"):
            self.tx.after_commit.append(name)
        else:
            self.tx.before_commit.append(name)

    def commit_points(self, name: str) -> None:
        """The failpoints on both sides of this transaction's COMMIT: `name.before_commit` and `name.after_commit`."""
        self.failpoint(f"{name}.before_commit")
        self.failpoint(f"{name}.after_commit")

    def acting(
        self,
        principal: Principal,
        *,
        originating_person: str | None = None,
        workspace_id: str | None = None,
        tenant_id: str | None = None,
    ) -> Context:
        """The same request carried on as another principal (for example a team member), in the same transaction."""
        return replace(
            self,
            principal=principal,
            originating_person=originating_person if originating_person is not None else self.originating_person,
            workspace_id=workspace_id or self.workspace_id,
            tenant_id=tenant_id or self.tenant_id,
        )

    def alone(self, **changed: Any) -> Context:
        """The same actor in transactions of its own, for what stands whatever becomes of the request: a decision, a refusal.
        It is no change of the request's, so neither its condition nor its idempotency key has to do with it. While the
        request holds a connection this takes one of a reserve of those that wait for nothing: it cannot starve. Of a dry
        run it stands as well: a refusal is an attempt."""
        db = self.db if self.tx is None else self.db.reserve or self.db
        return replace(self, tx=None, db=db, witness=None, bind_key=None, guard=None, undone=False, **changed)


@dataclass
class Transaction:
    """What one transaction has collected."""

    conn: Connection
    events: list[tuple[Context, Event]] = field(default_factory=list)
    at_the_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    before_commit: list[str] = field(default_factory=list)
    after_commit: list[str] = field(default_factory=list)
    settle: float = 0.0

    def tenants(self) -> set[str]:
        """Whose readers have something new once it is committed."""
        return {source.tenant_id for source, _ in self.events if source.tenant_id is not None}
