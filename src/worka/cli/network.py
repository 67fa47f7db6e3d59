"""`worka network`: where the deployment dials, and what its air gap refuses or would refuse."""

from __future__ import annotations

from typing import Annotated

import typer

from worka.cli import output
from worka.cli.shell import client, show

network = typer.Typer(no_args_is_help=True, help="Network: where this deployment dials, and its air gap.")


@network.command("needed")
def network_needed(
    since: Annotated[str, typer.Option(help="time (ISO 8601) or age such as 24h")] = "24h",
    allow: Annotated[
        list[str] | None,
        typer.Option(help="try this list (name:port, address:port, network/bits:port) in the place of the setting's"),
    ] = None,
) -> None:
    """What left since then and what the settings name, and what an air gap with this list would refuse. As the operator; nothing is
    changed: network.allowed and network.air_gapped are settings."""
    value = client().get("/v1/deployment/network", since=since, allowed=allow or None)
    if show(value):
        return
    output.text("This deployment is air-gapped." if value["air_gapped"] else "This deployment is not air-gapped.")
    listed = ", ".join(value["allowed"]) or "nothing"
    output.text(f"{'Tried' if allow else 'The'} list: {listed}")
    rows = [
        {
            "verdict": "permitted" if item["permitted"] else "would be refused", "item": item["item"], "by": item["kind"],
            "behind": item["address"] or "", "requests": item["requests"], "tenants": item["tenants"], "last": item["last_at"],
        }
        for item in value["items"]
    ] + [
        {
            "verdict": "permitted" if item["permitted"] else "would be refused", "item": f"{item['host']}:{item['port']}",
            "by": f"settings: {item['what']}",
        }
        for item in value["configured"]
    ]  # fmt: skip
    output.table(rows, ["verdict", "item", "by", "behind", "requests", "tenants", "last"], "Nothing left since then.")
    refused = [row["item"] for row in rows if row["verdict"] != "permitted"]
    if refused:
        output.text(f"To keep them: WORKA_NETWORK__ALLOWED={','.join(dict.fromkeys([*value['allowed'], *refused]))}")
    if not value["complete"]:
        output.text("There are more destinations than are shown here: take a shorter time.")
