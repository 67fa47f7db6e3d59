"""Changes, attention, health, why and the chain, on a world where things really happened."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.database import Cluster
from tests.workflows.test_tasks import LOG, PUBLISH, SHOW
from tests.workflows.world import World, make_world
from worka.broker import events
from worka.kernel.errors import NotFound
from worka.kernel.ids import new_id
from worka.observability import chain, explain, rules, service, store
from worka.observability.errors import BadSince, NothingKnown
from worka.views import service as views


async def until_shown(world: World, subject: str, count: int = 1) -> list[dict[str, Any]]:
    """Changes below the oldest running transaction: other transactions of the machine may hold them back for a
    moment."""
    for _ in range(100):
        found = await service.changes(world.ctx(world.owner), subject=subject)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("no change appeared")


@pytest.mark.capability("BEY-1", part="the chain of a task, from every link of it")
async def test_the_chain_is_the_same_from_every_link_and_complete(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        world.host.answers["publish"] = world.host.effect
        world.work()
        task_id = await world.start([LOG, PUBLISH, SHOW], {"word": "x"})
        await world.until(task_id, "waiting")
        await world.approve(task_id)
        await world.until(task_id, "succeeded")
        ctx = world.ctx(world.viewer)
        whole = await chain.chain(ctx, task_id)
        assert whole["complete"], whole["missing"]
        kinds = {link["kind"] for link in whole["links"]}
        assert kinds >= {
            "request",
            "workflow",
            "decision",
            "approval",
            "step",
            "release",
            "attachment",
            "invocation",
            "effect",
        }
        assert kinds >= {"view", "audit"}
        approval = next(link for link in whole["links"] if link["kind"] == "approval")
        effect = next(link for link in whole["links"] if link["kind"] == "effect")
        assert approval["votes"][0]["name"] == "Ann"
        invocation = next(link for link in whole["links"] if link["id"] == approval["to"][0])
        assert effect["id"] in invocation["to"]
        asked = [
            link["id"]
            for link in whole["links"]
            if link["kind"] in ("step", "approval", "invocation", "view", "decision")
        ]
        for link in [*asked, whole["trace_id"]]:
            again = await chain.chain(ctx, link)
            assert again["root"] == task_id, link
        with pytest.raises(NothingKnown):
            await chain.chain(ctx, "task_01m843emtse008tcvsm8t7y84d")
        step = next(link["id"] for link in whole["links"] if link["kind"] == "step")
        assert (await explain.why(ctx, step)).subject == task_id


@pytest.mark.capability("AUD-3", part="changes, with who, for whom, before, after and why")
async def test_a_change_says_who_for_whom_what_before_and_after_and_why(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        world.work()
        task_id = await world.start([LOG], {"word": "x"})
        await world.until(task_id, "succeeded")
        found = await until_shown(world, task_id, 3)
        assert [row["type"] for row in reversed(found)] == [
            "workflow.task.started",
            "workflow.task.claimed",
            "workflow.task.finished",
        ]
        finished = found[0]
        assert finished["actor"]["name"] == "Rena"
        assert finished["on_behalf_of"] == {"id": world.owner, "name": "Olga"}
        assert "running → succeeded" in finished["diff"]
        assert (finished["before"]["state"], finished["after"]["state"]) == ("running", "succeeded")
        # Pages: each once, newest first.
        pages: list[str] = []
        before = None
        while True:
            rows = await service.changes(world.ctx(world.owner), before=before, limit=2)
            pages += [row["cursor"] for row in rows[:2]]
            if len(rows) <= 2:
                break
            before = (rows[1]["xid"], rows[1]["id"])
        everything = [row["cursor"] for row in await service.changes(world.ctx(world.owner), limit=200)]
        assert pages == everything
        assert len(set(pages)) == len(pages)


async def test_changes_stop_below_the_oldest_transaction_that_still_runs(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        with psycopg.connect(cluster.urls.migrator) as conn:
            conn.execute("select pg_current_xact_id()")
            made = await views.publish(world.ctx(world.owner), name="n", title="N", text="x")
            assert await service.changes(world.ctx(world.owner), subject=made["view_id"]) == []
        assert len(await until_shown(world, made["view_id"])) == 1


async def test_a_webhook_that_finds_no_receiver_does_not_flood_the_changes(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:

        async def denied(reason: str, invocation: str | None) -> str:
            row = {
                "id": new_id("egr"), "host": "hooks.worka.test", "port": 443, "reason": reason, "rule": "rule",
                "invocation_id": invocation, "workspace_id": world.ctx(world.owner).workspace_id,
            }  # fmt: skip
            ctx = world.ctx(world.owner)
            async with ctx.transaction():
                ctx.record(events.denied(row))
            return str(row["id"])

        tried = await denied("name_not_resolved", None)
        killed = await denied("killed", None)
        packs = await denied("name_not_resolved", new_id("inv"))
        assert await until_shown(world, killed), "a refusal of the platform's own is a change"
        assert await until_shown(world, packs), "so is what a pack did not reach"
        assert await service.changes(world.ctx(world.owner), subject=tried) == []


async def test_attention_says_what_needs_this_reader(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        world.work()
        task_id = await world.start([LOG, PUBLISH], {"word": "x"})
        await world.until(task_id, "waiting")
        ann = await service.attention(world.ctx(world.approver))
        approval = next(item for item in ann["items"] if item["kind"] == "approval")
        assert approval["mine"]
        assert ann["items"][0] == approval, "what I can clear comes first"
        assert any(item["ref"] == task_id and item["state"] == "waiting" for item in ann["items"])
        ctx = world.ctx(world.owner)
        async with ctx.transaction() as conn:
            # Doors of other tests may be open on this database: inside this transaction none was ever seen.
            await conn.execute("delete from worka.process where role = 'serve'")
            olga = await service.attention(ctx)
        assert not next(item for item in olga["items"] if item["kind"] == "approval")["mine"]
        serve = next(item for item in olga["items"] if item["kind"] == "process" and item["title"] == "serve")
        assert (serve["state"], serve["reason"]) == ("unknown", "process_never_seen"), (
            "unknown is never shown as healthy"
        )


async def test_a_silent_process_is_down_and_its_explanation_says_since_when(cluster: Cluster, tmp_path: Path) -> None:
    async with make_world(cluster, tmp_path / "home") as world:
        async with world.runtime.db.transaction(None) as conn:
            await conn.execute("delete from worka.process where role = 'broker'")
            await store.beat(conn, "proc_01m843emtse008tcvsm8t7y84d", "broker", 1, "test", {})
            await conn.execute("update worka.process set beat_at = now() - interval '40 seconds' where role = 'broker'")
        health = await service.processes(world.ctx(world.owner))
        broker = next(row for row in health["processes"] if row["role"] == "broker")
        assert (broker["health"], broker["reason"]) == ("down", "process_silent")
        assert health["state"] == "down"
        why = await explain.why(world.ctx(world.owner), broker["id"])
        assert (why.state, why.incident_class, why.scope) == ("down", "service deployment or health", "platform")
        async with world.runtime.db.transaction(None) as conn:
            await store.end(conn, broker["id"])
        with pytest.raises(NotFound):
            await explain.why(world.ctx(world.owner), "thing_01m843emtse008tcvsm8t7y84d")


def test_ages_and_times_are_read_and_other_texts_refused() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert rules.since("2h", at) == at - timedelta(hours=2)
    assert rules.since("2026-01-01T00:00:00Z", at) == datetime(2026, 1, 1, tzinfo=UTC)
    assert rules.since(None, at) is None
    for bad in ("yesterday", "2026-01-01T00:00:00", "5y", "-2h"):
        with pytest.raises(BadSince):
            rules.since(bad, at)


def test_the_worst_child_names_the_parent_and_no_child_is_unknown() -> None:
    assert rules.worst(["healthy", "unknown"]) == "unknown"
    assert rules.worst(["healthy", "down", "unknown"]) == "down"
    assert rules.worst([]) == "unknown"
