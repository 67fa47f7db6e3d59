"""Definitions that a server changed after they were approved: accepted or refused, one by one, in the commit of the decision
(decisions.md 21, TOL-5). What is decided on is the pin that was shown: if the server has changed it again, nothing is."""

from __future__ import annotations

from typing import Any

from worka.kernel import schemas
from worka.kernel.context import Context, Resource
from worka.packs import actions, events, rules
from worka.packs import model as machines
from worka.packs import store as rows
from worka.packs.moving import definitions, reading, store
from worka.packs.moving.errors import DefinitionMoved, DefinitionUnusable, NothingHeld
from worka.packs.service.releases import drop_quietly

Row = dict[str, Any]


async def waiting(ctx: Context, attachment_id: str) -> list[Row]:
    """The definitions of an attachment that differ from what was approved: {tool, diff, pin, definition, decision, by, why,
    approved_pin}, what waits for a decision first. Raises AttachmentNotFound."""
    row, release = await reading.own(ctx, attachment_id)
    approved = {item["name"]: item["pin"] for item in release["tools"]} | {machines.WHOLE_SERVER: release["server_pin"]}
    held, kept = row["held"] or {}, row["definitions"] or {}
    found = [
        {
            "tool": name, "diff": str(held.get(name) or ""), "waits": name in held, "pin": kept.get(name, {}).get("pin"),
            "definition": kept.get(name, {}).get("definition"), "decision": kept.get(name, {}).get("decision"),
            "by": kept.get(name, {}).get("by"), "why": kept.get(name, {}).get("why") or "", "approved_pin": approved.get(name),
        }
        for name in held.keys() | kept.keys()
    ]  # fmt: skip
    return sorted(found, key=lambda item: (not item["waits"], item["tool"]))


async def shown(ctx: Context, attachment_id: str) -> Row:
    """{attachment_id, pack, state, items}: what `waiting` finds, as the API shows it."""
    items = await waiting(ctx, attachment_id)
    row, _release = await reading.own(ctx, attachment_id)
    return {"attachment_id": row["id"], "pack": row["pack"], "state": row["state"], "items": items}


async def accept(ctx: Context, attachment_id: str, tool: str, pin: str, why: str) -> Row:
    """The tool serves again, with the definition of this pin: one that waits, one that was refused, or, where something was
    decided before, the one that came with the release, so that the decision is taken back. Its side effect and whether it
    may be repeated stay what the release declares. Raises AttachmentNotFound, Denied, NothingHeld, DefinitionMoved,
    DefinitionUnusable."""
    return await _decide(ctx, attachment_id, tool, pin, "accepted", why)


async def refuse(ctx: Context, attachment_id: str, tool: str, pin: str, why: str) -> Row:
    """The tool is off in this attachment until its definition is accepted, or the one of the release is; the others
    serve. One that was accepted can be refused too. Raises AttachmentNotFound, Denied, NothingHeld, DefinitionMoved."""
    return await _decide(ctx, attachment_id, tool, pin, "refused", why)


async def _decide(ctx: Context, attachment_id: str, tool: str, pin: str, decision: str, why: str) -> Row:
    row, _release = await reading.own(ctx, attachment_id)
    async with ctx.transaction() as conn:
        inside = ctx.acting(ctx.principal, workspace_id=row["workspace_id"])
        await inside.require(
            actions.RELEASE_HELD.name,
            Resource("attachment", attachment_id, row["workspace_id"], {"pack": row["pack"], "state": row["state"]}),
        )
        found = await rows.attachment_for_update(conn, attachment_id)
        assert found is not None
        row = found
        release = await rows.release(conn, row["release_id"])
        assert release is not None
        listed = definitions.entry(row, tool)
        waits = tool in (row["held"] or {})
        if not waits and listed.get("decision") is None:
            raise NothingHeld(
                f"Nothing of {tool[:100]!r} waits for a decision in {row['pack']}.", attachment_id=attachment_id
            )
        before = next((item["pin"] for item in release["tools"] if item["name"] == tool), None)
        if tool == machines.WHOLE_SERVER:
            before = release["server_pin"]
        taken_back = not waits and decision == "accepted" and pin == before
        if not taken_back and (listed.get("pin") or "") != pin:
            raise DefinitionMoved(
                f"{tool} is listed with the pin {listed.get('pin')}, not {pin[:64]}.", attachment_id=attachment_id,
                tool=tool, pin=listed.get("pin"),
            )  # fmt: skip
        if decision == "accepted" and not taken_back:
            _servable(release, tool, listed.get("definition"))
        held = {name: diff for name, diff in (row["held"] or {}).items() if name != tool}
        kept = (
            definitions.forgotten(row, tool)
            if taken_back
            else definitions.decided(row, tool, decision, ctx.principal.id, why)
        )
        await store.set_definitions(conn, attachment_id, kept, held or None)
        kind = events.DEFINITION_ACCEPTED if decision == "accepted" else events.DEFINITION_REFUSED
        inside.record(
            events.attachment(kind, row, row["state"], row["state"], decision, {"kind": "tool", "id": f"{row['pack']}.{tool}"},
                              tool=tool, pin=pin, approved_pin=before, why=why)
        )  # fmt: skip
        if not held and row["state"] == "held":
            machines.ATTACHMENT.check("held", "attached")
            await rows.move_attachment(conn, attachment_id, "attached", "attachment_in_service")
            inside.record(
                events.attachment(
                    events.ATTACHMENT_MOVED, row, "held", "attached", "attachment_in_service", None, why=why
                )
            )
        ctx.commit_points("attachment.definition")
        now = await rows.attachment(conn, attachment_id)
        assert now is not None
    if not ctx.undone:
        # A session is bound to the pins that it was started with.
        await drop_quietly(ctx, attachment_id)
    return now


def _servable(release: Row, tool: str, definition: Row | None) -> None:
    """Raises DefinitionUnusable for what could not be served: the same that keeps a release from being registered."""
    if tool == machines.WHOLE_SERVER:
        return
    if definition is None:
        raise DefinitionUnusable(f"The server does not list one definition of {tool}.", tool=tool)
    if not any(item["name"] == tool for item in release["tools"]):
        raise DefinitionUnusable(
            f"{tool} is new: a tool comes with a release, whose manifest says what it does.", tool=tool
        )
    parts = [definition.get("input_schema"), definition.get("output_schema")]
    if foreign := rules.foreign_references(parts):
        raise DefinitionUnusable(f"Its schema refers to {foreign[0][:200]}, outside of itself.", tool=tool)
    if faults := schemas.faults(parts):
        raise DefinitionUnusable(f"Its schema: {faults[0][:300]}.", tool=tool)
