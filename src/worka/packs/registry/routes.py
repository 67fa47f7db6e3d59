"""HTTP for the registry, no logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, VersionPage, context, gives, routes, trying
from worka.packs import answers as pack_answers
from worka.packs import schema as pack_schema
from worka.packs.registry import answers, explain, schema
from worka.packs.registry.service import destinations, market, policies, publishing, reports, vouching

router = routes(prefix="/v1", tags=["registry"])
Caller = Annotated[Context, Depends(context)]
Changing = Annotated[Context, Depends(trying)]
Paged = Annotated[Page, Depends()]
State = Literal["awaiting_approval", "queued", "pushing", "published", "failed", "refused"]
Days = Annotated[
    int, Query(ge=0, le=3650, description="how far back failures count, and from when on an artifact is stale")
]


@router.get("/workspaces/{workspace_id}/marketplace", **gives(Items[answers.MarketRelease]))
async def search_marketplace(
    workspace_id: str, ctx: Caller, page: Paged, q: Annotated[str, Query(max_length=300)] = ""
) -> dict[str, Any]:
    """What this tenant may have: its own releases, and what others listed for it. With `q`, what fits, the best first."""
    rows, following = await market.search(ctx, workspace_id, q, page.id, page.limit)
    return {"items": rows, "next": following}


@router.get("/workspaces/{workspace_id}/marketplace/{release_id}", **gives(answers.MarketRelease))
async def show_listing(workspace_id: str, release_id: str, ctx: Caller) -> dict[str, Any]:
    """One release of the marketplace."""
    return await market.listing(ctx, workspace_id, release_id)


@router.post("/workspaces/{workspace_id}/marketplace/{release_id}/install", **gives(pack_answers.Release, 202))
async def install_release(workspace_id: str, release_id: str, ctx: Changing) -> dict[str, Any]:
    """Registers a release of the marketplace here; GET the release to follow it."""
    return pack_schema.release(await market.install(ctx, workspace_id, release_id))


@router.post("/workspaces/{workspace_id}/registry/fetch", **gives(pack_answers.Release, 202))
async def fetch_release(workspace_id: str, body: schema.FetchRelease, ctx: Changing) -> dict[str, Any]:
    """Fetches an artifact by its digest from a registry outside and registers it here; GET the release to follow it."""
    row = await market.fetch(ctx, workspace_id, destination=body.destination, digest=body.digest)
    return pack_schema.release(row)


@router.get("/releases/{release_id}/registry", **gives(answers.InRegistry))
async def release_in_registry(release_id: str, ctx: Caller) -> dict[str, Any]:
    """What was built, which version, where image and source are, which release is installable, how widely it is seen."""
    return await market.answers(ctx, release_id)


@router.get("/releases/{release_id}/signatures", **gives(answers.ReleaseSignatures))
async def release_signatures(release_id: str, ctx: Caller) -> dict[str, Any]:
    """What was signed about a release, and what the trust root in force says of it."""
    return await vouching.of_release(ctx, release_id)


@router.post("/releases/{release_id}/signatures", **gives(answers.ReleaseSignatures, 201))
async def sign_release(release_id: str, body: schema.NewSignature, ctx: Changing) -> dict[str, Any]:
    """Signs a release with its publisher's key in the treasury, or takes an envelope that was signed elsewhere."""
    if body.envelope is not None:
        return await vouching.attest(ctx, release_id, body.envelope)
    return await vouching.sign(ctx, release_id)


@router.post("/releases/{release_id}/reviews", **gives(answers.ReleaseReview, 201))
async def review_release(release_id: str, body: schema.NewReview, ctx: Changing) -> dict[str, Any]:
    """Says that a person looked at the release's artifact."""
    return await vouching.review(ctx, release_id, body.note)


@router.post("/releases/{release_id}/withdraw-listing", **gives(answers.ListingState))
async def withdraw_listing(release_id: str, body: schema.WhyGone, ctx: Changing) -> dict[str, Any]:
    """Takes a release from the marketplace. What was installed stays."""
    return await publishing.withdraw(ctx, release_id, body.reason)


@router.post("/workspaces/{workspace_id}/publications", **gives(answers.Publication, 202))
async def publish_release(workspace_id: str, body: schema.NewPublication, ctx: Changing) -> dict[str, Any]:
    """Asks for a publication; GET it to follow it."""
    return await publishing.publish(
        ctx, workspace_id, release_id=body.release_id, destination=body.destination, visibility=body.visibility,
        shared_with=body.shared_with,
    )  # fmt: skip


@router.get("/workspaces/{workspace_id}/publications", **gives(Items[answers.Publication]))
async def list_publications(
    workspace_id: str, ctx: Caller, page: Paged, state: State | None = None, release_id: str | None = None
) -> dict[str, Any]:
    """The workspace's publications, newest first."""
    return page.answer(await publishing.listing(ctx, workspace_id, page.id, page.limit, state, release_id), "id")


@router.get("/publications/{publication_id}", **gives(answers.Publication))
async def get_publication(publication_id: str, ctx: Caller) -> dict[str, Any]:
    """One publication."""
    return await publishing.get(ctx, publication_id)


@router.get("/publications/{publication_id}/why")
async def why_publication(publication_id: str, ctx: Caller) -> Explanation:
    """Why the publication is in its state."""
    return await explain.explain_publication(ctx, publication_id)


@router.post("/publications/{publication_id}/retry", **gives(answers.Publication, 202))
async def retry_publication(publication_id: str, ctx: Changing) -> dict[str, Any]:
    """Takes up a failed publication again."""
    return await publishing.retry(ctx, publication_id)


@router.get("/workspaces/{workspace_id}/destinations", **gives(Items[answers.Destination]))
async def list_destinations(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The registries that this workspace names, newest first."""
    return page.answer(await destinations.listing(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/destinations", **gives(answers.NamedDestination, 201))
async def create_destination(workspace_id: str, body: schema.NewDestination, ctx: Changing) -> dict[str, Any]:
    """Names a registry. Whether anything may go there, the registry's policy says; where its credential goes, `led`."""
    return await destinations.create(
        ctx, workspace_id, name=body.name, host=body.host, port=body.port, repository=body.repository,
        username=body.username, password=body.password, token_service=body.token_service, blob_hosts=body.blob_hosts,
    )  # fmt: skip


@router.delete("/destinations/{destination_id}", **gives(answers.Destination))
async def remove_destination(destination_id: str, ctx: Changing) -> dict[str, Any]:
    """Takes a registry away, with its credential."""
    return await destinations.remove(ctx, destination_id)


@router.get("/workspaces/{workspace_id}/publisher-keys", **gives(Items[answers.PublisherKey]))
async def list_publisher_keys(workspace_id: str, ctx: Caller, page: Paged) -> dict[str, Any]:
    """The keys that publishers of this workspace sign with, newest first."""
    return page.answer(await vouching.list_keys(ctx, workspace_id, page.id, page.limit), "id")


@router.post("/workspaces/{workspace_id}/publisher-keys", **gives(answers.PublisherKey, 201))
async def make_publisher_key(workspace_id: str, body: schema.NewKey, ctx: Changing) -> dict[str, Any]:
    """Makes a key for a publisher. Its private half goes into the treasury and never comes out."""
    return await vouching.make_key(ctx, workspace_id, body.publisher)


@router.get("/workspaces/{workspace_id}/registry/reports/{report}", **gives(Items[answers.ReportRow]))
async def registry_report(
    workspace_id: str, report: reports.Report, ctx: Caller, page: Paged, days: Days = 30
) -> dict[str, Any]:
    """A report to review publications by, newest first."""
    return page.answer(await reports.report(ctx, workspace_id, report, page.id, page.limit, days), "id")


@router.get("/workspaces/{workspace_id}/registry/policy", **gives(answers.RegistryPolicy))
async def show_registry_policy(workspace_id: str, ctx: Caller) -> dict[str, Any]:
    """What may be published where, and how widely: layer by layer, and all of them together."""
    return await policies.show(ctx, workspace_id)


@router.post("/workspaces/{workspace_id}/registry/policy", **gives(answers.RegistryPolicy, 201))
async def set_registry_policy(workspace_id: str, body: schema.NewRegistryPolicy, ctx: Changing) -> dict[str, Any]:
    """The next version of the tenant's or the workspace's layer."""
    settings = body.settings.model_dump(exclude_none=True)
    return await policies.set_policy(ctx, workspace_id, scope=body.scope, settings=settings, note=body.note)


@router.get("/workspaces/{workspace_id}/registry/trust-root", **gives(answers.TrustRoot))
async def show_trust_root(workspace_id: str, ctx: Caller) -> dict[str, Any]:
    """The deployment's trust root in force: whose signature counts for which publisher."""
    return await vouching.show_root(ctx, workspace_id)


@router.get("/deployment/trust-roots", **gives(Items[answers.TrustRoot]))
async def list_trust_roots(ctx: Caller, page: Annotated[VersionPage, Depends()]) -> dict[str, Any]:
    """Every trust root that was set, newest first (operators only)."""
    place = page.version
    rows = await vouching.list_roots(ctx, place and place[1], page.limit)
    items, more = rows[: page.limit], len(rows) > page.limit
    return {"items": items, "next": f"root-{items[-1]['version']}" if more else None}


@router.post("/deployment/trust-roots", **gives(answers.TrustRoot, 201))
async def set_trust_root(body: schema.NewRoot, ctx: Changing) -> dict[str, Any]:
    """The deployment's next trust root (operators only)."""
    return await vouching.set_root(ctx, body.document)
