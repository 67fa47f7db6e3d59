"""A smoke of the crash harness (`make faults`): one seed of one row, and the judge's own eyes on made-up records."""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.faults.harness import judge, leaving, report, run
from tests.faults.harness.load import Job, Try
from tests.faults.harness.outside import HOST, Outside
from tests.support.commands import run_to_its_end
from worka.packs.registry import oci

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_one_seed_of_a_killed_worker_under_load_is_run_and_held(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "faults"), "--rows", "worker-kill", "--seeds", "1"]
    done = run_to_its_end([*command, "--results", str(tmp_path)], seconds=270)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [json.loads(text) for text in (tmp_path / "worker-kill.jsonl").read_text().splitlines()]
    assert line["verdict"] == "held"
    assert line["proof"], "the hit is proven"
    assert line["figures"]["tasks_acknowledged"] > 0, "there was a load"
    assert "`worker-kill` | 1 | 1 | none" in (tmp_path / "README.md").read_text()


def effect(marker: str, key: str, effect_id: str) -> dict[str, Any]:
    return {"kind": "effect", "repository": marker, "key": key, "effect_id": effect_id, "at": 1.0}


def found(jobs: list[Job], records: list[dict[str, Any]]) -> list[str]:
    """What the judge says of these jobs against this record of the tracker."""
    verdict = judge.Verdict()
    judge._effects(verdict, SimpleNamespace(requests=lambda: records), jobs, clock=True)  # type: ignore[arg-type]
    return verdict.broken


def test_the_judge_sees_a_lost_effect_and_a_doubled_one_and_passes_what_is_right() -> None:
    job = Job("ada", "post", "m1", acked=True, task_id="task_1", state="succeeded", effect_id="note-1")
    assert found([job], [effect("m1", "k1", "note-1")]) == []
    assert found([job], []) == ["post m1 was acknowledged and had no effect", "post m1 says note-1, the tracker []"]
    assert found([job], [effect("m1", "k1", "note-1"), effect("m1", "k2", "note-2")]) == [
        "post m1 had 2 effects, not one"
    ]
    quiet = Job("ada", "call", "m2", state="not_acknowledged")
    assert found([quiet], [effect("m2", "k1", "note-1")]) == [], "what was not acknowledged may have happened once"
    assert found([quiet], [effect("m2", "k1", "n"), effect("m2", "k2", "o")]) == ["call m2 had 2 effects, not one"]


def test_the_judge_sees_errors_outside_of_the_window_and_any_500() -> None:
    def broken(*tries: Try) -> list[str]:
        verdict = judge.Verdict()
        judge._errors(verdict, SimpleNamespace(tries=list(tries)), (10.0, 20.0))  # type: ignore[arg-type]
        return verdict.broken

    assert broken(Try("ada", "get", 503, "database_unavailable", 11.0, 12.0)) == []
    assert broken(Try("ada", "get", 200, "", 1.0, 2.0)) == []
    assert len(broken(Try("ada", "get", 503, "database_unavailable", 25.0, 26.0))) == 1
    assert len(broken(Try("ada", "get", 500, "internal", 11.0, 12.0))) == 1


def test_the_judge_sees_a_task_that_one_request_made_twice() -> None:
    job = Job("ada", "post", "m1", acked=True, task_id="task_1", state="succeeded")
    started = {"type": "workflow.task.started", "subject": {"id": "task_1", "name": "m1"}}
    ended = {"type": "workflow.task.finished", "subject": {"id": "task_1", "name": "m1"}}
    verdict = judge.Verdict()
    judge._ledger(verdict, [job], [started, ended])
    assert verdict.broken == []
    judge._ledger(verdict, [job], [started, ended, {**started, "subject": {"id": "task_2", "name": "m1"}}])
    assert verdict.broken == ["one request made 2 tasks (m1)"]


def test_a_broken_seed_stays_in_the_table_when_a_later_run_of_it_held(tmp_path: Path) -> None:
    line = {"row": "r", "seed": 3, "commit": "a", "figures": {}, "broken": ["lost one"], "verdict": "broken"}
    run.keep(line, tmp_path)
    run.keep({**line, "commit": "b", "broken": [], "verdict": "held"}, tmp_path)
    report.write(tmp_path, ["r"])
    page = (tmp_path / "README.md").read_text()
    assert "| `r` | 1 | 1 | none | 3 |" in page
    assert "- `r` seed 3, a: lost one" in page


def test_a_long_run_goes_on_where_it_stopped_and_runs_again_what_broke_since(tmp_path: Path) -> None:
    def ran(seed: int, commit: str, verdict: str) -> None:
        run.keep({"row": "r", "seed": seed, "commit": commit, "verdict": verdict}, tmp_path)

    ran(1, "old", "held")
    ran(2, "old", "broken")
    ran(3, "old+", "held")
    ran(4, "old", "held")
    ran(4, "new", "broken")
    ran(5, "old", "broken")
    ran(5, "new", "held")
    assert run.done_seeds(tmp_path, "r", "new") == {5}
    assert run.done_seeds(tmp_path, "r", "new", missing=True) == {1, 5}, "a checkout with changes proves nothing later"
    assert run.done_seeds(tmp_path, "other", "new", missing=True) == set()


def test_the_judge_sees_what_reached_a_tracker_in_a_fault_and_what_left_without_a_row() -> None:
    def broken(check: Any, records: list[dict[str, Any]], keys: list[str]) -> list[str]:
        tenant = SimpleNamespace(name="ada", ids={"workspace": "ws"}, requests=lambda: records)
        rows = [{"idempotency_key": key} for key in keys]
        verdict = judge.Verdict()
        check(verdict, SimpleNamespace(tenants=[tenant], instance=SimpleNamespace(rows=lambda *_: rows)))
        return verdict.broken

    def during(verdict: judge.Verdict, stage: Any) -> None:
        leaving.silent(verdict, stage, 10.0, 20.0)

    early, late = ({"kind": "request", "idempotency_key": "k", "at": at} for at in (10.5, 15.0))
    assert broken(during, [early], []) == []
    assert broken(during, [early, late], []) == ["1 requests reached the tracker of ada in the fault"]
    assert broken(leaving.accounted, [early], ["k"]) == []
    assert broken(leaving.accounted, [early], []) == ["1 requests reached the tracker of ada without a row"]


def test_the_judge_sees_what_a_registry_lacks_and_that_it_lies(tmp_path: Path) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    outside = Outside(tmp_path)
    there = {
        "base_url": f"https://127.0.0.1:{outside.port}",
        "headers": {"Host": HOST},
        "timeout": 5,
        "trust_env": False,
    }
    trusting = ssl.create_default_context(cadata=outside.ca_pem)
    with contextlib.closing(outside), httpx.Client(verify=trusting, **there) as http:  # type: ignore[arg-type]

        def ask(method: str, path: str, content: bytes = b"", kind: str = "application/octet-stream") -> httpx.Response:
            headers, named = {"Content-Type": kind}, {"sni_hostname": HOST}
            return http.request(method, path, content=content, headers=headers, extensions=named)

        def put() -> None:
            place = f"/v2/ada/packs/manifests/{made.digest}"
            assert ask("PUT", place, made.manifest, oci.MANIFEST_TYPE).status_code == 201

        for digest, data in made.blobs.items():
            place = ask("POST", "/v2/ada/packs/blobs/uploads/").headers["location"]
            assert ask("PUT", f"{place}&digest={digest}", data).status_code == 201
        assert outside.lacks("ada/packs", made.digest) == "its manifest is not in the repository"
        outside.mode = "takes and forgets"
        put()
        assert outside.lacks("ada/packs", made.digest), "what it says is not what it has"
        outside.mode = ""
        put()
        assert outside.lacks("ada/packs", made.digest) == ""
        assert outside.lacks("bob/packs", made.digest), "another's repository is another"
        digest, data = next(iter(made.blobs.items()))
        assert ask("GET", f"/v2/ada/packs/blobs/{digest}").content == data
        outside.mode = "another digest"
        assert ask("GET", f"/v2/ada/packs/blobs/{digest}").content != data
        name = digest.removeprefix("sha256:")
        (tmp_path / f"data/docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data").write_bytes(b"other")
        assert outside.lacks("ada/packs", made.digest) == f"1 of its {len(made.blobs)} parts are not there, or damaged"
