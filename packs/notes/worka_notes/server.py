"""The MCP server: two tools about notes and one that looks whether a link answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from worka_notes.compose import Notes, compose

TRACKER = "https://tracker.worka.test"
TIMEOUT_SECONDS = 20
LARGEST_ANSWER = 1_000_000

server = MCPServer("worka-notes", version="1.0.0")


class Published(BaseModel):
    """What the tracker did: one effect per idempotency key."""

    effect_id: str
    url: str


class LinkCheck(BaseModel):
    """What answered at a link."""

    url: str
    final_url: str
    status: int
    content_type: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """A publication goes to the tracker and nowhere else."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


@server.tool(
    name="compose_release_notes",
    description=(
        "Composes release notes from the answer of git_log and the tracker's open issues: every commit and every open"
        " issue once, grouped, with links. A pure function of its input."
    ),
    annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
)
def compose_release_notes(
    log_text: Annotated[str, Field(description="the text that git_log of mcp-server-git answered")],
    issues_text: Annotated[
        str, Field(description="the text that fetch of mcp-server-fetch answered for the tracker's issues")
    ],
    repository: Annotated[str, Field(min_length=1, max_length=200, description="the repository's name, for the title")],
    since: Annotated[
        str, Field(max_length=64, description="the time the log was asked from; empty for the newest commits")
    ] = "",
    limit: Annotated[int, Field(ge=1, le=100_000, description="the most commits the log was asked for")] = 100,
    commit_link: Annotated[
        str, Field(max_length=500, description="https address of a commit with {sha} in it; empty for none")
    ] = "",
) -> Notes:
    try:
        return compose(log_text, issues_text, repository, since, limit, commit_link)
    except ValueError as error:
        raise ToolError(str(error)) from error


@server.tool(
    name="publish_notes",
    description="Publishes release notes at the tracker. The same idempotency key publishes once.",
    annotations=ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
    ),
)
async def publish_notes(
    repository: Annotated[str, Field(min_length=1, max_length=200, description="the repository's name")],
    title: Annotated[str, Field(min_length=1, max_length=400, description="title of the notes")],
    markdown: Annotated[str, Field(min_length=1, max_length=2_000_000, description="the notes")],
) -> Published:
    body = json.dumps({"repository": repository, "title": title, "markdown": markdown}).encode()
    # No Authorization and no Idempotency-Key here: the broker puts both on the wire; this process never holds them.
    request = urllib.request.Request(  # noqa: S310 - https, a constant of this module
        f"{TRACKER}/api/notes",
        data=body,
        method="POST",
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    status, _url, _type, answer = await asyncio.to_thread(_send, request, urllib.request.build_opener(_Stay))
    if status not in (200, 201):
        raise ToolError(f"the tracker answered {status} to the publication")
    try:
        found = json.loads(answer)
        return Published(effect_id=str(found["effect_id"]), url=str(found["url"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError("the tracker's answer to the publication has no effect_id and url") from error


@server.tool(
    name="check_link",
    description="Looks whether a link answers, following redirects, and says with what status.",
    annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True),
)
async def check_link(
    url: Annotated[str, Field(min_length=8, max_length=2000, pattern="^https?://", description="the link")],
) -> LinkCheck:
    # The schema lets http and https through, and nothing else.
    request = urllib.request.Request(url, method="GET", headers={"Accept": "*/*"})  # noqa: S310
    status, final, content_type, _answer = await asyncio.to_thread(_send, request, urllib.request.build_opener())
    return LinkCheck(url=url, final_url=final, status=status, content_type=content_type)


def _send(request: urllib.request.Request, opener: urllib.request.OpenerDirector) -> tuple[int, str, str, bytes]:
    """(status, final address, content type, body). Raises ToolError when nothing answered."""
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, answer.url, answer.headers.get("content-type", ""), answer.read(LARGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            return (
                error.code,
                error.url or request.full_url,
                error.headers.get("content-type", ""),
                error.read(LARGEST_ANSWER),
            )
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ToolError(f"{request.host} could not be reached: {reason}") from error
