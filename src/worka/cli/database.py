"""`worka database`: a PostgreSQL of your own instead of the embedded one."""

from __future__ import annotations

import os
import secrets
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

import typer

from worka.cli import output
from worka.cli.client import Failed
from worka.cli.shell import show

database = typer.Typer(no_args_is_help=True, help="The database, where it is your own server.")
NAMES = {
    "app": "WORKA_DATABASE__URL",
    "engine": "WORKA_DATABASE__ENGINE_URL",
    "migrator": "WORKA_DATABASE__MIGRATOR_URL",
}


@database.command("setup")
def setup(
    name: Annotated[str, typer.Option("--database", help="the database to make for Worka")] = "worka",
) -> None:
    """Make Worka's three roles and its database on your server, and print the settings that name them.

    The administrator's address comes from WORKA_ADMIN_URL or is asked for, never from the command line, where every user of
    the machine could read it; it is used once and kept nowhere. Run again, it gives the roles new passwords.
    """
    import psycopg

    from worka.kernel.postgres import ROLES, create_roles

    admin = os.environ.get("WORKA_ADMIN_URL") or typer.prompt("Administrator's URL", hide_input=True, err=True)
    address(admin, "", "", name)  # an address of another form is refused before anything is made
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    try:
        with psycopg.connect(admin, autocommit=True, connect_timeout=10) as conn:
            create_roles(conn, passwords, name)
    except psycopg.Error as error:
        raise Failed(
            {
                "code": "database_setup_failed",
                "title": "The server did not take the roles",
                "detail": str(error).strip() or type(error).__name__,
                "remedy": "Check WORKA_ADMIN_URL: it must name a role that may create roles and databases.",
            },
            1,
        ) from error
    value = {NAMES[role]: address(admin, ROLES[role], passwords[role], name) for role in NAMES}
    if not show(value):
        output.talk.print(
            "[green]✓[/] three roles and the database are there; keep these lines where `worka up` reads them:"
        )
        for setting, url in value.items():
            print(f"export {setting}={url}")


def address(admin: str, role: str, password: str, name: str) -> str:
    """The administrator's address with another role and database. Raises Failed for one that is no URL."""
    parts: Any = urlsplit(admin)
    if parts.scheme not in ("postgresql", "postgres"):
        raise Failed(
            {"title": "This is no URL", "detail": "the administrator's address must be postgresql://…", "remedy": ""}, 2
        )
    host = parts.netloc.rpartition("@")[2]
    return str(urlunsplit((parts.scheme, f"{role}:{quote(password, safe='')}@{host}", f"/{name}", parts.query, "")))
