"""Before a release is attached, or moved to: which of the calls that were made here it would have served (BEY-2).

Every recorded call of its pack, and of other packs by a tool of the same name, with what was refused at the time. Arguments
are not recorded, so of another schema it is said that it is another, not whether a call would have fitted.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from worka.governance.replay import Said
from worka.governance.service import recalled
from worka.governance.service.recalled import Instead
from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.packs import actions, rules
from worka.packs.moving import store, subset
from worka.packs.service import reading

Row = dict[str, Any]
VERDICTS = {
    "served": "would have been served",
    "asked": "would have waited for an approval",
    "refused": "would have been refused by policy",
    "reshaped": "have another shape there",
    "unknown": "cannot be told",
}
_OF = {"allow": "served", "ask": "asked", "deny": "refused"}
_SHOWN = ("cursor", "id", "tool", "state", "initiator_kind", "initiator_id", "at")


async def page(ctx: Context, workspace_id: str, release_id: str, days: int, after: str | None, limit: int) -> list[Row]:
    """Up to `limit` recorded calls of the last days, newest first: {cursor, id, tool, state, initiator_kind, initiator_id, at,
    would_be, verdict, because}. `id` is a call's, or that of the decision which refused one. Nothing is recorded by this.

    Raises ReleaseNotFound, Denied."""
    release = await reading.release(ctx, release_id)
    await ctx.require(actions.INVOCATION_VIEW.name, Resource("invocation", "*", workspace_id))
    pack = f"{release['publisher']}.{release['name']}"
    tools = {tool["name"]: tool for tool in release["tools"] or []}
    since = now() - timedelta(days=days)
    async with ctx.transaction() as conn:
        found = await store.recorded_calls(conn, workspace_id, pack, sorted(tools), since, after, limit)
        asked: dict[str, Instead] = {}
        shapes: dict[str, tuple[str, str]] = {}
        for row in found:
            name = row["tool"].removeprefix(f"{row['pack']}.")
            shape = _shape(name, row["definition"], tools)
            if shape is None and row["decision"] is None:
                shape = "unknown", "What was decided about it is not recorded."
            if shape is not None:
                shapes[row["id"]] = shape
            else:
                would_be = f"{pack}.{name}"
                facts = rules.call_facts(would_be, pack, release, tools[name])
                asked[row["id"]] = Instead(row["decision"], would_be, facts)
        said = dict(zip(asked, await recalled.answers(ctx, workspace_id, list(asked.values())), strict=True))
    return [
        {
            **{key: row[key] for key in _SHOWN},
            "would_be": asked[row["id"]].resource_id if row["id"] in asked else None,
            **dict(zip(("verdict", "because"), shapes.get(row["id"]) or _said(said[row["id"]]), strict=True)),
        }
        for row in found
    ]


def summed(items: list[Row], days: int) -> Row:
    """{counts, sentence} of what a page holds. Pure."""
    counts = Counter(str(item["verdict"]) for item in items)
    parts = [f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict]]
    of = f"Of {len(items)} recorded {'call' if len(items) == 1 else 'calls'} of the last {days} days"
    none = f"No call of the last {days} days was of this pack, or of a tool that is called as one of its tools."
    return {
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "sentence": f"{of}: {', '.join(parts)}." if items else none,
    }


def _shape(name: str, was: Row | None, tools: dict[str, Row]) -> tuple[str, str] | None:
    """(verdict, why) of a call whose tool is not there, or not the same; None where it is for policy to say."""
    if name not in tools:
        return "reshaped", f"The release has no tool {name}.{rules.did_you_mean(name, sorted(tools))}"
    if was is None:
        return "unknown", f"What {name} took then is not recorded."
    there = tools[name]
    if not subset.within(was["input_schema"], there["input_schema"]):
        return "reshaped", f"{name} takes other arguments: not all that it took then are shown to be taken here."
    if was.get("output_schema") and not subset.within(there.get("output_schema"), was["output_schema"]):
        return "reshaped", f"{name} gives other results: not all of them are shown to be what it gave then."
    return None


def _said(answer: Said | str) -> tuple[str, str]:
    if isinstance(answer, str):
        return "unknown", f"Policy cannot be asked again: {answer}."
    return _OF[answer.verdict], " ".join(answer.reasons)
