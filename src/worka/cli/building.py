"""`worka pack init|check|test|run|tools|build|release`: a pack from its first file to a release.

All but the last work without an instance, on this machine, in the same sandbox that serves packs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worka.cli import output, packs, starter
from worka.cli.client import EXIT, Failed
from worka.cli.shell import client, read_json, show
from worka.kernel.errors import Problem

if TYPE_CHECKING:
    from worka.packs import folder
    from worka.packs.checking import Verdict
    from worka.packs.manifest import Manifest

Pack = Annotated[Path, typer.Argument(help="folder with worka/aip.json", exists=True, file_okay=False)]
Source = Annotated[Path, typer.Argument(help="folder with worka/aip.json, or an archive of `worka pack build`")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]
Row = dict[str, Any]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@contextlib.contextmanager
def spoken() -> Iterator[None]:
    """What is refused here reads, and ends, as what the API refuses."""
    try:
        yield
    except Problem as problem:
        raise Failed(problem.body(), EXIT.get(problem.status, 1)) from problem


def init(
    name: Annotated[str, typer.Argument(help="publisher.name, its identity for ever")],
    target: Annotated[
        Path | None, typer.Option("--folder", help="where; default: ./NAME without the publisher")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write a new pack: a manifest, a typed tool, its tests, an empty lock. Nothing that is there is overwritten."""
    publisher, _, short = name.partition(".")
    if not (_NAME.fullmatch(publisher) and _NAME.fullmatch(short)):
        raise typer.BadParameter(f"{name} is not publisher.name, of lower-case letters, digits, - and _")
    where = target or Path(short)
    written = starter.files(publisher, short)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise Failed(
            {
                "code": "folder_in_use",
                "title": "There is something already",
                "detail": f"{where} is not an empty folder",
                "remedy": "Name another one with --folder.",
            },
            7,
        )
    if not dry_run:
        for path, text in written.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_text(text)
    value = {"pack": name, "folder": str(where), "files": sorted(written), "written": not dry_run}
    if not show(value):
        said = "dry run: would write" if dry_run else "[green]✓[/] wrote"
        output.talk.print(f"{said} {len(written)} files of {name} in {output.escape(str(where))}")
        if not dry_run:
            output.talk.print(f"  next: [bold]worka pack test {output.escape(str(where))}[/]")


def check(path: Source) -> None:
    """Say everything that is wrong with a pack, each with its field and the fix. Runs no code of it, needs no instance."""
    from worka.packs import checking, folder

    with spoken():
        source = folder.read(path)
        verdict = checking.check(source)
    value = _verdict(source, verdict)
    if not show(value):
        for kind, mark in (("errors", "[red]✗[/]"), ("warnings", "[yellow]![/]")):
            for notice in value[kind]:
                output.out.print(
                    f"{mark} {output.escape(notice['pointer'] or 'manifest')}: {output.escape(notice['message'])}"
                )
                output.out.print(f"    [bold]fix[/] {output.escape(notice['fix'])}")
        if verdict.ok:
            output.out.print(f"[green]✓[/] {output.escape(value['pack'])} {value['version']} can be registered")
    raise typer.Exit(0 if verdict.ok else 2)


def _verdict(source: folder.Source, verdict: Verdict) -> Row:
    from worka.packs.folder import SDK

    known = verdict.manifest
    return {
        "ok": verdict.ok,
        "pack": known.pack if known else "",
        "version": known.version if known else "",
        "errors": [notice.body() for notice in verdict.errors],
        "warnings": [notice.body() for notice in verdict.warnings],
        "files": len(source.files),
        "sdk": any(name.startswith(f"{SDK}/") for name in source.files),
    }


def read(path: Path, *, with_tests: bool = False) -> tuple[folder.Source, Manifest]:
    """A pack that can be registered. Raises Failed with what is wrong."""
    from worka.packs import checking, folder

    with spoken():
        source = folder.read(path, with_tests=with_tests)
        verdict = checking.check(source)
    if verdict.manifest is None or not verdict.ok:
        first = verdict.errors[0]
        raise Failed(
            {
                "code": "pack_invalid",
                "title": "The pack cannot be registered as it is",
                "detail": f"{first.pointer or 'manifest'}: {first.message}",
                "remedy": f"{first.fix[:1].upper()}{first.fix[1:]}. `worka pack check` says all of it.",
                "errors": [notice.body() for notice in verdict.errors],
            },
            2,
        )
    return source, verdict.manifest


def check_by_tests(
    path: Pack,
    only: Annotated[str, typer.Option("-k", help="only the tests whose name holds this")] = "",
    seconds: Annotated[float, typer.Option(help="the most that they may take")] = 300,
) -> None:
    """Run the tests in the pack's folder `tests` in the sandbox: no network, no files of this machine, its own limits."""
    value = suite(path, only, seconds)
    if not show(value):
        output.text(value["output"].rstrip())
        output.talk.print("[green]✓[/] the tests pass" if value["passed"] else "[red]✗[/] the tests do not pass")
    raise typer.Exit(0 if value["passed"] else 1)


def suite(path: Path, only: str = "", seconds: float = 300) -> Row:
    """{passed, output} of a pack's tests. Raises Failed where it has none, or cannot be built."""
    source, manifest = read(path, with_tests=True)
    if not source.is_tree or not any(re.fullmatch(r"tests/(.*/)?test_[^/]*\.py", name) for name in source.files):
        raise Failed(
            {
                "code": "no_tests",
                "title": "There are no tests",
                "detail": f"{path}/tests has no test_*.py",
                "remedy": "Write one: `worka pack init` shows how.",
            },
            2,
        )

    async def work(shop: Any, built: Any) -> Row:
        words = ["-m", "unittest", "discover", "-v", "-s", f"{built.app}/tests"]
        ended = await shop.run(built, words + (["-k", only] if only else []), seconds)
        late = f"\nThey took longer than {seconds:g} s." if ended.timed_out else ""
        return {"passed": ended.code == 0, "exit_code": ended.code, "output": ended.output + late}

    return _in_the_workshop(source, manifest, work)


def run(
    path: Source,
    tool: Annotated[str, typer.Argument(help="the tool to call; without one, the tools are listed")] = "",
    arguments: Annotated[str, typer.Option("--arguments", "-a", help="arguments as a JSON object, or @file")] = "{}",
    mount: Annotated[list[str] | None, typer.Option(help="NAME=PATH, what a mount of the manifest binds")] = None,
) -> None:
    """Serve the pack in the sandbox of this machine and call a tool. There is no broker here: nothing goes outside."""
    from worka.packs.rules import tool_differences

    given = read_json(arguments)
    source, manifest = read(path)
    mounts = packs.mounts_of(mount)

    async def work(shop: Any, built: Any) -> Row:
        session = await shop.serve(built, await shop.bind(manifest, mounts))
        try:
            listed = session.listing.tools
            if not tool:
                return {"tools": listed, "differences": tool_differences(manifest, listed)}
            return await _called(session, listed, tool, given)
        finally:
            await session.close()

    value = _in_the_workshop(source, manifest, work)
    if not show(value):
        if "tools" in value:
            output.table(value["tools"], ["name", "description"], "The server lists no tool.")
        else:
            text = json.dumps(value["structured"], indent=2, ensure_ascii=False) if value["is_structured"] else ""
            output.text(text or value["text"] or value["message"])
            for line in filter(None, (value["stderr_tail"], value["stray_stdout"])):
                output.talk.print(f"[dim]{output.escape(line.rstrip())}[/]")
    raise typer.Exit(0 if "tools" in value or value["status"] == "ok" else 1)


async def _called(session: Any, listed: list[Row], tool: str, given: Row) -> Row:
    from worka.packs import rules
    from worka.packs.runtime import outcome
    from worka.packs.runtime.outcome import CallFailed

    known = {item["name"]: item for item in listed}
    if tool not in known:
        raise Failed(
            {
                "code": "tool_not_found",
                "title": "The pack has no such tool",
                "detail": f"It lists {', '.join(sorted(known))}.{rules.did_you_mean(tool, sorted(known))}",
                "remedy": "Name one of these.",
            },
            3,
        )
    if wrong := rules.input_errors(known[tool]["input_schema"], given):
        raise Failed(
            {
                "code": "tool_input_invalid",
                "title": "The arguments do not fit the tool's input schema",
                "detail": "; ".join(f"{item['pointer'] or '/'}: {item['message']}" for item in wrong),
                "remedy": "Correct these fields.",
            },
            2,
        )
    meta = {"invocation_id": "inv_workshop", "idempotency_key": "workshop"}
    seen = {"isolation": session.isolation, "stderr_tail": "", "stray_stdout": None}
    try:
        result = await session.call(tool, given, meta, session.spec.limits.timeout_seconds)
        value = outcome.answered(result, **seen)
    except CallFailed as failure:
        value = outcome.failed(failure.ending, **seen)
    schema = known[tool]["output_schema"]
    if value["status"] == "ok" and schema and (wrong := rules.input_errors(schema, value["structured"])):
        told = "; ".join(f"{item['pointer'] or '/'}: {item['message']}" for item in wrong)
        value |= {"status": "failed", "reason": "output_invalid", "message": f"The result is not as it says: {told}"}
    return value | {"stderr_tail": session.stderr_tail, "stray_stdout": session.stray_stdout}


def tools(
    path: Pack,
    write: Annotated[bool, typer.Option("--write", help="write them into worka/aip.json")] = False,
    dry_run: DryRun = False,
) -> None:
    """Compare the manifest's tools with what the server lists; `--write` makes the manifest say what it lists.

    The classes (side_effect, idempotent) that stand in the manifest stay. Of a new tool they are the ones that its code
    declares: read what was written before it is registered.
    """
    from worka.packs import files
    from worka.packs.manifest import PLACE
    from worka.packs.rules import tool_differences

    source, manifest = read(path)

    async def work(shop: Any, built: Any) -> Row:
        session = await shop.serve(built)
        try:
            listed = session.listing.tools
        finally:
            await session.close()
        return {
            "differences": tool_differences(manifest, listed),
            "tools": [_as_declared(manifest, t) for t in listed],
        }

    value = _in_the_workshop(source, manifest, work)
    same = not value["differences"] and manifest.tools != "discover"
    if write and not dry_run and not same:
        document = source.document | {"tools": value["tools"]}
        with spoken():
            files.write(path, source.place, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    value |= {"written": write and not dry_run and not same, "same": same}
    if not show(value):
        for item in value["differences"]:
            output.out.print(f"[bold]{output.escape(item['tool'])}[/] {item['field']}")
            output.text(item["diff"])
        said = "they are the same" if same else f"{len(value['differences'])} differences"
        output.talk.print(f"{said}; {PLACE} {'was written' if value['written'] else 'is as it was'}")
    raise typer.Exit(0 if same or value["written"] or dry_run else 1)


def _as_declared(manifest: Manifest, listed: Row) -> Row:
    known = manifest.declared_tools.get(listed["name"])
    hints = listed.get("annotations") or {}
    side_effect = (
        "read_only"
        if hints.get("readOnlyHint")
        else "external_side_effect"
        if hints.get("openWorldHint")
        else "write"
        if hints.get("destructiveHint") is False
        else "destructive"
    )
    shown = {key: listed[key] for key in ("name", "description", "input_schema", "output_schema") if listed[key]}
    return {
        **shown,
        "side_effect": known.side_effect if known else side_effect,
        "idempotent": known.idempotent if known else bool(hints.get("idempotentHint")),
    }


def build(
    path: Pack,
    out: Annotated[
        Path | None, typer.Option("--out", help="the file; default: dist/PACK-VERSION.worka.tar in it")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Make the archive of a pack: what is registered, in one file, the same bytes wherever and whenever it is made."""
    from worka.packs import archive

    source, manifest = read(path)
    with spoken():
        data = archive.pack(source.files)
    target = out or path / "dist" / f"{manifest.pack}-{manifest.version}{archive.SUFFIX}"
    if not dry_run:
        _put(path, target, data)
    value = {
        "file": str(target), "sha256": archive.digest(data), "bytes": len(data), "files": sorted(source.files),
        "pack": manifest.pack, "version": manifest.version, "written": not dry_run,
    }  # fmt: skip
    if not show(value):
        said = "dry run: would write" if dry_run else "[green]✓[/] wrote"
        output.talk.print(f"{said} {output.escape(str(target))}: {len(source.files)} files, {len(data)} bytes")
        output.text(f"sha256:{value['sha256']}")


def _put(path: Path, target: Path, data: bytes) -> None:
    """Writes the archive. Within the pack's folder no link is followed; elsewhere the caller's own way is taken, up to the file."""
    from worka.packs import files

    whole, inside = Path(os.path.abspath(target)), Path(os.path.abspath(path))
    base = inside if whole.is_relative_to(inside) else whole.parent
    with spoken():
        files.write(base, whole.relative_to(base).as_posix(), data)


def release(path: Source, dry_run: DryRun = False) -> None:
    """Check a pack, run its tests in the sandbox, register it, and wait until it is released or says why not."""
    _, manifest = read(path)
    if path.is_dir() and (path / "tests").is_dir():
        found = suite(path)
        if not found["passed"]:
            output.talk.print(output.escape(found["output"].rstrip()))
            raise Failed(
                {
                    "code": "tests_failed",
                    "title": "The pack's tests do not pass",
                    "detail": f"{manifest.pack} {manifest.version} was not registered",
                    "remedy": f"Correct them: `worka pack test {path}`.",
                },
                1,
            )
    if dry_run:
        would_be_sent(path)
        return
    packs.ended(packs.register(client(), path))


def would_be_sent(path: Path) -> None:
    """Says what a registration would send, after all that can be checked without an instance. Raises Failed."""
    source, manifest = read(path)
    size = sum(map(len, source.files.values())) if source.is_tree else 0
    names = sorted(source.files) if source.is_tree else []
    value = {"pack": manifest.pack, "version": manifest.version, "files": names, "bytes": size, "sent": False}
    if not show(value):
        output.talk.print(f"dry run: would register {manifest.pack} {manifest.version}; nothing was sent")


def _in_the_workshop(source: folder.Source, manifest: Manifest, work: Callable[[Any, Any], Any]) -> Row:
    """What `work(workshop, built)` comes to. Raises Failed."""
    import asyncio

    from worka.packs.runtime.outcome import CallFailed
    from worka.packs.runtime.workshop import Workshop

    async def whole() -> Row:
        async with Workshop() as shop:
            found: Row = await work(shop, await shop.build(manifest, source.lock, source.files))
            return found

    with spoken():
        try:
            return asyncio.run(whole())
        except CallFailed as failure:
            raise Failed(_failure(failure.ending), 1) from failure


def _failure(ending: Any) -> Row:
    return {
        "code": ending.reason,
        "title": "The pack did not start",
        "detail": ending.message,
        "remedy": ending.remedy or "Start it alone: `python -m` its module, with the SDK on the path.",
    }


def onto(group: typer.Typer) -> None:
    """Puts the commands under `worka pack`."""
    for command in (init, check, run, tools, build, release):
        group.command(command.__name__)(command)
    group.command("test")(check_by_tests)
