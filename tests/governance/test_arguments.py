"""Policy looks at what a call is given: typed, by name, recorded only as far as it was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.governance.test_dry_run import everything
from tests.governance.test_layers import ask, deny
from tests.workspaces.world import TOOL, World
from worka.approvals.rules import parse_rule
from worka.authorization import arguments, cedar
from worka.governance import service, statements
from worka.kernel.context import Resource

SEES = pytest.mark.capability("GOV-7", part="by the arguments of a call")


def when(condition: str) -> str:
    return deny("given", when=f" when {{ {condition} }}")


def text(name: str, test: str) -> str:
    return f'context has args && context.args.hasTag("{name}") && context.args.getTag("{name}") {test}'


async def call(world: World, **given: Any) -> Any:
    resource = Resource("tool", TOOL, world.workspace_id, {"side_effect": "write"})
    return await world.ctx("member").decide("tool.invoke", resource, arguments=given)


@SEES
@pytest.mark.parametrize(
    ("condition", "hit", "spared"),
    [
        (text("to", 'like "*@customer.test"'), {"to": "a@customer.test"}, {"to": "a@ours.test"}),
        (text("issue.title", '== "x"'), {"issue": {"title": "x"}}, {"issue": {"title": "y"}}),
        (
            'context has args_number && context.args_number.hasTag("amount") && context.args_number.getTag("amount") > 100',
            {"amount": 101},
            {"amount": 100},
        ),
        (
            'context has args_flag && context.args_flag.hasTag("force") && context.args_flag.getTag("force")',
            {"force": True},
            {"force": False},
        ),
        (
            'context has args_list && context.args_list.hasTag("labels") && context.args_list.getTag("labels").contains("x")',
            {"labels": ["y", "x"]},
            {"labels": ["y"]},
        ),
        (
            'context has args_unseen && context.args_unseen.contains("amount")',
            {"amount": 1.5},
            {"amount": 2.0},
        ),
    ],
)
async def test_a_statement_looks_at_an_argument_of_each_type(
    world: World, condition: str, hit: dict[str, Any], spared: dict[str, Any]
) -> None:
    assert (await call(world, **hit)).verdict == "allow", "before"
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", when(condition), "")
    refused = await call(world, **hit)
    assert (refused.verdict, refused.rules) == ("deny", ("governance/tenant.1/given",))
    assert (await call(world, **spared)).verdict == "allow"
    assert (await call(world)).verdict == "allow", "absent is not a match"
    replayed = await service.decision(world.ctx("owner"), refused.id)
    assert replayed["replay"]["same"], "it is evaluated again from its record"


@SEES
async def test_only_what_policy_asks_for_is_recorded(world: World) -> None:
    before = await call(world, to="a@b.test", body="a long letter")
    await service.save_policy(
        world.ctx("owner"), world.workspace_id, "governance", when(text("to", 'like "*@customer.test"')), ""
    )
    after = await call(world, to="a@b.test", body="a long letter")
    kept = {row["id"]: row["context"] for row in await world.rows("decision")}
    assert "a@b.test" not in str(kept[before.id])
    assert kept[after.id]["facts"]["args"] == {"to": "a@b.test"}
    assert kept[after.id]["arguments"] == ["to"]
    assert "letter" not in str(kept)


@SEES
async def test_a_dry_run_of_a_text_that_asks_for_an_argument_names_the_calls_whose_record_lacks_it(
    world: World,
) -> None:
    old = await call(world, amount=500)
    asks_for = ask("size", "approve:2").replace(
        ";", ' when { context has args_number && context.args_number.hasTag("amount")'
        ' && context.args_number.getTag("amount") > 100 };'
    )  # fmt: skip
    await service.save_policy(world.ctx("owner"), world.workspace_id, "governance", asks_for, "")
    big, small = await call(world, amount=500), await call(world, amount=5)
    assert (big.verdict, small.verdict) == ("ask", "allow")
    stricter = asks_for.replace("> 100", "> 4")
    items = {item["decision_id"]: item for item in await everything(world, kind="governance", text=stricter)}
    assert "amount was not recorded" in items[old.id]["missing"]
    assert (items[small.id]["from"], items[small.id]["to"]) == ("allow", "ask")
    assert big.id not in items


@SEES
async def test_an_argument_policy_that_errors_denies(world: World) -> None:
    overflow = 'context has args_number && context.args_number.hasTag("n") && context.args_number.getTag("n") * 2 > 5'
    faults = statements.check("governance", when(overflow), parse_rule)
    assert "integer overflow" in faults[0].message
    # Beside the doors, as if it had been saved all the same: what errors is a deny, never skipped.
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.policy_version (tenant_id, kind, version, text, owner_person_id, created_by)"
            " values (%s, 'governance', 1, %s, 't', 't')",
            (world.tenant_id, when(overflow)),
        )
    assert (await call(world, n=2**62)).rules == ("governance/error",)
    assert (await call(world, n=1)).verdict == "allow", "the control"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('context has args && context.args.getTag("to") == "x"', "unable to guarantee safety"),
        ('context.args.hasTag("to")', "optional attribute"),
        (text("to", "> 5"), "expected"),
        (
            "context has args && context has tool && context.args.hasTag(context.tool)"
            ' && context.args.getTag(context.tool) == "x"',
            "written out",
        ),
    ],
)
def test_what_cannot_be_asked_of_an_argument_is_refused_at_save(statement: str, message: str) -> None:
    faults = statements.check("governance", when(statement), parse_rule)
    assert faults, "it was accepted"
    assert message in faults[0].message
    elsewhere = when(text("to", '== "x"')).replace("tool.invoke", "task.create")
    assert statements.check("governance", elsewhere, parse_rule), "no other action is given arguments"
    assert statements.check("governance", when(text("to", '== "x"')), parse_rule) == []


def test_arguments_are_flat_typed_and_bounded() -> None:
    found = arguments.typed(
        {
            "a": "x", "n": 3, "whole": 4.0, "part": 1.5, "yes": True, "none": None, "big": 2**63, "long": "x" * 4001,
            "list": ["b", 1, True, "b"], "objects": [{"x": 1}], "deep": {"in": {"side": {"too": {"far": 1}}}},
            "dotted.name": "x", "in": {"side": "y"},
        }
    )  # fmt: skip
    assert found == {
        "args": {"a": "x", "in.side": "y"},
        "args_number": {"n": 3, "whole": 4},
        "args_flag": {"yes": True},
        "args_list": {"list": ["1", "b", "true"]},
        "args_unseen": ["big", "deep.in.side.too", "dotted.name", "long", "none", "objects", "part"],
    }
    many = arguments.typed({f"k{number:03}": number for number in range(150)})
    assert (len(many["args_number"]), len(many["args_unseen"])) == (100, 50)
    asked = arguments.looked_at(found, frozenset({"a", "deep.in.side.too.far", "missing"}))
    assert asked == {"args": {"a": "x"}, "args_unseen": ["deep.in.side.too"]}, "what hides an asked one is said"


def test_a_set_knows_which_arguments_it_asks_for() -> None:
    both = cedar.load(
        when(text("to", '== "x"'))
        + when('context has args_unseen && context.args_unseen.contains("n")').replace("given", "b"),
        "p",
    )
    assert both.arguments == {"to", "n"}
    assert cedar.load(deny("x"), "p").arguments == frozenset()
