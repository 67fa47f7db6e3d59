"""The layers of policy: the shipped floor, what the deployment adds, the tenant's, the workspace's. Each only forbids.

Pure. A decision names all of them: `floor.1+d2+3+w5` is the shipped floor 1, the deployment's second version, the
tenant's third and the workspace's fifth; a layer that has none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEPLOYMENT = "*"
TENANT = ""
_NAME = re.compile(r"^floor\.(\d+)(?:\+d(\d+))?(?:\+(\d+))?(?:\+w(\d+))?$")


@dataclass(frozen=True)
class Layers:
    """The version of each layer of one kind of policy (0: it has none); `workspace_id` is whose the last one is."""

    deployment: int = 0
    tenant: int = 0
    workspace: int = 0
    workspace_id: str | None = None

    def version(self, scope: str) -> int:
        """The version of a place: `*` the deployment, empty the tenant, else the workspace's."""
        return {DEPLOYMENT: self.deployment, TENANT: self.tenant}.get(scope, self.workspace)

    def name(self, floor: str) -> str:
        """As it stands in a decision; `floor` is `floor.<n>`."""
        parts = [f"d{self.deployment}"] if self.deployment else []
        parts += [str(self.tenant)] if self.tenant else []
        parts += [f"w{self.workspace}"] if self.workspace else []
        return "+".join([floor, *parts])

    def parts(self) -> list[tuple[str, str, int]]:
        """(scope, word of its rule ids, version) of every layer that has one, from the top."""
        found = [
            (DEPLOYMENT, "deployment", self.deployment),
            (TENANT, "tenant", self.tenant),
            (self.workspace_id or "", "workspace", self.workspace),
        ]
        return [part for part in found if part[2]]


def prefix(kind: str, word: str, version: int) -> str:
    """What the rule ids of a layer begin with: `governance/tenant.3`."""
    return f"{kind}/{word}.{version}"


def word(scope: str) -> str:
    """`deployment`, `tenant` or `workspace`."""
    return {DEPLOYMENT: "deployment", TENANT: "tenant"}.get(scope, "workspace")


def parse(name: str, workspace_id: str | None) -> tuple[int, Layers]:
    """(number of the shipped floor, layers) of `floor.1+d2+3+w5`, in the place of the decision. Raises ValueError."""
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"{name!r} is no policy version")
    found = [int(part or 0) for part in match.groups()]
    return found[0], Layers(found[1], found[2], found[3], workspace_id if found[3] else None)


@dataclass(frozen=True)
class InForce:
    """What holds for a decision, read in one statement: the layers of both kinds, and the kill switches that are on."""

    access: Layers = field(default_factory=Layers)
    governance: Layers = field(default_factory=Layers)
    kills: tuple[dict[str, Any], ...] = ()
    read: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """{versions, kills} as the statement gave them: for comparing with a later one of the same workspace."""

    def of(self, kind: str) -> Layers:
        """The layers of `access` or `governance`."""
        return self.access if kind == "access" else self.governance


def in_force(versions: Mapping[str, int] | None, kills: Any, workspace_id: str | None) -> InForce:
    """From what the statement gives: `versions` by kind and scope (`access`, then the scope after a space)."""
    known = versions or {}

    def of(kind: str) -> Layers:
        here = known.get(f"{kind} {workspace_id}", 0) if workspace_id else 0
        return Layers(
            known.get(f"{kind} {DEPLOYMENT}", 0), known.get(f"{kind} ", 0), here, workspace_id if here else None
        )

    return InForce(of("access"), of("governance"), tuple(kills or ()), {"versions": versions, "kills": kills})
