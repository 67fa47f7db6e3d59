"""Workers that tests start, for the price of a fork: a process that has the role's program in memory, and a child of it for each.

A child has a pid, environment, folder and descriptors of its own, can be killed or stopped, and ends with its own exit code: what
it spares is the interpreter's start and the imports, two seconds of a core each time. The processes of a whole instance
(`worka up`) are started as the product starts them, and never here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

KEEPING = """
import gc, importlib, json, os, signal, socket, sys, traceback
place, module = sys.argv[1:]
program = importlib.import_module(module)
# A thread or a descriptor of the imports would not be the child's own.
assert len(os.listdir("/proc/self/task")) == 1, "the imports have started a thread"
opened = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
assert len(opened) == 1, f"the imports hold something open: {opened}"  # the folder that is being read
gc.freeze()

def run(env, out):
    ended = 1
    try:
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(env)
        os.chdir("/")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 1)
        os.dup2(1, 2)
        os.closerange(3, 16)
        sys.argv = [program.__file__]
        program.main()
        ended = 0
    except SystemExit as end:
        ended = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(ended)

def watch(asked):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    door.close()
    given = json.loads(asked.makefile().readline())
    child = os.fork()
    if not child:
        run(**given)
    asked.sendall(b"%d\\n" % child)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        asked.sendall(b"%d\\n" % ended)
    except OSError:
        pass  # nobody asks any more
    os._exit(0)

door = socket.socket(socket.AF_UNIX)
door.bind(place)
door.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever watches a child ends by itself
print("ready", flush=True)
while True:
    asked, _ = door.accept()
    if not os.fork():
        watch(asked)
    asked.close()
"""


class Forked:
    """A running child, with what tests use of `subprocess.Popen`."""

    def __init__(self, place: Path, env: Mapping[str, str], out: Path) -> None:
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.connect(str(place))
        self._asked.sendall(json.dumps({"env": dict(env), "out": str(out)}).encode() + b"\n")
        self._read = b""
        self.returncode: int | None = None
        pid = self._line(20)
        assert pid is not None, "no child was forked"
        self.pid = int(pid)

    def _line(self, seconds: float) -> bytes | None:
        """The next line, within that time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            self._asked.settimeout(max(deadline - time.monotonic(), 0.0))
            try:
                more = self._asked.recv(64)
            except (BlockingIOError, TimeoutError):
                return None
            assert more, "whoever watched the child is gone"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line

    def poll(self) -> int | None:
        """The exit code, once it has ended; minus the signal's number if one ended it."""
        if self.returncode is None and (line := self._line(0)) is not None:
            self.returncode = int(line)
            self._asked.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code, within that time."""
        if self.returncode is None:
            line = self._line(timeout)
            if line is None:
                raise subprocess.TimeoutExpired([f"process {self.pid}"], timeout)
            self.returncode = int(line)
            self._asked.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_kept: dict[str, tuple[subprocess.Popen[str], Path]] = {}
_turn = threading.Lock()


def start(module: str, env: Mapping[str, str], out: Path) -> Forked:
    """What `python -m MODULE` would begin, in the root folder; what it writes is added to a file."""
    with _turn:
        if module not in _kept:
            _kept[module] = _begun(module)
        folder = _kept[module][1]
    return Forked(folder / "door", env, out)


def _begun(module: str) -> tuple[subprocess.Popen[str], Path]:
    folder = Path(tempfile.mkdtemp(prefix="role-"))  # a unix socket's path is short
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(folder / "door"), module],
        env={key: value for key, value in os.environ.items() if not key.startswith("WORKA_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        _end(process, folder)
        raise AssertionError(f"{module} cannot be kept in memory: see standard error")
    return process, folder


def _end(process: subprocess.Popen[str], folder: Path) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        with contextlib.suppress(OSError):
            process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


@atexit.register
def _let_go() -> None:
    while _kept:
        _end(*_kept.popitem()[1])
