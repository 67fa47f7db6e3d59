"""Who answers for what in a workspace: its owner, who approves capabilities, manages connections and reviews publications,
and which AI team members act by themselves (IDN-16).

Recorded are the memberships, their marks and the team members' tools, each with who gave it when, and each change is in the
ledger. Who has a role by them is not read off a role's name but asked of the façade, as an attempt would be, so that a
policy that takes a right away takes the role away here too.
"""

from __future__ import annotations

from typing import Any, Final

from worka.governance import actions as names
from worka.governance import questions, store
from worka.governance.errors import ResourceNotFound
from worka.governance.questions import Question
from worka.kernel.context import Context, Resource

Row = dict[str, Any]
PERSONS: Final = (
    ("owner", names.POLICY_SAVE_HERE, "Owns the workspace: destructive actions, major settings, policy."),
    ("capability_approver", "approval.decide", "Approves what others ask for, packs and capabilities among it."),
    ("connection_manager", "connection.create", "Connects outside systems and keeps their secrets."),
    ("publication_reviewer", names.PUBLICATION_REVIEW, "Reviews what is to be shown to people outside."),
)
ACTING: Final = ("acting_member", "tool.invoke", "An AI team member that acts by itself, with the tools it may call.")


async def show(ctx: Context, workspace_id: str) -> Row:
    """Every role with its holders, by name. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require("member.view", Resource("workspace", workspace_id, workspace_id))
        members = await store.recorded_members(conn, workspace_id)
        roles = []
        for role, action, words in PERSONS:
            thing = await questions.resource(
                ctx, workspace_id, questions.known_action(action).resource_type, questions.ANY
            )
            people = [row for row in members if row["kind"] == "person"]
            holders = [found for row in people if (found := await _holder(ctx, row, action, thing)) is not None]
            roles.append({"role": role, "words": words, "action": action, "holders": holders})
        role, action, words = ACTING
        acting = [row for row in members if row["kind"] == "team_member"]
        holders = [found for row in acting if (found := await _acting(ctx, row, action, workspace_id)) is not None]
        roles.append({"role": role, "words": words, "action": action, "holders": holders})
    return {"workspace_id": workspace_id, "roles": roles}


async def _holder(ctx: Context, row: Row, action: str, thing: Resource) -> Row | None:
    found = await questions.answered(ctx, Question(questions.acting(ctx, row), None, action, thing, {}), keep=False)
    if found.decision.verdict == "deny":
        return None
    return _shown(row, list(found.permitted), found.decision.verdict == "ask", [])


async def _acting(ctx: Context, row: Row, action: str, workspace_id: str) -> Row | None:
    """A team member with those of its tools that it may call, for the person who answers for it."""
    tools, rules, asked = [], [], False
    for tool in row["tools"]:
        who = questions.acting(ctx, row)
        try:
            thing = await questions.resource(ctx, workspace_id, "tool", tool)
        except ResourceNotFound:
            # Its pack is not attached now: whether it might call it, were it harmless.
            thing = Resource("tool", tool, workspace_id, {"name": tool, "side_effect": "read_only"})
        question = Question(who, row["owner_person_id"], action, thing, {})
        found = await questions.answered(ctx, question, keep=False)
        if found.decision.verdict != "deny":
            tools.append(tool)
            rules += [rule for rule in found.permitted if rule not in rules]
            asked = asked or found.decision.verdict == "ask"
    return _shown(row, rules, asked, tools) if tools else None


def _shown(row: Row, rules: list[str], asked: bool, tools: list[str]) -> Row:
    return {
        **{key: row[key] for key in ("kind", "id", "name", "role", "approver", "given_by", "given_at")},
        "permitted_by": rules,
        "needs_approval": asked,
        "tools": tools,
    }
