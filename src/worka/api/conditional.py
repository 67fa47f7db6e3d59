"""`ETag`, `If-None-Match` and `If-Match` (RFC 9110, 8.8.3 and 13), once for every route.

The ETag of a thing is the hash of its representation, so it is strong by itself. `If-Match` on a change is held inside the
transaction of that change: the thing is read there as its GET shows it, and once more just before the commit, as the
rest of the world sees it by then. Whatever was committed to it in between, by whomever, the change is rolled back, and
nothing of it happened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worka.api import store
from worka.api.errors import BadEntityTag, NothingTagged, PreconditionFailed
from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.errors import from_body

TAG = '(?:W/)?"[!#-~]*"'
TAGS = rf"^(?:\*|{TAG}(?:, {TAG})*)$"
_ASKS = re.compile(r"/(?:why|chain)/\{\w+\}$")
"""Answers to a question, with the moment of it; no things."""
_VERB = re.compile(r"^(/v1/(?!workspaces/)[a-z-]+/\{\w+\})/[a-z]+$")
# What a POST to a collection makes the next version of: where that is read, and where the body names it.
_NEXT = {
    "/v1/workspaces/{workspace_id}/policies": ("/{}", ("kind",)),
    "/v1/workspaces/{workspace_id}/workspace-policies": ("/{}", ("kind",)),
    "/v1/workspaces/{workspace_id}/workflows": ("/{}", ("definition", "name")),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


NOWHERE = "/"
"""Read where nothing is: a body that does not name what it makes the next version of is refused for that."""


def tagged(template: str, method: str) -> bool:
    """Whether this route reads one thing, whose ETag it tells."""
    return method == "GET" and template.startswith("/v1/") and template.endswith("}") and not _ASKS.search(template)


def changes(template: str, method: str, templates: set[str]) -> str:
    """Where the thing is read that this route changes; empty when there is no such place. `templates`: those that tell
    an ETag. A collection that takes new versions ends in `/{}`."""
    if method in ("GET", "HEAD"):
        return ""
    if template in templates:
        return template
    if template in _NEXT and method == "POST":
        return template + _NEXT[template][0]
    verb = _VERB.match(template)
    return verb[1] if verb and verb[1] in templates else ""


class Places:
    """Which route a path is of, out of the OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._routes = [
            (re.compile(re.sub(r"\\{\w+\\}", "([^/]+)", re.escape(template))), template, set(item))
            for template, item in sorted(document["paths"].items(), key=lambda pair: pair[0].count("{"))
        ]
        self._tagged = {
            template for _, template, methods in self._routes if "get" in methods and tagged(template, "GET")
        }

    def tells(self, method: str, path: str) -> bool:
        """Whether the answer carries an ETag."""
        return self._of(method, path) in self._tagged

    def read_at(self, method: str, path: str, body: Any) -> str | None:
        """The path at which what a request changes is read; empty when nowhere, None when there is no such route."""
        template = self._of(method, path)
        if not template:
            return None
        place = changes(template, method, self._tagged)
        if place.endswith("/{}"):
            for name in _NEXT[template][1]:
                body = body.get(name) if isinstance(body, dict) else None
            return f"{path}/{body}" if isinstance(body, str) and _NAME.fullmatch(body) else NOWHERE
        return "/".join(path.split("/")[: place.count("/") + 1]) if place else ""

    def _of(self, method: str, path: str) -> str:
        found = (
            name for pattern, name, methods in self._routes if method.lower() in methods and pattern.fullmatch(path)
        )
        return next(found, "")


def etag(body: bytes) -> str:
    """The strong ETag of a representation."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _wanted(name: str, headers: Headers) -> list[str]:
    value = re.sub(r'(?<=") *, *(?=W/|")', ", ", ", ".join(headers.getlist(name)).strip())
    if not re.fullmatch(TAGS, value):
        raise BadEntityTag(f"{name} is {value[:80]!r}.", field=f"/header/{name}")
    return [value] if value == "*" else re.findall(TAG, value)


async def read(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a GET with the ETag of what it shows, or with 304 to whoever has it. Raises BadEntityTag."""
    headers = Headers(scope=scope)
    known = _wanted("If-None-Match", headers) if "if-none-match" in headers else []
    start: Message = {}
    chunks: list[bytes] = []

    async def tagging(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and message["status"] == 200:
            start = message
        elif not start:
            await send(message)
        else:
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                await _give(send, start, b"".join(chunks), known)

    await app(scope, receive, tagging)


async def _give(send: Send, start: Message, body: bytes, known: list[str]) -> None:
    mine = etag(body)
    headers = MutableHeaders(raw=list(start.get("headers", [])))
    headers["ETag"] = mine
    if "*" in known or mine in [tag.removeprefix("W/") for tag in known]:
        del headers["content-length"]
        del headers["content-type"]
        start, body = {**start, "status": 304}, b""
    await send({**start, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})


@dataclass(eq=False)
class Guard:
    """Holds a change to what its caller has read. Implements the kernel's protocol."""

    app: ASGIApp
    asked: Scope
    wanted: list[str]
    makes: bool
    """Whether the change would make the thing if there is none: the next version of what has none yet."""
    read: str = ""
    """The ETag of what the change began with; empty when there was no such thing."""
    over: bool = False

    async def begun(self, conn: Connection) -> None:
        """At the beginning of each transaction of the request until one has changed something. Raises PreconditionFailed,
        and what kept it from reading."""
        if self.over:
            return
        status, body = await self._shown(self.asked["state"]["ctx"])
        if status == 404 and self.wanted != ["*"] and not self.makes:
            return  # the change itself says that there is no such thing
        mine = self.read = etag(body) if status == 200 else ""
        # A weak tag is never the same thing (RFC 9110, 13.1.1).
        if status != 200 or not (self.wanted == ["*"] or mine in self.wanted):
            self.over = True
            raise PreconditionFailed(
                "It is not what it was when you read it." if mine else "What it is now cannot be read by you.",
                **({"etag": mine} if mine else {}),
            )

    async def ending(self, conn: Connection) -> None:
        """Before the commit of what changed something. Raises PreconditionFailed: somebody else was faster.

        Read outside of this transaction, which sees its own change already. Of two conditional changes of one thing the
        second looks when the first is done, also where they write to different rows of it (the versions of a policy)."""
        if self.over:
            return
        self.over = True
        ctx: Context = self.asked["state"]["ctx"]
        await store.alone(conn, f"{ctx.tenant_id}{self.asked['path']}")
        # On a connection of the reserve, which waits for no other: not even a denial is written beside it.
        status, body = await self._shown(ctx.alone(unrecorded=True))
        if (etag(body) if status == 200 else "") != self.read:
            raise PreconditionFailed("Somebody else changed it just now.")

    async def _shown(self, ctx: Context) -> tuple[int, bytes]:
        """Status and body of its GET. Raises Problem for a fault of ours: it says nothing about the thing."""
        status, chunks = 500, []

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def capture(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            chunks.append(message.get("body", b""))

        await self.app({**self.asked, "state": {**self.asked["state"], "ctx": ctx}}, nothing, capture)
        body = b"".join(chunks)
        if status >= 500:
            raise from_body(json.loads(body))
        return status, body


def guarded(app: ASGIApp, places: Callable[[], Places], scope: Scope, ctx: Context) -> ASGIApp:
    """The application that holds this one change to its condition. Raises BadEntityTag, PreconditionFailed."""
    path = places().read_at(scope["method"], scope["path"], scope["state"].get("json"))
    if path is None:
        return app  # 404 or 405
    headers = Headers(scope=scope)
    if "if-none-match" in headers:
        remedy = "Send it without If-None-Match; an Idempotency-Key keeps a change from being made twice."
        raise NothingTagged("If-None-Match is for reading.", remedy=remedy)
    wanted = _wanted("If-Match", headers)
    if not path:
        raise NothingTagged("This request changes nothing that has an ETag.")
    dropped = (b"content-", b"if-", b"idempotency-key")
    asked = {
        **scope,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name, value) for name, value in scope["headers"] if not name.startswith(dropped)],
        "state": {name: value for name, value in scope["state"].items() if name != "json"},
    }

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":  # a repeat that is answered from what the first request made
            await app(scope, receive, send)
            return
        ctx.guard = Guard(app, asked, wanted, makes=path.startswith(f"{scope['path']}/"))
        try:
            await app(scope, receive, send)
        finally:
            ctx.guard = None

    return held


# Of our own pages, which change things by the use cases and not by a request to the API.
async def tag_of(app: ASGIApp, scope: Scope, ctx: Context, path: str) -> str:
    """The ETag that the API tells of what is at `path`; empty where it cannot be read."""
    status, body = await _as_program(app, scope, ctx, path, "")._shown(ctx)
    return etag(body) if status == 200 else ""


@asynccontextmanager
async def as_shown(app: ASGIApp, scope: Scope, ctx: Context, path: str, tag: str) -> AsyncIterator[None]:
    """What is changed within happens to the thing at `path` as its reader was shown it (`tag`), or not at all: `If-Match` for
    a form. Raises PreconditionFailed."""
    ctx.guard = _as_program(app, scope, ctx, path, tag)
    try:
        yield
    finally:
        ctx.guard = None


def _as_program(app: ASGIApp, scope: Scope, ctx: Context, path: str, tag: str) -> Guard:
    kept = {key: scope[key] for key in ("type", "asgi", "http_version", "server", "client", "scheme") if key in scope}
    headers = [(name, value) for name, value in scope["headers"] if name == b"host"]
    asked = {
        **kept,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [*headers, (b"accept", b"application/json")],
        "state": {**scope["state"], "ctx": ctx},
    }
    return Guard(app, asked, [tag], makes=False)
