"""`worka pack`: releases and attachments, and the lock of a pack that is being made."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.shell import ReleaseName, client, named_release, show

pack = typer.Typer(no_args_is_help=True, help="Packs: releases and attachments.")


@pack.command("register")
def pack_register(
    folder: Annotated[Path, typer.Argument(help="folder with worka/aip.json, or an archive of `worka pack build`")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check it here, say what would be sent, and send nothing")
    ] = False,
) -> None:
    """Register a release: build its environment, probe it in the sandbox, freeze its tools."""
    if dry_run:
        from worka.cli.building import would_be_sent

        would_be_sent(folder)
        return
    api = client()
    ended(register(api, folder))


def register(api: Client, folder: Path, key: str | None = None) -> Any:
    """Sends a pack folder and waits until the release rests."""
    return rested(api, api.post(api.ws("/releases"), pack_body(folder), key=key))


def rested(api: Client, value: Any) -> Any:
    """The release once nothing of its registration is under way."""
    import time

    while value["state"] not in ("released", "failed", "quarantined", "revoked"):
        time.sleep(0.2)
        value = api.get(f"/v1/releases/{value['id']}")
    return value


def ended(value: Any) -> None:
    """Says how a registration rests, and what to do next. Raises Exit."""
    released = value["state"] == "released"
    if not show(value):
        output.record(value, skip=("manifest", "tools", "probe", "packages", "error"))
        if released:
            output.talk.print(f"  [dim]next:[/] worka pack attach {value['id']}")
        else:
            say_failure(value)
    raise typer.Exit(0 if released else 1)


def say_failure(value: dict[str, Any]) -> None:
    """Why a registration failed, in words, and the command that says the rest."""
    error = value.get("error") or {}
    output.talk.print(f"[red]✗[/] {output.escape(str(error.get('message') or value['reason']))}", soft_wrap=True)
    for item in error.get("differences") or []:
        said = f"  {item['tool']} {item['field']}: {item['diff']}"
        output.talk.print(output.escape(said), soft_wrap=True)
    for line in str(error.get("stderr_tail") or "").strip().splitlines()[-3:]:
        output.talk.print(f"  [dim]│[/] {output.escape(line)}", soft_wrap=True)
    output.talk.print(f"  [dim]remedy[/] worka release why {value['id']}")


def pack_body(folder: Path) -> dict[str, Any]:
    """The registration request of a folder or an archive: manifest, lock, and the files of a pack that is its own source.
    What would be refused is not sent. Raises Failed."""
    from worka.cli import building

    source, _ = building.read(folder)
    body: dict[str, Any] = {"manifest": source.document, "place": source.place, "lock": source.lock}
    if source.is_tree:
        body["files"] = {name: base64.b64encode(data).decode() for name, data in source.files.items()}
    return body


@pack.command("retry")
def pack_retry(
    release_id: ReleaseName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what it would do, and do nothing")] = False,
) -> None:
    """Take up the stage at which a registration failed; what went before it is not done again."""
    api = client()
    release_id = named_release(api, release_id)
    value = api.change("POST", f"/v1/releases/{release_id}/retry", dry_run=dry_run)
    if dry_run:
        if not show({"would": value}):
            output.text(f"dry run: {release_id} would go on from {value['state']}; nothing was done")
        return
    ended(rested(api, value))


@pack.command("lock")
def pack_lock(
    folder: Annotated[Path, typer.Argument(help="folder with worka/aip.json", exists=True, file_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="resolve it, and write nothing")] = False,
) -> None:
    """Write the hashed lock of the package that the manifest names."""
    from worka.cli.building import spoken

    with spoken():
        value = lock(folder, dry_run=dry_run)
    if not show(value):
        said = "dry run: would write" if dry_run else "[green]✓[/] wrote"
        output.talk.print(f"{said} {output.escape(value['lock'])}: {value['packages']} packages, by their hashes")


@pack.command("list")
def pack_list() -> None:
    """Releases and attachments of the workspace."""
    api = client()
    value = {"releases": api.get(api.ws("/releases"))["items"], "attachments": api.get(api.ws("/attachments"))["items"]}
    if not show(value):
        output.table(
            value["releases"],
            ["id", "publisher", "name", "version", "state", "digest"],
            "No releases: worka pack register.",
        )
        output.table(
            [{**row, "moves": _moves(row.get("move"))} for row in value["attachments"]],
            ["id", "pack", "version", "mode", "state", "reason", "moves"],
            "Nothing is attached: worka pack attach.",
        )


def _moves(move: dict[str, Any] | None) -> str:
    return "" if move is None else f"to {move['to_version']}: {move['reason'].replace('_', ' ')}"


@pack.command("show")
def pack_show(release_id: ReleaseName) -> None:
    """One release: its digest, source and frozen tools. `-o json` has the manifest and the schemas."""
    api = client()
    value = api.get(f"/v1/releases/{named_release(api, release_id)}")
    if show(value):
        return
    output.record(value, skip=("manifest", "tools", "probe", "packages", "error"))
    manifest = value["manifest"]
    kept = ("display_name", "description", "license", "source", "outbound_domains", "connections", "dependencies")
    output.record({name: manifest.get(name) for name in kept})
    if value["state"] == "failed":
        say_failure(value)
    columns = ["name", "side_effect", "idempotent", "description"]
    output.table(value.get("tools") or [], columns, "No tools are frozen: the server has not listed them.")


@pack.command("attach")
def pack_attach(
    release_id: ReleaseName,
    mount: Annotated[list[str] | None, typer.Option(help="NAME=PATH, what a mount of the manifest binds")] = None,
    mode: Annotated[str, typer.Option(help="pinned, or tracking: it moves to newer releases by itself")] = "pinned",
    dry_run: Annotated[
        bool, typer.Option(help="do all of it and undo it: refused and answered as it would be")
    ] = False,
) -> None:
    """Attach a release to the workspace (6: an approval, a connection or a pack is waited for)."""
    api = client()
    mounts = {name: str(path) for name, path in mounts_of(mount).items()}
    release_id = named_release(api, release_id)
    body = {"release_id": release_id, "mode": mode, "mounts": mounts}
    value = api.change("POST", api.ws("/attachments"), body, dry_run=dry_run)
    if not show(value):
        output.record(value)
        output.text(f"grade {api.get(f'/v1/releases/{release_id}/grade')['sentence']}")
        if dry_run:
            output.text("dry run: nothing was attached; `worka pack review` shows what to look at")
        elif value["state"] != "attached":
            output.explanation(api.get(f"/v1/attachments/{value['id']}/why"))
    raise typer.Exit(0 if dry_run else 0 if value["state"] == "attached" else 6)


def mounts_of(given: list[str] | None) -> dict[str, Path]:
    """name -> path of NAME=PATH options. Raises BadParameter."""
    if wrong := [item for item in given or [] if "=" not in item]:
        raise typer.BadParameter(f"--mount {wrong[0]} is not NAME=PATH")
    return {name: Path(path) for name, path in (item.split("=", 1) for item in given or [])}


def lock(folder: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Writes the lock that the manifest names; what stands in it is preferred. Returns {lock, packages, written}.

    Raises Failed when the manifest names no PyPI or npm package; ManifestInvalid, FolderUnreadable, LockInvalid, TargetRefused;
    BuildFailed when the package cannot be resolved.
    """
    from worka.packs import files, trees
    from worka.packs import folder as folders
    from worka.packs import manifest as manifests
    from worka.packs.runtime.lock import resolve, resolve_npm

    source = folders.read(folder)
    manifest, _ = manifests.read(source.document, place=source.place)
    package = manifest.runtime.package
    if package is None or package.ecosystem not in ("pypi", "npm"):
        raise Failed(
            {
                "code": "nothing_to_lock",
                "title": "The manifest names no package to lock",
                "detail": f"{folder}/{source.place}: runtime.package needs ecosystem pypi or npm, a name and a version",
                "remedy": "Name the package, or write requirements.lock yourself for a pack that is its own source.",
            },
            2,
        )
    beside = str(Path(package.lock).parent / "constraints.txt")
    narrowed = files.read(folder, beside, trees.MOST_BYTES) or b""
    text, count = (
        resolve_npm(package, source.lock)
        if package.ecosystem == "npm"
        else resolve(package, source.lock, narrowed.decode("utf-8", "replace"))
    )
    if not dry_run:
        files.write(folder, package.lock, text.encode())
    return {"lock": str(folder / package.lock), "packages": count, "written": not dry_run}
