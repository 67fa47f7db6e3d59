"""The application: every domain's routes, the console, health, and problems as problem+json."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import psycopg
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from worka import __version__
from worka.api.door import Door, problem_response
from worka.api.errors import MethodNotAllowed, NoSuchRoute
from worka.api.openapi import document
from worka.api.reading import exact, methods_of
from worka.api.schema import Alive, Platform, Ready
from worka.api.straight import Straight
from worka.approvals.routes import router as approvals
from worka.audit.routes import router as audit
from worka.authorization.rules import said_to
from worka.broker.asked.routes import router as way_changes
from worka.broker.policy.routes import router as egress_policy
from worka.broker.records.routes import router as egress
from worka.broker.routes import router as broker
from worka.connections.routes import router as connections
from worka.governance.access_routes import router as access
from worka.governance.authzen.routes import router as authzen
from worka.governance.preview_routes import router as previews
from worka.governance.routes import router as governance
from worka.identity.routes import router as identity
from worka.kernel.context import Context
from worka.kernel.errors import BY_STATUS, BadRequest, Invalid, Problem, Unavailable
from worka.kernel.http import gives
from worka.notifications.routes import router as notifications
from worka.observability.heartbeat import Heartbeat
from worka.observability.routes import router as observability
from worka.packs.lifecycle_routes import router as packs_lifecycle
from worka.packs.proposals.routes import router as egress_proposals
from worka.packs.registry.routes import router as registry
from worka.packs.routes import router as packs
from worka.realtime.routes import router as realtime
from worka.treasury.routes import router as treasury
from worka.views.routes import router as views
from worka.workers.wiring import Runtime, build_id
from worka.workflows.routes import router as workflows
from worka.workspaces.limits.routes import router as limits
from worka.workspaces.routes import router as workspaces

log = logging.getLogger("worka.api")
_CHECK_SECONDS = 1.5
ROUTERS = (
    identity,
    workspaces,
    limits,
    governance,
    access,
    previews,
    authzen,
    approvals,
    treasury,
    connections,
    broker,
    egress,
    egress_policy,
    way_changes,
    notifications,
    packs,
    packs_lifecycle,
    egress_proposals,
    registry,
    workflows,
    views,
    observability,
    realtime,
    audit,
)


class Console(Protocol):
    """What the console (a layer above) brings along: its pages, its files, and how it shows a problem."""

    router: APIRouter
    static_app: Any

    def wants_page(self, request: Request) -> bool: ...

    async def problem_page(self, request: Request, body: dict[str, Any]) -> Any: ...


@functools.cache
def _api() -> list[BaseRoute]:
    """The routes of the API: what they take is read out of their functions once a process, which takes a third of a second."""
    whole = APIRouter()
    for router in ROUTERS:
        whole.include_router(router, dependencies=[Depends(exact)])
    return whole.routes


_MADE: list[dict[str, Any]] = []


def _document(app: FastAPI) -> dict[str, Any]:
    """The document, made once a process, which takes more than a second: each application has the same routes in it."""
    if not _MADE:
        _MADE.append(document(app))
    return _MADE[0]


def create(runtime: Runtime, console: Console | None = None) -> Any:
    """The ASGI application of the serve role; without a console it is the API alone."""

    heartbeat = Heartbeat(runtime.db, "serve", build_id())

    @contextlib.asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await runtime.db.open()
        beat = asyncio.create_task(heartbeat.run())
        yield
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await heartbeat.end()
        await runtime.db.close()

    app = FastAPI(
        title="Worka",
        version=__version__,
        summary="Operating governed AI work",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
    )
    app.router.routes.extend([Straight(), *_api()])
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    app.state.console = console
    if console is not None:
        app.include_router(console.router, include_in_schema=False)
        app.mount("/static", console.static_app)
    _health(app, runtime)
    _problems(app)
    return Door(app, runtime, heartbeat.id, app.openapi, lambda request, body: _page(console, request, body))


def _problems(app: FastAPI) -> None:
    async def problem(request: Request, error: Exception) -> Any:
        assert isinstance(error, Problem)
        return await _answer(request, error)

    async def invalid(request: Request, error: Exception) -> Any:
        assert isinstance(error, RequestValidationError)
        fields = [
            {"field": "/" + "/".join(str(part) for part in item["loc"]), "problem": _said(item)}
            for item in error.errors()
        ]
        broken = any(
            item["type"] in ("json_invalid", "missing") and item["loc"] == ("body",) for item in error.errors()
        )
        detail = "; ".join(f"{item['field']}: {item['problem']}" for item in fields[:5])
        # AuthZEN 1.0 has one status for whatever is wrong with a request.
        kind = BadRequest if request.url.path.startswith("/access/") else Invalid
        return await _answer(
            request, kind(detail, code="body_unreadable" if broken else "invalid_fields", fields=fields)
        )

    async def plain(request: Request, error: Exception) -> Any:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            problem: Problem = NoSuchRoute(f"{request.method} {request.url.path[:200]} is not a route of Worka.")
        elif error.status_code == 405:
            # The first route of this path alone would name its own method only.
            allow = methods_of(request.app.openapi(), request.url.path) or [(error.headers or {}).get("Allow", "")]
            problem = MethodNotAllowed(f"{request.method} is not a method of this path.", allow=allow)
        else:
            problem = BY_STATUS.get(error.status_code, Problem)(str(error.detail))
        return await _answer(request, problem)

    async def broken(request: Request, error: Exception) -> Any:
        trace = request.scope["state"].get("trace_id", "")
        log.exception("request failed", exc_info=error, extra={"trace_id": trace})
        return await _answer(request, Problem("The request failed inside; the log has it under this request id."))

    async def unacceptable(request: Request, error: Exception) -> Any:
        # NUL, lone surrogates, numbers past 64 bits: nothing was written, and the caller can mend it.
        return await _answer(
            request,
            Invalid("A value holds a character or a number that cannot be stored.", code="unacceptable_value"),
        )

    for kind in (psycopg.DataError, psycopg.errors.UndefinedFunction, UnicodeEncodeError, OverflowError):
        app.add_exception_handler(kind, unacceptable)
    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, broken)


def _said(item: Any) -> str:
    return "is not a field of this request" if item["type"] == "extra_forbidden" else str(item["msg"])


async def _answer(request: Request, problem: Problem) -> Any:
    trace = request.scope["state"].get("trace_id", "")
    ctx: Context | None = request.scope["state"].get("ctx")
    if ctx is not None:
        said_to(problem, ctx.principal.id)
    return await _page(request.app.state.console, request, problem.body(trace)) or problem_response(problem, trace)


async def _page(console: Console | None, request: Request, body: dict[str, Any]) -> Any:
    """The console's page of a problem, when a browser asked and there is a console."""
    return await console.problem_page(request, body) if console is not None and console.wants_page(request) else None


def _health(app: FastAPI, runtime: Runtime) -> None:
    started = time.time()
    own = [Depends(exact)]

    async def checks() -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        try:
            # Whoever asks wants to know now: a load balancer does not wait for as long as a caller would.
            # By the small pool, that requests do not use: a door with much to do is not one without a database.
            pool = runtime.db.reserve or runtime.db
            async with asyncio.timeout(_CHECK_SECONDS), pool.transaction(None) as conn:
                await conn.execute("select 1")
            found["database"] = {"state": "healthy"}
        except TimeoutError:
            slow = f"The database did not answer within {_CHECK_SECONDS:g} s."
            found["database"] = {"state": "down", "detail": slow, "remedy": Unavailable.default_remedy}
        except Problem as problem:
            found["database"] = {"state": "down", "detail": problem.detail, "remedy": problem.remedy}
        for name, path in (
            ("launcher", runtime.paths.launcher_socket),
            ("broker", runtime.paths.broker_socket),
            ("host", runtime.paths.host_socket),
        ):
            alive = path.exists()
            found[name] = {"state": "healthy" if alive else "down"}
            if not alive:
                found[name]["remedy"] = f"Read {runtime.paths.log / (name + '.log')}; `worka up` starts it again."
        return found

    @app.get("/livez", tags=["health"], dependencies=own, summary="This process answers", **gives(Alive))
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz", tags=["health"], dependencies=own, summary="The parts this door needs", **gives(Ready, s503=Ready)
    )
    async def readyz(verbose: bool = False) -> JSONResponse:
        found = await checks()
        ready = found["database"]["state"] == "healthy"
        body: dict[str, Any] = {"status": "ok" if ready else "unavailable"}
        if verbose:
            body["checks"] = found
        return JSONResponse(body, 200 if ready else 503)

    @app.get(
        "/metrics",
        tags=["health"],
        dependencies=own,
        summary="Prometheus metrics of this process",
        response_class=PlainTextResponse,
    )
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest().decode(), media_type=CONTENT_TYPE_LATEST)

    @app.get(
        "/v1/platform",
        tags=["health"],
        dependencies=own,
        **gives(Platform),
        summary="Which build answers; for those signed in, which processes and checks too",
    )
    async def platform(request: Request) -> dict[str, Any]:
        home = hashlib.sha256(str(runtime.settings.home.resolve()).encode()).hexdigest()[:16]
        answer: dict[str, Any] = {"version": __version__, "build": build_id(), "home_id": home}
        if getattr(request.state, "ctx", None) is None:
            return answer
        try:
            processes = json.loads((runtime.paths.run / "processes.json").read_text())
        except (OSError, ValueError):
            processes = {}
        return answer | {
            "up_seconds": round(time.time() - started, 1),
            "processes": processes,
            "checks": await checks(),
        }
