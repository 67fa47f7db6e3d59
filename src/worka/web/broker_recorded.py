"""What is recorded of outside names, in the console: a page of each kind, on which a record is looked at before it is made, and
before it is taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from worka.broker.asked import service as asking
from worka.kernel.context import Context
from worka.kernel.errors import Invalid, NotFound, Problem
from worka.kernel.http import Page
from worka.web.broker import REFUSALS, shown
from worka.web.people import can
from worka.web.render import for_reader, redirect

Row = dict[str, Any]
Do = Literal["look", "record", "remove-look", "remove"]


async def nothing(_ctx: Context) -> Row:
    """Of a page that shows nothing beside its records."""
    return {}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record, and what is done with it."""

    name: str
    """network_exception or upstream_trust: what waits for a second person is called the same."""
    at: str
    """Where its page is, within the workspace."""
    template: str
    new: Callable[..., Any]
    """What is asked for. Raises ValidationError."""
    invalid: type[Invalid]
    unknown: type[NotFound]
    page: Callable[[Context, str | None, int], Awaitable[list[Row]]]
    get: Callable[[Context, str], Awaitable[Row]]
    create: Callable[[Context, Any], Awaitable[Row]]
    remove: Callable[[Context, str], Awaitable[None]]
    beside: Callable[[Context], Awaitable[Row]] = nothing
    """What else its page shows."""


async def listed(
    request: Request, ctx: Context, kind: Kind, at: Page | None = None, problem: Problem | None = None, **values: Any
) -> Response:
    """The page: what is recorded, what waits for somebody else, and where it is changed."""
    here = ctx.workspace_id
    assert here is not None
    at = at or Page(limit=50, cursor=None)
    answer = at.answer(await kind.page(ctx, at.id, at.limit + 1), "id")
    waiting = [row for row in await asking.listing(ctx, here, None, 50) if row["state"] == "open"]
    found = {
        "records": answer["items"], "next": answer["next"], "given": {}, "would": None, "ending": None,
        "may": {word: await can(ctx, here, f"{kind.name}.{word}") for word in ("create", "remove")},
        "waiting": [row for row in waiting if row["kind"] == kind.name],
        "problem": for_reader(ctx, problem) if problem else None, **await kind.beside(ctx), **values,
    }  # fmt: skip
    return await shown(request, ctx, kind.template, kind.at, problem.status if problem else 200, **found)


async def changed(
    request: Request, ctx: Context, kind: Kind, do: Do, thing: str, given: dict[str, str], asked: Row
) -> Response:
    """First what a record would do, then it is made; the same for its end. `given` is the form as it came, `asked` what it
    asks for."""
    try:
        if do == "look":
            # All of it is done and undone.
            would = await kind.create(replace(ctx, undone=True), _new(kind, asked))
            return await listed(request, ctx, kind, given=given, would=would)
        if do == "record":
            await kind.create(ctx, _new(kind, asked))
        else:
            row = await kind.get(ctx, thing)
            if row["workspace_id"] != ctx.workspace_id:
                raise kind.unknown()
            if do == "remove-look":
                return await listed(request, ctx, kind, ending=row)
            await kind.remove(ctx, thing)
    except REFUSALS as problem:
        return await listed(request, ctx, kind, problem=problem, given=given)
    return redirect(f"/w/{ctx.workspace_id}/{kind.at}")


def _new(kind: Kind, asked: Row) -> Any:
    try:
        return kind.new(**asked, replace=True)
    except ValidationError as error:
        found = error.errors()[0]
        raise kind.invalid(f"{found['loc'][0]}: {found['msg']}.", field=str(found["loc"][0])) from error
