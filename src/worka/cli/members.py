"""`worka member`: who is in the workspace, inviting, roles, and what each change would give and take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client
from worka.cli.people import someone
from worka.cli.shell import client, show

member = typer.Typer(no_args_is_help=True, help="Members of the workspace: invitations, roles, and what they give.")
person = typer.Typer(
    no_args_is_help=True, help="People of the deployment, whatever they are members of: its operator's."
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what it would give and take, and do nothing")]
Role = Annotated[str, typer.Option(help="owner, admin, member or viewer")]
Who = Annotated[str, typer.Argument(help="an id, a name or an e-mail of the workspace")]


@member.command("list")
def member_list() -> None:
    """Everyone here, with role and owner."""
    api = client()
    value = api.get(api.ws("/members"))
    if not show(value):
        output.table(
            value["items"], ["principal_id", "name", "email", "role", "approver", "enabled"], "Nobody is here."
        )


@member.command("invite")
def member_invite(email: str, role: Role = "member", approver: bool = False, dry_run: DryRun = False) -> None:
    """Invite a person; prints the one-time link. --dry-run shows the access it gives, by the policy of this place."""
    api = client()
    body = {"email": email, "role": role, "approver": approver}
    if dry_run:
        found = api.post(api.ws("/invitations/preview"), body)
        if not show({"would": body, **found}):
            _held(f"{email} as {role}{' and named approver' if approver else ''} would have", found)
            output.text("dry run: nothing was sent")
        return
    _invitation(api, api.post(api.ws("/invitations"), body))


@member.command("invitations")
def member_invitations() -> None:
    """Invitations, and what became of each."""
    api = client()
    value = api.get(api.ws("/invitations"))
    if not show(value):
        columns = ["id", "email", "role", "approver", "state", "invited_by", "expires_at"]
        output.table(value["items"], columns, "Nobody was invited.")
        for row in value["items"]:
            if row["held"]:
                output.text(f"{row['id']} opens nothing for now. {row['held']}")


@member.command("withdraw")
def member_withdraw(invitation_id: str, dry_run: DryRun = False) -> None:
    """Take an invitation back; its link opens nothing any more."""
    api = client()
    value = api.change("POST", api.ws(f"/invitations/{invitation_id}/withdraw"), dry_run=dry_run)
    if dry_run:
        _would("withdraw", value)
    elif not show(value):
        output.talk.print(f"[green]✓[/] withdrawn: {output.escape(value['email'])}")


@member.command("resend")
def member_resend(invitation_id: str, dry_run: DryRun = False) -> None:
    """A new link for an invitation, also an expired one; the old link opens nothing any more."""
    api = client()
    value = api.change("POST", api.ws(f"/invitations/{invitation_id}/renew"), dry_run=dry_run)
    if dry_run:  # its token opens nothing, so it is not shown
        kept = {key: item for key, item in value.items() if key != "invitation_token"}
        _would("resend", {"id": invitation_id, **kept})
        return
    _invitation(api, value)


@member.command("change")
def member_change(
    who: Who,
    role: Annotated[str | None, typer.Option(help="owner, admin, member or viewer")] = None,
    approver: Annotated[bool | None, typer.Option("--approver/--no-approver", help="named approver, or not")] = None,
    dry_run: DryRun = False,
) -> None:
    """Change a role, or name an approver; holds for the very next call."""
    api = client()
    principal = someone(api, who)
    body = {"role": role, "approver": approver}
    if dry_run:
        _difference(who, api.post(api.ws(f"/members/{principal}/preview"), body))
        return
    value = api.call("PATCH", api.ws(f"/members/{principal}"), body)
    if not show(value):
        output.record(value)


@member.command("remove")
def member_remove(who: Who, dry_run: DryRun = False) -> None:
    """Take somebody out; their API tokens of the workspace, and invitations that they sent, open nothing any more."""
    api = client()
    principal = someone(api, who)
    if dry_run:
        found = api.post(api.ws(f"/members/{principal}/preview"), {"remove": True})
        _difference(who, found, removing=True)
        return
    api.send("DELETE", api.ws(f"/members/{principal}"))
    if not show({"removed": principal}):
        output.talk.print("[green]✓[/] removed")


@member.command("reset-second-factor")
def member_reset(
    who: Who,
    why: Annotated[str, typer.Option(help="how it was made sure that it is they who ask")],
    dry_run: DryRun = False,
) -> None:
    """Take the second factor from a member who lost it; their sessions end. Never your own."""
    api = client()
    principal = someone(api, who)
    reset(api, api.ws(f"/members/{principal}/second-factor/reset"), who, why, dry_run)


@person.command("reset-second-factor")
def person_reset(
    who: Annotated[str, typer.Argument(help="a person's id; or, of your workspace, a name or an e-mail")],
    why: Annotated[str, typer.Option(help="how it was made sure that it is they who ask")],
    code: Annotated[str, typer.Option(help="a code of your own second factor, where you have one: steps you up")] = "",
    dry_run: DryRun = False,
) -> None:
    """As the operator: take the second factor from anybody who lost it; their sessions end. Never your own.

    Needs a session with a fresh second factor, where you have one: --code, or `worka me step-up` before. A dry run takes no
    code."""
    api = client()
    principal = someone(api, who)
    if code and not dry_run:
        api.post("/v1/sessions/current/step-up", {"code": code})
    reset(api, f"/v1/people/{principal}/second-factor/reset", who, why, dry_run)


def reset(api: Client, path: str, who: str, why: str, dry_run: bool) -> None:
    """Takes somebody's second factor away, or says what that would do."""
    value = api.change("POST", path, {"why": why}, dry_run=dry_run)
    if dry_run:
        if not show({"would": "reset the second factor", **value, "principal_id": value["person_id"], "why": why}):
            output.text(
                f"dry run: would take {who}'s second factor away and end every session of theirs"
                f" ({value['sessions_ended']} now); nothing was done"
            )
    elif not show(value):
        output.talk.print(f"[green]✓[/] reset; {value['sessions_ended']} sessions ended")


def _invitation(api: Client, value: dict[str, Any]) -> None:
    if show(value):
        return
    output.text(f"{value['invitation_id']}  {value['role']}{' and named approver' if value['approver'] else ''}")
    output.text(f"  token    {value['invitation_token']}")
    output.text(f"  accept   {api.url}/invitation?token={value['invitation_token']}")
    output.talk.print(f"Hand it to them: it works once, until {value['expires_at']}, and is not shown again.")


def _would(verb: str, row: dict[str, Any]) -> None:
    if not show({"would": verb, "invitation": row}):
        of = row.get("email") or f"as {row['role']}, until {row['expires_at']}"
        output.text(f"dry run: would {verb} {row['id']} ({of}); nothing was kept")


def _held(headline: str, found: dict[str, Any]) -> None:
    output.text(f"{headline}:")
    for name, yes in found["permissions"].items():
        output.out.print(f"  {'[green]✓[/]' if yes else '[red]✗[/]'} {output.escape(name.replace('_', ' '))}")
    for area in found["areas"]:
        if not area["may"] and not area["after_approval"]:
            output.text(f"  {area['name']}: nothing")
            continue
        output.text(f"  {area['name']}: {', '.join(area['may']) or 'nothing without an approval'}")
        if area["after_approval"]:
            output.text(f"    once approved: {', '.join(area['after_approval'])}")


def _hangs(who: str, found: dict[str, Any]) -> None:
    """What hangs on somebody who is about to be taken out, before the long list of what they could do."""
    from worka.governance.hanging import counted

    hangs = found["hangs"]
    output.text(f"{who}: what hangs on them here: {', '.join(counted(hangs)) or 'nothing'}")
    for row in hangs:
        output.text(f"  {row['what'].replace('_', ' ')}: {row['name']} ({row['id']})")
    output.text(f"of what they may do here, {len(found['lost'])} actions end:")


def _difference(who: str, found: dict[str, Any], removing: bool = False) -> None:
    if show(found):
        return
    if removing:
        _hangs(who, found)
    if not found["gained"] and not found["lost"]:
        output.text(f"{who} would gain and lose nothing")
    for side, mark in (("gained", "[green]+[/]"), ("lost", "[red]-[/]")):
        for row in found[side]:
            was, now = (row[key].replace("_", " ") for key in ("was", "will_be"))
            output.out.print(f"  {mark} {output.escape(row['action'])}: {was}, then {now}")
    output.text("dry run: nothing was changed")
