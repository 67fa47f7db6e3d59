"""The whole road with real sockets and real TLS: what gets out, what goes with it, what comes back, what is kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.broker.world import CANARY, HOST, INJECT, TOKEN, Box, World, code
from worka.kernel.errors import Problem

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def tracker(world: World) -> Box:
    """A box whose pack declares the tracker and has its connection."""
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.connect()
    return await world.box()


@pytest.mark.capability("BRK-1", "BRK-3", "TRE-3")
async def test_the_broker_puts_the_token_on_the_wire_and_the_pack_never_has_it(world: World, tracker: Box) -> None:
    async with tracker.invoking() as call:
        found = await tracker.fetch(f"https://{HOST}/issues?state=open", headers={"Authorization": "Bearer mine"})
    assert (found["status"], json.loads(found["text"])) == (200, [{"id": 1}])
    (seen,) = world.outside.requests
    assert seen.path == "/issues?state=open"
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["idempotency-key"] == f"key-{call.id}"
    assert TOKEN not in json.dumps(found)
    (row,) = await world.egress(call.id)
    assert (row["verdict"], row["reason"], row["status"], row["count"]) == ("allowed", "allowed", 200, 1)
    assert (row["path"], row["rule"], row["opaque"]) == ("/issues", "outbound_domains[0]", False)
    assert row["exception_id"]
    assert row["connection_id"]
    assert row["lease_id"]
    assert row["bytes_in"] == len(found["text"])
    assert row["duration_ms"] > 0
    assert call.ended["denied"] is None
    assert [(r["host"], r["status"], r["count"]) for r in call.ended["egress"]] == [(HOST, 200, 1)]
    assert world.treasury.closed == [call.id]
    assert TOKEN not in str(await world.rows("select * from worka.egress, worka.event"))


@pytest.mark.capability("BRK-5")
async def test_every_request_is_in_a_row_and_in_the_ledger(world: World, tracker: Box) -> None:
    async with tracker.invoking("write") as call:
        for _ in range(3):
            await tracker.fetch(f"https://{HOST}/a")
        for _ in range(2):
            await tracker.fetch(f"https://{HOST}/b", method="POST", body="x=1")
    rows = {row["method"]: row for row in await world.egress(call.id)}
    assert {method: row["count"] for method, row in rows.items()} == {"GET": 3, "POST": 2}
    kinds = [(entry.type, entry.data["method"]) for entry in world.notebook.entries]
    assert kinds.count(("broker.egress.allowed", "POST")) == 2
    assert kinds.count(("broker.egress.allowed", "GET")) == 1
    assert len(world.treasury.leased) == 1


@pytest.mark.capability("BRK-2")
async def test_an_undeclared_host_is_not_reached_and_would_be_with_the_rule(world: World) -> None:
    await world.exempt(CANARY, 443, world.outside.canary)
    await world.declare(HOST)
    box = await world.box()
    async with box.invoking() as call:
        refused = await box.fetch(f"https://{CANARY}/")
    assert refused.get("error") == "gaierror"
    assert world.outside.canary_hits == 0
    assert call.ended["denied"] | {"id": ""} == {
        "id": "", "host": CANARY, "port": 53, "reason": "undeclared_destination", "rule": None,
    }  # fmt: skip
    (row,) = await world.egress(call.id)
    assert (row["kind"], row["verdict"], row["host"]) == ("dns", "denied", CANARY)
    assert row["count"] >= 2
    assert [e.type for e in world.notebook.entries] == ["broker.egress.denied"]
    # The positive control: the same box, the same canary, the rule on.
    await world.declare(HOST, CANARY)
    async with box.invoking():
        allowed = await box.fetch(f"https://{CANARY}/")
    assert allowed["status"] == 204
    assert world.outside.canary_hits == 1


@pytest.mark.capability("BRK-13", "BRK-6")
async def test_a_reading_tool_does_not_write_and_a_path_rule_holds(world: World) -> None:
    await world.declare({"host": HOST, "port": 443, "paths": ["/issues*"]}, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    await world.connect()
    box = await world.box()
    async with box.invoking("read_only") as call:
        written = await box.fetch(f"https://{HOST}/issues", method="POST", body="title=x")
        strayed = await box.fetch(f"https://{HOST}/admin")
        climbed = await box.fetch(f"https://{HOST}/issues/%2e%2e/admin")
        plain = await box.fetch(f"http://{HOST}/issues")
        read = await box.fetch(f"https://{HOST}/issues/1")
    assert [code(r) for r in (written, strayed, climbed, plain)] == [
        "method_not_allowed", "path_not_allowed", "path_not_allowed", "undeclared_destination",
    ]  # fmt: skip
    assert written["status"] == strayed["status"] == 403
    body = json.loads(written["text"])
    assert body["destination"] == f"{HOST}:443"
    assert body["remedy"]
    # What the tool's own class does not allow is told apart from where the pack may go at all.
    assert "a read_only tool sends" in body["remedy"]
    assert "read_only" not in json.loads(plain["text"])["remedy"]
    assert written["headers"]["content-type"] == "application/problem+json"
    assert read["status"] == 200
    assert [seen.path for seen in world.outside.requests] == ["/issues/1"]
    assert call.ended["denied"]["reason"] == "undeclared_destination"
    async with box.invoking("write"):
        assert (await box.fetch(f"https://{HOST}/issues", method="POST", body="title=x"))["status"] == 200


@pytest.mark.capability("BRK-13", "BRK-6")
@pytest.mark.parametrize(
    ("have", "reason"),
    [
        ("nothing", "connection_missing"),
        ("no_grant", "connection_not_granted"),
        ("other_port", "connection_missing"),
        ("expired", "connection_unusable"),
        ("no_secret", "connection_missing"),
    ],
)
async def test_without_its_own_usable_connection_nothing_leaves(world: World, have: str, reason: str) -> None:
    await world.declare(HOST, connections=INJECT)
    await world.exempt(HOST, 443, world.outside.tracker)
    if have == "no_grant":
        await world.connect(grant=False)
    if have == "other_port":
        await world.connect(port=8443)
    if have == "expired":
        await world.connect(state="expired")
    if have == "no_secret":
        await world.connect()
        world.treasury.secrets.clear()
    box = await world.box()
    async with box.invoking() as call:
        found = await box.fetch(f"https://{HOST}/issues")
    assert (found["status"], code(found)) == (403, reason)
    assert world.outside.requests == []
    assert call.ended["denied"]["reason"] == reason
    await world.connect()
    async with box.invoking():
        assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200


@pytest.mark.capability("BRK-13")
async def test_the_token_goes_to_its_endpoint_only(world: World, tracker: Box) -> None:
    await world.declare(HOST, CANARY, connections=INJECT)
    await world.exempt(CANARY, 443, world.outside.tracker)
    async with tracker.invoking():
        other = await tracker.fetch(f"https://{CANARY}/issues")
        own = await tracker.fetch(f"https://{HOST}/issues")
    assert (other["status"], own["status"]) == (401, 200)
    first, second = world.outside.requests
    assert "authorization" not in first.headers
    assert "idempotency-key" not in first.headers
    assert second.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.capability("TRE-3")
@pytest.mark.parametrize("path", ["/echo", "/echo64", "/echo-header", "/echo-late"])
async def test_an_answer_that_holds_the_token_does_not_come_in(world: World, tracker: Box, path: str) -> None:
    async with tracker.invoking() as call:
        found = await tracker.fetch(f"https://{HOST}{path}")
        fine = await tracker.fetch(f"https://{HOST}/issues")
    assert TOKEN not in json.dumps(found)
    if path == "/echo-late":
        assert found.get("error") == "IncompleteRead"
    else:
        assert (found["status"], code(found)) == (502, "secret_echoed")
    assert fine["status"] == 200
    assert call.ended["denied"]["reason"] == "secret_echoed"
    assert "broker.answer.withheld" in [entry.type for entry in world.notebook.entries]


@pytest.mark.capability("BRK-7")
async def test_a_template_in_an_answer_stays_as_it_is(tracker: Box) -> None:
    async with tracker.invoking():
        assert (await tracker.fetch(f"https://{HOST}/template"))["text"] == "{{connection.access_token}}"


async def test_a_forged_idempotency_key_never_leaves(world: World, tracker: Box) -> None:
    async with tracker.invoking("write") as call:
        await tracker.fetch(f"https://{HOST}/n", method="POST", body="x", headers={"Idempotency-Key": "forged"})
    assert world.outside.requests[0].headers["idempotency-key"] == f"key-{call.id}"


@pytest.mark.capability("BRK-1")
async def test_nothing_leaves_between_two_invocations(world: World, tracker: Box) -> None:
    async with tracker.invoking():
        assert (await tracker.fetch(f"https://{HOST}/issues"))["status"] == 200
    for _ in range(3):
        found = await tracker.fetch(f"https://{HOST}/issues")
        assert (found["status"], code(found)) == (403, "no_active_invocation")
    assert len(world.outside.requests) == 1
    await world.call("close_session", session_id=tracker.session_id)
    (row,) = await world.egress(None)
    assert (row["reason"], row["count"], row["invocation_id"]) == ("no_active_invocation", 3, None)


@pytest.mark.capability("BRK-1")
async def test_what_is_open_is_cut_when_the_invocation_ends(world: World, tracker: Box) -> None:
    invocation = await world.invocation()
    await world.call("begin", session_id=tracker.session_id, tenant_id=world.tenant_id, invocation_id=invocation)
    slow = asyncio.create_task(tracker.fetch(f"https://{HOST}/slow"))
    await asyncio.to_thread(world.outside.reached.wait, 5)
    ended = await world.call("end", session_id=tracker.session_id, invocation_id=invocation)
    assert "error" in await asyncio.wait_for(slow, 10)
    assert ended["egress"][0]["reason"] == "invocation_ended"


async def test_large_bodies_stream_both_ways_in_little_memory(world: World, tracker: Box) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    async with tracker.invoking("write") as call:
        await tracker.fetch(f"https://{HOST}/issues")
        before = resident()
        sent = await tracker.fetch(f"https://{HOST}/issues", method="POST", body_size=20 << 20)
        got = await tracker.fetch(f"https://{HOST}/big")
        grown = resident() - before
    assert sent["status"] == 200
    assert world.outside.requests[1].size == 20 << 20
    assert got["size"] == 20 << 20
    assert grown < 12 << 20
    post = next(row for row in await world.egress(call.id) if row["method"] == "POST")
    assert post["bytes_out"] == 20 << 20


@pytest.mark.capability("BRK-5")
async def test_what_cannot_be_recorded_does_not_leave(world: World, tracker: Box) -> None:
    async with tracker.invoking() as call:
        world.notebook.broken = True
        refused = await tracker.fetch(f"https://{HOST}/issues")
        world.notebook.broken = False
        fine = await tracker.fetch(f"https://{HOST}/issues")
    assert (refused["status"], code(refused)) == (503, "egress_not_recorded")
    assert call.ended["broken"] == "egress_not_recorded", "the host is told that it was a fault of ours"
    assert fine["status"] == 200
    assert len(world.outside.requests) == 1


@pytest.mark.capability("BRK-12")
async def test_a_failing_outside_is_told_apart_from_a_refusal(world: World, tracker: Box) -> None:
    await world.declare(HOST, "down.test", "wrong.test", "none.test")
    await world.exempt("down.test", 443, 1)
    await world.exempt("wrong.test", 443, world.outside.plain)
    async with tracker.invoking() as call:
        codes = [code(await tracker.fetch(f"https://{host}/")) for host in ("down.test", "wrong.test", "none.test")]
    assert codes == ["upstream_unreachable", "upstream_tls_failed", "name_not_resolved"]
    rows = {row["host"]: (row["verdict"], row["reason"]) for row in await world.egress(call.id)}
    assert rows == {
        "down.test": ("allowed", "upstream_unreachable"),
        "wrong.test": ("allowed", "upstream_tls_failed"),
        "none.test": ("denied", "name_not_resolved"),
    }


async def test_a_certificate_of_another_ca_is_not_trusted_outside(world: World, tracker: Box) -> None:
    await world.execute(
        "update worka.network_exception set ca_pem = %s",
        world.broker.sessions[tracker.session_id].authority.pem.decode(),
    )
    async with tracker.invoking():
        found = await tracker.fetch(f"https://{HOST}/issues")
    assert code(found) == "upstream_certificate_untrusted"
    assert world.outside.requests == []


async def test_plain_http_to_a_declared_name_works_without_the_token(world: World) -> None:
    await world.declare(HOST)
    await world.exempt(HOST, 80, world.outside.plain)
    box = await world.box()
    async with box.invoking():
        assert (await box.fetch(f"http://{HOST}/issues"))["status"] == 401
    assert "authorization" not in world.outside.requests[0].headers


async def test_several_requests_share_a_connection(world: World, tracker: Box) -> None:
    one = f"GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    last = f"GET /b HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    async with tracker.invoking():
        got = await tracker.raw(HOST, 443, one + last, tls=True, sni=HOST)
    assert got.count("HTTP/1.1 200") == 2
    assert [seen.path for seen in world.outside.requests] == ["/a", "/b"]


async def test_the_handover_needs_the_sessions_token_once(world: World) -> None:
    box = await world.box()
    assert await Box(world, box.session_id, "wrong", box.bundle).start() == ""
    again = Box(world, box.session_id, box.token, box.bundle)
    assert await again.start() == ""
    await again.stop()


HANDING_OVER = """
import socket, sys
doors = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)]
for door in doors:
    door.bind(("127.0.0.1", 0))
for door in doors[1:]:
    door.listen()
with socket.socket(socket.AF_UNIX) as broker:
    broker.connect("broker-net.sock")
    try:
        socket.send_fds(broker, [sys.argv[1].encode()], [door.fileno() for door in doors])
        broker.settimeout(10)
        print(len(broker.recv(1)))
    except (BrokenPipeError, ConnectionResetError):
        print(0)
"""
NOT_SOCKETS = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as broker:
    broker.connect("broker-net.sock")
    null = os.open("/dev/null", os.O_RDONLY)
    socket.send_fds(broker, [sys.argv[1].encode()], [null] * 8)
    broker.settimeout(10)
    try:
        print(len(broker.recv(1)))
    except ConnectionResetError:
        print(0)
"""


@pytest.mark.parametrize("message", ["{}", "[" * 4000], ids=["no sockets", "nested"])
async def test_a_handover_that_is_none_leaves_nothing_open_and_nothing_unsaid(world: World, message: str) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", NOT_SOCKETS, message, cwd=world.paths.run, stdout=asyncio.subprocess.PIPE
        )
        assert (await asked.communicate())[0].strip() == b"0"
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "of forty descriptors that were sent, none stays"
    assert unheard == []
    assert (await (await world.box()).fetch(f"https://{HOST}/"))["error"], "the control: it takes the right ones"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
@pytest.mark.parametrize("mode", [None, 0o666], ids=["as it is", "opened by somebody"])
async def test_another_user_hands_nothing_over_even_with_the_token(world: World, mode: int | None) -> None:
    opened = await world.call(
        "open_session", session_id="ses_theirs", tenant_id=world.tenant_id, workspace_id=world.workspace_id,
        attachment_id=world.attachment_id,
    )  # fmt: skip
    if mode is not None:
        world.paths.broker_net_socket.chmod(mode)
    message = json.dumps({"session_id": "ses_theirs", "token": opened["token"]})
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", HANDING_OVER, message, cwd=world.paths.run, user=65534, group=65534, extra_groups=[],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, error = await done.communicate()
    assert (b"PermissionError" in error) if mode is None else (said.strip() == b"0"), (said, error)
    box = Box(world, "ses_theirs", opened["token"], opened["ca_bundle_path"])
    assert await box.start() == "k", "the control: the token is good, and still unused"
    await box.stop()


async def test_begin_takes_only_a_running_invocation_of_this_attachment(world: World) -> None:
    box = await world.box()

    async def refused(invocation: str, tenant: str = world.tenant_id) -> str:
        with pytest.raises(Problem) as problem:
            await world.call("begin", session_id=box.session_id, tenant_id=tenant, invocation_id=invocation)
        return problem.value.problem_code

    assert await refused("inv_unknown") == "invocation_foreign"
    assert await refused(await world.invocation(attachment_id="att_other")) == "invocation_foreign"
    assert await refused(await world.invocation(), "ten_other") == "broker_session_unknown"
    async with box.invoking():
        assert await refused(await world.invocation()) == "invocation_active"
    await world.execute("update worka.attachment set state = 'suspended'")
    assert await refused(await world.invocation()) == "invocation_foreign"


async def test_a_closed_session_leaves_nothing_behind(world: World) -> None:
    box = await world.box()
    status = await world.call("status")
    assert status["sessions"][0]["connected"]
    await world.call("close_session", session_id=box.session_id)
    assert (await world.call("status"))["sessions"] == []
    assert list(world.paths.sessions.iterdir()) == []
    assert (await box.fetch(f"https://{HOST}/"))["error"]


@pytest.mark.capability("BRK-1")
@pytest.mark.parametrize(
    "argv",
    [
        ["curl", "-sS", f"https://{HOST}/issues"],
        ["node", "-e", f"fetch('https://{HOST}/issues').then(r => r.text()).then(t => console.log(t))"],
        [
            sys.executable,
            "-c",
            f"import urllib.request as u; print(u.urlopen('https://{HOST}/issues').read().decode())",
        ],
    ],
    ids=["curl", "node", "python"],
)
async def test_unmodified_clients_go_through_it(tracker: Box, argv: list[str]) -> None:
    async with tracker.invoking():
        found = await tracker.do("run", argv=argv)
    assert (found["code"], found["out"].strip()) == (0, '[{"id": 1}]'), found["err"]
