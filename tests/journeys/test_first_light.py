"""First light: what the demo shows, checked from outside; what its task left behind is in test_road.py."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.explanations.doors import Doors
from tests.support.instance import Instance, make_repository
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(420)
STAGES = ["start", "people", "packs", "outside system", "approvals", "task", "refused road", "evidence"]


@pytest.mark.capability("OPS-1")
@pytest.mark.capability("TSK-1")
def test_the_demo_runs_its_seven_stages_on_public_routes(demo_report: dict[str, Any]) -> None:
    assert list(demo_report["timings"]) == STAGES
    assert demo_report["counts"]["effects"] == 1
    assert demo_report["verdicts"]["self_approval"] != "internal"


@pytest.mark.capability("BRK-2")
def test_the_refused_road_leaves_zero_hits_at_a_live_canary(demo_report: dict[str, Any]) -> None:
    assert demo_report["counts"]["canary_hits"] == 0
    assert demo_report["verdicts"]["refused_road"] == "undeclared_destination"


@pytest.mark.capability("AUD-7")
def test_the_exported_ledger_verifies_apart_and_tampered_copies_do_not(demo_report: dict[str, Any]) -> None:
    verdicts = demo_report["verdicts"]
    assert verdicts["ledger"] == "verified"
    assert re.search(r"lane \d+ seq \d+", verdicts["ledger_changed"])
    assert "seal" in verdicts["ledger_cut"] or "checkpoint" in verdicts["ledger_cut"]


@pytest.mark.capability("GOV-13")
@pytest.mark.capability("AUT-4")
def test_each_call_of_the_task_names_initiator_pack_release_decision_and_attachment(
    instance: Instance, demo_report: dict[str, Any]
) -> None:
    ids = demo_report["ids"]
    rows = instance.rows("select * from worka.invocation where task_id = %s order by id", ids["task"])
    assert [row["tool"].rsplit(".", 1)[-1] for row in rows] == [
        "git_log",
        "fetch",
        "compose_release_notes",
        "publish_notes",
    ]
    for row in rows:
        assert (row["initiator_kind"], row["initiator_id"]) == ("team_member", ids["member"])
        assert row["originating_person"] == ids["owner"]
        assert row["decision_id"].startswith("dec_")
        assert row["workspace_id"] == ids["workspace"]
        assert row["tool"].startswith(row["pack"] + ".")
        assert row["attachment_id"] in ids.values()
        assert row["release_id"] in ids.values()
        assert len(row["release_digest"]) >= 64
        (decision,) = instance.rows("select * from worka.decision where id = %s", row["decision_id"])
        asked = (decision["action"], decision["resource_id"], decision["principal_id"])
        assert asked == ("tool.invoke", row["tool"], ids["member"])
        # … and the release names where it came from: the package, its lock or files, and who registered it.
        (release,) = instance.rows("select * from worka.release where id = %s", row["release_id"])
        assert release["digest"] == row["release_digest"]
        assert release["source"]["ecosystem"] in ("pypi", "path")
        assert (release["source"]["contents"], release["created_by"]) != ("", "")


@pytest.mark.capability("TSK-13", part="the journal holds ids, never payloads")
def test_the_engines_journal_holds_ids_only(instance: Instance, demo_report: dict[str, Any]) -> None:
    payload = demo_report["ids"]["task"]
    lines = [
        row["line"]
        for table in ("workflow_status", "operation_outputs")
        for row in instance.rows(f"select t::text as line from dbos.{table} t")
    ]
    assert any(payload in line for line in lines), "the control: the task's id is there"
    for word in ("harbour", "tide tables", "tracker.worka.test"):
        assert not any(word in line for line in lines), word


def of_tenant(instance: Instance, tenant: str) -> dict[str, list[str]]:
    """Every row of a tenant, by table."""
    tables = instance.rows(
        "select table_name t from information_schema.columns where table_schema = 'worka' and column_name = 'tenant_id'"
    )
    return {
        row["t"]: sorted(
            found["line"]
            for found in instance.rows(f"select x::text line from worka.{row['t']} x where tenant_id = %s", tenant)
        )
        for row in tables
    }


@pytest.mark.capability("OPS-1")
def test_a_second_run_on_another_repository_gives_new_ids_and_other_notes(
    instance: Instance, demo_report: dict[str, Any], tmp_path: Path
) -> None:
    before = of_tenant(instance, demo_report["ids"]["tenant"])
    assert sum(map(len, before.values())) > 100, "the control: the first run left its rows"
    other = instance.demo(make_repository(tmp_path / "orchard", ["feat: plant pears", "fix: prune"]))
    after = of_tenant(instance, demo_report["ids"]["tenant"])
    assert [table for table in before if before[table] != after[table]] == [], "the second run touched the first one's"
    left = {
        "running calls": "select id from worka.invocation where tenant_id = %s and state = 'running'",
        "open approvals": "select id from worka.approval where tenant_id = %s and state = 'open'",
        "open waits": "select id from worka.wait where tenant_id = %s and cleared_at is null",
        "open leases": "select id from worka.lease where tenant_id = %s and closed_at is null",
        "unanswered keys": "select key from worka.idempotency where tenant_id = %s and state = 'in_flight'",
    }
    assert {name: instance.rows(query, other["ids"]["tenant"]) for name, query in left.items()} == {
        name: [] for name in left
    }
    for name in ("tenant", "workspace", "owner", "task", "approval", "view", "release_git"):
        assert other["ids"][name] != demo_report["ids"][name], name
    texts = [
        instance.rows(
            "select document ->> 'text' as text from worka.view_revision where view_id = %s", run["ids"]["view"]
        )[0]["text"]
        for run in (demo_report, other)
    ]
    assert "add the pier" in texts[0]
    assert "plant pears" in texts[1]
    assert "pears" not in texts[0]


@pytest.mark.capability("DOR-2", part="exit codes and machine output")
def test_exit_codes_tell_what_happened(instance: Instance) -> None:
    assert instance.worka("version").returncode == 0
    assert instance.worka("task", "show").returncode == 2
    assert instance.worka("--url", instance.url, "me").returncode == 4
    assert instance.worka("--url", "http://127.0.0.1:9", "me").returncode == 1


@pytest.mark.capability("OPS-5", part="database, sandbox, limits, clock, disk, version")
def test_doctor_finds_a_healthy_instance_healthy(instance: Instance) -> None:
    done = instance.worka("--output", "json", "--url", instance.url, "doctor")
    checks = {item["name"]: item["state"] for item in json.loads(done.stdout)["items"]}
    assert done.returncode == 0, checks
    assert {"sandbox", "database", "broker", "host", "launcher", "clock", "disk"} <= set(checks)


@pytest.mark.capability("XPL-2")
def test_three_doors_explain_the_demos_waiting_task_and_its_refused_call_alike(stage: Demo, instance: Instance) -> None:
    """Byte for byte, on the running product; every other state is in tests/explanations."""
    body = {"workflow": "release-notes", "inputs": {"repository": "doors"}, "member_id": stage.ids["member"]}
    task = stage.owner.post(stage.owner.ws("/tasks"), body)["id"]
    deadline = time.monotonic() + 40
    while instance.rows("select state from worka.task where id = %s", task)[0]["state"] != "waiting":
        assert time.monotonic() < deadline, "the task did not reach its wait"
        time.sleep(0.2)
    # Ages are told in words: three hours hold still while three doors are asked, seconds do not.
    aged = "update worka.{} set since = since - interval '3 hours' where {} = %s returning 1"
    for table, column in (("task", "id"), ("wait", "task_id")):
        instance.rows(aged.format(table, column), task)
    call = {"arguments": {"url": "https://canary.worka.test/x"}}
    refused = stage.owner.post(stage.owner.ws("/tools/worka.notes.check_link/call"), call)["invocation_id"]
    doors = Doors(instance.url, instance.env)
    waits = doors.agree(str(stage.owner.token), stage.ids["workspace"], task)
    assert (waits["state"], waits["reason"]) == ("waiting", "waiting_for_approval")
    assert waits["waiting_on"][0]["who"] == ["Arno Approver"]
    failed = doors.agree(str(stage.owner.token), stage.ids["workspace"], refused)
    assert (failed["state"], failed["reason"]) == ("failed", "undeclared_destination")
    assert [leg["name"] for leg in failed["road"] if leg["state"] == "failed"] == ["broker"]
