"""What comes in as an archive: wheels, source distributions, trees of files, and repositories.

Judged at the disk: nothing outside the place that it was for, no link, no device, and never more than the budget.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from worka.packs.errors import LockInvalid
from worka.packs.runtime import clone
from worka.packs.runtime.budget import Budget
from worka.packs.runtime.build import Builder
from worka.packs.runtime.errors import BuildFailed
from worka.packs.trees import decode

NAME = "worka-test-tool"
PACKAGE = {"ecosystem": "pypi", "name": NAME, "version": "1.0"}
INFO = "worka_test_tool-1.0.dist-info"
FILES = {
    "worka_test_tool/__init__.py": b"x = 1\n",
    f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n".encode(),
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/entry_points.txt": f"[console_scripts]\n{NAME} = worka_test_tool:main\n".encode(),
}
Extra = list[tuple[str, int, bytes]]


def wheel(folder: Path, extra: Extra, version: str = "1.0") -> str:
    """A wheel with more entries (name, mode, contents), all of them in its RECORD; the lock that pins it."""

    def of(text: str) -> str:
        return text.replace("-1.0", f"-{version}").replace("\nVersion: 1.0", f"\nVersion: {version}")

    rows: list[str] = []
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, content in [
            *((of(name), 0o100644, of(data.decode()).encode()) for name, data in FILES.items()),
            *extra,
        ]:
            entry = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr, entry.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}")
        archive.writestr(of(f"{INFO}/RECORD"), "\n".join([*rows, of(f"{INFO}/RECORD,,")]) + "\n")
    folder.mkdir(exist_ok=True)
    (folder / f"worka_test_tool-{version}-py3-none-any.whl").write_bytes(made.getvalue())
    return f"{NAME}=={version} --hash=sha256:{hashlib.sha256(made.getvalue()).hexdigest()}\n"


def builder(root: Path, **bounds: int) -> Builder:
    """Builds below root/home, from root/shelf alone."""
    (root / "home" / "envs").mkdir(parents=True, exist_ok=True)
    return Builder(root / "home", {"UV_FIND_LINKS": str(root / "shelf"), "UV_OFFLINE": "1"}, Budget(**bounds))


def strangers(root: Path) -> list[str]:
    """Whatever lies outside the instance's home and the shelf."""
    return [str(path) for path in root.iterdir() if path.name not in {"home", "shelf"}]


LINK, DEVICE, FIFO, PLAIN = 0o120777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o644, 0o100644
WHEELS: dict[str, Extra] = {
    "parent folders": [("../../../../../../stray.py", PLAIN, b"x")],
    "parent folders inside": [("worka_test_tool/../../../../../../stray.py", PLAIN, b"x")],
    "parent folders in data": [("worka_test_tool-1.0.data/data/../../../../stray", PLAIN, b"x")],
    "parent folders in scripts": [("worka_test_tool-1.0.data/scripts/../../../../../stray", PLAIN, b"x")],
    "backslashes": [("worka_test_tool\\..\\..\\..\\..\\stray.py", PLAIN, b"x")],
    "an absolute path": [("ROOT/stray.py", PLAIN, b"x")],
    "a link": [("worka_test_tool/link", LINK, b"/etc/passwd")],
    "a link and a file through it": [("worka_test_tool/d", LINK, b"ROOT"), ("worka_test_tool/d/stray.py", PLAIN, b"x")],
    "a device": [("worka_test_tool/zero", DEVICE, b"")],
    "a pipe": [("worka_test_tool/pipe", FIFO, b"")],
    "set-user-id": [("worka_test_tool/root", 0o106755, b"#!/bin/sh\n")],
}


@pytest.mark.capability("RUN-5", part="archives")
@pytest.mark.parametrize("what", sorted(WHEELS))
async def test_a_wheel_reaches_nothing_outside_its_environment(open_path: Path, what: str) -> None:
    extra = [(name.replace("ROOT", str(open_path)), mode, content.replace(b"ROOT", bytes(open_path)))
             for name, mode, content in WHEELS[what]]  # fmt: skip
    good = await builder(open_path).build(package=PACKAGE, lock_text=wheel(open_path / "shelf", []))
    assert Path(good["env_path"]).is_dir(), "the control: without these entries it is built"
    lock = wheel(open_path / "shelf", extra)
    try:
        built = await builder(open_path).build(package=PACKAGE, lock_text=lock)
    except BuildFailed:
        built = None
    assert strangers(open_path) == []
    assert not Path("/stray.py").exists()
    if built is not None:
        env = Path(built["env_path"])
        entries = [path for path in env.rglob("*") if path != env / "bin" / "python"]
        assert all(path.is_dir() or stat.S_ISREG(path.lstat().st_mode) for path in entries), "a link or a device"
        assert not any(path.is_symlink() for path in entries)
        assert not any(path.lstat().st_mode & 0o6222 for path in entries)


def size(folder: Path) -> int:
    """Bytes of everything below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("what", ["one large file", "many files", "many large files"])
async def test_a_bomb_ends_at_the_budget_and_leaves_the_disk_as_it_was(open_path: Path, what: str) -> None:
    entries: Extra = {
        "one large file": [("worka_test_tool/bomb", PLAIN, b"0" * (64 << 20))],
        "many files": [(f"worka_test_tool/{n}", PLAIN, b"0") for n in range(800)],
        "many large files": [(f"worka_test_tool/{n}", PLAIN, b"0" * (4 << 20)) for n in range(16)],
    }[what]
    lock = wheel(open_path / "shelf", entries)
    small = (open_path / "shelf" / "worka_test_tool-1.0-py3-none-any.whl").stat().st_size
    assert small < 2 << 20, "the archive itself is small"
    with pytest.raises(BuildFailed, match=r"more than|larger than"):
        await builder(open_path, most_bytes=24 << 20, most_files=400).build(package=PACKAGE, lock_text=lock)
    assert size(open_path / "home") < 1 << 20
    await builder(open_path, most_bytes=1 << 30).build(package=PACKAGE, lock_text=lock)
    assert size(open_path / "home") > 2 << 10, "the control: with room for it, it is built"


async def test_a_bomb_ends_alone_and_leaves_nothing_while_others_install(open_path: Path) -> None:
    """All installers share one cache: what one of them unpacks there is not laid to another's charge."""
    bomb = wheel(open_path / "shelf", [(f"worka_test_tool/{n}", PLAIN, b"0" * (4 << 20)) for n in range(64)])
    builds = builder(open_path, most_bytes=24 << 20)
    others = [(f"2.{n}", wheel(open_path / "shelf", [], f"2.{n}")) for n in range(6)]
    answers = await asyncio.gather(
        builds.build(package=PACKAGE, lock_text=bomb),
        *(builds.build(package=PACKAGE | {"version": version}, lock_text=lock) for version, lock in others),
        return_exceptions=True,
    )
    assert isinstance(answers[0], BuildFailed), answers[0]
    assert "more than" in str(answers[0])
    built = [answer["installed"][0]["version"] if isinstance(answer, dict) else answer for answer in answers[1:]]
    assert built == [version for version, _ in others]
    assert size(open_path / "home") < 1 << 20


@pytest.mark.parametrize("what", ["nested a thousand deep", "folders without end"])
async def test_folders_count_and_are_not_nested_without_end(open_path: Path, what: str) -> None:
    """A name in an archive is up to two thousand folders, each of which takes room of its own."""
    deep: Extra = [("worka_test_tool/" + "d/" * 1500 + "x.py", PLAIN, b"x")]
    many: Extra = [(f"worka_test_tool/{n}/" + "d/" * 40 + "x.py", PLAIN, b"x") for n in range(30)]
    lock = wheel(open_path / "shelf", deep if what == "nested a thousand deep" else many)
    with pytest.raises(BuildFailed, match=r"folders more than|more than .* files"):
        await builder(open_path, most_files=400).build(package=PACKAGE, lock_text=lock)
    assert size(open_path / "home") < 1 << 20
    assert list((open_path / "home" / "envs").iterdir()) == []
    left = [path for path in (open_path / "home" / "cache").rglob("*") if path.name == "d"]
    assert left == []
    built = await builder(open_path).build(package=PACKAGE, lock_text=wheel(open_path / "shelf", many))
    assert Path(built["env_path"]).is_dir(), "the control: with room for them, they are built"


MEASURED = f"""
import asyncio, resource, sys
from pathlib import Path
from worka.packs.runtime.budget import Budget
from worka.packs.runtime.build import Builder
root = Path(sys.argv[1])
builder = Builder(root / "home", {{"UV_FIND_LINKS": str(root / "shelf"), "UV_OFFLINE": "1"}}, Budget(compiler_bytes=300 << 20))
made = asyncio.run(builder.build(package={PACKAGE!r}, lock_text=sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, made["env_path"])
"""


async def test_a_source_that_fills_its_compilers_memory_fills_no_machine(open_path: Path) -> None:
    """Three megabytes of empty lists take a gigabyte and a half. In a process of its own, whose children are measured."""
    lock = wheel(open_path / "shelf", [("worka_test_tool/bomb.py", PLAIN, b"x = [" + b"[]," * 1_000_000 + b"]\n")])
    (open_path / "home" / "envs").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(open_path), lock], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    megabytes, env = done.stdout.split()
    assert int(megabytes) < 320
    assert list(Path(env).rglob("worka_test_tool/bomb.py")), "it is built all the same"
    assert not list(Path(env).rglob("bomb.*.pyc"))
    good = await builder(open_path).build(package=PACKAGE, lock_text=wheel(open_path / "shelf", []))
    assert list(Path(good["env_path"]).rglob("*.pyc")), "the control: others are compiled"


async def test_a_source_distribution_is_not_unpacked_and_not_built(open_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, kind in (
            ("../../stray", tarfile.REGTYPE),
            ("l", tarfile.SYMTYPE),
            ("d", tarfile.CHRTYPE),
            ("setup.py", tarfile.REGTYPE),
        ):
            entry = tarfile.TarInfo(f"worka_test_tool-1.0/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry, io.BytesIO())
    wheel(open_path / "shelf", [])
    (open_path / "shelf" / "worka_test_tool-1.0-py3-none-any.whl").unlink()
    (open_path / "shelf" / "worka_test_tool-1.0.tar.gz").write_bytes(made.getvalue())
    lock = f"{NAME}==1.0 --hash=sha256:{hashlib.sha256(made.getvalue()).hexdigest()}\n"
    with pytest.raises(BuildFailed):
        await builder(open_path).build(package=PACKAGE, lock_text=lock)
    assert strangers(open_path) == []
    await builder(open_path).build(package=PACKAGE, lock_text=wheel(open_path / "shelf", []))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/../x", "a//b", "./a", "a/./b", ".git/config", "a\n", "a\0b", "a/..", "", ".", "x" * 301],
)
def test_a_path_of_a_tree_that_was_sent_stays_in_the_tree(name: str) -> None:
    assert decode({"a/b.py": "eA=="}) == {"a/b.py": b"x"}
    with pytest.raises(LockInvalid):
        decode({"a/b.py": "eA==", name: "eA=="})


def test_a_tree_that_is_too_much_is_refused() -> None:
    assert len(decode({f"f{n}": "eA==" for n in range(500)})) == 500
    with pytest.raises(LockInvalid):
        decode({f"f{n}": "eA==" for n in range(501)})
    with pytest.raises(LockInvalid):
        decode({"f": base64.b64encode(b"0" * (4 << 20)).decode()})


# ---------------------------------------------------------------- repositories


def git(folder: Path, *arguments: str, data: bytes | None = None) -> str:
    """One git command in a folder."""
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments], cwd=folder, input=data,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.fixture
def repository(open_path: Path) -> Path:
    """A small repository."""
    folder = open_path / "source"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a").write_text("mine")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


@pytest.fixture
def other(open_path: Path) -> Path:
    """Another tenant's clone, below the instance's home."""
    source = open_path / "other-source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    (source / "secret").write_text("another tenant's file")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "theirs")
    home = open_path / "home"
    return clone.make(source, home / "clones" / "att_other" / "repo", hidden=home).path


def lead(how: str, repository: Path, other: Path) -> Path:
    """A repository of the attacker's that leads to the other one."""
    evil = repository.parent / "evil"
    evil.mkdir()
    match how:
        case "gitdir":
            (evil / ".git").write_text(f"gitdir: {other}/.git\n")
        case "link":
            (evil / ".git").symlink_to(other / ".git")
        case "bare link":
            (evil / "bare").symlink_to(other / ".git")
            return evil / "bare"
        case "commondir":
            git(evil, "init", "-q", "-b", "main")
            (evil / ".git" / "commondir").write_text(f"{other}/.git\n")
        case "alternates" | "objects link":
            git(evil, "init", "-q", "-b", "main")
            if how == "alternates":
                (evil / ".git" / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
            else:
                os.rename(evil / ".git" / "objects", evil / ".git" / "own")
                (evil / ".git" / "objects").symlink_to(other / ".git" / "objects")
            (evil / ".git" / "refs" / "heads" / "main").write_text(git(other, "rev-parse", "HEAD") + "\n")
    return evil


@pytest.mark.capability("DEP-10", part="clones")
@pytest.mark.parametrize("how", ["gitdir", "link", "bare link", "commondir", "alternates", "objects link"])
def test_a_repository_that_leads_to_another_tenants_clone_is_not_cloned(
    open_path: Path, repository: Path, other: Path, how: str
) -> None:
    home, evil = open_path / "home", lead(how, repository, other)
    with pytest.raises(clone.CloneFailed):
        clone.make(evil, home / "clones" / "att_evil" / "repo", hidden=home)
    assert not (home / "clones" / "att_evil" / "repo").exists()
    stolen = clone.make(evil, home / "clones" / "att_control" / "repo")
    assert (stolen.path / "secret").exists(), "the control: where git sees the instance's folder it follows"


def test_a_source_that_is_swapped_for_a_link_while_it_is_cloned_leads_nowhere(
    open_path: Path, repository: Path, other: Path
) -> None:
    home = open_path / "home"
    spinning = subprocess.Popen(
        ["/bin/sh", "-c", f"while :; do ln -sfn {repository} s1; mv -T s1 swap; ln -sfn {other} s2; mv -T s2 swap; done"],
        cwd=open_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    made = []
    try:
        for turn in range(12):
            try:
                made.append(clone.make(open_path / "swap", home / "clones" / f"att_{turn}" / "repo", hidden=home).path)
            except clone.CloneFailed:
                continue
    finally:
        spinning.kill()
        spinning.wait()
    assert not any((path / "secret").exists() for path in made)
    (open_path / "swap").unlink(missing_ok=True)
    (open_path / "swap").symlink_to(repository)
    assert (clone.make(open_path / "swap", home / "clones" / "att_c" / "repo", hidden=home).path / "a").exists()


@pytest.mark.parametrize("what", ["folders", "bytes"])
def test_a_repository_that_is_a_bomb_is_refused_before_the_checkout(
    open_path: Path, repository: Path, what: str
) -> None:
    if what == "folders":
        tree = git(repository, "mktree", data=f"100644 blob {git(repository, 'rev-parse', 'HEAD:a')}\tf\n".encode())
        for _ in range(10):
            tree = git(repository, "mktree", data="".join(f"040000 tree {tree}\td{n}\n" for n in range(10)).encode())
    else:
        big = git(repository, "hash-object", "-w", "--stdin", data=b"0" * (64 << 20))
        tree = git(repository, "mktree", data="".join(f"100644 blob {big}\tf{n}\n" for n in range(40)).encode())
    commit = git(repository, "commit-tree", tree, "-m", "bomb")
    target = open_path / "clones" / "repo"
    clone.make(repository, open_path / "clones" / "control")
    git(repository, "update-ref", "refs/heads/main", commit)
    with pytest.raises(clone.CloneFailed, match="a checkout has more") as refused:
        clone.make(repository, target)
    assert refused.value.reason == "too_large"
    assert not target.exists()


def test_what_a_repository_wants_to_run_is_not_run(open_path: Path, repository: Path) -> None:
    """Hooks, filters, a file system monitor, an upload hook, a template, submodules: configuration that is a command."""
    ran = open_path / "ran"
    touch = f"/usr/bin/touch {ran}"
    for name in ("post-checkout", "post-merge", "reference-transaction", "post-index-change"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{touch}\n")
        hook.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=evil\n")
    (repository / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% /tmp/x\n')
    (repository / ".lfsconfig").write_text("[lfs]\n\turl = ext::sh\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "two")
    ran.unlink(missing_ok=True)
    for key, value in (
        ("core.fsmonitor", touch), ("core.sshCommand", touch), ("filter.evil.smudge", touch), ("filter.evil.clean", touch),
        ("uploadpack.packObjectsHook", touch), ("core.hooksPath", str(repository / ".git" / "hooks")),
        ("core.pager", touch), ("credential.helper", f"!{touch}"), ("core.editor", touch), ("diff.external", touch),
    ):  # fmt: skip
        git(repository, "config", key, value)
    ran.unlink(missing_ok=True)
    made = clone.make(repository, open_path / "clones" / "repo")
    assert (made.path / "a").read_text() == "mine"
    assert not ran.exists(), "configuration of the source became a command"
    assert not any((made.path / ".git").rglob("hooks/*"))
    git(repository, "checkout", "-q", "-f", "HEAD")
    assert ran.exists(), "the control: git in the source itself does run it"


def test_a_link_in_a_repository_is_kept_as_a_link_and_read_inside_the_sandbox_only(
    open_path: Path, repository: Path
) -> None:
    (repository / "link").symlink_to("/etc/shadow")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "link")
    made = clone.make(repository, open_path / "clones" / "repo")
    assert os.readlink(made.path / "link") == "/etc/shadow"
    clone.remove(open_path / "clones", made.path)
    assert Path("/etc/shadow").exists()
