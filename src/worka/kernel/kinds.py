"""Who may act, and on what: the kinds of principals and the types of resources, registered by the domains that own them.

A resource type says how one of its things is found and how they are listed, with the very facts that its use cases ask
with: a question about a thing and an attempt on it look at the same facts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worka.kernel.context import Resource
from worka.kernel.db import Connection

Find = Callable[[Connection, str, str], Awaitable[Resource | None]]
"""(connection, workspace, id) -> the thing, or None. What is found by its id alone may lie in another workspace of the
tenant, and says so; what is found by its name is looked for in this one."""
Listing = Callable[[Connection, str, str | None, int], Awaitable[list[Resource]]]
"""(connection, workspace, id of the last one seen, limit) -> the next ones, in the order of the domain's own lists."""


@dataclass(frozen=True)
class PrincipalKind:
    """`prefix` begins its ids; `credential` is how it proves who it is; `later` says what has to come first, while there
    is no such principal yet."""

    name: str
    prefix: str
    doc: str
    credential: str
    later: str = ""


@dataclass(frozen=True)
class ResourceType:
    """`find` and `page` are None for what has no instances that could be asked for one by one (`*` is asked instead)."""

    name: str
    doc: str
    find: Find | None = None
    page: Listing | None = None
    later: str = ""


_principals: dict[str, PrincipalKind] = {}
_resources: dict[str, ResourceType] = {}


def register(*kinds: PrincipalKind | ResourceType) -> None:
    """Adds kinds; the same name with another meaning is an error."""
    for kind in kinds:
        if isinstance(kind, PrincipalKind):
            known: PrincipalKind | ResourceType = _principals.setdefault(kind.name, kind)
        else:
            known = _resources.setdefault(kind.name, kind)
        if known != kind:
            raise ValueError(f"the kind {kind.name} is registered twice with different meanings")


def principal_kinds() -> list[PrincipalKind]:
    """Every kind of principal, by name."""
    return [_principals[name] for name in sorted(_principals)]


def kind_of(principal_id: str) -> PrincipalKind | None:
    """The kind whose ids begin like this one."""
    prefix, _, rest = principal_id.partition("_")
    return next((kind for kind in _principals.values() if rest and kind.prefix == prefix), None)


def resource_types() -> list[ResourceType]:
    """Every type of resource, by name."""
    return [_resources[name] for name in sorted(_resources)]


def resource_type(name: str) -> ResourceType | None:
    """The type of this name, if it is registered."""
    return _resources.get(name)


def count() -> int:
    """How many kinds of both sorts are registered."""
    return len(_principals) + len(_resources)
