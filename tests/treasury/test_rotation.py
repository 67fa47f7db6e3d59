"""A secret gets another value, or ends: what is shown and asked first, the overlap, the dates, and what is left of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.treasury.support import HERE, VALUE, attachment, broker, invocation, lease, secret
from tests.workspaces.world import World
from worka.kernel.clock import now
from worka.kernel.errors import Denied
from worka.observability import service as observability
from worka.treasury import errors, rotation, rules, service, values

NEW = "rotated-value-1"


async def granted(world: World, **fields: Any) -> tuple[str, str]:
    """(secret, attachment) with a grant for HERE."""
    made, att = await secret(world, **fields), await attachment(world)
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    return made["id"], att


async def had(world: World, secret_id: str, att: str, inv: str | None = None) -> str:
    """What a call gets."""
    return (await lease(world, secret_id, att, inv or await invocation(world, att))).value


async def past(world: World, secret_id: str, column: str) -> None:
    """The moment of a column is over."""
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            f"update worka.secret set {column} = clock_timestamp() - interval '1 second' where id = %s",  # type: ignore[arg-type]
            (secret_id,),
        )


# kinds -------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-1")
@pytest.mark.parametrize("kind", sorted(rules.KINDS))
async def test_each_kind_is_kept_and_bound_to_what_it_is_for(world: World, kind: str) -> None:
    value = None if rules.KINDS[kind].binds != "endpoint" else VALUE
    made, att = await secret(world, name=f"a-{kind}", kind=kind, value=value), await attachment(world)
    assert made["binds"] == rules.KINDS[kind].binds
    if made["binds"] == "endpoint":
        await service.grant(world.ctx("owner"), made["id"], att, HERE)
        assert await had(world, made["id"], att) == VALUE
        return
    with pytest.raises(errors.KindNotBindable, match=rules.KINDS[kind].words):
        await service.grant(world.ctx("owner"), made["id"], att, HERE)
    assert await world.rows("secret_grant") == []


@pytest.mark.capability("TRE-14", part="what is made in the treasury; the embedded database's passwords are not there")
@pytest.mark.capability("TRE-8", "TRE-13")
async def test_an_infrastructure_credential_is_made_in_the_treasury_rotated_there_and_audited(world: World) -> None:
    made = await secret(world, name="queue-password", kind="infrastructure", value=None)
    ctx = world.ctx("owner")

    async def opened() -> str:
        async with ctx.transaction():
            return await values.opened(ctx, await service.visible(ctx, made["id"]))

    first = await opened()
    assert len(first) >= 40
    again = await service.rotate(ctx, made["id"], None)
    second = await opened()
    assert (again["version"], second != first) == (2, True)
    written = json.dumps([dict(row) for row in await world.events("treasury.secret.created")], default=str)
    written += json.dumps([dict(row) for row in await world.events("treasury.secret.rotated")], default=str)
    assert first not in written
    assert second not in written
    (created,) = await world.events("treasury.secret.created")
    assert created["data"] == {"generated": True}


@pytest.mark.capability("TRE-8", "TRE-13")
async def test_a_signing_key_is_not_given_another_value(world: World) -> None:
    made = await secret(world, name="signs", kind="publication", value=None)
    with pytest.raises(errors.SigningKeyKept):
        await service.rotate(world.ctx("owner"), made["id"], None)
    plain = await secret(world, name="plain")
    assert (await service.rotate(world.ctx("owner"), plain["id"], NEW))["version"] == 2


# before ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-9")
async def test_what_stands_on_a_secret_is_listed_before_it_is_rotated(world: World) -> None:
    secret_id, att = await granted(world)
    inv = await invocation(world, att)
    await lease(world, secret_id, att, inv)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, secret_id,"
            " state, reason, created_by) values (%s, 'conn_x', %s, 'tracker', 'Tracker', 'tracker.worka.test', 443,"
            " 'read', %s, 'active', 'connection_in_service', 'test')",
            (world.tenant_id, world.workspace_id, secret_id),
        )
        await conn.execute(
            "insert into worka.publisher_key (tenant_id, id, workspace_id, publisher, key_id, public_key, secret_id,"
            " created_by) values (%s, 'key_x', %s, 'acme', 'k', 'p', %s, 'test')",
            (world.tenant_id, world.workspace_id, secret_id),
        )
    seen = await rotation.dependants(world.ctx("viewer"), secret_id)
    assert {(item["what"], item["id"]) for item in seen["items"]} == {
        ("connection", "conn_x"), ("attachment", att), ("publisher_key", "key_x"), ("call", inv),
    }  # fmt: skip
    assert "1 connection, 1 grant of an attachment" in seen["sentence"]
    await service.grant(world.ctx("owner"), secret_id, att, "api.example.com:443")
    with pytest.raises(errors.DependantsMoved):
        await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep", listed=seen["listed"])
    assert await had(world, secret_id, att) == VALUE
    fresh = await rotation.dependants(world.ctx("owner"), secret_id)
    await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep", listed=fresh["listed"])
    assert await had(world, secret_id, att) == NEW


@pytest.mark.capability("TRE-10")
async def test_a_rotation_asks_whether_the_grants_remain(world: World) -> None:
    secret_id, att = await granted(world)
    with pytest.raises(errors.GrantsUndecided):
        await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants=None)
    assert await had(world, secret_id, att) == VALUE, "nothing was rotated"
    kept = await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep")
    assert len(kept["grants"]) == 1
    assert await had(world, secret_id, att) == NEW
    ended = await rotation.rotate(world.ctx("owner"), secret_id, "rotated-value-2", grants="end")
    assert ended["grants"] == []
    with pytest.raises(errors.NoGrant):
        await had(world, secret_id, att)
    free = await secret(world, "free")
    assert (await rotation.rotate(world.ctx("owner"), free["id"], NEW, grants=None))["version"] == 2, "nothing to ask"


@pytest.mark.capability("TRE-8", "TRE-13")
@pytest.mark.parametrize("who", ["viewer", "member"])
async def test_only_who_manages_connections_rotates_dates_and_destroys(world: World, who: str) -> None:
    secret_id, _ = await granted(world)
    ctx = world.ctx(who)
    for attempt in (
        rotation.rotate(ctx, secret_id, NEW, grants="keep"), rotation.set_dates(ctx, secret_id, None, 30),
        rotation.finish(ctx, secret_id), rotation.back(ctx, secret_id), rotation.destroy(ctx, secret_id, ""),
    ):  # fmt: skip
        with pytest.raises(Denied):
            await attempt
    assert (await service.get(world.ctx("admin"), secret_id))["version"] == 1
    assert (await rotation.rotate(world.ctx("admin"), secret_id, NEW, grants="keep"))["version"] == 2


# overlap -----------------------------------------------------------------------------------------------------------
async def sealed_versions(world: World) -> list[int]:
    """The versions that have a value still."""
    rows = await world.rows("secret_version")
    assert all(not bytes(row["ciphertext"]) for row in rows if row["ended_at"]), "what ended is wiped"
    return sorted(row["version"] for row in rows if row["ended_at"] is None)


@pytest.mark.capability("TRE-8", "TRE-13")
@pytest.mark.parametrize("by", ["time", "hand", "back"])
async def test_in_an_overlap_old_and_new_are_valid_until_it_ends(world: World, by: str) -> None:
    secret_id, att = await granted(world)
    early, ctx = await invocation(world, att), world.ctx("owner")
    assert await had(world, secret_id, att, early) == VALUE
    told = await rotation.rotate(ctx, secret_id, NEW, grants="keep", overlap_minutes=60)
    assert (told["state"], told["previous_version"]) == ("rotating", 1)
    assert await had(world, secret_id, att, early) == VALUE, "a call that began with the old value goes on with it"
    assert await had(world, secret_id, att) == NEW, "the others have the new one"
    assert await sealed_versions(world) == [1, 2]
    await rotation.sweep(world.nobody())
    assert (await service.get(ctx, secret_id))["state"] == "rotating", "its time is not over"
    if by == "time":
        await past(world, secret_id, "overlap_until")
        await rotation.sweep(world.nobody())
    else:
        await (rotation.finish if by == "hand" else rotation.back)(ctx, secret_id)
    left = VALUE if by == "back" else NEW
    found = await service.get(ctx, secret_id)
    assert (found["state"], found["previous_version"], found["overlap_until"]) == ("active", None, None)
    assert [await had(world, secret_id, att, early), await had(world, secret_id, att)] == [left, left]
    assert await sealed_versions(world) == [3 if by == "back" else 2]
    for over in (rotation.finish, rotation.back):
        with pytest.raises(errors.NotRotating):
            await over(ctx, secret_id)
    assert len(await world.events("treasury.secret.overlap_ended")) == 1


@pytest.mark.capability("TRE-8", part="of two rotations within an overlap the oldest value ends")
async def test_a_rotation_within_an_overlap_ends_the_oldest_value(world: World) -> None:
    secret_id, att = await granted(world)
    ctx = world.ctx("owner")
    await rotation.rotate(ctx, secret_id, NEW, grants="keep", overlap_minutes=60)
    await rotation.rotate(ctx, secret_id, "rotated-value-2", grants="keep", overlap_minutes=60)
    assert await sealed_versions(world) == [2, 3]
    await rotation.rotate(ctx, secret_id, "rotated-value-3", grants="keep")
    assert await sealed_versions(world) == [4]
    assert (await service.get(ctx, secret_id))["state"] == "active"
    assert await had(world, secret_id, att) == "rotated-value-3"


@pytest.mark.capability("TRE-2")
async def test_an_old_version_that_is_put_back_is_refused_by_its_name(world: World) -> None:
    secret_id, att = await granted(world)
    (old,) = await world.rows("secret_version")
    await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep")
    assert await had(world, secret_id, att) == NEW, "the control"
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret_version set nonce = %s, ciphertext = %s, ended_at = null where version = 1",
            (old["nonce"], old["ciphertext"]),
        )
        await conn.execute("update worka.secret set version = 1 where id = %s", (secret_id,))
    with pytest.raises(errors.SecretReplayed, match="tracker-token") as replayed:
        await had(world, secret_id, att)
    assert replayed.value.code == "secret_replayed"
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret set version = 2 where id = %s", (secret_id,))
        # The old bytes under the new number: they are bound to theirs.
        await conn.execute(
            "update worka.secret_version set nonce = %s, ciphertext = %s where version = 2",
            (old["nonce"], old["ciphertext"]),
        )
    with pytest.raises(errors.SecretUnreadable, match="does not open"):
        await had(world, secret_id, att)


# ends --------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-15", part="secrets with an end or a turn")
async def test_a_secret_that_ends_is_told_of_before_a_task_needs_it(world: World) -> None:
    soon = now() + timedelta(days=3)
    secret_id, att = await granted(world, expires_at=soon)
    far = await secret(world, "far", expires_at=now() + timedelta(days=40))
    assert [row["warning"] for row in (await service.get(world.ctx("viewer"), secret_id), far)] == ["soon", ""]
    await rotation.sweep(world.nobody())
    await rotation.sweep(world.nobody())
    (message,) = [row for row in await world.rows("outbox") if row["topic"] == rotation.EXPIRING]
    assert (message["payload"]["secret_id"], message["payload"]["level"]) == (secret_id, "soon")
    assert message["payload"]["dependants"] == [att]
    seen = await observability.attention(world.ctx("owner"))
    assert [item["reason"] for item in seen["items"] if item["kind"] == "secret"] == ["secret_due_soon"]
    assert await had(world, secret_id, att) == VALUE, "it is warned of, not refused"
    await past(world, secret_id, "expires_at")
    with pytest.raises(errors.SecretExpired) as ended:
        await had(world, secret_id, att)
    assert ended.value.code == "secret_expired"
    seen = await observability.attention(world.ctx("owner"))
    assert [item["reason"] for item in seen["items"] if item["kind"] == "secret"] == ["secret_due"]
    await rotation.sweep(world.nobody())
    assert {row["payload"]["level"] for row in await world.rows("outbox") if row["topic"] == rotation.EXPIRING} == {
        "soon", "due",
    }  # fmt: skip
    await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep")
    assert await had(world, secret_id, att) == NEW, "a new value has no end until one is set"
    seen = await observability.attention(world.ctx("owner"))
    assert [item for item in seen["items"] if item["kind"] == "secret"] == []


@pytest.mark.capability("TRE-15", part="secrets with an end or a turn")
async def test_a_turn_to_be_rotated_is_told_of_and_refuses_nothing(world: World) -> None:
    secret_id, att = await granted(world)
    with pytest.raises(errors.DatesInvalid):
        await rotation.set_dates(world.ctx("owner"), secret_id, now() - timedelta(days=1), None)
    dated = await rotation.set_dates(world.ctx("owner"), secret_id, None, 30)
    assert dated["warning"] == ""
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret set created_at = now() - interval '31 days' where id = %s", (secret_id,)
        )
    assert (await service.get(world.ctx("viewer"), secret_id))["warning"] == "due"
    assert await had(world, secret_id, att) == VALUE
    await rotation.rotate(world.ctx("owner"), secret_id, NEW, grants="keep")
    assert (await service.get(world.ctx("viewer"), secret_id))["warning"] == ""


async def test_a_revoked_secret_is_destroyed_for_good(world: World) -> None:
    secret_id, att = await granted(world)
    inv = await invocation(world, att)
    await had(world, secret_id, att, inv)
    with pytest.raises(errors.SecretRevoked, match="is active"):
        await rotation.destroy(world.ctx("owner"), secret_id, "")
    told = await service.revoke(world.ctx("owner"), secret_id, "leaked")
    assert {item["id"] for item in told["stopped_more"]} == {att, inv}
    assert await sealed_versions(world) == [1], "revoked, it is kept"
    gone = await rotation.destroy(world.ctx("owner"), secret_id, "over")
    assert (gone["state"], gone["reason"]) == ("destroyed", "secret_destroyed")
    assert await sealed_versions(world) == []


@pytest.mark.capability("TRE-4")
async def test_inspection_shows_what_for_who_may_and_who_did_and_never_the_value(world: World) -> None:
    secret_id, att = await granted(world)
    inv = await invocation(world, att)
    await had(world, secret_id, att, inv)
    await service.close_leases(broker(world, att), invocation_id=inv)
    shown = await service.get(world.ctx("viewer"), secret_id)
    assert (shown["name"], shown["purpose"]) == ("tracker-token", "the tracker's bearer token")
    assert [(grant["attachment_id"], grant["pack"], grant["endpoint"]) for grant in shown["grants"]] == [
        (att, "acme.notes", HERE)
    ]
    assert shown["last_leased_at"] is not None
    (used,) = await rotation.leases(world.ctx("viewer"), secret_id, None, 50)
    assert (used["invocation_id"], used["pack"], used["tool"], used["endpoint"]) == (inv, "acme.notes", "publish", HERE)
    assert used["closed_at"] is not None
    assert VALUE not in json.dumps([shown, used], default=str)
    with pytest.raises(errors.SecretNotFound):
        await rotation.leases(world.ctx("stranger"), secret_id, None, 50)
    with pytest.raises(errors.SecretNotFound):
        await rotation.dependants(world.ctx("stranger"), secret_id)
