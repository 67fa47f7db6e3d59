"""Servers of others, unmodified, each tool with a checked result and a checked failure: one attachment a server, the
governed road, real counterparts (a git repository, SQLite, files, the clock, the tracker).

`FAILS` of a tool that takes nothing is a call that is no object of arguments; some servers tell an error as ordinary text,
which is checked as such.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.packs.conftest import ROOT, Outside, Packs
from worka.kernel.errors import Denied
from worka.packs import service
from worka.packs.errors import InputInvalid

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
Check = Callable[[str, Any], bool]


@dataclass(frozen=True)
class Step:
    """One call: `how` is what becomes of it (`ok`, `failed`: the tool's error, `refused`: before the pack saw it), `says` a
    text of the answer or a check of (text, structured content)."""

    tool: str
    arguments: Any
    says: str | Check = ""
    how: str = "ok"


def ok(tool: str, says: str | Check, **arguments: Any) -> Step:
    return Step(tool, arguments, says)


def failed(tool: str, says: str, **arguments: Any) -> Step:
    return Step(tool, arguments, says, "failed")


def refused(tool: str, **arguments: Any) -> Step:
    """Without arguments: a list, which no tool takes."""
    return Step(tool, arguments or [], "", "refused")


def in_time(text: str, _: Any) -> bool:
    """The server's time is the machine's, in the zone that was asked for."""
    told = datetime.fromisoformat(json.loads(text)["datetime"])
    zone = ZoneInfo("Asia/Tokyo")
    return told.utcoffset() == datetime.now(zone).utcoffset() and abs((told - datetime.now(UTC)).total_seconds()) < 60


def thought(number: int, total: int) -> Check:
    return lambda _, found: (found["thoughtNumber"], found["totalThoughts"]) == (number, total)


TRIP = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
ANN = {"name": "Ann", "entityType": "person", "observations": ["likes tea"]}
KNOWS = {"from": "Ann", "to": "Ben", "relationType": "knows"}
NOTE = "/tmp/notes/a.txt"
HERE = {"repo_path": "/repo"}
NOWHERE = {"repo_path": "/etc"}
TRACKER = "https://tracker.worka.test/api/issues"

SERVERS: dict[str, tuple[Step, ...]] = {
    "time": (
        ok("get_current_time", in_time, timezone="Asia/Tokyo"),
        failed("get_current_time", "Nowhere/City", timezone="Nowhere/City"),
        ok("convert_time", "+9.0h", **TRIP),
        failed("convert_time", "Invalid time format", **{**TRIP, "time": "25:61"}),
    ),
    "sqlite": (
        ok("create_table", "created", query="CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)"),
        ok("create_table", "Only CREATE TABLE", query="DROP TABLE t"),
        ok("list_tables", "'t'"),
        refused("list_tables"),
        ok("write_query", "'affected_rows': 2", query="INSERT INTO t (name) VALUES ('Ann'), ('Ben')"),
        ok("write_query", "SELECT queries are not allowed", query="SELECT 1"),
        ok("read_query", "'Ben'", query="SELECT name FROM t WHERE id = 2"),
        ok("read_query", "no such table", query="SELECT * FROM absent"),
        ok("describe_table", "'name': 'name'", table_name="t"),
        refused("describe_table", table_name=7),
        ok("append_insight", "added", insight="Two people."),
        refused("append_insight", insight=None),
    ),
    "everything": (
        ok("echo", "Echo: hello", message="hello"),
        refused("echo", message=1),
        ok("get-annotated-message", "Operation completed", messageType="success"),
        refused("get-annotated-message", messageType="other"),
        ok("get-env", lambda text, _: "WORKA_PACK_SESSION_ID" in text and "SECRET" not in text),
        refused("get-env"),
        ok("get-resource-links", "demo://resource", count=2),
        refused("get-resource-links", count=11),
        ok("get-resource-reference", "Resource 3", resourceType="Text", resourceId=3),
        failed("get-resource-reference", "Invalid resourceId", resourceType="Text", resourceId=-1),
        ok("get-structured-content", lambda _, found: found["conditions"] != "", location="Chicago"),
        refused("get-structured-content", location="Berlin"),
        ok("get-sum", "42", a=40, b=2),
        refused("get-sum", a=40),
        ok("get-tiny-image", "image/png"),
        refused("get-tiny-image"),
        ok("gzip-file-as-resource", "a.gz", name="a.gz", data="data:text/plain,hello", outputType="resourceLink"),
        failed("gzip-file-as-resource", "", name="a.gz", data="https://example.org/", outputType="resourceLink"),
        ok("toggle-simulated-logging", "logging"),
        refused("toggle-simulated-logging"),
        ok("toggle-subscriber-updates", "updates"),
        refused("toggle-subscriber-updates"),
        ok("trigger-long-running-operation", "completed", duration=0.2, steps=2),
        refused("trigger-long-running-operation", duration="long"),
        failed("simulate-research-query", "task", topic="tea"),
        refused("simulate-research-query", topic=3),
    ),
    "filesystem": (
        ok("list_allowed_directories", "/tmp"),
        refused("list_allowed_directories"),
        ok("create_directory", "Successfully", path="/tmp/notes"),
        failed("create_directory", "denied", path="/etc/notes"),
        ok("write_file", "Successfully", path=NOTE, content="one\ntwo\n"),
        failed("write_file", "denied", path="/etc/passwd", content="x"),
        ok("read_file", "one\ntwo", path=NOTE),
        failed("read_file", "denied", path="/etc/passwd"),
        ok("read_text_file", lambda text, _: text.strip() == "one", path=NOTE, head=1),
        failed("read_text_file", "ENOENT", path="/tmp/nothing"),
        ok("read_media_file", "bytes", path=NOTE),
        failed("read_media_file", "denied", path="/proc/self/environ"),
        ok("read_multiple_files", "one\ntwo", paths=[NOTE]),
        refused("read_multiple_files", paths=[]),
        ok("edit_file", "+three", path=NOTE, edits=[{"oldText": "two", "newText": "three"}]),
        failed("edit_file", "Could not find", path=NOTE, edits=[{"oldText": "nine", "newText": "ten"}]),
        ok("list_directory", "[FILE] a.txt", path="/tmp/notes"),
        failed("list_directory", "denied", path="/"),
        ok("list_directory_with_sizes", "Total: 1 files", path="/tmp/notes"),
        refused("list_directory_with_sizes", path="/tmp/notes", sortBy="colour"),
        ok("directory_tree", '"a.txt"', path="/tmp/notes"),
        failed("directory_tree", "denied", path="/usr"),
        ok("search_files", NOTE, path="/tmp", pattern="**/*.txt"),
        failed("search_files", "denied", path="/usr", pattern="*"),
        ok("get_file_info", "isFile: true", path=NOTE),
        failed("get_file_info", "ENOENT", path="/tmp/nothing"),
        ok("move_file", "Successfully", source=NOTE, destination="/tmp/notes/b.txt"),
        failed("move_file", "", source=NOTE, destination="/tmp/notes/c.txt"),
    ),
    "memory": (
        ok("create_entities", lambda _, found: found["entities"] == [ANN], entities=[ANN]),
        refused("create_entities", entities=[{"name": "Ann"}]),
        ok("create_relations", lambda _, found: found["relations"] == [KNOWS], relations=[KNOWS]),
        refused("create_relations", relations=[{"from": "Ann"}]),
        ok("add_observations", "has a dog", observations=[{"entityName": "Ann", "contents": ["has a dog"]}]),
        failed("add_observations", "not found", observations=[{"entityName": "Nobody", "contents": ["x"]}]),
        ok("search_nodes", lambda _, found: [one["name"] for one in found["entities"]] == ["Ann"], query="dog"),
        refused("search_nodes", query=["dog"]),
        ok("open_nodes", lambda _, found: len(found["entities"]) == 1, names=["Ann", "Nobody"]),
        refused("open_nodes", names="Ann"),
        ok("delete_observations", "", deletions=[{"entityName": "Ann", "observations": ["likes tea"]}]),
        refused("delete_observations", deletions=[{"entityName": "Ann"}]),
        ok("read_graph", lambda _, found: found["entities"][0]["observations"] == ["has a dog"]),
        refused("read_graph"),
        ok("delete_relations", "", relations=[KNOWS]),
        refused("delete_relations", relations=[{}]),
        ok("delete_entities", "", entityNames=["Ann"]),
        refused("delete_entities", entityNames=[1]),
        ok("read_graph", lambda _, found: (found["entities"], found["relations"]) == ([], [])),
    ),
    "sequential-thinking": (
        ok("sequentialthinking", thought(1, 3), thought="First.", nextThoughtNeeded=True, thoughtNumber=1, totalThoughts=3),
        ok("sequentialthinking", thought(4, 4), thought="More.", nextThoughtNeeded=False, thoughtNumber=4, totalThoughts=3),
        refused("sequentialthinking", thought="No number.", nextThoughtNeeded=True),
    ),
    # The clone is bound read-only, so the tools that write show that there is nothing to write to.
    "git": (
        ok("git_status", "On branch main", **HERE),
        failed("git_status", "", **NOWHERE),
        ok("git_log", "three, a plain one", **HERE, max_count=1),
        failed("git_log", "", **NOWHERE),
        ok("git_show", "+two", **HERE, revision="HEAD~1"),
        failed("git_show", "nothing", **HERE, revision="nothing"),
        ok("git_diff", "+three", **HERE, target="HEAD~1"),
        failed("git_diff", "", **HERE, target="--output=/tmp/x"),
        ok("git_diff_unstaged", "Unstaged", **HERE),
        failed("git_diff_unstaged", "", **NOWHERE),
        ok("git_diff_staged", "Staged", **HERE),
        failed("git_diff_staged", "", **NOWHERE),
        ok("git_branch", "* main", **HERE, branch_type="local"),
        refused("git_branch", **HERE, branch_type=1),
        failed("git_create_branch", "", **HERE, branch_name="other"),
        failed("git_checkout", "", **HERE, branch_name="nothing"),
        failed("git_add", "", **HERE, files=["a"]),
        failed("git_commit", "", **HERE, message="x"),
        Step("git_reset", HERE, "Destructive tools are off", "denied"),
    ),
    "fetch": (
        ok("fetch", "acme/web: the quick start", url=TRACKER, raw=True, max_length=100_000),
        failed("fetch", "", url="https://tracker.worka.test/api/other"),
    ),
}  # fmt: skip


async def attached(place: Packs, name: str) -> Row:
    """The release of a third-party pack, attached with whatever approval it asks."""
    if name in ("git", "fetch"):
        await place.attach(name)
        return await place.shipped(name)
    folder = ROOT / "packs" / "third-party" / name
    document = json.loads((folder / "worka" / "aip.json").read_text())
    release = await place.register(document, (folder / document["runtime"]["package"]["lock"]).read_text())
    assert release["state"] == "released", release["error"]
    row = await service.attach(place.ctx(), release["id"])
    if row["state"] == "awaiting_approval":
        await place.approve(row["approval_id"])
    return release


@pytest.mark.capability("MAN-5", "TOL-3")
@pytest.mark.parametrize("name", sorted(SERVERS))
async def test_each_tool_of_an_unmodified_server_answers_and_fails_as_it_should(
    place: Packs, outside: Outside, name: str
) -> None:
    if name == "fetch":
        await place.connect(outside.facts)
    release = await attached(place, name)
    assert sorted(missing(release["tools"], SERVERS[name])) == [], "each tool has a result and a failure"
    for step in SERVERS[name]:
        await take(place, f"mcp.{name}.{step.tool}", step)
    if name == "git":
        said = subprocess.run(["git", "log", "-1", "--format=%H"], cwd=place.repository, capture_output=True, text=True, check=True)  # fmt: skip
        _, answer = await service.call(place.ctx(), "mcp.git.git_log", {**HERE, "max_count": 1}, None)
        assert said.stdout.strip() in answer["text"], "the counterpart's own words"
    if name == "fetch":
        assert any(request["path"] == "/api/issues" for request in outside.record["requests"])
        assert not any(request["path"] == "/api/other" for request in outside.record["requests"])


async def take(place: Packs, tool: str, step: Step) -> None:
    """One call, and what came of it."""
    if step.how == "denied":
        with pytest.raises(Denied, match=str(step.says)):
            await service.call(place.ctx(), tool, step.arguments, None)
        return
    if step.how == "refused":
        with pytest.raises(InputInvalid):
            await service.call(place.ctx(), tool, step.arguments, None)
        return
    _, answer = await service.call(place.ctx(), tool, step.arguments, None)
    told = f"{answer.get('text') or ''}\n{answer.get('message') or ''}"
    what = f"{tool} {step.arguments}: {answer}"
    assert answer["status"] == ("succeeded" if step.how == "ok" else "failed"), what
    if step.how == "failed":
        assert answer["layer"] in ("pack", "broker", "upstream"), what
    if callable(step.says):
        assert step.says(answer["text"], answer["structured"]), what
    else:
        assert re.search(re.escape(step.says), f"{told}\n{json.dumps(answer['structured'])}", re.IGNORECASE), what


def missing(tools: Iterable[Row], steps: Iterable[Step]) -> list[str]:
    """Tools without two steps; a tool that cannot do anything here needs its failure only."""
    counted = [step.tool for step in steps]
    idle = {"git_create_branch", "git_checkout", "git_add", "git_commit", "git_reset"}
    return [tool["name"] for tool in tools if counted.count(tool["name"]) < (1 if tool["name"] in idle else 2)]
