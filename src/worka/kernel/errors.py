"""Typed problems (RFC 9457). A domain's `errors.py` subclasses these; every one carries its remedy.

Problem
├── BadRequest 400   ├── Unauthenticated 401   ├── Denied 403   ├── NotFound 404
├── Conflict 409     ├── Invalid 422           ├── TooMany 429                   └── Unavailable 503
"""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):
    """An error a caller can act on: `status`, a stable `code`, a `title`, a `detail` of this case, and the `remedy`."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    default_remedy: ClassVar[str] = "Try again; if it stays, give the request id to the operator."

    def __init__(self, detail: str = "", *, remedy: str | None = None, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.remedy = remedy or self.default_remedy
        self.problem_code = code or self.code
        self.extra = extra

    def body(self, trace_id: str = "") -> dict[str, Any]:
        """The problem+json document."""
        return {
            "type": f"urn:worka:problem:{self.problem_code}",
            "title": self.title,
            "status": self.status,
            "code": self.problem_code,
            "detail": self.detail,
            "remedy": self.remedy,
            "docs": f"docs/reference/errors.md#{self.problem_code}",
            "request_id": trace_id,
            **self.extra,
        }


class BadRequest(Problem):
    status, code, title = 400, "bad_request", "The request cannot be read"
    default_remedy = "Correct the request; `detail` says what is wrong."


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "Sign in first"
    default_remedy = "Sign in with `worka login`, or send `Authorization: Bearer <token>`."


class Denied(Problem):
    status, code, title = 403, "denied", "Policy does not allow this"
    default_remedy = "Ask an owner or admin of the workspace; give them the decision id."
    about: tuple[str, str, tuple[str, ...]] | None = None
    """(the id of whom it is about, what they may not do, why not): who reads it may be that very person."""


class NotFound(Problem):
    status, code, title = 404, "not_found", "There is no such thing here"
    default_remedy = "Check the id, and that you are a member of its workspace."


class Conflict(Problem):
    status, code, title = 409, "conflict", "It changed meanwhile, or is in another state"
    default_remedy = "Read it again and decide on what it is now."


class Invalid(Problem):
    status, code, title = 422, "invalid", "A value is not acceptable"
    default_remedy = "Correct the named fields."


class TooMany(Problem):
    status, code, title = 429, "too_many", "Too many requests"
    default_remedy = "Wait, then try again: the answer says when (Retry-After)."


class Unavailable(Problem):
    status, code, title = 503, "unavailable", "A part that this needs is not available"
    default_remedy = "Run `worka doctor`; it names the broken part and its remedy."


BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (BadRequest, Unauthenticated, Denied, NotFound, Conflict, Invalid, TooMany, Unavailable)
}


def from_body(body: dict[str, Any]) -> Problem:
    """The problem behind a document that another of our processes sent (its code, detail, remedy and extras kept)."""
    known = {"type", "title", "status", "code", "detail", "remedy", "docs", "request_id"}
    kind = BY_STATUS.get(int(body.get("status", 500)), Problem)
    extra = {key: value for key, value in body.items() if key not in known}
    return kind(str(body.get("detail", "")), remedy=body.get("remedy"), code=body.get("code"), **extra)
