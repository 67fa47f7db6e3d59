"""`worka release`, and ending a secret: taking a release or a secret away, after a look at what that touches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.shell import ReleaseName, client, named_release, show

release = typer.Typer(
    no_args_is_help=True, help="Releases of packs: stopping one, or letting no more of it be attached."
)
secret = typer.Typer(
    no_args_is_help=True, help="Secrets of the treasury: who may use them where, who did, and when they are due."
)
Reason = Annotated[str, typer.Option(help="why: it stands in the changes and in the ledger")]
Days = Annotated[int, typer.Option(min=1, max=90, help="how far back recorded calls are looked through")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
DryRun = Annotated[bool, typer.Option(help="show what it would touch and would have refused, and do nothing")]


@release.command("quarantine")
def quarantine(
    release_id: ReleaseName, reason: Reason = "", days: Days = 7, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Stop everything that runs a release, at once."""
    _take_away("releases", release_id, "quarantine", {"reason": reason}, days, yes, dry_run)


@release.command("revoke")
def revoke_release(
    release_id: ReleaseName, reason: Reason = "", days: Days = 7, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Let no new attachment of a release be made; existing ones run."""
    _take_away("releases", release_id, "revoke", {"reason": reason}, days, yes, dry_run)


@secret.command("revoke")
def revoke_secret(
    secret_id: str, reason: Reason = "", days: Days = 7, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """End a secret and every grant of it, for the very next call."""
    _take_away("secrets", secret_id, "revoke", {"why": reason}, days, yes, dry_run)


def _take_away(
    things: str, thing_id: str, verb: str, body: dict[str, str], days: int, yes: bool, dry_run: bool
) -> None:
    if not dry_run and not any(body.values()):
        raise typer.BadParameter("--reason is needed: it stands in the changes and in the ledger")
    api = client()
    if things == "releases":
        thing_id = named_release(api, thing_id)
    if dry_run or not yes:
        touched = api.get(f"/v1/{things}/{thing_id}/withdrawal-preview", days=days)
        if dry_run:
            if things == "releases":
                # A preview is for whoever may look: that it is refused, only the attempt itself says.
                api.change(
                    "POST", f"/v1/{things}/{thing_id}/{verb}", {"reason": body["reason"] or "a dry run"}, dry_run=True
                )
            if not show(touched):
                say(touched)
                output.text(f"dry run: nothing was done; without --dry-run it would {verb} it")
            return
        say(touched, err=True)
        typer.confirm(f"{verb.capitalize()} {touched['name']}?", abort=True, err=True)
    value = api.post(f"/v1/{things}/{thing_id}/{verb}", body)
    if not show(value):
        output.text(f"{value['id']}  {value['state']}")


def say(value: dict[str, Any], err: bool = False) -> None:
    """What it touches and would have refused."""
    place = output.talk if err else output.out
    place.print(output.escape(value["sentence"]))
    for row in value["attachments"]:
        place.print(f"  attachment {row['id']} {output.escape(row['pack'])} in {row['workspace_id']}")
    for row in value["tasks"]:
        place.print(f"  task {row['id']} {output.escape(row['title'])} ({row['state']})")
    for row in value["recorded"]["calls"][:20]:
        place.print(f"  call {row['id']} {output.escape(row['tool'])} at {row['at']} ({row['state']})")
