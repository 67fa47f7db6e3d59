"""What hostile code would ask of the kernel. Standard library only: it runs as it is inside a sandbox and outside of it.

    python probes.py NAME… -> one JSON object, name -> "done" or the name of the errno

Each probe really does the thing, on its own process, child or scratch folder, and takes it back where it can. Outside it
is run in namespaces of its own (see test_kernel.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# name -> (x86_64, aarch64)
NUMBERS = {
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435), "fsopen": (430, 430),
    "io_uring_setup": (425, 425), "kcmp": (312, 272), "keyctl": (250, 219), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pidfd_getfd": (438, 438), "pivot_root": (155, 41),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "request_key": (249, 218),
    "setns": (308, 268), "syslog": (103, 116), "userfaultfd": (323, 282),
}  # fmt: skip
_COLUMN = 0 if os.uname().machine == "x86_64" else 1
NAMESPACES = {
    "newns": 0x00020000, "newcgroup": 0x02000000, "newuts": 0x04000000, "newipc": 0x08000000, "newuser": 0x10000000,
    "newpid": 0x20000000, "newnet": 0x40000000, "newtime": 0x00000080,
}  # fmt: skip
PROBES: dict[str, Callable[[], Any]] = {}


def probe(what: Callable[[], Any]) -> Callable[[], Any]:
    PROBES[what.__name__] = what
    return what


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def call(name: str, *arguments: Any) -> int:
    """A system call by its name. Raises OSError."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(NUMBERS[name][_COLUMN], *given))


@contextlib.contextmanager
def child() -> Iterator[int]:
    """A process that sleeps, and is gone afterwards."""
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    try:
        yield pid
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(pid, 0)


def in_child(work: Callable[[], Any]) -> None:
    """Does it in a process of its own, for what would change this one. Raises OSError with its errno."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(254)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "refused")


def own_mounts() -> None:
    """A mount namespace of its own where that is allowed, so that outside of a sandbox nothing of it stays."""
    if libc.unshare(NAMESPACES["newns"]) == 0:
        checked(libc.mount(None, b"/", None, ctypes.c_ulong(1 << 18 | 1 << 14), None))


def scratch() -> str:
    return tempfile.mkdtemp(prefix="probe-")


def mounted(source: bytes | None, target: str, kind: bytes | None, flags: int) -> None:
    checked(libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), None))


# ---------------------------------------------------------------- mounts and roots


@probe
def mount_tmpfs() -> None:
    folder = scratch()
    mounted(b"none", folder, b"tmpfs", 0)
    checked(libc.umount2(folder.encode(), 2))


@probe
def mount_proc() -> None:
    folder = scratch()
    mounted(b"proc", folder, b"proc", 0)
    checked(libc.umount2(folder.encode(), 2))


@probe
def mount_bind() -> None:
    folder = scratch()
    mounted(b"/usr", folder, None, 4096)
    checked(libc.umount2(folder.encode(), 2))


@probe
def remount_writable() -> None:
    in_child(lambda: (own_mounts(), mounted(None, "/usr" if os.path.ismount("/usr") else "/", None, 32 | 4096)))


@probe
def umount_proc() -> None:
    in_child(lambda: (own_mounts(), checked(libc.umount2(b"/proc", 2))))


@probe
def pivot_root() -> None:
    def work() -> None:
        own_mounts()
        folder = scratch()
        mounted(b"none", folder, b"tmpfs", 0)
        os.mkdir(f"{folder}/old")
        call("pivot_root", folder.encode(), f"{folder}/old".encode())

    in_child(work)


@probe
def chroot() -> None:
    in_child(lambda: os.chroot(tempfile.gettempdir()))


@probe
def fsopen() -> None:
    os.close(call("fsopen", b"tmpfs", 0))


@probe
def open_tree() -> None:
    os.close(call("open_tree", -100, b"/", 1))


@probe
def mount_setattr() -> None:
    tree = struct.pack("QQQQ", 1, 0, 0, 0)  # read-only: what a test asks for harms nothing
    folder = scratch()

    def work() -> None:
        own_mounts()
        with contextlib.suppress(OSError):
            mounted(b"none", folder, b"tmpfs", 0)
        call("mount_setattr", -100, folder.encode(), 0, tree, len(tree))

    in_child(work)


# ---------------------------------------------------------------- namespaces


def _unshare(flag: int) -> Callable[[], None]:
    return lambda: in_child(lambda: checked(libc.unshare(flag)))


for _name, _flag in NAMESPACES.items():
    PROBES[f"unshare_{_name}"] = _unshare(_flag)


@probe
def clone_newuser() -> None:
    pid = call("clone", NAMESPACES["newuser"] | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe
def clone3_newuser() -> None:
    arguments = struct.pack("8Q", NAMESPACES["newuser"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = call("clone3", arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe
def setns() -> None:
    def work() -> None:
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            with open(f"/proc/{pid}/ns/net", "rb") as space:
                call("setns", space.fileno(), 0)
            return

    in_child(work)


@probe
def setns_pidfd() -> None:
    in_child(lambda: call("setns", os.pidfd_open(os.getppid() or 1), NAMESPACES["newnet"]))


@probe
def sethostname() -> None:
    checked(libc.sethostname(b"taken", 5))


# ---------------------------------------------------------------- kernel subsystems


@probe
def bpf_map() -> None:
    attributes = struct.pack("IIII", 2, 4, 4, 1) + bytes(112)
    os.close(call("bpf", 0, attributes, len(attributes)))


@probe
def bpf_program() -> None:
    code = ctypes.create_string_buffer(struct.pack("BBHi", 0xB7, 0, 0, 0) + struct.pack("BBHi", 0x95, 0, 0, 0))
    words = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(words)) + bytes(104)
    os.close(call("bpf", 5, attributes, len(attributes)))


@probe
def io_uring() -> None:
    os.close(call("io_uring_setup", 4, ctypes.create_string_buffer(120)))


@probe
def add_key() -> None:
    call("add_key", b"user", b"worka-probe", b"x", 1, -2)


@probe
def keyctl_session() -> None:
    call("keyctl", 0, -3, 1)


@probe
def request_key() -> None:
    in_child(
        lambda: (
            call("add_key", b"user", b"worka-probe", b"x", 1, -2),
            call("request_key", b"user", b"worka-probe", None, -2),
        )
    )


@probe
def userfaultfd() -> None:
    os.close(call("userfaultfd", os.O_CLOEXEC))


@probe
def perf_event_open() -> None:
    # software clock of this process, kernel and hypervisor excluded
    attributes = struct.pack("IIQQQQQ", 1, 128, 0, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(80)
    os.close(call("perf_event_open", attributes, 0, -1, -1, 0))


@probe
def kernel_log() -> None:
    call("syslog", 3, ctypes.create_string_buffer(4096), 4096)


@probe
def device_node() -> None:
    path = f"{scratch()}/disk"
    os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    os.unlink(path)


# ---------------------------------------------------------------- other processes


@probe
def ptrace_attach() -> None:
    with child() as pid:
        call("ptrace", 16, pid, 0, 0)
        os.waitpid(pid, 0)
        call("ptrace", 17, pid, 0, 0)


@probe
def ptrace_traceme() -> None:
    in_child(lambda: call("ptrace", 0, 0, 0, 0))


def _vectors() -> tuple[bytes, Any, bytes]:
    here, there = ctypes.create_string_buffer(8), ctypes.create_string_buffer(b"memory!!")
    local = struct.pack("QQ", ctypes.addressof(here), 8)
    return local, (here, there), struct.pack("QQ", ctypes.addressof(there), 8)


@probe
def process_vm_readv() -> None:
    local, (here, _there), remote = _vectors()
    with child() as pid:
        call("process_vm_readv", pid, local, 1, remote, 1, 0)
    assert here.raw == b"memory!!"


@probe
def process_vm_writev() -> None:
    local, _keep, remote = _vectors()
    with child() as pid:
        call("process_vm_writev", pid, local, 1, remote, 1, 0)


@probe
def pidfd_getfd() -> None:
    with child() as pid:
        os.close(call("pidfd_getfd", os.pidfd_open(pid), 1, 0))


@probe
def kcmp() -> None:
    with child() as pid:
        call("kcmp", os.getpid(), pid, 0, 0, 1)


@probe
def open_by_handle() -> None:
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    call("name_to_handle_at", -100, tempfile.gettempdir().encode(), handle, ctypes.byref(ctypes.c_int()), 0)
    os.close(call("open_by_handle_at", folder, handle, os.O_RDONLY))


# ---------------------------------------------------------------- terminals, sockets, kernel files


@probe
def tiocsti() -> None:
    _master, slave = os.openpty()

    def work() -> None:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)
        fcntl.ioctl(slave, 0x5412, b"x")

    in_child(work)


def _socket(family: int, kind: int, protocol: int = 0) -> Callable[[], None]:
    return lambda: socket.socket(family, kind, protocol).close()


PROBES["packet_socket"] = _socket(17, socket.SOCK_RAW, 0x0300)
PROBES["vsock_socket"] = _socket(40, socket.SOCK_STREAM)
PROBES["raw_socket"] = _socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@probe
def add_address() -> None:
    # RTM_NEWADDR of 192.0.2.77 on lo
    message = struct.pack("BBBBI", 2, 32, 0, 0, 1) + struct.pack("HH4s", 8, 2, bytes([192, 0, 2, 77]))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.bind((0, 0))
        route.send(struct.pack("IHHII", 16 + len(message), 20, 0x605, 1, 0) + message)
        answer = route.recv(4096)
    number = -struct.unpack_from("i", answer, 16)[0]
    if number not in (0, errno.EEXIST):
        raise OSError(number, "refused")


def _opened(path: str) -> Callable[[], None]:
    return lambda: os.close(os.open(path, os.O_WRONLY))


for _name, _path in {
    "write_core_pattern": "/proc/sys/kernel/core_pattern",
    "write_ip_forward": "/proc/sys/net/ipv4/ip_forward",
    "write_sys": "/sys/kernel/profiling",
    "open_kmsg": "/dev/kmsg",
}.items():
    PROBES[_name] = _opened(_path)


@probe
def make_cgroup() -> None:
    for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        if os.path.isdir(base):
            folder = f"{base}/worka-hostile-probe-{os.getpid()}"
            os.mkdir(folder)
            os.rmdir(folder)
            return
    raise OSError(errno.ENOENT, "no control groups")


@probe
def leave_cgroup() -> None:
    for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        if os.path.exists(f"{base}/cgroup.procs"):
            in_child(lambda base=base: Path(f"{base}/cgroup.procs").write_text(str(os.getpid())))
            return
    raise OSError(errno.ENOENT, "no control groups")


def run(names: list[str]) -> dict[str, str]:
    """Each probe's outcome."""
    found = {}
    for name in names:
        try:
            PROBES[name]()
            found[name] = "done"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error))
    return found


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1:] or list(PROBES))))
