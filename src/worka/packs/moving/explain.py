"""Why a move is where it is, and what an attachment is told about newer releases."""

from __future__ import annotations

from typing import Any

from worka.approvals import explain as approvals
from worka.authorization.explain import offer, reader_may
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import Evidence, Explanation, LastError, NextAction, WaitingOn
from worka.packs import actions, store
from worka.packs.explain_call import layer_of, meaning_of
from worka.packs.moving import dependencies, model, reading
from worka.packs.moving.trying import LOST_SECONDS
from worka.workspaces.explain import changed_just_before

Row = dict[str, Any]
_BY = {"asked": "was asked for", "followed": "comes of following new releases", "back": "goes back"}
_CHANGES_SHOWN = 30


async def explain(ctx: Context, move_id: str) -> Explanation:
    """The explanation of a move, by its id. Raises MoveNotFound."""
    row = await reading.read(ctx, move_id)
    state, reason = row["state"], row["reason"]
    name = f"the move of {row['pack']} from {row['from_version']} to {row['to_version']}"
    own = Resource("attachment", row["attachment_id"], row["workspace_id"], {"pack": row["pack"]})
    waiting, following = await _waits(ctx, row, name)
    told = row["difference"]
    error = row["error"] or {}
    headline = f"{name[0].upper()}{name[1:]} {_said(row, waiting)}"
    if error.get("message"):
        headline += f" {error['message']}"
    if state in ("failed", "refused"):
        following.append(await offer(ctx, "Ask for it again", f"worka pack attachment update {row['attachment_id']}",
                                     actions.UPDATE.name, own))  # fmt: skip
    lost = state in ("planned", "trying") and (now() - row["since"]).total_seconds() > LOST_SECONDS
    if lost:
        headline += " Nobody carries it just now; the platform takes it up again by itself."
    if state in model.OPEN and (state != "trying" or lost):
        following.append(await offer(ctx, "Take it back", f"worka pack attachment withdraw {row['id']}",
                                     actions.PIN.name, own))  # fmt: skip
    if state == "moved":
        following.append(await offer(ctx, "Go back to the release before", f"worka pack attachment back {row['attachment_id']}",
                                     actions.UPDATE.name, own))  # fmt: skip
    async with ctx.transaction() as conn:
        changes = await changed_just_before(
            conn, row["workspace_id"], row["since"], row["id"], row["attachment_id"], row["approval_id"] or ""
        )
    return Explanation(
        subject=row["id"],
        headline=headline.rstrip(": "),
        state=state,
        reason=reason,
        since=row["since"],
        layer=layer_of(reason, "publication"),
        timing="before_start"
        if state in ("planned", *model.WAITING)
        else "during"
        if state == "trying"
        else "after_completion",
        waiting_on=waiting,
        last_error=LastError(code=str(error.get("code", reason)), message=str(error.get("message", ""))[:2000])
        if error
        else None,
        changed_just_before=changes,
        evidence=[
            Evidence(kind="attachment", ref=row["attachment_id"], label=f"{row['pack']}; it {_BY[row['kind']]}"),
            Evidence(kind="release", ref=row["from_release"], label=f"from {row['from_version']}"),
            Evidence(kind="release", ref=row["to_release"], label=f"to {row['to_version']}"),
            *([Evidence(kind="approval", ref=row["approval_id"])] if row["approval_id"] else []),
            *(
                Evidence(
                    kind=change["class"],
                    ref=f"{change['area']}: {change['subject']}"[:200],
                    label=change["words"][:500],
                )
                for change in told["changes"][:_CHANGES_SHOWN]
            ),
        ],
        next=following,
        observed_at=row["since"],
    )


def _said(row: Row, waiting: list[WaitingOn]) -> str:
    state, reason = row["state"], row["reason"]
    if waiting and state in model.WAITING:
        return "waits for " + " and for ".join(f"the {item.kind} “{item.name}”" for item in waiting) + "."
    words = {"planned": "is about to be decided", "trying": "is being tried in the sandbox", "moved": "was made"}
    return f"{words.get(state, f'ended as {state}')}: {meaning_of(reason)}"


async def _waits(ctx: Context, row: Row, name: str) -> tuple[list[WaitingOn], list[NextAction]]:
    from worka.packs import explain as packs

    if row["state"] == "awaiting_approval" and row["approval_id"]:
        async with ctx.transaction():
            told = await approvals.waiting_on(ctx, row["approval_id"])
        return ([told], [packs._decide(told)]) if told is not None else ([], [])
    if row["state"] == "awaiting_connection":
        async with ctx.transaction() as conn:
            release = await store.release(conn, row["to_release"])
        assert release is not None
        return await packs.connection_waits(ctx, row["workspace_id"], release["manifest"], row["since"])
    if row["state"] == "awaiting_dependency":
        return await dependency_waits(ctx, row["workspace_id"], row["to_release"], row["since"])
    if row["state"] in ("planned", "trying"):
        wait = WaitingOn(
            kind="move", ref=row["id"], name=name, since=row["since"], who=["the platform"],
            because="The platform does this by itself.",
        )  # fmt: skip
        return [wait], []
    return [], []


async def dependency_waits(
    ctx: Context, workspace_id: str, release_id: str, since: Any
) -> tuple[list[WaitingOn], list[NextAction]]:
    """Each pack that a release needs and that does not serve here, or lacks a tool of."""
    waiting: list[WaitingOn] = []
    following: list[NextAction] = []
    async with ctx.transaction() as conn:
        release = await store.release(conn, release_id)
        assert release is not None
        for item in await dependencies.missing(conn, workspace_id, release["manifest"]):
            pack = Resource("pack", item["pack"], workspace_id, {"pack": item["pack"]})
            allowed, because = await reader_may(ctx, actions.ATTACH.name, pack)
            (name,) = dependencies.words([item])
            newest = await store.newest_release(conn, item["pack"])
            waiting.append(
                WaitingOn(
                    kind="pack", ref=item["attachment_id"] or item["pack"], name=name, since=since,
                    who=["members of the workspace who may attach packs"], you_can=allowed, because=because,
                )
            )  # fmt: skip
            if item["attachment_id"] is not None:
                step = await offer(ctx, f"Move {item['pack']} to a release that has these tools",
                                   f"worka pack attachment update {item['attachment_id']}", actions.UPDATE.name, pack)  # fmt: skip
            elif newest is not None and newest["state"] == "released":
                step = await offer(ctx, f"Attach {item['pack']} {newest['version']}", f"worka pack attach {newest['id']}",
                                   actions.ATTACH.name, pack)  # fmt: skip
            else:
                step = await offer(
                    ctx, f"Register {item['pack']}", "worka pack register PATH", actions.REGISTER.name, pack
                )
            following.append(step)
    return waiting, following


async def newer_of(ctx: Context, row: Row) -> tuple[str, list[Evidence], list[NextAction]]:
    """What an attachment is told of newer releases and of its move: (a sentence or nothing, evidence, what can be done)."""
    if row["state"] not in ("attached", "held", "updating"):
        return "", [], []
    found = await reading.standing(ctx, row["id"])
    own = Resource("attachment", row["id"], row["workspace_id"], {"pack": row["pack"]})
    if (move := found["move"]) is not None:
        words = f" A move to {move['to_version']} is under way ({move['state'].replace('_', ' ')})."
        seen = NextAction(label="See where the move stands", command=f"worka why {move['id']}", permission="view")
        return words, [Evidence(kind="move", ref=move["id"], label=f"to {move['to_version']}")], [seen]
    if not found["newer"]:
        return "", [], []
    best = found["newer"][0]
    words = f" A newer release is there: {best['version']}; it is {'pinned' if row['mode'] == 'pinned' else 'not moved to it'}."
    return (
        words,
        [Evidence(kind="release", ref=best["id"], label=f"newer: {best['version']}")],
        [
            NextAction(label="See what differs", command=f"worka pack diff {row['release_id']} {best['id']}", permission="view"),
            await offer(ctx, f"Move it to {best['version']}", f"worka pack attachment update {row['id']}",
                        actions.UPDATE.name, own),
        ],
    )  # fmt: skip


__all__ = ["dependency_waits", "explain", "newer_of"]
