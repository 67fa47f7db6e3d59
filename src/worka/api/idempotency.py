"""`Idempotency-Key`: the same key with the same request gets the same answer; with another body 422; in flight 409.

Answers are kept sealed under the tenant's key (some hold a token that is shown once). 5xx and 202 answers are not kept:
a repeat asks again, and what lies behind is idempotent by its own key.
"""

from __future__ import annotations

import base64
import hashlib

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worka.api import store
from worka.kernel.context import Context
from worka.kernel.errors import Conflict, Invalid

_PURPOSE = "idempotency.answer"


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
    digest = hashlib.sha256(
        b"\0".join(
            [
                scope["method"].encode(),
                scope["path"].encode(),
                scope.get("query_string", b""),
                (ctx.credential_id or "").encode(),
                body,
            ]
        )
    ).hexdigest()
    async with ctx.db.transaction(ctx.tenant_id) as conn:
        held = await store.begin(conn, ctx.tenant_id, ctx.principal.id, key, digest, owner)
    if held is not None:
        if held["request_digest"] != digest:
            raise KeyReused("The key was sent before with another method, path or body.")
        if held["state"] == "in_flight":
            raise KeyInFlight("The first request with this key has no answer yet.", retry_after=1)
        sealed = base64.b64decode(held["body"]["sealed"])
        async with ctx.transaction():
            answer = await ctx.sealer.open(ctx, _PURPOSE, sealed)
        replay = Response(answer, held["status"], {"Idempotency-Replayed": "true"}, held["body"]["type"])
        await replay(scope, receive, send)
        return
    delivered = False

    async def again() -> Message:
        nonlocal delivered
        if not delivered:
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    status, kind, chunks = 500, "application/json", []

    async def capture(message: Message) -> None:
        nonlocal status, kind
        if message["type"] == "http.response.start":
            status = message["status"]
            kind = dict(message.get("headers", [])).get(b"content-type", b"application/json").decode()
        else:
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                await _settle(ctx, key, status, kind, b"".join(chunks))
        await send(message)

    try:
        await app(scope, again, capture)
    except BaseException:
        async with ctx.db.transaction(ctx.tenant_id) as conn:
            await store.release(conn, ctx.tenant_id, ctx.principal.id, key)
        raise


async def _settle(ctx: Context, key: str, status: int, kind: str, body: bytes) -> None:
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        if status >= 500 or status in (202, 401, 429) or (status == 403 and b"approval_needed" in body):
            await store.release(conn, ctx.tenant_id, ctx.principal.id, key)
        else:
            sealed = base64.b64encode(await ctx.sealer.seal(ctx, _PURPOSE, body)).decode()
            await store.finish(conn, ctx.tenant_id, ctx.principal.id, key, status, {"sealed": sealed, "type": kind})
