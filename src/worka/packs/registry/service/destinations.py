"""Registries outside that a workspace names, with the rules that let the platform reach exactly that repository there, and
what its registry sends us to as far as that was named too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from worka.broker import store as broker_rows
from worka.broker.addresses import HostProblem, normalise_host
from worka.connections import leads
from worka.kernel import redact
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.packs import actions as pack_actions
from worka.packs.registry import actions, events, rules, store, tokens
from worka.packs.registry.errors import DestinationInvalid, DestinationNotFound, DestinationTaken
from worka.packs.registry.remote import METHODS, PURPOSE, Remote, through_broker
from worka.treasury import values

Row = dict[str, Any]
SEALED = "destination.credential"
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*\Z")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")


MOST_BLOB_HOSTS = 8


async def create(
    ctx: Context, workspace_id: str, *, name: str, host: str, port: int, repository: str, username: str, password: str,
    token_service: str = "", blob_hosts: Sequence[str] = (),
) -> Row:  # fmt: skip
    """Names a registry, and what else it may send us to: the service that gives out its tokens (then the credential is for
    that service, and for nothing else), and hosts that its blobs are read from, without any. Whether anything may be
    published there, the registry's policy says. With a credential the answer's `led` says, a sentence a record, what is recorded
    of where these names lead and who vouches for them. Raises Denied, DestinationInvalid, DestinationTaken."""
    assert ctx.tenant_id is not None
    if not _NAME.match(name) or name == rules.LOCAL:
        raise DestinationInvalid("name: small letters, digits and dashes, and not `local`.", field="/name")
    if not _REPOSITORY.match(repository) or len(repository) > 200:
        raise DestinationInvalid("repository: small letters and digits, such as team/packs.", field="/repository")
    try:
        host = normalise_host(host)
    except HostProblem as problem:
        raise DestinationInvalid(f"host: {problem.detail}", field="/host") from problem
    if ":" in username or not (username + password).isprintable() or bool(username) != bool(password):
        raise DestinationInvalid(
            "username and password: both or neither, plain text, no `:` in the name.", field="/username"
        )
    service = _service(token_service)
    hosts = _hosts(blob_hosts)
    place = f"{host}:{port}"
    reached = [(host, port, METHODS, f"/v2/{repository}/*")]
    reached += [(service.host, service.port, "GET", service.path)] if service else []
    reached += [(*_split(item), "GET", "/*") for item in hosts]
    async with ctx.transaction() as conn:
        led = await leads.recorded(ctx, workspace_id, sorted({(to, at) for to, at, _, _ in reached}))
        facts = {"name": name, "host": host, "port": port, "destination": place, "redirected": bool(led)}
        await ctx.require(actions.DESTINATION_CREATE, Resource("pack", "*", workspace_id, facts), **facts)
        sealed = None
        if username:
            redact.remember(password)
            sealed = await ctx.sealer.seal(ctx, SEALED, f"{username}:{password}".encode())
        base = {"tenant_id": ctx.tenant_id, "workspace_id": workspace_id, "created_by": ctx.principal.id}
        row = await store.add_destination(
            conn,
            {**base, "id": new_id("dst"), "name": name, "host": host, "port": port, "repository": repository,
             "credential": sealed, "token_service": service.written if service else "", "blob_hosts": hosts},
        )  # fmt: skip
        if row is None:
            raise DestinationTaken(f"This workspace has a destination {name}.")
        for to, at, methods, path in reached:
            await broker_rows.add_platform_rule(
                conn,
                {**base, "id": new_id("rule"), "purpose": PURPOSE, "subject_id": row["id"], "host": to, "port": at,
                 "method": methods, "path": path},
            )  # fmt: skip
        ctx.record(events.destination_moved(row, "active"))
        ctx.commit_points("registry.changed")
        # Whoever typed the credential in is told who would receive it; what is recorded after this asks a second person.
        return {**shown(row), "led": await leads.sentences(conn, led) if username else []}


def _service(text: str) -> tokens.Service | None:
    try:
        return tokens.read(text) if text else None
    except tokens.TokenProblem as problem:
        raise DestinationInvalid(f"token_service: {problem}.", field="/token_service") from problem


def _hosts(given: Sequence[str]) -> list[str]:
    if len(given) > MOST_BLOB_HOSTS:
        raise DestinationInvalid(f"blob_hosts: {MOST_BLOB_HOSTS} at most.", field="/blob_hosts")
    found: dict[str, None] = {}
    for item in given:
        try:
            host, port = _split(item)
            found[f"{normalise_host(host)}:{port}"] = None
        except (ValueError, HostProblem) as error:
            raise DestinationInvalid(
                f"blob_hosts: {item[:80]!r} is no host by its name, such as blobs.example.com:443.", field="/blob_hosts"
            ) from error
    return list(found)


def _split(item: str) -> tuple[str, int]:
    host, colon, port = item.partition(":")
    number = int(port) if colon else 443
    if not 1 <= number <= 65535:
        raise ValueError("no port")
    return host, number


async def listing(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The destinations of a workspace, newest first (up to limit + 1). Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        return [shown(row) for row in await store.destinations(conn, workspace_id, after, limit + 1)]


async def remove(ctx: Context, destination_id: str) -> Row:
    """Takes it away with its rule and its credential, for the very next call. Raises DestinationNotFound, Denied."""
    async with ctx.transaction() as conn:
        row = await own(ctx, destination_id, lock=True)
        facts = {"name": row["name"], "host": row["host"], "port": row["port"]}
        await ctx.require(actions.DESTINATION_REMOVE, Resource("pack", "*", row["workspace_id"], facts), **facts)
        await store.remove_destination(conn, destination_id)
        await broker_rows.end_platform_rules(conn, PURPOSE, destination_id)
        ctx.record(events.destination_moved(row, "removed"))
        ctx.commit_points("registry.changed")
        return {**shown(row), "state": "removed", "credential": False}


async def own(ctx: Context, destination_id: str, *, lock: bool = False) -> Row:
    """In the caller's transaction: the destination, for who may see packs there. Raises DestinationNotFound."""
    row = await store.destination(ctx.conn, destination_id, lock=lock)
    if row is not None and row["state"] == "active":
        seen = await ctx.decide(pack_actions.VIEW.name, Resource("pack", "*", row["workspace_id"]))
        if seen.verdict != "deny":
            return row
    raise DestinationNotFound(f"There is no destination {destination_id}.")


async def named(conn: Connection, workspace_id: str, name: str, *, lock: bool = False) -> tuple[str, Row | None]:
    """(the place as policy names it, the row; None for the deployment's own). Raises DestinationNotFound."""
    if name == rules.LOCAL:
        return rules.LOCAL, None
    for row in await store.destinations(conn, workspace_id, None, 200):
        if name in (row["name"], row["id"]):
            found = await store.destination(conn, row["id"], lock=True) if lock else row
            if found is not None and found["state"] == "active":
                return place(found), found
    raise DestinationNotFound(f"This workspace has no destination {name[:60]!r}.")


def place(row: Row) -> str:
    """host:port/repository, as policy and people name it."""
    return f"{row['host']}:{row['port']}/{row['repository']}"


async def remote(ctx: Context, row: Row) -> Remote:
    """The registry there, with the destination's credential. Raises SecretUnreadable, TreasurySealed; each of its calls that
    has the credential on it raises TreasurySealed too."""
    if row["credential"] is None:
        return Remote(through_broker(ctx), row, None)

    async def unsealed() -> None:
        async with ctx.transaction():
            await values.unsealed(ctx)

    await unsealed()
    found = (await ctx.sealer.open(ctx, SEALED, bytes(row["credential"]))).decode()
    redact.remember(found.partition(":")[2])
    return Remote(through_broker(ctx), row, found, unsealed)


def shown(row: Row) -> Row:
    """A destination as the API shows it: that it has a credential, never which."""
    names = (
        "id", "workspace_id", "name", "host", "port", "repository", "token_service", "blob_hosts", "state", "created_by",
        "created_at",
    )  # fmt: skip
    return {**{name: row[name] for name in names}, "place": place(row), "credential": row["credential"] is not None}
