"""The policies of the tenant and of a workspace in the console: read, edited, checked, tried on what was decided, proposed,
withdrawn, brought back, kept as a file. A text that is being written stands in the page's address, so that going back, a
reload and a link to a colleague show it, and nothing is sent twice; one that is too long for an address, in the answer alone."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from worka.approvals import service as approvals
from worka.authorization.explain import reader_may
from worka.governance import actions as names
from worka.governance import replay
from worka.governance import service as governance
from worka.governance.errors import BadPolicy, PolicyLocksOut
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem
from worka.kernel.http import context
from worka.web import auth, data
from worka.web.render import HEADERS, for_reader, page, redirect

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Scope = Literal["tenant", "workspace"]
Kind = Literal["access", "governance"]
Row = dict[str, Any]
MOST_PAGES: Final = 10
"""Of a dry run: 20,000 decisions. What is left is said, and the command line goes to the end."""
MOST_TEXT: Final = 64_000
MOST_ADDRESS: Final = 6000
"""A packed text that is longer does not go into an address: what lies between may cut it off at 8,000."""


@router.get("/w/{workspace_id}/policies/{scope}/{kind}")
async def policy(
    request: Request,
    workspace_id: str,
    scope: Scope,
    kind: Kind,
    ctx: Reader,
    look: Annotated[Literal["", "check", "try"], Query()] = "",
    draft: Annotated[str, Query(max_length=MOST_ADDRESS)] = "",
    note: Annotated[str, Query(max_length=1000)] = "",
    since: Annotated[str, Query(max_length=40)] = "24h",
    base: Annotated[int | None, Query(ge=0, le=2_147_483_647)] = None,
    back: Annotated[int | None, Query(ge=0, le=2_147_483_647)] = None,
) -> Response:
    """What holds, to be changed: with a text of one's own (`draft`), or that of an earlier version (`back`)."""
    written: Row = {"note": note, "since": since, "base": base, "look": look}
    if draft:
        written["text"] = unpacked(draft)
    elif back is not None:
        written["text"] = (await governance.show_policy(ctx, workspace_id, kind, back, scope))["text"]
        written |= {"look": look or "check", "note": note or f"Back to version {back}", "back": back}
    return await _shown(request, ctx, scope, kind, written)


@router.post("/w/{workspace_id}/policies/{scope}/{kind}", dependencies=[Depends(auth.same_origin)])
async def change(
    request: Request,
    workspace_id: str,
    scope: Scope,
    kind: Kind,
    ctx: Reader,
    do: Annotated[Literal["check", "try", "propose", "withdraw"], Form()],
    text: Annotated[str, Form(max_length=2 * MOST_TEXT)] = "",
    note: Annotated[str, Form(max_length=1000)] = "",
    since: Annotated[str, Form(max_length=40)] = "24h",
    base: Annotated[int | None, Form(ge=0, le=2_147_483_647)] = None,
    subject: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Checks a text, tries it, or changes the policy to it: at once where one owner alone answers for the place, else once
    somebody else has approved it. What was typed is never lost to a refusal."""
    text = text.replace("\r\n", "\n")  # a browser's form sends its own line ends
    here = f"/w/{workspace_id}/policies/{scope}/{kind}"
    written: Row = {"text": text, "note": note.strip(), "since": since.strip() or "24h", "base": base, "look": do}
    try:
        if do == "withdraw":
            await approvals.withdraw(ctx, subject)
            return redirect(here)
        if len(text) > MOST_TEXT:
            raise Invalid(f"The text has {len(text)} characters; a policy has {MOST_TEXT} at most.", field="text")
        if do == "propose":
            made = await governance.save_policy(ctx, workspace_id, kind, text, written["note"], scope, over=base)
            if made["state"] == "in_force":
                return redirect(f"/w/{workspace_id}/governance/{kind}/{made['version']}?scope={scope}")
            return redirect(f"/w/{workspace_id}/approvals/{made['approval_id']}")
    except (BadPolicy, PolicyLocksOut):
        written["look"] = "check"  # its faults are shown where they are
    except (Conflict, Denied, Invalid, NotFound) as problem:
        written["look"] = ""
        return await _shown(request, ctx, scope, kind, written, problem)
    packed_text = packed(text)
    if len(packed_text) > MOST_ADDRESS:
        return await _shown(request, ctx, scope, kind, written)
    asked = {"look": written["look"], "since": written["since"], "note": written["note"], "draft": packed_text}
    return redirect(f"{here}?{urlencode(asked | ({} if base is None else {'base': base}))}#found")


@router.get("/w/{workspace_id}/policies/{scope}/{kind}/file")
async def file(
    workspace_id: str,
    scope: Scope,
    kind: Kind,
    ctx: Reader,
    version: Annotated[int | None, Query(ge=0, le=2_147_483_647)] = None,
) -> Response:
    """The text as it was saved, under the name that `worka policy` takes."""
    found = (
        await governance.newest_policy(ctx, workspace_id, kind, scope)
        if version is None
        else await governance.show_policy(ctx, workspace_id, kind, version, scope)
    )
    told = {**HEADERS, "Content-Disposition": f'attachment; filename="{kind}.cedar"'}
    return Response(found["text"], media_type="text/plain; charset=utf-8", headers=told)


async def _shown(
    request: Request, ctx: Context, scope: str, kind: str, written: Row, problem: Problem | None = None
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    now = await governance.newest_policy(ctx, here, kind, scope)
    text = written.get("text", now["text"])
    check: Row | None = None
    trial: Row | None = None
    told = problem
    try:
        if written["look"] in ("check", "try"):
            check = await governance.check_policy(ctx, here, kind, text, scope)
            if written["look"] == "try" and check["ok"]:
                trial = await flips(ctx, here, kind, text, scope, written["since"])
    except (Conflict, Denied, Invalid) as refused:
        told = told or refused
    versions = [row for row in await governance.list_policies(ctx, here, None, 100, scope) if row["kind"] == kind]
    waiting = [
        row
        for row in await governance.list_proposals(ctx, here, None, 50)
        if (row["kind"], bool(row["scope"]), row["state"]) == (kind, scope == "workspace", "open")
    ]
    base = written["base"]
    values = {
        "scope": scope,
        "kind": kind,
        "now_in_force": now,
        "text": text,
        "typed": "text" in written,
        "note": written["note"],
        "since": written["since"],
        "moved": base if base is not None and base != now["version"] else None,
        "check": check,
        "trial": trial,
        "versions": versions,
        "waiting": waiting,
        "may": await _may(ctx, here, kind, scope),
        "names": await data.names_of(ctx),
        "problem": for_reader(ctx, told) if told else None,
        "posted": request.method == "POST",
    }
    shell = await data.shell(ctx)
    status = told.status if told else 200
    return page(request, "policies.html", status, here="governance", shell=shell, workspace_id=here, **values)


async def _may(ctx: Context, here: str, kind: str, scope: str) -> dict[str, bool]:
    """Whether this reader could propose a change, and try a text on what was decided."""
    tenant = Resource("policy", kind, None, {"kind": kind})
    place = Resource("workspace", here, here)
    wide = scope == "tenant"
    save = await reader_may(ctx, names.POLICY_SAVE if wide else names.POLICY_SAVE_HERE, tenant if wide else place)
    attempt = await reader_may(ctx, names.POLICY_TRY if wide else names.POLICY_TRY_HERE, tenant if wide else place)
    return {"save": save[0], "try": attempt[0]}


async def flips(ctx: Context, workspace_id: str, kind: str, text: str, scope: str, since: str) -> Row:
    """Every page of a dry run: what this text would flip, what earlier changes flipped, what cannot be said."""
    items: list[Row] = []
    scanned = 0
    cursor: str | None = None
    until: str | None = None
    began = since
    for _ in range(MOST_PAGES):
        found = await governance.dry_run(
            ctx, workspace_id, kind=kind, text=text, scope=scope, role_of=None, role=None, since=began, until=until,
            after=cursor, limit=200,
        )  # fmt: skip
        items += found["items"]
        scanned += found["scanned"]
        began, until, cursor = found["since"].isoformat(), found["until"].isoformat(), found["next"]
        if cursor is None:
            break
    known = [item for item in items if item["missing"] is None]
    missing = [item for item in items if item["missing"] is not None]
    return {
        "flips": [item for item in known if not item["earlier"]],
        "earlier": [item for item in known if item["earlier"]],
        "missing": missing,
        "sentence": replay.sentence(known, scanned, len(missing), f"the time since {since}"),
        "more": cursor is not None,
    }


def packed(text: str) -> str:
    """A text as a part of an address; `-` an empty one."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=") if text else "-"


def unpacked(draft: str) -> str:
    """The text again. Raises Invalid for what we have not packed: an address may be cut off, or made up."""
    if draft == "-":
        return ""
    try:
        stream = zlib.decompressobj()
        kept = stream.decompress(base64.urlsafe_b64decode(draft + "=" * (-len(draft) % 4)), 4 * MOST_TEXT)
        if not stream.eof:
            raise ValueError("more than a policy holds, or less than was packed")
        return kept.decode()
    except (ValueError, zlib.error) as error:
        raise Invalid("The address holds no text that can be read: it was cut off.", field="draft") from error
