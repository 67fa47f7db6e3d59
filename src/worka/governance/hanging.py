"""What hangs on a member, or goes to a destination, beside packs and tasks: named before it is stopped or taken out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from worka.approvals import notices
from worka.approvals import store as approvals
from worka.approvals.people import audience
from worka.approvals.rules import Ask
from worka.governance import kills, store
from worka.kernel.context import Context

Row = dict[str, Any]
PAGE = 200
WORDS = {
    "approvals_asked": ("open approval asked by them", "open approvals asked by them"),
    "approvals_waiting": ("open approval that waits for them", "open approvals that wait for them"),
    "delegations": ("delegation", "delegations"),
    "bypasses": ("bypass of approvals that they opened", "bypasses of approvals that they opened"),
    "invitations": ("open invitation that they sent", "open invitations that they sent"),
    "service_accounts": ("service account", "service accounts"),
    "team_members": ("AI team member", "AI team members"),
    "tokens": ("API token", "API tokens"),
    "webhooks": ("webhook", "webhooks"),
    "proposals": ("proposed change of policy", "proposed changes of policy"),
    "mail": ("mail server", "mail servers"),
}
"""Kind -> one of them, several."""


async def of_member(ctx: Context, principal_id: str, workspace_id: str | None) -> tuple[list[str], list[Row]]:
    """(its workspaces, what hangs on it: {what, id, name, workspace_id}), here or (None) in the tenant."""
    rows = await store.hanging(ctx.conn, principal_id, workspace_id)
    places = [row["id"] for row in rows if row["what"] == "workspaces"]
    found = [{**row, "name": _host_alone(row)} for row in rows if row["what"] != "workspaces"]
    for place in places:
        found += await _waiting(ctx, place, principal_id)
    return places, found


async def _waiting(ctx: Context, workspace_id: str, person_id: str) -> list[Row]:
    """The open approvals in which their yes would fill a seat: all of them, looked through page by page."""
    rows = await approvals.listed(ctx.conn, workspace_id, "open", None, PAGE)
    if not rows:
        return []
    found: list[Row] = []
    people = await audience(ctx.conn, ctx, workspace_id)
    while rows:
        votes = await approvals.votes_of(ctx.conn, [row["id"] for row in rows])
        found += [
            {"what": "approvals_waiting", "id": row["id"], "name": row["title"], "workspace_id": workspace_id}
            for row in rows
            if any(who["id"] == person_id for who in notices.waited_for(Ask.of(row, votes[row["id"]]), people))
        ]
        rows = await approvals.listed(ctx.conn, workspace_id, "open", rows[-1]["id"], PAGE)
    return found


async def of_destination(ctx: Context, subject: str, workspace_id: str | None) -> list[Row]:
    """The webhooks that go there, and the mail server if it is there."""
    found = [
        {"what": "webhooks", "id": row["id"], "name": _place(row["url"]), "workspace_id": row["workspace_id"]}
        for row in await store.webhooks_of(ctx.conn, workspace_id)
        if kills.covers(subject, _place(row["url"]))
    ]
    mail = ctx.settings.mail if ctx.settings is not None else None
    if mail is not None and mail.host and kills.covers(subject, f"{mail.host.lower()}:{mail.port}"):
        found.append({"what": "mail", "id": mail.host, "name": "all outgoing mail", "workspace_id": workspace_id})
    return found


def _host_alone(row: Row) -> str:
    """The path of a webhook may be its key, and a token's name is its holder's: neither stands where every viewer reads."""
    return _place(row["name"]) if row["what"] == "webhooks" else "" if row["what"] == "tokens" else str(row["name"])


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{(parts.hostname or '').lower()}:{parts.port or 443}"


def counted(hangs: list[Row]) -> list[str]:
    """How many of each kind, in words, in the order of WORDS. Pure."""
    return in_words({what: sum(1 for row in hangs if row["what"] == what) for what in WORDS})


def in_words(numbers: Mapping[str, int]) -> list[str]:
    """The same, counted already. Pure."""
    return [f"{numbers[what]} {WORDS[what][numbers[what] != 1]}" for what in WORDS if numbers.get(what)]
