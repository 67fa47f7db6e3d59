"""What its operator does about policy: the deployment's against the record, by tenant; and break-glass on the machine."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import show


def dry_run(api: Client, kind: str, text: str, since: str, tenants: list[str]) -> None:
    """Tries a text in the place of the deployment's on the record of some tenants, or of each."""
    chosen = tenants or [row["tenant_id"] for row in api.get("/v1/tenants")["items"]]
    found = [_in_tenant(api, tenant, kind, text, since) for tenant in chosen]
    flips = sum(row["flips"] for row in found)
    value = {
        "items": found,
        "flips": flips,
        "scanned": sum(row["scanned"] for row in found),
        "unreconstructed": sum(row["unreconstructed"] for row in found),
    }
    if show(value):
        return
    output.text(
        f"{flips} of {value['scanned']} recorded decisions of {len(found)} tenants would have been others;"
        f" {value['unreconstructed']} cannot be evaluated again"
    )
    rows = [{"tenant_id": row["tenant_id"], **item} for row in found for item in row["items"]]
    output.table(rows, ["tenant_id", "action", "from", "to", "count"], "Nothing would be different.")


def _in_tenant(api: Client, tenant: str, kind: str, text: str, since: str) -> dict[str, Any]:
    """Every page of one tenant, added up."""
    body = {"tenant_id": tenant, "kind": kind, "text": text}
    counts: dict[tuple[str, str, str], int] = {}
    window: dict[str, Any] = {"since": since}
    scanned, unknown, cursor = 0, 0, None
    while True:
        page = api.post("/v1/deployment/policy-dry-runs", body, cursor=cursor, **window)
        for item in page["items"]:
            key = (item["action"], item["from"], item["to"])
            counts[key] = counts.get(key, 0) + item["count"]
        scanned += page["scanned"]
        unknown += page["unreconstructed"]
        # The window of the first page holds for all: what is decided meanwhile is not in it.
        window, cursor = {"since": page["since"], "until": page["until"]}, page["next"]
        if cursor is None:
            break
    items = [{"action": action, "from": was, "to": to, "count": n} for (action, was, to), n in sorted(counts.items())]
    flips = sum(counts.values())
    return {
        "tenant_id": tenant,
        "items": items,
        "flips": flips,
        "scanned": scanned,
        "unreconstructed": unknown,
        **window,
    }


def break_glass(
    tenant: Annotated[str, typer.Option(help="the tenant's id")],
    reason: Annotated[str, typer.Option(help="why: everybody who reads the changes sees it")] = "",
    workspace_id: Annotated[str | None, typer.Option("--of-workspace", help="its own policy alone")] = None,
    hours: Annotated[float, typer.Option(help="at most 24")] = 1,
    end: Annotated[bool, typer.Option("--end", help="end it before its time")] = False,
    dry_run: Annotated[bool, typer.Option(help="say what it would do, and do nothing")] = False,
) -> None:
    """On the machine, by its operator: set a tenant's (or a workspace's) own policy aside for a while, when it is broken.

    The shipped floor, the deployment's policy and every kill switch go on. It is recorded in the tenant's ledger and
    changes, and ends by itself, or with the next version that is saved.
    """
    import asyncio

    from worka.governance import service
    from worka.kernel import settings
    from worka.kernel.context import Principal
    from worka.workers.wiring import Runtime

    what = f"the policy of workspace {workspace_id}" if workspace_id else f"the policy of tenant {tenant}"
    if dry_run:
        value = {
            "would": f"end the break-glass of {what}" if end else f"set {what} aside for {hours:g} h",
            "done": False,
        }
        if not show(value):
            output.text(f"dry run: would {value['would']}; nothing was done")
        return

    async def run() -> Any:
        runtime = Runtime(settings.load(), "break-glass")
        await runtime.db.open()
        try:
            who = Principal("platform", "platform", f"{getpass.getuser()} on {socket.gethostname()}")
            ctx = runtime.context(who, tenant_id=tenant)
            if end:
                return await service.mend_glass(ctx, workspace_id)
            return [await service.break_glass(ctx, workspace_id, reason, hours)]
        finally:
            await runtime.db.close()

    rows = [
        {key: str(row[key]) for key in ("id", "scope", "reason", "opened_by", "until")} for row in asyncio.run(run())
    ]
    if not show({"items": rows}):
        word = "ended" if end else "set aside until"
        for row in rows:
            output.text(f"{row['id']}: {what} {word}{'' if end else ' ' + row['until']}")
        if not rows:
            output.text("nothing was open")
