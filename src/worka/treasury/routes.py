"""HTTP for the treasury. No route answers with a value."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import Depends

from worka.approvals import timing
from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, context, gives, routes, trying
from worka.treasury import datakeys, explain, operating, reading, rotation, service
from worka.treasury.errors import DatesInvalid
from worka.treasury.schema import (
    DataKey,
    DataKeyStep,
    Dependants,
    Destruction,
    GivenWhy,
    Grant,
    MasterKeyStep,
    NewDates,
    NewDestruction,
    NewGrant,
    NewReading,
    NewSecret,
    NewValue,
    Reach,
    Reading,
    ReadValue,
    RevokedSecret,
    Sealing,
    Secret,
    SecretLease,
    Treasury,
)

router = routes(prefix="/v1", tags=["treasury"])


def _moment(text: str | None) -> datetime | None:
    return timing.moment(text, "expires_at", DatesInvalid) if text is not None else None


@router.get("/workspaces/{workspace_id}/secrets", **gives(Items[Secret]))
async def list_secrets(workspace_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """The workspace's secrets, newest first: names, purposes, grants."""
    return page.answer(await service.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/secrets", **gives(Secret, 201))
async def create_secret(workspace_id: str, body: NewSecret, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Puts a secret into the treasury, or has one made there. This grants nothing."""
    value = body.value.get_secret_value() if body.value is not None else None
    return await service.create(
        ctx, workspace_id, name=body.name, purpose=body.purpose, kind=body.kind, value=value,
        expires_at=_moment(body.expires_at), rotate_days=body.rotate_days,
    )  # fmt: skip


@router.get("/secrets/{secret_id}", **gives(Secret))
async def get_secret(secret_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """A secret without its value: purpose, state, connections, grants."""
    return await service.get(ctx, secret_id)


@router.get("/secrets/{secret_id}/why")
async def why_secret(secret_id: str, ctx: Context = Depends(context)) -> Explanation:
    """Why it can, or cannot, be used."""
    return await explain.explain(ctx, secret_id)


@router.get("/secrets/{secret_id}/dependants", **gives(Dependants))
async def list_dependants(secret_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What stands on it: connections, attachments, publishers' keys, calls and tasks under way. Look before you rotate."""
    return await rotation.dependants(ctx, secret_id)


@router.get("/secrets/{secret_id}/leases", **gives(Items[SecretLease]))
async def list_leases(secret_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """Its use log, newest first: who had it, when, for which call and endpoint."""
    return page.answer(await rotation.leases(ctx, secret_id, page.id, page.limit), "id")


@router.post("/secrets/{secret_id}/rotate", **gives(Secret))
async def rotate_secret(secret_id: str, body: NewValue, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Gives it a new value; asks whether its grants remain, and can keep the old value valid for a while."""
    value = body.value.get_secret_value() if body.value is not None else None
    return await rotation.rotate(
        ctx, secret_id, value, grants=body.grants, overlap_minutes=body.overlap_minutes, listed=body.listed
    )


@router.post("/secrets/{secret_id}/rotate/finish", **gives(Secret))
async def finish_rotation(secret_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends the overlap now: the old value is gone."""
    return await rotation.finish(ctx, secret_id)


@router.post("/secrets/{secret_id}/rotate/back", **gives(Secret))
async def take_rotation_back(secret_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Takes the rotation back while its overlap lasts: the new value is gone."""
    return await rotation.back(ctx, secret_id)


@router.put("/secrets/{secret_id}/dates", **gives(Secret))
async def date_secret(secret_id: str, body: NewDates, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Sets when it ends and how often it is to be rotated."""
    return await rotation.set_dates(ctx, secret_id, _moment(body.expires_at), body.rotate_days)


@router.post("/secrets/{secret_id}/revoke", **gives(RevokedSecret))
async def revoke_secret(secret_id: str, body: GivenWhy, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Ends it and every grant of it; `stopped` names the attachments that could use it, `stopped_more` all that stood on it."""
    return await service.revoke(ctx, secret_id, body.why)


@router.post("/secrets/{secret_id}/destroy", **gives(Secret))
async def destroy_secret(secret_id: str, body: GivenWhy, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Wipes the values of a revoked secret, for good."""
    return await rotation.destroy(ctx, secret_id, body.why)


@router.post("/secrets/{secret_id}/grants", **gives(Grant, 201))
async def grant_secret(secret_id: str, body: NewGrant, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Lets one attachment use it on one endpoint."""
    return await service.grant(ctx, secret_id, body.grantee_id, body.endpoint)


@router.delete("/grants/{grant_id}", status_code=204)
async def revoke_grant(grant_id: str, ctx: Context = Depends(trying)) -> None:
    """Takes a grant back; holds for the next call at once, and within a second for one that runs."""
    await service.revoke_grant(ctx, grant_id)


# break-glass --------------------------------------------------------------------------------------------------------
@router.post("/secrets/{secret_id}/readings", **gives(Reading, 201))
async def ask_to_read(secret_id: str, body: NewReading, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Asks another owner to let you read the value once. Nothing is shown yet."""
    return await reading.ask(ctx, secret_id, body.why, body.minutes)


@router.get("/secrets/{secret_id}/readings", **gives(Items[Reading]))
async def list_readings(secret_id: str, page: Page = Depends(), ctx: Context = Depends(context)) -> dict[str, Any]:
    """Who read its value, or asked to, and why; newest first."""
    return page.answer(await reading.listing(ctx, secret_id, page.id, page.limit), "id")


@router.post("/secret-readings/{reading_id}/read", **gives(ReadValue))
async def read_secret(reading_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The value, once, to who asked for it, within the minutes after the consent. The one answer of Worka with a value in it."""
    return await reading.read(ctx, reading_id)


# keys ---------------------------------------------------------------------------------------------------------------
@router.get("/workspaces/{workspace_id}/data-key", **gives(DataKey))
async def show_data_key(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """The data key of the tenant, and how far its rotation is."""
    return await datakeys.status(ctx, workspace_id)


@router.post("/workspaces/{workspace_id}/data-key/rotate", **gives(DataKeyStep))
async def rotate_data_key(workspace_id: str, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """A step of the rotation of the tenant's data key: ask again until nothing is left."""
    return await datakeys.rotate(ctx, workspace_id)


@router.get("/workspaces/{workspace_id}/key-destruction-preview", **gives(Reach))
async def preview_destruction(workspace_id: str, ctx: Context = Depends(context)) -> dict[str, Any]:
    """What would be gone for good with the tenant's data keys."""
    return await datakeys.reach(ctx)


@router.post("/workspaces/{workspace_id}/key-destructions", **gives(Destruction, 201))
async def destroy_keys(workspace_id: str, body: NewDestruction, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Asks another owner to consent to the destruction of the tenant's data keys. Nothing is destroyed yet."""
    return await datakeys.ask(ctx, workspace_id, body.why, body.digest)


@router.get("/deployment/treasury", **gives(Treasury))
async def show_treasury(ctx: Context = Depends(context)) -> dict[str, Any]:
    """Whether the treasury is sealed, and its master keys (operators only)."""
    return await operating.status(ctx)


@router.post("/deployment/treasury/seal", **gives(Treasury))
async def seal_treasury(body: Sealing, ctx: Context = Depends(trying)) -> dict[str, Any]:
    """Seals or unseals the treasury in every process at once (operators only)."""
    return await operating.seal(ctx, body.sealed, body.why)


@router.post("/deployment/treasury/rotate-master-key", **gives(MasterKeyStep))
async def rotate_master_key(ctx: Context = Depends(context)) -> dict[str, Any]:
    """A step of the rotation of the master key: ask again until it is finished (operators only)."""
    return await operating.rotate_master(ctx)
