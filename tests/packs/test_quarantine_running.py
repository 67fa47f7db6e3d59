"""A quarantine while a call runs: the real host ends it, in the real sandbox, and the call says who and why."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import pytest

from tests.packs.conftest import Packs
from tests.packs.plain import tree
from tests.packs.test_registration import small
from worka.kernel.ipc import PeerUnavailable
from worka.kernel.paths import Paths
from worka.packs import service
from worka.packs.errors import AttachmentNotUsable
from worka.packs.runtime.client import HostClient
from worka.packs.service import hosting, tracing, withdrawing

pytestmark = pytest.mark.timeout(300)
SLOW = """
import time
from mcp.server.mcpserver import MCPServer

server = MCPServer("small", version="1.0.0")


@server.tool(description="Says what it is given, after a while.", structured_output=False)
def say(text: str) -> str:
    time.sleep(float(text))
    return text


if __name__ == "__main__":
    server.run("stdio")
"""
TOOLS = [{"name": "say", "description": "Says what it is given, after a while.", "side_effect": "read_only"}]


@pytest.mark.capability("GOV-11")
@pytest.mark.capability("RUN-3", part="dropped on quarantine")
async def test_a_quarantine_ends_the_call_that_runs_and_its_session_and_the_call_says_why(place: Packs) -> None:
    made = await place.register(small(tools=TOOLS), "", tree(SLOW))
    assert made["state"] == "released", made["error"]
    att = await service.attach(place.ctx(), made["id"])
    assert (await service.call(place.ctx(), "acme.small.say", {"text": "0"}, None))[1]["status"] == "succeeded"
    running = asyncio.ensure_future(service.call(place.ctx("member"), "acme.small.say", {"text": "60"}, None))
    async with asyncio.timeout(20):
        while not await place.world.rows("invocation", "state = 'running'"):  # noqa: ASYNC110 - a row, no event
            await asyncio.sleep(0.02)
    begun = time.monotonic()
    await withdrawing.quarantine(place.ctx(), made["id"], "it reads your files")
    done, _ = await asyncio.wait({running}, timeout=15)
    assert done, f"it sleeps on, {time.monotonic() - begun:.0f} s after the quarantine"
    status, answer = await running
    assert (status, answer["status"], answer["reason"]) == (200, "failed", "release_quarantined")
    assert "it reads your files" in answer["message"]
    sessions = (await hosting.client(place.ctx()).status())["sessions"]
    assert [item for item in sessions if item.get("attachment_id") == att["id"]] == []
    with pytest.raises(AttachmentNotUsable):
        await service.call(place.ctx(), "acme.small.say", {"text": "0"}, None)
    # Given back, it serves again, in a session of its own.
    await withdrawing.release(place.ctx(), "lift", made["id"], "it was another one")
    again = (await service.call(place.ctx(), "acme.small.say", {"text": "0"}, None))[1]
    assert (again["status"], again["session"]) == ("succeeded", "cold")


@pytest.mark.capability("GOV-11")
async def test_what_a_crash_left_running_after_a_quarantine_the_job_ends(place: Packs) -> None:
    made = await place.register(small(tools=TOOLS), "", tree(SLOW))
    await service.attach(place.ctx(), made["id"])
    running = asyncio.ensure_future(service.call(place.ctx("member"), "acme.small.say", {"text": "60"}, None))
    async with asyncio.timeout(20):
        while not await place.world.rows("invocation", "state = 'running'"):  # noqa: ASYNC110 - a row, no event
            await asyncio.sleep(0.02)
    ctx = place.ctx()
    async with ctx.transaction():
        # Inside somebody else's transaction, as consent to a proposal is, nobody waits for its end to end the calls.
        await withdrawing.quarantine(ctx, made["id"], "why")
    assert not running.done(), "the control: it runs"
    (receipt,) = await place.world.rows("withdrawal")
    await service.run_ending(place.platform(), receipt["id"])
    done, _ = await asyncio.wait({running}, timeout=15)
    assert done
    assert (await running)[1]["reason"] == "release_quarantined"


class Away(HostClient):
    """The real host, whose answer to `drop` is lost for some attachments, or for all; `asked` is who it was asked for."""

    lost: ClassVar[set[str]] = set()
    all_lost: ClassVar[bool] = False
    asked: ClassVar[list[str]] = []

    async def drop(self, *, attachment_id: str) -> dict[str, Any]:
        self.asked.append(attachment_id)
        if self.all_lost or attachment_id in self.lost:
            raise PeerUnavailable("It is away.")
        return await super().drop(attachment_id=attachment_id)


@pytest.fixture
def away(place: Packs, monkeypatch: pytest.MonkeyPatch) -> type[Away]:
    """What the service calls the host by; a fresh one."""
    mine = type("Mine", (Away,), {"lost": set(), "all_lost": False, "asked": []})
    monkeypatch.setattr(hosting, "client", lambda ctx: mine(Paths(ctx.settings.home).run))
    monkeypatch.setattr(withdrawing, "SECONDS", 0.2)
    return mine


@pytest.mark.capability("GOV-11")
async def test_an_attachment_that_cannot_be_dropped_keeps_no_other_from_being_ended(
    place: Packs, away: type[Away]
) -> None:
    away.lost = {"att_a"}
    assert await withdrawing.end_calls(place.platform(), ["att_a", "att_b", "att_c"]) == ["att_a"]
    assert {"att_b", "att_c"} <= set(away.asked), "who comes after it was forgotten"
    away.lost = set()
    assert await withdrawing.end_calls(place.platform(), ["att_a", "att_b", "att_c"]) == [], "the control"


@pytest.mark.capability("GOV-11")
async def test_the_job_goes_on_while_the_host_is_away_and_has_failed_if_it_stays_so(
    place: Packs, away: type[Away], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await place.register(small(tools=TOOLS), "", tree(SLOW))
    await service.attach(place.ctx(), made["id"])
    running = asyncio.ensure_future(service.call(place.ctx("member"), "acme.small.say", {"text": "60"}, None))
    async with asyncio.timeout(20):
        while not await place.world.rows("invocation", "state = 'running'"):  # noqa: ASYNC110 - a row, no event
            await asyncio.sleep(0.02)
    away.all_lost = True
    await withdrawing.quarantine(place.ctx(), made["id"], "why")
    (receipt,) = await place.world.rows("withdrawal")
    with monkeypatch.context() as patience:
        patience.setattr(withdrawing, "JOB_SECONDS", 0.0)
        with pytest.raises(TimeoutError, match="1 attachments"):
            await service.run_ending(place.platform(), receipt["id"])
    job = asyncio.ensure_future(service.run_ending(place.platform(), receipt["id"]))
    done, _ = await asyncio.wait({job, running}, timeout=0.6)
    assert not done, "it counts as done, and the call runs on"
    away.all_lost = False
    await asyncio.wait_for(job, 15)
    done, _ = await asyncio.wait({running}, timeout=15)
    assert done, "the control: once the host is back the call is ended"
    assert (await running)[1]["reason"] == "release_quarantined"


@pytest.mark.capability("LIF-5")
async def test_a_revoked_release_goes_on_serving_what_has_it(place: Packs) -> None:
    made = await place.register(small(), "", tree())
    await service.attach(place.ctx(), made["id"])
    await withdrawing.revoke(place.ctx(), made["id"], "an old flaw")
    assert (await service.call(place.ctx(), "acme.small.say", {"text": "x"}, None))[1]["status"] == "succeeded"


@pytest.mark.capability("LIF-8")
@pytest.mark.capability("LIF-7", part="a release carries a CycloneDX SBOM")
async def test_a_release_that_was_really_built_has_its_packages_in_its_bill_and_a_grade(place: Packs) -> None:
    made = await place.shipped("git")
    bill = await tracing.bill(place.ctx("viewer"), made["id"])
    names = {component["name"].lower() for component in bill["components"]}
    assert {"mcp", "mcp-server-git", "pydantic"} <= names
    assert all(component["properties"] for component in bill["components"]), "each stands in the lock, by its hashes"
    found = await tracing.graded(place.ctx("viewer"), made["id"])
    assert {check["name"]: check["passed"] for check in found["checks"]}["complete_lock"] is True
    assert found["grade"] in "ABC"
    # Shown to whoever agrees to attach it, and to whoever looks at the release.
    att = await place.attach("git", approve=False)
    (approval,) = await place.world.rows("approval", "id = %s", att["approval_id"])
    assert approval["card"]["grade"] == found["sentence"]
    review = next(
        gate for gate in (await tracing.gates(place.ctx("viewer"), made["id"]))["gates"] if gate["name"] == "review"
    )
    assert found["sentence"].startswith(f"{found['grade']}: {found['passed']} of {found['of']} checks hold")
    assert f"grade {found['grade']}, {found['passed']} of {found['of']} checks hold" in review["because"]
