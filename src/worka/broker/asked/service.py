"""Recording where an outside name leads, or who vouches for it: at once where no credential goes there, else once somebody else
has agreed to exactly that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from worka.approvals import service as consent
from worka.approvals import store as approval_rows
from worka.broker import actions, ca, events
from worka.broker.asked import store
from worka.broker.errors import WayChangeUnknown
from worka.connections import leads
from worka.connections.store import lock_places, names
from worka.kernel import canonical
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.errors import Conflict, Denied, Invalid
from worka.kernel.ids import new_id

Row = dict[str, Any]
SUBJECT = "way_change"
OUTCOMES = {
    "rejected": "way_rejected", "expired": "way_not_decided", "withdrawn": "way_not_decided",
    "superseded": "way_superseded",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be recorded of a name. `settings` are its fields as they are kept, {name, port, reason} among them."""

    name: str
    """network_exception or upstream_trust."""
    action: str
    view: str
    noun: str
    """What it is called in a sentence."""
    hold: Callable[[Context, Row], Awaitable[None]]
    """Locks what it rests on and what is locked before places are."""
    require: Callable[[Context, str, Row, bool], Awaitable[Decision]]
    """(workspace, settings, whether a credential goes there): the façade's answer. Raises Denied."""
    replaces: Callable[[Context, str, Row], Awaitable[str | None]]
    """The record that ends with it. Raises a Problem for what cannot be recorded."""
    put: Callable[[Context, str, Row, str | None, str, Row | None], Awaitable[Row]]
    """(workspace, settings, what it replaces, by whom, cause): records it in the open transaction."""


KINDS: dict[str, Kind] = {}
"""By name; each is registered by the module that owns it."""


def kind(definition: Kind) -> Kind:
    """Registers a kind and returns it."""
    KINDS[definition.name] = definition
    return definition


async def record(ctx: Context, what: Kind, workspace_id: str, settings: Row) -> Row:
    """Records it, and answers what it is; or {state: open, approval_id, …} of the change that waits for a second person. Raises
    Denied, and what the kind raises."""
    async with ctx.transaction() as conn:
        await what.hold(ctx, settings)
        await lock_places(conn, workspace_id)
        there = await store.carried(conn, workspace_id, settings["name"], settings["port"])
        decision = await what.require(ctx, workspace_id, settings, bool(there))
        over = await what.replaces(ctx, workspace_id, settings)
        if decision.verdict == "ask":
            return await _propose(ctx, what, workspace_id, settings, over, there, decision)
        return await what.put(ctx, workspace_id, settings, over, ctx.principal.id, None)


def digest_of(
    workspace_id: str,
    what: Kind,
    settings: Row,
    over: str | None,
    carries: Sequence[Row],
    beside: Sequence[Row],
    initiator: str,
    behind: str | None,
) -> str:
    """What an approver decides on: exactly this record, asked for by them, what stands beside it, and the credentials that go
    there now."""
    return canonical.sha256_hex(
        {
            "v": 1, "action": what.action, "workspace": workspace_id, "settings": settings, "replaces": over,
            "carries": [[item["kind"], item["id"]] for item in carries], "initiator": initiator,
            "originating_person": behind, **({"beside": leads.exactly(beside)} if beside else {}),
        }
    )  # fmt: skip


async def _beside(ctx: Context, workspace_id: str, settings: Row, over: str | None) -> list[Row]:
    """What else is recorded of the same place, and stays: upstream trust stands before an exception's authority, and an
    attachment's own before the workspace's."""
    found = await leads.recorded(ctx, workspace_id, [(settings["name"], settings["port"])])
    return [
        row for row in found if row["id"] != over and _touch(row["attachment_id"], settings.get("attachment_id", ""))
    ]


def _touch(one: str, other: str) -> bool:
    """Whether some call goes by both: what is for one attachment alone says nothing of another's calls."""
    return one == other or not one or not other


async def _propose(
    ctx: Context, what: Kind, workspace_id: str, settings: Row, over: str | None, there: list[Row], decision: Decision
) -> Row:
    conn, by = ctx.conn, ctx.principal.id
    initiator = f"{ctx.principal.kind}:{by}"
    beside = await _beside(ctx, workspace_id, settings, over)
    digest = digest_of(workspace_id, what, settings, over, there, beside, initiator, ctx.originating_person)
    for row in await store.open_for(conn, workspace_id, settings["name"], settings["port"]):
        if row["digest"] == digest and row["proposed_by"] == by:
            return shown(row)
    whose = await names(conn, [item["person_id"] for item in there if item["person_id"]])
    made = await store.add(
        conn,
        {
            "tenant_id": ctx.tenant_id, "id": new_id("wch"), "workspace_id": workspace_id, "kind": what.name,
            "name": settings["name"], "port": settings["port"], "settings": settings, "replaces": over, "digest": digest,
            "carries": [{"kind": item["kind"], "id": item["id"], "words": _credential(item, whose)} for item in there],
            "proposed_by": by,
        },
    )  # fmt: skip
    found = shown(made)
    stays = [f"Recorded besides: {line}" for line in await leads.sentences(conn, beside)]
    ctx.workspace_id = workspace_id
    approval = await consent.request(
        ctx,
        boundary=what.action,
        action=what.action,
        subject_type=SUBJECT,
        subject_id=made["id"],
        title=f"Record {what.noun} for {settings['name']}:{settings['port']}",
        effect=" ".join([found["words"], *stays, _goes_there(found["credentials"])]),
        digest=digest,
        card={
            "kind": what.name, "name": f"{settings['name']}:{settings['port']}", "leads_to": found["leads_to"],
            "trusted": _trusted(settings), "shown_to_it": _subjects(settings.get("client_cert_pem", "")),
            "for_attachment": found["attachment_id"], "credentials": found["credentials"],
            "replaces": over or "", "because": found["why"], **({"beside": stays} if stays else {}),
        },
        arguments=canonical.dumps(settings),
        rules=list(decision.approval_rules),
        decision_id=decision.id,
        policy_version=decision.policy_version,
        blocks=[{"kind": SUBJECT, "id": made["id"], "name": f"{what.noun} for {settings['name']}:{settings['port']}"}],
        expires_in=timedelta(hours=ctx.settings.approvals.expires_hours),
    )  # fmt: skip
    row = await store.set_approval(conn, made["id"], approval["id"])
    ctx.record(events.way_change_proposed(row))
    ctx.failpoint("way.change.before_commit")
    return shown(row)


def _credential(item: Row, whose: dict[str, str]) -> str:
    if item["kind"] == "destination":
        return f"the credential of the registry {item['name']}"
    if item["kind"] == "provider_client":
        return f"the workspace's client at {item['provider']}, and the tokens that it is given"
    if item["person_id"]:
        owner = whose.get(item["person_id"], "somebody who is not here any more")
        return f"the own account of {owner}, connected as {item['name']} ({item['provider']})"
    return f"the workspace's connection {item['name']} ({item['provider']})"


def _goes_there(credentials: Sequence[str]) -> str:
    if not credentials:
        return "No credential that is kept here goes there."
    return f"What goes there: {'; '.join(credentials)}."


def _subjects(pem: str) -> list[str]:
    return [f"{item['subject']}, until {item['ends_at']:%Y-%m-%d}" for item in ca.told(pem)]


def _trusted(settings: Row) -> list[str]:
    """Each certificate of the authority by its name and its fingerprint."""
    pem = settings["ca_pem"]
    return [f"{subject}: SHA-256 {mark}" for subject, mark in zip(_subjects(pem), leads.fingerprints(pem), strict=True)]


def _words(row: Row) -> str:
    settings, place = row["settings"], f"{row['name']}:{row['port']}"
    believed = f"the certificate authority {leads.told(settings['ca_pem'])}" if settings["ca_pem"] else ""
    if row["kind"] == "network_exception":
        checked = f", checked by {believed}" if believed else ", without TLS"
        return f"Calls to {place} go to {leads_to(settings)}{checked}."
    alone = " of one attachment alone" if settings["attachment_id"] else ""
    checked = f"are checked by {believed} instead of the public ones" if believed else "are checked as they are now"
    shown_to = " and are shown a certificate of ours" if settings["client_cert_pem"] else ""
    return f"Calls{alone} to {place} {checked}{shown_to}."


def leads_to(settings: Row) -> str:
    """The address and port behind the name; empty for what leads nowhere else."""
    if "address" not in settings:
        return ""
    address = f"[{settings['address']}]" if ":" in settings["address"] else settings["address"]
    return f"{address}:{settings['real_port']}"


def shown(row: Row) -> Row:
    """A change as the API shows it."""
    keys = ("id", "workspace_id", "kind", "name", "port", "replaces", "state", "reason", "since", "approval_id", "made_id",
            "proposed_by", "created_at")  # fmt: skip
    settings = row["settings"]
    return {
        **{key: row[key] for key in keys},
        "leads_to": leads_to(settings),
        "authorities": leads.fingerprints(settings["ca_pem"]),
        "attachment_id": settings.get("attachment_id", ""),
        "why": settings["reason"],
        "credentials": [item["words"] for item in row["carries"]],
        "words": _words(row),
    }


# seeing -------------------------------------------------------------------------------------------------------------
async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The workspace's changes, newest first. Raises Denied."""
    place = Resource("workspace", workspace_id, workspace_id)
    async with ctx.transaction() as conn:
        await ctx.require(actions.NETWORK_EXCEPTION_VIEW, place)
        await ctx.require(actions.UPSTREAM_TRUST_VIEW, place)
        return [shown(row) for row in await store.page(conn, workspace_id, after, limit)]


async def get(ctx: Context, change_id: str) -> Row:
    """One of them. Raises WayChangeUnknown."""
    async with ctx.transaction() as conn:
        row = await store.get(conn, change_id)
        if row is None:
            raise WayChangeUnknown()
        place = Resource("workspace", row["workspace_id"], row["workspace_id"])
        if (await ctx.decide(KINDS[row["kind"]].view, place)).verdict == "deny":
            raise WayChangeUnknown()
        return shown(row)


# decided ------------------------------------------------------------------------------------------------------------
async def approval_locking(ctx: Context, payload: Row) -> None:
    """What it rests on, the places, the change, its approval: in the order in which recording takes them."""
    if payload["subject_type"] != SUBJECT:
        return
    row = await store.get(ctx.conn, payload["subject_id"])
    if row is not None:
        await KINDS[row["kind"]].hold(ctx, row["settings"])
        await lock_places(ctx.conn, row["workspace_id"])
        await store.get(ctx.conn, row["id"], lock=True)


async def approval_decided(ctx: Context, payload: Row) -> None:
    """In the transaction of the decision: it is recorded, or closed. Not ours: nothing happens."""
    if payload["subject_type"] != SUBJECT:
        return
    conn = ctx.conn
    row = await store.get(conn, payload["subject_id"], lock=True)
    if row is None or row["state"] != "open" or row["approval_id"] != payload["approval_id"]:
        return
    cause = {"kind": "approval", "id": payload["approval_id"]}
    if payload["state"] != "approved":
        await _close(ctx, row, OUTCOMES[payload["state"]], cause)
        return
    what = KINDS[row["kind"]]
    await lock_places(conn, row["workspace_id"])
    if not await _redeem(ctx, what, row):
        await _close(ctx, row, "way_superseded", cause)
        return
    made = await what.put(ctx, row["workspace_id"], row["settings"], row["replaces"], row["proposed_by"], cause)
    closed = await store.end(conn, row["id"], "way_recorded", made["id"])
    assert closed is not None, "it is open, and locked here"
    ctx.record(events.way_change_closed(closed, cause))
    for other in await store.open_for(conn, row["workspace_id"], row["name"], row["port"]):
        # Asked for where this was not: whoever agreed to it would agree to something else.
        if _touch(other["settings"].get("attachment_id", ""), row["settings"].get("attachment_id", "")):
            await consent.end_for(ctx, other["id"], "superseded")
            await _close(ctx, other, "way_superseded", cause)
    ctx.failpoint("way.change.before_commit")


async def _close(ctx: Context, row: Row, reason: str, cause: Row) -> None:
    if (closed := await store.end(ctx.conn, row["id"], reason)) is not None:
        ctx.record(events.way_change_closed(closed, cause))


async def _redeem(ctx: Context, what: Kind, row: Row) -> bool:
    """Decides again, as who asked, now: rights, policy, what stands there and which credentials go there count as they are at
    this moment. A consent that is not one to this is superseded, not spent."""
    approval = await approval_rows.get(ctx.conn, row["approval_id"])
    assert approval is not None
    asker = ctx.acting(Principal(approval["requester_kind"], approval["requester_id"], "", ctx.tenant_id))
    asker.originating_person = approval["originating_person"]
    there = await store.carried(ctx.conn, row["workspace_id"], row["name"], row["port"])
    try:
        decision = await what.require(asker, row["workspace_id"], row["settings"], bool(there))
        over = await what.replaces(asker, row["workspace_id"], row["settings"])
        beside = await _beside(asker, row["workspace_id"], row["settings"], over)
    except (Conflict, Denied, Invalid):
        await consent.end(ctx, approval, "superseded")
        return False
    initiator = f"{approval['requester_kind']}:{approval['requester_id']}"
    digest = digest_of(
        row["workspace_id"], what, row["settings"], over, there, beside, initiator, approval["originating_person"]
    )
    return (await consent.redeem(ctx, approval["id"], digest=digest, decision=decision, used_by=row["id"])).usable
