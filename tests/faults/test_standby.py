"""What takes long to load stands by: a killed door or worker is replaced by one that has loaded its code already."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.instance import Instance, make_instance


@pytest.fixture
def own() -> Iterator[Instance]:
    made = make_instance("test-standby-")
    made.start()
    try:
        yield made
    finally:
        left = made.pids()  # where the supervisor was killed, they went on
        made.stop()
        for pid in left.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(made.home, ignore_errors=True)


def within(true: Callable[[], object], seconds: float = 40) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def supervisor(instance: Instance) -> int:
    return int(json.loads((instance.home / "run" / "instance.json").read_text())["pid"])


def standbys(instance: Instance) -> dict[str, int]:
    """Of the instance's supervisor: {module: pid}, asleep in their read."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (entry / "cmdline").read_text().split("\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == supervisor(instance) and "worka.workers.standby" in words and _waits(entry):
                found[words[words.index("worka.workers.standby") + 1]] = int(entry.name)
    return found


def both_wait(instance: Instance) -> dict[str, int]:
    """The standbys of the door and of the worker, once both are asleep. One that was seen asleep may be seen awake again
    at the next look, so the caller goes by what this returns."""
    found: dict[str, int] = {}

    def look() -> bool:
        nonlocal found
        found = standbys(instance)
        return len(found) == 2

    assert within(look), f"one for the door, one for the worker: {found}"
    return found


def _waits(entry: Path) -> bool:
    """It reads from its pipe: all is loaded."""
    return "pipe_read" in (entry / "wchan").read_text() or (entry / "syscall").read_text().startswith("0 0x0 ")


def ready(instance: Instance) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{instance.url}/readyz", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.capability("DEP-3", part="a killed door is there again at once")
def test_a_killed_door_or_worker_is_replaced_by_the_one_that_stood_by(own: Instance) -> None:
    waiting, before = both_wait(own), own.pids()
    for role, module in (("serve", "worka.web.serve"), ("worker", "worka.workers.worker")):
        os.kill(before[role], signal.SIGKILL)
        assert within(lambda role=role, module=module: own.pids().get(role) == waiting[module]), own.pids()  # type: ignore[misc]
    assert within(lambda: ready(own))
    assert own.pids()["broker"] == before["broker"], "the others went on"
    assert not set(both_wait(own).values()) & set(waiting.values()), "and the next ones load"


def test_a_standby_that_was_killed_is_not_missed_and_none_outlives_its_supervisor(own: Instance) -> None:
    waiting, first = both_wait(own), own.pids()["serve"]
    for pid in waiting.values():
        os.kill(pid, signal.SIGKILL)
    os.kill(first, signal.SIGKILL)
    assert within(lambda: own.pids().get("serve", first) != first and ready(own)), "a new process, loaded from nothing"
    left = both_wait(own).values()
    os.kill(supervisor(own), signal.SIGKILL)
    assert within(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 10)
