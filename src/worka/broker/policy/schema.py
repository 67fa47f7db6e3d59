"""What the API takes and gives for the policy on destinations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from worka.broker.policy.rules import MOST_ITEMS
from worka.kernel.http import Answer, Body

Scope = Literal["tenant", "workspace"]
Items = Annotated[list[Any], Field(max_length=MOST_ITEMS)]


class EgressPolicySettings(Body):
    """What a place says of destinations; an item is a host, `*.host`, `*`, or {host, port, methods, paths, packs}. `refuse`: what
    is refused. `except`: what is let through of that all the same. `only`: where it is given, whatever is not on it is
    refused."""

    refuse: Items | None = None
    except_: Items | None = Field(None, alias="except")
    only: Items | None = None


class NewEgressPolicy(Body):
    """A whole new version of a place's policy. `over`: the version that its writer saw; where another is the newest meanwhile,
    nothing is changed."""

    scope: Scope = "workspace"
    settings: EgressPolicySettings
    note: str = Field("", max_length=2000)
    over: int | None = Field(None, ge=0, le=2_147_483_647)


class EgressPolicyLayer(Answer):
    """A version of one place's policy; `words` say each item."""

    scope: Scope
    version: int
    settings: dict[str, Any]
    words: list[str]
    note: str
    created_by: str
    approved_by: str
    created_at: datetime


class EgressPolicyChange(Answer):
    """A change that lets more through, while it waits for a second person (`open`), is in force as `version`, or closed."""

    id: str
    workspace_id: str
    scope: Scope
    base_version: int
    settings: dict[str, Any]
    words: list[str]
    note: str
    state: Literal["open", "in_force", "closed"]
    outcome: str
    since: datetime
    approval_id: str | None
    version: int | None
    proposed_by: str
    created_at: datetime


class EgressPolicy(Answer):
    """What holds here, the tenant's first: a request has to be let through by every layer. `changes` wait."""

    layers: list[EgressPolicyLayer]
    changes: list[EgressPolicyChange]


class SavedEgressPolicy(EgressPolicyLayer):
    """The version that was saved, and holds from the next call on."""

    state: Literal["in_force"] = "in_force"
    loosens: bool


class WaitingEgressPolicy(EgressPolicyChange):
    """The change that waits for a second person."""

    loosens: bool
