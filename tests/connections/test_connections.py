"""Connecting an outside system: consent first, one workspace only, and an end that takes the grants with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.treasury.support import HERE, VALUE, attachment, invocation, lease, secret
from tests.workspaces.world import World, decided_while_held, make
from worka import connections
from worka.approvals import service as approvals
from worka.connections import ending, errors, explain, service, store
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Denied
from worka.treasury import errors as treasury_errors
from worka.treasury import service as vault
from worka.treasury import store as treasury_rows


@pytest.fixture(autouse=True)
def _subscribed(world: World) -> None:
    connections.subscribe(world.subscribers)


async def connect(world: World, who: str = "owner", **fields: Any) -> dict[str, Any]:
    """Asks for a connection to the tracker."""
    words: dict[str, Any] = {
        "provider": "tracker", "name": "Issue tracker", "host": "Tracker.worka.test", "port": 443,
        "access": "read issues",
        "secret_id": None, "metadata": {"account": "acme"}, "why": "the notes list open issues", **fields,
    }  # fmt: skip
    return await service.create(world.ctx(who), world.workspace_id, **words)


async def decide(world: World, approval_id: str, decision: str = "approve", who: str = "approver") -> dict[str, Any]:
    """Decides an approval."""
    shown = await approvals.show(world.ctx(who), approval_id)
    return await approvals.decide(world.ctx(who), approval_id, decision, shown["digest"], "")


async def active(world: World, secret_id: str | None = None) -> dict[str, Any]:
    """An approved connection."""
    made = await connect(world, secret_id=secret_id)
    await decide(world, made["approval_id"])
    return await service.get(world.ctx("owner"), made["id"])


@pytest.mark.capability("CON-6")
async def test_connecting_waits_for_consent_and_becomes_active_with_it(world: World) -> None:
    made = await connect(world, secret_id=(await secret(world))["id"])
    assert (made["state"], made["reason"], made["host"]) == (
        "awaiting_approval",
        "waiting_for_approver",
        "tracker.worka.test",
    )
    with pytest.raises(Denied):
        await decide(world, made["approval_id"], who="owner")  # four eyes: not by who asked
    assert (await service.get(world.ctx("owner"), made["id"]))["state"] == "awaiting_approval"
    told: list[dict[str, Any]] = []

    async def listen(ctx: Context, payload: dict[str, Any]) -> None:
        told.append(payload)

    world.subscribers.on("connection.activated", listen)
    await decide(world, made["approval_id"])
    assert (await service.get(world.ctx("viewer"), made["id"]))["state"] == "active"
    assert told == [{"connection_id": made["id"], "workspace_id": world.workspace_id}]
    (approval,) = await world.rows("approval")
    assert (approval["consumed_by"], approval["boundary"]) == (made["id"], "connection.create")
    assert VALUE not in json.dumps(approval["card"])


@pytest.mark.capability("CON-6")
@pytest.mark.parametrize("who", ["member", "viewer", "approver", "robot"])
async def test_only_who_manages_connections_connects(world: World, who: str) -> None:
    ctx = world.ctx(who, behind="owner") if who == "robot" else world.ctx(who)
    with pytest.raises(Denied):
        await service.create(
            ctx, world.workspace_id, provider="tracker", name="T", host="t.example.com", port=443, access="all",
            secret_id=None, metadata={}, why="",
        )  # fmt: skip
    assert await world.rows("connection") == []
    assert (await connect(world, "admin"))["state"] == "awaiting_approval"


@pytest.mark.capability("CON-6")
async def test_a_refused_connection_is_rejected_and_stays_so(world: World) -> None:
    made = await connect(world)
    await decide(world, made["approval_id"], "reject")
    row = await service.get(world.ctx("owner"), made["id"])
    assert (row["state"], row["reason"]) == ("rejected", "connection_rejected")
    with pytest.raises(Conflict):
        await ending.remove(world.ctx("owner"), made["id"])


@pytest.mark.capability("CON-6")
async def test_consent_given_to_who_lost_the_right_meanwhile_connects_nothing(world: World) -> None:
    made = await connect(world, "admin")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'member' where principal_id = %s", (world.ids["admin"],))
    await decide(world, made["approval_id"])
    row = await service.get(world.ctx("owner"), made["id"])
    assert (row["state"], row["reason"]) == ("rejected", "connection_superseded")


@pytest.mark.capability("CON-6")
async def test_consent_is_to_exactly_what_was_asked(world: World) -> None:
    made = await connect(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.connection set host = 'evil.example.com' where id = %s", (made["id"],))
    await decide(world, made["approval_id"])
    row = await service.get(world.ctx("owner"), made["id"])
    assert (row["state"], row["reason"]) == ("rejected", "connection_superseded")


@pytest.mark.capability("CON-2")
async def test_a_connection_uses_only_a_secret_of_its_own_workspace(world: World, db: Any) -> None:
    own = await secret(world)
    neighbour = await make(db, world.settings.home)
    foreign = await secret(neighbour)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret set workspace_id = 'ws_elsewhere' where id = %s", (own["id"],))
    for wrong in (foreign["id"], own["id"], "sec_unknown"):
        with pytest.raises(errors.SecretNotUsable):
            await connect(world, secret_id=wrong)
    assert await world.rows("connection") == []
    assert (await connect(world, secret_id=(await secret(world, "mine"))["id"]))["state"] == "awaiting_approval"


@pytest.mark.capability("CON-2", part="what backs it")
@pytest.mark.parametrize("kind", ["oauth_refresh", "oauth_client", "registry", "publication", "infrastructure"])
async def test_what_goes_on_no_request_backs_no_connection(world: World, kind: str) -> None:
    kept = await secret(world, f"of {kind}", kind=kind)
    with pytest.raises(errors.SecretNotUsable, match="goes on no request"):
        await connect(world, secret_id=kept["id"])
    token = await secret(world, "a token")
    assert (await connect(world, secret_id=token["id"]))["state"] == "awaiting_approval", "the control"


@pytest.mark.capability("CON-2", part="what backs it")
async def test_the_secret_of_a_persons_own_account_backs_no_connection_of_others(world: World) -> None:
    kept = await secret(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret set person_id = %s where id = %s", (world.ids["admin"], kept["id"]))
    for whose in ({}, {"own": True}):
        with pytest.raises(errors.SecretNotUsable, match="own account"):
            await connect(world, "owner", secret_id=kept["id"], **whose)
    made = await connect(world, "admin", secret_id=kept["id"], own=True)
    assert made["state"] == "awaiting_approval", "the control: theirs is theirs"


@pytest.mark.capability("CON-2")
async def test_to_another_workspace_there_is_no_connection(world: World, db: Any) -> None:
    made = await active(world)
    neighbour = await make(db, world.settings.home)
    for reader in (world.ctx("stranger"), neighbour.ctx("owner")):
        with pytest.raises(errors.ConnectionNotFound):
            await service.get(reader, made["id"])
        with pytest.raises(errors.ConnectionNotFound):
            await ending.remove(reader, made["id"])
        with pytest.raises(errors.ConnectionNotFound):
            await explain.explain(reader, made["id"])
    assert (await service.get(world.ctx("viewer"), made["id"]))["name"] == "Issue tracker"


@pytest.mark.capability("CON-1", "CON-3")
async def test_a_connection_says_what_where_with_which_credential_and_why(world: World) -> None:
    made = await active(world, (await secret(world))["id"])
    assert {key: made[key] for key in ("provider", "host", "port", "access", "secret", "why", "workspace_id",
    "metadata")} == {
        "provider": "tracker", "host": "tracker.worka.test", "port": 443, "access": "read issues",
        "secret": "tracker-token",
        "why": "the notes list open issues", "workspace_id": world.workspace_id, "metadata": {"account": "acme"},
    }  # fmt: skip
    assert VALUE not in json.dumps(made, default=str)
    listed = await service.listing(world.ctx("viewer"), world.workspace_id, None, 10)
    assert [row["id"] for row in listed] == [made["id"]]


@pytest.mark.capability("TRE-11")
async def test_removing_a_connection_revokes_its_grants(world: World) -> None:
    owner, made, att = world.ctx("owner"), await secret(world), await attachment(world)
    connection = await active(world, made["id"])
    await vault.grant(owner, made["id"], att, HERE)
    await vault.grant(owner, made["id"], att, "elsewhere.example.com:443")
    inv = await invocation(world, att)
    assert (await lease(world, made["id"], att, inv)).value == VALUE
    with pytest.raises(Denied):
        await ending.remove(world.ctx("member"), connection["id"])
    told = await ending.remove(owner, connection["id"])
    assert (told["state"], told["reason"], told["stopped"]) == ("revoked", "connection_removed", [att])
    with pytest.raises(treasury_errors.EndpointNotBound):
        await lease(world, made["id"], att, inv)
    (event,) = await world.events("treasury.grant.revoked")
    assert event["cause"] == {"kind": "connection", "id": connection["id"]}


async def test_a_grant_that_another_connection_needs_stays(world: World) -> None:
    made, att = await secret(world), await attachment(world)
    first, second = await active(world, made["id"]), await active(world, made["id"])
    await vault.grant(world.ctx("owner"), made["id"], att, HERE)
    assert (await ending.remove(world.ctx("owner"), first["id"]))["stopped"] == []
    assert (await ending.remove(world.ctx("owner"), second["id"]))["stopped"] == [att]


@pytest.mark.parametrize("held", ["connection", "secret"])
async def test_consenting_and_removing_or_revoking_at_once_take_locks_in_one_order(world: World, held: str) -> None:
    key = (await secret(world))["id"]
    made = await connect(world, secret_id=key)
    hold = {
        "connection": lambda conn: store.get(conn, made["id"], lock=True),
        "secret": lambda conn: treasury_rows.secret(conn, key, lock="update"),
    }[held]
    await decided_while_held(world, made["approval_id"], decide(world, made["approval_id"]), hold)
    assert (await service.get(world.ctx("owner"), made["id"]))["state"] == "active"


async def test_a_request_that_is_removed_is_withdrawn(world: World) -> None:
    made = await connect(world)
    assert (await ending.remove(world.ctx("owner"), made["id"]))["state"] == "revoked"
    (approval,) = await world.rows("approval")
    assert approval["state"] == "withdrawn"


@pytest.mark.capability("CON-8", part="a broken connection says what broke it and what to do")
async def test_a_revoked_secret_breaks_what_it_backs(world: World) -> None:
    made = await secret(world)
    connection, waiting = await active(world, made["id"]), await connect(world, secret_id=made["id"])
    await vault.revoke(world.ctx("owner"), made["id"], "leaked")
    for row in (connection, waiting):
        found = await service.get(world.ctx("owner"), row["id"])
        assert (found["state"], found["reason"]) == ("broken", "connection_secret_revoked")
    told = await explain.explain(world.ctx("viewer"), connection["id"])
    assert "secret behind it was revoked" in told.headline
    assert (told.layer, told.incident_class) == ("connection", "connection")
    assert told.next


async def test_a_waiting_connection_names_who_acts_next(world: World) -> None:
    made = await connect(world)
    for reader, able in (("approver", True), ("owner", False), ("viewer", False)):
        told = await explain.explain(world.ctx(reader), made["id"])
        (wait,) = told.waiting_on
        assert (told.state, wait.kind, wait.ref) == ("awaiting_approval", "approval", made["approval_id"])
        assert set(wait.who) == {"approver", "admin"}
        assert wait.deadline is not None
        assert (wait.you_can, told.next[0].allowed) == (able, able)
        assert able or told.next[0].because
    await decide(world, made["approval_id"])
    told = await explain.explain(world.ctx("viewer"), made["id"])
    assert (told.state, told.waiting_on) == ("active", [])


@pytest.mark.parametrize(
    "metadata",
    [
        {"token": {"a": 1}},
        {"Bad-Key": "x"},
        {"note": "Bearer abcdefghijklmnop"},
        {"text": "a\nb"},
        {"long": "x" * 500},
        {f"k{n}": "x" for n in range(30)},
        {"flag": True},
    ],
)
async def test_metadata_are_no_place_for_credentials_or_documents(world: World, metadata: dict[str, Any]) -> None:
    with pytest.raises(errors.MetadataInvalid):
        await connect(world, metadata=metadata)
    assert await world.rows("connection") == []


async def test_every_change_of_a_connection_is_in_the_ledger(world: World) -> None:
    made = await active(world)
    await ending.remove(world.ctx("owner"), made["id"])
    rows = [json.loads(row["body"]) for row in await world.rows("audit_entry", "true order by seq")]
    moves = {row["type"]: row for row in rows if row["type"].startswith("connection.")}
    assert set(moves) == {"connection.created", "connection.activated", "connection.revoked"}
    assert moves["connection.created"]["after"]["state"] == "awaiting_approval"
    assert moves["connection.created"]["decision"]
    assert moves["connection.activated"]["before"]["state"] == "awaiting_approval"
    assert moves["connection.activated"]["approval"] == made["approval_id"]
    assert moves["connection.activated"]["actor"]["id"] == world.ids["approver"]
    assert moves["connection.revoked"]["before"]["state"] == "active"
