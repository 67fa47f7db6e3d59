"""Every state of every machine, made to happen for each of its reasons, and explained by all three doors alike."""

from __future__ import annotations

import asyncio
import functools
import importlib
import pkgutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import worka
from tests.explanations.doors import Doors, credential
from tests.explanations.ways import PACK_WAYS, TASK_WAYS, Pair
from tests.packs.conftest import Packs
from tests.workflows.world import World
from worka.kernel import reasons, states

pytestmark = pytest.mark.timeout(300)
ON_TASKS = ("task", "step", "approval", "invocation")
PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference" / "reasons"
# How far a state is moved into the past, so that its age in words holds still while three doors are asked.
AGED = {"running": 65, "stalled": 65}


@functools.cache
def pairs() -> list[Pair]:
    """Each (machine, state, reason) that somebody can meet and that does not end."""
    for info in pkgutil.walk_packages(worka.__path__, "worka."):
        if info.name.endswith((".model", ".rules", ".causes")):
            importlib.import_module(info.name)
    return [
        (name, state.name, reason)
        for name, machine in sorted(states.all_machines().items())
        for state in machine.states
        if not state.terminal and not state.later
        for reason in state.reasons
    ]


def named(pair: Pair) -> str:
    return "-".join(pair)


def test_every_pair_of_state_and_reason_has_a_way_in_which_it_comes_about() -> None:
    ways = TASK_WAYS.keys() | PACK_WAYS.keys()
    assert not [named(pair) for pair in pairs() if pair not in ways], "no test makes these happen: write ways.py"
    assert not [named(pair) for pair in ways if pair not in pairs()], "these are no pairs of a registered machine"


@pytest.mark.capability("XPL-1")
def test_a_state_is_not_stored_for_a_reason_that_is_not_one_of_its_own() -> None:
    for machine in states.all_machines().values():
        for state in machine.states:
            for reason in state.reasons:
                machine.holds(state.name, reason)
            with pytest.raises(ValueError, match="is never"):
                machine.holds(state.name, "because")
            with pytest.raises(ValueError, match="is never"):
                machine.holds(state.name, "")


@pytest.mark.capability("XPL-1")
@pytest.mark.capability("XPL-2", "XPL-4")
@pytest.mark.parametrize("pair", [pair for pair in pairs() if pair[0] in ON_TASKS], ids=named)
async def test_a_state_of_work_is_explained_alike_by_console_command_line_and_api(
    world: World, task_doors: Doors, pair: Pair
) -> None:
    way = TASK_WAYS.get(pair)
    assert way is not None, f"no test makes a {pair[0]} {pair[1]} for {pair[2]}: write its way in ways.py"
    began = datetime.now(UTC) - timedelta(seconds=1)
    subject = await way(world)
    rows = await world.rows(f"select * from worka.{pair[0]} where id = %s", subject)  # type: ignore[arg-type]
    reader = await credential(world.runtime.platform_context(), world.owner)
    if pair[2] == "retrying":
        # Its signs of life are evidence, and as long as they come the answer gets younger.
        for worker in world.workers:
            worker.signal(signal.SIGSTOP)
    if pair[0] == "step":
        check_row(pair, rows[0], began)
        told = await asyncio.to_thread(task_doors.agree, reader, world.workspace_id, await age(world, rows[0], pair))
        # A step is explained with its task.
        assert told["subject"] == rows[0]["task_id"]
    else:
        check_row(pair, rows[0], began)
        await age(world, rows[0], pair)
        told = await asyncio.to_thread(task_doors.agree, reader, world.workspace_id, subject)
        assert (told["subject"], told["state"], told["reason"]) == (subject, pair[1], pair[2])
    check(told, task_doors)


async def age(world: World, row: dict[str, Any], pair: Pair) -> str:
    """Moves the task behind a row into the past; returns the id of the row."""
    task_id = row.get("task_id") or row["id"]
    if task_id.startswith("task_"):
        (task,) = await world.rows("select state from worka.task where id = %s", task_id)
        seconds = AGED.get(pair[1], AGED.get(task["state"], 10_900))
        async with world.runtime.db.transaction(world.tenant_id) as conn:
            await conn.execute(
                "update worka.task set since = since - make_interval(secs => %s),"
                " last_progress = last_progress - make_interval(secs => %s) where id = %s",
                (seconds, seconds, task_id),
            )
    return str(row["id"])


@pytest.mark.capability("XPL-1")
@pytest.mark.capability("XPL-2", "XPL-4")
@pytest.mark.parametrize("pair", [pair for pair in pairs() if pair[0] not in ON_TASKS], ids=named)
async def test_a_state_of_capability_is_explained_alike_by_console_command_line_and_api(
    place: Packs, pack_doors: Doors, pair: Pair
) -> None:
    way = PACK_WAYS.get(pair)
    assert way is not None, f"no test makes a {pair[0]} {pair[1]} for {pair[2]}: write its way in ways.py"
    began = datetime.now(UTC) - timedelta(seconds=1)
    subject = await way(place)
    (row,) = await place.world.rows(pair[0], "id = %s", subject)
    check_row(pair, row, began)
    reader = await credential(place.world.nobody(), place.world.ids["owner"])
    told = await asyncio.to_thread(pack_doors.agree, reader, place.world.workspace_id, subject)
    assert (told["subject"], told["state"], told["reason"]) == (subject, pair[1], pair[2])
    assert datetime.fromisoformat(told["since"]) == row["since"]
    check(told, pack_doors)


def check_row(pair: Pair, row: dict[str, Any], began: datetime) -> None:
    """What is stored is this state, for this reason, since it came about."""
    _machine, state, reason = pair
    if state != "stalled" and reason != "bypass_held":
        # Never stored: it is what a running task is called once nothing moves, and a bypass while its opener is stopped.
        assert (row["state"], row["reason"]) == (state, reason)
    assert began <= row["since"] <= datetime.now(UTC)


def check(told: dict[str, Any], doors: Doors) -> None:
    """Reason, since, layer, who or what acts next, and a page: nothing of it is left out."""
    known = reasons.get(told["reason"])
    assert known is not None
    assert told["incident_class"] == reasons.INCIDENT_CLASS[told["layer"]]
    assert told["headline"].endswith(".") or told["headline"][-1].isalnum() or told["headline"][-1] in "”)"
    assert told["waiting_on"] or told["next"], "who or what acts next?"
    for wait in told["waiting_on"]:
        assert wait["who"], wait
        assert wait["because"], wait
    for step in told["next"]:
        assert step["allowed"] or step["because"], step
        assert doors.can_be_done(step["command"]), f"there is no such command: {step['command']}"
    page = (PAGES / f"{told['reason']}.md").read_text()
    for title in ("## Likely causes", "## Check", "## Remedy"):
        assert title in page
