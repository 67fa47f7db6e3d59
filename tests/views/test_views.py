"""Document views: revisions, who may write them, and text that stays data."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from tests.support.database import Cluster
from tests.workflows.world import make_world
from worka.api.app import ROUTERS
from worka.kernel.errors import Denied
from worka.views import rules, service
from worka.views.errors import DocumentInvalid, RevisionNotFound, ViewNotFound


@pytest.mark.capability("VIW-5")
async def test_each_publication_is_a_revision_with_an_audit_entry(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        owner = world.ctx(world.owner, "Olga")
        first = await service.publish(owner, name="notes", title="Notes", text="one")
        second = await service.publish(
            owner, name="notes", title="Notes 2", text="two", links={"a": "https://x.example/1"}
        )
        assert (first["revision"], second["revision"]) == (1, 2)
        assert first["view_id"] == second["view_id"]
        newest = await service.get(world.ctx(world.viewer), first["view_id"])
        assert newest["shown"]["document"]["text"] == "two"
        assert newest["shown"]["document"]["links"] == {"a": "https://x.example/1"}
        assert (await service.get(owner, first["view_id"], 1))["shown"]["document"]["text"] == "one"
        entries = await world.rows("select convert_from(body, 'UTF8') as body from worka.audit_entry order by at")
        mine = [row["body"] for row in entries if first["view_id"] in row["body"] and "view.document" in row["body"]]
        assert len(mine) == 2
        assert "view.document.created" in mine[0]
        assert "view.document.revised" in mine[1]
        assert all("two" not in body for body in mine), "the text is not in the ledger"


@pytest.mark.capability("VIW-5")
def test_no_route_changes_a_view() -> None:
    """What remains is a task's step: tests/architecture holds that only publishing writes views' rows."""
    doors = {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert ("GET", "/v1/views/{view_id}") in doors, "the control"
    assert [door for door in sorted(doors) if "/views" in door[1] and door[0] != "GET"] == []


async def test_a_viewer_reads_and_does_not_write_and_a_stranger_sees_nothing(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        made = await service.publish(world.ctx(world.owner), name="notes", title="Notes", text="one")
        with pytest.raises(Denied):
            await service.publish(world.ctx(world.viewer), name="notes", title="Notes", text="mine")
        with pytest.raises(RevisionNotFound):
            await service.get(world.ctx(world.owner), made["view_id"], 9)
        with pytest.raises(ViewNotFound):
            await service.get(world.ctx("per_nobody"), made["view_id"])


def test_what_no_text_can_hold_is_replaced_and_links_are_pages_only() -> None:
    links = {"js": "javascript:alert(1)", "data": "data:text/html,x", "ok": "https://a.example/", "n": 3, "rel": "/x"}
    document = rules.document("a\x00b\ud800c <script>", "markdown", links)
    assert document["text"] == "a\ufffdb?c <script>"
    assert document["untrusted"] is True
    assert document["links"] == {"ok": "https://a.example/"}
    with pytest.raises(DocumentInvalid):
        rules.document("x" * (rules.MAX_TEXT + 1), "markdown", {})
