"""Room on the disk: what is refused when it is short, what goes on, and the reserve that is given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from worka.kernel.disk import MIB, Disk, DiskFull, Reserve


class Shrinking(Disk):
    """A disk whose room a test sets; what the reserve takes is taken from it."""

    room = 10_000 * MIB

    def free(self) -> int:
        return self.room


def test_with_less_than_the_floor_nothing_new_is_begun_and_the_cause_is_named(tmp_path: Path) -> None:
    disk = Shrinking(tmp_path, 128)
    disk.require()
    disk.room = 100 * MIB
    disk._looked = 0
    with pytest.raises(DiskFull) as refused:
        disk.require()
    body = refused.value.body()
    assert (body["status"], body["code"], body["retry_after"]) == (503, "disk_full", 5)
    assert "100 MiB are free" in body["detail"]
    assert str(tmp_path) in body["detail"]
    disk.room = 129 * MIB
    disk._looked = 0
    disk.require()


def test_the_real_disk_of_a_home_is_measured(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir()
    free = Disk(tmp_path, 0).free()
    assert free > 0
    assert Disk(tmp_path, free // MIB + 1024).low
    assert not Disk(tmp_path, 0).low


def test_the_reserve_is_taken_in_good_times_given_back_when_short_and_taken_again(tmp_path: Path) -> None:
    disk = Shrinking(tmp_path, 128)
    reserve = Reserve(tmp_path / "reserve", 1, disk)
    assert reserve.tend() == "taken"
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= MIB, "the room is really taken"
    assert reserve.tend() == ""
    disk.room = 127 * MIB
    assert reserve.tend() == "", "not yet: whoever fills the disk would fill it too"
    disk.room = 0
    assert reserve.tend() == "given_back"
    assert not (tmp_path / "reserve").exists()
    disk.room = 200 * MIB
    assert reserve.tend() == "", "not before there is plenty: it must not make the disk short itself"
    disk.room = 300 * MIB
    assert reserve.tend() == "taken"
