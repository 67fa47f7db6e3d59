"""Many short runs of `worka` for the price of one start: a process that has the program in memory and forks a child for each.

A child has a process, environment, folder and descriptors of its own, and ends with its own exit code, as if a terminal
had started it; what it spares is the interpreter's start and the imports, which are most of such a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = """
import io, json, os, sys
from worka.cli import commands, main
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        code = 70
        try:
            os.environ.clear()
            os.environ.update(asked["env"])
            os.chdir(asked["cwd"])
            for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, asked["out"], os.O_WRONLY), (2, asked["err"], os.O_WRONLY)):
                os.dup2(os.open(name, flags), number)
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

    def call(self, words: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the program with captured text would answer."""
        out, err = self.folder / "out", self.folder / "err"
        for file in (out, err):
            file.write_bytes(b"")
        asked: dict[str, Any] = {"words": words, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code = self.process.stdout.readline()
        assert code, f"the forking process is gone: {words}"
        return subprocess.CompletedProcess(words, int(code), out.read_text(), err.read_text())


@contextlib.contextmanager
def forks(folder: Path) -> Iterator[Forks]:
    """Begins one, of the build under test, and ends it."""
    folder.mkdir()
    source = Path(os.environ["WORKA_BUILD_BIN"]).parent.parent / "src"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONSAFEPATH": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Forks(process, folder)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
