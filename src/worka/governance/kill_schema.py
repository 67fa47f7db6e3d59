"""API shapes of kill switches, and of taking a release or a secret away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from worka.kernel.http import Answer, Body

Exempt = Annotated[str, Field(max_length=64)]
KillKind = Literal["release", "secret", "destination", "member", "workspace", "tenant"]


class NewKill(Body):
    """What is stopped, and why: the reason is what whoever is stopped reads. `everywhere`: in the whole tenant."""

    kind: KillKind
    subject: str = Field(min_length=1, max_length=300)
    reason: str = Field(min_length=1, max_length=1000)
    everywhere: bool = False


class KillTarget(Body):
    """What would be stopped."""

    kind: KillKind
    subject: str = Field(min_length=1, max_length=300)
    everywhere: bool = False
    days: int = Field(7, ge=1, le=90, description="how far back recorded calls are looked through")


class TenantKill(Body):
    """What the operator stops in a tenant."""

    tenant_id: str = Field(max_length=60)
    kind: KillKind
    subject: str = Field(min_length=1, max_length=300)
    reason: str = Field(min_length=1, max_length=1000)


class Lift(Body):
    """A stage of a lift: `trial` for the workspaces or members named in `exempt`, `all` after it, `none` takes it back."""

    stage: Literal["trial", "all", "none"]
    exempt: list[Exempt] = Field(default_factory=list, max_length=100)
    reason: str = Field(min_length=1, max_length=1000)
    skip_trial: bool = False


class TenantLift(Lift):
    """A stage of a lift by the operator."""

    tenant_id: str = Field(max_length=60)
    kill_id: str = Field(max_length=60)


class TouchedAttachment(Answer):
    """An attachment that serves, and would not."""

    id: str
    pack: str
    workspace_id: str


class TouchedTask(Answer):
    """A task that is not over, and would be stopped at its next call."""

    id: str
    title: str
    state: str
    workspace_id: str


class Hanging(Answer):
    """What hangs on a member, or goes to a destination, beside packs and tasks."""

    what: str
    id: str
    name: str
    workspace_id: str | None


class Touched(Answer):
    """What a kill switch has to do with; complete."""

    name: str
    workspaces: list[str]
    attachments: list[TouchedAttachment]
    tasks: list[TouchedTask]
    calls: list[str]
    hangs: list[Hanging] = Field(default_factory=list)


class Counts(Answer):
    """How much a kill switch had to do with when it was set; of what hangs on it, how much of each kind."""

    workspaces: int
    attachments: int
    tasks: int
    calls: int
    hangs: dict[str, int]


class RecordedCall(Answer):
    """A call that was made, and would have been refused."""

    id: str
    tool: str
    state: str
    workspace_id: str
    task_id: str | None
    at: datetime


class Recorded(Answer):
    """The calls of the last `days` that would have been refused: how many, and the newest of them."""

    days: int
    total: int
    calls: list[RecordedCall]


class Elsewhere(Answer):
    """How much of it lies in workspaces that the reader does not see; of the recorded calls, of the newest."""

    workspaces: int
    attachments: int
    tasks: int
    calls: int
    recorded: int


class WithdrawalPreview(Touched):
    """What taking a release or a secret away would touch, and which calls it would have refused. Nothing is taken away. The
    sentence and `recorded.total` count all of it; the lists hold what lies in workspaces that the reader sees."""

    elsewhere: Elsewhere

    kind: Literal["release", "secret"]
    subject: str
    state: str
    recorded: Recorded
    sentence: str


class KillPreview(Touched):
    """What a kill switch would touch, and which calls it would have refused. Nothing is stopped."""

    recorded: Recorded

    kind: KillKind
    subject: str
    workspace_id: str | None


class Kill(Answer):
    """A kill switch: `on`, on `trial` (it does not hold for those in `exempt`), or `lifted`."""

    id: str
    kind: KillKind
    subject: str
    workspace_id: str | None
    reason: str
    state: Literal["on", "trial", "lifted"]
    exempt: list[str]
    receipt: Touched
    receipt_cut: bool = Field(
        description="the receipt shows this workspace's part alone: the rest is for who could set it in the whole tenant;"
        " to the deployment's operator it shows nothing"
    )
    counts: Counts = Field(description="how much the receipt names; to the deployment's operator, how much there is")
    set_by: str
    set_by_name: str
    at: datetime
    moved_by: str | None
    moved_at: datetime | None
    move_reason: str
    by_operator: bool
    sentence: str
    who_can_lift: str
