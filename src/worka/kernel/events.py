"""Events: what has happened, recorded with the change itself; and in-transaction subscribers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from worka.kernel.context import Context
    from worka.kernel.db import Connection

Statement = tuple[str, list[Any]]
"""A query and its parameters."""
LANES = ("capability", "access", "secrets", "policy", "sharing", "services", "config", "work")
CHANNEL = "worka_events"
WORK_CHANNEL = "worka_work"
"""Word that something was put into a queue of the engine, by the queue's name."""
MESSAGES = "messages"
"""The same word for the outbox."""
_COLUMNS = (
    "tenant_id", "workspace_id", "type", "lane", "subject", "subject_name", "actor_kind", "actor_id", "actor_name",
    "on_behalf_of", "before", "after", "cause", "data", "trace_id",
)  # fmt: skip
_ROW = "(" + ", ".join(["%s"] * len(_COLUMNS)) + ")"
AT_ONCE = 1000


@dataclass(frozen=True)
class Event:
    """One thing that happened. `type` is noun.noun.verbed; no secrets, no arguments in any field."""

    type: str
    subject: str
    subject_name: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    cause: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    lane: str = "work"
    workspace_id: str | None = None


Handler = Callable[["Context", dict[str, Any]], Awaitable[None]]


class Subscribers:
    """Handlers that run inside the publisher's transaction: what they write commits with it, or not at all."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}

    def on(self, topic: str, handler: Handler) -> None:
        """Registers a handler; the same handler twice is registered once."""
        handlers = self._handlers.setdefault(topic, [])
        if handler not in handlers:
            handlers.append(handler)

    async def publish(self, ctx: Context, topic: str, payload: dict[str, Any]) -> None:
        """Runs the topic's handlers in order of registration."""
        for handler in self._handlers.get(topic, []):
            await handler(ctx, payload)


async def store(conn: Connection, ctx: Context, events: list[Event]) -> None:
    """Writes event rows; whoever commits them tells the readers (`Database.announce`)."""
    if ctx.tenant_id is None:
        return
    for start in range(0, len(events), AT_ONCE):
        await conn.execute(*statement(ctx, events[start : start + AT_ONCE]))


def statement(ctx: Context, events: list[Event]) -> Statement:
    """Inserts at most AT_ONCE rows of a tenant in one exchange. Not `executemany`, which opens a pipeline: see
    `Database.transaction`."""
    return (
        f"insert into worka.event ({', '.join(_COLUMNS)}) values {', '.join([_ROW] * len(events))} returning 1",  # noqa: S608
        [value for event in events for value in _row(ctx, event)],
    )


def told(ctx: Context, event: Event) -> dict[str, Any]:
    """The row of an event by column, for a statement that writes it by itself."""
    behind = ctx.originating_person
    return {
        "tenant_id": ctx.tenant_id,
        "workspace_id": event.workspace_id or ctx.workspace_id,
        "type": event.type,
        "lane": event.lane,
        "subject": event.subject,
        "subject_name": event.subject_name,
        "actor_kind": ctx.principal.kind,
        "actor_id": ctx.principal.id,
        "actor_name": ctx.principal.name,
        "on_behalf_of": behind if behind != ctx.principal.id else None,
        "before": event.before,
        "after": event.after,
        "cause": event.cause,
        "data": event.data,
        "trace_id": ctx.trace_id,
    }


_JSON = frozenset({"before", "after", "cause", "data"})


def _row(ctx: Context, event: Event) -> tuple[Any, ...]:
    row = told(ctx, event)
    return tuple(Jsonb(row[name]) if name in _JSON and row[name] is not None else row[name] for name in _COLUMNS)
