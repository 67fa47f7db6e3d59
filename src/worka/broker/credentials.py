"""What the broker puts on a request: the credential of the connection behind it, leased for this one call."""

from __future__ import annotations

import logging

from worka.broker import bindings
from worka.broker.bindings import Bound
from worka.broker.ports import Lease, Treasury
from worka.broker.session import Active
from worka.broker.stops import Stop
from worka.broker.templates import TemplateError, expand
from worka.broker.wire import heads
from worka.connections import refusals
from worka.connections.rules import REFUSED
from worka.governance.errors import Killed, UseRefused
from worka.kernel import redact
from worka.kernel.errors import Denied, NotFound, Problem, Unavailable

log = logging.getLogger("worka.broker")


class Credentials:
    """Those of one attachment."""

    def __init__(self, treasury: Treasury, attachment_id: str) -> None:
        self._treasury, self._attachment_id = treasury, attachment_id

    async def place(
        self, active: Active, bound: Bound | None, name: str, port: int, rule: str | None
    ) -> tuple[heads.Injection | None, Lease | None]:
        """What goes with a request to name:port, and the lease behind it. Raises Stop."""
        if bound is None or bound.need.template is None:
            return None, None
        need, connection, template = bound.need, bound.connection, bound.need.template
        lease: Lease | None = None
        if connection.secret_id is not None and "connection.access_token" in template:
            lease = await self.lease(active, connection.secret_id, f"{name}:{port}", rule)
        secret = lease.value if lease is not None else None
        try:
            value = expand(template, lambda root: bindings.value_of(connection, root, secret))
        except TemplateError as error:
            raise Stop("template_error", str(error), rule=rule) from None
        return heads.Injection(header=need.header, query=need.query, value=value), lease

    async def lease(self, active: Active, secret_id: str, endpoint: str, rule: str | None) -> Lease:
        """A secret's value for this call and endpoint, leased once. Raises Stop."""
        key = f"{secret_id} {endpoint}"
        async with active.lease_lock:
            if key not in active.leases:
                try:
                    lease = await self._treasury.lease(
                        active.context(),
                        secret_id=secret_id,
                        attachment_id=self._attachment_id,
                        invocation_id=active.id,
                        endpoint=endpoint,
                    )
                except (Killed, UseRefused) as error:
                    raise Stop(error.problem_code, error.detail, rule=rule, remedy=error.remedy) from error
                except Denied as error:
                    raise Stop("connection_not_granted", error.detail, rule=rule) from error
                except NotFound as error:
                    raise Stop("connection_missing", "the connection's secret is not there", rule=rule) from error
                except Problem as error:
                    if isinstance(error, Unavailable):
                        active.broken = "secret_unavailable"
                    raise Stop("secret_unavailable", error.title, rule=rule) from error
                redact.remember(lease.value)
                active.leases[key] = lease
            return active.leases[key]

    def request(
        self,
        head: heads.Head,
        name: str,
        port: int,
        bound: Bound | None,
        injection: heads.Injection | None,
        active: Active,
    ) -> heads.Outgoing:
        """The request as it leaves. Raises Stop."""
        header = bound.need.idempotency_header if bound else None
        # Every declared idempotency header belongs to the broker, on whatever host the pack tries to send it.
        owned = [need.idempotency_header for need in active.needs if need.idempotency_header]
        added = {header: active.idempotency_key} if header else None
        try:
            return heads.outgoing(head, host=name, port=port, injection=injection, owned=owned, added=added)
        except ValueError as error:
            raise Stop(
                "template_error",
                "the expanded value cannot stand in a header: blanks at an end of the secret, or characters of no header",
            ) from error


async def over(active: Active, treasury: Treasury) -> None:
    """The end of a call: its leases end, and what was answered to its credentials is told to their connections before the call's
    outcome is, so that the next one that begins finds it."""
    await _heard(active)
    if active.leases:
        try:
            await treasury.close_leases(active.context(), invocation_id=active.id)
        except Problem as error:
            log.error("the leases of %s could not be closed: %s", active.id, error.problem_code)


async def _heard(active: Active) -> None:
    for connection in active.connections:
        status = active.heard.get(connection.id)
        try:
            if status == 401:
                await refusals.refused(active.context(), connection.id, connection.refreshed_at, active.id)
            elif status is not None and status < 400 and connection.reason == REFUSED:
                await refusals.accepted(active.context(), connection.id, connection.refreshed_at, active.id)
        except Problem as problem:
            # The row of the request holds the status; the next refusal is told again.
            log.warning("what was said of %s could not be kept: %s", connection.id, problem.problem_code)
