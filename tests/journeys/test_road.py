"""The journey: one trace id, and every row of the road's table left its link. `make prove CODE=ROAD` takes each writer away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.journeys.road import LINKS, Journey
from tests.plugins import catalogue
from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def journey(instance: Instance, stage: Demo) -> Journey:
    """A task that went its whole road, or as far as it came."""
    made = Journey(instance, stage)
    made.travel()
    return made


def test_the_road_comes_to_its_end(journey: Journey) -> None:
    assert journey.state == "succeeded", journey.answers
    assert len([effect for effect in journey.stage.record()["effects"] if journey.task_id in str(effect)]) == 1


@pytest.mark.parametrize("link", LINKS)
def test_every_row_of_the_road_left_its_link(journey: Journey, link: str) -> None:
    assert LINKS[link].left(journey), f"row {LINKS[link].row} of the road left no {link}"


def test_another_trace_has_no_link(instance: Instance, stage: Demo) -> None:
    """The control: what is found is found by the journey's own ids, not because something is always there."""
    nothing = Journey(instance, stage, task_id="task_none", approval_id="apr_none")
    assert [name for name, link in LINKS.items() if link.left(nothing)] == []


def test_one_trace_passes_through_every_process(journey: Journey) -> None:
    assert {"serve", "worker", "host", "broker"} <= {span["role"] for span in journey.logged("traces.jsonl")}


def test_no_row_of_the_road_keeps_the_body_of_an_answer(journey: Journey) -> None:
    """The control: the notes in the view hold the words that are looked for."""
    (view,) = journey.of_task("view_revision")
    words = "add the pier"
    assert words in json.dumps(view["document"])
    tables = ("egress", "invocation", "lease", "event", "audit_entry", "decision", "approval", "step", "idempotency")
    for table in tables:
        rows = journey.instance.rows(
            f"select t::text as line from worka.{table} t where tenant_id = %s", view["tenant_id"]
        )
        assert rows, table
        assert not any(words in row["line"] or words.encode().hex() in row["line"] for row in rows), table


def test_every_row_of_architectures_table_has_a_link_and_every_link_a_mutation() -> None:
    table = re.findall(r"^\| (\d+) \|", (Path(catalogue.CHECKOUT) / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert {int(number) for number in table} == {link.row for link in LINKS.values()}
    taken = {mutation.path.stem.removeprefix("ROAD-") for mutation in catalogue.mutations(code="ROAD")}
    assert taken == set(LINKS), "a link that no patch takes away is not shown to be missed"
