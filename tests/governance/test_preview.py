"""What a role would give, looked at before it is given: by the façade that decides, and without leaving anything behind."""

from __future__ import annotations

import pytest

import worka.audit.actions
import worka.views.actions  # noqa: F401 - registers the actions of areas, whatever else runs beside
from tests.workspaces.world import World, refusal
from worka import identity
from worka.governance import preview, questions, service
from worka.identity import passwords
from worka.identity import rules as person_rules
from worka.identity.errors import TooManySignIns, UsedOrUnknownToken, WeakPassword
from worka.kernel import actions
from worka.kernel.actions import PERMISSIONS
from worka.kernel.context import Principal
from worka.kernel.errors import Denied
from worka.workspaces import accounts
from worka.workspaces import service as members
from worka.workspaces.errors import LastOwner, MemberNotFound

ROLES = (("owner", False), ("admin", False), ("member", False), ("viewer", False), ("viewer", True))


def verdicts(held: dict) -> dict[str, str]:  # type: ignore[type-arg]
    """Action by action."""
    how = {"may": "allow", "after_approval": "ask", "may_not": "deny"}
    return {name: word for area in held["areas"] for key, word in how.items() for name in area[key]}


async def counted(world: World) -> dict[str, int]:
    """How much there is of whatever a preview could leave behind."""
    found = {table: len(await world.rows(table)) for table in ("membership", "event", "audit_entry", "decision")}
    async with world.db.transaction(world.tenant_id) as conn:
        found["invitations"] = len(await identity.store.invitations(conn, world.tenant_id, world.workspace_id))
    return found


@pytest.mark.capability("IDN-15")
@pytest.mark.parametrize(("role", "approver"), ROLES)
async def test_a_preview_says_of_every_action_what_the_member_is_then_told(
    world: World, role: str, approver: bool
) -> None:
    before = await counted(world)
    seen = await preview.of_invitation(world.ctx("owner"), world.workspace_id, "new@example.org", role, approver)
    assert await counted(world) == before, "nothing is left of a look"
    await world.person("new")
    await world.join("new", role, approver)
    new = Principal("person", world.ids["new"], "new", world.tenant_id)
    said = {}
    ctx = world.ctx("owner")
    async with ctx.transaction():
        for action in actions.all_actions():
            thing = await questions.resource(ctx, world.workspace_id, action.resource_type, questions.ANY)
            question = questions.Question(new, None, action.name, thing, {})
            said[action.name] = (await questions.answered(ctx, question, keep=False)).decision.verdict
    told = verdicts(seen)
    assert told == {name: said[name] for name in told}
    assert set(told) == {action.name for action in actions.all_actions() if action.permission != "operate"}
    assert [area["name"] for area in seen["areas"]][:6] == [
        "Views", "History", "Connections and secrets", "AI team settings", "Approvals", "Shared view controls",
    ]  # fmt: skip
    assert set(seen["permissions"]) == set(PERMISSIONS)
    assert seen["permissions"]["publish_shared_views"] == (role in ("owner", "admin"))
    assert seen["permissions"]["approve"] == (role in ("owner", "admin") or approver)


@pytest.mark.capability("IDN-15", part="by the policy of this very place")
async def test_a_preview_follows_the_policy_of_the_place_and_not_a_table(world: World) -> None:
    look = (world.workspace_id, "new@example.org", "member", False)
    free = verdicts(await preview.of_invitation(world.ctx("owner"), *look))
    text = 'forbid(principal, action == Worka::Action::"task.create", resource);'
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", text, "")
    bound = verdicts(await preview.of_invitation(world.ctx("owner"), *look))
    assert (free["task.create"], bound["task.create"]) == ("allow", "deny")
    assert {name for name in free if free[name] != bound[name]} == {"task.create"}


@pytest.mark.capability("IDN-15", part="only for who may give it, and as it could be given")
async def test_a_look_is_refused_as_the_invitation_would_be(world: World) -> None:
    for who in ("member", "viewer", "approver"):
        with pytest.raises(Denied):
            await preview.of_invitation(world.ctx(who), world.workspace_id, "new@example.org", "viewer", False)
    with pytest.raises(Denied):
        await preview.of_invitation(world.ctx("admin"), world.workspace_id, "new@example.org", "owner", False)
    seen = await preview.of_invitation(world.ctx("admin"), world.workspace_id, "new@example.org", "admin", False)
    assert seen["permissions"]["manage_connections"]


@pytest.mark.capability("IDN-8", part="a change of role says before what is gained and lost")
@pytest.mark.capability("IDN-15", part="a look at a change of role changes nothing")
async def test_a_change_of_role_says_before_what_is_gained_and_lost_and_changes_nothing(world: World) -> None:
    before = await counted(world)
    owner, ids = world.ctx("owner"), world.ids
    down = await preview.of_change(owner, world.workspace_id, ids["member"], "viewer", None, False)
    assert down["gained"] == []
    assert {"action": "task.create", "area": "work", "was": "may", "will_be": "may_not"} in down["lost"]
    up = await preview.of_change(owner, world.workspace_id, ids["member"], "admin", None, False)
    assert up["lost"] == []
    assert "member.invite" in {row["action"] for row in up["gained"]}
    same = await preview.of_change(owner, world.workspace_id, ids["member"], "member", None, False)
    assert (same["gained"], same["lost"]) == ([], [])
    out = await preview.of_change(owner, world.workspace_id, ids["member"], None, None, True)
    assert set(verdicts(out["after"]).values()) == {"deny"}
    assert await counted(world) == before
    assert (await members.member(owner, world.workspace_id, ids["member"]))["role"] == "member"


@pytest.mark.capability("IDN-12", part="owners only, and one stays: also in a look")
async def test_a_look_at_a_change_is_refused_as_the_change_would_be(world: World) -> None:
    with pytest.raises(LastOwner):
        await preview.of_change(world.ctx("owner"), world.workspace_id, world.ids["owner"], "member", None, False)
    with pytest.raises(LastOwner):
        await preview.of_change(world.ctx("owner"), world.workspace_id, world.ids["owner"], None, None, True)
    with pytest.raises(Denied):
        await preview.of_change(world.ctx("admin"), world.workspace_id, world.ids["owner"], "member", None, False)
    with pytest.raises(Denied):
        await preview.of_change(world.ctx("admin"), world.workspace_id, world.ids["member"], "owner", None, False)
    with pytest.raises(MemberNotFound):
        await preview.of_change(world.ctx("owner"), world.workspace_id, world.ids["stranger"], "member", None, False)
    assert (
        await preview.of_change(world.ctx("admin"), world.workspace_id, world.ids["viewer"], "member", None, False)
    )["gained"]


@pytest.mark.capability("IDN-15", part="shown to the invited, before they accept")
async def test_the_invited_see_what_it_gives_before_they_accept_and_it_stays_usable(world: World) -> None:
    sent = await members.invite(world.ctx("owner"), world.workspace_id, "new@example.org", "viewer", True)
    seen = await preview.of_token(world.nobody(), sent["invitation_token"])
    assert (seen["email"], seen["role"], seen["approver"]) == ("new@example.org", "viewer", True)
    assert seen["invited_by"] == "owner"
    assert (seen["permissions"]["approve"], seen["permissions"]["change"]) == (True, False)
    joined = await members.accept(world.nobody(), sent["invitation_token"], "correct horse battery", "New")
    assert joined["workspace_id"] == world.workspace_id
    with pytest.raises(Exception, match="unknown, was used"):
        await preview.of_token(world.nobody(), sent["invitation_token"])


@pytest.mark.capability("IDN-15", part="shown to the invited, before they accept")
async def test_whoever_made_an_invitation_does_not_learn_from_it_who_has_an_account_here(world: World) -> None:
    person = await world.person("known", password_hash=await passwords.hash_password("correct horse battery"))
    async with world.db.transaction(None) as conn:
        row = await identity.store.person(conn, person)
    assert row is not None
    told, links = [], []
    for address in (row["email"], f"nobody.{world.tenant_id[-8:]}@example.org"):
        sent = await members.invite(world.ctx("admin"), world.workspace_id, address, "viewer", False)
        seen = await preview.of_token(world.nobody(), sent["invitation_token"])
        assert seen.pop("email") == address
        told.append(seen)
        links.append(sent["invitation_token"])
    assert told[0] == told[1], "whoever looks is told the same of both"
    for link in links:
        # A password that nobody can have makes no difference either.
        assert await refusal(members.accept(world.nobody(), link, "short", "Thief")) == WeakPassword.code
    for link in links:
        joined = await members.accept(world.nobody(), link, "correct horse battery", "")
        assert joined["workspace_id"] == world.workspace_id, "the control: both are accepted all the same"


@pytest.mark.capability("IDN-15", part="shown to the invited, before they accept")
async def test_looks_at_invitations_are_counted_by_place_and_by_invitation_and_hold_nobody_up_who_accepts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person_rules, "LOOK", person_rules.Limit("look", 3, 60))
    sent = await members.invite(world.ctx("owner"), world.workspace_id, "new@example.org", "viewer", False)
    other = await members.invite(world.ctx("owner"), world.workspace_id, "other@example.org", "viewer", False)
    link = sent["invitation_token"]
    for number in range(3):
        with pytest.raises(UsedOrUnknownToken):
            await preview.of_token(world.nobody(), f"wki_made-up-{number}", "192.0.2.1")
    with pytest.raises(TooManySignIns) as refused:
        await preview.of_token(world.nobody(), link, "192.0.2.1")
    assert 0 < refused.value.extra["retry_after"] <= 61
    for number in range(3):  # the control: another place looks
        assert (await preview.of_token(world.nobody(), link, f"198.51.100.{number}"))["role"] == "viewer"
    with pytest.raises(TooManySignIns):
        await preview.of_token(world.nobody(), link, "198.51.100.9")
    seen = await preview.of_token(world.nobody(), other["invitation_token"], "198.51.100.9")
    assert seen["email"] == "other@example.org", "the control: another invitation is shown there"
    joined = await members.accept(world.nobody(), link, "correct horse battery", "New")
    assert joined["workspace_id"] == world.workspace_id, "looks use up no try of whoever accepts"


def test_every_action_stands_in_an_area_that_fits_its_noun() -> None:
    nouns = {noun for _, _, names in preview.AREAS for noun in names}
    later = {"shared_view", "public_route", "quota"}
    known = {action.name.partition(".")[0] for action in actions.all_actions()}
    assert nouns - later <= known, "an area names a noun that no action has"
    assert preview.area_of("connection.create") == "connections"
    assert preview.area_of("task.create") == "work"


@pytest.mark.capability("IDN-15", "IDN-21")
async def test_a_service_account_is_looked_at_before_it_is_made_and_never_may_more_than_its_role(world: World) -> None:
    before = await counted(world)
    seen = {
        role: await preview.of_account(world.ctx("owner"), world.workspace_id, "importer", "imports issues", role)
        for role in ("member", "viewer")
    }
    assert await counted(world) == before, "nothing is left of a look"
    assert await accounts.listing(world.ctx("owner"), world.workspace_id, None, 10) == []
    for role, able in seen.items():
        made = await accounts.create(world.ctx("owner"), world.workspace_id, f"the-{role}", "imports issues", role)
        is_now = await preview.of_existing(world.ctx("viewer"), world.workspace_id, made["id"])
        assert verdicts(is_now) == verdicts(able), "it may what was shown"
    may = {role: {name for name, how in verdicts(able).items() if how != "deny"} for role, able in seen.items()}
    assert "task.create" in may["member"] - may["viewer"]
    assert not {"member.invite", "approval.decide"} & may["member"], "whatever its owner may"
    with pytest.raises(Denied):
        await preview.of_account(world.ctx("viewer"), world.workspace_id, "mine", "x", "viewer")
