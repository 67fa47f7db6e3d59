"""From the provider's token to the wire: an ordinary client in a network of its own, the real broker and treasury, a real
interface that believes only its own tokens. Whose account it was, the interface and the call both say."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from tests.broker.world import Box, World, code
from tests.connections.outside import API
from tests.connections.town import Town
from worka.connections import ending
from worka.kernel import ipc
from worka.kernel.ids import new_id
from worka.packs import explain

pytestmark = pytest.mark.timeout(120)


async def box(town: Town, attachment_id: str) -> Box:
    """An open session of the attachment with a network behind it."""
    session = new_id("ses")
    opened = await call(
        town, "open_session", session_id=session, tenant_id=town.world.tenant_id, workspace_id=town.world.workspace_id,
        attachment_id=attachment_id,
    )  # fmt: skip
    made = Box(cast(World, town), session, opened["token"], opened["ca_bundle_path"])
    assert await made.start() == "k"
    return made


async def call(town: Town, op: str, **args: Any) -> Any:
    """A control call as the host makes it."""
    return await ipc.call_unix(town.paths.broker_socket, op, args, timeout=10)


async def asks(town: Town, inside: Box, attachment_id: str, who: str) -> tuple[str, dict[str, Any]]:
    """(invocation, answer) of one request that is made in a call for somebody."""
    inv = await town.called(attachment_id, who)
    await call(town, "begin", session_id=inside.session_id, tenant_id=town.world.tenant_id, invocation_id=inv)
    try:
        return inv, await inside.fetch(f"https://{API}/api/issues", headers={"Authorization": "Bearer of-the-pack"})
    finally:
        await call(town, "end", session_id=inside.session_id, invocation_id=inv)


@pytest.mark.capability("TRE-16")
@pytest.mark.capability("CON-4", part="used by a pack, on the wire only")
async def test_each_call_goes_out_with_the_account_of_who_it_is_made_for_and_says_so(town: Town) -> None:
    await town.register()
    att = await town.attached()
    shared = await town.connected("owner", "carol", name="The team's")
    theirs = await town.connected("member", "bob", own=True, name="Bob's")
    inside = await box(town, att)
    try:
        for who, account, found in (("owner", "carol", shared), ("member", "bob", theirs)):
            inv, answer = await asks(town, inside, att, who)
            assert (answer["status"], json.loads(answer["text"])["of"]) == (200, account)
            (row,) = await town.world.rows("egress", "invocation_id = %s", inv)
            assert (row["connection_id"], row["status"]) == (found["id"], 200)
            told = await explain.explain_invocation(town.ctx("viewer"), inv)
            said = next(item.label for item in told.evidence if item.kind == "connection")
            assert f"{account}@outside" in said
            assert ("member's own account" if found is theirs else "the workspace's account") in said
        # It ends: the very next request has no account, and does not fall back to another person's.
        await ending.remove(town.ctx("owner"), shared["id"])
        _, answer = await asks(town, inside, att, "owner")
        assert code(answer) == "connection_unusable"
        _, answer = await asks(town, inside, att, "member")
        assert json.loads(answer["text"])["of"] == "bob"
    finally:
        await inside.stop()
