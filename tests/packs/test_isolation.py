"""Isolation: recorded on every call, required by deployment, tenant or workspace, refused where it cannot be had."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs import running
from tests.packs.conftest import Packs
from tests.packs.running import Instance
from tests.packs.test_places import attached
from worka.kernel.errors import Unavailable
from worka.packs import explain, service
from worka.packs.sandbox import gvisor
from worka.packs.sandbox.spec import LaunchSpec, Limits
from worka.packs.sandbox.tiers import allowed, meets, stricter, tier_of
from worka.packs.service import exposure
from worka.workspaces.errors import LimitTooHigh
from worka.workspaces.limits import service as limits

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]
KERNEL = "import platform; value = platform.release()"
WHOLE = {"driver": "bwrap", "cgroup": "v1:cpu,memory,pids", "uid_separated": True, "seccomp": True}


@pytest.fixture(scope="module")
def packs() -> Iterator[Instance]:
    """A launcher and a host of their own."""
    with running.instance() as here:
        yield here


@pytest.mark.capability("RUN-6")
def test_a_tier_is_what_is_in_force_and_every_missing_part_lowers_it() -> None:
    assert tier_of(WHOLE) == "separate"
    assert tier_of(WHOLE | {"cgroup": "v2:cpu,memory,pids"}) == "separate"
    assert tier_of(WHOLE | {"driver": "runsc"}) == "strong"
    for lacking in ({"uid_separated": False}, {"cgroup": "rlimits"}, {"cgroup": "v1:memory,pids"}):
        assert tier_of(WHOLE | lacking) == "shared"
        assert tier_of(WHOLE | {"driver": "runsc"} | lacking) == "shared", "a kernel of its own is not all of it"
    for none in ({"driver": "none"}, {"seccomp": False}, {"driver": "docker"}):
        assert tier_of(WHOLE | none) is None
        assert not meets(tier_of(WHOLE | none), "shared")
    assert [stricter("strong", "shared"), stricter("shared", "separate"), stricter("shared", "shared")] == [
        "strong",
        "separate",
        "shared",
    ]
    assert [allowed(number) for number in (0, 1, 2, 9)] == ["strong", "separate", "shared", "shared"]
    assert meets("strong", "separate")
    assert not meets("separate", "strong")


def in_force(packs: Instance, outcome: Row) -> tuple[list[str], bool]:
    """(namespaces, whether a filter of system calls) of the process of the host that is this session's pack."""
    names = {
        "user": "user",
        "pid": "pid",
        "network": "net",
        "mount": "mnt",
        "ipc": "ipc",
        "uts": "uts",
        "cgroup": "cgroup",
    }
    mine = f"Uid:\t{outcome['isolation']['uid']}\t"
    started = next(
        one for one in below(packs.processes["launcher"].pid) if mine in Path(f"/proc/{one}/status").read_text()
    )
    # The last of them: bubblewrap's own are before the pack, and gVisor's helpers before the pack's kernel.
    pack = below(started)[-1]
    spaces = [
        name
        for name, kind in names.items()
        if os.readlink(f"/proc/{pack}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    ]
    return spaces, "Seccomp:\t2" in Path(f"/proc/{pack}/status").read_text()


def below(pid: int) -> list[int]:
    """The process and everything that it started, parents first."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [one for child in children.read_text().split() for one in below(int(child))]
    return found


def test_what_gvisor_gives_the_pack_as_files_of_its_own_is_bounded() -> None:
    spec = LaunchSpec("s", "", 200_000, ["x"], {}, "/x", [], Limits(disk_mb=7), network=False, isolation="strong")
    sizes = {
        mount["destination"]: [option for option in mount.get("options", ()) if option.startswith("size=")]
        for mount in gvisor.config(spec, [], "/root")["mounts"]
        if mount["type"] == "tmpfs"
    }
    assert sizes == {"/dev": ["size=1048576"], "/tmp": [f"size={7 << 20}"]}


@pytest.mark.capability("RUN-6")
async def test_a_kernel_of_its_own_that_cannot_be_started_is_no_start() -> None:
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    # Executable, and nothing that a kernel can execute.
    breaks = 'mount --bind "$0" "$(command -v runsc)" && exec "$@"'
    with tempfile.NamedTemporaryFile(dir="/usr/local", prefix="worka-test-") as broken:
        os.write(broken.fileno(), b"\x7fno program")
        os.fchmod(broken.fileno(), 0o755)
        os.fsync(broken.fileno())
        with running.instance(wrapper=["unshare", *flags, "sh", "-c", breaks, broken.name]) as here:
            session = await here.session()
            refused = await here.run(session | {"isolation": "strong"}, KERNEL)
            usual = await here.run(session, KERNEL)
    assert (refused["reason"], refused["isolation"]) == ("sandbox_unavailable", {}), (
        "it is told as one that was started"
    )
    assert usual["status"] == "ok", "the control: the other way starts"


@pytest.mark.capability("RUN-6")
@pytest.mark.capability("RUN-8", part="gVisor beside bubblewrap")
async def test_a_pack_that_requires_it_runs_on_a_kernel_of_its_own_within_the_same_limits(packs: Instance) -> None:
    usual, strong = await packs.session(), await packs.session(isolation="strong")
    first = await packs.run(usual, KERNEL)
    assert first["structured"]["value"] == platform.release(), "the control: otherwise it is the host's"
    second = await packs.run(strong, KERNEL, timeout=30)
    assert second["status"] == "ok", (second, packs.log("launcher"))
    assert second["structured"]["value"] != platform.release()
    told = second["isolation"]
    assert (told["driver"], told["tier"], told["kernel"], told["uid"]) == ("runsc", "strong", "gvisor", strong["uid"])
    assert (first["isolation"]["driver"], first["isolation"]["tier"]) == ("bwrap", "separate")
    for row in (first, second):
        assert in_force(packs, row) == (row["isolation"]["namespaces"], True), (
            "what is recorded is not what is in force"
        )
    assert [row["isolation"]["filter"] for row in (first, second)] == ["worka", "gvisor"]
    look = (
        "import os\nvalue = [os.getuid(), sorted(os.listdir('/')), [os.path.exists(p) for p in ('/var/log', '/home', '/root', '/mnt/config.json')]]\n"
        "for path in ('/usr/x', '/etc/x', '/x'):\n    try: open(path, 'w'); value.append(path)\n    except OSError: pass"
    )
    uid, top, seen, *written = await packs.value(strong, look)
    assert (uid, seen, written) == (1000, [False] * 4, [])
    assert (
        {"usr", "tmp", "etc", "proc", "dev"}
        <= set(top)
        <= {"usr", "tmp", "etc", "proc", "dev", "sys", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}
        | {strong["env_path"].split("/")[1]}
    )
    assert await packs.value(strong, "open('/tmp/x', 'wb').write(b'0' * 1_000_000); value = 'written'") == "written"
    full = await packs.run(strong, "open('/tmp/y', 'wb').write(b'0' * 40_000_000)")
    assert "No space left" in full["text"], full
    offline = await packs.run(strong, "import socket; socket.create_connection(('1.1.1.1', 443), 2)")
    assert offline["status"] == "tool_error"
    for code, reason in (
        ("import os; os._exit(7)", "pack_crashed"),
        ("import os; os.kill(os.getpid(), 11)", "pack_signalled"),
        ("x = b'x' * (900 << 20)", "pack_out_of_memory"),
    ):
        assert (await packs.run(strong, code, timeout=30))["reason"] == reason
        assert (await packs.run(usual, "value = 1"))["session"] == "warm", "nobody else feels it"
    await packs.client.drop(attachment_id=strong["attachment_id"])
    assert await packs.gone(strong)


@pytest.mark.capability("RUN-6")
async def test_a_warm_session_of_less_isolation_is_not_used_once_more_is_required(packs: Instance) -> None:
    session = await packs.session()
    assert (await packs.run(session, "value = 1"))["session"] == "cold"
    assert (await packs.run(session, "value = 1"))["session"] == "warm", "the control"
    assert (await packs.run(session | {"isolation": "separate"}, "value = 1"))["session"] == "cold"
    strong = await packs.run(session | {"isolation": "strong"}, "value = 1", timeout=30)
    assert (strong["session"], strong["isolation"]["tier"]) == ("cold", "strong")


@pytest.mark.capability("RUN-6")
async def test_without_gvisor_what_requires_it_is_refused_with_the_command_that_installs_it() -> None:
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    hide = ["unshare", *flags, "sh", "-c", 'mount --bind /dev/null "$(command -v runsc)" && exec "$@"', "sh"]
    with running.instance(wrapper=hide) as here:
        session = await here.session()
        refused = await here.run(session | {"isolation": "strong"}, KERNEL)
        usual = await here.run(session, KERNEL)
        status = await here.client.status()
    assert (refused["reason"], refused["layer"]) == ("isolation_too_weak", "sandbox"), refused
    assert refused["remedy"] == "apt-get install -y runsc"
    assert refused["isolation"] == {}, "it ran all the same"
    assert usual["status"] == "ok", "the control: what requires less runs"
    assert status["isolation"]["tiers"] == ["separate", "shared"]


@pytest.mark.capability("RUN-6")
async def test_a_deployment_that_requires_a_uid_of_its_own_starts_nothing_where_there_is_none() -> None:
    with running.instance(ordinary=True, environment={"WORKA_PACKS__ISOLATION": "separate"}) as here:
        session = await here.session()
        outcomes = [await here.run(session, KERNEL), await here.run(session | {"isolation": "shared"}, KERNEL)]
        for outcome in outcomes:
            assert outcome["reason"] == "isolation_too_weak", outcome
            assert "a uid of its own" in outcome["message"]
        with pytest.raises(Unavailable, match="a uid of its own") as refused:
            await here.client.probe(session=session)
        assert refused.value.problem_code == "isolation_too_weak", "a trial says the same as a call"
    with running.instance(ordinary=True) as here:
        usual = await here.run(await here.session(), KERNEL)
    assert (usual["status"], usual["isolation"]["tier"]) == ("ok", "shared"), (
        "the control: without the requirement it runs"
    )


@pytest.mark.capability("RUN-6")
async def test_a_workspace_requires_isolation_by_a_limit_that_holds_for_the_next_call(place: Packs) -> None:
    await attached(place)

    async def kernel() -> Row:
        _, answer = await service.call(place.ctx(), "acme.slow.run", {"code": KERNEL}, None)
        assert answer["status"] == "succeeded", answer
        (row,) = await place.world.rows("invocation", "id = %s", answer["invocation_id"])
        return {**row["isolation"], "release": answer["structured"]["value"]}

    before = await kernel()
    assert (before["tier"], before["release"], before["driver"]) == ("separate", platform.release(), "bwrap")
    assert {"cgroup", "seccomp", "namespaces", "uid", "uid_separated", "limits", "network"} <= before.keys()
    wish = {
        "layer": "workspace",
        "scope": "workspace",
        "name": "pack_exposure",
        "value": 0,
        "reason": "strangers' code",
    }
    await limits.set_limit(place.ctx(), place.world.workspace_id, wish)
    after = await kernel()
    assert (after["tier"], after["driver"]) == ("strong", "runsc")
    assert after["release"] != platform.release()
    shown = await limits.show(place.ctx(), place.world.workspace_id)
    (item,) = [one for one in shown["items"] if (one["name"], one["scope"]) == ("pack_exposure", "workspace")]
    assert (item["limit"], item["use"]) == (0, 1), "the most that was shared within the day"
    road = (
        await explain.explain_invocation(
            place.ctx(), (await place.world.rows("invocation", "true order by id desc limit 1"))[0]["id"]
        )
    ).road
    assert {leg.name: leg.detail for leg in road}["sandbox"] == "runsc, strong"
    assert await exposure.required_of(place.ctx(), place.world.workspace_id) == "strong", (
        "and registration probes under it"
    )
    await limits.set_limit(place.ctx(), place.world.workspace_id, wish | {"value": None})
    assert (await kernel())["tier"] == "separate"


@pytest.mark.capability("RUN-6")
async def test_a_workspace_cannot_loosen_what_its_tenant_requires(place: Packs) -> None:
    wide = {"layer": "tenant", "scope": "tenant", "name": "pack_exposure", "value": 1, "reason": "a uid for each"}
    await limits.set_limit(place.ctx(), place.world.workspace_id, wide)
    own = {"layer": "workspace", "scope": "workspace", "name": "pack_exposure", "reason": "ours"}
    with pytest.raises(LimitTooHigh):
        await limits.set_limit(place.ctx(), place.world.workspace_id, own | {"value": 2})
    await limits.set_limit(place.ctx(), place.world.workspace_id, own | {"value": 0})
    assert await exposure.required_of(place.ctx(), place.world.workspace_id) == "strong", "the control: it may tighten"


@pytest.mark.capability("RUN-1", "RUN-4", part="processor time over a session's life")
async def test_a_pack_that_computes_past_its_processor_time_is_ended_and_only_it(packs: Instance) -> None:
    hog, quiet = await packs.session(limits={"cpu_seconds": 2}), await packs.session()
    outcome = await packs.run(hog, "while True: pass", timeout=30)
    assert (outcome["reason"], outcome["signal"]) in (("pack_signalled", 24), ("pack_signalled", 9)), outcome
    assert await packs.value(quiet, "value = sum(range(1_000_000))") == 499999500000, "the control"
