"""Giving a pack to a workspace: what asks, what waits, what is granted, what is bound, and what ends with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Outside, Packs
from tests.packs.plain import tree
from tests.packs.running import SERVER
from tests.packs.test_registration import small
from tests.workspaces.world import decided_while_held
from worka.approvals import service as approvals
from worka.kernel.errors import Denied
from worka.kernel.settings import PackSettings, mount_roots
from worka.packs import explain, model, rules, service, store
from worka.packs.errors import (
    AlreadyAttached,
    AttachmentNotUsable,
    MountInvalid,
    ReleaseNotUsable,
    ToolHeld,
    ToolNotFound,
)
from worka.packs.runtime import clone
from worka.packs.service import attachments
from worka.workspaces import service as workspaces
from worka.workspaces.errors import QuotaFull
from worka.workspaces.limits import service as limits

pytestmark = pytest.mark.timeout(300)
Row = dict[str, Any]


async def the(place: Packs, attachment_id: str) -> Row:
    """The attachment as it is now."""
    (row,) = await place.world.rows("attachment", "id = %s", attachment_id)
    return row


@pytest.mark.capability("GOV-5", part="attaching a pack with reach")
async def test_a_local_read_only_pack_attaches_without_asking_and_one_with_reach_asks(place: Packs) -> None:
    release = await place.register(small(), "", tree())
    row = await service.attach(place.ctx("member"), release["id"])
    assert (row["state"], row["approval_id"]) == ("attached", None)
    for name in ("notes", "git"):
        asked = await place.attach(name, approve=False)
        assert asked["state"] == "awaiting_approval"
        told = await explain.explain_attachment(place.ctx("viewer"), asked["id"])
        assert told.waiting_on[0].ref == asked["approval_id"]
        assert not told.waiting_on[0].you_can
    with pytest.raises(Denied):
        await service.attach(place.ctx("viewer"), release["id"])


async def test_approved_it_waits_for_the_connection_and_goes_on_by_itself(place: Packs, outside: Outside) -> None:
    row = await place.attach("notes")
    assert (row["state"], row["reason"]) == ("awaiting_connection", "waiting_for_connection")
    told = await explain.explain_attachment(place.ctx(), row["id"])
    assert [item.name for item in told.waiting_on] == ["tracker at tracker.worka.test:443"]
    assert await place.world.rows("secret_grant") == []
    await place.connect(outside.facts)
    assert (await the(place, row["id"]))["state"] == "attached"
    (grant,) = await place.world.rows("secret_grant")
    assert (grant["attachment_id"], grant["endpoint"], grant["revoked_at"]) == (
        row["id"],
        "tracker.worka.test:443",
        None,
    )


async def test_with_the_connection_there_the_approval_is_the_last_thing_missing(place: Packs, outside: Outside) -> None:
    await place.connect(outside.facts)
    row = await place.attach("fetch")
    assert row["state"] == "attached"
    (approval,) = await place.world.rows("approval", "id = %s", row["approval_id"])
    assert approval["consumed_by"] == row["id"]
    assert "tracker.worka.test:443" in approval["effect"]
    with pytest.raises(AlreadyAttached):
        await place.attach("fetch")


async def test_rejected_it_is_detached_with_the_reason_and_grants_nothing(place: Packs, outside: Outside) -> None:
    await place.connect(outside.facts)
    row = await place.attach("notes", approve=False)
    await place.approve(row["approval_id"], "reject")
    row = await the(place, row["id"])
    assert (row["state"], row["reason"]) == ("detached", "attachment_rejected")
    assert await place.world.rows("secret_grant") == []
    again = await place.attach("notes")
    assert again["state"] == "attached"


async def test_consenting_and_detaching_at_once_take_locks_in_one_order(place: Packs) -> None:
    row = await place.attach("git", approve=False)
    await decided_while_held(
        place.world,
        row["approval_id"],
        place.approve(row["approval_id"]),
        lambda conn: store.attachment_for_update(conn, row["id"]),
    )
    assert (await the(place, row["id"]))["state"] == "attached"


@pytest.mark.capability("GOV-5", part="what was approved is decided again when consent comes")
@pytest.mark.parametrize("moved", ["the right of who asked", "what was asked", "nothing"])
async def test_consent_attaches_only_what_was_asked_by_who_still_may(place: Packs, moved: str) -> None:
    release = await place.shipped("git")
    mounts = {"repo": str(place.repository)}
    row = await service.attach(place.ctx("member"), release["id"], mounts=mounts)
    assert row["state"] == "awaiting_approval"
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        if moved == "the right of who asked":
            await conn.execute(
                "update worka.membership set role = 'viewer' where principal_id = %s", (place.world.ids["member"],)
            )
        if moved == "what was asked":
            await conn.execute("update worka.attachment set mode = 'tracking' where id = %s", (row["id"],))
    await place.approve(row["approval_id"])
    found = await the(place, row["id"])
    if moved == "nothing":
        assert found["state"] == "attached", "the control"
    else:
        assert (found["state"], found["reason"]) == ("detached", "attachment_superseded")
        with pytest.raises(ToolNotFound):
            await service.prepare(place.ctx(), "mcp.git.git_log", {"repo_path": "/repo"})


@pytest.mark.capability("IDN-9", part="while a repository is cloned")
@pytest.mark.parametrize("demoted", [True, False])
async def test_who_lost_the_right_while_the_repository_was_cloned_attaches_nothing(
    place: Packs, monkeypatch: pytest.MonkeyPatch, demoted: bool
) -> None:
    release = await place.shipped("git")
    make, loop, cloned = clone.make, asyncio.get_running_loop(), list[Path]()

    async def demote() -> None:
        world = place.world
        await workspaces.change_member(world.ctx("owner"), world.workspace_id, world.ids["member"], "viewer", None)

    def slow(*args: Any, **how: Any) -> Any:
        made = make(*args, **how)
        cloned.append(args[1])
        assert args[1].is_dir()
        if demoted:
            asyncio.run_coroutine_threadsafe(demote(), loop).result(30)
        return made

    monkeypatch.setattr(clone, "make", slow)
    attach = service.attach(place.ctx("member"), release["id"], mounts={"repo": str(place.repository)})
    if not demoted:
        assert (await attach)["state"] == "awaiting_approval", "the control"
        return
    with pytest.raises(Denied, match="may not attach"):
        await attach
    assert await place.world.rows("attachment") == []
    (target,) = cloned
    assert not target.exists()


@pytest.mark.capability("GOV-10", part="a release")
async def test_a_release_revoked_while_the_approval_was_open_is_not_attached(place: Packs) -> None:
    row = await place.attach("git", approve=False)
    await service.revoke(place.ctx(), row["release_id"], "a flaw")
    await place.approve(row["approval_id"])
    assert (await the(place, row["id"]))["reason"] == "release_revoked"
    with pytest.raises(ReleaseNotUsable):
        await service.attach(place.ctx(), row["release_id"], mounts={"repo": str(place.repository)})


async def test_a_git_mount_is_a_fresh_clone_without_remotes_credentials_or_hooks(place: Packs) -> None:
    marker = Path("/tmp/worka-hook-ran")
    marker.unlink(missing_ok=True)
    row = await place.attach("git")
    (mount,) = row["mounts"]
    bound = Path(mount["clone"])
    run = lambda *command: subprocess.run(  # noqa: E731
        ["git", "-c", "safe.directory=*", "-C", str(bound), *command], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert run("rev-parse", "HEAD") == mount["revision"]
    assert mount["commits"] == 3
    assert run("remote") == ""
    assert "hunter2" not in (bound / ".git" / "config").read_text()
    assert not (bound / ".git" / "hooks").exists()
    assert not (bound / ".git" / "objects" / "info" / "alternates").exists()
    assert not (bound / "uncommitted").exists()
    assert not marker.exists()
    # Every file is a copy: no inode is shared with the source.
    sources = {(s.st_dev, s.st_ino) for s in (f.stat() for f in place.repository.rglob("*") if f.is_file())}
    assert sources.isdisjoint((s.st_dev, s.st_ino) for s in (f.stat() for f in bound.rglob("*") if f.is_file()))
    # Who chose what is in the changes.
    (event,) = await place.world.events("pack.attachment.requested")
    assert event["actor_id"] == place.world.ids["owner"]
    assert event["data"]["mounts"] == [{"name": "repo", "source": str(place.repository), "revision": mount["revision"]}]


async def test_a_mount_that_cannot_be_bound_leaves_nothing_behind(place: Packs, home: Path, tmp_path: Path) -> None:
    release = await place.shipped("git")
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "-q", str(empty)], check=True)
    plain = tmp_path / "plain"
    plain.mkdir()
    before = set(os.listdir(home / "clones"))
    for mounts in (
        {},
        {"repo": str(place.repository), "other": "/x"},
        {"repo": "relative"},
        {"repo": str(tmp_path / "missing")},
        {"repo": str(plain)},
        {"repo": str(empty)},
        {"repo": str(home)},
        {"repo": str(home / "keys")},
        {"repo": str(home.parent)},
    ):
        with pytest.raises(MountInvalid):
            await service.attach(place.ctx(), release["id"], mounts=mounts)
    assert set(os.listdir(home / "clones")) == before
    assert await place.world.rows("attachment") == []


async def test_a_mount_comes_only_from_the_folders_that_the_operator_opened(
    place: Packs, repository: Path, tmp_path: Path
) -> None:
    release = await place.shipped("git")
    elsewhere = repository.parent / f"{repository.name}-elsewhere"
    subprocess.run(["git", "clone", "-q", str(repository), str(elsewhere)], check=True)
    (tmp_path / "link").symlink_to(elsewhere)
    try:
        for path in (elsewhere, tmp_path / "link", tmp_path / ".." / ".." / ".." / str(elsewhere).lstrip("/")):
            with pytest.raises(MountInvalid) as refused:
                await service.attach(place.ctx(), release["id"], mounts={"repo": str(path)})
            assert refused.value.extra["reason"] == "outside_mount_roots"
            assert "packs.mount_roots" in refused.value.remedy
        assert await place.world.rows("attachment") == []
        row = await service.attach(place.ctx(), release["id"], mounts={"repo": str(repository)})
        assert row["mounts"][0]["source"] == str(repository)
    finally:
        shutil.rmtree(elsewhere)


def test_without_a_setting_mounts_come_from_the_folder_beside_the_data_directory(tmp_path: Path) -> None:
    assert mount_roots(PackSettings(), tmp_path / "home") == [tmp_path / "repositories"]
    assert mount_roots(PackSettings(mount_roots="/srv/git, /data"), tmp_path) == [Path("/srv/git"), Path("/data")]  # type: ignore[arg-type]


def test_a_clone_runs_nothing_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    mark = tmp_path / "ran"
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    (source / ".gitattributes").write_text("* filter=evil\n")
    (source / "a").write_text("x")
    subprocess.run(["git", "-C", str(source), *identity, "add", "."], check=True)
    subprocess.run(["git", "-C", str(source), *identity, "commit", "-qm", "x"], check=True)
    for key in (
        "uploadpack.packObjectsHook",
        "core.fsmonitor",
        "filter.evil.smudge",
        "core.sshCommand",
        "core.alternateRefsCommand",
    ):
        subprocess.run(["git", "-C", str(source), "config", key, f"touch {mark}; cat"], check=True)
    made = clone.make(source, tmp_path / "deep" / "target")
    assert made.commits == 1
    assert not mark.exists()
    assert (tmp_path / "deep" / "target" / "a").read_text() == "x"


async def test_detached_its_grants_end_and_its_clone_is_gone(place: Packs, outside: Outside) -> None:
    await place.connect(outside.facts)
    notes, git = await place.attach("notes"), await place.attach("git")
    for row in (notes, git):
        gone = await service.detach(place.ctx(), row["id"], "no longer needed")
        assert (gone["state"], gone["reason"]) == ("detached", "attachment_removed")
    (grant,) = await place.world.rows("secret_grant")
    assert grant["revoked_by"] == place.world.ids["owner"]
    assert not Path(git["mounts"][0]["clone"]).exists()
    waiting = await place.attach("git", approve=False)
    await service.detach(place.ctx(), waiting["id"], "changed my mind")
    assert (await approvals.show(place.ctx(), waiting["approval_id"]))["state"] == "withdrawn"


@pytest.mark.capability("GOV-11", part="a release")
async def test_quarantine_stops_everything_of_a_release_at_once(place: Packs) -> None:
    row = await place.attach("git")
    with pytest.raises(Denied):
        await service.quarantine(place.ctx("member"), row["release_id"], "no")
    await service.quarantine(place.ctx(), row["release_id"], "a bad file")
    row = await the(place, row["id"])
    assert (row["state"], row["reason"]) == ("suspended", "release_quarantined")
    with pytest.raises(AttachmentNotUsable):
        await service.prepare(place.ctx(), "mcp.git.git_log", {"repo_path": "/repo"})


@pytest.mark.capability("TOL-5", part="held")
async def test_a_changed_definition_holds_the_tool_others_serve_and_the_difference_is_shown(place: Packs) -> None:
    row = await place.attach("git")
    async with place.ctx().transaction():
        ctx = place.ctx()
        async with ctx.transaction():
            await attachments.hold(ctx, row["id"], "git_log", "description:\n-old\n+new")
    assert (await the(place, row["id"]))["state"] == "held"
    with pytest.raises(ToolHeld):
        await service.prepare(place.ctx(), "mcp.git.git_log", {"repo_path": "/repo"})
    assert (
        await service.prepare(place.ctx(), "mcp.git.git_status", {"repo_path": "/repo"})
    ).decision.verdict == "allow"
    told = await explain.explain_attachment(place.ctx("member"), row["id"])
    assert "+new" in next(item.label for item in told.evidence if item.kind == "tool_difference")
    assert not told.waiting_on[0].you_can
    with pytest.raises(Denied):
        await service.resolve_held(place.ctx("member"), row["id"], "looks fine")
    assert (await service.resolve_held(place.ctx(), row["id"], "compared"))["state"] == "attached"


@pytest.mark.capability("TOL-5", part="from the server's own change to the hold that a person lifts")
@pytest.mark.timeout(300)
async def test_a_server_that_changes_a_tool_after_its_approval_is_held_before_the_next_call(place: Packs) -> None:
    """The real server changes its description while it runs. The control: before that, and on its other tool, it serves."""
    document = small(
        name="probe",
        runtime={
            "package": {"ecosystem": "path", "name": "probe", "version": "1.0.0"},
            "command": ["python", "server.py"],
        },
        tools=[{"name": name, "side_effect": "read_only"} for name in ("run", "change", "steady")],
    )
    release = await place.register(document, "", {"server.py": SERVER.encode()})
    assert release["state"] == "released", release["error"]
    row = await service.attach(place.ctx(), release["id"])
    assert row["state"] == "attached"

    async def call(name: str, code: str = "value = 1") -> Any:
        return (await service.call(place.ctx(), f"acme.probe.{name}", {"code": code}, None))[1]

    assert (await call("run"))["status"] == "succeeded"
    assert (await call("change"))["status"] == "succeeded"
    refused = await call("run", "value = 2")
    assert (refused["status"], refused["reason"]) == ("failed", "tool_definition_changed")
    held = await the(place, row["id"])
    assert held["state"] == "held"
    assert "+Runs code, and sends your files to me." in held["held"]["run"]
    with pytest.raises(ToolHeld):
        await call("run")
    assert (await call("steady"))["structured"] == {"value": "here"}
    told = await explain.explain_attachment(place.ctx("member"), row["id"])
    assert any("sends your files" in item.label for item in told.evidence if item.kind == "tool_difference")


async def test_two_attachments_at_once_are_one(place: Packs) -> None:
    release = await place.register(small(), "", tree())
    answers = await asyncio.gather(
        *(service.attach(place.ctx(), release["id"]) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert all(isinstance(answer, dict | AlreadyAttached) for answer in answers)


def test_every_state_has_its_reasons_registered() -> None:
    from worka.approvals import rules as _rules  # noqa: F401 - registers the reason of a waiting approval
    from worka.kernel import reasons

    for machine in (model.RELEASE, model.ATTACHMENT, model.INVOCATION):
        for state in machine.states:
            assert state.terminal or state.reasons, (machine.name, state.name)
            for code in state.reasons:
                assert reasons.get(code) is not None, code
    assert rules.attach_effect(
        {"network": False, "writes": False, "host_services": False, "mounts": [], "pack": "a.b", "version": "1"}, []
    )
    assert store is not None


@pytest.mark.capability("OPS-7", part="attached packs")
async def test_one_pack_too_many_is_refused_with_the_limit_and_a_detached_one_leaves_its_place(place: Packs) -> None:
    world = place.world
    wish = {"layer": "workspace", "scope": "workspace", "name": "packs_attached", "value": 1, "reason": "small machine"}
    await limits.set_limit(place.ctx(), world.workspace_id, wish)
    release = await place.register(small(), "", tree())
    row = await service.attach(place.ctx("member"), release["id"])
    with pytest.raises(QuotaFull, match=r"1 of 1 attached packs in this workspace; .* small machine") as full:
        await place.attach("git", approve=False)
    assert full.value.extra["who_can_raise"] == "an owner of this workspace"
    assert [found["id"] for found in await world.rows("attachment")] == [row["id"]]
    await attachments.detach(place.ctx(), row["id"], "over")
    assert (await place.attach("git", approve=False))["state"] == "awaiting_approval"
