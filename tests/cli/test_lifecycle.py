"""What becomes of packs, from a terminal: the words that an operator reads are those of the API."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Doors, full
from tests.support.instance import Instance
from worka.cli.client import Failed
from worka.cli.lifecycle import batches, documents

OSV = {"id": "OSV-1", "modified": "2026-01-01T00:00:00Z", "affected": []}


@pytest.fixture(scope="module")
def doors(instance: Instance, repository: Path) -> Iterator[Doors]:
    """A tenant of its own: packs are taken away here."""
    yield from full(instance, repository)


def told(doors: Doors, *words: str, code: int = 0) -> str:
    """What a command of the owner prints."""
    done = doors.instance.worka(
        *words, WORKA_URL=doors.instance.url, WORKA_TOKEN=doors.a.token or "", WORKA_WORKSPACE=doors.ids["workspace"]
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(300)
@pytest.mark.capability("LIF-6", "GOV-13", "GOV-12", part="from a terminal")
def test_an_operator_answers_whose_from_where_by_whom_and_what_breaks(doors: Doors, tmp_path: Path) -> None:
    said = told(doors, "pack", "lineage", "worka.notes.check_link")
    assert doors.a.get(doors.a.ws("/lineage"), subject="worka.notes.check_link")["sentence"] in said
    assert doors.ids["attachment_notes"] in told(doors, "pack", "users", "worka.notes")
    drawn = tmp_path / "reach.svg"
    blast = told(doors, "pack", "blast", doors.ids["release_notes"], "--svg", str(drawn))
    assert "reaches tracker.worka.test" in blast
    assert drawn.read_text().startswith("<svg")
    assert "gates" in told(doors, "release", "why", doors.ids["release_notes"])
    assert (
        json.loads(told(doors, "--output", "json", "pack", "sbom", doors.ids["release_notes"]))["bomFormat"]
        == "CycloneDX"
    )
    assert "checks hold" in told(doors, "pack", "grade", doors.ids["release_notes"])


@pytest.mark.timeout(300)
@pytest.mark.capability("GOV-14", "LIF-5", part="from a terminal")
def test_a_pack_is_taken_away_after_a_look_and_given_back(doors: Doors) -> None:
    attachment = doors.ids["attachment_notes"]
    dry = told(doors, "pack", "quarantine", "worka.notes", "--dry-run")
    assert f"attachment {attachment}" in dry
    assert doors.a.get(f"/v1/attachments/{attachment}")["state"] == "attached"
    said = told(doors, "pack", "quarantine", "worka.notes", "--reason", "stolen key", "--yes")
    assert "was quarantined by" in said
    assert doors.a.get(f"/v1/attachments/{attachment}")["state"] == "suspended"
    assert "stolen key" in told(doors, "pack", "withdrawals")
    # The worker ends what ran, whoever asked for it being gone.
    made = doors.a.get(doors.a.ws("/withdrawals"))["items"][0]["id"]
    ended, until = "select status from dbos.workflow_status where workflow_uuid = %s", time.monotonic() + 30
    while doors.instance.rows(ended, f"pack.end_calls:{made}") != [{"status": "SUCCESS"}] and time.monotonic() < until:
        time.sleep(0.1)
    assert doors.instance.rows(ended, f"pack.end_calls:{made}") == [{"status": "SUCCESS"}]
    told(doors, "pack", "lift", "worka.notes", "--reason", "new key", "--yes")
    assert doors.a.get(f"/v1/attachments/{attachment}")["state"] == "attached"
    told(doors, "pack", "lift", "worka.notes", "--reason", "again", "--yes", code=7)


def test_a_feed_is_read_from_every_form_and_what_is_none_is_said(tmp_path: Path) -> None:
    forms = {
        "one.json": json.dumps(OSV),
        "list.json": json.dumps([OSV, OSV]),
        "lines.jsonl": json.dumps(OSV) + "\n\n" + json.dumps(OSV) + "\n",
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"OSV-{number}.json", json.dumps(OSV))
        archive.writestr("README.md", "not one of them")
    assert [len(list(documents(tmp_path / name))) for name in (*forms, "all.zip")] == [1, 2, 2, 3]
    for bad in ("{", "[1]", "[", "nothing\nof it"):
        (tmp_path / "bad.json").write_text(bad)
        with pytest.raises(Failed) as refused:
            list(documents(tmp_path / "bad.json"))
        assert refused.value.exit_code == 2
    assert [len(batch) for batch in batches(iter([{"id": "x" * 700_000}] * 5))] == [2, 2, 1]


def test_a_zip_that_unpacks_to_more_than_it_may_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", json.dumps(OSV) + " " * 1_000_000)
    assert len(list(documents(path))) == 1, "the control: below the bound it is read"
    monkeypatch.setattr("worka.cli.lifecycle.LARGEST", 1000)
    with pytest.raises(Failed):
        list(documents(path))
