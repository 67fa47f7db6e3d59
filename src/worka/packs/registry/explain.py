"""Why a publication is as it is. Console, CLI and API call this one."""

from __future__ import annotations

from typing import Any

from worka.approvals import explain as approvals
from worka.authorization.explain import offer
from worka.kernel import reasons
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.packs.registry import actions
from worka.packs.registry.service import publishing
from worka.packs.registry.service.publishing import carrying
from worka.workspaces.explain import changed_just_before

Row = dict[str, Any]


async def explain(ctx: Context, subject: str) -> Explanation:
    """The explanation of a publication, by its id. Raises PublicationNotFound."""
    return await explain_publication(ctx, subject)


async def explain_publication(ctx: Context, publication_id: str) -> Explanation:
    """Where it stands, what it waits for, why it failed, and what can be done."""
    row = await publishing.get(ctx, publication_id)
    name = f"{row['pack']} {row['version']}"
    state, reason, error = row["state"], row["reason"], row["error"] or {}
    known = reasons.get(reason)
    meaning = known.meaning if known else f"{reason}."
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    pack = Resource("pack", row["pack"], row["workspace_id"])
    headline = f"The publication of {name} to {row['destination']} is {state.replace('_', ' ')}: {meaning}"
    async with ctx.transaction() as conn:
        changes = await changed_just_before(conn, row["workspace_id"], row["since"], publication_id)
        told = None
        if state == "awaiting_approval" and row["approval_id"]:
            told = await approvals.waiting_on(ctx, row["approval_id"])
    if told is not None:
        waiting.append(told)
        headline = f"The publication of {name} to {row['destination']} waits for the approval “{told.name}”"
        following.append(
            NextAction(
                label="Decide it", command=f"worka approvals show {told.ref}", permission="approve", allowed=told.you_can,
                because="" if told.you_can else told.because,
            )
        )  # fmt: skip
    elif state in ("queued", "pushing"):
        waiting.append(
            WaitingOn(
                kind="publication", ref=publication_id, name=f"carrying {name} to {row['destination']}", since=row["since"],
                who=["the platform"], because="The platform does this by itself.",
            )
        )  # fmt: skip
        if row["since"] < now() - carrying.LOST:
            following.append(
                await offer(ctx, "Take it up again", f"worka registry retry {publication_id}", actions.PUBLISH, pack)
            )
    elif state == "failed":
        headline = f"The publication of {name} to {row['destination']} failed: {error.get('message', meaning)}"
        following.append(
            await offer(ctx, "Try it again", f"worka registry retry {publication_id}", actions.PUBLISH, pack)
        )
    elif state == "refused":
        again = f"worka pack publish {row['release_id']}"
        following.append(await offer(ctx, "Ask for it again", again, actions.PUBLISH, pack))
    else:
        if unsigned := row["signatures_error"]:
            headline += f" Its newer signatures do not lie there yet: {unsigned['message']}"
            following.append(
                await offer(ctx, "Bring them now", f"worka registry retry {publication_id}", actions.PUBLISH, pack)
            )
        following.append(
            NextAction(
                label="See how it is listed", command=f"worka registry show {row['release_id']}", permission="view"
            )
        )
    return Explanation(
        subject=publication_id,
        headline=headline.rstrip(". "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=known.layer if known else "publication",
        timing="after_completion" if state in ("published", "refused") else "during",
        scope="tenant",
        waiting_on=waiting,
        last_error=_last_error(row),
        changed_just_before=changes,
        evidence=[
            Evidence(kind="release", ref=row["release_id"], label=name),
            Evidence(kind="digest", ref=row["digest"], label="artifact"),
            *([Evidence(kind="location", ref=row["location"], label="where it lies")] if row["location"] else []),
            *([Evidence(kind="egress", ref=error["egress_id"], label="the call")] if error.get("egress_id") else []),
        ],
        next=following,
        observed_at=row["since"],
    )  # fmt: skip


def _last_error(row: Row) -> LastError | None:
    """What it failed with; or of one that is published, what keeps its newer signatures from being brought."""
    if row["state"] == "failed":
        message = str((row["error"] or {}).get("message", ""))
        return LastError(code=row["reason"], message=message[:2000], attempt=row["attempt"])
    if (met := row["signatures_error"]) is not None:
        return LastError(
            code=met["code"], message=str(met["message"])[:2000], attempt=row["signatures_tries"],
            next_try=row["signatures_next"],
        )  # fmt: skip
    return None
