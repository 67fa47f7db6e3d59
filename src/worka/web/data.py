"""What the pages show: the answers of the same use cases as the API's routes, in the reader's Context, with names put
beside ids. Nothing is decided here, and nothing is read that the API would not give this reader."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from worka import identity
from worka.approvals import service as approvals_of
from worka.governance import service as governance
from worka.kernel import ids
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.explanation import Explanation
from worka.kernel.http import Page
from worka.observability import explain as observed
from worka.observability import rules as ages
from worka.observability import sentences
from worka.observability import service as observability
from worka.packs import routes as packs
from worka.views import service as views_of
from worka.web import words
from worka.web.render import for_reader
from worka.workflows import service as workflows
from worka.workflows import words as lines
from worka.workspaces import service as workspaces_of

Row = dict[str, Any]
SPANS: Final = {"15m": "15 minutes", "1h": "1 hour", "24h": "24 hours", "7d": "7 days"}
_LANE_OF: Final = {
    "approval": "approvals", "proposal": "approvals", "task": "tasks", "invocation": "packs", "attachment": "capability",
    "connection": "capability", "release": "capability", "publication": "capability", "move": "capability",
    "process": "services", "secret": "secrets",
    "audit": "evidence",
}  # fmt: skip
# Of an approval's card: what has its own place on the page, or says nothing to a person.
_CARD_ELSEWHERE: Final = {"action", "tool", "workspace", "initiator", "originating_person", "args_digest", "task_title"}
# What the approval is bound to beyond what a person decides by: below the fold, never left out.
_BOUND: Final = {
    "release", "release_digest", "attachment", "tool_pin", "task", "step", "publication", "artifact", "from_release",
    "from_digest", "difference_digest",
}  # fmt: skip
_CARD_WORDS: Final = {
    "description": "What it does", "tool": "Tool", "pack": "Pack", "version": "Version", "release": "Release",
    "release_digest": "Release digest", "attachment": "Attachment", "destinations": "Goes to",
    "connections": "Connections",
    "side_effect": "Side effect", "idempotent": "Safe to repeat", "tool_pin": "Tool definition", "mode": "Mode",
    "mounts": "Files it reads", "outbound_domains": "May reach", "host_services": "Host services", "tools": "Tools",
    "task": "Task", "step": "Step", "publication": "Publication", "artifact": "Artifact", "destination": "Published to",
    "visibility": "Seen by", "shared_with": "Shared with",
    "from_version": "From version", "risk": "Risk", "changes": "What changes",
    "by_itself": "Comes of following", "from_release": "From release", "from_digest": "From release digest",
    "difference_digest": "Difference digest",
    "led": "Where it leads", "leads_to": "Leads to", "trusted": "Whom it trusts", "shown_to_it": "What it is shown",
    "for_attachment": "For this attachment alone", "credentials": "What goes there", "replaces": "In the place of",
    "because": "Why",
}  # fmt: skip
BURST: Final = timedelta(seconds=60)
OLD: Final = timedelta(hours=24)
"""An approval that waits for longer is shown as old."""
JUST: Final = timedelta(seconds=20)


# signing in ---------------------------------------------------------------------------------------------------------
async def nobody_yet(ctx: Context) -> bool:
    """Whether nobody is set up here yet; not, where that cannot be found out now: the page is there on a bad day too."""
    try:
        return await identity.nobody_yet(ctx)
    except Problem:
        return False


async def sign_in(ctx: Context, email: str, password: str, address: str) -> Row:
    """A session by password. Raises BadSignIn, SecondFactorRequired, TooManySignIns."""
    return await identity.sign_in(ctx, email, password, address)


async def finish_sign_in(ctx: Context, continuation: str, code: str, address: str) -> Row:
    """The second step, with a code. Raises UsedOrUnknownToken, SecondFactorRequired, TooManyCodes."""
    return await identity.finish_sign_in(ctx, continuation, code, address)


async def sign_in_by_link(ctx: Context, link: str) -> Row:
    """A session by one-time link. Raises UsedOrUnknownToken."""
    return await identity.sign_in_by_link(ctx, link)


async def sign_out(ctx: Context) -> None:
    """Ends the reader's session."""
    await identity.sign_out(ctx)


# what frames every page ---------------------------------------------------------------------------------------------
async def workspaces(ctx: Context) -> list[Row]:
    """The reader's workspaces: [{workspace_id, name, tenant_name, role}]."""
    return [{**row, "workspace_id": row["id"]} for row in await workspaces_of.my_workspaces(ctx)]


async def shell(ctx: Context) -> Row:
    """Who reads, where, in which role, and how many decisions wait here."""
    mine = await workspaces(ctx)
    here = next((row for row in mine if row["workspace_id"] == ctx.workspace_id), None)
    waiting: int | str = 0
    oldest: Row | None = None
    if ctx.workspace_id:
        try:
            found = await approvals_of.listing(ctx, ctx.workspace_id, "open", None, 99)
            waiting = "99+" if len(found) > 99 else len(found)
            oldest = next((row for row in reversed(found) if row["eligibility"]["eligible"]), None)
        except Problem:
            waiting = 0  # the number beside a word is not worth a page
    return {
        "me": {"id": ctx.principal.id, "name": ctx.principal.name, "kind": ctx.principal.kind},
        "workspaces": mine,
        "workspace": here or {},
        "role": here["role"] if here else "",
        "open_approvals": waiting,
        "mine": oldest,
        "air_gapped": ctx.settings is not None and ctx.settings.network.air_gapped,
    }


async def names_of(ctx: Context) -> dict[str, str]:
    """Names of the workspace's people and team members by id; an id without one stays an id."""
    if ctx.workspace_id is None:
        return {}
    try:
        return {row["principal_id"]: row["name"] for row in await workspaces_of.members(ctx, ctx.workspace_id)}
    except Problem:
        return {}


def _paged(page: Page, rows: list[Row], *key: str) -> Row:
    answer = page.answer(rows, *key)
    return {"entries": answer["items"], "next": answer["next"]}


def _after(page: Page) -> str | None:
    return page.id


# attention ----------------------------------------------------------------------------------------------------------
async def attention(ctx: Context) -> Row:
    """What needs the reader: {lanes: [{key, title, text, entries}], sentence, as_of}; or {problem}: it is unknown."""
    assert ctx.workspace_id is not None
    try:
        found = await observability.attention(ctx)
        asked = {row["id"]: row for row in await approvals_of.listing(ctx, ctx.workspace_id, "open", None, 100)}
    except Problem as problem:
        if problem.status < 500:
            raise
        return {"problem": for_reader(ctx, problem), "lanes": [], "as_of": now()}
    # What waits for an approval stands with it, once.
    behind = {block["id"] for row in asked.values() for block in row["blocks"] if block["id"].startswith("task_")}
    shown = [
        item
        for item in found["items"]
        if not (item["kind"] == "task" and item["state"] == "waiting" and item["ref"] in behind)
    ]
    lanes: dict[str, list[Row]] = {}
    for item in shown:
        subject = item["ref"]
        target = words.href(subject, ctx.workspace_id)
        if not target and ids.check(subject):
            target = f"/w/{ctx.workspace_id}/why/{subject}"
        lane = "waiting" if item["kind"] == "task" and item["state"] == "waiting" else _LANE_OF.get(item["kind"], "")
        title, line = words.told(item["title"], item["headline"])
        told = _asked(asked.get(subject), ctx.workspace_id)
        line = line.removesuffix(f", for {told['for']}") if told else line
        lanes.setdefault(lane or "evidence", []).append(
            {
                **item,
                "href": target,
                "you_can": item["mine"],
                "title": title,
                "line": line,
                **told,
            }
        )
    mine = sum(1 for item in shown if item["mine"])
    return {
        "lanes": [
            {"key": key, "title": title, "text": text, "entries": lanes[key]}
            for key, (title, text) in words.ATTENTION.items()
            if key in lanes
        ],
        "sentence": _sentence(mine, len(shown)),
        "as_of": found["observed_at"],
    }


def _asked(row: Row | None, workspace_id: str) -> Row:
    """What tells two approvals of one kind apart: for what, and by whom."""
    if row is None:
        return {}
    named = [item for item in row["blocks"] if item.get("name")]
    return {
        "for_href": words.href(named[0]["id"], workspace_id) if len(named) == 1 else "",
        "for": ", ".join(item["name"] for item in row["blocks"] if item.get("name")),
        "by": (row.get("requester") or {}).get("name") or "",
    }


def _sentence(mine: int, total: int) -> str:
    things = "1 thing" if total == 1 else f"{total} things"
    if not mine:
        return f"{things} to look at. None of it needs your decision."
    verb = "needs" if mine == 1 else "need"
    return f"{mine} of {things} {verb} your decision." if total > 1 else "1 thing needs your decision."


# tasks --------------------------------------------------------------------------------------------------------------
async def tasks(ctx: Context, states: list[str] | None, cursor: str | None) -> Row:
    """Tasks, newest first, with what each waits for: {entries, next}."""
    page = Page(limit=50, cursor=cursor)
    found = _paged(page, await workflows.listing(ctx, _after(page), page.limit, states), "id")
    names = await names_of(ctx)
    living = await observability.living_workers(ctx)
    for row in found["entries"]:
        row["waiting"] = row.get("waiting_on") or []
        row["line"] = lines.line(row, row["state"], row["reason"], living)
        row["member_name"] = names.get(row["member_id"])
    return found


async def standing(ctx: Context) -> str:
    """What is in flight and does not run, in words: why a list of running tasks is empty."""
    states = ["queued", "retrying", "stalled", "waiting"]
    found = [row["state"] for row in await workflows.listing(ctx, None, 99, states)]
    told = [f"{found.count(state)} {state}" for state in ("stalled", "retrying", "queued", "waiting") if state in found]
    return ", ".join(told)


async def task(ctx: Context, task_id: str) -> Row:
    """A task with its steps."""
    row = await workflows.get(ctx, task_id)
    names = await names_of(ctx)
    return {
        **row,
        "member_name": names.get(row["member_id"]),
        "originating_name": names.get(row["originating_person"] or ""),
    }


async def _title(ctx: Context, task_id: str | None) -> str:
    """What a task is called; nothing when there is none, or this reader may not see it."""
    if not task_id:
        return ""
    try:
        return str((await workflows.get(ctx, task_id))["title"])
    except Problem:
        return ""


async def act(ctx: Context, task_id: str, outcome: str) -> Row:
    """Ends a task (`cancel`), or says what became of a step whose outcome nobody knows (`retry`, `failed`)."""
    if outcome == "cancel":
        return await workflows.cancel(ctx, task_id, "")
    return await workflows.resolve(ctx, task_id, outcome, "")


# approvals ----------------------------------------------------------------------------------------------------------
async def approvals(ctx: Context, show: str, cursor: str | None, whose: str = "all") -> Row:
    """Approvals, newest first, the open ones of one page by what they block: {entries, next}."""
    page = Page(limit=50, cursor=cursor)
    assert ctx.workspace_id is not None
    state = "open" if show == "open" else None
    rows = await approvals_of.listing(ctx, ctx.workspace_id, state, page.id, page.limit, whose)
    found = _paged(page, rows, "id")
    found["entries"] = [_approval(row) for row in found["entries"] if show != "decided" or row["state"] != "open"]
    if show == "open":
        met: dict[str, int] = {}
        for row in found["entries"]:
            met.setdefault(_blocked(row), len(met))
        found["entries"].sort(key=lambda row: met[_blocked(row)])
    return found


def _blocked(row: Row) -> str:
    """What a person would see freed by it first."""
    return str(row["blocks"][0]["ref"]) if row["blocks"] else str(row["id"])


async def approval(ctx: Context, approval_id: str) -> Row:
    """The card of one approval. `just_said`: what the reader decided a moment ago, so that the page can thank for it."""
    card = _approval(await approvals_of.show(ctx, approval_id), await names_of(ctx))
    mine = [vote for vote in card["votes"] if (vote.get("person") or {}).get("id") == ctx.principal.id]
    said = mine[-1]["decision"] if mine and now() - mine[-1]["at"] < JUST else ""
    return {**card, "just_said": said}


def _approval(row: Row, names: Mapping[str, str] | None = None) -> Row:
    # A card keeps who asked as an id, which binds it; a person reads the name.
    card = {key: _person(item, names or {}) for key, item in (row.get("card") or {}).items()}
    card["side_effect"] = words.spoken(card.get("side_effect"))
    origin = row.get("originating_person") or {}
    requester = row.get("requester") or {"kind": "", "id": "", "name": ""}
    missing = row.get("missing") or []
    arguments = row.get("arguments")
    return {
        **row,
        "call": card.get("tool"),
        "details": [
            (label, card[key]) for key, label in _CARD_WORDS.items() if key not in _BOUND and _tells(card, key)
        ],
        "bound": [(label, card[key]) for key, label in _CARD_WORDS.items() if key in _BOUND and _tells(card, key)]
        + [
            (words.spoken(key).capitalize(), item)
            for key, item in card.items()
            if key not in _CARD_WORDS and key not in _CARD_ELSEWHERE and item not in (None, "", [], {})
        ],
        "blocks": [
            {"ref": item.get("id"), "kind": item.get("kind"), "name": item.get("name")} for item in row["blocks"]
        ],
        "requester": requester,
        "originating_name": origin.get("name") if origin.get("id") != requester.get("id") else "",
        "may_decide": row.get("who_could") or [],
        "votes": [{**vote, "name": _voter(vote)} for vote in row.get("votes") or []],
        "missing": "; ".join(missing),
        "you": {
            "can": row["eligibility"]["eligible"],
            "because": row["eligibility"]["because"],
            "needed": row["eligibility"]["needed"],
            "behalf": (row["eligibility"]["on_behalf_of"] or {}).get("name", ""),
            "step_up": row["eligibility"]["step_up"],
            "lacks_factor": row["eligibility"]["lacks_factor"],
        },
        "old": row["state"] == "open" and now() - row["created_at"] > OLD,
        "verb": row["eligibility"].get("verb") or row["verb"],
        # What is sealed of a change of policy is a text, not the arguments of a call.
        "arguments": {"text": arguments} if isinstance(arguments, str) else arguments,
        "arguments_because": row.get("arguments_hidden"),
        "raw": {key: item for key, item in row.items() if key != "arguments"},
    }


def _person(value: Any, names: Mapping[str, str]) -> Any:
    """The name of somebody whom a card names by their id, alone or after their kind (`person:per_…`)."""
    return names.get(value.rpartition(":")[2], value) if isinstance(value, str) else value


def _voter(vote: Row) -> str:
    name = str((vote.get("person") or {}).get("name", ""))
    behind = (vote.get("on_behalf_of") or {}).get("name")
    return f"{name}, in the place of {behind}," if behind else name


def _tells(card: Row, key: str) -> bool:
    return key not in _CARD_ELSEWHERE and card.get(key) not in (None, "", [], {})


async def decide(ctx: Context, approval_id: str, decision: str, digest: str, comment: str, code: str = "") -> Row:
    """Approves or rejects exactly what has this digest; `code`: the second factor, where its rule wants one. Raises
    NotEligible, NotOpen, DigestChanged, StepUpRequired, CodeRefused, TooManyCodes."""
    return await approvals_of.decide(ctx, approval_id, decision, digest, comment, code=code)


# invocations --------------------------------------------------------------------------------------------------------
async def invocations(ctx: Context, failed: bool, cursor: str | None) -> Row:
    """Calls of pack tools, newest first: {entries, next}. `failed`: only those that failed."""
    assert ctx.workspace_id is not None
    answer = await packs.list_invocations(
        ctx.workspace_id, ctx, Page(limit=50, cursor=cursor), "failed" if failed else None, None
    )
    titles = await workflows.titles(ctx, [row["task_id"] for row in answer["items"] if row["task_id"]])
    entries = [
        {
            **row,
            "tool_name": row["tool"],
            "took": row["call_ms"] / 1000 if row.get("call_ms") is not None else None,
            "task_title": titles.get(row["task_id"] or "", ""),
            "line": (row["message"] or "").partition("\n")[0] if row["state"] in ("failed", "unknown") else "",
        }
        for row in answer["items"]
    ]
    return {"entries": entries, "next": answer["next"]}


async def invocation(ctx: Context, invocation_id: str) -> Row:
    """One call with what left during it. The result itself is not shown here: it may be large, and is the caller's."""
    row = {key: item for key, item in (await packs.get_invocation(invocation_id, ctx)).items() if key != "result"}
    names = await names_of(ctx)
    leases = {}
    for sent in row["egress"]:
        if sent.get("lease_id"):
            leases[sent["lease_id"]] = {"id": sent["lease_id"], "endpoint": f"{sent['host']}:{sent['port']}"}
    return {
        **row,
        "tool_name": row["tool"],
        "initiator_name": names.get(row["initiator_id"]),
        "originating_name": names.get(row["originating_person"] or "")
        if row["originating_person"] != row["initiator_id"]
        else "",
        "leases": list(leases.values()),
        "task_title": await _title(ctx, row["task_id"]),
        "raw": row,
    }


# changes ------------------------------------------------------------------------------------------------------------
async def changes(ctx: Context, chosen: dict[str, str], cursor: str | None) -> Row:
    """Changes by day, in bursts (of one request, or by one actor within a minute): {days: [{name, bursts}], next,
    matched}. `chosen`: lane, actor and subject (an id, or a part of a name), since (an age or a time); empty: no limit."""
    page = Page(limit=60, cursor=cursor)
    before = page.commit
    rows = await observability.changes(
        ctx,
        before=before,
        since=ages.since(chosen["since"], now()),
        lanes=[chosen["lane"]] if chosen["lane"] else None,
        actor=chosen["actor"].strip() or None,
        subject=chosen["subject"].strip() or None,
        limit=page.limit,
    )
    answer = page.answer(rows, "xid", "id")
    found = [_change(row) for row in answer["items"]]
    return {"days": days(bursts(found)), "next": answer["next"], "matched": _matched(found, chosen)}


def _matched(found: list[Row], chosen: dict[str, str]) -> str:
    """Which names a filter by a part of a name has found, so that nobody takes another's changes for the one's meant."""
    told = []
    for key, word, names in (
        ("actor", "Who", ("actor_name", "on_behalf_of_name")),
        ("subject", "What", ("subject_name",)),
    ):
        text = chosen[key].strip()
        if text and not ids.check(text):
            hit = [row[name] for row in found for name in names if text.casefold() in (row[name] or "").casefold()]
            shown = list(dict.fromkeys(hit))
            if shown:
                told.append(f"{word}: {', '.join(shown[:5])}{f' and {len(shown) - 5} more' if len(shown) > 5 else ''}")
    return "; ".join(told)


def _change(row: Row) -> Row:
    seat = (row["in_the_place_of"] or {}).get("name")
    phrase, ending = sentences.around({"type": row["type"], "data": row["data"], "seat_name": seat})
    return {
        **row,
        "phrase": phrase,
        "ending": ending,
        "subject": row["subject"]["id"],
        "subject_name": row["subject"]["name"],
        "actor_kind": row["actor"]["kind"],
        "actor_id": row["actor"]["id"],
        "actor_name": row["actor"]["name"],
        "on_behalf_of_name": (row["on_behalf_of"] or {}).get("name") or "",
    }


def bursts(rows: list[Row]) -> list[Row]:
    """Neighbours of one trace, or of one actor within a minute, as one group. Newest first, as given."""
    found: list[Row] = []
    for row in rows:
        last = found[-1]["entries"][-1] if found else None
        together = last is not None and (
            last["trace_id"] == row["trace_id"]
            or (last["actor_id"] == row["actor_id"] and abs(last["at"] - row["at"]) <= BURST)
        )
        if together:
            found[-1]["entries"].append(row)
        else:
            found.append({"at": row["at"], "entries": [row]})
    for burst in found:
        causes = {(row["cause"] or {}).get("id") for row in burst["entries"]}
        burst["cause"] = burst["entries"][0]["cause"] if len(causes) == 1 else None
    return found


def days(found: list[Row]) -> list[Row]:
    """Bursts under the day of their newest change: [{name, bursts}]."""
    grouped: list[Row] = []
    for burst in found:
        name = words.day(burst["at"])
        if not grouped or grouped[-1]["name"] != name:
            grouped.append({"name": name, "bursts": []})
        grouped[-1]["bursts"].append(burst)
    return grouped


# views, decisions, anything -----------------------------------------------------------------------------------------
async def views(ctx: Context) -> Row:
    """The views of the workspace: {entries}."""
    return {"entries": (await views_of.listing(ctx, None, 100))[:100]}


async def view(ctx: Context, view_id: str, revision: int | None) -> Row:
    """One revision of a view, with its history."""
    row = await views_of.get(ctx, view_id, revision)
    shown = row["shown"]
    names = await names_of(ctx)
    return {
        **{key: item for key, item in row.items() if key not in ("shown", "history")},
        "newest": row["revision"],
        "revision": shown["revision"],
        "document": shown["document"],
        "task_id": shown["task_id"],
        "invocation_id": shown["invocation_id"],
        "created_by": shown["created_by"],
        "created_by_name": names.get(shown["created_by"]),
        "revised_at": shown["created_at"],
        "revisions": row["history"],
        "task_title": await _title(ctx, shown["task_id"]),
    }


async def decision(ctx: Context, decision_id: str) -> Row:
    """A decision, as much of it as this reader may see."""
    row = await governance.decision(ctx, decision_id)
    names = await names_of(ctx)
    return {
        **row,
        "principal_name": names.get(row.get("principal_id") or ""),
        "originating_name": names.get(row.get("originating_person") or "")
        if row.get("originating_person") != row.get("principal_id")
        else "",
    }


async def part(ctx: Context, process_id: str) -> Row:
    """A process as a part of the platform: {role, health, tasks: those of this workspace that stand still for it}."""
    found = await observability.processes(ctx)
    row = next((row for row in found["processes"] if row["id"] == process_id), None)
    if row is None:
        return {}
    waits = row["role"] == "worker" and row["health"] != "healthy"
    return {**row, "tasks": await observability.waiting_for_a_worker(ctx) if waits else []}


async def why(ctx: Context, subject: str) -> Explanation:
    """The Explanation of anything: the same object that the API and the CLI give, and that the page carries along."""
    return await observed.why(ctx, subject)
