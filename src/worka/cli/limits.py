"""`worka limits`: how much a tenant, a workspace or a member may use, how much is in use, and setting it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.people import someone
from worka.cli.shell import client, show

limits = typer.Typer(
    no_args_is_help=True, help="Limits: rates and quotas per tenant, workspace and member, with their use."
)
Scope = Annotated[str, typer.Option(help="what is counted: tenant, workspace or member (of a workspace)")]
Layer = Annotated[str, typer.Option(help="who is bound: workspace (this one), or tenant (by an owner of all of it)")]
Member = Annotated[str, typer.Option(help="one member of this workspace, by id, name or e-mail; without it each")]
Here = Annotated[bool, typer.Option("--here", help="with --layer tenant --scope workspace: this one, not each")]
Deployment = Annotated[bool, typer.Option("--deployment", help="as the operator: every tenant, workspace or member")]
Tenant = Annotated[str, typer.Option(help="with --deployment: one tenant")]
Reason = Annotated[str, typer.Option(help="why: whoever is held back by it reads it")]
Revision = Annotated[
    int | None, typer.Option(min=0, help="only if it is at this revision; 0: only if it was never set")
]
DryRun = Annotated[
    bool,
    typer.Option(help="say what it would do and who would be over it; set nothing"),
]


@limits.command("show")
def limits_show(
    member: Annotated[
        str, typer.Option(help="what holds for this member, by id, name or e-mail; default: yourself")
    ] = "",
    deployment: Deployment = False,
) -> None:
    """Every limit that holds here: how much, how much is in use, who set it and why."""
    api = client()
    if deployment:
        value = api.get("/v1/deployment/limits")
        if not show(value):
            columns = ["name", "scope", "value", "revision", "set_by_name", "reason"]
            output.table(value["items"], columns, "The deployment sets no limit.")
        return
    value = api.get(api.ws("/limits"), **({"member": someone(api, member)} if member else {}))
    if show(value):
        return
    rows = [
        {
            "limit": item["name"],
            "of": item["scope"],
            "use": item["use"],
            "most": "none set" if item["limit"] is None else item["limit"],
            "window": f"{item['window_seconds']} s" if item["window_seconds"] else "at once",
            "from": _source(item["source"]),
        }
        for item in value["items"]
    ]
    output.table(rows, ["limit", "of", "use", "most", "window", "from"], "There is nothing that could be limited.")


def _source(source: dict[str, Any] | None) -> str:
    if source is None:
        return ""
    return f"{source['layer']}, revision {source['revision']}, by {source['set_by_name'] or source['set_by']}: {source['reason']}"


@limits.command("set")
def limits_set(
    name: Annotated[str, typer.Argument(help="which limit; `worka limits show` lists them")],
    value: Annotated[int, typer.Argument(min=0, help="the most")],
    scope: Scope = "",
    layer: Layer = "workspace",
    member: Member = "",
    here: Here = False,
    deployment: Deployment = False,
    tenant: Tenant = "",
    reason: Reason = "",
    revision: Revision = None,
    dry_run: DryRun = False,
) -> None:
    """Set a limit, from the next request on. A layer can only tighten what the one above it left."""
    _set(name, value, scope, layer, member, here, deployment, tenant, reason, revision, dry_run)


@limits.command("clear")
def limits_clear(
    name: Annotated[str, typer.Argument(help="which limit; `worka limits show` lists them")],
    scope: Scope = "",
    layer: Layer = "workspace",
    member: Member = "",
    here: Here = False,
    deployment: Deployment = False,
    tenant: Tenant = "",
    reason: Reason = "",
    revision: Revision = None,
    dry_run: DryRun = False,
) -> None:
    """Take a setting of a limit away; those of the other layers hold on."""
    _set(name, None, scope, layer, member, here, deployment, tenant, reason, revision, dry_run)


def _set(
    name: str,
    value: int | None,
    scope: str,
    layer: str,
    member: str,
    here: bool,
    deployment: bool,
    tenant: str,
    reason: str,
    revision: int | None,
    dry_run: bool,
) -> None:
    scope = scope or ("member" if member else "tenant" if deployment or layer == "tenant" else "workspace")
    if scope not in ("tenant", "workspace", "member"):
        raise typer.BadParameter(f"--scope {scope} is not one of tenant, workspace, member")
    if layer not in ("tenant", "workspace"):
        raise typer.BadParameter(f"--layer {layer} is not one of tenant, workspace")
    if tenant and not deployment:
        raise typer.BadParameter("--tenant is for the operator: it goes with --deployment")
    if not reason and not dry_run:
        raise typer.BadParameter("--reason is needed: whoever is held back by the limit reads it")
    api = client()
    if deployment:
        wish: dict[str, Any] = {"tenant_id": tenant, "scope": scope, "name": name, "value": value, "revision": revision}
        if dry_run:
            # Refused as setting it would be; then who would be over it.
            api.change("POST", "/v1/deployment/limits", {**wish, "reason": reason or "a dry run"}, dry_run=True)
            _say_deployment(api.get("/v1/deployment/limits"), wish, *_over(api, wish))
            return
        made = api.post("/v1/deployment/limits", {**wish, "reason": reason})
    else:
        member = someone(api, member) if member else ""
        wish = {
            "layer": layer, "scope": scope, "name": name, "value": value, "member_id": member, "here": here,
            "revision": revision,
        }  # fmt: skip
        if dry_run:
            _say_preview(api.post(api.ws("/limit-previews"), wish))
            return
        made = api.post(api.ws("/limits"), {**wish, "reason": reason})
    if not show(made):
        most = "no limit" if made["value"] is None else f"at most {made['value']}"
        output.text(f"{made['name']} of the {made['scope']}: {most} ({made['layer']}, revision {made['revision']})")


def _say_preview(value: dict[str, Any]) -> None:
    if show(value):
        return
    output.text(value["sentence"])
    for row in value["over"]:
        output.text(f"  {row['scope']} {row['id']}: {row['use']} in use")
    if value["before"]:
        output.text(f"  now: {value['before']['value']} (revision {value['before']['revision']})")
    output.text("dry run: nothing was set")


NOT_SAID = ("what is set for one tenant by itself: only what holds for every tenant is listed",)
"""What a dry run of a deployment's limit leaves open, in its own answer."""


def _over(api: Client, wish: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The tenants that would be over it, and how many were looked at: every one."""
    body = {key: wish[key] for key in ("tenant_id", "scope", "name", "value")}
    found: list[dict[str, Any]] = []
    looked_at, cursor = 0, None
    while True:
        page = api.post("/v1/deployment/limit-previews", body, cursor=cursor, limit=200)
        found += page["items"]
        looked_at += page["tenants"]
        cursor = page["next"]
        if cursor is None:
            return found, looked_at


def _say_deployment(known: dict[str, Any], wish: dict[str, Any], over: list[dict[str, Any]], looked_at: int) -> None:
    before = [row for row in known["items"] if (row["name"], row["scope"]) == (wish["name"], wish["scope"])]
    if show({"would": wish, "before": before, "over": over, "tenants": looked_at, "not_said": NOT_SAID}):
        return
    whose = f"the tenant {wish['tenant_id']}" if wish["tenant_id"] else "every tenant"
    what = f"{wish['name']} per {wish['scope']}, for {whose}"
    if wish["value"] is None:
        output.text(f"would clear {what}; what the other layers set holds on")
    else:
        output.text(f"would set {what}: at most {wish['value']}; over it now: {len(over)} of {looked_at} tenants")
    for row in over:
        counted = "" if wish["scope"] == "tenant" else f", {row['over']} {wish['scope']}s over it"
        output.text(f"  {row['tenant_id']}: {row['use']} in use{counted}")
    for row in before:
        output.text(f"  now, for every tenant: {row['value']} (revision {row['revision']}): {row['reason']}")
    output.text(f"not said here: {'; '.join(NOT_SAID)}")
    output.text("dry run: nothing was set")


workspace = typer.Typer(no_args_is_help=True, help="The workspace: who answers for what in it.")


@workspace.command("roles")
def workspace_roles() -> None:
    """Who owns it, approves capabilities, manages connections, reviews publications and acts by itself, and why."""
    api = client()
    value = api.get(api.ws("/roles"))
    if show(value):
        return
    rows = [
        {
            "role": role["role"].replace("_", " "),
            "who": holder["name"],
            "id": holder["id"],
            "by": holder["role"] + (", named approver" if holder["approver"] else ""),
            "tools": ", ".join(holder["tools"]),
            "permitted by": ", ".join(holder["permitted_by"]),
        }
        for role in value["roles"]
        for holder in role["holders"]
    ]
    output.table(rows, ["role", "who", "id", "by", "tools", "permitted by"], "Nobody has a role here.")
