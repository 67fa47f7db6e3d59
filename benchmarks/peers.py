"""Peers in environments of their own, outside the checkout and outside ours: hashed Python locks, pinned Debian files."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

LOCKS = Path(__file__).with_name("peers")


class PeerMissing(Exception):
    """The peer cannot be had here; the text says why. Its comparison did not run, and nothing is claimed about it."""


def folder() -> Path:
    """Where peers lie."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "worka-benchmarks"


def environment(name: str) -> Path:
    """The Python environment of `peers/NAME.lock`, made once for each content of the lock. Raises PeerMissing."""
    lock = LOCKS / f"{name}.lock"
    env = folder() / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if (env / "bin" / "python").exists():
        return env
    work = env.with_name(f".{env.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.parent.mkdir(parents=True, exist_ok=True)
    environ = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_PYTHON_DOWNLOADS": "never", **os.environ}
    try:
        _run(["uv", "venv", "-q", "--relocatable", "--python", "/usr/bin/python3", str(work)], environ)
        install = [
            "uv",
            "pip",
            "install",
            "-q",
            "--python",
            str(work / "bin" / "python"),
            "--require-hashes",
            "--no-deps",
        ]
        _run([*install, "--no-build", "--compile-bytecode", "-r", str(lock)], environ)
        work.rename(env)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return env


def version(name: str, package: str) -> str:
    """The version that a lock pins."""
    lines = (LOCKS / f"{name}.lock").read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{package}=="))


def debian(name: str, program: str, *, listed: str = "") -> Path:
    """A program of a pinned Debian package, unpacked beside the others; `listed`: the name of the list that pins it, if it
    is another. Raises PeerMissing."""
    for line in (LOCKS / f"{listed or name}.txt").read_text().splitlines():
        if not line.startswith("#") and line.split()[:3:2] == [name, _architecture()]:
            _, version, _, digest = line.split()
            break
    else:
        raise PeerMissing(f"no {name} is pinned for {_architecture()}")
    place = folder() / f"{name}-{digest[:12]}"
    if (place / program).exists():
        return place / program
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        _run(["apt-get", "download", "-q", f"{name}={version}"], dict(os.environ), Path(scratch))
        (file,) = Path(scratch).glob("*.deb")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise PeerMissing(f"{file.name} is not the file that is pinned")
        place.mkdir(parents=True, exist_ok=True)
        _run(["dpkg", "-x", str(file), str(place)], dict(os.environ))
    return place / program


def npm(name: str) -> Path:
    """A file of a pinned npm package, unpacked beside the others; nothing of it is run. Raises PeerMissing."""
    for line in (LOCKS / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#") and line.split()[2] == _architecture():
            package, version, _, digest, file = line.split()
            break
    else:
        raise PeerMissing(f"no {name} is pinned for {_architecture()}")
    place = folder() / f"{name}-{digest[:12]}"
    if (place / file).exists():
        return place / file
    with tempfile.TemporaryDirectory() as scratch:
        _run(["npm", "pack", "--silent", f"{package}@{version}"], dict(os.environ), Path(scratch))
        (archive,) = Path(scratch).glob("*.tgz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
            raise PeerMissing(f"{archive.name} is not the file that is pinned")
        place.mkdir(parents=True, exist_ok=True)
        _run(["tar", "-xzf", str(archive), "-C", str(place), "--no-same-owner", file], dict(os.environ))
    return place / file


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _run(command: list[str], environ: dict[str, str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            env=environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise PeerMissing(f"{command[0]} ended with {done.returncode}: {(done.stderr.strip() or '-').splitlines()[-1]}")
