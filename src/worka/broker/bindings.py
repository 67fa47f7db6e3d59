"""Which workspace connection stands behind a request, and what it puts on the wire. Pure.

A credential is bound to one endpoint: the connection's host and port, and the manifest's `inject.host` must cover it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worka.broker.rules import RuleProblem, host_pattern
from worka.broker.templates import TemplateError, roots


@dataclass(frozen=True, slots=True)
class Need:
    """One item of the manifest's `connections`. `host` and `suffix` are None when nothing is injected."""

    provider: str
    required: bool
    host: str | None
    suffix: str | None
    header: str | None
    query: str | None
    template: str | None
    idempotency_header: str | None

    def covers(self, host: str) -> bool:
        """True if the injection is declared for this host."""
        if self.host is None:
            return False
        return host.endswith(self.suffix) if self.suffix is not None else host == self.host


@dataclass(frozen=True, slots=True)
class Connection:
    """A row of `connection` as far as the wire needs it. `secret_id` is None for metadata-only connections."""

    id: str
    provider: str
    host: str
    port: int
    state: str
    secret_id: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    person_id: str | None = None
    """Whose own account it is; None: the workspace's."""
    reason: str = ""
    refreshed_at: datetime | None = None
    """Which of its credentials it is: a call that ends may have had an older one than there is by then."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The connection that backs this request, and the need that it satisfies."""

    need: Need
    connection: Connection


@dataclass(frozen=True, slots=True)
class Unbound:
    """A required connection is not there: the reason code and a sentence."""

    reason: str
    detail: str


def parse_needs(items: Sequence[Mapping[str, Any]]) -> tuple[Need, ...]:
    """The needs of a manifest's `connections`. Raises RuleProblem or TemplateError for what cannot be used."""
    found = []
    for index, item in enumerate(items):
        inject = item.get("inject") or {}
        header, query = inject.get("header"), inject.get("query")
        template = inject.get("template")
        host: str | None = None
        suffix: str | None = None
        if inject:
            if not isinstance(inject.get("host"), str) or (header is None) == (query is None):
                raise RuleProblem(f"connections[{index}].inject: a host, and either a header or a query parameter")
            host, suffix = host_pattern(inject["host"])
            if template is None:
                bearer = "Bearer " if str(header).lower() == "authorization" else ""
                template = bearer + "{{connection.access_token}}"
            roots(template)
        found.append(
            Need(
                provider=str(item["provider"]),
                required=bool(item.get("required", True)),
                host=host,
                suffix=suffix,
                header=header,
                query=query,
                template=template,
                idempotency_header=item.get("idempotency_header"),
            )
        )
    return tuple(found)


def bind(needs: Sequence[Need], connections: Sequence[Connection], host: str, port: int) -> Bound | Unbound | None:
    """What backs a request to host:port: a connection, the lack of a required one, or nothing (None).

    `connections` are the workspace's, newest first; of several active ones for the endpoint the newest is used.
    """
    lack: Unbound | None = None
    for need in needs:
        of_provider = [c for c in connections if c.provider == need.provider]
        here = [c for c in of_provider if (c.host, c.port) == (host, port)]
        if need.host is not None and not need.covers(host):
            continue
        active = next((c for c in here if c.state == "active"), None)
        if active is not None:
            return Bound(need, active)
        if need.host is None or not need.required or lack is not None:
            continue
        if here:
            lack = Unbound("connection_unusable", f"the connection to {need.provider} is {here[0].state}")
        elif of_provider:
            ends = ", ".join(sorted({f"{c.host}:{c.port}" for c in of_provider}))
            lack = Unbound("connection_missing", f"the connection to {need.provider} is for {ends}, not {host}:{port}")
        else:
            lack = Unbound("connection_missing", f"the workspace has no connection to {need.provider}")
    return lack


def value_of(connection: Connection, root: str, secret: str | None) -> str | None:
    """The value of one template root, or None when the connection has none. `secret` is the leased access token."""
    if root == "connection.provider":
        return connection.provider
    if root == "connection.access_token":
        return secret
    if root.startswith("connection.metadata."):
        found = connection.metadata.get(root.removeprefix("connection.metadata."))
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None
    # A refresh token never leaves towards an endpoint in this version: connections hold one secret, the access token.
    return None


__all__ = ["Bound", "Connection", "Need", "TemplateError", "Unbound", "bind", "parse_needs", "value_of"]
