"""Leases that are asked for again on the same facts: one statement, one exchange, one commit.

A lease rests on facts alone: the secret, the grant, the call, the versions of policy, the kill switches, the seal. What was
decided on them once is kept here with them, and with the value as it lies sealed; never with the value itself. The next
lease hands all of it to the database, which looks at each of those facts anew, under the same locks, in the statement that
writes the lease, its event and its ledger row. If anything at all is different, it writes nothing, and the lease is decided
the whole way. So nothing that was revoked is ever leased from memory. Whose account a secret is of never changes; for whom a
call is made is among the facts.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from worka.kernel import failpoints
from worka.kernel.context import Context, Principal
from worka.kernel.ids import new_id
from worka.treasury import events, rules, store, values

Row = dict[str, Any]
Asked = dict[str, str]
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Decided:
    """What a lease was given on. `said` are the facts that the database compares, as JSON; `sealed` is the version's row, sealed."""

    secret: Row
    grant_id: str
    sealed: Row
    said: str


_Key = tuple[str | None, Principal, str, str, str]
_decided: OrderedDict[_Key, Decided] = OrderedDict()


def _key(ctx: Context, asked: Asked) -> _Key:
    return ctx.tenant_id, ctx.principal, asked["secret_id"], asked["attachment_id"], asked["endpoint"]


def remember(
    ctx: Context,
    asked: Asked,
    secret: Row,
    call: Row,
    grant: Mapping[str, Any],
    sealed: Row,
    in_force: Mapping[str, Any],
) -> None:
    """After its commit: this lease was given on these rows and on what was in force. Of a secret with two valid values each
    call is asked for its own."""
    if secret["state"] != "active" or sealed["version"] != secret["version"]:
        return
    said = {
        "version": secret["version"], "name": secret["name"], "kind": secret["kind"],
        "workspace": secret["workspace_id"], "pack": call["pack"], "release": call["release_id"], "tool": call["tool"],
        "initiator": call["initiator_id"], "behind": call["originating_person"], **in_force,
    }  # fmt: skip
    kept = {name: secret[name] for name in ("tenant_id", "id", "name", "workspace_id", "version")}
    _decided[_key(ctx, asked)] = Decided(kept, grant["id"], sealed, json.dumps(said))
    while len(_decided) > _KEPT:
        _decided.popitem(last=False)


async def give(ctx: Context, asked: Asked) -> tuple[str, str] | None:
    """(id of the lease, value), where the facts are what they were; None: it has to be decided. Raises AuditUnwritable."""
    decided = _decided.get(key := _key(ctx, asked))
    if decided is None or ctx.tenant_id is None:
        return None
    sealer = values.sealer_of(ctx)
    data_key = sealer.held(ctx.tenant_id, "data", decided.sealed["key_version"])
    if data_key is None or sealer.held(ctx.tenant_id, "audit") is None:
        return None
    # It opened before, and the statement holds it against what lies there now.
    value = values.unlocked(data_key, decided.secret, decided.sealed)
    lease = {
        **asked, "tenant_id": ctx.tenant_id, "id": new_id("lease"), "workspace_id": decided.secret["workspace_id"],
        "secret_version": decided.secret["version"], "grant_id": decided.grant_id, "trace_id": ctx.trace_id,
    }  # fmt: skip
    failpoints.hit("treasury.lease.before_commit")
    event = events.leased(lease, decided.secret["name"])
    again = partial(
        store.lease_again, lease=lease, sealed=decided.sealed, said=decided.said, seconds=rules.LEASE_SECONDS
    )
    if not await ctx.once(event, again):
        _decided.pop(key, None)
        return None
    # A lease beside this one may have found something different, and taken it away.
    if key in _decided:
        _decided.move_to_end(key)
    return lease["id"], value
