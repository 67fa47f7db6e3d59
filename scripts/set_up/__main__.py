"""The set-up, step by step; see scripts/setup for its use. Standard library only: nothing is installed yet."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
from pathlib import Path
from collections.abc import Iterator

import build
import environment
import system
import use
from words import Failed, say

CHECKOUT = Path(__file__).resolve().parents[2]


def default_prefix() -> Path:
    """Where environments and builds live. As root not in a home: user `worka` must reach it."""
    if chosen := os.environ.get("WORKA_PREFIX"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/worka")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "worka"


@contextlib.contextmanager
def alone(prefix: Path) -> Iterator[None]:
    """One set-up at a time per prefix; the kernel drops the lock when its holder dies."""
    with open(prefix / ".setup.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(*, tests: bool, build_dir: Path | None) -> tuple[Path, Path]:
    """(build, environment to run in). The environment is the one with the test tools if `tests`."""
    prefix = default_prefix()
    try:
        prefix.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise Failed(
            f"cannot create {prefix} ({error.strerror}); set WORKA_PREFIX to a folder you may write"
        ) from error
    environment.must_be_reachable(prefix)
    with alone(prefix):
        system.ensure(tests=tests)
        python = environment.choose_python()
        runtime = environment.ensure(prefix, CHECKOUT / "requirements.lock", python)
        used = environment.ensure(prefix, CHECKOUT / "requirements-test.lock", python) if tests else runtime
        built = build.ensure(CHECKOUT, build_dir or prefix / "build", runtime)
        if build_dir is None:
            use.sweep(prefix / "env")
            use.sweep(prefix / "build")
            build.prune(prefix)
            environment.prune(prefix)
            build.link(CHECKOUT, built)
    return built, used


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/setup", description="Set Worka up; see the head of scripts/setup.")
    parser.add_argument("--tests", action="store_true", help="with the test tools and the systems that tests use")
    parser.add_argument("--build-dir", type=Path, help="put the build below this folder; nothing is pruned")
    parser.add_argument("command", nargs="*", help="run this afterwards, with `worka` on PATH")
    options = parser.parse_args()
    os.umask(0o022)
    try:
        built, env = set_up(tests=options.tests, build_dir=options.build_dir)
    except Failed as failure:
        print(f"worka set-up: {failure}", file=sys.stderr)
        return 1
    wrapper = built / "bin" / "worka"
    if not options.command:
        print(wrapper)
        return 0
    os.environ["PATH"] = f"{built / 'bin'}:{env / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    if options.tests:
        # Tests import what they run: the build, never the checkout.
        os.environ.update(WORKA_BUILD_BIN=str(wrapper), WORKA_BUILD_ID=built.name)
        os.environ.update(PYTHONPATH=str(built / "src"), PYTHONSAFEPATH="1")
    try:
        os.execvp(options.command[0], options.command)
    except OSError as error:
        print(f"worka set-up: cannot run {options.command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
