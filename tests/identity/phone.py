"""Somebody's phone: an authenticator app that shows the codes of a secret, and a person who has set one up."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import Any

from tests.workspaces.world import World
from worka import identity
from worka.identity import passwords, store, totp
from worka.kernel.clock import now
from worka.kernel.context import Context

PASSWORD = "correct horse battery"


@dataclass
class Phone:
    """`code()` shows the code of the present step, or of one `steps` away."""

    secret: bytes
    recovery: list[str] = field(default_factory=list)
    address: str = ""

    def code(self, steps: int = 0) -> str:
        return totp.hotp(self.secret, totp.step_of(now()) + steps)

    def wrong(self) -> str:
        """Six digits that are no code of the window."""
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(text for text in (f"{number:06d}" for number in range(10)) if text not in near)


def secret_of(text: str) -> bytes:
    return base64.b32decode(text + "=" * (-len(text) % 8))


def _until_calm(seconds: float) -> float:
    left = totp.PERIOD - now().timestamp() % totp.PERIOD
    return left + 0.1 if left < seconds else 0.0


async def calm() -> None:
    """Not at the very end of a step: a code that was read is still of the same step when it is given."""
    await asyncio.sleep(_until_calm(3))


def calm_for_a_command() -> None:
    """The same where a process has to start before the code is given."""
    time.sleep(_until_calm(8))


async def token_of(world: World, who: str) -> str:
    """The token of a new session of somebody of the world."""
    async with world.db.transaction(None) as conn:
        person = await store.person(conn, world.ids[who])
    assert person is not None
    anonymous = world.nobody()
    async with anonymous.transaction():
        opened = await identity.open_session(anonymous, person, "test")
    return str(opened["session_token"])


async def session(world: World, who: str, *, here: bool = True) -> Context:
    """Somebody of the world with a real session, as the door would let them in."""
    return await again(world, await token_of(world, who), here=here)


async def again(world: World, token: str, *, here: bool = True) -> Context:
    """The next request with a credential, read anew as the door does it."""
    found = await identity.authenticate(world.db, world.sealer, token)
    ctx = world.context(
        found.principal,
        tenant_id=world.tenant_id if here else None,
        workspace_id=world.workspace_id if here else None,
        originating_person=found.principal.id,
        credential_id=found.id,
        stepped_up_at=found.stepped_up_at,
        stepped_up_by=found.stepped_up_by,
    )
    return ctx


async def address_of(world: World, who: str) -> str:
    """The e-mail address that somebody signs in with."""
    async with world.db.transaction(None) as conn:
        row = await store.person(conn, world.ids[who])
    assert row is not None
    return str(row["email"])


async def enrolled(world: World, who: str, role: str = "") -> Phone:
    """A new person of this name who has set a second factor up; a member with `role`. The code of the present step is used,
    the one of the next is not."""
    await world.person(who, password_hash=await passwords.hash_password(PASSWORD))
    if role:
        await world.join(who, role)
    return await set_up(world, who)


async def set_up(world: World, who: str) -> Phone:
    """Sets a second factor up, through a session of theirs."""
    ctx = await session(world, who)
    begun: dict[str, Any] = await identity.factors.begin(ctx, PASSWORD, "")
    phone = Phone(secret_of(begun["secret"]), address=await address_of(world, who))
    await calm()
    phone.recovery = (await identity.factors.confirm(ctx, phone.code(-1)))["recovery_codes"]
    return phone
