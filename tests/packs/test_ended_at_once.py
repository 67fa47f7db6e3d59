"""What computes when its release is revoked, or a kill switch is set: the real host ends it, and the call says who and why."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.plain import tree
from tests.packs.registered import another_workspace
from tests.packs.test_quarantine_running import SLOW, TOOLS
from tests.packs.test_registration import small
from worka.governance import service as governance
from worka.packs import jobs, service
from worka.packs.service import hosting, withdrawing

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
COMPUTES = SLOW.replace(
    "time.sleep(float(text))", "until = time.time() + float(text)\n    while time.time() < until: pass"
)
"""It asks nobody for anything while it works: no broker would notice that it should end."""


async def attached(place: Packs, version: str = "1.0.0") -> Row:
    made = await place.register(small(version, tools=TOOLS), "", tree(f"{COMPUTES}# {version}\n"))
    assert made["state"] == "released", made["error"]
    return await service.attach(place.ctx(), made["id"])


async def say(place: Packs, seconds: str, who: str = "member", workspace_id: str | None = None) -> Row:
    ctx = place.ctx(who)
    ctx.workspace_id = workspace_id or ctx.workspace_id
    return (await service.call(ctx, "acme.small.say", {"text": seconds}, None))[1]


async def begun(place: Packs, who: str = "member") -> asyncio.Task[Row]:
    """A call that computes for a minute, once it really does."""
    running = asyncio.ensure_future(say(place, "60", who))
    async with asyncio.timeout(30):
        while not any(item["state"] == "busy" and item["calls"] for item in await sessions(place)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return running


async def sessions(place: Packs) -> list[Row]:
    """The sandboxes of this tenant."""
    known = (await hosting.client(place.ctx()).status())["sessions"]
    return [item for item in known if item["tenant_id"] == place.world.tenant_id]


async def told(place: Packs, subject: str) -> list[Row]:
    """What the audit says was ended for it: by how many sandboxes and calls."""
    found = await place.world.rows("event", "type = 'pack.sessions.ended' and subject = %s order by id", subject)
    written = [json.loads(bytes(row["body"])) for row in await place.world.rows("audit_entry")]
    assert len(found) == len(
        [one for one in written if (one["type"], one["subject"]["id"]) == ("pack.sessions.ended", subject)]
    )
    return [{**row["after"], "named": row["data"]["calls"]} for row in found]


@pytest.mark.capability("RUN-3")
@pytest.mark.parametrize(
    ("act", "reason"),
    [("revoke", "ended_by_revocation"), ("quarantine", "release_quarantined")],
    ids=["revoke", "quarantine"],
)
async def test_warm_and_busy_sandboxes_of_a_release_that_is_taken_away_end_at_once(
    place: Packs, act: str, reason: str
) -> None:
    attachment = await attached(place)
    await asyncio.gather(say(place, "0"), say(place, "0"))
    running = await begun(place)
    before = {item["session_id"] for item in await sessions(place)}
    assert len(before) == 2, "the control: one is warm, and one computes"
    made = await withdrawing.release(place.ctx(), act, attachment["release_id"], "a hole")
    assert await sessions(place) == []
    answer = await asyncio.wait_for(running, 5)
    assert (answer["status"], answer["reason"]) == ("failed", reason)
    assert f"was {act}d by" in answer["message"]
    assert "a hole" in answer["message"]
    assert await told(place, made["id"]) == [{"sessions": 2, "calls": 1, "named": [answer["invocation_id"]]}]
    if act == "revoke":
        # What is attached serves on, in a sandbox of its own, which the job of the worker leaves alone.
        assert (await say(place, "0"))["session"] == "cold"
        running = await begun(place)
        await service.run_ending(place.platform(), made["id"])
        assert not running.done()
        assert len(await told(place, made["id"])) == 1
        await service.detach(place.ctx(), attachment["id"], "enough")
        await running


@pytest.mark.capability("RUN-3")
async def test_a_call_that_was_let_through_before_the_revocation_leaves_no_older_sandbox_behind(place: Packs) -> None:
    attachment = await attached(place)
    prepared = await service.prepare(place.ctx("member"), "acme.small.say", {"text": "0"})
    ctx = place.ctx("member")
    async with ctx.transaction():
        row = await service.open_invocation(ctx, prepared, idempotency_key="k1", first=True)
    await withdrawing.revoke(place.ctx(), attachment["release_id"], "a hole")
    assert (await service.run(ctx, prepared, row))["status"] == "ok"
    (left,) = await sessions(place)
    assert (await say(place, "0"))["session"] == "warm"
    assert [item["session_id"] for item in await sessions(place)] == [left["session_id"]]


@pytest.mark.capability("GOV-15", part="a sandbox that computes when the switch is set")
@pytest.mark.parametrize("kind", ["release", "member", "workspace", "tenant"])
async def test_a_kill_switch_ends_what_computes_and_the_call_says_who_and_why(place: Packs, kind: str) -> None:
    attachment = await attached(place)
    running = await begun(place)
    ids = {"release": attachment["release_id"], "member": place.world.ids["member"]}
    ids |= {"workspace": place.world.workspace_id, "tenant": place.world.tenant_id}
    made = await governance.kill(place.ctx(), place.world.workspace_id, kind, ids[kind], "a stolen key", False)
    assert not running.done(), "the control"
    ending = asyncio.ensure_future(jobs.run_killing(place.platform(), made["id"]))
    done, _ = await asyncio.wait({running}, timeout=5)
    assert done, "it computes on"
    answer = await running
    assert (answer["status"], answer["reason"]) == ("failed", "killed")
    assert "was stopped by" in answer["message"]
    assert "a stolen key" in answer["message"]
    await ending
    assert await sessions(place) == []
    assert await told(place, made["id"]) == [{"sessions": 1, "calls": 1, "named": [answer["invocation_id"]]}]


@pytest.mark.capability("GOV-15", part="a sandbox that computes when the switch is set")
async def test_a_kill_switch_leaves_alone_what_it_does_not_stop(place: Packs) -> None:
    attachment = await attached(place)
    elsewhere = await another_workspace(place.world, "owner")
    inside = place.ctx()
    inside.workspace_id = elsewhere
    await service.attach(inside, attachment["release_id"])
    await say(place, "0", "owner", elsewhere)
    running = await begun(place, "owner")
    here = place.world.workspace_id
    off = await governance.kill(place.ctx(), here, "member", place.world.ids["member"], "why", False)
    await jobs.run_killing(place.platform(), off["id"])
    assert not running.done()
    lifted = await governance.kill(place.ctx(), here, "release", attachment["release_id"], "why", False)
    await governance.lift(place.ctx(), here, lifted["id"], "all", [], "a mistake", True)
    await jobs.run_killing(place.platform(), lifted["id"])
    assert not running.done(), "it was lifted before the job came to it"
    await governance.kill(place.ctx(), here, "release", attachment["release_id"], "why", False)
    (kill,) = await place.world.rows("kill", "state = 'on' and kind = 'release'")
    await jobs.run_killing(place.platform(), kill["id"])
    assert (await asyncio.wait_for(running, 5))["reason"] == "killed", "the control"
    (left,) = await sessions(place)
    assert (left["state"], (await say(place, "0", "owner", elsewhere))["session"]) == ("idle", "warm")
