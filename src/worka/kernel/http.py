"""What routes share: the request's Context, cursor pages, and nothing else of HTTP."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from worka.kernel import ids
from worka.kernel.context import Context
from worka.kernel.errors import BadRequest, Unauthenticated

Shown = TypeVar("Shown")


class Body(BaseModel):
    """A body of a request: a field that it does not know is refused, and a value is what it is (`true` is no number, `"5"`
    is text)."""

    model_config = ConfigDict(extra="forbid", strict=True)


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


Revision = Annotated[int | None, Query(ge=1, le=2_147_483_647)]
"""A version of something, counted from 1; without it the newest."""


async def context(request: Request) -> Context:
    """Dependency: the Context that the door made for this request. A coroutine, or FastAPI would ask a thread for it."""
    ctx = getattr(request.state, "ctx", None)
    if not isinstance(ctx, Context):
        raise Unauthenticated("This needs a signed-in principal.")
    return ctx


def _plain(part: Any) -> bool:
    """What a key of ours can be: printable text, or a number of 63 bits."""
    if isinstance(part, str):
        return len(part) <= 200 and part.isprintable()
    return isinstance(part, int) and not isinstance(part, bool) and abs(part) < 2**63


class BadCursor(BadRequest):
    """The cursor is not one of ours."""

    code = "bad_cursor"
    title = "The cursor cannot be read"
    default_remedy = "Use the `next` value of the page before, or leave the cursor out."


class Page:
    """Dependency: `limit` (1 to 200, default 50) and `cursor` of a list. `after` is the decoded cursor, a list of keys."""

    def __init__(self, limit: int = Query(50, ge=1, le=200), cursor: str | None = Query(None, max_length=400)) -> None:
        self.limit = limit
        self.after: list[Any] | None = None
        if cursor:
            try:
                value = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
            except (ValueError, binascii.Error) as error:
                raise BadCursor("The cursor is not one that this list gave out.") from error
            if not isinstance(value, list) or not value or not all(_plain(part) for part in value):
                raise BadCursor("The cursor is not one that this list gave out.")
            self.after = value

    @property
    def id(self) -> str | None:
        """The id after which a list by ids goes on; None at its beginning. Raises BadCursor."""
        if self.after is None:
            return None
        if len(self.after) != 1 or not isinstance(self.after[0], str) or not ids.check(self.after[0]):
            raise BadCursor("The cursor is not one that this list gave out.")
        return self.after[0]

    @property
    def commit(self) -> tuple[str, int] | None:
        """The place in the order of commits (transaction, row) after which a list goes on. Raises BadCursor."""
        if self.after is None:
            return None
        if len(self.after) != 2 or not all(str(part).isascii() and str(part).isdigit() for part in self.after):
            raise BadCursor("The cursor is not one that this list gave out.")
        xid, row = int(self.after[0]), int(self.after[1])
        if xid >= 2**64 or row >= 2**63:
            raise BadCursor("The cursor is not one that this list gave out.")
        return str(xid), row

    @property
    def version(self) -> tuple[str, int] | None:
        """The kind and version after which a list of versions goes on. Raises BadCursor."""
        if self.after is None:
            return None
        kind, number = self.after if len(self.after) == 2 else (None, None)
        if not isinstance(kind, str) or not isinstance(number, int) or not 0 <= number < 2**31:
            raise BadCursor("The cursor is not one that this list gave out.")
        return kind, number

    def answer(self, rows: list[dict[str, Any]], *key: str) -> dict[str, Any]:
        """`rows` holds up to limit + 1 rows: the extra one says that there is more. `key` are the columns of the cursor."""
        items, more = rows[: self.limit], len(rows) > self.limit
        following = None
        if more:
            raw = json.dumps([items[-1][column] for column in key]).encode()
            following = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        return {"items": items, "next": following}
