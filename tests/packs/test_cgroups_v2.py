"""Control groups of the second version, which this machine does not have: a root of plain files that keeps the kernel's one rule
about processes, so that the order of our writes can be seen. Nothing here shows that a limit is in force."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from worka.packs.sandbox import cgroups, trial
from worka.packs.sandbox.cgroups import ASIDE, Cgroups, step_aside


class Kernel:
    """Who is in which group. A group with processes hands no controller down (EBUSY); who is born is born with its parent."""

    def __init__(self, root: Path, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.home = root, root / group
        self.home.mkdir(parents=True)
        (root / "cgroup.controllers").write_text("cpu memory pids")
        (self.home / "cgroup.controllers").write_text("cpu memory pids")
        self.members: dict[Path, set[str]] = {self.home: {"up"}}
        self.writing = "up"
        self.handed: list[str] = []
        monkeypatch.setattr(cgroups, "_write", self.write)

    def own(self, process: str) -> Path:
        """Its /proc/self/cgroup; it is the one that writes from now on."""
        self.writing = process
        (group,) = (group for group, members in self.members.items() if process in members)
        told = self.root / f"{process}.cgroup"
        told.write_text(f"0::/{group.relative_to(self.root)}\n")
        return told

    def born(self, process: str, parent: str) -> None:
        next(members for members in self.members.values() if parent in members).add(process)

    def write(self, path: Path, value: str | int) -> None:
        if path.name == "cgroup.procs":
            assert path.parent.is_dir()
            for members in self.members.values():
                members.discard(self.writing)
            self.members.setdefault(path.parent, set()).add(self.writing)
        elif path.name == "cgroup.subtree_control":
            if self.members.get(path.parent):
                raise OSError(errno.EBUSY, "Device or resource busy")
            self.handed.append(str(value))


@pytest.mark.capability("RUN-1", part="the order of writes to control groups of v2")
def test_the_supervisor_steps_aside_so_that_the_launcher_can_hand_controllers_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, "system.slice/worka.service", monkeypatch)
    step_aside(tmp_path, kernel.own("up"))
    for name in ("postgres", "launcher", "worker"):
        kernel.born(name, "up")
    found = Cgroups(tmp_path, kernel.own("launcher"))
    assert (found.driver, found.refused) == ("v2", "")
    assert kernel.handed == ["+memory", "+pids", "+cpu"]
    assert set(found._bases.values()) == {kernel.home}, "groups of packs lie beside ours, not below"
    assert kernel.members[kernel.home / ASIDE] == {"up", "postgres", "worker"}
    # One that is killed and started again, by a supervisor that stands aside already.
    kernel.born("launcher-2", "up")
    again = Cgroups(tmp_path, kernel.own("launcher-2"))
    assert (again.driver, set(again._bases.values())) == ("v2", {kernel.home})
    step_aside(tmp_path, kernel.own("up"))
    assert kernel.members[kernel.home / ASIDE] >= {"up"}, "once is enough"


@pytest.mark.capability("RUN-1", part="the order of writes to control groups of v2")
def test_where_others_live_in_the_group_the_launcher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, "user.slice/session-1.scope", monkeypatch)
    kernel.born("shell", "up")
    step_aside(tmp_path, kernel.own("up"))
    kernel.born("launcher", "up")
    found = Cgroups(tmp_path, kernel.own("launcher"))
    assert (found.driver, found.describe) == ("rlimits", "rlimits")
    assert "EBUSY" in found.refused
    assert "session-1.scope" in found.refused


@pytest.mark.capability("OPS-5", part="the limits in force where packs start")
def test_what_a_launcher_says_of_its_groups_is_told_as_it_is() -> None:
    whole = trial.reported({"cgroup": "v1:cpu,memory,pids"})
    assert (whole.driver, whole.missing, whole.broken) == ("v1:cpu,memory,pids", [], "")
    part = trial.reported({"cgroup": "v2:memory", "refused": "the group was not given the controller pids"})
    assert (set(part.missing), part.refused) == ({"cpu", "pids"}, "the group was not given the controller pids")
    assert set(trial.reported({"cgroup": "rlimits"}).missing) == {"cpu", "memory", "pids"}
