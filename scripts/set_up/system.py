"""What the machine must have beside Python: packages, and as root two system users."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from collections.abc import Callable

from words import Failed, say

SEARCH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# Read by pg_createcluster: the tests want PostgreSQL's programs, not a server of the machine's own on port 5432.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/worka.conf")
USERS = {"worka": "Worka processes", "worka-db": "Worka embedded PostgreSQL"}


def program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name, path=SEARCH) for name in names)


def path(*paths: str) -> Callable[[], bool]:
    return lambda: any(os.path.exists(p) for p in paths)


def found(pattern: str) -> Callable[[], bool]:
    return lambda: bool(glob.glob(pattern))


@dataclass(frozen=True)
class Part:
    """A Debian package, what shows that the machine has it, and whether only the tests need it."""

    package: str
    present: Callable[[], bool]
    tests_only: bool = False


PARTS = (
    Part("bubblewrap", program("bwrap")),
    Part("git", program("git")),
    Part("ca-certificates", path("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")),
    # The browser without its windows: pages open in it for half of what they cost in the whole one, which does as well.
    Part("chromium-headless-shell", program("chromium-headless-shell", "chromium"), tests_only=True),
    # Only its library is used, preloaded: `make faults` shifts the clock of Worka and of PostgreSQL with it.
    Part("faketime", found("/usr/lib/*/faketime/libfaketimeMT.so.1"), tests_only=True),
    Part("fonts-dejavu-core", path("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/dejavu"), tests_only=True),
    Part(
        "faketime",
        path(*(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1" for machine in ("x86_64", "aarch64"))),
        tests_only=True,
    ),
    Part("docker-registry", program("docker-registry"), tests_only=True),
    # The strong tier of isolation. An instance runs without it, and refuses what requires it.
    Part("runsc", program("runsc"), tests_only=True),
    # A container engine's runtime, where the deployment starts packs by it; needed as root only.
    Part("runc", program("runc"), tests_only=True),
    Part("nodejs", program("node"), tests_only=True),
    Part("npm", program("npm"), tests_only=True),
    Part("postgresql-15", path("/usr/lib/postgresql/15/bin/initdb"), tests_only=True),
)


def ensure(*, tests: bool) -> None:
    """Installs what is missing as root on a Debian system; otherwise fails with the one command that does."""
    missing = [part.package for part in PARTS if not part.present() and (tests or not part.tests_only)]
    if missing:
        install(missing, who="the tests need" if tests else "Worka needs")
    if os.geteuid() == 0:
        for user, comment in USERS.items():
            ensure_user(user, comment)


def install(packages: list[str], *, who: str) -> None:
    names = " ".join(packages)
    if os.geteuid() != 0:
        raise Failed(f"{who} {names}; run: sudo apt-get install -y {names}")
    if not shutil.which("apt-get"):
        raise Failed(f"{who} {names} and there is no apt-get here; install them with this system's package tool")
    say(f"installing system packages: {names}")
    own_file = "postgresql-15" in packages and not NO_CLUSTER.exists()
    if own_file:
        NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n")
    try:
        result = apt("install", "-y", "--no-install-recommends", *packages)
        if result.returncode != 0:
            say("package lists are missing or old; fetching them")
            apt("update")
            result = apt("install", "-y", "--no-install-recommends", *packages)
    finally:
        if own_file:
            NO_CLUSTER.unlink(missing_ok=True)
    if result.returncode != 0:
        last = (result.stdout.strip().splitlines() or ["no output"])[-1]
        raise Failed(f"apt-get could not install {names} ({last}); run: apt-get update && apt-get install -y {names}")


def apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def ensure_user(name: str, comment: str) -> None:
    try:
        pwd.getpwnam(name)
        return
    except KeyError:
        say(f"creating the system user {name}")
    useradd = shutil.which("useradd", path=SEARCH)
    if not useradd:
        raise Failed(f"the system user {name} is missing and there is no useradd; run: apt-get install -y passwd")
    command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/worka"]
    command += ["--shell", "/usr/sbin/nologin", "--comment", comment, name]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode not in (0, 9):  # 9: someone else made it in between
        raise Failed(
            f"could not create the system user {name}: {result.stderr.strip()}; run: {' '.join(command[:-3])} {name}"
        )
