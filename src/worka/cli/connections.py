"""`worka connection`: what this workspace needs outside, connecting it, seeing whose account is used, renewing and ending it. A
client's secret is read from a terminal or from standard input, and no token is ever printed."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import asked, client, show

connection = typer.Typer(
    no_args_is_help=True, help="Connections: the accounts at outside systems that packs of this workspace act with."
)
DryRun = Annotated[bool, typer.Option(help="do all of it and undo it: refused and answered as it would be")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Id = Annotated[str, typer.Argument(help="its id or its name")]


def named(api: Client, given: str) -> str:
    """The id of a connection that was named by its id or by its name in this workspace; of several, the newest."""
    if given.startswith("conn_"):
        return given
    rows = [row for row in api.pages(api.ws("/connections"), most=1000) if row["name"] == given]
    living = [row for row in rows if row["state"] not in ("revoked", "rejected")]
    return str((living or rows)[0]["id"]) if rows else given


@connection.command("list")
def connection_list(limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The workspace's connections: which system, whose account, in which state, until when."""
    api = client()
    value = api.get(api.ws("/connections"), limit=limit)
    if not show(value):
        rows = [
            {
                **row,
                "at": f"{row['host']}:{row['port']}",
                "account": row["account"].get("name") or "-",
                "whose": row["person_id"] or "the workspace's",
                "expires": row["expires_at"] or "-",
            }
            for row in value["items"]
        ]
        columns = ["id", "name", "provider", "at", "state", "reason", "account", "whose", "expires"]
        output.table(rows, columns, "Nothing is connected: `worka connection needs` lists what packs here need.")


@connection.command("needs")
def connection_needs() -> None:
    """What the packs and tasks of this workspace need outside, those that wait first."""
    api = client()
    value = api.get(api.ws("/connection-needs"))
    if not show(value):
        rows = [
            {
                **row,
                "packs": ", ".join(item["pack"] for item in row["attachments"]),
                "tasks": len(row["tasks"]),
                "scopes": " ".join(row["scopes"]) or "-",
                "state": row["reason"].replace("_", " ") or "connected",
                "allowed": "yes" if row["allowed"] else "no",
            }
            for row in value["items"]
        ]
        columns = ["provider", "endpoint", "state", "packs", "tasks", "scopes", "required", "allowed"]
        output.table(rows, columns, "No pack here needs a connection.")


@connection.command("providers")
def connection_providers() -> None:
    """The outside systems of the catalogue: how each is connected, and whether it may be here."""
    api = client()
    value = api.get(api.ws("/providers"))
    if not show(value):
        rows = [
            {
                **row,
                "kinds": " ".join(row["kinds"]),
                "hosts": " ".join(row["hosts"]),
                "allowed": "yes" if row["allowed"] else row["because"],
                "client": row["client_id"] or "-",
            }
            for row in value["items"]
        ]
        output.table(
            rows, ["name", "words", "kinds", "hosts", "client", "origin", "allowed"], "The catalogue is empty."
        )


@connection.command("show")
def connection_show(connection_id: Id) -> None:
    """One connection: whose account, its scopes asked for, granted and used, and the last calls with it."""
    api = client()
    found = named(api, connection_id)
    value = api.get(f"/v1/connections/{found}")
    used = api.get(f"/v1/connections/{found}/uses")
    if show({"connection": value, "uses": used}):
        return
    output.record(value, skip=("receipt", "problem", "asked_by", "scopes", "granted"))
    for row in used["scopes"]:
        seen = "not known" if row["used"] is None else f"used, last {row['last']}" if row["used"] else "not used"
        got = "granted" if row["granted"] else "not granted"
        output.text(f"  scope {row['scope']}: {row['words']} ({got}, {seen} in {used['days']} days)")
    for row in used["calls"][:10]:
        output.text(f"  call {row['invocation_id']} {row['tool']} for {row['person']} at {row['at']}")
    if value["problem"]:
        output.text(f"  last problem: {value['problem']['detail']} ({value['problem']['at']})")
    if value["receipt"]:
        _say_receipt(value["receipt"])


@connection.command("create")
def connection_create(
    provider: Annotated[str, typer.Argument(help="which outside system: `worka connection providers`")],
    name: Annotated[str, typer.Option(help="what people call it")] = "",
    how: Annotated[str, typer.Option("--kind", help="token, oauth_code, oauth_device or oauth_client")] = "token",
    host: Annotated[str, typer.Option(help="where; the provider's own host where the catalogue has it")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 443,
    access: Annotated[str, typer.Option(help="for what access, in words a person reads")] = "",
    why: Annotated[str, typer.Option(help="why: who approves reads it")] = "",
    secret: Annotated[str, typer.Option(help="the secret behind a connection by token: its id")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="of those that packs here declare; without any, all")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, such as subdomain=acme")] = None,
    own: Annotated[
        bool, typer.Option("--own", help="your own account: only calls that are made for you use it")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Ask for a connection (6: an approval or your consent at the provider is waited for)."""
    api = client()
    body: dict[str, Any] = {
        "provider": provider, "name": name or provider, "kind": how, "host": host, "port": port,
        "access": access or f"what the packs here need of {provider}", "why": why, "own": own,
        "metadata": _pairs(metadata), **({"secret_id": secret} if secret else {}), **({"scopes": scope} if scope else {}),
    }  # fmt: skip
    value = api.change("POST", api.ws("/connections"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"{value['name']}  {value['state'].replace('_', ' ')}", value["id"]))
        if not dry_run and value["state"] == "awaiting_consent" and how != "oauth_client":
            output.text(f"next: worka connection authorize {value['id']}")
    raise typer.Exit(0 if dry_run or value["state"] == "active" else 6)


def _pairs(given: list[str] | None) -> dict[str, str]:
    if wrong := [item for item in given or [] if "=" not in item]:
        raise typer.BadParameter(f"--metadata {wrong[0]} is not NAME=VALUE")
    return dict(item.split("=", 1) for item in given or [])


@connection.command("authorize")
def connection_authorize(
    connection_id: Id,
    device: Annotated[bool, typer.Option("--device", help="type a code in on another device")] = False,
) -> None:
    """Consent at the provider, or consent again: says where to go, and what is agreed to there."""
    api = client()
    found = named(api, connection_id)
    row = api.get(f"/v1/connections/{found}")
    how = "device" if device or row["kind"] == "oauth_device" else "code"
    value = api.post(f"/v1/connections/{found}/authorize", {"how": how})
    if show(value):
        return
    output.text(f"{value['words']} will ask whether this workspace may, at {value['host']}:")
    for words in value["scopes"].values():
        output.text(f"  {words}")
    if how == "device":
        output.text(f"Open {value['verification_uri']} and type in {value['user_code']}, by {value['expires_at']}.")
        output.text("The platform notices by itself when you have.")
        return
    output.text(f"Open this by {value['expires_at']}, in this session and by yourself:")
    output.text(value["url"])
    output.text("Then give the address that it sends you back to: worka connection finish")


@connection.command("finish")
def connection_finish() -> None:
    """End a consent that was begun with `worka connection authorize`: asks for the whole address that the provider sent you
    back to, on a terminal or standard input (it holds a code, which no command line should)."""
    api = client()
    api.get("/v1/me")  # nobody gives a code to a Worka that does not answer, or does not know them
    text = asked("Address", hidden=True)
    words = dict(parse_qsl(urlsplit(text).query))
    if "state" not in words:
        raise typer.BadParameter("the address has no state: copy all of it")
    body = {key: words[key] for key in ("state", "code", "iss", "error") if key in words}
    place = words["state"].partition(".")[0]
    value = api.post(f"/v1/workspaces/{place}/consent-answers", body)
    if not show(value):
        said = f": {value['said']}" if value["said"] else ""
        output.text(f"{value['id']}  {value['name']}  {value['state']}  {value['outcome'].replace('_', ' ')}{said}")
    raise typer.Exit(0 if value["outcome"] == "connected" else 1)


@connection.command("renew")
def connection_renew(connection_id: Id) -> None:
    """Renew a connection's credential now; says whether a new one came."""
    api = client()
    value = api.post(f"/v1/connections/{named(api, connection_id)}/renew")
    if not show(value):
        row = value["connection"]
        output.text(f"{row['id']}  {value['outcome'].replace('_', ' ')}  {row['state']}  until {row['expires_at']}")
    raise typer.Exit(0 if value["outcome"] in ("renewed", "held") else 1)


@connection.command("remove")
def connection_remove(
    connection_id: Id,
    reason: Annotated[str, typer.Option(help="why: the receipt has it")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """End a connection with its grants and tokens, after a look at what that stops; the provider is told."""
    api = client()
    found = named(api, connection_id)
    reach = api.get(f"/v1/connections/{found}/reach")
    if not yes and not dry_run:
        output.talk.print(output.escape(reach["sentence"]))
        typer.confirm("End it?", abort=True, err=True)
    value = api.change("POST", f"/v1/connections/{found}/remove", {"why": reason}, dry_run=dry_run)
    if not show({"would": value, "reach": reach} if dry_run else value):
        if dry_run:
            output.text(reach["sentence"])
        output.text(_tried(dry_run, f"{value['name']}  {value['state']}", value["id"]))
        if not dry_run:
            _say_receipt(value["receipt"])


@connection.command("reach")
def connection_reach(connection_id: Id) -> None:
    """What ending a connection would stop, and whether the provider can be told."""
    api = client()
    value = api.get(f"/v1/connections/{named(api, connection_id)}/reach")
    if not show(value):
        output.text(value["sentence"])
        for row in value["items"]:
            output.text(f"  {row['what']} {row['id']} {row['name']} ({row['state']})")
        output.text(f"the provider: {value['provider'].replace('_', ' ')}")


# clients at providers -----------------------------------------------------------------------------------------------
@connection.command("clients")
def connection_clients() -> None:
    """What this workspace is registered as at providers."""
    api = client()
    value = api.get(api.ws("/provider-clients"))
    if not show(value):
        columns = ["id", "provider", "client_id", "created_by", "created_at"]
        output.table(
            value["items"], columns, "It is registered nowhere: `worka connection register PROVIDER CLIENT_ID`."
        )


@connection.command("register")
def connection_register(
    provider: str,
    client_id: Annotated[str, typer.Argument(help="the client's id, as the provider gave it")],
    public: Annotated[bool, typer.Option("--public", help="the client has no secret")] = False,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, such as subdomain=acme")] = None,
    dry_run: DryRun = False,
) -> None:
    """Register the client that this workspace is at a provider; its secret is asked for, and goes into the treasury."""
    api = client()
    body: dict[str, Any] = {"provider": provider, "client_id": client_id, "metadata": _pairs(metadata)}
    if not public:
        body["secret"] = asked("Client secret", hidden=True)
    value = api.change("POST", api.ws("/provider-clients"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"client {value['client_id']} at {value['provider']}", value["id"]))


@connection.command("unregister")
def connection_unregister(client_ref: Annotated[str, typer.Argument(help="pcl_…")], dry_run: DryRun = False) -> None:
    """Take a client back, once no connection stands on it."""
    value = client().change("DELETE", f"/v1/provider-clients/{client_ref}", dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(_tried(dry_run, f"no client at {value['provider']} any more", value["id"]))


# the operator's word ------------------------------------------------------------------------------------------------
@connection.command("restrictions")
def connection_restrictions(tenant: str) -> None:
    """Which outside systems a tenant may connect, who says so, and what it has connected (operators only)."""
    _say_restriction(client().get("/v1/deployment/provider-restriction", tenant_id=tenant))


@connection.command("restrict")
def connection_restrict(
    tenant: str,
    reason: Annotated[str, typer.Option(help="why: whoever is held back by it reads it")],
    allow: Annotated[list[str] | None, typer.Option(help="a provider that may be connected; none: nothing may")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="no restriction any more")] = False,
    dry_run: DryRun = False,
) -> None:
    """Restrict which outside systems a tenant may connect; what is connected stays (operators only)."""
    if lift and allow:
        raise typer.BadParameter("--lift takes the restriction away, and names nothing to allow")
    body = {"tenant_id": tenant, "providers": None if lift else allow or [], "reason": reason}
    value = client().change("PUT", "/v1/deployment/provider-restriction", body, dry_run=dry_run)
    if dry_run and not show({"would": value}):
        output.text("dry run: nothing was changed")
    elif not dry_run:
        _say_restriction(value)


def _say_restriction(value: dict[str, Any]) -> None:
    if show(value):
        return
    allowed = "everything" if value["providers"] is None else ", ".join(value["providers"]) or "nothing"
    output.text(f"{value['tenant_id']} may connect {allowed}" + (f": {value['reason']}" if value["reason"] else ""))
    for row in value["connected"]:
        more = "" if row["allowed"] else ", no more may be"
        output.text(f"  {row['count']} connected to {row['provider']}{more}")


def _say_receipt(receipt: dict[str, Any]) -> None:
    output.text(
        f"  ended by {receipt['by_name'] or receipt['by']}: {receipt['grants']} grants, {len(receipt['items'])} things stood on it"
    )
    detail = f" ({receipt['provider']['detail']})" if receipt["provider"].get("detail") else ""
    output.text(f"  the provider: {receipt['provider']['state'].replace('_', ' ')}{detail}")


def _tried(dry_run: bool, said: str, some_id: str) -> str:
    return f"dry run: would be {said}; nothing was changed" if dry_run else f"{some_id}  {said}"
