"""What the deployment dials, against its air gap or one that is only tried: for its operator, before the gap is closed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from worka.kernel import airgap
from worka.kernel.airgap import AirGap
from worka.kernel.context import Context, Resource
from worka.kernel.errors import Invalid
from worka.kernel.settings import NetworkSettings, Settings
from worka.observability import actions, store

Row = dict[str, Any]
MOST = 500
_INDEXES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


class AllowedInvalid(Invalid):
    """An item of the list cannot be read."""

    code = "network_allowed_invalid"
    title = "The list of allowed destinations cannot be read"
    default_remedy = "Write each as name:port, address:port or network/bits:port; * for any port."


@dataclass(frozen=True)
class Configured:
    """A destination that the settings name, whether or not it was used lately."""

    what: str
    host: str
    port: int


def configured(settings: Settings, environ: Mapping[str, str]) -> Iterator[Configured]:
    """What the settings and the environment of the installers name. Where no index is named it is the public one, which a
    deployment that is to be air-gapped does not reach: so it is not guessed."""
    if settings.mail.host:
        yield Configured("mail server", settings.mail.address or settings.mail.host, settings.mail.port)
    if settings.treasury.transit_url:
        yield from _of("key service", settings.treasury.transit_url)
    for name in _INDEXES:
        for address in environ.get(name, "").split():
            yield from _of("package index", address.rpartition("=")[2] if name == "UV_INDEX" else address)
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        yield from _of("package registry", environ.get(name, ""))


def proxies(environ: Mapping[str, str]) -> list[str]:
    """Names of proxy variables that an air-gapped build does not use: its one door dials by itself."""
    return [name for name in _PROXIES if environ.get(name)]


def _of(what: str, address: str) -> Iterator[Configured]:
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return
    if parts.hostname and port:
        yield Configured(what, parts.hostname, port)


async def needed(ctx: Context, since: datetime, tried: list[str] | None) -> Row:
    """{air_gapped, allowed, since, items, configured, complete}: what left since then, and what the settings name, each with
    whether it would be permitted: by `tried` where a list is given, else by the setting. Raises AllowedInvalid, Denied."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    settings: Settings | None = ctx.settings
    set_ = settings.network if settings is not None else NetworkSettings()
    try:
        gap = AirGap(True, airgap.parse(set_.allowed if tried is None else tried))
    except ValueError as error:
        raise AllowedInvalid(str(error)) from error
    async with platform.transaction() as conn:
        await platform.require(actions.NETWORK_NEEDED.name, Resource("tenant", "deployment", None))
        rows = await store.destinations_since(conn, since, MOST + 1)
    named = list(configured(settings, os.environ)) if settings is not None else []
    return {
        "air_gapped": set_.air_gapped,
        "allowed": [str(item) for item in gap.allowed],
        "since": since,
        "items": [_shown(row, gap, settings) for row in rows[:MOST]],
        "configured": [
            {"what": one.what, "host": one.host, "port": one.port, "permitted": gap.place(one.host, one.port)}
            for one in named
        ],
        "complete": len(rows) <= MOST,
    }


def _shown(row: Row, gap: AirGap, settings: Settings | None) -> Row:
    """A destination with its verdict; `item` is what would have to be on the list: of what stands behind a network exception
    the address."""
    address, _, port = (row["address"] or "").rpartition(":")
    # What the settings lead to an address (mail) is the operator's, and may be listed by its name too.
    own = settings is not None and row["platform"] and row["host"] == settings.mail.host
    by_address = bool(address and gap.address(address, int(port)))
    permitted = by_address or ((own or not address) and gap.name(row["host"], row["port"]))
    kind = "platform" if row["platform"] else "packs"
    shown = {key: row[key] for key in ("host", "port", "tenants", "requests", "last_at")}
    return {
        **shown,
        "address": row["address"],
        "kind": kind,
        "permitted": permitted,
        "item": row["address"] or f"{row['host']}:{row['port']}",
    }
