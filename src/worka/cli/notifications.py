"""`worka webhook`: outside systems that are told of what happens in the workspace, and what became of each message."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.shell import client, show

mail = typer.Typer(no_args_is_help=True, help="Mail to you, and who was told of an approval.")
webhook = typer.Typer(no_args_is_help=True, help="Webhooks: outside systems that are told of what happens here.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="check it, say what would be done, and do nothing")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="such as approval.requested, approval.*, or * (repeat it)")
]
_COLUMNS = ["id", "type", "state", "reason", "attempts", "status", "next_at", "created_at"]
_ENDED = ("sent", "refused", "failed", "skipped")


def told(value: dict[str, Any], *lines: str) -> None:
    """A webhook, for people or machines."""
    if not show(value):
        output.record({**value, "types": ", ".join(value["types"])}, skip=("dry_run",))
        for line in lines:
            output.out.print(f"  {line}")


@webhook.command("add")
def webhook_add(url: str, types: Types = None, description: str = "", dry_run: DryRun = False) -> None:
    """Have an outside system told. Its secret is printed once: the receiver checks each message with it."""
    api = client()
    body = {"url": url, "types": types or ["*"], "description": description, "dry_run": dry_run}
    value = api.post(api.ws("/webhooks"), body)
    told(
        value,
        "dry run: it would be added; nothing was kept" if dry_run else "the secret above is not shown again",
        *([] if dry_run else [f"try it: worka webhook test {value['id']}"]),
    )


@webhook.command("list")
def webhook_list(limit: int = 50) -> None:
    """The webhooks of the workspace."""
    api = client()
    value = api.get(api.ws("/webhooks"), limit=limit)
    if not show(value):
        rows = [{**row, "types": ", ".join(row["types"])} for row in value["items"]]
        output.table(rows, ["id", "url", "types", "state", "reason"], "No webhooks yet: worka webhook add URL.")


@webhook.command("show")
def webhook_show(webhook_id: str) -> None:
    """One webhook, and its last deliveries."""
    api = client()
    value = api.get(f"/v1/webhooks/{webhook_id}")
    last = api.get(f"/v1/webhooks/{webhook_id}/deliveries", limit=5)["items"]
    if not show({**value, "deliveries": last}):
        output.record({**value, "types": ", ".join(value["types"])})
        output.table(last, _COLUMNS, "Nothing was sent to it yet.")


@webhook.command("change")
def webhook_change(
    webhook_id: str, types: Types = None, description: str | None = None, dry_run: DryRun = False
) -> None:
    """Change what it is told of, or what it is for."""
    body: dict[str, Any] = {"types": types, "description": description}
    told(_change(client(), webhook_id, {key: value for key, value in body.items() if value is not None}, dry_run))


@webhook.command("pause")
def webhook_pause(webhook_id: str, dry_run: DryRun = False) -> None:
    """Send nothing to it until it is taken up again. What comes meanwhile is kept, and can be replayed."""
    told(_change(client(), webhook_id, {"state": "paused"}, dry_run))


@webhook.command("resume")
def webhook_resume(webhook_id: str, dry_run: DryRun = False) -> None:
    """Take it up again; what was missed is sent by `worka webhook replay`."""
    told(_change(client(), webhook_id, {"state": "active"}, dry_run))


def _change(api: Client, webhook_id: str, body: dict[str, Any], dry_run: bool) -> dict[str, Any]:
    value = api.call("PATCH", f"/v1/webhooks/{webhook_id}", {**body, "dry_run": dry_run})
    if dry_run:
        output.talk.print("dry run: it would be as follows; nothing was changed")
    return dict(value)


@webhook.command("rotate")
def webhook_rotate(
    webhook_id: str,
    overlap_hours: Annotated[int, typer.Option(min=0, max=168, help="how long the old secret signs as well")] = 24,
    dry_run: DryRun = False,
) -> None:
    """Give it a new secret, printed once; both sign for a while."""
    value = client().post(f"/v1/webhooks/{webhook_id}/rotate", {"overlap_hours": overlap_hours, "dry_run": dry_run})
    told(
        value,
        "dry run: it would get a new secret; nothing was changed"
        if dry_run
        else f"the secret above is not shown again; the old one signs beside it for {overlap_hours} h",
    )


@webhook.command("test")
def webhook_test(
    webhook_id: str,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for what comes of it")] = 20,
    dry_run: DryRun = False,
) -> None:
    """Send it a message that says it is a test, and wait for what comes of it. Exit code 1 when it did not arrive."""
    api = client()
    made = api.change("POST", f"/v1/webhooks/{webhook_id}/test", dry_run=dry_run)
    if dry_run:
        if not show({"would": "send a test message", "type": made["type"], "webhook_id": webhook_id}):
            output.text(f"dry run: would send {webhook_id} a test message; nothing was sent")
        return
    _awaited(api, made, wait)


def _awaited(api: Client, made: dict[str, Any], wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        value = api.get(f"/v1/deliveries/{made['id']}")
        if value["state"] in _ENDED or value["tries"] or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if not show(value):
        _delivery(value)
        if value["state"] != "sent":
            output.explanation(api.get(f"/v1/deliveries/{made['id']}/why"))
    raise typer.Exit(0 if value["state"] == "sent" else 1)


@webhook.command("deliveries")
def webhook_deliveries(
    webhook_id: str,
    state: Annotated[str | None, typer.Option(help="queued, sent, refused, failed or skipped")] = None,
    limit: int = 50,
) -> None:
    """What was sent to it, or is to be; or one delivery, by its id (dlv_…), with every try."""
    api = client()
    if webhook_id.startswith("dlv_"):
        value = api.get(f"/v1/deliveries/{webhook_id}")
        if not show(value):
            _delivery(value)
        return
    value = api.get(f"/v1/webhooks/{webhook_id}/deliveries", state=state, limit=limit)
    if not show(value):
        output.table(value["items"], _COLUMNS, "Nothing was sent to it yet.")


def _delivery(value: dict[str, Any]) -> None:
    output.record(value, skip=("payload", "tries"))
    columns = ["number", "at", "reason", "status", "duration_ms", "detail", "answer", "egress_id"]
    output.table(value["tries"], columns, "It was not tried yet.")


@webhook.command("replay")
def webhook_replay(
    webhook_id: str,
    delivery: Annotated[str | None, typer.Option(help="one delivery, whatever became of it")] = None,
    since: Annotated[str | None, typer.Option(help="time (ISO 8601 with its zone) or an age such as 2h")] = None,
    until: Annotated[str | None, typer.Option(help="the same; without it now")] = None,
    dry_run: DryRun = False,
) -> None:
    """Send one delivery again, or those of a span of time that did not arrive, under the same message ids."""
    if (delivery is None) == (since is None):
        raise typer.BadParameter("name one: --delivery or --since")
    body = {"delivery_id": delivery, "since": since, "until": until, "dry_run": dry_run}
    value = client().post(
        f"/v1/webhooks/{webhook_id}/replays", {key: item for key, item in body.items() if item is not None}
    )
    if not show(value):
        count = len(value["deliveries"])
        output.text(
            f"{count} {'would be' if dry_run else 'are'} sent again" + ("; nothing was sent" if dry_run else "")
        )
        for item in value["deliveries"]:
            output.out.print(f"  {item}")
        if value["more"]:
            output.out.print("  there are more: repeat it when these are through")


@webhook.command("remove")
def webhook_remove(webhook_id: str, dry_run: DryRun = False) -> None:
    """Take it away; what was not delivered is not tried any more."""
    api = client()
    path = f"/v1/webhooks/{webhook_id}"
    value = api.change("DELETE", path, dry_run=dry_run)
    if not show({"would": "remove", "webhook": value} if dry_run else value):
        output.record({**value, "types": ", ".join(value["types"])})
        if dry_run:
            output.out.print("  dry run: would remove it; nothing was changed")


# mail -----------------------------------------------------------------------------------------------------------------
@mail.command("test")
def mail_test(
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for what comes of it")] = 30,
    dry_run: DryRun = False,
) -> None:
    """Send yourself a mail that says it is a test, and wait for what comes of it. Exit code 1 when it was not accepted."""
    api = client()
    made = api.change("POST", api.ws("/mail-tests"), dry_run=dry_run)
    if dry_run:
        if not show({"would": "send a test mail to you", "type": made["type"]}):
            output.text("would send a test mail to you; nothing was sent")
        return
    _awaited(api, made, wait)


@mail.command("show")
def mail_show() -> None:
    """Whether you get mail."""
    api = client()
    _chosen(api.get(api.ws("/my-notifications")))


@mail.command("on")
def mail_on(dry_run: DryRun = False) -> None:
    """Get mail when your yes is needed, and when what you asked for is decided."""
    _choose(True, dry_run)


@mail.command("off")
def mail_off(dry_run: DryRun = False) -> None:
    """Get none. What waits for you stands in `worka approvals list --whose mine` all the same."""
    _choose(False, dry_run)


def _choose(wanted: bool, dry_run: bool) -> None:
    api = client()
    path = api.ws("/my-notifications")
    value = api.get(path) if dry_run else None
    made = api.change("PUT", path, {"mail": wanted}, dry_run=dry_run)
    if value is None:
        _chosen(made)
    elif not show({"would": {"mail": wanted}, "is": value}):
        same = value["mail"] is wanted
        output.text(f"mail to you {'is already' if same else 'would be'} {'on' if wanted else 'off'}; nothing was sent")


def _chosen(value: dict[str, Any]) -> None:
    if not show(value):
        output.text(f"mail to you is {'on' if value['mail'] else 'off'}")
        if not value["sent"]:
            output.text("this deployment sends no mail at all: its operator sets WORKA_MAIL__HOST")


@mail.command("told")
def mail_told(approval_id: str) -> None:
    """Who was told of an approval, by mail or webhook, what became of it, and why nobody else was told."""
    value = client().get(f"/v1/approvals/{approval_id}/notifications")
    if not show(value):
        output.text(value["headline"])
        rows = [{**item["delivery"], "name": item["name"]} for item in value["told"]]
        output.table(rows, ["id", "channel", "name", "type", "state", "reason", "attempts"], "No message was written.")
