"""The treasury on a real PostgreSQL: what lies there, who may use it where, and that a value goes nowhere else."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from tests.treasury.support import HERE, VALUE, attachment, broker, invocation, lease, secret
from tests.workspaces.world import World, make
from worka.kernel import redact
from worka.kernel.errors import Denied
from worka.kernel.settings import Settings
from worka.treasury import errors, explain, ring, service, store
from worka.treasury.sealer import TreasurySealer

OTHER = "api.example.com:443"


async def granted(world: World) -> tuple[str, str, str]:
    """(secret, attachment, running invocation), granted for HERE."""
    made, att = await secret(world), await attachment(world)
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    return made["id"], att, await invocation(world, att)


# at rest -----------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-2")
async def test_a_value_is_nowhere_in_the_database(world: World) -> None:
    secret_id, att, inv = await granted(world)
    assert (await lease(world, secret_id, att, inv)).value == VALUE, "the control: it is there, sealed"
    async with world.db.transaction(world.tenant_id) as conn:
        cursor = await conn.execute(
            "select table_name from information_schema.columns where table_schema = 'worka' and column_name ="
            " 'tenant_id'"
        )
        tables = [row["table_name"] for row in await cursor.fetchall()]
        assert {"secret", "secret_version", "lease", "event", "audit_entry"} <= set(tables)
        for table in tables:
            cursor = await conn.execute(f"select * from worka.{table}")  # type: ignore[arg-type]
            for row in await cursor.fetchall():
                for value in row.values():
                    data = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    assert VALUE.encode() not in data, table


@pytest.mark.capability("TRE-2")
@pytest.mark.parametrize("column", ["ciphertext", "nonce"])
async def test_one_flipped_byte_fails_by_name_and_never_opens_to_something_else(world: World, column: str) -> None:
    secret_id, att, inv = await granted(world)
    whole = await secret(world, "another", "other-value-123")
    await service.grant(world.ctx("owner"), whole["id"], att, HERE)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            f"update worka.secret_version set {column} = set_byte({column}, 3, get_byte({column}, 3) # 1)"  # type: ignore[arg-type]
            " where secret_id = %s",
            (secret_id,),
        )
    with pytest.raises(errors.SecretUnreadable, match="tracker-token") as refused:
        await lease(world, secret_id, att, inv)
    assert refused.value.extra["item"] == secret_id
    assert (await lease(world, whole["id"], att, inv)).value == "other-value-123"


@pytest.mark.capability("TRE-2")
async def test_a_sealed_value_opens_only_as_itself(world: World) -> None:
    """The row of one secret put under another one, of the same tenant and key, does not open."""
    secret_id, att, inv = await granted(world)
    other = await secret(world, "another", "other-value-123")
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "update worka.secret_version v set nonce = o.nonce, ciphertext = o.ciphertext from worka.secret_version o"
            " where v.secret_id = %s and o.secret_id = %s",
            (secret_id, other["id"]),
        )
    with pytest.raises(errors.SecretUnreadable):
        await lease(world, secret_id, att, inv)


async def test_sealed_bytes_are_bound_to_tenant_and_purpose(world: World, db: Any) -> None:
    ctx = world.ctx("owner")
    sealed = await world.sealer.seal(ctx, "approval/arguments", b"arguments")
    assert await world.sealer.open(ctx, "approval/arguments", sealed) == b"arguments"
    for purpose, data in (
        ("result", sealed),
        ("approval/arguments", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("x", b""),
    ):
        with pytest.raises(errors.SecretUnreadable):
            await world.sealer.open(ctx, purpose, data)
    neighbour = await make(db, world.settings.home)
    with pytest.raises(errors.SecretUnreadable):
        await neighbour.sealer.open(neighbour.ctx("owner"), "approval/arguments", sealed)


async def test_a_restarted_process_opens_what_another_sealed_and_another_master_key_does_not(
    world: World, tmp_path: Any
) -> None:
    ctx = world.ctx("owner")
    sealed = await world.sealer.seal(ctx, "p", b"plain")
    assert await TreasurySealer(world.settings).open(ctx, "p", sealed) == b"plain"
    elsewhere = TreasurySealer(Settings(home=tmp_path / "elsewhere"))
    with pytest.raises(errors.MasterKeyMismatch, match=world.sealer.master.id):
        await elsewhere.open(ctx, "p", sealed)


async def test_a_key_made_in_a_transaction_that_is_rolled_back_is_not_used_again(world: World) -> None:
    ctx = world.ctx("owner")

    class Stop(Exception):
        pass

    async def lost() -> None:
        async with ctx.transaction():
            await world.sealer.seal(ctx, "p", b"lost")
            raise Stop

    with pytest.raises(Stop):
        await lost()
    async with ctx.transaction():
        kept = await world.sealer.seal(ctx, "p", b"kept")
    assert await TreasurySealer(world.settings).open(ctx, "p", kept) == b"kept"


def test_the_master_key_is_made_once_for_its_owner_alone(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    first = ring.ensure_keys(settings)
    path = tmp_path / "keys" / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert ring.ensure_keys(settings).id == first.id
    assert first.hmac("a", b"x") != first.hmac("b", b"x")
    path.chmod(0o644)
    with pytest.raises(errors.MasterKeyUnreadable, match="read by others"):
        ring.ensure_keys(settings)
    path.chmod(0o600)
    path.write_text("c2hvcnQ=")
    with pytest.raises(errors.MasterKeyUnreadable, match="5 bytes"):
        ring.ensure_keys(settings)


# grants ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-5")
async def test_creating_a_secret_grants_nothing(world: World) -> None:
    made, att = await secret(world), await attachment(world)
    inv = await invocation(world, att)
    assert await world.rows("secret_grant") == []
    assert made["grants"] == []
    with pytest.raises(errors.NoGrant) as refused:
        await lease(world, made["id"], att, inv)
    assert refused.value.problem_code == "no_grant"
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    assert (await lease(world, made["id"], att, inv)).value == VALUE


@pytest.mark.capability("TRE-6")
async def test_a_grant_is_of_one_secret(world: World) -> None:
    secret_id, att, inv = await granted(world)
    other = await secret(world, "another", "other-value-123")
    with pytest.raises(errors.NoGrant):
        await lease(world, other["id"], att, inv)
    assert (await lease(world, secret_id, att, inv)).value == VALUE


@pytest.mark.capability("TRE-6", "TRE-7")
async def test_a_pack_without_a_grant_cannot_use_a_secret_of_its_workspace(world: World) -> None:
    secret_id, att, inv = await granted(world)
    neighbour = await attachment(world, "acme.other")
    with pytest.raises(errors.NoGrant):
        await lease(world, secret_id, neighbour, await invocation(world, neighbour))
    assert (await lease(world, secret_id, att, inv)).value == VALUE


@pytest.mark.capability("BRK-13", part="a credential is bound to its endpoint in the treasury")
@pytest.mark.parametrize("elsewhere", [OTHER, "tracker.worka.test:8443", "evil.tracker.worka.test:443"])
async def test_a_grant_holds_for_its_endpoint_only(world: World, elsewhere: str) -> None:
    secret_id, att, inv = await granted(world)
    with pytest.raises(errors.EndpointNotBound) as refused:
        await lease(world, secret_id, att, inv, elsewhere)
    assert refused.value.problem_code == "endpoint_not_bound"
    assert (await lease(world, secret_id, att, inv, HERE.upper())).value == VALUE


async def test_a_grant_is_for_an_attachment_of_the_same_workspace(world: World) -> None:
    made = await secret(world)
    for grantee in (await attachment(world, workspace_id="ws_elsewhere"), "att_unknown"):
        with pytest.raises(errors.AttachmentUnknown):
            await service.grant(world.ctx("owner"), made["id"], grantee, HERE)
    for place in ("no-port", "*.example.com:443", "127.0.0.1:443", "https://x:1", "a b:1", "x:0", "x:70000", "-x:1"):
        with pytest.raises(errors.EndpointInvalid):
            await service.grant(world.ctx("owner"), made["id"], await attachment(world), place)


@pytest.mark.capability("TRE-6")
@pytest.mark.parametrize("who", ["member", "viewer", "approver", "robot"])
async def test_only_who_manages_connections_creates_and_grants(world: World, who: str) -> None:
    made, att = await secret(world), await attachment(world)
    ctx = world.ctx(who, behind="owner") if who == "robot" else world.ctx(who)
    with pytest.raises(Denied):
        await service.grant(ctx, made["id"], att, HERE)
    with pytest.raises(Denied):
        await service.create(ctx, world.workspace_id, name="mine", purpose="", kind="other", value="value-of-mine")
    assert await world.rows("secret_grant") == []
    await service.grant(world.ctx("admin"), made["id"], att, HERE)
    assert len(await world.rows("secret_grant")) == 1


@pytest.mark.capability("TRE-3")
async def test_who_may_put_nothing_in_has_nothing_masked_for_everybody(world: World) -> None:
    words = "an-ordinary-word-of-others"
    with pytest.raises(Denied):
        await service.create(world.ctx("viewer"), world.workspace_id, name="x", purpose="", kind="other", value=words)
    assert redact.text(words) == words
    await service.create(world.ctx("owner"), world.workspace_id, name="x", purpose="", kind="other", value=words)
    assert words not in redact.text(words), "the control"


async def test_to_a_stranger_there_is_no_secret(world: World) -> None:
    made = await secret(world)
    for use in (service.get(world.ctx("stranger"), made["id"]), service.revoke(world.ctx("stranger"), made["id"], "")):
        with pytest.raises(errors.SecretNotFound):
            await use
    assert (await service.get(world.ctx("viewer"), made["id"]))["name"] == "tracker-token"


async def test_another_tenant_sees_and_leases_nothing(world: World, db: Any) -> None:
    secret_id, att, inv = await granted(world)
    neighbour = await make(db, world.settings.home)
    with pytest.raises(errors.SecretNotFound):
        await service.get(neighbour.ctx("owner"), secret_id)
    with pytest.raises(errors.SecretNotFound):
        await lease(neighbour, secret_id, att, inv)


# leases ------------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-3")
@pytest.mark.parametrize("state", ["succeeded", "failed", "unknown"])
async def test_a_value_leaves_only_for_a_running_invocation_of_that_attachment(world: World, state: str) -> None:
    secret_id, att, inv = await granted(world)
    over = await invocation(world, att, state)
    neighbour = await invocation(world, await attachment(world, "acme.other"))
    for wrong in (over, neighbour, "inv_unknown"):
        with pytest.raises(errors.InvocationNotRunning):
            await lease(world, secret_id, att, wrong)
    assert (await lease(world, secret_id, att, inv)).value == VALUE


@pytest.mark.capability("TRE-3")
async def test_a_value_shows_nowhere_but_in_its_lease(world: World) -> None:
    secret_id, att, inv = await granted(world)
    leased = await lease(world, secret_id, att, inv)
    assert VALUE not in f"{leased} {leased!r} {[leased]}"
    with pytest.raises(TypeError):
        pickle.dumps(leased)
    assert redact.text(f"x {VALUE} y") == f"x {redact.MASK} y"
    shown = [
        await service.get(world.ctx("owner"), secret_id),
        await service.listing(world.ctx("owner"), world.workspace_id, None, 50),
        (await explain.explain(world.ctx("owner"), secret_id)).model_dump(mode="json"),
    ]
    assert VALUE not in json.dumps(shown, default=str)


@pytest.mark.capability("TRE-13", part="creating, granting, leasing, refusing, closing, rotating, revoking")
async def test_use_and_management_are_in_the_ledger_without_the_value(world: World) -> None:
    secret_id, att, inv = await granted(world)
    leased = await lease(world, secret_id, att, inv)
    with pytest.raises(errors.EndpointNotBound):
        await lease(world, secret_id, att, inv, OTHER)
    await service.close_leases(broker(world, att), invocation_id=inv)
    await service.rotate(world.ctx("owner"), secret_id, "rotated-value-1")
    await service.revoke(world.ctx("owner"), secret_id, "leaked")
    rows = [json.loads(row["body"]) for row in await world.rows("audit_entry")]
    by_type = {row["type"]: row for row in rows}
    assert {
        "treasury.secret.created", "treasury.grant.created", "treasury.secret.leased", "treasury.lease.refused",
        "treasury.lease.closed", "treasury.secret.rotated", "treasury.secret.revoked", "treasury.grant.revoked",
    } <= set(by_type)  # fmt: skip
    told = by_type["treasury.secret.leased"]
    assert (told["subject"]["id"], told["cause"]) == (leased.id, {"kind": "invocation", "id": inv})
    assert by_type["treasury.lease.refused"]["data"]["reason"] == "endpoint_not_bound"
    grant = by_type["treasury.grant.created"]["after"]
    assert (grant["secret_id"], grant["attachment_id"], grant["endpoint"]) == (secret_id, att, HERE)
    assert by_type["treasury.grant.revoked"]["before"] == grant


async def test_a_lease_has_an_end_and_counts_what_the_egress_rows_say(world: World) -> None:
    secret_id, att, inv = await granted(world)
    leased = await lease(world, secret_id, att, inv)
    (row,) = await world.rows("lease")
    assert row["closed_at"] is None
    assert 0 < (row["expires_at"] - row["issued_at"]).total_seconds() <= 301
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute(
            "insert into worka.egress (tenant_id, id, workspace_id, attachment_id, invocation_id, session_id, host,"
            " port, kind,"
            " verdict, reason, count, lease_id, trace_id) values (%s, %s, %s, %s, %s, 's', 'h', 443, 'http',"
            " 'allowed', 'r', 3,"
            " %s, 't')",
            (world.tenant_id, "egr_" + leased.id[6:], world.workspace_id, att, inv, leased.id),
        )
    await service.close_leases(broker(world, att), invocation_id=inv)
    (row,) = await world.rows("lease")
    assert row["closed_at"] is not None
    assert row["used_count"] == 3
    await service.close_leases(broker(world, att), invocation_id=inv)
    assert len(await world.events("treasury.lease.closed")) == 1


# revoking and rotating ---------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-6")
async def test_a_revoked_grant_holds_for_the_very_next_call(world: World) -> None:
    secret_id, att, inv = await granted(world)
    assert (await lease(world, secret_id, att, inv)).value == VALUE
    (grant,) = await world.rows("secret_grant")
    with pytest.raises(Denied):
        await service.revoke_grant(world.ctx("member"), grant["id"])
    await service.revoke_grant(world.ctx("owner"), grant["id"])
    with pytest.raises(errors.NoGrant):
        await lease(world, secret_id, att, inv)


@pytest.mark.capability("TRE-12", part="a revoked secret names the attachments that could use it")
async def test_a_revoked_secret_holds_for_the_very_next_call_and_says_what_stopped(world: World) -> None:
    secret_id, att, inv = await granted(world)
    assert (await lease(world, secret_id, att, inv)).value == VALUE
    told = await service.revoke(world.ctx("owner"), secret_id, "leaked")
    assert (told["state"], told["stopped"], told["grants"]) == ("revoked", [att], [])
    with pytest.raises(errors.NoGrant):
        await lease(world, secret_id, att, inv)
    with pytest.raises(errors.SecretRevoked):
        await service.grant(world.ctx("owner"), secret_id, att, HERE)
    with pytest.raises(errors.SecretRevoked):
        await service.rotate(world.ctx("owner"), secret_id, "another-value")
    assert "is revoked" in (await explain.explain(world.ctx("viewer"), secret_id)).headline


async def test_a_revoked_secret_is_not_leased_even_under_a_live_grant(world: World) -> None:
    secret_id, att, inv = await granted(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await store.set_state(conn, secret_id, "revoked", "secret_revoked")
    with pytest.raises(errors.SecretRevoked):
        await lease(world, secret_id, att, inv)


@pytest.mark.capability("TRE-8", part="a user-provided credential")
async def test_a_rotated_secret_keeps_its_grants_and_the_next_lease_has_the_new_value(world: World) -> None:
    secret_id, att, inv = await granted(world)
    assert (await lease(world, secret_id, att, inv)).value == VALUE
    told = await service.rotate(world.ctx("owner"), secret_id, "rotated-value-1")
    assert (told["version"], len(told["grants"])) == (2, 1)
    assert (await lease(world, secret_id, att, inv)).value == "rotated-value-1"


async def test_a_name_is_taken_once_and_a_value_must_be_one(world: World) -> None:
    await secret(world)
    with pytest.raises(errors.SecretNameTaken):
        await secret(world)
    for value in ("short", "with\x00nul-inside", "x" * 70_000):
        with pytest.raises(errors.SecretEmpty):
            await secret(world, "other", value)


async def test_an_attachment_that_ends_takes_its_grants_with_it(world: World) -> None:
    secret_id, att, inv = await granted(world)
    ctx = world.ctx("owner")
    async with ctx.transaction():
        assert await service.revoke_grants_of_attachment(ctx, att, world.workspace_id) == 1
    with pytest.raises(errors.NoGrant):
        await lease(world, secret_id, att, inv)
