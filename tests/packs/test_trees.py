"""The tree of a `path` package before anything is built: names that can lie on a disk, whichever way they came."""

from __future__ import annotations

from pathlib import Path

import pytest

from worka.packs import trees
from worka.packs.errors import LockInvalid


@pytest.mark.parametrize(
    "files",
    [
        {"../outside": b"x"},
        {".git/config": b"x"},
        {"a": b"x", "a/b": b"x"},
        {"lib/" + "n" * 256: b"x"},
        {f"f{number}": b"" for number in range(trees.MOST_FILES + 1)},
        {"one": b"x" * trees.MOST_BYTES, "two": b"x"},
    ],
    ids=["above", "git's own", "below a file", "too long", "too many", "too much"],
)
def test_a_tree_that_came_as_bytes_is_held_to_what_a_tree_that_was_sent_is(files: dict[str, bytes]) -> None:
    good = {"a/b": b"x", "a/c": b"y"}
    assert trees.check(good) == good
    with pytest.raises(LockInvalid):
        trees.check(files)


def test_a_tree_that_could_not_be_written_leaves_nothing_behind_and_one_that_could_is_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        trees.keep(tmp_path, "c1", {"a": b"x", "a/b": b"x"})
    assert list((tmp_path / "trees").iterdir()) == []
    trees.keep(tmp_path, "c1", {"a": b"x"})
    trees.keep(tmp_path, "c1", {"a": b"x"})
    assert [path.name for path in (tmp_path / "trees").iterdir()] == ["c1"]
    assert trees.intact(tmp_path, "c1", trees.digests({"a": b"x"}))
