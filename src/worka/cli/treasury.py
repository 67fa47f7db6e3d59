"""`worka secret`: put secrets into the treasury, grant and rotate them, and see who used them. A value is read from a terminal
or from standard input, never from the command line, and is never printed but by `worka secret read`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import asked, client, show
from worka.cli.withdrawals import secret

treasury = typer.Typer(
    no_args_is_help=True, help="The treasury itself: its seal, its master key, and the tenant's data keys."
)
DryRun = Annotated[bool, typer.Option(help="do all of it and undo it: refused and answered as it would be")]
Generate = Annotated[bool, typer.Option("--generate", help="the platform makes the value, and nobody ever sees it")]
Ends = Annotated[str, typer.Option("--expires", help="when the outside system ends it: a time with its zone")]
Every = Annotated[
    int, typer.Option("--rotate-days", min=0, max=3650, help="days after which it is due for a new value")
]
Why = Annotated[str, typer.Option(help="why: it stands in the changes and in the ledger")]


def named(api: Client, given: str) -> str:
    """The id of a secret that was named by its id or by its name in this workspace."""
    if given.startswith("sec_"):
        return given
    for row in api.pages(api.ws("/secrets"), most=1000):
        if row["name"] == given:
            return str(row["id"])
    return given


@secret.command("list")
def secret_list(limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The workspace's secrets: what for, who may use them, when they are due. Never a value."""
    api = client()
    value = api.get(api.ws("/secrets"), limit=limit)
    if not show(value):
        rows = [{**row, "grants": len(row["grants"]), "due": row["due_at"] or "-"} for row in value["items"]]
        columns = ["id", "name", "kind", "state", "version", "grants", "last_leased_at", "due"]
        output.table(rows, columns, "No secret lies here: `worka secret create NAME` puts one in.")


@secret.command("show")
def secret_show(secret_id: Annotated[str, typer.Argument(help="its id or its name")]) -> None:
    """One secret: purpose, connections, grants, dates. Never its value."""
    api = client()
    value = api.get(f"/v1/secrets/{named(api, secret_id)}")
    if not show(value):
        _say(value)


@secret.command("create")
def secret_create(
    name: str,
    kind: Annotated[
        str, typer.Option(help="api_token, oauth_access, oauth_refresh, oauth_client, password, registry, publication,"
                               " infrastructure or other")
    ] = "api_token",
    purpose: Annotated[str, typer.Option(help="what it is for")] = "",
    generate: Generate = False,
    expires: Ends = "",
    rotate_days: Every = 0,
    dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Put a secret into the treasury; its value comes from the terminal or standard input. This grants nothing."""
    api = client()
    body = _dates({"name": name, "kind": kind, "purpose": purpose}, expires, rotate_days) | _value(generate)
    value = api.change("POST", api.ws("/secrets"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"{value['name']}  {value['state']}  version {value['version']}", value["id"]))


@secret.command("dependants")
def secret_dependants(secret_id: Annotated[str, typer.Argument(help="its id or its name")]) -> None:
    """What stands on a secret: connections, attachments, publishers' keys, calls and tasks under way."""
    api = client()
    value = api.get(f"/v1/secrets/{named(api, secret_id)}/dependants")
    if not show(value):
        _say_dependants(value)


@secret.command("blast")
def secret_blast(
    secret_id: Annotated[str, typer.Argument(help="its id or its name")],
    svg: Annotated[str, typer.Option(help="write the picture to this file")] = "",
) -> None:
    """Where a secret may be used, by what, and what breaks without it."""
    from worka.cli.lifecycle import say_reach

    api = client()
    path = f"/v1/secrets/{named(api, secret_id)}/reach"
    value = api.get(path)
    if svg:
        with open(svg, "w", encoding="utf-8") as out:
            out.write(api.send("GET", f"{path}.svg").text)
    if not show(value):
        say_reach(value)


@secret.command("rotate")
def secret_rotate(
    secret_id: Annotated[str, typer.Argument(help="its id or its name")],
    grants: Annotated[str, typer.Option(help="whether its grants remain: keep or end")] = "",
    overlap: Annotated[
        int, typer.Option(min=0, max=10_080, help="minutes for which the old value is valid beside the new one")
    ] = 0,
    generate: Generate = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    dry_run: DryRun = False,
) -> None:
    """Give a secret a new value: shows what stands on it, asks whether its grants remain, and asks for the value."""
    if grants not in ("", "keep", "end"):
        raise typer.BadParameter("--grants is keep or end")
    api = client()
    secret_id = named(api, secret_id)
    seen = api.get(f"/v1/secrets/{secret_id}/dependants")
    if not yes and not dry_run:
        _say_dependants(seen, err=True)
    if not grants and seen["counts"]["attachment"] and not yes and not dry_run:
        grants = "keep" if typer.confirm("Do the grants remain?", default=True, err=True) else "end"
    body = {"overlap_minutes": overlap, "listed": seen["listed"], **({"grants": grants} if grants else {})}
    value = api.change("POST", f"/v1/secrets/{secret_id}/rotate", body | _value(generate), dry_run=dry_run)
    if not show({"would": value, "dependants": seen} if dry_run else value):
        if dry_run:
            _say_dependants(seen)
        until = f", the old one valid until {value['overlap_until']}" if value["overlap_until"] else ""
        output.text(
            _tried(dry_run, f"{value['name']}  {value['state']}  version {value['version']}{until}", value["id"])
        )


@secret.command("finish")
def secret_finish(secret_id: str, dry_run: DryRun = False) -> None:
    """End the overlap of a rotation now: the old value is gone."""
    _after(secret_id, "POST", "rotate/finish", None, dry_run)


@secret.command("back")
def secret_back(secret_id: str, dry_run: DryRun = False) -> None:
    """Take a rotation back while its overlap lasts: the new value is gone."""
    _after(secret_id, "POST", "rotate/back", None, dry_run)


@secret.command("dates")
def secret_dates(secret_id: str, expires: Ends = "", rotate_days: Every = 0, dry_run: DryRun = False) -> None:
    """Say when a secret ends and how often it is to be rotated; what is left out is no date."""
    _after(secret_id, "PUT", "dates", _dates({}, expires, rotate_days), dry_run)


@secret.command("destroy")
def secret_destroy(
    secret_id: str,
    reason: Why = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    dry_run: DryRun = False,
) -> None:
    """Wipe the values of a revoked secret, for good."""
    if not yes and not dry_run:
        typer.confirm("Destroy its values? Nothing brings them back.", abort=True, err=True)
    _after(secret_id, "POST", "destroy", {"why": reason}, dry_run)


@secret.command("grant")
def secret_grant(
    secret_id: str,
    attachment_id: str,
    endpoint: Annotated[str, typer.Argument(help="host:port that it may be used on")],
    dry_run: DryRun = False,
) -> None:
    """Let one attachment use a secret on one endpoint."""
    api = client()
    body = {"grantee_id": attachment_id, "endpoint": endpoint}
    value = api.change("POST", f"/v1/secrets/{named(api, secret_id)}/grants", body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"{value['attachment_id']} may use it at {value['endpoint']}", value["id"]))


@secret.command("ungrant")
def secret_ungrant(grant_id: str, dry_run: DryRun = False) -> None:
    """Take a grant back; holds for the next call at once, and within a second for one that runs."""
    client().change("DELETE", f"/v1/grants/{grant_id}", dry_run=dry_run)
    if not show({"would": {"revoke": grant_id}} if dry_run else {"revoked": grant_id}):
        output.text(_tried(dry_run, "the grant is over", grant_id))


@secret.command("leases")
def secret_leases(
    secret_id: Annotated[str, typer.Argument(help="its id or its name")],
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """Who had a secret, when, for which call and endpoint. Never the value."""
    api = client()
    value = api.get(f"/v1/secrets/{named(api, secret_id)}/leases", limit=limit)
    if not show(value):
        columns = [
            "issued_at",
            "pack",
            "tool",
            "endpoint",
            "secret_version",
            "used_count",
            "originating_person",
            "invocation_id",
        ]
        output.table(value["items"], columns, "Nobody has had it yet.")


# break-glass --------------------------------------------------------------------------------------------------------
@secret.command("ask-to-read")
def secret_ask_to_read(
    secret_id: Annotated[str, typer.Argument(help="its id or its name")],
    reason: Annotated[str, typer.Option(help="why a person has to see it: the other owner reads it")],
    minutes: Annotated[int, typer.Option(min=1, max=60, help="for how long after the consent")] = 10,
    dry_run: DryRun = False,
) -> None:
    """Ask another owner to let you read one value, once. Nothing is shown yet."""
    api = client()
    path = f"/v1/secrets/{named(api, secret_id)}/readings"
    value = api.change("POST", path, {"why": reason, "minutes": minutes}, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"waits for approval {value['approval_id']}", value["id"]))


@secret.command("read")
def secret_read(reading_id: Annotated[str, typer.Argument(help="srd_…, which another owner agreed to")]) -> None:
    """Print the value of a secret: once, to whom it was agreed. It is on your screen then, and in its scroll-back."""
    value = client().post(f"/v1/secret-readings/{reading_id}/read")
    if not show(value):
        print(value["value"])


@secret.command("readings")
def secret_readings(secret_id: Annotated[str, typer.Argument(help="its id or its name")]) -> None:
    """Who read its value, or asked to, and why."""
    api = client()
    value = api.get(f"/v1/secrets/{named(api, secret_id)}/readings")
    if not show(value):
        columns = ["id", "state", "reason", "opened_by", "why", "until", "read_at"]
        output.table(value["items"], columns, "Nobody has asked to read it.")


# keys ---------------------------------------------------------------------------------------------------------------
@treasury.command("status")
def treasury_status() -> None:
    """Whether the treasury is sealed, and by which master key it is kept (operators only)."""
    _say_treasury(client().get("/v1/deployment/treasury"))


@treasury.command("seal")
def treasury_seal(
    reason: Annotated[str, typer.Option(help="why: whoever is refused reads it")], dry_run: DryRun = False
) -> None:
    """Seal the treasury: from now on no value leaves it, in any process (operators only)."""
    _seal(True, reason, dry_run)


@treasury.command("unseal")
def treasury_unseal(reason: Why = "it is over", dry_run: DryRun = False) -> None:
    """Unseal the treasury (operators only)."""
    _seal(False, reason, dry_run)


@treasury.command("rotate-master-key")
def treasury_rotate_master() -> None:
    """Wrap every tenant's keys under a new master key, without an interruption; goes on where it was (operators only)."""
    api = client()
    while True:
        value = api.post("/v1/deployment/treasury/rotate-master-key")
        if not value["finished"]:
            output.talk.print(
                f"{value['under']} keys are under {value['next_master_key_id']}, {value['left']} are left"
            )
            continue
        if not show(value):
            output.text(
                f"{value['under']} keys of {value['tenants']} tenants are under {value['next_master_key_id'] or value['master_key_id']}"
            )
            if value["root"]:
                output.text(
                    "Set WORKA_TREASURY__MASTER_KEY to the next key, a space, and this, then unset the next one:"
                )
                output.text(value["root"])
        return


@treasury.command("key")
def treasury_key() -> None:
    """The tenant's data keys, and how far a rotation is."""
    api = client()
    value = api.get(api.ws("/data-key"))
    if not show(value):
        output.record(value)


@treasury.command("rotate-key")
def treasury_rotate_key(dry_run: DryRun = False) -> None:
    """Give the tenant a new data key and seal its secrets anew, without an interruption; goes on where it was."""
    api = client()
    while True:
        value = api.change("POST", api.ws("/data-key/rotate"), dry_run=dry_run)
        if dry_run or not value["left"]:
            break
        output.talk.print(f"{value['left']} values are left")
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"data key {value['version']} is in force", f"{value['left']} values are left;"))


@treasury.command("destroy-keys")
def treasury_destroy_keys(
    reason: Why = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    dry_run: DryRun = False,
) -> None:
    """Ask another owner to consent to the destruction of the tenant's data keys: nothing brings back what they sealed."""
    if not reason and not dry_run:
        raise typer.BadParameter("--reason is needed: the other owner reads it")
    api = client()
    seen = api.get(api.ws("/key-destruction-preview"))
    if not dry_run and not yes:
        output.talk.print(output.escape(seen["sentence"]))
        typer.confirm("Ask for it?", abort=True, err=True)
    body = {"why": reason or "a dry run", "digest": seen["digest"]}
    value = api.change("POST", api.ws("/key-destructions"), body, dry_run=dry_run)
    if not show({"would": value, "reach": seen} if dry_run else value):
        if dry_run:
            output.text(seen["sentence"])
        output.text(_tried(dry_run, f"waits for approval {value['approval_id']}", value["id"]))


def _seal(sealed: bool, reason: str, dry_run: bool) -> None:
    body = {"sealed": sealed, "why": reason}
    value = client().change("POST", "/v1/deployment/treasury/seal", body, dry_run=dry_run)
    if dry_run and not show({"would": value}):
        output.text("dry run: nothing was changed")
    elif not dry_run:
        _say_treasury(value)


def _say_treasury(value: dict[str, Any]) -> None:
    if show(value):
        return
    output.text(f"sealed by {value['by']} at {value['at']}: {value['why']}" if value["sealed"] else "not sealed")
    output.text(
        f"master key {value['master_key_id']}: {value['under']} keys of {value['tenants']} tenants, {value['left']} left over"
    )
    if value["next_master_key_id"]:
        output.text(f"a rotation to {value['next_master_key_id']} is under way: worka treasury rotate-master-key")


def _value(generate: bool) -> dict[str, str]:
    return {} if generate else {"value": asked("Value", hidden=True, twice=True)}


def _dates(body: dict[str, Any], expires: str, rotate_days: int) -> dict[str, Any]:
    return body | ({"expires_at": expires} if expires else {}) | ({"rotate_days": rotate_days} if rotate_days else {})


def _after(secret_id: str, method: str, verb: str, body: Any, dry_run: bool) -> None:
    api = client()
    value = api.change(method, f"/v1/secrets/{named(api, secret_id)}/{verb}", body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"{value['name']}  {value['state']}  version {value['version']}", value["id"]))


def _tried(dry_run: bool, said: str, some_id: str) -> str:
    return f"dry run: would be {said}; nothing was changed" if dry_run else f"{some_id}  {said}"


def _say(value: dict[str, Any]) -> None:
    output.record(value, skip=("grants", "connections"))
    for row in value["connections"]:
        output.text(f"  connection {row['id']} {row['name']} at {row['host']}:{row['port']} ({row['state']})")
    for row in value["grants"]:
        output.text(f"  grant {row['id']} {row['pack']} at {row['endpoint']}")
    if not value["grants"]:
        output.text("  nobody may use it: it has no grant")


def _say_dependants(value: dict[str, Any], err: bool = False) -> None:
    place = output.talk if err else output.out
    place.print(output.escape(value["sentence"]))
    for row in value["items"]:
        at = f" at {row['place']}" if row["place"] else ""
        uses = f", {row['uses']} uses in 30 days" if row["what"] == "attachment" else ""
        place.print(
            f"  {row['what'].replace('_', ' ')} {row['id']} {output.escape(row['name'])}{at} ({row['state']}{uses})"
        )
