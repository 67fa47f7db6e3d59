"""One path for every call: governed, validated, once, and every failure told apart. Real host, sandbox and broker."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.packs.conftest import TOKEN, TRACKER, Outside, Packs
from tests.packs.test_registration import lock, small, tree
from worka.approvals import service as approvals
from worka.kernel.errors import Denied
from worka.packs import explain, rules, service, store
from worka.packs.errors import InputInvalid, InvocationNotFound, KeyReused, OutcomeUnknown, ToolNotFound
from worka.packs.service import invocation

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
LOG = {"repo_path": "/repo", "max_count": 10}
NOTES = {"repository": "acme/web", "title": "t", "markdown": "m"}


async def the(place: Packs, invocation_id: str) -> Row:
    """The invocation's row."""
    (row,) = await place.world.rows("invocation", "id = %s", invocation_id)
    return row


@pytest.mark.capability("TOL-4", part="a person and an AI team member, through one path")
async def test_a_call_reads_the_mounted_clone_and_leaves_who_what_and_how(place: Packs) -> None:
    attachment = await place.attach("git")
    status, answer = await service.call(place.ctx("member"), "mcp.git.git_log", LOG, "k1")
    assert (status, answer["status"]) == (200, "succeeded"), answer
    assert len(re.findall("^Commit: ", answer["text"], re.MULTILINE)) == 3
    assert (answer["is_structured"], answer["validated"]) == (False, False)
    row = await the(place, answer["invocation_id"])
    assert (row["initiator_kind"], row["initiator_id"]) == ("person", place.world.ids["member"])
    assert (row["attachment_id"], row["release_digest"], row["task_id"]) == (
        attachment["id"],
        attachment["digest"],
        None,
    )
    assert row["isolation"]["driver"]
    (decision,) = await place.world.rows("decision", "id = %s", row["decision_id"])
    assert decision["verdict"] == "allow"
    assert [e["type"] for e in await place.world.rows("event", "subject = %s order by id", row["id"])] == [
        "pack.invocation.started",
        "pack.invocation.finished",
    ]
    # The result lies sealed: what the pack answered is in no row in the clear.
    assert b"feat: one" not in bytes(row["result_sealed"])
    assert "feat: one" not in json.dumps(await place.world.rows("event"), default=str)
    told = await explain.explain_invocation(place.ctx("viewer"), row["id"])
    assert {leg.name: leg.state for leg in told.road} == {
        "authorized": "ok",
        "governed": "ok",
        "sandbox": "ok",
        "handshake": "ok",
        "pack": "ok",
        "broker": "not_reached",
        "upstream": "not_reached",
    }


NUMBERS = """
from typing import Any
from mcp.server.mcpserver import MCPServer

server = MCPServer("small", version="1.0.0")


@server.tool(description="Says what it is given.")
def say(text: str) -> dict[str, Any]:
    return {"n": int(text)}


if __name__ == "__main__":
    server.run("stdio")
"""


@pytest.mark.capability("TOL-2", part="a result that not every reader of JSON reads alike")
async def test_an_answer_with_a_number_that_not_every_reader_holds_is_an_end_of_the_call(place: Packs) -> None:
    tools = [{"name": "say", "description": "Says what it is given.", "side_effect": "read_only"}]
    made = await place.register(small(tools=tools), lock(), tree(NUMBERS))
    await service.attach(place.ctx(), made["id"])
    _, good = await service.call(place.ctx(), "acme.small.say", {"text": str(2**53 - 1)}, None)
    assert (good["status"], good["structured"]) == ("succeeded", {"n": 2**53 - 1}), "the control"
    _, answer = await service.call(place.ctx(), "acme.small.say", {"text": str(2**53)}, None)
    assert (answer["status"], answer["reason"]) == ("failed", "output_invalid")
    assert str(2**53) in answer["message"]
    assert (await the(place, answer["invocation_id"]))["result_sealed"] is None


async def test_the_same_key_gives_the_same_answer_and_another_call_is_refused(place: Packs) -> None:
    await place.attach("git")
    _, first = await service.call(place.ctx(), "mcp.git.git_log", LOG, "k")
    _, again = await service.call(place.ctx(), "mcp.git.git_log", LOG, "k")
    assert (again["invocation_id"], again["text"], again["replayed"]) == (first["invocation_id"], first["text"], True)
    with pytest.raises(KeyReused):
        await service.call(place.ctx(), "mcp.git.git_log", LOG | {"max_count": 1}, "k")
    # A key is its owner's: somebody else's same key is another call.
    _, other = await service.call(place.ctx("member"), "mcp.git.git_log", LOG, "k")
    assert other["invocation_id"] != first["invocation_id"]


@pytest.mark.capability("TOL-2")
async def test_input_is_validated_before_the_pack_sees_it(place: Packs) -> None:
    await place.attach("git")
    for arguments in ({}, {"repo_path": 5}, {"repo_path": "/repo", "max_count": "ten"}):
        with pytest.raises(InputInvalid) as refusal:
            await service.call(place.ctx(), "mcp.git.git_log", arguments, None)
        assert refusal.value.extra["errors"]
    for tool in ("mcp.git.wipe", "mcp.other.git_log", "git_log", "mcp.git."):
        with pytest.raises(ToolNotFound):
            await service.call(place.ctx(), tool, LOG, None)
    assert await place.world.rows("invocation") == []


BROKEN = """
import json, os, sys, time
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("broken", version="1.0.0")

class Answer(BaseModel):
    value: int

@server.tool(description="Breaks in a way.")
def breaks(way: str) -> Answer:
    print("token=supersecret123", file=sys.stderr, flush=True)
    if way == "crash":
        os._exit(3)
    if way == "hang":
        time.sleep(60)
    if way == "error":
        raise ToolError("no such thing")
    if way == "stray":
        os.write(1, b"hello, I am no message\\n")
    if way == "memory":
        x = bytearray(2_000_000_000)
    return Answer(value=7)

@server.tool(description="Answers what its schema does not say.", structured_output=True)
def lies() -> Answer:
    return Answer(value=1)

if __name__ == "__main__":
    server.run("stdio")
"""


@pytest.mark.capability("RUN-4", part="through the invocation")
@pytest.mark.capability("TOL-3", part="structured content is the result, and a tool's error is told apart")
@pytest.mark.parametrize("network", [False, True], ids=["alone", "with a way out"])
async def test_failures_are_told_apart_with_their_leg_and_redacted_words(place: Packs, network: bool) -> None:
    document = small(
        outbound_domains=[TRACKER] if network else [],
        runtime={
            "package": {"ecosystem": "path", "name": "small", "version": "1.0.0"},
            "command": ["python", "server.py"],
            "limits": {"timeout": 2, "memory": 256},
        },
        tools=[{"name": "breaks", "side_effect": "read_only"}, {"name": "lies", "side_effect": "read_only"}],
    )
    release = await place.register(document, lock(), tree(BROKEN))
    assert release["state"] == "released", release["error"]
    attached = await service.attach(place.ctx(), release["id"])
    if network:
        await place.approve(attached["approval_id"])
    expected = {
        "crash": ("pack", "pack_crashed"),
        "hang": ("pack", "pack_timeout"),
        "error": ("pack", "tool_error"),
        "fine": (None, "call_succeeded"),
    }
    for way, (layer, reason) in expected.items():
        _, answer = await service.call(place.ctx(), "acme.small.breaks", {"way": way}, None)
        assert (answer["layer"], answer["reason"]) == (layer, reason), answer
        row = await the(place, answer["invocation_id"])
        assert "supersecret123" not in row["stderr_tail"]
        told = await explain.explain_invocation(place.ctx(), row["id"])
        failed = [leg.name for leg in told.road if leg.state == "failed"]
        assert failed == ([] if layer is None else ["pack"])
        assert told.incident_class == "pack invocation"
    assert answer["structured"] == {"value": 7}
    assert answer["validated"] is True


@pytest.mark.capability("TOL-2", part="output")
async def test_an_answer_that_does_not_fit_its_schema_is_not_a_success(place: Packs) -> None:
    release = await place.register(small(), lock(), tree())
    row = await service.attach(place.ctx(), release["id"])
    schema = {"type": "object", "required": ["value"], "properties": {"value": {"type": "integer"}}}
    async with place.ctx().transaction() as conn:
        await store.move_release(
            conn,
            release["id"],
            "released",
            "release_in_service",
            tools=[{**release["tools"][0], "output_schema": schema}],
        )
    prepared = await service.prepare(place.ctx(), "acme.small.say", {"text": "x"})
    for structured, state in (({"value": 1}, "succeeded"), ({"value": "1"}, "failed"), (None, "failed")):
        ctx = place.ctx()
        async with ctx.transaction():
            opened = await service.open_invocation(ctx, prepared, idempotency_key=f"k{state}{structured}")
        answer = {"status": "ok", "structured": structured, "text": "", "is_structured": structured is not None}
        closed = await service.close_invocation(ctx, opened, prepared.release, answer)
        assert (closed["state"], closed["validated"]) == (state, state == "succeeded")
        if state == "failed":
            assert closed["reason"] == "output_invalid"
    assert row["state"] == "attached"


@pytest.mark.capability("AUT-5", part="tools of a team member")
@pytest.mark.capability("AUT-7", part="people and AI team members go through one check")
async def test_a_team_member_calls_its_own_tools_only_and_viewers_none(place: Packs) -> None:
    await place.attach("git")
    await place.world.robot("robot2", tools=("mcp.git.git_log",))
    _, answer = await service.call(place.ctx("robot2", behind="member"), "mcp.git.git_log", LOG, None)
    assert answer["status"] == "succeeded"
    row = await the(place, answer["invocation_id"])
    assert (row["initiator_kind"], row["originating_person"]) == ("team_member", place.world.ids["member"])
    with pytest.raises(Denied):
        await service.call(place.ctx("robot2", behind="member"), "mcp.git.git_status", {"repo_path": "/repo"}, None)
    with pytest.raises(Denied):
        await service.call(place.ctx("viewer"), "mcp.git.git_log", LOG, None)
    with pytest.raises(InvocationNotFound):
        await explain.explain_invocation(place.ctx("stranger"), row["id"])


@pytest.mark.capability("BRK-3", part="through the fetch pack")
async def test_the_broker_authenticates_the_fetch_pack_on_the_wire(place: Packs, outside: Outside) -> None:
    await place.connect(outside.facts)
    await place.attach("fetch")
    _, answer = await service.call(
        place.ctx(),
        "mcp.fetch.fetch",
        {"url": "https://tracker.worka.test/api/issues", "raw": True, "max_length": 100_000},
        None,
    )
    assert answer["status"] == "succeeded", answer
    assert "acme/web: the quick start" in answer["text"]
    assert TOKEN not in json.dumps(answer, default=str)
    told = await explain.explain_invocation(place.ctx(), answer["invocation_id"])
    assert {leg.name: leg.state for leg in told.road}["upstream"] == "ok"
    assert all(request["authorized"] for request in outside.record["requests"] if request["path"] == "/api/issues")


@pytest.mark.capability("APR-5", part="bound to the digest of a call")
async def test_an_outside_effect_asks_runs_once_after_approval_and_never_with_other_arguments(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
    await place.attach("notes")
    status, asked = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES, "pub")
    assert (status, asked["status"]) == (202, "waiting_for_approval")
    _, twice = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES, "pub")
    assert twice["approval_id"] == asked["approval_id"]
    card = await approvals.show(place.ctx("approver"), asked["approval_id"])
    assert card["arguments"] == NOTES
    assert card["effect"] == "worka.notes.publish_notes has an effect at an outside system at tracker.worka.test:443"
    await place.approve(asked["approval_id"])
    _, other = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES | {"title": "u"}, "other")
    assert other["approval_id"] != asked["approval_id"]
    _, done = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES, "pub")
    assert done["status"] == "succeeded", done
    assert done["effect_id"].startswith("note-1-")
    _, replay = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES, "pub")
    assert (replay["replayed"], replay["effect_id"]) == (True, done["effect_id"])
    (effect,) = outside.record["effects"]
    row = await the(place, done["invocation_id"])
    # The key went out in the declared header, put there by the broker.
    assert effect["key"] == row["idempotency_key"]
    assert row["approval_id"] == asked["approval_id"]


async def test_a_lost_outcome_is_asked_again_with_the_same_key_where_that_is_safe(
    place: Packs, outside: Outside
) -> None:
    await place.connect(outside.facts)
    await place.attach("notes")
    ctx = place.ctx()
    _, asked = await service.call(ctx, "worka.notes.publish_notes", NOTES, "pub")
    await place.approve(asked["approval_id"])
    prepared = await service.prepare(ctx, "worka.notes.publish_notes", NOTES)
    key = invocation.call_key(ctx, "pub")
    async with ctx.transaction():
        row = await service.open_invocation(ctx, prepared, idempotency_key=key, approval_id=asked["approval_id"])
    # The effect happened; whoever waited for it died before it could say so.
    assert (await service.run(ctx, prepared, row))["status"] == "ok"
    async with place.ctx().transaction() as conn:
        await conn.execute(
            "update worka.invocation set started_at = now() - interval '1 hour' where id = %s", (row["id"],)
        )
    _, done = await service.call(place.ctx(), "worka.notes.publish_notes", NOTES, "pub")
    assert (done["status"], done["invocation_id"] != row["id"]) == ("succeeded", True)
    assert len(outside.record["effects"]) == 1
    assert ((await the(place, row["id"]))["state"], (await the(place, done["invocation_id"]))["attempt"]) == (
        "unknown",
        2,
    )


async def test_a_lost_outcome_of_what_is_not_idempotent_is_unknown_and_not_repeated(place: Packs) -> None:
    document = small(tools=[{"name": "say", "side_effect": "write"}])
    release = await place.register(document, lock(), tree())
    row = await service.attach(place.ctx(), release["id"])
    await place.approve(row["approval_id"])
    ctx = place.ctx()
    prepared = await service.prepare(ctx, "acme.small.say", {"text": "x"})
    async with ctx.transaction():
        opened = await service.open_invocation(ctx, prepared, idempotency_key=invocation.call_key(ctx, "k"))
    async with place.ctx().transaction() as conn:
        await conn.execute(
            "update worka.invocation set started_at = now() - interval '1 hour' where id = %s", (opened["id"],)
        )
    with pytest.raises(OutcomeUnknown):
        await service.call(place.ctx(), "acme.small.say", {"text": "x"}, "k")
    told = await explain.explain_invocation(place.ctx(), opened["id"])
    assert (told.state, told.certainty) == ("unknown", "unknown")
    # The late answer of the call that was given up changes nothing.
    late = await service.close_invocation(ctx, opened, prepared.release, {"status": "ok", "text": "x"})
    assert late["state"] == "unknown"


async def test_two_calls_at_once_under_one_key_are_one(place: Packs) -> None:
    await place.attach("git")
    answers = await asyncio.gather(
        *(service.call(place.ctx(), "mcp.git.git_log", LOG, "same") for _ in range(3)), return_exceptions=True
    )
    ids = {answer[1]["invocation_id"] for answer in answers if isinstance(answer, tuple)}
    assert len(ids) == 1
    assert len(await place.world.rows("invocation")) == 1


@pytest.mark.capability("BRK-2", part="explained")
async def test_a_refused_host_is_the_brokers_leg_and_the_canary_was_not_hit(place: Packs, outside: Outside) -> None:
    await place.connect(outside.facts)
    await place.exception("canary.worka.test", outside.facts["canary_port"], outside.facts)
    await place.attach("notes")
    _, answer = await service.call(place.ctx(), "worka.notes.check_link", {"url": "https://canary.worka.test/x"}, None)
    assert (answer["status"], answer["layer"]) == ("failed", "broker"), answer
    assert outside.record["canary"] == []
    told = await explain.explain_invocation(place.ctx(), answer["invocation_id"])
    assert [leg.name for leg in told.road if leg.state == "failed"] == ["broker"]
    assert told.next
    assert any(item.kind == "egress" and "canary.worka.test" in item.label for item in told.evidence)
    # The control: a host that the pack declared is reached by the same tool.
    _, control = await service.call(
        place.ctx(), "worka.notes.check_link", {"url": "https://tracker.worka.test/issues/1"}, None
    )
    assert control["structured"]["status"] == 200, control


@pytest.mark.capability("TOL-6", part="decides")
async def test_a_destructive_tool_is_refused_whatever_its_server_says(place: Packs) -> None:
    await place.attach("git")
    with pytest.raises(Denied):
        await service.call(place.ctx(), "mcp.git.git_reset", {"repo_path": "/repo"}, None)


def test_the_words_of_a_failure_are_the_nearest_cause() -> None:
    row = {"id": "egr_1", "host": "h", "port": 443, "verdict": "allowed", "reason": "allowed", "status": 500}
    row |= {"method": "POST"}
    denied = {**row, "id": "egr_2", "verdict": "denied", "reason": "undeclared_destination", "status": None}
    error = {"reason": "tool_error", "layer": "pack", "message": "it did not work"}
    assert rules.failing_layer(error, [row])[:2] == ("upstream", "upstream_error")
    assert rules.failing_layer(error, [row, denied])[:2] == ("broker", "undeclared_destination")
    assert rules.failing_layer(error, [])[:2] == ("pack", "tool_error")
    crash = {"reason": "pack_crashed", "layer": "pack", "message": ""}
    assert rules.failing_layer(crash, [denied])[1] == "pack_crashed"
    assert rules.effect_uncertain("external_side_effect", crash, [row])
    assert not rules.effect_uncertain("external_side_effect", crash, [denied])
    assert not rules.effect_uncertain("external_side_effect", error, [row])
    assert not rules.effect_uncertain("read_only", crash, [row])


@pytest.mark.capability("BRK-5")
def test_a_row_that_is_to_be_taken_back_makes_no_effect_uncertain_where_the_broker_said_what_left() -> None:
    crash = {"reason": "pack_crashed", "layer": "pack", "message": ""}
    row = {"id": "egr_1", "host": "h", "port": 443, "verdict": "allowed", "reason": "allowed", "method": "POST"}
    effect = "external_side_effect"
    assert not rules.effect_uncertain(effect, {**crash, "egress": []}, [row]), "its request was given up"
    # The controls: it left; and nobody can say.
    assert rules.effect_uncertain(effect, {**crash, "egress": [{"id": "egr_1"}]}, [row])
    assert rules.effect_uncertain(effect, {**crash, "egress": None}, [row])
