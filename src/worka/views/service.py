"""Use cases of views."""

from __future__ import annotations

from typing import Any

from worka.kernel import ids
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Denied
from worka.kernel.events import Event
from worka.views import actions, events, rules, store
from worka.views.errors import RevisionNotFound, ViewNotFound

Row = dict[str, Any]


async def publish(
    ctx: Context,
    *,
    name: str,
    title: str,
    text: str,
    format: str = "markdown",
    links: dict[str, Any] | None = None,
    task_id: str | None = None,
    invocation_id: str | None = None,
) -> Row:
    """Writes the next revision of the view `name`, making the view when it is new. {view_id, revision}. The text is
    data from elsewhere and stays that. Raises Denied, DocumentInvalid."""
    assert ctx.tenant_id is not None
    assert ctx.workspace_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(
            actions.PUBLISH.name, Resource("view", name, ctx.workspace_id, {"name": name, "task": task_id})
        )
        document = rules.document(text, format, links or {})
        heading = " ".join(title.split())[:200] or name
        row = await store.lock_by_name(conn, ctx.workspace_id, name)
        created = row is None
        if row is None:
            new = {
                "tenant_id": ctx.tenant_id,
                "id": ids.new_id("view"),
                "workspace_id": ctx.workspace_id,
                "name": name,
                "title": heading,
                "created_by": ctx.principal.id,
            }
            created = await store.insert(conn, new)
            row = await store.lock_by_name(conn, ctx.workspace_id, name)
            assert row is not None
        revision = row["revision"] + 1
        await store.revise(
            conn, ctx.tenant_id, row["id"], revision, heading, document, task_id, invocation_id, ctx.principal.id
        )
        ctx.record(
            Event(
                events.CREATED if created else events.REVISED,
                row["id"],
                heading,
                before=None if created else {"revision": row["revision"], "title": row["title"]},
                after={"revision": revision, "title": heading, "bytes": len(document["text"].encode())},
                cause={"kind": "task", "id": task_id} if task_id else None,
                data={"invocation_id": invocation_id} if invocation_id else {},
                workspace_id=ctx.workspace_id,
            )
        )
        ctx.failpoint("view.published.before_commit")
        return {"view_id": row["id"], "revision": revision}


async def listing(ctx: Context, after: str | None, limit: int) -> list[Row]:
    """Views of the workspace, newest first (up to limit + 1 rows)."""
    assert ctx.workspace_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(actions.READ.name, Resource("view", "*", ctx.workspace_id))
        return await store.views(conn, ctx.workspace_id, after, limit + 1)


async def get(ctx: Context, view_id: str, revision: int | None = None) -> Row:
    """A view with the document of one revision (the newest by default) and its history. Raises ViewNotFound,
    RevisionNotFound."""
    async with ctx.transaction() as conn:
        row = await store.view(conn, view_id)
        if row is None:
            raise ViewNotFound(f"There is no view {view_id} here.")
        try:
            await ctx.require(actions.READ.name, Resource("view", view_id, row["workspace_id"]))
        except Denied as denied:
            raise ViewNotFound(f"There is no view {view_id} here.") from denied
        shown = await store.revision(conn, view_id, revision or row["revision"])
        if shown is None:
            raise RevisionNotFound(f"The view has {row['revision']} revisions, not {revision}.")
        return {**row, "shown": shown, "history": await store.history(conn, view_id, 50)}
