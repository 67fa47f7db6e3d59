"""`Idempotency-Key`: the same key with the same request gets the same answer; with another body 422; in flight 409.

The key is marked in the very transaction that changes something, so a request that was done and whose answer was lost
(its process died, the database went away) is never done again: its repeat is answered from what it made. Answers are
kept sealed under the tenant's key (some hold a token that is shown once). 5xx answers are not kept; what was answered with
202 was done as well, and what came of it since is read where the answer says.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections import Counter
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worka.api import store
from worka.kernel.context import Binder, Context
from worka.kernel.db import Connection
from worka.kernel.errors import Conflict, Invalid, Problem
from worka.kernel.ids import check

_PURPOSE = "idempotency.answer"
_REPLAYED = {"Idempotency-Replayed": "true"}
# Calls of tools keep their own record by key: a repeat goes there, and is answered or refused by what came of the call.
# Here the key is only bound to the request, in the transaction of the call's intent.
_OWN_RECORD = re.compile(r"^/v1/workspaces/[^/]+/tools/[^/]+/call$")
_ON_A_THING = re.compile(
    r"^(/v1/[a-z-]+/[a-z]+_[0-9a-z]+)/(cancel|decisions|quarantine|resolve|retry|revoke|rotate|withdraw)$"
)
# A GET of the same path answers in the same words.
_ON_ITSELF = {
    re.compile(r"^/v1/releases/[^/]+/signatures$"): 201,
    re.compile(r"^/v1/workspaces/[^/]+/registry/policy$"): 201,
    re.compile(r"^/v1/attachments/[^/]+/definitions$"): 200,
}
# What a POST to these made can be read at /v1/<collection>/<id>, in the same words as the lost answer: (the path, what the
# id begins with, the collection, the status of its answer).
_WORKSPACE, _PACK = r"^/v1/workspaces/[^/]+", r"/packs/[^/]+/(?:revoke|quarantine|lift)"
_MADE = [
    (re.compile(pattern), prefix, collection, status)
    for pattern, prefix, collection, status in (
        (f"{_WORKSPACE}/tasks$", "task", "tasks", 201),
        (f"{_WORKSPACE}/connections$", "conn", "connections", 201),
        (f"{_WORKSPACE}/attachments$", "att", "attachments", 201),
        (f"{_WORKSPACE}/releases$", "rel", "releases", 202),
        (f"{_WORKSPACE}/secrets$", "sec", "secrets", 201),
        (f"{_WORKSPACE}/publications$", "pub", "publications", 202),
        (f"{_WORKSPACE}{_PACK}$", "wdr", "withdrawals", 200),
        (r"^/v1/releases/[^/]+/lift$", "wdr", "withdrawals", 200),
        (r"^/v1/attachments/[^/]+/(?:moves|back)$", "mov", "moves", 202),
    )
]

_answering: Counter[tuple[str, str, str]] = Counter()
"""How many requests with a key (tenant, principal, key) this process is at now. Counted before the row is looked at, so
that of two at once one always sees the other."""


class KeyReused(Invalid):
    """The key was used for another request."""

    code = "idempotency_key_reused"
    title = "This idempotency key belongs to another request"
    default_remedy = "Use a new key for a new request."


class KeyInFlight(Conflict):
    """The first request with this key is still being answered."""

    code = "idempotency_key_in_flight"
    title = "A request with this key is being answered"
    default_remedy = "Wait a moment and repeat it with the same key."


class AnswerLost(Conflict):
    """The request was done, its answer is gone, and it cannot be put together again."""

    code = "answer_lost"
    title = "This was done, but its answer was lost"
    default_remedy = (
        "Do not repeat it: read what `subjects` names. What is shown only once (a token) has to be made anew."
    )


async def run(app: ASGIApp, scope: Scope, receive: Receive, send: Send, ctx: Context, key: str, owner: str) -> None:
    """Runs the request under its key; `owner` is the heartbeat id of this process."""
    if not 1 <= len(key) <= 200 or not key.isprintable():
        raise Invalid("An idempotency key has 1 to 200 printable characters.", code="bad_idempotency_key")
    if ctx.tenant_id is None:
        await app(scope, receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    tenant, principal = ctx.tenant_id, ctx.principal.id
    mine = (tenant, principal, key)
    digest = _digest(scope, ctx, body)
    if scope["method"] == "POST" and _OWN_RECORD.match(scope["path"]):
        ctx.bind_key = _binder(tenant, principal, key, digest)
        await app(scope, _once(body, receive), send)
        return

    async def witness(conn: Connection, subjects: list[str]) -> None:
        await store.mark(conn, tenant, principal, key, subjects[:20])

    busy = _answering[mine] > 0
    _answering[mine] += 1
    try:
        async with ctx.db.transaction(tenant) as conn:
            held = await store.begin(conn, tenant, principal, key, digest, owner, busy)
        if held is not None:
            await _repeat(app, scope, receive, send, ctx, key, digest, held)
            return
        if scope["method"] == "POST":
            ctx.witness = witness
        await _answer(app, scope, send, ctx, key, body, receive)
    finally:
        _answering[mine] -= 1
        if not _answering[mine]:
            del _answering[mine]


def _binder(tenant: str, principal: str, key: str, digest: str) -> Binder:
    """Binds the key in the transaction of the call's intent: no commit of its own before it, none after it."""

    async def bind(conn: Connection) -> None:
        if not await store.bind(conn, tenant, principal, key, digest):
            raise KeyReused("The key was sent before with another method, path or body.")

    return bind


def _digest(scope: Scope, ctx: Context, body: bytes) -> str:
    parts = [
        scope["method"].encode(),
        scope["path"].encode(),
        scope.get("query_string", b""),
        (ctx.credential_id or "").encode(),
        body,
        # The same change on another condition is another request.
        *(value for name, value in scope["headers"] if name == b"if-match"),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


async def _answer(
    app: ASGIApp, scope: Scope, send: Send, ctx: Context, key: str, body: bytes, receive: Receive
) -> None:
    """The first answer: kept before its first byte is sent, so that one which cannot be kept is a problem and no half answer."""
    messages: list[Message] = []

    async def capture(message: Message) -> None:
        messages.append(message)

    try:
        await app(scope, _once(body, receive), capture)
    except BaseException:
        # The database may be what broke: then the row stays, and this process knows that it is not at it any more.
        with contextlib.suppress(Problem):
            await _release(ctx, key)
        raise
    status, kind, content = _whole(messages)
    await _settle(ctx, key, status, kind, content)
    for message in messages:
        await send(message)


def _whole(messages: list[Message]) -> tuple[int, str, bytes]:
    """(status, content type, body) of an answer."""
    start = next((message for message in messages if message["type"] == "http.response.start"), None)
    headers = dict(start.get("headers", [])) if start else {}
    content = b"".join(message.get("body", b"") for message in messages if message["type"] == "http.response.body")
    return start["status"] if start else 500, headers.get(b"content-type", b"application/json").decode(), content


def _once(body: bytes, receive: Receive) -> Receive:
    delivered = False

    async def again() -> Message:
        nonlocal delivered
        if not delivered:
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def _settle(ctx: Context, key: str, status: int, kind: str, body: bytes) -> None:
    # 405: nobody was asked, and its Allow header is not kept.
    again = status in (401, 405, 429)
    if status >= 500 or again:
        with contextlib.suppress(Problem):
            await _release(ctx, key, again=again)
        return
    await _keep(ctx, key, status, kind, body)


async def _release(ctx: Context, key: str, *, again: bool = False) -> None:
    assert ctx.tenant_id is not None
    async with ctx.db.transaction(ctx.tenant_id) as conn:
        await store.release(conn, ctx.tenant_id, ctx.principal.id, key, again=again)


async def _keep(ctx: Context, key: str, status: int, kind: str, body: bytes) -> None:
    ctx = ctx.alone()  # an answer is kept for its repeats, also that of a dry run
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        sealed = base64.b64encode(await ctx.sealer.seal(ctx, _PURPOSE, body)).decode()
        await store.finish(conn, ctx.tenant_id, ctx.principal.id, key, status, {"sealed": sealed, "type": kind})


async def _repeat(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, ctx: Context, key: str, digest: str, held: dict[str, Any]
) -> None:
    """What a repeat gets: the kept answer, word that the first one is under way, or the answer made anew."""
    if held["request_digest"] != digest:
        raise KeyReused("The key was sent before with another method, path or body.")
    if held["state"] == "done":
        async with ctx.transaction():
            answer = await ctx.sealer.open(ctx, _PURPOSE, base64.b64decode(held["body"]["sealed"]))
        await Response(answer, held["status"], _REPLAYED, held["body"]["type"])(scope, receive, send)
        return
    if held["held"] or held["state"] != "committed":
        raise KeyInFlight("The first request with this key has no answer yet.", retry_after=1)
    subjects = [str(subject) for subject in held["body"]["subjects"]]
    path, status = _made(scope["path"], subjects)
    found, kind, content = await _read(app, scope, path) if path else (404, "", b"")
    if found >= 500:
        await Response(content, found, None, kind)(scope, receive, send)
        return
    if found != 200:
        raise AnswerLost("The process that did this ended before it answered.", subjects=subjects)
    await _keep(ctx, key, status, kind, content)
    await Response(content, status, _REPLAYED, kind)(scope, receive, send)


def _made(path: str, subjects: list[str]) -> tuple[str, int]:
    """(where what the request made or changed is read, the status its answer had); an empty path when nowhere."""
    if on := _ON_A_THING.match(path):
        return on[1], 202 if on[2] == "retry" else 200
    for itself, status in _ON_ITSELF.items():
        if itself.match(path):
            return path, status
    for into, prefix, collection, status in _MADE:
        made = next((subject for subject in subjects if check(subject, prefix)), None)
        if made is not None and into.match(path):
            return f"/v1/{collection}/{made}", status
    return "", 0


async def _read(app: ASGIApp, scope: Scope, path: str) -> tuple[int, str, bytes]:
    """(status, content type, body) of a GET by the same principal."""
    messages: list[Message] = []

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def capture(message: Message) -> None:
        messages.append(message)

    asked = {
        **scope,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name, value) for name, value in scope["headers"] if not name.startswith(b"content-")],
        "state": {name: value for name, value in scope["state"].items() if name != "json"},
    }
    await app(asked, nothing, capture)
    return _whole(messages)
