"""Attacks from inside the sandbox. Each has its positive control: the same code, outside, succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packs.running import Instance, control, instance

pytestmark = pytest.mark.capability("RUN-1")
CANARY = "canary-3f1c9d"


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    with instance(environment={"SITE_CANARY": CANARY}) as running:
        yield running


@pytest.fixture
def canary() -> Iterator[tuple[list[str], list[tuple[str, int]]]]:
    """Listeners on every address of this machine, TCP, UDP and an abstract one: (hits, addresses)."""
    hits: list[str] = []
    done = threading.Event()
    sockets: list[socket.socket] = []
    addresses = {"127.0.0.1"}
    with contextlib.suppress(OSError):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.connect(("192.0.2.1", 9))
        addresses.add(probe.getsockname()[0])
        probe.close()
    tcp = socket.create_server(("0.0.0.0", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", tcp.getsockname()[1]))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{CANARY}-{os.getpid()}")
    abstract.listen()
    sockets += [tcp, udp, abstract]

    def watch() -> None:
        import select

        while not done.is_set():
            for ready in select.select(sockets, [], [], 0.05)[0]:
                if ready is udp:
                    hits.append("udp " + udp.recvfrom(100)[0].decode())
                else:
                    ready.accept()[0].close()
                    hits.append("tcp" if ready is tcp else "abstract")

    thread = threading.Thread(target=watch)
    thread.start()
    yield hits, [(address, tcp.getsockname()[1]) for address in sorted(addresses)]
    done.set()
    thread.join()
    for sock in sockets:
        sock.close()


DIAL = """
import json, os, socket
value = []
def attempt(what):
    try:
        what(); value.append("reached")
    except OSError as e:
        value.append(e.errno or str(e))
def udp(a):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"out", a)
def abstract():
    s = socket.socket(socket.AF_UNIX); s.connect(ABSTRACT)
for a in ADDRESSES:
    attempt(lambda: socket.create_connection(tuple(a), 3))
    attempt(lambda: udp(tuple(a)))
attempt(abstract)
"""


async def test_no_direct_connection_leaves(packs: Instance, canary: tuple[list[str], list[tuple[str, int]]]) -> None:
    hits, addresses = canary
    code = f"ADDRESSES = {addresses!r}\nABSTRACT = {chr(0) + CANARY + '-' + str(os.getpid())!r}\n" + DIAL
    await packs.value(await packs.session(), code)
    await asyncio.sleep(0.3)
    assert hits == [], "something left the sandbox"
    control(code)
    await asyncio.sleep(0.3)
    assert sorted(set(hits)) == ["abstract", "tcp", "udp out"], "the control: from outside every canary is hit"


async def test_no_name_is_resolved_without_network(packs: Instance) -> None:
    code = (
        "import socket\ntry:\n    value = socket.getaddrinfo('secret-data.example', 80)[0][4][0]\n"
        "except OSError as e:\n    value = 'no answer'"
    )
    assert await packs.value(await packs.session(), code) == "no answer"


async def test_no_vsock_no_packet_no_crypto_socket(packs: Instance) -> None:
    code = (
        "import socket\nvalue = []\nfor family in (40, 17, 38, 29, 30):\n    try:\n"
        "        socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW).close(); value.append('made')\n"
        "    except OSError as e:\n        value.append(e.errno)\n"
        "s = socket.socket(); s.close()"
    )
    assert await packs.value(await packs.session(), code) == [errno.EAFNOSUPPORT] * 5


async def test_no_file_of_the_host_and_none_of_a_sibling(packs: Instance) -> None:
    secret = packs.home / "secret.txt"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    sibling = await packs.session("# a sibling's environment\n")
    session = await packs.session()
    paths = [str(secret), sibling["env_path"], str(packs.home / "run"), "/root", "/var", "/home", "/work", "/etc/hostname.bak",
             "/etc/shadow", "/etc/machine-id", "/sys", "/boot", "/mnt", "/opt", "/srv", "/proc/1/root/var"]  # fmt: skip
    code = f"import os; value = [p for p in {paths!r} if os.path.lexists(p)]"
    assert await packs.value(session, code) == []
    assert {str(secret), sibling["env_path"], "/var"} <= set(control(code)), "the control: they are there"
    listed = await packs.value(session, f"import os; value = os.listdir({str(packs.home / 'envs')!r})")
    assert listed == [Path(session["env_path"]).name]


async def test_no_environment_of_the_host(packs: Instance) -> None:
    code = (
        "import glob, os\nfound = [repr(dict(os.environ))]\n"
        "for p in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n"
        "    try: found.append(open(p, errors='replace').read())\n    except OSError: pass\n"
        f"value = ['{CANARY[:6]}' + '{CANARY[6:]}' in text for text in found].count(True)"
    )
    assert await packs.value(await packs.session(), code) == 0
    assert control(code, env=os.environ | {"SITE_CANARY": CANARY}) >= 1
    host = Path(f"/proc/{packs.processes['host'].pid}/environ").read_bytes()
    assert CANARY.encode() in host, "the control: the host's own environment holds it"


async def test_no_other_process_is_seen_or_signalled(packs: Instance) -> None:
    code = (
        "import os\nvalue = [len([p for p in os.listdir('/proc') if p.isdigit()]), []]\n"
        "for pid in PIDS:\n    try:\n        os.kill(pid, 0); value[1].append(pid)\n    except OSError: pass"
    )
    pids = [packs.processes["host"].pid, packs.processes["launcher"].pid, os.getpid()]
    pids = [pid for pid in pids if pid > 200]
    code = f"PIDS = {pids!r}\n{code}"
    other = await packs.session()
    await packs.value(other, "value = 1")
    seen, signalled = await packs.value(await packs.session(), code)
    assert seen <= 3, "its own server, and bubblewrap's two"
    assert signalled == []
    assert len(control(code)[1]) == len(pids)


SYSCALLS = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
value = {}
NUMBERS = __NUMBERS__
for name, number in NUMBERS.items():
    ctypes.set_errno(0)
    # Arguments that no kernel accepts: what is not filtered says EFAULT, EINVAL or EBADF, and does no harm.
    libc.syscall(number, -1, -1, -1, -1, -1, -1)
    value[name] = ctypes.get_errno()
ctypes.set_errno(0); libc.ioctl(-1, 0x5412, 0); value["TIOCSTI"] = ctypes.get_errno()
ctypes.set_errno(0); libc.syscall(435, 0, 0); value["clone3"] = ctypes.get_errno()
"""
DANGEROUS = ["mount", "umount2", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "add_key", "request_key", "userfaultfd",
             "perf_event_open", "ptrace", "process_vm_readv", "process_vm_writev", "kexec_load", "init_module",
             "finit_module", "pivot_root", "fsopen", "move_mount", "open_tree", "open_by_handle_at", "pidfd_getfd"]  # fmt: skip


async def test_dangerous_system_calls_are_refused_before_the_kernel_looks(packs: Instance) -> None:
    from worka.packs.sandbox import seccomp

    column = 0 if os.uname().machine == "x86_64" else 1
    code = SYSCALLS.replace("__NUMBERS__", json.dumps({name: seccomp.DENIED[name][column] for name in DANGEROUS}))
    found = await packs.value(await packs.session(), code)
    assert {name: found[name] for name in [*DANGEROUS, "TIOCSTI"]} == dict.fromkeys(
        [*DANGEROUS, "TIOCSTI"], errno.EPERM
    )
    assert found["clone3"] == errno.ENOSYS
    outside = control(code)
    looked = [name for name in [*DANGEROUS, "TIOCSTI"] if outside[name] != errno.EPERM]
    assert len(looked) >= 12, f"the control: outside, the kernel looks at the arguments: {outside}"
    assert outside["TIOCSTI"] == errno.EBADF


async def test_no_nested_user_namespace(packs: Instance) -> None:
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nvalue = []\n"
        "pid = os.fork()\nif pid == 0:\n    os._exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())\n"
        "value.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert await packs.value(await packs.session(), code) == [errno.EPERM]
    assert control(code)[0] == 0, "the control: outside it works"


async def test_nothing_can_be_written_but_tmp_and_tmp_is_bounded(packs: Instance) -> None:
    clone = packs.home / "clones" / "w"
    clone.mkdir(exist_ok=True)
    clone.chmod(0o777)
    session = await packs.session(mounts=[{"name": "w", "source": str(clone), "target": "/repo", "mode": "ro"}])
    code = (
        f"import os\nvalue = []\nfor p in ('/', '/usr', '/etc', '/dev', '/run', '/run/worka', '/repo', {session['env_path']!r}):\n"
        "    try:\n        open(os.path.join(p, 'x'), 'w').close(); value.append(p)\n    except OSError as e: pass\n"
        "wrote = 0\ntry:\n"
        "    for n in range(60):\n        with open(f'/tmp/{n}', 'wb') as f: wrote += f.write(b'0' * 1048576)\n"
        "except OSError as e: value.append(e.errno)\nvalue.append(wrote // 1048576)"
    )
    outcome = await packs.value(session, code)
    assert outcome[:-1] == [errno.ENOSPC], "/tmp alone, until it is full"
    assert 8 <= outcome[-1] <= 16
    assert list(clone.iterdir()) == []


async def test_no_core_no_more_files_than_allowed_and_no_limit_raised(packs: Instance) -> None:
    code = (
        "import os, resource\nvalue = [resource.getrlimit(resource.RLIMIT_CORE)]\n"
        "try:\n    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); value.append('raised')\n"
        "except (ValueError, OSError): value.append('refused')\n"
        "fds = []\ntry:\n    while True: fds.append(os.open('/dev/null', 0))\nexcept OSError as e: value.append(e.errno)\n"
        "value.append(len(fds) < 128)\n[os.close(f) for f in fds]"
    )
    assert await packs.value(await packs.session(), code) == [[1, 1], "refused", errno.EMFILE, True]


async def test_a_fork_bomb_is_bounded_and_its_sessions_end_takes_all_of_it(packs: Instance) -> None:
    session = await packs.session()
    code = (
        "import os, time\nvalue = 0\nfor n in range(500):\n    try:\n        pid = os.fork()\n    except OSError:\n        break\n"
        "    if pid == 0:\n        os.setsid(); time.sleep(100); os._exit(0)\n    value += 1"
    )
    forked = await packs.value(session, code)
    assert 4 <= forked <= 16
    other = await packs.value(
        await packs.session(), "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)\nvalue = 1"
    )
    assert other == 1, "another pack still forks"
    assert len(packs.processes_of(session)) >= forked
    await packs.client.drop(attachment_id=session["attachment_id"])
    assert await packs.gone(session), "the bomb outlived its session"


async def test_a_bomb_that_forks_for_ever_ends_with_its_deadline(packs: Instance) -> None:
    session = await packs.session()
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    outcome = await packs.run(session, code, timeout=2)
    assert outcome["status"] == "failed", outcome
    assert await packs.gone(session)


async def test_memory_beyond_the_limit_kills_that_pack_only(packs: Instance) -> None:
    bystander, session = await packs.session(), await packs.session()
    await packs.value(bystander, "value = 1")
    small = await packs.run(session, "value = len(b'x' * (50 * 1024 * 1024))")
    hog = await packs.run(session, "value = len(b'x' * (900 * 1024 * 1024))")
    assert small["status"] == "ok", "the control: what fits is given"
    assert hog["reason"] == "pack_out_of_memory", hog
    assert (await packs.run(bystander, "value = 2"))["session"] == "warm"
    shm = await packs.run(session, "f = open('/dev/shm/x', 'wb')\nfor n in range(900): f.write(b'0' * 1048576)")
    assert shm["status"] != "ok", "shared memory is bounded too"


async def test_processor_time_is_shared(packs: Instance) -> None:
    """Two processes of one pack get one processor between them; the control gets two where there are two."""
    code = (
        "import os, time\nend = time.monotonic() + 1.0\npid = os.fork()\nwhile time.monotonic() < end: pass\n"
        "used = time.process_time()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)\n"
        "import resource\nvalue = used + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime"
    )
    assert await packs.value(await packs.session(), code) < 1.35


async def test_the_hosts_processes_do_not_show_the_packs_environment_or_arguments(packs: Instance) -> None:
    """Command lines are readable by every user of the machine."""
    session = await packs.session(env={"SETTING": CANARY + "-inside"})
    await packs.value(session, "value = 1")
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in packs.processes_of(session)]
    assert lines
    assert not any(CANARY.encode() in line for line in lines)


async def test_a_loader_variable_does_not_reach_bubblewrap(packs: Instance) -> None:
    """LD_PRELOAD of a manifest acts inside, never on the program that builds the sandbox."""
    session = await packs.session(env={"LD_PRELOAD": "/no/such/library.so"})
    outcome = await packs.run(session, "value = 1")
    assert outcome["status"] == "ok"
    outside = subprocess.run(
        [sys.executable, "-c", ""],
        env={"LD_PRELOAD": "/no/such/library.so"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/no/such/library.so" in outside.stderr, "the control: the loader complains of it"
    bwrap = next(pid for pid in packs.processes_of(session) if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes())
    assert Path(f"/proc/{bwrap}/environ").read_bytes() == b""
