"""The treasury in the console: what secrets there are, who may use them where, who did, and when they are due. A change is looked
at before it is made; a value goes in, and is shown by nothing here."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from worka.approvals import timing
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from worka.kernel.http import Page, context
from worka.treasury import actions, explain, reading, rotation, rules, service
from worka.treasury.errors import DatesInvalid, SecretNotFound
from worka.web import auth, data
from worka.web.people import can
from worka.web.render import redirect
from worka.web.settling import settled

router = APIRouter(include_in_schema=False)
Reader = Annotated[Context, Depends(context)]
Row = dict[str, Any]
REFUSALS: Final = (Conflict, Denied, Invalid, NotFound, Unavailable)
ACTIONS: Final = (
    actions.SECRET_CREATE, actions.SECRET_ROTATE, actions.SECRET_DATE, actions.SECRET_REVOKE, actions.SECRET_DESTROY,
    actions.SECRET_GRANT, actions.SECRET_UNGRANT, actions.SECRET_READ,
)  # fmt: skip
USES: Final = 50


async def _may(ctx: Context, here: str) -> dict[str, Row]:
    return {action: await can(ctx, here, action) for action in ACTIONS}


# all of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/secrets")
async def secrets(request: Request, workspace_id: str, ctx: Reader, at: Annotated[Page, Depends()]) -> Response:
    """The workspace's secrets: due ones first said, then all of them, newest first."""
    return await _list(request, ctx, at)


async def _list(
    request: Request, ctx: Context, at: Page | None = None, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    limit = at.limit if at else 50
    rows = await service.listing(ctx, here, at.id if at else None, limit)
    found = {
        "secrets": rows[:limit],
        "next": rows[limit - 1]["id"] if len(rows) > limit else None,
        "kinds": rules.KINDS,
        "may": await _may(ctx, here),
        "asked": {},
        **values,
    }
    return await settled(request, ctx, "secrets.html", "secrets", problem=problem, **found)


@router.post("/w/{workspace_id}/secrets", dependencies=[Depends(auth.same_origin)])
async def create(
    request: Request,
    workspace_id: str,
    ctx: Reader,
    name: Annotated[str, Form(max_length=120)] = "",
    purpose: Annotated[str, Form(max_length=400)] = "",
    kind: Annotated[str, Form(max_length=40)] = "api_token",
    value: Annotated[str, Form(max_length=rules.MOST_CHARACTERS)] = "",
    expires: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Puts one in; without a value the platform makes it."""
    asked = {"name": name.strip(), "purpose": purpose.strip(), "kind": kind, "expires": expires}
    try:
        rules.check_name(name.strip(), kind)
        end = timing.moment(f"{expires.strip()}T00:00:00Z", "expires_at", DatesInvalid) if expires.strip() else None
        made = await service.create(
            ctx,
            workspace_id,
            name=name.strip(),
            purpose=purpose.strip(),
            kind=kind,
            value=value or None,
            expires_at=end,
        )
    except REFUSALS as problem:
        return await _list(request, ctx, problem=problem, asked=asked)
    return redirect(f"/w/{workspace_id}/secrets/{made['id']}")


# one of them --------------------------------------------------------------------------------------------------------
@router.get("/w/{workspace_id}/secrets/{secret_id}")
async def secret(request: Request, workspace_id: str, secret_id: str, ctx: Reader) -> Response:
    """One secret: why it can be used, what stands on it, who may, who did, when it is due."""
    return await _shown(request, ctx, secret_id)


async def _shown(
    request: Request, ctx: Context, secret_id: str, problem: Problem | None = None, **values: Any
) -> Response:
    here = ctx.workspace_id
    assert here is not None
    row = await service.get(ctx, secret_id)
    if row["workspace_id"] != here:
        raise SecretNotFound(f"There is no secret {secret_id}.")
    found = {
        "secret": row,
        "why": await explain.explain(ctx, secret_id),
        "stands": await rotation.dependants(ctx, secret_id),
        "leases": await rotation.leases(ctx, secret_id, None, USES),
        "uses": USES,
        "readings": await reading.listing(ctx, secret_id, None, 20),
        "kinds": rules.KINDS,
        "may": await _may(ctx, here),
        "names": await data.names_of(ctx),
        "looking": "",
        "asked": {},
        **values,
    }
    return await settled(request, ctx, "secret.html", "secrets", secret_id, problem, **found)


@router.post("/w/{workspace_id}/secrets/{secret_id}", dependencies=[Depends(auth.same_origin)])
async def act(
    request: Request,
    workspace_id: str,
    secret_id: str,
    ctx: Reader,
    do: Annotated[
        Literal[
            "rotate",
            "finish",
            "back",
            "date",
            "revoke-look",
            "revoke",
            "destroy-look",
            "destroy",
            "grant",
            "ungrant",
            "ask",
        ],
        Form(),
    ],
    value: Annotated[str, Form(max_length=rules.MOST_CHARACTERS)] = "",
    grants: Annotated[Literal["", "keep", "end"], Form()] = "",
    overlap: Annotated[str, Form(max_length=5)] = "0",
    listed: Annotated[str, Form(max_length=16)] = "",
    expires: Annotated[str, Form(max_length=40)] = "",
    days: Annotated[str, Form(max_length=4)] = "",
    why: Annotated[str, Form(max_length=400)] = "",
    attachment: Annotated[str, Form(max_length=80)] = "",
    endpoint: Annotated[str, Form(max_length=259)] = "",
    grant: Annotated[str, Form(max_length=60)] = "",
    minutes: Annotated[str, Form(max_length=2)] = "10",
    make: Annotated[bool, Form()] = False,
) -> Response:
    """Rotates it, ends or takes back an overlap, dates it, grants it, revokes or destroys it."""
    asked = {"do": do, "grants": grants, "overlap": overlap, "expires": expires, "days": days, "why": why,
             "attachment": attachment, "endpoint": endpoint}  # fmt: skip
    try:
        if do in ("revoke-look", "destroy-look"):
            return await _shown(request, ctx, secret_id, looking=do.removesuffix("-look"), asked=asked)
        if do == "rotate":
            if not value and not make:
                # An empty field must not put a made-up value in the place of one that an outside system gave.
                raise Invalid(
                    "Type in the new value, or say that the platform makes it: the old one is gone then.", field="value"
                )
            await rotation.rotate(
                ctx, secret_id, value or None, grants=grants or None, overlap_minutes=_number(overlap, "overlap"),
                listed=listed or None,
            )  # fmt: skip
        elif do == "date":
            end = timing.moment(f"{expires.strip()}T00:00:00Z", "expires_at", DatesInvalid) if expires.strip() else None
            await rotation.set_dates(ctx, secret_id, end, _number(days, "days") or None)
        elif do == "grant":
            await service.grant(ctx, secret_id, attachment.strip(), endpoint)
        elif do == "ungrant":
            await service.revoke_grant(ctx, grant)
        elif do == "ask":
            await reading.ask(ctx, secret_id, why.strip(), _number(minutes, "minutes"))
        elif do == "revoke":
            await service.revoke(ctx, secret_id, why.strip())
        elif do == "destroy":
            await rotation.destroy(ctx, secret_id, why.strip())
        else:
            await (rotation.finish if do == "finish" else rotation.back)(ctx, secret_id)
    except REFUSALS as problem:
        return await _shown(request, ctx, secret_id, problem, asked=asked)
    return redirect(f"/w/{workspace_id}/secrets/{secret_id}")


def _number(text: str, field: str) -> int:
    if not text.strip():
        return 0
    if not text.strip().isdecimal() or not text.strip().isascii():
        raise Invalid(f"{text[:20]!r} is no whole number.", field=field)
    return int(text)
