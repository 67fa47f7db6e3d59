"""HTTP for governance, no logic."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response

from worka.governance import recorded_roles, service, withdrawals
from worka.governance.kill_schema import (
    Kill,
    KillPreview,
    KillTarget,
    Lift,
    NewKill,
    TenantKill,
    TenantLift,
    WithdrawalPreview,
)
from worka.governance.recorded_schema import RecordedRoles
from worka.governance.schema import (
    Access,
    CheckedDeploymentPolicy,
    CheckedPolicy,
    Decision,
    DryRun,
    DryRunPage,
    Kind,
    NewPolicy,
    PolicyCheck,
    PolicyLayer,
    PolicyText,
    PolicyVersion,
    Proposal,
    ProposalText,
    SavedPolicy,
    TenantDryRun,
    TriedPolicy,
)
from worka.kernel.context import Context
from worka.kernel.http import Items, Moment, Page, Rest, VersionPage, context, gives, routes, trying

Version = Annotated[int, Path(ge=0, le=2_147_483_647)]
router = routes(prefix="/v1", tags=["governance"])


@router.get("/workspaces/{workspace_id}/access", **gives(Access))
async def access(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What the caller may do in a workspace: role, six permissions, every action, and the matrix."""
    return await service.access(ctx, workspace_id)


@router.get("/workspaces/{workspace_id}/policies", **gives(Items[PolicyVersion]))
async def list_policies(
    workspace_id: str, page: VersionPage = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The tenant's policy versions, newest first."""
    return page.answer(await service.list_policies(ctx, workspace_id, page.version, page.limit), "kind", "version")


@router.post("/workspaces/{workspace_id}/policies", **gives(SavedPolicy, 201, s202=Proposal))
async def save_policy(
    workspace_id: str, body: NewPolicy, response: Response, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Changes the tenant's policy: 201 when it is in force, 202 when it waits for a second person. Faults are located by
    statement and line."""
    return _changed(response, await service.save_policy(ctx, workspace_id, body.kind, body.text, body.note))


def _changed(response: Response, made: dict[str, Any]) -> dict[str, Any]:
    response.status_code = 201 if made["state"] == "in_force" else 202
    return made


@router.get("/workspaces/{workspace_id}/policies/{kind}", **gives(PolicyText))
async def newest_policy(workspace_id: str, kind: Kind, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The tenant's newest version, with its text; its ETag is what saving the next one takes as If-Match."""
    return await service.newest_policy(ctx, workspace_id, kind)


@router.get("/workspaces/{workspace_id}/policies/{kind}/{version}", **gives(PolicyText))
async def show_policy(
    workspace_id: str, kind: Kind, version: Version, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """A version with its text and the shipped floor (version 0: the floor alone)."""
    return await service.show_policy(ctx, workspace_id, kind, version)


@router.get("/workspaces/{workspace_id}/workspace-policies", **gives(Items[PolicyVersion]))
async def list_workspace_policies(
    workspace_id: str, page: VersionPage = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The versions of this workspace's own policy, newest first."""
    rows = await service.list_policies(ctx, workspace_id, page.version, page.limit, "workspace")
    return page.answer(rows, "kind", "version")


@router.post("/workspaces/{workspace_id}/workspace-policies", **gives(SavedPolicy, 201, s202=Proposal))
async def save_workspace_policy(
    workspace_id: str, body: NewPolicy, response: Response, ctx: Context = Depends(trying)
) -> dict[str, Any]:
    """Changes this workspace's own policy, which joins the tenant's: 201 in force, 202 when it waits for a second one."""
    made = await service.save_policy(ctx, workspace_id, body.kind, body.text, body.note, "workspace")
    return _changed(response, made)


@router.get("/workspaces/{workspace_id}/workspace-policies/{kind}", **gives(PolicyText))
async def newest_workspace_policy(workspace_id: str, kind: Kind, ctx: Context = Depends(context)) -> dict[str, Any]:
    """This workspace's newest version, with its text (version 0: it has none of its own)."""
    return await service.newest_policy(ctx, workspace_id, kind, "workspace")


@router.get("/workspaces/{workspace_id}/workspace-policies/{kind}/{version}", **gives(PolicyText))
async def show_workspace_policy(
    workspace_id: str, kind: Kind, version: Version, ctx: Context = Depends(context)
) -> dict[str, Any]:
    """A version of this workspace's own policy."""
    return await service.show_policy(ctx, workspace_id, kind, version, "workspace")


@router.get("/workspaces/{workspace_id}/policy-layers", **gives(Items[PolicyLayer]))
async def policy_layers(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """All that holds here, from the shipped floor down, with the texts; complete."""
    return {"items": await service.policy_layers(ctx, workspace_id), "next": None}


@router.post("/workspaces/{workspace_id}/policy-checks", **gives(PolicyCheck))
async def check_policy(workspace_id: str, body: CheckedPolicy, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What saving a text would say and do. Nothing is saved."""
    return await service.check_policy(ctx, workspace_id, body.kind, body.text, body.scope)


@router.post("/workspaces/{workspace_id}/policy-dry-runs", **gives(DryRunPage))
async def dry_run(
    workspace_id: str,
    body: DryRun,
    page: Page = Depends(),
    since: Moment = None,
    until: Moment = None,
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """Evaluates recorded decisions again with a text or a role that is not in force; lists exactly those that would flip,
    and those that cannot be evaluated again. Pass the `since` and `until` of the first page on to the others."""
    return await service.dry_run(
        ctx, workspace_id, kind=body.kind, text=body.text, scope=body.scope, role_of=body.role_of, role=body.role,
        since=since, until=until, after=page.id, limit=page.limit,
    )  # fmt: skip


@router.get("/workspaces/{workspace_id}/policy-proposals", **gives(Items[Proposal]))
async def list_proposals(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The proposed changes of policy that were asked for here, newest first."""
    return page.answer(await service.list_proposals(ctx, workspace_id, page.id, page.limit), "id")


@router.get("/policy-proposals/{proposal_id}", **gives(ProposalText))
async def show_proposal(proposal_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One proposed change, with its text and difference."""
    return await service.show_proposal(ctx, proposal_id)


@router.get("/deployment/policies", **gives(Items[PolicyVersion]))
async def list_deployment_policies(page: VersionPage = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The versions of the deployment's policy, newest first (operators only)."""
    return page.answer(await service.list_deployment(ctx, page.version, page.limit), "kind", "version")


@router.get("/deployment/policies/{kind}", **gives(PolicyText))
async def newest_deployment_policy(kind: Kind, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The deployment's newest version, with its text (operators only; version 0: it has none)."""
    return await service.show_deployment(ctx, kind)


@router.get("/deployment/policies/{kind}/{version}", **gives(PolicyText))
async def show_deployment_policy(kind: Kind, version: Version, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A version of the deployment's policy (operators only)."""
    return await service.show_deployment(ctx, kind, version)


@router.post("/deployment/policy-checks", **gives(PolicyCheck))
async def check_deployment_policy(body: CheckedDeploymentPolicy, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What saving a text of the deployment would say and do (operators only). Nothing is saved."""
    return await service.check_deployment(ctx, body.kind, body.text)


@router.post("/deployment/policy-dry-runs", **gives(TenantDryRun))
async def dry_run_deployment_policy(
    body: TriedPolicy,
    page: Rest = Depends(),
    since: Moment = None,
    until: Moment = None,
    ctx: Context = Depends(context),
) -> dict[str, Any]:
    """How many recorded decisions of a tenant would be others under a text of the deployment, by action (operators only).
    Pass the `since` and `until` of the first page on to the others."""
    return await service.dry_run_deployment(ctx, body.tenant_id, body.kind, body.text, since, until, page.id)


@router.post("/deployment/policies", **gives(SavedPolicy, 201))
async def save_deployment_policy(body: NewPolicy, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Adds to the floor of every tenant (operators only)."""
    return await service.save_deployment_policy(ctx, body.kind, body.text, body.note)


@router.get("/decisions/{decision_id}", **gives(Decision))
async def decision(decision_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Why something was allowed, denied or asked about, with the policy of that day."""
    return await service.decision(ctx, decision_id)


@router.post("/workspaces/{workspace_id}/kill-previews", **gives(KillPreview))
async def preview_kill(workspace_id: str, body: KillTarget, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What a kill switch would touch: workspaces, attachments, tasks and calls under way, and which recorded calls it would
    have refused. Nothing is stopped."""
    return await service.preview_kill(ctx, workspace_id, body.kind, body.subject, body.everywhere, body.days)


@router.post("/workspaces/{workspace_id}/kills", **gives(Kill, 201))
async def set_kill(workspace_id: str, body: NewKill, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Stops a release, secret, destination, member, workspace or tenant, from the next call on, in every process."""
    return await service.kill(ctx, workspace_id, body.kind, body.subject, body.reason, body.everywhere)


@router.get("/workspaces/{workspace_id}/kills", **gives(Items[Kill]))
async def list_kills(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The kill switches that hold, or held, here, newest first."""
    return page.answer(await service.list_kills(ctx, workspace_id, page.id, page.limit), "id")


@router.get("/workspaces/{workspace_id}/kills/{kill_id}", **gives(Kill))
async def show_kill(workspace_id: str, kill_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """One kill switch: who, when, why, what it touched, and who can lift it."""
    return await service.show_kill(ctx, workspace_id, kill_id)


@router.post("/workspaces/{workspace_id}/kills/{kill_id}/lift", **gives(Kill))
async def lift_kill(workspace_id: str, kill_id: str, body: Lift, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Lifts it: on trial for some, then for all."""
    return await service.lift(ctx, workspace_id, kill_id, body.stage, body.exempt, body.reason, body.skip_trial)


@router.post("/deployment/kills", **gives(Kill, 201))
async def set_tenant_kill(body: TenantKill, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """The operator stops something in a tenant, or the tenant (operators only)."""
    return await service.kill_in_tenant(ctx, body.tenant_id, body.kind, body.subject, body.reason)


@router.get("/deployment/kills", **gives(Items[Kill]))
async def list_tenant_kills(
    tenant_id: Annotated[str, Query(max_length=60)], page: Page = Depends(), ctx: Context = Depends(context)
) -> dict[str, Any]:
    """The kill switches that hold, or held, in all of a tenant, newest first (operators only)."""
    return page.answer(await service.list_in_tenant(ctx, tenant_id, page.id, page.limit), "id")


@router.post("/deployment/lifts", **gives(Kill))
async def lift_tenant_kill(body: TenantLift, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """The operator lifts a kill switch in a tenant, in the same stages (operators only)."""
    return await service.lift_in_tenant(
        ctx, body.tenant_id, body.kill_id, body.stage, body.exempt, body.reason, body.skip_trial
    )


Days = Annotated[int, Query(ge=1, le=90, description="how far back recorded calls are looked through")]


@router.get("/workspaces/{workspace_id}/roles", **gives(RecordedRoles))
async def roles(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """Who owns the workspace, approves capabilities, manages connections, reviews publications and acts by itself, each
    with what it rests on. Complete, in one answer."""
    return await recorded_roles.show(ctx, workspace_id)


@router.get("/releases/{release_id}/withdrawal-preview", **gives(WithdrawalPreview))
async def preview_release(release_id: str, days: Days = 7, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What quarantining or revoking a release would touch, and which recorded calls it would have refused. Nothing is done."""
    return await withdrawals.preview(ctx, "release", release_id, days)


@router.get("/secrets/{secret_id}/withdrawal-preview", **gives(WithdrawalPreview))
async def preview_secret(secret_id: str, days: Days = 7, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What revoking a secret would touch, and which recorded calls it would have refused. Nothing is done."""
    return await withdrawals.preview(ctx, "secret", secret_id, days)
