"""Two tenants' packs at once: neither sees the other, and whatever one does to itself, the other's calls go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import TRACKER, Site, Tenant, settle
from worka.kernel.db import Database
from worka.packs.runtime.client import HostClient

pytestmark = pytest.mark.timeout(300)
FETCH = {"do": "fetch", "url": f"https://{TRACKER}/issues", "timeout": 20}


@pytest.fixture
async def neighbour(site: Site, db: Database, repository: Path) -> Tenant:
    """Another tenant with the same pack, with a token of its own."""
    return await settle(db, site.home, repository, token="trk_neighbour-2b9c")


def processes(tenant: Tenant) -> list[int]:
    """The live processes of its attachment, as the machine sees them."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid == tenant.attachment["uid"]:
                found.append(int(folder.name))
    return found


@pytest.mark.capability("RUN-1")
async def test_two_tenants_packs_at_once_cannot_see_signal_or_reach_each_other(
    tenant: Tenant, neighbour: Tenant, site: Site
) -> None:
    settle_in = (
        "import os, socket, time, threading\nopen('/tmp/mine', 'w').write('x'); open('/dev/shm/mine', 'w').write('x')\n"
        "server = socket.create_server(('127.0.0.1', 8080)); server.settimeout(0.1)\n"
        "named = socket.socket(socket.AF_UNIX); named.bind('\\0worka-neighbour'); named.listen(); named.settimeout(0.1)\n"
        "value = []\nend = time.monotonic() + 4\n"
        "while time.monotonic() < end:\n"
        "    for s in (server, named):\n"
        "        try: s.accept(); value.append('somebody came')\n"
        "        except OSError: pass\n"
        "value.append(sorted(os.listdir('/tmp'))); value.append(len([p for p in os.listdir('/proc') if p.isdigit()]))\n"
    )
    intrude = (
        "import os, socket, signal, time\nvalue = []\n"
        "def attempt(what):\n    try: what(); value.append('done')\n    except OSError as e: value.append(type(e).__name__)\n"
        "attempt(lambda: socket.create_connection(('127.0.0.1', 8080), 1))\n"
        "def dial():\n    s = socket.socket(socket.AF_UNIX); s.connect('\\0worka-neighbour')\n"
        "attempt(dial)\n"
        "attempt(lambda: open('/tmp/mine')); attempt(lambda: open('/dev/shm/mine'))\n"
        "for pid in arguments['pids']: attempt(lambda: os.kill(pid, 0))\n"
        "attempt(lambda: os.setuid(arguments['uid'])); attempt(lambda: os.setpriority(os.PRIO_USER, arguments['uid'], 19))\n"
        "if os.fork() == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    os.kill(-1, signal.SIGTERM); os._exit(0)\ntime.sleep(5)\n"
    )
    settled = asyncio.create_task(neighbour.answer("run", {"code": settle_in}))
    await asyncio.sleep(1.5)
    theirs = [pid for pid in processes(neighbour) if pid > 300]
    assert theirs
    # It ends with its own SIGTERM to everybody it can reach: itself.
    broken = await tenant.answer("run", {"code": intrude, "pids": theirs, "uid": neighbour.attachment["uid"]})
    assert (broken["status"], broken["reason"]) == ("failed", "pack_signalled"), broken
    again = await tenant.answer(
        "run", {"code": intrude.partition("if os.fork()")[0], "pids": theirs, "uid": neighbour.attachment["uid"]}
    )
    assert set(again["structured"]["value"]) <= {
        "ConnectionRefusedError", "FileNotFoundError", "ProcessLookupError", "PermissionError", "OSError"
    }, again  # fmt: skip
    answer = await settled
    assert answer["status"] == "succeeded", answer
    tmp, seen = answer["structured"]["value"][-2:]
    assert answer["structured"]["value"][:-2] == [], "somebody came"
    assert "mine" in tmp
    assert seen <= 3
    # The control: the same by the neighbour itself works.
    own = settle_in.partition("value = []")[0] + (
        "threading.Thread(target=lambda: (server.settimeout(3), named.settimeout(3), server.accept(), named.accept())).start()\n"
    )
    both = await neighbour.call(
        "run", code=f"{own}\n{intrude.partition('attempt(lambda: os.setuid')[0]}", pids=[1], uid=0
    )
    assert both == ["done"] * 5


@pytest.mark.capability("BRK-3", "TRE-7", part="two tenants at once")
async def test_each_tenants_requests_carry_its_own_token_when_both_ask_at_once(
    tenant: Tenant, neighbour: Tenant, site: Site
) -> None:
    mine, theirs = f"https://{TRACKER}/mine", f"https://{TRACKER}/theirs"
    answers = await asyncio.gather(
        *(
            who.wire(*[{"do": "fetch", "url": url}] * 10)
            for who, url in ((tenant, mine), (neighbour, theirs))
            for _ in range(3)
        )
    )
    assert all(one["status"] == 200 for found in answers for one in found)
    sent = {
        (head.split(" ")[1], line.partition(": ")[2])
        for hit in site.internet.hits()
        for head in hit["requests"]
        for line in head.split("\r\n")
        if line.startswith("authorization")
    }
    assert sent == {
        ("/mine", f"Bearer {tenant.connection_secret}"), ("/theirs", f"Bearer {neighbour.connection_secret}")
    }  # fmt: skip


HARM = {
    "hung": ("import time; time.sleep(300)", "pack_timeout"),
    "out of memory": ("x = b'x' * (900 * 1024 * 1024)", "pack_out_of_memory"),
    "fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "pack_timeout"),
    "output flood": ("import sys\nwhile True: sys.stdout.write('x' * 1_000_000)", "oversize_output"),
    "log flood": ("import sys\nwhile True: sys.stderr.write('x' * 1_000_000)", "pack_timeout"),
    "disk flood": (
        "import os\nn = 0\nwhile True:\n    n += 1\n    try: open(f'/tmp/{n % 5000}', 'wb').write(b'0' * 1_000_000)\n    except OSError: pass",
        "pack_timeout",
    ),
    "connection flood": (
        "import socket\nwhile True:\n    try: s = socket.create_connection(('tracker.worka.test', 443), 1); s.send(b'x')\n    except OSError: pass",
        "pack_timeout",
    ),
    "killed": ("import time; time.sleep(300)", "pack_signalled"),
}  # fmt: skip


# The attacker's calls end after this many seconds.
SECONDS = {"out of memory": 20.0, "killed": 20.0, "output flood": 20.0}


@pytest.fixture
async def short(tenant: Tenant, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Tenant:
    """The attacker's deadline is a short one; nothing else differs."""
    invoke, given = HostClient.invoke, request.node.callspec.params
    seconds = SECONDS.get(
        str(given.get("what")), 2.0 if given.get("reason", "pack_timeout") == "pack_timeout" else 20.0
    )

    async def hasty(self: HostClient, **told: Any) -> Any:
        mine = told["session"]["attachment_id"] == tenant.attachment["id"]
        return await invoke(self, **{**told, "timeout_seconds": seconds if mine else told["timeout_seconds"]})

    monkeypatch.setattr(HostClient, "invoke", hasty)
    return tenant


@pytest.mark.capability("DEP-11")
@pytest.mark.parametrize("what", sorted(HARM))
async def test_another_tenants_calls_go_on_without_an_error(
    short: Tenant, neighbour: Tenant, site: Site, what: str
) -> None:
    code, reason = HARM[what]
    over, first = asyncio.Event(), asyncio.Event()
    counted: list[str] = []

    async def calls() -> None:
        while not over.is_set():
            answer = await neighbour.answer("wire", {"commands": [FETCH]})
            counted.append(
                "ok"
                if answer["status"] == "succeeded" and answer["structured"]["value"][0].get("status") == 200
                else str(answer)
            )
            first.set()

    callers = [asyncio.create_task(calls()) for _ in range(2)]
    await asyncio.wait_for(first.wait(), 30)
    before = len(counted)
    # More than the attacker has sessions for: the rest waits in its own queue.
    attacks = [asyncio.create_task(short.answer("run", {"code": code})) for _ in range(6)]
    if what == "killed":
        await asyncio.sleep(1.5)
        until = asyncio.get_running_loop().time() + 30
        while not all(attack.done() for attack in attacks) and asyncio.get_running_loop().time() < until:
            for pid in processes(short):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.3)
    outcomes = await asyncio.gather(*attacks)
    during = len(counted) - before
    over.set()
    await asyncio.gather(*callers)
    assert reason in {outcome["reason"] for outcome in outcomes}, outcomes
    assert all(outcome["status"] == "failed" for outcome in outcomes)
    assert [found for found in counted if found != "ok"] == []
    assert during >= 1, "the control: the neighbour did call meanwhile"
    assert (await short.call("run", code="value = 'well'")) == "well", "and the attacker itself goes on"


DEATHS = {
    "pack_crashed": "os._exit(3)",
    "pack_signalled": "os.kill(os.getpid(), 11)",
    "pack_out_of_memory": "x = b'x' * (900 * 1024 * 1024)",
    "oversize_output": "import sys; sys.stdout.write('x' * 12_000_000); sys.stdout.flush(); import time; time.sleep(60)",
    "pack_timeout": "import time; time.sleep(60)",
}


@pytest.mark.capability("RUN-4", part="of a pack that has network")
@pytest.mark.parametrize("reason", sorted(DEATHS))
async def test_a_pack_that_dies_with_its_network_open_is_told_as_what_killed_it(
    short: Tenant, site: Site, reason: str
) -> None:
    """Not as a broker that was lost: what had left is known, and the broker's session is forgotten after it."""
    fetch = f"import os, box; box.run({FETCH!r}, os.environ['SSL_CERT_FILE'])\n"
    answer = await short.answer("run", {"code": fetch + DEATHS[reason]})
    assert (answer["status"], answer["layer"], answer["reason"]) == ("failed", "pack", reason), answer
    assert [(row["host"], row["status"]) for row in await short.egress()] == [(TRACKER, 200)]
    assert (await short.wire(FETCH))[0]["status"] == 200, "the control: the next call has its network"
