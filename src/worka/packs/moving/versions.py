"""The order of SemVer versions (semver.org 11). Pure."""

from __future__ import annotations

Key = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]


def key(version: str) -> Key:
    """What a version is sorted by; build metadata does not count. The version has been checked as SemVer."""
    core, _, trial = version.partition("+")[0].partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in trial.split(".")) if trial else ()
    return major, minor, patch, 0 if trial else 1, parts


def newer(version: str, than: str) -> bool:
    """Whether it comes after the other one."""
    return key(version) > key(than)


def is_trial(version: str) -> bool:
    """Whether it is marked as not final (`1.2.0-rc.1`)."""
    return "-" in version.partition("+")[0]


def followed(version: str, from_version: str) -> bool:
    """Whether an attachment that follows moves from one to the other by itself: newer, and no trial version, unless it is
    on one of the same coming version already."""
    if not newer(version, from_version):
        return False
    if not is_trial(version):
        return True
    return is_trial(from_version) and key(version)[:3] == key(from_version)[:3]
