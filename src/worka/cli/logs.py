"""Raw words behind a failure: of the broker for one egress row, and of everybody for one call."""

from __future__ import annotations

from typing import Any

import typer

from worka.cli import output
from worka.cli.shell import client, show

NONE = "No failure line: nothing failed, or the row is older than these lines."


def onto(egress: typer.Typer, invocation: typer.Typer) -> None:
    """Adds `log` to both nouns."""
    egress.command("log")(egress_log)
    invocation.command("log")(invocation_log)


def egress_log(egress_id: str) -> None:
    """What the socket, TLS or the parser said of a request that failed or was refused, redacted (egr_…). A registry's, webhook's or
    mail server's failure names its egress row: `worka why`."""
    value = client().get(f"/v1/egress/{egress_id}/log")
    if show(value):
        return
    output.text(f"{value['egress_id']}  {value['host']}:{value['port']}  {value['reason']}")
    output.table(value["items"], ["at", "reason", "text"], NONE)


def invocation_log(invocation_id: str) -> None:
    """What the sandbox, the pack and the broker said of a call, redacted (inv_…)."""
    value = client().get(f"/v1/invocations/{invocation_id}/log")
    if show(value):
        return
    output.text(
        f"{value['invocation_id']}  {value['state']}  {value['reason'] or ''}  {value['message'] or ''}".rstrip()
    )
    _part("standard error, the last lines", value["stderr_tail"])
    _part("what it wrote where answers belong", value["stray_stdout"])
    output.table(value["broker"], ["at", "host", "port", "reason", "text"], NONE)


def _part(name: str, text: Any) -> None:
    if text:
        output.text(f"--- {name}")
        output.text(str(text))
