"""A page on which something is changed: a refusal comes back on it, with its status and what was typed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.web import data
from worka.web.render import for_reader, page


async def settled(
    request: Request, ctx: Context, template: str, place: str, thing: str = "", problem: Problem | None = None,
    **values: Any,
) -> Response:  # fmt: skip
    """The page of a place of the workspace, or of one thing in it."""
    here = f"/w/{ctx.workspace_id}/{place}"
    return page(
        request, template, problem.status if problem else 200, here=place, shell=await data.shell(ctx),
        workspace_id=ctx.workspace_id, settle=f"{here}/{thing}" if thing else here,
        problem=for_reader(ctx, problem) if problem else None, **values,
    )  # fmt: skip
