"""The launcher by itself: what it believes, what it refuses, what it leaves behind; and the filter, instruction by instruction."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.packs.running import Instance, instance
from worka.packs.sandbox import seccomp
from worka.packs.sandbox.cgroups import Cgroups
from worka.packs.sandbox.launcher import SPARES
from worka.packs.sandbox.spec import Allowed, Limits, SpecRefused, inside, read

ALLOW, KILL = 0x7FFF0000, 0x80000000


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    with instance() as running:
        (running.home / "envs" / "e1").mkdir(mode=0o755)
        yield running


class Launched:
    """One connection to the launcher, spoken by hand."""

    def __init__(self, packs: Instance, argv: list[str], **changes: Any) -> None:
        self.conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.conn.connect(str(packs.home / "run" / "launcher.sock"))
        self.conn.settimeout(20)
        pipes = [os.pipe() for _ in range(3)]
        self.stdin, self.stdout, self.stderr = pipes[0][1], pipes[1][0], pipes[2][0]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        spec = {
            "session_id": "s1", "uid": 200_900, "command": argv, "env": {"PATH": "/usr/bin:/bin"},
            "env_path": str(packs.home / "envs" / "e1"), "mounts": [], "limits": {"memory_mb": 256}, "network": False,
        } | changes  # fmt: skip
        socket.send_fds(self.conn, [json.dumps(spec).encode()], theirs)
        for fd in theirs:
            os.close(fd)

    def report(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.conn.recv(65536) or b"{}")
        return answer

    def output(self) -> str:
        found = b""
        while chunk := os.read(self.stdout, 65536):
            found += chunk
        return found.decode()

    def close(self) -> None:
        self.conn.close()
        for fd in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def launch(packs: Instance) -> Iterator[Any]:
    made: list[Launched] = []

    def start(argv: list[str], **changes: Any) -> Launched:
        made.append(Launched(packs, argv, **changes))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.capability("RUN-1")
def test_it_reports_the_start_with_its_isolation_and_the_end_with_its_code(launch: Any) -> None:
    started = launch(["sh", "-c", "echo here; exit 7"])
    first, last = started.report(), started.report()
    assert first["isolation"]["driver"] == "bwrap"
    assert first["isolation"]["seccomp"] is True
    assert first["isolation"]["limits"]["memory_mb"] == 256
    assert (last["exited"], last["signal"], last["oom"]) == (7, None, False)
    assert started.output() == "here\n"


@pytest.mark.capability("RUN-1", part="limits as low as a manifest may ask for")
def test_a_pack_with_the_fewest_open_files_starts(launch: Any) -> None:
    started = launch(["sh", "-c", "ulimit -n"], limits={"memory_mb": 256, "files": 16})
    assert "started" in (told := started.report()), told
    assert started.report()["exited"] == 0
    assert started.output() == "16\n"


def test_a_signal_is_not_an_exit_code(launch: Any) -> None:
    started = launch(["sh", "-c", "kill -SEGV $$"])
    started.report()
    assert (started.report()["signal"]) == 11


@pytest.mark.capability("RUN-1")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"uid": 0}, "uid 0"),
        ({"uid": 1000}, "uid 1000"),
        ({"env_path": "/etc"}, "env_path"),
        ({"env_path": "envs/../../../etc"}, "env_path"),
        ({"mounts": [{"source": "/etc", "target": "/repo", "mode": "ro"}]}, "source"),
        ({"mounts": [{"source": "/root", "target": "/repo", "mode": "ro"}]}, "source"),
        ({"mounts": [{"source": "CLONES", "target": "/usr/lib", "mode": "ro"}]}, "target"),
        ({"mounts": [{"source": "CLONES", "target": "/a/../etc", "mode": "ro"}]}, "target"),
        ({"mounts": [{"source": "CLONES", "target": "/repo", "mode": "rw"}]}, "read-only"),
        ({"ca_bundle_path": "/etc/shadow"}, "ca_bundle_path"),
        ({"limits": {"processes": 10**9}}, "processes"),
        ({"session_id": "../x"}, "session_id"),
        ({"env": {"A\nB": "x"}}, "env"),
        ({"command": []}, "command"),
        ({"runtime_roots": ["/root"]}, "runtime_roots"),
    ],
)
def test_a_request_that_reaches_too_far_is_refused(
    packs: Instance, launch: Any, changes: dict[str, Any], says: str
) -> None:
    (packs.home / "clones" / "c").mkdir(exist_ok=True)
    if changes.get("mounts") and changes["mounts"][0]["source"] == "CLONES":
        changes = {"mounts": [changes["mounts"][0] | {"source": str(packs.home / "clones" / "c")}]}
    if "uid" in changes and os.geteuid() != 0:
        changes = {"uid": "none"}
        says = "uid"
    answer = launch(["true"], **changes).report()
    assert answer.get("refused") == "spec_refused", answer
    assert says in answer["message"]


@pytest.mark.capability("RUN-1")
def test_a_link_out_of_the_home_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "e").symlink_to("/etc")
    with pytest.raises(SpecRefused):
        inside(str(tmp_path / "envs" / "e"), (tmp_path / "envs",), "env_path")
    with pytest.raises(SpecRefused):
        read("text", Allowed(tmp_path, 200_000))
    with pytest.raises(SpecRefused):
        Limits.read({"memory_mb": True})


@pytest.mark.capability("RUN-1")
def test_only_the_platforms_user_may_ask(packs: Instance) -> None:
    """The control: this process, which is the platform's user here, is answered by the same request."""
    ask = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "try:\n    s.connect(sys.argv[1]); s.send(b'{\"op\": \"check\"}'); print(s.recv(4096).decode() or 'closed')\n"
        "except OSError as e:\n    print('closed')"
    )
    path = packs.home / "run" / "launcher.sock"
    ours = subprocess.run([sys.executable, "-c", ask, str(path)], capture_output=True, text=True, check=True)
    assert "seccomp" in ours.stdout
    if os.geteuid() == 0:
        # As if the file's mode had been opened by mistake: the peer's credentials still decide.
        os.chmod(path, 0o666)
        other = subprocess.run(
            ["/usr/bin/python3", "-c", ask, str(path)], capture_output=True, text=True, check=True, user=65534
        )
        os.chmod(path, 0o600)
        assert other.stdout.strip() == "closed"
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.capability("RUN-1")
def test_nothing_is_inherited_but_the_three_pipes(packs: Instance, launch: Any) -> None:
    started = launch(["sh", "-c", "ls /proc/self/fd; cat /proc/self/status"])
    words = started.output().split()
    assert words[:4] == ["0", "1", "2", "3"], "3 is ls looking at the folder"
    assert words[4] == "Name:", "a fourth descriptor"
    assert [words[words.index(name) + 1] for name in ("CapPrm:", "CapEff:", "CapBnd:", "CapAmb:")] == ["0" * 16] * 4
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    assert words[words.index("Seccomp:") + 1] == "2"


@pytest.mark.capability("RUN-1")
def test_each_pack_runs_as_the_uid_of_its_attachment(packs: Instance, launch: Any) -> None:
    """On the host, too: a file of one attachment is closed to another, and open to itself (the control)."""
    if os.geteuid() != 0:
        assert launch(["true"]).report()["isolation"]["uid_separated"] is False
        return
    theirs = packs.home / "envs" / "e1" / "theirs"
    theirs.write_text("private")
    os.chown(theirs, 200_902, 200_902)
    theirs.chmod(0o400)
    sleeping = launch(["sleep", "100"], uid=200_901).report()
    uids = next(line for line in Path(f"/proc/{sleeping['started']}/status").read_text().splitlines() if "Uid:" in line)
    assert uids.split()[1:] == ["200901"] * 4
    assert sleeping["isolation"]["uid_separated"] is True
    stranger, itself = launch(["cat", str(theirs)], uid=200_901), launch(["cat", str(theirs)], uid=200_902)
    assert (stranger.output(), itself.output()) == ("", "private")


def test_many_sessions_leave_no_zombie_no_descriptor_and_no_group(packs: Instance) -> None:
    launcher = packs.processes["launcher"].pid

    def once(how: int) -> None:
        started = Launched(packs, ["true"] if how % 2 else ["sleep", "100"])
        assert "started" in started.report()
        if how % 2:
            assert started.report()["exited"] == 0
        started.close()

    def left() -> tuple[int, int, int]:
        groups = sum(len(fnmatch.filter(names, f"worka-{launcher}-*")) for _, names, _ in os.walk("/sys/fs/cgroup"))
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        return len(os.listdir(f"/proc/{launcher}/fd")), len(children), groups

    once(0)
    time.sleep(0.3)
    before = left()
    groups_each = len(set(Cgroups()._bases.values()))
    for turn in range(30):
        once(turn)
    until = time.monotonic() + 5
    while left() != before and time.monotonic() < until:
        time.sleep(0.05)
    assert left() == before
    assert before[1:] == (SPARES, SPARES * groups_each), "only the spares, each in its groups"


def test_an_end_and_a_closed_connection_in_the_same_moment_do_not_stop_the_launcher(packs: Instance) -> None:
    """The launcher is stopped, so that it finds both events at once, then continued."""
    launcher = packs.processes["launcher"]
    for _ in range(5):
        bystander = Launched(packs, ["sleep", "100"])
        assert "started" in bystander.report()
        ending = Launched(packs, ["sh", "-c", "read line"])
        assert "started" in ending.report()
        launcher.send_signal(signal.SIGSTOP)
        ending.conn.close()
        os.write(ending.stdin, b"go\n")
        time.sleep(0.1)
        launcher.send_signal(signal.SIGCONT)
        after = Launched(packs, ["true"])
        assert "started" in after.report(), "the launcher stands"
        assert after.report()["exited"] == 0
        assert not select.select([bystander.conn], [], [], 0)[0], "another session was taken for the one that ended"
        for one in (after, bystander, ending):
            one.close()


@pytest.mark.capability("BRK-1", part="the sandbox's sockets")
def test_what_the_pack_dials_arrives_at_the_brokers_sockets_with_its_target(packs: Instance, launch: Any) -> None:
    """The broker's end of the handover, by hand: three sockets, one token, one byte."""
    path = packs.home / "run" / "broker-net.sock"
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)
    code = (
        "import socket\nfor a in ('1.1.1.1', '169.254.169.254'):\n    socket.create_connection((a, 443), 5).close()\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b'name?', ('127.0.0.1', 53))\n"
        "try:\n    socket.create_connection(('1.1.1.1', 8443), 5); print('OPEN')\nexcept OSError as e: print(e.errno)\n"
        "try:\n    socket.create_connection(('2606:4700::1111', 443), 5); print('OPEN')\nexcept OSError as e: print(e.errno)\n"
    )
    started = launch(["/usr/bin/python3", "-c", code], network=True, token="one-time")
    conn, _ = listener.accept()
    message, descriptors, _, _ = socket.recv_fds(conn, 4096, 8)
    assert json.loads(message) == {"session_id": "s1", "token": "one-time"}
    names, plain, secure = (socket.socket(fileno=fd) for fd in descriptors)
    assert (names.getsockname()[1], plain.getsockname()[1], secure.getsockname()[1]) == (53, 80, 443)
    # Before the broker says yes, nothing of the pack has been started.
    assert not select.select([started.conn], [], [], 0.3)[0]
    conn.send(b"k")
    assert "started" in started.report()
    targets = []
    secure.settimeout(10)
    for _ in range(2):
        accepted, _ = secure.accept()
        targets.append(accepted.getsockname()[0])
        accepted.close()
    names.settimeout(10)
    assert targets == ["1.1.1.1", "169.254.169.254"]
    assert names.recv(100) == b"name?"
    assert started.output().split() == [str(errno.ECONNREFUSED), str(errno.ENETUNREACH)]
    for sock in (names, plain, secure, conn, listener):
        sock.close()
    path.unlink()


@pytest.mark.capability("BRK-1", part="the sandbox's sockets")
def test_what_a_pack_on_a_kernel_of_its_own_dials_arrives_at_the_same_sockets(packs: Instance, launch: Any) -> None:
    test_what_the_pack_dials_arrives_at_the_brokers_sockets_with_its_target(packs, partial(launch, isolation="strong"))
    bundle = packs.home / "sessions" / "s1" / "ca.pem"
    bundle.parent.mkdir(parents=True, mode=0o755, exist_ok=True)
    bundle.write_text("the authority of this session")
    for isolation in ("shared", "strong"):
        started = launch(["cat", "/run/worka/ca.pem"], ca_bundle_path=str(bundle), isolation=isolation)
        assert started.report()["isolation"]["kernel"] == ("gvisor" if isolation == "strong" else "host")
        assert started.output() == "the authority of this session"


@pytest.mark.capability("BRK-1", part="the sandbox's sockets")
def test_without_the_broker_a_pack_with_network_is_not_started(packs: Instance, launch: Any) -> None:
    answer = launch(["true"], network=True, token="t").report()
    assert answer["refused"] == "broker_unavailable"


@pytest.mark.capability("RUN-6")
async def test_without_bubblewrap_nothing_runs_and_the_remedy_is_named() -> None:
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    hide = ["unshare", *flags, "sh", "-c", 'mount --bind /dev/null "$(command -v bwrap)" && exec "$@"', "sh"]
    with instance(wrapper=hide) as bare:
        session = await bare.session()
        outcome = await bare.run(session, "value = open('/etc/passwd').read()")
        status = await bare.client.status()
    assert outcome["reason"] == "sandbox_unavailable", "it ran bare"
    assert outcome["remedy"] == "apt-get install -y bubblewrap"
    assert status["isolation"]["driver"] == "none"


@pytest.mark.capability("RUN-6")
def test_without_user_namespaces_it_is_refused_with_the_command_that_allows_them() -> None:
    code = (
        "from worka.packs.sandbox.namespaces import StepFailed, new_user_and_network\n"
        "try:\n    new_user_and_network(); print('started')\nexcept StepFailed as e: print(e.reason, '|', e.remedy)"
    )
    step = [sys.executable, "-c", code]
    none_left = ["unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh"]
    control = subprocess.run(step, capture_output=True, text=True, check=True)
    refused = subprocess.run([*none_left, *step], capture_output=True, text=True, check=True)
    assert control.stdout == "started\n"
    assert refused.stdout.startswith("sandbox_unavailable | sysctl -w user.max_user_namespaces")


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Runs the filter as the kernel would; the classic BPF instructions that it uses, and no others."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(list(arguments) + [0] * 6)[:6])
    at = accumulator = 0
    while True:
        code, yes, no, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            return int(k)
        else:
            taken = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += yes if taken else no


@pytest.mark.capability("RUN-1")
@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", 0xC000003E, 0), ("aarch64", 0xC00000B7, 1)])
def test_the_filter_refuses_what_it_lists_and_nothing_else(machine: str, arch: int, column: int) -> None:
    program = seccomp.assemble(machine)

    def refused(number: int) -> int:
        return 0x00050000 | number

    denied = {numbers[column] for numbers in seccomp.DENIED.values()} - {None}
    special = {(56, 220)[column], (435, 435)[column], (16, 29)[column], (41, 198)[column]}
    for number in range(460):
        if number in special:
            continue
        assert verdict(program, arch, number) == (refused(errno.EPERM) if number in denied else ALLOW), number
    clone, clone3, ioctl, sock = (56, 220)[column], 435, (16, 29)[column], (41, 198)[column]
    assert verdict(program, arch, clone3) == refused(errno.ENOSYS)
    assert verdict(program, arch, clone, 0x01200011) == ALLOW, "fork"
    assert verdict(program, arch, clone, 0x003D0F00) == ALLOW, "a thread"
    for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x02000000, 0x04000000, 0x08000000):
        assert verdict(program, arch, clone, flag | 17) == refused(errno.EPERM), hex(flag)
    assert verdict(program, arch, ioctl, 0, 0x5401) == ALLOW
    assert verdict(program, arch, ioctl, 0, 0x5412) == refused(errno.EPERM)
    assert verdict(program, arch, ioctl, 0, 0xFFFFFFFF00005412) == refused(errno.EPERM), (
        "high bits are ignored by the kernel"
    )
    for family in range(46):
        expected = ALLOW if family in (1, 2, 10, 16) else refused(errno.EAFNOSUPPORT)
        assert verdict(program, arch, sock, family) == expected, family
    assert verdict(program, 0x40000003, 1) == KILL, "32-bit calls"
    if machine == "x86_64":
        assert verdict(program, arch, 0x40000000 | 165) == refused(errno.ENOSYS), "x32 calls"
