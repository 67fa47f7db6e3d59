"""The archive of a pack: the same bytes everywhere, and nothing comes out of one but plain files of the pack."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from worka.packs import archive, folder, trees
from worka.packs.errors import ArchiveRefused, FolderUnreadable, LockInvalid

FILES = {"worka/aip.json": b"{}", "a/b.py": b"x = 1\n", "a/" + "long" * 60 + ".txt": b"", "z-é.txt": bytes(range(256))}


def tar(*entries: tuple[str, bytes, bytes], size: int | None = None) -> bytes:
    """A tar of (name, type, contents), written without any of our checks."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:", format=tarfile.PAX_FORMAT) as written:
        for name, kind, contents in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(contents), "/etc/passwd"
            written.addfile(entry, io.BytesIO(contents))
    return made.getvalue()


PLAIN = ("worka/aip.json", tarfile.REGTYPE, b"{}")


@pytest.mark.capability("RUN-5", part="archives")
def test_an_archive_is_the_same_bytes_wherever_and_in_whatever_order_it_is_made(tmp_path: Path) -> None:
    first = archive.pack(FILES)
    assert archive.pack(dict(reversed(list(FILES.items())))) == first
    assert archive.unpack(first) == FILES
    for name, contents in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(contents)
        (tmp_path / name).chmod(0o600)
        os.utime(tmp_path / name, (1, 1))
    code = "import sys; from pathlib import Path; from worka.packs import archive, folder\n"
    code += "sys.stdout.buffer.write(archive.pack(folder.gather(Path(sys.argv[1]))))"
    env = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    elsewhere = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, check=True)
    assert elsewhere.stdout == first


HOSTILE = {
    "a parent folder": [("../stray", tarfile.REGTYPE, b"x")],
    "a parent folder inside": [("a/../../stray", tarfile.REGTYPE, b"x")],
    "an absolute path": [("/tmp/stray", tarfile.REGTYPE, b"x")],
    "a dot": [("./a", tarfile.REGTYPE, b"x")],
    "a backslash": [("a\\..\\..\\stray", tarfile.REGTYPE, b"x")],
    "a line break": [("a\nb", tarfile.REGTYPE, b"x")],
    "git's own": [(".git/hooks/post-checkout", tarfile.REGTYPE, b"x")],
    "a link": [("a", tarfile.SYMTYPE, b"")],
    "a hard link": [("a", tarfile.LNKTYPE, b"")],
    "a device": [("a", tarfile.CHRTYPE, b"")],
    "a disk": [("a", tarfile.BLKTYPE, b"")],
    "a pipe": [("a", tarfile.FIFOTYPE, b"")],
    "a folder": [("a", tarfile.DIRTYPE, b"")],
    "a file with holes": [("a", tarfile.GNUTYPE_SPARSE, b"")],
    "a name twice": [("a", tarfile.REGTYPE, b"1"), ("a", tarfile.REGTYPE, b"2")],
    "a name in two cases": [("a", tarfile.REGTYPE, b"1"), ("A", tarfile.REGTYPE, b"2")],
    "a file as a folder": [("a", tarfile.REGTYPE, b"1"), ("a/b", tarfile.REGTYPE, b"2")],
    "too many files": [(f"f{n}", tarfile.REGTYPE, b"") for n in range(trees.MOST_FILES + 1)],
    "too many bytes": [("a", tarfile.REGTYPE, b"0" * (trees.MOST_BYTES + 1))],
}


@pytest.mark.capability("RUN-5", part="archives")
@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_an_archive_with_anything_but_plain_files_of_the_pack_is_refused(what: str) -> None:
    assert archive.unpack(tar(PLAIN)) == {"worka/aip.json": b"{}"}, "the control"
    with pytest.raises(ArchiveRefused):
        archive.unpack(tar(PLAIN, *HOSTILE[what]))


def test_what_is_no_archive_or_is_cut_or_lies_about_its_sizes_is_refused() -> None:
    whole = archive.pack({"a": b"x" * 5000})
    assert archive.unpack(whole) == {"a": b"x" * 5000}, "the control"
    huge = bytearray(tar(("a", tarfile.REGTYPE, b"x")))
    huge[124:136] = b"77777777777\0"
    checksum = sum(huge[:148]) + 8 * 32 + sum(huge[156:512])
    huge[148:156] = b"%06o\0 " % checksum
    for data in (
        b"",
        b"PK\x03\x04",
        b"\x1f\x8b" + b"0" * 600,
        b"x" * 10_240,
        whole[:2000],
        bytes(huge),
        b"0" * (archive.MOST_BYTES + 1),
    ):
        with pytest.raises(ArchiveRefused):
            archive.unpack(data)
    with pytest.raises(LockInvalid):
        archive.pack({"../a": b""})


def test_a_folder_gives_its_plain_files_and_no_tests_hidden_files_or_links(tmp_path: Path) -> None:
    for name in (
        "worka/aip.json",
        "m/x.py",
        "tests/test_x.py",
        "dist/old.worka.tar",
        ".env",
        ".venv/x.py",
        "m/__pycache__/x.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert sorted(folder.gather(tmp_path)) == ["m/x.py", "worka/aip.json"]
    assert sorted(folder.gather(tmp_path, with_tests=True)) == ["m/x.py", "tests/test_x.py", "worka/aip.json"]
    (tmp_path / "m" / "link").symlink_to("/etc/passwd")
    with pytest.raises(FolderUnreadable, match="not a plain file"):
        folder.gather(tmp_path)


def test_beside_a_package_that_is_named_a_folder_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "worka").mkdir()
    manifest = {"runtime": {"package": {"ecosystem": "pypi", "name": "a", "version": "1"}}}
    (tmp_path / "worka" / "aip.json").write_text(json.dumps(manifest))
    (tmp_path / "requirements.lock").write_text("a==1")
    (tmp_path / "large").write_bytes(b"0" * (trees.MOST_BYTES + 1))
    (tmp_path / "link").symlink_to("/etc/passwd")
    source = folder.read(tmp_path)
    assert (sorted(source.files), source.lock) == (["requirements.lock", "worka/aip.json"], "a==1")
    manifest["runtime"]["package"]["ecosystem"] = "path"
    (tmp_path / "worka" / "aip.json").write_text(json.dumps(manifest))
    with pytest.raises(FolderUnreadable):
        folder.read(tmp_path)


def test_the_sdk_goes_along_only_where_it_is_imported_and_not_brought() -> None:
    sdk = folder.sdk_files()
    assert "worka_sdk/pack.py" in sdk
    for text in (b"import worka_sdk", b"from worka_sdk.testing import Harness", b"def f():\n    import worka_sdk as w"):
        assert folder.vendored({"x.py": text}).keys() == {"x.py", *sdk}
    for text in (b"# worka_sdk", b"import worka_sdks", b"from . import worka_sdk", b"import worka_sdk ("):
        assert folder.vendored({"x.py": text}).keys() == {"x.py"}
    own = {"x.py": b"import worka_sdk", "worka_sdk/__init__.py": b"# its own"}
    assert folder.vendored(own) == own
