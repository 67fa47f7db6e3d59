"""A dry run lists exactly the recorded decisions that would flip, and names those that cannot be evaluated again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.governance.test_layers import another_workspace, ask, deny
from tests.workspaces.world import TOOL, World, make
from worka import authorization
from worka.authorization import cedar, floor
from worka.governance import replay, rules, service
from worka.governance.errors import BadPolicy, BadWindow
from worka.governance.service import dry_runs
from worka.kernel import actions, clock
from worka.kernel.context import Resource
from worka.kernel.errors import Denied

EXACT = pytest.mark.capability("BEY-2", "XPL-5", part="for policy and a change of role, over recorded decisions")
WRITES = ' when { context has side_effect && context.side_effect == "write" }'


async def history(world: World) -> list[dict[str, Any]]:
    """A day of many kinds of decision: allowed, asked, denied; people, a team member for somebody, two workspaces."""
    elsewhere = await another_workspace(world)
    for place in (world.workspace_id, elsewhere):
        for number, kind in enumerate(("read_only", "write", "external_side_effect", "destructive") * 3):
            facts = {"side_effect": kind, "host": f"h{number % 3}.test", "args_bytes": number * 100}
            resource = Resource("tool", TOOL if number % 2 else "acme.notes.other", place, facts)
            for who in ("owner", "member", "viewer"):
                await world.ctx(who).decide("tool.invoke", resource, **facts)
            await world.ctx("robot", behind="member").decide("tool.invoke", resource, **facts)
        await world.ctx("member").decide("task.create", Resource("workflow", "w", place))
        await world.ctx("admin").decide("member.invite", Resource("workspace", place, place), role="viewer")
    await world.ctx("owner").decide("policy.save", Resource("policy", "access", None, {"kind": "access"}))
    return await world.rows("decision", "true order by id")


async def everything(world: World, who: str = "owner", page: int = 50, **trial: Any) -> list[dict[str, Any]]:
    """All pages of a dry run."""
    items: list[dict[str, Any]] = []
    cursor, window, scanned = None, {"since": "24h", "until": None}, 0
    fields = {"kind": None, "text": "", "scope": "tenant", "role_of": None, "role": None, **trial}
    while True:
        found = await service.dry_run(
            world.ctx(who),
            world.workspace_id,
            **fields,
            **window,
            after=cursor,
            limit=page,  # type: ignore[arg-type]
        )
        items += found["items"]
        scanned += found["scanned"]
        window = {"since": found["since"].isoformat(), "until": found["until"].isoformat()}
        cursor = found["next"]
        if cursor is None:
            everything.scanned = scanned  # type: ignore[attr-defined]
            everything.last = found  # type: ignore[attr-defined]
            return items


def brute(rows: list[dict[str, Any]], kind: str, text: str, where: str | None = None) -> dict[str, tuple[str, str]]:
    """Every recorded decision asked again, one by one, with the text joined to the floor: {id: (from, to)} of the flips."""
    joined = {"access": floor.policies(), "governance": rules.floor()}
    trial = {**joined, kind: cedar.join(joined[kind], cedar.load(text, f"{kind}/tenant.1"))}
    flips = {}
    for row in rows:
        sets = trial if where in (None, row["workspace_id"]) else joined
        asked = service.requests_of(row)
        answer = authorization.rules.decide(asked, actions.get(row["action"]), sets["access"])
        gate = rules.gate(asked[0], sets["governance"]) if answer.allowed else rules.Gate("deny")
        if gate.verdict != row["verdict"] or (
            gate.verdict == "ask" and sorted(gate.approval_rules) != sorted(row["approval_rules"])
        ):
            flips[row["id"]] = (row["verdict"], gate.verdict)
    return flips


TEXTS = {
    "all asks": ("governance", ask("everything", "approve:1")),
    "more people": (
        "governance",
        ask("two", "approve:2").replace(";", WRITES.replace("write", "external_side_effect") + ";"),
    ),
    "writes": ("governance", deny("writes", when=WRITES)),
    "by host": ("governance", deny("host", when=' when { context has host && context.host == "h1.test" }')),
    "by size": ("governance", deny("size", when=" when { context has args_bytes && context.args_bytes > 500 }")),
    "by role": ("access", deny("roles", when=' when { !principal.roles.contains("owner") }')),
    "nothing": ("governance", deny("nobody", "token.create")),
    "empty": ("governance", ""),
}


@EXACT
@pytest.mark.parametrize("name", sorted(TEXTS))
async def test_exactly_the_decisions_that_a_brute_force_evaluation_flips_are_listed(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await history(world)
    kind, text = TEXTS[name]
    monkeypatch.setattr(dry_runs, "BATCH", 7)
    wanted = brute(rows, kind, text)
    for page in (200, 3):
        items = await everything(world, kind=kind, text=text, page=page)
        assert {item["decision_id"]: (item["from"], item["to"]) for item in items} == wanted
        assert len(items) == len(wanted), "none is listed twice"
        assert everything.scanned >= len(rows)  # type: ignore[attr-defined]
    assert bool(wanted) == (name not in ("nothing", "empty")), "the control: these texts do flip decisions"


@EXACT
async def test_a_workspaces_text_is_tried_on_that_workspace_alone(world: World) -> None:
    rows = await history(world)
    kind, text = TEXTS["all asks"]
    items = await everything(world, kind=kind, text=text, scope="workspace")
    here = [row for row in rows if row["workspace_id"] == world.workspace_id]
    assert {item["decision_id"] for item in items} == set(brute(here, kind, text, world.workspace_id))
    assert everything.scanned == len(here)  # type: ignore[attr-defined]
    # Who reads the evidence of a workspace may try it there; the whole tenant is its owners' to try.
    assert await everything(world, who="admin", kind=kind, text=text, scope="workspace") == items
    with pytest.raises(Denied):
        await everything(world, who="admin", kind=kind, text=text)


@EXACT
async def test_what_an_earlier_change_did_is_not_put_down_to_the_text_and_what_the_text_undoes_is(world: World) -> None:
    resource = Resource("tool", TOOL, world.workspace_id, {"side_effect": "write"})
    before = await world.ctx("member").decide("tool.invoke", resource, side_effect="write")
    asks = ask("asks", "approve:1")
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", asks, "one person")
    after = await world.ctx("member").decide("tool.invoke", resource, side_effect="write")
    assert (before.verdict, after.verdict) == ("allow", "ask"), "the control: it asks since then"

    async def tried(text: str) -> tuple[dict[str, tuple[Any, ...]], str]:
        items = await everything(world, kind="governance", text=text)
        of = {item["decision_id"]: item for item in items if item["action"] == "tool.invoke"}
        shown = {
            "before" if key == before.id else "after": (row["from"], row["today"], row["to"], row["earlier"])
            for key, row in of.items()
        }
        return shown, everything.last["sentence"]  # type: ignore[attr-defined]

    shown, said = await tried(asks)
    assert shown == {"before": ("allow", "ask", "ask", True)}, "the text in force changes nothing"
    assert "decided nothing differently" in said
    assert "1 is decided differently since then by earlier changes" in said
    shown, said = await tried("")
    assert shown == {"before": ("allow", "ask", "allow", False), "after": ("ask", "ask", "allow", False)}
    assert "this would have allowed 2 times" in said
    shown, said = await tried(ask("asks", "approve:2"))
    assert shown["after"] == ("ask", "ask", "ask", False)
    assert shown["before"] == ("allow", "ask", "ask", False)
    assert "asked other people, or more of them, 2 times" in said


@EXACT
async def test_what_it_would_have_done_is_said_in_a_sentence(world: World) -> None:
    for _ in range(14):
        await world.ctx("member").require(
            "tool.invoke", Resource("tool", TOOL, world.workspace_id, {"side_effect": "write"})
        )
    await everything(world, kind="governance", text=ask("asks", "approve:1"))
    last = everything.last  # type: ignore[attr-defined]
    assert last["counts"] == {"allow to ask": 14}
    assert last["sentence"].startswith("In the 24 hours before ")
    assert last["sentence"].endswith("this would have asked 14 times, of 14 recorded decisions.")
    nothing = replay.sentence([], 3, 2, "the hour")
    assert (
        nothing
        == "In the hour this would have decided nothing differently, of 3 recorded decisions; 2 could not be evaluated again."
    )


@EXACT
async def test_what_cannot_be_evaluated_again_is_listed_with_what_is_missing(world: World) -> None:
    facts = {"side_effect": "write", "destination": "https://x/?token=abcdefghijkl"}
    masked = await world.ctx("member").require("tool.invoke", Resource("tool", TOOL, world.workspace_id), **facts)
    await service.kill(world.ctx("owner"), world.workspace_id, "workspace", world.workspace_id, "stop", False)
    killed = await world.ctx("member").decide(
        "tool.invoke", Resource("tool", TOOL, world.workspace_id), side_effect="write"
    )
    items = {item["decision_id"]: item for item in await everything(world, kind="governance", text=deny("all"))}
    assert "destination was masked" in items[masked.id]["missing"]
    assert "kill switch" in items[killed.id]["missing"]
    assert items[masked.id]["to"] is None
    assert everything.last["unreconstructed"] == 2  # type: ignore[attr-defined]


@EXACT
async def test_another_role_is_tried_on_what_its_holder_did_here(world: World) -> None:
    await history(world)
    items = await everything(world, role_of=world.ids["member"], role="viewer")
    rows = {row["id"]: row for row in await world.rows("decision")}
    flips = {item["decision_id"] for item in items if item["missing"] is None}
    wanted = {
        row["id"]
        for row in rows.values()
        if world.ids["member"] in (row["principal_id"], row["originating_person"])
        and row["workspace_id"] == world.workspace_id
        and row["verdict"] != "deny"
    }
    assert flips == wanted
    assert wanted
    assert all(item["to"] == "deny" for item in items)
    raised = await everything(world, role_of=world.ids["viewer"], role="member")
    assert {item["to"] for item in raised} == {"allow", "ask"}
    assert {item["principal_id"] for item in raised} == {world.ids["viewer"]}


async def test_a_dry_run_changes_nothing_and_is_refused_for_a_bad_text_or_window(world: World) -> None:
    rows = await history(world)
    await everything(world, kind="governance", text=deny("all"))
    assert len(await world.rows("decision")) == len(rows), "asking is a read"
    assert await world.rows("policy_version") == []
    with pytest.raises(BadPolicy):
        await everything(world, kind="governance", text="permit(principal, action, resource);")
    for since in ("yesterday", "0s", "99999d"):
        with pytest.raises(BadWindow):
            await service.dry_run(
                world.ctx("owner"), world.workspace_id, kind="governance", text="", scope="tenant", role_of=None,
                role=None, since=since, until="0001-01-02T00:00:00Z" if since == "99999d" else None, after=None, limit=5,
            )  # fmt: skip
    old = (clock.now() - timedelta(hours=1)).isoformat()
    found = await service.dry_run(
        world.ctx("owner"), world.workspace_id, kind="governance", text=deny("all"), scope="tenant", role_of=None,
        role=None, since="24h", until=old, after=None, limit=50,
    )  # fmt: skip
    assert (found["scanned"], found["items"], found["next"]) == (0, [], None), "nothing was recorded before that"


@pytest.mark.capability("DEP-10", part="dry runs")
async def test_a_dry_run_sees_no_decision_of_another_tenant(world: World) -> None:
    other = await make(world.db, world.settings.home)
    await history(world)
    assert await everything(other, kind="governance", text=deny("all")) == []
    with pytest.raises(Denied):
        await service.dry_run(
            other.ctx("owner"), world.workspace_id, kind="governance", text=deny("all"), scope="workspace",
            role_of=None, role=None, since="24h", until=None, after=None, limit=50,
        )  # fmt: skip
