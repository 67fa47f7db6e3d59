"""`worka egress exception`: which inside address stands behind a name that packs use, and by whose CA it is checked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.egress_trust import Ca, DryRun, Yes, certificates, say_recorded, take_back
from worka.cli.shell import client, show

exception = typer.Typer(no_args_is_help=True, help="Network exceptions: inside addresses behind names that packs use.")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """As people read it: the CA in words."""
    return {
        "id": row["id"], "name": f"{row['name']}:{row['port']}", "leads_to": row["leads_to"],
        "trusts": certificates(row["authorities"]) or "nobody: without TLS", "reason": row["reason"],
        "created_by": row["created_by"], "created_at": row["created_at"], "removed_at": row["removed_at"],
    }  # fmt: skip


@exception.command("list")
def exception_list(
    everything: Annotated[bool, typer.Option("--all", help="those too that were taken back")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """The workspace's network exceptions, newest first."""
    api = client()
    rows = api.pages(api.ws("/network-exceptions"), most=1000)
    rows = [row for row in rows if everything or row["removed_at"] is None][:limit]
    if not show({"items": rows}):
        columns = ["id", "name", "leads_to", "trusts", "reason", *(["removed_at"] if everything else [])]
        output.table([_plain(row) for row in rows], columns, "None: packs reach no inside address by any name.")


@exception.command("show")
def exception_show(exception_id: str) -> None:
    """One exception, with its CA in words."""
    value = client().get(f"/v1/network-exceptions/{exception_id}")
    if not show(value):
        output.record(_plain(value))


@exception.command("set")
def exception_set(
    name: Annotated[str, typer.Argument(help="the host name that packs declare")],
    address: Annotated[str, typer.Option(help="the IP address behind it")],
    reason: Annotated[str, typer.Option(help="why this is right: it stands with the exception")],
    ca: Ca = None,
    port: Annotated[int, typer.Option(help="the port that packs use: 443 or 80")] = 443,
    real_port: Annotated[int | None, typer.Option(help="the port behind it, where it is another")] = None,
    dry_run: DryRun = False,
) -> None:
    """Record what is behind a name, in the place of what was recorded for it. Calls that begin after this go there; to a name
    that a credential goes to, those after somebody else has agreed (6: that is waited for)."""
    api = client()
    body = {
        "name": name, "port": port, "address": address, "real_port": port if real_port is None else real_port,
        "ca_pem": ca.read_text() if ca else "", "reason": reason, "replace": True,
    }  # fmt: skip
    say_recorded(api.change("POST", api.ws("/network-exceptions"), body, dry_run=dry_run), _plain, dry_run)


@exception.command("remove")
def exception_remove(exception_id: str, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Take an exception back: calls that begin after this go where the resolver says, and to no inside address."""
    path = f"/v1/network-exceptions/{exception_id}"
    take_back(path, lambda row: f"{row['name']}:{row['port']}, which leads to {row['leads_to']}", yes, dry_run)
