"""The clone that a git mount is bound to (decisions.md 7): fresh, without remotes, credentials, hooks or alternates.

The source is somebody else's directory: nothing of its configuration or hooks is run, and only its committed objects
are copied. What is bound into the sandbox is the copy, read-only; the source is never visible to a pack.
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


class CloneFailed(Exception):
    """`reason` is one of source_missing, source_unreadable, not_a_repository, no_commit, clone_failed; the message says
    more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Clone:
    """`path` of the copy, `revision` (full hash) of its HEAD, and the number of commits that HEAD reaches."""

    path: Path
    revision: str
    commits: int


def make(source: Path, target: Path) -> Clone:
    """Clones the repository at `source` (an absolute path) into `target`, which must not exist. Blocking.

    Raises CloneFailed; nothing is left behind then.
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
        environment = _environment(Path(scratch))
        try:
            # --no-local goes through git's pack protocol: no hard link, no alternate, no foreign file mode comes along.
            _git(
                environment,
                "-c",
                "core.hooksPath=/dev/null",
                "clone",
                "--quiet",
                "--no-local",
                "--template=",
                "--no-recurse-submodules",
                "--",
                str(source),
                str(target),
            )
            for remote in _git(environment, "-C", str(target), "remote").split():
                _git(environment, "-C", str(target), "remote", "remove", remote)
            revision = _git(environment, "-C", str(target), "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
            commits = int(_git(environment, "-C", str(target), "rev-list", "--count", "HEAD").strip())
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


def _environment(scratch: Path) -> dict[str, str]:
    config = scratch / "gitconfig"
    # git refuses another owner's repository unless told; this file is told for the one command, and is the only one
    # read.
    config.write_text("[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n")
    return {
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


def _git(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        umask=0o022,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1][:300] if said else f"git ended with {done.returncode}"
    if (
        "does not exist" in last
        or "not a git repository" in last
        or "does not appear to be a git repository" in "\n".join(said)
    ):
        raise CloneFailed("not_a_repository", "there is no git repository at this path, or it cannot be read")
    if "rev-parse" in arguments:
        raise CloneFailed("no_commit", "the repository has no commit")
    raise CloneFailed("clone_failed", last)
