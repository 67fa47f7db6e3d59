"""The heads are sealed outside the database, restart after restart, and what was done to them is never hidden."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

from tests.audit.ledger import Ledger, as_owner, until
from tests.support.database import Cluster
from worka.audit import checkpoints, sealer, store
from worka.audit.errors import SealBroken


@pytest.mark.capability("AUD-7", part="anchored outside the database")
async def test_a_checkpoint_holds_every_head_and_follows_the_one_before(ledger: Ledger) -> None:
    await ledger.write(3)
    first = await ledger.sealer().seal()
    assert first is not None
    assert first.vector[ledger.tenant] == await ledger.heads()
    await ledger.write(1)
    second = await (made := ledger.sealer()).seal()  # a new sealer, as after a restart
    assert second is not None
    assert second.number == first.number + 1
    assert f"previous {first.digest}" in second.note
    assert second.vector[ledger.tenant] == await ledger.heads()
    assert (os.stat(ledger.paths.keys / "seal.ed25519").st_mode & 0o777) == 0o600
    assert (ledger.paths.checkpoints / "seal.pub").read_text().strip() == made.key.public


@pytest.mark.capability("AUD-7", part="its own last checkpoint is verified")
async def test_a_sealer_does_not_go_on_from_a_checkpoint_that_was_edited(ledger: Ledger) -> None:
    await ledger.write(1)
    made = await ledger.sealer().seal()
    assert made is not None
    assert await ledger.sealer().seal() is None  # the control: untouched, it goes on; nothing has moved
    await ledger.write(1)
    path = checkpoints.Store(ledger.paths.checkpoints).path(made.number)
    whole = path.read_text()
    value = json.loads(whole)
    value["leaves"][-1]["heads"][0][1] += 1
    path.write_text(json.dumps(value))
    with pytest.raises(SealBroken, match="heads beside it"):
        await ledger.sealer().seal()
    path.write_text(whole.replace("number ", "number 9", 1))
    with pytest.raises(SealBroken):
        await ledger.sealer().seal()


@pytest.mark.capability("AUD-7", part="tampering is never sealed away")
async def test_a_tail_cut_in_the_database_keeps_its_last_seal(ledger: Ledger, cluster: Cluster) -> None:
    await ledger.write(24)
    good = await ledger.sealer().seal()
    assert good is not None
    assert good.lost == []
    lane, seq = await ledger.longest()
    where = "where tenant_id = %s and lane = %s and seq = %s"
    as_owner(cluster, ledger, f"delete from worka.audit_entry {where}", lane, seq)
    head = (
        "update worka.audit_head h set seq = e.seq, hash = e.hash from worka.audit_entry e where h.tenant_id = %s"
        " and h.lane = %s and e.tenant_id = h.tenant_id and e.lane = h.lane and e.seq = %s"
    )
    as_owner(cluster, ledger, head, lane, seq - 1)
    ledger.recorder.lane = lambda conn: lane  # type: ignore[method-assign]
    await ledger.write(2)  # the lane grows past the sealed place again
    bad = await ledger.sealer().seal()
    assert bad is not None
    assert bad.vector[ledger.tenant][lane] == good.vector[ledger.tenant][lane]
    assert any(f"lane {lane} " in chain for chain in bad.lost)


@pytest.mark.capability("AUD-6", part="a second at most to the next seal")
async def test_the_running_sealer_seals_within_a_second_and_at_once_when_asked(ledger: Ledger) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(sealer.run(ledger.db, ledger.paths, stop))
    files = checkpoints.Store(ledger.paths.checkpoints)

    def sealed(heads: dict[int, tuple[int, str]]) -> bool:
        last = files.latest()
        return last is not None and last.vector.get(ledger.tenant) == heads

    try:
        await ledger.write(1)
        heads = await ledger.heads()
        await until(lambda: sealed(heads))
        for asked in (False, True):
            await ledger.write(1)
            if asked:
                async with ledger.db.transaction(ledger.tenant) as conn:
                    await store.wake_sealer(conn)
            heads, started = await ledger.heads(), time.monotonic()
            await until(lambda heads=heads: sealed(heads))  # type: ignore[misc]
            # A second is the promise; the rest is this machine, which is shared.
            assert time.monotonic() - started < 2.0
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


@pytest.mark.capability("AUD-7", part="one sealer at a time")
async def test_only_one_sealer_of_a_database_seals(ledger: Ledger) -> None:
    async with ledger.db.listen("x") as one, ledger.db.listen("x") as other:
        assert await store.take_sealer_lock(one)
        assert not await store.take_sealer_lock(other)
        await one.close()
        for _ in range(50):
            if await store.take_sealer_lock(other):
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the lock outlived its session")


@pytest.mark.faults
async def test_a_sealer_killed_before_it_writes_leaves_no_half_checkpoint(ledger: Ledger, cluster: Cluster) -> None:
    await ledger.write(2)
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom worka.audit.sealer import Sealer\n"
        "from worka.kernel.db import Database\nfrom worka.kernel.paths import Paths\n"
        "async def main():\n db = Database(sys.argv[1], 't')\n await db.open()\n"
        " await Sealer(db, Paths(Path(sys.argv[2]))).seal()\n await db.close()\nasyncio.run(main())"
    )
    env = {**os.environ, "WORKA_TESTING": "1", "WORKA_FAILPOINT": "audit.sealed.before_write"}
    command = [sys.executable, "-c", code, cluster.urls.app, str(ledger.home)]
    assert subprocess.run(command, env=env, check=False, timeout=60).returncode == -9
    assert checkpoints.Store(ledger.paths.checkpoints).latest() is None
    made = await ledger.sealer().seal()
    assert made is not None
    assert made.number == 1
    assert made.vector[ledger.tenant] == await ledger.heads()
