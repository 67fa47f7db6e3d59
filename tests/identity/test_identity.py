"""People, sessions, tokens and team members on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.database import Cluster, may_idle
from tests.workspaces.world import World, somebody_waits
from worka import identity
from worka.identity import passwords, rules, service, store
from worka.identity.errors import (
    BadCredential,
    BadSignIn,
    NotYours,
    TokenNotFound,
    TooManySignIns,
    UsedOrUnknownToken,
    WeakPassword,
)
from worka.kernel.clock import now
from worka.kernel.db import Database
from worka.kernel.errors import Conflict, Denied
from worka.kernel.migrate import migrate
from worka.kernel.postgres import ROLES

PASSWORD = "correct horse battery"


async def with_password(world: World, name: str = "ada") -> str:
    """A person who can sign in; returns the address."""
    await world.person(name, password_hash=await passwords.hash_password(PASSWORD))
    async with world.db.transaction(None) as conn:
        row = await store.person(conn, world.ids[name])
    assert row is not None
    return str(row["email"])


async def whose(world: World, token: str) -> identity.Credential:
    return await identity.authenticate(world.db, world.sealer, token)


async def test_sign_in_with_the_password_opens_a_session_and_signing_out_ends_it(world: World) -> None:
    address = await with_password(world)
    session = await identity.sign_in(world.nobody(), f"  {address.upper()} ", PASSWORD)
    credential = await whose(world, session["session_token"])
    assert (credential.principal.kind, credential.principal.id) == ("person", world.ids["ada"])
    assert credential.tenant_id is None
    assert session["expires_at"] > now()
    ctx = world.context(credential.principal, tenant_id=None, credential_id=credential.id)
    await identity.sign_out(ctx)
    with pytest.raises(BadCredential):
        await whose(world, session["session_token"])


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer_for_the_same_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_password(world)
    verified: list[str] = []

    def counted(stored: str, password: str) -> bool:
        verified.append(stored)
        return real(stored, password)

    real = passwords._verify
    monkeypatch.setattr(passwords, "_verify", counted)
    said = []
    for who in (address, "nobody@example.org"):
        with pytest.raises(BadSignIn) as refused:
            await identity.sign_in(world.nobody(), who, "not the password")
        said.append(refused.value.body())
    assert said[0] == said[1]
    # argon2's parameters stand in the hash: equal parameters are equal work.
    assert [stored.split("$")[1:4] for stored in verified] == [verified[0].split("$")[1:4]] * 2
    assert (await identity.sign_in(world.nobody(), address, PASSWORD))["person_id"] == world.ids["ada"]


async def test_sign_in_is_limited_per_address_and_place_and_says_when_to_retry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAIR", rules.Limit("pair", 2, 60))
    address = await with_password(world)
    for _ in range(2):
        with pytest.raises(BadSignIn):
            await identity.sign_in(world.nobody(), address, "wrong password", "10.0.0.1")
    with pytest.raises(TooManySignIns) as limited:
        await identity.sign_in(world.nobody(), address, PASSWORD, "10.0.0.1")
    assert 0 < limited.value.extra["retry_after"] <= 60
    assert (await identity.sign_in(world.nobody(), address, PASSWORD, "10.0.0.2"))["session_token"]


async def test_the_limit_holds_over_all_processes_and_a_stranger_elsewhere_locks_nobody_out(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_password(world)
    monkeypatch.setattr(rules, "PAIR", rules.Limit("pair", 3, 60))
    monkeypatch.setattr(rules, "ADDRESS", rules.Limit("address", 4, 3600))
    assert await identity.sign_in(world.nobody(), address, PASSWORD, "10.1.0.1"), "the owner's usual place"
    other = Database(cluster.urls.app, "another process", size=2)
    await other.open()
    try:
        for number in range(3):  # two processes, one count
            ctx = world.nobody()
            ctx.db = other if number % 2 else world.db
            with pytest.raises(BadSignIn):
                await identity.sign_in(ctx, address, "a guess of the stranger", "10.6.6.6")
        ctx = world.nobody()
        ctx.db = other
        with pytest.raises(TooManySignIns):
            await identity.sign_in(ctx, address, "a guess of the stranger", "10.6.6.6")
    finally:
        await other.close()
    # From ever new places the address as a whole is limited.
    with pytest.raises(TooManySignIns):
        await identity.sign_in(world.nobody(), address, PASSWORD, "10.9.9.9")
    for _ in range(6):  # right tries use nothing up, and the owner's own place is not held up by what strangers do
        assert await identity.sign_in(world.nobody(), address, PASSWORD, "10.1.0.1")


async def test_one_place_that_tries_many_addresses_is_held_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PLACE", rules.Limit("place", 3, 60))
    for number in range(3):
        with pytest.raises(BadSignIn):
            await identity.sign_in(world.nobody(), f"spray{number}@example.org", "the same password", "10.8.0.1")
    with pytest.raises(TooManySignIns):
        await identity.sign_in(world.nobody(), "spray9@example.org", "the same password", "10.8.0.1")
    with pytest.raises(BadSignIn):
        await identity.sign_in(world.nobody(), "spray9@example.org", "the same password", "10.8.0.2")


async def test_checking_passwords_leaves_the_event_loop_free(world: World) -> None:
    stored = await passwords.hash_password(PASSWORD)
    gaps, done = [], False

    async def watch() -> None:
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    watcher = asyncio.create_task(watch())
    started = time.perf_counter()
    assert all(await asyncio.gather(*(passwords.verify(stored, PASSWORD) for _ in range(4))))
    took, done = time.perf_counter() - started, True
    await watcher
    assert sorted(gaps)[len(gaps) // 2] < took / 4


async def test_a_sign_in_link_works_once(world: World) -> None:
    await with_password(world)
    link = await identity.sign_in_link(world.ctx("ada"), "http://127.0.0.1:1/")
    assert link["url"] == f"http://127.0.0.1:1/sign-in?link={link['token']}"
    tries = await asyncio.gather(
        *(identity.sign_in_by_link(world.nobody(), link["token"]) for _ in range(5)), return_exceptions=True
    )
    opened = [entry for entry in tries if isinstance(entry, dict)]
    assert len(opened) == 1
    assert all(isinstance(entry, UsedOrUnknownToken | dict) for entry in tries)
    assert (await whose(world, opened[0]["session_token"])).principal.id == world.ids["ada"]
    with pytest.raises(NotYours):
        await identity.sign_in_link(world.ctx("robot"))


@pytest.mark.capability("IDN-2", part="links, invitations and setup tokens open no door; each kind has its own")
async def test_only_sessions_and_api_tokens_open_doors(world: World) -> None:
    link = await identity.sign_in_link(world.ctx("member"))
    ctx = world.ctx("owner")
    async with ctx.transaction():
        setup = await service.create_one_time(ctx, "setup", now() + timedelta(days=1))
    made = await service.create_token(world.ctx("member"), world.workspace_id, "mine", None, 1)
    assert (await whose(world, made["token"])).principal.id == world.ids["member"]
    for token in (
        link["token"],
        setup,
        "",
        "wks_",
        "Bearer x",
        made["token"][:-1],
        "wkt_" + "A" * 51,
        rules.make_token("session", os.urandom(32)),
    ):
        with pytest.raises(BadCredential):
            await whose(world, token)
    # A session's body under an API token's prefix, with a right sum, is another token.
    with pytest.raises(UsedOrUnknownToken):
        await identity.sign_in_by_link(world.nobody(), made["token"])


@pytest.mark.capability("IDN-2", part="no row gives a pack, a device or a service an API credential")
@pytest.mark.parametrize("kind", ["attachment", "device", "platform", "service_account"])
async def test_an_api_token_of_a_pack_or_device_opens_nothing_even_if_a_row_exists(world: World, kind: str) -> None:
    async def insert(principal_kind: str, principal_id: str) -> str:
        token, hmac = service.new_token(world.sealer, "api_token")
        async with world.db.transaction(world.tenant_id) as conn:
            await store.create_api_token(
                conn,
                {
                    "tenant_id": world.tenant_id, "id": f"tok_{hmac.hex()[:8]}", "workspace_id": world.workspace_id,
                    "principal_kind": principal_kind, "principal_id": principal_id, "name": "n", "prefix": "wkt_",
                    "token_hmac": hmac, "created_by": "test", "expires_at": None,
                },
            )  # fmt: skip
        return token

    with pytest.raises(BadCredential):
        await whose(world, await insert(kind, "att_1"))
    assert (await whose(world, await insert("person", world.ids["member"]))).principal.kind == "person"


@pytest.mark.capability("IDN-1", "IDN-21", part="people and AI team members, each with its own token")
async def test_a_team_member_is_a_principal_of_its_own_with_an_owner_and_tools(world: World) -> None:
    made = await service.create_token(world.ctx("owner"), world.workspace_id, "robot", world.ids["robot"], None)
    credential = await whose(world, made["token"])
    principal = credential.principal
    assert (principal.kind, principal.id, principal.owner_person_id) == (
        "team_member",
        world.ids["robot"],
        world.ids["member"],
    )
    assert (credential.tenant_id, credential.workspace_id) == (world.tenant_id, world.workspace_id)
    (event,) = await world.events("identity.token.created")
    assert made["token"] not in str(event)


@pytest.mark.capability("IDN-21", part="what is paused stays paused")
async def test_new_instructions_do_not_bring_back_a_team_member_that_was_paused_meanwhile(world: World) -> None:
    robot, boss = world.ids["robot"], world.ctx("owner")
    async with boss.transaction() as conn:
        await may_idle(conn)
        await service.change_team_member(boss, world.workspace_id, robot, {"enabled": False, "tools": []})
        writing = asyncio.create_task(
            service.change_team_member(world.ctx("admin"), world.workspace_id, robot, {"instructions": "Be brief."})
        )
        await somebody_waits(world)
    await writing
    (row,) = await world.rows("team_member", "id = %s", robot)
    assert (row["enabled"], row["tools"], row["instructions"]) == (False, [], "Be brief.")
    changes = [event["after"] for event in await world.events("identity.team_member.changed")]
    assert changes == [{"tools": [], "enabled": False}, {"instructions": "Be brief."}]


async def test_a_person_makes_tokens_for_itself_and_team_members_only(world: World) -> None:
    with pytest.raises(NotYours):
        await service.create_token(world.ctx("owner"), world.workspace_id, "x", world.ids["member"], None)
    with pytest.raises(NotYours):
        await service.create_token(world.ctx("robot", behind="owner"), world.workspace_id, "x", None, None)
    with pytest.raises(Denied):
        await service.create_token(world.ctx("member"), world.workspace_id, "x", world.ids["robot"], None)
    with pytest.raises(Denied):
        await service.create_token(world.ctx("viewer"), world.workspace_id, "x", None, None)
    assert (await service.create_token(world.ctx("admin"), world.workspace_id, "x", world.ids["robot"], None))["token"]


async def test_a_revoked_token_opens_nothing_from_the_next_call_on(world: World) -> None:
    made = await service.create_token(world.ctx("member"), world.workspace_id, "x", None, None)
    with pytest.raises(TokenNotFound):
        await service.revoke_token(world.ctx("owner"), made["token_id"])
    assert (await whose(world, made["token"])).principal.id == world.ids["member"]
    await service.revoke_token(world.ctx("member"), made["token_id"])
    with pytest.raises(BadCredential):
        await whose(world, made["token"])
    assert len(await world.events("identity.token.revoked")) == 1


async def test_what_is_stored_of_credentials_is_a_keyed_hash(world: World, cluster: Any) -> None:
    address = await with_password(world)
    session = await identity.sign_in(world.nobody(), address, PASSWORD)
    made = await service.create_token(world.ctx("member"), world.workspace_id, "x", None, None)
    with psycopg.connect(cluster.urls.migrator) as conn:
        for table in ("session", "api_token", "one_time_token", "person"):
            everything = str(conn.execute(f"select * from worka.{table}").fetchall())
            for secret in (session["session_token"], made["token"], PASSWORD):
                assert secret not in everything
    other = type(world.sealer)(world.settings)
    assert other.hmac("credential", b"x") == world.sealer.hmac("credential", b"x"), "the same key after a restart"
    assert world.sealer.hmac("other purpose", b"x") != world.sealer.hmac("credential", b"x")


async def test_the_application_role_cannot_read_sessions_or_persons_of_others(world: World) -> None:
    for query in (
        "select * from worka.session",
        "select * from worka.one_time_token",
        "update worka.person set operator = true",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with world.db.transaction(world.tenant_id) as conn:
                await conn.execute(query)  # type: ignore[call-overload]
    async with world.db.transaction(world.tenant_id, None) as conn:
        seen = {row["id"] for row in await (await conn.execute("select id from worka.person")).fetchall()}
    assert world.ids["member"] in seen
    assert world.ids["stranger"] not in seen


@pytest.fixture
async def fresh(world: World, cluster: Any) -> AsyncIterator[Database]:
    """A database of its own in the session's cluster: a deployment that nobody has set up."""
    name = f"fresh_{os.getpid()}"
    known = json.loads(cluster.server.secrets.read_text())
    admin = {
        "host": known["host"],
        "port": known["port"],
        "user": "postgres",
        "password": known["admin"],
        "dbname": "postgres",
    }
    with psycopg.connect(**admin, autocommit=True) as conn:
        conn.execute(f'create database {name} owner "{ROLES["migrator"]}"')  # type: ignore[call-overload]
    migrate(_named(cluster.urls.migrator, name), app_role=ROLES["app"], engine_role=ROLES["engine"])
    database = Database(_named(cluster.urls.app, name), "test", size=2)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
        with psycopg.connect(**admin, autocommit=True) as conn:
            conn.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]


def _named(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@pytest.mark.capability("IDN-18", part="password sign-in, no default credentials, a one-time setup token")
async def test_the_setup_token_of_a_fresh_deployment_makes_the_first_operator_once(
    world: World, fresh: Database, tmp_path: Path
) -> None:
    path = await identity.ensure_setup_token(fresh, world.sealer, tmp_path)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lost = path.read_text().strip()
    assert await identity.ensure_setup_token(fresh, world.sealer, tmp_path) == path
    assert path.read_text().strip() == lost
    path.unlink()
    again = await identity.ensure_setup_token(fresh, world.sealer, tmp_path)
    assert again is not None
    assert again.read_text().strip() != lost, "a lost file is replaced"
    ctx = replace(world.nobody(), db=fresh)
    typed = again.read_text().strip()
    with pytest.raises(UsedOrUnknownToken):
        await identity.set_up(ctx, typed[:-1] + ("0" if typed[-1] != "0" else "1"), "a@example.org", PASSWORD, "A")
    with pytest.raises(WeakPassword):
        await identity.set_up(ctx, typed, "first@example.org", "short", "First")
    session = await identity.set_up(ctx, typed, "First@Example.org", PASSWORD, "First")
    credential = await identity.authenticate(fresh, world.sealer, session["session_token"])
    assert credential.principal.operator is True
    with pytest.raises(UsedOrUnknownToken):
        await identity.set_up(ctx, typed, "second@example.org", PASSWORD, "Second")
    with pytest.raises(Conflict, match="operator"):
        await identity.set_up(ctx, lost, "second@example.org", PASSWORD, "Second")
    assert not again.exists()
    assert await identity.ensure_setup_token(fresh, world.sealer, tmp_path) is None
