"""This machine: what it is, what processes cost on it, and its floors (what no program can go below here)."""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg

PAYLOAD = b"x" * 256
_TICK = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """What a reader needs to place the figures."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(_read("/proc/meminfo").split()[1]) // 1024 // 1024
    system = next(
        (
            line.split("=", 1)[1].strip('"')
            for line in _read("/etc/os-release").splitlines()
            if line.startswith("PRETTY_NAME=")
        ),
        platform.system(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "system": system,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "ordinary",
    }


def line(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['system']}, "
        f"kernel {machine['kernel']}, Python {machine['python']}, {machine['user']}"
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor time used so far by these processes and all that descend from them, the reaped ones included."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        # After the command's name, which may hold anything: state, parent, …; fields 14 to 17 are the times (proc(5)).
        fields = _read(f"/proc/{entry}/stat").rpartition(")")[2].split()
        if len(fields) > 15:
            children.setdefault(int(fields[1]), []).append(int(entry))
            used[int(entry)] = sum(int(value) for value in fields[11:15])
    total, todo, seen = 0, list(roots), set()
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.add(pid)
            total += used.get(pid, 0)
            todo += children.get(pid, [])
    return total / _TICK


def floors(url: str, *, quick: bool = False) -> dict[str, float]:
    """Medians in milliseconds. `url`: the administrator's login of the PostgreSQL that the benchmark uses."""
    few, many = (20, 50) if quick else (150, 1000)
    return {**database_floors(url, few, many), "loopback_echo": _echo(many), **_processes(few, many)}


def administrator(home: Path) -> str:
    """The libpq string of the embedded cluster's administrator: the judge, never the road under test."""
    known = json.loads((home / "admin" / "database.json").read_text())
    return f"host={known['host']} port={known['port']} user=postgres password={known['admin']} dbname=worka"


def _median(act: Callable[[], Any], times: int) -> float:
    for _ in range(max(3, times // 10)):
        act()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        found.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(found), 4)


def database_floors(url: str, few: int, many: int) -> dict[str, float]:
    """Of `floors` those that are PostgreSQL's: medians in milliseconds, of `few` commits and `many` round trips."""
    with psycopg.connect(url, autocommit=True) as conn:
        trip = _median(lambda: conn.execute("select 1").fetchone(), many)
        # Not a temporary table: that one writes no log, and its commit waits for nothing.
        conn.execute("create table if not exists public.benchmark_floor (content text)")
        commit = _median(lambda: conn.execute("insert into public.benchmark_floor values ('x')"), few)
        conn.execute("drop table public.benchmark_floor")
    return {"durable_commit": commit, "sql_round_trip": trip}


def _echo(times: int) -> float:
    """A small message to a process-local server on loopback and back, over a connection that stays."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        conn, _ = listener.accept()
        with conn:
            while data := conn.recv(4096):
                conn.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    with listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def trip() -> None:
            client.sendall(PAYLOAD)
            got = 0
            while got < len(PAYLOAD):
                got += len(client.recv(4096))

        return _median(trip, times)


def _processes(few: int, many: int) -> dict[str, float]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        wire, answer = cat.stdin.fileno(), cat.stdout.fileno()

        def trip() -> None:
            os.write(wire, PAYLOAD + b"\n")
            got = 0
            while got <= len(PAYLOAD):
                got += len(os.read(answer, 4096))

        stdio = _median(trip, many)
        cat.stdin.close()

    def spawn() -> None:
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)

    return {"stdio_round_trip": stdio, "fork_and_exec": _median(spawn, few)}


FLOOR_WORDS = {
    "durable_commit": "one durable commit",
    "sql_round_trip": "one SQL round trip",
    "loopback_echo": "one loopback echo of 256 B",
    "stdio_round_trip": "one warm stdio round trip of 256 B",
    "fork_and_exec": "fork and exec",
}
