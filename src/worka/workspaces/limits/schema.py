"""API shapes of limits."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worka.kernel.http import Answer, Body
from worka.workspaces.limits.rules import MOST

Scope = Literal["tenant", "workspace", "member"]
Name = Literal[
    "members",
    "pack_calls_per_minute",
    "pack_exposure",
    "packs_attached",
    "requests_per_minute",
    "tasks_at_once",
    "tasks_per_hour",
]
"""What can be limited; each is registered by the domain whose it is (a test compares)."""


class WishedLimit(Body):
    """Which limit, over what, and how much; `value` null takes the setting away. `revision`: only if it is at this one."""

    layer: Literal["tenant", "workspace"] = "workspace"
    scope: Scope = "workspace"
    name: Name
    value: int | None = Field(ge=0, le=MOST)
    member_id: str = Field("", max_length=60, description="one member of this workspace; empty: each")
    here: bool = Field(False, description="of the tenant's layer, over workspaces: this one, not each")
    revision: int | None = Field(None, ge=0, le=2_147_483_647)


class NewLimit(WishedLimit):
    """The same, with why: whoever is held back by it reads it."""

    reason: str = Field(min_length=1, max_length=1000)


class NewDeploymentLimit(Body):
    """A limit for every tenant, or for one."""

    tenant_id: str = Field("", max_length=60, description="one tenant; empty: every tenant")
    scope: Scope = "tenant"
    name: Name
    value: int | None = Field(ge=0, le=MOST)
    reason: str = Field(min_length=1, max_length=1000)
    revision: int | None = Field(None, ge=0, le=2_147_483_647)


class WishedDeploymentLimit(Body):
    """A limit that the operator thinks of, for every tenant or for one."""

    tenant_id: str = Field("", max_length=60, description="one tenant; empty: every tenant")
    scope: Scope = "tenant"
    name: Name
    value: int | None = Field(ge=0, le=MOST)


class TenantOver(Answer):
    """A tenant that would be over it: how much the most that is counted there uses, and how many of them are over."""

    tenant_id: str
    use: int
    over: int


class DeploymentLimitPreview(Answer):
    """A page of which tenants would be over a limit of the deployment: `tenants` were looked at, all others are on other
    pages."""

    name: str
    scope: str
    value: int | None
    items: list[TenantOver]
    tenants: int
    next: str | None


class LimitSetting(Answer):
    """A setting: who set it, where, when and why."""

    layer: str
    scope: str
    name: str
    value: int | None
    workspace_id: str
    member_id: str
    revision: int
    reason: str
    set_by: str
    set_by_name: str
    set_at: datetime


class LimitShown(Answer):
    """One limit over one scope: how much holds (null: none is set), how much is in use, and where it comes from."""

    name: str
    words: str
    scope: str
    limit: int | None
    use: int
    window_seconds: int
    over: str
    source: LimitSetting | None
    who_can_raise: str


class Limits(Answer):
    """The limits that hold for a member in a workspace, and every setting behind them."""

    workspace_id: str
    member_id: str
    items: list[LimitShown]
    settings: list[LimitSetting]


class Over(Answer):
    """Somebody who would be at or above the new limit."""

    scope: str
    id: str
    use: int


class LimitPreview(Answer):
    """What setting a limit would do now. `over`: who uses more than it; `allowed` is false where setting it is refused."""

    name: str
    scope: str
    value: int | None
    before: LimitSetting | None
    use: int
    over: list[Over]
    allowed: bool
    because: str
    sentence: str
