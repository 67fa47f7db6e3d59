"""Which limits there are, which of them hold for somebody, and how tight. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from worka.kernel.db import Connection
from worka.kernel.errors import Invalid

Row = Mapping[str, Any]
Scope = Literal["tenant", "workspace", "member"]
Layer = Literal["deployment", "operator", "tenant", "workspace"]
SCOPES: Final[tuple[Scope, ...]] = ("tenant", "workspace", "member")
LAYERS: Final[tuple[Layer, ...]] = ("deployment", "operator", "tenant", "workspace")
"""From the widest: what a layer sets binds every one after it."""
MOST: Final = 1_000_000_000


@dataclass(frozen=True)
class Use:
    """How much of a limit is in use now: in the whole tenant, by workspace, and by (workspace, member)."""

    tenant: int = 0
    workspaces: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def of(self, scope: Scope, workspace_id: str, member_id: str) -> int:
        """The use over one scope."""
        if scope == "tenant":
            return self.tenant
        if scope == "workspace":
            return self.workspaces.get(workspace_id, 0)
        return self.members.get((workspace_id, member_id), 0)


def counted(rows: Iterable[tuple[str, str, int]]) -> Use:
    """The use from (workspace, member, how many): sums over each scope."""
    workspaces: Counter[str] = Counter()
    members: Counter[tuple[str, str]] = Counter()
    for workspace_id, member_id, number in rows:
        workspaces[workspace_id] += number
        members[workspace_id, member_id] += number
    return Use(workspaces.total(), workspaces, members)


Wait = Callable[[Connection, Scope, str, str], Awaitable[float]]
CountUse = Callable[[Connection], Awaitable[Use]]


@dataclass(frozen=True)
class Limit:
    """One thing that can be limited, registered by the domain whose it is. `scopes`: what it is counted over; `seconds`:
    the window of a rate, 0 for what is there at once; `over`: what becomes of one too many; `count`: how its use is found,
    in a transaction of the tenant."""

    name: str
    words: str
    scopes: tuple[Scope, ...]
    seconds: int
    over: str
    count: CountUse
    least: int = 0
    """The least value that can be set."""
    wait: Wait | None = None
    """Of a rate: in how many seconds there is room again, over a scope of a workspace and a member."""


_registry: dict[str, Limit] = {}


def add(limit: Limit) -> None:
    """Registers a limit, once."""
    if _registry.setdefault(limit.name, limit) != limit:
        raise ValueError(f"the limit {limit.name} is registered twice")


def known(name: str) -> Limit:
    """The limit of this name. Raises Invalid."""
    if name not in _registry:
        raise Invalid(f"{name[:60]!r} is no limit; there are {', '.join(sorted(_registry))}.", field="name")
    return _registry[name]


def all_limits() -> list[Limit]:
    """Every limit, by name."""
    return [_registry[name] for name in sorted(_registry)]


@dataclass(frozen=True)
class Bound:
    """The limit that holds over one scope, with the setting that it comes from."""

    name: str
    scope: Scope
    value: int
    row: Row

    @property
    def source(self) -> str:
        """The layer that set it."""
        return str(self.row["layer"])


def holding(rows: Iterable[Row], name: str, workspace_id: str, member_id: str) -> dict[Scope, Bound]:
    """The tightest setting of each scope that holds for a member in a workspace. Of equals the widest layer's, which the
    narrower ones could not raise."""
    found: dict[Scope, Bound] = {}
    for row in sorted(rows, key=lambda row: LAYERS.index(row["layer"])):
        if row["name"] != name or not concerns(row, workspace_id, member_id):
            continue
        known = found.get(row["scope"])
        if known is None or row["value"] < known.value:
            found[row["scope"]] = Bound(name, row["scope"], int(row["value"]), row)
    return found


def concerns(row: Row, workspace_id: str, member_id: str) -> bool:
    """Whether a setting is about this workspace and this member."""
    return row["workspace_id"] in ("", workspace_id) and row["member_id"] in ("", member_id)


def ceiling(
    rows: Iterable[Row], layer: Layer, scope: Scope, name: str, workspace_id: str, member_id: str
) -> Row | None:
    """The setting that a new one may not exceed: the tightest of the layers above over the same scope or a wider one, and
    of its own layer over a wider one. None: nothing is above it."""
    above = [
        row
        for row in rows
        if row["name"] == name
        and concerns(row, workspace_id, member_id)
        and SCOPES.index(row["scope"]) <= SCOPES.index(scope)
        and (
            LAYERS.index(row["layer"]) < LAYERS.index(layer)
            or (row["layer"] == layer and SCOPES.index(row["scope"]) < SCOPES.index(scope))
        )
    ]
    return min(above, key=lambda row: int(row["value"]), default=None)


def full(bounds: Mapping[Scope, Bound], used: Mapping[str, int]) -> Bound | None:
    """The first bound, from the narrowest, that leaves no room for one more: who is nearest to it can do most about it."""
    for scope in reversed(SCOPES):
        bound = bounds.get(scope)
        if bound is not None and used[scope] >= bound.value:
            return bound
    return None


def within(scope: str) -> str:
    """Where something is counted, as a sentence goes on: 3 tasks started in an hour *by this member*."""
    return {"tenant": "in the whole tenant", "workspace": "in this workspace", "member": "by this member"}[scope]


def said(bound: Bound) -> str:
    """Where a bound comes from, in words: its layer, who set it, when, and why."""
    row = bound.row
    by = row["set_by_name"] or row["set_by"]
    return f"set for the {row['layer']} by {by} (revision {row['revision']}): {row['reason']}"


def who_raises(source: str) -> str:
    """Who can raise a limit of this layer, in words."""
    return {
        "deployment": "the operator of this deployment",
        "operator": "the operator of this deployment",
        "tenant": "an owner of every workspace of the tenant",
        "workspace": "an owner of this workspace",
    }[source]


def way_out(bound: Bound, wait: int) -> str:
    """What helps who is held back. Whoever can raise it reads the same sentence: it names them, it does not send them."""
    of = f"--member {bound.row['member_id']}" if bound.row["member_id"] else f"--scope {bound.scope}"
    here = " --here" if bound.row["workspace_id"] else ""
    layer = {
        "deployment": " --deployment",
        "operator": " --deployment --tenant TENANT",
        "tenant": f" --layer tenant{here}",
    }
    who = who_raises(bound.source)
    again = f"Try again in {wait} second{'s' * (wait != 1)}. " if wait else ""
    return (
        f"{again}{who[0].upper()}{who[1:]} can raise it: `worka limits set {bound.name} NUMBER {of}"
        f"{layer.get(bound.source, '')} --reason WHY` (in the console: Governance); `worka limits show` has who set it and why."
    )
