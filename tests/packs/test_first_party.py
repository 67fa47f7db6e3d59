"""The packs that we ship, each as an operator has it: registered, attached to a real repository, and called."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import ROOT, Packs
from tests.support.instance import worka_command
from worka.packs import folder, service

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
OURS = ("changes", "documents", "tables")
WHO = {f"GIT_{who}_{what}": "Ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def repository(place: Path, *commands: str) -> Path:
    """A git repository, made by these lines of sh in a folder that is there."""
    script = "\n".join(["git init -q -b main .", *commands])
    subprocess.run(["sh", "-ec", script], cwd=place, env={**os.environ, **WHO}, check=True)
    return place


async def attached(place: Packs, name: str, mount: str, source: Path) -> Row:
    """An attachment of one of ours, bound to a repository. It reads and no more, so nobody is asked."""
    release = await place.shipped(name)
    row = await service.attach(place.ctx(), release["id"], mounts={mount: str(source)})
    assert row["state"] == "attached", row["reason"]
    return row


async def answer(place: Packs, tool: str, given: Row) -> Row:
    """The structured, validated result of a call by a member."""
    _, found = await service.call(place.ctx("member"), f"worka.{tool}", given, None)
    assert (found["status"], found["validated"]) == ("succeeded", True), found
    structured: Row = found["structured"]
    return structured


async def error(place: Packs, tool: str, given: Row) -> str:
    """What a call by a member is told that does not work."""
    _, found = await service.call(place.ctx("member"), f"worka.{tool}", given, None)
    assert found["status"] != "succeeded", found
    return json.dumps(found)


@pytest.mark.capability("TOL-2", part="a pack of the SDK, input and output")
async def test_tables_reads_what_git_holds_and_what_sqlite_wrote(place: Packs, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "shop.db") as conn:
        conn.execute("create table orders (id integer, customer text, amount real)")
        conn.executemany("insert into orders values (?, ?, ?)", [(1, "Ann", 12.5), (2, "Bob", 7), (3, "Ann", 10)])
    conn.close()
    (tmp_path / "data" / "people.csv").write_text("name,city\nAnn,Bern\nBob,Zürich\n")
    source = repository(tmp_path / "data", "ln -s /etc/passwd secret.csv", "git add .", "git commit -qm tables")
    await attached(place, "tables", "data", source)
    listed = await answer(place, "tables.list_tables", {})
    assert [(table["file"], table["table"]) for table in listed["tables"]] == [
        ("people.csv", "people"),
        ("shop.db", "orders"),
    ]
    group = {"file": "shop.db", "group_by": ["customer"], "measures": [{"kind": "sum", "column": "amount"}]}
    assert (await answer(place, "tables.summarise", group))["groups"][0] == {"of": ["Ann"], "measures": [22.5]}
    where = [{"column": "city", "operator": "contains", "value": "zür"}]
    assert (await answer(place, "tables.read_rows", {"file": "people.csv", "where": where}))["rows"] == [
        ["Bob", "Zürich"]
    ]
    assert "There is no file secret.csv" in await error(place, "tables.read_rows", {"file": "secret.csv"})
    assert "has no column no" in await error(place, "tables.read_rows", {"file": "people.csv", "columns": ["no"]})


@pytest.mark.capability("TOL-2", part="a pack of the SDK, input and output")
async def test_changes_says_the_next_version_of_a_real_repository(place: Packs, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    lines = ["git commit -q --allow-empty -m 'feat: one'", "git tag -a -m one v1.0.0"]
    lines += [f"git commit -q --allow-empty -m '{subject}'" for subject in ("fix: two", "feat(api): three")]
    await attached(place, "changes", "repo", repository(tmp_path / "repo", *lines))
    assert [found["tag"] for found in (await answer(place, "changes.list_versions", {}))["versions"]] == ["v1.0.0"]
    found = await answer(place, "changes.next_version", {})
    assert (found["current"], found["next"], found["level"]) == ("1.0.0", "1.1.0", "minor")
    log = await answer(place, "changes.change_log", {})
    assert [section["title"] for section in log["sections"]] == ["Added", "Fixed"]
    assert "There is no commit v9" in await error(place, "changes.change_log", {"until": "v9"})


@pytest.mark.capability("TOL-2", part="a pack of the SDK, input and output")
async def test_documents_reads_the_documents_of_this_repository_and_finds_no_broken_link(
    place: Packs, tmp_path: Path
) -> None:
    copy = tmp_path / "all"
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("*.png"))
    for page in ROOT.glob("*.md"):
        shutil.copy(page, copy)
    source = repository(copy, "git add .", "git commit -qm docs")
    await attached(place, "documents", "docs", source)
    listed = await answer(place, "documents.list_documents", {"limit": 1000})
    assert {"README.md", "docs/reference/manifest.md"} <= {found["path"] for found in listed["documents"]}
    hits = await answer(place, "documents.search", {"words": "quarantine release", "limit": 5})
    assert hits["total"] >= len(hits["hits"]) > 0
    checked = await answer(place, "documents.broken_links", {})
    assert checked["links"] > 100
    # Code, packs and pictures were left out of the copy: what is in the repository itself is there.
    gone = [
        item
        for item in checked["broken"]
        if "heading" in item["why"]
        or not (ROOT / Path(item["path"]).parent / item["target"].partition("#")[0]).exists()
    ]
    assert gone == [], "links of this repository's own documents"
    assert "There is no document no.md" in await error(place, "documents.outline", {"path": "no.md"})


@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_has_tests_of_its_own_that_pass_in_the_sandbox(name: str) -> None:
    done = subprocess.run(
        [*worka_command(), "pack", "test", str(ROOT / "packs" / name)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK" in done.stdout


@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_needs_nothing_and_brings_the_sdk(name: str) -> None:
    source = folder.read(ROOT / "packs" / name)
    assert not [line for line in source.lock.splitlines() if line and not line.startswith("#")]
    assert {path: data for path, data in source.files.items() if path.startswith("worka_sdk/")} == folder.sdk_files()
