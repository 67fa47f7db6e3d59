"""API shapes of governance."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worka.governance.kill_schema import Hanging
from worka.identity.schema import Email
from worka.kernel.http import Answer, Body

Kind = Literal["governance", "access"]


class NewPolicy(Body):
    """A whole new text for the tenant's policy of a kind; an empty one goes back to the shipped floor alone."""

    kind: Kind
    text: str = Field(max_length=64_000)
    note: str = Field("", max_length=2000)


class CheckedPolicy(Body):
    """A text that is looked at, and not saved."""

    kind: Kind
    text: str = Field(max_length=64_000)
    scope: Literal["tenant", "workspace"] = "tenant"


class TriedPolicy(Body):
    """A text in the place of the deployment's, tried on the record of one tenant."""

    tenant_id: str = Field(max_length=60)
    kind: Kind
    text: str = Field(max_length=64_000)


class CheckedDeploymentPolicy(Body):
    """A text of the deployment that is looked at, and not saved."""

    kind: Kind
    text: str = Field(max_length=64_000)


class PolicyVersion(Answer):
    """A version of a place's policy, without its text. `scope` is empty for the tenant, `*` for the deployment, else the
    workspace; `approved_by` the people who approved it: empty where one person's word was enough."""

    kind: Kind
    version: int
    note: str
    owner_person_id: str
    created_by: str
    created_at: datetime
    scope: str = ""
    approved_by: str = ""


class SavedPolicy(PolicyVersion):
    """The version that was saved, and is in force."""

    state: Literal["in_force"] = "in_force"


class Proposal(Answer):
    """A change of policy that waits for its second person (`open`), is `in_force` as `version`, or `closed`."""

    id: str
    workspace_id: str
    kind: Kind
    scope: str
    base_version: int
    note: str
    digest: str
    state: Literal["open", "in_force", "closed"]
    outcome: str
    since: datetime
    approval_id: str | None
    version: int | None
    proposed_by: str
    created_at: datetime


class ProposalText(Proposal):
    """A proposed change with its text and how it differs from what it was written over."""

    text: str
    difference: list[str]


class PolicyFault(Answer):
    """What is wrong with a statement (0: with the text as a whole)."""

    statement: int
    line: int
    message: str


class PolicyCheck(Answer):
    """What saving a text would say and do."""

    ok: bool
    kind: Kind
    scope: str
    base_version: int
    faults: list[PolicyFault]
    difference: list[str]
    would: str
    warnings: list[str] = Field(default_factory=list, description="what whoever saves it should know before")


class BreakGlass(Answer):
    """A place has the floor alone until then."""

    id: str
    reason: str
    opened_by: str
    opened_at: datetime
    until: datetime


class PolicyLayer(Answer):
    """One layer of what holds in a workspace."""

    kind: Kind
    layer: Literal["floor", "deployment", "tenant", "workspace"]
    scope: str
    name: str
    version: int
    text: str
    in_force: bool
    note: str = ""
    owner_person_id: str | None = None
    created_at: datetime | None = None
    approved_by: str = ""
    break_glass: BreakGlass | None = None


class PolicyText(Answer):
    """A version with its text and the shipped floor under it; version 0 is the floor alone."""

    kind: Kind
    version: int
    text: str
    note: str = ""
    owner_person_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    scope: str = ""
    approved_by: str | None = None
    floor_version: str
    floor_text: str
    break_glass: BreakGlass | None = None


class Acting(Answer):
    """The caller."""

    kind: str
    id: str
    name: str


class Access(Answer):
    """What the caller may do in a workspace."""

    principal: Acting
    role: str | None
    approver: bool
    permissions: dict[str, bool]
    also: list[str]
    actions: dict[str, bool]
    matrix: dict[str, Any]


class RuleText(Answer):
    """A rule that decided, with its text of that day."""

    rule: str
    text: str | None
    source: str


class Decision(Answer):
    """Why something was allowed, denied or asked about. The second half is for readers of evidence."""

    id: str
    verdict: Literal["allow", "deny", "ask"]
    action: str
    resource_type: str
    layer: str
    reasons: list[str]
    approval_rules: list[Any]
    remedy: str
    trace_id: str
    at: datetime
    reader: Literal["evidence", "concerned"]
    killed_by: str | None = None
    workspace_id: str | None = None
    principal_kind: str | None = None
    principal_id: str | None = None
    originating_person: str | None = None
    resource_id: str | None = None
    rules: list[str] | None = None
    access_version: str | None = None
    governance_version: str | None = None
    asked_by: str | None = None
    inputs: dict[str, Any] | None = None
    policy: list[RuleText] | None = None
    replay: dict[str, Any] | None = None


class DryRun(Body):
    """What is tried: a text in the place of the tenant's or the workspace's, or a role that somebody would have here (`none`:
    no membership), or both."""

    kind: Kind | None = None
    text: str = Field("", max_length=64_000)
    scope: Literal["tenant", "workspace"] = "tenant"
    role_of: str | None = Field(None, max_length=60)
    role: Literal["owner", "admin", "member", "viewer", "none"] | None = None


class Flip(Answer):
    """A recorded decision that would be another one (`to`) than what policy says of it `today`, or, with `earlier`, than was
    recorded: an earlier change did that, not what is tried. Or it cannot be evaluated again for what is `missing`."""

    decision_id: str
    at: datetime
    workspace_id: str | None
    principal_kind: str
    principal_id: str
    action: str
    resource_type: str
    resource_id: str
    from_: str = Field(alias="from", serialization_alias="from")
    from_rules: list[str]
    to: str | None
    to_rules: list[str]
    rules: list[str]
    reasons: list[str]
    today: str | None
    today_rules: list[str]
    earlier: bool
    missing: str | None


class DryRunPage(Answer):
    """A page of a dry run: `scanned` decisions were evaluated, all others of the window are on other pages."""

    items: list[Flip]
    scanned: int
    counts: dict[str, int]
    unreconstructed: int
    since: datetime
    until: datetime
    sentence: str
    warnings: list[str] = Field(default_factory=list, description="what whoever saves the text should know before")
    next: str | None


class FlipCount(Answer):
    """How many recorded decisions about an action would be others."""

    action: str
    from_: str = Field(alias="from", serialization_alias="from")
    to: str
    count: int


class TenantDryRun(Answer):
    """A page of a dry run of the deployment's policy on one tenant's record: how many decisions would be others, by action;
    whose they are and about what is the tenant's to see. All others of the window are on other pages."""

    tenant_id: str
    items: list[FlipCount]
    scanned: int
    unreconstructed: int
    since: datetime
    until: datetime
    next: str | None


Verdict = Literal["allow", "deny", "ask"]


class DecisionRow(Answer):
    """A recorded decision in a list. What is beyond `trace_id` is for readers of evidence. `asked_by`: it answered that
    principal's question; without it, it was an attempt."""

    id: str
    at: datetime
    verdict: Verdict
    layer: str
    action: str
    resource_type: str
    reasons: list[str]
    approval_rules: list[Any]
    remedy: str
    trace_id: str
    reader: Literal["evidence", "concerned"]
    workspace_id: str | None = None
    principal_kind: str | None = None
    principal_id: str | None = None
    originating_person: str | None = None
    resource_id: str | None = None
    rules: list[str] | None = None
    access_version: str | None = None
    governance_version: str | None = None
    asked_by: str | None = None


class UnusedRole(Answer):
    """A member who holds more than they needed. `to_role` and `to_approver` would have done; `unused` are the permissions that
    would go, `looks` what is done by them and leaves no record. `whole` false: they are here for less than the window."""

    principal_kind: str
    principal_id: str
    name: str
    role: str
    approver: bool
    to_role: str
    to_approver: bool
    did: list[str]
    unused: list[str]
    looks: list[str]
    whole: bool
    words: str
    command: str


class UnusedRoles(Answer):
    """Who holds more than they needed in a window. `complete` false: there was more to look at than is read at once, and nobody
    is listed."""

    days: int
    since: datetime
    complete: bool
    items: list[UnusedRole]
    sentence: str


class RecordedAnswer(Answer):
    """What was decided then."""

    verdict: Verdict
    layer: str
    rules: list[str]
    reasons: list[str]
    at: datetime
    access_version: str
    governance_version: str


class Replay(Answer):
    """A recorded decision evaluated again with the policy of its day. `same`: verdict, rules and reasons are."""

    id: str
    action: str
    recorded: RecordedAnswer
    same: bool
    verdict: Verdict | None
    rules: list[str]
    reasons: list[str]
    could_not_reconstruct: str | None
    replayed_at: datetime


class TrailStep(Answer):
    """One set that was asked: what it said, by which rules."""

    step: Literal["access", "governance"]
    verdict: Verdict
    rules: list[RuleText]
    says: list[str]


class WhyAccess(Answer):
    """Whether somebody may do something, and why. From `access_version` on it is for readers of evidence."""

    decision_id: str | None
    verdict: Verdict
    headline: str
    reason: str
    layer: str
    principal: Acting
    on_behalf_of: str | None
    action: str
    permission: str
    resource_type: str
    resource_id: str
    reasons: list[str]
    approval_rules: list[str]
    remedy: str
    held_by: list[str]
    ignored_facts: list[str]
    reader: Literal["evidence", "concerned"]
    access_version: str | None = None
    governance_version: str | None = None
    rules: list[str] | None = None
    trail: list[TrailStep] | None = None
    inputs: dict[str, Any] | None = None


class AllowedPrincipal(Answer):
    """Somebody who may do it, or may once it is approved."""

    kind: str
    id: str
    name: str
    verdict: Verdict
    reasons: list[str]
    approval_rules: list[str]
    permitted_by: list[str]


class AllowedResource(Answer):
    """A thing on which somebody may do it."""

    type: str
    id: str
    name: str | None
    verdict: Verdict
    reasons: list[str]
    approval_rules: list[str]
    permitted_by: list[str]


class AllowedAction(Answer):
    """Something that somebody may do."""

    action: str
    permission: str
    resource_type: str
    doc: str
    verdict: Verdict
    reasons: list[str]
    approval_rules: list[str]
    permitted_by: list[str]


class Area(Answer):
    """One part of the workspace, and what may be done in it."""

    key: str
    name: str
    may: list[str]
    after_approval: list[str]
    may_not: list[str]


class Held(Answer):
    """The six permissions, and every action by area, as the façade answers."""

    permissions: dict[str, bool]
    areas: list[Area]


class RolePreview(Held):
    """What an invitation would give."""

    role: str
    approver: bool


class InvitedPreview(RolePreview):
    """The same for the invited: where it leads, and who sent it."""

    email: str
    workspace: str
    tenant: str
    invited_by: str
    held: bool = Field(description="who sent it is stopped by a kill switch: it lets nobody in for now")


class ChangedAction(Answer):
    """An action that a change gives or takes."""

    action: str
    area: str
    was: Literal["may", "after_approval", "may_not"]
    will_be: Literal["may", "after_approval", "may_not"]


class ChangePreview(Answer):
    """What a change of a member's role would give and take."""

    principal_id: str
    before: Held
    after: Held
    hangs: list[Hanging]
    gained: list[ChangedAction]
    lost: list[ChangedAction]


class PreviewedInvitation(Body):
    """Who would be invited, as what."""

    email: Email
    role: Literal["owner", "admin", "member", "viewer"]
    approver: bool = False


class PreviewedChange(Body):
    """The role that a member would have; `remove`: none."""

    role: Literal["owner", "admin", "member", "viewer"] | None = None
    approver: bool | None = None
    remove: bool = False


class PreviewedToken(Body):
    """The invitation that one holds."""

    token: str = Field(max_length=200)
