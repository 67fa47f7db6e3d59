"""What a reader may do next, for the explanations of every domain. Asks the access set and records nothing: to look at
an explanation is no attempt to do what it offers."""

from __future__ import annotations

from worka.authorization.service import may
from worka.kernel import actions
from worka.kernel.context import Context, Resource
from worka.kernel.explanation import NextAction


async def reader_may(ctx: Context, action: str, resource: Resource) -> tuple[bool, str]:
    """(whether, because) for the reader of this request, with the permission named. Opens or joins a transaction."""
    known = actions.get(action)
    permission = (known.permission if known else "change").replace("_", " ")
    async with ctx.transaction() as conn:
        allowed = await may(conn, ctx, ctx.principal.kind, ctx.principal.id, action, resource)
    if allowed:
        return True, f"You hold the permission “{permission}” here."
    return False, f"It needs the permission “{permission}”, which you do not hold here."


async def offer(ctx: Context, label: str, command: str, action: str, resource: Resource) -> NextAction:
    """Something that can be done, with whether this reader may."""
    known = actions.get(action)
    allowed, because = await reader_may(ctx, action, resource)
    return NextAction(
        label=label,
        command=command,
        permission=known.permission if known else "change",
        allowed=allowed,
        because="" if allowed else because,
    )
