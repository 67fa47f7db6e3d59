"""From a manifest to a release that can be attached: stage by stage, in the real sandbox."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import ROOT, Packs
from worka.kernel import canonical
from worka.kernel.context import Context
from worka.kernel.errors import Denied
from worka.kernel.ids import new_id
from worka.packs import explain, rules, service, store, trees
from worka.packs.errors import LockInvalid, ManifestInvalid, ReleaseNotFound, VersionTaken
from worka.workspaces import store as workspaces

SERVER = """
import sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("small", version="1.0.0")


@server.tool(description="Says what it is given.", structured_output=False)
def say(text: str) -> str:
    return text


if __name__ == "__main__":
    server.run("stdio")
"""


def small(version: str = "1.0.0", **changes: Any) -> dict[str, Any]:
    """A manifest of a pack with one harmless tool."""
    return {
        "schema_version": "worka.aip.v1",
        "publisher": "acme",
        "name": "small",
        "version": version,
        "display_name": "Small",
        "description": "Says what it is given.",
        "runtime": {
            "package": {"ecosystem": "path", "name": "small", "version": version},
            "command": ["python", "server.py"],
        },
        "tools": [{"name": "say", "description": "Says what it is given.", "side_effect": "read_only"}],
        **changes,
    }


def lock() -> str:
    """A lock that holds the MCP SDK."""
    return (ROOT / "packs" / "notes" / "requirements.lock").read_text()


def tree(server: str = SERVER) -> dict[str, bytes]:
    """The files of the small pack."""
    return {"server.py": server.encode()}


@pytest.mark.capability("TOL-1", "MAN-5")
@pytest.mark.timeout(300)
async def test_an_unmodified_server_is_released_from_its_manifest_alone(place: Packs) -> None:
    row = await place.shipped("git")
    assert [tool["name"] for tool in row["tools"]][:2] == ["git_status", "git_diff_unstaged"]
    assert row["digest"] == rules.release_digest(row["manifest"], row["lock_text"], row["tree_digest"])
    assert {"name": "mcp-server-git", "version": row["version"]} in row["packages"]
    assert all(tool["pin"] == rules.tool_pin(tool) for tool in row["tools"])
    moved = [event["after"]["state"] for event in await place.world.events("pack.release.moved")]
    assert moved == ["built", "published", "registered", "probed", "released"]
    told = await explain.explain_release(place.ctx("viewer"), row["id"])
    assert (told.state, told.scope) == ("released", "tenant")


@pytest.mark.capability("MAN-1", part="before any code")
async def test_a_wrong_manifest_or_lock_leaves_nothing_behind(place: Packs) -> None:
    with pytest.raises(ManifestInvalid):
        await service.register(place.ctx(), small(version="one"), lock_text=lock())
    with pytest.raises(LockInvalid):
        await service.register(place.ctx(), small(), lock_text="mcp==2.3.0", files={"server.py": ""})
    with pytest.raises(LockInvalid):
        await service.register(place.ctx(), small(), lock_text=lock())
    for name in ("../x", "/etc/passwd", "a/../../b", "./x", ".git/hooks/post-checkout"):
        with pytest.raises(LockInvalid):
            await service.register(place.ctx(), small(), lock_text=lock(), files={name: ""})
    with pytest.raises(Denied):
        await place.register(small(), lock(), tree(), who="viewer")
    assert await place.world.rows("release") == []


@pytest.mark.capability("IDN-8", part="what is sent to be registered is read after the right")
async def test_of_who_may_not_register_nothing_but_the_manifest_is_read(place: Packs) -> None:
    unread: tuple[dict[str, Any], ...] = (
        {"lock_text": "no lock"}, {"lock_text": lock(), "files": {"server.py": "no base64!"}}
    )  # fmt: skip

    async def told(who: str, given: dict[str, Any]) -> str:
        with pytest.raises((Denied, LockInvalid)) as refused:
            await service.register(place.ctx(who), small(), **given)
        return str(refused.value.problem_code)

    for given in unread:
        assert await told("viewer", given) == "denied"
        assert await told("owner", given) in ("lock_invalid", "tree_invalid"), "the control"
    assert await place.world.rows("release") == []


@pytest.mark.capability("MAN-4")
@pytest.mark.timeout(300)
async def test_a_version_never_changes_its_contents(place: Packs) -> None:
    first = await place.register(small(), lock(), tree())
    assert first["state"] == "released", first["error"]
    again = await service.register(place.ctx(), small(), lock_text=lock(), files={"server.py": _encoded(SERVER)})
    assert again["id"] == first["id"]
    with pytest.raises(VersionTaken):
        await service.register(place.ctx(), small(), lock_text=lock(), files={"server.py": _encoded(SERVER + "#")})
    with pytest.raises(VersionTaken):
        await service.register(
            place.ctx(), small(description="x"), lock_text=lock(), files={"server.py": _encoded(SERVER)}
        )
    second = await place.register(small("1.0.1"), lock(), tree())
    assert (second["state"], second["digest"] != first["digest"]) == ("released", True)


@pytest.mark.capability("MAN-4")
async def test_another_workspace_cannot_take_the_name_of_a_publisher(place: Packs) -> None:
    """The control: under a name of its own the same manifest is taken there."""
    world, files = place.world, {"server.py": _encoded(SERVER)}
    first = await service.register(place.ctx(), small(), lock_text=lock(), files=files)
    there = new_id("ws")
    async with world.db.transaction(world.tenant_id) as conn:
        row = {"tenant_id": world.tenant_id, "id": there, "slug": "other", "name": "Other", "created_by": "test"}
        await workspaces.create_workspace(conn, row)
        member = {"tenant_id": world.tenant_id, "workspace_id": there, "principal_kind": "person", "role": "owner"}
        owner = {"principal_id": world.ids["owner"], "approver": False, "created_by": "test"}
        await workspaces.add_member(conn, member | owner)
    same = await service.register(_at(place, there), small(), lock_text=lock(), files=files)
    assert (same["id"], same["workspace_id"]) == (first["id"], world.workspace_id), (
        "the same release, of the same workspace"
    )
    for document in (small(description="x"), small("2.0.0"), small(name="another")):
        with pytest.raises(VersionTaken) as refused:
            await service.register(_at(place, there), document, lock_text=lock(), files=files)
        assert refused.value.problem_code == "publisher_taken"
    own = await service.register(_at(place, there), small(publisher="umbra"), lock_text=lock(), files=files)
    assert (own["state"], own["workspace_id"]) == ("draft", there)


def _at(place: Packs, workspace_id: str) -> Context:
    return replace(place.ctx(), workspace_id=workspace_id)


@pytest.mark.capability("TOL-1", part="difference")
@pytest.mark.timeout(300)
async def test_other_tools_than_declared_fail_with_a_readable_difference_and_can_be_corrected(place: Packs) -> None:
    document = small(tools=[{"name": "speak", "side_effect": "read_only"}])
    row = await place.register(document, lock(), tree())
    assert (row["state"], row["reason"], row["failed_stage"]) == ("failed", "tools_differ", "registered")
    told = await explain.explain_release(place.ctx(), row["id"])
    shown = {item.ref: item.label for item in told.evidence if item.kind == "tool_difference"}
    assert "does not list it" in shown["speak"]
    assert "not declared" in shown["say"]
    assert told.next[0].allowed
    # Its digest was published: the correction is a new version.
    with pytest.raises(VersionTaken):
        await service.register(place.ctx(), small(), lock_text=lock(), files={"server.py": _encoded(SERVER)})
    assert (await place.register(small("1.0.1"), lock(), tree()))["state"] == "released"


@pytest.mark.timeout(300)
async def test_a_server_that_does_not_start_says_its_last_words(place: Packs) -> None:
    row = await place.register(small(), lock(), tree("import sys; sys.exit('no configuration: password=hunter2222')"))
    assert (row["state"], row["reason"]) == ("failed", "probe_failed")
    told = json.dumps(row["error"])
    assert "no configuration" in told
    assert "hunter2222" not in told


@pytest.mark.timeout(300)
async def test_a_failed_build_can_be_tried_again_with_other_contents(place: Packs) -> None:
    gone = "mcp==2.3.0 --hash=sha256:" + "0" * 64
    row = await place.register(small(), gone, tree())
    assert (row["state"], row["reason"], row["failed_stage"]) == ("failed", "build_failed", "draft")
    again = await place.register(small(), lock(), tree())
    assert (again["id"], again["state"]) == (row["id"], "released")


async def test_files_that_changed_after_they_were_sent_are_not_built(place: Packs, home: Any) -> None:
    row = await service.register(
        place.ctx(), small(), lock_text=lock(), files={"server.py": _encoded(SERVER + "# other")}
    )
    path = home / "objects" / "trees" / row["source"]["contents"] / "server.py"
    path.write_text("import os")
    done = await service.run_registration(place.platform(), row["id"])
    assert (done["state"], done["reason"]) == ("failed", "build_failed")


@pytest.mark.timeout(300)
async def test_the_job_goes_on_where_it_stopped_and_is_safe_to_run_twice(place: Packs) -> None:
    row = await place.register(small(), lock(), tree())
    async with place.platform().transaction() as conn:
        await store.move_release(conn, row["id"], "published", "waiting_for_identity")
    done = await service.run_registration(place.platform(), row["id"])
    assert (done["state"], done["digest"]) == ("released", row["digest"])
    assert (await service.run_registration(place.platform(), row["id"]))["since"] == done["since"]


async def test_a_release_of_another_tenant_does_not_exist(place: Packs, db: Any, home: Any) -> None:
    from tests.workspaces.world import make

    row = await service.register(place.ctx(), small(), lock_text=lock(), files={"server.py": _encoded(SERVER)})
    other = await make(db, home)
    with pytest.raises(ReleaseNotFound):
        await explain.explain_release(other.ctx("owner"), row["id"])
    with pytest.raises(ReleaseNotFound):
        await explain.explain_release(place.ctx("stranger"), row["id"])
    assert canonical.sha256_hex(row["manifest"])


def _encoded(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


def test_the_same_tree_sent_by_many_requests_at_once_is_kept_whole(tmp_path: Path) -> None:
    """Three tenants that register one pack at the same moment: found by the crash harness, as a 500."""
    files = {f"part{number}/server.py": b"x" * 2000 for number in range(60)}
    for round_ in range(5):
        contents = f"{round_:064x}"
        with ThreadPoolExecutor(8) as pool:
            kept = [pool.submit(trees.keep, tmp_path, contents, files) for _ in range(8)]
        for one in kept:
            one.result()
        assert trees.intact(tmp_path, contents, trees.digests(files))
    assert sorted(path.name[0] for path in (tmp_path / "trees").iterdir()) == ["0"] * 5, "no scratch folder is left"
