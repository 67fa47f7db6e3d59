"""The token of the outside system is found nowhere that Worka wrote and nowhere that a pack can see."""

from __future__ import annotations

import base64
import secrets
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.search import PACK_UIDS, everything, files, memory, pack_processes, planted, rows, search, spellings
from tests.support.instance import Instance

pytestmark = pytest.mark.timeout(300)


@pytest.mark.capability("TRE-2")
@pytest.mark.capability("TRE-3")
def test_the_token_is_found_nowhere(instance: Instance, demo_report: dict[str, Any]) -> None:
    folder = Path(demo_report["tracker_folder"])
    token = (folder / "token").read_text()
    assert len(set(spellings(token).values())) > 10, "a token that no coding changes would prove little"
    record = "\n".join(path.read_text() for path in folder.rglob("*.jsonl"))
    assert '"authorized": true' in record, "the control: it was used on the wire"
    seen: dict[str, int] = {}

    def counted() -> Any:
        for place, content in everything(instance):
            kind = place.partition("/")[0] if "/" in place else place.rpartition(" ")[2].partition(".")[0]
            seen[kind] = seen.get(kind, 0) + 1
            yield place, content

    assert search(token, counted()) == []
    # What was searched: logs and traces, environments, clones, sessions, the database's files, both schemas, the packs.
    assert {"log", "envs", "clones", "pg", "worka", "dbos", "environ", "memory"} <= set(seen), seen


def test_the_search_finds_a_planted_value_in_every_place_and_coding(
    instance: Instance, demo_report: dict[str, Any]
) -> None:
    """The positive control: a canary in a log, a clone, an environment, a row, a sealed column and the engine's journal."""
    canary = f"cnr-{secrets.token_urlsafe(24)}+/="
    codings = spellings(canary)
    with planted(instance, b" | ".join(codings.values())) as places:
        found = set(search(canary, (item for part in (files(instance.home), rows(instance)) for item in part)))
    # PostgreSQL keeps no NUL in a text, so UTF-16 cannot stand in one.
    texts = {"worka.outbox.payload", "dbos.workflow_status.error"}
    expected = {(place, coding) for place in places for coding in codings if coding != "utf-16" or place not in texts}
    assert expected - found == set()
    assert any(place.startswith("pg/") for place, _ in found), "the database's own files were read too"


def test_the_search_reads_what_a_pack_holds_in_memory(instance: Instance, demo_report: dict[str, Any]) -> None:
    """The positive control of the search of memory: a process under a pack's uid that was told a value, and the tracker."""
    canary = f"cnr-{secrets.token_urlsafe(24)}"
    hold = "import sys; told = sys.stdin.readline().strip(); print(len(told), flush=True); sys.stdin.readline()"
    pack = subprocess.Popen(
        ["/usr/bin/python3", "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=PACK_UIDS[-1],
        cwd="/",
    )
    try:
        assert pack.stdin is not None
        assert pack.stdout is not None
        pack.stdin.write(f"{canary}\n")
        pack.stdin.flush()
        assert pack.stdout.readline().strip() == str(len(canary))
        assert (f"pack {pack.pid} memory", "raw") in search(canary, pack_processes())
    finally:
        pack.communicate("")
    token = (Path(demo_report["tracker_folder"]) / "token").read_text()
    trackers = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and demo_report["tracker_folder"].encode() in _arguments(folder)
    ]
    assert any(search(token, iter([("tracker", b"".join(memory(pid)))])) for pid in trackers)


def _arguments(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def test_base64_is_found_wherever_the_value_begins() -> None:
    value = "trk-abcdefgh+/="
    for before in ("", "x", "xy", "Bearer "):
        coded = base64.b64encode(f"{before}{value} and more".encode())
        assert search(value, iter([("text", coded)])), before
        assert search(value, iter([("text", base64.urlsafe_b64encode(f"{before}{value}".encode()))])), before
    assert search(value, iter([("text", urllib.parse.quote(value, safe="").encode())]))
    assert not search(value, iter([("text", base64.b64encode(b"Bearer another one entirely"))]))
