"""The machine under the instance: its home, its disk, and what a sandbox needs of the kernel."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worka.cli.doctor.check import Check, Patient
from worka.observability import vitals
from worka.packs.runtime import launching
from worka.packs.sandbox import trial
from worka.packs.service import unnamed

LEAST_FREE, LITTLE_FREE = 64 << 20, 1 << 30
LEAST_INODES = 1000


def home(patient: Patient) -> Iterator[Check]:
    """The data directory is there, and this user may look into it."""
    place = patient.settings.home
    if not place.is_dir():
        yield Check(
            "home", "failed", f"{place} does not exist", "Start Worka once (`worka up`), or set WORKA_HOME to its home."
        )
    elif not (place / "run").is_dir():
        yield Check("home", "failed", f"{place} was never started", "Start Worka once: `worka up`.")
    elif not os.access(place / "run", os.R_OK | os.X_OK) or not os.access(place / "keys", os.R_OK | os.X_OK):
        yield Check(
            "home", "warning", f"this user may not look into all of {place}: keys and seals are not checked",
            "Run `worka doctor` as the user who runs `worka up` (or as root).",
        )  # fmt: skip
    else:
        yield Check("home", "ok", str(place))


def disk(patient: Patient) -> Iterator[Check]:
    """Space and inodes where rows, environments and seals are written."""
    place = patient.settings.home
    while not place.exists() and place != place.parent:
        place = place.parent
    remedy = f"Free space on the file system of {patient.settings.home}, or move WORKA_HOME to a larger one."
    free = shutil.disk_usage(place).free
    inodes = os.statvfs(place)
    if free < LEAST_FREE:
        yield Check("disk", "failed", f"{free >> 20} MiB are free under {place}: nothing more can be recorded", remedy)
    elif inodes.f_files and inodes.f_favail < LEAST_INODES:
        yield Check("disk", "failed", f"{inodes.f_favail} inodes are free under {place}", remedy)
    elif free < LITTLE_FREE:
        yield Check("disk", "warning", f"only {free >> 20} MiB are free under {place}", remedy)
    else:
        yield Check("disk", "ok", f"{free >> 30} GiB free under {place}")


def unnamed_objects(patient: Patient) -> Iterator[Check]:
    """What lies in the store of artifacts and no row names: what a sweep would clear away, without doing it."""
    told, place = patient.facts.get("database"), patient.paths.objects
    if (
        told is None
        or told.schema_version < vitals.SINCE
        or not place.is_dir()
        or not os.access(place, os.R_OK | os.X_OK)
    ):
        return
    found = unnamed.lying(place, told.objects_named)
    size = sum(item.size for item in found) / 1024
    if found:
        detail = f"{len(found)} blobs and trees ({size:.0f} KiB) that no release names; the worker clears them away a day after"
        yield Check(
            "objects", "ok", f"{detail} they were put there: {', '.join(item.path.name[:16] for item in found[:5])}"
        )
    else:
        yield Check("objects", "ok", "nothing lies there that no release names")


def sandbox(patient: Patient) -> Iterator[Check]:
    """bubblewrap, with every flag that packs are started with, tried for real."""
    found = trial.bubblewrap()
    if found.path is None:
        yield Check("sandbox", "failed", "bubblewrap is not installed; no pack starts", "apt-get install -y bubblewrap")
        return
    if not found.filter:
        machine = os.uname().machine
        yield Check("sandbox", "failed", f"there is no system-call filter for {machine}", "Use x86_64 or aarch64.")
        return
    if found.refused:
        yield Check(
            "sandbox", "failed", f"{found.path} does not start a sandbox: {found.refused}",
            "Look at the lines on user namespaces below; else upgrade bubblewrap (0.8 or newer knows every flag used).",
        )  # fmt: skip
        return
    yield Check("sandbox", "ok", f"{found.version}, all flags and the system-call filter tried")


def user_namespaces(patient: Patient) -> Iterator[Check]:
    """The kernel gives a process a user and a network namespace of its own."""
    remedy = (
        "sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000, and where these exist"
        " kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
    )
    refused = trial.namespaces()
    if refused:
        yield Check("user namespaces", "failed", f"{refused}; no pack starts", remedy)
    else:
        yield Check("user namespaces", "ok", f"given; {trial.namespace_limit()}")


def _asked(launcher: Path) -> dict[str, Any]:
    """What the launcher says of itself; {} where none answers. It lets nobody ask but the user of our processes, who owns its
    socket: as root this asks as that user."""
    try:
        owner = launcher.stat().st_uid
    except OSError:
        return {}
    before = os.geteuid()
    if before not in (0, owner):
        return {}
    try:
        os.seteuid(owner)
        return asyncio.run(launching.check(launcher))
    finally:
        os.seteuid(before)


NEVER_RUN = "of control groups v2 the tests of this build know a made root alone"


def limits(patient: Patient) -> Iterator[Check]:
    """Which driver bounds memory, processes and processor time of a pack: where packs start, by what their launcher says; where
    none runs, in the group of this very command, with a group really made and read back."""
    told = _asked(patient.paths.launcher_socket)
    running = "cgroup" in told
    found = trial.reported(told) if running else trial.control_groups()
    where = "where packs start" if running else "tried in this command's own group, as no launcher runs"
    if found.broken:
        yield Check(
            "limits", "failed", f"cgroup {found.driver}: {found.broken} ({where})",
            "Mount the cgroup file system writable for this process (as root: /sys/fs/cgroup), then restart `worka up`.",
        )  # fmt: skip
    elif found.missing:
        remedy = (
            "Start it in a group of its own: `systemd-run -p Delegate=yes worka up`, or Delegate=yes in its unit."
            if found.refused
            else "Mount the cgroup file system where /sys/fs/cgroup is, then restart `worka up`."
            if os.geteuid() == 0
            else "Run `worka up` as root, or delegate the memory, pids and cpu controllers to its user."
        )
        detail = f"{found.driver}; no control group for {', '.join(found.missing)}: rlimits only ({where})"
        detail += f" ({found.refused})" if found.refused else ""
        # Root can have them, so there it is a defect of the machine; an ordinary user's limits are known to be weaker.
        yield Check("limits", "failed" if os.geteuid() == 0 else "warning", detail, remedy)
    else:
        how = "in force where packs start" if running else f"a group with its limits was made and read back; {where}"
        unproven = f"; {NEVER_RUN}" if found.driver.startswith("v2") else ""
        yield Check("limits", "ok", f"cgroup {found.driver}, {how}{unproven}")
