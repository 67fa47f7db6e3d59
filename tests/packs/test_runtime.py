"""The host: warm sessions, pins, and failures told apart, against real processes in the real sandbox."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.running import Instance, instance
from worka.packs import rules

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    with instance() as running:
        yield running


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Instance]:
    """The same as an ordinary user: no second uid."""
    with instance(ordinary=True) as running:
        yield running


async def pinned(packs: Instance, server: str | None = None) -> dict[str, Any]:
    session = await (packs.session() if server is None else packs.session(server))
    probed = await packs.client.probe(session=session)
    return session | {
        "pins": {tool["name"]: rules.tool_pin(tool) for tool in probed["tools"]},
        "server_pin": rules.server_pin(probed["instructions"]),
    }


def a_repository(packs: Instance) -> Path:
    repository = packs.home / "clones" / "c1"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(repository)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    for text in ("first light", "second light"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", text], check=True)
    return repository


@pytest.mark.capability("RUN-2")
@pytest.mark.capability("RUN-3", part="warm sessions, dropped on update and crash; cold and warm apart")
async def test_an_unmodified_git_server_answers_from_the_sandbox_and_stays_warm(packs: Instance) -> None:
    lock = (REPOSITORY / "packs" / "git" / "requirements.lock").read_text()
    version = next(line.split("==")[1].split()[0] for line in lock.splitlines() if line.startswith("mcp-server-git=="))
    package = {"ecosystem": "pypi", "name": "mcp-server-git", "version": version}
    built = await packs.client.build(release_id="rel_git", package=package, lock_text=lock)
    mount = {"name": "repo", "source": str(a_repository(packs)), "target": "/repo", "mode": "ro"}
    session = await packs.session(
        env_path=built["env_path"], command=built["entry"], tree_digest=built["tree_digest"], mounts=[mount],
        limits={"files": 256, "processes": 32},
    )  # fmt: skip

    probed = await packs.client.probe(session=session)
    outcomes = [
        await packs.client.invoke(
            session=session, tool="git_log", arguments={"repo_path": "/repo", "max_count": 5}, timeout_seconds=30,
            meta={"invocation_id": f"inv_{turn}", "idempotency_key": "k"},
        )
        for turn in range(3)
    ]  # fmt: skip

    assert "git_log" in {tool["name"] for tool in probed["tools"]}
    assert [outcome["status"] for outcome in outcomes] == ["ok"] * 3, outcomes
    assert all("first light" in outcome["text"] and "second light" in outcome["text"] for outcome in outcomes)
    assert [outcome["session"] for outcome in outcomes] == ["cold", "warm", "warm"]
    assert outcomes[0]["isolation"]["seccomp"] is True


@pytest.mark.capability("RUN-3", part="warm sessions, dropped on update and crash; cold and warm apart")
async def test_two_calls_at_once_are_two_sessions_and_each_serves_one(packs: Instance) -> None:
    session = await packs.session()
    code = "import time, os; a = time.time(); time.sleep(0.4); value = [a, time.time(), os.environ['WORKA_PACK_SESSION_ID']]"
    outcomes = await asyncio.gather(*(packs.run(session, code) for _ in range(2)))
    values = [outcome["structured"]["value"] for outcome in outcomes]
    assert values[0][2] != values[1][2], "one session served two calls at once"
    assert max(v[0] for v in values) < min(v[1] for v in values), "the second call waited for the first"


@pytest.mark.capability("RUN-3", part="warm sessions, dropped on update and crash; cold and warm apart")
async def test_an_attachment_gets_no_more_than_its_sessions(packs: Instance) -> None:
    session = await packs.session()
    outcomes = await asyncio.gather(
        *(
            packs.run(session, "import time, os; time.sleep(0.1); value = os.environ['WORKA_PACK_SESSION_ID']")
            for _ in range(9)
        )
    )
    assert all(outcome["status"] == "ok" for outcome in outcomes)
    assert len({outcome["structured"]["value"] for outcome in outcomes}) <= 4


@pytest.mark.capability("RUN-1")
async def test_a_pack_gets_the_invocation_and_the_trace_and_its_own_environment_only(packs: Instance) -> None:
    session = await packs.session(env={"MODE": "quiet", "WORKA_PACK_TENANT": "forged"})
    trace = "0af7651916cd43dd8448eb211c80319c"
    outcome = await packs.client.invoke(
        session=session, tool="run", timeout_seconds=15,
        arguments={"code": "import os; value = [meta, dict(os.environ)]"},
        meta={"invocation_id": "inv_7", "idempotency_key": "task:step", "traceparent": f"00-{trace}-b7ad6b7169203331-01"},
    )  # fmt: skip
    meta, environment = outcome["structured"]["value"]
    assert meta["invocation_id"] == "inv_7"
    assert meta["idempotency_key"] == "task:step"
    assert meta["traceparent"].split("-")[1] == trace
    assert environment["MODE"] == "quiet"
    assert environment["WORKA_PACK_TENANT"] == "tests"
    assert environment["WORKA_PACK_NAME"] == "probe-pack"
    assert environment["GIT_CONFIG_KEY_0"] == "safe.directory"
    assert "SSL_CERT_FILE" not in environment, "no network was given, so no authority is trusted"


FAILURES = {
    "pack_crashed": "import os; os._exit(3)",
    "pack_signalled": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "pack_timeout": "import time; time.sleep(60)",
    "malformed_output": 'import sys; sys.stdout.write(\'{"jsonrpc": "2.0", oops\\n\'); sys.stdout.flush(); import time; time.sleep(60)',
    "oversize_output": "import sys; sys.stdout.write('x' * 2_000_000); sys.stdout.flush(); import time; time.sleep(60)",
    "protocol_error": "send({'jsonrpc': '2.0', 'id': number, 'error': {'code': -32602, 'message': 'no such thing'}}); raise SystemExit",
    "pack_out_of_memory": "value = len(b'x' * (900 * 1024 * 1024))",
    "tool_error": "raise ValueError('not today')",
}


@pytest.mark.capability("RUN-4")
@pytest.mark.capability("TOL-3")
@pytest.mark.parametrize("reason", FAILURES)
async def test_a_failure_has_its_own_reason_and_the_next_call_works(packs: Instance, reason: str) -> None:
    session = await packs.session()
    outcome = await packs.run(session, FAILURES[reason], timeout=2)
    assert outcome["reason"] == reason, outcome
    assert outcome["message"]
    again = await packs.run(session, "value = 'well'")
    assert again["structured"] == {"value": "well"}
    if reason == "pack_crashed":
        assert outcome["exit_code"] == 3
    if reason == "pack_signalled":
        assert outcome["signal"] == 11


@pytest.mark.capability("RUN-4")
async def test_endless_output_ends_only_that_session_and_the_host_stays_small(packs: Instance) -> None:
    loud, quiet = await packs.session(), await packs.session()
    await packs.value(quiet, "value = 1")
    endless = "import sys\nwhile True: sys.stdout.write('x' * 1_000_000)"
    outcome, other = await asyncio.gather(packs.run(loud, endless, timeout=20), packs.run(quiet, "value = 2"))
    assert outcome["reason"] == "oversize_output", outcome
    assert (other["session"], other["structured"]) == ("warm", {"value": 2})
    status = Path(f"/proc/{packs.processes['host'].pid}/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    assert peak < 300_000, f"the host grew to {peak} kB"
    assert await packs.gone(loud)


@pytest.mark.capability("RUN-2")
async def test_stray_lines_are_quoted_and_do_not_break_the_call(packs: Instance) -> None:
    outcome = await packs.run(await packs.session(), "print('loading model…', flush=True); value = 1")
    assert outcome["status"] == "ok"
    assert outcome["stray_stdout"] == "loading model…"


@pytest.mark.capability("RUN-2")
async def test_the_tail_of_stderr_is_bounded_redacted_and_of_this_call(packs: Instance) -> None:
    session = await packs.session()
    say = "import sys; sys.stderr.write({!r}); sys.stderr.flush(); import time; time.sleep(0.2); value = 1"
    first = await packs.run(session, say.format("the first call\n"))
    noisy = "line of noise\\n' * 20000 + 'Authorization: Bearer abcdefghijklmnop\\nthe end\\n"
    second = await packs.run(session, say.replace("{!r}", f"'{noisy}'"))
    assert "the first call" in first["stderr_tail"]
    assert "the first call" not in second["stderr_tail"]
    assert len(second["stderr_tail"].encode()) <= 64 * 1024
    assert second["stderr_tail"].endswith("the end\n")
    assert "abcdefghijklmnop" not in second["stderr_tail"]


@pytest.mark.capability("RUN-4")
async def test_a_server_that_dies_at_start_says_why(packs: Instance) -> None:
    session = await packs.session("import a_module_that_is_not_there\n")
    outcome = await packs.run(session, "")
    assert outcome["reason"] == "pack_crashed"
    assert outcome["exit_code"] == 1
    assert "a_module_that_is_not_there" in outcome["stderr_tail"]


@pytest.mark.capability("TOL-5")
async def test_a_definition_that_changed_is_held_with_its_difference_and_the_others_serve(packs: Instance) -> None:
    session = await pinned(packs)
    before = await packs.run(session, "value = 1")
    await packs.run(session, "", tool="change")
    changed = await packs.run(session, "value = 'ran'")
    steady = await packs.run(session, "", tool="steady")
    assert before["status"] == "ok"
    assert before["held"] is None
    assert changed["reason"] == "tool_definition_changed", "the changed tool was called"
    assert changed["held"]["tool"] == "run"
    assert "-Runs code." in changed["held"]["diff"]
    assert "+Runs code, and sends your files to me." in changed["held"]["diff"]
    assert steady["structured"] == {"value": "here"}
    assert steady["held"]["tool"] == "run", "a call to another tool still reports what is held"


@pytest.mark.capability("TOL-5")
async def test_another_definition_or_other_instructions_at_the_start_hold_before_the_call(packs: Instance) -> None:
    session = await pinned(packs)
    wrong = session | {"pins": session["pins"] | {"run": "0" * 64}}
    instructed = session | {"server_pin": rules.server_pin("Obey.")}
    for changed in (wrong, instructed):
        outcome = await packs.run(changed, "value = 'ran'")
        assert outcome["reason"] == "tool_definition_changed", "it was called"
        assert outcome["held"]["diff"]
    assert (await packs.run(session, "value = 1"))["status"] == "ok"


@pytest.mark.capability("RUN-5")
async def test_one_changed_byte_in_the_environment_stops_the_next_start(packs: Instance) -> None:
    other = await packs.session("print('x')\n# an environment of its own\n")
    path = Path(other["env_path"]) / "app" / "server.py"
    contents = path.read_bytes()
    assert (await packs.run(other, ""))["reason"] != "digest_mismatch", "the control failed"
    os.chmod(path, 0o644)
    path.write_bytes(contents.replace(b"x", b"y", 1))
    os.chmod(path, 0o444)
    outcome = await packs.run(other, "")
    assert outcome["reason"] == "digest_mismatch", outcome
    assert outcome["layer"] == "sandbox"


@pytest.mark.capability("RUN-5")
async def test_an_environment_that_is_not_the_releases_is_not_started(packs: Instance) -> None:
    session = await packs.session()
    assert (await packs.run(session, "value = 1"))["status"] == "ok"
    outcome = await packs.run(session | {"tree_digest": "0" * 64}, "value = 1")
    assert outcome["reason"] == "digest_mismatch"
    elsewhere = await packs.run(session | {"env_path": "/usr"}, "value = 1")
    assert elsewhere["reason"] == "digest_mismatch"


@pytest.mark.capability("RUN-3", part="warm sessions, dropped on update and crash; cold and warm apart")
async def test_a_dropped_attachment_has_no_process_left(packs: Instance) -> None:
    session = await packs.session()
    await packs.value(session, "import os\nif os.fork() == 0:\n    import time; time.sleep(100)\nvalue = 1")
    assert packs.processes_of(session)
    assert await packs.client.drop(attachment_id=session["attachment_id"]) == {"dropped": 1, "calls": []}
    assert await packs.gone(session)


@pytest.mark.capability("RUN-3", part="warm sessions, dropped on update and crash; cold and warm apart")
async def test_an_attachment_that_went_back_while_nobody_told_the_host_is_warm_again(packs: Instance) -> None:
    """The host was told of the newer release, and not of the way back: calls know what the attachment is of."""
    old = await packs.session(digest="a" * 64)
    new = old | {"session_key": "newer", "digest": "b" * 64}
    busy = asyncio.create_task(packs.run(old, "import time; time.sleep(1); value = 'old'"))
    while not any(s["attachment_id"] == old["attachment_id"] for s in (await packs.client.status())["sessions"]):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await packs.client.retire(attachment_id=old["attachment_id"], digest=new["digest"])
    assert [(await packs.run(new, "value = 1"))["session"] for _ in range(2)] == ["cold", "warm"], "the control"
    back = [(await packs.run(old, "value = 1"))["session"] for _ in range(3)]
    assert back[1:] == ["warm", "warm"], "every call started a session of its own"
    assert (await busy)["status"] == "ok"


@pytest.mark.capability("RUN-1")
async def test_without_a_second_uid_it_runs_too_and_says_so(ordinary: Instance) -> None:
    session = await ordinary.session()
    outcome = await ordinary.run(
        session, "import os; value = [os.getuid(), os.path.exists('/home'), sorted(os.listdir('/'))]"
    )
    assert outcome["status"] == "ok", (outcome, ordinary.log("launcher"))
    assert outcome["structured"]["value"][:2] == [1000, False]
    assert outcome["isolation"]["uid_separated"] is False
    assert outcome["isolation"]["seccomp"] is True
    hog = await ordinary.run(session, FAILURES["pack_out_of_memory"])
    assert hog["status"] != "ok", "the limit was not in force"
    await ordinary.client.drop(attachment_id=session["attachment_id"])
    assert await ordinary.gone(session)


@pytest.mark.capability("RUN-5")
async def test_without_a_second_uid_every_file_is_hashed_before_a_start(ordinary: Instance) -> None:
    session = await ordinary.session("# of its own\n")
    server = Path(session["env_path"]) / "app" / "server.py"
    before = server.stat()
    os.chmod(server, 0o644)
    server.write_text("# of its owm\n")
    os.utime(server, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.chmod(server, 0o444)
    assert (await ordinary.run(session, ""))["reason"] == "digest_mismatch"


async def test_a_warm_call_costs_little(packs: Instance) -> None:
    session = await packs.session()
    await packs.value(session, "value = 1")
    spent = []
    for _ in range(50):
        outcome = await packs.run(session, "value = 1")
        spent.append(outcome["call_ms"])
    assert sorted(spent)[25] < 20, "a warm call takes that long only if it is not warm"


async def test_the_host_goes_on_after_the_launcher_was_killed(packs: Instance) -> None:
    session = await packs.session()
    await packs.value(session, "value = 1")
    packs.processes["launcher"].kill()
    packs.processes["launcher"].wait()
    assert await packs.gone(session), "a pack outlived the launcher"
    (packs.home / "run" / "launcher.sock").unlink()
    refused = await packs.run(session, "value = 1")
    assert refused["reason"] == "sandbox_unavailable"
    packs.spawn("launcher", "worka.packs.sandbox.launcher")
    assert (await packs.run(session, "value = 1"))["status"] == "ok"
