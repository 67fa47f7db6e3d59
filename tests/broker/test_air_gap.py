"""An air-gapped broker: what is not listed is neither dialled nor asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.world import HOST, Outside, World, code, make_world
from worka.broker.ports import Listed, MemoryResolver
from worka.kernel.airgap import AirGap, parse
from worka.kernel.db import Database
from worka.kernel.errors import Problem

NAMED = "named.worka.test"


async def tried(world: World, *urls: str) -> tuple[list[str], list[dict[str, object]]]:
    """(the code or status of each, the egress rows)."""
    await world.declare(HOST, NAMED)
    await world.exempt(HOST, 80, world.outside.plain)
    world.resolver.answers[NAMED] = [("93.184.216.34",)]
    box = await world.box()
    async with box.invoking() as call:
        answers = [await box.fetch(url) for url in urls]
    found = [str(one["status"]) if one.get("status") in (200, 401) else code(one) for one in answers]
    return found, await world.egress(call.id)


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
@pytest.mark.parametrize("listed", ["127.0.0.0/8:*", "127.0.0.1:*"])
async def test_a_listed_place_is_reached_and_another_is_not_even_asked_for(
    db: Database, outside: Outside, tmp_path: Path, listed: str
) -> None:
    async with make_world(db, outside, tmp_path, gap=AirGap(True, parse([listed]))) as world:
        found, rows = await tried(world, f"http://{HOST}/issues", f"http://{NAMED}/")
        assert found == ["401", "air_gapped"], "the tracker answers without its token; the other one is refused"
        assert world.resolver.asked == [], "no question left for a name that is not listed"
        assert [(row["host"], row["verdict"], row["reason"]) for row in rows] == [
            (HOST, "allowed", "allowed"), (NAMED, "denied", "air_gapped"),
        ]  # fmt: skip
        assert len(outside.requests) == 1


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
async def test_a_workspaces_exception_leads_a_listed_name_nowhere_that_is_not_listed(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    """The list is the operator's, an exception the workspace's: its admins must not send the list elsewhere."""
    for listed, code_of_it in (([f"{HOST}:80"], "air_gapped"), ([f"{HOST}:*", "10.0.0.0/8:*"], "air_gapped"),
                               ([f"{HOST}:80", f"127.0.0.1:{outside.plain}"], "401")):  # fmt: skip
        home = tmp_path / str(len(listed[-1]))
        async with make_world(db, outside, home, gap=AirGap(True, parse(listed))) as world:
            found, rows = await tried(world, f"http://{HOST}/issues")
            assert found == [code_of_it], listed
            assert rows[0]["verdict"] == ("denied" if code_of_it == "air_gapped" else "allowed")
    assert len(outside.requests) == 1, "the control: what is listed by its address too is reached"


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
async def test_with_an_empty_list_nothing_is_reached_and_without_the_gap_it_would_be(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    async with make_world(db, outside, tmp_path / "closed", gap=AirGap(True)) as world:
        found, _ = await tried(world, f"http://{HOST}/issues")
        assert (found, outside.requests) == (["air_gapped"], [])
        refused = await world.call(
            "platform_http", tenant_id=world.tenant_id, workspace_id=world.workspace_id, purpose="webhook",
            subject_id="whk_1", url="https://example.test/", headers={}, body="",
        )  # fmt: skip
        assert refused["reason"] == "platform_rule_missing", "its rule comes first: the gap widens nothing"
        opened = await world.call("open_probe", session_id="probe-1")
        assert opened["resolver"] is None, "not even the doctor's question leaves"
        assert world.resolver.asked == []
    async with make_world(db, outside, tmp_path / "open") as world:
        found, _ = await tried(world, f"http://{HOST}/issues")
        assert (found, len(outside.requests)) == (["401"], 1), "the control"
        assert (await world.call("open_probe", session_id="probe-2"))["resolver"] is True


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
def test_a_key_service_that_is_not_listed_is_not_dialled() -> None:
    from pydantic import SecretStr

    from worka.kernel.settings import TreasurySettings
    from worka.treasury.adapters.transit import Transit

    told = TreasurySettings(transit_url="https://vault.corp.test:8200", transit_token=SecretStr("t"))
    with pytest.raises(Problem) as refused:
        Transit(told, AirGap(True, parse(["vault.corp.test:443"])))
    assert refused.value.problem_code == "air_gapped"
    assert "network.allowed" in refused.value.remedy
    Transit(told, AirGap(True, parse(["vault.corp.test:8200"])))


@pytest.mark.capability("BRK-15", part="the air gap, by reason")
async def test_no_resolver_is_asked_for_a_name_that_is_not_listed_whoever_wants_to_know() -> None:
    asked = MemoryResolver({"a.test": [("93.184.216.34",)], "b.test": [("93.184.216.34",)]})
    listed = Listed(asked, AirGap(True, parse(["a.test:443", "10.0.0.0/8:*"])))
    assert await listed.resolve("A.test.") == ()
    assert await listed.resolve("a.test") == ("93.184.216.34",), "the control"
    with pytest.raises(PermissionError):
        await listed.resolve("b.test")
    assert "b.test" not in asked.asked
    assert await Listed(asked, AirGap()).resolve("b.test") == ("93.184.216.34",)
