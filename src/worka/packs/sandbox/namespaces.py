"""The road from a forked launcher to bubblewrap: group, uid, namespaces, doors, limits, exec. In the child only."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
from pathlib import Path

from worka.packs.sandbox import gvisor, netlink, oci
from worka.packs.sandbox.cgroups import Group
from worka.packs.sandbox.spec import LaunchSpec, bwrap_arguments
from worka.packs.sandbox.tiers import TIERS

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWNS = 0x10000000, 0x40000000, 0x00020000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_BROKER_SECONDS = 5.0
_NO_BROKER = ("worka doctor", "broker_unavailable")
# After closing everything else only these are left: the standard three, then what bubblewrap reads and writes.
_STATUS, _SECCOMP, _ARGUMENTS, _FIRST_CLOSED = 3, 4, 5, 6

# Loaded before any fork: a child of a process with root should not look for libraries.
_libc = ctypes.CDLL(None, use_errno=True)


class StepFailed(Exception):
    """A step did not work; (reason, message, remedy) are shown."""

    def __init__(self, message: str, remedy: str = "", reason: str = "sandbox_unavailable") -> None:
        super().__init__(message)
        self.message, self.remedy, self.reason = message, remedy, reason


def drop_to(uid: int) -> None:
    """Gives up root for good: groups, gid, uid, in the order in which each is still allowed."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Changing uid made /proc/self belong to root; the uid map below must be writable by this process.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def new_user_and_network(*, mounts: bool = False) -> None:
    """A user namespace (we are 0 in it) that owns a new, empty network namespace, and with `mounts` a mount namespace too.
    Raises StepFailed."""
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | (_CLONE_NEWNS if mounts else 0)) != 0:
        number = ctypes.get_errno()
        raise StepFailed(
            f"The kernel refused a user namespace: {os.strerror(number)}.",
            "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 "
            "kernel.apparmor_restrict_unprivileged_userns=0",
        )
    for name, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)


def hand_to_broker(control: socket.socket, spec: LaunchSpec) -> None:
    """Passes the three doors, in the order 53/udp, 80, 443, and waits until the broker holds them. Raises StepFailed.

    One message of JSON {session_id, token} with the descriptors; one byte says yes, an end says no.
    """
    doors = netlink.door_sockets()
    body = json.dumps({"session_id": spec.session_id, "token": spec.token}).encode()
    control.settimeout(_BROKER_SECONDS)
    try:
        socket.send_fds(control, [body], [door.fileno() for door in doors])
        answer = control.recv(1)
    except OSError as error:
        raise StepFailed(f"The broker did not take the sandbox's sockets: {error}.", *_NO_BROKER) from error
    finally:
        for door in doors:
            door.close()
        control.close()
    if not answer:
        raise StepFailed("The broker refused the sandbox's sockets: it does not know this session.", *_NO_BROKER)


def set_limits(spec: LaunchSpec, grouped: Group) -> None:
    """Resource limits of every process of the pack; where there is no control group they are all there is."""
    limits = spec.limits
    megabyte = 1024 * 1024
    wanted = {
        # A core dump would write the pack's memory to the host. One byte is too little for a file, and, unlike nothing,
        # it also keeps the kernel from running a collector (core(5)).
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_FSIZE: limits.disk_mb * megabyte,
        resource.RLIMIT_CPU: limits.cpu_seconds,
    }
    if "memory" not in grouped.folders:
        wanted[resource.RLIMIT_DATA] = limits.memory_mb * megabyte
    if "pids" not in grouped.folders:
        # Inside the new user namespace this counts the pack's own processes, not the user's others; 3 are bubblewrap's.
        wanted[resource.RLIMIT_NPROC] = limits.processes + 3
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def stand_ready(group: Group) -> None:
    """What a forked launcher needs before it can become any pack: ordinary signals, its group, an end with the launcher's.
    Raises OSError."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    group.enter()


def become_pack(
    spec: LaunchSpec,
    *,
    bwrap: str,
    etc: Path,
    filter_program: bytes,
    group: Group,
    broker: socket.socket | None,
    standard: list[int],
    status: int,
    separate_uid: bool,
    runsc: str = "",
    runc: str = "",
) -> None:
    """After `stand_ready`. Never returns normally: replaces this forked process by bubblewrap, by a container engine's runtime
    where that starts packs, or by gVisor's where the pack needs a kernel of its own. Raises StepFailed or OSError before
    that."""
    strong = spec.isolation == TIERS[0]
    container = spec.runtime == "container" and not strong
    if separate_uid:
        if container:
            os.fchown(status, spec.uid, spec.uid)  # the runtime opens it once more, by its name in /proc
        drop_to(spec.uid)
    # After the uid: a change of credentials clears it. The launcher's death must take even a half-made sandbox along.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Doors for the broker are made in a network of ours, before bubblewrap; without doors bubblewrap makes the network
    # itself, and one user namespace fewer is built. Where no control group counts processes, ours must count them.
    ours = strong or container or broker is not None or "pids" not in group.folders
    if ours:
        new_user_and_network(mounts=strong or container)
        netlink.loopback_up()
    if broker is not None:
        netlink.every_address_local()
        hand_to_broker(broker, spec)
    os.umask(0o022)
    if strong:
        _become_gvisor(spec, runsc, etc, standard, status)
    if container:
        _become_container(spec, runc, etc, standard, status)

    arguments = bwrap_arguments(spec, etc=etc, seccomp_fd=_SECCOMP, status_fd=_STATUS, unshare_net=not ours)
    # Copies far above the places they end up in, so that no dup2 below overwrites one that is still to be placed.
    high = [os.dup(fd) for fd in (*standard, status)]
    high += [filled("seccomp", filter_program), filled("arguments", "\0".join(arguments).encode() + b"\0")]
    high = [_above(fd) for fd in high]
    for place, fd in enumerate(high):
        os.dup2(fd, place, inheritable=True)
    # Bubblewrap passes inherited descriptors through to the pack.
    os.closerange(_FIRST_CLOSED, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    os.closerange(_FIRST_CLOSED, 65_536)
    # Last: what is arranged above takes more descriptors than a pack may be left.
    set_limits(spec, group)
    # Options travel in a memfd: a command line is readable by every user of the host.
    os.execve(bwrap, [bwrap, "--args", str(_ARGUMENTS), "--", *spec.command], {})  # noqa: S606


def _become_gvisor(spec: LaunchSpec, runsc: str, etc: Path, standard: list[int], status: int) -> None:
    """Replaces this process by runsc, whose exit code is the pack's. Raises OSError before that."""
    where = gvisor.place(spec, (runsc, str(etc)))
    gvisor.bundle(spec, etc, where)
    for number, fd in enumerate([_above(fd) for fd in standard]):
        os.dup2(fd, number, inheritable=True)
    # The way to say that runsc cannot be started: starting it closes it, which says that it could.
    os.set_inheritable(status, False)
    os.closerange(3, status)
    os.closerange(status + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    os.closerange(status + 1, 65_536)
    # Files, processes and the size of a file are the pack's own kernel's to bound; it needs more of them itself.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    resource.setrlimit(resource.RLIMIT_CPU, (spec.limits.cpu_seconds, spec.limits.cpu_seconds))
    # In bubblewrap's words, so that there is one reader of them; runsc says no more than its exit code.
    os.write(status, json.dumps({"child-pid": os.getpid()}).encode() + b"\n")
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(where)}
    os.execve(runsc, gvisor.arguments(where, network=spec.network), environ)  # noqa: S606


def _become_container(spec: LaunchSpec, runc: str, etc: Path, standard: list[int], status: int) -> None:
    """Replaces this process by runc, whose exit code is the pack's. Raises OSError before that."""
    where = gvisor.place(spec, (runc, str(etc)))
    gvisor.bundle(spec, etc, where, oci.config)
    for number, fd in enumerate([_above(fd) for fd in (*standard, status)]):
        os.dup2(fd, number, inheritable=True)
    os.closerange(_STATUS + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    os.closerange(_STATUS + 1, 65_536)
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    os.write(_STATUS, json.dumps({"child-pid": os.getpid()}).encode() + b"\n")
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(where), "GOMAXPROCS": "1"}
    os.execve(runc, oci.arguments(where, _STATUS), environ)  # noqa: S606


def filled(name: str, content: bytes) -> int:
    """A descriptor to read this content from."""
    fd = os.memfd_create(f"worka-{name}")
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _above(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32)
