"""Packs that a container engine's runtime starts: within the same limits, recorded as they are in force, or not at all.

Against the real runc, which set-up installs for the tests (`apt-get install -y runc`); as root, since it needs control groups.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.packs import running
from tests.packs.running import Instance
from tests.packs.test_isolation import in_force

Row = dict[str, Any]
CONTAINER = {"WORKA_PACKS__RUNTIME": "container"}
THERE = shutil.which("runc", path="/usr/bin:/usr/sbin:/usr/local/bin") is not None and os.geteuid() == 0
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not THERE, reason="needs root and runc: apt-get install -y runc"),
]
REFUSED_CALLS = """
import ctypes, platform
call = ctypes.CDLL(None, use_errno=True).syscall
numbers = {"x86_64": (272, 165, 101, 321, 425, 440, 442, 435, 56, 16), "aarch64": (97, 40, 117, 280, 425, 440, 442, 435, 220, 29)}
value = []
for number in numbers[platform.machine()]:
    first = 0x10000011 if number in (56, 220, 272, 97) else 0
    ctypes.set_errno(0)
    # The terminal's request with a bit set that the kernel does not look at.
    call(ctypes.c_long(number), ctypes.c_long(first), ctypes.c_long(0x100005412 if number in (16, 29) else 0), 0, 0, 0)
    value.append(ctypes.get_errno())
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Instance]:
    """A deployment that starts packs by it."""
    with running.instance(environment=CONTAINER) as made:
        yield made


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
@pytest.mark.capability("RUN-1", part="by a container engine's runtime too")
async def test_what_is_recorded_of_a_container_is_what_is_in_force(engine: Instance) -> None:
    session = await engine.session()
    outcome = await engine.run(session, "value = 1")
    assert outcome["status"] == "ok", (outcome, engine.log("launcher"))
    told = outcome["isolation"]
    assert (told["driver"], told["tier"], told["kernel"], told["filter"]) == ("runc", "separate", "host", "worka")
    assert (told["uid"], told["network"], told["limits"]["memory_mb"]) == (session["uid"], "none", 256)
    assert in_force(engine, outcome) == (told["namespaces"], True)
    look = (
        "import os, socket\nvalue = [sorted(os.listdir('/')), [os.path.exists(p) for p in ('/var/log', '/home', '/root', '/mnt')],"
        " os.environ.get('WORKA_HOME'), sorted(os.listdir('/proc/self/fd'))[:3]]\n"
        "value += [line for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))]\n"
        "for path in ('/usr/x', '/etc/x', '/x', '/proc/sys/kernel/hostname'):\n"
        "    try: open(path, 'w'); value.append(path)\n    except OSError: pass\n"
        "try: socket.create_connection(('1.1.1.1', 443), 2); value.append('online')\nexcept OSError: pass"
    )
    top, seen, home, _, *rest = await engine.value(session, look)
    assert {"usr", "tmp", "etc", "proc", "dev"} <= set(top)
    assert (seen, home) == ([False] * 4, None)
    assert [line.split() for line in rest] == [
        ["CapEff:", "0000000000000000"], ["CapBnd:", "0000000000000000"], ["NoNewPrivs:", "1"],
    ]  # fmt: skip
    assert await engine.value(session, REFUSED_CALLS) == [1, 1, 1, 1, 1, 1, 1, 38, 1, 1]


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
@pytest.mark.capability("RUN-4", part="by a container engine's runtime too")
async def test_a_container_that_breaks_is_told_apart_and_nobody_else_feels_it(engine: Instance) -> None:
    other, session = await engine.session(), await engine.session()
    assert (await engine.run(other, "value = 1"))["status"] == "ok"
    for code, reason in (
        ("import os; os._exit(7)", "pack_crashed"),
        ("import ctypes; ctypes.string_at(0)", "pack_signalled"),
        ("x = b'x' * (900 << 20)", "pack_out_of_memory"),
    ):
        assert (await engine.run(session, code))["reason"] == reason, code
        assert (await engine.run(other, "value = 1"))["session"] == "warm"
    hung = await engine.run(session, "while True: pass", timeout=1)
    assert hung["reason"] == "pack_timeout"
    full = await engine.run(session, "open('/tmp/y', 'wb').write(b'0' * 40_000_000)")
    assert full["status"] == "tool_error"
    forks = (
        "import os, time\nvalue = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(5); os._exit(0)\n"
        "        value += 1\nexcept OSError: pass"
    )
    assert await engine.value(session, forks) <= session["limits"]["processes"] + 16
    await engine.client.drop(attachment_id=session["attachment_id"])
    assert await engine.gone(session), "its processes are left"


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
@pytest.mark.capability("RUN-6")
async def test_where_there_is_no_such_runtime_nothing_is_started_in_another_way() -> None:
    hide = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null "$(command -v runc)" && exec "$@"', "sh"]
    with running.instance(environment=CONTAINER, wrapper=hide) as here:
        refused = await here.run(await here.session(), "value = 1")
    assert (refused["reason"], refused["isolation"]) == ("sandbox_unavailable", {}), refused
    assert refused["remedy"] == "apt-get install -y runc"
    with running.instance(environment=CONTAINER, ordinary=True) as here:
        weak = await here.run(await here.session(), "value = 1")
    assert (weak["reason"], weak["isolation"]) == ("isolation_too_weak", {}), weak
    with running.instance(wrapper=hide) as here:
        usual = await here.run(await here.session(), "value = 1")
    assert (usual["status"], usual["isolation"]["driver"]) == ("ok", "bwrap"), "the control: where none is asked for"


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
async def test_a_container_ends_with_its_launcher() -> None:
    with running.instance(environment=CONTAINER) as here:
        session = await here.session()
        # It does not end by itself where nobody talks to it any more.
        await here.value(
            session, "import threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()\nvalue = 1"
        )
        assert here.processes_of(session), "the control"
        here.processes["launcher"].send_signal(signal.SIGKILL)
        assert await here.gone(session)


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
async def test_a_kernel_of_its_own_is_gvisors_there_too(engine: Instance) -> None:
    strong = await engine.run(await engine.session(isolation="strong"), "value = 1", timeout=30)
    assert (strong["status"], strong["isolation"]["driver"]) == ("ok", "runsc"), strong
