"""The kernel's interfaces, each really asked from inside the real sandbox; the control is the same code outside of it.

What could harm the machine is asked outside in namespaces of its own. Probes: `pack/probes.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.running import Instance, instance

pytestmark = pytest.mark.capability("RUN-1")
PROBES = Path(__file__).with_name("pack") / "probes.py"
OWN = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc"]

# probe -> how it is refused inside
REFUSED = {
    "mount_tmpfs": "EPERM", "mount_proc": "EPERM", "mount_bind": "EPERM", "remount_writable": "EPERM",
    "umount_proc": "EPERM", "pivot_root": "EPERM", "chroot": "EPERM", "fsopen": "EPERM", "open_tree": "EPERM",
    "mount_setattr": "EPERM",
    "unshare_newns": "EPERM", "unshare_newcgroup": "EPERM", "unshare_newuts": "EPERM", "unshare_newipc": "EPERM",
    "unshare_newuser": "EPERM", "unshare_newpid": "EPERM", "unshare_newnet": "EPERM", "unshare_newtime": "EPERM",
    "clone_newuser": "EPERM", "clone3_newuser": "ENOSYS", "setns": "EPERM", "setns_pidfd": "EPERM",
    "sethostname": "EPERM",
    "bpf_map": "EPERM", "bpf_program": "EPERM", "io_uring": "EPERM", "add_key": "EPERM", "keyctl_session": "EPERM",
    "request_key": "EPERM", "userfaultfd": "EPERM", "perf_event_open": "EPERM", "kernel_log": "EPERM",
    "device_node": "EPERM",
    "ptrace_attach": "EPERM", "ptrace_traceme": "EPERM", "process_vm_readv": "EPERM", "process_vm_writev": "EPERM",
    "pidfd_getfd": "EPERM", "kcmp": "EPERM", "open_by_handle": "EPERM",
    "tiocsti": "EPERM", "packet_socket": "EAFNOSUPPORT", "vsock_socket": "EAFNOSUPPORT", "raw_socket": "EPERM",
    "add_address": "EPERM",
    "write_core_pattern": "EACCES", "write_ip_forward": "EACCES", "write_sys": "ENOENT", "open_kmsg": "ENOENT",
    "make_cgroup": "ENOENT", "leave_cgroup": "ENOENT",
}  # fmt: skip
# What the kernel does not let an ordinary user do either: there the control needs root.
ROOTS = {
    "bpf_map", "bpf_program", "userfaultfd", "perf_event_open", "kernel_log", "device_node", "open_by_handle",
    "write_core_pattern", "write_sys", "open_kmsg", "make_cgroup", "leave_cgroup", "tiocsti",
}  # fmt: skip


@pytest.fixture(scope="module", params=["its own uid", "an ordinary user's"])
def packs(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """The sandbox as root makes it, and as an ordinary user does: the same for the kernel's interfaces."""
    with instance(ordinary=request.param != "its own uid") as running:
        yield running


@pytest.fixture(scope="module")
def inside(packs: Instance) -> dict[str, str]:
    """Every probe's outcome in one warm sandbox."""

    async def ask() -> Any:
        return await packs.value(await packs.session(), f"{PROBES.read_text()}\nvalue = run({sorted(REFUSED)!r})")

    return dict(asyncio.run(ask()))


@pytest.fixture(scope="module")
def outside() -> dict[str, str]:
    """The same outside, in namespaces of its own."""
    own = OWN if os.geteuid() == 0 else [*OWN, "--map-root-user"]
    done = subprocess.run([*own, sys.executable, str(PROBES)], capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("probe", sorted(REFUSED))
def test_the_sandbox_refuses_what_the_kernel_does_outside(
    inside: dict[str, str], outside: dict[str, str], probe: str
) -> None:
    assert inside[probe] == REFUSED[probe]
    if os.geteuid() == 0 or probe not in ROOTS:
        assert outside[probe] == "done", "the control: outside of the sandbox it works"


def test_every_probe_has_its_refusal(outside: dict[str, str]) -> None:
    assert sorted(outside) == sorted(REFUSED)
