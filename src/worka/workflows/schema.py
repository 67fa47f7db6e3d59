"""The shape of a workflow definition, and of what the API takes.

A definition is data. Arguments of a step are JSON in which four small objects are replaced at run time, and nothing
else (no expressions, no evaluation):

- `{"$input": "since"}`: a typed input; absent and without default, the key that holds it is left out;
- `{"$step": "log", "path": "structured.items.0.url"}`: a value from an earlier step's result
  (`text`, `structured`, `is_structured`; for `publish_view`: `view_id`, `revision`);
- `{"$task": "id"}`: `id`, `title`, `workspace_id` or `trace_id` of the task;
- `{"$join": [..]}`: the parts as one text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from worka.kernel.http import Body

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_./-]+$", max_length=200)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(_Shape):
    """A team member that may take part: `*` is any one of the workspace; `tools` are the only ones it may call here."""

    name: str = Field(min_length=1, max_length=100)
    tools: tuple[ToolName, ...] = ()


class ToolStep(_Shape):
    """One governed call of a pack's tool. `seconds`: how long it may be silent before it counts as stalled."""

    kind: Literal["tool"]
    name: Name
    title: str = ""
    tool: ToolName
    arguments: dict[str, Any] = Field(default_factory=dict)
    seconds: int = Field(default=120, ge=1, le=3600)


class PublishViewStep(_Shape):
    """Writes the next revision of a document view. `document` resolves to its text, kept as untrusted data."""

    kind: Literal["publish_view"]
    name: Name
    view: Name
    title: Any
    document: Any
    format: Literal["markdown", "text"] = "markdown"
    links: dict[str, Any] = Field(default_factory=dict)
    seconds: int = Field(default=30, ge=1, le=3600)


Step = Annotated[ToolStep | PublishViewStep, Field(discriminator="kind")]
Outcome = Literal["succeeded", "failed", "cancelled"]


class Limits(_Shape):
    """`steps`: how many may run; `seconds`: how long workers may work on the task; waits and the queue do not count."""

    steps: int = Field(default=20, ge=1, le=50)
    seconds: int = Field(default=3600, ge=1, le=86_400)


class Definition(_Shape):
    """One version of a workflow. The version number is given on saving; the digest is over this document."""

    schema_version: Literal["worka.workflow.v1"] = "worka.workflow.v1"
    name: Name
    title: Any = ""
    """A text, or one of the replaced objects (only `$input` and `$join`): what the task is called."""
    description: str = ""
    inputs: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    members: tuple[Member, ...] = Field(min_length=1)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=50)
    outcomes: tuple[Outcome, ...] = ("succeeded", "failed", "cancelled")
    limits: Limits = Field(default_factory=Limits)


class SaveWorkflow(Body):
    """Body of POST /v1/workspaces/{workspace_id}/workflows. `definition` is checked field by field by the use case."""

    definition: dict[str, Any]


class CreateTask(Body):
    """Body of POST /v1/workspaces/{workspace_id}/tasks. Without `version` the newest is taken."""

    workflow: str = Field(min_length=1, max_length=63)
    version: int | None = Field(default=None, ge=1, le=2_147_483_647)
    inputs: dict[str, Any] = Field(default_factory=dict)
    member_id: str


class CancelTask(Body):
    """Body of POST /v1/tasks/{task_id}/cancel."""

    reason: str = Field(default="", max_length=500)


class ResolveTask(Body):
    """Body of POST /v1/tasks/{task_id}/resolve. What became of the effect whose outcome nobody recorded."""

    outcome: Literal["retry", "failed"]
    """`retry`: run it again with the same idempotency key; `failed`: end the task."""
    note: str = Field(default="", max_length=500)
