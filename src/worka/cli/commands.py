"""The commands. Each is a call of the API and a way to print its answer."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worka import __version__
from worka.cli import (
    access,
    accounts,
    approvals,
    building,
    connections,
    database,
    egress,
    fields,
    invitations,
    kills,
    lifecycle,
    limits,
    logs,
    members,
    moving,
    myself,
    network,
    notifications,
    output,
    packs,
    policies,
    registry,
    setup,
    team,
    treasury,
    withdrawals,
)
from worka.cli.client import Client, Failed, save_login
from worka.cli.people import named
from worka.cli.shell import State, app, asked_for_code, client, group, read_json, show

task = group("task", "Tasks: governed pieces of work.")
app.command("setup")(setup.setup)
app.add_typer(setup.tenant, name="tenant")
app.add_typer(access.access, name="access")
app.add_typer(access.decision, name="decision")
app.add_typer(members.member, name="member")
app.add_typer(invitations.invitation, name="invitation")
app.add_typer(members.person, name="person")
app.add_typer(accounts.accounts, name="service-account")
app.add_typer(team.team, name="team-member")
app.add_typer(team.token, name="token")
app.add_typer(myself.me, name="me")
app.add_typer(approvals.approvals, name="approvals")
app.add_typer(approvals.groups, name="group")
app.add_typer(packs.pack, name="pack")
building.onto(packs.pack)
moving.onto(packs.pack)
app.add_typer(lifecycle.advisories, name="advisory")
app.add_typer(registry.registry, name="registry")
app.add_typer(policies.policy, name="policy")
app.add_typer(kills.kill, name="kill")
app.add_typer(limits.limits, name="limits")
app.add_typer(limits.workspace, name="workspace")
app.add_typer(withdrawals.release, name="release")
app.add_typer(withdrawals.secret, name="secret")
app.add_typer(treasury.treasury, name="treasury")
app.add_typer(connections.connection, name="connection")
app.add_typer(egress.egress, name="egress")
app.add_typer(notifications.mail, name="mail")
app.add_typer(notifications.webhook, name="webhook")
app.add_typer(database.database, name="database")
app.add_typer(network.network, name="network")
tool = group("tool", "Tools of the packs attached to the workspace.")
invocation = group("invocation", "Invocations of tools.")
view = group("view", "Views of the workspace.")
audit = group("audit", "The audit ledger.")
logs.onto(egress.egress, invocation)
config = group("config", "Settings of this machine.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def up() -> None:
    """Start everything on this machine: embedded PostgreSQL, serve, worker, host, broker, launcher."""
    import asyncio

    from worka.kernel import settings, telemetry
    from worka.kernel.errors import Problem
    from worka.workers.supervisor import Supervisor

    loaded = settings.load()
    telemetry.configure("supervisor", None)

    def ready(url: str) -> None:
        output.talk.print(f"[green]✓[/] Worka answers at [bold]{url}[/]  (data: {loaded.home})")
        token = loaded.home / "run" / "setup-token"
        if token.exists():
            output.talk.print(
                "  nobody is set up here yet. In another terminal, once: [bold]worka setup[/] makes the first operator, you"
                f"\n  (with the one-time token in {token})"
            )

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
    from worka.kernel import paths

    home = paths.home()
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
    code: Annotated[str, typer.Option(help="a code of the second factor; asked for where it is needed")] = "",
) -> None:
    """Sign in and keep the credential for this user (0600)."""
    token = with_token
    if token is None:
        setup.someone_answers()
        email = email or typer.prompt("E-mail", err=True)
        password = os.environ.get("WORKA_PASSWORD_STDIN") and sys.stdin.readline().rstrip("\n")
        password = password or typer.prompt("Password", hide_input=True, err=True)
        token = signed_in(Client(State.url), {"email": email, "password": password, "code": code})
    me = Client(State.url, token).get("/v1/me")
    save_login(State.url, token, State.workspace, State.login)
    if not show(me):
        output.talk.print("[green]✓[/] signed in")


def signed_in(api: Client, body: dict[str, str]) -> str:
    """The token of a new session; asks for the code of a second factor when it turns out to be needed."""
    try:
        return str(api.post("/v1/sessions", body)["session_token"])
    except Failed as failed:
        if failed.body.get("code") != "second_factor_required" or body["code"] or not sys.stdin.isatty():
            raise
    return str(api.post("/v1/sessions", {**body, "code": asked_for_code()})["session_token"])


@app.command()
def changes(
    since: Annotated[str | None, typer.Option(help="time (ISO 8601) or age such as 2h")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    who: Annotated[str | None, typer.Option(help="who did it: an id, or a part of the name")] = None,
    about: Annotated[str | None, typer.Option(help="what it was done to: an id, or a part of the name")] = None,
) -> None:
    """What changed in this workspace: who, on whose behalf, what, before and after, and why."""
    api = client()
    value = api.get(api.ws("/changes"), since=since, limit=limit, actor=who, subject=about)
    if not show(value):
        columns = ["at", "lane", "sentence", "diff", "subject.id"]
        output.table(value["items"], columns, "Nothing changed.", {"diff": "from → to"})


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
def doctor(
    egress: Annotated[
        bool,
        typer.Option(
            "--egress", help="try every vector of the hostile egress suite too, on a Worka of its own (a minute)"
        ),
    ] = False,
) -> None:
    """Check the parts of this instance, and name the remedy of what is broken."""
    from worka.cli.doctor import examine, hostile
    from worka.cli.doctor.check import Check
    from worka.kernel import settings

    try:
        found = [check.as_dict() for check in examine(State.url, settings.load())]
    except SystemExit as unreadable:
        remedy = "Correct this setting; docs/reference/settings.md lists them all."
        found = [Check("settings", "failed", str(unreadable), remedy).as_dict()]
    if egress:
        found += [check.as_dict() for check in hostile.egress_suite_checks()]
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
RESTED = {"succeeded": 0, "waiting": 6}
"""What the command ends with that waited for a task; of every other state: 1."""


@task.command("create")
def task_create(
    workflow: str,
    member: Annotated[
        str, typer.Option(help="the AI team member whose steps these are, by name or id; default: the only one")
    ] = "",
    inputs: Annotated[str, typer.Option("--input", help="inputs as a JSON object, or @file")] = "{}",
    definition_version: Annotated[int | None, typer.Option("--definition-version", help="default: the newest")] = None,
    wait: Annotated[bool, typer.Option(help="wait until it ends (0), fails (1) or waits for someone (6)")] = False,
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
    if wait:
        raise typer.Exit(RESTED.get(value["state"], 1))


def show_task(api: Client, value: Any) -> None:
    """What it is, and why it is as it is."""
    if not show(value):
        output.text(f"{value['id']}  {value['title']}")
        output.explanation(api.get(f"/v1/tasks/{value['id']}/why"))


def team_member(api: Client, wanted: str) -> str:
    """The id of the AI team member that is meant. Raises Failed when that is not clear."""
    members = api.pages(api.ws("/team-members"))
    fitting = named(members, wanted) if wanted else members
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
    raise typer.Exit(RESTED.get(value["state"], 1))


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


def wait_task(api: Client, task_id: str, timeout: float = 300) -> Any:
    """Polls a task until it rests: ended, or waiting for someone."""
    import time

    deadline = time.monotonic() + timeout
    while True:
        value = api.get(f"/v1/tasks/{task_id}")
        if value["state"] not in ("queued", "running", "retrying") or time.monotonic() > deadline:
            return value
        time.sleep(0.15)


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
    """Call a tool, governed like every call (6: an approval or a connection is waited for; repeat with the same --key)."""
    body = {"arguments": read_json(arguments)}
    api = client()
    answer = api.send("POST", api.ws(f"/tools/{name}/call"), body, key=key)
    value = answer.json()
    if not show(value):
        output.record(value)
    if answer.status_code == 202 and value.get("because"):
        output.talk.print(f"{value['superseded']} was superseded: {output.escape(value['because'])}")
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
        output.problem(fields.spoken(failed.body, app, sys.argv[1:]))
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
