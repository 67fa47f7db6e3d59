"""One ASGI layer before the routes: request id and trace, size limit, sign-in, tenant and workspace, idempotency keys,
security headers. Pure ASGI, so that streams (SSE) pass through untouched."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worka.api import conditional, idempotency, reading
from worka.api.errors import TenantRequired, TooLarge, UnsupportedBody
from worka.identity import Credential, authenticate
from worka.kernel import telemetry
from worka.kernel.context import Context
from worka.kernel.errors import BadRequest, NotFound, Problem, Unauthenticated
from worka.kernel.ids import check
from worka.workers.wiring import Runtime
from worka.workspaces.errors import RateReached
from worka.workspaces.limits import rates

log = logging.getLogger("worka.api")
SAFE = {"GET", "HEAD", "OPTIONS"}
# What a stranger may reach: signing in, health, the OpenAPI document, the console's static files and sign-in page.
OPEN = re.compile(
    r"^/(livez|readyz|metrics|openapi\.json|docs/api|static/.*|sign-in|invitation|connections/callback|v1/platform|v1/setup|v1/invitations/(accept|preview)"
    r"|\.well-known/authzen-configuration)$"
)
# What goes on when the disk is full: signing in and out, and taking rights away.
_ALWAYS = re.compile(
    r"^(POST /(sign-in|v1/sessions|v1/(secrets|releases)/[^/]+/(revoke|quarantine)|v1/tasks/[^/]+/cancel)"
    r"|POST /v1/workspaces/[^/]+/packs/[^/]+/(revoke|quarantine)|POST /w/[^/]+/withdraw/(revoke|quarantine)/[^/]+"
    r"|DELETE /v1/(sessions|tokens|grants)/[^/]+|DELETE /v1/workspaces/[^/]+/members/[^/]+)$"
)
# What a limit on requests does not hold up, so that whoever may raise it can: setting a limit (which has a small bucket of
# its own, or it would be the one path to flood), and signing out, which can be done once.
_RAISES = re.compile(r"^POST /((v1/workspaces|w)/[^/]+|v1/deployment)/limits$")
_SIGNS_OUT = "DELETE /v1/sessions/current"
_WORKSPACE = re.compile(r"^/(?:v1/workspaces|w)/([^/]+)")
# /v1/tasks/task_…, /v1/tokens/tok_…: which tenant is meant, only the caller can say.
_BY_ID = re.compile(r"^/(v1/[a-z-]+/[a-z]+_[0-9a-z]+(/|$)|access/v1/)")
# AuthZEN's requests: a question and no change, with the asker's own name for it (`X-Request-ID`), which the answer repeats.
_ASKS = "/access/v1/"
_REQUEST_ID = re.compile(r"[ -~]{1,200}")
# What is read of somebody who has not said who they are: names, a password, a code. Reading more would be work for nobody.
STRANGERS_BODY = 64 * 1024
LONGEST_TOLD = 512
# Asked by address by whoever watches the machine; they say nothing about it.
PROBES = ("/livez", "/readyz")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


def _told(path: str) -> str:
    """A path as logs and traces have it: a stranger chooses it, and does not choose how much of a disk it takes."""
    return path if len(path) <= LONGEST_TOLD else f"{path[:LONGEST_TOLD]}… ({len(path)} characters)"


class Door:
    """Wraps the application. `runtime` makes Contexts."""

    def __init__(
        self,
        app: ASGIApp,
        runtime: Runtime,
        owner: str,
        document: Callable[[], dict[str, Any]],
        page: Callable[[Request, dict[str, Any]], Awaitable[Any]] | None = None,
    ) -> None:
        self.app = app
        self.runtime = runtime
        self.owner = owner
        self.hosts = reading.own_hosts(runtime.settings.http)
        self.page = page
        self.document = document
        self._places: conditional.Places | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        parent = telemetry.parse(request.headers.get("traceparent"))
        trace_id = parent[0] if parent else os.urandom(16).hex()
        scope.setdefault("state", {})["trace_id"] = trace_id
        started = time.perf_counter()
        status = 500
        told = request.headers.get("x-request-id", "") if scope["path"].startswith(_ASKS) else ""
        name = told if _REQUEST_ID.fullmatch(told) else trace_id

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), *_HEADERS, (b"x-request-id", name.encode())]
                headers += scope["state"].get("rates", ())
                if not any(key == b"cache-control" for key, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        with telemetry.span(
            trace_id, "http.request", parent[1] if parent else None, method=scope["method"], path=_told(scope["path"])
        ) as span:
            try:
                await self._handle(request, receive, sending, trace_id, span)
            except Problem as problem:
                body = problem.body(trace_id)
                shown = await self.page(request, body) if self.page is not None else None
                answer = shown or problem_response(problem, trace_id)
                await answer(scope, receive, sending)
        log.info(
            "%s %s %s %.1fms",
            scope["method"],
            _told(scope["path"]),
            status,
            (time.perf_counter() - started) * 1000,
            extra={"trace_id": trace_id},
        )

    async def _handle(self, request: Request, receive: Receive, send: Send, trace_id: str, span: str) -> None:
        scope = request.scope
        path, method = scope["path"], scope["method"]
        if path not in PROBES:
            reading.check_host(request.headers.getlist("host"), self.hosts)
        reading.check_text(path, scope.get("raw_path") or path.encode(), scope.get("query_string", b""))
        length = request.headers.get("content-length", "0")
        limit = self.runtime.settings.http.max_body_bytes
        if not length.isdigit() or int(length) > limit:
            raise TooLarge(f"The body may hold {limit} bytes at most.")
        if method not in SAFE and not _ALWAYS.match(f"{method} {path}"):
            self.runtime.disk.require()
        receive = _limited(receive, limit)
        scope["state"]["runtime"] = self.runtime
        if OPEN.match(path) or (path == "/v1/sessions" and method == "POST"):
            scope["state"]["ctx_anonymous"] = self.runtime.platform_context(trace_id=trace_id)
            if path in ("/sign-in", "/invitation", "/connections/callback") or not _token(request):
                receive = _limited(receive, min(limit, STRANGERS_BODY), "Send less, or sign in first.")
                await self.app(scope, await self._read(request, receive), send)
                return
        ctx, credential = await self.context(request, trace_id, span)
        if credential.limits and f"{method} {path}" != _SIGNS_OUT:
            await self._rate(scope, ctx, credential, raises=_RAISES.match(f"{method} {path}") is not None)
        scope["state"]["ctx"] = ctx
        receive = await self._read(request, receive)
        if method == "GET" and path.startswith("/v1/") and self.places().tells(method, path):
            await conditional.read(self.app, scope, receive, send)
            return
        changing = method not in SAFE and path.startswith("/v1/")
        app = self.app
        if changing and ("if-match" in request.headers or "if-none-match" in request.headers):
            app = conditional.guarded(app, self.places, scope, ctx)
        key = request.headers.get("idempotency-key")
        if key is not None and changing:
            await idempotency.run(app, scope, receive, send, ctx, key, self.owner)
            return
        await app(scope, receive, send)

    async def _rate(self, scope: Scope, ctx: Context, credential: Credential, *, raises: bool) -> None:
        """Counts the request against the limits that were read with its credential, or, where it is to set one, against
        the bucket of that. Raises RateReached."""
        if raises:
            # Whose deployment's limits are set names no tenant: then any of the caller's holds the bucket.
            tenants = [ctx.tenant_id] if ctx.tenant_id else sorted({m["tenant_id"] for m in credential.memberships})
            try:
                if tenants:
                    await self.runtime.rates.take_raising(tenants[0], ctx.principal.id)
            except RateReached as reached:
                scope["state"]["rates"] = rates.refused_headers(reached)
                raise
            return
        if ctx.tenant_id is None:
            return
        here = [m["workspace_id"] for m in credential.memberships if m["tenant_id"] == ctx.tenant_id]
        places = [ctx.workspace_id] if ctx.workspace_id else here
        try:
            shown = await self.runtime.rates.take(ctx.tenant_id, places, ctx.principal.id, credential.limits)
        except RateReached as reached:
            scope["state"]["rates"] = rates.refused_headers(reached)
            raise
        scope["state"]["rates"] = rates.headers(shown)

    def places(self) -> conditional.Places:
        """Which route a path is of."""
        if self._places is None:
            self._places = conditional.Places(self.document())
        return self._places

    async def _read(self, request: Request, receive: Receive) -> Receive:
        """The API's bodies are read here, once and strictly; pages of the console post forms."""
        if request.method in SAFE or not request.url.path.startswith(("/v1/", _ASKS)):
            return receive
        limit = self.runtime.settings.http.max_body_bytes
        try:
            receive, request.scope["state"]["json"] = await reading.json_body(request, receive, limit)
        except UnsupportedBody as error:
            if request.url.path.startswith(_ASKS):
                raise BadRequest(error.detail, code=error.code) from error
            raise
        return receive

    async def context(self, request: Request, trace_id: str, span: str) -> tuple[Context, Credential]:
        """The caller's Context, and the credential behind it. Raises Unauthenticated, or NotFound for a workspace that is not theirs."""
        token = _token(request)
        if not token:
            raise Unauthenticated("No credential was sent.")
        credential = await authenticate(self.runtime.db, self.runtime.sealer, token)
        principal = credential.principal
        tenant, workspace = credential.tenant_id, None
        # Who reads is known even where what they asked for is not theirs: the page that says so keeps its frame.
        request.scope["state"]["reader"] = self.runtime.context(principal, trace_id=trace_id, span_id=span)
        match = _WORKSPACE.match(request.scope["path"])
        memberships = credential.memberships
        if match:
            workspace = match.group(1)
            # Existence is secret: an unknown workspace and someone else's get the same 404.
            mine = [m for m in memberships if m["workspace_id"] == workspace]
            if not check(workspace, "ws") or not mine or (tenant and mine[0]["tenant_id"] != tenant):
                raise NotFound("There is no such workspace, or you are not a member of it.", code="workspace_not_found")
            if credential.workspace_id and credential.workspace_id != workspace:
                raise NotFound("This token belongs to another workspace.", code="workspace_not_found")
            tenant = mine[0]["tenant_id"]
        elif tenant is None:
            tenants = {m["tenant_id"] for m in memberships}
            asked = request.headers.get("worka-tenant")
            if asked is not None:
                if asked not in tenants:
                    raise NotFound("You are a member of no workspace of that tenant.", code="tenant_not_found")
                tenant = asked
            elif len(tenants) == 1:
                tenant = tenants.pop()
            elif tenants and _BY_ID.match(request.scope["path"]):
                raise TenantRequired("You are a member in several tenants.", tenants=sorted(tenants))
        ctx = self.runtime.context(
            principal,
            tenant_id=tenant,
            workspace_id=workspace or credential.workspace_id,
            originating_person=principal.id if principal.kind == "person" else credential.issued_by,
            trace_id=trace_id,
            span_id=span,
            credential_id=credential.id,
            bound_to=credential.workspace_id,
            stepped_up_at=credential.stepped_up_at,
            stepped_up_by=credential.stepped_up_by,
        )
        return ctx, credential


def _token(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The Authorization header is not `Bearer <token>`.")
        return token.strip()
    cookie = request.cookies.get("worka_session")
    # A cookie is sent by the browser itself: only our own pages may use it to change something.
    if cookie and request.method not in SAFE:
        origin = request.headers.get("origin")
        if origin is None or origin.split("://", 1)[-1] != request.headers.get("host"):
            raise Unauthenticated(
                "A change with the session cookie must come from this console.", code="cross_site_refused"
            )
    return cookie


def _limited(receive: Receive, limit: int, remedy: str | None = None) -> Receive:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLarge(f"The body may hold {limit} bytes at most.", remedy=remedy)
        return message

    return bounded


def problem_response(problem: Problem, trace_id: str) -> JSONResponse:
    """problem+json of a Problem."""
    headers = {"WWW-Authenticate": 'Bearer realm="worka"'} if problem.status == 401 else {}
    if "retry_after" in problem.extra:
        headers["Retry-After"] = str(problem.extra["retry_after"])
    if problem.status == 405:
        headers["Allow"] = ", ".join(problem.extra["allow"])
    if problem.status == 413:
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse(
        problem.body(trace_id), status_code=problem.status, headers=headers, media_type="application/problem+json"
    )
