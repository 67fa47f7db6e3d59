"""The environment of a release: what goes in, what is refused, and what its digest covers."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worka.kernel.errors import Problem
from worka.packs.errors import LockInvalid
from worka.packs.runtime import build, record
from worka.packs.runtime.build import Builder
from worka.packs.runtime.errors import (
    BuildFailed,
    CodeAtInstall,
    DigestMismatch,
    EcosystemUnsupported,
    EntryPointMissing,
    RecordMismatch,
    TreeRefused,
)

NAME = "worka-test-tool"
PACKAGE = {"ecosystem": "pypi", "name": NAME, "version": "1.0"}
INFO = "worka_test_tool-1.0.dist-info"
FILES = {
    "worka_test_tool/__init__.py": "raise SystemExit('imported at build')\n",
    "worka_test_tool-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n",
    "worka_test_tool-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "worka_test_tool-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{NAME} = worka_test_tool:main\nother = worka_test_tool:b\n",
}


class Shelf:
    """A folder of wheels, and the lock that pins them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def wheel(self, files: dict[str, str], unlisted: dict[str, str] | None = None, wrong: str | None = None) -> str:
        info = next(name for name in files if name.endswith("METADATA")).rpartition("/")[0]
        rows = []
        for name, content in files.items():
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={'A' * 43 if name == wrong else hashed},{len(content)}")
        rows.append(f"{info}/RECORD,,")
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for name, content in {**files, **(unlisted or {}), f"{info}/RECORD": "\n".join(rows) + "\n"}.items():
                archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content)
        (self.folder / "worka_test_tool-1.0-py3-none-any.whl").write_bytes(made.getvalue())
        return self.lock(made.getvalue())

    def source(self) -> str:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as archive:
            content = f"open({str(self.folder / 'ran')!r}, 'w')\n".encode()
            entry = tarfile.TarInfo("worka_test_tool-1.0/setup.py")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        (self.folder / "worka_test_tool-1.0.tar.gz").write_bytes(made.getvalue())
        return self.lock(made.getvalue())

    @staticmethod
    def lock(content: bytes) -> str:
        return f"{NAME}==1.0 \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"


@pytest.fixture
def shelf(open_path: Path) -> Shelf:
    return Shelf(open_path / "shelf")


@pytest.fixture
def builder(open_path: Path, shelf: Shelf) -> Callable[..., Builder]:
    def make(name: str = "home") -> Builder:
        (open_path / name / "envs").mkdir(parents=True, exist_ok=True)
        # Only the shelf: what these tests build is on no index.
        return Builder(open_path / name, {"UV_FIND_LINKS": str(shelf.folder), "UV_OFFLINE": "1"})

    return make


@pytest.mark.capability("RUN-5")
async def test_a_wheel_becomes_a_read_only_environment_with_its_own_entry_point(
    builder: Callable[..., Builder], shelf: Shelf
) -> None:
    lock = shelf.wheel(FILES)
    built = await builder().build(package=PACKAGE, lock_text=lock)
    env = Path(built["env_path"])
    assert built["entry"] == [str(env / "bin" / "python"), str(env / "bin" / NAME)]
    assert built["installed"] == [{"name": NAME, "version": "1.0"}]
    writable = [path for path in (env, *env.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o222]
    assert writable == []
    assert list(env.rglob("*.pyc")), "bytecode is compiled, without an import"
    again = await builder().build(package=PACKAGE, lock_text=lock)
    assert again == built


@pytest.mark.capability("RUN-5")
async def test_the_digest_is_the_same_in_another_home(builder: Callable[..., Builder], shelf: Shelf) -> None:
    lock = shelf.wheel(FILES)
    here, there = [await builder(name).build(package=PACKAGE, lock_text=lock) for name in ("home", "a-second-home")]
    assert here["env_path"] != there["env_path"]
    assert here["tree_digest"] == there["tree_digest"]


async def test_a_wheel_with_another_hash_is_not_installed(builder: Callable[..., Builder], shelf: Shelf) -> None:
    lock = shelf.wheel(FILES)
    shelf.wheel(FILES | {"worka_test_tool/__init__.py": "pass\n"})
    with pytest.raises(BuildFailed):
        await builder().build(package=PACKAGE, lock_text=lock)


async def test_a_source_distribution_is_not_built(builder: Callable[..., Builder], shelf: Shelf) -> None:
    with pytest.raises(BuildFailed, match="wheel"):
        await builder().build(package=PACKAGE, lock_text=shelf.source())
    assert not (shelf.folder / "ran").exists()


async def test_an_executable_pth_is_refused_and_nothing_stays(
    builder: Callable[..., Builder], shelf: Shelf, open_path: Path
) -> None:
    lock = shelf.wheel(FILES | {"evil.pth": "import os; os.system('true')\n"})
    with pytest.raises(CodeAtInstall):
        await builder().build(package=PACKAGE, lock_text=lock)
    assert list((open_path / "home" / "envs").iterdir()) == []


@pytest.mark.capability("RUN-5")
@pytest.mark.parametrize(
    "how",
    [
        {"unlisted": {"worka_test_tool/more.py": "pass\n"}},
        {"wrong": "worka_test_tool/__init__.py"},
    ],
)
async def test_files_that_are_not_the_packages_record_are_refused(
    builder: Callable[..., Builder], shelf: Shelf, how: dict[str, Any]
) -> None:
    lock = shelf.wheel(FILES, **how)
    with pytest.raises((RecordMismatch, BuildFailed)):
        await builder().build(package=PACKAGE, lock_text=lock)


def laid_out(env: Path, files: dict[str, int]) -> tuple[Path, Path, record.Lock]:
    """An environment with a package of the FILES and of more that are so many bytes of nothing: (env, site, lock)."""
    site = env / "lib" / "python3.11" / "site-packages"
    rows = []
    for name, content in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)
    for name, length in files.items():
        with (site / name).open("wb") as opened:
            opened.truncate(length)
    for name in (*FILES, *files):
        with (site / name).open("rb") as opened:
            hashed = base64.urlsafe_b64encode(hashlib.file_digest(opened, "sha256").digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={hashed},")
    (site / INFO / "RECORD").write_text("\n".join([*rows, f"{INFO}/RECORD,,"]) + "\n")
    return env, site, record.Lock("", {NAME: "1.0"})


@pytest.mark.parametrize("name", [f"{INFO}/METADATA", f"{INFO}/RECORD"])
def test_metadata_that_would_fill_the_memory_or_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    env, site, lock = laid_out(tmp_path, {})
    assert [found.name for found in record.verify(env, site, lock)] == [NAME], "the control"
    for content in (b"#" * (65 << 20), b"\xff\xfe"):
        env, site, lock = laid_out(tmp_path, {})
        (site / name).write_bytes(content)
        with pytest.raises(RecordMismatch, match=r"has more than \d+ MiB|cannot be read"):
            record.verify(env, site, lock)


def test_a_large_file_is_compared_without_being_held_in_memory(tmp_path: Path) -> None:
    env, site, lock = laid_out(tmp_path, {"worka_test_tool/large": 300 << 20})
    tracemalloc.start()
    try:
        record.verify(env, site, lock)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20
    with (site / "worka_test_tool/large").open("r+b") as opened:
        opened.seek(250 << 20)
        opened.write(b"x")
    with pytest.raises(RecordMismatch, match="differs"):
        record.verify(env, site, lock)


@pytest.mark.capability("RUN-5")
async def test_the_record_is_compared_with_what_lies_there(builder: Callable[..., Builder], shelf: Shelf) -> None:
    """The installer's own checks aside: one changed byte, one file too many, one missing."""
    lock = shelf.wheel(FILES)
    env = Path((await builder().build(package=PACKAGE, lock_text=lock))["env_path"])
    site = next(env.glob("lib/*/site-packages"))
    parsed = record.read_lock(lock)
    record.verify(env, site, parsed)
    target = site / "worka_test_tool" / "__init__.py"
    for path in (site, target.parent, target):
        path.chmod(0o755)
    content = target.read_text()
    target.write_text(content + "#")
    with pytest.raises(RecordMismatch, match="differs"):
        record.verify(env, site, parsed)
    target.write_text(content)
    extra = site / "extra.py"
    extra.write_text("")
    with pytest.raises(RecordMismatch, match="no package lists"):
        record.verify(env, site, parsed)
    extra.unlink()
    record.verify(env, site, parsed)
    with pytest.raises(RecordMismatch, match="lock does not name"):
        record.verify(env, site, record.Lock("", {}))
    target.unlink()
    with pytest.raises(RecordMismatch, match="not there"):
        record.verify(env, site, parsed)


@pytest.mark.capability("RUN-5")
@pytest.mark.parametrize("what", ["source", "bytecode", "mode", "link", "extra"])
async def test_the_full_digest_sees_every_kind_of_change(
    builder: Callable[..., Builder], shelf: Shelf, what: str
) -> None:
    built = await builder().build(package=PACKAGE, lock_text=shelf.wheel(FILES))
    env = Path(built["env_path"])
    assert build.verify_full(env, built["tree_digest"]).tree_digest == built["tree_digest"]
    source = next(env.rglob("worka_test_tool/__init__.py"))
    bytecode = next(env.rglob("*.pyc"))
    for path in (source.parent, bytecode.parent, env / "bin"):
        path.chmod(0o755)
    if what == "link":
        (env / "bin" / "python").unlink()
        (env / "bin" / "python").symlink_to("/usr/bin/false")
    elif what == "extra":
        (source.parent / "more.py").write_text("")
    elif what == "mode":
        source.chmod(0o555)
    else:
        path = source if what == "source" else bytecode
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DigestMismatch):
        build.verify_full(env, built["tree_digest"])


@pytest.mark.parametrize(
    "lock",
    [
        "worka-test-tool==1.0\n",
        "worka-test-tool>=1.0 --hash=sha256:" + "0" * 64,
        "--index-url https://elsewhere.example/simple\n",
        "--extra-index-url https://elsewhere.example/simple\nworka-test-tool==1.0 --hash=sha256:" + "0" * 64,
        "-r /etc/passwd\n",
        "-e .\n",
        "worka-test-tool @ https://elsewhere.example/t.whl --hash=sha256:" + "0" * 64,
        "worka-test-tool==1.0 --hash=md5:" + "0" * 32,
        "worka-test-tool==1.0 --hash=sha256:" + "0" * 64 + " --config-settings x=y",
    ],
)
async def test_a_lock_is_pins_with_hashes_and_no_command_to_the_installer(
    builder: Callable[..., Builder], lock: str
) -> None:
    with pytest.raises(LockInvalid):
        await builder().build(package=PACKAGE, lock_text=lock)


async def test_a_lock_without_the_package_or_with_another_version_is_refused(
    builder: Callable[..., Builder], shelf: Shelf
) -> None:
    lock = shelf.wheel(FILES)
    with pytest.raises(Problem) as refused:
        await builder().build(package=PACKAGE | {"name": "another"}, lock_text=lock)
    assert refused.value.problem_code == "lock_invalid"
    with pytest.raises(EntryPointMissing):
        await builder().build(package=PACKAGE | {"version": "2.0"}, lock_text=lock)


async def test_two_console_scripts_and_none_of_its_name_are_a_question(
    builder: Callable[..., Builder], shelf: Shelf
) -> None:
    scripts = {
        "worka_test_tool-1.0.dist-info/entry_points.txt": "[console_scripts]\na = worka_test_tool:a\nb = worka_test_tool:b\n"
    }
    with pytest.raises(EntryPointMissing, match="a, b"):
        await builder().build(package=PACKAGE, lock_text=shelf.wheel(FILES | scripts))


async def test_another_ecosystem_is_an_honest_not_yet(builder: Callable[..., Builder]) -> None:
    with pytest.raises(EcosystemUnsupported) as refused:
        await builder().build(package={"ecosystem": "cargo", "name": "x", "version": "1"}, lock_text="")
    assert refused.value.problem_code == "ecosystem_unsupported"


async def test_a_tree_of_files_is_copied_and_its_module_is_the_entry(
    builder: Callable[..., Builder], open_path: Path
) -> None:
    made = builder()
    tree = open_path / "home" / "trees" / "t"
    (tree / "my_pack").mkdir(parents=True)
    (tree / "my_pack" / "__main__.py").write_text("print('hello')\n")
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("secret")
    package = {"ecosystem": "path", "name": "my-pack", "version": "1"}
    built = await made.build(package=package, lock_text="", tree_path=str(tree))
    env = Path(built["env_path"])
    assert built["entry"] == [str(env / "bin" / "python"), "-m", "my_pack"]
    assert not (env / "app" / ".git").exists()
    (tree / "my_pack" / "__main__.py").write_text("print('other')\n")
    other = await made.build(package=package, lock_text="", tree_path=str(tree))
    assert other["tree_digest"] != built["tree_digest"]
    commanded = await made.build(
        package=package, lock_text="", tree_path=str(tree), command=["python", "my_pack/__main__.py"]
    )
    assert commanded["entry"][1].endswith("/app/my_pack/__main__.py")


@pytest.mark.parametrize("how", ["link", "fifo", "outside"])
async def test_a_tree_with_links_or_devices_or_from_elsewhere_is_refused(
    builder: Callable[..., Builder], open_path: Path, how: str
) -> None:
    tree = open_path / ("home/trees/t" if how != "outside" else "elsewhere")
    made = builder()
    tree.mkdir(parents=True)
    (tree / "server.py").write_text("")
    if how == "link":
        (tree / "data").symlink_to("/etc/passwd")
    elif how == "fifo":
        os.mkfifo(tree / "data")
    with pytest.raises(TreeRefused):
        await made.build(package={"ecosystem": "path", "name": "t", "version": "1"}, lock_text="", tree_path=str(tree))


def test_the_installer_gets_registry_settings_and_nothing_else(open_path: Path) -> None:
    given = {
        "PIP_INDEX_URL": "https://index.example/simple", "UV_INDEX_MINE_PASSWORD": "p", "SSL_CERT_FILE": "/ca.pem",
        "WORKA_DATABASE__URL": "postgresql://secret", "UV_NO_VERIFY_HASHES": "1", "LD_PRELOAD": "/x.so", "PIP_FIND_LINKS": "/no/such",
    }  # fmt: skip
    kept = Builder(open_path, given).tool_environment()
    assert kept["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert {"SSL_CERT_FILE", "UV_INDEX_MINE_PASSWORD"} <= kept.keys()
    assert not {"WORKA_DATABASE__URL", "UV_NO_VERIFY_HASHES", "LD_PRELOAD", "UV_FIND_LINKS"} & kept.keys()


def test_the_interpreter_is_one_that_every_uid_can_run() -> None:
    python = build.interpreter()
    assert python.stat().st_mode & 0o005 == 0o005
    assert all(parent.stat().st_mode & stat.S_IXOTH for parent in python.parents)
