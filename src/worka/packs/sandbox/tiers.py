"""How much of the machine a pack shares, in three tiers: what a deployment, a tenant or a workspace can require. Pure.

`shared`: a sandbox (namespaces, system-call filter), but the kernel, and the user or some limits with others.
`separate`: besides that a uid of its own, and control groups for memory, processes and processor.
`strong`: besides that a kernel of its own (gVisor): the host's kernel is not asked for what the pack asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Tier = Literal["strong", "separate", "shared"]
TIERS: Final[tuple[Tier, ...]] = ("strong", "separate", "shared")
"""By how much is shared: a requirement is met by its own place and every one before it."""
CONTROLLERS: Final = ("cpu", "memory", "pids")
KERNEL: Final = "runsc"
FILTERED: Final = "bwrap"
CONTAINER: Final = "runc"
Runtime = Literal["sandbox", "container"]
RUNTIMES: Final[tuple[Runtime, ...]] = ("sandbox", "container")
"""What starts a pack: bubblewrap, or a container engine's OCI runtime. A kernel of its own is gVisor's in both."""


def tier_of(isolation: Mapping[str, Any]) -> Tier | None:
    """The tier of an isolation as a launcher reports it; None for one that isolates nothing."""
    if isolation.get("driver") not in (KERNEL, FILTERED, CONTAINER) or not isolation.get("seccomp"):
        return None
    _, _, controllers = str(isolation.get("cgroup") or "").partition(":")
    if not isolation.get("uid_separated") or not set(CONTROLLERS) <= set(controllers.split(",")):
        return "shared"
    return "strong" if isolation["driver"] == KERNEL else "separate"


def stricter(one: str, other: str) -> Tier:
    """The requirement that meets both."""
    return TIERS[min(_place(one), _place(other))]


def meets(found: str | None, required: str) -> bool:
    """Whether a tier is as good as the required one."""
    return found is not None and _place(found) <= _place(required)


def allowed(exposure: int) -> Tier:
    """The requirement behind a limit of `pack_exposure`: 0 nothing, 1 the kernel, 2 (or more) the kernel and the user."""
    return TIERS[min(max(exposure, 0), len(TIERS) - 1)]


def _place(tier: str) -> int:
    return [*TIERS].index(tier)  # type: ignore[arg-type]
