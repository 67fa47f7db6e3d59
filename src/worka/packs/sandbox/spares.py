"""Children of the launcher that wait for a pack: forked, rehearsed and in their control groups before one is asked for.

Forking a Python process, its first writes to the pages that it shares, and new control groups take as long as
bubblewrap itself, and nothing of it depends on which pack it will be. A spare serves one pack, and is nobody's before.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from worka.packs.sandbox import namespaces
from worka.packs.sandbox.cgroups import Group
from worka.packs.sandbox.namespaces import StepFailed
from worka.packs.sandbox.spec import Bind, LaunchSpec, Limits, bwrap_arguments

MAX_MESSAGE = 512 * 1024
_FAILED = 111


@dataclass(frozen=True)
class Box:
    """What is the same for every pack of a launcher."""

    bwrap: str
    etc: Path
    filter_program: bytes
    separate_uid: bool
    runsc: str = ""
    """gVisor's runtime, for packs that need a kernel of their own; empty where it is not installed."""
    runc: str = ""
    """A container engine's runtime, where the deployment starts packs by it; empty where it is not installed."""


@dataclass(eq=False)
class Spare:
    """The launcher's end of one."""

    pid: int
    pidfd: int
    group: Group
    conn: socket.socket

    def hand_over(self, spec: LaunchSpec, standard: list[int], status: int, broker: socket.socket | None) -> None:
        """Gives it its pack, and is done with it. Raises OSError: it is no more, or the request is too long."""
        descriptors = [*standard, status, *([broker.fileno()] if broker is not None else [])]
        try:
            socket.send_fds(self.conn, [json.dumps(spec.as_dict()).encode()], descriptors)
        finally:
            self.conn.close()


def make(box: Box, group: Group) -> Spare:
    """Forks one into this group. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
            pid = os.fork()
            if pid == 0:
                _wait(box, group, theirs)
        except BaseException:
            ours.close()
            raise
    try:
        return Spare(pid, os.pidfd_open(pid), group, ours)
    except BaseException:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _wait(box: Box, group: Group, conn: socket.socket) -> NoReturn:
    """In the child: becomes the pack that it is told, or ends with the launcher."""
    status = -1
    try:
        gc.disable()
        failed: Exception | None = None
        try:
            # What the launcher holds, other sessions' connections above all, must not stay open in here.
            os.closerange(3, conn.fileno())
            os.closerange(conn.fileno() + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            namespaces.stand_ready(group)
            _rehearse(box)
        except Exception as error:
            failed = error  # told to whoever wants this pack
        message, descriptors, flags, _ = socket.recv_fds(conn, MAX_MESSAGE, 8)
        if not message:
            os._exit(0)
        *standard, status = descriptors[:4]
        if failed is not None:
            raise failed
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise StepFailed("The launcher's own message was cut.")
        broker = socket.socket(fileno=descriptors[4]) if len(descriptors) > 4 else None
        namespaces.become_pack(
            LaunchSpec.of(json.loads(message)),
            bwrap=box.bwrap,
            etc=box.etc,
            filter_program=box.filter_program,
            group=group,
            broker=broker,
            standard=standard,
            status=status,
            separate_uid=box.separate_uid,
            runsc=box.runsc,
            runc=box.runc,
        )
    except StepFailed as error:
        failure = {"failed": error.reason, "message": error.message, "remedy": error.remedy}
    except BaseException as error:
        failure = {"failed": "sandbox_unavailable", "message": f"{type(error).__name__}: {error}", "remedy": ""}
    with contextlib.suppress(OSError):
        os.write(status, json.dumps(failure).encode() + b"\n")
    os._exit(_FAILED)


def _rehearse(box: Box) -> None:
    """Goes through the part that does nothing, so that the pages it writes to are this process's own already."""
    spec = LaunchSpec("rehearsal", "", 0, ["x"], {"X": "x"}, "/x", [Bind("/x", "/x")], Limits(), network=False)
    read = LaunchSpec.of(json.loads(json.dumps(spec.as_dict()).encode()))
    arguments = bwrap_arguments(read, etc=box.etc, seccomp_fd=0, status_fd=0, unshare_net=True)
    for content in (box.filter_program, "\0".join(arguments).encode()):
        os.close(namespaces.filled("rehearsal", content))
