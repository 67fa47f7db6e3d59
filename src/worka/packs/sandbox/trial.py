"""What a sandbox needs of this machine, tried for real and then taken away again: for `worka doctor`.

Each trial takes the steps that the launcher takes, in a forked child, so that it fails where a pack would.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worka.packs.sandbox import etc, netlink, seccomp
from worka.packs.sandbox.cgroups import Cgroups, Group
from worka.packs.sandbox.namespaces import (
    StepFailed,
    become_pack,
    drop_to,
    hand_to_broker,
    new_user_and_network,
    stand_ready,
)
from worka.packs.sandbox.spec import LaunchSpec, Limits

SEARCH: Final = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin"
NOBODY: Final = 65534
SECONDS: Final = 15.0
NAME: Final = "doctor.worka.test"
# Any address is local to a sandbox's network; this one is of the range for benchmarks (RFC 2544) and nobody's.
ADDRESS: Final = "198.18.0.1"
CONTROLLERS: Final = ("memory", "pids", "cpu")
MEMORY_MB: Final = 64


@dataclass(frozen=True)
class Bubblewrap:
    """`path` None: not installed; `refused`: why it did not start a sandbox; `filter`: there is one for this machine."""

    path: str | None
    version: str = ""
    refused: str = ""
    filter: bool = True


@dataclass(frozen=True)
class Groups:
    """The driver, what is `broken` about it, and the controllers that are not ours to use."""

    driver: str
    broken: str = ""
    missing: list[str] = field(default_factory=list)
    refused: str = ""
    """Why they are missing, where the kernel said so."""


@dataclass(frozen=True)
class WayOut:
    """`refused`: where the way to the broker ended; `leaked`: what got through that must not."""

    refused: str = ""
    remedy: str = ""
    leaked: str = ""
    milliseconds: float = 0.0


def bubblewrap() -> Bubblewrap:
    """Starts `/bin/true` with every flag, limit and the filter that a pack gets."""
    path = shutil.which("bwrap", path=SEARCH)
    if path is None:
        return Bubblewrap(None)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not seccomp.supported():
        return Bubblewrap(path, version, filter=False)
    spec = _spec()
    with tempfile.TemporaryDirectory(prefix="worka-doctor-") as folder:
        os.chmod(folder, 0o755)
        place = etc.make(Path(folder))
        program = seccomp.assemble()

        def start(out: int) -> None:
            null = os.open("/dev/null", os.O_RDWR)
            group = Group("rlimits")
            stand_ready(group)
            become_pack(
                spec, bwrap=path, etc=place, filter_program=program, group=group, broker=None,
                standard=[null, null, out], status=os.dup(null), separate_uid=os.geteuid() == 0,
            )  # fmt: skip

        said, code = _child(start)
    if code == 0:
        return Bubblewrap(path, version)
    return Bubblewrap(path, version, refused=_failure(said)[0] or f"it ended with {code}")


def _spec(session_id: str = "trial", token: str = "") -> LaunchSpec:
    """What is started: the smallest program there is, under the limits of a pack that names none."""
    return LaunchSpec(
        session_id=session_id, token=token, uid=NOBODY, command=["/bin/true"], env={}, env_path="/usr/bin", binds=[],
        limits=Limits.read({}), network=False,
    )  # fmt: skip


def namespaces() -> str:
    """Why a process without rights gets no user and network namespace; empty when it does."""

    def unshare(out: int) -> None:
        _lose_rights()
        new_user_and_network()
        netlink.loopback_up()
        os._exit(0)

    said, code = _child(unshare)
    return "" if code == 0 else _failure(said)[0] or f"the trial ended with {code}"


def namespace_limit() -> str:
    """How many the kernel gives, in words."""
    try:
        return f"up to {int(Path('/proc/sys/user/max_user_namespaces').read_text())}"
    except (OSError, ValueError):
        return "without a limit that can be read"


def control_groups() -> Groups:
    """Makes a group with limits, reads them back, and removes it."""
    groups = Cgroups()
    missing = [name for name in CONTROLLERS if name not in groups._bases]
    if not groups._bases:
        return Groups("rlimits", missing=missing, refused=groups.refused)
    try:
        group = groups.make(f"{os.getpid()}-doctor")
    except OSError as error:
        return Groups(groups.describe, broken=f"no group can be made: {error}")
    try:
        try:
            groups.limit(group, memory_mb=MEMORY_MB, processes=8, cpus=1.0)
        except OSError as error:
            return Groups(groups.describe, broken=f"no limit can be set: {error}")
        folder = group.folders.get("memory")
        if folder is not None:
            name = "memory.max" if groups.driver == "v2" else "memory.limit_in_bytes"
            found = (folder / name).read_text().strip()
            if found != str(MEMORY_MB << 20):
                return Groups(groups.describe, broken=f"a limit of {MEMORY_MB} MiB reads back as {found} bytes")
    finally:
        group.remove()
    return Groups(groups.describe, missing=missing, refused=groups.refused)


def reported(told: Mapping[str, Any]) -> Groups:
    """The same of what a launcher says is in force for the packs that it starts."""
    driver, _, controllers = str(told["cgroup"]).partition(":")
    missing = [name for name in CONTROLLERS if name not in controllers.split(",")]
    return Groups(
        str(told["cgroup"]) if controllers else driver, missing=missing, refused=str(told.get("refused") or "")
    )


def way_out(net_socket: Path, session_id: str, token: str) -> WayOut:
    """Goes the way of a pack's first request: a network of its own, its doors in the broker's hands, a name, a request.
    Outside of a call the broker refuses both, and says why."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.settimeout(5)
        control.connect(str(net_socket))
    except OSError as error:
        control.close()
        return WayOut(refused=f"the broker's socket for sandboxes does not answer: {error}")

    def walk(out: int) -> None:
        _lose_rights()
        new_user_and_network()
        netlink.loopback_up()
        netlink.every_address_local()
        hand_to_broker(control, _spec(session_id, token))
        began = time.perf_counter()
        told: dict[str, Any] = {"name": _ask_name(), "request": _ask_page()}
        told["ms"] = (time.perf_counter() - began) * 1000
        os.write(out, json.dumps(told).encode())
        os._exit(0)

    said, code = _child(walk)
    control.close()
    if code != 0:
        message, remedy = _failure(said)
        return WayOut(refused=message or f"the trial ended with {code}", remedy=remedy)
    told = json.loads(said)
    if told["name"] != "refused":
        return WayOut(leaked=f"the name {NAME} got the answer {told['name']!r}")
    if "no_active_invocation" not in told["request"] or " 403 " not in told["request"].splitlines()[0]:
        return WayOut(leaked=f"a request got the answer {told['request'][:120]!r}")
    return WayOut(milliseconds=told["ms"])


def _ask_name() -> str:
    """`refused`, or what came instead."""
    question = b"".join(bytes([len(label)]) + label for label in NAME.encode().split(b".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1), ("127.0.0.1", 53))
        answer = sock.recv(512)
    code, addresses = answer[3] & 0x0F, struct.unpack_from(">H", answer, 6)[0]
    # An undeclared name does not exist here (3), or is refused (5).
    return "refused" if code in (3, 5) and addresses == 0 else f"code {code}, {addresses} addresses"


def _ask_page() -> str:
    """The answer's first bytes as text."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect((ADDRESS, 80))
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while len(got) < 8192 and (data := sock.recv(4096)):
            got += data
    return got.decode("latin-1")


def _lose_rights() -> None:
    if os.geteuid() == 0:
        drop_to(NOBODY)


def _child(work: Callable[[int], None]) -> tuple[bytes, int]:
    """(what it said, its exit code) of a forked child that runs `work(out)`; killed when it takes too long."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.set_inheritable(write, True)
            work(write)
        except StepFailed as error:
            _say(write, {"failed": error.message, "remedy": error.remedy})
        except BaseException as error:
            _say(write, {"failed": f"{type(error).__name__}: {error}", "remedy": ""})
        os._exit(111)
    os.close(write)
    said, until = b"", time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            ready, _, _ = select.select([read], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(read, 65_536) if ready else b""
            if not chunk:
                break
            said += chunk
        if time.monotonic() >= until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(read)
        _, status = os.waitpid(pid, 0)
    return said, os.waitstatus_to_exitcode(status)


def _say(out: int, what: dict[str, str]) -> None:
    with contextlib.suppress(OSError):
        os.write(out, b"\n" + json.dumps(what).encode())


def _failure(said: bytes) -> tuple[str, str]:
    """(message, remedy) of what a child said last: a step of ours, or bubblewrap's own words."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return "", ""
    try:
        told = json.loads(lines[-1])
    except ValueError:
        return lines[-1][:300], ""
    return str(told.get("failed", "")), str(told.get("remedy", ""))
