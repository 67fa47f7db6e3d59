"""`worka egress trust`: how the certificate of an outside name is checked, and which of ours it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.shell import client, show

trust = typer.Typer(no_args_is_help=True, help="Upstream trust: CAs and client certificates for outside names.")
Attachment = Annotated[str, typer.Option("--attachment", help="for this attachment alone; else for the workspace")]
Ca = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file: the CA to trust, not the public ones")
]
Own = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file: our certificate with its chain")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="check it, say what would be done, and do nothing")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


def certificates(rows: list[dict[str, Any]]) -> str:
    """Certificates of a record, in words; empty without one."""
    return ", ".join(f"{row['subject']} ({'ended' if row['over'] else 'until'} {row['ends_at'][:10]})" for row in rows)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """As people read it: the certificates in words."""
    return {
        "id": row["id"], "name": f"{row['name']}:{row['port']}", "for": row["attachment_id"] or "the workspace",
        "trusts": certificates(row["authorities"]) or "the public authorities",
        "shows": certificates(row["certificates"]) or "no certificate", "key": row["client_key_secret_id"],
        "reason": row["reason"], "created_by": row["created_by"], "created_at": row["created_at"],
        "removed_at": row["removed_at"],
    }  # fmt: skip


def say_waiting(row: dict[str, Any], dry_run: bool = False) -> None:
    """What was not recorded yet: what it would do, which credentials go there, and whom it waits for."""
    output.text(row["words"])
    for line in row["credentials"]:
        output.text(f"  a credential goes there: {line}")
    if dry_run:
        output.text("dry run: somebody else would have to agree first; nobody was asked, and nothing was recorded")
        return
    output.text(f"Nothing is recorded yet: {row['id']} waits for somebody else to agree.")
    output.text(f"next: worka approvals show {row['approval_id']}")


def say_recorded(value: dict[str, Any], plain: Callable[[dict[str, Any]], dict[str, Any]], dry_run: bool) -> None:
    """What was recorded, or waits for somebody else, or would; ends with 6 where it is waited for."""
    waits = value.get("state") == "open"
    if not show(value):
        if waits:
            say_waiting(value, dry_run)
        else:
            output.record(plain(value), skip=("id",) if dry_run else ())
            in_place = f", in the place of {value['replaced']}" if value["replaced"] else ""
            output.text(f"dry run: it would be recorded{in_place}; nothing was" if dry_run else f"recorded{in_place}")
    raise typer.Exit(6 if waits and not dry_run else 0)


def take_back(path: str, words: Callable[[dict[str, Any]], str], yes: bool, dry_run: bool) -> None:
    """Ends the record behind this path, once that was agreed to at the terminal."""
    api = client()
    value = api.get(path)
    if not dry_run and not yes:
        output.talk.print(output.escape(f"{words(value)}, recorded because: {value['reason']}"))
        typer.confirm("Take it back?", abort=True, err=True)
    api.change("DELETE", path, dry_run=dry_run)
    if not show({"id": value["id"], "removed": not dry_run}):
        output.text("dry run: it would be taken back; nothing was" if dry_run else "taken back")


@trust.command("list")
def trust_list(
    everything: Annotated[bool, typer.Option("--all", help="those too that were taken back")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """The workspace's records of upstream trust, newest first."""
    api = client()
    rows = api.pages(api.ws("/upstream-trusts"), most=1000)
    rows = [row for row in rows if everything or row["removed_at"] is None][:limit]
    if not show({"items": rows}):
        columns = ["id", "name", "for", "trusts", "shows", "reason", *(["removed_at"] if everything else [])]
        output.table(
            [_plain(row) for row in rows], columns, "None: certificates are checked against the public authorities."
        )


@trust.command("show")
def trust_show(trust_id: str) -> None:
    """One record, with its certificates in words."""
    value = client().get(f"/v1/upstream-trusts/{trust_id}")
    if not show(value):
        output.record(_plain(value))


@trust.command("set")
def trust_set(
    name: Annotated[str, typer.Argument(help="the host name that packs declare")],
    reason: Annotated[str, typer.Option(help="why this is right: it stands with the record")],
    ca: Ca = None,
    certificate: Own = None,
    key_secret: Annotated[str | None, typer.Option(help="the secret that holds its key, by its id")] = None,
    attachment: Attachment = "",
    dry_run: DryRun = False,
) -> None:
    """Record how a name's certificate is checked, in the place of what was recorded for it. Calls that begin after this go by it;
    for a name that a credential goes to, those after somebody else has agreed (6: that is waited for)."""
    api = client()
    body = {
        "name": name, "attachment_id": attachment, "ca_pem": ca.read_text() if ca else "", "replace": True,
        "client_cert_pem": certificate.read_text() if certificate else "", "client_key_secret_id": key_secret,
        "reason": reason,
    }  # fmt: skip
    say_recorded(api.change("POST", api.ws("/upstream-trusts"), body, dry_run=dry_run), _plain, dry_run)


@trust.command("remove")
def trust_remove(trust_id: str, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Take a record back: calls that begin after this are checked against the public authorities again."""
    take_back(f"/v1/upstream-trusts/{trust_id}", lambda row: f"{row['name']}:{row['port']}", yes, dry_run)
