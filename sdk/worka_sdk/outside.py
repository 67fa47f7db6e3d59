"""Requests to the outside: plain HTTP, which the broker carries, judges and authenticates.

A pack holds no credential and sends no idempotency key of its own: the broker puts both on the wire, where the manifest
says so. A destination that the manifest does not declare is refused there, whatever is asked for here.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from worka_sdk.errors import ToolError

MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """What is asked of the outside."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` by lower-case name; `cut` when the body is longer than was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False

    def json(self) -> Any:
        """The body as JSON. Raises ToolError when it is none, or was cut."""
        try:
            if self.cut:
                raise ValueError("it was cut")
            return json.loads(self.body)
        except ValueError as error:
            raise ToolError(f"The answer (status {self.status}) is not JSON: {error}.") from error


class Unreachable(ToolError):
    """Nothing answered: the name, the way, the certificate, or the broker's refusal."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: where to go next is the tool's decision."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


Transport = Callable[[Request, float, int], Answer]


def over_the_wire(request: Request, timeout: float, most: int) -> Answer:
    """The real transport; proxy and certificate variables of the sandbox hold."""
    opener = urllib.request.build_opener(_Stay)
    asked = urllib.request.Request(request.url, request.body, dict(request.headers), method=request.method)  # noqa: S310
    try:
        with opener.open(asked, timeout=timeout) as answer:
            return _read(answer.status, answer.headers, answer, most)
    except urllib.error.HTTPError as error:
        with error:
            return _read(error.code, error.headers, error, most)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise Unreachable(f"{asked.host} could not be reached: {reason}.") from error


def _read(status: int, headers: Any, stream: Any, most: int) -> Answer:
    body = stream.read(most + 1)
    found = {str(key).lower(): str(value) for key, value in (headers or {}).items()}
    return Answer(status, found, body[:most], cut=len(body) > most)


_transport: list[Transport] = [over_the_wire]


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | dict[str, Any] | list[Any] | None = None,
    timeout: float = 20,
    most: int = MOST_BYTES,
) -> Answer:
    """Sends one request; a dict or list is sent as JSON. `timeout` in seconds, `most` bytes of the answer are read.

    Any status is an answer; redirects are not followed. Raises Unreachable, and ValueError for an address that is no
    http(s) one.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("an address starts with https:// or http://")
    sent = dict(headers or {})
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    return _transport[-1](Request(method.upper(), url, sent, body), timeout, most)
