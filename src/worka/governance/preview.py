"""What access a role would give, before it is given: to somebody invited, and by a change of a member's role.

There is no table of what roles can do: the invitation, or the change, is really made, the façade is asked about every action
as the person would be, and all of it is undone. So a preview says what an attempt would be told, by the policy of the place,
and is refused to whoever may not do it.
"""

from __future__ import annotations

from typing import Any, Final

from worka import identity
from worka.authorization import matrix
from worka.authorization import store as acting
from worka.governance import hanging, questions
from worka.identity import service as people
from worka.kernel import actions, trial
from worka.kernel.actions import PERMISSIONS, Action
from worka.kernel.context import Context
from worka.kernel.ids import new_id
from worka.workspaces import accounts
from worka.workspaces import rules as roles
from worka.workspaces import service as members
from worka.workspaces import store as workspaces

Row = dict[str, Any]
AREAS: Final = (
    ("views", "Views", ("view",)),
    ("history", "History", ("audit", "decision", "access", "egress", "invocation", "workspace")),
    ("connections", "Connections and secrets", ("connection", "secret", "network_exception", "upstream_trust")),
    ("team", "AI team settings", ("team_member", "token", "service_account")),
    ("approvals", "Approvals", ("approval",)),
    ("sharing", "Shared view controls", ("shared_view", "public_route")),
    ("people", "People and roles", ("member",)),
    ("policy", "Policy and stops", ("policy", "kill", "quota")),
    ("work", "Work and packs", ()),
)
"""(key, name, nouns of the actions); what belongs nowhere else is work."""


async def of_invitation(ctx: Context, workspace_id: str, email: str, role: str, approver: bool) -> Row:
    """What an invitation would give, and nothing is sent. Raises what the invitation would."""

    async def look() -> Row:
        await members.invite(ctx, workspace_id, email, role, approver)
        person_id = await _joined(ctx, workspace_id, role, approver)
        return {"role": role, "approver": approver, **await held(ctx, workspace_id, person_id)}

    return await trial.undone(ctx, look)


async def of_account(ctx: Context, workspace_id: str, name: str, purpose: str, role: str) -> Row:
    """What a service account of the caller's own could do, and none is made: no more than its role and its owner both may.
    Raises what making it would."""

    async def look() -> Row:
        made = await accounts.create(ctx, workspace_id, name, purpose, role)
        return {"role": role, **await held(ctx, workspace_id, made["id"])}

    return await trial.undone(ctx, look)


async def of_existing(ctx: Context, workspace_id: str, account_id: str) -> Row:
    """The same of one that is there. Raises AccountNotFound."""
    async with ctx.transaction():
        await accounts.show(ctx, workspace_id, account_id)
        return await held(ctx, workspace_id, account_id)


async def of_change(
    ctx: Context, workspace_id: str, principal_id: str, role: str | None, approver: bool | None, remove: bool
) -> Row:
    """What a change of a member's role (or its end) would give and take, and nothing is changed: {before, after, gained,
    lost}; of its end also what `hangs` on them here. Raises what the change would."""

    async def look() -> Row:
        before = await held(ctx, workspace_id, principal_id)
        _, hangs = await hanging.of_member(ctx, principal_id, workspace_id) if remove else ([], [])
        if remove:
            await members.remove_member(ctx, workspace_id, principal_id)
        else:
            await members.change_member(ctx, workspace_id, principal_id, role, approver)
        after = await held(ctx, workspace_id, principal_id)
        return {
            "principal_id": principal_id,
            "before": before,
            "after": after,
            "hangs": hangs,
            **_difference(before, after),
        }

    return await trial.undone(ctx, look)


async def of_token(ctx: Context, token: str, address: str = "") -> Row:
    """The same for whoever holds the invitation, before it is accepted: also where it leads and who sent it. It stays
    usable. Whether the invited address has an account is not said: who made the invitation holds it too, and would learn
    of any address whether it has one here. Looks are counted by `address` (where from) and by invitation.
    Raises UsedOrUnknownToken, TooManySignIns."""
    await people.charge_look(ctx, token, address)
    kept = await people.peek_one_time(ctx, "invitation", token)
    role, approver = roles.unpack_role(kept["role"])
    inside = ctx.acting(ctx.principal, tenant_id=kept["tenant_id"], workspace_id=kept["workspace_id"])

    async def look() -> Row:
        place = await workspaces.workspace(inside.conn, kept["workspace_id"]) or {}
        sender = await identity.store.person(inside.conn, kept["created_by"])
        judge = await inside.authorizer.judge(inside, inside.conn, kept["workspace_id"])
        person_id = await _joined(inside, kept["workspace_id"], role, approver)
        return {
            "email": kept["email"],
            "workspace": place.get("name", ""),
            "tenant": place.get("tenant_name", ""),
            "invited_by": sender["display_name"] if sender else "",
            "held": judge.stopped(kept["created_by"]) is not None,
            "role": role,
            "approver": approver,
            **await held(inside, kept["workspace_id"], person_id),
        }

    return await trial.undone(inside, look)


async def held(ctx: Context, workspace_id: str, principal_id: str) -> Row:
    """What somebody may do here now: {permissions, areas: [{key, name, may, after_approval, may_not}]}. In the open
    transaction; nothing is recorded."""
    found = await acting.principals(ctx.conn, workspace_id, None, 1, principal_id)
    kind = found[0]["kind"] if found else "person"
    mine = await workspaces.roles_of(ctx.conn, workspace_id, kind, principal_id)
    able = matrix.permissions_of(kind, mine)
    verdicts = {
        action.name: await _verdict(ctx, workspace_id, found[0], action) if found else "deny"
        for action in actions.all_actions()
        if action.permission != "operate"
    }
    areas: list[Row] = [
        {"key": key, "name": name, "may": [], "after_approval": [], "may_not": []} for key, name, _ in AREAS
    ]
    by_key = {area["key"]: area for area in areas}
    for name, verdict in verdicts.items():
        by_key[area_of(name)][{"allow": "may", "ask": "after_approval"}.get(verdict, "may_not")].append(name)
    return {"permissions": {name: name in able for name in PERMISSIONS}, "areas": areas}


def area_of(action: str) -> str:
    """The area of an action."""
    noun = action.partition(".")[0]
    return next((key for key, _, nouns in AREAS if noun in nouns), "work")


async def _verdict(ctx: Context, workspace_id: str, row: Row, action: Action) -> str:
    thing = await questions.resource(ctx, workspace_id, action.resource_type, questions.ANY)
    who = questions.acting(ctx, row)
    found = await questions.answered(ctx, questions.Question(who, None, action.name, thing, {}), keep=False)
    return found.decision.verdict


async def _joined(ctx: Context, workspace_id: str, role: str, approver: bool) -> str:
    """Somebody new in the workspace, who is gone with the transaction."""
    person_id = new_id("per")
    await identity.store.create_person(
        ctx.conn,
        {
            "id": person_id,
            "email": f"{person_id}@preview.invalid",
            "display_name": "The invited",
            "password_hash": None,
            "operator": False,
        },
    )
    await workspaces.add_member(
        ctx.conn,
        {
            "tenant_id": ctx.tenant_id,
            "workspace_id": workspace_id,
            "principal_kind": "person",
            "principal_id": person_id,
            "role": role,
            "approver": approver,
            "created_by": "preview",
        },
    )
    return person_id


def _difference(before: Row, after: Row) -> Row:
    """What is gained and lost: permissions and actions, each in words of the façade. More freely (without an approval) is
    gained, less freely is lost."""
    rank = {"may": 2, "after_approval": 1, "may_not": 0}

    def standing(held: Row) -> dict[str, str]:
        return {name: how for area in held["areas"] for how in rank for name in area[how]}

    old, new = standing(before), standing(after)
    told: dict[str, list[Row]] = {"gained": [], "lost": []}
    for name in sorted(new):
        if rank[new[name]] != rank[old[name]]:
            side = "gained" if rank[new[name]] > rank[old[name]] else "lost"
            told[side].append({"action": name, "area": area_of(name), "was": old[name], "will_be": new[name]})
    return told
