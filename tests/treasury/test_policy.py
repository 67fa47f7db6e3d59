"""Which pack uses which secret where: policy and kill switches are asked at each lease, beside the grant."""

from __future__ import annotations

import pytest

from tests.treasury.support import HERE, VALUE, attachment, invocation, lease, secret
from tests.workspaces.world import World
from worka import governance
from worka.governance import service as policies
from worka.governance.errors import Killed, UseRefused
from worka.treasury import service

USES = (
    '@id("{name}") @verdict("{verdict}") {rule} @reason("{name}")'
    ' forbid(principal, action == Worka::Action::"secret.use", resource) when {{ {when} }};'
)


def rule(when: str, verdict: str = "deny", name: str = "not-here") -> str:
    return USES.format(name=name, verdict=verdict, when=when, rule='@rule("approve:1")' if verdict == "ask" else "")


async def granted(world: World, pack: str = "acme.notes") -> tuple[str, str, str]:
    """(secret, attachment, running invocation) of a pack that has a grant."""
    made = await secret(world, name=f"token-{pack}")
    att = await attachment(world, pack)
    await service.grant(world.ctx("owner"), made["id"], att, HERE)
    return made["id"], att, await invocation(world, att)


@pytest.mark.capability("GOV-7", part="by pack, secret, host and endpoint, at lease time")
@pytest.mark.parametrize(
    "when",
    [
        'context has pack && context.pack == "acme.notes"',
        'context has publisher && context.publisher == "acme"',
        'context has endpoint && context.endpoint == "tracker.worka.test:443"',
        'context has host && context.host like "*.worka.test"',
        'context has name && context.name == "token-acme.notes"',
    ],
)
async def test_a_policy_says_which_secrets_a_pack_may_use_where(world: World, when: str) -> None:
    one, other = await granted(world), await granted(world, "other.notes")
    assert (await lease(world, *one)).value == VALUE, "the control"
    text = rule(f'{when} && !(context has pack && context.pack == "other.notes")')
    await policies.save_policy(world.ctx("owner"), world.workspace_id, "governance", text, "")
    inv = await invocation(world, one[1])
    with pytest.raises(UseRefused, match=r"(?i)not-here"):
        await lease(world, one[0], one[1], inv)
    assert (await lease(world, *other)).value == VALUE, "another pack keeps its secret"
    (decision,) = await world.rows("decision", "action = 'secret.use'")
    assert (decision["verdict"], decision["rules"], decision["principal_id"]) == (
        "deny",
        ["governance/tenant.1/not-here"],
        one[1],
    )
    shown = await policies.decision(world.ctx("owner"), decision["id"])
    assert shown["inputs"]["facts"]["endpoint"] == HERE


@pytest.mark.capability("GOV-7", part="a rule that asks refuses in the middle of a call")
async def test_a_rule_that_asks_refuses_where_nobody_can_be_asked(world: World) -> None:
    held = await granted(world)
    asking = rule("true", "ask").replace(
        'action == Worka::Action::"secret.use", resource', "action, resource is Worka::Secret"
    )
    await policies.save_policy(world.ctx("owner"), world.workspace_id, "governance", asking, "")
    with pytest.raises(UseRefused, match="cannot wait for one"):
        await lease(world, *held)


@pytest.mark.capability("GOV-15", part="a secret, destination, release or member, at the very next lease")
async def test_a_kill_switch_ends_leases_at_the_very_next_one(world: World) -> None:
    secret_id, att, _ = await granted(world)
    (row,) = await world.rows("attachment", "id = %s", att)
    for kind, subject in (
        ("secret", secret_id),
        ("destination", "tracker.worka.test"),
        ("release", row["release_id"]),
        ("workspace", world.workspace_id),
        ("tenant", world.tenant_id),
    ):
        inv = await invocation(world, att)
        assert (await lease(world, secret_id, att, inv)).value == VALUE, f"the control: {kind}"
        made = await policies.kill(world.ctx("owner"), world.workspace_id, kind, subject, "leaked", False)
        with pytest.raises(Killed, match="was stopped by owner"):
            await lease(world, secret_id, att, inv)
        await policies.lift(world.ctx("owner"), world.workspace_id, made["id"], "all", [], "over", True)
        assert (await lease(world, secret_id, att, inv)).value == VALUE, kind
    refusals = await world.events("treasury.lease.refused")
    assert {event["data"]["reason"] for event in refusals} == {governance.kills.REASON}
