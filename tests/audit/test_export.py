"""An export verifies by itself, and every way to tamper with it is named; on the platform every MAC is checked too."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.audit.ledger import Ledger, as_owner, pack, put_rows, rows_of, unpack
from tests.support.database import Cluster
from worka.audit import service, sign
from worka.audit.errors import SealBroken
from worka.audit.verify import verify_file
from worka.kernel.errors import Denied
from worka.kernel.events import Event

Files = dict[str, bytes]


class Case:
    """An export with at least four rows in its longest lane, all sealed, and a neighbour whose rows are not in it."""

    def __init__(self, ledger: Ledger, neighbour: Ledger, path: Path, lane: int, last: int) -> None:
        self.ledger, self.neighbour, self.path, self.lane, self.last = ledger, neighbour, path, lane, last
        self.files = unpack(path)

    def verdict(self, files: Files) -> dict[str, Any]:
        return verify_file(pack(self.ledger.home / "changed.tar", files))


@pytest_asyncio.fixture
async def case(ledger: Ledger) -> Case:
    neighbour = Ledger(ledger.db, ledger.home, recorder=ledger.recorder)
    await neighbour.write(2)
    await ledger.write(40)
    made = ledger.sealer()
    assert await made.seal()
    # The export records itself; the seal of that row is made when it is asked for, as the worker would.
    wait = service._sealed

    async def sealed(*arguments: Any) -> None:
        await made.seal()
        await wait(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_sealed", sealed)
        path = await ledger.exported()
    lane, last = await ledger.longest()
    assert last >= 4
    return Case(ledger, neighbour, path, lane, last)


@pytest.mark.capability("AUD-7", part="the export carries its own offline verifier")
def test_an_export_verifies_with_the_verifier_in_it_and_nothing_else(case: Case, tmp_path: Path) -> None:
    (tmp_path / "verify.py").write_bytes(case.files["verify.py"])
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "verify.py"), str(case.path), "--json"],
        env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["problems"]) == (0, True, [])
    assert (found["rows"], found["sealed"], found["unsealed"]) == (41, 41, 0)
    assert found["window_seconds"] == 0.0
    assert found["last_seal_at"]
    pack(tmp_path / "bad.tar", {**case.files, "manifest.txt": b"x"})
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "verify.py"), str(tmp_path / "bad.tar")], check=False, capture_output=True
    )
    assert done.returncode == 1


@pytest.mark.capability("AUD-6", part="verify exits non-zero and names the row")
@pytest.mark.parametrize("field", ["body", "mac", "prev", "hash"])
def test_one_changed_byte_names_its_row(case: Case, field: str) -> None:
    assert case.verdict(case.files)["ok"]
    rows = rows_of(case.files, case.lane)
    text = rows[2][field]
    place = text.index("task.created") if field == "body" else 10
    rows[2][field] = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
    found = case.verdict(put_rows(case.files, case.lane, rows))
    assert not found["ok"]
    assert found["problems"][0].startswith(f"lane {case.lane} seq 3:")
    assert found["sealed"] == 41 - case.last, "no row of a broken lane counts as sealed"


@pytest.mark.capability("AUD-7", part="tail truncation is found")
def test_a_cut_tail_names_the_seal_that_it_misses(case: Case) -> None:
    rows = rows_of(case.files, case.lane)
    found = case.verdict(put_rows(case.files, case.lane, rows[:-1]))
    assert not found["ok"]
    assert "the tail is cut: checkpoint " in found["problems"][0]
    assert f"up to seq {case.last}, the export ends at seq {case.last - 1}" in found["problems"][0]


TAMPERED: dict[str, tuple[Callable[[Case], Files], str]] = {
    "a removed row": (
        lambda case: put_rows(case.files, case.lane, [r for r in rows_of(case.files, case.lane) if r["seq"] != 2]),
        "seq 2: missing or out of order",
    ),
    "two rows in another order": (
        lambda case: put_rows(case.files, case.lane, [(r := rows_of(case.files, case.lane))[0], r[2], r[1], *r[3:]]),
        "seq 2: missing or out of order",
    ),
    "a missing lane": (
        lambda case: {name: data for name, data in case.files.items() if name != f"entries/lane-{case.lane}.jsonl"},
        "the export ends at seq 0",
    ),
    "no checkpoint": (
        lambda case: {name: data for name, data in case.files.items() if not name.startswith("checkpoints/")},
        "no checkpoint",
    ),
    "an edited checkpoint": (
        lambda case: {
            name: data.replace(b"time 2", b"time 3") if name.startswith("checkpoints/") else data
            for name, data in case.files.items()
        },
        "its signature or proof does not hold",
    ),
    "another lane's head in the proof": (
        lambda case: {
            name: data.replace(b'"index": ', b'"index": 1') if name.startswith("proofs/") else data
            for name, data in case.files.items()
        },
        "checkpoint",
    ),
    "another key": (
        lambda case: {**case.files, "public-key.txt": (sign._made(b"k" * 32).public + "\n").encode()},
        "its signature or proof does not hold",
    ),
}


@pytest.mark.capability("AUD-7", part="every kind of tampering is named")
@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_named(case: Case, what: str) -> None:
    assert case.verdict(case.files)["ok"]
    change, words = TAMPERED[what]
    found = case.verdict(change(case))
    assert not found["ok"]
    assert any(words in problem for problem in found["problems"]), found["problems"]


@pytest.mark.capability("AUD-7", part="a key from elsewhere is held against it")
def test_a_trusted_key_is_held_against_the_export(case: Case) -> None:
    own = (case.ledger.paths.checkpoints / "seal.pub").read_text().strip()
    assert verify_file(case.path, own)["ok"]
    assert "came with the export" not in verify_file(case.path, own)["claim"]
    assert "came with the export" in verify_file(case.path)["claim"]
    found = verify_file(case.path, sign._made(b"k" * 32).public)
    assert not found["ok"]
    assert "another key" in found["problems"][0]


def test_an_unsafe_archive_is_refused_and_nothing_is_written(case: Case, tmp_path: Path) -> None:
    for name in ("../outside.txt", "/outside.txt", "entries/../../outside.txt"):
        found = case.verdict({**case.files, name: b"x"})
        assert not found["ok"]
        assert "unsafe path" in found["problems"][0]
    squeezed = tmp_path / "squeezed.tar"
    with tarfile.open(squeezed, "w:gz") as tar:
        member = tarfile.TarInfo("README.txt")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    assert not verify_file(squeezed)["ok"]
    squeezed.write_bytes(b"\x00garbage" * 50)
    assert not verify_file(squeezed)["ok"]


@pytest.mark.capability("AUD-6", part="rows after the seal are unsealed, never verified")
async def test_rows_after_the_last_seal_are_reported_as_unsealed(ledger: Ledger) -> None:
    await ledger.write(3)
    assert await ledger.sealer().seal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_PATIENCE", 0.0)  # no sealer runs
        path = await ledger.exported()
    found = verify_file(path)
    assert found["ok"], found["problems"]
    assert (found["rows"], found["sealed"], found["unsealed"]) == (4, 3, 1)
    assert found["window_seconds"] > 0


@pytest.mark.capability("DEP-10", part="an export shows nothing of another tenant")
def test_an_export_holds_nothing_of_another_tenant(case: Case) -> None:
    everything = b"".join(case.files.values()).decode()
    assert case.ledger.tenant in everything
    assert case.neighbour.tenant not in everything
    assert case.neighbour.workspace not in everything


@pytest.mark.capability("AUD-8", part="rows of another workspace are exported without their content")
async def test_rows_of_another_workspace_come_without_their_content(ledger: Ledger) -> None:
    await ledger.write(2)
    ctx = ledger.ctx()
    ctx.workspace_id = None
    async with ctx.transaction():
        ctx.record(Event("task.created", "task_secret_of_another", workspace_id="ws_other"))
    assert await ledger.sealer().seal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_PATIENCE", 0.0)
        path = await ledger.exported()
    found = verify_file(path)
    assert found["ok"], found["problems"]
    assert found["withheld"] == 1
    assert b"task_secret_of_another" not in path.read_bytes()


@pytest.mark.capability("AUD-8", part="exporting and verifying ask for their permission and are recorded")
async def test_looking_is_refused_without_the_permission_and_recorded_with_it(ledger: Ledger) -> None:
    await ledger.write(1)
    assert await ledger.sealer().seal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_PATIENCE", 0.0)
        ledger.authorizer.verdict = "deny"
        with pytest.raises(Denied):
            await service.export_ledger(ledger.ctx(), ledger.workspace)
        with pytest.raises(Denied):
            await service.verify(ledger.ctx(), ledger.workspace)
        assert sum(seq for seq, _ in (await ledger.heads()).values()) == 1
        ledger.authorizer.verdict = "allow"
        assert b"audit.ledger.exported" in (await ledger.exported()).read_bytes()
        assert (await service.verify(ledger.ctx(), ledger.workspace))["ok"]
    assert {action for action, _ in ledger.authorizer.asked} == {"audit.export", "audit.verify"}
    assert sum(seq for seq, _ in (await ledger.heads()).values()) == 3


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"leaves": 3}'])
async def test_an_export_whose_newest_seal_cannot_be_read_says_so_with_a_remedy(ledger: Ledger, damage: str) -> None:
    await ledger.write(3)
    assert await ledger.sealer().seal()
    newest = max(ledger.paths.checkpoints.glob("*.json"))
    whole = newest.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_PATIENCE", 0.05)
        newest.chmod(0o640)
        newest.write_text(damage)
        with pytest.raises(SealBroken) as broken:
            await service.export_ledger(ledger.ctx(), ledger.workspace)
        assert (broken.value.status, broken.value.problem_code) == (503, "seal_broken")
        assert "Compare" in broken.value.remedy
        newest.write_bytes(whole)
        assert (await ledger.exported()).stat().st_size > 0


@pytest.mark.capability("AUD-6", part="a forged row is found at once by its MAC")
async def test_a_row_forged_with_all_its_hashes_is_found_by_its_mac(ledger: Ledger, cluster: Cluster) -> None:
    await ledger.write(24)
    assert (await service.verify(ledger.ctx(), ledger.workspace))["ok"]
    lane, seq = await ledger.longest()
    eve = "convert_to(replace(convert_from(e.body, 'UTF8'), 'Ada', 'Eve'), 'UTF8')"
    change = (
        f"with forged as (update worka.audit_entry e set body = {eve}, hash = sha256(e.prev || e.mac || {eve})"
        " where e.tenant_id = %s and e.lane = %s and e.seq = %s returning *)"
        " update worka.audit_head h set hash = f.hash from forged f where h.tenant_id = f.tenant_id and h.lane = f.lane"
    )
    as_owner(cluster, ledger, change, lane, seq)
    found = await service.verify(ledger.ctx(), ledger.workspace)
    assert not found["ok"]
    assert f"lane {lane} seq {seq}: its MAC is not ours" in found["problems"][0]
