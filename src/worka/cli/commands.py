"""The commands. Each is a call of the API and a way to print its answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worka import __version__
from worka.cli import database, output, packs
from worka.cli.client import Client, Failed, save_login
from worka.cli.shell import State, app, client, group, read_json, show

task = group("task", "Tasks: governed pieces of work.")
approvals = group("approvals", "Approvals: consent by a person before a decided action proceeds.")
app.add_typer(packs.pack, name="pack")
app.add_typer(database.database, name="database")
tool = group("tool", "Tools of the packs attached to the workspace.")
invocation = group("invocation", "Invocations of tools.")
view = group("view", "Views of the workspace.")
audit = group("audit", "The audit ledger.")
decision = group("decision", "Recorded decisions.")
config = group("config", "Settings of this machine.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def up() -> None:
    """Start everything on this machine: embedded PostgreSQL, serve, worker, host, broker, launcher."""
    from worka.kernel import settings, telemetry
    from worka.kernel.errors import Problem
    from worka.workers.supervisor import Supervisor

    loaded = settings.load()
    telemetry.configure("supervisor", None)

    def ready(url: str) -> None:
        output.talk.print(f"[green]✓[/] Worka answers at [bold]{url}[/]  (data: {loaded.home})")
        setup = loaded.home / "run" / "setup-token"
        if setup.exists():
            output.talk.print(f"  first operator: the one-time setup token is in {setup}")

    try:
        asyncio.run(Supervisor(loaded).run(ready))
    except Problem as problem:
        output.problem(problem.body())
        raise typer.Exit(1) from problem


@app.command()
def down(timeout: Annotated[float, typer.Option(help="seconds to wait")] = 60) -> None:
    """Stop the instance of this WORKA_HOME: every role, then PostgreSQL. Work that waits goes on at the next start."""
    import signal
    import time

    from worka.cli.demo_surroundings import running
    from worka.kernel.settings import default_home

    home = Path(os.environ.get("WORKA_HOME") or default_home())
    found = running(home)
    if found is None:
        output.talk.print(f"nothing runs on {home}")
        return
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while Path(f"/proc/{found['pid']}").exists() and (home / "run" / "instance.json").exists():
        if time.monotonic() > deadline:
            raise Failed(
                {
                    "code": "still_running",
                    "title": "It did not stop in time",
                    "detail": f"process {found['pid']} still runs after {timeout:.0f} s",
                    "remedy": f"Read {home}/up.log, then try again; as a last resort: kill -9 {found['pid']}",
                },
                1,
            )
        time.sleep(0.1)
    output.talk.print(f"[green]✓[/] stopped  (data: {home})")


@app.command()
def demo(
    interactive: Annotated[bool, typer.Option(help="wait for a person to approve in the console")] = False,
    form: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
) -> None:
    """Run a governed task end to end on real input, then leave the console running (DEMO_EXIT=1 ends it)."""
    from worka.cli.demo import run as run_demo

    raise typer.Exit(run_demo(interactive=interactive, as_json=form == "json" or State.form == "json"))


@app.command()
def login(
    email: Annotated[str | None, typer.Option(help="sign in with a password")] = None,
    with_token: Annotated[str | None, typer.Option("--with-token", help="keep an API token instead")] = None,
) -> None:
    """Sign in and keep the credential for this user (0600)."""
    token = with_token
    if token is None:
        email = email or typer.prompt("E-mail", err=True)
        password = os.environ.get("WORKA_PASSWORD_STDIN") and sys.stdin.readline().rstrip("\n")
        password = password or typer.prompt("Password", hide_input=True, err=True)
        token = Client(State.url).post("/v1/sessions", {"email": email, "password": password})["session_token"]
    me = Client(State.url, token).get("/v1/me")
    save_login(State.url, token, State.workspace, State.login)
    if not show(me):
        output.talk.print("[green]✓[/] signed in")


@app.command()
def me() -> None:
    """Who I am here and what I may do."""
    value = client().get("/v1/me")
    if not show(value):
        output.record(value)


@app.command()
def changes(
    since: Annotated[str | None, typer.Option(help="time (ISO 8601) or age such as 2h")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """What changed in this workspace: who, on whose behalf, what, before and after, and why."""
    api = client()
    value = api.get(api.ws("/changes"), since=since, limit=limit)
    if not show(value):
        output.table(value["items"], ["at", "lane", "sentence", "subject.id"], "Nothing changed.")


@app.command()
def attention() -> None:
    """What needs me now."""
    api = client()
    value = api.get(api.ws("/attention"))
    if not show(value):
        output.table(value["items"], ["kind", "headline", "ref", "since"], "Nothing needs you now.")


@app.command()
def why(subject: str) -> None:
    """Why something is as it is: any id (task_, inv_, apr_, att_, rel_, conn_, proc_)."""
    value = client().get(f"/v1/why/{subject}")
    if not show(value):
        output.explanation(value)


@app.command()
def doctor() -> None:
    """Check the parts of this instance, and name the remedy of what is broken."""
    from worka.cli.doctor import examine
    from worka.cli.doctor.check import Check
    from worka.kernel import settings

    try:
        found = [check.as_dict() for check in examine(State.url, settings.load())]
    except SystemExit as unreadable:
        remedy = "Correct this setting; docs/reference/settings.md lists them all."
        found = [Check("settings", "failed", str(unreadable), remedy).as_dict()]
    if not show({"items": found}):
        for check in found:
            mark = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}[check["state"]]
            output.out.print(f"{mark} {output.escape(check['name'])}: {output.escape(check['detail'])}")
            if check.get("remedy"):
                output.out.print(f"    [bold]remedy[/] {output.escape(check['remedy'])}")
    raise typer.Exit(1 if any(check["state"] == "failed" for check in found) else 0)


@config.command("show")
def config_show() -> None:
    """The effective settings, without secrets."""
    from worka.kernel import settings

    value = json.loads(settings.load().model_dump_json())
    if not show(value):
        output.record(value)


# tasks --------------------------------------------------------------------------------------------------------------
@task.command("create")
def task_create(
    workflow: str,
    member: Annotated[
        str, typer.Option(help="the AI team member whose steps these are, by name or id; default: the only one")
    ] = "",
    inputs: Annotated[str, typer.Option("--input", help="inputs as a JSON object, or @file")] = "{}",
    definition_version: Annotated[int | None, typer.Option("--definition-version", help="default: the newest")] = None,
    wait: Annotated[bool, typer.Option(help="wait until it ends or waits for someone")] = False,
) -> None:
    """Start a task from a workflow definition."""
    body: dict[str, Any] = {"workflow": workflow, "inputs": read_json(inputs)}
    api = client()
    body["member_id"] = team_member(api, member)
    if definition_version is not None:
        body["version"] = definition_version
    value = api.post(api.ws("/tasks"), body)
    if wait:
        value = wait_task(api, value["id"])
    show_task(api, value)


def show_task(api: Client, value: Any) -> None:
    """What it is, and why it is as it is."""
    if not show(value):
        output.text(f"{value['id']}  {value['title']}")
        output.explanation(api.get(f"/v1/tasks/{value['id']}/why"))


def team_member(api: Client, wanted: str) -> str:
    """The id of the AI team member that is meant. Raises Failed when that is not clear."""
    members = api.pages(api.ws("/team-members"))
    fitting = [member for member in members if not wanted or wanted in (member["id"], member["name"])]
    if len(fitting) == 1:
        return str(fitting[0]["id"])
    names = ", ".join(f"{member['name']} ({member['id']})" for member in members[:10]) or "none"
    raise Failed(
        {
            "code": "team_member_required",
            "title": "Name the AI team member",
            "detail": f"{wanted or 'no name was given'}; this workspace has {names}",
            "remedy": "Pass --member with a name or an id.",
        },
        3 if wanted else 2,
    )


@task.command("list")
def task_list(state: str | None = None, limit: int = 50) -> None:
    """Tasks, newest first, with what they wait for."""
    api = client()
    value = api.get(api.ws("/tasks"), state=state, limit=limit)
    if not show(value):
        output.table(value["items"], ["id", "title", "state", "reason", "since"], "No tasks yet: worka task create.")


@task.command("show")
def task_show(task_id: str) -> None:
    """One task with its steps."""
    value = client().get(f"/v1/tasks/{task_id}")
    if not show(value):
        output.record(value, skip=("steps", "waits", "links"))
        output.table(
            value.get("steps", []), ["position", "name", "kind", "state", "reason", "invocation_id"], "No steps."
        )


@task.command("why")
def task_why(task_id: str) -> None:
    """Why this task is still running, or how it ended."""
    value = client().get(f"/v1/tasks/{task_id}/why")
    if not show(value):
        output.explanation(value)


@task.command("wait")
def task_wait(task_id: str, timeout: float = 300) -> None:
    """Wait until the task ends (0), fails (1) or waits for someone (6)."""
    api = client()
    value = wait_task(api, task_id, timeout)
    show_task(api, value)
    raise typer.Exit({"succeeded": 0, "waiting": 6}.get(value["state"], 1))


@task.command("cancel")
def task_cancel(task_id: str) -> None:
    """Cancel a task."""
    api = client()
    show_task(api, api.post(f"/v1/tasks/{task_id}/cancel"))


@task.command("resolve")
def task_resolve(task_id: str, outcome: str, note: str = "") -> None:
    """Say what became of an effect whose outcome nobody recorded: retry (same key) or failed."""
    api = client()
    show_task(api, api.post(f"/v1/tasks/{task_id}/resolve", {"outcome": outcome, "note": note}))


@decision.command("show")
def decision_show(decision_id: str) -> None:
    """A recorded decision, with the rules of that day."""
    value = client().get(f"/v1/decisions/{decision_id}")
    if not show(value):
        output.record(value)


def wait_task(api: Client, task_id: str, timeout: float = 300) -> Any:
    """Polls a task until it rests: ended, or waiting for someone."""
    import time

    deadline = time.monotonic() + timeout
    while True:
        value = api.get(f"/v1/tasks/{task_id}")
        if value["state"] not in ("queued", "running", "retrying") or time.monotonic() > deadline:
            return value
        time.sleep(0.15)


# approvals ----------------------------------------------------------------------------------------------------------
@approvals.command("list")
def approvals_list(state: str = "open", limit: int = 50) -> None:
    """Approvals and what they block."""
    api = client()
    value = api.get(api.ws("/approvals"), state=state, limit=limit)
    if not show(value):
        rows = [
            {**row, "for": ", ".join(str(item.get("name") or item["id"]) for item in row["blocks"])}
            for row in value["items"]
        ]
        columns = ["id", "title", "for", "verb", "state", "since", "expires_at"]
        output.table(rows, columns, f"No approval is {state}.")


@approvals.command("show")
def approvals_show(approval_id: str) -> None:
    """The card: the exact action, its digest and effect, what it blocks, who may decide."""
    value = client().get(f"/v1/approvals/{approval_id}")
    if not show(value):
        output.card(value)


@approvals.command("approve")
def approvals_approve(approval_id: str, comment: str = "", digest: str | None = None, dry_run: bool = False) -> None:
    """Approve exactly what the card shows."""
    decide(approval_id, "approve", comment, digest, dry_run)


@approvals.command("reject")
def approvals_reject(approval_id: str, comment: str = "", digest: str | None = None, dry_run: bool = False) -> None:
    """Reject it; what waited for it ends."""
    decide(approval_id, "reject", comment, digest, dry_run)


def decide(approval_id: str, decision: str, comment: str, digest: str | None, dry_run: bool) -> None:
    """Sends one decision, bound to the digest that was read."""
    api = client()
    card = api.get(f"/v1/approvals/{approval_id}")
    body = {"decision": decision, "digest": digest or card["digest"], "comment": comment}
    if dry_run:
        if not show({"would": body, "card": card}):
            output.card(card)
            output.out.print(f"  dry run: would {decision}; nothing was sent")
        return
    value = api.post(f"/v1/approvals/{approval_id}/decisions", body)
    if not show(value):
        output.card(value)


@tool.command("list")
def tool_list() -> None:
    """Tools that the workspace has."""
    api = client()
    value = api.get(api.ws("/tools"))
    if not show(value):
        output.table(value["items"], ["name", "side_effect", "description"], "No tools: attach a pack first.")


@tool.command("call")
def tool_call(
    name: str,
    arguments: Annotated[str, typer.Option("--arguments", "-a", help="JSON object, or @file")] = "{}",
    key: str | None = None,
) -> None:
    """Call a tool, governed like every call (6: an approval is waited for; repeat with the same --key)."""
    body = {"arguments": read_json(arguments)}
    api = client()
    answer = api.send("POST", api.ws(f"/tools/{name}/call"), body, key=key)
    value = answer.json()
    if not show(value):
        output.record(value)
    if answer.status_code == 202:
        raise typer.Exit(6)
    raise typer.Exit(0 if value.get("status") in ("ok", "succeeded") else 1)


@invocation.command("show")
def invocation_show(invocation_id: str) -> None:
    """One invocation."""
    value = client().get(f"/v1/invocations/{invocation_id}")
    if not show(value):
        output.record(value)


@invocation.command("why")
def invocation_why(invocation_id: str) -> None:
    """The road the invocation travelled, with the failing leg open."""
    value = client().get(f"/v1/invocations/{invocation_id}/why")
    if not show(value):
        output.explanation(value)


@view.command("list")
def view_list() -> None:
    """Views of the workspace."""
    api = client()
    value = api.get(api.ws("/views"))
    if not show(value):
        output.table(value["items"], ["id", "name", "title", "revision"], "No views yet.")


@view.command("show")
def view_show(view_id: str, revision: int | None = None) -> None:
    """A view's document."""
    value = client().get(f"/v1/views/{view_id}", revision=revision)
    if not show(value):
        output.text(str(value["shown"]["document"].get("text", "")))


# audit --------------------------------------------------------------------------------------------------------------
@audit.command("export")
def audit_export(file: Path) -> None:
    """Write the workspace's ledger, its seals and an offline verifier to a tar file."""
    api = client()
    answer = api.send("GET", api.ws("/audit/export"))
    file.write_bytes(answer.content)
    value = {"file": str(file), "bytes": len(answer.content)}
    if not show(value):
        output.record(value)


@audit.command("verify")
def audit_verify(
    file: Annotated[Path | None, typer.Argument(help="an export; without it the platform's own ledger")] = None,
) -> None:
    """Verify a ledger: an export offline (no database, no server), or this workspace's on the platform."""
    if file is not None:
        from worka.audit.verify import verify_file

        value = verify_file(file)
    else:
        api = client()
        value = api.get(api.ws("/audit/verify"))
    if not show(value):
        output.record(value)
    raise typer.Exit(0 if value.get("ok") else 1)


def run() -> None:
    """Runs the command line and turns problems into exit codes."""
    from worka.kernel.errors import Problem

    try:
        app(prog_name="worka")
    except Failed as failed:
        if State.form in ("json", "ndjson", "yaml"):
            output.data(failed.body, State.form)
        output.problem(failed.body)
        sys.exit(failed.exit_code)
    except Problem as problem:
        output.problem(problem.body())
        sys.exit(1)
    except BrokenPipeError:
        # Whoever reads our output has seen enough; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        output.problem(
            {
                "title": "A file cannot be used",
                "detail": f"{error.filename or ''}: {error.strerror or error}",
                "remedy": "Check the path and its permissions.",
            }
        )
        sys.exit(1)
