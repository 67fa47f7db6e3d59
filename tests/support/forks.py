"""Many short runs of `worka` for the price of one start: a process that has the program in memory and forks a child for each.

A child has a process, environment, folder and descriptors of its own, and ends with its own exit code, as if a terminal
had started it; what it spares is the interpreter's start, the imports and the tree of commands, which are most of such a run.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = """
import gc, json, os, sys
import httpcore, typer.main, typer.rich_utils
import worka.kernel.errors, worka.kernel.paths, worka.kernel.settings, worka.packs.checking, worka.packs.folder, worka.packs.rules
from worka.cli import commands, doctor, main
tree, build = typer.main.get_command(commands.app), typer.main.get_command
typer.main.get_command = lambda made: tree if made is commands.app else build(made)
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        code = 70
        try:
            os.environ.clear()
            os.environ.update(asked["env"])
            os.chdir(asked["cwd"])
            for number, name, flags in ((0, asked["typed"], os.O_RDONLY), (1, asked["out"], os.O_WRONLY), (2, asked["err"], os.O_WRONLY)):
                os.dup2(os.open(name, flags), number)
            sys.stdin = open(0, closefd=False)
            sys.argv = ["worka", *asked["words"]]
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else (1 if end.code else 0)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Forks:
    """One such process; it runs one call at a time."""

    process: subprocess.Popen[str]
    folder: Path

    def call(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the program with captured text would answer; `typed` stands in its standard input."""
        given, out, err = (self.folder / name for name in ("typed", "out", "err"))
        for file in (out, err):
            file.write_bytes(b"")
        given.write_text(typed)
        asked: dict[str, Any] = {
            "words": list(words), "cwd": str(cwd), "env": dict(env), "typed": str(given), "out": str(out), "err": str(err),
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            code = self.process.stdout.readline()
        except BaseException:
            # Whatever comes of this call yet must not be taken for the answer to the next one.
            self.process.kill()
            raise
        assert code, f"the forking process is gone: {words}"
        return subprocess.CompletedProcess(words, int(code), out.read_text(), err.read_text())


def _begun(folder: Path) -> Forks:
    folder.mkdir()
    source = Path(os.environ["WORKA_BUILD_BIN"]).parent.parent / "src"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONSAFEPATH": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Forks(process, folder)


def _over(program: Forks) -> None:
    program.process.kill()
    program.process.wait()
    for pipe in (program.process.stdin, program.process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


@contextlib.contextmanager
def forks(folder: Path) -> Iterator[Forks]:
    """Begins one, of the build under test, and ends it."""
    program = _begun(folder)
    try:
        yield program
    finally:
        _over(program)


_shared: list[Forks] = []
_turn = threading.Lock()


def typed(words: Sequence[str], env: Mapping[str, str], line: str = "") -> subprocess.CompletedProcess[str]:
    """`worka` with these words, by the one such process that is kept for all tests of this run; one at a time."""
    with _turn:
        if not _shared:
            _shared.append(_begun(Path(tempfile.mkdtemp(prefix="typed-")) / "said"))
        try:
            return _shared[0].call(words, Path("/"), env, line)
        except BaseException:
            _end_shared()
            raise


@atexit.register
def _end_shared() -> None:
    while _shared:
        program = _shared.pop()
        _over(program)
        shutil.rmtree(program.folder.parent, ignore_errors=True)
