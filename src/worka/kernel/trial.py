"""A change that is really made, looked at, and undone: how a preview says what an attempt would be told, by the policy of the
place, and is refused to whoever may not make the change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from worka.kernel.context import Context


class _Undone(Exception):
    """Ends the transaction of a preview: nothing of it stays."""


async def undone(ctx: Context, look: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """What `look` answers, in a transaction of its own of which nothing stays. Raises what the change would."""
    if ctx.tx is not None:
        raise RuntimeError("a preview undoes its transaction: it needs one of its own")
    found: dict[str, Any] = {}
    try:
        async with ctx.transaction():
            found = await look()
            raise _Undone
    except _Undone:
        return found
