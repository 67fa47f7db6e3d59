"""`worka me`: who I am here, and my second factor."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from worka.cli import output
from worka.cli.shell import asked_for_code, client, show

me = typer.Typer(help="Who I am here, and my second factor.", invoke_without_command=True)
factor = typer.Typer(
    no_args_is_help=True, help="My second factor: a code of an authenticator app, at sign-in and for decisions."
)
me.add_typer(factor, name="second-factor")
Code = Annotated[str, typer.Option(help="a code of the app, or a recovery code; asked for otherwise")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]


@me.callback()
def who(ctx: typer.Context) -> None:
    """Who I am here and what I may do."""
    if ctx.invoked_subcommand is not None:
        return
    value = client().get("/v1/me")
    if not show(value):
        output.record(value)


@me.command("step-up")
def step_up(code: Code = "") -> None:
    """Give the second factor now: for a while this session decides what wants that."""
    value = client().post("/v1/sessions/current/step-up", {"code": code or asked_for_code()})
    if not show(value):
        output.talk.print(f"[green]✓[/] stepped up until {value['until']}")


@factor.command("show")
def factor_show() -> None:
    """Whether it is in force, and how many recovery codes are left."""
    value = client().get("/v1/me/second-factor")
    if not show(value):
        output.record(value)


@factor.command("set-up")
def factor_set_up(code: Code = "", dry_run: DryRun = False) -> None:
    """Set it up, or put another app in its place: shows a QR code, then asks for its first code."""
    api = client()
    before = api.get("/v1/me/second-factor")
    if dry_run:
        would = "renew" if before["state"] == "on" else "set up"
        if not show({"would": would, "now": before}):
            output.text(f"dry run: would {would} the second factor; what is in force stays until the first right code")
        return
    password = os.environ.get("WORKA_PASSWORD_STDIN") and sys.stdin.readline().rstrip("\n")
    password = password or typer.prompt("Password", hide_input=True, err=True)
    body = {"password": password, "code": code or (asked_for_code() if before["state"] == "on" else "")}
    value = api.post("/v1/me/second-factor", body)
    if show(value):  # a program goes on with `confirm`
        return
    if sys.stderr.isatty():
        import segno

        segno.make(value["otpauth_uri"], error="m").terminal(out=sys.stderr, compact=True)
    output.text(f"secret  {value['secret']}")
    output.text(f"uri     {value['otpauth_uri']}")
    output.talk.print("Read the QR code or type the secret into an authenticator app. It is shown this once.")
    if sys.stdin.isatty():
        factor_confirm(asked_for_code())
    else:
        output.talk.print("then: worka me second-factor confirm CODE")


@factor.command("confirm")
def factor_confirm(code: str) -> None:
    """Put it into force with its first code; prints ten recovery codes, once."""
    _codes(client().post("/v1/me/second-factor/confirm", {"code": code}))


@factor.command("recovery-codes")
def factor_recovery_codes(code: Code = "", dry_run: DryRun = False) -> None:
    """Ten new recovery codes; the old ones open nothing any more."""
    api = client()
    if dry_run:
        left = api.get("/v1/me/second-factor")["recovery_left"]
        if not show({"would": "renew recovery codes", "voids": left}):
            output.text(f"dry run: would make ten new recovery codes; the {left} that are left would open nothing")
        return
    _codes(api.post("/v1/me/second-factor/recovery-codes", {"code": code or asked_for_code()}))


@factor.command("end")
def factor_end(code: Code = "", dry_run: DryRun = False) -> None:
    """Take it away, with a code of it or a recovery code."""
    api = client()
    if dry_run:
        now = api.get("/v1/me/second-factor")
        if not show({"would": "end the second factor", "now": now}):
            output.text("dry run: would take your second factor away; sign-in would ask for the password alone")
        return
    value = api.post("/v1/me/second-factor/end", {"code": code or asked_for_code()})
    if not show(value):
        output.talk.print("[green]✓[/] sign-in asks for the password alone from now on")


def _codes(value: dict[str, object]) -> None:
    if show(value):
        return
    output.talk.print("[green]✓[/] in force. Recovery codes, shown this once; each works once:")
    codes = value["recovery_codes"]
    assert isinstance(codes, list)
    for text in codes:
        output.text(str(text))
