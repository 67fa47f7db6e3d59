"""What routes share: the request's Context, cursor pages, and nothing else of HTTP."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from worka.kernel import letters
from worka.kernel.clock import AGE
from worka.kernel.context import Context
from worka.kernel.errors import BadRequest, Unauthenticated
from worka.kernel.strict_json import SAFE_INTEGER

Shown = TypeVar("Shown")

Name = Annotated[str, AfterValidator(letters.name), Field(json_schema_extra={"pattern": letters.PATTERN})]
"""A field of a body in which a person types what something or somebody is called."""


class Body(BaseModel):
    """A body of a request: a field that it does not know is refused, and a value is what it is (`true` is no number, `"5"`
    is text)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        """1.0 is the number 1, as JSON Schema and RFC 8785 have it; `strict` would tell them apart."""
        return _numbers(data)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE_INTEGER:
        return int(value)
    return value


class Answer(BaseModel):
    """What a route answers with, for the OpenAPI document. Tests compare real answers with it; nothing is filtered by it."""

    model_config = ConfigDict(extra="forbid")


class Items(Answer, Generic[Shown]):
    """A page of a list. `next` is the cursor of the page after it; none at the end."""

    items: list[Shown]
    next: str | None


def gives(model: Any, status: int = 200, **further: Any) -> dict[str, Any]:
    """What a route's decorator takes to say what it answers with: `further` are other statuses, `s202=Model`."""
    found = {status: {"model": model, "description": (model.__doc__ or "").strip().split("\n")[0]}}
    for name, other in further.items():
        found[int(name[1:])] = {"model": other, "description": (other.__doc__ or "").strip().split("\n")[0]}
    return {"response_model": None, "status_code": status, "responses": found}


class Json(JSONResponse):
    """Data as it is, in one pass: what JSON has no word for (a moment, a model) is encoded as FastAPI would."""

    def render(self, content: Any) -> bytes:
        """The body."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=jsonable_encoder)
        return text.encode()


class Route(APIRoute):
    """A route that answers with data. Where no model filters it (`gives`), FastAPI would walk through all of it in Python
    and build it anew before it is written: a quarter of what a list of fifty takes."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        plain = how.get("response_model", ...) is None and how.get("status_code") in (None, 200, 201, 202)
        # An endpoint that is handed the response sets parts of it, which a response of its own would lose.
        if plain and inspect.iscoroutinefunction(endpoint) and Response not in _given(endpoint):
            endpoint = _written(endpoint, how.get("status_code") or 200)
        super().__init__(path, endpoint, **how)


def _given(endpoint: Callable[..., Any]) -> list[Any]:
    return [value.annotation for value in inspect.signature(endpoint, eval_str=True).parameters.values()]


def _written(endpoint: Callable[..., Awaitable[Any]], status: int) -> Callable[..., Awaitable[Response]]:
    @functools.wraps(endpoint)
    async def answer(*args: Any, **named: Any) -> Response:
        found = await endpoint(*args, **named)
        return found if isinstance(found, Response) else Json(found, status)

    return answer


def routes(**how: Any) -> APIRouter:
    """A domain's router."""
    return APIRouter(route_class=Route, **how)


Revision = Annotated[int | None, Query(ge=1, le=2_147_483_647)]
"""A version of something, counted from 1; without it the newest."""


Moment = Annotated[
    str | None,
    Query(
        min_length=1,
        description="an ISO 8601 time with its zone, or an age such as 2h",
        json_schema_extra={"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": AGE}]},
    ),
]


async def context(request: Request) -> Context:
    """Dependency: the Context that the door made for this request. A coroutine, or FastAPI would ask a thread for it."""
    ctx = getattr(request.state, "ctx", None)
    if not isinstance(ctx, Context):
        raise Unauthenticated("This needs a signed-in principal.")
    return ctx


DryRun = Annotated[
    bool,
    Query(
        description="do all of it and undo it: refused as it would be, answered as it would be, and nothing is kept."
        " Ids and tokens in the answer are of nothing."
    ),
]


async def trying(request: Request, dry_run: DryRun = False) -> Context:
    """Dependency of a change that can be tried: like `context`; with `dry_run` its transactions are rolled back at their end
    (ADR 0049). A route without it refuses the parameter, as it does every one that it does not know."""
    ctx = await context(request)
    # On the request's own Context, as a condition (`If-Match`) reads within the transaction that is opened on it.
    ctx.undone = dry_run
    return ctx


ID = r"^[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}$"
COMMIT = r"^(?:0|[1-9][0-9]{0,18})-(?:0|[1-9][0-9]{0,17})$"
"""A place in the order of commits: the transaction and the row, as events carry it. PostgreSQL takes a leading zero for
another base."""
VERSION = r"^[a-z]{1,20}-[0-9]{1,9}$"

AFTER = r"^after\.[A-Za-z0-9][A-Za-z0-9._-]{0,250}$"
"""A place in a list by ids or by names."""


class BadCursor(BadRequest):
    """The cursor is not one of ours."""

    code = "bad_cursor"
    title = "The cursor cannot be read"
    default_remedy = "Use the `next` value of the page before, or leave the cursor out."


def _cursor(pattern: str) -> Any:
    return Query(
        None,
        min_length=1,
        description="the `next` of the page before; without one the list begins at its beginning",
        json_schema_extra={"pattern": pattern},
    )


class Page:
    """Dependency: `limit` (1 to 200, default 50) and `cursor` of a list in the order of its ids. A cursor is refused where it
    is read, by the same pattern that the OpenAPI document shows."""

    def __init__(self, limit: int = Query(50, ge=1, le=200), cursor: str | None = _cursor(ID)) -> None:
        self.limit = limit
        self._cursor = cursor or None

    def _parts(self, pattern: str) -> tuple[str, str] | None:
        if self._cursor is None:
            return None
        if not re.fullmatch(pattern, self._cursor):
            raise BadCursor("The cursor is not one that this list gave out.")
        first, _, second = self._cursor.partition("-")
        return first, second

    @property
    def id(self) -> str | None:
        """The id after which a list by ids goes on; None at its beginning. Raises BadCursor."""
        parts = self._parts(ID)
        return parts and parts[0]

    @property
    def commit(self) -> tuple[str, int] | None:
        """The place in the order of commits (transaction, row) after which a list goes on. Raises BadCursor."""
        parts = self._parts(COMMIT)
        return parts and (parts[0], int(parts[1]))

    @property
    def version(self) -> tuple[str, int] | None:
        """The kind and version after which a list of versions goes on. Raises BadCursor."""
        parts = self._parts(VERSION)
        return parts and (parts[0], int(parts[1]))

    def answer(self, rows: list[dict[str, Any]], *key: str) -> dict[str, Any]:
        """`rows` holds up to limit + 1 rows: the extra one says that there is more. `key` are the columns of the cursor."""
        items, more = rows[: self.limit], len(rows) > self.limit
        return {"items": items, "next": "-".join(str(items[-1][column]) for column in key) if more else None}


class Rest(Page):
    """Where a list goes on whose pages have a bound of their own."""

    def __init__(self, cursor: str | None = _cursor(ID)) -> None:
        super().__init__(1, cursor)


class CommitPage(Page):
    """A page of a list in the order of commits."""

    def __init__(self, limit: int = Query(50, ge=1, le=200), cursor: str | None = _cursor(COMMIT)) -> None:
        super().__init__(limit, cursor)


class VersionPage(Page):
    """A page of a list of versions, kind by kind."""

    def __init__(self, limit: int = Query(50, ge=1, le=200), cursor: str | None = _cursor(VERSION)) -> None:
        super().__init__(limit, cursor)


class NamePage(Page):
    """A page of a list by ids or names; its rows carry their place as `cursor`, which is not shown."""

    def __init__(self, limit: int = Query(50, ge=1, le=200), cursor: str | None = _cursor(AFTER)) -> None:
        super().__init__(limit, cursor)

    @property
    def after(self) -> str | None:
        """The id or name after which the list goes on. Raises BadCursor."""
        return (self._cursor or "").removeprefix("after.") or None if self._parts(AFTER) else None

    def answer(self, rows: list[dict[str, Any]], *_key: str) -> dict[str, Any]:
        """See Page."""
        page = super().answer(rows, "cursor")
        return {**page, "items": [{k: v for k, v in row.items() if k != "cursor"} for row in page["items"]]}
