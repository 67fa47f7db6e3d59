"""Shapes of the AuthZEN Authorization API 1.0. Members that we do not know are ignored, as it demands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from worka.kernel.http import Answer

Properties = dict[str, Any]
Type = Annotated[str, Field(min_length=1, max_length=80)]
Id = Annotated[str, Field(min_length=1, max_length=250)]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
MOST_EVALUATIONS = 200


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Subject(_Asked):
    """Who would act: a principal by its kind and id. `properties.on_behalf_of` names the person behind it."""

    type: Type
    id: Id
    properties: Properties = Field(default_factory=dict)


class Action(_Asked):
    """What would be done: an action of docs/reference/actions.md. Its properties are facts of the request."""

    name: Type
    properties: Properties = Field(default_factory=dict)


class Thing(_Asked):
    """What it would be done to. `properties.workspace_id` says where, when its id does not."""

    type: Type
    id: Id
    properties: Properties = Field(default_factory=dict)


class SomeSubject(_Asked):
    """Subjects of a type; an id is ignored."""

    type: Type
    properties: Properties = Field(default_factory=dict)


class SomeThing(_Asked):
    """Resources of a type; an id is ignored."""

    type: Type
    properties: Properties = Field(default_factory=dict)


class Evaluation(_Asked):
    """One question."""

    subject: Subject
    action: Action
    resource: Thing
    context: Properties = Field(default_factory=dict)


class Options(_Asked):
    """How a batch is executed; other options are ignored."""

    evaluations_semantic: Semantic = "execute_all"


class Evaluations(_Asked):
    """Several questions; what stands at the top is the default of each. Without `evaluations` it is one question."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Thing | None = None
    context: Properties = Field(default_factory=dict)
    evaluations: list[Properties] = Field(default_factory=list, max_length=MOST_EVALUATIONS)
    options: Options = Field(default_factory=Options)


class Paging(_Asked):
    """Which part of the results."""

    token: str | None = Field(None, max_length=2000)
    limit: int | None = Field(None, ge=0)
    properties: Properties = Field(default_factory=dict)


class SubjectSearch(_Asked):
    """Who may do this?"""

    subject: SomeSubject
    action: Action
    resource: Thing
    context: Properties = Field(default_factory=dict)
    page: Paging | None = None


class ResourceSearch(_Asked):
    """On what may this one do this?"""

    subject: Subject
    action: Action
    resource: SomeThing
    context: Properties = Field(default_factory=dict)
    page: Paging | None = None


class ActionSearch(_Asked):
    """What may this one do on this?"""

    subject: Subject
    resource: Thing
    context: Properties = Field(default_factory=dict)
    page: Paging | None = None


class Decided(Answer):
    """The answer: `context` says why, and which decision record holds it."""

    decision: bool
    context: dict[str, Any] | None = None


class DecidedAll(Answer):
    """The answers, in the order of the questions; or the one answer to one question."""

    evaluations: list[Decided] | None = None
    decision: bool | None = None
    context: dict[str, Any] | None = None


class Paged(Answer):
    """Where the results go on; an empty token says that these are the last."""

    next_token: str
    count: int


class FoundEntity(Answer):
    """A subject or a resource."""

    type: str
    id: str


class FoundAction(Answer):
    """An action."""

    name: str


class FoundEntities(Answer):
    """Results of a search for subjects or resources."""

    page: Paged
    results: list[FoundEntity]


class FoundActions(Answer):
    """Results of a search for actions."""

    page: Paged
    results: list[FoundAction]


class Metadata(Answer):
    """Where the endpoints of this decision point are."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str
