"""The platform's own calls to a provider: through the broker, by the rules that the workspace's client has, as its
attachment. Nothing here dials, follows or keeps anything.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Protocol

from worka.connections.oauth import OAuthProblem, Request
from worka.kernel import ipc
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths

Row = dict[str, Any]
PURPOSE = "connection"
"""The purpose of the broker's rules for these calls; a rule's subject is the client at the provider."""
SECONDS = 40.0
REACH = "platform.way.wanted"
"""In-transaction topic: the broker, which is above this domain, writes the rules that are named in it."""
ENDED = "platform.way.ended"


class Post(Protocol):
    """The broker's `platform_http`."""

    async def __call__(self, args: Row) -> Row: ...


@dataclass(frozen=True, slots=True)
class Answered:
    """What came: the status and the body, whole."""

    status: int
    body: bytes


def through_broker(ctx: Context) -> Post:
    """The broker of this instance."""

    async def post(args: Row) -> Row:
        path = Paths(ctx.settings.home).broker_socket
        found = await ipc.call_unix(path, "platform_http", args, timeout=SECONDS, traceparent=ctx.traceparent)
        return dict(found)

    return post


async def send(post: Post, client: Row, request: Request) -> Answered:
    """One form to the provider. `client`: a row of `provider_client`. Raises OAuthProblem `provider_away` for what never
    came to an answer: whether the provider did it nobody knows."""
    return await _call(post, client, "POST", request.url, request.headers, request.body)


async def fetch(post: Post, client: Row, url: str, token: str) -> Answered:
    """One answer of the provider's interface to this token."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "worka"}
    return await _call(post, client, "GET", url, headers, b"")


async def _call(post: Post, client: Row, method: str, url: str, headers: dict[str, str], body: bytes) -> Answered:
    args = {
        "tenant_id": client["tenant_id"], "workspace_id": client["workspace_id"], "purpose": PURPOSE,
        "subject_id": client["id"], "url": url, "headers": headers, "body": base64.b64encode(body).decode(),
        "method": method,
    }  # fmt: skip
    try:
        found = await post(args)
    except Problem as problem:
        raise OAuthProblem("provider_away", f"the broker could not be asked: {problem.problem_code}") from problem
    if found["reason"] != "allowed":
        raise OAuthProblem("provider_away", f"{found['reason']}: {found['detail']}".rstrip(": "), str(found["reason"]))
    if found["cut"]:
        raise OAuthProblem("provider_lied", "the provider's answer does not end in time")
    return Answered(int(found["status"]), base64.b64decode(found["answer"]))
