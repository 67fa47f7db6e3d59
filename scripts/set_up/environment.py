"""The Python environments: one folder per (lock, interpreter), made once, never changed, shared by every checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import use
from words import Failed, say

OLDEST = (3, 11)
NOBODY = 65534
LAYOUT = "2"  # part of every environment's name: a change of how they are made makes new ones
KEEP = 4
PROBE = "import sys, ssl, ctypes, sqlite3, venv; print('%d.%d.%d' % sys.version_info[:3])"


# ------------------------------------------------------------------ the interpreter


def choose_python() -> Path:
    """The interpreter of every environment: new enough and, as root, usable by others (a pyenv in a home is not)."""
    chosen = os.environ.get("WORKA_PYTHON")
    names = [chosen] if chosen else ["/usr/bin/python3", *_newer(), "/usr/local/bin/python3", shutil.which("python3")]
    for name in names:
        if name and _version(Path(name)) >= OLDEST:
            return Path(name)
    wanted = ".".join(map(str, OLDEST))
    raise Failed(
        f"no Python {wanted} or newer that {'every user' if os.geteuid() == 0 else 'you'} can run "
        f"(tried {', '.join(n for n in names if n)}); run: apt-get install -y python3 (as root), or set WORKA_PYTHON"
    )


def _newer() -> list[str]:
    return [f"/usr/bin/python3.{minor}" for minor in range(14, OLDEST[1] - 1, -1)]


def _version(python: Path) -> tuple[int, ...]:
    """(3, 11, 2), or () if it does not run (as root: as another user)."""
    result = _run_as_other([str(python), "-I", "-c", PROBE])
    if result is None or result.returncode != 0:
        return ()
    return tuple(int(part) for part in result.stdout.split("."))


def _run_as_other(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Runs it as a user without rights if we are root: what that user cannot reach, uid `worka` cannot either."""
    lesser = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        return subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **lesser,
        )
    except (OSError, subprocess.SubprocessError):
        return None


def must_be_reachable(folder: Path) -> None:
    """Raises Failed if user `worka` could not enter this folder."""
    result = _run_as_other(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)])
    if result is None or result.returncode != 0:
        raise Failed(
            f"other users cannot enter {folder}, and Worka's do; set WORKA_PREFIX to a folder outside closed homes"
        )


# ------------------------------------------------------------------ uv


def _ensure_uv(prefix: Path, lock: Path, python: Path) -> Path:
    """The `uv` that the lock names, by its hash, installed with whatever installer this machine has."""
    pin = re.search(r"^uv==(\S+)(?:[^\n]*\\\n(?:\s+--hash=\S+(?: \\)?\n)+)", lock.read_text(), re.MULTILINE)
    if not pin:
        raise Failed(f"{lock.name} does not pin uv; run: make lock")
    home = prefix / "boot" / f"uv-{pin.group(1)}"
    uv = home / "bin" / "uv"
    if uv.exists():
        return uv
    say(f"getting uv {pin.group(1)}")
    work = home.with_name(f".{home.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        wanted = work / "wanted.txt"
        wanted.write_text(pin.group(0))
        install = ["install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(wanted)]
        install += ["--target", str(work), "--disable-pip-version-check", "--no-input", "--root-user-action", "ignore"]
        trouble = "pip"
        for pip in _pips(work, python):
            result = subprocess.run(
                [*pip, *install], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if result.returncode == 0 and (work / "bin" / "uv").exists():
                break
            trouble = (result.stderr.strip().splitlines() or ["pip"])[-1]
        else:
            raise Failed(
                f"could not install uv ({trouble}); run: apt-get install -y python3-venv python3-pip (as root)"
            )
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(work / "pip", ignore_errors=True)
        work.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return uv


def _pips(work: Path, python: Path) -> Iterator[list[str]]:
    """Ways to run pip, the cheapest first. Debian splits pip and ensurepip off, so either may be missing."""
    candidates = dict.fromkeys([str(python), sys.executable, shutil.which("python3") or str(python)])
    for name in candidates:
        if _works([name, "-m", "pip", "--version"]):
            yield [name, "-m", "pip"]
    for name in candidates:
        if _works([name, "-m", "venv", str(work / "pip")]):
            yield [str(work / "pip" / "bin" / "python"), "-m", "pip"]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        import system

        system.install(["python3-venv", "python3-pip"], who="the set-up needs")
        yield ["/usr/bin/python3", "-m", "pip"]


def _works(command: list[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


# ------------------------------------------------------------------ environments


def ensure(prefix: Path, lock: Path, python: Path) -> Path:
    """The environment of this lock on this interpreter. Made beside its place and renamed: it is whole or absent."""
    version = ".".join(map(str, _version(python)))
    key = "\0".join([LAYOUT, version, str(python.resolve()), lock.read_text()])
    env = prefix / "env" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not env.exists():
        _make(env, lock, python, _ensure_uv(prefix, lock, python))
    use.touch(env)
    return env


def _make(env: Path, lock: Path, python: Path, uv: Path) -> None:
    count = len(re.findall(r"^[A-Za-z0-9_.-]+==", lock.read_text(), re.MULTILINE))
    say(f"installing {count} packages of {lock.name} by their hashes (once)")
    env.parent.mkdir(parents=True, exist_ok=True)
    work = env.with_name(f".{env.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    # The system's certificates: a company's own root is there and not among uv's. Set UV_SYSTEM_CERTS=0 to refuse them.
    settings = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environ = {**settings, **os.environ}
    try:
        # Relocatable: it is made under one name and used under another.
        _uv([uv, "venv", "-q", "--relocatable", "--python", python, work], environ, python)
        install = [uv, "pip", "install", "-q", "--python", work / "bin" / "python", "--require-hashes", "--no-deps"]
        _uv([*install, "--no-build", "--compile-bytecode", "-r", lock], environ, python)
        _open_to_all(work)
        work.rename(env)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"environment ready: {env}")


def _uv(command: list[object], environ: dict[str, str], python: Path) -> None:
    """Runs uv. A second try follows a failure: a mirror may answer slowly once, or only pip's settings may name it."""
    words = [str(part) for part in command]
    result = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        say("uv failed; trying once more")
        time.sleep(2)
        again = {**environ, **_index_of_pip(environ, python)}
        result = subprocess.run(words, env=again, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise Failed(f"uv could not make the environment: {' / '.join(lines[-4:]) or 'no message'}")


def _index_of_pip(environ: dict[str, str], python: Path) -> dict[str, str]:
    """pip's own package index as uv's setting, where uv has none: uv does not read pip's configuration."""
    if "UV_DEFAULT_INDEX" in environ or "UV_INDEX_URL" in environ:
        return {}
    index = environ.get("PIP_INDEX_URL")
    if not index:
        command = [str(python), "-m", "pip", "config", "get", "global.index-url"]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        index = result.stdout.strip() if result.returncode == 0 else ""
    return {"UV_DEFAULT_INDEX": index} if index else {}


def _open_to_all(folder: Path) -> None:
    """uv links files from its cache with the mode they have there; user `worka` must be able to read every one."""
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            target = os.path.join(parent, name)
            mode = os.lstat(target).st_mode
            wanted = mode | 0o444 | (0o111 if mode & 0o100 else 0)
            if wanted != mode and not os.path.islink(target):
                os.chmod(target, wanted & 0o7777)


def prune(prefix: Path) -> None:
    """Removes environments that no kept build names, that nothing runs and that are not among the newest."""
    named = {use.environment_of(folder) for folder in use.hashed(prefix / "build")}
    for env in use.hashed(prefix / "env")[KEEP:]:
        if str(env) not in named and not use.running(env):
            shutil.rmtree(env, ignore_errors=True)
