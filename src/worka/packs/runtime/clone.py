"""The clone that a git mount is bound to (decisions.md 7): fresh, without remotes, credentials, hooks or alternates.

The source is somebody else's directory: nothing of its configuration or hooks is run, and only its committed objects
are copied. git reads it inside bubblewrap, without network, with the whole machine read-only and the instance's own
folder out of sight, so that no link, `gitdir:` or alternate of the source leads to another tenant's clone or a key, not
even one that is put there while git runs. What is bound into a pack's sandbox is the copy, read-only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 300
# A repository of a few kilobytes can unpack to more than any disk holds: counted before anything is checked out.
MOST_FILES, MOST_BYTES = 200_000, 2 * 1024 * 1024 * 1024


class CloneFailed(Exception):
    """`reason` is one of source_missing, source_unreadable, not_a_repository, no_commit, too_large, clone_failed; the
    message says more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Clone:
    """`path` of the copy, `revision` (full hash) of its HEAD, and the number of commits that HEAD reaches."""

    path: Path
    revision: str
    commits: int


def make(source: Path, target: Path, *, hidden: Path | None = None) -> Clone:
    """Clones the repository at `source` (an absolute path) into `target`, which must not exist. Blocking.

    Nothing below `hidden` (the instance's folder) is seen by git, but `target`. Raises CloneFailed; nothing is left
    behind then.
    """
    try:
        if not source.is_dir():
            raise CloneFailed("source_missing", f"{source} is not a directory")
        if not os.access(source, os.R_OK | os.X_OK):
            raise CloneFailed("source_unreadable", f"{source} cannot be read by the user that Worka runs as")
    except PermissionError as error:
        raise CloneFailed("source_unreadable", f"{source} cannot be read by the user that Worka runs as") from error
    _parents(target)
    with tempfile.TemporaryDirectory(prefix="worka-clone-") as scratch:
        git = _Git(Path(scratch), target.parent, hidden)
        try:
            # --no-local goes through git's pack protocol: no hard link, no alternate, no foreign file mode comes along.
            options = ("--quiet", "--no-local", "--no-checkout", "--template=", "--no-recurse-submodules")
            git("clone", *options, "--", str(source), str(target))
            here = ("-C", str(target))
            for remote in git(*here, "remote").split():
                git(*here, "remote", "remove", remote)
            revision = git(*here, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
            commits = int(git(*here, "rev-list", "--count", "HEAD").strip())
            git.weigh(target)
            git(*here, "checkout", "--quiet", "--force", "HEAD")
        except CloneFailed:
            shutil.rmtree(target, ignore_errors=True)
            raise
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            shutil.rmtree(target, ignore_errors=True)
            raise CloneFailed("clone_failed", f"git could not clone {source}: {type(error).__name__}") from error
    return Clone(target, revision, commits)


def remove(root: Path, target: Path) -> None:
    """Deletes a clone, if it lies under `root`. A clone that is gone already is fine."""
    if root.resolve() in target.resolve().parents:
        shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()


def _parents(target: Path) -> None:
    # The attachment's uid must pass through these to what is bound; it need not list them.
    missing = [parent for parent in target.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        parent.chmod(0o711)


class _Git:
    """git in a sandbox: it writes below `writable` only, and sees nothing else of `hidden`."""

    def __init__(self, scratch: Path, writable: Path, hidden: Path | None) -> None:
        bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin")
        if bwrap is None:
            raise CloneFailed("clone_failed", "bubblewrap is not installed, and no repository is read without it")
        config = scratch / "gitconfig"
        # git refuses another owner's repository unless told; this file is told for the one command, and is the only one
        # read.
        config.write_text("[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n")
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(scratch),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_LAZY_FETCH": "1",
        }
        away = [] if hidden is None else ["--tmpfs", os.path.realpath(hidden)]
        own = os.path.realpath(writable)
        self.prefix = [
            # One file never larger than all of them may be: the shell's unit is 512 bytes.
            *("/bin/sh", "-c", f'ulimit -c 0 && ulimit -f {MOST_BYTES // 512} && exec "$@"', "sh"),
            *(bwrap, "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"),
            *("--new-session", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *away),
            *("--ro-bind", str(scratch), str(scratch), "--bind", own, own, "--chdir", "/", "--", "git"),
        ]

    def __call__(self, *arguments: str) -> str:
        """The output. Raises CloneFailed."""
        done = subprocess.run(
            [*self.prefix, *arguments],
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            umask=0o022,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        raise _failure(done, arguments)

    def weigh(self, target: Path) -> None:
        """Counts what a checkout would write, and stops counting at the bound. Raises CloneFailed."""
        command = [*self.prefix, "-C", str(target), "ls-tree", "-r", "-z", "-l", "HEAD"]
        files = size = 0
        with subprocess.Popen(
            command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as listing:  # fmt: skip
            assert listing.stdout is not None
            rest = b""
            while files <= MOST_FILES and size <= MOST_BYTES and (chunk := listing.stdout.read(65_536)):
                *lines, rest = (rest + chunk).split(b"\0")
                for line in lines:
                    # <mode> blob <id> <size>\t<path>; a submodule has no size
                    said = line.partition(b"\t")[0].split()[-1]
                    size += int(said) if said.isdigit() else 0
                files += len(lines)
            listing.kill()
        if files > MOST_FILES or size > MOST_BYTES:
            raise CloneFailed(
                "too_large", f"a checkout has more than {MOST_FILES} files or {MOST_BYTES // 1024**2} MiB, or both"
            )


def _failure(done: subprocess.CompletedProcess[bytes], arguments: tuple[str, ...]) -> CloneFailed:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1][:300] if said else f"git ended with {done.returncode}"
    if (
        "does not exist" in last
        or "not a git repository" in last
        or "does not appear to be a git repository" in "\n".join(said)
    ):
        return CloneFailed("not_a_repository", "there is no git repository at this path, or it cannot be read")
    if "rev-parse" in arguments:
        return CloneFailed("no_commit", "the repository has no commit")
    return CloneFailed("clone_failed", last)
