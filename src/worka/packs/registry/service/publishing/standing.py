"""Whether something may be published, by the rights and the policy of this very moment: asked when it is asked for, when it
is approved, when it is begun, and in the commit that lists it. Nothing that held before is taken to hold still."""

from __future__ import annotations

from typing import Any

from worka.approvals import service as approvals
from worka.approvals import store as approval_rows
from worka.kernel import canonical
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.packs.errors import ReleaseNotUsable
from worka.packs.registry import actions, rules, store
from worka.packs.registry.errors import NotPublishable
from worka.packs.registry.service import policies
from worka.packs.registry.service.publishing.records import name_of, pack_of

Row = dict[str, Any]


async def asked(ctx: Context, release: Row, place: str, visibility: str) -> Decision:
    """What access and governance say to whoever asks now: allow or ask. Raises Denied."""
    facts = _facts(release, place, visibility)
    resource = Resource("pack", pack_of(release), release["workspace_id"], facts)
    return await ctx.require(actions.PUBLISH, resource, **facts)


async def allowed(ctx: Context, release: Row, place: str, visibility: str) -> rules.Policy:
    """The policy in force, if it lets this be published so. Raises NotPublishable."""
    policy = await policies.effective(ctx, ctx.conn, release["workspace_id"])
    refusal = rules.may_publish(
        policy, destination=place, visibility=visibility, repository=rules.source_of(release["manifest"])[0],
        on_trial=policies.on_trial(ctx),
    )  # fmt: skip
    if refusal is not None:
        raise NotPublishable(refusal.sentence, code=refusal.code, destination=place, visibility=visibility)
    return policy


def publishable(release: Row) -> None:
    """Raises ReleaseNotUsable for what is not released."""
    if release["state"] != "released":
        raise ReleaseNotUsable(
            f"{name_of(release)} is {release['state']} ({release['reason']}).", release_id=release["id"],
            state=release["state"], reason=release["reason"],
        )  # fmt: skip


def action_of(row: Row, release: Row, initiator: str, behind: str | None) -> Row:
    """What an approver decides on: a change in any of it is another request."""
    return {
        "action": actions.PUBLISH, "publication": row["id"], "release": release["id"], "artifact": row["digest"],
        "destination": row["destination"], "visibility": row["visibility"], "shared_with": row["shared_with"],
        "workspace": row["workspace_id"], "initiator": initiator, "originating_person": behind,
    }  # fmt: skip


async def as_who_asked(ctx: Context, row: Row, release: Row, approval: Row | None) -> tuple[Decision, str] | None:
    """What is decided now on what was asked for, by whom it was asked; and the digest of it. None: nobody knows who asked,
    of a publication that is older than that record and needed no approval."""
    if approval is not None:
        kind, who, behind = approval["requester_kind"], approval["requester_id"], approval["originating_person"]
    elif row["created_kind"] is not None:
        kind, who, behind = row["created_kind"], row["created_by"], row["originating_person"]
    else:
        return None
    asker = ctx.acting(Principal(kind, who, "", ctx.tenant_id))
    asker.originating_person = behind
    facts = _facts(release, row["destination"], row["visibility"])
    resource = Resource("pack", pack_of(release), row["workspace_id"], facts)
    decision = await asker.decide(actions.PUBLISH, resource, **facts)
    return decision, canonical.sha256_hex(action_of(row, release, f"{kind}:{who}", behind))


async def agreed(ctx: Context, row: Row, release: Row, policy: rules.Policy) -> str:
    """Why it may not go on by what whoever asked may do now, and by whom the registry's policy and the rules of the workspace
    want to be asked by now; empty when it may."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"]) if row["approval_id"] else None
    if row["approval_id"] and (approval is None or approval["consumed_by"] != row["id"]):
        return "The approval of it was not given for it: ask for it again."
    found = await as_who_asked(ctx, row, release, approval)
    if found is None:
        return "Nobody knows any more who asked for it: ask for it again."
    decision, digest = found
    if decision.verdict == "deny":
        return f"Who asked for it may not publish it any more: {'; '.join(decision.reasons)}".rstrip(".:; ") + "."
    if approval is None:
        asks = decision.verdict == "ask" or bool(policy.approvers)
        return "Policy asks for an approval by now that it does not have: ask for it again." if asks else ""
    if approval["digest"] == digest and approvals.still_asked(approval, decision, policy.approvers):
        return ""
    return "Policy wants others to agree to it than those who did: ask for it again."


async def hindrance(ctx: Context, row: Row, release: Row) -> tuple[str, str] | None:
    """Why what was asked for may not go on, decided in the transaction that it is about: a reason code and a sentence."""
    if release["state"] != "released":
        return "release_not_publishable", f"{name_of(release)} is {release['state']}."
    target = await store.destination(ctx.conn, row["destination_id"]) if row["destination_id"] else None
    if target is not None and target["state"] != "active":
        return "publication_not_allowed", f"The destination {target['name']} was removed."
    listing = await store.listing_of(ctx.conn, row["release_id"])
    if listing is not None and listing["state"] == "withdrawn" and listing["since"] > row["created_at"]:
        return (
            "publication_withdrawn",
            f"{name_of(release)} was withdrawn from the marketplace after this was asked for.",
        )
    if row["state"] != "published" and await _decided_since(ctx, row):
        return "publication_superseded", f"Who may have {name_of(release)} was decided by what was asked for later."
    try:
        policy = await allowed(ctx, release, row["destination"], row["visibility"])
    except NotPublishable as refused:
        return "publication_not_allowed", refused.detail
    if why := await agreed(ctx, row, release, policy):
        return "publication_not_allowed", why
    return None


async def _decided_since(ctx: Context, row: Row) -> bool:
    """Whether what was published of it last was asked for later, and says otherwise who may have it."""
    for last in await store.publications(ctx.conn, row["workspace_id"], None, 1, "published", row["release_id"]):
        another = (last["visibility"], last["shared_with"]) != (row["visibility"], row["shared_with"])
        return bool(another and last["created_at"] > row["created_at"])
    return False


def _facts(release: Row, place: str, visibility: str) -> Row:
    return {
        "pack": pack_of(release), "publisher": release["publisher"], "version": release["version"],
        "release": release["id"], "destination": place, "visibility": visibility,
    }  # fmt: skip
