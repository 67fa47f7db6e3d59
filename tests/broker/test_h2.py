"""HTTP/2 on both sides, each chosen by itself, with clients and a server that are none of ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.others import Ca, node_outside
from tests.broker.world import HOST, INJECT, TOKEN, Box, World, code

pytestmark = pytest.mark.asyncio
SECOND = "second.worka.test"
BEARER = hashlib.sha256(f"Bearer {TOKEN}".encode()).hexdigest()


@pytest.fixture
async def box(world: World, tmp_path: Path) -> AsyncIterator[Box]:
    """A box whose pack declares a tracker of HTTP/2, and one of HTTP/1.1."""
    ca = Ca("outside")
    async with node_outside(tmp_path, ca.pair(HOST)) as port:
        await world.declare({"host": HOST, "paths": ["/v1*", "/echo*", "/big", "/trailer"]}, SECOND, connections=INJECT)
        await world.exempt(HOST, 443, port, ca_pem=ca.pem)
        await world.exempt(SECOND, 443, world.outside.tracker)
        await world.connect()
        yield await world.box()


async def curl(box: Box, url: str, *arguments: str) -> tuple[str, dict[str, object]]:
    """(version and status as curl saw them, the answer as JSON or as {text})."""
    found = await box.do("run", argv=["curl", "-sS", "-w", "\n%{http_version} %{http_code}", *arguments, url])
    text, _, told = found["out"].rpartition("\n")
    try:
        return told, json.loads(text)
    except ValueError:
        return told, {"text": text, "error": found["err"]}


@pytest.mark.capability("BRK-3")
@pytest.mark.parametrize(("asked", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
async def test_each_side_speaks_what_it_can_whatever_the_other_speaks(
    world: World, box: Box, asked: str, version: str
) -> None:
    async with box.invoking() as call:
        told, answer = await curl(box, f"https://{HOST}/v1?a=1", asked, "-H", "Authorization: Bearer mine")
        other, second = await curl(box, f"https://{SECOND}/v1", asked)
    assert (told, other) == (f"{version} 200", f"{version} 401"), (answer, second)
    assert (answer["version"], answer["url"]) == ("2.0", "/v1?a=1")
    headers = answer["headers"]
    assert isinstance(headers, dict)
    assert answer["authorization"] == BEARER
    assert headers[":authority"] == HOST
    assert headers["idempotency-key"] == f"key-{call.id}"
    spoken = "h2" if version == "2" else "http/1.1"
    rows = {row["host"]: row for row in await world.egress(call.id)}
    assert [(rows[host]["protocol"], rows[host]["upstream_protocol"]) for host in (HOST, SECOND)] == [
        (spoken, "h2"), (spoken, "http/1.1"),
    ]  # fmt: skip
    assert rows[HOST]["secret_id"].startswith("sec_")
    parts = [rows[HOST][name] for name in ("resolve_ms", "connect_ms", "answer_ms")]
    assert all(part is not None and 0 <= part <= rows[HOST]["duration_ms"] + 5_000 for part in parts)


PARALLEL = """
const http2 = require("node:http2"), fs = require("node:fs");
const session = http2.connect("https://%s", { ca: fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS) });
const paths = %s;
let open = paths.length;
const found = {};
for (const path of paths) {
  const stream = session.request({ ":path": path });
  let text = "";
  stream.setEncoding("utf8");
  stream.on("response", (headers) => { found[path] = { status: headers[":status"] }; });
  stream.on("data", (data) => { text += data.slice(0, 2000); });
  stream.on("trailers", (headers) => { found[path].trailer = headers["x-digest"] ?? headers["x-echo"]; });
  stream.on("error", (error) => { found[path] = { ...found[path], error: error.code }; });
  stream.on("close", () => {
    (found[path] ??= {}).text = text.slice(0, 2000);
    if (--open === 0) { console.log(JSON.stringify(found)); session.close(); }
  });
}
"""


async def parallel(box: Box, *paths: str) -> dict[str, dict[str, Any]]:
    """What Node got for these, all at once over one connection of HTTP/2."""
    done = await box.do("run", argv=["node", "-e", PARALLEL % (HOST, json.dumps(paths))])
    assert done["code"] == 0, done["err"]
    found: dict[str, dict[str, Any]] = json.loads(done["out"])
    return found


@pytest.mark.capability("BRK-5")
async def test_requests_at_once_share_one_connection_on_each_side_and_are_counted_one_by_one(
    world: World, box: Box
) -> None:
    async with box.invoking() as call:
        found = await parallel(box, *(f"/v1/{n}" for n in range(20)))
    answers = [json.loads(answer["text"]) for answer in found.values()]
    assert sorted(answer["url"] for answer in answers) == sorted(f"/v1/{n}" for n in range(20))
    assert {answer["connections"] for answer in answers} == {1}
    assert {answer["authorization"] for answer in answers} == {BEARER}
    (row,) = await world.egress(call.id)
    assert (row["count"], row["protocol"], row["upstream_protocol"]) == (20, "h2", "h2")
    use = await world.rows("select requests, bytes_in from worka.egress_use")
    assert (use[0]["requests"], use[0]["bytes_in"]) == (20, row["bytes_in"])


@pytest.mark.capability("BRK-13")
async def test_a_refused_stream_leaves_the_others_alone(world: World, box: Box) -> None:
    async with box.invoking() as call:
        found = await parallel(box, "/v1/a", "/admin", "/v1/b")
    assert [found[path]["status"] for path in ("/v1/a", "/admin", "/v1/b")] == [200, 403, 200]
    assert code(found["/admin"]) == "path_not_allowed"
    denied = [row for row in await world.egress(call.id) if row["verdict"] == "denied"]
    assert [(row["path"], row["protocol"]) for row in denied] == [("/admin", "h2")]


@pytest.mark.capability("TRE-3")
async def test_a_token_does_not_come_back_in_a_body_a_header_or_a_trailer_of_http_2(world: World, box: Box) -> None:
    async with box.invoking() as call:
        found = await parallel(box, "/echo", "/echo-header", "/echo-trailer", "/trailer")
    assert TOKEN not in json.dumps(found)
    assert [code(found[path]) for path in ("/echo", "/echo-header", "/echo-trailer")] == ["secret_echoed"] * 3
    assert found["/trailer"] == {"status": 200, "text": "see the trailer", "trailer": "1"}, "the control"
    assert call.ended["denied"]["reason"] == "secret_echoed"


async def test_large_bodies_of_http_2_stream_both_ways_in_little_memory(world: World, box: Box, tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    large = tmp_path / "large"
    large.write_bytes(b"x" * (20 << 20))
    async with box.invoking("write") as call:
        await curl(box, f"https://{HOST}/v1", "--http2")
        before = resident()
        up, answer = await curl(box, f"https://{HOST}/v1", "--http2", "-T", str(large))
        down, _ = await curl(box, f"https://{HOST}/big", "--http2", "-o", "/dev/null", "-w", "\n%{size_download}")
        grown = resident() - before
    assert (up, answer["size"]) == ("2 200", 20 << 20)
    assert down == str(20 << 20)
    assert grown < 12 << 20
    rows = {row["method"]: row for row in await world.egress(call.id)}
    assert rows["PUT"]["bytes_out"] == 20 << 20
    assert rows["GET"]["bytes_in"] >= 20 << 20


@pytest.mark.capability("BRK-1")
async def test_streams_are_cut_when_the_invocation_ends(world: World, box: Box) -> None:
    await world.declare(HOST, connections=INJECT)
    invocation = await world.invocation()
    await world.call("begin", session_id=box.session_id, tenant_id=world.tenant_id, invocation_id=invocation)
    open_ = asyncio.create_task(parallel(box, "/silent", "/drip"))
    for _ in range(100):
        await asyncio.sleep(0.05)
        if len(await world.egress(invocation)) == 1 and (await world.egress(invocation))[0]["count"] == 2:
            break
    ended = await world.call("end", session_id=box.session_id, invocation_id=invocation)
    found = await asyncio.wait_for(open_, 10)
    assert all(answer.get("text", "").strip(".") == "" for answer in found.values()), found
    assert ended["egress"][0]["reason"] == "invocation_ended"


async def test_a_connection_of_http_2_between_two_invocations_is_told_why(world: World, box: Box) -> None:
    async with box.invoking():
        assert (await curl(box, f"https://{HOST}/v1", "--http2"))[0] == "2 200"
    told, answer = await curl(box, f"https://{HOST}/v1", "--http2")
    assert (told, answer["code"]) == ("2 403", "no_active_invocation")


async def test_what_is_no_http_2_after_it_was_agreed_on_is_recorded(world: World, box: Box) -> None:
    script = (
        "const tls=require('node:tls'),fs=require('node:fs');"
        f"const s=tls.connect({{host:'{HOST}',port:443,servername:'{HOST}',ALPNProtocols:['h2'],"
        "ca:fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS)},()=>s.write('GET / HTTP/1.1\\r\\n\\r\\n'));"
        "s.on('close',()=>console.log('closed'));s.on('error',()=>{});s.on('data',()=>{})"
    )
    async with box.invoking() as call:
        done = await box.do("run", argv=["node", "-e", script])
    assert done["out"].strip() == "closed"
    (row,) = await world.egress(call.id)
    assert (row["reason"], row["protocol"]) == ("malformed_request", "h2")
