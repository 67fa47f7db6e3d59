"""Leases: the only way in which a value leaves, to the broker, for one running call and one endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from worka import governance
from worka.authorization.layers import InForce
from worka.governance.errors import Killed, UseRefused
from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.treasury import actions, errors, events, repeated, rules, store, values
from worka.treasury.rules import Refusal

Row = dict[str, Any]
_REFUSALS: dict[str, type[Problem]] = {
    "no_grant": errors.NoGrant,
    "endpoint_not_bound": errors.EndpointNotBound,
    "another_persons_account": errors.AnotherPersons,
    "secret_revoked": errors.SecretRevoked,
    "secret_expired": errors.SecretExpired,
    "treasury_sealed": errors.TreasurySealed,
    "invocation_not_running": errors.InvocationNotRunning,
    governance.kills.REASON: Killed,
    UseRefused.code: UseRefused,
}


@dataclass(frozen=True, slots=True)
class Lease:
    """A value for one invocation and endpoint; `id` is the row in `lease`. The value shows nowhere by accident."""

    id: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"Lease({self.id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a lease does not travel")


async def lease(ctx: Context, *, secret_id: str, attachment_id: str, invocation_id: str, endpoint: str) -> Lease:
    """The value, for the broker, while the invocation runs. Raises SecretNotFound, NoGrant, EndpointNotBound,
    SecretRevoked, InvocationNotRunning, SecretUnreadable. The row and its audit entry commit before the value
    leaves."""
    bound = rules.endpoint(endpoint)
    asked = {
        "secret_id": secret_id, "attachment_id": attachment_id, "invocation_id": invocation_id, "endpoint": bound,
    }  # fmt: skip
    found = await repeated.give(ctx, asked) or await _decide(ctx, asked)
    redact.remember(found[1])
    return Lease(*found)


async def _decide(ctx: Context, asked: dict[str, str]) -> tuple[str, str]:
    """(id of the lease, value), decided and committed. Raises as `lease`."""
    assert ctx.tenant_id is not None
    secret_id, bound = asked["secret_id"], asked["endpoint"]
    refusal: Refusal | None = None
    value, lease_id = "", new_id("lease")
    async with ctx.transaction() as conn:
        row = await store.secret(conn, secret_id, lock="share")
        if row is None:
            raise errors.SecretNotFound(f"There is no secret {secret_id}.")
        running = await store.invocation(conn, asked["invocation_id"])
        live = await store.live_grants(conn, secret_id, asked["attachment_id"], lock=True)
        answer = rules.may_lease(row, live, running, asked["attachment_id"], bound, now())
        holds = InForce()
        if not isinstance(answer, Refusal) and running is not None:
            holds = await governance.service.in_force(ctx, row["workspace_id"])
            answer = await _governed(ctx, row, running, bound, holds) or await values.sealed(ctx) or answer
        if isinstance(answer, Refusal):
            refusal = answer
            ctx.record(events.refused(row["workspace_id"], asked, answer.reason, row["name"]))
        else:
            before = (
                await store.leased_before(conn, secret_id, asked["invocation_id"])
                if row["state"] == "rotating"
                else None
            )
            sealed = await values.stored(ctx, row, rules.leased_version(row, before))
            value = await values.open_stored(ctx, row, sealed)
            made = await store.add_lease(
                conn,
                {
                    **asked, "tenant_id": ctx.tenant_id, "id": lease_id, "workspace_id": row["workspace_id"],
                    "secret_version": sealed["version"], "grant_id": answer["id"], "trace_id": ctx.trace_id,
                },
                rules.LEASE_SECONDS,
            )  # fmt: skip
            ctx.record(events.leased(made, row["name"]))
            ctx.failpoint("treasury.lease.before_commit")
    if refusal is not None:
        raise _REFUSALS[refusal.reason](
            refusal.sentence[:1].upper() + refusal.sentence[1:] + ".", reason=refusal.reason
        )
    assert running is not None
    assert not isinstance(answer, Refusal)
    repeated.remember(ctx, asked, row, running, answer, sealed, holds.read)
    return lease_id, value


async def _governed(ctx: Context, row: Row, running: Row, bound: str, holds: InForce) -> Refusal | None:
    """What policy and kill switches say of this pack, this secret and this endpoint, now."""
    host, _, port = bound.rpartition(":")
    refusal = await governance.service.may_use(
        ctx,
        running["pack"],
        actions.SECRET_USE,
        Resource("secret", row["id"], row["workspace_id"], {"name": row["name"], "kind": row["kind"]}),
        holds=holds,
        members=tuple(who for who in (running["initiator_id"], running["originating_person"]) if who),
        secret=row["id"],
        pack=running["pack"],
        publisher=running["pack"].partition(".")[0],
        release=running["release_id"],
        tool=running["tool"],
        attachment=running["attachment_id"],
        host=host,
        port=int(port),
        endpoint=bound,
    )
    if refusal is None:
        return None
    killed = any(rule.startswith(governance.kills.PREFIX) for rule in refusal.rules)
    return Refusal(governance.kills.REASON if killed else UseRefused.code, "; ".join(refusal.reasons))


async def close_leases(ctx: Context, *, invocation_id: str) -> None:
    """Ends the leases of an invocation that is over; none is fine."""
    async with ctx.transaction() as conn:
        for row in await store.close_leases(conn, invocation_id):
            ctx.record(events.closed(row))
