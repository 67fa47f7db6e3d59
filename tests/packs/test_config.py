"""What a manifest and a lock name is a name: never an option of the installer, an address, or a weaker hash.

That arguments and environment reach a server as they are written: tests/hostile/test_mcp.py.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.packs.test_registration import small
from worka.packs import manifest
from worka.packs.errors import LockInvalid, ManifestInvalid
from worka.packs.runtime.record import read_lock


def of(**package: str) -> dict[str, Any]:
    return small(runtime={"package": {"ecosystem": "pypi", "name": "a", "version": "1.0"} | package})


@pytest.mark.capability("MAN-1")
@pytest.mark.parametrize(
    "name", ["--index-url=https://evil.test", "-e", "a b", "a;id", "../a", "a @ https://evil.test/a", ""]
)
def test_the_name_and_version_of_a_package_are_names_and_never_options(name: str) -> None:
    manifest.read(of(name="mcp-server-git", version="1.0"))
    for change in ({"name": name}, {"version": name}):
        with pytest.raises(ManifestInvalid):
            manifest.read(of(**change))


HASH = " --hash=sha256:" + "0" * 64
PIN = "a==1 --hash=sha256:" + "0" * 64


LINES = (
    "--index-url https://evil.test/simple", "-r /etc/passwd", "-e .", PIN.replace("a==1", "a==1; os.system('id')"),
    f"{PIN} --config-settings=x", f"{PIN} --global-option=x", "git+https://evil.test/a.git", "./a.tar.gz", PIN.replace("==", "==="),
    "a==1 --hash=md5:00", PIN.replace("a==", "a @ https://evil.test/a#=="), f"-c x {PIN}",
)  # fmt: skip


@pytest.mark.capability("RUN-5", part="archives")
def test_a_lock_holds_no_option_no_address_and_no_weaker_hash() -> None:
    assert read_lock(PIN).pins == {"a": "1"}, "the control"
    for line in LINES:
        with pytest.raises(LockInvalid):
            read_lock(f"{PIN}\n{line}\n")


LONG = (
    "a==1" + " " * 300_000 + "x", "a==1" + HASH + " " * 300_000 + "x", "a==1" + HASH * 4000 + " x", "a==1 ;" + HASH * 4000 + "x",
    "a==1 ; " + "(" * 3000 + HASH, "a==1 ; python_version" + " " * 300_000 + HASH, "a" * 300_000 + "!" + HASH,
    "a[" + ", " * 100_000 + HASH, "a==1 ; " + "python_version>'3' and " * 5000 + "python_version>'3'" + HASH,
)  # fmt: skip


@pytest.mark.capability("RUN-5", part="archives")
def test_a_long_line_of_a_lock_is_refused_at_once() -> None:
    began = time.thread_time()
    for line in LONG:
        with pytest.raises(LockInvalid):
            read_lock(f"{PIN}\n{line}\n")
    assert time.thread_time() - began < 5
    marked = "a[x, y]  ==  1 ;  python_version > '3'" + HASH * 200
    assert read_lock(marked.replace(" --hash", " \\\n    --hash")).text == f"{' '.join(marked.split())}\n", (
        "the control"
    )
