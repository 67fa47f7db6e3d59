"""HTTP for the lifecycle of packs, no logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Response

from worka.kernel.context import Context
from worka.kernel.http import Items, NamePage, Page, context, gives, routes, trying
from worka.packs.lifecycle import answers, picture
from worka.packs.service import reaching, tracing, vulnerabilities, withdrawing

router = routes(prefix="/v1", tags=["packs"])
Caller = Annotated[Context, Depends(context)]
Trying = Annotated[Context, Depends(trying)]
Paged = Annotated[Page, Depends()]
Named = Annotated[NamePage, Depends()]
Days = Annotated[int, Query(ge=1, le=90)]
Port = Annotated[Literal["80", "443"], Query()]
SVG: dict[int | str, dict[str, Any]] = {
    200: {"description": "An SVG picture.", "content": {"image/svg+xml": {"schema": {"type": "string"}}}}
}


@router.get("/workspaces/{workspace_id}/lineage", **gives(answers.Lineage))
async def lineage(
    workspace_id: str, ctx: Caller, subject: Annotated[str, Query(min_length=1, max_length=300)]
) -> dict[str, Any]:
    """From a tool of this workspace (publisher.pack.tool), an attachment or an invocation back to its source."""
    return await tracing.lineage(ctx, workspace_id, subject)


@router.get("/workspaces/{workspace_id}/packs/{pack}/users", **gives(Items[answers.PackUser]))
async def users(workspace_id: str, pack: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The workspaces that use a pack (publisher.name), of those in which you see packs."""
    return page.answer(await tracing.users(ctx, pack, page.id, page.limit + 1), "id")


@router.get("/workspaces/{workspace_id}/packs/{pack}/reach", **gives(answers.BlastRadius))
async def reach_of_pack(workspace_id: str, pack: str, ctx: Caller) -> dict[str, Any]:
    """What a pack (publisher.name) can reach, and what breaks without it."""
    return await reaching.of(ctx, "pack", pack)


@router.get("/releases/{release_id}/reach", **gives(answers.BlastRadius))
async def reach_of_release(release_id: str, ctx: Caller) -> dict[str, Any]:
    """What a release can reach, and what breaks without it."""
    return await reaching.of(ctx, "release", release_id)


@router.get("/releases/{release_id}/reach.svg", responses=SVG, response_class=Response)
async def picture_of_release(release_id: str, ctx: Caller) -> Response:
    """The same as a picture."""
    return Response(picture.svg(await reaching.of(ctx, "release", release_id)), media_type="image/svg+xml")


@router.get("/attachments/{attachment_id}/reach", **gives(answers.BlastRadius))
async def reach_of_attachment(attachment_id: str, ctx: Caller) -> dict[str, Any]:
    """What an attachment can reach, and what breaks without it."""
    return await reaching.of(ctx, "attachment", attachment_id)


@router.get("/workspaces/{workspace_id}/egress/destinations/{host}/reach", **gives(answers.BlastRadius))
async def reach_of_destination(workspace_id: str, host: str, ctx: Caller, port: Port = "443") -> dict[str, Any]:
    """What goes to a destination, with which credentials, and what breaks without it."""
    return await reaching.of_reached(ctx, host, int(port))


@router.get("/workspaces/{workspace_id}/egress/destinations/{host}/reach.svg", responses=SVG, response_class=Response)
async def picture_of_destination(workspace_id: str, host: str, ctx: Caller, port: Port = "443") -> Response:
    """The same as a picture."""
    return Response(picture.svg(await reaching.of_reached(ctx, host, int(port))), media_type="image/svg+xml")


@router.get("/secrets/{secret_id}/reach", **gives(answers.BlastRadius))
async def reach_of_secret(secret_id: str, ctx: Caller) -> dict[str, Any]:
    """Where a secret may be used, by what, and what breaks without it."""
    return await reaching.of_secret(ctx, secret_id)


@router.get("/secrets/{secret_id}/reach.svg", responses=SVG, response_class=Response)
async def picture_of_secret(secret_id: str, ctx: Caller) -> Response:
    """The same as a picture."""
    return Response(picture.svg(await reaching.of_secret(ctx, secret_id)), media_type="image/svg+xml")


@router.get("/releases/{release_id}/grade", **gives(answers.ReleaseGrade))
async def grade(release_id: str, ctx: Caller) -> dict[str, Any]:
    """How good a release is, check by check."""
    return await tracing.graded(ctx, release_id)


@router.get("/releases/{release_id}/gates", **gives(answers.ReleaseGates))
async def gates(release_id: str, ctx: Caller) -> dict[str, Any]:
    """The gates of a release in order, and which of them block it."""
    return await tracing.gates(ctx, release_id)


@router.get("/releases/{release_id}/sbom", **gives(answers.BillOfMaterials))
async def bill(release_id: str, ctx: Caller) -> dict[str, Any]:
    """What is in a release, as CycloneDX 1.6 JSON."""
    return await tracing.bill(ctx, release_id)


@router.post("/releases/{release_id}/lift", **gives(answers.Withdrawal))
async def lift_release(release_id: str, body: answers.WithdrawalReason, ctx: Trying) -> dict[str, Any]:
    """Lets a quarantined release serve again."""
    return await withdrawing.told(ctx, await withdrawing.release(ctx, "lift", release_id, body.reason))


@router.post("/workspaces/{workspace_id}/packs/{pack}/revoke", **gives(answers.Withdrawal))
async def revoke_pack(workspace_id: str, pack: str, body: answers.WithdrawalReason, ctx: Trying) -> dict[str, Any]:
    """No new attachment of any release of a pack (publisher.name), nor of those that come later; existing ones run."""
    return await withdrawing.told(ctx, await withdrawing.pack(ctx, "revoke", pack, body.reason))


@router.post("/workspaces/{workspace_id}/packs/{pack}/quarantine", **gives(answers.Withdrawal))
async def quarantine_pack(workspace_id: str, pack: str, body: answers.WithdrawalReason, ctx: Trying) -> dict[str, Any]:
    """Nothing of a pack (publisher.name) runs any more, nor of its releases that come later."""
    return await withdrawing.told(ctx, await withdrawing.pack(ctx, "quarantine", pack, body.reason))


@router.post("/workspaces/{workspace_id}/packs/{pack}/lift", **gives(answers.Withdrawal))
async def lift_pack(workspace_id: str, pack: str, body: answers.WithdrawalReason, ctx: Trying) -> dict[str, Any]:
    """Lets a pack (publisher.name) that was taken away as a whole be used again; what was revoked stays revoked."""
    return await withdrawing.told(ctx, await withdrawing.pack(ctx, "lift", pack, body.reason))


@router.get("/workspaces/{workspace_id}/withdrawals", **gives(Items[answers.Withdrawal]))
async def list_withdrawals(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """What was taken away of the packs that this workspace registered or uses, or given back, newest first."""
    return page.answer(await withdrawing.listed(ctx, workspace_id, page.id, page.limit + 1), "id")


@router.get("/withdrawals/{withdrawal_id}", **gives(answers.Withdrawal))
async def show_withdrawal(withdrawal_id: str, ctx: Caller) -> dict[str, Any]:
    """One of them, with its receipt as far as you see what it touched."""
    return await withdrawing.show(ctx, withdrawal_id)


@router.get("/workspaces/{workspace_id}/failures", **gives(Items[answers.FailuresByReason]))
async def list_failures(
    workspace_id: str, ctx: Caller, days: Days = 7, pack: Annotated[str | None, Query(max_length=130)] = None
) -> dict[str, Any]:
    """What failed in the last days, calls and registrations, by reason. Complete: there are as many as reasons."""
    return {"items": await tracing.failures(ctx, workspace_id, days, pack), "next": None}


@router.post("/workspaces/{workspace_id}/advisories", **gives(answers.FeedTakenIn))
async def take_in(workspace_id: str, body: answers.AdvisoryFeed, ctx: Trying) -> dict[str, Any]:
    """Takes known vulnerabilities in (OSV), whole or not at all, and checks every release against them."""
    return await vulnerabilities.take_in(ctx, workspace_id, body.documents)


@router.get("/workspaces/{workspace_id}/advisories", **gives(Items[answers.KnownVulnerability]))
async def list_advisories(workspace_id: str, ctx: Caller, page: Named) -> dict[str, Any]:
    """The known vulnerabilities that were handed in, by id."""
    return page.answer(await vulnerabilities.known(ctx, workspace_id, page.after, page.limit + 1))


@router.post("/workspaces/{workspace_id}/advisory-checks", **gives(answers.ReleasesChecked))
async def check_again(workspace_id: str, ctx: Trying) -> dict[str, Any]:
    """Checks every release against what was handed in before."""
    return await vulnerabilities.check_again(ctx, workspace_id)


@router.get("/workspaces/{workspace_id}/findings", **gives(Items[answers.VulnerabilityFinding]))
async def list_findings(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The known vulnerabilities that hit releases registered here, newest first."""
    return page.answer(await vulnerabilities.listed(ctx, workspace_id, page.id, page.limit + 1), "id")
