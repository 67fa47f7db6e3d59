"""`worka policy`: what policy holds, its change, files of it, dry runs, and break-glass on the machine."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import deployment, output
from worka.cli.client import Client, Failed
from worka.cli.people import someone
from worka.cli.shell import client, show

policy = typer.Typer(no_args_is_help=True, help="Policies: what is asked about and refused, beside the shipped floor.")
KINDS = ("access", "governance")
SCOPES = {"tenant": "/policies", "workspace": "/workspace-policies"}
DEPLOYMENT = "/v1/deployment/policies"
Scope = Annotated[
    str, typer.Option(help="tenant; workspace: this one's own; deployment: the operator's, over all tenants")
]
Kind = Annotated[str, typer.Argument(help="access or governance")]


def _path(api: Client, scope: str, rest: str = "") -> str:
    if scope == "deployment":
        return DEPLOYMENT + rest
    if scope not in SCOPES:
        raise typer.BadParameter(f"--scope {scope} is not one of tenant, workspace, deployment")
    return api.ws(SCOPES[scope] + rest)


def _kind(name: str) -> str:
    if name not in KINDS:
        raise typer.BadParameter(f"{name} is not one of access, governance")
    return name


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Failed(
            {"title": "This is no text", "detail": f"{path}: {error}", "remedy": "Save it as UTF-8."}, 2
        ) from error


@policy.command("list")
def policy_list(scope: Scope = "tenant", limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """What holds in this workspace, layer by layer, and the versions of a place; of the deployment the versions alone."""
    api = client()
    value = {
        "layers": [] if scope == "deployment" else api.get(api.ws("/policy-layers"))["items"],
        "versions": api.pages(_path(api, scope), most=limit),
    }
    if not show(value):
        rows = [{**row, "statements": len(_statements(row["text"]))} for row in value["layers"]]
        if scope != "deployment":
            output.table(rows, ["kind", "layer", "name", "statements", "in_force", "note"], "Nothing holds.")
        for row in rows:
            if row.get("break_glass"):
                glass = row["break_glass"]
                output.text(
                    f"! break-glass: the {row['layer']}'s {row['kind']} policy is set aside until {glass['until']}"
                    f" by {glass['opened_by']}: {glass['reason']}"
                )
        output.table(
            value["versions"],
            ["kind", "version", "note", "created_by", "approved_by", "created_at"],
            f"The {scope} has no policy of its own yet: the floor alone.",
        )


def _statements(text: str) -> list[str]:
    from worka.governance.statements import split

    return [entry.text for entry in split(text)]


@policy.command("show")
def policy_show(
    kind: Kind,
    scope: Annotated[str, typer.Option(help="tenant, workspace, deployment or floor")] = "tenant",
    version: Annotated[int | None, typer.Option(help="default: the newest")] = None,
) -> None:
    """The text of a policy, as it was saved."""
    api = client()
    value = _one(api, _kind(kind), scope, version)
    if not show(value):
        output.text(value["text"].removesuffix("\n"))


def _one(api: Client, kind: str, scope: str, version: int | None) -> Any:
    # The deployment's own road is its operator's; everybody else sees what holds of it among the layers here.
    if scope == "floor" or (scope == "deployment" and version is None and not api.get("/v1/me")["operator"]):
        rows = [
            row for row in api.get(api.ws("/policy-layers"))["items"] if (row["kind"], row["layer"]) == (kind, scope)
        ]
        return rows[0] if rows else {"kind": kind, "layer": scope, "version": 0, "text": ""}
    return api.get(_path(api, scope, f"/{kind}" + ("" if version is None else f"/{version}")))


@policy.command("diff")
def policy_diff(
    kind: Kind,
    old: Annotated[int | None, typer.Option("--from", help="default: the one before")] = None,
    new: Annotated[int | None, typer.Option("--to", help="default: the newest")] = None,
    file: Annotated[Path | None, typer.Option(help="compare the newest with this file instead")] = None,
    scope: Scope = "tenant",
) -> None:
    """How two versions differ, or a file from the newest. Exit code 1: they differ."""
    api = client()
    after = _one(api, _kind(kind), scope, new)
    if file is not None:
        before, after = after, {"version": str(file), "text": _read(file)}
    else:
        before = _one(api, kind, scope, max(after["version"] - 1, 0) if old is None else old)
    lines = list(
        difflib.unified_diff(
            before["text"].splitlines(),
            after["text"].splitlines(),
            f"{kind} {before['version']}",
            f"{kind} {after['version']}",
            lineterm="",
        )
    )
    if not show({"from": before["version"], "to": after["version"], "difference": lines}):
        output.text("\n".join(lines) or "no difference")
    raise typer.Exit(1 if lines else 0)


@policy.command("check")
def policy_check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    kind: Annotated[str, typer.Option(help="access or governance; default: the file's name")] = "",
    scope: Scope = "tenant",
) -> None:
    """What saving this file would say and do, without saving it."""
    api = client()
    value = _check(api, _named(file, kind), _read(file), scope)
    if not show(value):
        _say_check(value)
    raise typer.Exit(0 if value["ok"] else 1)


def _named(file: Path, kind: str) -> str:
    """The kind that is meant: said, or the file's name (access.cedar, governance.cedar)."""
    if kind:
        return _kind(kind)
    if file.stem in KINDS:
        return file.stem
    raise typer.BadParameter(f"{file.name} does not say whether it is access or governance: pass --kind")


def _check(api: Client, kind: str, text: str, scope: str) -> Any:
    _path(api, scope)
    if scope == "deployment":
        return api.post("/v1/deployment/policy-checks", {"kind": kind, "text": text})
    return api.post(api.ws("/policy-checks"), {"kind": kind, "text": text, "scope": scope})


def _say_check(value: dict[str, Any]) -> None:
    for fault in value["faults"]:
        output.text(f"statement {fault['statement']}, line {fault['line']}: {fault['message']}")
    output.text("\n".join(value["difference"]))
    for warning in value.get("warnings") or []:
        output.text(warning)
    where = {"": "tenant", "*": "deployment"}.get(value["scope"], "workspace")
    output.text(
        f"saving it as version {value['base_version'] + 1} of the {where}'s {value['kind']} policy would {value['would']}"
    )


@policy.command("save")
def policy_save(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    kind: Annotated[str, typer.Option(help="access or governance; default: the file's name")] = "",
    note: Annotated[str, typer.Option(help="why, for those who read it later")] = "",
    scope: Scope = "tenant",
    dry_run: Annotated[bool, typer.Option(help="say what it would do, and save nothing")] = False,
) -> None:
    """Change a policy (6: it waits for a second person's approval). The deployment's holds at once: it has one operator."""
    api = client()
    which, text = _named(file, kind), _read(file)
    if dry_run:
        value = _check(api, which, text, scope)
        if value["ok"]:  # a check is for whoever may read: that saving is refused, only the save itself says
            api.change("POST", _path(api, scope), {"kind": which, "text": text, "note": note}, dry_run=True)
        if not show(value):
            _say_check(value)
            output.text("dry run: nothing was saved; worka policy dry-run says what it would have decided")
        raise typer.Exit(0 if value["ok"] else 1)
    value = api.post(_path(api, scope), {"kind": which, "text": text, "note": note})
    if not show(value):
        _say_saved(value)
    raise typer.Exit(0 if value["state"] == "in_force" else 6)


def _say_saved(value: dict[str, Any]) -> None:
    if value["state"] == "in_force":
        output.text(f"version {value['version']} of the {value['kind']} policy is in force")
    else:
        output.text(
            f"{value['id']} waits for a second person: worka approvals approve {value['approval_id']}"
            f" (version {value['base_version']} stays in force until then)"
        )


@policy.command("proposals")
def policy_proposals(
    proposal_id: Annotated[str | None, typer.Argument(help="one of them, with its difference")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """Changes of policy that wait, or waited, for a second person."""
    api = client()
    if proposal_id is not None:
        value = api.get(f"/v1/policy-proposals/{proposal_id}")
        if not show(value):
            output.record(value, skip=("text", "difference"))
            output.text("\n".join(value["difference"]))
        return
    value = api.get(api.ws("/policy-proposals"), limit=limit)
    if not show(value):
        columns = ["id", "kind", "state", "outcome", "base_version", "version", "approval_id", "note"]
        output.table(value["items"], columns, "No change was proposed here.")


@policy.command("export")
def policy_export(
    folder: Path, scope: Annotated[str, typer.Option(help="deployment: the operator's own policy alone")] = ""
) -> None:
    """Write what holds here as files: tenant/ and workspace/ can be imported; floor/ and deployment/ are there to read.
    With --scope deployment its operator writes deployment/, to be imported."""
    if scope not in ("", "deployment"):
        raise typer.BadParameter(f"--scope {scope}: deployment, or leave it out for all that holds here")
    api = client()
    written = []
    for row in _newest(api) if scope else api.get(api.ws("/policy-layers"))["items"]:
        path = folder / row["layer"] / f"{row['kind']}.cedar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["text"].encode())
        written.append({"file": str(path), "version": row["name"], "bytes": path.stat().st_size})
    if not show({"items": written}):
        output.table(written, ["file", "version", "bytes"], "Nothing holds.")


def _newest(api: Client) -> list[dict[str, Any]]:
    """The deployment's newest texts, as layers."""
    found = [api.get(f"{DEPLOYMENT}/{kind}") for kind in KINDS]
    return [{**row, "layer": "deployment", "name": f"deployment.{row['version']}"} for row in found if row["version"]]


@policy.command("import")
def policy_import(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    note: Annotated[str, typer.Option(help="why, for those who read it later")] = "",
    only: Annotated[str, typer.Option("--scope", help="deployment: its operator saves deployment/ alone")] = "",
    dry_run: Annotated[bool, typer.Option(help="say what it would do, and save nothing")] = False,
) -> None:
    """Save the files of an export that differ from what holds. All are checked before the first is saved."""
    if only not in ("", "deployment"):
        raise typer.BadParameter(f"--scope {only}: deployment, or leave it out for tenant/ and workspace/")
    api = client()
    places = [only] if only else list(SCOPES)
    found = [
        (scope, kind, folder / scope / f"{kind}.cedar")
        for scope in places
        for kind in KINDS
        if (folder / scope / f"{kind}.cedar").is_file()
    ]
    if not found:
        raise Failed(
            {
                "code": "nothing_to_import",
                "title": "There is nothing to import",
                "detail": f"{folder} has no {'/ or '.join(places)}/ with access.cedar or governance.cedar",
                "remedy": "Make one with: worka policy export DIR" + (" --scope deployment" if only else ""),
            },
            2,
        )
    checks = [(scope, kind, path, _check(api, kind, _read(path), scope)) for scope, kind, path in found]
    bad = [(path, check) for _, _, path, check in checks if not check["ok"]]
    rows: list[dict[str, Any]] = []
    for scope, kind, path, check in checks:
        row = {"file": str(path), "scope": scope, "kind": kind, "would": check["would"], "state": "", "id": ""}
        if not dry_run and not bad and check["would"] != "change nothing":
            made = api.post(_path(api, scope), {"kind": kind, "text": _read(path), "note": note})
            row |= {"state": made["state"], "id": made.get("approval_id") or f"version {made['version']}"}
        rows.append(row)
    if not show(
        {"items": rows, "faults": [{"file": str(path), **fault} for path, check in bad for fault in check["faults"]]}
    ):
        output.table(rows, ["file", "would", "state", "id"], "Nothing.")
        for path, check in bad:
            for fault in check["faults"]:
                output.text(f"{path}: statement {fault['statement']}, line {fault['line']}: {fault['message']}")
        if dry_run or bad:
            output.text("nothing was saved")
    raise typer.Exit(1 if bad else 6 if any(row["state"] == "open" for row in rows) else 0)


@policy.command("dry-run")
def policy_dry_run(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False)] = None,
    kind: Annotated[str, typer.Option(help="access or governance; default: the file's name")] = "",
    scope: Scope = "tenant",
    since: Annotated[str, typer.Option(help="time (ISO 8601) or age such as 24h")] = "24h",
    member: Annotated[str, typer.Option(help="a member, by id, name or e-mail: try another role for it")] = "",
    role: Annotated[str, typer.Option(help="owner, admin, member, viewer or none, for --member")] = "",
    tenant: Annotated[
        list[str] | None, typer.Option(help="with --scope deployment: only on this tenant's record; default: on each")
    ] = None,
) -> None:
    """Which recorded decisions would have been others, under this file or with this role: all of them, each with why. For
    the deployment's policy: how many of which tenant, by action; whose they are is the tenant's to see."""
    api = client()
    if scope == "deployment":
        if file is None or member or role:
            raise typer.BadParameter("of the deployment's policy a FILE is tried, and no role")
        deployment.dry_run(api, _named(file, kind), _read(file), since, tenant or [])
        return
    if tenant:
        raise typer.BadParameter("--tenant goes with --scope deployment")
    body: dict[str, Any] = {"scope": scope}
    _path(api, scope)
    if file is not None:
        body |= {"kind": _named(file, kind), "text": _read(file)}
    if bool(member) != bool(role) or (file is None and not member):
        raise typer.BadParameter("give a FILE, or --member with --role, or both")
    if member:
        body |= {"role_of": someone(api, member), "role": role}
    from worka.governance.replay import sentence

    items: list[dict[str, Any]] = []
    warnings: list[str] = []
    window: dict[str, Any] = {"since": since}
    scanned, cursor = 0, None
    while True:
        page = api.call("POST", api.ws("/policy-dry-runs"), body, limit=200, cursor=cursor, **window)
        items += page["items"]
        warnings += page.get("warnings") or []
        scanned += page["scanned"]
        # Now fixed: the decisions of this very command, and later ones, are not in it.
        window, cursor = {"since": page["since"], "until": page["until"]}, page["next"]
        if cursor is None:
            break
    flips = [item for item in items if item["missing"] is None]
    said = sentence(flips, scanned, len(items) - len(flips), f"the time from {window['since']} to {window['until']}")
    value = {"items": items, "scanned": scanned, "sentence": said, "warnings": warnings, **window}
    if not show(value):
        output.text(said)
        for warning in warnings:
            output.text(warning)
        columns = ["decision_id", "action", "resource_id", "from", "today", "to", "why"]
        output.table([_told(item) for item in flips if not item["earlier"]], columns, "Nothing would be different.")
        if before := [_told(item) for item in flips if item["earlier"]]:
            output.text("Different since then, by changes that are in force already:")
            output.table(before, columns, "")
        for item in items:
            if item["missing"] is not None:
                output.text(f"{item['decision_id']} {item['action']}: cannot be evaluated again: {item['missing']}")


def _told(item: dict[str, Any]) -> dict[str, Any]:
    """A flip with whose consent was, is and would be asked for."""
    asked = {key: _asking(item[key], item[f"{key}_rules"]) for key in ("from", "today", "to")}
    return {**item, **asked, "why": "; ".join(item["reasons"]) or ", ".join(item["rules"])}


def _asking(verdict: str, rules: list[str]) -> str:
    """The verdict, with whose consent it asks for."""
    return f"{verdict} ({', '.join(rules)})" if verdict == "ask" and rules else verdict


policy.command("break-glass")(deployment.break_glass)
