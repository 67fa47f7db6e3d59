"""Use cases of the second factor: set it up, give it, renew and end it, and take it from somebody who lost it.

The secret lies sealed under the deployment's key and is shown to its person once, while it waits for its first code. Codes
and recovery codes work once, whichever process is asked: the row says which time step was used last, and only a newer one
is taken. Every try counts before it is looked at.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

from worka.identity import events, rules, store, totp
from worka.identity.errors import (
    CodeRefused,
    NoSecondFactor,
    NotYours,
    PasswordRefused,
    PersonNotFound,
    SecondFactorRequired,
    StepUpFirst,
    TooManyCodes,
)
from worka.identity.passwords import verify
from worka.kernel import redact
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Conflict

Row = dict[str, Any]
PENDING = timedelta(minutes=15)
_MINUTES = 10


async def show(ctx: Context) -> Row:
    """The caller's own: {state: off or on, since, recovery_left, pending_until}. Nothing of the secret."""
    _person(ctx)
    async with ctx.db.transaction(None) as conn:
        return shown(await store.second_factor(conn, ctx.principal.id))


def shown(row: Row | None) -> Row:
    """A second factor as it is told: never its secret, never its codes."""
    on = in_force(row)
    waits = row["pending_until"] if row and row["pending_until"] and row["pending_until"] > now() else None
    return {
        "state": "on" if on else "off",
        "since": row["since"] if on and row else None,
        "recovery_left": row["recovery_left"] if on and row else 0,
        "pending_until": waits,
    }


def in_force(row: Row | None) -> bool:
    """Whether sign-in asks for it."""
    return row is not None and row["secret_sealed"] is not None


async def begin(ctx: Context, password: str, code: str) -> Row:
    """A new secret, shown now and never again: {secret, otpauth_uri, pending_until}. It is in force with its first right
    code; until then what was there stays. Needs the password, and a code too where a second factor is in force: whoever
    took a session cannot put their own in place. Raises NotYours, PasswordRefused, CodeRefused, TooManyCodes."""
    email = await _own_session(ctx)
    async with ctx.db.transaction(None) as conn:
        account = await store.person_by_email(conn, email)
        row = await store.second_factor(conn, ctx.principal.id)
    await charge(ctx, ctx.principal.id)
    if not await verify(account["password_hash"] if account else None, password):
        raise PasswordRefused("The second factor is set up with the password.")
    secret = os.urandom(totp.SECRET_BYTES)
    redact.remember(totp.secret_text(secret))
    until = now() + PENDING
    async with ctx.transaction() as conn:
        if in_force(row):
            await _used(ctx, code, "renewal")
        await give_back(ctx, ctx.principal.id)
        await store.begin_second_factor(
            conn, ctx.principal.id, ctx.sealer.seal_own(_purpose(ctx.principal.id), secret), until
        )
        ctx.failpoint("identity.factor.before_commit")
    return {
        "secret": totp.secret_text(secret),
        "otpauth_uri": totp.otpauth_uri(secret, email),
        "pending_until": until,
    }


async def confirm(ctx: Context, code: str) -> Row:
    """Puts the waiting secret into force with its first right code, and gives ten recovery codes, shown once:
    {state, recovery_codes}. Raises NoSecondFactor, CodeRefused, TooManyCodes."""
    await _own_session(ctx)
    me = ctx.principal.id
    await charge(ctx, me)
    async with ctx.transaction() as conn:
        row = await store.second_factor(conn, me)
        if row is None or row["pending_sealed"] is None or row["pending_until"] <= now():
            raise NoSecondFactor("None waits for its first code.", remedy="Begin again: it waits for 15 minutes.")
        sealed = bytes(row["pending_sealed"])
        secret = ctx.sealer.open_own(_purpose(me), sealed)
        step = totp.matching_step(secret, totp.cleaned(code), now(), after=0)
        if step is None:
            await _evidence(ctx, me, ctx.principal.name, "set-up")
            raise CodeRefused(
                "It is not the code that this secret gives now.",
                remedy="Check the clock of the device, and that the app shows this account, then type the next code.",
            )
        texts, hmacs = _fresh_codes(ctx, me)
        if not await store.confirm_second_factor(conn, me, sealed, step, hmacs):
            raise Conflict("Another one was begun meanwhile.")
        await give_back(ctx, me)
        ctx.record(events.factor_set(me, ctx.principal.name, in_force(row)))
        ctx.failpoint("identity.factor.before_commit")
    return {"state": "on", "recovery_codes": texts}


async def renew_recovery_codes(ctx: Context, code: str) -> Row:
    """Ten new recovery codes, shown once; the old ones open nothing any more: {state, recovery_codes}."""
    await _own_session(ctx)
    me = ctx.principal.id
    await charge(ctx, me)
    async with ctx.transaction() as conn:
        await _used(ctx, code, "recovery codes")
        texts, hmacs = _fresh_codes(ctx, me)
        await store.renew_recovery_codes(conn, me, hmacs)
        ctx.record(events.recovery_renewed(me, ctx.principal.name))
        ctx.failpoint("identity.factor.before_commit")
    return {"state": "on", "recovery_codes": texts}


async def end(ctx: Context, code: str) -> Row:
    """Takes one's own second factor away, with a code of it or a recovery code."""
    await _own_session(ctx)
    me = ctx.principal.id
    await charge(ctx, me)
    async with ctx.transaction() as conn:
        how = await _used(ctx, code, "end")
        await store.end_second_factor(conn, me)
        ctx.record(events.factor_ended(me, ctx.principal.name, how))
        ctx.failpoint("identity.factor.before_commit")
    return shown(None)


async def step_up(ctx: Context, code: str) -> Context:
    """The same request, and from now on its session, with the second factor just given. A person's API token has no
    session: with it the code counts for this request alone. Commits by itself: a code that was given is used, whatever
    becomes of what it was given for. Raises NotYours, NoSecondFactor, CodeRefused, TooManyCodes."""
    _person(ctx)
    me, alone = ctx.principal.id, ctx.alone()
    await charge(ctx, me)
    async with alone.transaction() as conn:
        how = await _used(alone, code, "step-up")
        at = now()
        if _has_session(ctx):
            assert ctx.credential_id is not None
            if not await store.step_up_session(conn, ctx.credential_id, me, at, how):
                raise NotYours("The session has ended.", remedy="Sign in again.")
        alone.record(events.stepped_up(ctx.credential_id or me, ctx.principal.name, how))
        alone.failpoint("identity.factor.before_commit")
    return replace(ctx, stepped_up_at=at, stepped_up_by=how)


def until_of(ctx: Context) -> Row:
    """What a step-up gave: {stepped_up_at, until, method}."""
    assert ctx.stepped_up_at is not None
    minutes = ctx.settings.approvals.stepup_minutes if ctx.settings is not None else _MINUTES
    return {
        "stepped_up_at": ctx.stepped_up_at,
        "until": ctx.stepped_up_at + timedelta(minutes=minutes),
        "method": ctx.stepped_up_by,
    }


def is_stepped_up(ctx: Context) -> bool:
    """Whether the second factor was given in this session a short while ago. A time to come counts as none."""
    if ctx.stepped_up_at is None or ctx.settings is None:
        return False
    return timedelta(0) <= now() - ctx.stepped_up_at <= timedelta(minutes=ctx.settings.approvals.stepup_minutes)


async def at_sign_in(ctx: Context, person: Row, code: str) -> None:
    """Asks for the second factor of somebody whose password is right, before a session is opened, within the open
    transaction. Its person's tries were counted (`charge`). Raises SecondFactorRequired."""
    if not in_force(await store.second_factor(ctx.conn, person["id"])):
        return
    if not code:
        raise SecondFactorRequired("The password is right; this account has a second factor.")
    if await use(ctx, person["id"], code) is None:
        await _evidence(ctx, person["id"], person["display_name"], "sign-in")
        raise SecondFactorRequired("The code is wrong, was used, or is of another time.")


async def reset(ctx: Context, person_id: str, why: str) -> int:
    """Takes the second factor of another person away, who lost it, and ends every session of theirs; how many those were.
    Within the open transaction, by a caller who has the right to. Never one's own: that takes a code. Whoever resets and
    has one gives theirs first. Raises NotYours, StepUpFirst, PersonNotFound, NoSecondFactor."""
    if not _has_session(ctx):
        raise NotYours("A token does not reset anybody's second factor.", remedy="Sign in, and ask with that session.")
    if person_id == ctx.principal.id:
        raise NotYours("Nobody resets their own.", remedy="End it with a code or a recovery code of it.")
    if in_force(await store.second_factor(ctx.conn, ctx.principal.id)) and not is_stepped_up(ctx):
        raise StepUpFirst("You have a second factor; it was not given in this session a short while ago.")
    person = await store.person(ctx.conn, person_id)
    if person is None:
        raise PersonNotFound(f"{person_id} is nobody here.")
    if not await store.end_second_factor(ctx.conn, person_id):
        raise NoSecondFactor(f"{person['display_name']} has none.", remedy="There is nothing to reset.")
    ended = await store.revoke_sessions(ctx.conn, person_id)
    ctx.record(events.factor_reset(person_id, person["display_name"], why, ended))
    ctx.failpoint("identity.factor.before_commit")
    return ended


# codes ---------------------------------------------------------------------------------------------------------------
async def charge(ctx: Context, person_id: str) -> None:
    """Counts a try of a code, over all processes, before it is looked at. Raises TooManyCodes."""
    async with ctx.db.transaction(None) as conn:
        waits = [await store.take_try(conn, key, limit.tries, limit.seconds) for limit, key in _counted(ctx, person_id)]
    wait = max(waits)
    if wait > 0:
        seconds = int(wait) + 1
        raise TooManyCodes(f"Try again in {seconds} seconds.", retry_after=seconds)


async def give_back(ctx: Context, person_id: str) -> None:
    """A right code does not count as a try."""
    for _, key in _counted(ctx, person_id):
        await store.give_back_try(ctx.conn, key)


async def use(ctx: Context, person_id: str, typed: str) -> str | None:
    """Uses a code of this person up, in the open transaction: `totp`, `recovery_code`, or None when it is not accepted."""
    row = await store.second_factor(ctx.conn, person_id)
    if row is None or row["secret_sealed"] is None:
        return None
    code, how = totp.cleaned(typed), None
    if totp.is_totp(code):
        sealed = bytes(row["secret_sealed"])
        secret = ctx.sealer.open_own(_purpose(person_id), sealed)
        step = totp.matching_step(secret, code, now(), after=row["last_step"])
        if step is not None and await store.use_step(ctx.conn, person_id, sealed, step):
            how = "totp"
    elif totp.is_recovery(code) and await store.use_recovery_code(ctx.conn, person_id, _hmac(ctx, person_id, code)):
        how = "recovery_code"
    if how is not None:
        await give_back(ctx, person_id)
    return how


async def _used(ctx: Context, code: str, where: str) -> str:
    """The caller's own code, used up in the open transaction. Raises NoSecondFactor, CodeRefused (kept as evidence)."""
    if not in_force(await store.second_factor(ctx.conn, ctx.principal.id)):
        raise NoSecondFactor("You have none.")
    how = await use(ctx, ctx.principal.id, code)
    if how is None:
        await _evidence(ctx, ctx.principal.id, ctx.principal.name, where)
        raise CodeRefused("It is wrong, was used, or is of another time.")
    return how


async def _evidence(ctx: Context, person_id: str, name: str, where: str) -> None:
    """The try is evidence, though the caller's transaction is rolled back."""
    alone = ctx.alone()
    async with alone.transaction():
        alone.record(events.factor_refused(person_id, name, where))


def _fresh_codes(ctx: Context, person_id: str) -> tuple[list[str], list[bytes]]:
    texts = totp.recovery_codes(os.urandom(totp.RECOVERY_CODES * 10))
    for text in texts:
        redact.remember(text)
    return texts, [_hmac(ctx, person_id, totp.cleaned(text)) for text in texts]


def _hmac(ctx: Context, person_id: str, code: str) -> bytes:
    return ctx.sealer.hmac("recovery_code", f"{person_id}\x00{code}".encode())


def _counted(ctx: Context, person_id: str) -> list[tuple[rules.Limit, bytes]]:
    """Where a try of this person's code counts. By an API token of theirs it counts for that token: it must not use up what
    sign-in has. By anybody else's credential it counts for the person, whose code is guessed."""
    limits, whose = [rules.FACTOR], person_id
    if ctx.credential_id is not None and not _has_session(ctx) and ctx.principal.id == person_id:
        limits, whose = [rules.TOKEN_FACTOR, rules.TOKEN_FACTOR_DAY], ctx.credential_id
    return [(limit, ctx.sealer.hmac(f"sign_in.{limit.name}", whose.encode())) for limit in limits]


def _purpose(person_id: str) -> str:
    return f"second_factor/{person_id}"


def _person(ctx: Context) -> None:
    if ctx.principal.kind != "person":
        raise NotYours("Only a person has a second factor.")


def _has_session(ctx: Context) -> bool:
    return ctx.credential_id is not None and ctx.credential_id.startswith("ses_")


async def _own_session(ctx: Context) -> str:
    """The e-mail address of the caller, who came with a session. Raises NotYours."""
    _person(ctx)
    if not _has_session(ctx):
        raise NotYours("A token changes nothing about a sign-in.", remedy="Sign in, and ask with that session.")
    async with ctx.db.transaction(None) as conn:
        row = await store.person(conn, ctx.principal.id)
    if row is None:
        raise PersonNotFound("Your account is gone.")
    return str(row["email"])
