"""Where the names lead that a credential goes to: what the workspace's people recorded of them. Who records that a name leads
to an inside address, or whose certificates are believed there, receives what is sent to it; so whoever agrees to a connection
is shown it, and what is recorded meanwhile makes their consent one to something else."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Sequence
from typing import Any

from worka.connections import catalogue, store
from worka.kernel.context import Context
from worka.kernel.db import Connection

Row = dict[str, Any]
Place = tuple[str, int]
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MOST = 5


def fingerprints(pem: str) -> list[str]:
    """SHA-256 of each certificate, in the form that other programs show it in."""
    found = [hashlib.sha256(ssl.PEM_cert_to_DER_cert(item)).hexdigest().upper() for item in _CERTIFICATE.findall(pem)]
    return [":".join(text[at : at + 2] for at in range(0, len(text), 2)) for text in found]


def told(pem: str) -> str:
    """The fingerprints of a certificate authority in words."""
    marks = fingerprints(pem)
    more = f" and {len(marks) - _MOST} more" if len(marks) > _MOST else ""
    return f"SHA-256 {', '.join(marks[:_MOST])}{more}"


def places(settings: Any, row: Row) -> list[Place]:
    """Where a connection's credentials go: its own endpoint, and where a provider's tokens are given out, renewed and ended."""
    found: set[Place] = {(row["host"], row["port"])}
    known = catalogue.providers(settings).get(row["provider"]) if row["kind"] != "token" else None
    if known is not None:
        found |= {(host, port) for host, port, _, _ in known.at(row["metadata"]).reached()}
    return sorted(found)


async def recorded(ctx: Context, workspace_id: str, found: Sequence[Place]) -> list[Row]:
    """In the caller's transaction: what holds of these places now, and until its end: whoever records waits for that. The
    exceptions, then whose certificates are believed."""
    await store.lock_places(ctx.conn, workspace_id)
    return [
        *await store.exceptions_to(ctx.conn, workspace_id, found),
        *await store.trusts_in(ctx.conn, workspace_id, found),
    ]


def exactly(rows: Sequence[Row]) -> list[Row]:
    """The same for a digest: a record is never changed, so its id would do; what it says stands beside it."""
    keys = ("kind", "id", "name", "port", "address", "real_port", "attachment_id", "created_by")
    return [{**{key: row[key] for key in keys}, "authorities": fingerprints(row["ca_pem"])} for row in rows]


async def sentences(conn: Connection, rows: Sequence[Row]) -> list[str]:
    """The same for a person, a sentence a record."""
    names = await store.names(conn, [row["created_by"] for row in rows])
    return [_sentence(row, names.get(row["created_by"], "somebody who is not here any more")) for row in rows]


def _sentence(row: Row, who: str) -> str:
    if row["kind"] == "upstream_trust":
        whom = f" for {row['pack']} alone" if row["attachment_id"] else ""
        return (
            f"{row['name']}:{row['port']} is checked by a certificate authority that {who} recorded{whom}"
            f" ({told(row['ca_pem'])})."
        )
    own = f", with a certificate authority of their own ({told(row['ca_pem'])})" if row["ca_pem"] else ""
    address = f"[{row['address']}]" if ":" in row["address"] else row["address"]
    return (
        f"{row['name']}:{row['port']} leads to {address}:{row['real_port']} by an exception that {who} recorded{own}."
    )
