"""What is taken away between a call's intent and its network, or while a move is tried: the real parts say so at once."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.packs.conftest import Packs
from tests.packs.test_registration import lock, small, tree
from worka.governance import service as governance
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths
from worka.kernel.settings import PackSettings
from worka.packs import service
from worka.packs.moving import service as moving
from worka.packs.runtime import host
from worka.packs.runtime.client import HostClient
from worka.packs.runtime.errors import DigestMismatch, NoRoom, ProbeFailed
from worka.packs.runtime.spec import SessionSpec
from worka.packs.service import hosting, withdrawing

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


async def _intent(place: Packs, key: str) -> tuple[Any, Any, Row]:
    ctx = place.ctx("member")
    prepared = await service.prepare(ctx, "acme.small.say", {"text": "x"})
    async with ctx.transaction():
        return ctx, prepared, await service.open_invocation(ctx, prepared, idempotency_key=key, first=True)


async def _ended(made: tuple[Any, Any, Row]) -> tuple[Row, float]:
    ctx, prepared, row = made
    begun = time.monotonic()
    outcome = await service.run(ctx, prepared, row)
    return await service.close_invocation(ctx, row, prepared.release, outcome), time.monotonic() - begun


@pytest.mark.capability("GOV-11", "GOV-15", part="a call between its intent and its network says what stopped it")
async def test_a_call_whose_network_stays_shut_says_who_shut_it_and_is_not_tried_again(place: Packs) -> None:
    made = await place.register(small(outbound_domains=["api.example.org"]), lock(), tree())
    att = await service.attach(place.ctx(), made["id"])
    await place.approve(att["approval_id"])
    here = place.world.workspace_id
    row, _ = await _ended(await _intent(place, "k0"))
    assert row["state"] == "succeeded", f"the control: {row['message']}"

    # Warm and cold: the session that it was taken for is gone the second time.
    for key in ("k1", "k2"):
        pending = await _intent(place, key)
        kill = await governance.kill(place.ctx(), here, "release", made["id"], "a stolen key", False)
        row, seconds = await _ended(pending)
        assert (row["state"], row["reason"], row["layer"]) == ("failed", "killed", "governance")
        assert "a stolen key" in row["message"]
        assert seconds < 7, "it was tried again and again"
        await governance.lift(place.ctx(), here, kill["id"], "all", [], "found", True)
    pending = await _intent(place, "k3")
    ctx = place.ctx()
    async with ctx.transaction():
        # Inside a transaction nobody ends the calls yet: this one meets the quarantine at the broker.
        await withdrawing.quarantine(ctx, made["id"], "it reads your files")
    row, seconds = await _ended(pending)
    assert (row["state"], row["reason"]) == ("failed", "release_quarantined")
    assert "it reads your files" in row["message"]
    assert seconds < 7


@pytest.mark.capability("GOV-11", part="what only tries a release ends with it")
async def test_what_tries_a_release_ends_when_it_is_quarantined_or_its_attachment_goes(place: Packs) -> None:
    made = await place.register(small(), lock(), tree())
    att = await service.attach(place.ctx(), made["id"])
    (row,) = await place.world.rows("release", "id = %s", made["id"])
    silent = hosting.session(place.ctx(), row, None) | {"command": ["python", "-c", "import time; time.sleep(120)"]}
    client = hosting.client(place.ctx())

    def tried(release_id: str, attachment_id: str) -> asyncio.Task[Row]:
        session = silent | {"session_key": f"probe:{attachment_id}", "release_id": release_id}
        return asyncio.ensure_future(client.probe(session=session, attachment_id=attachment_id))

    other, of_release, of_attachment = tried("rel_x", "att_x"), tried(made["id"], "att_y"), tried("rel_y", att["id"])
    try:
        done, _ = await asyncio.wait({other, of_release, of_attachment}, timeout=0.5)
        assert not done, "the control: they are tried"
        await service.detach(place.ctx(), att["id"], "enough")
        done, _ = await asyncio.wait({of_attachment}, timeout=10)
        assert done, "it outlived its attachment"
        assert not of_release.done(), "the control: this one is of another"
        await withdrawing.quarantine(place.ctx(), made["id"], "it reads your files")
        done, _ = await asyncio.wait({of_release}, timeout=10)
        assert done, "it outlived the quarantine"
        with pytest.raises(Problem) as ended:
            await of_release
        assert ended.value.problem_code == "release_quarantined"
        assert "it reads your files" in ended.value.detail
        assert not other.done(), "the control: of another release it goes on"
    finally:
        await client.drop(attachment_id="att_x")
        await asyncio.gather(other, of_release, of_attachment, return_exceptions=True)


class Full(HostClient):
    """The real host, while no place is free for a trial."""

    full: ClassVar[bool] = False

    async def probe(self, **given: Any) -> Row:
        if self.full:
            raise NoRoom("All places are taken.")
        return await super().probe(**given)


@pytest.mark.capability("RUN-7", part="a place that is not free is no fault of what waits for it")
async def test_where_no_place_is_free_a_release_and_a_move_wait_and_do_not_fail(
    place: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "client", lambda ctx: Full(Paths(ctx.settings.home).run))
    encoded = {name: base64.b64encode(data).decode() for name, data in tree().items()}
    row = await service.register(place.ctx(), small(), lock_text=lock(), files=encoded)
    monkeypatch.setattr(Full, "full", True)
    with pytest.raises(NoRoom):
        await service.run_registration(place.platform(), row["id"])
    (now,) = await place.world.rows("release", "id = %s", row["id"])
    assert (now["state"], now["tries"], now["error"]) == ("registered", 0, None)
    monkeypatch.setattr(Full, "full", False)
    row = await service.run_registration(place.platform(), row["id"])
    assert row["state"] == "released", f"the control: {row['error']}"
    att = await service.attach(place.ctx(), row["id"])
    await place.register(small("1.0.1"), lock(), tree())
    move = await moving.update(place.ctx(), att["id"])
    monkeypatch.setattr(Full, "full", True)
    with pytest.raises(NoRoom):
        await moving.run_move(place.platform(), move["id"])
    (now,) = await place.world.rows("attachment_move", "id = %s", move["id"])
    assert now["state"] == "trying"
    monkeypatch.setattr(Full, "full", False)
    assert (await moving.run_move(place.platform(), move["id"]))["state"] == "moved"


@pytest.mark.capability("RUN-7", part="a place that is not free is no fault of what waits for it")
async def test_a_host_without_a_free_place_says_so_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_PROBE_SECONDS", 0.05)
    here = host.Host(Paths(tmp_path), PackSettings(sessions=1))
    session = {"session_key": "k", "tenant_id": "ten_1", "workspace_id": "ws_1", "release_id": "rel_1", "digest": "d" * 64,
               "env_path": str(tmp_path), "command": ["python"], "uid": 200_000}  # fmt: skip
    async with here.pool.slot(SessionSpec.read(session | {"attachment_id": "att_1"}), 1):
        with pytest.raises((NoRoom, ProbeFailed)) as full:
            await here.probe(session=session)
    assert isinstance(full.value, NoRoom)
    assert full.value.problem_code == "no_free_session"
    assert here.pool.trials == {}, "it waits no more"
    with pytest.raises(DigestMismatch):
        await here.probe(session=session)  # the control: with a place it goes on, and finds no environment
