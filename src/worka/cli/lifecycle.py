"""`worka pack` and `worka release` about what becomes of packs: lineage, users, reach, grade, contents, known
vulnerabilities, failures, and taking whole packs away. Added to the nouns of `packs` and `withdrawals`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.packs import pack
from worka.cli.shell import ReleaseName, client, named_release, show
from worka.cli.withdrawals import DryRun, Reason, Yes, release

advisories = typer.Typer(no_args_is_help=True, help="Known vulnerabilities, from a feed that you hand in.")
Name = Annotated[str, typer.Argument(metavar="PACK", help="publisher.name")]
Thing = Annotated[
    str,
    typer.Argument(metavar="THING", help="a release, also as publisher.name@version; an attachment; or publisher.name"),
]
LISTS = ("attachments", "tasks", "calls", "workflows", "views", "connections", "dependents")
BATCH, LARGEST = 1_500_000, 400_000_000
"""Bytes of one request, and of all that one file may unpack to."""


@pack.command("lineage")
def lineage(
    subject: Annotated[
        str, typer.Argument(help="publisher.pack.tool of an attached pack, an attachment or an invocation")
    ],
) -> None:
    """Of a running tool: whose, from which source, which release, attached and approved by whom, what it may do, who uses
    it, what breaks without it; then the records behind that."""
    api = client()
    value = api.get(api.ws("/lineage"), subject=subject)
    if show(value):
        return
    output.text(value["sentence"] + "\n")
    for item in value["answers"]:
        output.text(f"{item['question']}\n  {item['answer']}")
    for name in ("source", "build", "release", "attachment", "approval", "invocation", "withdrawal"):
        output.text(f"\n{name}")
        if value[name]:
            output.record(value[name], skip=("packages",))
        else:
            output.text("  none")


@pack.command("users")
def users(name: Name, limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The workspaces that use a pack, of those in which you see packs."""
    api = client()
    value = api.get(api.ws(f"/packs/{name}/users"), limit=limit)
    if not show(value):
        columns = ["id", "workspace", "workspace_id", "version", "state", "mode", "since"]
        output.table(value["items"], columns, f"No workspace that you see uses {name}.")


@pack.command("blast")
def blast(
    thing: Thing,
    svg: Annotated[Path | None, typer.Option(help="of a release: write the picture to this file")] = None,
) -> None:
    """What it can reach, and what breaks without it."""
    api = client()
    thing = named_release(api, thing) if "@" in thing else thing
    if svg is not None and not thing.startswith("rel_"):
        raise typer.BadParameter("--svg draws a release: name one by its id, or as publisher.name@version")
    value = api.get(_path(api, thing) + "/reach")
    if svg is not None:
        answer = api.send("GET", f"/v1/releases/{thing}/reach.svg")
        svg.write_text(answer.text)
    if not show(value):
        say_reach(value)
        if svg is not None:
            output.text(f"picture: {svg}")


def _path(api: Client, thing: str) -> str:
    if thing.startswith("rel_"):
        return f"/v1/releases/{thing}"
    return f"/v1/attachments/{thing}" if thing.startswith("att_") else api.ws(f"/packs/{thing}")


def say_reach(value: dict[str, Any], err: bool = False) -> None:
    """The lists of a blast radius, a line for each thing."""
    place = output.talk if err else output.out
    if "sentence" in value:
        place.print(output.escape(value["sentence"]))
    for item in value["reaches"]:
        declared = "declared" if item["declared"] else "no longer declared"
        how = f"{declared}{', ' + ' '.join(item['methods']) if item['methods'] else ''}, used {item['used']} times"
        place.print(output.escape(f"  reaches {item['host']}:{item['port']} ({how})"))
    for row in value.get("secrets") or []:
        place.print(output.escape(f"  secret {row['id']} {row['name']} ({row['state']})"))
    for name in LISTS:
        for row in value[name]:
            said = row.get("name") or f"{row['pack']} {row['version']} in {row['workspace'] or row['workspace_id']}"
            place.print(output.escape(f"  {name[:-1]} {row['id']} {said} ({row['state']})"))
    elsewhere = {name: count for name, count in (value.get("elsewhere") or {}).items() if count}
    if elsewhere:
        place.print(
            "  in workspaces that you do not see: " + ", ".join(f"{count} {name}" for name, count in elsewhere.items())
        )


@pack.command("grade")
def grade(release_id: ReleaseName) -> None:
    """How good a release is, check by check."""
    api = client()
    value = api.get(f"/v1/releases/{named_release(api, release_id)}/grade")
    if show(value):
        return
    output.text(f"{value['grade']}  {value['passed']} of {value['of']} checks hold")
    for check in value["checks"]:
        output.text(f"  {'holds ' if check['passed'] else 'broken'}  {check['name']}: {check['asks']}")
        if not check["passed"]:
            output.text(f"          {'; '.join(check['faults'])}. {check['fix']}")


@pack.command("sbom")
def sbom(
    release_id: ReleaseName,
    to: Annotated[Path | None, typer.Option(help="write it to this file; else to standard output")] = None,
) -> None:
    """What is in a release, as CycloneDX 1.6 JSON."""
    api = client()
    value = api.get(f"/v1/releases/{named_release(api, release_id)}/sbom")
    if to is not None:
        to.write_text(json.dumps(value, indent=2) + "\n")
    if not show(value):
        output.text(f"{len(value['components'])} components in {to}" if to else json.dumps(value, indent=2))


@pack.command("failures")
def failures(
    name: Annotated[
        str | None, typer.Argument(metavar="[PACK]", help="publisher.name; without one all of them")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="how far back")] = 7,
) -> None:
    """What failed, calls and registrations, by reason."""
    api = client()
    value = api.get(api.ws("/failures"), days=days, pack=name)
    if not show(value):
        columns = ["count", "what", "reason", "layer", "last_at", "newest", "names"]
        output.table(value["items"], columns, f"Nothing failed in the last {days} days.")


@pack.command("withdrawals")
def withdrawals(limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """What was taken away of the packs here, or given back: who, when, why, and what it touched."""
    api = client()
    value = api.get(api.ws("/withdrawals"), limit=limit)
    if not show(value):
        counts = [len(row["receipt"]["attachments"]) for row in value["items"]]
        rows = [
            {**row, "touched": f"{count} attachment{'s' if count != 1 else ''}"}
            for row, count in zip(value["items"], counts, strict=True)
        ]
        output.table(rows, ["id", "act", "name", "by_name", "at", "why", "touched"], "Nothing was taken away here.")


@pack.command("withdrawal")
def withdrawal(withdrawal_id: str) -> None:
    """One of them with its receipt."""
    value = client().get(f"/v1/withdrawals/{withdrawal_id}")
    if not show(value):
        output.text(value["sentence"])
        say_reach(value["receipt"])
        for item in value["receipt"]["moved"]:
            output.text(f"  moved {item['id']}: {item['before']} -> {item['after']}")


@pack.command("detach")
def detach(attachment_id: str, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Take a pack from the workspace; its calls end."""
    api = client()
    _take(api, "detach", attachment_id, f"/v1/attachments/{attachment_id}", "DELETE", reason, yes, dry_run)


@pack.command("revoke")
def revoke(name: Name, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let no release of a pack be attached any more, nor one that comes later; what is attached serves on, in new sandboxes."""
    api = client()
    _take(api, "revoke", name, api.ws(f"/packs/{name}/revoke"), "POST", reason, yes, dry_run)


@pack.command("quarantine")
def quarantine(name: Name, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Stop everything of a pack at once, and of its releases that come later."""
    api = client()
    _take(api, "quarantine", name, api.ws(f"/packs/{name}/quarantine"), "POST", reason, yes, dry_run)


@pack.command("lift")
def lift(name: Name, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let a pack that was taken away as a whole be used again; what was revoked stays revoked."""
    api = client()
    _take(api, "lift", name, api.ws(f"/packs/{name}/lift"), "POST", reason, yes, dry_run)


@release.command("lift")
def lift_release(release_id: ReleaseName, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let a quarantined release serve again."""
    api = client()
    release_id = named_release(api, release_id)
    _take(api, "lift", release_id, f"/v1/releases/{release_id}/lift", "POST", reason, yes, dry_run)


def _take(api: Client, verb: str, thing: str, path: str, method: str, reason: str, yes: bool, dry_run: bool) -> None:
    """What it touches is shown first; then it is asked for once more, and done."""
    if not reason.strip() and not dry_run:
        raise typer.BadParameter("--reason is needed: whoever is stopped by it reads it")
    body = {"reason": reason.strip() or "a dry run"}
    if dry_run or not yes:
        touched = api.get(_path(api, thing) + "/reach")
        # That it is refused, or not possible, only the attempt itself says.
        tried = api.change(method, path, body, dry_run=True)
        if dry_run:
            if not show({"would": tried, "touches": touched}):
                say_reach(touched)
                output.text(f"dry run: nothing was done; without --dry-run it would {verb} {thing}")
            return
        say_reach(touched, err=True)
        typer.confirm(f"{verb.capitalize()} {touched['name']}?", abort=True, err=True)
    value = api.change(method, path, body, dry_run=False)
    if not show(value):
        output.text(value.get("sentence") or f"{value['id']}  {value['state']}")


@release.command("why")
def why(release_id: ReleaseName) -> None:
    """Which gate or approval blocks a release, and who can clear it."""
    api = client()
    release_id = named_release(api, release_id)
    value = api.get(f"/v1/releases/{release_id}/why")
    if show(value):
        return
    output.explanation(value)
    found = api.get(f"/v1/releases/{release_id}/gates")
    output.text("\ngates")
    for gate in found["gates"]:
        who = f"; {', '.join(gate['who'])}" if gate["who"] else ""
        output.text(f"  {gate['state']:<10} {gate['name']}: {gate['because']}{who}")
    for row in api.get(api.ws("/publications"), release_id=release_id, limit=5)["items"]:
        if row["state"] != "published":
            output.text(f"  {row['state']} publication to {row['destination']}: worka registry why {row['id']}")


@advisories.command("import")
def take_in(
    file: Annotated[Path, typer.Argument(help="OSV: a JSON document, a list of them, JSON lines, or a zip of them")],
    dry_run: Annotated[bool, typer.Option(help="say what it would find, and keep nothing")] = False,
) -> None:
    """Hand in known vulnerabilities; every release is checked, and a hit opens a proposal to quarantine it."""
    api = client()
    total = {"read": 0, "taken": 0, "checked": 0, "hits": 0, "proposals": 0}
    for batch in batches(documents(file)):
        done = api.change("POST", api.ws("/advisories"), {"documents": batch}, dry_run=dry_run)
        total = {key: done[key] if key == "checked" else total[key] + done[key] for key in total}
    if not show(total):
        output.record(total)
        if total["proposals"]:
            output.text("a proposal waits for a decision: worka approvals list")


def documents(file: Path) -> Iterator[Any]:
    """The OSV documents of a file. Raises Failed for what is none; a zip that unpacks to more than it may is one."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                members = [item for item in archive.infolist() if item.filename.endswith(".json")]
                if sum(item.file_size for item in members) > LARGEST:
                    raise ValueError(f"it unpacks to more than {LARGEST // 1_000_000} MB")
                for item in members:
                    with archive.open(item) as member:
                        yield from _parsed(member.read(item.file_size + 1).decode())
            return
        yield from _parsed(file.read_text())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise Failed(
            {
                "code": "feed_unreadable",
                "title": "The feed cannot be read",
                "detail": f"{file}: {error}",
                "remedy": "Give OSV documents: one JSON document, a list, JSON lines, or a zip of them.",
            },
            2,
        ) from error


def _parsed(text: str) -> Iterator[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        value = [json.loads(line) for line in lines]
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise ValueError("it holds what is no JSON object")
        yield item


def batches(found: Iterator[Any]) -> Iterator[list[Any]]:
    """In requests that the door takes. A document that is too large by itself goes alone, and the door says so."""
    batch: list[Any] = []
    size = 0
    for item in found:
        weight = len(json.dumps(item))
        if batch and (size + weight > BATCH or len(batch) >= 2000):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += weight
    if batch:
        yield batch


@advisories.command("list")
def known(limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The known vulnerabilities that were handed in."""
    api = client()
    value = api.get(api.ws("/advisories"), limit=limit)
    if not show(value):
        columns = ["id", "severity", "modified", "packages", "summary"]
        output.table(value["items"], columns, "None were handed in: worka advisory import.")


@advisories.command("findings")
def findings(limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The releases registered here that a known vulnerability hits."""
    api = client()
    value = api.get(api.ws("/findings"), limit=limit)
    if not show(value):
        columns = ["id", "name", "package", "version", "advisory_id", "severity", "state", "approval_id"]
        output.table(value["items"], columns, "No release registered here is hit.")


@advisories.command("check")
def check(dry_run: Annotated[bool, typer.Option(help="say what it would find, and keep nothing")] = False) -> None:
    """Check every release against what was handed in before."""
    api = client()
    value = api.change("POST", api.ws("/advisory-checks"), None, dry_run=dry_run)
    if not show(value):
        output.record(value)
