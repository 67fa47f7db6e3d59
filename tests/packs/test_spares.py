"""The launcher's spares: children that wait for a pack. They hold nothing, serve one pack, and end with their launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packs.running import Instance, instance
from tests.packs.test_sandbox import Launched
from worka.packs.sandbox.launcher import SPARES


@pytest.fixture
def packs() -> Iterator[Instance]:
    with instance() as running:
        (running.home / "envs" / "e1").mkdir(mode=0o755)
        assert within(lambda: len(children(running)) == SPARES)
        yield running


def children(packs: Instance) -> list[int]:
    pid = packs.processes["launcher"].pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def within(true: Callable[[], bool], seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def descriptors(pid: int) -> list[str]:
    found = []
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.capability("RUN-1")
def test_a_spare_holds_nothing_of_another_session(packs: Instance) -> None:
    """One that is forked while a pack runs. The control: the launcher, whose copy it is, holds that session's socket."""
    running = Launched(packs, ["sh", "-c", "read line"])
    pack = running.report()["started"]
    assert within(lambda: len(set(children(packs)) - {pack}) == SPARES), "made anew once the pack runs"
    pid = packs.processes["launcher"].pid
    for spare in set(children(packs)) - {pack}:
        assert within(lambda spare=spare: len(descriptors(spare)) == 4), descriptors(spare)  # type: ignore[misc]
        # The launcher lets go of the spare's own end a moment after the fork.
        assert within(lambda spare=spare: not set(descriptors(spare)[3:]) & set(descriptors(pid)))  # type: ignore[misc]
    launcher = descriptors(pid)
    assert sum(link.startswith("socket:") for link in launcher) > 1
    os.write(running.stdin, b"go\n")
    assert running.report()["exited"] == 0
    assert running.conn.recv(100) == b"", "nobody else holds the connection open"
    running.close()


def test_spares_that_were_killed_are_not_missed(packs: Instance) -> None:
    for spare in children(packs):
        os.kill(spare, signal.SIGKILL)
    assert within(lambda: children(packs) == []), "reaped"
    for _ in range(2):
        started = Launched(packs, ["echo", "here"])
        assert "started" in started.report()
        assert started.output() == "here\n"
        assert started.report()["exited"] == 0
        started.close()
    assert within(lambda: len(children(packs)) == SPARES), "and made anew"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_spares_end_with_their_launcher(packs: Instance, number: int) -> None:
    launcher, spares = packs.processes["launcher"], children(packs)
    assert all(alive(spare) for spare in spares), "the control"
    launcher.send_signal(number)
    launcher.wait(10)
    assert within(lambda: not any(alive(spare) for spare in spares))
