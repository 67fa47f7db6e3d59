"""A test's own program in a process of its own, which a failpoint may kill: what a killed process leaves is real.

Its imports are most of such a run, and a file of tests runs one program many times: so a process that has made them is kept, and
each run is a child forked from it, with a pid, an environment and descriptors of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PIPE = asyncio.subprocess.PIPE
FORKING = """
import ast, json, os, select, signal, socket, sys, traceback
place, program = json.loads(sys.stdin.readline())
for node in ast.parse(program).body:
    if isinstance(node, ast.Import | ast.ImportFrom):
        exec(compile(ast.Module([node], []), "<imports>", "exec"), {})
code = compile(program, "<program>", "exec")

def run(told, env, err):
    ended = 1
    try:
        os.environ.clear()
        os.environ.update(env)
        given = os.memfd_create("told")
        with open(given, "wb", closefd=False) as file:
            file.write(told.encode())
        os.lseek(given, 0, os.SEEK_SET)
        for number, file in ((0, given), (1, os.open(os.devnull, os.O_WRONLY)), (2, os.open(err, os.O_WRONLY))):
            os.dup2(file, number)
        sys.stdin = open(0, closefd=False)
        exec(code, {"__name__": "__main__"})
        ended = 0
    except SystemExit as end:
        ended = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(ended)

def wait(asked):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    door.close()
    given = json.loads(asked.makefile().readline())
    child = os.fork()
    if not child:
        asked.close()
        run(**given)
    asked.sendall(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)

door = socket.socket(socket.AF_UNIX)
door.bind(place)
door.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever waits for a run ends by itself
print("ready", flush=True)
while sys.stdin not in (ready := select.select([door, sys.stdin], [], [])[0]):  # until the tests are over
    asked, _ = door.accept()
    if not os.fork():
        wait(asked)
    asked.close()
"""


@dataclass
class Kept:
    """The process that has made a program's imports."""

    program: str
    process: subprocess.Popen[str]
    folder: Path

    def end(self) -> None:
        """Ends it; runs that are under way end by themselves."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_kept: list[Kept] = []
"""The one of the file of tests that runs now."""


def _env(failpoint: str | None) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_FAILPOINT")}
    env["WORKA_TESTING"] = "1"
    env["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)])
    return env | ({"WORKA_FAILPOINT": failpoint} if failpoint else {})


async def start(program: str, failpoint: str | None = None) -> asyncio.subprocess.Process:
    """The text of a program, begun: it can import what this process can, and the tests. All its streams are pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_env(failpoint)
    )


@atexit.register
def _let_go() -> None:
    while _kept:
        _kept.pop().end()


def _begun(program: str) -> Kept:
    folder = Path(tempfile.mkdtemp(prefix="fork-"))  # a unix socket's path is short
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING], env=_env(None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(folder / "door"), program]) + "\n")
    process.stdin.flush()
    kept = Kept(program, process, folder)
    if process.stdout.readline() != "ready\n":
        kept.end()
        raise AssertionError("the program's imports failed: see standard error")
    return kept


async def _of(program: str) -> Kept:
    if not _kept or _kept[0].program != program:
        _let_go()
        begun = await asyncio.to_thread(_begun, program)
        if _kept:  # another run has begun it meanwhile
            begun.end()
        else:
            _kept.append(begun)
    return _kept[0]


async def ran(program: str, told: dict[str, Any], failpoint: str | None = None) -> int:
    """Runs a program that reads what it is told, as JSON, from its standard input. 0, or -SIGKILL if it was killed."""
    kept = await _of(program)
    with tempfile.NamedTemporaryFile() as err:
        reader, writer = await asyncio.open_unix_connection(kept.folder / "door")
        asked = {"told": json.dumps(told), "env": _env(failpoint), "err": err.name}
        writer.write(json.dumps(asked).encode() + b"\n")
        code = int(await reader.readline())
        writer.close()
        return _fine(code, err.read())


def ended(child: asyncio.subprocess.Process, wrong: bytes) -> int:
    """How it ended: 0 or -SIGKILL. Anything else is a failure of the test, told with what it wrote to standard error."""
    assert child.returncode is not None
    return _fine(child.returncode, wrong)


def _fine(code: int, wrong: bytes) -> int:
    assert code in (0, -signal.SIGKILL), wrong.decode()[-4000:]
    return code
