"""What every command stands on: the application and its options, the client of the chosen instance, machine output."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed, saved_login
from worka.kernel import paths

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    help="Worka: operate governed AI work. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 needs login,"
    " 5 denied by policy, 6 waiting for approval, 7 conflict.",
)


def group(name: str, text: str) -> typer.Typer:
    """A noun of the command line."""
    made = typer.Typer(no_args_is_help=True, help=text)
    app.add_typer(made, name=name)
    return made


class State:
    """What the options before the verb chose."""

    url: str = ""
    token: str | None = None
    workspace: str | None = None
    form: str = "text"
    login: str = ""


def client() -> Client:
    """The client for the chosen instance and principal."""
    return Client(State.url, State.token, State.workspace)


def show(value: Any) -> bool:
    """Machine output when asked for."""
    return output.data(value, State.form)


@app.callback()
def chosen(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(envvar="WORKA_URL", help="address of the instance")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="WORKA_TOKEN", help="credential; default: the saved login")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", envvar="WORKA_WORKSPACE", help="workspace id")
    ] = None,
    form: Annotated[
        str, typer.Option("--output", "-o", envvar="WORKA_OUTPUT", help="text, json, ndjson or yaml")
    ] = "text",
    name: Annotated[
        str, typer.Option("--login", envvar="WORKA_LOGIN", help="a named login, for those who are several people")
    ] = "",
) -> None:
    """Options before the verb hold for every command."""
    if form not in ("text", "json", "ndjson", "yaml"):
        raise typer.BadParameter(f"--output {form} is not one of text, json, ndjson, yaml")
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
        raise typer.BadParameter(f"--login {name} is no name: small letters, digits and dashes")
    State.login = name
    # A login that is about to be made need not exist.
    made_now = ctx.invoked_subcommand in ("login", "setup") or (bool(name) and ctx.invoked_subcommand == "invitation")
    login = {} if made_now else saved_login(name)
    State.url = url or login.get("url") or running_url() or "http://127.0.0.1:8080"
    State.token = token or login.get("token")
    State.workspace = workspace or login.get("workspace")
    State.form = form


ReleaseName = Annotated[str, typer.Argument(help="its id, or publisher.name@version")]


def named_release(api: Client, given: str) -> str:
    """The id of a release that was named by its id or as publisher.name@version. Raises Failed, which names the versions
    that there are."""
    name, at, version = given.partition("@")
    if not at and "." not in given:
        return given
    versions = []
    for row in api.pages(api.ws("/releases"), most=1000):
        if f"{row['publisher']}.{row['name']}" == name:
            if row["version"] == version:
                return str(row["id"])
            versions.append(str(row["version"]))
    if not versions:
        there = f"none of the last thousand releases is of a pack {name[:120]}"
    else:
        wanted = f"has no version {version[:60]}" if at else "is a pack, and a release is one version of it"
        there = f"{name[:120]} {wanted}; {name[:120]} has {', '.join(versions[:10])}"
    raise Failed(
        {
            "code": "release_not_found",
            "title": "There is no such release here",
            "detail": there,
            "remedy": f"Name one of these as {name[:120]}@VERSION."
            if versions
            else "List them with `worka pack list`.",
        },
        3,
    )


def running_url() -> str | None:
    """The address of the instance that runs on this machine's WORKA_HOME."""
    try:
        return str(json.loads((paths.home() / "run" / "instance.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None


def setup_token_file() -> Path:
    """Where the instance of this machine's WORKA_HOME puts the one-time token of its first operator."""
    return paths.Paths(paths.home()).setup_token


def asked(what: str, hidden: bool = False, twice: bool = False) -> str:
    """A line of a person, or of standard input. Raises BadParameter where there is none."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hidden, confirmation_prompt=twice, err=True))
    line = sys.stdin.readline().strip("\r\n")
    if not line:
        raise typer.BadParameter(f"standard input has no line for: {what}")
    return line


def asked_for_code() -> str:
    """A code of the second factor, typed by whoever sits there. Raises Failed where nobody does."""
    if not sys.stdin.isatty():
        raise Failed(
            {
                "code": "code_needed",
                "title": "A code of your second factor is needed",
                "detail": "Nobody can be asked for it here: standard input is no terminal.",
                "remedy": "Pass it with --code.",
            },
            4,
        )
    return str(typer.prompt("Code of your second factor", err=True))


def read_json(text: str) -> Any:
    """A JSON object from the command line or from @file."""
    try:
        value = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("a JSON object is needed, such as '{\"limit\": 20}'")
    return value
