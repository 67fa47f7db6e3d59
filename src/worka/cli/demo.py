"""`worka demo`: a governed task end to end on real input, through public routes only, each principal with its own credential.

Every stage says in words what happens and how long it took; a stage that fails is named, and the demo ends non-zero.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rich.markup import escape

from worka.cli import output
from worka.cli.client import Client, Failed, save_login
from worka.cli.commands import wait_task
from worka.cli.demo_evidence import EvidenceFailed, tampered, verify_apart
from worka.cli.demo_surroundings import TRACKER, StageFailed, Surroundings, packs_root, tls_of
from worka.cli.packs import pack_body
from worka.kernel import paths

DEFINITION = Path(__file__).with_name("release_notes.json")
CANARY = "canary.worka.test"
STAGES = (
    "people",
    "packs",
    "outside system",
    "approvals",
    "task",
    "refused road",
    "evidence",
)


class Demo(Surroundings):
    """The state of one run: clients of the principals, ids, timings, verdicts."""

    def __init__(self, interactive: bool, quiet: bool) -> None:
        self.interactive = interactive
        super().__init__((lambda text: None) if quiet else (lambda text: output.talk.print(text)))
        self.run = secrets.token_hex(3)
        self.report: dict[str, Any] = {"run": self.run, "ids": {}, "counts": {}, "verdicts": {}, "timings": {}}
        self.ids: dict[str, str] = self.report["ids"]
        self.operator: Client
        self.owner: Client
        self.approver: Client
        self.member: Client
        self.releases: dict[str, dict[str, Any]] = {}
        self.attachments: dict[str, dict[str, Any]] = {}

    # helpers --------------------------------------------------------------------------------------------------------
    def step(self, text: str) -> None:
        """One line of progress."""
        self.say(f"   {text}")

    def approve(self, approval_id: str, why: str) -> None:
        """The approver decides over HTTP, or a person does in the console (`--interactive`)."""
        if self.interactive:
            link = self.approver.post("/v1/sign-in-links")
            self.say(f"   [bold yellow]your turn[/] sign in as the approver and decide: {link['url']}")
            self.say(f"   then open {self.url}/w/{self.ids['workspace']}/approvals/{approval_id}")
            while self.approver.get(f"/v1/approvals/{approval_id}")["state"] == "open":
                time.sleep(1)
            self.expect(
                self.approver.get(f"/v1/approvals/{approval_id}")["state"] == "approved", "The person did not approve."
            )
            return
        card = self.approver.get(f"/v1/approvals/{approval_id}")
        decided = self.approver.post(
            f"/v1/approvals/{approval_id}/decisions", {"decision": "approve", "digest": card["digest"], "comment": why}
        )
        self.expect(decided["state"] == "approved", f"Approval {approval_id} is {decided['state']}, not approved.")
        self.step(f"[green]✓[/] the approver approved [bold]{escape(card['title'])}[/]  digest {card['digest'][:12]}")
        boundary = self.report.setdefault("approvals_by_boundary", {})
        boundary[card["boundary"]] = boundary.get(card["boundary"], 0) + 1

    def refused_self_approval(self, approval_id: str) -> None:
        """The requester's own try is refused, with the reason."""
        card = self.owner.get(f"/v1/approvals/{approval_id}")
        try:
            self.owner.post(
                f"/v1/approvals/{approval_id}/decisions",
                {"decision": "approve", "digest": card["digest"], "comment": ""},
            )
        except Failed as refusal:
            self.expect(refusal.body.get("status") == 403, f"The refusal has status {refusal.body.get('status')}.")
            self.step(
                f"[green]✓[/] the requester's own approval is refused: [italic]{escape(str(refusal.body['detail']))}[/]"
            )
            self.report["verdicts"]["self_approval"] = refusal.body["code"]
            return
        raise StageFailed("The requester could approve their own request.")

    # stages ---------------------------------------------------------------------------------------------------------
    def people(self) -> None:
        """A tenant, a workspace, an owner, an approver and an AI team member, as separate principals."""
        token_file = self.home / "demo-operator-token"
        setup = self.home / "run" / "setup-token"
        stranger = Client(self.url)
        if token_file.exists():
            self.operator = Client(self.url, token_file.read_text().strip())
            try:
                self.operator.get("/v1/me")
            except Failed:
                token_file.unlink()
        if not token_file.exists():
            self.expect(
                setup.exists(),
                "This instance has an operator already, and the demo does not hold their credential. Use an empty WORKA_HOME.",
            )
            made = stranger.post(
                "/v1/setup",
                {
                    "token": setup.read_text().strip(),
                    "email": "operator@demo.worka.test",
                    "password": secrets.token_urlsafe(18),
                    "display_name": "Odile Operator",
                },
            )
            fd = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(made["session_token"])
            self.operator = Client(self.url, made["session_token"])
            self.step("[green]✓[/] the one-time setup token made the first operator")
        tenant = self.operator.post(
            "/v1/tenants",
            {
                "slug": f"acme-{self.run}",
                "name": f"Acme {self.run}",
                "workspace_name": "Releases",
                "owner_email": f"olga+{self.run}@acme.test",
            },
        )
        self.ids |= {"tenant": tenant["tenant_id"], "workspace": tenant["workspace_id"]}
        ws = tenant["workspace_id"]
        owner = stranger.post(
            "/v1/invitations/accept",
            {"token": tenant["invitation_token"], "password": secrets.token_urlsafe(18), "display_name": "Olga Owner"},
        )
        self.owner = Client(self.url, owner["session_token"], ws)
        invited = self.owner.post(
            f"/v1/workspaces/{ws}/invitations", {"email": f"arno+{self.run}@acme.test", "role": "admin"}
        )
        password = secrets.token_urlsafe(18)
        accepted = stranger.post(
            "/v1/invitations/accept",
            {"token": invited["invitation_token"], "password": password, "display_name": "Arno Approver"},
        )
        # The approver signs in once more, by password, to show that road too.
        session = stranger.post("/v1/sessions", {"email": f"arno+{self.run}@acme.test", "password": password})
        self.approver = Client(self.url, session["session_token"], ws)
        member = self.owner.post(
            f"/v1/workspaces/{ws}/team-members",
            {
                "name": "Rhea",
                "responsibility": "Keeps the release notes of this product",
                "instructions": "Follow the release-notes workflow.",
                "tools": [tool for entry in json.loads(DEFINITION.read_text())["members"] for tool in entry["tools"]],
                "role": "member",
            },
        )
        token = self.owner.post(
            f"/v1/workspaces/{ws}/tokens", {"name": "Rhea's own credential", "principal_id": member["id"]}
        )
        self.member = Client(self.url, token["token"], ws)
        self.ids |= {"owner": owner["person_id"], "approver": accepted["person_id"], "member": member["id"]}
        self.step(f"[green]✓[/] tenant {tenant['tenant_id']}, workspace {ws}")
        self.step("[green]✓[/] owner Olga, approver Arno, AI team member Rhea: three principals, three credentials")

    def packs(self) -> None:
        """Three packs, registered from their manifests: installed from hashed locks, probed in the sandbox, tools frozen."""
        root = packs_root()
        started: dict[str, Any] = {}
        for name in ("git", "fetch", "notes"):
            started[name] = self.owner.post(self.owner.ws("/releases"), pack_body(root / name))
        for name, release in started.items():
            shown = ""
            while release["state"] not in ("released", "failed"):
                if release["state"] != shown:
                    shown = release["state"]
                    self.step(f"[dim]{name}: {shown}…[/]")
                time.sleep(0.2)
                release = self.owner.get(f"/v1/releases/{release['id']}")
            if release["state"] == "failed":
                raise StageFailed(
                    f"The release {name} failed at {release.get('failed_stage')}: {json.dumps(release.get('error'))[:600]}"
                )
            self.releases[name] = release
            self.ids[f"release_{name}"] = release["id"]
            tools = len(release["tools"])
            self.step(
                f"[green]✓[/] {release['publisher']}.{release['name']} {release['version']}: {tools} tools, digest {release['digest'][:16]}"
            )

    def outside(self) -> None:
        """A real HTTPS issue tracker in a process of its own; its token in the treasury behind a connection."""
        # Like many real ones it holds characters that URLs and JSON write in another way.
        token = "trk-" + secrets.token_urlsafe(24) + "+/="
        admin = "adm-" + secrets.token_urlsafe(24)
        folder = self.work / "tracker"
        folder.mkdir()
        for name, value in (("token", token), ("admin", admin)):
            path = folder / name
            path.write_text(value)
            path.chmod(0o600)
        command = [
            sys.executable,
            "-m",
            "worka.cli.demo_tracker",
            "--dir",
            str(folder),
            "--token-file",
            str(folder / "token"),
        ]
        command += ["--admin-token-file", str(folder / "admin"), "--repo-name", self.repository_name()]
        command += ["--while-pid", str(json.loads((self.home / "run" / "instance.json").read_text())["pid"])]
        log = (folder / "tracker.log").open("w")
        self.tracker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd="/",
            start_new_session=True,
        )
        assert self.tracker.stdout is not None
        line = self.tracker.stdout.readline()
        self.expect(line, "The tracker did not start.")
        self.facts = json.loads(line)
        self.report["tracker_folder"] = str(folder)
        self.facts["admin_token"] = admin
        ca = Path(self.facts["ca_pem"]).read_text()
        for name, port in ((TRACKER, self.facts["port"]), (CANARY, self.facts["canary_port"])):
            made = self.owner.post(
                self.owner.ws("/network-exceptions"),
                {
                    "name": name,
                    "port": 443,
                    "address": "127.0.0.1",
                    "real_port": port,
                    "ca_pem": ca,
                    "reason": "the demo's outside system runs on this machine",
                },
            )
            self.ids[f"exception_{name.split('.')[0]}"] = made["id"]
        self.step(
            f"[green]✓[/] the tracker serves HTTPS on a port of its own; a recorded network exception names it {TRACKER}"
        )
        secret = self.owner.post(
            self.owner.ws("/secrets"),
            {
                "name": "tracker-token",
                "purpose": "bearer token of the issue tracker",
                "kind": "api_token",
                "value": token,
            },
        )
        self.ids["secret"] = secret["id"]
        shown = self.owner.get(f"/v1/secrets/{secret['id']}")
        self.expect(token not in json.dumps(shown), "The treasury showed a value.")
        self.step("[green]✓[/] the token lies in the treasury: it grants nothing, and no route shows it")

    def approvals(self) -> None:
        """Connecting and attaching ask; the approver decides; the requester cannot."""
        connection = self.owner.post(
            self.owner.ws("/connections"),
            {
                "provider": "tracker",
                "name": "Issue tracker",
                "host": TRACKER,
                "port": 443,
                "access": "read issues, publish release notes",
                "secret_id": self.ids["secret"],
                "metadata": {},
                "why": "release notes list the open issues and are published there",
            },
        )
        self.ids["connection"] = connection["id"]
        self.expect(connection["state"] == "awaiting_approval", f"Connecting did not ask: it is {connection['state']}.")
        self.step("connecting an outside system asks")
        self.refused_self_approval(connection["approval_id"])
        self.approve(connection["approval_id"], "the release team needs it")
        connection = self.owner.get(f"/v1/connections/{connection['id']}")
        self.expect(connection["state"] == "active", f"The connection is {connection['state']} after its approval.")
        for name in ("git", "fetch", "notes"):
            mounts = {"repo": str(self.repository())} if name == "git" else {}
            attachment = self.owner.post(
                self.owner.ws("/attachments"),
                {"release_id": self.releases[name]["id"], "mode": "pinned", "mounts": mounts},
            )
            if attachment["state"] == "awaiting_approval":
                self.approve(attachment["approval_id"], "reviewed manifest and tools")
                attachment = self.owner.get(f"/v1/attachments/{attachment['id']}")
            self.expect(
                attachment["state"] == "attached",
                f"{name} is {attachment['state']} ({attachment['reason']}), not attached.",
            )
            self.attachments[name] = attachment
            self.ids[f"attachment_{name}"] = attachment["id"]
        self.step(f"[green]✓[/] attached: {', '.join(item['pack'] for item in self.attachments.values())}")
        self.step(
            "   approvals by boundary: "
            + ", ".join(f"{key} {count}" for key, count in self.report["approvals_by_boundary"].items())
        )

    def task(self) -> None:
        """The task: log, issues, composing, publishing (which governance asks about), and the view."""
        saved = self.save_workflow()
        inputs = {"repository": self.repository_name(), "limit": 100}
        before = self.record()
        task = self.owner.post(
            self.owner.ws("/tasks"),
            {"workflow": saved["name"], "version": saved["version"], "inputs": inputs, "member_id": self.ids["member"]},
        )
        self.ids["task"] = task["id"]
        self.step(
            f"task {task['id']} on {self.repository_name()} (workflow {saved['name']} version {saved['version']}) runs…"
        )
        task = wait_task(self.owner, task["id"])
        if task["state"] != "waiting":
            why = self.owner.get(f"/v1/tasks/{task['id']}/why")
            raise StageFailed(
                f"The task is {task['state']}, not waiting: {why['headline']} {json.dumps(why.get('last_error'))}"
            )
        why = self.owner.get(f"/v1/tasks/{task['id']}/why")
        self.say(f"   [bold yellow]why is it still running?[/] {escape(why['headline'])}")
        for wait in why["waiting_on"]:
            self.step(
                f"  waiting on {wait['kind']} {wait['ref']}; who can clear it: {escape(', '.join(wait['who']) or 'nobody')}"
            )
        self.report["verdicts"]["task_wait"] = why["reason"]
        approval_id = next(wait["ref"] for wait in why["waiting_on"] if wait["kind"] == "approval")
        self.ids["approval"] = approval_id
        card = self.approver.get(f"/v1/approvals/{approval_id}")
        call = card["card"]
        self.step(f"the card: [bold]{escape(card['title'])}[/]; effect: {escape(card['effect'])}")
        self.step(f"  exact call {escape(str(call.get('tool', card['title'])))}  digest {card['digest'][:16]}")
        arguments = card.get("arguments") or {}
        self.step(
            f"  arguments: {escape(', '.join(f'{key} ({len(str(value))} characters)' for key, value in arguments.items()))}"
        )
        self.expect(
            len(self.record()["effects"]) == len(before["effects"]), "Something was published before the approval."
        )
        self.refused_self_approval(approval_id)
        self.approve(approval_id, "the notes are right")
        task = wait_task(self.owner, task["id"])
        if task["state"] != "succeeded":
            why = self.owner.get(f"/v1/tasks/{task['id']}/why")
            raise StageFailed(f"The task is {task['state']}: {why['headline']} {json.dumps(why.get('last_error'))}")
        record = self.record()
        effects = len(record["effects"]) - len(before["effects"])
        self.expect(effects == 1, f"The tracker counts {effects} effects, not one.")
        self.report["counts"] |= {
            "effects": effects,
            "tracker_requests": len(record["requests"]) - len(before["requests"]),
        }
        self.step("[green]✓[/] approved → resumed → [bold]one effect[/] at the tracker, by its own record")
        views = self.owner.get(self.owner.ws("/views"))["items"]
        view = self.owner.get(f"/v1/views/{views[0]['id']}")
        self.ids["view"] = view["id"]
        text = view["shown"]["document"]["text"]
        self.expect("<script" not in text.lower(), "The tracker's text stands unescaped in the notes.")
        self.report["counts"]["notes_characters"] = len(text)
        for line in text.splitlines()[:12]:
            self.say(f"   [dim]│[/] {escape(line[:110])}")
        self.step(
            f"[green]✓[/] the notes are in the view {view['id']} (revision {view['revision']}), the tracker's text escaped"
        )

    def refused(self) -> None:
        """A pack tries a host that it did not declare; a live canary counts the hits."""
        with httpx.Client(verify=tls_of(self.facts["ca_pem"]), trust_env=False, timeout=5) as probe:
            # Positive control: the canary is alive and counts.
            probe.get(
                f"https://127.0.0.1:{self.facts['canary_port']}/alive",
                headers={"Host": CANARY},
                extensions={"sni_hostname": CANARY},
            )
        before = self.record()["canary_hits"]
        self.expect(before >= 1, "The canary does not count: the control failed.")
        body = {"arguments": {"url": f"https://{CANARY}/steal"}}
        value = self.owner.post(self.owner.ws("/tools/worka.notes.check_link/call"), body)
        self.ids["refused_invocation"] = value["invocation_id"]
        hits = self.record()["canary_hits"] - before
        self.report["counts"]["canary_hits"] = hits
        self.expect(hits == 0, f"The canary was hit {hits} times.")
        why = self.owner.get(f"/v1/invocations/{value['invocation_id']}/why")
        self.say(f"   [bold yellow]why did this pack fail to invoke?[/] {escape(why['headline'])}")
        for leg in why["road"]:
            self.step(f"  {output.MARKS.get(leg['state'], '·')} {escape(leg['name'])}  [dim]{escape(leg['detail'])}[/]")
        failed = [leg["name"] for leg in why["road"] if leg["state"] == "failed"]
        self.expect(failed == ["broker"], f"The open leg is {failed}, not the broker.")
        self.report["verdicts"]["refused_road"] = why["reason"]
        self.step("[green]✓[/] zero hits at the live canary")

    def evidence(self) -> None:
        """What changed here; the ledger exported, verified without a database, and shown to fail on tampered copies."""
        changes = self.owner.pages(self.owner.ws("/changes"))
        self.report["counts"]["changes"] = len(changes)
        self.say(f"   [bold yellow]what changed in this workspace?[/] {len(changes)} changes, the newest:")
        for change in changes[:6]:
            self.step(f"  {change['at'][11:19]} {escape(change['sentence'])}")
        time.sleep(1.2)  # the next seal is at most a second away
        export = self.work / "ledger.tar"
        export.write_bytes(self.owner.send("GET", self.owner.ws("/audit/export")).content)
        good = verify_apart(export)
        self.expect(good["ok"], f"The untouched ledger does not verify: {json.dumps(good)[:400]}")
        self.report["counts"]["ledger_rows"] = good.get("rows")
        self.step(f"[green]✓[/] ledger exported: {good.get('rows')} rows verify in a process without database access")
        self.step(f"  {escape(str(good.get('claim', '')))}")
        changed = verify_apart(tampered(export, self.work / "changed.tar", cut=False))
        self.expect(not changed["ok"], "One changed byte went unnoticed.")
        self.step(f"[green]✓[/] one byte changed: {escape(changed['problems'][0])}")
        cut = verify_apart(tampered(export, self.work / "cut.tar", cut=True))
        self.expect(not cut["ok"], "A cut tail went unnoticed.")
        self.step(f"[green]✓[/] tail cut: {escape(cut['problems'][0])}")
        self.report["verdicts"] |= {
            "ledger": "verified",
            "ledger_changed": changed["problems"][0],
            "ledger_cut": cut["problems"][0],
        }

    def save_workflow(self) -> Any:
        """Saves the shipped definition, unedited, as the workspace's next version."""
        saved = self.owner.post(self.owner.ws("/workflows"), {"definition": json.loads(DEFINITION.read_text())})
        self.ids["definition"] = saved["definition_id"]
        return saved


def run(*, interactive: bool, as_json: bool) -> int:
    """Runs the demo; returns the exit code."""
    demo = Demo(interactive, as_json)
    runners = dict(
        zip(
            STAGES,
            (demo.people, demo.packs, demo.outside, demo.approvals, demo.task, demo.refused, demo.evidence),
            strict=True,
        )
    )
    stage = "start"
    began = time.monotonic()
    ok = False
    try:
        demo.start()
        demo.report["timings"]["start"] = round(time.monotonic() - began, 2)
        for number, (stage, runner) in enumerate(runners.items(), 1):
            demo.say(f"\n[bold]{number}. {stage}[/]  [dim]{(runner.__doc__ or '').strip()}[/]")
            started = time.monotonic()
            runner()
            demo.report["timings"][stage] = round(time.monotonic() - started, 2)
        ok = True
    except (StageFailed, EvidenceFailed, Failed, httpx.HTTPError, OSError, KeyError, SystemExit) as error:
        if isinstance(error, Failed):
            output.problem(error.body)
        output.talk.print(
            f"\n[red]✗[/] the demo failed in the stage [bold]{stage}[/]: {escape(str(error) or type(error).__name__)}"
        )
        demo.report["failed"] = {"stage": stage, "error": str(error)}
    except KeyboardInterrupt:
        output.talk.print(f"\nstopped in the stage {stage}")
    demo.report |= {"ok": ok, "url": demo.url, "seconds": round(time.monotonic() - began, 2)}
    if ok:
        demo.say("\n[bold]How long each stage took[/]")
        for name, seconds in demo.report["timings"].items():
            demo.say(f"   {name:>16}  {seconds:6.2f} s")
        if os.environ.get("DEMO_EXIT") != "1":
            with contextlib.suppress(Failed):
                link = demo.approver.post("/v1/sign-in-links")
                demo.report["sign_in"] = link["url"]
                demo.say(f"\n[bold green]The console runs at {demo.url}[/]")
                demo.say(f"   one-time sign-in as the approver: [bold]{link['url']}[/]")
                for name, who in (("demo-owner", demo.owner), ("demo-approver", demo.approver)):
                    save_login(demo.url, str(who.token), demo.ids["workspace"], name)
                command = shutil.which("worka") or "worka"
                home = "" if demo.home == paths.default_home() else f"WORKA_HOME={demo.home} "
                demo.say(f"   on the command line: {command} --login demo-owner task list  (or --login demo-approver)")
                demo.say(f"   stop it with: {home}{command} down")
    demo.finish(ok)
    if as_json:
        print(json.dumps(demo.report, indent=2))
    return 0 if ok else 1
