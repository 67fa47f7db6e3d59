"""What could leak from the platform's own processes into a sandbox or onto the disk, and floods that nobody else feels."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.running import Instance, control, instance

pytestmark = pytest.mark.capability("RUN-1")
SECRET = "canary-descriptor-7e90"


@pytest.fixture(scope="module")
def descriptors() -> Iterator[list[int]]:
    """An open file with a secret, a pipe and a listening socket, all of them inheritable: as careless code leaves them."""
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as server:
        file.write(SECRET.encode())
        file.flush()
        yield [file.fileno(), read, server.fileno()]
    os.close(read)
    os.close(write)


@pytest.fixture(scope="module")
def packs(descriptors: list[int]) -> Iterator[Instance]:
    """Launcher and host that were started with descriptors that they should not have."""
    for fd in descriptors:
        os.set_inheritable(fd, True)
    with instance(pass_fds=tuple(descriptors)) as running:
        yield running


LOOK = """
import os, stat
value = []
for pid in sorted(p for p in os.listdir('/proc') if p.isdigit()):
    try: names = os.listdir(f'/proc/{pid}/fd')
    except OSError: continue
    for name in names:
        try: value.append([pid, int(name), os.readlink(f'/proc/{pid}/fd/{name}')])
        except OSError: pass
"""


async def test_no_descriptor_of_the_platform_is_inherited(packs: Instance, descriptors: list[int]) -> None:
    found = await packs.value(await packs.session(), LOOK)
    own = [item for item in found if not item[2].startswith(("pipe:", "/proc/", "/dev/null", "anon_inode:[eventfd]"))]
    assert own == [], own
    assert {fd for _, fd, link in found if link.startswith("pipe:")} <= {0, 1, 2}
    for role in ("launcher", "host"):
        theirs = {os.readlink(f"/proc/{packs.processes[role].pid}/fd/{fd}") for fd in descriptors}
        assert len(theirs) == 3, "the control: the platform's processes do hold them"
    assert SECRET.encode() == os.pread(descriptors[0], 100, 0)


async def test_a_pack_that_crashes_leaves_no_core_and_no_collector_gets_one(packs: Instance) -> None:
    session = await packs.session()
    limits = await packs.value(session, "import resource; value = resource.getrlimit(resource.RLIMIT_CORE)")
    # One byte: too small for a file, and the one value at which the kernel runs no collector either (core(5)).
    assert limits == [1, 1]
    crash = (
        "import os, signal\nif os.fork() == 0:\n    os.chdir('/tmp'); os.kill(os.getpid(), signal.SIGSEGV)\nos.wait()\n"
        "value = [name for name in os.listdir('/tmp') if name.startswith('core')]"
    )
    assert await packs.value(session, crash) == []
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith(("/", "|")):
        with tempfile.TemporaryDirectory() as folder:
            ungenerous = crash.replace("/tmp", folder)
            left = control(ungenerous, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30)))
        assert left, "the control: outside a crash leaves its memory on the disk"


ROLES = {"host": "worka.packs.runtime.host", "launcher": "worka.packs.sandbox.launcher", "broker": "worka.workers.broker",
         "worker": "worka.workers.worker", "serve": "worka.web.serve"}  # fmt: skip


@pytest.mark.parametrize("role", ["host", "launcher"])
def test_a_role_that_crashes_leaves_no_core(role: str) -> None:
    """Keys and leases are in these processes' memory. Started where core dumps are asked for."""
    home = Path(tempfile.mkdtemp(prefix="worka-core-", dir="/tmp"))
    home.chmod(0o777)

    def generous() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    process = subprocess.Popen(
        [sys.executable, "-m", ROLES[role]], env={**os.environ, "WORKA_HOME": str(home)}, cwd=home, preexec_fn=generous,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while not (home / "run" / f"{role}.sock").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (1, 1)
        process.send_signal(signal.SIGSEGV)
        process.wait(10)
        assert not list(home.glob("core*"))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_every_role_keeps_its_memory_off_the_disk() -> None:
    """By the first line of each role's main: the broker, the worker and the server hold secrets too."""
    for role, module in ROLES.items():
        source = Path(__import__("worka").__file__).parent / (module.removeprefix("worka.").replace(".", "/") + ".py")
        main = source.read_text().partition("def main")[2]
        assert "no_core_dumps()" in main, role


def rss(packs: Instance, role: str = "host") -> int:
    """kB that a role holds now."""
    status = Path(f"/proc/{packs.processes[role].pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def test_a_flood_of_logs_is_bounded_everywhere_and_nobody_else_feels_it(packs: Instance) -> None:
    loud, quiet = await packs.session(), await packs.session()
    await packs.value(quiet, "value = 1")
    before, logged = rss(packs), sum(path.stat().st_size for path in (packs.home / "log").iterdir())
    flood = "import sys\nfor _ in range(300): sys.stderr.write('line of noise ' * 70_000 + chr(10))\nvalue = 'done'"
    outcome, *others = await asyncio.gather(
        packs.run(loud, flood, timeout=60), *(packs.run(quiet, f"value = {n}") for n in range(20))
    )
    assert outcome["status"] == "ok", outcome
    assert len(outcome["stderr_tail"].encode()) <= 64 * 1024
    assert [other["structured"]["value"] for other in others] == list(range(20))
    assert rss(packs) - before < 60_000, "three hundred megabytes went through"
    assert sum(path.stat().st_size for path in (packs.home / "log").iterdir()) - logged < 100_000


TAKE = {
    "threads": "thread = threading.Thread(target=time.sleep, args=(2,), daemon=True); thread.start(); kept.append(thread)",
    "descriptors": "kept.append(os.fdopen(os.open('/dev/null', 0)))",
    "sockets": "kept.append(socket.socket())",
}


@pytest.mark.parametrize("what", sorted(TAKE))
async def test_a_pack_takes_no_more_than_its_share_of(packs: Instance, what: str) -> None:
    code = (
        "import os, socket, threading, time\nkept = []\ntry:\n"
        f"    for _ in range(500):\n        {TAKE[what]}\nexcept (OSError, RuntimeError): pass\n"
        "value = len(kept)\n[one.close() for one in kept if hasattr(one, 'close')]"
    )
    limits = {"processes": 16, "files": 128}
    taken = await packs.value(await packs.session(limits=limits), code)
    assert 4 <= taken <= max(limits.values())
    assert control(code) > 200, "the control: outside there is no such bound"


async def test_a_million_small_files_end_with_that_packs_memory_or_its_disk(packs: Instance) -> None:
    session, quiet = await packs.session(limits={"memory_mb": 64}), await packs.session()
    await packs.value(quiet, "value = 1")
    code = (
        "import os\nvalue = 0\ntry:\n    for n in range(1_000_000):\n        os.close(os.open(f'/tmp/{n}', os.O_CREAT)); value += 1\n"
        "except OSError as e: value = e.errno"
    )
    outcome = await packs.run(session, code, timeout=30)
    assert outcome["reason"] in {"pack_out_of_memory", "pack_timeout"} or outcome["structured"]["value"] == errno.ENOSPC
    assert (await packs.run(quiet, "value = 2"))["session"] == "warm"


async def test_what_a_pack_links_and_swaps_in_its_own_folder_nobody_outside_follows(packs: Instance) -> None:
    """A symbolic link that is swapped all the time, at every name that the platform might write or clean up."""
    target = packs.home / "victim"
    target.mkdir()
    (target / "kept").write_text("kept")
    target.chmod(0o777)
    code = (
        "import os, threading, time\nstop = time.monotonic() + 2\n"
        f"def swap(name):\n    while time.monotonic() < stop:\n        for to in ('/tmp', {str(target)!r}, '/etc', '/proc/self/root'):\n"
        "            try: os.symlink(to, name + '.new'); os.rename(name + '.new', name); open(name + '/x', 'w').close()\n"
        "            except OSError: pass\n"
        "threads = [threading.Thread(target=swap, args=(f'/tmp/{n}',)) for n in ('a', 'core', 'stdout', 'home')]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\nvalue = sorted(os.listdir('/tmp'))"
    )
    session = await packs.session()
    inside: Any = await packs.value(session, code)
    assert {"a", "core", "home", "stdout"} <= set(inside), "the control: it did make them"
    await packs.client.drop(attachment_id=session["attachment_id"])
    assert await packs.gone(session)
    assert [path.name for path in target.iterdir()] == ["kept"]
