"""Policy sets as they would be with a text that is not in force."""

from __future__ import annotations

from dataclasses import replace

from worka import authorization
from worka.authorization import cedar, layers
from worka.authorization import floor as access_floor
from worka.authorization.cedar import Policies
from worka.authorization.layers import Layers
from worka.governance import rules
from worka.kernel.db import Connection


def floor_of(kind: str) -> Policies:
    """Today's shipped set of a kind."""
    return access_floor.policies() if kind == "access" else rules.floor()


def floor_name(kind: str) -> str:
    """Its version, as decisions name it."""
    return access_floor.version() if kind == "access" else f"floor.{rules.CURRENT_FLOOR}"


def raised(layered: Layers, scope: str, workspace_id: str | None) -> Layers:
    """The layers with the next version of one place."""
    if scope == layers.DEPLOYMENT:
        return replace(layered, deployment=layered.deployment + 1)
    if scope == layers.TENANT:
        return replace(layered, tenant=layered.tenant + 1)
    if scope != workspace_id:
        return layered
    return replace(layered, workspace=layered.workspace + 1, workspace_id=scope)


async def in_force(conn: Connection, tenant_id: str, kind: str, layered: Layers) -> Policies:
    """The set of these layers."""
    floor = access_floor.policies if kind == "access" else rules.floor
    return await authorization.service.cache.get(conn, tenant_id, kind, layered, floor)


async def with_text(
    conn: Connection, tenant_id: str, kind: str, layered: Layers, scope: str, text: str, number: int
) -> Policies:
    """The set of these layers with `text` in the place of `scope`, as its version `number`; the other layers stay.

    A text of another workspace than the layers' changes nothing here."""
    loaded = []
    for other, word, version in layered.parts():
        if layers.word(scope) == word:
            continue
        row = await authorization.store.policy(conn, kind, version, other)
        if row is None:
            raise LookupError(f"{kind} policy version {version} of the {word} is missing")
        loaded.append(cedar.load(row["text"], layers.prefix(kind, word, version)))
    loaded.append(cedar.load(text, layers.prefix(kind, layers.word(scope), number)))
    return cedar.join(floor_of(kind), *loaded)
