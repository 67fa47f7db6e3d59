"""What sends deliveries: claims one, has the broker send it, and writes what came of it. A worker that is killed between
the two leaves a claim that ends by itself; the delivery is then tried again under the same message id."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from functools import partial
from typing import Any, Protocol

from worka.governance import kills
from worka.governance.errors import UseRefused
from worka.kernel import airgap, redact
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem, Unavailable
from worka.notifications import events, people, rules, service, signing, store
from worka.notifications import mail as mails
from worka.notifications.adapters.smtp import Sent
from worka.notifications.rules import DISABLED_AFTER

log = logging.getLogger("worka.notifications")
Row = dict[str, Any]
CLAIM_SECONDS = 60.0
"""Longer than the broker's deadline of a whole call."""
ASIDE_SECONDS = 60.0
ANSWER_SHOWN = 500
_NOT_BEGUN = frozenset({"egress_not_recorded", "limit_exceeded", "broker_away"})
"""The broker's own troubles: no try of the receiver."""
_REFUSED_HERE = frozenset({"platform_rule_missing", kills.REASON, UseRefused.code, airgap.REASON})
"""Refusals of ours: the receiver did not fail."""


class Mail(Protocol):
    """The SMTP adapter, as the worker's process calls it."""

    async def __call__(self, who: Row, message: EmailMessage, to: str) -> Sent: ...


class Post(Protocol):
    """The broker's `platform_http`, as the worker's process calls it."""

    async def __call__(self, args: Row, traceparent: str) -> Row: ...


@dataclass(frozen=True)
class Outcome:
    """What came of a try."""

    accepted: bool
    reason: str
    detail: str = ""
    status: int | None = None
    duration_ms: float | None = None
    answer: str = ""
    egress_id: str | None = None
    final: str = ""
    """A state that ends it at once, instead of another try."""


class Sender:
    """Of one worker process: at most `at_once` tries of webhooks side by side and `mails` of mail; of one receiver `of_one`,
    of one tenant `of_tenant` of each. `ended` is called whenever a place is free again."""

    def __init__(
        self, ctx: Context, post: Post, mail: Mail, *, at_once: int = 16, mails: int = 8, of_one: int = 2,
        of_tenant: int = 6, ended: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.ctx, self.post, self.mail, self.ended = ctx, post, mail, ended
        self.places = {"webhook": at_once, "mail": mails}
        self.of_one, self.of_tenant = of_one, of_tenant
        self._running: dict[asyncio.Task[None], str] = {}

    async def sweep(self) -> int:
        """Begins what is due, as far as there are places; one that hangs keeps its own place only. How many."""
        taken = Counter(self._running.values())
        webhooks, mails = (max(0, most - taken[channel]) for channel, most in self.places.items())
        if not webhooks and not mails:
            return 0
        async with self.ctx.db.single() as conn:
            due = await store.deliveries_due(conn, webhooks, mails, self.of_one, self.of_tenant)
        for entry in due:
            task = asyncio.create_task(self._try(entry["tenant_id"], entry["delivery_id"]))
            self._running[task] = entry["channel"]
            task.add_done_callback(self._over)
        return len(due)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.ended()

    async def settle(self) -> None:
        """Waits for the tries that run."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        """Ends the tries that run; their claims end by themselves."""
        for task in list(self._running):
            task.cancel()
        await self.settle()

    async def _try(self, tenant_id: str, delivery_id: str) -> None:
        try:
            await one(replace(self.ctx, tx=None, tenant_id=tenant_id), self.post, self.mail, delivery_id)
        except Exception as error:
            # One that cannot even be tried (its secret does not open) must not be met at every sweep.
            code = error.problem_code if isinstance(error, Problem) else type(error).__name__
            log.warning(
                "delivery %s could not be tried: %s", delivery_id, code, exc_info=not isinstance(error, Problem)
            )
            with contextlib.suppress(Problem):
                async with replace(self.ctx, tx=None, tenant_id=tenant_id).transaction() as conn:
                    await store.set_aside(conn, delivery_id, ASIDE_SECONDS)


async def one(ctx: Context, post: Post, mail: Mail, delivery_id: str) -> bool:
    """One try of one delivery; False: it was not ours to try."""
    async with ctx.transaction() as conn:
        row = await store.claim(conn, delivery_id, CLAIM_SECONDS)
        if row is None:
            return False
        ctx.workspace_id = row["workspace_id"]
        act = await (_to_webhook(ctx, post, row) if row["channel"] == "webhook" else _to_person(ctx, mail, row))
        ctx.failpoint("delivery.claimed.after_commit")
    if act is None:
        return True
    outcome = await act()
    async with ctx.transaction() as conn:
        if outcome is None:
            await store.give_back(conn, delivery_id, row["attempts"], 5)
            return True
        await _settle(ctx, row, outcome)
        if row["channel"] == "webhook" and row["type"] != rules.TEST:
            await _judge(ctx, row["target"], outcome)
        ctx.failpoint("delivery.settled.before_commit")
    return True


Act = Callable[[], Awaitable["Outcome | None"]]


async def _to_webhook(ctx: Context, post: Post, row: Row) -> Act | None:
    """What sends it; None: it ended here instead."""
    hook = await store.webhook(ctx.conn, row["target"])
    # What was not tried before it was paused is not lost: it can be replayed. A test is wanted all the same.
    if hook is None or hook["state"] == "removed" or (hook["state"] != "active" and row["type"] != rules.TEST):
        await _end(ctx, row, "skipped", "delivery_webhook_off", None)
        return None
    sealed = [item["sealed"] for item in await store.secrets(ctx.conn, hook["id"])]
    keys = [(await ctx.sealer.open(ctx, service.PURPOSE, item)).decode() for item in sealed]
    return partial(_webhook, ctx, post, row, hook, keys)


async def _to_person(ctx: Context, mail: Mail, row: Row) -> Act | None:
    """What sends it; None: the person is not to be told any more."""
    told = await people.still(ctx, row)
    if told is None:
        await _end(ctx, row, "skipped", "delivery_not_needed", None)
        return None
    if not mails.deliverable(told.email):
        await _settle(ctx, row, Outcome(False, "address_unusable", "not a plain mailbox", final="refused"))
        return None
    url = people.address_of(ctx, row)
    message = mails.compose(row, told.email, ctx.settings.mail, requester=told.requester, behalf=told.behalf, url=url)
    return partial(_mail, ctx, mail, row, message, told.email)


async def _mail(ctx: Context, mail: Mail, row: Row, message: EmailMessage, to: str) -> Outcome | None:
    who = {
        "tenant_id": row["tenant_id"],
        "workspace_id": row["workspace_id"],
        "subject_id": row["target"],
        "trace_id": ctx.trace_id,
    }
    sent = await mail(who, message, to)
    if sent.reason in _NOT_BEGUN:
        return None
    return Outcome(
        accepted=sent.reason == "allowed",
        reason=sent.reason,
        detail="" if sent.reason == "allowed" else sent.detail,
        status=sent.status,
        duration_ms=sent.duration_ms,
        answer=sent.detail if sent.status is not None else "",
        egress_id=sent.egress_id,
        final="refused" if sent.final else "",
    )


async def _webhook(ctx: Context, post: Post, row: Row, hook: Row, keys: list[str]) -> Outcome | None:
    """None: the try could not begin."""
    for key in keys:
        redact.remember(key)
    body = json.dumps(row["payload"], ensure_ascii=False, separators=(",", ":")).encode()
    signed = signing.headers(keys, row["message_id"], int(time.time()), body)
    args = {
        "tenant_id": row["tenant_id"],
        "workspace_id": row["workspace_id"],
        "purpose": service.RULE,
        "subject_id": hook["id"],
        "url": hook["url"],
        "headers": {"Content-Type": "application/json", "User-Agent": "Worka-Webhooks/1", **signed},
        "body": base64.b64encode(body).decode(),
    }
    try:
        found = await post(args, ctx.traceparent)
    except Unavailable as problem:
        log.warning("the broker does not send: %s", problem.problem_code)
        return None
    if found["reason"] in _NOT_BEGUN:
        return None
    return outcome_of(found)


def outcome_of(found: Row) -> Outcome:
    """What the broker's answer means for a webhook: 2xx is accepted, and nothing else is. Pure."""
    status, reason, detail = found["status"], found["reason"], found["detail"]
    whole = reason == "allowed"
    accepted = whole and status is not None and 200 <= status < 300
    if whole and not accepted:
        reason = "receiver_answered"
        detail = "a redirect, which is not followed" if status is not None and 300 <= status < 400 else ""
    return Outcome(
        accepted=accepted,
        reason="allowed" if accepted else reason,
        detail=detail[:ANSWER_SHOWN],
        status=status,
        duration_ms=found["duration_ms"],
        answer=head(base64.b64decode(found["answer"])),
        egress_id=found["egress_id"],
        final="refused" if whole and status == 410 else "",
    )


def head(answer: bytes) -> str:
    """The beginning of an answer as it may be kept: readable, short, without a secret. Pure but for what is to be masked."""
    text = answer[: 4 * ANSWER_SHOWN].decode("utf-8", "replace")
    return redact.text(re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]+", " ", text))[:ANSWER_SHOWN]


async def _settle(ctx: Context, row: Row, outcome: Outcome) -> None:
    await store.add_attempt(
        ctx.conn,
        {
            "tenant_id": row["tenant_id"], "delivery_id": row["id"], "number": row["attempts"],
            "reason": outcome.reason, "detail": outcome.detail, "status": outcome.status,
            "duration_ms": outcome.duration_ms, "answer": outcome.answer, "egress_id": outcome.egress_id,
        },
    )  # fmt: skip
    if outcome.accepted:
        await _end(ctx, row, "sent", "delivery_accepted", outcome.status)
    elif outcome.final:
        await _end(ctx, row, outcome.final, "delivery_refused", outcome.status)
    elif (pause := rules.pause(row["attempts"], row["channel"])) is None:
        await _end(ctx, row, "failed", "delivery_given_up", outcome.status)
    else:
        again = now() + pause
        await store.settle(ctx.conn, row["id"], row["attempts"], "queued", "delivery_retried", outcome.status, again)


async def _end(ctx: Context, row: Row, state: str, reason: str, status: int | None) -> None:
    ended = await store.settle(ctx.conn, row["id"], row["attempts"], state, reason, status, None)
    if ended is not None:
        ctx.record(events.ended(ended))


async def _judge(ctx: Context, webhook_id: str, outcome: Outcome) -> None:
    """What a try means for the webhook: one that fails for long, or says that it is gone, is disabled, visibly."""
    if outcome.reason in _REFUSED_HERE:
        return
    await store.set_failing(ctx.conn, webhook_id, not outcome.accepted)
    hook = await store.webhook(ctx.conn, webhook_id, lock=True)
    if hook is None or hook["state"] != "active" or outcome.accepted:
        return
    gone = outcome.final == "refused"
    if gone or (hook["failing_since"] is not None and now() - hook["failing_since"] >= DISABLED_AFTER):
        reason = "webhook_gone" if gone else "webhook_failing"
        moved = await store.move_webhook(ctx.conn, webhook_id, "active", "disabled", reason)
        assert moved is not None, "the row is locked"
        await store.skip_waiting(ctx.conn, webhook_id, "delivery_webhook_off")
        ctx.record(events.changed(moved, hook, rules.address(hook["url"])[0]))
