"""Processes killed at each commit of connections, and on both sides of what a provider is asked: all of a change or nothing
of it, no token lost silently, and the state says what happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.connections.outside import CALLBACK
from tests.connections.outside import outside as far
from tests.connections.test_consent import back_from
from tests.connections.test_ending import told
from tests.connections.test_renewing import renewals
from tests.connections.town import Town
from tests.connections.town import town as make_town
from tests.support import processes
from tests.workspaces.world import World
from worka.connections import clients, consent, ending, explain, renewing, restricting, service
from worka.connections.errors import FlowOver
from worka.treasury.errors import NoGrant, SecretRevoked

Row = dict[str, Any]
pytestmark = [pytest.mark.timeout(120), pytest.mark.faults]
TABLES = (
    "connection", "connection_flow", "provider_client", "provider_restriction", "secret", "secret_version",
    "secret_grant", "platform_rule", "approval", "outbox", "event",
)  # fmt: skip
ACTS: dict[str, Callable[[Town, Any], Awaitable[Any]]] = {
    "create": lambda town, it: service.create(
        town.ctx("owner"), town.world.workspace_id, provider="outside", name="Issues outside", access="read issues",
        metadata={}, why="the notes list open issues", kind="oauth_code",
    ),
    "register": lambda town, it: town.register(),
    "unregister": lambda town, it: clients.remove(town.ctx("owner"), it),
    "restrict": lambda town, it: restricting.restrict(
        town.world.ctx("operator"), town.world.tenant_id, ["outside"], "this one alone"
    ),
    "begin": lambda town, it: consent.begin(town.ctx("owner"), it, CALLBACK),
    "device": lambda town, it: consent.begin_device(town.ctx("owner"), it, town.post),
    "finish": lambda town, it: town.finish(it),
    "poll": lambda town, it: consent.poll(town.platform(), it, town.post),
    "renew": lambda town, it: renewing.renew(town.platform(), it, town.post),
    "expire": lambda town, it: renewing.expire(town.platform(), it),
    "warn": lambda town, it: renewing.warn(town.platform(), it),
    "remove": lambda town, it: ending.remove(town.ctx("owner"), it, "not needed"),
    "tell": lambda town, it: ending.tell(town.platform(), it, town.post),
}  # fmt: skip
"""What is killed in a process of its own, and is then done again in this one."""
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.connections.test_killed import ACTS
from tests.connections.town import Town
from tests.workspaces.world import World
from worka import broker, connections, packs
from worka.kernel.db import Database
from worka.kernel.paths import Paths
from worka.kernel.settings import ConnectionSettings, Settings

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    settings = Settings(home=Path(given["home"]), connections=ConnectionSettings(catalogue=given["catalogue"]))
    world = World(db, settings, given["tenant"], given["workspace"], given["ids"])
    for domain in (connections, broker, packs):
        domain.subscribe(world.subscribers)
    town = Town(world, None, None, Paths(Path(given["around"])), Path(given["catalogue"]))
    await ACTS[given["do"]](town, given["it"])
    await db.close()

asyncio.run(main(json.load(sys.stdin)))
"""


@pytest_asyncio.fixture
async def steady(world: World) -> AsyncIterator[Town]:
    """A world whose provider lets a refresh token be used again."""
    with far(rotate=False) as outside:
        found = await make_town(world, outside)
        try:
            yield found
        finally:
            await found.leave()


async def killed(town: Town, cluster: Any, do: str, it: Any, point: str) -> None:
    """One of the acts in a process of its own that dies there."""
    world = town.world
    given = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "catalogue": str(town.catalogue), "ids": world.ids,
        "tenant": world.tenant_id, "workspace": world.workspace_id, "around": str(town.paths.home), "do": do, "it": it,
    }  # fmt: skip
    assert await processes.ran(PROGRAM, given, point) == -signal.SIGKILL, f"{point} was not reached"


async def lies(town: Town) -> dict[str, list[str]]:
    """All that this tenant's tables hold of connections, row by row."""
    found = {}
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        for table in TABLES:
            cursor = await conn.execute(f"select to_jsonb(t)::text as row from worka.{table} t order by 1")  # type: ignore[arg-type]
            found[table] = [row["row"] for row in await cursor.fetchall()]
    return found


async def later(town: Town, table: str, column: str, minutes: int = 0) -> None:
    """As if the time that stands there were over."""
    async with town.world.db.transaction(town.world.tenant_id) as conn:
        await conn.execute(
            f"update worka.{table} set {column} = clock_timestamp() - make_interval(mins => %s, secs => 1)"  # type: ignore[arg-type]
            f" where {column} is not null",
            (minutes,),
        )


async def codes(town: Town, grant: str = "authorization_code") -> int:
    """How often the provider gave a token for one of these."""
    return int((await asyncio.to_thread(town.outside.counts))["grants"].get(grant, 0))


async def reads(town: Town, att: str, secret_id: str) -> int:
    """What the outside answers to the token that a pack has now."""
    token = await town.lease(secret_id, att, await town.called(att, "owner"))
    return await asyncio.to_thread(town.reads, token)


async def mended(town: Town, connection_id: str, att: str) -> None:
    """Connecting again brings it back into service."""
    again = await town.finish(await back_from(town, connection_id))
    assert (again["outcome"], again["state"]) == ("connected", "active")
    assert await reads(town, att, again["secret_id"]) == 200


async def due(town: Town) -> tuple[str, Row]:
    """(an attachment, its connection): the connection's token is to be renewed now."""
    await town.register()
    att = await town.attached()
    found = await town.connected()
    await town.sooner(found["id"])
    return att, found


async def swept(town: Town, connection_id: str) -> Row:
    """The connection, once the claim of a dead process is over and the sweep came by."""
    await later(town, "connection", "refresh_until")
    await renewing.sweep(town.world.nobody(), town.post)
    return await town.row(connection_id)


async def before(town: Town, do: str) -> Any:
    """What an act is done to, made."""
    if do in ("register", "restrict"):
        return ""
    client = await town.register()
    if do == "unregister":
        return client["id"]
    await town.attached()
    if do == "create":
        return ""
    if do in ("begin", "device"):
        return (await town.asked(kind="oauth_device" if do == "device" else "oauth_code"))["id"]
    found = await town.connected()
    if do == "expire":
        await town.sooner(found["id"], -5)
    return found["id"]


@pytest.mark.capability("CON-4", "TRE-11", part="a process killed before a commit leaves nothing half done")
@pytest.mark.parametrize(
    ("do", "point", "event"),
    [
        ("create", "created", "connection.created"),
        ("register", "changed", "provider_client.registered"),
        ("unregister", "changed", "provider_client.removed"),
        ("restrict", "changed", "provider.restricted"),
        ("begin", "changed", "connection.consent.begun"),
        ("device", "changed", "connection.consent.begun"),
        ("expire", "changed", "connection.expired"),
        ("warn", "changed", "connection.warned"),
        ("remove", "ended", "connection.revoked"),
    ],
)
async def test_a_kill_before_the_commit_leaves_nothing_of_it_and_doing_it_again_makes_it_once(
    town: Town, cluster: Any, do: str, point: str, event: str
) -> None:
    it = await before(town, do)
    stood, seen = await lies(town), len(await town.world.events(event))
    await killed(town, cluster, do, it, f"connection.{point}.before_commit")
    now = await lies(town)
    # The client's secret was opened for the device's code before the provider was asked: that stands in the ledger.
    changed = {table for table in TABLES if now[table] != stood[table]}
    assert changed == ({"event"} if do == "device" else set())
    assert len(await town.world.events(event)) == seen
    await ACTS[do](town, it)
    assert len(await town.world.events(event)) == seen + 1


@pytest.mark.capability("TRE-15", part="a process killed before it asked the provider loses nothing")
async def test_a_renewal_killed_before_the_provider_was_asked_costs_nothing_and_is_made_once_later(
    town: Town, cluster: Any
) -> None:
    att, found = await due(town)
    asked, stood = await renewals(town), await lies(town)
    await killed(town, cluster, "renew", found["id"], "connection.renewal.before_commit")
    assert await lies(town) == stood, "no claim, no event, nothing opened"

    await killed(town, cluster, "renew", found["id"], "connection.renewal.after_claim")
    row = await town.row(found["id"])
    assert (row["state"], row["refresh_open"], await renewals(town)) == ("active", True, asked)
    now = await lies(town)
    assert {table for table in TABLES if now[table] != stood[table]} == {"connection", "event"}
    assert await reads(town, att, found["secret_id"]) == 200, "the token that there is serves on"
    # Nobody else asks as long as the dead one could still be asking; then the sweep takes it up, and the old token is good.
    assert await renewing.renew(town.platform(), found["id"], town.post) == "held"
    row = await swept(town, found["id"])
    assert (row["state"], row["reason"], row["refresh_open"]) == ("active", "connection_in_service", False)
    assert (await renewals(town), len(await town.world.events("connection.renewed"))) == (asked + 1, 2)
    assert await reads(town, att, found["secret_id"]) == 200


@pytest.mark.capability("TRE-15", part="a process killed before a new token was kept: no token is lost silently")
@pytest.mark.parametrize("point", ["connection.renewal.after_answer", "connection.tokens.before_commit"])
async def test_a_renewal_killed_with_the_only_good_token_in_hand_says_that_it_was_cut_off(
    town: Town, cluster: Any, point: str
) -> None:
    att, found = await due(town)
    asked, stood = await renewals(town), await lies(town)
    renewed = len(await town.world.events("connection.renewed"))
    await killed(town, cluster, "renew", found["id"], point)
    assert await renewals(town) == asked + 1, "the provider did it"
    now, row = await lies(town), await town.row(found["id"])
    assert {table for table in TABLES if now[table] != stood[table]} == {"connection", "event"}, "neither token is kept"
    assert (row["refresh_open"], len(await town.world.events("connection.renewed"))) == (True, renewed), (
        "nor told as kept"
    )
    row = await swept(town, found["id"])
    assert (row["state"], row["reason"], row["refresh_at"]) == ("broken", "refresh_lost", None)
    assert "must be connected again" in (await explain.explain(town.ctx("owner"), found["id"])).headline
    await mended(town, found["id"], att)


@pytest.mark.capability("TRE-15", part="a process killed before a new token was kept: the old one is tried again")
@pytest.mark.parametrize("point", ["connection.renewal.after_answer", "connection.tokens.before_commit"])
async def test_a_renewal_killed_with_a_token_in_hand_is_made_again_where_the_old_one_is_still_good(
    steady: Town, cluster: Any, point: str
) -> None:
    att, found = await due(steady)
    await killed(steady, cluster, "renew", found["id"], point)
    assert await renewals(steady) == 1
    row = await swept(steady, found["id"])
    assert (row["state"], row["reason"], row["refresh_open"]) == ("active", "connection_in_service", False)
    assert (await renewals(steady), await reads(steady, att, found["secret_id"])) == (2, 200)


@pytest.mark.capability("TRE-15", part="a process killed before it kept that a renewal failed")
async def test_a_failed_renewal_whose_end_was_killed_stays_open_until_the_provider_says_what_holds(
    town: Town, cluster: Any
) -> None:
    att, found = await due(town)
    await asyncio.to_thread(town.outside.drop)
    await killed(town, cluster, "renew", found["id"], "connection.changed.before_commit")
    row = await town.row(found["id"])
    assert (row["state"], row["refresh_open"], row["refresh_tries"], row["problem"]) == ("active", True, 0, None)
    row = await swept(town, found["id"])
    assert (row["state"], row["reason"]) == ("broken", "refresh_lost")
    await mended(town, found["id"], att)


@pytest.mark.capability("CON-4", part="a process killed while the platform fetched its own credential fetches it again")
@pytest.mark.parametrize("point", ["renewal.after_claim", "renewal.after_answer", "tokens.before_commit"])
async def test_the_platforms_own_first_token_is_fetched_again_by_itself(town: Town, cluster: Any, point: str) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked(kind="oauth_client")
    await killed(town, cluster, "renew", made["id"], f"connection.{point}")
    row = await town.row(made["id"])
    assert (row["state"], row["reason"], row["secret_id"]) == ("awaiting_consent", "waiting_for_token", None)
    row = await swept(town, made["id"])
    assert (row["state"], await reads(town, att, row["secret_id"])) == ("active", 200)
    assert len(await town.world.rows("secret", "kind = 'oauth_access'")) == 1


@pytest.mark.capability("CON-4", part="a consent whose process was killed says so, and is begun again")
@pytest.mark.parametrize(
    ("point", "given"), [("connection.consent.used.after_commit", 0), ("connection.tokens.before_commit", 1)]
)
async def test_a_consent_killed_before_its_token_was_kept_counts_no_second_time_and_says_that_it_was_cut_off(
    town: Town, cluster: Any, point: str, given: int
) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked()
    back = await back_from(town, made["id"])
    sent, stood = await codes(town), await lies(town)
    await killed(town, cluster, "finish", back, point)
    assert await codes(town) == sent + given
    now = await lies(town)
    changed = {table for table in TABLES if now[table] != stood[table]}
    assert changed == {"connection_flow", "event"}, "no token is kept, and nothing says so"
    with pytest.raises(FlowOver):
        await town.finish(back)
    assert await codes(town) == sent + given, "the answer is used up: its code is sent no second time"
    row = await town.row(made["id"])
    assert (row["state"], row["reason"]) == ("awaiting_consent", "waiting_for_consent")
    await later(town, "connection_flow", "expires_at", 2)
    await renewing.sweep(town.world.nobody(), town.post)
    (flow,) = await town.world.rows("connection_flow")
    row = await town.row(made["id"])
    assert (flow["outcome"], bytes(flow["sealed"])) == ("consent_interrupted", b"")
    assert (row["reason"], row["problem"]["code"]) == ("consent_failed", "consent_interrupted")
    assert "cut off before the token was kept" in row["problem"]["detail"]
    await mended(town, made["id"], att)


@pytest.mark.capability("CON-4", part="a refusal at the provider whose process was killed")
async def test_a_refusal_killed_before_it_was_kept_ends_the_consent_later_and_gives_nothing(
    town: Town, cluster: Any
) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked()
    begun = await consent.begin(town.ctx("owner"), made["id"], CALLBACK)
    browser = town.browser()
    back = await asyncio.to_thread(lambda: browser.consents(begun["url"], refuses=True))
    await killed(town, cluster, "finish", back, "connection.changed.before_commit")
    row = await town.row(made["id"])
    assert (row["state"], row["reason"], row["problem"]) == ("awaiting_consent", "waiting_for_consent", None)
    with pytest.raises(FlowOver):
        await town.finish(back)
    await later(town, "connection_flow", "expires_at", 2)
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(made["id"])
    assert (row["reason"], row["secret_id"]) == ("consent_failed", None)
    await mended(town, made["id"], att)


@pytest.mark.capability("CON-4", part="a consent on another device whose process was killed")
async def test_a_devices_token_killed_before_it_was_kept_is_told_as_cut_off_and_asked_for_anew(
    town: Town, cluster: Any
) -> None:
    await town.register()
    att = await town.attached()
    made = await town.asked(kind="oauth_device")
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    await asyncio.to_thread(town.browser().types_in, begun["verification_uri"], begun["user_code"])
    await killed(town, cluster, "poll", begun["flow_id"], "connection.tokens.before_commit")
    row = await town.row(made["id"])
    assert (row["state"], row["secret_id"]) == ("awaiting_consent", None)
    await later(town, "connection_flow", "next_at")
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(made["id"])
    assert (row["reason"], row["problem"]["code"], row["secret_id"]) == ("consent_failed", "consent_interrupted", None)
    begun = await consent.begin_device(town.ctx("owner"), made["id"], town.post)
    await asyncio.to_thread(town.browser().types_in, begun["verification_uri"], begun["user_code"])
    await later(town, "connection_flow", "next_at")
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(made["id"])
    assert (row["state"], await reads(town, att, row["secret_id"])) == ("active", 200)


@pytest.mark.capability("TRE-11", part="a process killed while a connection ends, or the provider is told of it")
async def test_an_end_killed_before_its_commit_ended_nothing_and_a_provider_is_told_until_that_is_kept(
    town: Town, cluster: Any
) -> None:
    await town.register()
    att = await town.attached()
    found = await town.connected()
    await killed(town, cluster, "remove", found["id"], "connection.ended.before_commit")
    row = await town.row(found["id"])
    assert (row["state"], row["receipt"]) == ("active", None)
    assert await reads(town, att, found["secret_id"]) == 200
    await ending.remove(town.ctx("owner"), found["id"])
    with pytest.raises((NoGrant, SecretRevoked)):
        await reads(town, att, found["secret_id"])

    seen = await told(town)
    await killed(town, cluster, "tell", found["id"], "connection.changed.before_commit")
    row = await town.row(found["id"])
    assert (row["receipt"]["provider"]["state"], await told(town)) == ("pending", seen + 2)
    values = await town.world.rows("secret", "kind <> 'oauth_client'")
    assert {secret["state"] for secret in values} == {"revoked"}, "the values are there for the next try"
    await later(town, "connection", "tell_at")
    await renewing.sweep(town.world.nobody(), town.post)
    row = await town.row(found["id"])
    assert (row["receipt"]["provider"]["state"], row["tell_at"]) == ("told", None)
    values = await town.world.rows("secret", "kind <> 'oauth_client'")
    assert {secret["state"] for secret in values} == {"destroyed"}
    assert len(await town.world.events("connection.provider.told")) == 1
