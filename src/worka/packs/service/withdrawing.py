"""Taking a release or a whole pack away, and giving it back. Each is decided inside the commit that does it, needs a
reason that people read, and leaves a receipt of what it touched in that moment (GOV-9 to GOV-14, LIF-5).

Revoke: nothing new is attached, what is attached serves on in new sessions. Quarantine: nothing runs; calls under way are ended. Lift: what a
quarantine suspended serves again; what was revoked stays revoked. A whole pack stands for its future releases too.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.errors import Problem
from worka.kernel.ids import new_id
from worka.packs import actions, events, model
from worka.packs import store as packs
from worka.packs.errors import ReleaseNotFound
from worka.packs.lifecycle import store
from worka.packs.lifecycle.errors import NotWithdrawn, PackNotFound, PackWithdrawn, ReasonMissing, WithdrawalNotFound
from worka.packs.service import hosting, leftovers, reaching, stopping
from worka.treasury import service as treasury

Row = dict[str, Any]
log = logging.getLogger("worka.packs")
ACTS = {"revoke": actions.REVOKE.name, "quarantine": actions.QUARANTINE.name, "lift": actions.LIFT.name}
STATES = {"revoke": ("revoked", "release_revoked"), "quarantine": ("quarantined", "release_quarantined")}
SECONDS = 5.0
"""How long the end of calls under way is waited for: the host ends them at once, if it is there."""
JOB_SECONDS = 900.0
"""How long the worker goes on ending them: longer than a host takes to come back."""


async def release(ctx: Context, act: str, release_id: str, why: str, *, approval: Row | None = None) -> Row:
    """Revokes, quarantines or lifts one release; its receipt. Raises ReleaseNotFound, Denied, ReasonMissing, NotWithdrawn,
    and Conflict where its state does not allow it.

    With an `approval` that was just used, consent has been given to exactly this and nobody is asked again."""
    async with ctx.transaction() as conn:
        row = await packs.release(conn, release_id)
        if row is None:
            raise ReleaseNotFound(f"There is no release {release_id}.")
        pack = _name(row)
        facts = {"pack": pack, "release": release_id, "version": row["version"]}
        if approval is None:
            await ctx.require(ACTS[act], Resource("pack", pack, row["workspace_id"], facts))
        why = _given(why)
        await store.lock_standing(conn, row["tenant_id"], pack)
        row = await packs.release_for_update(conn, release_id)
        assert row is not None
        if act == "lift":
            await _may_be_lifted(conn, row, pack)
        found = await _do(ctx, act, "release", release_id, row["workspace_id"], why, [row], approval)
        found["_release"] = await packs.release(conn, release_id)
    await _end(ctx, found)
    return found


async def revoke(ctx: Context, release_id: str, why: str) -> Row:
    """Lets no new attachment of the release be made; existing ones run (decisions.md 21). The release as it is then."""
    return (await release(ctx, "revoke", release_id, why))["_release"]  # type: ignore[no-any-return]


async def quarantine(ctx: Context, release_id: str, why: str) -> Row:
    """Stops everything of the release: its attachments are suspended in the same commit, their calls ended after it. The
    release as it is then."""
    return (await release(ctx, "quarantine", release_id, why))["_release"]  # type: ignore[no-any-return]


async def pack(ctx: Context, act: str, name: str, why: str) -> Row:
    """The same for every release of a pack, and for those that come later. The right to it is asked for in the workspace
    that holds the publisher. Raises PackNotFound, Denied, ReasonMissing, NotWithdrawn, PackWithdrawn."""
    async with ctx.transaction() as conn:
        releases = await store.releases_of_pack(conn, name)
        missing = PackNotFound(f"There is no pack {name[:120]} here.")
        if not releases:
            raise missing
        home = releases[0]["workspace_id"]
        await ctx.require(ACTS[act], Resource("pack", name, home, {"pack": name}))
        why = _given(why)
        await store.lock_standing(conn, releases[0]["tenant_id"], name)
        releases = await store.releases_of_pack(conn, name, lock=True)
        standing = await store.standing(conn, name)
        if act == "lift" and (standing is None or standing["state"] == "free"):
            raise NotWithdrawn(f"{name} as a whole was not taken away.")
        state = {"revoke": "revoked", "quarantine": "quarantined", "lift": "free"}[act]
        if standing is not None and standing["state"] == state:
            # Done once more it would touch nothing, and put another reason before everybody who is stopped by the first.
            first = await store.withdrawal(conn, standing["withdrawal_id"])
            assert first is not None
            raise PackWithdrawn(f"All of {name} is {state} already. {said(first)}", withdrawal_id=first["id"])
        found = await _do(ctx, act, "pack", name, home, why, releases, None)
        await store.set_standing(conn, releases[0]["tenant_id"], name, home, state, found["id"])
        if act == "lift":
            # Only now: what was registered meanwhile waits as well, and while the pack is taken away nothing goes on.
            for row in releases:
                await ctx.publish("release.lifted", {"release_id": row["id"]})
    await _end(ctx, found)
    return found


async def _end(ctx: Context, made: Row) -> None:
    """After the commit: what computes of it ends."""
    await end_calls(ctx, made.pop("_ends"), made)
    if made["act"] == "revoke":
        await stopping.renew(ctx, made, said(made))
    elif made["act"] == "quarantine":
        await stopping.end_trials(ctx, made, said(made))


def _plain(receipt: Row) -> Row:
    """As JSON keeps it: times are text from here on."""
    found: Row = json.loads(json.dumps(receipt, default=lambda moment: moment.isoformat()))
    return found


def _name(row: Row) -> str:
    return f"{row['publisher']}.{row['name']}"


def _given(why: str) -> str:
    if not why.strip():
        raise ReasonMissing("No reason is given.", field="reason")
    return why.strip()


async def _may_be_lifted(conn: Connection, row: Row, pack: str) -> None:
    if row["state"] != "quarantined":
        raise NotWithdrawn(f"{pack} {row['version']} is {row['state']}, not quarantined.", state=row["state"])
    standing = await store.standing(conn, pack)
    if standing is not None and standing["state"] == "quarantined":
        raise PackWithdrawn(f"All of {pack} is quarantined: lift the pack.", withdrawal_id=standing["withdrawal_id"])


async def _do(
    ctx: Context, act: str, kind: str, subject: str, home: str, why: str, releases: Sequence[Row], approval: Row | None
) -> Row:
    """In the caller's transaction, which holds the releases: the receipt, then the states. `_ends` are the attachments
    whose sessions end once it is committed."""
    conn = ctx.conn
    receipt = await reaching.whole(conn, kind, subject, releases)
    receipt = {**receipt, "releases": [], "moved": []}
    ends: list[str] = []
    done: list[tuple[Row, str, str]] = []
    for row in releases:
        after = await _after(conn, act, kind, row)
        if after is None:
            continue
        done.append((row, *after))
        receipt["releases"].append(
            {"id": row["id"], "version": row["version"], "before": row["state"], "after": after[0]}
        )
    if kind == "release" and not done:
        state = STATES[act][0] if act in STATES else "released"
        model.RELEASE.check(releases[0]["state"], state)
    moves = [(row, move) for row, _, _ in done for move in await _attachments(conn, row, act)]
    receipt["moved"] = [{"id": a["id"], "before": a["state"], "after": state} for _, (a, state, _) in moves]
    who = ctx.principal
    made = await store.add_withdrawal(
        conn,
        {
            "tenant_id": releases[0]["tenant_id"], "id": new_id("wdr"), "workspace_id": home, "kind": kind,
            "subject": subject, "name": receipt["name"], "act": act, "why": why, "receipt": _plain(receipt),
            "by_kind": who.kind, "by_id": who.id, "by_name": who.name or who.id,
            "approval_id": approval["id"] if approval else None,
        },
    )  # fmt: skip
    cause = {"kind": "approval", "id": approval["id"]} if approval else None
    ctx.record(events.withdrawn(made, cause))
    for row, state, reason in done:
        if state == row["state"]:
            continue
        await packs.move_release(conn, row["id"], state, reason)
        ctx.record(
            events.release(events.RELEASE_MOVED, row, row["state"], state, reason, why=why, withdrawal=made["id"])
        )
    for row, (attachment, state, reason) in moves:
        model.ATTACHMENT.check(attachment["state"], state)
        await packs.move_attachment(conn, attachment["id"], state, reason)
        kind_of = events.ATTACHMENT_DETACHED if state == "detached" else events.ATTACHMENT_MOVED
        ctx.record(
            events.attachment(
                kind_of, attachment, attachment["state"], state, reason,
                {"kind": "release", "id": row["id"]}, why=why, withdrawal=made["id"],
            )
        )  # fmt: skip
        if state == "suspended":
            ends.append(attachment["id"])
        elif state == "detached":
            await treasury.revoke_grants_of_attachment(ctx, attachment["id"], attachment["workspace_id"])
    if act == "lift":
        await _given_back(ctx, [row for row, _, _ in done], [attachment for _, (attachment, _, _) in moves])
    if act in STATES:
        # Also by a job: whoever asked may be gone, or their process, before the calls are ended.
        await store.enqueue_ending(conn, made["tenant_id"], made["id"])
    ctx.commit_points("pack.withdrawn")
    return {**made, "_ends": ends}


async def _given_back(ctx: Context, releases: Sequence[Row], attachments: Sequence[Row]) -> None:
    """What is known of a release is open again, since it runs again; what waits for a pack, and what follows newer releases,
    is told that it serves. What waited of the release itself looks again: what it waits for may have come meanwhile."""
    for release in releases:
        for row in await store.findings_of_release(ctx.conn, release["id"]):
            if row["state"] == "quarantined":
                await store.move_findings(ctx.conn, [row["id"]], "open")
                ctx.record(events.finding({**row, "state": "open"}, row["state"]))
    for attachment in attachments:
        inside = ctx.acting(ctx.principal, workspace_id=attachment["workspace_id"])
        await inside.publish(
            "attachment.attached",
            {
                key: attachment[name]
                for key, name in (("attachment_id", "id"), ("pack", "pack"), ("workspace_id", "workspace_id"))
            },
        )
    for release in releases:
        await ctx.publish("release.lifted", {"release_id": release["id"]})


async def _after(conn: Connection, act: str, kind: str, row: Row) -> tuple[str, str] | None:
    """(state, reason) of a release after this; None where nothing is done to it. A release that is still being registered
    stays: a pack that is taken away is not attached, whatever becomes of it.

    What is quarantined stays so when it is revoked as well, or revoking would let it run again; it is revoked once it is
    lifted. What was quarantined by itself is not given back with its pack."""
    state = row["state"]
    if act == "quarantine":
        return STATES[act] if state in ("released", "revoked") else None
    if act == "revoke":
        kept = {"released": STATES[act], "quarantined": (state, row["reason"])}
        return kept.get(state)
    if state != "quarantined":
        return None
    taken = await store.withdrawal_of_release(conn, row["id"], "quarantine")
    if kind == "pack" and taken is not None and taken["kind"] != "pack":
        return None
    listed = taken["receipt"]["releases"] if taken else []
    before = next((item["before"] for item in listed if item["id"] == row["id"]), None)
    if before == "revoked" or await store.withdrawal_of_release(conn, row["id"], "revoke") is not None:
        return STATES["revoke"]
    return "released", "release_in_service"


async def _attachments(conn: Connection, row: Row, act: str) -> list[tuple[Row, str, str]]:
    """The attachments that move with their release: (row, state, reason), locked."""
    if act == "quarantine":
        found = await packs.attachments_of_release(conn, row["id"], sorted(model.SERVING))
        return [(attachment, "suspended", "release_quarantined") for attachment in found]
    if act == "revoke":
        # What waits would never be let in: no new attachment of it begins to serve.
        found = await packs.attachments_of_release(conn, row["id"], ["awaiting_connection", "awaiting_dependency"])
        return [(attachment, "detached", "release_revoked") for attachment in found]
    suspended = await packs.attachments_of_release(conn, row["id"], ["suspended"])
    back = [attachment for attachment in suspended if attachment["reason"] == "release_quarantined"]
    return [
        (a, "held", "tool_definition_changed") if a["held"] else (a, "attached", "attachment_in_service") for a in back
    ]


async def end_calls(ctx: Context, attachment_ids: Sequence[str], made: Row | None = None) -> list[str]:
    """Ends what runs of these attachments, until nothing does. A call whose intent was committed first may reach the host
    after its sessions were dropped, so they are dropped as long as calls of them run; no new one is begun any more, since
    an intent asks for a serving attachment in its own statement. `made`: the withdrawal that what was ended is recorded of.

    Returns the attachments of which something runs still after a while, or whose sessions the host did not drop: the job of
    the withdrawal goes on with them."""
    if ctx.undone or ctx.tx is not None or not attachment_ids:
        return []
    until = asyncio.get_running_loop().time() + SECONDS
    left = list(attachment_ids)
    ended: list[Row | None] = []
    while True:
        # All at once: one that fails or takes its time keeps no other from being ended.
        dropped = await asyncio.gather(*(_dropped(ctx, attachment_id) for attachment_id in left))
        kept = {attachment_id for attachment_id, done in zip(left, dropped, strict=True) if done is None}
        ended += dropped
        async with ctx.transaction() as conn:
            left = sorted(kept | {row["attachment_id"] for row in await store.running_of(conn, attachment_ids)})
        if not left or asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.05)
    if left:
        log.warning("not ended yet: the calls or sessions of %s", ", ".join(left))
    if made is not None:
        await stopping.told(ctx, made["id"], made["name"], made["workspace_id"], ended)
    return left


async def _dropped(ctx: Context, attachment_id: str) -> Row | None:
    try:
        return await hosting.client(ctx).drop(attachment_id=attachment_id)
    except Problem:
        return None


async def run_ending(ctx: Context, withdrawal_id: str) -> None:
    """The same by the worker, for a withdrawal that was committed, until nothing is left. Raises TimeoutError when something
    runs on after `JOB_SECONDS`: the job has failed then, and says so."""
    async with ctx.transaction() as conn:
        made = await store.withdrawal(conn, withdrawal_id)
    if made is not None and made["act"] in STATES:
        await stopping.run_renewing(ctx, made, said(made))
    until = asyncio.get_running_loop().time() + JOB_SECONDS
    while left := await end_calls(ctx, await _suspended(ctx, withdrawal_id), made):
        if asyncio.get_running_loop().time() > until:
            raise TimeoutError(f"{len(left)} attachments of {withdrawal_id} have calls or sessions still")
        await asyncio.sleep(1)
    await leftovers.of_withdrawal(ctx, withdrawal_id)


async def _suspended(ctx: Context, withdrawal_id: str) -> list[str]:
    """Of the attachments that the withdrawal moved, those that are suspended still; the one that it detached."""
    async with ctx.transaction() as conn:
        row = await store.withdrawal(conn, withdrawal_id)
        if row is not None and row["act"] == "detach":
            return [row["subject"]]
        moved = [item["id"] for item in row["receipt"]["moved"]] if row else []
        return [
            found["id"]
            for key in moved
            if (found := await packs.attachment(conn, key)) and found["state"] == "suspended"
        ]


async def detached(ctx: Context, row: Row, why: str) -> None:
    """In the transaction of a detachment: its receipt, and the reason that people of the workspace read."""
    found = await packs.release(ctx.conn, row["release_id"])
    assert found is not None
    receipt = {**await reaching.whole(ctx.conn, "attachment", row["id"], [found]), "releases": [], "moved": []}
    who = ctx.principal
    made = await store.add_withdrawal(
        ctx.conn,
        {
            "tenant_id": row["tenant_id"], "id": new_id("wdr"), "workspace_id": row["workspace_id"], "kind": "attachment",
            "subject": row["id"], "name": receipt["name"], "act": "detach", "why": why.strip(), "receipt": _plain(receipt),
            "by_kind": who.kind, "by_id": who.id, "by_name": who.name or who.id, "approval_id": None,
        },
    )  # fmt: skip
    ctx.record(events.withdrawn(made, None))
    # Also by a job: whoever asked may be gone, or their process, before its sessions are dropped and its clones removed.
    await store.enqueue_ending(ctx.conn, made["tenant_id"], made["id"])


async def refuse_withdrawn(ctx: Context, pack: str) -> None:
    """In the transaction of an attachment: raises PackWithdrawn where the whole pack was taken away, by whom and why."""
    assert ctx.tenant_id is not None
    await store.lock_standing(ctx.conn, ctx.tenant_id, pack)
    standing = await store.standing(ctx.conn, pack)
    if standing is None or standing["state"] == "free":
        return
    row = await store.withdrawal(ctx.conn, standing["withdrawal_id"])
    assert row is not None
    raise PackWithdrawn(f"All of {pack} is {standing['state']}. {said(row)}", withdrawal_id=row["id"])


async def show(ctx: Context, withdrawal_id: str) -> Row:
    """One withdrawal with the part of its receipt that lies where the reader sees packs. Raises WithdrawalNotFound."""
    async with ctx.transaction() as conn:
        row = await store.withdrawal(conn, withdrawal_id)
        if row is None or not (found := await _shown(ctx, [row])):
            raise WithdrawalNotFound(f"There is no withdrawal {withdrawal_id}.")
        return found[0]


async def listed(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """Those that have to do with a workspace, newest first; up to `limit`. Raises Denied."""
    await ctx.require(actions.VIEW.name, Resource("pack", "*", workspace_id))
    async with ctx.transaction() as conn:
        return [_cut(row, {workspace_id}) for row in await store.withdrawals(conn, workspace_id, after, limit)]


async def _shown(ctx: Context, rows: list[Row]) -> list[Row]:
    found = []
    for row in rows:
        places = {row["workspace_id"], *(place["id"] for place in row["receipt"]["workspaces"])}
        if seen := await reaching.seen_by(ctx, places):
            found.append(_cut(row, seen))
    return found


async def told(ctx: Context, row: Row) -> Row:
    """As whoever did it reads it: the part of the receipt that lies where they see packs, and whether that is all of it."""
    places = {row["workspace_id"], *(place["id"] for place in row["receipt"]["workspaces"])}
    async with ctx.transaction():
        return _cut(row, await reaching.seen_by(ctx, places))


KEYS = (
    "id",
    "workspace_id",
    "kind",
    "subject",
    "name",
    "act",
    "why",
    "by_kind",
    "by_id",
    "by_name",
    "approval_id",
    "at",
)


def _cut(row: Row, seen: set[str]) -> Row:
    """As the API shows it: the receipt's part of these workspaces, and whether that is all of it. Pure."""
    whole = row["receipt"]
    part = reaching.cut(whole, seen)
    mine = {item["id"] for item in part["attachments"]}
    part["releases"] = whole["releases"]
    part["moved"] = [item for item in whole["moved"] if item["id"] in mine]
    whole_of_it = all(len(part[name]) == len(whole.get(name, ())) for name in reaching.LISTS)
    return {**{key: row[key] for key in KEYS}, "sentence": said(row), "receipt": part, "receipt_cut": not whole_of_it}


async def because(conn: Connection, attachment: Row) -> str:
    """` Who took it away, when and why`, of an attachment that serves no more; empty where nobody did."""
    row = await store.last_withdrawal(conn, [attachment["id"], attachment["release_id"], attachment["pack"]])
    return "" if row is None or row["act"] == "lift" else f" {said(row)}"


WORDS = {"revoke": "revoked", "quarantine": "quarantined", "lift": "lifted", "detach": "detached"}


def said(row: Row) -> str:
    """Who did what, when and why, in a sentence. Pure."""
    moment = str(row["at"])[:16].replace("T", " ")
    return (
        f"{row['name']} was {WORDS[row['act']]} by {row['by_name']} at {moment}: {row['why'] or 'no reason was given'}"
    )
