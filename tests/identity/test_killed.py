"""A process killed around the commit of a second factor, a service account or an invitation: all of it, or nothing."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.identity.phone import PASSWORD, again, enrolled, session, token_of
from tests.support import processes
from tests.workspaces.world import World
from worka import identity
from worka.identity import factors, passwords, store, totp
from worka.identity.errors import UsedOrUnknownToken
from worka.identity.service import peek_one_time
from worka.workspaces import accounts, service

Row = dict[str, Any]
pytestmark = pytest.mark.faults

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import worka.workflows.holding
from tests.identity.phone import PASSWORD, Phone, again, calm, secret_of
from tests.workspaces.world import World
from worka.identity import factors
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.workspaces import accounts, service

async def main(given):
    db = Database(given["dsn"], "crash"); await db.open()
    world = World(db, Settings(home=Path(given["home"])), given["tenant"], given["workspace"], given["ids"])
    ctx, here, it = await again(world, given["session"]), given["workspace"], given["it"]
    phone = Phone(secret_of(given["secret"]))
    await calm()
    await {
        "begin": lambda: factors.begin(ctx, PASSWORD, ""),
        "confirm": lambda: factors.confirm(ctx, phone.code()),
        "codes": lambda: factors.renew_recovery_codes(ctx, phone.code()),
        "end": lambda: factors.end(ctx, phone.code()),
        "step_up": lambda: factors.step_up(ctx, phone.code()),
        "create": lambda: accounts.create(ctx, here, "importer", "imports issues", "member"),
        "rotate": lambda: accounts.token(ctx, here, it, None, rotate=True),
        "stop": lambda: accounts.end(ctx, here, it),
        "withdraw": lambda: service.withdraw_invitation(ctx, here, it),
        "renew": lambda: service.renew_invitation(ctx, here, it),
    }[given["do"]]()
    await db.close()

asyncio.run(main(json.loads(sys.stdin.read())))
"""


async def run(world: World, cluster: Any, do: str, failpoint: str | None, **given: str) -> int:
    """Runs one use case in a process of its own; returns how that ended."""
    told = {
        "dsn": cluster.urls.app, "home": str(world.settings.home), "tenant": world.tenant_id, "do": do,
        "workspace": world.workspace_id, "ids": world.ids, "secret": "", "it": "", **given,
    }  # fmt: skip
    return await processes.ran(PROGRAM, told, failpoint)


async def factor(world: World) -> Row | None:
    """What is kept of Ada's second factor."""
    async with world.db.transaction(None) as conn:
        return await store.second_factor(conn, world.ids["ada"])


async def lasting(world: World, token: str) -> dict[str, Any]:
    """All that these use cases leave behind."""
    tables = ("service_account", "membership", "api_token", "event", "audit_entry")
    async with world.db.transaction(world.tenant_id) as conn:
        invitations = await identity.store.invitations(conn, world.tenant_id, world.workspace_id)
    return {
        **{table: sorted(map(str, await world.rows(table))) for table in tables},
        "invitations": invitations,
        "factor": await factor(world),
        "stepped_up_at": (await again(world, token)).stepped_up_at,
    }


async def killed_and_repeated(world: World, cluster: Any, do: str, failpoint: str, event: str, **given: str) -> None:
    """Killed before its commit it leaves nothing behind; done again it leaves its event, once."""
    token = await token_of(world, "ada")
    before = await lasting(world, token)
    assert await run(world, cluster, do, failpoint, session=token, **given) == -signal.SIGKILL
    assert await lasting(world, token) == before
    assert await run(world, cluster, do, None, session=token, **given) == 0
    known = {row["id"] for row in await world.rows("event") if str(row) in before["event"]}
    new = [row["type"] for row in await world.rows("event") if row["id"] not in known]
    assert new.count(event) == 1 if event else new == []


@pytest.mark.capability("IDN-18", part="a kill around the commit of a second factor")
async def test_a_second_factor_is_in_force_with_its_codes_or_not_at_all(world: World, cluster: Any) -> None:
    point = "identity.factor.before_commit"
    await world.person("ada", password_hash=await passwords.hash_password(PASSWORD))
    await killed_and_repeated(world, cluster, "begin", point, "")
    assert (row := await factor(world))
    assert row["pending_sealed"], "the control: one waits for its first code"
    begun = await factors.begin(await session(world, "ada"), PASSWORD, "")
    given = {"secret": begun["secret"]}
    await killed_and_repeated(world, cluster, "confirm", point, "identity.second_factor.set", **given)
    told = await factors.show(await session(world, "ada"))
    assert (told["state"], told["recovery_left"]) == ("on", 10)


@pytest.mark.capability("IDN-18", part="a kill around the commit of a second factor")
@pytest.mark.parametrize(
    ("do", "event"),
    [
        ("codes", "identity.recovery_codes.renewed"),
        ("end", "identity.second_factor.ended"),
        ("step_up", "identity.session.stepped_up"),
    ],
)
async def test_a_code_is_used_for_what_it_was_given_for_or_not_at_all(
    world: World, cluster: Any, do: str, event: str
) -> None:
    phone = await enrolled(world, "ada")
    secret = totp.secret_text(phone.secret)
    await killed_and_repeated(world, cluster, do, "identity.factor.before_commit", event, secret=secret)
    state = (await factors.show(await session(world, "ada")))["state"]
    assert state == ("off" if do == "end" else "on")


@pytest.mark.capability("IDN-21", part="a kill around the commit of a service account")
async def test_a_service_account_is_made_and_ended_with_its_tokens_or_not_at_all(world: World, cluster: Any) -> None:
    point = "identity.account.before_commit"
    await world.person("ada")
    await world.join("ada", "owner")
    assert await world.rows("service_account") == []
    await killed_and_repeated(world, cluster, "create", point, "identity.service_account.created")
    (row,) = await world.rows("service_account")
    assert (row["name"], row["owner_person_id"]) == ("importer", world.ids["ada"])
    ada = await session(world, "ada")
    old = (await accounts.token(ada, world.workspace_id, row["id"], None, rotate=False))["token_id"]
    await killed_and_repeated(world, cluster, "rotate", point, "identity.token.revoked", it=row["id"])
    live = await world.rows("api_token", "revoked_at is null")
    assert len(live) == 1
    assert live[0]["id"] != old
    await killed_and_repeated(world, cluster, "stop", point, "identity.service_account.ended", it=row["id"])
    assert await world.rows("api_token", "revoked_at is null") == []
    assert (await world.rows("service_account"))[0]["ended_at"] is not None


@pytest.mark.capability("IDN-15", part="a kill around the commit of what becomes of an invitation")
@pytest.mark.parametrize(("do", "verb"), [("withdraw", "withdrawn"), ("renew", "renewed")])
async def test_an_invitation_is_as_it_was_or_taken_back_or_renewed(
    world: World, cluster: Any, do: str, verb: str
) -> None:
    await world.person("ada")
    await world.join("ada", "owner")
    address = f"new.{world.tenant_id[-8:]}@example.org"
    sent = await service.invite(await session(world, "ada"), world.workspace_id, address, "viewer", False)
    token, it = await token_of(world, "ada"), sent["invitation_id"]
    point = "workspace.invitation.before_commit"
    assert await run(world, cluster, do, point, session=token, it=it) == -signal.SIGKILL
    assert (await peek_one_time(world.nobody(), "invitation", sent["invitation_token"]))["email"] == address
    await killed_and_repeated(world, cluster, do, point, f"workspace.invitation.{verb}", it=it)
    with pytest.raises(UsedOrUnknownToken):
        await peek_one_time(world.nobody(), "invitation", sent["invitation_token"])
    (row,) = await service.invitations(world.ctx("ada"), world.workspace_id)
    assert row["state"] == ("withdrawn" if do == "withdraw" else "open")
