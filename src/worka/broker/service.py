"""Use cases behind the broker's doors: network exceptions, and what left."""

from __future__ import annotations

import ipaddress
from typing import Any

from worka.broker import actions, ca, certificates, events, store
from worka.broker.addresses import never_excepted
from worka.broker.asked import service as asked
from worka.broker.certificates import FieldProblem
from worka.broker.errors import ExceptionExists, ExceptionInvalid, ExceptionUnknown
from worka.broker.schema import NewNetworkException
from worka.kernel.context import Context, Decision, Resource
from worka.kernel.errors import NotFound
from worka.kernel.ids import new_id


def _workspace(ctx: Context) -> str:
    assert ctx.workspace_id is not None, "the door sets the workspace of this path"
    return ctx.workspace_id


async def create_exception(ctx: Context, new: NewNetworkException) -> dict[str, Any]:
    """Records an exception, or answers the change that waits for a second person where a credential goes to the name
    ({state: open, approval_id, …}). Raises ExceptionInvalid, ExceptionExists, Denied."""
    checked = _checked(new)
    settings = {**checked, "port": new.port, "real_port": new.real_port, "reason": new.reason}
    return await asked.record(ctx, EXCEPTION, _workspace(ctx), settings)


async def _nothing(_ctx: Context, _settings: dict[str, Any]) -> None:
    """An exception rests on nothing else."""


async def _require(ctx: Context, workspace_id: str, settings: dict[str, Any], carries: bool) -> Decision:
    # As they are kept: a policy on a name or an address is not passed by another spelling of it.
    facts = {**{key: settings[key] for key in ("name", "port", "address", "real_port")}, "carries": carries}
    place = Resource("network_exception", "new", workspace_id, facts)
    return await ctx.require(actions.NETWORK_EXCEPTION_CREATE, place, **facts)


async def _replaces(ctx: Context, workspace_id: str, settings: dict[str, Any]) -> str | None:
    """The exception of the same name and port, which ends with this one."""
    for other in await store.live_exceptions(ctx.conn, workspace_id):
        if (other["name"], other["port"]) == (settings["name"], settings["port"]):
            # One that waits since before there was `replace` does not have it.
            if not settings.get("replace"):
                raise ExceptionExists(
                    f"{other['id']} is for {settings['name']}:{settings['port']}.", exception_id=other["id"]
                )
            await ctx.require(actions.NETWORK_EXCEPTION_REMOVE, _resource(other))
            return str(other["id"])
    return None


async def _put(
    ctx: Context, workspace_id: str, settings: dict[str, Any], over: str | None, by: str, cause: dict[str, Any] | None
) -> dict[str, Any]:
    assert ctx.tenant_id is not None
    if over is not None:
        await _end(ctx, over)
    row = {"id": new_id("nex"), "workspace_id": workspace_id, **settings, "created_by": by}
    found = await store.insert_exception(ctx.conn, ctx.tenant_id, row)
    ctx.record(events.exception_created(found, cause))
    return told({**found, "replaced": over})


EXCEPTION = asked.kind(
    asked.Kind(
        "network_exception", actions.NETWORK_EXCEPTION_CREATE, actions.NETWORK_EXCEPTION_VIEW, "a network exception",
        hold=_nothing, require=_require, replaces=_replaces, put=_put,
    )
)  # fmt: skip


async def remove_exception(ctx: Context, exception_id: str) -> None:
    """Ends an exception; calls that begin after this do not have it. Raises ExceptionUnknown, Denied."""
    async with ctx.transaction() as conn:
        row = await store.exception(conn, exception_id)
        if row is None:
            raise ExceptionUnknown()
        await ctx.require(actions.NETWORK_EXCEPTION_REMOVE, _resource(row))
        await _end(ctx, exception_id)


async def _end(ctx: Context, exception_id: str) -> None:
    removed = await store.remove_exception(ctx.conn, exception_id)
    if removed is not None:
        ctx.record(events.exception_removed(removed))


def _resource(row: dict[str, Any]) -> Resource:
    return Resource("network_exception", row["id"], row["workspace_id"], {"name": row["name"]})


async def get_exception(ctx: Context, exception_id: str) -> dict[str, Any]:
    """One exception. Raises ExceptionUnknown."""
    async with ctx.transaction() as conn:
        row = await store.exception(conn, exception_id)
        if row is None:
            raise ExceptionUnknown()
        place = Resource("workspace", row["workspace_id"], row["workspace_id"])
        if (await ctx.decide(actions.NETWORK_EXCEPTION_VIEW, place)).verdict == "deny":
            raise ExceptionUnknown()
    return told(row)


async def list_exceptions(ctx: Context, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` exceptions, newest first."""
    workspace_id = _workspace(ctx)
    await ctx.require(actions.NETWORK_EXCEPTION_VIEW, Resource("workspace", workspace_id, workspace_id))
    async with ctx.transaction() as conn:
        return [told(row) for row in await store.exceptions_page(conn, workspace_id, after, limit)]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """An exception with what is behind it and its CA in words."""
    return {**row, "leads_to": asked.leads_to(row), "authorities": ca.told(row["ca_pem"])}


async def egress_log(ctx: Context, egress_id: str) -> dict[str, Any]:
    """{egress_id, invocation_id, host, port, reason, items}: the raw failure lines behind one row. Raises NotFound, Denied."""
    async with ctx.transaction() as conn:
        row = await store.egress(conn, egress_id)
        if row is None:
            raise NotFound("There is no such egress row.")
        place = Resource("workspace", row["workspace_id"], row["workspace_id"])
        if (await ctx.decide(actions.EGRESS_VIEW, place)).verdict == "deny":
            raise NotFound("There is no such egress row.")
        await ctx.require(actions.EGRESS_LOG_VIEW, place)
        lines = await store.lines_of(conn, egress_id)
    shown = {key: row[key] for key in ("invocation_id", "host", "port", "reason")}
    return {"egress_id": row["id"], **shown, "items": lines}


async def call_log(ctx: Context, workspace_id: str, invocation_id: str) -> list[dict[str, Any]]:
    """The broker's failure lines of a call, in order; the caller has shown that there is such a call. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(actions.EGRESS_LOG_VIEW, Resource("workspace", workspace_id, workspace_id))
        return await store.lines_of_call(conn, invocation_id)


def _checked(new: NewNetworkException) -> dict[str, Any]:
    try:
        ca_pem = certificates.authority("ca_pem", new.ca_pem)
        if not ca_pem and new.port == 443:
            raise FieldProblem("ca_pem", "port 443 needs the CA to trust")
        name, address = certificates.name(new.name), _address(new.address)
        return {"name": name, "address": address, "ca_pem": ca_pem, "replace": new.replace}
    except FieldProblem as problem:
        raise ExceptionInvalid(str(problem), field=problem.field) from problem


def _address(raw: str) -> str:
    if (why := never_excepted(raw)) is not None:
        raise FieldProblem("address", why)
    return str(ipaddress.ip_address(raw))
