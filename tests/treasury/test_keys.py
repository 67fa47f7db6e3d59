"""Keys of each layer, rotated while values are used; the seal; and keys destroyed for good."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr

from tests.treasury.support import HERE, VALUE, attachment, invocation, lease, secret
from tests.workspaces.world import World, make
from worka.approvals import service as approvals
from worka.kernel.clock import now
from worka.kernel.errors import Denied
from worka.kernel.settings import Settings, TreasurySettings
from worka.treasury import datakeys, errors, keys, operating, reading, ring, service, signing, store
from worka.treasury import subscribe as treasury_subscribe
from worka.treasury.sealer import TreasurySealer


async def granted(world: World, name: str = "tracker-token", value: str = VALUE) -> tuple[str, str]:
    """(secret, attachment) with a grant for HERE."""
    made, att = await secret(world, name, value), await attachment(world)
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    return made["id"], att


async def had(world: World, secret_id: str, att: str) -> str:
    """What a call gets."""
    return (await lease(world, secret_id, att, await invocation(world, att))).value


async def second_owner(world: World) -> str:
    """Another owner, who may consent."""
    await world.person("partner")
    await world.join("partner", "owner")
    treasury_subscribe(world.subscribers)
    return "partner"


async def agree(world: World, approval_id: str | None, who: str, decision: str = "approve") -> None:
    """Decides an approval."""
    assert approval_id is not None
    card = await approvals.show(world.ctx(who), approval_id)
    await approvals.decide(world.ctx(who), approval_id, decision, card["digest"])


async def signed(world: World, secret_id: str) -> str:
    """A signature of a key that lies there."""
    ctx = world.ctx("owner")
    async with ctx.transaction():
        return await signing.sign(ctx, secret_id, b"data")


def elsewhere(world: World) -> World:
    """The same tenant as another process sees it, which has read the master key already."""
    other = World(world.db, world.settings, world.tenant_id, world.workspace_id, world.ids)
    assert other.sealer.master.id
    return other


# master key --------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-2")
async def test_a_master_key_is_rotated_while_every_process_goes_on(world: World, db: Any) -> None:
    secret_id, att = await granted(world)
    neighbour = await make(db, world.settings.home)
    theirs = await granted(neighbour, "theirs", "their-value-123")
    running, operator = elsewhere(world), world.ctx("operator")
    assert await had(running, secret_id, att) == VALUE
    token, first = world.sealer.hmac("token", b"t"), world.sealer.master.id
    own = world.sealer.seal_own("factor", b"seed")
    step = await operating.rotate_master(operator, most=1)
    assert (step["finished"], step["done"], step["next_master_key_id"] not in (None, first)) == (False, 1, True)
    assert await had(running, secret_id, att) == VALUE, "in the middle of it"
    assert await had(neighbour, *theirs) == "their-value-123"
    late = await granted(running, "late", "late-value-123")
    while not step["finished"]:
        step = await operating.rotate_master(operator, most=1)
    assert (step["left"], step["next_master_key_id"], step["master_key_id"] != first) == (0, None, True)
    for process in (world, running, elsewhere(world)):
        assert await had(process, secret_id, att) == VALUE
        assert await had(process, *late) == "late-value-123"
        assert process.sealer.hmac("token", b"t") == token, "no token is invalid for it"
        assert process.sealer.open_own("factor", own) == b"seed"
    rows = await world.rows("tenant_key")
    assert {row["master_key_id"] for row in rows} == {step["master_key_id"]}
    kept = world.settings.home / "keys" / "retired" / f"{first}.key"
    assert kept.stat().st_mode & 0o777 == 0o600, "for a backup of before"
    assert ring.read_key(kept.read_text(), "kept").id == first
    again = await operating.rotate_master(operator, most=100)
    assert (again["finished"], world.sealer.hmac("token", b"t")) == (True, token), "and once more"
    assert await had(elsewhere(world), secret_id, att) == VALUE


async def test_a_key_from_a_setting_is_followed_by_one_from_a_setting(world: World) -> None:
    first, second = (base64.b64encode(keys.new_key()).decode() for _ in range(2))

    def process(**fields: str) -> World:
        treasury = TreasurySettings(**{name: SecretStr(value) for name, value in fields.items()})  # type: ignore[arg-type]
        settings = Settings(home=world.settings.home, treasury=treasury)
        return World(world.db, settings, world.tenant_id, world.workspace_id, world.ids)

    before = process(master_key=first)
    secret_id, att = await granted(before)
    token = before.sealer.hmac("token", b"t")
    with pytest.raises(errors.NextKeyMissing, match="NEXT_MASTER_KEY"):
        await operating.rotate_master(before.ctx("operator"))
    during = process(master_key=first, next_master_key=second)
    step = await operating.rotate_master(during.ctx("operator"), most=1000)
    assert (step["finished"], step["left"]) == (True, 0)
    assert await had(during, secret_id, att) == VALUE
    after = process(master_key=f"{second} {step['root']}")
    assert await had(after, secret_id, att) == VALUE
    assert after.sealer.hmac("token", b"t") == token
    with pytest.raises(errors.MasterKeyMismatch):
        await had(process(master_key=first), secret_id, att)
    with pytest.raises(errors.MasterKeyUnreadable, match="second part"):
        process(master_key=f"{first} {step['root']}").sealer.hmac("token", b"t")


@pytest.mark.capability("TRE-2", part="the keys are the operator's to rotate, seal and destroy")
@pytest.mark.parametrize("who", ["owner", "admin", "member"])
async def test_only_the_operator_operates_the_treasury(world: World, who: str) -> None:
    for attempt in (operating.status, operating.rotate_master, lambda ctx: operating.seal(ctx, True, "w")):
        with pytest.raises(Denied):
            await attempt(world.ctx(who))  # type: ignore[operator]
    assert (await operating.status(world.ctx("operator")))["master_key_id"] == world.sealer.master.id


# data keys ---------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-2")
async def test_a_tenants_data_key_is_rotated_in_batches_while_its_secrets_are_used(world: World) -> None:
    made = [await granted(world, f"s{number}", f"value-of-{number}") for number in range(5)]
    sealed = await world.sealer.seal(world.ctx("owner"), "p", b"before")
    running, owner = elsewhere(world), world.ctx("owner")
    assert await had(running, *made[0]) == "value-of-0"
    step = await datakeys.rotate(owner, world.workspace_id, most=2)
    assert (step["begun"], step["version"], step["done"], step["left"]) == (True, 2, 2, 3)
    assert [await had(running, *one) for one in made] == [f"value-of-{number}" for number in range(5)]
    step = await datakeys.rotate(owner, world.workspace_id, most=2)
    assert (step["begun"], step["version"], step["left"]) == (False, 2, 1), "it goes on; it does not begin anew"
    late = await granted(running, "late", "late-value-123")
    step = await datakeys.rotate(owner, world.workspace_id, most=2)
    assert step["left"] == 0
    rows = await world.rows("secret_version")
    assert {row["key_version"] for row in rows} == {2}, "also what another process put in meanwhile"
    assert [await had(elsewhere(world), *one) for one in (*made, late)] == [
        *(f"value-of-{number}" for number in range(5)), "late-value-123",
    ]  # fmt: skip
    assert await elsewhere(world).sealer.open(owner, "p", sealed) == b"before", "what is elsewhere keeps its key"
    assert (await datakeys.status(world.ctx("viewer"), world.workspace_id))["versions"] == [1, 2]
    with pytest.raises(Denied):
        await datakeys.rotate(world.ctx("admin"), world.workspace_id)


async def test_a_value_that_was_changed_stops_a_rotation_by_its_name_and_changes_nothing(world: World) -> None:
    secret_id, _ = await granted(world)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret_version set ciphertext = set_byte(ciphertext, 3, 7)")
    with pytest.raises(errors.SecretUnreadable, match=secret_id):
        await datakeys.rotate(world.ctx("owner"), world.workspace_id)
    assert (await datakeys.status(world.ctx("owner"), world.workspace_id))["versions"] == [1]


# the seal ----------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-3", part="a sealed treasury gives no value in any process")
async def test_a_sealed_treasury_refuses_every_lease_by_name_in_every_process_at_once(world: World) -> None:
    secret_id, att = await granted(world)
    key = await secret(world, "signs", kind="publication", value=None)
    running, operator = elsewhere(world), world.ctx("operator")
    assert await had(running, secret_id, att) == VALUE
    try:
        told = await operating.seal(operator, True, "a laptop was lost")
        assert told["sealed"]
        for process in (world, running):
            with pytest.raises(errors.TreasurySealed, match="operator: a laptop was lost"):
                await had(process, secret_id, att)
        with pytest.raises(errors.TreasurySealed):
            await signed(world, key["id"])
        refusals = await world.events("treasury.lease.refused")
        assert {row["data"]["reason"] for row in refusals} == {"treasury_sealed"}
        made = await secret(world, "another")
        assert made["state"] == "active", "putting one in gives nothing out"
    finally:
        await operating.seal(operator, False, "found again")
    assert [await had(process, secret_id, att) for process in (world, running)] == [VALUE, VALUE]


# break-glass -------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-13")
async def test_a_value_is_read_once_by_who_asked_when_another_owner_agreed(world: World) -> None:
    secret_id, _ = await granted(world)
    partner = await second_owner(world)
    asked = await reading.ask(world.ctx("owner"), secret_id, "the vendor wants to see it", 10)
    assert (asked["state"], "value" in asked) == ("awaiting_approval", False)
    with pytest.raises(errors.ReadingOver):
        await reading.read(world.ctx("owner"), asked["id"])
    with pytest.raises(Exception, match=r"(?i)eyes|yourself|own|may not|eligible"):
        await agree(world, asked["approval_id"], "owner")
    await agree(world, asked["approval_id"], partner)
    for other in (partner, "admin"):
        with pytest.raises(errors.ReadingNotFound):
            await reading.read(world.ctx(other), asked["id"])
    found = await reading.read(world.ctx("owner"), asked["id"])
    assert (found["value"], found["state"], found["reason"]) == (VALUE, "closed", "reading_done")
    with pytest.raises(errors.ReadingOver):
        await reading.read(world.ctx("owner"), asked["id"])
    told = [row["payload"] for row in await world.rows("outbox") if row["topic"] == reading.READ]
    assert [(one["secret_id"], one["read_by"]["id"]) for one in told] == [(secret_id, world.ids["owner"])]
    states = [row["after"]["state"] for row in await world.events("treasury.secret.reading")]
    assert states == ["awaiting_approval", "open", "closed"]
    assert [row["id"] for row in await reading.listing(world.ctx("viewer"), secret_id, None, 10)] == [asked["id"]]


@pytest.mark.capability("TRE-13")
async def test_a_reading_ends_by_time_by_refusal_and_with_the_right_to_it(world: World) -> None:
    secret_id, _ = await granted(world)
    partner = await second_owner(world)
    owner = world.ctx("owner")
    for who in ("admin", "member"):
        with pytest.raises(Denied):
            await reading.ask(world.ctx(who), secret_id, "w", 10)
    late = await reading.ask(owner, secret_id, "late", 10)
    await agree(world, late["approval_id"], partner)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.secret_reading set until = clock_timestamp() where id = %s", (late["id"],))
    with pytest.raises(errors.ReadingOver):
        await reading.read(owner, late["id"])
    no = await reading.ask(owner, secret_id, "no", 10)
    await agree(world, no["approval_id"], partner, "reject")
    lost = await reading.ask(owner, secret_id, "lost", 10)
    async with world.db.transaction(world.tenant_id) as conn:
        await conn.execute("update worka.membership set role = 'viewer' where principal_id = %s", (world.ids["owner"],))
    await agree(world, lost["approval_id"], partner)
    states = {row["why"]: (row["state"], row["reason"]) for row in await reading.listing(owner, secret_id, None, 10)}
    assert states == {
        "late": ("closed", "reading_over"), "no": ("closed", "reading_refused"), "lost": ("closed", "reading_refused"),
    }  # fmt: skip


# destruction -------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-2", part="a tenant's keys are destroyed, and nothing of it can be read any more")
async def test_a_tenants_keys_are_destroyed_by_two_owners_after_a_look_at_what_is_gone(world: World, db: Any) -> None:
    secret_id, att = await granted(world)
    neighbour = await make(db, world.settings.home)
    theirs = await granted(neighbour, "theirs", "their-value-123")
    sealed = await world.sealer.seal(world.ctx("owner"), "p", b"before")
    partner, running, owner = await second_owner(world), elsewhere(world), world.ctx("owner")
    assert await had(running, secret_id, att) == VALUE
    seen = await datakeys.reach(owner)
    assert seen["counts"]["secrets"] == 1
    assert "cannot be undone" in seen["sentence"]
    with pytest.raises(errors.DependantsMoved):
        await datakeys.ask(owner, world.workspace_id, "w", "0" * 16)
    asked = await datakeys.ask(owner, world.workspace_id, "the customer left", seen["digest"])
    assert await had(running, secret_id, att) == VALUE, "nothing is destroyed yet"
    await agree(world, asked["approval_id"], partner)
    gone = await service.get(owner, secret_id)
    assert (gone["state"], gone["grants"]) == ("destroyed", [])
    for process in (world, running):
        with pytest.raises(errors.NoGrant):
            await had(process, secret_id, att)
    with pytest.raises(errors.KeyDestroyed):
        await elsewhere(world).sealer.open(owner, "p", sealed)
    rows = [row for row in await world.rows("tenant_key") if row["purpose"] == "data" and row["version"] == 1]
    assert [bytes(row["wrapped"]) for row in rows] == [b""]
    assert all(not bytes(row["ciphertext"]) for row in await world.rows("secret_version"))
    assert await had(neighbour, *theirs) == "their-value-123", "another tenant's keys are its own"
    fresh = await granted(world, "fresh", "fresh-value-1")
    assert await had(world, *fresh) == "fresh-value-1", "the tenant goes on under a new key"
    async with db.transaction(world.tenant_id) as conn:
        row = await store.destruction(conn, asked["id"])
    assert row is not None
    assert (row["state"], row["reason"]) == ("closed", "keys_destroyed")
    assert now() >= row["since"]


async def test_keys_stay_where_the_second_owner_refuses(world: World) -> None:
    secret_id, att = await granted(world)
    partner, owner = await second_owner(world), world.ctx("owner")
    with pytest.raises(Denied):
        await datakeys.reach(world.ctx("admin"))
    asked = await datakeys.ask(owner, world.workspace_id, "w", (await datakeys.reach(owner))["digest"])
    await agree(world, asked["approval_id"], partner, "reject")
    assert await had(world, secret_id, att) == VALUE
    async with world.db.transaction(world.tenant_id) as conn:
        row = await store.destruction(conn, asked["id"])
    assert row is not None
    assert row["reason"] == "destruction_refused"


# hostile -----------------------------------------------------------------------------------------------------------
@pytest.mark.capability("TRE-2")
async def test_another_tenants_key_row_and_a_foreign_master_key_open_nothing(world: World, db: Any) -> None:
    secret_id, att = await granted(world)
    neighbour = await make(db, world.settings.home)
    await granted(neighbour, "theirs", "their-value-123")
    (own,) = [row for row in await world.rows("tenant_key") if row["purpose"] == "data"]
    (theirs,) = [row for row in await neighbour.rows("tenant_key") if row["purpose"] == "data"]

    async def put(wrapped: bytes, master: str) -> None:
        async with db.transaction(world.tenant_id) as conn:
            await store.rewrap(conn, world.tenant_id, "data", 1, wrapped, master)

    await put(bytes(theirs["wrapped"]), theirs["master_key_id"])
    with pytest.raises(errors.SecretUnreadable, match="data key"):
        await had(elsewhere(world), secret_id, att)
    await put(bytes(own["wrapped"]), "mk_0000000000000000")
    with pytest.raises(errors.MasterKeyMismatch, match="mk_0000000000000000"):
        await had(elsewhere(world), secret_id, att)
    await put(bytes(own["wrapped"]), own["master_key_id"])
    assert await had(elsewhere(world), secret_id, att) == VALUE, "the control"
    assert isinstance(world.sealer, TreasurySealer)
