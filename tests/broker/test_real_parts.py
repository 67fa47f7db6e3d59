"""The broker with the real treasury and the real ledger: one lease for one call, and every link left behind."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.broker.test_doors import Gate
from tests.broker.world import HOST, INJECT, TOKEN, Outside, World, code, make_world
from worka.audit.recorder import Recorder
from worka.kernel import settings
from worka.kernel.context import Context, Decision, Principal, Resource
from worka.kernel.db import Database
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.treasury import service as treasury
from worka.treasury.sealer import TreasurySealer


class Anything(Gate):
    """Allows every action."""

    async def decide(self, ctx: Context, action: str, resource: Resource, context: dict[str, Any]) -> Decision:
        self.may.add(action)
        return await super().decide(ctx, action, resource, context)


async def kept(world: World, *tables: str) -> str:
    """Everything in these tables as text."""
    return "".join([str(await world.rows(f"select t::text from worka.{table} t")) for table in tables])


@pytest.mark.capability("BRK-3", "BRK-5", "TRE-3", "TRE-5", "TRE-7")
async def test_a_lease_lives_for_one_call_and_its_revocation_holds_for_the_next(
    db: Database, outside: Outside, tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir()
    sealer = TreasurySealer(settings.load({"WORKA_HOME": str(tmp_path)}))
    recorder = Recorder()
    async with make_world(db, outside, tmp_path, recorder=recorder, sealer=sealer, real_treasury=treasury) as world:
        person = Context(
            Principal("person", "per_1", "Ada"), world.tenant_id, db, Anything(), recorder, sealer, Subscribers(),
            world.workspace_id,
        )  # fmt: skip
        await world.declare(HOST, connections=INJECT)
        await world.exempt(HOST, 443, outside.tracker)
        secret = await treasury.create(
            person, str(person.workspace_id), name="tracker", purpose="issues", kind="api_token", value=TOKEN
        )
        await world.execute(
            "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, access, secret_id, state,"
            " reason, created_by) values (%s,%s,%s,'tracker','tracker',%s,'read',%s,'active','ok','per_1')",
            world.tenant_id, new_id("con"), world.workspace_id, HOST, secret["id"],
        )  # fmt: skip
        box = await world.box()

        async with box.invoking():
            without = await box.fetch(f"https://{HOST}/issues")
        assert code(without) == "connection_not_granted"

        await treasury.grant(person, secret["id"], attachment_id=world.attachment_id, endpoint=f"{HOST}:8443")
        async with box.invoking():
            other = await box.fetch(f"https://{HOST}/issues")
        assert code(other) == "connection_not_granted"

        made = await treasury.grant(person, secret["id"], attachment_id=world.attachment_id, endpoint=f"{HOST}:443")
        async with box.invoking() as call:
            assert (await box.fetch(f"https://{HOST}/issues"))["status"] == 200
        (row,) = await world.egress(call.id)
        (lease,) = await world.rows("select * from worka.lease")
        assert (row["lease_id"], row["trace_id"]) == (lease["id"], lease["trace_id"])
        assert (lease["invocation_id"], lease["endpoint"]) == (call.id, f"{HOST}:443")
        assert lease["closed_at"] is not None

        await treasury.revoke_grant(person, made["id"])
        async with box.invoking():
            after = await box.fetch(f"https://{HOST}/issues")
        assert code(after) == "connection_not_granted"
        assert len(outside.requests) == 1

        bodies = [json.loads(bytes(entry["body"])) for entry in await world.rows("select body from worka.audit_entry")]
        mine = [body for body in bodies if body["trace_id"] == row["trace_id"]]
        assert {"broker.egress.allowed"} < {body["type"] for body in mine}
        assert all(body["actor"]["kind"] == "attachment" for body in mine)
        everything = await kept(
            world, "egress", "event", "lease", "audit_entry", "secret", "secret_version", "invocation"
        )
        hexed = TOKEN.encode().hex()
        for form in (TOKEN, base64.b64encode(TOKEN.encode()).decode(), hexed):
            assert form not in everything
