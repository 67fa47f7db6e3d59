"""Who is told by mail: those whose yes is needed, by the one function that card, inbox and decision ask, asked again when
the mail is written and again when it is sent; and who is behind what ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worka import workspaces
from worka.approvals import notices
from worka.approvals import store as approval_rows
from worka.approvals.people import Audience, audience
from worka.approvals.rules import Ask
from worka.kernel.context import Context
from worka.notifications import store
from worka.notifications.mail import TEST

Row = dict[str, Any]
ASKS = ("approval.requested", "approval.reminder", "approval.escalation")


@dataclass(frozen=True)
class Told:
    """Somebody to be told: where, who asks, and in whose place they decide."""

    email: str
    requester: str = ""
    behalf: str = ""


async def wanted(ctx: Context, kind: str, approval: Row, payload: Row) -> list[str]:
    """The people who are told of this by mail, now; without those who want none."""
    people = await audience(ctx.conn, ctx, approval["workspace_id"])
    found = list(await asked(ctx, approval, people)) if kind in ASKS else _behind(approval, people, payload)
    without = await store.without_mail(ctx.conn)
    return [who for who in found if who not in without]


async def still(ctx: Context, row: Row) -> Told | None:
    """Whether, and where, the person of this delivery is told now; None: not any more."""
    who = row["target"]
    members = await workspaces.store.members(ctx.conn, row["workspace_id"])
    here = {item["principal_id"]: item for item in members}
    member = here.get(who)
    if member is None or not member["enabled"] or not member["email"]:
        return None
    if row["type"] == TEST:
        return Told(member["email"])
    approval = await approval_rows.get(ctx.conn, row["payload"]["data"]["approval_id"])
    wish = await store.choice(ctx.conn, who)
    if approval is None or (wish is not None and not wish["mail"]):
        return None
    people = await audience(ctx.conn, ctx, row["workspace_id"])
    behalf = None
    if row["type"] in ASKS:
        needed = await asked(ctx, approval, people)
        if who not in needed:
            return None
        behalf = needed[who]
    requester = str(people.names.get(approval["requester_id"], approval["requester_id"]))
    person = approval["originating_person"]
    if person and person != approval["requester_id"]:
        requester += f" for {people.names.get(person, person)}"
    return Told(member["email"], requester, people.names.get(behalf, "") if behalf else "")


async def asked(ctx: Context, approval: Row, people: Audience) -> dict[str, str | None]:
    """Whose yes is needed -> in whose place they give it."""
    if approval["state"] != "open":
        return {}
    ask = Ask.of(approval, await approval_rows.votes(ctx.conn, approval["id"]))
    return {item["id"]: item["on_behalf_of"] for item in notices.waited_for(ask, people)}


def _behind(approval: Row, people: Audience, payload: Row) -> list[str]:
    who = approval["originating_person"]
    decided = (payload.get("decided_by") or {}).get("id")
    return [who] if who in people.readers and who != decided else []


def address_of(ctx: Context, row: Row) -> str:
    """Where the card is; empty when the deployment does not say where people reach it."""
    base = str(ctx.settings.http.public_url).rstrip("/") if ctx.settings is not None else ""
    approval = row["payload"]["data"].get("approval_id")
    return f"{base}/approvals/{approval}" if base and approval else ""
